//! The ways that tasks go, in a burst and spread evenly over a month.

use serde_json::{Value, json};

use super::MONTH;
use super::bill::{Bill, assumed};
use super::fleet::Fleet;

/// How many tasks each way is tried with.
pub(super) const TASKS: usize = 50;

/// How many tasks come a second, if a million come evenly over a month.
const RATE: f64 = 1e6 / MONTH;

/// How long a task waits and how long it runs, in seconds, where tasks come evenly.
const WAITS: f64 = 1.0;
const RUNS: f64 = 60.0;

/// The ways, by their names on the page.
pub(super) const NAMES: [&str; 5] = [ONE_BY_ONE, WITH_THE_NEXT, SEVERAL, BATCHES, QUEUES];
const ONE_BY_ONE: &str = "one by one";
const WITH_THE_NEXT: &str = "completed and claimed in one";
const SEVERAL: &str = "several at once";
const BATCHES: &str = "in batches";
const QUEUES: &str = "through the queues";

/// What a task costs that goes one way.
pub(super) struct Way {
    pub(super) name: &'static str,
    /// In a burst: there is always more to do.
    pub(super) burst: Bill,
    /// Spread evenly over a month.
    pub(super) spread: Bill,
    /// How many records of the stream an invocation gets then.
    pub(super) records: f64,
}

impl Way {
    pub(super) async fn measured(fleet: &mut Fleet, name: &'static str) -> Self {
        match name {
            WITH_THE_NEXT => fleet.begin().await,
            BATCHES => fleet.begin_batch(TASKS).await,
            _ => {}
        }
        // As many run before as after.
        let before = fleet.stored().await;
        steps(fleet, name, 10).await;
        fleet.relay().await;
        let stored = (fleet.stored().await - before) / TASKS as f64 * assumed::MONTHS;
        let burst = Bill { stored, ..fleet.bill(TASKS) };
        // What comes singly through a queue comes as a message of its own. And workers wait, so that rings are sent.
        fleet.evenly = true;
        fleet.find_nothing().await;
        // As many go meanwhile as come, at the end of their keeping.
        fleet.go(TASKS, comes).await;
        steps(fleet, name, 1).await;
        let invocations = fleet.relay_as_it_comes().await;
        let spread = Bill { stored, ..fleet.bill(TASKS) };
        fleet.end().await;
        fleet.evenly = false;
        fleet.go(TASKS, comes).await;
        fleet.relay().await;
        let burst = burst.and(fleet.bill(TASKS));
        let routes: &[(&str, f64)] = match name {
            ONE_BY_ONE => {
                &[("POST /v1/tasks", 1.0), ("POST /v1/claims", 1.0), ("POST /v1/tasks/{id}/complete", 1.0)]
            }
            WITH_THE_NEXT => &[("POST /v1/tasks", 1.0), ("POST /v1/tasks/{id}/complete", 1.0)],
            SEVERAL => &[
                ("POST /v1/tasks/batch", 1.0 / TASKS as f64),
                ("POST /v1/claims", 0.1),
                ("POST /v1/tasks/{id}/complete", 1.0),
            ],
            BATCHES => {
                &[("POST /v1/tasks/batch", 1.0 / TASKS as f64), ("POST /v1/endings", 1.0 / TASKS as f64)]
            }
            _ => &[("POST /v1/claims", 0.1)],
        };
        let mut verdicts = Bill::default();
        for (route, requests) in routes {
            verdicts = verdicts.and(fleet.verdicts(&[route], RATE * requests).await.times(*requests));
        }
        let records = 4.0 * TASKS as f64 / invocations;
        Self { name, burst, spread: spread.and(verdicts), records }
    }
}

