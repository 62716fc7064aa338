//! What callers are answered. Every duration is in seconds, every time is RFC 3339 in UTC.

use std::collections::BTreeMap;
use std::fmt;

use baton_model::{
    AuditId, Directive, Event, EventKind, Failure, Generation, GenerationId, Label, Level, LogLine,
    LossReason, Payload, Priority, ProjectId, QueueName, Running, Scope, SessionId, State, Status, Task,
    TaskId, TaskState, TaskType, Timestamp, Token, TokenId, TokenStatus, WorkerId, WorkerStatus,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{FieldError, Problem};

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Hand it back as `cursor` for the next page; left out at the end of the list. A page may be shorter than asked,
    /// even empty, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A task that was created, now or by the same request before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreatedTask {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub id: TaskId,
    /// Its status at its creation: `queued`, or `created` if it is for later.
    #[schema(value_type = String)]
    pub status: Status,
    /// When it was created.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When it could first be claimed.
    #[schema(value_type = String, format = "date-time")]
    pub run_after: Timestamp,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// How many tasks exist by this request.
    pub accepted: u32,
    /// How many were refused.
    pub refused: u32,
    /// One entry for each task, in order.
    pub items: Vec<BatchItem>,
}

/// What became of one task of a batch: either `task` or `problem` is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchItem {
    /// The task's place in the request, from 0.
    pub index: u32,
    /// The task, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<CreatedTask>,
    /// Why not, if it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ItemProblem>,
}

/// Why one task of a batch was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ItemProblem {
    /// The stable code, as of a problem document.
    pub code: String,
    /// What happened.
    pub detail: String,
    /// The fields that do not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// A task as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Task)]
pub struct TaskView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub id: TaskId,
    /// Its owner.
    #[schema(value_type = String)]
    pub project: ProjectId,
    /// The lane that it waits in.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// What kind of work it is.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// `created`, `queued`, `retry`, `running`, `completed`, `failed` or `cancelled`, as of the answer's time.
    #[schema(value_type = String)]
    pub status: Status,
    /// `critical`, `high`, `normal` or `low`.
    #[schema(value_type = String)]
    pub priority: Priority,
    /// The work's input.
    #[schema(value_type = Object)]
    pub params: Payload,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The domain that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub domain: Option<Label>,
    /// How far its subject has drifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_score: Option<f64>,
    /// Who assigned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub assigned_by: Option<Label>,
    /// How often it has been claimed; the fence of the present attempt while it runs.
    pub attempt: u32,
    /// How many of these attempts count.
    pub attempts_used: u32,
    /// How many counting attempts it is given.
    pub max_attempts: u32,
    /// How long one attempt may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// From when on it may be claimed, while queued.
    #[schema(value_type = String, format = "date-time")]
    pub run_after: Timestamp,
    /// When it was created.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When its state last changed.
    #[schema(value_type = String, format = "date-time")]
    pub updated_at: Timestamp,
    /// When it finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub finished_at: Option<Timestamp>,
    /// Who holds it, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseView>,
    /// Its output record, once it is completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub generation_id: Option<GenerationId>,
    /// What went wrong with the latest attempt that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FailureSchema>)]
    pub error: Option<Failure>,
}

/// What went wrong with an attempt.
#[derive(ToSchema)]
#[schema(as = Failure)]
pub struct FailureSchema {
    /// For people.
    pub message: String,
    /// For programs: the worker's own code, or why the lease was lost.
    pub code: Option<String>,
    /// More about it.
    #[schema(value_type = Option<Object>)]
    pub details: Option<Payload>,
}

/// Who holds a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Lease)]
pub struct LeaseView {
    /// The worker.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// The worker's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub session_id: Option<SessionId>,
    /// When it was claimed.
    #[schema(value_type = String, format = "date-time")]
    pub claimed_at: Timestamp,
    /// When a fixed lease ends; left out while heartbeats keep it alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub expires_at: Option<Timestamp>,
    /// When the attempt has run past the task's timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub timeout_at: Option<Timestamp>,
}

