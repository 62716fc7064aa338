//! Tells whoever supervises this process that it lives.

use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::life::Life;
use crate::shared::Shared;

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
