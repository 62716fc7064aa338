//! How a group is kept: the part of its settings by which its supervisor decides.

use std::time::Duration;

use baton_runtime::settings::{RestartWhen, WorkerGroup};

/// How many times its interval a worker may be silent.
const SILENT_BEATS: u32 = 3;
/// The least time that a worker may be silent: a busy machine starts a process slowly.
const LEAST_SILENCE: Duration = Duration::from_secs(1);

/// How a group is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How many workers there are to be.
    pub count: u32,
    /// When one that ends by itself is started again.
    pub restart: RestartWhen,
    /// The first pause before that.
    pub restart_pause: Duration,
    /// The longest such pause.
    pub longest_pause: Duration,
    /// How long one must live for its pauses to begin anew.
    pub healthy_after: Duration,
    /// How often one may be started again within the window.
    pub max_restarts: u32,
    /// The window.
    pub restart_window: Duration,
    /// After how many tasks another start takes its place.
    pub recycle_tasks: Option<u64>,
    /// After how long.
    pub recycle_after: Option<Duration>,
    /// With how many bytes in its memory.
    pub recycle_bytes: Option<u64>,
    /// How long one may be silent before it counts as hung.
    pub silence: Duration,
    /// How long one that is to end may finish what it runs.
    pub stop_grace: Duration,
}

impl From<&WorkerGroup> for Plan {
    fn from(group: &WorkerGroup) -> Self {
        Self {
            count: group.count,
            restart: group.restart,
            restart_pause: group.restart_pause,
            longest_pause: group.longest_pause,
            healthy_after: group.healthy_after,
            max_restarts: group.max_restarts,
            restart_window: group.restart_window,
            recycle_tasks: group.recycle_tasks,
            recycle_after: group.recycle_after,
            recycle_bytes: group.recycle_bytes,
            silence: (group.health_interval * SILENT_BEATS).max(LEAST_SILENCE),
            stop_grace: group.stop_grace,
        }
    }
}
