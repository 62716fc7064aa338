//! How long a failed task waits before its next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::time::seconds;

/// Exponential backoff with a cap and jitter.
///
/// The delay after the n-th used attempt is `min(base · factor^(n−1), max)`, less up to `jitter` of itself. Jitter
/// spreads the retries of tasks that failed together ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015);
/// it is derived from task and attempt, not drawn, so that a replay gives the same delays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// Delay after the first failed attempt.
    #[serde(rename = "base_seconds", with = "seconds")]
    pub base: Duration,
    /// What each further failure multiplies the delay by; 1.0 to 10.0.
    pub factor: f64,
    /// The longest delay.
    #[serde(rename = "max_seconds", with = "seconds")]
    pub max: Duration,
    /// The part of the delay that jitter may take away; 0.0 to 1.0.
    pub jitter: f64,
}

impl Default for Backoff {
    /// 5 s, doubling, at most 10 minutes, less up to a fifth.
    fn default() -> Self {
        Self { base: Duration::from_secs(5), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 }
    }
}

impl Backoff {
    /// The delay before the next attempt of `task`, when `used` attempts (1 or more) have failed.
    pub fn delay(&self, task: TaskId, used: u32) -> Duration {
        let exponent = i32::try_from(used.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.base.as_secs_f64() * self.factor.powi(exponent);
        let capped = grown.min(self.max.as_secs_f64());
        let kept = capped * (1.0 - self.jitter * unit(task, used));
        Duration::from_millis((kept * 1_000.0).round().max(0.0) as u64)
    }
}

/// A number in [0, 1) that depends on task and attempt alone: FNV-1a over both, finished by SplitMix64's mixer.
fn unit(task: TaskId, used: u32) -> f64 {
    let bytes = task.as_bytes().iter().copied().chain(used.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(n: u8) -> TaskId {
        TaskId::from_bytes([n; 16])
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let plain = Backoff { jitter: 0.0, ..Backoff::default() };
        let seconds: Vec<_> = [1, 2, 3, 7, 8, 9, u32::MAX].map(|n| plain.delay(task(1), n).as_secs()).into();
        assert_eq!(seconds, [5, 10, 20, 320, 600, 600, 600]);
    }

    #[test]
    fn jitter_takes_away_at_most_its_part_and_spreads_tasks() {
        let jittery = Backoff { jitter: 0.5, ..Backoff::default() };
        let delays: Vec<_> = (0..100).map(|n| jittery.delay(task(n), 1)).collect();
        assert!(delays.iter().all(|d| (2_500..=5_000).contains(&d.as_millis())));
        let distinct: std::collections::BTreeSet<_> = delays.iter().collect();
        assert!(distinct.len() > 80);
    }

    #[test]
    fn the_same_task_and_attempt_give_the_same_delay() {
        assert_eq!(Backoff::default().delay(task(3), 2), Backoff::default().delay(task(3), 2));
    }
}
