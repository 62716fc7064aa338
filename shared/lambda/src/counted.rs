//! What is counted for metrics: what has happened to tasks, as the table's stream tells it, and what became of messages.
//!
//! Tasks are counted where the stream is read, a hundred events at once. To have each function tell what it did took a line of
//! 290 bytes for each change of a task (0.44 $ for a million tasks), a set of metrics for each route, and told nothing of
//! what `baton serve` did on the same table.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use baton_api::task::EventView;
use baton_model::{EventKind, State};

/// What was done since it was last asked. An event that comes again counts again.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; NAMES.len()]);

/// The metrics, by their names in CloudWatch.
const NAMES: [&str; 8] =
    ["Created", "Claimed", "Completed", "AttemptsFailed", "TasksFailed", "Reaped", "DeadLettered", "Relayed"];

/// What can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Tasks created.
    Created,
    /// Tasks given to workers.
    Claimed,
    /// Tasks completed.
    Completed,
    /// Attempts that their workers failed.
    AttemptsFailed,
    /// Tasks that failed for good, by their workers or taken back from them.
    TasksFailed,
    /// Tasks taken back from workers.
    Reaped,
    /// Messages that can never succeed.
    DeadLettered,
    /// Events put into the queue `task-events`.
    Relayed,
}

impl Counts {
    /// Counts some more.
    pub fn add(&self, what: Count, some: u64) {
        self.0[what as usize].fetch_add(some, Ordering::Relaxed);
    }

    /// Counts an event that was told.
    pub(crate) fn add_event(&self, EventView { kind, to, .. }: &EventView) {
        let what = match kind {
            EventKind::Created => Some(Count::Created),
            EventKind::Claimed => Some(Count::Claimed),
            EventKind::Completed => Some(Count::Completed),
            EventKind::AttemptFailed => Some(Count::AttemptsFailed),
            EventKind::LeaseLost => Some(Count::Reaped),
            EventKind::Released
            | EventKind::Cancelled
            | EventKind::Retried
            | EventKind::Unblocked
            | EventKind::DependencyFailed
            | EventKind::Expired
            | EventKind::Changed => None,
        };
        self.add(Count::Relayed, 1);
        if let Some(what) = what {
            self.add(what, 1);
        }
        self.add(Count::TasksFailed, u64::from(*to == State::Failed));
    }

    /// The counts by the metrics' names, and begins anew.
    pub fn take(&self) -> BTreeMap<&'static str, u64> {
        NAMES.into_iter().zip(&self.0).map(|(name, count)| (name, count.swap(0, Ordering::Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_has_its_name_and_is_taken_once() {
        let counts = Counts::default();
        counts.add(Count::Created, 2);
        counts.add(Count::Relayed, 3);
        let taken = counts.take();
        assert_eq!((taken["Created"], taken["Relayed"], taken["Claimed"]), (2, 3, 0));
        assert_eq!(counts.take().values().sum::<u64>(), 0);
    }

    #[test]
    fn an_event_counts_by_its_kind_and_a_task_that_failed_by_it_too() {
        let counts = Counts::default();
        for (kind, to) in [
            ("created", "queued"),
            ("claimed", "running"),
            ("attempt_failed", "queued"),
            ("attempt_failed", "failed"),
            ("lease_lost", "failed"),
            ("cancelled", "cancelled"),
        ] {
            let event = serde_json::json!({"seq": 1, "at": "2026-02-02T02:40:00Z", "kind": kind, "to": to, "status": to, "attempt": 1});
            counts.add_event(&serde_json::from_value(event).unwrap());
        }
        let taken = counts.take();
        let of = |names: [&'static str; 5]| names.map(|name| taken[name]);
        assert_eq!(of(["Created", "Claimed", "AttemptsFailed", "TasksFailed", "Reaped"]), [1, 1, 2, 2, 1]);
        assert_eq!((taken["Relayed"], taken["Completed"]), (6, 0));
    }
}
