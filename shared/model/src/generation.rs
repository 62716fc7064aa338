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
    /// The files that it names, as they were when the task was completed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<OutputFile>,
}

impl Output {
    /// Says whether two completions hand over the same. Files are so by their paths: a completion names these alone, and is the same when
    /// it is sent again though another file has taken the place of one since.
    pub fn fingerprint(&self) -> Fingerprint {
        #[derive(Serialize)]
        struct Named<'a> {
            location: &'a Option<String>,
            kind: &'a Option<String>,
            metadata: &'a Option<Payload>,
            result: &'a Option<Payload>,
            files: Vec<&'a str>,
        }

        let Self { location, kind, metadata, result, files } = self;
        if files.is_empty() {
            return Fingerprint::of(self);
        }
        let files = files.iter().map(|file| file.path.as_str()).collect();
        Fingerprint::of(&Named { location, kind, metadata, result, files })
    }

    /// How many bytes of what callers chose it has, about: by this, pages of a list are bounded.
    pub fn told_bytes(&self) -> usize {
        let payloads = [&self.metadata, &self.result].into_iter().flatten();
        let files: usize = self.files.iter().map(OutputFile::told_bytes).sum();
        payloads.map(Payload::size).sum::<usize>() + files
    }
}

/// A file that an output names: what it was when the task was completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Its path in the task's project.
    pub path: String,
    /// How many bytes it had.
    pub size: u64,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// What it was, by its own first bytes.
    pub content_type: String,
}

impl OutputFile {
    /// How many bytes it counts where what is told is bounded, about.
    pub fn told_bytes(&self) -> usize {
        self.path.len() + self.sha256.len() + self.content_type.len() + 64
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_the_same_by_the_paths_of_their_files_and_without_any_as_they_were_before() {
        let file = |path: &str, size| OutputFile {
            path: path.to_owned(),
            size,
            sha256: "00".repeat(32),
            content_type: "image/png".to_owned(),
        };
        let with = |files| Output { location: Some("a".to_owned()), files, ..Output::default() };
        let one = with(vec![file("a", 1)]).fingerprint();
        assert_eq!(one, with(vec![file("a", 2)]).fingerprint());
        for other in [vec![], vec![file("b", 1)], vec![file("a", 1), file("b", 1)]] {
            assert_ne!(one, with(other).fingerprint());
        }
        let before = r#"{"location":"a","kind":null,"metadata":null,"result":null}"#;
        let before: serde_json::Value = serde_json::from_str(before).unwrap();
        assert_eq!(with(vec![]).fingerprint(), Fingerprint::of(&before));
    }
}
