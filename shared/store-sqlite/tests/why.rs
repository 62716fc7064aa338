//! Why a task waits, in a file of many: the answer's cost does not grow with what waits, and what workers take is kept at no cost
//! to their claims.
//!
//! `BATON_WHY_TASKS=1000000 cargo test -p baton-store-sqlite --all-features --test why -- --nocapture` measures it on a million.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_model::queue::Pause;
use baton_model::why::{Ahead, FullLimit, word};
use baton_model::{LimitRules, ProjectId, Reason, TaskId, TaskSpec, Timestamp, Why, WorkerId};
use baton_store::{Claim, ClaimAnswer, Create, LimitStore, NoDoorbell, PauseQueue, SetLimit, TaskStore};
use baton_store_sqlite::{Durability, Options, SqliteStore};
use rusqlite::Connection;

/// How long an answer may take.
const BAR: Duration = Duration::from_millis(50);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

fn id(n: usize) -> TaskId {
    TaskId::from_bytes((n as u128 + 1).to_be_bytes())
}

fn open(folder: &tempfile::TempDir) -> SqliteStore {
    let options = Options { durability: Durability::Normal, ..Options::default() };
    SqliteStore::open(&folder.path().join("baton.db"), options, Arc::new(NoDoorbell)).unwrap()
}

async fn create(store: &SqliteStore, tasks: Vec<TaskSpec>) {
    let create = Create { now: at(0), tasks, atomic: true, idempotency: None, by: None };
    store.create(create).await.unwrap();
}

fn spec(n: usize, project: &ProjectId) -> TaskSpec {
    TaskSpec { project: project.clone(), ..TaskSpec::new(id(n), "render".parse().unwrap()) }
}

/// The answer, and the shortest of a few times that it took: others have the machine, too.
async fn timed(store: &SqliteStore, id: TaskId) -> (Why, Duration) {
    let mut best = Duration::MAX;
    let mut answer = None;
    for _ in 0..7 {
        let begun = Instant::now();
        answer = Some(store.why(id, at(9)).await.unwrap());
        best = best.min(begun.elapsed());
    }
    (answer.unwrap(), best)
}

fn words(why: &Why) -> Vec<&'static str> {
    why.reasons.iter().map(Reason::word).collect()
}

#[tokio::test]
async fn among_many_tasks_and_workers_the_answer_comes_at_once() {
    let tasks: usize = std::env::var("BATON_WHY_TASKS").map_or(6_000, |tasks| tasks.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (film, game): (ProjectId, ProjectId) = ("film".parse().unwrap(), "game".parse().unwrap());
    let rules = LimitRules { max_running: Some(1_000), ..LimitRules::default() };
    let on = "project/game".parse().unwrap();
    store.set_limit(SetLimit { now: at(0), on, rules: Some(rules), by: None, reason: None }).await.unwrap();
    // More workers than are looked at, of which none takes these tasks.
    for worker in 0..1_100 {
        let worker: WorkerId = format!("w{worker}").parse().unwrap();
        let queues = vec!["other".parse().unwrap()];
        store.claim(Claim { queues, ..Claim::new(worker, at(0)) }).await.unwrap();
    }
    let holders: Vec<_> = (0..1_000).map(|n| spec(n, &game)).collect();
    create(&store, holders).await;
    for _ in 0..10 {
        let claim = Claim { max_tasks: 100, cap: 1_000, ..Claim::new("gone".parse().unwrap(), at(0)) };
        let ClaimAnswer::Leased(tasks) = store.claim(claim).await.unwrap() else { panic!("expected leases") };
        assert_eq!(tasks.len(), 100);
    }
    // Half of them wait at the limit, half of them for a worker.
    let begun = Instant::now();
    for batch in 1..=tasks / 1_000 {
        let of = |n: usize| if n.is_multiple_of(2) { &film } else { &game };
        create(&store, (0..1_000).map(|n| spec(batch * 1_000 + n, of(n))).collect()).await;
    }
    println!("{tasks} tasks made in {:?}", begun.elapsed());
    let last = (tasks / 1_000) * 1_000 + 998;
    let blocked = spec(last + 9, &film);
    create(&store, vec![TaskSpec { depends_on: (0..100).map(|n| id(last - 2 * n)).collect(), ..blocked }])
        .await;
    let pause =
        PauseQueue { now: at(1), queue: "default".parse().unwrap(), paused: true, by: None, reason: None };
    store.pause_queue(pause).await.unwrap();

    let paused = Reason::Paused(Pause { since: at(1), by: None, reason: None });
    let (free, took) = timed(&store, id(last)).await;
    println!("one of those that wait for a worker: {took:?}");
    assert!(took < BAR, "{took:?}");
    assert_eq!(words(&free), [word::PAUSED, word::NO_WORKER, word::BEHIND]);
    assert_eq!(free.reasons[0], paused);
    assert!(matches!(&free.reasons[1], Reason::NoWorker { unseen: true, .. }), "{:?}", free.reasons);
    assert_eq!(free.reasons[2], Reason::Behind(Ahead { tasks: Ahead::COUNTED, at_least: true }));

    let (kept, took) = timed(&store, id(last + 1)).await;
    println!("one of those that wait at the limit: {took:?}");
    assert!(took < BAR, "{took:?}");
    assert_eq!(words(&kept), [word::PAUSED, word::AT_LIMIT, word::NO_WORKER, word::BEHIND]);
    let Reason::AtLimit(full) = &kept.reasons[1] else { panic!("expected the limit, got {kept:?}") };
    assert_eq!((full.taken, full.holders.len()), (1_000, FullLimit::HOLDERS));
    assert_eq!(full.holders[0].task, id(0));

    let (waits, took) = timed(&store, id(last + 9)).await;
    println!("one that waits for a hundred: {took:?}");
    assert!(took < BAR, "{took:?}");
    assert_eq!(words(&waits), [word::BLOCKED, word::PAUSED, word::NO_WORKER]);
    assert!(matches!(&waits.reasons[0], Reason::Blocked { by } if by.len() == 100));
}

#[tokio::test]
async fn a_claim_like_an_earlier_one_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let reader = Connection::open(folder.path().join("baton.db")).unwrap();
    let version = || reader.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let claim = async |now, queues: &[&str]| {
        let queues = queues.iter().map(|queue| queue.parse().unwrap()).collect();
        let before = version();
        store.claim(Claim { queues, ..Claim::new("w1".parse().unwrap(), at(now)) }).await.unwrap();
        version() != before
    };
    assert!(claim(0, &["a", "b"]).await, "it makes the worker known");
    assert!(!claim(1, &["a", "b"]).await);
    assert!(!claim(3_600_000, &["b", "a", "b"]).await);
    assert!(claim(3_600_000, &["c"]).await, "it takes what it did not before");
    assert!(!claim(3_600_000, &["a", "b"]).await && !claim(3_600_000, &["c"]).await, "by turns");
    assert!(claim(3_600_001, &["a", "b"]).await, "it is noted again within two hours");
}
