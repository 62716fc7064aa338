//! Schedules: when they recur, what is due, and what a change makes of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::time::Duration;

use baton_model::schedule::{Due, STEP_TASKS, Said, ScheduleProblem, changed};
use baton_model::{
    Filling, IfMissed, IfRunning, Payload, Plan, Rhythm, Schedule, ScheduleChange, ScheduleKey, TaskId,
    TaskSpec, Timestamp,
};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(cron: &str, zone: &str) -> Rhythm {
    Rhythm::Cron { cron: cron.parse().unwrap(), zone: zone.parse().unwrap() }
}

fn every(seconds: u64) -> Rhythm {
    Rhythm::Every(Duration::from_secs(seconds))
}

fn plan(rhythm: Rhythm) -> Plan {
    Plan {
        rhythm,
        if_missed: IfMissed::Once,
        late_after: Duration::from_secs(300),
        if_running: IfRunning::Allow,
        starts_at: None,
        ends_at: None,
        paused: false,
        task: TaskSpec::new(TaskId::unset(), "render".parse().unwrap()),
    }
}

fn key() -> ScheduleKey {
    ScheduleKey { project: "film".parse().unwrap(), name: "nightly".parse().unwrap() }
}

fn said(now: &str) -> Said {
    Said { now: at(now), by: None, reason: None }
}

fn set(plan: Plan) -> ScheduleChange {
    ScheduleChange::Set { plan: Box::new(plan), seed: [7; 16], replace: false }
}

fn made(plan: Plan, now: &str) -> Schedule {
    changed(&key(), None, &set(plan), &said(now)).unwrap().unwrap()
}

fn times(due: &Due) -> Vec<String> {
    let time = |spec: &TaskSpec| match spec.run_after {
        baton_model::RunAfter::At(at) => at.to_string()[..19].to_owned(),
        _ => panic!("a task for a time"),
    };
    due.tasks.iter().map(time).collect()
}

/// Occurrences after a time, as local clocks show them and as they are.
fn next(rhythm: &Rhythm, after: &str, most: usize) -> Vec<String> {
    let next = |at: &Timestamp| rhythm.next(*at, Timestamp::default());
    std::iter::successors(next(&at(after)), next)
        .take(most)
        .map(|at| at.to_string()[5..16].to_owned())
        .collect()
}

#[rstest]
#[case("@daily", "2026-01-31T08:00:00Z", &["02-01T00:00", "02-02T00:00"])]
#[case("@midnight", "2026-01-31T08:00:00Z", &["02-01T00:00", "02-02T00:00"])]
#[case("@hourly", "2026-01-31T08:00:00Z", &["01-31T09:00", "01-31T10:00"])]
#[case("@weekly", "2026-01-31T08:00:00Z", &["02-01T00:00", "02-08T00:00"])]
#[case("30 3 * * MON-FRI", "2026-01-30T08:00:00Z", &["02-02T03:30", "02-03T03:30"])]
#[case("0 0 29 2 *", "2026-01-30T08:00:00Z", &["02-29T00:00", "02-29T00:00"])]
#[case("*/20 0 12 * * *", "2026-01-30T11:59:59Z", &["01-30T12:00", "01-30T12:00", "01-30T12:00", "01-31T12:00"])]
fn expressions_name_their_times(#[case] expression: &str, #[case] after: &str, #[case] expected: &[&str]) {
    assert_eq!(next(&cron(expression, "UTC"), after, expected.len()), expected);
}

#[test]
fn a_time_within_a_second_is_behind_its_beginning() {
    let rhythm = cron("* * * * * *", "UTC");
    let within = at("2026-01-30T12:00:00.500Z");
    assert_eq!(rhythm.next(within, within), Some(at("2026-01-30T12:00:01Z")));
    assert_eq!(rhythm.previous(within, within), Some(at("2026-01-30T12:00:00Z")));
    let whole = at("2026-01-30T12:00:00Z");
    assert_eq!(rhythm.previous(whole, whole), Some(at("2026-01-30T11:59:59Z")));
    assert_eq!(rhythm.next(whole, whole), Some(at("2026-01-30T12:00:01Z")));
}

