//! How many of what ended lately failed, and whether that is too many.

use baton_api::fleet::StatsView;
use baton_model::Timestamp;
use serde::Serialize;

use crate::finding::{Finding, error, warning};
use crate::words::quoted;

/// Fewer failures than this are told, and are no more than a warning.
const MANY: u64 = 5;

/// How many failed tasks, the newest ones, failures are named from. All who tell a verdict look at as many, so that they name the same
/// error; none of them is counted, as statistics count what ended.
pub const NAMED: u32 = 100;

/// How many hours statistics tell of.
pub const HOURS: u32 = 24;

const HOUR_MILLIS: i64 = 3_600_000;

/// From when on failures are told of: the beginning of the hour that was `hours` hours ago, as statistics count by whole hours.
pub fn failures_from(at: Timestamp, hours: u32) -> Timestamp {
    let first = at.as_millis().div_euclid(HOUR_MILLIS) - i64::from(hours.min(HOURS - 1));
    Timestamp::from_millis(first.saturating_mul(HOUR_MILLIS))
}

/// How an hour is named that began within the last day: `07:00 UTC`.
pub(crate) fn hour_of_day(from: Timestamp) -> String {
    format!("{:02}:00 UTC", from.as_millis().div_euclid(HOUR_MILLIS).rem_euclid(24))
}

/// How much ended well, and how much did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// How many completed.
    pub completed: u64,
    /// How many failed.
    pub failed: u64,
}

impl Ended {
    /// The attempts that ended since an hour began, as statistics count them: however many there are, and a task that is tried again
    /// counts each time.
    pub fn attempts(stats: &StatsView, from: Timestamp) -> Self {
        let mut ended = Self::default();
        for hour in stats.hours.iter().filter(|hour| hour.from >= from) {
            ended.completed += hour.completed;
            ended.failed += hour.failed;
        }
        ended
    }

    /// Both together.
    pub fn all(self) -> u64 {
        self.completed + self.failed
    }

    /// Whether more failed than completed.
    pub fn mostly_failed(self) -> bool {
        self.failed > self.completed
    }

    /// Whether so many failed that somebody must act.
    pub fn is_grave(self) -> bool {
        self.failed >= MANY && self.mostly_failed()
    }
}

/// That a type of tasks fails more than it completes: `ended` are the newest tasks of the type that ended in a time.
pub fn failing_type(task_type: &str, ended: Ended, period: &str) -> Option<Finding> {
    let next = format!("baton task list --status failed --type {}", quoted(task_type));
    failing(("type_fails", &format!("type {task_type}")), ended, period, next)
}

/// That a worker fails more than it completes: `ended` are the newest tasks that ended in a time and were held by it last.
pub fn failing_worker(worker: &str, ended: Ended, period: &str) -> Option<Finding> {
    let next = format!("baton debug worker {}", quoted(worker));
    failing(("worker_fails", &format!("worker {worker}")), ended, period, next)
}

fn failing((what, whose): (&'static str, &str), ended: Ended, period: &str, next: String) -> Option<Finding> {
    if !ended.mostly_failed() {
        return None;
    }
    let message = format!(
        "{whose}: {} of its newest {} tasks that ended in {period} failed",
        ended.failed,
        ended.all()
    );
    let tell = if ended.is_grave() { error } else { warning };
    Some(tell(what, message, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Weight;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn failures_are_told_of_since_an_hour_began_and_at_most_for_as_long_as_statistics_do() {
        for (hours, from, told) in [
            (1, "2026-01-31T07:00:00.000Z", "07:00 UTC"),
            (9, "2026-01-30T23:00:00.000Z", "23:00 UTC"),
            (23, "2026-01-30T09:00:00.000Z", "09:00 UTC"),
            (24, "2026-01-30T09:00:00.000Z", "09:00 UTC"),
        ] {
            let found = failures_from(at("2026-01-31T08:59:59.999Z"), hours);
            assert_eq!((found, hour_of_day(found).as_str()), (at(from), told), "{hours}");
        }
        assert_eq!(failures_from(at("1970-01-01T00:30:00.000Z"), 5), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn what_mostly_fails_is_a_warning_and_an_error_once_it_is_much() {
        let weight = |failed, completed| {
            let found = failing_type("render", Ended { failed, completed }, "the last hour");
            found.map(|found| found.weight)
        };
        assert_eq!(weight(0, 0), None);
        assert_eq!(weight(500, 500), None);
        assert_eq!(weight(4, 3), Some(Weight::Warning));
        assert_eq!(weight(5, 4), Some(Weight::Error));
        let found = failing_worker("gpu 1", Ended { failed: 7, completed: 3 }, "the last hour").unwrap();
        assert_eq!(
            found.message,
            "worker gpu 1: 7 of its newest 10 tasks that ended in the last hour failed"
        );
        assert_eq!((found.what, found.next.as_str()), ("worker_fails", "baton debug worker 'gpu 1'"));
    }
}
