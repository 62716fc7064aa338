//! Chaos: producers and workers drive a server that is killed at random moments, every request and answer is recorded,
//! and the record is held against what the store says in the end.
//!
//! What is promised, and checked in the end: no acknowledged task is lost; no attempt is given to two workers; no task
//! is completed twice; one claim request is given one set of leases, whichever servers hear it; a generation exists if and
//! only if its task is completed, and is the one that was acknowledged, with the result that its worker sent; no task is given
//! out before those that it depends on have ended, and with their generations; no more tasks run at once than a limit lets; histories have
//! no gaps and do not run backwards; a schedule has created one task for each of its times, and none before; a bulk command
//! comes to its end and has changed each task once that it says to have changed; every task is finished once nobody kills and nothing fails any more; the counts are
//! right, where the store counts exactly.
//!
//! A seed decides what the clients do and when the server dies. The interleaving of threads is the machine's: the same
//! seed gives the same intentions, not the same schedule.

mod check;
mod client;
mod dialects;
mod platform;
mod producer;
mod proxy;
mod record;
mod socket;
mod standing;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::sync::watch;

use crate::program::{Program, Server};
pub use dialects::{Spoken, SpokenOutcome, run_spoken};
pub use platform::{PlatformOutcome, run_platform};
use record::Record;

/// How hard the servers are treated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides what clients do and when a server dies.
    pub seed: u64,
    /// How often one is killed.
    pub kills: u32,
    /// For how long they are killed, instead of so often.
    pub lasts: Option<Duration>,
    /// The workers.
    pub workers: u32,
    /// The producers.
    pub producers: u32,
    /// How many milliseconds pass between two kills.
    pub lives: Range<u64>,
    /// The most milliseconds that a producer pauses after a request, a few of which create a batch.
    pub pace: u64,
    /// Whether tasks share limits.
    pub limits: bool,
    /// After how many seconds of the servers' time a schedule creates its next task.
    pub every: u64,
}

/// Something that serves, and that is killed and started again on the same tasks.
pub trait Place: Send + 'static {
    /// Starts it; says where it serves. `calm`: without faults, if it has any.
    fn start(&mut self, calm: bool) -> impl Future<Output = String> + Send;

    /// Ends it in the middle of whatever it does.
    fn kill(&mut self) -> impl Future<Output = ()> + Send;
}

/// A program that is a process of its own.
struct Process {
    program: Arc<Program>,
    server: Option<Server>,
}

impl Place for Process {
    async fn start(&mut self, calm: bool) -> String {
        let program = Arc::clone(&self.program);
        let server = tokio::task::spawn_blocking(move || program.start(calm)).await;
        let server = server.expect("the server starts");
        let url = server.url().to_owned();
        self.server = Some(server);
        url
    }

    async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            tokio::task::spawn_blocking(move || server.kill()).await.expect("the server is killed");
        }
    }
}

/// What a run has shown.
#[derive(Debug)]
pub struct Outcome {
    /// Tasks that were acknowledged.
    pub created: usize,
    /// Tasks that the schedule created.
    pub scheduled: usize,
    /// Bulk commands.
    pub bulk: usize,
    /// Completions that were acknowledged.
    pub completed: usize,
    /// Attempts that were given out.
    pub attempts: usize,
    /// Requests whose answer was lost.
    pub unanswered: u64,
    /// How many kills there were.
    pub kills: u32,
    /// How many events the history of each task has.
    pub events: BTreeMap<String, usize>,
    /// What was broken; nothing, if all is well.
    pub broken: Vec<String>,
}

impl Outcome {
    /// Holds the histories against what was told of them: each event of each task, by its number.
    pub fn hold_against(&mut self, told: &BTreeMap<String, BTreeSet<u32>>) {
        let none = BTreeSet::new();
        for (task, events) in &self.events {
            let seqs = told.get(task).unwrap_or(&none);
            if !seqs.iter().copied().eq(1..=*events as u32) {
                self.broken.push(format!("task {task} has {events} events, of which were told: {seqs:?}"));
            }
        }
    }
}

impl fmt::Display for Outcome {
    /// The figures, and the first ten things that are broken.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, scheduled, bulk, completed, attempts, unanswered, kills, events, broken } = self;
        write!(
            f,
            "{created} tasks acknowledged, {scheduled} by a schedule, {bulk} bulk commands, {attempts} attempts, {completed} completions, {kills} kills, {unanswered} answers \
             lost, {} events, {} broken",
            events.values().sum::<usize>(),
            broken.len()
        )?;
        broken.iter().take(10).try_for_each(|what| write!(f, "\n  {what}"))
    }
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

