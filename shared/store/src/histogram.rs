//! Durations in buckets that grow with them, so that percentiles cost the same however many there are.

use std::time::Duration;

/// Buckets for each doubling: neighbours differ by 2^(1/8) = 1.09, so that a bucket's middle is within 4.5% of all that
/// fell into it.
const PER_DOUBLING: f64 = 8.0;

/// Which duration is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// From ready to claimed.
    Wait,
    /// From claimed to completed.
    Run,
    /// From claimed to failed by its worker, or lost.
    Failed,
}

impl What {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Wait, Self::Run, Self::Failed];
}

/// The bucket of a duration: 0 for less than a millisecond.
pub fn bucket(length: Duration) -> i64 {
    let millis = length.as_millis() as f64;
    if millis < 1.0 { 0 } else { (millis.log2() * PER_DOUBLING).floor() as i64 + 1 }
}

/// The middle of a bucket.
pub fn middle(bucket: i64) -> Duration {
    if bucket <= 0 {
        return Duration::ZERO;
    }
    let millis = ((bucket as f64 - 0.5) / PER_DOUBLING).exp2();
    Duration::try_from_secs_f64(millis / 1_000.0).unwrap_or(Duration::MAX)
}

/// The duration that `part` (0 to 1) of all counted ones do not exceed; `buckets` in order, each with its count.
pub fn percentile(buckets: &[(i64, u64)], part: f64) -> Duration {
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let rank = ((all as f64 * part).ceil() as u64).max(1);
    let mut seen = 0;
    for (bucket, count) in buckets {
        seen += count;
        if seen >= rank {
            return middle(*bucket);
        }
    }
    Duration::ZERO
}