impl TaskView {
    /// Shows a task as of `now`.
    pub fn new(task: Task, now: Timestamp) -> Self {
        let status = task.status(now);
        let attempts_used = task.head.attempts_used();
        let (lease, generation_id) = match task.head.state {
            TaskState::Running(lease) => (
                Some(LeaseView {
                    worker_id: lease.worker,
                    session_id: lease.session,
                    claimed_at: lease.claimed_at,
                    expires_at: lease.expires_at,
                    timeout_at: lease.timeout_at,
                }),
                None,
            ),
            TaskState::Completed { generation, .. } => (None, Some(generation)),
            TaskState::Queued | TaskState::Failed | TaskState::Cancelled => (None, None),
        };
        Self {
            id: task.head.id,
            project: task.project,
            queue: task.queue,
            task_type: task.task_type,
            status,
            priority: task.priority,
            params: task.params,
            description: task.description,
            domain: task.domain,
            drift_score: task.drift_score,
            assigned_by: task.assigned_by,
            attempt: task.head.attempt,
            attempts_used,
            max_attempts: task.head.max_attempts,
            timeout_seconds: task.head.timeout.map(|timeout| timeout.as_secs_f64()),
            run_after: task.head.run_after,
            created_at: task.created_at,
            updated_at: task.updated_at,
            finished_at: task.finished_at,
            lease,
            generation_id,
            error: task.error,
        }
    }
}

/// One entry of a task's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Its number within the task, from 1 without gaps.
    pub seq: u32,
    /// When it happened.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// `created`, `claimed`, `completed`, `attempt_failed`, `released`, `lease_lost`, `cancelled` or `retried`.
    #[schema(value_type = String)]
    pub kind: EventKind,
    /// The state before; left out at creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<State>,
    /// The state after.
    #[schema(value_type = String)]
    pub to: State,
    /// The attempt after.
    pub attempt: u32,
    /// The worker that claimed, completed, failed, gave back or lost the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker_id: Option<WorkerId>,
    /// The session of the worker that claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub session_id: Option<SessionId>,
    /// Who created, cancelled or retried it, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why it was cancelled, retried or given back, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why the lease was lost: `heartbeat_missed`, `lease_expired`, `timed_out`, `session_ended` or `forgotten`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub loss: Option<LossReason>,
    /// What went wrong, of a failed or lost attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FailureSchema>)]
    pub error: Option<Failure>,
    /// When it may be claimed again, if it went back to its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub run_after: Option<Timestamp>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            seq: event.seq,
            at: event.at,
            kind: event.kind,
            from: event.from,
            to: event.to,
            attempt: event.attempt,
            worker_id: event.detail.worker,
            session_id: event.detail.session,
            by: event.detail.by,
            reason: event.detail.reason,
            loss: event.detail.loss,
            error: event.detail.error,
            run_after: event.detail.run_after,
        }
    }
}

/// The output record of a completed task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Generation)]
pub struct GenerationView {
    /// The record.
    #[schema(value_type = String, format = "uuid")]
    pub id: GenerationId,
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// The task's owner.
    #[schema(value_type = String)]
    pub project: ProjectId,
    /// The task's queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// The task's type.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// The attempt that completed it.
    pub attempt: u32,
    /// The worker that completed it.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// Where the output lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What kind of output it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// More about the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
    /// The output itself, where it is small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<Payload>,
    /// When the task was created.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When the completing attempt was claimed.
    #[schema(value_type = String, format = "date-time")]
    pub started_at: Timestamp,
    /// When it was completed.
    #[schema(value_type = String, format = "date-time")]
    pub finished_at: Timestamp,
    /// From claimed to completed.
    pub run_seconds: f64,
}

impl From<Generation> for GenerationView {
    fn from(generation: Generation) -> Self {
        Self {
            id: generation.id,
            task_id: generation.task,
            project: generation.project,
            queue: generation.queue,
            task_type: generation.task_type,
            attempt: generation.attempt,
            worker_id: generation.worker,
            location: generation.output.location,
            kind: generation.output.kind,
            metadata: generation.output.metadata,
            result: generation.output.result,
            created_at: generation.created_at,
            started_at: generation.started_at,
            finished_at: generation.finished_at,
            run_seconds: generation.finished_at.since(generation.started_at).as_secs_f64(),
        }
    }
}

/// A task with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = TaskDetail)]
pub struct TaskDetailView {
    /// The task.
    pub task: TaskView,
    /// Its history, the first event first.
    pub history: Vec<EventView>,
    /// Its output record; there if and only if the task is completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<GenerationView>,
    /// What its worker last said of it, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
}

/// What a worker last said of a task that it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Progress)]
pub struct ProgressView {
    /// How far it has come, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// What it is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a claim found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ClaimAnswer)]
pub struct ClaimView {
    /// The tasks that the worker now holds, each with its params, attempt and lease.
    pub tasks: Vec<TaskView>,
    /// Why there are none, if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nothing: Option<NothingView>,
}

/// Why a claim found nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Nothing)]
pub struct NothingView {
    /// `none_queued`, `scheduled`, `at_cap`, `paused`, `directed` or `request_spent`.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// When the next task is due, for `scheduled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub next_at: Option<Timestamp>,
    /// What the worker was asked, for `directed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub directive: Option<Directive>,
}

/// A completion that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CompleteAnswer)]
pub struct CompletedView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// `completed`.
    #[schema(value_type = String)]
    pub status: Status,
    /// Its output record.
    #[schema(value_type = String, format = "uuid")]
    pub generation_id: GenerationId,
    /// When it was completed.
    #[schema(value_type = String, format = "date-time")]
    pub finished_at: Timestamp,
    /// What the claim found that came along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ClaimView>,
    /// Why the claim that came along failed; the completion stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_problem: Option<Problem>,
}

