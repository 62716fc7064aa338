//! How many commands a store's commits held and how long they took, counted where they are made, at the price of a few atomic additions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets of group sizes; a group of SQLite has up to 256 commands, a transaction of DynamoDB 100 writes.
pub const GROUPS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The upper bounds of the buckets of durations, in seconds.
pub const SECONDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// A histogram of a fixed number of buckets, and one for all that is beyond them.
#[derive(Debug)]
struct Tally<const N: usize> {
    counts: [AtomicU64; N],
    beyond: AtomicU64,
    /// In whole commands, or nanoseconds.
    sum: AtomicU64,
}

impl<const N: usize> Tally<N> {
    const fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; N], beyond: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    fn count(&self, value: f64, bounds: &[f64; N], sum: u64) {
        let place = bounds.partition_point(|bound| *bound < value);
        self.counts.get(place).unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(sum, Ordering::Relaxed);
    }

    fn told(&self, bounds: &[f64; N], unit: f64) -> Histogram {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut buckets: Vec<(f64, u64)> = bounds.iter().copied().zip(self.counts.iter().map(read)).collect();
        buckets.push((f64::INFINITY, read(&self.beyond)));
        Histogram { sum: read(&self.sum) as f64 * unit, buckets }
    }
}

/// What was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// All values together.
    pub sum: f64,
    /// The buckets by their upper bounds, each with its own count; the last has no bound.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

/// The commits of a store, from its opening on.
#[derive(Debug)]
pub struct Commits {
    groups: Tally<{ GROUPS.len() }>,
    seconds: Tally<{ SECONDS.len() }>,
}

impl Default for Commits {
    fn default() -> Self {
        Self { groups: Tally::new(), seconds: Tally::new() }
    }
}

impl Commits {
    /// A commit of so many commands took so long.
    pub fn count(&self, commands: usize, took: Duration) {
        self.groups.count(commands as f64, &GROUPS, commands as u64);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.seconds.count(took.as_secs_f64(), &SECONDS, nanos);
    }

    /// How many commands the commits held.
    pub fn groups(&self) -> Histogram {
        self.groups.told(&GROUPS, 1.0)
    }

    /// How many seconds they took.
    pub fn seconds(&self) -> Histogram {
        self.seconds.told(&SECONDS, 1e-9)
    }
}
