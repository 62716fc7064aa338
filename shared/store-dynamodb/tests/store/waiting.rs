//! What commands cost while many tasks wait: as much as with few.
//!
//! `BATON_TEST_WAITING=100000 cargo test -p baton-store-dynamodb --test store waiting -- --nocapture` has so many wait. They are written
//! straight into the engine, as puts of its debug build slow down the more there are.

use std::sync::Arc;
use std::time::Duration;

use baton_model::{
    Bounds, Failure, Fence, GenerationId, Output, Payload, Running, Status, Task, TaskId, TaskSpec, Watch,
};
use baton_store::{
    Beat, Cancel, Claim, ClaimAnswer, Complete, Create, Fail, PageRequest, Purge, Reap, Release, Retry,
    TaskFilter, TaskStore,
};
use baton_store_dynamodb::{DynamoStore, Meter, Options};

use crate::engine::heard::Heard;
use crate::engine::{Engine, at};

/// How many tasks are created as tasks are, and can be claimed: the first ones.
const REAL: u64 = 200;

/// What a command has cost: its name, requests, read units, write units.
type Cost = (&'static str, usize, f64, f64);

struct Bench {
    store: DynamoStore,
    heard: Arc<Heard>,
    costs: Vec<Cost>,
    ids: u64,
    engine: Engine,
}

/// A UUIDv7 of the test's day; of all, evenly over its partitions.
fn id(number: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&(1_800_000_000_000_u64 + number).to_be_bytes()[2..]);
    (id[6], id[8]) = (0x70, 0x80);
    id[9..].copy_from_slice(&number.to_be_bytes()[1..]);
    id
}