/// A failure or a release that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FailAnswer)]
pub struct EndedView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// What it is now: `queued` or `retry` if it will be tried again, else `failed`.
    #[schema(value_type = String)]
    pub status: Status,
    /// How many attempts count so far.
    pub attempts_used: u32,
    /// How many it is given.
    pub max_attempts: u32,
    /// When it may be claimed again, if it will be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub run_after: Option<Timestamp>,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = HeartbeatAnswer)]
pub struct HeartbeatView {
    /// The listed attempts that are no longer the worker's: stop working on them.
    pub lost: Vec<LostView>,
    /// `run`, `drain` (claim no more, finish, exit) or `stop` (give back, exit).
    #[schema(value_type = String)]
    pub directive: Directive,
    /// When the next heartbeat is due, in seconds from now.
    pub beat_every_seconds: f64,
}

/// An attempt that is no longer the worker's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LostLease)]
pub struct LostView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// The attempt that the worker listed.
    pub attempt: u32,
    /// `cancelled`, `ended`, `superseded`, `not_held` or `unknown_task`.
    pub reason: String,
}

/// A worker as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Worker)]
pub struct WorkerView {
    /// The worker.
    #[schema(value_type = String)]
    pub id: WorkerId,
    /// `active`, `draining`, `stopping`, `lost` or `silent`.
    #[schema(value_type = String)]
    pub status: WorkerStatus,
    /// Its latest start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub session_id: Option<SessionId>,
    /// When it was first heard of in this session.
    #[schema(value_type = String, format = "date-time")]
    pub started_at: Timestamp,
    /// Its last heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub last_beat_at: Option<Timestamp>,
    /// What an operator has asked of it: `run`, `drain` or `stop`.
    #[schema(value_type = String)]
    pub directive: Directive,
    /// How many tasks it takes at once, by its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// How many tasks' leases name it.
    pub active: u32,
    /// The first hundred of them.
    pub tasks: Vec<HeldView>,
    /// Its latest readings.
    #[serde(default)]
    pub readings: BTreeMap<String, f64>,
    /// Words about it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A task that a worker holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = HeldTask)]
pub struct HeldView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: u32,
    /// How far it has come, by the worker's last word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
}

/// A queue as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Queue)]
pub struct QueueView {
    /// The queue.
    #[schema(value_type = String)]
    pub name: QueueName,
    /// Whether claims pass it by.
    pub paused: bool,
    /// Tasks that wait, now or for later.
    pub queued: u64,
    /// Of these, how many are for later; counted up to 10,000.
    pub scheduled: u64,
    /// Tasks that a worker holds.
    pub running: u64,
    /// How long the task that was first due has been ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ready_seconds: Option<f64>,
    /// How long the longest-held attempt has been running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_running_seconds: Option<f64>,
    /// From ready to claimed, of the last 24 hours.
    pub wait: PercentilesView,
    /// From claimed to completed, of the last 24 hours.
    pub run: PercentilesView,
    /// As of when `queued`, `running` and the percentiles are. On a table whose stream keeps the counts, this trails
    /// behind the tasks, and is missing until something was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub counted_at: Option<Timestamp>,
}

/// Percentiles of durations, within 5%.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Percentiles)]
pub struct PercentilesView {
    /// How many were counted.
    pub count: u64,
    /// Half took no longer than this.
    pub p50_seconds: f64,
    /// 95 of 100 took no longer than this.
    pub p95_seconds: f64,
    /// 99 of 100 took no longer than this.
    pub p99_seconds: f64,
}

/// Statistics of everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Stats)]
pub struct StatsView {
    /// When they were asked for. Ages, workers and tasks for later are as of then.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// As of when all that is counted is: tasks by state, and percentiles. On a table whose stream keeps the counts, this
    /// trails behind the tasks, and is missing until something was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub counted_at: Option<Timestamp>,
    /// Tasks by state.
    pub states: BTreeMap<String, u64>,
    /// Tasks by queue, type and state.
    pub counts: Vec<CountView>,
    /// Each queue.
    pub queues: Vec<QueueView>,
    /// The workers.
    pub workers: WorkerCountsView,
}

