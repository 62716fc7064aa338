//! How many attempts fail, of those that ended lately.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use baton_model::Timestamp;
use serde::{Deserialize, Serialize};

/// Over how long failures are counted.
const WINDOW: Duration = Duration::from_secs(600);

/// Fewer attempts than this tell no rate.
const ENOUGH: u64 = 10;

/// Counts of hours that began longer ago change no more.
const SETTLED: Duration = Duration::from_secs(2 * 3_600);

/// How many attempts had completed, and how many had failed.
type Ended = (u64, u64);

/// The rate of failures in the last ten minutes, from counts that are noted at each look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Totals, the oldest first: one that is as old as the window, and those since.
    notes: VecDeque<(Timestamp, Ended)>,
    /// What the hours had at the last note, where they are what is counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    hours: BTreeMap<i64, Ended>,
}

impl Rate {
    /// Notes totals that only grow, such as those of a process: how many attempts have completed, and how many have failed.
    pub fn note(&mut self, now: Timestamp, total: (u64, u64)) {
        // After a clock was set back, what was noted by it as it was tells nothing.
        self.notes.retain(|(at, _)| *at <= now);
        self.notes.push_back((now, total));
        while self.notes.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.notes.pop_front();
        }
    }

    /// Notes what has ended hour by hour, as statistics tell it: when each hour began, and its counts; an hour that is not among them
    /// has none. The window goes over the ends of hours. Counts that have become smaller are of other queues than before, and after a
    /// window without a note nobody knows when it was that attempts ended: either way the rate begins anew.
    pub fn note_hours(&mut self, now: Timestamp, hours: impl IntoIterator<Item = (Timestamp, (u64, u64))>) {
        let first = now.minus(SETTLED);
        let hours: BTreeMap<i64, Ended> = hours
            .into_iter()
            .filter(|(from, _)| *from >= first)
            .map(|(from, ended)| (from.as_millis(), ended))
            .collect();
        let last = self.notes.back().filter(|(at, _)| *at <= now && now.since(*at) < WINDOW).copied();
        let total = last.and_then(|(_, total)| self.grown(total, &hours, first));
        if total.is_none() {
            self.notes.clear();
        }
        self.hours = hours;
        self.note(now, total.unwrap_or_default());
    }

    /// A total with what hours have more than at the last note; none if one has less.
    fn grown(
        &self,
        (completed, failed): Ended,
        hours: &BTreeMap<i64, Ended>,
        first: Timestamp,
    ) -> Option<Ended> {
        let mut known = self.hours.range(first.as_millis()..);
        if !known.all(|(from, _)| hours.contains_key(from)) {
            return None;
        }
        hours.iter().try_fold((completed, failed), |(completed, failed), (from, ended)| {
            let before = self.hours.get(from).copied().unwrap_or_default();
            Some((completed + ended.0.checked_sub(before.0)?, failed + ended.1.checked_sub(before.1)?))
        })
    }

    /// Of a hundred attempts that ended in the time, how many failed: none if too few ended to tell. Nothing at all is known before it
    /// was noted for as long.
    pub fn failures(&self, now: Timestamp) -> Option<Option<f64>> {
        let (&(from, first), &(_, last)) = (self.notes.front()?, self.notes.back()?);
        let (completed, failed) = (last.0.saturating_sub(first.0), last.1.saturating_sub(first.1));
        let all = completed + failed;
        if all >= ENOUGH {
            return Some(Some(100.0 * failed as f64 / all as f64));
        }
        (now.since(from) >= WINDOW).then_some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many seconds after an hour has begun.
    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_rate_is_of_the_last_minutes_and_of_enough_attempts() {
        let mut rate = Rate::default();
        rate.note(at(0), (100, 50));
        rate.note(at(10), (104, 54));
        assert_eq!(rate.failures(at(10)), None, "too few, and too early to say that nothing ends");
        rate.note(at(20), (106, 64));
        assert_eq!(rate.failures(at(20)), Some(Some(70.0)));
        for look in 3..=62 {
            rate.note(at(look * 10), (106, 64));
        }
        assert_eq!(rate.failures(at(620)), Some(None));
        assert!(rate.notes.len() <= 62);
    }

    #[test]
    fn a_rate_from_hours_goes_over_the_end_of_one_and_over_whoever_looks_next() {
        let mut rate = Rate::default();
        // What ended before the first look is not of its time.
        rate.note_hours(at(3_300), [(at(0), (500, 500))]);
        rate.note_hours(at(3_540), [(at(0), (505, 503))]);
        assert_eq!(rate.failures(at(3_540)), None);
        let mut rate: Rate = serde_json::from_str(&serde_json::to_string(&rate).unwrap()).unwrap();
        rate.note_hours(at(3_660), [(at(0), (506, 504)), (at(3_600), (2, 4))]);
        assert_eq!(rate.failures(at(3_660)), Some(Some(50.0)), "8 completed, 8 failed");
        rate.note_hours(at(4_140), [(at(0), (506, 504)), (at(3_600), (6, 9))]);
        assert_eq!(rate.failures(at(4_140)), Some(Some(100.0 * 10.0 / 17.0)), "since the look at 3,540");
        rate.note_hours(at(4_700), [(at(0), (506, 504)), (at(3_600), (6, 9))]);
        assert_eq!(rate.failures(at(4_700)), Some(None));
    }

    #[test]
    fn a_rate_from_hours_begins_anew_where_nobody_knows_what_was_between() {
        let mut rate = Rate::default();
        rate.note_hours(at(0), [(at(0), (10, 10))]);
        // Nobody has looked for too long.
        rate.note_hours(at(900), [(at(0), (10, 90))]);
        assert_eq!(rate.failures(at(900)), None);
        rate.note_hours(at(960), [(at(0), (10, 100))]);
        assert_eq!(rate.failures(at(960)), Some(Some(100.0)));
        // Other queues are listed: what is gone is not of the last minutes, and no reason to alarm.
        rate.note_hours(at(1_020), [(at(0), (0, 120))]);
        assert_eq!(rate.failures(at(1_020)), None);
        rate.note_hours(at(1_080), []);
        assert_eq!(rate.failures(at(1_080)), None);
        // The clock was set back.
        rate.note_hours(at(500), [(at(0), (0, 700))]);
        assert_eq!(rate.failures(at(500)), None);
    }
}
