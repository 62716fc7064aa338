//! The time, as something that is handed in.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_model::watch::STEPS;
use baton_model::{Step, Timestamp};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp {
        self.reading().now
    }

    /// The present time, and how the clock was set until now.
    fn reading(&self) -> Reading;
}

/// What a clock tells at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The time.
    pub now: Timestamp,
    /// How much time has passed since some moment of this process, whatever the clock was set to.
    pub passed: Duration,
    /// How the clock was set since this process began, as far as that is known; the latest first, at most [`STEPS`].
    pub steps: Vec<Step>,
}

/// The system's clock. Whoever must know how it was set meanwhile takes a [`WatchedClock`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The time since 1970, as exactly as the system tells it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    pub fn since_1970(self) -> Duration {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.since_1970().as_millis()).unwrap_or(i64::MAX))
    }

    fn reading(&self) -> Reading {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        Reading { now: self.now(), passed: BEGAN.elapsed(), steps: Vec::new() }
    }
}

/// By how much a clock and the time that has passed must differ for the clock to have been set: a reading may be held up
/// between its parts, and what is less concerns no lease.
const LEAST_STEP: Duration = Duration::from_secs(1);

/// The system's clock, held against a measure that nobody sets: so it is known how it was set while this process ran. The
/// time of a machine that slept shows as a setting ahead.
///
/// It follows the system's clock at once. Rejected: to go on at an even pace and to take over a new time later. Tasks are due
/// by the clock on the wall, and a server that tells another time than its machine is hard to understand; what must not
/// believe a new time at once (leases, removals) knows of it.
///
/// For a process that runs all the time: where it is frozen between its requests, as on AWS Lambda, the measure may stand
/// still, and every thaw would look like a setting.
pub struct WatchedClock {
    source: Box<dyn Source>,
    set: Mutex<Set>,
}

/// Where a [`WatchedClock`] takes its time from.
trait Source: Send + Sync {
    /// What the clock tells.
    fn told(&self) -> Timestamp;
    /// How much time has passed since some moment.
    fn passed(&self) -> Duration;
}

struct System(Instant);

impl Source for System {
    fn told(&self) -> Timestamp {
        SystemClock.now()
    }

    fn passed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How a clock was set.
#[derive(Debug)]
struct Set {
    /// What the clock told, in milliseconds since 1970, when the measure began; as if it had been set by then as it is now.
    begin: i64,
    steps: VecDeque<Step>,
}

impl WatchedClock {
    /// The system's clock, watched from now on.
    pub fn new() -> Self {
        Self::over(Box::new(System(Instant::now())))
    }

    fn over(source: Box<dyn Source>) -> Self {
        let (mut now, mut passed, mut held_up) = parts(&*source);
        // Nothing else tells how it was set when the process began.
        while held_up > LEAST_STEP / 2 {
            (now, passed, held_up) = parts(&*source);
        }
        let begin = now.as_millis().saturating_sub(millis(passed));
        Self { source, set: Mutex::new(Set { begin, steps: VecDeque::new() }) }
    }

    /// The time, and what is known of how the clock was set. It is read under the lock, so that readings are in order.
    fn read(&self) -> (Timestamp, Duration, MutexGuard<'_, Set>) {
        // What is in it is whole after each statement.
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, passed, held_up) = parts(&*self.source);
        let expected = set.begin.saturating_add(millis(passed));
        if now.as_millis().abs_diff(expected) > (LEAST_STEP + held_up).as_millis() as u64 {
            let step = Step { before: Timestamp::from_millis(expected), after: now };
            set.begin = now.as_millis().saturating_sub(millis(passed));
            set.steps.push_front(step);
            set.steps.truncate(STEPS);
            let seconds = step.millis() as f64 / 1_000.0;
            tracing::warn!(from = %step.before, to = %step.after, seconds, "the system's clock was set");
        }
        (now, passed, set)
    }
}

/// What a source tells, what has passed, and how far the two may be from each other for being read one after the other.
fn parts(source: &dyn Source) -> (Timestamp, Duration, Duration) {
    let before = source.passed();
    let now = source.told();
    let passed = source.passed();
    (now, passed, passed.saturating_sub(before))
}

impl Clock for WatchedClock {
    fn now(&self) -> Timestamp {
        self.read().0
    }

    fn reading(&self) -> Reading {
        let (now, passed, set) = self.read();
        Reading { now, passed, steps: set.steps.iter().copied().collect() }
    }
}

