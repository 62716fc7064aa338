//! The word that this process lives, for whoever supervises it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::shared::Shared;

/// How a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// How many attempts it runs.
    pub running: u32,
    /// How many have come to an end with it.
    pub ended: u64,
}

/// Who is told that a worker lives, and how often.
#[derive(Clone)]
pub struct Pulse {
    /// How often.
    pub every: Duration,
    /// Takes the word; it may not wait.
    pub tell: Arc<dyn Fn(Life) + Send + Sync>,
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("every", &self.every).finish_non_exhaustive()
    }
}

/// Tells it until this is dropped. It is told by what the worker itself runs on, and through the worker's own locks: where these
/// stand still, so does this.
pub(crate) async fn beat(shared: Arc<Shared>) {
    let Some(pulse) = shared.options.pulse.clone() else { return };
    let mut due = interval_at(Instant::now(), pulse.every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let summary = shared.summary();
        let ended = summary.completed + summary.failed + summary.released + summary.lost;
        let running = u32::try_from(shared.running().len()).unwrap_or(u32::MAX);
        (pulse.tell)(Life { running, ended });
    }
}
