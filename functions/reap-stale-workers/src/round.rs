//! What a round of the reaper did.

use serde::Serialize;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Tasks taken back.
    pub taken: u64,
    /// Tasks that failed as they were not started in time.
    pub expired: u64,
    /// Workers that held some of these, no longer beat, and have not said that they end.
    pub workers_lost: u64,
    /// Tasks that schedules and supplies created.
    pub created: u64,
    /// Schedules that missed times which nothing makes up for, and those that could not be moved on.
    pub schedules_missed: u64,
    /// Finished tasks, log lines, workers and keys removed.
    pub removed: u64,
    /// Finished tasks written to an archive before they were removed; none where this process has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<u64>,
    /// How far past its end the oldest thing is that the store should have removed by itself, in seconds; none where it does
    /// not, or was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overdue_seconds: Option<u64>,
    /// Whether time or bounds ran out before the work did.
    pub more: bool,
}
