//! A year of schedules, as two servers run them whose clocks differ and jump: each occurrence has its task, once, and none has it
//! before its time. Time is handed in, so that the year takes seconds.
//!
//! Ten thousand schedules: `BATON_YEAR_SCHEDULES=10000 cargo test --release -p baton-tests --test year -- --nocapture`; a seed of the
//! past: `BATON_YEAR_SEED=…`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where it is surprised"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_model::schedule::Said;
use baton_model::{
    IfMissed, IfRunning, Plan, Rhythm, Schedule, ScheduleChange, ScheduleKey, TaskId, TaskSpec, Timestamp,
    limits,
};
use baton_store::{
    Doorbell, NoDoorbell, PageRequest, RunReport, SetSchedule, Store, StoreError, TaskFilter, run_due,
};
use baton_store_dynamodb::client::{http_client, local};
use baton_store_dynamodb::{DynamoStore, table};
use baton_store_sqlite::{Durability, Options, SqliteStore};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The first of January 2026.
fn start() -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000)
}

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
];

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: expected a whole number, got {text}")))
}

/// Of a hundred schedules 40 are weekly, 27 daily, 22 monthly, 8 come twice a month and at a second of their own, 3 by an interval.
fn rhythm(index: u64) -> Rhythm {
    let (minute, hour, day) = (index * 7 % 60, index * 5 % 24, index % 7);
    let zone = ZONES[(index % ZONES.len() as u64) as usize].parse().unwrap();
    let cron = |text: String| Rhythm::Cron { cron: text.parse().unwrap(), zone };
    match index % 100 {
        0..40 => cron(format!("{minute} {hour} * * {day}")),
        // At an hour that clocks may leave out, or have twice.
        40..55 => cron(format!("{minute} 2 {} * *", 1 + index % 28)),
        55..62 => cron("@monthly".to_owned()),
        62..70 => cron(format!("{} {minute} {hour} 1,15 * *", index % 60)),
        70..97 => cron(format!("{minute} {hour} * * *")),
        97..99 => Rhythm::Every(Duration::from_secs(6 * HOUR)),
        _ => Rhythm::Every(Duration::from_secs(3 * DAY + index)),
    }
}

/// How many times a schedule has in so many days, by one more or less.
fn roughly(index: u64, days: u64) -> u64 {
    match index % 100 {
        0..40 => days / 7,
        40..62 => days * 12 / 365,
        62..70 => days * 24 / 365,
        70..97 => days,
        97..99 => days * 4,
        _ => days / 3,
    }
}

async fn set(store: &dyn Store, index: u64) -> Schedule {
    let plan = Plan {
        rhythm: rhythm(index),
        if_missed: IfMissed::All(32),
        // No server is away for so long: nothing counts as missed.
        late_after: limits::LONGEST_SPAN,
        if_running: IfRunning::Allow,
        starts_at: None,
        ends_at: None,
        paused: false,
        task: TaskSpec::new(TaskId::unset(), "report".parse().unwrap()),
    };
    let key = ScheduleKey { project: "year".parse().unwrap(), name: format!("s{index}").parse().unwrap() };
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&index.to_be_bytes());
    let change = ScheduleChange::Set { plan: Box::new(plan), seed, replace: false };
    let said = Said { now: start(), by: None, reason: None };
    store.set_schedule(SetSchedule { key, change, said }).await.unwrap().to.expect("it stands")
}

/// All that a server does at a time.
async fn run(store: &dyn Store, now: Timestamp) -> u64 {
    let fails = |key: &ScheduleKey, error: &StoreError| panic!("{key}: {error}");
    let mut all = RunReport::default();
    loop {
        all = all.and_then(run_due(store, now, || false, fails).await.expect("what is due is found"));
        assert_eq!((all.missed, all.skipped), (0, 0));
        if !all.more {
            return all.created;
        }
    }
}

/// The clocks of two servers: each goes forward by some minutes or hours, both by some days when neither runs, one is set back or is
/// fast now and then.
struct Clocks {
    random: StdRng,
    true_time: Timestamp,
}

