//! What is said, and when it is enough, while the server does not take the worker's requests.
//!
//! An outage is waited out, however long: the worker says at once that it waits and for what, and again each minute. A token
//! that is not taken is different: if it never was, the worker ends at once, so that whoever started it sees why; if it was
//! before, the worker goes on for a while, as a store that was put back or a gateway that was set up anew may take it again
//! (docs/decisions/0005-a-token-that-is-refused.md).

use std::sync::Mutex;
use std::time::Duration;

use baton_client::ClientError;
use baton_model::WorkerId;
use tokio::time::Instant;

use crate::lock::lock;

/// How often the log is told that the worker still waits.
const REMINDER: Duration = Duration::from_secs(60);
/// The time from the first warning of a token that is not taken any more to the second; each further one doubles it.
const FIRST_WARNING: Duration = Duration::from_secs(10);

/// How requests of one kind fare.
#[derive(Debug)]
pub(crate) struct Reach {
    worker: WorkerId,
    /// The kind, as the log calls it.
    what: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the server has taken one.
    taken: bool,
    waiting: Option<Waiting>,
}

/// It takes none at present.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// When it first refused the token in that time.
    denied: Option<Instant>,
    /// When the log is to be told again.
    next: Instant,
    /// The time from that to the next.
    interval: Duration,
}

/// What is to be done about a request that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Ask again, and say nothing.
    Again,
    /// Ask again, and tell the log that the worker has waited for so long.
    Tell { waited: Duration },
    /// Ask again, and tell the log that the worker ends in so long if the token is not taken again.
    Warn { left: Duration },
    /// The token is not good, and it has been enough.
    End,
}

impl Reach {
    pub(crate) fn new(worker: &WorkerId, what: &'static str) -> Self {
        Self { worker: worker.clone(), what, state: Mutex::default() }
    }

    /// Notes that the server has taken a request.
    pub(crate) fn taken(&self, now: Instant) {
        let mut state = lock(&self.state);
        state.taken = true;
        if let Some(waiting) = state.waiting.take() {
            let waited = now.saturating_duration_since(waiting.since).as_secs();
            tracing::info!(worker_id = %self.worker, waited_seconds = waited, "the server takes the worker's {} again", self.what);
        }
    }

    /// Whether the server takes none at present.
    pub(crate) fn waits(&self) -> bool {
        lock(&self.state).waiting.is_some()
    }

    /// Judges a request that was not taken, and tells the log what there is to tell.
    pub(crate) fn failed(&self, error: &ClientError, patience: Duration, now: Instant) -> Judgement {
        let judgement = self.judge(error.is_denied(), patience, now);
        match judgement {
            Judgement::Again | Judgement::End => {}
            Judgement::Tell { waited } if waited.is_zero() => {
                tracing::warn!(worker_id = %self.worker, %error, "the server does not take the worker's {}; what runs goes on, and it is asked again",
                    self.what);
            }
            Judgement::Tell { waited } => {
                tracing::warn!(worker_id = %self.worker, %error, waited_seconds = waited.as_secs(),
                    "still waiting for the server to take the worker's {}", self.what);
            }
            Judgement::Warn { left } => {
                tracing::warn!(worker_id = %self.worker, %error, ends_in_seconds = left.as_secs(),
                    "the server does not take the worker's token any more; the worker ends unless it is taken again: check \
                     whether it was revoked or has ended, and start the worker with one that is good");
            }
        }
        judgement
    }

    fn judge(&self, denied: bool, patience: Duration, now: Instant) -> Judgement {
        let mut state = lock(&self.state);
        let taken = state.taken;
        let first = state.waiting.is_none();
        let waiting =
            state.waiting.get_or_insert(Waiting { since: now, denied: None, next: now, interval: REMINDER });
        if denied {
            if !taken {
                return Judgement::End;
            }
            if waiting.denied.is_none() {
                waiting.denied = Some(now);
                (waiting.next, waiting.interval) = (now, FIRST_WARNING / 2);
            }
        }
        let left = waiting.denied.map(|since| patience.saturating_sub(now.saturating_duration_since(since)));
        if denied && left.is_some_and(|left| left.is_zero()) {
            return Judgement::End;
        }
        if now < waiting.next && !first {
            return Judgement::Again;
        }
        waiting.interval = match left {
            Some(_) => waiting.interval * 2,
            None => REMINDER,
        };
        waiting.next = now + waiting.interval;
        match left {
            Some(left) if denied => Judgement::Warn { left },
            _ => Judgement::Tell { waited: now.saturating_duration_since(waiting.since) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(600);

    fn reach() -> Reach {
        Reach::new(&"w1".parse().unwrap(), "heartbeats")
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The words of ten minutes with a failed request each second, with their seconds.
    fn words(reach: &Reach, denied: bool) -> Vec<(u64, Judgement)> {
        let begun = Instant::now();
        let judged = (0..=600).map(|second| (second, reach.judge(denied, PATIENCE, begun + seconds(second))));
        judged.filter(|(_, judgement)| *judgement != Judgement::Again).collect()
    }

    #[test]
    fn an_outage_is_told_at_once_and_each_minute_and_never_ends_the_worker() {
        let told = words(&reach(), false);
        let expected = (0..=10).map(|minute| (minute * 60, Judgement::Tell { waited: seconds(minute * 60) }));
        assert_eq!(told, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_token_that_was_never_taken_ends_the_worker_at_once() {
        let reach = reach();
        let now = Instant::now();
        assert_eq!(reach.judge(false, PATIENCE, now), Judgement::Tell { waited: Duration::ZERO });
        assert_eq!(reach.judge(true, PATIENCE, now), Judgement::End);
    }

    #[test]
    fn a_token_that_was_taken_before_is_warned_of_at_growing_intervals_and_ends_the_worker_after_a_while() {
        let reach = reach();
        reach.taken(Instant::now());
        let warned = [0, 10, 30, 70, 150, 310].map(|at| (at, Judgement::Warn { left: seconds(600 - at) }));
        assert_eq!(words(&reach, true), [&warned[..], &[(600, Judgement::End)]].concat());
    }

    #[test]
    fn what_is_taken_in_between_begins_the_while_anew() {
        let reach = reach();
        let begun = Instant::now();
        reach.taken(begun);
        assert_eq!(reach.judge(true, PATIENCE, begun), Judgement::Warn { left: PATIENCE });
        reach.taken(begun + seconds(599));
        assert!(!reach.waits());
        assert_eq!(reach.judge(true, PATIENCE, begun + seconds(600)), Judgement::Warn { left: PATIENCE });
        // An outage in between is none: only the token's own refusal ends the worker.
        assert_eq!(
            reach.judge(false, PATIENCE, begun + seconds(2_000)),
            Judgement::Tell { waited: seconds(1_400) }
        );
        assert_eq!(reach.judge(true, PATIENCE, begun + seconds(2_001)), Judgement::End);
    }
}
