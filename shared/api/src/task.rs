//! What `query-tasks` answers of tasks: how a task, its history and its output are shown. Other functions answer with the same.

use baton_model::{
    Backoff, BatchId, Event, EventKind, Failure, Generation, GenerationId, IfDependencyFails, Label,
    LossReason, OutputFile, Payload, Priority, ProjectId, QueueName, Running, SessionId, State, Status, Task,
    TaskId, TaskState, TaskType, Timestamp, TraceParent, TraceState, WorkerId,
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::change::ChangesView;
use crate::create::BackoffSchema;
use crate::graph::InputView;
use crate::unique::UniqueView;

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
    /// `blocked`, `created`, `queued`, `retry`, `running`, `completed`, `failed` or `cancelled`, as of the answer's time.
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
    /// What it shares a limit by with other tasks of its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub concurrency_key: Option<Label>,
    /// What its worker had best have loaded already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub affinity: Option<Label>,
    /// Until when it is to be started; it fails with the code `expired` if no attempt that counts has begun by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub expires_at: Option<Timestamp>,
    /// The key of which there is one task at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<UniqueView>,
    /// How often it has been claimed; the fence of the present attempt while it runs.
    pub attempt: u32,
    /// How many of these attempts count.
    pub attempts_used: u32,
    /// How often in a row it was lost with its worker: it may be what ends them. Left out if 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub worker_losses: u32,
    /// How many counting attempts it is given.
    pub max_attempts: u32,
    /// How long one attempt may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// How long it waits between attempts; left out if as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BackoffSchema>)]
    pub backoff: Option<Backoff>,
    /// How long it is kept once it has ended; left out if as long as all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<f64>,
    /// From when on it may be claimed, while queued.
    #[schema(value_type = String, format = "date-time")]
    pub run_after: Timestamp,
    /// When it was created.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When its state last changed.
    #[schema(value_type = String, format = "date-time")]
    pub updated_at: Timestamp,
    /// How many events its history has: of two readings, the one with more is the later.
    #[serde(default)]
    pub events: u32,
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
    /// The tasks that it waits for, or has waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub depends_on: Vec<TaskId>,
    /// What becomes of it when one of these fails: `cancel`, `fail` or `run`. Left out if it depends on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub if_dependency_fails: Option<IfDependencyFails>,
    /// The batch that it is one of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub batch_id: Option<BatchId>,
    /// The span that it was created in, as its producer said it (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub traceparent: Option<TraceParent>,
    /// What was noted with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tracestate: Option<TraceState>,
    /// In the answer to a claim: what its dependencies have put out, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputView>,
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
    /// In the answer to a claim, where the server exports spans: that of this attempt, which what the worker does is a part of.
    #[serde(default, deserialize_with = "parent_or_none", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub traceparent: Option<TraceParent>,
}