/// In Berlin the clocks go from 02:00 to 03:00 on 2026-03-29 (01:00 UTC), and from 03:00 to 02:00 on 2026-10-25 (01:00 UTC). The times that
/// are expected are UTC.
#[rstest]
// A time that is skipped comes once, as the gap ends.
#[case("30 2 * * *", "2026-03-28T12:00:00Z", &["03-29T01:00", "03-30T00:30"])]
#[case("0 2 * * *", "2026-03-28T12:00:00Z", &["03-29T01:00", "03-30T00:00"])]
// A time that is doubled comes once.
#[case("30 2 * * *", "2026-10-24T12:00:00Z", &["10-25T00:30", "10-26T01:30"])]
#[case("0 2 * * *", "2026-10-24T12:00:00Z", &["10-25T00:00", "10-26T01:00"])]
#[case("0 3 * * *", "2026-10-24T12:00:00Z", &["10-25T02:00", "10-26T02:00"])]
// So does each of a list, a range or a step: what is skipped comes with what comes as the gap ends,
#[case("0 2,14 * * *", "2026-03-28T12:00:00Z", &["03-28T13:00", "03-29T01:00", "03-29T12:00", "03-30T00:00"])]
#[case("30 2,14 * * *", "2026-03-28T12:00:00Z", &["03-28T13:30", "03-29T01:00", "03-29T12:30", "03-30T00:30"])]
#[case("0,30 2 * * *", "2026-03-28T12:00:00Z", &["03-29T01:00", "03-30T00:00", "03-30T00:30"])]
#[case("15 1-3 * * *", "2026-03-28T12:00:00Z", &["03-29T00:15", "03-29T01:00", "03-29T01:15", "03-29T23:15"])]
#[case("0 1-4 * * *", "2026-03-28T23:30:00Z", &["03-29T00:00", "03-29T01:00", "03-29T02:00", "03-29T23:00"])]
#[case("0 */2 * * *", "2026-03-28T22:30:00Z", &["03-28T23:00", "03-29T01:00", "03-29T02:00", "03-29T04:00"])]
#[case("*/20 2 * * *", "2026-03-28T12:00:00Z", &["03-29T01:00", "03-30T00:00", "03-30T00:20", "03-30T00:40"])]
// and of what is doubled the first counts.
#[case("0 2,14 * * *", "2026-10-24T12:30:00Z", &["10-25T00:00", "10-25T13:00", "10-26T01:00"])]
#[case("30 2,14 * * *", "2026-10-24T12:30:00Z", &["10-25T00:30", "10-25T13:30", "10-26T01:30"])]
#[case("0,30 2 * * *", "2026-10-24T12:00:00Z", &["10-25T00:00", "10-25T00:30", "10-26T01:00", "10-26T01:30"])]
#[case("15 1-3 * * *", "2026-10-24T12:00:00Z", &["10-24T23:15", "10-25T00:15", "10-25T02:15", "10-26T00:15"])]
#[case("0 */2 * * *", "2026-10-24T21:30:00Z", &["10-24T22:00", "10-25T00:00", "10-25T03:00", "10-25T05:00"])]
#[case("*/20 2 * * *", "2026-10-24T12:00:00Z", &["10-25T00:00", "10-25T00:20", "10-25T00:40", "10-26T01:00"])]
#[case("*/30 0 2-3 * * *", "2026-10-24T12:00:00Z", &["10-25T00:00", "10-25T00:00", "10-25T02:00", "10-25T02:00"])]
// Asked within what is shown again, it has come.
#[case("*/20 2 * * *", "2026-10-25T00:30:00Z", &["10-25T00:40", "10-26T01:00"])]
#[case("*/20 2-3 * * *", "2026-10-25T01:05:00Z", &["10-25T02:00", "10-25T02:20"])]
// What names all 24 hours goes on evenly.
#[case("15 0-11,12-23 * * *", "2026-10-24T23:30:00Z", &["10-25T00:15", "10-25T01:15", "10-25T02:15", "10-25T03:15"])]
#[case("0 * * * *", "2026-10-24T23:30:00Z", &["10-25T00:00", "10-25T01:00", "10-25T02:00", "10-25T03:00"])]
#[case("*/30 * * * *", "2026-10-25T00:10:00Z", &["10-25T00:30", "10-25T01:00", "10-25T01:30", "10-25T02:00"])]
#[case("0 * * * *", "2026-03-28T23:30:00Z", &["03-29T00:00", "03-29T01:00", "03-29T02:00"])]
fn when_clocks_change_each_time_comes_once(
    #[case] expression: &str,
    #[case] after: &str,
    #[case] expected: &[&str],
) {
    assert_eq!(next(&cron(expression, "Europe/Berlin"), after, expected.len()), expected);
}

