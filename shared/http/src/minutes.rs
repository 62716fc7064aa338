//! How many tasks waited and ran at each minute of the last day, as this process has seen it wherever it asked for statistics anyway: for
//! lines on the dashboard. Nothing is decided by it, and nothing of it is stored: it begins anew with the process.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_api::fleet::MinutesView;
use baton_model::{State, Timestamp};
use baton_store::Stats;

/// How many minutes are kept: a day, which is 35 KB.
const KEPT: usize = 1_440;
/// The milliseconds of a minute.
const MINUTE: i64 = 60_000;

/// What waited and ran at a minute, if it was noted.
type Noted = Option<(u64, u64)>;

#[derive(Debug, Default)]
struct Day {
    /// The first minute that is kept, counted from 1970 on.
    first: i64,
    /// One of each minute from there on.
    noted: VecDeque<Noted>,
}

/// The minutes of the last day.
#[derive(Debug, Default)]
pub struct Minutes(Mutex<Day>);

impl Minutes {
    fn day(&self) -> MutexGuard<'_, Day> {
        // A note that was cut off leaves a minute without one at most.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what waits and runs by these statistics. The first note of a minute stands.
    pub fn note(&self, stats: &Stats) {
        let of = |state: State| stats.states.get(&state).copied().unwrap_or_default();
        self.put(stats.at, (of(State::Queued), of(State::Running)));
    }

    fn put(&self, at: Timestamp, counts: (u64, u64)) {
        let minute = at.as_millis().div_euclid(MINUTE);
        let mut day = self.day();
        let place = usize::try_from(minute - day.first).ok();
        let place = place.filter(|place| !day.noted.is_empty() && *place < day.noted.len() + KEPT);
        let Some(place) = place else {
            // There is nothing yet, or all of it is more than a day ago, or is later than now by a clock that was set back.
            *day = Day { first: minute, noted: [Some(counts)].into() };
            return;
        };
        // Of two that ask at once the later one may be noted first: the minute before the last is let be.
        if place + 2 == day.noted.len() {
            return;
        }
        // Minutes that were passed over have no note, and later ones have not been yet.
        day.noted.resize(place + 1, None);
        if let Some(last) = day.noted.back_mut() {
            *last = last.or(Some(counts));
        }
        while day.noted.len() > KEPT {
            day.noted.pop_front();
            day.first += 1;
        }
    }

    /// The minutes of the day before `now`; none if none was noted.
    pub fn until(&self, now: Timestamp) -> Option<MinutesView> {
        let day = self.day();
        let oldest = now.as_millis().div_euclid(MINUTE) + 1 - KEPT as i64;
        let gone = usize::try_from(oldest - day.first).unwrap_or_default();
        let kept: Vec<Noted> = day.noted.iter().skip(gone).copied().collect();
        kept.iter().flatten().next()?;
        Some(MinutesView {
            from: Timestamp::from_millis((day.first + gone as i64) * MINUTE),
            waiting: kept.iter().map(|noted| noted.map(|(waiting, _)| waiting)).collect(),
            running: kept.iter().map(|noted| noted.map(|(_, running)| running)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_770_000_000_000 + seconds * 1_000)
    }

    /// When the first minute began, and what waited at each; what ran is one less.
    fn told(minutes: &Minutes, now: Timestamp) -> (i64, Vec<Option<u64>>) {
        let told = minutes.until(now).unwrap();
        let less: Vec<_> = told.waiting.iter().map(|count| count.map(|count| count - 1)).collect();
        assert_eq!(told.running, less);
        ((told.from.as_millis() - at(0).as_millis()) / MINUTE, told.waiting)
    }

    fn put(minutes: &Minutes, seconds: i64, waiting: u64) {
        minutes.put(at(seconds), (waiting, waiting - 1));
    }

    #[test]
    fn a_minute_is_noted_once_and_one_that_is_passed_over_has_no_note() {
        let minutes = Minutes::default();
        assert_eq!(minutes.until(at(0)), None);
        for (seconds, waiting) in [(0, 5), (10, 6), (59, 7), (60, 8), (110, 9), (59, 4), (240, 10)] {
            put(&minutes, seconds, waiting);
        }
        assert_eq!(told(&minutes, at(250)), (0, vec![Some(5), Some(8), None, None, Some(10)]));
    }

    #[test]
    fn no_more_than_a_day_is_kept_and_what_is_older_is_not_told() {
        let minutes = Minutes::default();
        for minute in 0..3_000_u32 {
            put(&minutes, i64::from(minute) * 60, u64::from(minute) + 1);
        }
        assert!(minutes.day().noted.len() == KEPT);
        let (first, waiting) = told(&minutes, at(2_999 * 60));
        assert_eq!(
            (first, waiting.len(), waiting[0], waiting[1_439]),
            (1_560, KEPT, Some(1_561), Some(3_000))
        );
        // Where nothing is noted any more, what there is grows old.
        let (first, waiting) = told(&minutes, at((2_999 + 1_438) * 60));
        assert_eq!((first, waiting), (2_998, vec![Some(2_999), Some(3_000)]));
        assert_eq!(minutes.until(at((2_999 + 1_440) * 60)), None);
    }

    #[test]
    fn a_clock_that_is_set_on_or_back_leaves_the_minutes_in_order_and_bounded() {
        let minutes = Minutes::default();
        for minute in 0..10 {
            put(&minutes, minute * 60, 5);
        }
        put(&minutes, 7 * 60 + 30, 6);
        assert_eq!(told(&minutes, at(480)), (0, vec![Some(5); 8]), "the later ones have not been yet");
        put(&minutes, 8 * 60, 7);
        assert_eq!(told(&minutes, at(480)).1[7..], [Some(5), Some(7)]);
        put(&minutes, -3_600, 8);
        assert_eq!(told(&minutes, at(-3_600)), (-60, vec![Some(8)]), "back before all of them");
        put(&minutes, 23 * 3_600, 9);
        let (first, waiting) = told(&minutes, at(23 * 3_600));
        assert_eq!((first, waiting.len(), waiting.iter().flatten().count()), (-59, KEPT, 1));
        put(&minutes, 900 * 86_400, 9);
        assert_eq!(told(&minutes, at(900 * 86_400)).1, [Some(9)]);
        assert_eq!(minutes.day().noted.len(), 1);
    }
}
