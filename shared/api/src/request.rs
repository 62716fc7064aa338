//! What callers ask. Each request serialises as it is sent, and is read on arrival by [`ReadFields`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use baton_model::limits::{self, Limits};
use baton_model::{
    Backoff, Expected, Grant, Label, Level, Payload, Priority, ProjectId, QueueName, RequestKey, Scope,
    SessionId, TaskId, TaskType, Timestamp, WorkerId,
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, boolean, integer, list, map, number, parsed, payload, span, text};

fn seconds<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => to.serialize_f64(span.as_secs_f64()),
        None => to.serialize_none(),
    }
}

const NOTE_CHARS: usize = 1_000;

/// A task to create.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CreateTask {
    /// The task's id, if the producer chooses it; the same id with the same content creates nothing new.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub id: Option<TaskId>,
    /// The owner; `default` if not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// The queue; `default` if not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queue: Option<QueueName>,
    /// What kind of work it is.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// `critical`, `high`, `normal` (the default) or `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub priority: Option<Priority>,
    /// The work's input: any JSON, `{}` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub params: Option<Payload>,
    /// What it is, for people; up to 4,096 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The domain that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub domain: Option<Label>,
    /// How far its subject has drifted, by the producer's measure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift_score: Option<f64>,
    /// Who assigned it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub assigned_by: Option<Label>,
    /// When it may first be claimed, RFC 3339; at once if left out. Not with `delay_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub run_after: Option<Timestamp>,
    /// How long after its creation it may first be claimed. Not with `run_after`.
    #[serde(rename = "delay_seconds", skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    #[schema(value_type = Option<f64>)]
    pub delay: Option<Duration>,
    /// How many attempts it is given, 1 to 1,000; 3 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long one attempt may run; as long as it likes if left out.
    #[serde(rename = "timeout_seconds", skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    #[schema(value_type = Option<f64>)]
    pub timeout: Option<Duration>,
    /// How long it waits between attempts; what is left out keeps its default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BackoffSchema>)]
    pub backoff: Option<Backoff>,
}

/// How long a task waits between attempts: `min(base · factor^(n−1), max)`, less up to `jitter` of itself.
#[derive(ToSchema)]
#[schema(as = Backoff)]
pub struct BackoffSchema {
    /// Delay after the first failed attempt, in seconds; 5 if left out.
    pub base_seconds: Option<f64>,
    /// What each further failure multiplies it by, 1 to 10; 2 if left out.
    pub factor: Option<f64>,
    /// The longest delay, in seconds; 600 if left out.
    pub max_seconds: Option<f64>,
    /// The part that jitter may take away, 0 to 1; 0.2 if left out.
    pub jitter: Option<f64>,
}

struct BackoffFields(Backoff);

impl ReadFields for BackoffFields {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let default = Backoff::default();
        let base = f.optional("base_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN));
        let factor = f.optional("factor", number(1.0..=10.0));
        let max = f.optional("max_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN));
        let jitter = f.optional("jitter", number(0.0..=1.0));
        Some(Self(Backoff {
            base: base?.unwrap_or(default.base),
            factor: factor?.unwrap_or(default.factor),
            max: max?.unwrap_or(default.max),
            jitter: jitter?.unwrap_or(default.jitter),
        }))
    }
}

impl CreateTask {
    /// A task of this type with nothing else said.
    pub fn new(task_type: TaskType) -> Self {
        Self {
            id: None,
            project: None,
            queue: None,
            task_type,
            priority: None,
            params: None,
            description: None,
            domain: None,
            drift_score: None,
            assigned_by: None,
            run_after: None,
            delay: None,
            max_attempts: None,
            timeout: None,
            backoff: None,
        }
    }
}

impl ReadFields for CreateTask {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let id = f.optional("id", parsed);
        let project = f.optional("project", parsed);
        let queue = f.optional("queue", parsed);
        let task_type = f.required("type", parsed);
        let priority = f.optional("priority", parsed);
        let params = f.optional("params", payload(limits.params_bytes));
        let description = f.optional("description", text(0..=limits::DESCRIPTION_CHARS));
        let domain = f.optional("domain", parsed);
        let drift_score = f.optional("drift_score", number(f64::MIN..=f64::MAX));
        let assigned_by = f.optional("assigned_by", parsed);
        if f.has("run_after") && f.has("delay_seconds") {
            f.refuse("delay_seconds", Expected::new("run_after or delay_seconds, not both", "both"));
        }
        let run_after = f.optional("run_after", parsed);
        let delay = f.optional("delay_seconds", span(Duration::ZERO, limits::LONGEST_DELAY));
        let max_attempts = f.optional("max_attempts", integer(1..=limits::MAX_ATTEMPTS));
        let timeout = f.optional("timeout_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN));
        let backoff = f.optional_object::<BackoffFields>("backoff", &());
        Some(Self {
            id: id?,
            project: project?,
            queue: queue?,
            task_type: task_type?,
            priority: priority?,
            params: params?,
            description: description?,
            domain: domain?,
            drift_score: drift_score?,
            assigned_by: assigned_by?,
            run_after: run_after?,
            delay: delay?,
            max_attempts: max_attempts?,
            timeout: timeout?,
            backoff: backoff?.map(|fields| fields.0),
        })
    }
}

/// Several tasks to create, 1 to 1,000. Each task is read by itself, so that one misfit need not refuse the rest:
/// the function `create-task` reads the list with [`crate::fields::read_object`].
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CreateBatch {
    /// Whether one refused task refuses all (`true`, the default) or each stands by itself (`false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub atomic: Option<bool>,
    /// The tasks.
    pub tasks: Vec<CreateTask>,
}

/// Asks for work.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ClaimRequest {
    /// The worker that asks.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// The worker's present start, if it names its starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub session_id: Option<SessionId>,
    /// The queues to take from, 1 to 32; `["default"]` if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub queues: Vec<QueueName>,
    /// The types to take, up to 32; all if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub types: Vec<TaskType>,
    /// How many tasks at most, 1 to 100; 1 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tasks: Option<u32>,
    /// How many tasks the worker takes at once, 1 to 10,000; the server's default cap, 1,000, if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// A lease of fixed length, for clients that do not beat. If left out, heartbeats keep the lease alive.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    #[schema(value_type = Option<f64>)]
    pub lease_seconds: Option<Duration>,
    /// How long to wait for work, 0 to 20; not at all if left out.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    #[schema(value_type = Option<f64>)]
    pub wait_seconds: Option<Duration>,
    /// The claim's own name: the same name gives the same leases again, if the first answer was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub request_id: Option<RequestKey>,
}

