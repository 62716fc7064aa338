//! What shares a commit: heartbeats with each other and with others, a waiting claim with the task that it waits for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_model::Timestamp;
use baton_store::{Beat, Claim, ClaimAnswer, Doorbell, NoDoorbell, Ready, TaskStore};
use baton_store_sqlite::{Durability, Options, SqliteStore};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::{at, task};

/// Longer than anything here takes that ends at all.
const SOON: Duration = Duration::from_secs(20);

fn options(beats_apart: u64) -> Options {
    let beats_apart = Duration::from_millis(beats_apart);
    Options { durability: Durability::Normal, beats_apart, ..Options::default() }
}

fn store(folder: &tempfile::TempDir, beats_apart: u64, doorbell: Arc<dyn Doorbell>) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(&at(folder), options(beats_apart), doorbell).unwrap())
}

fn beat(n: usize) -> Beat {
    Beat::new(format!("w{n}").parse().unwrap(), Timestamp::from_millis(1_000))
}

fn commits(store: &SqliteStore) -> u64 {
    store.commits().unwrap().groups().count()
}

#[tokio::test]
async fn heartbeats_share_commits_and_all_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, 50, Arc::new(NoDoorbell));
    let before = commits(&store);
    let mut beats = JoinSet::new();
    for n in 0..600 {
        let store = Arc::clone(&store);
        beats.spawn(async move { store.heartbeat(beat(n)).await });
        if n % 3 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    let answers = timeout(SOON, beats.join_all()).await.expect("all are answered");
    assert!(answers.iter().all(Result::is_ok));
    let made = commits(&store) - before;
    assert!(made <= 60, "{made} commits for 600 heartbeats");
    // One that comes when none came for long waits for nothing.
    sleep(Duration::from_millis(60)).await;
    let before = commits(&store);
    timeout(SOON, store.heartbeat(beat(0))).await.expect("it is answered").unwrap();
    assert_eq!(commits(&store) - before, 1);
}

/// Says that each ring has woken somebody, who never comes: the thread waits for that claim, and hears meanwhile what else comes.
struct Hopeful;

impl Doorbell for Hopeful {
    fn ring(&self, _ready: Ready) {}

    fn ring_early(&self, ready: &Ready) -> Option<u32> {
        Some(ready.count)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_that_comes_while_a_group_waits_for_claims_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, 1, Arc::new(Hopeful));
    for n in 0..400 {
        let created = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.create(task(n + 1, 1)).await }
        });
        // At another moment of the group each time.
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_micros(u64::try_from(n).unwrap() % 100 * 5) {
            tokio::task::yield_now().await;
        }
        timeout(SOON, store.heartbeat(beat(0))).await.expect("it is answered").unwrap();
        created.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_have_their_turn_beside_full_groups() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, 5, Arc::new(NoDoorbell));
    let done = Arc::new(Mutex::new(false));
    let mut load = JoinSet::new();
    for caller in 0..600_u128 {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        load.spawn(async move {
            let mut n = caller << 64;
            while !*done.lock().unwrap() {
                n += 1;
                store.create(task(n, 1)).await.unwrap();
            }
        });
    }
    sleep(Duration::from_millis(200)).await;
    for n in 0..20 {
        timeout(SOON, store.heartbeat(beat(n))).await.expect("it is answered").unwrap();
    }
    *done.lock().unwrap() = true;
    load.join_all().await;
}

/// Wakes one that waits before the commit.
struct Early(Arc<Notify>);

impl Doorbell for Early {
    fn ring(&self, _ready: Ready) {}

    fn ring_early(&self, _ready: &Ready) -> Option<u32> {
        self.0.notify_one();
        Some(1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_woken_has_its_task_by_the_commit_of_that_task() {
    let folder = tempfile::tempdir().unwrap();
    let bell = Arc::new(Notify::new());
    let store = store(&folder, 0, Arc::new(Early(Arc::clone(&bell))));
    let mut shared = 0;
    for n in 1..=100 {
        let before = commits(&store);
        let claimed = tokio::spawn({
            let (store, bell) = (Arc::clone(&store), Arc::clone(&bell));
            async move {
                bell.notified().await;
                let claim = Claim::new("w".parse().unwrap(), Timestamp::from_millis(1_000));
                store.claim(Claim { cap: 1_000, ..claim }).await
            }
        });
        store.create(task(n, 1)).await.unwrap();
        let ClaimAnswer::Leased(tasks) = timeout(SOON, claimed).await.unwrap().unwrap().unwrap() else {
            panic!("the woken claim came before its task");
        };
        assert_eq!(tasks[0].head.id, crate::id(n));
        shared += u64::from(commits(&store) - before == 1);
    }
    assert!(shared > 0, "no claim of a hundred came in time for the commit of its task");
}
