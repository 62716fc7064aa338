//! Whether programs can be started here, and the pauses while they cannot.
//!
//! A program that cannot be started is the worker's fault, whatever the reason: nothing of a task is needed to start it
//! but its params in the environment, and those can be left out. So the task is given back uncounted. The worker must slow
//! down, too: one that fails in no time takes more tasks than all that work.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use baton_model::Timestamp;
use tokio::time::Instant;

use crate::lock::lock;
use crate::retry::jittered;

/// The pause before the next claim after a program could not be started; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause. A worker that is mended takes tasks again within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How the starts of programs go.
#[derive(Debug, Default)]
pub(crate) struct Starts(Mutex<Option<Trouble>>);

/// Programs could not be started of late.
#[derive(Debug)]
struct Trouble {
    reason: String,
    times: u64,
    since: Timestamp,
    pause: Duration,
    until: Instant,
    /// The most tasks that the next claim asks for: one to try with, twice as many after each that could be started.
    most: u32,
}

impl Starts {
    /// Notes that a program could not be started. The answer is how long nothing is claimed.
    pub(crate) fn failed(&self, error: &io::Error, at: Timestamp, now: Instant) -> Duration {
        let mut trouble = lock(&self.0);
        let trouble = trouble.get_or_insert_with(|| Trouble {
            reason: String::new(),
            times: 0,
            since: at,
            pause: FIRST_PAUSE / 2,
            until: now,
            most: 1,
        });
        trouble.reason = error.to_string();
        trouble.times += 1;
        trouble.most = 1;
        // The others of one claim, which fail at the same time, say nothing more.
        if trouble.until <= now {
            trouble.pause = (trouble.pause * 2).min(LONGEST_PAUSE);
            trouble.until = now + jittered(trouble.pause);
        }
        trouble.until.saturating_duration_since(now)
    }

    /// Notes that a program was started. The answer is whether that ends the trouble.
    pub(crate) fn worked(&self, concurrency: u32, now: Instant) -> bool {
        let mut slot = lock(&self.0);
        let Some(trouble) = &mut *slot else { return false };
        trouble.most = trouble.most.saturating_mul(2);
        trouble.pause = FIRST_PAUSE / 2;
        trouble.until = now;
        let over = trouble.most >= concurrency;
        if over {
            *slot = None;
        }
        over
    }

    /// Until when nothing is to be claimed.
    pub(crate) fn paused_until(&self, now: Instant) -> Option<Instant> {
        lock(&self.0).as_ref().map(|trouble| trouble.until).filter(|until| *until > now)
    }

    /// The most tasks that a claim may ask for; none if there is no trouble.
    pub(crate) fn most(&self) -> Option<u32> {
        lock(&self.0).as_ref().map(|trouble| trouble.most)
    }

    /// What operators are shown, if there is trouble.
    pub(crate) fn told(&self) -> Option<String> {
        lock(&self.0).as_ref().map(|trouble| {
            let times = if trouble.times == 1 { "once" } else { &format!("{} times", trouble.times) };
            format!("{}, {times} since {}", trouble.reason, trouble.since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing() -> io::Error {
        io::Error::from_raw_os_error(2)
    }

    #[test]
    fn pauses_grow_to_a_minute_and_a_start_that_works_ends_them() {
        let (starts, mut now) = (Starts::default(), Instant::now());
        assert_eq!((starts.paused_until(now), starts.most(), starts.told()), (None, None, None));
        let mut bound = FIRST_PAUSE;
        for _ in 0..20 {
            let pause = starts.failed(&missing(), Timestamp::default(), now);
            assert!(bound / 2 <= pause && pause <= bound, "{pause:?} of {bound:?}");
            assert_eq!(starts.paused_until(now), Some(now + pause));
            assert_eq!(starts.most(), Some(1));
            now += pause;
            assert_eq!(starts.paused_until(now), None);
            bound = (bound * 2).min(LONGEST_PAUSE);
        }
        assert_eq!(bound, LONGEST_PAUSE);
        assert!(starts.worked(1, now));
        assert_eq!((starts.paused_until(now), starts.most(), starts.told()), (None, None, None));
        assert!(starts.failed(&missing(), Timestamp::default(), now) <= FIRST_PAUSE);
    }

    #[test]
    fn tasks_that_fail_together_make_one_pause() {
        let (starts, now) = (Starts::default(), Instant::now());
        let pauses = [0; 40].map(|_| starts.failed(&missing(), Timestamp::default(), now));
        assert!(pauses.iter().all(|pause| *pause == pauses[0]));
        let told = starts.told().unwrap();
        assert!(told.starts_with("No such file or directory (os error 2), 40 times since "), "{told}");
    }

    #[test]
    fn after_trouble_claims_ask_for_twice_as_many_tasks_with_each_start_that_works() {
        let (starts, now) = (Starts::default(), Instant::now());
        starts.failed(&missing(), Timestamp::default(), now);
        assert_eq!(
            [1, 2, 3].map(|_| (starts.worked(10, now), starts.most())),
            [2, 4, 8].map(|n| (false, Some(n)))
        );
        assert!(starts.worked(10, now));
        assert_eq!(starts.most(), None);
    }
}
