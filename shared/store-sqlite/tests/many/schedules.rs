//! A year of schedules, with two servers whose clocks jump: each occurrence comes once, and none before its time.
//!
//! `BATON_SCHEDULES=10000` makes it ten thousand schedules instead of sixty.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use baton_model::schedule::Said;
use baton_model::{
    IfMissed, IfRunning, Plan, Rhythm, Schedule, ScheduleChange, ScheduleKey, TaskId, TaskSpec, Timestamp,
};
use baton_store::{PageRequest, ScheduleFilter, ScheduleStore, SetSchedule, run_due};

use crate::Site;

const HOUR: Duration = Duration::from_secs(3_600);

/// 2026-01-01T00:00:00Z: a year with the clock changes of both halves of the earth.
fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn rhythm(n: usize) -> Rhythm {
    let cron =
        |text: String, zone: &str| Rhythm::Cron { cron: text.parse().unwrap(), zone: zone.parse().unwrap() };
    let (minute, hour) = (n * 7 % 60, n * 5 % 24);
    let zone = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kathmandu"][n % 5];
    match n % 10 {
        0 => cron(format!("{minute} {hour} * * *"), zone),
        1..4 => cron(format!("{minute} {hour} * * {}", n % 7), zone),
        4..7 => cron(format!("{minute} 2 {} * *", 1 + n % 28), zone),
        7 => cron("@monthly".to_owned(), zone),
        8 => cron(format!("{} {minute} {hour} 1,15 * *", n % 60), zone),
        _ => Rhythm::Every(Duration::from_secs(86_400 * 3 + n as u64)),
    }
}

fn plan(n: usize) -> Plan {
    Plan {
        rhythm: rhythm(n),
        if_missed: IfMissed::Skip,
        late_after: Duration::from_secs(30 * 86_400),
        if_running: IfRunning::Allow,
        starts_at: None,
        ends_at: None,
        paused: false,
        task: TaskSpec::new(TaskId::unset(), "render".parse().unwrap()),
    }
}

#[tokio::test]
async fn a_year_of_schedules_comes_once_each_though_clocks_jump() {
    let count = std::env::var("BATON_SCHEDULES").map_or(60, |count| count.parse().unwrap());
    let site = Site::new();
    for n in 0..count {
        let key = ScheduleKey { project: "film".parse().unwrap(), name: format!("s{n}").parse().unwrap() };
        let mut seed = [7; 16];
        seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let change = ScheduleChange::Set { plan: Box::new(plan(n)), seed, replace: false };
        let said = Said { now: start(), by: None, reason: None };
        site.store.set_schedule(SetSchedule { key, change, said }).await.unwrap();
    }
    let began = Instant::now();
    let mut most = start();
    let mut created = 0;
    for step in 1..=365 * 24_u32 {
        let now = start().plus(HOUR * step);
        // The clock of the one is right to a second, that of the other jumps now and then, back and ahead.
        let other = match step % 97 {
            13 => now.minus(HOUR * 30),
            14 => now.plus(Duration::from_secs(61)),
            55 => now.plus(HOUR * 5),
            _ => now.minus(Duration::from_secs(2)),
        };
        most = most.max(now).max(other);
        let run = |now| run_due(&site.store, now, || false, |key, error| panic!("{key}: {error}"));
        let (first, second) = tokio::join!(run(now), run(other));
        created += first.unwrap().created + second.unwrap().created;
    }
    let took = began.elapsed();
    let mut expected: BTreeMap<TaskId, Timestamp> = BTreeMap::new();
    let mut page = PageRequest::first(1_000);
    loop {
        let found = site.store.schedules(ScheduleFilter::default(), page).await.unwrap();
        for schedule in &found.items {
            expected.extend(occurrences(schedule, most));
        }
        let Some(after) = found.next else { break };
        page = PageRequest { after: Some(after), ..PageRequest::first(1_000) };
    }
    println!("{count} schedules, {created} tasks in {:.1} s", took.as_secs_f64());
    assert_eq!(created, expected.len() as u64, "each is told of once");
    let db = site.db();
    let mut statement = db.prepare("SELECT id, run_after, created_at FROM task ORDER BY id").unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let rows = statement.query_map([], read).unwrap();
    let found: Vec<([u8; 16], i64, i64)> = rows.map(Result::unwrap).collect();
    assert_eq!(found.len(), expected.len());
    for ((id, run_after, created_at), (task, at)) in found.into_iter().zip(expected) {
        assert_eq!((TaskId::from_bytes(id), run_after), (task, at.as_millis()));
        assert!(created_at >= run_after, "none before its time by the clock of who created it");
    }
}

fn occurrences(schedule: &Schedule, until: Timestamp) -> impl Iterator<Item = (TaskId, Timestamp)> {
    let rhythm = &schedule.plan.rhythm;
    let next = move |at: &Timestamp| rhythm.next(*at, schedule.anchor).filter(|at| *at <= until);
    std::iter::successors(next(&start()), next).map(|at| (schedule.task_id(at), at))
}
