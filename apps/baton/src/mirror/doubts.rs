//! Tasks whose readings are older than what is written of them, and since when.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use baton_model::TaskId;

/// How long a reading that is older than what is written is doubted before its task is asked for by itself: longer than any list is
/// behind its store, or an answer on its way.
pub(super) const DOUBTED: Duration = Duration::from_secs(5);

/// How many such tasks are remembered; a sweep meets the others again.
const MOST: usize = 100_000;

/// Such tasks.
#[derive(Debug, Default)]
pub(super) struct Doubts(HashMap<TaskId, Instant>);

impl Doubts {
    /// A reading of a task was older than what is written.
    pub(super) fn raise(&mut self, task: TaskId, now: Instant) {
        if self.0.len() < MOST {
            self.0.entry(task).or_insert(now);
        }
    }

    /// A reading of a task was not: the earlier one was merely late.
    pub(super) fn withdraw(&mut self, task: TaskId) {
        self.0.remove(&task);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that were doubted for long enough.
    pub(super) fn due(&self, now: Instant) -> Vec<TaskId> {
        let is_due = |since: Instant| now.saturating_duration_since(since) >= DOUBTED;
        self.0.iter().filter(|(_, since)| is_due(**since)).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_late_is_doubted_anew_from_the_next_time_on() {
        let (first, second) = (TaskId::from_bytes([1; 16]), TaskId::from_bytes([2; 16]));
        let begun = Instant::now();
        let mut doubts = Doubts::default();
        doubts.raise(first, begun);
        doubts.raise(second, begun);
        doubts.withdraw(second);
        doubts.raise(second, begun + Duration::from_secs(1));
        // Said again, it is no newer.
        doubts.raise(first, begun + Duration::from_secs(2));
        assert!(doubts.due(begun + DOUBTED - Duration::from_millis(1)).is_empty());
        assert_eq!(doubts.due(begun + DOUBTED), [first]);
        assert_eq!(doubts.due(begun + DOUBTED + Duration::from_secs(1)).len(), 2);
        doubts.withdraw(first);
        doubts.withdraw(second);
        assert!(doubts.is_empty());
    }
}
