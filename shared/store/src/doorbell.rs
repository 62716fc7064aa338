//! The doorbell: a hint that a task may have become claimable. It wakes waiting claims; losing or repeating a ring
//! changes nothing but latency.

use baton_model::{QueueName, TaskType, Timestamp};

/// What may have become claimable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The queue.
    pub queue: QueueName,
    /// The type; none if any (a queue was resumed).
    pub task_type: Option<TaskType>,
    /// How many tasks.
    pub count: u32,
    /// From when on. It may lie ahead: then a waiting claim learns until when to wait.
    pub run_after: Timestamp,
}

/// Hears, after each commit, what may have become claimable by it.
pub trait Doorbell: Send + Sync {
    /// Wakes whom it concerns. Must not block: a store rings on its writing thread.
    fn ring(&self, ready: Ready);

    /// Hears before a commit what will become claimable by it, if those whom this wakes look through the ringing store alone, so that they
    /// come behind what they are woken for. Gives how many it has woken; none if it is to hear of it after the commit. Must not block.
    fn ring_early(&self, _ready: &Ready) -> Option<u32> {
        None
    }

    /// Hears that a claim has come to a queue that has a supply ([`crate::SupplyStore`]), or that one was set: it may be low. A hint
    /// as a ring is, and must not block either.
    fn asked(&self, _queue: &QueueName) {}
}

/// A doorbell that nobody hears.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDoorbell;

impl Doorbell for NoDoorbell {
    fn ring(&self, _ready: Ready) {}
}
