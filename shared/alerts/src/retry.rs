//! When a message that was not taken is tried again, and when a receiver is given up.

use std::time::Duration;

use baton_model::Timestamp;

/// The pause after the first try; each further one is three times as long.
const FIRST: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(4 * 3_600);
/// How long a message is tried.
pub const TRIED: Duration = Duration::from_secs(86_400);
/// How long a receiver may take nothing before it is given up.
pub const DEAD: Duration = Duration::from_secs(5 * 86_400);

/// When a message of this time is tried again after `tries` tries; never, if its day is over. `part` of 0 to 1 spreads those that
/// failed together.
pub fn next(created_at: Timestamp, tries: u32, now: Timestamp, part: f64) -> Option<Timestamp> {
    let pause = FIRST.saturating_mul(3_u32.saturating_pow(tries.saturating_sub(1).min(12))).min(LONGEST);
    let at = now.plus(pause.mul_f64(0.9 + 0.2 * part.clamp(0.0, 1.0)));
    let end = created_at.plus(TRIED);
    // The last try is at the end of the day.
    if now >= end { None } else { Some(at.min(end)) }
}

/// Whether a receiver that has taken nothing since then is given up.
pub fn is_dead(failing_since: Timestamp, now: Timestamp) -> bool {
    now.since(failing_since) >= DEAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tries_end_within_a_day_and_are_not_many(parts in prop::collection::vec(0.0_f64..1.0, 64)) {
            let created = Timestamp::from_millis(1_800_000_000_000);
            let (mut now, mut tries) = (created, 0_u32);
            loop {
                let before = now;
                tries += 1;
                match next(created, tries, now, parts[tries as usize % 64]) {
                    Some(at) => now = at,
                    None => break,
                }
                prop_assert!(now > before);
            }
            prop_assert_eq!(now.since(created), TRIED);
            prop_assert!((10..=20).contains(&tries), "{} tries", tries);
        }
    }
}