/// On Lord Howe Island the clocks go from 02:00 to 01:30 on 2026-04-05 (15:00 UTC of the day before), and from 02:00 to 02:30 on
/// 2026-10-04 (15:30 UTC of the day before).
#[rstest]
#[case("45 1,13 * * *", "2026-04-04T12:00:00Z", &["04-04T14:45", "04-05T03:15", "04-05T15:15"])]
#[case("*/15 1-2 * * *", "2026-04-04T14:30:00Z", &["04-04T14:45", "04-04T15:30", "04-04T15:45", "04-04T16:00"])]
#[case("0 * * * *", "2026-04-04T13:30:00Z", &["04-04T14:00", "04-04T15:30", "04-04T16:30"])]
#[case("45 * * * *", "2026-04-04T14:00:00Z", &["04-04T14:45", "04-04T15:15", "04-04T16:15"])]
#[case("15 2,14 * * *", "2026-10-03T12:00:00Z", &["10-03T15:30", "10-04T03:15", "10-04T15:15"])]
#[case("*/15 1-2 * * *", "2026-10-03T15:00:00Z", &["10-03T15:15", "10-03T15:30", "10-03T15:45", "10-04T14:00"])]
#[case("0 1-3 * * *", "2026-10-03T14:00:00Z", &["10-03T14:30", "10-03T15:30", "10-03T16:00", "10-04T14:00"])]
#[case("0 * * * *", "2026-10-03T14:00:00Z", &["10-03T14:30", "10-03T16:00", "10-03T17:00"])]
fn when_clocks_change_by_half_an_hour_each_time_comes_once(
    #[case] expression: &str,
    #[case] after: &str,
    #[case] expected: &[&str],
) {
    assert_eq!(next(&cron(expression, "Australia/Lord_Howe"), after, expected.len()), expected);
}

/// In Nuuk the clocks go from 23:00 on 2026-03-28, a Saturday, to the midnight behind it (01:00 UTC).
#[test]
fn what_is_skipped_to_the_end_of_its_day_comes_as_the_next_one_begins() {
    let saturdays = cron("30 23 * * SAT", "America/Nuuk");
    assert_eq!(next(&saturdays, "2026-03-22T12:00:00Z", 2), ["03-29T01:00", "04-05T00:30"]);
}

#[test]
fn what_is_no_expression_or_zone_is_refused_with_what_is_wrong() {
    for wrong in ["", "* * *", "61 * * * *", "@reboot", "a b c d e", &"*".repeat(300)] {
        let refused = wrong.parse::<baton_model::Cron>().unwrap_err().to_string();
        assert!(refused.starts_with("expected a cron expression such as 30 3 * * MON-FRI"), "{refused}");
    }
    for wrong in ["", "Berlin", "Mars/Olympus", "../../etc/passwd"] {
        assert!(wrong.parse::<baton_model::Zone>().is_err(), "{wrong}");
    }
    assert_eq!("europe/berlin".parse::<baton_model::Zone>().unwrap().as_str(), "Europe/Berlin");
}

