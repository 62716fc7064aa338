//! How many machines should run workers, as it is told.

use baton_model::{GroupName, QueueName, Timestamp};
use serde::{Deserialize, Serialize};

/// All pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingView {
    /// When this was so.
    pub at: Timestamp,
    /// The pools, in the order of the settings.
    pub items: Vec<PoolView>,
}

/// A pool of queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// Its name.
    pub name: GroupName,
    /// Its queues.
    pub queues: Vec<QueueName>,
    /// How many machines it should have.
    pub wanted: u32,
    /// How many it has: machines with a live worker that may claim from its queues. A worker that names no machine is one by itself.
    pub have: u32,
    /// How many such workers there are.
    pub workers: u32,
    /// Of these, how many hold nothing.
    pub idle: u32,
    /// `queued_only`, `active_only`, `both`, `blocked_by_capacity`, `blocked_by_dependencies`, `potentially_claimable` or `nothing`.
    pub why: String,
    /// What bounds `wanted`: `least`, `most` or `budget`; left out if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
    /// Tasks that machines are wanted for: `claimable` and `running` together.
    pub tasks: u64,
    /// Tasks that a claim would be given now.
    pub claimable: u64,
    /// Tasks that a worker holds.
    pub running: u64,
    /// Tasks that are ready and kept by their queue's limit.
    pub at_limit: u64,
    /// Tasks that are ready and whose queue is paused.
    pub paused: u64,
    /// Tasks that wait for other tasks.
    pub blocked: u64,
    /// Tasks that are for later.
    pub later: u64,
    /// How many machines there are whatever waits.
    pub least: u32,
    /// How many there may be.
    pub most: u32,
    /// How many tasks a machine runs at once.
    pub tasks_per_machine: u32,
}
