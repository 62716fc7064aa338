//! Statistics of many queues and of many tasks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::sync::Arc;
use std::time::Duration;

use baton_model::{QueueName, RunAfter, State, TaskId, TaskSpec, Timestamp};
use baton_store::{Claim, Create, NoDoorbell, QueueStats, Stats, TaskStore, Tasks, Waits};
use baton_store_sqlite::{Options, SqliteStore};

struct Bench {
    _folder: tempfile::TempDir,
    store: SqliteStore,
    made: u128,
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
}

fn name(queue: &str) -> QueueName {
    queue.parse().unwrap()
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baton.db");
        let store = SqliteStore::open(&path, Options::default(), Arc::new(NoDoorbell)).unwrap();
        Self { _folder: folder, store, made: 0 }
    }

    /// A task of each of these queues, due at a time.
    async fn create(&mut self, queues: impl Iterator<Item = QueueName>, due: Timestamp) {
        let mut specs = Vec::new();
        for queue in queues {
            self.made += 1;
            specs.push(TaskSpec {
                queue,
                run_after: RunAfter::At(due),
                ..TaskSpec::new(
                    TaskId::from_bytes((7 << 76 | 2 << 62 | self.made).to_be_bytes()),
                    "render".parse().unwrap(),
                )
            });
        }
        for tasks in specs.chunks(1_000) {
            let tasks = tasks.to_vec();
            let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
            self.store.create(create).await.unwrap();
        }
    }

    async fn queue(&self, queue: &str) -> QueueStats {
        self.store.queue(&name(queue), at(10)).await.unwrap()
    }
}

#[tokio::test]
async fn eleven_thousand_queues_and_one_running_task_are_told_exactly() {
    let mut b = Bench::new();
    b.create((0..11_000).map(|n| name(&format!("q{n:05}"))), at(0)).await;
    b.create(std::iter::once(name("zz")), at(0)).await;
    let claim = Claim { queues: vec![name("zz")], cap: 1, ..Claim::new("w1".parse().unwrap(), at(1)) };
    b.store.claim(claim).await.unwrap();
    let stats = b.store.stats(at(2)).await.unwrap();
    assert_eq!(stats.states, [(State::Queued, 11_000), (State::Running, 1)].into());
    assert_eq!((stats.queues.len(), stats.other_queues), (Stats::QUEUES, 10_901));
    assert_eq!(stats.other_states, [(State::Queued, 10_900), (State::Running, 1)].into());
    assert_eq!((stats.counts.len(), stats.other_counts), (Stats::QUEUES, (10_901, 10_901)));
}

#[tokio::test]
async fn of_twenty_five_thousand_tasks_for_later_none_is_ready() {
    let mut b = Bench::new();
    let many = || std::iter::repeat_n(name("a"), 25_000);
    b.create(many(), at(100)).await;
    let later = b.queue("a").await;
    let exactly = Tasks::exactly;
    assert_eq!(later.queued, 25_000);
    assert_eq!(later.waits, Waits { ready: exactly(0), created: exactly(25_000), retry: exactly(0) });
    b.create(many().take(3), at(0)).await;
    let waits = b.queue("a").await.waits;
    assert_eq!(waits, Waits { ready: exactly(3), created: exactly(25_000), retry: exactly(0) });
    b.create(many(), at(0)).await;
    let waits = b.queue("a").await.waits;
    let bound = Tasks { tasks: Waits::COUNTED, at_least: true };
    assert_eq!(waits, Waits { ready: bound, created: bound, retry: exactly(0) }, "bounds are told as such");
}