#[test]
fn intervals_are_counted_from_their_anchor() {
    let anchor = at("2026-01-01T00:00:10Z");
    let rhythm = every(60);
    assert_eq!(rhythm.next(at("2026-01-01T00:00:00Z"), anchor), Some(anchor));
    assert_eq!(rhythm.next(anchor, anchor), Some(at("2026-01-01T00:01:10Z")));
    assert_eq!(rhythm.next(at("2026-01-01T00:05:11Z"), anchor), Some(at("2026-01-01T00:06:10Z")));
    assert_eq!(rhythm.previous(at("2026-01-01T00:05:10Z"), anchor), Some(at("2026-01-01T00:04:10Z")));
    assert_eq!(rhythm.previous(anchor, anchor), None);
    assert_eq!(rhythm.next(Timestamp::MAX, anchor), None);
}

#[test]
fn a_start_and_an_end_are_kept_both_included() {
    let mut bounded = plan(cron("@daily", "UTC"));
    bounded.starts_at = Some(at("2026-02-01T00:00:00Z"));
    bounded.ends_at = Some(at("2026-02-03T00:00:00Z"));
    let schedule = made(bounded, "2026-01-10T00:00:00Z");
    let next = schedule.upcoming(at("2026-01-10T00:00:00Z"), 5);
    let days: Vec<_> = next.iter().map(|at| at.to_string()[8..10].to_owned()).collect();
    assert_eq!(days, ["01", "02", "03"]);
    let due = schedule.due(at("2026-02-03T00:00:01Z"), false).unwrap();
    assert_eq!(due.after.next_at, None, "it has ended");
    assert_eq!(times(&due), ["2026-02-02T00:00:00", "2026-02-03T00:00:00"], "one is made up for");
    assert_eq!(due.after.due(at("2027-01-01T00:00:00Z"), false), None);
}

#[test]
fn a_paused_schedule_tells_the_times_that_it_would_have_if_it_were_resumed() {
    let schedule = made(plan(every(60)), "2026-01-31T12:00:00Z");
    let schedule = schedule.due(at("2026-01-31T12:01:00Z"), false).unwrap().after;
    let change = |standing: &Schedule, change: &ScheduleChange, now: &str| {
        changed(&key(), Some(standing), change, &said(now)).unwrap().unwrap()
    };
    let paused = change(&schedule, &ScheduleChange::Pause, "2026-01-31T12:01:30Z");
    let now = "2026-01-31T13:00:10Z";
    let next = paused.upcoming(at(now), 2);
    assert_eq!(next, [at("2026-01-31T13:01:00Z"), at("2026-01-31T13:02:00Z")], "none that has passed");
    assert_eq!(change(&paused, &ScheduleChange::Resume, now).upcoming(at(now), 2), next);
    let set_back = paused.upcoming(at("2026-01-31T11:00:00Z"), 1);
    assert_eq!(set_back, [at("2026-01-31T12:02:00Z")], "none that has its task");
}

#[rstest]
#[case(IfMissed::Skip, &["12:00:00"], Some("11:00:00"))]
#[case(IfMissed::Once, &["11:00:00", "12:00:00"], None)]
#[case(IfMissed::All(3), &["09:00:00", "10:00:00", "11:00:00", "12:00:00"], None)]
#[case(IfMissed::All(30), &["08:00:00", "09:00:00", "10:00:00", "11:00:00", "12:00:00"], None)]
fn what_was_missed_is_made_up_for_as_it_says(
    #[case] if_missed: IfMissed,
    #[case] expected: &[&str],
    #[case] missed: Option<&str>,
) {
    let schedule = made(Plan { if_missed, ..plan(cron("@hourly", "UTC")) }, "2026-01-31T07:30:00Z");
    let due = schedule.due(at("2026-01-31T12:01:00Z"), false).unwrap();
    let expected: Vec<_> = expected.iter().map(|time| format!("2026-01-31T{time}")).collect();
    assert_eq!(times(&due), expected);
    assert_eq!(due.after.missed_at.map(|at| at.to_string()[11..19].to_owned()).as_deref(), missed);
    assert_eq!(due.after.next_at, Some(at("2026-01-31T13:00:00Z")));
    assert_eq!(due.after.due(at("2026-01-31T12:59:59Z"), false), None, "nothing is due twice");
}

