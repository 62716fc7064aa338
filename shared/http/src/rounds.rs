//! The reaper's rounds of a process, for those who look after it: `GET /v1/reaper`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::round::RECALLED;
use baton_model::{RoundDone, Timestamp};

/// How many rounds are kept that took something or failed, and how many of all others: half an hour's, at the usual pace.
const KEPT: [usize; 2] = [500, 360];

/// The rounds that this process has made, and those that the note of the process before it tells of.
#[derive(Debug, Default)]
pub struct Rounds(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// How long after a round the next one begins; none in a process that makes none by itself.
    every: Option<Duration>,
    /// Since when the round runs that is not through yet.
    running: Option<Timestamp>,
    /// How far past its keeping the oldest thing is that removals have left.
    overdue: Duration,
    /// The latest first, each with its place in the order of all, as a clock may be set back: what is worth keeping longer, and all else.
    rounds: [VecDeque<(u64, RoundDone)>; 2],
    /// The place of the next one.
    next: u64,
}

/// What is known of the rounds.
#[derive(Clone, Debug, Default)]
pub struct Recalled {
    /// How long after a round the next one begins; none if the process makes none by itself.
    pub every: Option<Duration>,
    /// Since when a round runs that is not through yet.
    pub running: Option<Timestamp>,
    /// How far past its keeping the oldest thing is that removals have left.
    pub overdue: Duration,
    /// The rounds, the latest first.
    pub rounds: Vec<RoundDone>,
}

impl Rounds {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What is in it is whole after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the note of the process before tells.
    pub fn recall(&self, latest: &[RoundDone]) {
        latest.iter().rev().for_each(|round| self.put(round.clone()));
    }

    /// From now on a round is made so often.
    pub fn every(&self, interval: Duration) {
        self.kept().every = Some(interval);
    }

    /// A round begins.
    pub fn begins(&self, at: Timestamp) {
        self.kept().running = Some(at);
    }

    /// A round is through.
    pub fn made(&self, round: RoundDone, overdue: Duration) {
        self.put(round);
        let mut kept = self.kept();
        kept.running = None;
        kept.overdue = overdue;
    }

    fn put(&self, round: RoundDone) {
        let which = usize::from(!round.is_notable());
        let mut kept = self.kept();
        let place = kept.next;
        kept.next += 1;
        kept.rounds[which].truncate(KEPT[which] - 1);
        kept.rounds[which].push_front((place, round));
    }

    /// What is known.
    pub fn recalled(&self) -> Recalled {
        let kept = self.kept();
        let rounds = in_order(kept.rounds.iter().flatten());
        Recalled { every: kept.every, running: kept.running, overdue: kept.overdue, rounds }
    }

    /// What the note of a round is to tell of those before it: of what took something or failed, as far as there is any.
    pub fn to_note(&self) -> Vec<RoundDone> {
        let kept = self.kept();
        let [notable, others] = &kept.rounds;
        in_order(others.iter().take(1).chain(notable).take(RECALLED))
    }
}

/// The latest first.
fn in_order<'a>(rounds: impl Iterator<Item = &'a (u64, RoundDone)>) -> Vec<RoundDone> {
    let mut rounds: Vec<_> = rounds.collect();
    rounds.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
    rounds.into_iter().map(|(_, round)| round.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(at: i64, taken: u64) -> RoundDone {
        RoundDone { at: Timestamp::from_millis(at), taken, ..RoundDone::default() }
    }

    #[test]
    fn what_took_something_outlives_a_thousand_rounds_that_did_not_and_the_process() {
        let rounds = Rounds::default();
        rounds.every(Duration::from_secs(5));
        for at in 0..2_000 {
            rounds.begins(Timestamp::from_millis(at));
            rounds.made(round(at, u64::from(at == 7)), Duration::ZERO);
        }
        let recalled = rounds.recalled();
        assert_eq!(recalled.rounds.len(), KEPT[1] + 1);
        assert_eq!((recalled.rounds[0].at.as_millis(), recalled.rounds[360].at.as_millis()), (1_999, 7));
        assert_eq!((recalled.running, recalled.every), (None, Some(Duration::from_secs(5))));
        let next = Rounds::default();
        next.recall(&rounds.to_note());
        let times: Vec<_> = next.recalled().rounds.iter().map(|round| round.at.as_millis()).collect();
        assert_eq!(times, [1_999, 7]);
    }

    #[test]
    fn however_many_fail_so_many_are_kept_and_few_are_noted() {
        let rounds = Rounds::default();
        (0..2_000).for_each(|at| rounds.made(round(at, 1), Duration::ZERO));
        assert_eq!(rounds.recalled().rounds.len(), KEPT[0]);
        assert_eq!(rounds.to_note().len(), RECALLED);
        assert_eq!(rounds.to_note()[0].at.as_millis(), 1_999);
    }
}