impl Clocks {
    fn tick(&mut self) -> [Timestamp; 2] {
        let seconds = match self.random.random_range(0..100) {
            0 => self.random.random_range(DAY..5 * DAY),
            1..20 => self.random.random_range(60..300),
            _ => self.random.random_range(300..3 * HOUR),
        };
        self.true_time = self.true_time.plus(Duration::from_secs(seconds));
        [self.read(), self.read()]
    }

    fn read(&mut self) -> Timestamp {
        let by = Duration::from_secs(self.random.random_range(60..3 * HOUR));
        match self.random.random_range(0..20) {
            0 => self.true_time.minus(by),
            1 => self.true_time.plus(by),
            _ => self.true_time,
        }
    }
}

/// The time that an id begins with: RFC 9562 §5.7.
fn time_of(id: TaskId) -> Timestamp {
    let mut bytes = [0; 8];
    bytes[2..].copy_from_slice(&id.as_bytes()[..6]);
    Timestamp::from_millis(i64::from_be_bytes(bytes))
}

/// Runs the schedules of both servers for some days, and compares what was created with what was to be.
async fn a_year(one: &dyn Store, other: &dyn Store, schedules: u64, days: u64) {
    let seed = setting("BATON_YEAR_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut all = Vec::new();
    for index in 0..schedules {
        all.push(set(one, index).await);
    }
    let end = start().plus(Duration::from_secs(days * DAY));
    let mut clocks = Clocks { random: StdRng::seed_from_u64(seed), true_time: start() };
    let (began, mut created, mut rounds) = (Instant::now(), 0, 0_u64);
    loop {
        // Nobody's clock goes past the end, so that what is due by then is known.
        let [first, second] = clocks.tick().map(|now| now.min(end));
        let (by_one, by_other) = futures::join!(run(one, first), run(other, second));
        created += by_one + by_other;
        rounds += 2;
        if clocks.true_time >= end {
            created += run(one, end).await;
            break;
        }
    }
    let mut awaited: HashMap<TaskId, Timestamp> = HashMap::new();
    for (schedule, index) in all.iter().zip(0..) {
        let roughly = roughly(index, days);
        let due = schedule.upcoming(start(), roughly as usize + 2).into_iter().take_while(|at| *at <= end);
        let due: Vec<Timestamp> = due.collect();
        assert!((due.len() as u64).abs_diff(roughly) <= 1, "{}: {}", schedule.key, due.len());
        awaited.extend(due.into_iter().map(|at| (schedule.task_id(at), at)));
    }
    let of_all = awaited.len();
    let mut page = PageRequest::first(1_000);
    loop {
        let filter = TaskFilter { now: end, ..TaskFilter::default() };
        let found = one.tasks(filter, page).await.unwrap();
        for task in &found.items {
            let id = task.head.id;
            let at = awaited.remove(&id).unwrap_or_else(|| panic!("{id} is of no occurrence"));
            assert!(at == time_of(id) && task.created_at >= at, "{id} of {at} came at {}", task.created_at);
        }
        match found.next {
            Some(after) => page = PageRequest { after: Some(after), ..PageRequest::first(1_000) },
            None => break,
        }
    }
    assert_eq!(awaited.len(), 0, "so many occurrences have no task, such as {:?}", awaited.iter().next());
    println!(
        "{schedules} schedules, {days} days, {rounds} rounds of two servers, {of_all} occurrences, {created} created as told, \
         in {:.1} s",
        began.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_occurrence_of_a_year_comes_once_and_none_before_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let doorbell: Arc<dyn Doorbell> = Arc::new(NoDoorbell);
    // What is tested survives the end of the process as well as a loss of power; so many syncs would be the time it takes.
    let options = Options { durability: Durability::Normal, ..Options::default() };
    let store = SqliteStore::open(&dir.path().join("baton.db"), options, doorbell).unwrap();
    a_year(&store, &store, setting("BATON_YEAR_SCHEDULES").unwrap_or(100), 365).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_of_two_servers_over_one_table() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()));
    let client = local(&endpoint, http_client());
    table::create(&client, "year", table::TableOptions::default()).await.unwrap();
    let open = async || {
        let options = baton_store_dynamodb::Options::seeded(rand::random());
        DynamoStore::open(client.clone(), "year", options, Arc::new(NoDoorbell)).await.unwrap()
    };
    let (one, other) = (open().await, open().await);
    a_year(&one, &other, 100, 14).await;
    serving.abort();
}