#[rstest]
#[case(IfRunning::Skip, false, 1, 2, false)]
#[case(IfRunning::Skip, true, 0, 3, false)]
#[case(IfRunning::Allow, true, 3, 0, false)]
#[case(IfRunning::Cancel, true, 1, 2, true)]
#[case(IfRunning::Cancel, false, 1, 2, false)]
fn while_the_last_one_runs_it_does_as_it_says(
    #[case] if_running: IfRunning,
    #[case] last_runs: bool,
    #[case] created: usize,
    #[case] skipped: u64,
    #[case] cancels: bool,
) {
    let first = made(Plan { if_running, ..plan(every(60)) }, "2026-01-31T12:00:00Z");
    let last = first.due(at("2026-01-31T12:01:00Z"), false).unwrap().after;
    let due = last.due(at("2026-01-31T12:04:30Z"), last_runs).unwrap();
    assert_eq!((due.tasks.len(), due.after.skipped), (created, skipped));
    assert_eq!(due.cancel, cancels.then(|| last.last.unwrap().task));
    assert_eq!(due.after.next_at, Some(at("2026-01-31T12:05:00Z")));
    if if_running == IfRunning::Cancel {
        assert_eq!(times(&due), ["2026-01-31T12:04:00"], "the latest");
    }
}

#[test]
fn what_is_due_comes_in_bounded_steps_and_none_is_left_out() {
    let late_after = Duration::from_secs(3_600);
    let mut schedule = made(Plan { late_after, ..plan(every(1)) }, "2026-01-31T12:00:00Z");
    let now = at("2026-01-31T12:05:00Z");
    let mut found = Vec::new();
    while let Some(due) = schedule.due(now, true) {
        assert!(due.tasks.len() <= STEP_TASKS);
        found.extend(times(&due));
        schedule = due.after;
    }
    assert_eq!(found.len(), 300);
    found.dedup();
    assert_eq!((found.len(), schedule.created), (300, 300));
}

#[test]
fn ids_derive_from_the_schedule_and_the_time() {
    let schedule = made(plan(every(60)), "2026-01-31T12:00:00Z");
    let time = at("2026-01-31T12:01:00Z");
    let id = schedule.task_id(time);
    assert_eq!(id, schedule.task_id(time));
    assert_ne!(id, schedule.task_id(at("2026-01-31T12:02:00Z")));
    let other = Schedule { seed: [8; 16], ..schedule.clone() };
    assert_ne!(id, other.task_id(time));
    let first = id.as_bytes()[..6].iter().fold(0_i64, |all, byte| all << 8 | i64::from(*byte));
    assert_eq!((first, id.as_bytes()[6] >> 4), (time.as_millis(), 7), "a UUIDv7 of that time");
    assert_eq!(id.to_string(), "019c13ed-8860-750e-bd67-316c0e6345a4", "stored ids depend on it");
}

