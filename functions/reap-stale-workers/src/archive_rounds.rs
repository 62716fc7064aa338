//! Archiving with what a round on AWS has left of its time: step by step, each of a size that ends in time. What is cut off in between is
//! written once more, and read once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_http::App;
use baton_store::{Archived, Archiver, ArchivingError};
use tokio::time::{Instant, timeout_at};

use crate::archiving::{GATHER_EVERY, Gathered, gather, past, tell, tell_stopped};

/// How many tasks the first step of a round archives at most. A function has a share of a processor alone, so that nobody knows how long a
/// step takes before there was one.
const FIRST: u32 = 64;

/// How many a step archives at most. The tasks of one are in memory, up to some megabytes of them.
const MOST: u32 = 1_024;

/// How many bytes of a day of a project are gathered at most: all are copied within a round. What is larger stays in parts.
const DAY_BYTES: u64 = 64 << 20;

/// How soon it is gathered again where it could not be: so soon that each period of the alarm on failures has one of them.
const GATHER_AGAIN: Duration = Duration::from_secs(240);

/// What a process knows of the rounds that it has made.
#[derive(Debug, Default)]
pub struct ArchiveRounds {
    /// When it next gathers parts of days that are over, by what has passed on the clock; none before the first time.
    gathers_at: Mutex<Option<Duration>>,
}

/// Until when a round may archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Until when steps begin.
    pub(crate) begin: Instant,
    /// When one that is under way is cut off.
    pub(crate) end: Instant,
}

/// What a round has archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ArchiveRound {
    pub(crate) archived: Archived,
    /// Whether there may be more.
    pub(crate) more: bool,
    /// Whether it could not be done.
    pub(crate) failed: bool,
}

impl ArchiveRounds {
    /// Archives what is past its keeping, as far as the time suffices. A failure is no reason for the reaper to stop.
    pub(crate) async fn within(&self, app: &App, archiver: &Archiver, times: Times) -> ArchiveRound {
        let mut archived = Archived::default();
        let ended = timeout_at(times.end, steps(app, archiver, times.begin, &mut archived)).await;
        tell(archived.written, archived.removed);
        let (more, mut failed) = match ended {
            Ok(Ok(more)) => (more, false),
            Ok(Err(error)) => {
                tell_stopped(&error);
                (true, true)
            }
            Err(_) => {
                tracing::error!("archiving took longer than its round, and was cut off; it is tried again");
                (true, true)
            }
        };
        if !more && Instant::now() < times.begin && self.is_to_gather(app) {
            // What is under way at its end is begun anew: the parts lie as they lay.
            let gathered = gather(app, archiver, Some(DAY_BYTES), Some(times.end)).await;
            if gathered != Gathered::Whole {
                self.gathers_in(app, GATHER_AGAIN);
            }
            failed = gathered == Gathered::Failed;
        }
        ArchiveRound { archived, more, failed }
    }

    /// Whether it is time to gather; not again for an hour, then. While the time is in doubt, nobody knows which days are over.
    fn is_to_gather(&self, app: &App) -> bool {
        if app.timekeeper.removes_at().is_none() {
            return false;
        }
        let at = *self.gathers_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = at.is_none_or(|at| app.clock.reading().passed >= at);
        if is_due {
            self.gathers_in(app, GATHER_EVERY);
        }
        is_due
    }

    fn gathers_in(&self, app: &App, pause: Duration) {
        let at = app.clock.reading().passed + pause;
        *self.gathers_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// Makes steps until nothing is left or the next one would not end in time; says whether there may be more.
async fn steps(
    app: &App,
    archiver: &Archiver,
    until: Instant,
    archived: &mut Archived,
) -> Result<bool, ArchivingError> {
    let (past, mut limit) = (past(app), FIRST);
    if Instant::now() >= until {
        return Ok(true);
    }
    loop {
        let began = Instant::now();
        // Nobody waits behind it whom it would have to let go first.
        let step = archiver.step(past, app.now(), limit, |_| std::future::ready(())).await?;
        archived.written += step.written;
        archived.removed += step.removed;
        if step.removed == 0 {
            // Nothing is due, or all of it has come to be needed since it was read.
            return Ok(false);
        }
        let (took, left) = (began.elapsed(), until.saturating_duration_since(Instant::now()));
        if took >= left {
            return Ok(true);
        }
        limit = next_limit(limit, took, left);
    }
}

/// How many tasks the next step archives at most: twice as many, if it would end in half of what is left.
fn next_limit(limit: u32, took: Duration, left: Duration) -> u32 {
    if took * 4 <= left { (limit * 2).min(MOST) } else { limit }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However fast a step is, the last one of a round ends before the round is cut off.
        #[test]
        fn steps_end_in_time_whatever_they_take(
            budget in 3.0_f64..700.0,
            per_task in 0.000_1_f64..0.04,
            per_step in 0.0_f64..0.5,
        ) {
            let (mut limit, mut passed) = (FIRST, 0.0);
            loop {
                let took = per_step + per_task * f64::from(limit);
                passed += took;
                let left = budget - passed;
                if took >= left {
                    break;
                }
                limit = next_limit(limit, Duration::from_secs_f64(took), Duration::from_secs_f64(left));
                prop_assert!(limit <= MOST && per_step + per_task * f64::from(limit) <= left);
            }
        }
    }
}
