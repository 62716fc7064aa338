//! Generations: the output record of a completed task. Exactly one exists for a task if and only if it is completed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Fingerprint;
use crate::id::{GenerationId, ProjectId, QueueName, TaskId, TaskType, WorkerId};
use crate::payload::Payload;
use crate::time::Timestamp;

/// What a worker hands over when it completes a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Where the output lies, such as a path or a URL; none if the result is all there is.
    pub location: Option<String>,
    /// What kind of output it is, such as `image/png`.
    pub kind: Option<String>,
    /// More about the output, as the worker likes.
    pub metadata: Option<Payload>,
    /// The output itself, where it is small.
    pub result: Option<Payload>,
}

impl Output {
    /// Says whether two completions hand over the same.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self)
    }
}

/// The output record of one completed task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The record's own id.
    pub id: GenerationId,
    /// The completed task.
    pub task: TaskId,
    /// The task's project.
    pub project: ProjectId,
    /// The task's queue.
    pub queue: QueueName,
    /// The task's type.
    pub task_type: TaskType,
    /// The attempt that completed it.
    pub attempt: u32,
    /// The worker that completed it.
    pub worker: WorkerId,
    /// What the worker handed over.
    pub output: Output,
    /// When the task was created.
    pub created_at: Timestamp,
    /// When the completing attempt was claimed.
    pub started_at: Timestamp,
    /// When it was completed, which is when this record was written.
    pub finished_at: Timestamp,
    /// How long the work took by the worker's word, if it said: the outcome may have waited for a server after it.
    pub ran: Option<Duration>,
}

impl Generation {
    /// How long the work took: by the worker's word, but no longer than from its claim to its completion.
    pub fn run_time(&self) -> Duration {
        let all = self.finished_at.since(self.started_at);
        self.ran.map_or(all, |ran| ran.min(all))
    }
}