#[test]
fn texts_in_params_are_filled_in() {
    let filling = Filling { at: at("2026-01-31T12:01:00Z"), date: "2026-01-31".to_owned(), index: None };
    let fill = |value: serde_json::Value| filling.fill(&Payload::from_value(&value)).to_value();
    assert_eq!(
        fill(json!({"day": "{{date}}", "list": ["frame-{{date}}.png", 3], "at": "{{time}}"})),
        json!({"day": "2026-01-31", "list": ["frame-2026-01-31.png", 3], "at": "2026-01-31T12:01:00.000Z"})
    );
    let plain = Payload::parse("{ \"kept\" :  1.50 }").unwrap();
    assert_eq!(filling.fill(&plain).as_str(), plain.as_str(), "to the byte");
    let other = Payload::parse(r#"{"a":"{{other}}"}"#).unwrap();
    assert_eq!(filling.fill(&other).to_value(), other.to_value());
}

#[test]
fn a_change_is_one_rule() {
    let daily = plan(cron("@daily", "UTC"));
    let standing = made(daily.clone(), "2026-01-31T12:00:00Z");
    let change = |change, now| changed(&key(), Some(&standing), &change, &said(now));
    assert_eq!(
        change(set(daily.clone()), "2026-02-01T12:00:00Z").unwrap(),
        Some(standing.clone()),
        "the same"
    );
    let hourly = plan(cron("@hourly", "UTC"));
    assert_eq!(change(set(hourly.clone()), "2026-02-01T12:00:00Z"), Err(ScheduleProblem::Exists));
    let replace =
        |plan: &Plan| ScheduleChange::Set { plan: Box::new(plan.clone()), seed: [9; 16], replace: true };
    let replaced = change(replace(&hourly), "2026-02-01T12:10:00Z").unwrap().unwrap();
    assert_eq!((replaced.next_at, replaced.seed), (Some(at("2026-02-01T13:00:00Z")), [7; 16]));
    // What is due stays due when only the task changes.
    let mut other = daily.clone();
    other.task.description = Some("anew".to_owned());
    let replaced = change(replace(&other), "2026-02-03T12:10:00Z").unwrap().unwrap();
    assert_eq!((replaced.next_at, replaced.revision), (Some(at("2026-02-01T00:00:00Z")), 2));
    assert_eq!(change(ScheduleChange::Remove, "2026-02-03T12:10:00Z"), Ok(None));
    for absent in [ScheduleChange::Remove, ScheduleChange::Pause, ScheduleChange::Resume] {
        assert_eq!(
            changed(&key(), None, &absent, &said("2026-02-01T12:00:00Z")),
            Err(ScheduleProblem::Unknown)
        );
    }
}

#[test]
fn what_passes_while_it_is_paused_is_no_occurrence() {
    let standing = made(plan(cron("@hourly", "UTC")), "2026-01-31T12:00:00Z");
    let paused = changed(&key(), Some(&standing), &ScheduleChange::Pause, &said("2026-01-31T12:10:00Z"));
    let paused = paused.unwrap().unwrap();
    assert_eq!((paused.due_at(), paused.due(at("2026-01-31T15:10:00Z"), false)), (None, None));
    let resumed = changed(&key(), Some(&paused), &ScheduleChange::Resume, &said("2026-01-31T15:10:00Z"));
    assert_eq!(resumed.unwrap().unwrap().due_at(), Some(at("2026-01-31T16:00:00Z")));
}

#[test]
fn a_clock_that_was_set_back_doubles_nothing() {
    let schedule = made(plan(cron("@hourly", "UTC")), "2026-01-31T12:00:00Z");
    let due = schedule.due(at("2026-01-31T13:00:00Z"), false).unwrap();
    assert_eq!(due.after.due(at("2026-01-31T12:30:00Z"), false), None);
    assert_eq!(due.after.due(at("2026-01-31T13:00:00Z"), false), None);
    // Also if somebody pauses and resumes it, or sets another rhythm, by the clock as it is.
    let other = ScheduleChange::Set {
        plan: Box::new(plan(cron("*/30 * * * *", "UTC"))),
        seed: [9; 16],
        replace: true,
    };
    let replaced = changed(&key(), Some(&due.after), &other, &said("2026-01-31T12:10:00Z")).unwrap().unwrap();
    assert_eq!(replaced.due_at(), Some(at("2026-01-31T13:30:00Z")));
}

fn rhythms() -> impl Strategy<Value = Rhythm> {
    let expression = prop::sample::select(vec![
        "@daily",
        "@hourly",
        "@weekly",
        "@monthly",
        "30 2 * * *",
        "0 2 * * SUN",
        "*/7 * * * *",
        "15 1-3 * * *",
        "0 30 2 * * *",
        "*/20 */13 2 * * *",
        "0 0 L * *",
        "0 12 * * FRI#2",
        "5,35 0 1 * *",
        "0 2,14 * * *",
        "0 */2 * * *",
        "0 3 25 10 *",
    ]);
    let zone = prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Africa/Cairo",
        "America/St_Johns",
        "Pacific/Apia",
    ]);
    prop_oneof![
        (expression, zone).prop_map(|(expression, zone)| cron(expression, zone)),
        (1_u64..100_000).prop_map(every),
    ]
}

