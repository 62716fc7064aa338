//! A layered graph, worked off by many claimers at once: no task starts before its dependencies are completed.
//!
//! With `BATON_GRAPH=100` it has 100 layers of 100 tasks and tells how its time compares with that of as many single tasks
//! (`cargo test --release -p baton-store-sqlite --all-features --test graph -- --nocapture`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use baton_model::{Bounds, Fence, GenerationId, Output, TaskId, TaskSpec, TaskState, Timestamp};
use baton_store::{Claim, ClaimAnswer, Complete, Create, NoDoorbell, TaskStore};
use baton_store_sqlite::{Options, SqliteStore};

/// How many claim at once.
const CLAIMERS: usize = 32;

/// How many of the layer before each task depends on.
const DEPENDENCIES: usize = 3;

fn id(number: u64) -> [u8; 16] {
    (7 << 76 | 2 << 62 | u128::from(number)).to_be_bytes()
}

struct Work {
    store: SqliteStore,
    clock: AtomicU64,
    left: AtomicUsize,
}

impl Work {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
            .plus(Duration::from_millis(self.clock.fetch_add(1, Ordering::Relaxed)))
    }

    /// Claims and completes until all is done.
    async fn claimer(&self, name: String) {
        while self.left.load(Ordering::Relaxed) > 0 {
            let claim = Claim::new(name.parse().unwrap(), self.now());
            let ClaimAnswer::Leased(tasks) = self.store.claim(claim).await.unwrap() else {
                tokio::task::yield_now().await;
                continue;
            };
            for task in tasks {
                // As a claim over HTTP does, for the worker to have its inputs.
                if !task.depends_on.is_empty() {
                    let inputs = self.store.inputs(task.depends_on.clone()).await.unwrap();
                    let there = inputs.iter().filter(|input| input.generation.is_some()).count();
                    assert_eq!(there, task.depends_on.len(), "{} started too early", task.head.id);
                }
                let TaskState::Running(lease) = &task.head.state else {
                    panic!("expected a lease: {task:?}")
                };
                let fence = Fence { attempt: task.head.attempt, worker: lease.worker.clone() };
                let mut generation = *task.head.id.as_bytes();
                generation[15] ^= 1 << 7;
                let complete = Complete {
                    now: self.now(),
                    task: task.head.id,
                    fence,
                    caller: Bounds::default(),
                    generation: GenerationId::from_bytes(generation),
                    output: Output::default(),
                    ran: None,
                };
                self.store.complete(complete, None).await.unwrap();
                self.left.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// Creates these tasks in batches and has them all worked off; gives how long both took together.
async fn work_off(specs: Vec<TaskSpec>) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::open(&folder.path().join("baton.db"), Options::default(), Arc::new(NoDoorbell)).unwrap();
    let work = Arc::new(Work { store, clock: AtomicU64::new(0), left: AtomicUsize::new(specs.len()) });
    let began = Instant::now();
    for tasks in specs.chunks(1_000) {
        let tasks = tasks.to_vec();
        let create = Create { now: work.now(), tasks, atomic: true, idempotency: None, by: None };
        work.store.create(create).await.unwrap();
    }
    let mut running = Vec::new();
    for n in 0..CLAIMERS {
        let work = Arc::clone(&work);
        running.push(tokio::spawn(async move { work.claimer(format!("w{n}")).await }));
    }
    for one in running {
        one.await.unwrap();
    }
    began.elapsed()
}

fn specs(layers: u64, width: u64, linked: bool) -> Vec<TaskSpec> {
    let number = |layer: u64, place: u64| 2 * (layer * width + place) + 1;
    let mut specs = Vec::new();
    for layer in 0..layers {
        for place in 0..width {
            let mut spec =
                TaskSpec::new(TaskId::from_bytes(id(number(layer, place))), "render".parse().unwrap());
            if linked && layer > 0 {
                let before = (0..DEPENDENCIES as u64).map(|n| number(layer - 1, (place + n * 7) % width));
                let before: BTreeSet<u64> = before.collect();
                spec.depends_on = before.into_iter().map(|n| TaskId::from_bytes(id(n))).collect();
            }
            specs.push(spec);
        }
    }
    specs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_of_a_layered_graph_starts_before_its_dependencies() {
    let layers = std::env::var("BATON_GRAPH").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let single = work_off(specs(layers, layers, false)).await;
    let graph = work_off(specs(layers, layers, true)).await;
    let ratio = graph.as_secs_f64() / single.as_secs_f64();
    let tasks = layers * layers;
    writeln!(
        std::io::stderr(),
        "{tasks} single tasks: {single:.2?}; {tasks} tasks of a graph: {graph:.2?}, {ratio:.2} times as long"
    )
    .unwrap();
}
