//! Rates: how many tasks may start in a while, told by one stored time.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How many tasks may start in a while.
///
/// This is the generic cell rate algorithm in its form of virtual scheduling (ITU-T Recommendation I.371, annex A): with
/// T = seconds / starts, a start at t is within the rate if t is no earlier than TAT − (burst − 1) · T, and then
/// TAT becomes max(t, TAT) + T, where TAT, the theoretical arrival time, is all that is kept. So any span of `seconds` sees no
/// more than `starts` + `burst` − 1 starts; with a burst of 1, which is the default, no more than `starts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// How many may start; 1 or more.
    pub starts: u32,
    /// In how many seconds; 1 or more.
    pub seconds: u32,
    /// How many of them may start at once after a rest; 1 or more.
    pub burst: u32,
}

/// A theoretical arrival time: when the next start would come if starts came evenly, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Arrival(pub i64);

/// Microseconds of a time.
fn micros(at: Timestamp) -> i64 {
    at.as_millis().saturating_mul(1_000)
}

impl Rate {
    /// The most starts, and the most in a burst.
    pub const MOST: u32 = 1_000_000;
    /// The longest span, in seconds: a day.
    pub const LONGEST: u32 = 86_400;

    /// How far apart even starts are, in microseconds, rounded up.
    fn interval(self) -> i64 {
        let span = i64::from(self.seconds) * 1_000_000;
        let starts = i64::from(self.starts.max(1));
        (span + starts - 1) / starts
    }

    /// How much earlier than its theoretical time a start may come.
    fn tolerance(self) -> i64 {
        self.interval() * i64::from(self.burst.saturating_sub(1))
    }

    /// When the next task may start; not before `now`.
    pub fn next_at(self, arrival: Option<Arrival>, now: Timestamp) -> Timestamp {
        let Some(Arrival(arrival)) = arrival else { return now };
        // In whole milliseconds, rounded up.
        let from = arrival.saturating_sub(self.tolerance()).saturating_add(999).div_euclid(1_000);
        now.max(Timestamp::from_millis(from))
    }

    /// How many tasks may start at `now`.
    pub fn free(self, arrival: Option<Arrival>, now: Timestamp) -> u32 {
        let now = micros(now);
        let arrival = arrival.map_or(now, |Arrival(arrival)| arrival.max(now));
        let early = now.saturating_add(self.tolerance()).saturating_sub(arrival);
        if early < 0 {
            return 0;
        }
        u32::try_from(early / self.interval() + 1).unwrap_or(u32::MAX).min(self.burst)
    }

    /// When more tasks may start than at `now`; only where [`Rate::free`] is less than the burst.
    pub fn more_at(self, arrival: Option<Arrival>, now: Timestamp) -> Timestamp {
        let free = i64::from(self.free(arrival, now));
        let later = arrival.map(|Arrival(arrival)| Arrival(arrival.saturating_add(free * self.interval())));
        self.next_at(later, now)
    }

    /// The arrival after a start at `now`.
    pub fn started(self, arrival: Option<Arrival>, now: Timestamp) -> Arrival {
        let now = micros(now);
        let from = arrival.map_or(now, |Arrival(arrival)| arrival.max(now));
        Arrival(from.saturating_add(self.interval()))
    }

    /// The arrival by a clock that was set back to `now`: no further ahead than starts at `now` could have brought it. A clock
    /// that was wrong for a while so lends no more than one burst, and stops nothing for longer than that burst takes.
    pub fn redated(self, arrival: Arrival, now: Timestamp) -> Arrival {
        arrival.min(Arrival(micros(now).saturating_add(self.interval() + self.tolerance())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_span_sees_more_starts_than_the_rate_and_its_burst(
            starts in 1_u32..40,
            seconds in 1_u32..20,
            burst in 1_u32..10,
            pauses in prop::collection::vec(0_u64..3_000, 1..200),
        ) {
            let rate = Rate { starts, seconds, burst };
            let (mut now, mut arrival, mut begun) = (Timestamp::from_millis(1_000_000), None, Vec::new());
            for pause in pauses {
                now = now.plus(std::time::Duration::from_millis(pause));
                let free = rate.free(arrival, now);
                prop_assert_eq!(free > 0, rate.next_at(arrival, now) <= now);
                if free < burst {
                    let later = rate.more_at(arrival, now);
                    prop_assert!(later > now && rate.free(arrival, later) > free);
                }
                for left in (0..free).rev() {
                    arrival = Some(rate.started(arrival, now));
                    begun.push(now);
                    prop_assert_eq!(rate.free(arrival, now), left);
                }
            }
            let span = std::time::Duration::from_secs(seconds.into());
            for (place, first) in begun.iter().enumerate() {
                let within = begun[place..].iter().take_while(|at| at.since(*first) < span).count();
                prop_assert!((within as u32) < starts + burst, "{} in a span", within);
            }
        }
    }
}
