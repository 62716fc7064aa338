//! Queues whose ready tasks wait for long: those of which it is asked why.

use std::time::Duration;

use baton_api::fleet::{QueueView, StatsView};
use baton_model::Timestamp;

/// How many there are at most.
const QUEUES: usize = 10;

/// A queue whose ready tasks wait for long.
pub struct Late<'a> {
    /// The queue.
    pub queue: &'a QueueView,
    /// A time before which its oldest ready task was created, unless that became ready long after.
    pub created_before: Timestamp,
}

/// Queues that give out tasks and whose oldest ready one waits for longer than `patience`: the latest first, up to ten.
pub fn late(stats: &StatsView, patience: Duration) -> Vec<Late<'_>> {
    let age = |queue: &QueueView| {
        Duration::try_from_secs_f64(queue.oldest_ready_seconds.unwrap_or_default()).unwrap_or_default()
    };
    let mut long: Vec<_> =
        stats.queues.iter().filter(|queue| !queue.paused && age(queue) > patience).collect();
    long.sort_by_key(|queue| std::cmp::Reverse(age(queue)));
    long.truncate(QUEUES);
    let late = long.into_iter().map(|queue| Late {
        queue,
        // A second more, as the age was told a moment ago.
        created_before: stats.at.minus(age(queue).saturating_sub(Duration::from_secs(1))),
    });
    late.collect()
}