/// A field of an expression, and what it names.
fn fields(below: u32) -> impl Strategy<Value = (String, Vec<u32>)> {
    let one = move || 0..below;
    prop_oneof![
        one().prop_map(|value| (value.to_string(), vec![value])),
        prop::collection::btree_set(one(), 2..5).prop_map(|values| {
            let list: Vec<String> = values.iter().map(u32::to_string).collect();
            (list.join(","), values.into_iter().collect())
        }),
        (one(), one(), 1..8_u32).prop_map(|(a, b, step)| {
            let (first, last) = (a.min(b), a.max(b));
            (format!("{first}-{last}/{step}"), (first..=last).step_by(step as usize).collect())
        }),
        (1..below / 2)
            .prop_map(move |step| (format!("*/{step}"), (0..below).step_by(step as usize).collect())),
    ]
}

/// A zone, and a second of UTC at which its clocks change: by an hour, by half of one, over a midnight, by a day.
fn changes() -> impl Strategy<Value = (&'static str, i64)> {
    let changes: Vec<(&str, i64)> = [
        ("Europe/Berlin", "2026-01-01T00:00:00Z"),
        ("America/New_York", "2026-01-01T00:00:00Z"),
        ("America/Santiago", "2026-01-01T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-01-01T00:00:00Z"),
        ("Africa/Cairo", "2026-01-01T00:00:00Z"),
        ("Africa/Casablanca", "2026-01-01T00:00:00Z"),
        ("America/Nuuk", "2026-01-01T00:00:00Z"),
        ("Pacific/Apia", "2011-12-01T00:00:00Z"),
    ]
    .into_iter()
    .flat_map(|(name, from)| {
        let zone = clocks(name);
        let from: jiff::Timestamp = from.parse().unwrap();
        let found: Vec<i64> =
            zone.following(from).take(2).map(|change| change.timestamp().as_second()).collect();
        assert_eq!(found.len(), 2, "{name}");
        found.into_iter().map(move |second| (name, second))
    })
    .collect();
    prop::sample::select(changes)
}

fn clocks(zone: &str) -> jiff::tz::TimeZone {
    jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap()
}

/// What an expression of seconds, minutes, hours and days of the week names within a day and a half around a second, in seconds of UTC:
/// found by looking at the clocks each minute.
fn told(
    zone: &str,
    around: i64,
    named: impl Fn(jiff::civil::DateTime) -> Vec<u32>,
    hourly: bool,
) -> Vec<i64> {
    let zone = clocks(zone);
    let minutes: Vec<i64> = (-36 * 60..36 * 60).map(|minute| around + minute * 60).collect();
    let shown: Vec<jiff::civil::DateTime> =
        minutes.iter().map(|at| zone.to_datetime(jiff::Timestamp::from_second(*at).unwrap())).collect();
    let at = |(minute, shown): (&i64, &jiff::civil::DateTime)| {
        named(*shown).into_iter().map(|second| minute + i64::from(second)).collect::<Vec<_>>()
    };
    if hourly {
        return minutes.iter().zip(&shown).flat_map(at).collect();
    }
    // The latest time that they have shown so far.
    let latest: Vec<jiff::civil::DateTime> = shown
        .iter()
        .scan(shown[0], |latest, shown| {
            *latest = *shown.max(latest);
            Some(*latest)
        })
        .collect();
    let mut told: Vec<i64> = std::iter::successors(Some(shown[0]), |wall| {
        wall.checked_add(jiff::SignedDuration::from_mins(1)).ok()
    })
    .take_while(|wall| wall <= latest.last().unwrap())
    .flat_map(|wall| {
        let first = latest.partition_point(|latest| *latest < wall);
        let skipped = shown[first] != wall;
        let second = |second: u32| minutes[first] + if skipped { 0 } else { i64::from(second) };
        named(wall).into_iter().map(second).collect::<Vec<_>>()
    })
    .collect();
    told.dedup();
    told
}

