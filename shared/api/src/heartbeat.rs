//! What `heartbeat-worker` is asked and answers.

use std::collections::BTreeMap;

use baton_model::limits::Limits;
use baton_model::{Directive, Level, Payload, SessionId, TaskId, Timestamp, limits};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, boolean, integer, map, number, parsed, payload, text};
use crate::text::{NOTE_CHARS, keep_start};

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
    /// `true` with the last heartbeat, as the worker ends: it is `gone` then, and not `lost`. Left out means `false`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub ending: bool,
    /// Log lines since the last heartbeat; up to 500. Lines over a share of bytes are dropped, and the answer says how many.
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
        let ending = f.optional("ending", boolean);
        let logs = f.optional_objects("logs", 0..=limits::LOG_LINES, limits);
        Some(Self {
            session_id: session_id?,
            running: running?,
            capacity: capacity?,
            readings: readings?.unwrap_or_default(),
            labels: labels?.unwrap_or_default(),
            ending: ending?.unwrap_or_default(),
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
    /// The most bytes of JSON that a completion's result may have, and its metadata (`limits.result_bytes`).
    #[serde(default = "default_result_bytes")]
    #[schema(required)]
    pub result_bytes: usize,
    /// What of this heartbeat's log lines was dropped, as they were over a share; left out if none was. The heartbeat itself
    /// counts, and the lines are not to be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LogsDropped>)]
    pub logs_dropped: Option<LogsDropped>,
}

/// Log lines that were not kept, as more came than their worker's share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogsDropped {
    /// How many.
    pub lines: u64,
    /// How many bytes they are: of each its message, source and metadata, and 100 bytes.
    pub bytes: u64,
}

impl LogsDropped {
    /// Counts more of them.
    pub fn add(&mut self, more: Self) {
        self.lines = self.lines.saturating_add(more.lines);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// What a server has as it comes, for one that does not say.
fn default_result_bytes() -> usize {
    Limits::default().result_bytes
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
