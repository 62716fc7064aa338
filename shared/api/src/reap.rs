//! What `reap-stale-workers` is asked and answers.

use baton_model::{LossReason, QueueName, RoundDone, State, TaskId, Timestamp, WorkerId, limits};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, integer, parsed};

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

/// How the reaper is: whether it makes its rounds, and what the last of them did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Reaper)]
pub struct ReaperView {
    /// As of when.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// Where the rounds are told from: `server`, which makes them itself and knows each of them; or `note`, which one round leaves for
    /// the next, with the last 8 (on AWS, where no process lives from one round to the next).
    pub known_by: String,
    /// How long after a round the next one is to be expected.
    pub every_seconds: f64,
    /// When the last round began; left out if none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub last_at: Option<Timestamp>,
    /// When the next one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub next_at: Option<Timestamp>,
    /// Since when a round runs that is not through yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub running_since: Option<Timestamp>,
    /// Since when workers can be heard without a break: none is lost before it could speak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub heard_since: Option<Timestamp>,
    /// Why nothing is removed; left out if the time is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<DoubtView>,
    /// How far past its keeping the oldest thing is that removals have left; 0 if nothing is.
    pub overdue_seconds: f64,
    /// What the last rounds did, the latest first: the last half an hour's, and of those that took something back or failed the
    /// last 500.
    pub rounds: Vec<RoundView>,
}

/// A time that is not believed yet, as it has jumped since the round before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Doubt)]
pub struct DoubtView {
    /// Since when.
    #[schema(value_type = String, format = "date-time")]
    pub since: Timestamp,
    /// Until when, if the time goes on evenly.
    #[schema(value_type = String, format = "date-time")]
    pub until: Timestamp,
    /// The last time that was believed; left out where there was none yet, at the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub believed: Option<Timestamp>,
}

/// A round of the reaper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ReaperRound)]
pub struct RoundView {
    /// When it began.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// How long it took; where `known_by` is `note`, without its removals.
    pub seconds: f64,
    /// Tasks taken back.
    pub taken: u64,
    /// Tasks that failed as they were not started in time.
    pub expired: u64,
    /// Workers that held some of these and no longer beat.
    pub workers_lost: u64,
    /// Finished tasks, log lines, workers and keys removed.
    pub removed: u64,
    /// Whether time or bounds ran out before the work did.
    pub more: bool,
    /// Why it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Who made it: host and process; left out on AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl From<RoundDone> for RoundView {
    fn from(done: RoundDone) -> Self {
        Self {
            at: done.at,
            seconds: done.millis as f64 / 1_000.0,
            taken: done.taken,
            expired: done.expired,
            workers_lost: done.workers_lost,
            removed: done.removed,
            more: done.more,
            error: done.error,
            by: Some(done.by).filter(|by| !by.is_empty()),
        }
    }
}
