//! What can be asked of a store, and the answers.

use std::fmt;
use std::time::Duration;

use baton_model::queue::Pause;
use baton_model::{
    Event, Generation, Label, Level, ProjectId, QueueName, Running, State, Status, Task, TaskId, TaskType,
    Timestamp, Worker, WorkerId, WorkerStatus,
};

/// Where a page ends and the next begins. Its text means something only to the store that gave it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(pub String);

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({:?})", self.0)
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The end of the page before; none for the first page.
    pub after: Option<Cursor>,
    /// How many entries at most: 1 to [`baton_model::limits::PAGE`].
    pub limit: u32,
}

impl PageRequest {
    /// The first page of up to `limit` entries.
    pub fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page begins; none at the end of the list.
    pub next: Option<Cursor>,
}

/// Which tasks are asked for: those that fit every field that is set.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// One of these statuses, as of [`TaskFilter::now`]; any if empty.
    pub statuses: Vec<Status>,
    /// Of this type.
    pub task_type: Option<TaskType>,
    /// In this queue.
    pub queue: Option<QueueName>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this domain.
    pub domain: Option<Label>,
    /// Assigned by this one.
    pub assigned_by: Option<Label>,
    /// Held, or last held, by this worker.
    pub worker: Option<WorkerId>,
    /// Created at this time or later.
    pub created_from: Option<Timestamp>,
    /// Created before this time.
    pub created_before: Option<Timestamp>,
    /// The time that statuses are derived at.
    pub now: Timestamp,
}

/// Which generations are asked for: those that fit every field that is set.
#[derive(Clone, Debug, Default)]
pub struct GenerationFilter {
    /// Of this task.
    pub task: Option<TaskId>,
    /// Of this task type.
    pub task_type: Option<TaskType>,
    /// Of this queue.
    pub queue: Option<QueueName>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Completed by this worker.
    pub worker: Option<WorkerId>,
    /// Finished at this time or later.
    pub finished_from: Option<Timestamp>,
    /// Finished before this time.
    pub finished_before: Option<Timestamp>,
}

/// Which log lines are asked for: those that fit every field that is set.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// About this task.
    pub task: Option<TaskId>,
    /// From this worker.
    pub worker: Option<WorkerId>,
    /// At least this grave.
    pub level: Option<Level>,
    /// Written at this time or later.
    pub from: Option<Timestamp>,
    /// Written before this time.
    pub before: Option<Timestamp>,
}

/// A task with all that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskDetail {
    /// The task.
    pub task: Task,
    /// Its history, the first event first.
    pub history: Vec<Event>,
    /// Its output record; there if and only if the task is completed.
    pub generation: Option<Generation>,
    /// What its worker last said of it, while it runs.
    pub progress: Option<Running>,
}

/// A worker with the leases that name it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerDetail {
    /// The worker.
    pub worker: Worker,
    /// How many leases name it.
    pub active: u32,
    /// The first [`WorkerDetail::LEASES`] of these tasks with their attempts, the oldest claim first.
    pub leases: Vec<(TaskId, u32)>,
}

impl WorkerDetail {
    /// How many leases are listed with a worker.
    pub const LEASES: usize = 100;
}

/// Statistics of the whole store.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// When it was asked for; what is not counted (ages, workers, tasks for later) is as of then.
    pub at: Timestamp,
    /// As of when counts and percentiles are, as [`QueueStats::counted_at`] says.
    pub counted_at: Option<Timestamp>,
    /// Tasks by queue, type and state, the queues by name.
    pub counts: Vec<Count>,
    /// Each queue, by name.
    pub queues: Vec<QueueStats>,
    /// The workers.
    pub workers: WorkerCounts,
}

impl Stats {
    /// How many queues, and how many rows of counts, statistics hold at most; beyond, ask for queues by page.
    pub const ROWS: usize = 10_000;
}

/// How many tasks of one kind are in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The queue.
    pub queue: QueueName,
    /// The type.
    pub task_type: TaskType,
    /// The state.
    pub state: State,
    /// How many.
    pub tasks: u64,
}

/// A queue at a point in time.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueStats {
    /// The queue's name.
    pub queue: QueueName,
    /// Why claims pass it by; none if they do not.
    pub pause: Option<Pause>,
    /// Whether a task has ever named it. One that no task has named is known only as long as it is paused.
    pub used: bool,
    /// Tasks in the state queued: ready now or later.
    pub queued: u64,
    /// Of these, how many are for later; counted up to [`QueueStats::SCHEDULED_COUNTED`].
    pub scheduled: u64,
    /// Tasks that a worker holds.
    pub running: u64,
    /// How long the task that is first due has been ready; none if none is.
    pub oldest_ready: Option<Duration>,
    /// How long the longest-held attempt has been running; none if none is.
    pub oldest_running: Option<Duration>,
    /// From ready to claimed, of the claims of the last 24 hours.
    pub wait: Percentiles,
    /// From claimed to completed, of the completions of the last 24 hours.
    pub run: Percentiles,
    /// As of when `queued`, `running` and the percentiles are: a store that counts apart from its commits trails behind
    /// them. None if such a store has counted nothing yet.
    pub counted_at: Option<Timestamp>,
}

impl QueueStats {
    /// Up to how many scheduled tasks are counted, so that the count's cost has a bound.
    pub const SCHEDULED_COUNTED: u64 = 10_000;

    /// A queue that is not known: no task has named it, and it is not paused.
    pub fn unknown(queue: QueueName, counted_at: Option<Timestamp>) -> Self {
        Self {
            queue,
            pause: None,
            used: false,
            queued: 0,
            scheduled: 0,
            running: 0,
            oldest_ready: None,
            oldest_running: None,
            wait: Percentiles::default(),
            run: Percentiles::default(),
            counted_at,
        }
    }
}

/// Percentiles of durations, read from a histogram whose buckets are within 5% of what fell into them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many durations were counted.
    pub count: u64,
    /// Half were no longer than this.
    pub p50: Duration,
    /// 95 of 100 were no longer than this.
    pub p95: Duration,
    /// 99 of 100 were no longer than this.
    pub p99: Duration,
}

/// Workers by their status ([`baton_model::WorkerStatus`]). Each worker that is known is alive, silent, lost or gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Alive by their heartbeats: active, draining or stopping.
    pub alive: u64,
    /// Of these, those that hold a task.
    pub busy: u64,
    /// They have claimed, but not beaten since they started.
    pub silent: u64,
    /// Not heard of for longer than the heartbeat timeout.
    pub lost: u64,
    /// They have said that they end.
    pub gone: u64,
}

impl WorkerCounts {
    /// Counts a worker of this status.
    pub fn add(&mut self, status: WorkerStatus, busy: bool) {
        match status {
            WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Stopping => {
                self.alive += 1;
                self.busy += u64::from(busy);
            }
            WorkerStatus::Silent => self.silent += 1,
            WorkerStatus::Lost => self.lost += 1,
            WorkerStatus::Gone => self.gone += 1,
        }
    }
}
