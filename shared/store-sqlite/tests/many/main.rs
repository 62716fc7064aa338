//! The store over many tasks in a file: what one commit, and one claim, does is bounded. One program has these tests, as they share
//! how they fill a file.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where it is surprised, and tells its figures"
)]

mod bulk;
mod feed;
mod limits;
mod order;

use std::sync::Arc;

use baton_model::{Bounds, Fence, GenerationId, Output, Task, TaskId, TaskSpec, TaskState, Timestamp};
use baton_store::{Claim, ClaimAnswer, Complete, Create, NoDoorbell, StoreError, TaskStore};
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

fn lease_of(task: &Task) -> &baton_model::Lease {
    let TaskState::Running(lease) = &task.head.state else { panic!("expected a lease") };
    lease
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: Self::open(&folder), folder }
    }

    fn open(folder: &tempfile::TempDir) -> SqliteStore {
        let options = Options { durability: Durability::Normal, ..Options::default() };
        SqliteStore::open(&folder.path().join("baton.db"), options, Arc::new(NoDoorbell)).unwrap()
    }

    /// The file as another program would open it.
    fn db(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("baton.db")).unwrap()
    }

    fn reopened(self) -> Self {
        let Self { store, folder } = self;
        drop(store);
        Self { store: Self::open(&folder), folder }
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

    async fn claim(&self, worker: &str, max_tasks: u32) -> Result<ClaimAnswer, StoreError> {
        let claim = Claim { max_tasks, cap: u32::MAX, ..Claim::new(worker.parse().unwrap(), at(2)) };
        self.store.claim(claim).await
    }

    /// What a claim is given, which must be something.
    async fn given(&self, worker: &str, max_tasks: u32) -> Vec<Task> {
        match self.claim(worker, max_tasks).await.unwrap() {
            ClaimAnswer::Leased(tasks) => tasks,
            ClaimAnswer::Nothing(why) => panic!("expected a task, got {why:?}"),
        }
    }

    async fn complete(&self, task: &Task) {
        let complete = Complete {
            now: at(3),
            task: task.head.id,
            fence: Fence { attempt: task.head.attempt, worker: lease_of(task).worker.clone() },
            caller: Bounds::default(),
            generation: GenerationId::from_bytes(*task.head.id.as_bytes()),
            output: Output::default(),
            ran: None,
        };
        self.store.complete(complete, None).await.unwrap();
    }
}
