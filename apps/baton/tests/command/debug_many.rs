//! `baton debug health` over many tasks: within a second, however many there are.
//!
//! `BATON_TEST_TASKS=1000000 cargo test --release -p baton --test command debug_many -- --nocapture` measures it on a million.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_model::{Bounds, TaskId, TaskSpec, Timestamp};
use baton_store::{Claim, ClaimAnswer, Complete, Create, NoDoorbell, TaskStore as _};
use baton_store_sqlite::{Durability, Options, SqliteStore};
use tokio::runtime::Runtime;

use crate::support::World;

/// How long it may take.
const BAR: Duration = Duration::from_secs(1);

/// A file with so many tasks, of 100 queues; a few hundred of them are done.
async fn fill(file: &std::path::Path, tasks: usize, now: Timestamp) {
    let options = Options { durability: Durability::Normal, ..Options::default() };
    let store = SqliteStore::open(file, options, Arc::new(NoDoorbell)).unwrap();
    for first in (0..tasks).step_by(1_000) {
        let specs = (first..tasks.min(first + 1_000)).map(|n| {
            let id = TaskId::from_bytes((n as u128 + 1).to_be_bytes());
            let queue = format!("q{}", n % 100).parse().unwrap();
            TaskSpec { queue, ..TaskSpec::new(id, "render".parse().unwrap()) }
        });
        let create = Create { now, tasks: specs.collect(), atomic: true, idempotency: None, by: None };
        store.create(create).await.unwrap();
    }
    let worker = || "w1".parse().unwrap();
    let queues = vec!["q1".parse().unwrap()];
    let claim = Claim { queues, max_tasks: 100, cap: 100, ..Claim::new(worker(), now) };
    let ClaimAnswer::Leased(leased) = store.claim(claim).await.unwrap() else { panic!("expected tasks") };
    for (n, task) in leased.iter().enumerate() {
        let generation = baton_model::GenerationId::from_bytes((n as u128 + 1).to_be_bytes());
        let fence = baton_model::Fence { attempt: task.head.attempt, worker: worker() };
        let complete = Complete {
            now,
            task: task.head.id,
            fence,
            caller: Bounds::default(),
            generation,
            ran: None,
            output: baton_model::Output::default(),
        };
        store.complete(complete, None).await.unwrap();
    }
}

#[test]
fn among_many_tasks_health_comes_within_a_second() {
    let measured: Option<usize> = std::env::var("BATON_TEST_TASKS").ok().and_then(|text| text.parse().ok());
    let tasks = measured.unwrap_or(2_000);
    let folder = tempfile::tempdir().unwrap();
    let now = baton_runtime::Clock::now(&baton_runtime::SystemClock).minus(Duration::from_secs(60));
    Runtime::new().unwrap().block_on(fill(&folder.path().join("baton.db"), tasks, now));
    let world = World::on(folder, &[]);
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let output = world.command(&["debug", "health", "--json"]).output().unwrap();
        best = best.min(begun.elapsed());
        // Nobody takes them.
        assert_eq!(output.status.code(), Some(1));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["findings"][0]["what"], "no_worker", "{told:#}");
    }
    if measured.is_some() {
        println!("health of {tasks} tasks: {best:?}");
        assert!(best < BAR, "{best:?}");
    }
}
