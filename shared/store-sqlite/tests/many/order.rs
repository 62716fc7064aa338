//! Fair queues over many tasks in a file: nobody is delayed by how many another has, and a claim costs by how many tenants wait and not
//! by how many tasks. `BATON_TEST_TENANTS=1000` measures claims with more tenants.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_model::{
    FairBy, Fence, GenerationId, Output, QueueOrder, Task, TaskId, TaskSpec, TaskState, Timestamp,
};
use baton_store::{Claim, ClaimAnswer, Complete, Create, NoDoorbell, OrderQueue, TaskStore};
use baton_store_sqlite::{Durability, Options, SqliteStore};

struct Site {
    store: SqliteStore,
    folder: tempfile::TempDir,
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

fn id(n: u128) -> TaskId {
    TaskId::from_bytes((n + 1).to_be_bytes())
}

const FAIR: QueueOrder = QueueOrder { fair: Some(FairBy::Project), age_after_seconds: None };

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: Self::open(&folder), folder }
    }

    fn open(folder: &tempfile::TempDir) -> SqliteStore {
        let options = Options { durability: Durability::Normal, ..Options::default() };
        SqliteStore::open(&folder.path().join("baton.db"), options, Arc::new(NoDoorbell)).unwrap()
    }

    /// Creates tasks of which `project` says whose they are, in batches of a thousand.
    async fn create(&self, numbers: std::ops::Range<u128>, project: impl Fn(u128) -> String) {
        let numbers: Vec<u128> = numbers.collect();
        for batch in numbers.chunks(1_000) {
            let spec = |n: &u128| TaskSpec {
                project: project(*n).parse().unwrap(),
                ..TaskSpec::new(id(*n), "render".parse().unwrap())
            };
            let tasks = batch.iter().map(spec).collect();
            let create = Create { now: at(0), tasks, atomic: true, idempotency: None, by: None };
            self.store.create(create).await.unwrap();
        }
    }

    async fn order(&self, order: QueueOrder) -> (QueueOrder, QueueOrder) {
        let set = OrderQueue { now: at(1), queue: "default".parse().unwrap(), order };
        self.store.order_queue(set).await.unwrap()
    }

    async fn claim(&self, worker: &str, max_tasks: u32) -> Vec<Task> {
        let claim = Claim { max_tasks, cap: u32::MAX, ..Claim::new(worker.parse().unwrap(), at(2)) };
        match self.store.claim(claim).await.unwrap() {
            ClaimAnswer::Leased(tasks) => tasks,
            ClaimAnswer::Nothing(why) => panic!("expected a task, got {why:?}"),
        }
    }

    /// How long a claim takes, at the fastest of some.
    async fn fastest(&self) -> Duration {
        let mut fastest = Duration::MAX;
        for _ in 0..40 {
            let begun = Instant::now();
            self.claim("w", 1).await;
            fastest = fastest.min(begun.elapsed());
        }
        fastest
    }

    async fn complete(&self, task: &Task) {
        let TaskState::Running(lease) = &task.head.state else { panic!("expected a lease") };
        let complete = Complete {
            now: at(3),
            task: task.head.id,
            fence: Fence { attempt: task.head.attempt, worker: lease.worker.clone() },
            generation: GenerationId::from_bytes(*task.head.id.as_bytes()),
            output: Output::default(),
            ran: None,
        };
        self.store.complete(complete, None).await.unwrap();
    }
}

#[tokio::test]
async fn ten_tasks_beside_a_hundred_thousand_are_done_before_the_large_tenants_thirtieth() {
    let site = Site::new();
    site.create(0..100_000, |_| "large".to_owned()).await;
    site.create(100_000..100_010, |_| "small".to_owned()).await;
    // All of them wait already.
    let begun = Instant::now();
    assert_eq!(site.order(FAIR).await, (QueueOrder::default(), FAIR));
    println!("made fair over 100,010 tasks in {:?}", begun.elapsed());
    let mut held = VecDeque::new();
    for n in 0..8 {
        held.extend(site.claim(&format!("w{n}"), 1).await);
    }
    let (mut large, mut small) = (0, 0);
    while small < 10 {
        let task = held.pop_front().unwrap();
        site.complete(&task).await;
        match task.project.as_str() {
            "small" => small += 1,
            _ => large += 1,
        }
        let TaskState::Running(lease) = &task.head.state else { panic!("expected a lease") };
        held.extend(site.claim(lease.worker.as_str(), 1).await);
    }
    println!("the small tenant's ten were done before the large one's {}", large + 1);
    assert!(large < 30, "{large} of the large tenant's came first");
    let many = site.fastest().await;
    println!("a claim beside 100,000 tasks: {many:?}");
    assert!(many < Duration::from_millis(5), "{many:?}");
}

#[tokio::test]
async fn a_claim_costs_by_how_many_tenants_wait() {
    let tenants = std::env::var("BATON_TEST_TENANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let site = Site::new();
    site.order(FAIR).await;
    site.create(0..tenants * 50, |n| format!("p{}", n % tenants)).await;
    println!("a claim with {tenants} tenants: {:?}", site.fastest().await);
    // The first of each, and then the second of each.
    let first: Vec<_> = site.claim("w", 100).await.iter().map(|task| task.project.to_string()).collect();
    let mut distinct = first.clone();
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() as u128 >= tenants.min(100) - 1, "{} of {tenants}", distinct.len());
}

#[tokio::test]
async fn a_queue_whose_making_fair_was_cut_off_is_fair_once_it_was_claimed_some_more() {
    let site = Site::new();
    site.create(0..25_000, |_| "large".to_owned()).await;
    site.create(25_000..25_010, |_| "small".to_owned()).await;
    let folder = site.folder;
    drop(site.store);
    // As a server leaves it that ended after the first of its rows.
    let db = rusqlite::Connection::open(folder.path().join("baton.db")).unwrap();
    db.execute_batch("UPDATE queue SET ordering = '{\"fair\":\"project\"}', turning = 0").unwrap();
    drop(db);
    let site = Site { store: Site::open(&folder), folder };
    let mut projects = Vec::new();
    for _ in 0..8 {
        projects.extend(site.claim("w", 1).await.into_iter().map(|task| task.project.to_string()));
    }
    assert_eq!(projects[0], "large", "as before");
    assert!(projects.iter().any(|project| project == "small"), "{projects:?}");
    let queue = site.store.queue(&"default".parse().unwrap(), at(4)).await.unwrap();
    assert_eq!(queue.order, FAIR);
}