/// A malformed one is none: no worker is to lose what it has claimed for the sake of tracing.
fn parent_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TraceParent>, D::Error> {
    let said = Option::<String>::deserialize(from)?;
    Ok(said.and_then(|said| said.parse().ok()))
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl TaskView {
    /// Shows a task as of `now`.
    pub fn new(task: Task, now: Timestamp) -> Self {
        let status = task.status(now);
        let attempts_used = task.head.attempts_used();
        let (traceparent, tracestate) = task.trace.map(|trace| (trace.parent, trace.state)).unzip();
        let (lease, generation_id) = match task.head.state {
            TaskState::Running(lease) => (
                Some(LeaseView {
                    worker_id: lease.worker,
                    session_id: lease.session,
                    claimed_at: lease.claimed_at,
                    expires_at: lease.expires_at,
                    timeout_at: lease.timeout_at,
                    traceparent: None,
                }),
                None,
            ),
            TaskState::Completed { generation, .. } => (None, Some(generation)),
            TaskState::Blocked | TaskState::Queued | TaskState::Failed | TaskState::Cancelled => (None, None),
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
            concurrency_key: task.concurrency_key,
            affinity: task.affinity,
            expires_at: task.head.expires_at,
            unique: task.unique.map(UniqueView::from),
            attempt: task.head.attempt,
            attempts_used,
            worker_losses: task.head.worker_losses,
            max_attempts: task.head.max_attempts,
            timeout_seconds: task.head.timeout.map(|timeout| timeout.as_secs_f64()),
            backoff: Some(task.head.backoff).filter(|backoff| *backoff != Backoff::default()),
            retention_seconds: task.retention.map(|retention| retention.as_secs_f64()),
            run_after: task.head.run_after,
            created_at: task.created_at,
            updated_at: task.updated_at,
            events: task.head.events,
            finished_at: task.finished_at,
            lease,
            generation_id,
            error: task.error,
            if_dependency_fails: (!task.depends_on.is_empty()).then_some(task.if_dependency_fails),
            depends_on: task.depends_on,
            batch_id: task.batch,
            traceparent,
            tracestate: tracestate.flatten(),
            inputs: Vec::new(),
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
    /// `created`, `claimed`, `completed`, `attempt_failed`, `released`, `lease_lost`, `cancelled`, `retried`, `unblocked`,
    /// `dependency_failed`, `expired` or `changed`.
    #[schema(value_type = String)]
    pub kind: EventKind,
    /// The state before; left out at creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<State>,
    /// The state after.
    #[schema(value_type = String)]
    pub to: State,
    /// The status after, by the words that tasks are listed with: as `to`, but `created` or `retry` if the task then waited
    /// for `run_after`.
    #[schema(value_type = String)]
    pub status: Status,
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
    /// Who created, cancelled, retried or changed it, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why it was cancelled, retried, changed or given back, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why the lease was lost: `heartbeat_missed`, `lease_expired`, `timed_out`, `session_ended` or `forgotten`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub loss: Option<LossReason>,
    /// Whether a lost attempt does not count: another start took the worker's name. Left out if it counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncounted: bool,
    /// How often in a row the task was lost with its worker, this time included; left out if the worker was not lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_losses: Option<u32>,
    /// What went wrong, of a failed or lost attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FailureSchema>)]
    pub error: Option<Failure>,
    /// When it may be claimed, if it came into its queue for later, or back into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub run_after: Option<Timestamp>,
    /// The other task whose end, cancellation or retry brought this about; of a failed dependency, the first that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub dependency: Option<TaskId>,
    /// What was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ChangesView>)]
    pub changes: Option<Box<ChangesView>>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let status = event.status();
        Self {
            status,
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
            uncounted: event.detail.uncounted,
            worker_losses: event.detail.worker_losses,
            error: event.detail.error,
            run_after: event.detail.run_after,
            dependency: event.detail.dependency,
            changes: event.detail.changes.map(|changes| Box::new((*changes).into())),
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
    /// The files that its completion named, as they were then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<OutputFileView>,
    /// When the task was created.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When the completing attempt was claimed.
    #[schema(value_type = String, format = "date-time")]
    pub started_at: Timestamp,
    /// When it was completed.
    #[schema(value_type = String, format = "date-time")]
    pub finished_at: Timestamp,
    /// How long the work took: by the worker's word if it said, which leaves out what the completion waited for a server; else
    /// from claimed to completed.
    pub run_seconds: f64,
}

/// A file that a completion named, as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OutputFile)]
pub struct OutputFileView {
    /// Its path in the task's project: `GET /v1/files/{project}/{path}` gives it.
    pub path: String,
    /// How many bytes it had.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub sha256: String,
    /// What it was, by its own first bytes.
    pub content_type: String,
}

impl From<OutputFile> for OutputFileView {
    fn from(OutputFile { path, size, sha256, content_type }: OutputFile) -> Self {
        Self { path, size, sha256, content_type }
    }
}

impl From<Generation> for GenerationView {
    fn from(generation: Generation) -> Self {
        let run_seconds = generation.run_time().as_secs_f64();
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
            files: generation.output.files.into_iter().map(Into::into).collect(),
            created_at: generation.created_at,
            started_at: generation.started_at,
            finished_at: generation.finished_at,
            run_seconds,
        }
    }
}

/// A task with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = TaskDetail)]
pub struct TaskDetailView {
    /// The task.
    pub task: TaskView,
    /// How many events its history has.
    #[serde(default)]
    pub events: u32,
    /// The latest of them, up to 100 and a megabyte, in their order. `GET /v1/tasks/{id}/history` gives all, by pages.
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

/// Ids that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = TaskIds)]
pub struct IdsView {
    /// The ids, at most twenty.
    #[schema(value_type = Vec<String>)]
    pub ids: Vec<TaskId>,
}

impl From<Running> for ProgressView {
    fn from(running: Running) -> Self {
        Self { progress: running.progress, message: running.message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_whatever_is_said_of_its_span() {
        let read = |traceparent: &str| {
            let text = format!(
                r#"{{"worker_id": "w", "claimed_at": "2026-01-01T00:00:00Z", "traceparent": {traceparent}}}"#
            );
            let lease: LeaseView = serde_json::from_str(&text).unwrap();
            lease.traceparent.map(|parent| parent.to_string())
        };
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(read(&format!("\"{parent}\"")).as_deref(), Some(parent));
        assert_eq!(read(&format!("\"00-{}-b7ad6b7169203331-01\"", "0".repeat(32))), None);
        assert_eq!(read("null"), None);
    }
}
