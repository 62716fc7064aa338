//! What `reap-stale-workers` is asked and answers.

use baton_model::{LossReason, QueueName, State, TaskId, WorkerId, limits};
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