impl ClaimRequest {
    /// One task from the default queue.
    pub fn new(worker_id: WorkerId) -> Self {
        Self {
            worker_id,
            session_id: None,
            queues: Vec::new(),
            types: Vec::new(),
            max_tasks: None,
            capacity: None,
            lease_seconds: None,
            wait_seconds: None,
            request_id: None,
        }
    }
}

impl ReadFields for ClaimRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let worker_id = f.required("worker_id", parsed);
        let session_id = f.optional("session_id", parsed);
        let queues = f.optional("queues", list(1..=limits::CLAIM_NAMES, parsed));
        let types = f.optional("types", list(1..=limits::CLAIM_NAMES, parsed));
        let max_tasks = f.optional("max_tasks", integer(1..=limits::CLAIM_TASKS));
        let capacity = f.optional("capacity", integer(1..=limits::WORKER_CAPACITY));
        let lease_seconds = f.optional("lease_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN));
        let wait_seconds = f.optional("wait_seconds", span(Duration::ZERO, limits::CLAIM_WAIT));
        let request_id = f.optional("request_id", parsed);
        Some(Self {
            worker_id: worker_id?,
            session_id: session_id?,
            queues: queues?.unwrap_or_default(),
            types: types?.unwrap_or_default(),
            max_tasks: max_tasks?,
            capacity: capacity?,
            lease_seconds: lease_seconds?,
            wait_seconds: wait_seconds?,
            request_id: request_id?,
        })
    }
}

/// Completes a task: its status and its generation in one commit.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CompleteRequest {
    /// The worker that holds the attempt.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// The attempt, as the claim answered.
    pub attempt: u32,
    /// Where the output lies, up to 4,096 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What kind of output it is, such as `image/png`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// More about the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
    /// The output itself, where it is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<Payload>,
    /// A claim for the next task, answered along with this completion. It does not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimRequest>,
}

impl ReadFields for CompleteRequest {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let worker_id = f.required("worker_id", parsed);
        let attempt = f.required("attempt", integer(1..=u32::MAX));
        let location = f.optional("location", text(1..=limits::LOCATION_BYTES));
        let kind = f.optional("kind", text(1..=255));
        let metadata = f.optional("metadata", payload(limits.result_bytes));
        let result = f.optional("result", payload(limits.result_bytes));
        let claim = f.optional_object::<ClaimRequest>("claim", &());
        if let (Some(worker_id), Some(Some(claim))) = (&worker_id, &claim) {
            if claim.worker_id != *worker_id {
                f.refuse(
                    "claim.worker_id",
                    Expected::text(format!("{worker_id}, who completes"), claim.worker_id.as_str()),
                );
            }
            if claim.wait_seconds.is_some_and(|wait| !wait.is_zero()) {
                f.refuse("claim.wait_seconds", Expected::new("no waiting along with a completion", "a wait"));
            }
        }
        Some(Self {
            worker_id: worker_id?,
            attempt: attempt?,
            location: location?,
            kind: kind?,
            metadata: metadata?,
            result: result?,
            claim: claim?,
        })
    }
}

