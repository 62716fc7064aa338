//! What `query-tasks` answers of all that surrounds tasks: workers, queues, counts, log lines, the server's health.

use std::collections::BTreeMap;

use baton_model::queue::Pause;
use baton_model::{
    Directed, Directive, Label, Level, Living, LogLine, Payload, QueueName, SessionId, TaskId, TaskType,
    Timestamp, WorkerId, WorkerStatus,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::defaults::DefaultsView;
use crate::order::OrderView;

/// A worker as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Worker)]
pub struct WorkerView {
    /// The worker.
    #[schema(value_type = String)]
    pub id: WorkerId,
    /// `active`, `draining` or `stopping` while it beats; `silent` if it has claimed and not beaten since it started; `lost`
    /// when it no longer beats; `gone` once it has said that it ends.
    #[schema(value_type = String)]
    pub status: WorkerStatus,
    /// What its life has come to; left out by servers of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<LifeView>,
    /// Its latest start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub session_id: Option<SessionId>,
    /// When it was first heard of in this session.
    #[schema(value_type = String, format = "date-time")]
    pub started_at: Timestamp,
    /// When it last showed that two starts of this name live at once, within the last hour: give each worker a name of
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub contested_at: Option<Timestamp>,
    /// Its last heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub last_beat_at: Option<Timestamp>,
    /// When it said that it ends, if it is `gone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub ended_at: Option<Timestamp>,
    /// What an operator has asked of it: `run`, `drain` or `stop`.
    #[schema(value_type = String)]
    pub directive: Directive,
    /// Since when it is to drain or stop, who has asked for it, and why; left out of `run`, and where an earlier version was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directed: Option<DirectedView>,
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
    /// With `lately` alone: how its readings went; left out if the process that answers has heard none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lately: Option<LatelyView>,
}

/// That a worker was asked to drain or to stop. Of several requests for the same in a row the first one counts; but one that says who asks
/// takes the place of one that does not, such as that of a rule for readings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Directed)]
pub struct DirectedView {
    /// Since when.
    #[schema(value_type = String, format = "date-time")]
    pub since: Timestamp,
    /// Who asked: the name that was given with the request, else that of its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why, if a reason was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<Directed> for DirectedView {
    fn from(directed: Directed) -> Self {
        Self { since: directed.since, by: directed.by, reason: directed.reason }
    }
}

/// The readings of a worker's last heartbeats, up to 60, the first one first: as the process that answers has heard them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Lately)]
pub struct LatelyView {
    /// When each came.
    #[schema(value_type = Vec<String>)]
    pub at: Vec<Timestamp>,
    /// Of up to 8 readings, the value that each heartbeat told; `null` where it told none.
    pub readings: BTreeMap<String, Vec<Option<f64>>>,
}

/// What a worker's life has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Life)]
pub struct LifeView {
    /// `spawning`, `active`, `draining`, `terminating`, `gone`, `lost`, or `failed`: its supervisor has given it up.
    pub state: String,
    /// Since when; left out of what an operator has asked of a version that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub since: Option<Timestamp>,
    /// Why, in words.
    pub why: String,
}

impl From<Living> for LifeView {
    fn from(living: Living) -> Self {
        Self { state: living.life.as_str().to_owned(), since: living.since, why: living.why }
    }
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
    /// Since when, by whom and why, if it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseView>,
    /// What it gives to tasks that do not say; left out if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<DefaultsView>,
    /// In which order it gives out its tasks; left out if in the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderView>,
    /// Whether a task has ever named it. A queue that no task has named is listed only while it is paused, or has an
    /// order of its own or defaults.
    pub used: bool,
    /// Tasks that wait, now or for later: `queued`, `created` and `retry` together.
    pub waiting: u64,
    /// Of these, tasks of the status `queued`: ready now.
    pub queued: u64,
    /// Of these, tasks of the status `created`: for later, and never claimed.
    pub created: u64,
    /// Of these, tasks of the status `retry`: for later, and claimed before.
    pub retry: u64,
    /// Which of these numbers are bounds (`queued`, `created`, `retry`): there are at least so many. A count ends at
    /// 10,000. Empty if all are exact.
    #[serde(default)]
    pub at_least: Vec<String>,
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
    /// As of when `waiting`, `running` and the percentiles are. On a table whose stream keeps the counts, this trails
    /// behind the tasks, and is missing until something was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub counted_at: Option<Timestamp>,
}

/// That a queue is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Pause)]
pub struct PauseView {
    /// When it was paused.
    #[schema(value_type = String, format = "date-time")]
    pub since: Timestamp,
    /// Who paused it: the name that was given with the request, else that of its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why, if a reason was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<Pause> for PauseView {
    fn from(pause: Pause) -> Self {
        Self { since: pause.since, by: pause.by, reason: pause.reason }
    }
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
    /// All tasks, by what they do: `waiting` (of the status `queued`, `created` or `retry`), `running`, `completed`, `failed`
    /// and `cancelled`. Whatever the bounds of the lists below.
    pub states: BTreeMap<String, u64>,
    /// Tasks by queue, type and state: of the queues that are listed, up to 1,000 rows, those with the most tasks.
    pub counts: Vec<CountView>,
    /// What `counts` leaves out, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_counts: Option<OtherCountsView>,
    /// The 100 queues with the most tasks that wait or run, by name. `GET /v1/queues` lists all, by pages.
    pub queues: Vec<QueueView>,
    /// What `queues` leaves out, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_queues: Option<OtherQueuesView>,
    /// The workers.
    pub workers: WorkerCountsView,
    /// What was done in each of the last 24 hours in the queues that are listed, the earliest first; hours in which nothing was are
    /// left out.
    #[serde(default)]
    pub hours: Vec<HourView>,
    /// What waited and ran at each minute of the last 24 hours, if it was asked for (`minutes`) and the process that answers has noted
    /// any: a server has, from its start on; a function on AWS has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<MinutesView>,
}

/// How many tasks waited and ran, minute by minute, the earliest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Minutes)]
pub struct MinutesView {
    /// When the first minute began.
    #[schema(value_type = String, format = "date-time")]
    pub from: Timestamp,
    /// How many waited at each minute from there on, up to 1,440; `null` where it was not noted.
    pub waiting: Vec<Option<u64>>,
    /// How many ran.
    pub running: Vec<Option<u64>>,
}

/// What was done in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Hour)]
pub struct HourView {
    /// When it began.
    #[schema(value_type = String, format = "date-time")]
    pub from: Timestamp,
    /// How many tasks were claimed.
    pub claimed: u64,
    /// How many were completed.
    pub completed: u64,
    /// How many attempts failed: their workers failed them, or were lost with them. A task that is tried again counts each time.
    #[serde(default)]
    pub failed: u64,
}

/// The queues that statistics do not list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OtherQueues)]
pub struct OtherQueuesView {
    /// How many there are.
    pub queues: u64,
    /// Their tasks, by what they do.
    pub states: BTreeMap<String, u64>,
}

/// The rows of counts that statistics do not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OtherCounts)]
pub struct OtherCountsView {
    /// How many rows there are.
    pub rows: u64,
    /// How many tasks they count.
    pub tasks: u64,
}

/// How many tasks of one kind do the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Count)]
pub struct CountView {
    /// The queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// The type; `other` where `beyond` is set.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// Set where this is the sum of all further types of the queue: it has had more than so many (500), which is as many as
    /// are counted by name on DynamoDB. `baton table rebuild-statistics` gives the names anew, to types that still have tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond: Option<u32>,
    /// What they do: `waiting` (of the status `queued`, `created` or `retry`), `running`, `completed`, `failed` or
    /// `cancelled`.
    pub state: String,
    /// How many.
    pub tasks: u64,
}

/// Workers by what they do. Each worker that is known is alive, silent, lost or gone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = WorkerCounts)]
pub struct WorkerCountsView {
    /// Alive by their heartbeats: `active`, `draining` or `stopping`.
    pub alive: u64,
    /// Of these, those that hold a task.
    pub busy: u64,
    /// Of these, those that hold none.
    pub idle: u64,
    /// They have claimed, but not beaten since they started.
    pub silent: u64,
    /// Not heard of for longer than the heartbeat timeout.
    pub lost: u64,
    /// They have said that they end.
    pub gone: u64,
}

/// One line of the workers' time line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LogLine)]
pub struct LogView {
    /// When the worker wrote it, by its own word.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// When it was received. Lines are listed by this, the latest first.
    #[schema(value_type = String, format = "date-time")]
    pub received_at: Timestamp,
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
            received_at: line.received_at,
            worker_id: line.worker,
            task_id: line.task,
            level: line.level,
            source: line.source,
            message: line.message,
            metadata: line.metadata,
        }
    }
}
