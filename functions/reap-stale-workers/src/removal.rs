//! Removing what is past its keeping, at the pace at which it comes.
//!
//! A store on one file removes on the thread that writes everything else. So it goes by slices of some milliseconds, and rests
//! between them. How long it rests follows from what it sees: if some kind of thing is further behind at the end of a round than
//! at the end of the one before, it rests half as long, at last not at all; if a round has got to the end of all, twice as long
//! again. So what comes is kept up with, at any rate; and a mountain, such as a shortened keeping leaves, is cleared away
//! gently, as it does not grow.
//!
//! A store that removes by itself what has an end has little left to do, the same at any rate. It is asked once a minute.

use std::time::Duration;

use baton_http::App;
use baton_model::Timestamp;
use baton_store::{Capabilities, Overdue, Purge, StoreError};
use tokio::time::Instant;

use crate::round::Round;

/// How many things of each kind go in one command of a store that goes on to its limit: few enough that other commands do not
/// wait long behind it.
const BATCH: u32 = 256;

/// How many such commands one round makes.
const BATCHES: u32 = 4;

/// For how long a store on one file removes without letting others go first: about as long as a group of 64 callers' commands
/// takes it. Shorter slices write the same pages more often.
const SLICE: Duration = Duration::from_millis(3);

/// How many things of each kind go in a slice at most. Time is what ends it, but where a thing costs next to nothing.
const SLICE_LIMIT: u32 = 10_000;

/// The rest after a slice, in lengths of it: at the start, and at most.
const LONGEST_REST: u32 = 8;

/// How often a store is asked that removes by itself.
const SELDOM: Duration = Duration::from_secs(60);

/// What one round knows of those before it.
#[derive(Debug)]
pub(crate) struct Removal {
    /// How long to rest after a slice, in lengths of it.
    rest: u32,
    /// How far behind the last round stayed; none before the first.
    behind: Option<Overdue>,
    /// When a store that removes by itself is asked again.
    next: Option<Instant>,
}

impl Default for Removal {
    fn default() -> Self {
        Self { rest: LONGEST_REST, behind: None, next: None }
    }
}

impl Removal {
    /// Removes what was past its keeping at `now`, until nothing is left, the time is over, or the bounds of a round are
    /// reached; at least once. Says what it has done in `round`.
    ///
    /// # Errors
    /// The store's failures; what was done before them stays done.
    pub(crate) async fn until(
        &mut self,
        deadline: Instant,
        app: &App,
        now: Timestamp,
        round: &mut Round,
    ) -> Result<(), StoreError> {
        let Capabilities { sliced_purges: sliced, removes_by_itself, .. } = app.store.capabilities();
        if self.next.is_some_and(|next| Instant::now() < next) {
            return Ok(());
        }
        for batch in 1.. {
            let began = Instant::now();
            let report = app.store.purge(purge(app, now, sliced)).await?;
            round.removed += report.tasks
                + report.logs
                + report.workers
                + report.idempotency_keys
                + report.claim_requests
                + report.tokens
                + report.audit_entries;
            round.more = report.more;
            let pause = began.elapsed() * if sliced { self.rest } else { 0 };
            let is_last = !report.more || Instant::now() + pause >= deadline || !sliced && batch >= BATCHES;
            if is_last {
                if removes_by_itself {
                    round.overdue_seconds = report.overdue.map(|overdue| overdue.longest().as_secs());
                    self.next = (!report.more).then(|| Instant::now() + SELDOM);
                } else {
                    self.learn(report.overdue.filter(|_| report.more));
                }
                return Ok(());
            }
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// How far past its keeping the oldest thing is that the last round has left; zero if it has left nothing.
    pub(crate) fn overdue(&self) -> Duration {
        self.behind.as_ref().map_or(Duration::ZERO, Overdue::longest)
    }

    /// Chooses the next round's rest by how far behind this one has stayed, if it has.
    fn learn(&mut self, behind: Option<Overdue>) {
        match (behind, self.behind) {
            (None, _) => self.rest = (self.rest * 2).clamp(1, LONGEST_REST),
            (Some(now), Some(before)) if now.is_further_than(&before) => self.rest /= 2,
            (Some(_), _) => {}
        }
        self.behind = Some(behind.unwrap_or_default());
    }
}

fn purge(app: &App, now: Timestamp, sliced: bool) -> Purge {
    Purge {
        limit: if sliced { SLICE_LIMIT } else { BATCH },
        slice: sliced.then_some(SLICE),
        keep_finished: app.retention().finished,
        keep_logs: app.retention().logs,
        keep_workers: app.retention().workers,
        ..Purge::at(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The seconds of a round.
    const ROUND: f64 = 5.0;

    /// Rounds over things that came at a steady rate: how many seconds' worth is overdue, and what a second of nothing but
    /// removing removes of it.
    struct Load {
        overdue: f64,
        speed: f64,
        removal: Removal,
    }

    impl Load {
        /// A round; the answer is its rest.
        fn round(&mut self) -> u32 {
            let rest = self.removal.rest;
            let removed = ROUND * self.speed / f64::from(1 + rest);
            self.overdue = (self.overdue + ROUND - removed).max(0.0);
            let tasks = Duration::from_secs_f64(self.overdue);
            self.removal.learn((self.overdue > 0.0).then(|| Overdue { tasks, ..Overdue::default() }));
            rest
        }
    }

    proptest! {
        #[test]
        fn what_comes_is_kept_up_with_at_any_rate_that_removing_can_reach(speed in 1.05_f64..100.0) {
            let mut load = Load { overdue: 0.0, speed, removal: Removal::default() };
            for round in 0..1_000 {
                load.round();
                prop_assert!(load.overdue < 8.0 * ROUND, "{} s overdue in round {round}", load.overdue);
            }
        }

        #[test]
        fn a_mountain_is_cleared_away_without_hurry(days in 1_u32..400, speed in 9.5_f64..100.0) {
            let mut load = Load { overdue: f64::from(days) * 86_400.0, speed, removal: Removal::default() };
            for _ in 0..1_000 {
                let before = load.overdue;
                prop_assert_eq!(load.round(), LONGEST_REST);
                prop_assert!(load.overdue < before || load.overdue == 0.0);
            }
        }
    }
}