/// Fails an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FailRequest {
    /// The worker that holds the attempt.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// The attempt, as the claim answered.
    pub attempt: u32,
    /// What went wrong.
    pub error: ErrorFields,
    /// Whether another attempt may help; `true` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// How long to wait before it, instead of the backoff.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    #[schema(value_type = Option<f64>)]
    pub retry_after_seconds: Option<Duration>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = TaskError)]
pub struct ErrorFields {
    /// For people; its last 16 KiB are kept.
    pub message: String,
    /// For programs, by the worker's own naming.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub details: Option<Payload>,
}

impl ReadFields for ErrorFields {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let message = f.required("message", text(1..=limits.params_bytes));
        let code = f.optional("code", text(1..=128));
        let details = f.optional("details", payload(limits.params_bytes));
        Some(Self { message: keep_end(message?, limits::ERROR_BYTES), code: code?, details: details? })
    }
}

/// The last `most` bytes of a text, whole characters.
pub fn keep_end(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let from = (text.len() - most..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    format!("…{}", &text[from..])
}

impl ReadFields for FailRequest {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let worker_id = f.required("worker_id", parsed);
        let attempt = f.required("attempt", integer(1..=u32::MAX));
        let error = f.optional_object::<ErrorFields>("error", limits);
        if error == Some(None) {
            f.refuse("error", Expected::new("an object with a message (the field is required)", "nothing"));
        }
        let retryable = f.optional("retryable", boolean);
        let retry_after_seconds =
            f.optional("retry_after_seconds", span(Duration::ZERO, limits::LONGEST_DELAY));
        Some(Self {
            worker_id: worker_id?,
            attempt: attempt?,
            error: error??,
            retryable: retryable?,
            retry_after_seconds: retry_after_seconds?,
        })
    }
}

/// Gives a task back unharmed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ReleaseRequest {
    /// The worker that holds the attempt.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// The attempt, as the claim answered.
    pub attempt: u32,
    /// How long the task is to rest; not at all if left out.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    #[schema(value_type = Option<f64>)]
    pub delay_seconds: Option<Duration>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadFields for ReleaseRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let worker_id = f.required("worker_id", parsed);
        let attempt = f.required("attempt", integer(1..=u32::MAX));
        let delay_seconds = f.optional("delay_seconds", span(Duration::ZERO, limits::LONGEST_DELAY));
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self {
            worker_id: worker_id?,
            attempt: attempt?,
            delay_seconds: delay_seconds?,
            reason: reason?,
        })
    }
}

/// A worker's heartbeat. The worker is named by the path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct HeartbeatRequest {
    /// The worker's present start, if it names its starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub session_id: Option<SessionId>,
    /// All that it runs. A task of its that is not listed here is taken back as forgotten; if left out, none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Vec<RunningFields>>,
    /// How many tasks it takes at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// Readings by name, such as `vram_used_mb`; up to 64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub readings: BTreeMap<String, f64>,
    /// Words about the worker, such as host or version; up to 64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Log lines since the last heartbeat; up to 500.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogFields>,
}

impl ReadFields for HeartbeatRequest {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let session_id = f.optional("session_id", parsed);
        let running = f.optional_objects("running", 0..=limits::WORKER_CAPACITY as usize, &());
        let capacity = f.optional("capacity", integer(1..=limits::WORKER_CAPACITY));
        let readings = f.optional("readings", map(0..=limits::READINGS, 128, number(f64::MIN..=f64::MAX)));
        let labels = f.optional("labels", map(0..=limits::READINGS, 128, text(0..=NOTE_CHARS)));
        let logs = f.optional_objects("logs", 0..=limits::LOG_LINES, limits);
        Some(Self {
            session_id: session_id?,
            running: running?,
            capacity: capacity?,
            readings: readings?.unwrap_or_default(),
            labels: labels?.unwrap_or_default(),
            logs: logs?.unwrap_or_default(),
        })
    }
}

/// One task that a worker runs.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = RunningAttempt)]
pub struct RunningFields {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// The attempt, as the claim answered.
    pub attempt: u32,
    /// How far it has come, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// What it is doing; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ReadFields for RunningFields {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let task_id = f.required("task_id", parsed);
        let attempt = f.required("attempt", integer(1..=u32::MAX));
        let progress = f.optional("progress", number(0.0..=1.0));
        let message = f.optional("message", text(0..=NOTE_CHARS));
        Some(Self { task_id: task_id?, attempt: attempt?, progress: progress?, message: message? })
    }
}

/// One log line.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = LogEntry)]
pub struct LogFields {
    /// When it was written; the heartbeat's time if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub at: Option<Timestamp>,
    /// `debug`, `info` (the default), `warn` or `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub level: Option<Level>,
    /// The part of the worker that wrote it; `worker` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The task that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub task_id: Option<TaskId>,
    /// The line; its first 8 KiB are kept.
    pub message: String,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
}

