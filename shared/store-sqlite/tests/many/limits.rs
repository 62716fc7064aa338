//! Limits over many tasks in a file: what one commit does is bounded, and nothing is left behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::sync::Arc;

use baton_model::{GenerationId, LimitRules, Output, Task, TaskId, TaskSpec, TaskState, Timestamp};
use baton_store::{
    Claim, ClaimAnswer, Complete, Create, LimitStore, NoDoorbell, Nothing, SetLimit, StoreError, TaskStore,
};
use baton_store_sqlite::{Durability, Options, SqliteStore};

/// More than one commit moves.
const TASKS: u128 = 5_000;

struct Site {
    store: SqliteStore,
    folder: tempfile::TempDir,
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
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

    async fn create(&self, numbers: std::ops::Range<u128>) {
        let id = |n: u128| TaskId::from_bytes((n + 1).to_be_bytes());
        let tasks = numbers.map(|n| TaskSpec::new(id(n), "render".parse().unwrap())).collect();
        let create = Create { now: at(0), tasks, atomic: true, idempotency: None, by: None };
        self.store.create(create).await.unwrap();
    }

    async fn limit(&self, on: &str, most: Option<u32>) {
        let rules = most.map(|most| LimitRules { max_running: Some(most), ..LimitRules::default() });
        let set = SetLimit { now: at(1), on: on.parse().unwrap(), rules, by: None, reason: None };
        self.store.set_limit(set).await.unwrap();
    }

    async fn claim(&self, max_tasks: u32) -> ClaimAnswer {
        self.try_to_claim(max_tasks).await.unwrap()
    }

    async fn try_to_claim(&self, max_tasks: u32) -> Result<ClaimAnswer, StoreError> {
        let claim = Claim { max_tasks, cap: u32::MAX, ..Claim::new("w".parse().unwrap(), at(2)) };
        self.store.claim(claim).await
    }

    /// Damages the name of the limit that tasks in this state wait at.
    fn damage(&self, state: u8) {
        let other = rusqlite::Connection::open(self.folder.path().join("baton.db")).unwrap();
        let damage = "UPDATE task SET waits_at = 'projéct' WHERE state = ?1 AND waits_at IS NOT NULL";
        assert_eq!(other.execute(damage, [state]).unwrap(), 1);
    }

    async fn complete(&self, task: &Task) {
        let TaskState::Running(lease) = &task.head.state else { panic!("expected a lease") };
        let fence = baton_model::Fence { attempt: task.head.attempt, worker: lease.worker.clone() };
        let complete = Complete {
            now: at(3),
            task: task.head.id,
            fence,
            generation: GenerationId::from_bytes(*task.head.id.as_bytes()),
            output: Output::default(),
            ran: None,
        };
        self.store.complete(complete, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_limit_that_is_set_over_many_waiting_tasks_moves_a_bounded_number_a_commit() {
    let site = Site::new();
    for batch in 0..5 {
        site.create(batch * 1_000..(batch + 1) * 1_000).await;
    }
    site.limit("project/default", Some(1)).await;
    let ClaimAnswer::Leased(first) = site.claim(10).await else { panic!("expected a lease") };
    assert_eq!(first.len(), 1);
    let mut told_to_come_again = 0;
    loop {
        match site.claim(10).await {
            ClaimAnswer::Nothing(Nothing::AtLimit { next_at: Some(next_at), .. }) => {
                assert_eq!(next_at, at(2));
                told_to_come_again += 1;
            }
            ClaimAnswer::Nothing(Nothing::AtLimit { next_at: None, .. }) => break,
            other => panic!("expected a limit, got {other:?}"),
        }
    }
    assert!((1..=3).contains(&told_to_come_again), "{told_to_come_again}");
    site.complete(&first[0]).await;
    let ClaimAnswer::Leased(second) = site.claim(10).await else { panic!("expected a lease") };
    assert_eq!(second[0].head.id, TaskId::from_bytes(2_u128.to_be_bytes()));
    // Taken away, it lets all of them go, in their order.
    site.limit("project/default", None).await;
    for place in 2..TASKS {
        let ClaimAnswer::Leased(next) = site.claim(1).await else { panic!("expected task {place}") };
        assert_eq!(next[0].head.id, TaskId::from_bytes((place + 1).to_be_bytes()));
    }
    let nothing = site.claim(1).await;
    assert!(matches!(nothing, ClaimAnswer::Nothing(Nothing::NoneQueued)), "{nothing:?}");
}

/// A task whose limit has a damaged name is told as what it is, whether it is put aside or was let go, and by a store that was just
/// opened as well: nothing else would ever let go of it.
#[tokio::test]
async fn the_damaged_name_of_a_limit_that_a_task_waits_at_is_told() {
    let told = |refused: Result<ClaimAnswer, StoreError>| match refused {
        Err(StoreError::Corrupt { what, .. }) => assert_eq!(what, "the limit that a task waits at"),
        other => panic!("expected damage, got {other:?}"),
    };
    const PUT_ASIDE: u8 = 6;
    const QUEUED: u8 = 0;
    for state in [PUT_ASIDE, QUEUED] {
        let site = Site::new();
        site.create(0..2).await;
        site.limit("project/default", Some(1)).await;
        let ClaimAnswer::Leased(first) = site.claim(2).await else { panic!("expected a lease") };
        assert!(matches!(site.claim(1).await, ClaimAnswer::Nothing(Nothing::AtLimit { .. })));
        if state == QUEUED {
            site.complete(&first[0]).await;
        }
        site.damage(state);
        told(site.try_to_claim(1).await);
        let Site { store, folder } = site;
        drop(store);
        let site = Site { store: Site::open(&folder), folder };
        told(site.try_to_claim(1).await);
    }
}