/// How many tasks of one kind are in one state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Count)]
pub struct CountView {
    /// The queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// The type.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// The stored state: `queued`, `running`, `completed`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    pub state: State,
    /// How many.
    pub tasks: u64,
}

/// Workers by what they do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = WorkerCounts)]
pub struct WorkerCountsView {
    /// Alive by their heartbeats.
    pub alive: u64,
    /// Of these, those that hold a task.
    pub busy: u64,
    /// Of these, those that hold none.
    pub idle: u64,
    /// Not heard of for longer than the heartbeat timeout.
    pub lost: u64,
}

/// One line of the workers' time line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LogLine)]
pub struct LogView {
    /// When the worker wrote it.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// Who shipped it.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// The task that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub task_id: Option<TaskId>,
    /// `debug`, `info`, `warn` or `error`.
    #[schema(value_type = String)]
    pub level: Level,
    /// The part of the worker that wrote it.
    pub source: String,
    /// The line.
    pub message: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
}

impl From<LogLine> for LogView {
    fn from(line: LogLine) -> Self {
        Self {
            at: line.at,
            worker_id: line.worker,
            task_id: line.task,
            level: line.level,
            source: line.source,
            message: line.message,
            metadata: line.metadata,
        }
    }
}

/// What the reaper took back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ReapAnswer)]
pub struct ReapView {
    /// The tasks.
    pub taken: Vec<TakenView>,
    /// Whether the limit was reached, so that there may be more.
    pub more: bool,
}

/// One task that the reaper took back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = TakenTask)]
pub struct TakenView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// The attempt that was lost.
    pub attempt: u32,
    /// The worker that lost it.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// `heartbeat_missed`, `lease_expired`, `timed_out`, `session_ended` or `forgotten`.
    #[schema(value_type = String)]
    pub reason: LossReason,
    /// `queued`, or `failed` with its attempts used up.
    #[schema(value_type = String)]
    pub to: State,
}

/// Ids that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = TaskIds)]
pub struct IdsView {
    /// The ids, at most twenty.
    #[schema(value_type = Vec<String>)]
    pub ids: Vec<TaskId>,
}

/// A server's answer to "are you there?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthView {
    /// `ok`.
    pub status: String,
    /// The server's version.
    pub version: String,
}

impl From<Running> for ProgressView {
    fn from(running: Running) -> Self {
        Self { progress: running.progress, message: running.message }
    }
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// The public part of it.
    #[schema(value_type = String, format = "uuid")]
    pub id: TokenId,
    /// What it is for.
    #[schema(value_type = String)]
    pub name: Label,
    /// `active`, `expired` or `revoked`.
    #[schema(value_type = String)]
    pub status: TokenStatus,
    /// What its callers may do: any of `producer`, `worker`, `operator`.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
    /// Only tasks of these queues; of all if left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub queues: Vec<QueueName>,
    /// Only tasks of this project; of all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// The most requests a second; the server's own limit if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// When it was made.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// The name of the token that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub created_by: Option<Label>,
    /// When it ends by itself; never if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub last_used_at: Option<Timestamp>,
}

impl TokenView {
    /// The token as of `now`.
    pub fn new(token: Token, now: Timestamp) -> Self {
        Self {
            id: token.id,
            status: token.status(now),
            name: token.name,
            scopes: token.grant.scopes.into_iter().collect(),
            queues: token.grant.queues.into_iter().collect(),
            project: token.grant.project,
            requests_per_second: token.requests_per_second,
            created_at: token.created_at,
            created_by: token.created_by,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            last_used_at: token.last_used_at,
        }
    }
}

/// A token that was made now, with its secret, which nobody is shown again.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CreatedToken)]
pub struct CreatedTokenView {
    /// What callers present: `Authorization: Bearer` and this text.
    pub secret: String,
    /// The token.
    pub token: TokenView,
}

impl fmt::Debug for CreatedTokenView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedTokenView").field("token", &self.token).finish_non_exhaustive()
    }
}

/// One thing that was done, or tried, to tasks, queues, workers or tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditView {
    /// The entry.
    #[schema(value_type = String, format = "uuid")]
    pub id: AuditId,
    /// When it was asked for.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// What was asked for: the operation's name in this document, such as `cancel_task`.
    pub action: String,
    /// The path that it was asked with.
    pub target: String,
    /// The token that was presented; left out where none was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub token_id: Option<TokenId>,
    /// The token's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub token_name: Option<Label>,
    /// The request's id, to be found in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The HTTP status of its answer; left out if the request was broken off: then the thing itself tells whether it was
    /// done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<u16>,
}