fn spec(number: u64) -> TaskSpec {
    TaskSpec {
        queue: "gpu".parse().unwrap(),
        params: Payload::parse(r#"{"scene":"forest"}"#).unwrap(),
        ..TaskSpec::new(TaskId::from_bytes(id(number)), "render".parse().unwrap())
    }
}

impl Bench {
    async fn with(waiting: u64) -> Self {
        let engine = Engine::start().await;
        let heard = Arc::new(Heard::default());
        let meter: Arc<dyn Meter> = heard.clone();
        let store = engine.store(Options { meter: Some(meter), ..Options::seeded(1) }).await;
        let bench = Self { store, heard, costs: Vec::new(), ids: waiting + 1_000, engine };
        for first in (0..REAL).step_by(100) {
            let tasks = (first..first + 100).map(spec).collect();
            bench.create(tasks).await;
        }
        let behind = (REAL..waiting).map(|number| TaskId::from_bytes(id(number)));
        bench.engine.copy_task(behind, at(0).as_millis() + 1).await;
        bench
    }

    async fn create(&self, tasks: Vec<TaskSpec>) {
        let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
        assert!(self.store.create(create).await.unwrap().items.iter().all(Result::is_ok));
    }

    fn note(&mut self, what: &'static str) {
        let crate::engine::heard::Cost { requests, read, write, .. } = self.heard.take();
        self.costs.push((what, requests, read, write));
    }

    async fn claim(&self, most: u32, request: Option<&str>) -> Vec<Task> {
        let claim = Claim {
            queues: vec!["gpu".parse().unwrap()],
            max_tasks: most,
            cap: 1_000,
            request: request.map(|key| key.parse().unwrap()),
            ..Claim::new("w1".parse().unwrap(), at(1))
        };
        match self.store.claim(claim).await.unwrap() {
            ClaimAnswer::Leased(tasks) => tasks,
            ClaimAnswer::Nothing(why) => panic!("expected tasks, got {why:?}"),
        }
    }

    fn complete(&mut self, task: &Task) -> Complete {
        self.ids += 1;
        let generation = GenerationId::from_bytes(id(self.ids));
        Complete {
            now: at(2),
            task: task.head.id,
            fence: fence(task),
            caller: Bounds::default(),
            generation,
            output: Output::default(),
            ran: None,
        }
    }

    async fn all_commands(mut self) -> Vec<Cost> {
        // What a process or a worker makes known once.
        let first = self.claim(1, None).await.remove(0);
        let complete = self.complete(&first);
        self.store.complete(complete, None).await.unwrap();
        self.beat(&[]).await;
        self.store.stats(at(2)).await.unwrap();
        self.heard.take();

        self.ids += 1;
        self.create(vec![spec(self.ids)]).await;
        self.note("create");
        let mut held = self.claim(1, None).await;
        self.note("claim");
        held.extend(self.claim(1, Some("r1")).await);
        self.note("claim, with request key");
        held.extend(self.claim(10, None).await);
        self.note("claim of ten");
        self.beat(&held).await;
        self.note("heartbeat");
        let complete = self.complete(&held[0]);
        self.store.complete(complete, None).await.unwrap();
        self.note("complete");
        let failure = Failure { message: "no".to_owned(), code: None, details: None };
        let (task, fenced) = (held[1].head.id, fence(&held[1]));
        let fail = Fail {
            now: at(2),
            task,
            fence: fenced,
            caller: Bounds::default(),
            failure,
            retryable: true,
            retry_after: None,
        };
        self.store.fail(fail).await.unwrap();
        self.note("fail");
        let (task, fenced) = (held[2].head.id, fence(&held[2]));
        let release = Release {
            now: at(2),
            task,
            fence: fenced,
            caller: Bounds::default(),
            delay: Duration::ZERO,
            reason: None,
        };
        self.store.release(release).await.unwrap();
        self.note("release");
        let task = held[3].head.id;
        self.store
            .cancel(Cancel { now: at(2), task, by: None, reason: None, with_dependants: false })
            .await
            .unwrap();
        self.note("cancel");
        self.store
            .retry(Retry {
                now: at(2),
                task,
                by: None,
                reason: None,
                delay: Duration::ZERO,
                with_dependants: false,
            })
            .await
            .unwrap();
        self.note("retry");
        self.store.task(task).await.unwrap();
        self.note("show a task");
        self.store.history(task, PageRequest::first(50)).await.unwrap();
        self.note("its history");
        self.store.worker(&"w1".parse().unwrap()).await.unwrap();
        self.note("show a worker");
        assert_eq!(self.listed(Vec::new()).await, 50);
        self.note("list of 50 tasks");
        assert_eq!(self.listed(vec![Status::Running]).await, 8);
        self.note("list of the running tasks");
        self.store.waiting(at(2)).await.unwrap();
        self.note("how long tasks wait");
        self.store.flush().await.unwrap();
        self.note("counts written");
        self.store.stats(at(2)).await.unwrap();
        self.note("statistics");
        let reap = Reap { watch: Watch::at(at(3)), limit: 100, worker: None, queue: None };
        assert_eq!(self.store.reap(reap).await.unwrap().taken, []);
        self.note("a round of the reaper, with nothing lost");
        let reap = Reap { watch: Watch::at(at(100)), limit: 100, worker: None, queue: None };
        assert_eq!(self.store.reap(reap).await.unwrap().taken.len(), 8);
        self.note("a round of the reaper, with eight lost");
        // When the day of all these is past its keeping, and those that wait are there still.
        let month = 31 * 86_400;
        self.store.purge(Purge::at(at(month))).await.unwrap();
        self.note("a purge, the first of an hour");
        self.store.purge(Purge::at(at(month + 60))).await.unwrap();
        self.note("a purge, each minute");
        self.costs
    }

    async fn listed(&self, statuses: Vec<Status>) -> usize {
        let filter = TaskFilter { now: at(2), statuses, ..TaskFilter::default() };
        self.store.tasks(filter, PageRequest::first(50)).await.unwrap().items.len()
    }

    async fn beat(&self, held: &[Task]) {
        let running = held.iter().map(|task| Running {
            task: task.head.id,
            attempt: task.head.attempt,
            progress: None,
            message: None,
        });
        let beat = Beat { running: Some(running.collect()), ..Beat::new("w1".parse().unwrap(), at(2)) };
        self.store.heartbeat(beat).await.unwrap();
    }
}

fn fence(task: &Task) -> Fence {
    Fence { attempt: task.head.attempt, worker: "w1".parse().unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_costs_the_same_however_many_tasks_wait() {
    let many = std::env::var("BATON_TEST_WAITING").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let few = Bench::with(1_000).await.all_commands().await;
    let begun = std::time::Instant::now();
    let bench = Bench::with(many).await;
    println!("{many} tasks wait after {:.1?}", begun.elapsed());
    let costs = bench.all_commands().await;
    println!("{:45} {:>8} {:>6} {:>6}   with 1,000", "command", "requests", "RU", "WU");
    for ((what, requests, read, write), few) in costs.iter().zip(&few) {
        println!("{what:45} {requests:>8} {read:>6} {write:>6}   {} {} {}", few.1, few.2, few.3);
    }
    assert_eq!(costs, few);
}