impl Fleet {
    /// What the authorizer costs a request of these routes, of which each is asked for so often a second: API Gateway keeps
    /// a verdict for a while.
    pub(super) async fn verdicts(&mut self, routes: &[&str], a_second: f64) -> Bill {
        if self.template.token_cache_seconds <= 0.0 {
            return Bill::default();
        }
        let kept = self.bill(1);
        assert_eq!(kept.api, 0.0, "what was asked before is billed");
        for route in routes {
            self.judge(route).await;
        }
        self.bill(1).times(1.0 / (1.0 + a_second * self.template.token_cache_seconds))
    }
}

/// All steps of the tasks of one way; `at_once`: how many messages come together.
async fn steps(fleet: &mut Fleet, name: &str, at_once: usize) {
    match name {
        ONE_BY_ONE => one_by_one(fleet).await,
        WITH_THE_NEXT => with_the_next(fleet).await,
        SEVERAL => several_at_once(fleet).await,
        BATCHES => in_batches(fleet).await,
        QUEUES => through_queues(fleet, at_once).await,
        other => panic!("no way {other}"),
    }
}

/// When the task of this number comes.
fn comes(task: usize) -> f64 {
    task as f64 / RATE
}

/// Every step of every task is a request of its own.
async fn one_by_one(fleet: &mut Fleet) {
    for number in 0..TASKS {
        fleet.at = comes(number);
        fleet.create(1).await;
        fleet.changed().await;
        fleet.at = comes(number) + WAITS;
        let task = fleet.claim(1).await.remove(0);
        fleet.changed().await;
        fleet.at = comes(number) + RUNS;
        fleet.complete(&task).await;
        fleet.changed().await;
    }
}

/// Each completion claims the next task.
async fn with_the_next(fleet: &mut Fleet) {
    for number in 0..TASKS {
        fleet.at = comes(number);
        fleet.create(1).await;
        fleet.changed().await;
        fleet.at = comes(number) + WAITS;
        fleet.complete_and_claim().await;
        fleet.changed().await;
    }
}

/// Tasks are created 50 at once and claimed 10 at once; each is completed by a request of its own.
async fn several_at_once(fleet: &mut Fleet) {
    fleet.at = 0.0;
    fleet.create(TASKS).await;
    fleet.changed().await;
    for ten in 0..TASKS / 10 {
        fleet.at = comes(ten * 10) + WAITS;
        let tasks = fleet.claim(10).await;
        fleet.changed().await;
        for (place, task) in tasks.into_iter().enumerate() {
            fleet.at = comes(ten * 10 + place) + RUNS;
            fleet.complete(&task).await;
            fleet.changed().await;
        }
    }
}

/// Tasks are created 50 at once, and ended 50 at once by a request that claims the next 50.
async fn in_batches(fleet: &mut Fleet) {
    fleet.at = 0.0;
    fleet.create(TASKS).await;
    fleet.changed().await;
    fleet.at = comes(TASKS) + RUNS;
    fleet.end_and_claim(TASKS).await;
    fleet.changed().await;
}

/// Tasks and completions come through the queues; only claims are requests, of 10 tasks each.
async fn through_queues(fleet: &mut Fleet, at_once: usize) {
    let params = json!({"scene": "x".repeat(180)});
    for ten in 0..TASKS / 10 {
        let tasks: Vec<Value> = vec![json!({"type": "render", "params": params}); 10];
        fleet.at = comes(ten * 10);
        // Each submission has an id of its own in the queue, by which a repetition is known.
        fleet.deliver(|fleet| &fleet.create, &tasks, at_once).await;
        fleet.changed().await;
        fleet.at = comes(ten * 10) + WAITS;
        let tasks = fleet.claim(10).await;
        fleet.changed().await;
        for (place, part) in tasks.chunks(at_once).enumerate() {
            fleet.at = comes(ten * 10 + place * at_once) + RUNS;
            let end = |task: &String| json!({"task_id": task, "completion": Fleet::completion()});
            let ends: Vec<Value> = part.iter().map(end).collect();
            fleet.deliver(|fleet| &fleet.complete, &ends, at_once).await;
            fleet.changed().await;
        }
    }
}