impl Default for WatchedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WatchedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedClock").finish_non_exhaustive()
    }
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that stands still until it is told to move; for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(Mutex<Reading>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new(Reading { now: start, passed: Duration::ZERO, steps: Vec::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has time pass.
    pub fn advance(&self, by: Duration) {
        let mut reading = self.lock();
        reading.now = reading.now.plus(by);
        reading.passed += by;
    }

    /// Sets it, forwards or backwards: no time passes by it.
    pub fn set(&self, to: Timestamp) {
        let mut reading = self.lock();
        let step = Step { before: reading.now, after: to };
        reading.steps.insert(0, step);
        reading.steps.truncate(STEPS);
        reading.now = to;
    }
}

impl Clock for ManualClock {
    fn reading(&self) -> Reading {
        self.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_millis(250));
        assert_eq!(clock.now(), Timestamp::from_millis(1_250));
        assert_eq!(clock.reading().steps, []);
        clock.set(Timestamp::from_millis(5));
        assert_eq!(clock.now().as_millis(), 5);
        let step = Step { before: Timestamp::from_millis(1_250), after: Timestamp::from_millis(5) };
        assert_eq!(clock.reading().steps, [step]);
    }

    #[test]
    fn the_system_clock_has_left_1970() {
        assert!(SystemClock.now() > Timestamp::from_millis(1_700_000_000_000));
        assert!(WatchedClock::new().now() > Timestamp::from_millis(1_700_000_000_000));
    }

    /// A source that the test moves; its readings of the measure may be held up.
    #[derive(Clone, Default)]
    struct Hands {
        told: Arc<AtomicI64>,
        passed: Arc<AtomicI64>,
        held_up: Arc<AtomicI64>,
    }

    impl Hands {
        fn pass(&self, millis: i64) {
            self.told.fetch_add(millis, Ordering::SeqCst);
            self.passed.fetch_add(millis, Ordering::SeqCst);
        }

        fn set(&self, by: i64) {
            self.told.fetch_add(by, Ordering::SeqCst);
        }
    }

    impl Source for Hands {
        fn told(&self) -> Timestamp {
            Timestamp::from_millis(1_800_000_000_000 + self.told.load(Ordering::SeqCst))
        }

        fn passed(&self) -> Duration {
            // Each second reading comes late.
            let late = self.held_up.swap(0, Ordering::SeqCst);
            let passed = self.passed.load(Ordering::SeqCst);
            self.pass(late);
            Duration::from_millis(u64::try_from(passed).unwrap())
        }
    }

    fn watched() -> (Hands, WatchedClock) {
        let hands = Hands::default();
        hands.pass(5_000);
        let clock = WatchedClock::over(Box::new(hands.clone()));
        (hands, clock)
    }

    #[test]
    fn a_watched_clock_tells_how_it_was_set() {
        let (hands, clock) = watched();
        hands.pass(60_000);
        let before = clock.now();
        assert_eq!(clock.reading().steps, []);
        hands.set(3_600_000);
        hands.pass(2_000);
        let ahead = clock.reading();
        assert_eq!(ahead.now, before.plus(Duration::from_millis(3_602_000)));
        let expected = before.plus(Duration::from_millis(2_000));
        assert_eq!(ahead.steps, [Step { before: expected, after: ahead.now }]);
        hands.set(-3_600_000);
        let back = clock.reading();
        assert_eq!(back.now, expected);
        assert_eq!(back.steps[0], Step { before: ahead.now, after: expected });
        assert_eq!(back.steps[1..], ahead.steps);
        assert_eq!(clock.reading(), back, "once each");
    }

    #[test]
    fn a_watched_clock_passes_over_what_is_too_little_to_matter() {
        let (hands, clock) = watched();
        for by in [900, -900, -1_000] {
            hands.set(by);
            clock.now();
        }
        assert_eq!(clock.reading().steps, []);
        hands.set(-1);
        assert_eq!(clock.reading().steps[0].millis(), -1_001, "what it adds up to");
    }

    #[test]
    fn a_reading_that_is_held_up_is_no_setting() {
        let (hands, clock) = watched();
        hands.held_up.store(30_000, Ordering::SeqCst);
        clock.now();
        assert_eq!(clock.reading().steps, []);
    }

    #[test]
    fn a_watched_clock_remembers_the_latest_settings() {
        let (hands, clock) = watched();
        for turn in 0..40 {
            hands.set(if turn % 2 == 0 { 5_000 } else { -5_000 });
            clock.now();
        }
        assert_eq!(clock.reading().steps.len(), STEPS);
        assert_eq!(clock.reading().steps[0].millis(), -5_000);
    }
}
