//! How many rivals a process has at each queue, as far as its own refused writes tell. Claims of one process never want
//! the same task; those of several, which know nothing of each other, all want the first one. So each refused write has
//! the next claims pick among more of the first tasks, and each that goes through among fewer, down to the first one
//! again: who is alone keeps the exact order.
//!
//! The two steps are balanced so that about a quarter of the writes is refused, however many rivals there are: fewer
//! refusals cost more read units for the tasks that are picked among than they save (a refused write costs what 35 further
//! entries of the index do). Rejected alternatives are in `docs/decisions/0014-where-claims-look.md`.

use std::collections::HashMap;

use baton_model::{QueueName, Timestamp};

/// Among how many tasks for each wanted one a claim picks once a write was refused.
const FIRST: f32 = 32.0;

/// The most tasks for each wanted one.
const MOST: f32 = 512.0;

/// What a refused write makes of it.
const GROW: f32 = 4.0;

/// What a round without refusal makes of it.
const SHRINK: f32 = 0.8;

/// How long it is remembered after the latest claim, in milliseconds.
const KEPT_MS: u64 = 60_000;

/// The queues at which other processes were faster of late: among how many tasks for each wanted one to pick, and when
/// that was noted.
#[derive(Debug, Default)]
pub(crate) struct Crowds(HashMap<QueueName, (f32, Timestamp)>);

impl Crowds {
    /// Among how many of the first tasks for each wanted one a claim of these queues picks.
    pub(crate) fn among<'a>(&self, queues: impl Iterator<Item = &'a QueueName>, now: Timestamp) -> usize {
        let known = queues.filter_map(|queue| self.0.get(queue)).filter(|(_, at)| is_late(*at, now));
        known.map(|(among, _)| *among as usize).fold(1, usize::max)
    }

    /// Notes that of so many writes for tasks of a queue so many were refused.
    pub(crate) fn note(&mut self, queue: &QueueName, writes: usize, refused: usize, now: Timestamp) {
        let known = self.0.get(queue).filter(|(_, at)| is_late(*at, now)).map_or(1.0, |(among, _)| *among);
        let among = match refused {
            0 => known * SHRINK,
            // Of many tasks that one claim takes, some go to others whoever they are.
            few if few * 4 < writes => known,
            _ => (known * GROW).clamp(FIRST, MOST),
        };
        if among < 2.0 {
            self.0.remove(queue);
        } else {
            self.0.insert(queue.clone(), (among, now));
        }
    }
}

/// Whether something was noted of late; a time ahead was told before the clock was set back.
fn is_late(at: Timestamp, now: Timestamp) -> bool {
    now.as_millis().abs_diff(at.as_millis()) <= KEPT_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    #[test]
    fn who_is_alone_takes_the_first_task_again_after_a_few_claims() {
        let (mut crowds, queue) = (Crowds::default(), QueueName::default());
        assert_eq!(crowds.among([&queue].into_iter(), at(0)), 1);
        crowds.note(&queue, 1, 0, at(0));
        assert!(crowds.0.is_empty(), "nothing is kept of queues without rivals");
        crowds.note(&queue, 1, 1, at(0));
        assert_eq!(crowds.among([&queue].into_iter(), at(0)), 32);
        (0..13).for_each(|_| crowds.note(&queue, 1, 0, at(0)));
        assert_eq!(crowds.among([&queue].into_iter(), at(0)), 1);
        assert!(crowds.0.is_empty());
    }

    #[test]
    fn rivals_of_a_minute_ago_are_forgotten_and_those_of_other_queues_do_not_count() {
        let (mut crowds, queue) = (Crowds::default(), QueueName::default());
        (0..9).for_each(|_| crowds.note(&queue, 1, 1, at(0)));
        assert_eq!(crowds.among([&queue].into_iter(), at(60)), 512);
        assert_eq!(crowds.among([&queue].into_iter(), at(61)), 1);
        assert_eq!(crowds.among([&"other".parse().unwrap()].into_iter(), at(0)), 1);
    }

    #[test]
    fn a_few_of_many_that_go_to_others_change_nothing() {
        let (mut crowds, queue) = (Crowds::default(), QueueName::default());
        crowds.note(&queue, 100, 26, at(0));
        crowds.note(&queue, 100, 24, at(0));
        assert_eq!(crowds.among([&queue].into_iter(), at(0)), 32);
    }
}
