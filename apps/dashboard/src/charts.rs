//! Bars and lines, drawn as SVG: how wide or high each is, in parts of the drawing.

use std::collections::BTreeMap;
use std::fmt;

use askama::filters::HtmlSafe;
use baton_api::fleet::{HourView, MinutesView};
use baton_model::Timestamp;

use crate::words::{count, number, span};

/// A part of a bar.
pub(crate) struct Part {
    /// What it counts, which is also its colour.
    pub(crate) what: &'static str,
    pub(crate) x: String,
    pub(crate) width: String,
    /// How many, for people.
    pub(crate) tasks: String,
}

/// The width of drawings.
const WIDTH: f64 = 1_000.0;
/// What is there at all shows.
const LEAST: f64 = 4.0;

/// One bar of parts beside each other, as wide as `whole`.
pub(crate) fn bar(numbers: &[(&'static str, u64)], whole: u64) -> Vec<Part> {
    let some = numbers.iter().filter(|(_, tasks)| *tasks > 0).count() as f64;
    // What the smallest parts get more, all share.
    let room = WIDTH - some * LEAST;
    let mut x = 0.0;
    let mut parts = Vec::new();
    for &(what, tasks) in numbers.iter().filter(|(_, tasks)| *tasks > 0) {
        let width = LEAST + room * tasks as f64 / whole.max(1) as f64;
        parts.push(Part { what, x: format!("{x:.1}"), width: format!("{width:.1}"), tasks: count(tasks) });
        x += width;
    }
    parts
}

/// An hour of the last 24, with a bar for what was claimed, one for what was completed and one for what failed.
pub(crate) struct Hour {
    pub(crate) x: usize,
    /// The height of each bar.
    pub(crate) claimed: String,
    pub(crate) completed: String,
    pub(crate) failed: String,
    /// Where each begins, counted from above.
    pub(crate) claimed_y: String,
    pub(crate) completed_y: String,
    pub(crate) failed_y: String,
    /// What it says in words.
    pub(crate) title: String,
    /// The hour of the day, in UTC, where it is written below.
    pub(crate) label: Option<String>,
}

/// The height of the drawing of hours, without its labels.
const HIGH: f64 = 80.0;
/// The width of an hour.
const STEP: usize = 40;
const HOUR: i64 = 3_600_000;

/// The last 24 hours, those included in which nothing was done; and the most of an hour.
pub(crate) fn hours(done: &[HourView], now: Timestamp) -> (Vec<Hour>, u64) {
    let of = |hour: &HourView| [hour.claimed, hour.completed, hour.failed];
    let done: BTreeMap<i64, [u64; 3]> =
        done.iter().map(|hour| (hour.from.as_millis() / HOUR, of(hour))).collect();
    let most = done.values().flatten().copied().max().unwrap_or_default();
    let high = |tasks: u64| match tasks {
        0 => 0.0,
        some => (HIGH * some as f64 / most.max(1) as f64).max(1.0),
    };
    let last = now.as_millis() / HOUR;
    let drawn = (last - 23..=last).enumerate().map(|(at, hour)| {
        let [claimed, completed, failed] = done.get(&hour).copied().unwrap_or_default();
        let of_day = hour.rem_euclid(24);
        let [told_claimed, told_completed, told_failed] = [claimed, completed, failed].map(count);
        let title = format!(
            "{of_day:02}:00 UTC: {told_claimed} claimed, {told_completed} completed, {told_failed} attempts failed"
        );
        Hour {
            x: at * STEP,
            claimed: format!("{:.1}", high(claimed)),
            completed: format!("{:.1}", high(completed)),
            failed: format!("{:.1}", high(failed)),
            claimed_y: format!("{:.1}", HIGH - high(claimed)),
            completed_y: format!("{:.1}", HIGH - high(completed)),
            failed_y: format!("{:.1}", HIGH - high(failed)),
            title,
            label: (of_day % 6 == 0).then(|| format!("{of_day:02}:00")),
        }
    });
    (drawn.collect(), most)
}

/// The points of lines through places, a new line behind each one that is missing.
fn lines(places: impl Iterator<Item = Option<(f64, f64)>>) -> Vec<String> {
    let mut lines = vec![String::new()];
    for place in places {
        match (place, lines.last_mut()) {
            (Some((x, y)), Some(line)) => line.push_str(&format!("{x:.1},{y:.1} ")),
            (None, Some(line)) if !line.is_empty() => lines.push(String::new()),
            _ => {}
        }
    }
    lines.retain(|line| !line.is_empty());
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

/// How many tasks did the same over the last minutes.
pub(crate) struct Course {
    /// What they did, which is also its colour.
    pub(crate) what: &'static str,
    /// The points of each line.
    pub(crate) lines: Vec<String>,
    /// The most of a minute, and the least.
    pub(crate) most: String,
    pub(crate) least: String,
    /// The time of day of its first minute and of its last one, in UTC.
    pub(crate) first: String,
    pub(crate) last: String,
    /// What it says in words.
    pub(crate) words: String,
}

/// The width of the drawing of minutes: that of the hours.
const WIDE: f64 = (24 * STEP) as f64;
const MINUTE: i64 = 60_000;
/// About how many points a line has at most: a page looks again each second.
const POINTS: i64 = 240;
/// A line breaks off where more minutes than this were not noted.
const GAP: i64 = 5;

/// What waited and what ran over the last minutes, each in a drawing of its own, as few may run where many wait. Nothing is drawn of
/// less than two minutes.
pub(crate) fn courses(minutes: &MinutesView) -> Vec<Course> {
    let all = [("waiting", &minutes.waiting), ("running", &minutes.running)];
    all.into_iter().filter_map(|(what, counts)| course(what, minutes.from, counts)).collect()
}

fn course(what: &'static str, from: Timestamp, counts: &[Option<u64>]) -> Option<Course> {
    let noted: Vec<(i64, u64)> = (from.as_millis() / MINUTE..)
        .zip(counts)
        .filter_map(|(minute, count)| Some((minute, (*count)?)))
        .collect();
    let (&(first, _), &(last, now)) = (noted.first()?, noted.last()?);
    if first == last {
        return None;
    }
    let most = noted.iter().map(|(_, count)| *count).max()?;
    let least = noted.iter().map(|(_, count)| *count).min()?;
    // Of several minutes that are one point, the one with the most stands for all: no peak is lost.
    let each = (last - first) / POINTS + 1;
    let mut peaks: Vec<(i64, u64)> = Vec::new();
    for (minute, count) in noted {
        match peaks.last_mut() {
            Some(peak) if peak.0 / each == minute / each => {
                if count >= peak.1 {
                    *peak = (minute, count);
                }
            }
            _ => peaks.push((minute, count)),
        }
    }
    let x = |minute: i64| WIDE * (minute - first) as f64 / (last - first) as f64;
    // The line is as wide as two, and lies within the drawing.
    let y = |count: u64| 1.0 + (HIGH - 2.0) * (1.0 - count as f64 / most.max(1) as f64);
    let mut places = Vec::with_capacity(peaks.len());
    let mut before = first;
    for (minute, count) in peaks {
        if minute - before > GAP.max(2 * each) {
            places.push(None);
        }
        places.push(Some((x(minute), y(count))));
        before = minute;
    }
    let of_day = |minute: i64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    let (first_of_day, last_of_day) = (of_day(first), of_day(last));
    Some(Course {
        what,
        lines: lines(places.into_iter()),
        words: format!(
            "Tasks {what} from {first_of_day} to {last_of_day} UTC: at most {}, at least {}, last {}",
            count(most),
            count(least),
            count(now)
        ),
        most: count(most),
        least: count(least),
        first: first_of_day,
        last: last_of_day,
    })
}

/// The sizes of a drawing of readings, as the style has them.
const SPARK: (f64, f64) = (120.0, 20.0);

/// How readings went of late: lines through them, left out where some are missing.
pub(crate) struct Spark {
    /// The points of each line.
    lines: Vec<String>,
    /// What it says in words, for those who do not see it.
    words: String,
}

impl HtmlSafe for Spark {}

impl fmt::Display for Spark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of it is made of numbers here.
        write!(
            f,
            "<svg class=\"spark\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\"><title>{}</title>",
            SPARK.0, SPARK.1, self.words, self.words
        )?;
        for line in &self.lines {
            write!(f, "<polyline points=\"{line}\"/>")?;
        }
        f.write_str("</svg>")
    }
}

/// Draws readings, of which there must be two at least, over the time that they were told in.
pub(crate) fn spark(at: &[Timestamp], values: &[Option<f64>], now: Timestamp) -> Option<Spark> {
    let told: Vec<f64> = values.iter().flatten().copied().filter(|value| value.is_finite()).collect();
    let (first, last) = (*at.first()?, *at.last()?);
    let least = told.iter().copied().reduce(f64::min)?;
    let most = told.iter().copied().reduce(f64::max)?;
    if told.len() < 2 || first >= last {
        return None;
    }
    let (wide, high) = (SPARK.0 - 2.0, SPARK.1 - 4.0);
    let whole = last.since(first).as_secs_f64();
    let x = |at: Timestamp| 1.0 + wide * at.since(first).as_secs_f64() / whole;
    // What never changes lies in the middle.
    let range = most / 2.0 - least / 2.0;
    let y = |value: f64| match range > 0.0 {
        true => 2.0 + high * (1.0 - (value / 2.0 - least / 2.0) / range),
        false => SPARK.1 / 2.0,
    };
    let places = at.iter().zip(values).map(|(at, value)| {
        let value = value.filter(|value| value.is_finite())?;
        Some((x(*at), y(value)))
    });
    let lines = lines(places);
    let words = format!(
        "in the last {} from {} to {}, last {}",
        span(now.since(first).as_secs_f64()),
        number(least),
        number(most),
        number(*told.last()?)
    );
    Some(Spark { lines, words })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_drawn_within_their_bounds_with_gaps_and_words() {
        let at: Vec<_> = (0..5).map(|n| Timestamp::from_millis(n * 20_000)).collect();
        let now = Timestamp::from_millis(100_000);
        let drawn = spark(&at, &[Some(1.0), Some(3.0), None, Some(2.0), Some(2.5)], now).unwrap();
        assert_eq!(drawn.lines, ["1.0,18.0 30.5,2.0", "89.5,10.0 119.0,6.0"]);
        assert_eq!(drawn.words, "in the last 1 min 40 s from 1 to 3, last 2.50");
        let flat = spark(&at, &[Some(7.0); 5], now).unwrap();
        assert!(flat.lines[0].split(' ').all(|point| point.ends_with(",10.0")), "{:?}", flat.lines);
        for values in [&[None, Some(1.0), None, None, None][..], &[], &[None; 5]] {
            assert!(spark(&at, values, now).is_none(), "{values:?}");
        }
        let wild = [Some(f64::MAX), Some(f64::MIN), Some(0.0), None, None];
        assert!(!spark(&at, &wild, now).unwrap().to_string().contains("NaN"));
    }

    #[test]
    fn minutes_are_drawn_from_the_first_to_the_last_with_gaps_and_words() {
        let from = Timestamp::from_millis(1_770_000_000_000);
        let mut waiting = vec![None, Some(0), Some(1_000), None, Some(500)];
        waiting.resize(11, None);
        waiting.push(Some(250));
        let running = vec![None; waiting.len()];
        let drawn = courses(&MinutesView { from, waiting, running });
        assert_eq!(drawn.len(), 1, "of what was not noted nothing is drawn");
        assert_eq!(drawn[0].lines, ["0.0,79.0 96.0,1.0 288.0,40.0", "960.0,59.5"]);
        assert_eq!(
            drawn[0].words,
            "Tasks waiting from 02:41 to 02:51 UTC: at most 1,000, at least 0, last 250"
        );
        let drawn = courses(&MinutesView { from, waiting: vec![Some(3)], running: vec![Some(0); 2] });
        assert_eq!((drawn.len(), drawn[0].what, &*drawn[0].lines[0]), (1, "running", "0.0,79.0 960.0,79.0"));
    }

    #[test]
    fn a_day_of_minutes_has_few_points_and_each_peak_among_them() {
        let from = Timestamp::from_millis(1_770_000_000_000);
        let mut counts = vec![Some(10); 1_440];
        counts[777] = Some(9_999_999);
        let drawn = courses(&MinutesView { from, waiting: counts.clone(), running: counts });
        assert_eq!(drawn.len(), 2);
        let points: Vec<_> = drawn[0].lines[0].split(' ').collect();
        assert!(drawn[0].lines.len() == 1 && (240..=241).contains(&points.len()), "{points:?}");
        assert_eq!(points.iter().filter(|point| point.ends_with(",1.0")).count(), 1, "{points:?}");
        assert_eq!((&*drawn[0].most, &*drawn[0].least), ("9,999,999", "10"));
    }

    #[test]
    fn a_bar_fills_its_width_and_hides_nothing() {
        let parts = bar(&[("waiting", 1), ("running", 0), ("completed", 999_999)], 1_000_000);
        assert_eq!(parts.len(), 2);
        let widths: Vec<f64> = parts.iter().map(|part| part.width.parse().unwrap()).collect();
        assert!(widths[0] >= LEAST && (widths.iter().sum::<f64>() - WIDTH).abs() < 0.5, "{widths:?}");
        assert!(bar(&[("waiting", 0)], 0).is_empty());
    }

    #[test]
    fn each_of_the_last_24_hours_is_drawn_and_none_that_has_tasks_is_without_a_bar() {
        let now = Timestamp::from_millis(500_000 * HOUR + 1_000);
        let hour = |back: i64, claimed, completed| HourView {
            from: Timestamp::from_millis((500_000 - back) * HOUR),
            claimed,
            completed,
            failed: 250,
        };
        let (drawn, most) = hours(&[hour(30, 9_999_999, 0), hour(23, 1, 0), hour(0, 1_000, 500)], now);
        assert_eq!((drawn.len(), most), (24, 9_999_999));
        let (drawn, most) = hours(&[hour(23, 1, 0), hour(0, 1_000, 500)], now);
        assert_eq!(most, 1_000);
        assert_eq!((&*drawn[0].claimed, &*drawn[0].completed, &*drawn[1].claimed), ("1.0", "0.0", "0.0"));
        assert_eq!((&*drawn[23].failed, &*drawn[23].failed_y, &*drawn[1].failed), ("20.0", "60.0", "0.0"));
        assert_eq!((&*drawn[23].claimed, &*drawn[23].completed_y), ("80.0", "40.0"));
        assert!(
            drawn[23].title.ends_with("UTC: 1,000 claimed, 500 completed, 250 attempts failed"),
            "{}",
            drawn[23].title
        );
        assert_eq!(drawn.iter().filter(|hour| hour.label.is_some()).count(), 4);
    }
}
