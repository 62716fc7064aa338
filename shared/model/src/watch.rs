//! What time it is to whoever judges leases: how the clock was set meanwhile, and since when workers could be heard.
//!
//! Leases are spans of time, and a clock that is set tells spans wrong: an hour ahead, and every worker looks silent for
//! an hour; an hour back, and nothing ends for an hour. So whoever judges brings along how its clock was set, and
//! spans are told as if it never had been. `docs/clocks.md` says how far that goes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::LeasePolicy;
use crate::task::Head;
use crate::time::Timestamp;

/// How far a time may lie ahead and still count as the present: the clocks of two processes differ. What lies further
/// ahead was told by a clock that was wrong.
pub const AHEAD: Duration = Duration::from_secs(3_600);

/// How many settings of a clock are remembered; what is older hardly concerns a lease.
pub const STEPS: usize = 16;

/// A setting of the clock: it stood at one time and was set to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it told before.
    pub before: Timestamp,
    /// What it was set to.
    pub after: Timestamp,
}

impl Step {
    /// By how much, in milliseconds; below zero if it was set back.
    pub const fn millis(self) -> i64 {
        self.after.as_millis() - self.before.as_millis()
    }
}

/// The time as whoever judges leases knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The present time.
    pub now: Timestamp,
    /// Since when workers could be heard without a break, on the clock as it is set now. Nothing is said by a worker's
    /// silence before it.
    pub heard_since: Timestamp,
    /// How the clock was set, the latest first; at most [`STEPS`].
    pub steps: Vec<Step>,
    /// How much longer than the heartbeat timeout workers may be silent while none at all is heard. Where workers speak to
    /// others than who judges, that they all fall silent at once says rather that these cannot be reached.
    pub patience: Duration,
}

impl Watch {
    /// The time by a clock that was never set, of one who could always hear, without patience.
    pub const fn at(now: Timestamp) -> Self {
        Self { now, heard_since: Timestamp::UNIX_EPOCH, steps: Vec::new(), patience: Duration::ZERO }
    }

    /// The same, once it is known how long ago the last heartbeat of all workers was: without patience if somebody is heard.
    #[must_use]
    pub fn hearing(self, last_beat: Option<Duration>, policy: &LeasePolicy) -> Self {
        let nobody = last_beat.is_some_and(|ago| ago > policy.heartbeat_timeout);
        if nobody { self } else { Self { patience: Duration::ZERO, ..self } }
    }

    /// For how long workers could be heard.
    pub fn heard_for(&self) -> Duration {
        self.now.since(self.heard_since)
    }

    /// A time that lies ahead, as this clock would have told it then; another as it is.
    pub fn dated(&self, then: Timestamp) -> Timestamp {
        if then > self.now { self.now.minus(self.elapsed(then)) } else { then }
    }

    /// How long ago `then` was, without what the clock was set ahead or back in between.
    ///
    /// Where the clock was set back, it told the same times twice. Then the later one is taken, so that a span is told
    /// too short by what the clock was set back at most, and never too long: a lease is ended late rather than early.
    ///
    /// What no time of this clock explains was told by another one. Up to [`AHEAD`] ahead, it is the present. Further ahead it
    /// says nothing, and the span is as long as could be heard.
    pub fn elapsed(&self, then: Timestamp) -> Duration {
        let mut end = self.now;
        let mut since = Duration::ZERO;
        for step in &self.steps {
            if (step.after..=end).contains(&then) {
                return since + end.since(then);
            }
            since += end.since(step.after);
            end = step.before;
        }
        if then <= end {
            return since + end.since(then);
        }
        match self.steps.first() {
            _ if then > self.now.plus(AHEAD) => self.heard_for(),
            _ if then > self.now => Duration::ZERO,
            // A time that the clock was set past.
            Some(latest) => self.now.since(latest.after),
            None => Duration::ZERO,
        }
    }
}

/// After the clock was set back: from when on a queued task may be claimed that waits for a time that was reckoned by the
/// clock as it was. None if its time is as it is to be.
///
/// A task that was not made to wait is due at once. One that has been tried waits for so long after the end of its
/// attempt as it was to. One that was made to wait and has not been tried is left: nobody knows whether its time was named
/// by a clock that was right.
pub fn redated(
    head: &Head,
    created_at: Timestamp,
    updated_at: Timestamp,
    watch: &Watch,
) -> Option<Timestamp> {
    // What was reckoned since lies before the latest change, which is dated as the ones before it.
    if head.run_after <= watch.now || updated_at <= watch.now || head.run_after < updated_at {
        return None;
    }
    let was_tried = head.events > 1;
    if !was_tried && head.run_after > created_at {
        return None;
    }
    let rest = head.run_after.since(updated_at).saturating_sub(watch.elapsed(updated_at));
    Some(watch.now.plus(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// A watch at `now` whose clock was set from one second to another, the latest first.
    fn watch(now: i64, steps: &[(i64, i64)]) -> Watch {
        let steps =
            steps.iter().map(|(before, after)| Step { before: at(*before), after: at(*after) }).collect();
        Watch { heard_since: at(now - 10), steps, ..Watch::at(at(now)) }
    }

    #[test]
    fn a_clock_that_was_never_set_tells_spans_as_they_are() {
        assert_eq!(watch(100, &[]).elapsed(at(40)), secs(60));
        assert_eq!(watch(100, &[]).elapsed(at(100)), Duration::ZERO);
    }

    #[test]
    fn what_it_was_set_ahead_does_not_count() {
        // An hour ahead at 50.
        let watch = watch(3_660, &[(50, 3_650)]);
        assert_eq!(watch.elapsed(at(3_655)), secs(5), "since");
        assert_eq!(watch.elapsed(at(45)), secs(15), "before");
    }

    #[test]
    fn what_it_was_set_back_counts() {
        // An hour back at 3,650, ten seconds ago.
        let watch = watch(60, &[(3_650, 50)]);
        assert_eq!(watch.elapsed(at(3_645)), secs(15), "a time that is still ahead");
        assert_eq!(watch.elapsed(at(40)), secs(3_620), "a time before all of it");
        assert_eq!(watch.elapsed(at(55)), secs(5), "of two such times the later");
    }

    #[test]
    fn a_moment_far_ahead_is_as_if_it_had_not_been() {
        // 35 days ahead at 50 for two seconds.
        let days = 35 * 86_400;
        let watch = watch(60, &[(days + 52, 52), (50, days + 50)]);
        assert_eq!(watch.elapsed(at(20)), secs(40));
        assert_eq!(watch.elapsed(at(days + 51)), secs(9));
        assert_eq!(watch.elapsed(at(55)), secs(5));
    }

    #[test]
    fn a_time_of_another_clock_is_bounded() {
        assert_eq!(watch(100, &[]).elapsed(at(3_700)), Duration::ZERO, "an hour ahead is the present");
        assert_eq!(watch(100, &[]).elapsed(at(3_701)), secs(10), "further ahead says nothing");
        assert_eq!(watch(3_660, &[(50, 3_650)]).elapsed(at(1_000)), secs(10), "nobody told this time here");
    }
}