proptest! {
    /// Whatever the form of an expression: each time of the clocks that it names comes at the first instant at which they show it or a
    /// later one, and if it names all hours, whenever they show it. From wherever it is asked, both ways.
    #[test]
    fn where_clocks_change_each_time_that_is_named_comes_once(
        (zone, change) in changes(),
        (second, seconds) in prop_oneof![Just(("0".to_owned(), vec![0])), fields(60)],
        (minute, minutes) in fields(60),
        (hour, hours) in prop_oneof![4 => fields(24), 1 => Just(("*".to_owned(), (0..24).collect()))],
        (day, days) in prop::sample::select(vec![("*", 0..7_i8), ("SUN", 0..1), ("SAT", 6..7), ("THU-SAT", 4..7)]),
        asked in prop::collection::vec(-9_000_000_i64..9_000_000, 40),
    ) {
        let rhythm = cron(&format!("{second} {minute} {hour} * * {day}"), zone);
        let named = |wall: jiff::civil::DateTime| {
            let here = minutes.contains(&(wall.minute() as u32))
                && hours.contains(&(wall.hour() as u32))
                && days.contains(&wall.weekday().to_sunday_zero_offset());
            if here { seconds.clone() } else { Vec::new() }
        };
        let told: Vec<Timestamp> =
            told(zone, change, named, hours.len() == 24).into_iter().map(|at| Timestamp::from_millis(at * 1_000)).collect();
        let anchor = Timestamp::default();
        // Within two hours and a half, at whole seconds and in between, and at the very times and the change.
        let asked = asked.into_iter().map(|away| change * 1_000 + away);
        let near: Vec<i64> = told.iter().map(|at| at.as_millis()).filter(|at| (at - change * 1_000).abs() < 9_000_000).collect();
        let exact = near.iter().step_by(near.len() / 40 + 1).copied().chain([change * 1_000]);
        for from in asked.chain(exact.flat_map(|at| [at - 1, at, at + 1])) {
            let from = Timestamp::from_millis(from);
            let behind = told.partition_point(|at| *at <= from);
            if let Some(next) = told.get(behind) {
                prop_assert_eq!(rhythm.next(from, anchor), Some(*next), "{} after {}", rhythm, from);
            }
            let before = told.partition_point(|at| *at < from);
            if let Some(previous) = before.checked_sub(1).map(|last| told[last]) {
                prop_assert_eq!(rhythm.previous(from, anchor), Some(previous), "{} before {}", rhythm, from);
            }
        }
    }

    /// The way back meets the very times that the way forward does, also where clocks change.
    #[test]
    fn the_way_back_is_the_way_forward(rhythm in rhythms(), start in 1_700_000_000_000_i64..1_900_000_000_000) {
        let anchor = Timestamp::from_millis(start);
        let from = Timestamp::from_millis(start);
        let next = |at: &Timestamp| rhythm.next(*at, anchor);
        let forward: Vec<Timestamp> = std::iter::successors(next(&from), next).take(60).collect();
        prop_assert!(forward.is_sorted_by(|a, b| a < b));
        let end = forward.last().unwrap().plus(Duration::from_millis(1));
        let previous = |at: &Timestamp| rhythm.previous(*at, anchor).filter(|at| *at > from);
        let mut back: Vec<Timestamp> = std::iter::successors(previous(&end), previous).take(100).collect();
        back.reverse();
        prop_assert_eq!(forward, back);
    }

    /// However the rounds fall, each occurrence within the time that counts as in time comes once, in order, and none early.
    #[test]
    fn each_occurrence_comes_once(rhythm in rhythms(), gaps in prop::collection::vec(1_u64..240_000, 1..60)) {
        let start = at("2026-10-24T20:00:00Z");
        let mut schedule = made(plan(rhythm.clone()), "2026-10-24T20:00:00Z");
        let mut now = start;
        let mut found = Vec::new();
        for gap in gaps {
            now = now.plus(Duration::from_millis(gap));
            while let Some(due) = schedule.due(now, true) {
                for spec in &due.tasks {
                    let baton_model::RunAfter::At(at) = spec.run_after else { panic!("a time") };
                    prop_assert!(at <= now, "none before its time");
                    found.push(at);
                }
                schedule = due.after;
            }
        }
        let next = |at: &Timestamp| rhythm.next(*at, start).filter(|at| *at <= now);
        let expected: Vec<Timestamp> = std::iter::successors(next(&start), next).collect();
        prop_assert_eq!(found, expected);
    }
}