impl ReadFields for LogFields {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let at = f.optional("at", parsed);
        let level = f.optional("level", parsed);
        let source = f.optional("source", text(1..=128));
        let task_id = f.optional("task_id", parsed);
        let message = f.required("message", text(0..=limits.params_bytes));
        let metadata = f.optional("metadata", payload(limits::LOG_BYTES));
        Some(Self {
            at: at?,
            level: level?,
            source: source?,
            task_id: task_id?,
            message: keep_start(message?, limits::LOG_BYTES),
            metadata: metadata?,
        })
    }
}

/// The first `most` bytes of a text, whole characters.
pub fn keep_start(mut text: String, most: usize) -> String {
    if text.len() > most {
        let to = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(to);
        text.push('…');
    }
    text
}

/// Who asks for an operator's action, and why. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ActionRequest {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadFields for ActionRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self { by: by?, reason: reason? })
    }
}

/// Puts a failed or cancelled task back into its queue. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct RetryRequest {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it is to rest; not at all if left out.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    #[schema(value_type = Option<f64>)]
    pub delay_seconds: Option<Duration>,
}

impl ReadFields for RetryRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        let delay_seconds = f.optional("delay_seconds", span(Duration::ZERO, limits::LONGEST_DELAY));
        Some(Self { by: by?, reason: reason?, delay_seconds: delay_seconds? })
    }
}

/// Takes back tasks whose lease is lost, now instead of at the reaper's next round. The body may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ReapRequest {
    /// Only those of this worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker_id: Option<WorkerId>,
    /// Only those of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queue: Option<QueueName>,
    /// How many at most, 1 to 1,000; 1,000 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl ReadFields for ReapRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let worker_id = f.optional("worker_id", parsed);
        let queue = f.optional("queue", parsed);
        let limit = f.optional("limit", integer(1..=limits::PAGE));
        Some(Self { worker_id: worker_id?, queue: queue?, limit: limit? })
    }
}

/// A token to make.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CreateToken {
    /// What it is for.
    #[schema(value_type = String)]
    pub name: Label,
    /// What its callers may do: any of `producer`, `worker`, `operator`.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
    /// Only tasks of these queues, up to 32; of all if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub queues: Vec<QueueName>,
    /// Only tasks of this project, which may not be `default`; of all if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// How long it is good for, up to ten years; 90 days if neither this nor `expires_at` is given.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    #[schema(value_type = Option<f64>)]
    pub expires_in_seconds: Option<Duration>,
    /// When it ends (RFC 3339), or `never`. Not with `expires_in_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Expiry>,
    /// The most requests a second, 1 to 1,000,000; the server's own limit if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
}

/// When a token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Not by itself.
    Never,
    /// Then.
    At(Timestamp),
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::At(at) => at.fmt(f),
        }
    }
}

impl FromStr for Expiry {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match text {
            "never" => Ok(Self::Never),
            time => time.parse().map(Self::At).map_err(|problem: Expected| {
                Expected::new(format!("never, or {}", problem.expected), problem.got)
            }),
        }
    }
}

impl Serialize for Expiry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl CreateToken {
    /// A token of this name and these scopes with nothing else said.
    pub fn new(name: Label, scopes: Vec<Scope>) -> Self {
        Self {
            name,
            scopes,
            queues: Vec::new(),
            project: None,
            expires_in_seconds: None,
            expires_at: None,
            requests_per_second: None,
        }
    }
}

impl ReadFields for CreateToken {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let name = f.required("name", parsed);
        let scopes = f.required("scopes", list(1..=Scope::ALL.len(), parsed));
        let queues = f.optional("queues", list(1..=Grant::QUEUES, parsed));
        let project = f.optional("project", parsed::<ProjectId>);
        if let Some(Some(project)) = &project
            && *project == ProjectId::default()
        {
            let expected = "a project of its own: `default` holds the tasks of all who name none";
            f.refuse("project", Expected::text(expected, project.as_str()));
        }
        if f.has("expires_in_seconds") && f.has("expires_at") {
            f.refuse("expires_at", Expected::new("expires_in_seconds or expires_at, not both", "both"));
        }
        let expires_in_seconds =
            f.optional("expires_in_seconds", span(Duration::from_secs(1), limits::LONGEST_TOKEN));
        let expires_at = f.optional("expires_at", parsed);
        let requests_per_second = f.optional("requests_per_second", integer(1..=limits::TOKEN_REQUESTS));
        Some(Self {
            name: name?,
            scopes: scopes?,
            queues: queues?.unwrap_or_default(),
            project: project?,
            expires_in_seconds: expires_in_seconds?,
            expires_at: expires_at?,
            requests_per_second: requests_per_second?,
        })
    }
}
