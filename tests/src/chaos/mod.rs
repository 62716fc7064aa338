//! Chaos: producers and workers drive a server that is killed at random moments, every request and answer is recorded,
//! and the record is held against what the store says in the end.
//!
//! What is promised, and checked in the end: no acknowledged task is lost; no attempt is given to two workers; no task
//! is completed twice; a generation exists if and only if its task is completed, and is the one that was acknowledged,
//! with the result that its worker sent; histories have no gaps; every task is finished once nobody kills and nothing
//! fails any more; the counts are right, where the store counts exactly.
//!
//! A seed decides what the clients do and when the server dies. The interleaving of threads is the machine's: the same
//! seed gives the same intentions, not the same schedule.

mod check;
mod client;
mod producer;
mod record;
mod worker;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::sync::watch;

use crate::program::{Program, Server};
use record::Record;

/// How hard the server is treated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides what clients do and when the server dies.
    pub seed: u64,
    /// How often the server is killed.
    pub kills: u32,
    /// The workers.
    pub workers: u32,
    /// The producers.
    pub producers: u32,
    /// How many milliseconds the server lives between two kills.
    pub lives: Range<u64>,
    /// The most milliseconds that a producer pauses after a request, a few of which create a batch.
    pub pace: u64,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Outcome {
    /// Tasks that were acknowledged.
    pub created: usize,
    /// Completions that were acknowledged.
    pub completed: usize,
    /// Attempts that were given out.
    pub attempts: usize,
    /// Requests whose answer was lost.
    pub unanswered: u64,
    /// What was broken; nothing, if all is well.
    pub broken: Vec<String>,
}

/// The settings of the server: leases that end fast enough for a short run.
pub const SETTINGS: &[(&str, &str)] = &[
    ("BATON_LEASES_HEARTBEAT_TIMEOUT_SECONDS", "1.5"),
    ("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS", "0.3"),
    ("BATON_LEASES_FORGET_GRACE_SECONDS", "0.5"),
    ("BATON_REAPER_INTERVAL_SECONDS", "0.2"),
    ("BATON_LOG_LEVEL", "warn"),
    ("BATON_LOG_FORMAT", "json"),
];

/// Where the server is at present, if it is anywhere; shared by all clients.
type Address = watch::Receiver<Option<String>>;

/// Runs the plan on a program with an empty store and checks what is left.
pub async fn run(plan: Plan, program: Program) -> Outcome {
    let program = Arc::new(program);
    let mut random = StdRng::seed_from_u64(plan.seed);
    let record = Arc::new(Record::default());
    let (producing, working) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let mut server = start(&program, false).await;
    let (announce, address) = watch::channel(Some(server.url().to_owned()));

    let mut producers = Vec::new();
    for number in 0..plan.producers {
        let client = client::Client::new(address.clone(), Arc::clone(&record));
        let random = StdRng::seed_from_u64(random.random());
        let on = Arc::clone(&producing);
        producers.push(tokio::spawn(producer::run(number, client, random, plan.pace, on)));
    }
    let mut workers = Vec::new();
    for number in 0..plan.workers {
        let client = client::Client::new(address.clone(), Arc::clone(&record));
        let random = StdRng::seed_from_u64(random.random());
        workers.push(tokio::spawn(worker::run(number, client, random, Arc::clone(&working))));
    }

    for kill in 1..=plan.kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(plan.lives.clone()))).await;
        announce.send_replace(None);
        tokio::task::spawn_blocking(move || server.kill()).await.expect("the server is killed");
        let last = kill == plan.kills;
        if last {
            producing.store(false, Ordering::Relaxed);
        }
        // After the last kill nothing fails any more, so that all must come to its end.
        server = start(&program, last).await;
        announce.send_replace(Some(server.url().to_owned()));
    }

    for producer in producers {
        producer.await.expect("a producer does not panic");
    }
    let client = client::Client::new(address.clone(), Arc::clone(&record));
    let finished = drain(&client).await;
    working.store(false, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("a worker does not panic");
    }
    let mut outcome = check::check(&record, &client, program.counts_exactly()).await;
    outcome.broken.extend(finished.err());
    outcome
}

async fn start(program: &Arc<Program>, calm: bool) -> Server {
    let program = Arc::clone(program);
    tokio::task::spawn_blocking(move || program.start(calm)).await.expect("the server starts")
}

/// Waits until every task is finished.
async fn drain(client: &client::Client) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        // Of all tasks, and not of those of some statuses: such a list may miss one that changes while it is read.
        let tasks = check::all(client, "/v1/tasks?limit=1000").await;
        let finished =
            |task: &Value| ["completed", "failed", "cancelled"].iter().any(|s| task["status"] == *s);
        let Some(first) = tasks.iter().find(|task| !finished(task)) else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(format!("task {} is not finished after five minutes without a kill", first["id"]));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