/// Where each server is at present, if it is anywhere; shared by all clients.
type Addresses = Vec<watch::Receiver<Option<String>>>;

/// Runs the plan on a program with an empty store and checks what is left.
pub async fn run(plan: Plan, program: Program) -> Outcome {
    run_programs(plan, vec![program]).await
}

/// The same on several programs that share a store.
pub async fn run_programs(plan: Plan, programs: Vec<Program>) -> Outcome {
    let exact = programs.iter().all(Program::counts_exactly);
    let process = |program| Process { program: Arc::new(program), server: None };
    run_places(plan, programs.into_iter().map(process).collect(), exact).await
}

/// The same on places of any kind. `exact_counts`: whether statistics count exactly what was answered.
pub async fn run_places(plan: Plan, mut places: Vec<impl Place>, exact_counts: bool) -> Outcome {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let record = Arc::new(Record::default());
    let (producing, working) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let (mut announce, mut addresses): (Vec<_>, Addresses) = (Vec::new(), Vec::new());
    for place in &mut places {
        let (sender, address) = watch::channel(Some(place.start(false).await));
        announce.push(sender);
        addresses.push(address);
    }

    let client = client::Client::new(addresses.clone(), Arc::clone(&record));
    if plan.limits {
        producer::limit(&client).await;
    }
    standing::set_schedule(&client, plan.every).await;
    let mut producers = Vec::new();
    for number in 0..plan.producers {
        let client = client::Client::new(addresses.clone(), Arc::clone(&record));
        let random = StdRng::seed_from_u64(random.random());
        let on = Arc::clone(&producing);
        producers.push(tokio::spawn(producer::run(number, client, random, plan.pace, on)));
    }
    let mut workers = Vec::new();
    for number in 0..plan.workers {
        let client = client::Client::new(addresses.clone(), Arc::clone(&record));
        let random = StdRng::seed_from_u64(random.random());
        workers.push(tokio::spawn(worker::run(number, client, random, Arc::clone(&working))));
    }

    let (begun, mut kills) = (Instant::now(), 0);
    loop {
        tokio::time::sleep(Duration::from_millis(random.random_range(plan.lives.clone()))).await;
        kills += 1;
        let last = plan.lasts.map_or(kills >= plan.kills, |lasts| begun.elapsed() >= lasts);
        if last {
            producing.store(false, Ordering::Relaxed);
        }
        // After the last kill nothing fails any more, so that all must come to its end.
        let dies = random.random_range(0..places.len());
        for (number, place) in places.iter_mut().enumerate().filter(|(number, _)| last || *number == dies) {
            announce[number].send_replace(None);
            place.kill().await;
            announce[number].send_replace(Some(place.start(last).await));
        }
        if last {
            break;
        }
    }

    for producer in producers {
        producer.await.expect("a producer does not panic");
    }
    standing::pause_schedule(&client).await;
    let finished = async {
        standing::end_of_bulk(&client).await?;
        drain(&client).await
    };
    let finished = finished.await;
    working.store(false, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("a worker does not panic");
    }
    let mut outcome = check::check(&record, &client, (exact_counts, plan.limits), plan.every).await;
    outcome.kills = kills;
    outcome.broken.extend(finished.err());
    for place in &mut places {
        place.kill().await;
    }
    outcome
}

/// How long nothing may come to its end without a kill: how fast that goes is the machine's business.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until every task is finished, as long as some more are now and then.
async fn drain(client: &client::Client) -> Result<(), String> {
    let (mut fewest, mut since) = (usize::MAX, Instant::now());
    loop {
        let looked = Instant::now();
        // Of all tasks, and not of those of some statuses: such a list may miss one that changes while it is read.
        let tasks = check::all(client, "/v1/tasks?limit=1000").await;
        let finished =
            |task: &Value| ["completed", "failed", "cancelled"].iter().any(|s| task["status"] == *s);
        let open: Vec<_> = tasks.iter().filter(|task| !finished(task)).collect();
        let Some(first) = open.first() else { return Ok(()) };
        if open.len() < fewest {
            (fewest, since) = (open.len(), Instant::now());
        }
        if since.elapsed() > PATIENCE {
            return Err(format!(
                "task {} and {} more are not finished, and none was for five minutes without a kill",
                first["id"],
                open.len() - 1
            ));
        }
        // Most of the time is the workers'.
        tokio::time::sleep(Duration::from_millis(100).max(looked.elapsed() * 4)).await;
    }
}
