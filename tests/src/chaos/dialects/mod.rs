//! Chaos with the clients of other systems, each in its own words: the server is killed, their connections are cut, and answers are lost.
//!
//! What is promised, and checked in the end: a task whose creation was answered is there, once, with what was asked; what was handed over
//! and acknowledged is what its record has; a record exists if and only if its task is completed; no attempt is given to two; histories
//! have no gaps; and the dialect tells of each task what Baton's own routes tell.

mod assistant;
mod drift;
mod orchestrator;
mod task_table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::sync::{Mutex, watch};

use super::client::Client;
use super::proxy::Proxy;
use super::record::Record;
use super::{Place as _, Plan, Process, Program, check, drain, worker};

/// Which system's clients there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// The in-memory assistant task server's.
    Assistant,
    /// The drift simulation's, which are its workers, too.
    Drift,
    /// The multi-agent orchestrator's.
    Orchestrator,
    /// The task table's shell.
    TaskTable,
}

impl Spoken {
    /// The dialect's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Assistant => "assistant",
            Self::Drift => "drift",
            Self::Orchestrator => "orchestrator",
            Self::TaskTable => "task-table",
        }
    }

    /// The queue that Baton's own workers take from.
    fn queue(self) -> &'static str {
        match self {
            Self::Assistant => "assistant",
            Self::Drift => "drift",
            Self::Orchestrator => "autodev",
            Self::TaskTable => "task-table",
        }
    }
}

/// What a run has shown.
#[derive(Debug)]
pub struct SpokenOutcome {
    /// Tasks whose creation was answered.
    pub created: usize,
    /// Tasks that are completed.
    pub completed: usize,
    /// Requests whose answer was lost.
    pub unanswered: u64,
    /// Connections that were cut.
    pub cuts: u64,
    /// How many kills there were.
    pub kills: u32,
    /// What was broken; nothing, if all is well.
    pub broken: Vec<String>,
}

impl fmt::Display for SpokenOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, completed, unanswered, cuts, kills, broken } = self;
        write!(
            f,
            "{created} tasks acknowledged, {completed} completed, {kills} kills, {cuts} connections cut, {unanswered} answers lost, {} broken",
            broken.len()
        )
    }
}

/// What the dialect's clients were told.
#[derive(Debug, Default)]
struct Told {
    /// Tasks whose creation was answered, by their ids in Baton, with the mark that the client has put into each.
    created: BTreeMap<String, String>,
    /// Thoughts or outputs that were acknowledged, by task.
    added: BTreeMap<String, BTreeSet<String>>,
    /// By task: the mark of the result that was acknowledged.
    completed: BTreeMap<String, BTreeSet<String>>,
    surprises: Vec<String>,
}

/// A client of the dialect.
struct Speaker {
    client: Client,
    /// Where the dialect is, through the proxy.
    url: String,
    random: StdRng,
    told: Arc<Mutex<Told>>,
    number: u32,
    made: u64,
    pace: u64,
    on: Arc<AtomicBool>,
    calm: Arc<AtomicBool>,
}

impl Speaker {
    fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// A mark that is used once.
    fn mark(&mut self) -> String {
        self.made += 1;
        format!("mark-{}-{}", self.number, self.made)
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..=self.pace))).await;
    }

    /// Posts until it is answered: of requests that mean the same when they come again.
    async fn insist(&self, path: &str, body: &Value) -> (u16, Value) {
        loop {
            if let Some(answer) = self.client.ask(path, body).await {
                return answer;
            }
        }
    }

    /// Gets until it is answered.
    async fn look(&self, path: &str) -> (u16, Value) {
        loop {
            if let Some(answer) = self.client.ask_for(path).await {
                return answer;
            }
        }
    }

    async fn surprise(&self, what: impl Into<String>) {
        self.told.lock().await.surprises.push(what.into());
    }

    /// One of the tasks whose creation was answered.
    async fn known(&mut self) -> Option<String> {
        let told = self.told.lock().await;
        let nth = self.random.random_range(0..told.created.len().max(1));
        told.created.keys().nth(nth).cloned()
    }
}

/// Runs the plan with clients of a system on a program with an empty store, and checks what is left. `settings` are those of the program.
pub async fn run_spoken(
    plan: Plan,
    spoken: Spoken,
    make: impl FnOnce(&[(&str, &str)]) -> Program,
) -> SpokenOutcome {
    // Its address stays, as it does for clients with a fixed port.
    let listen =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").to_string();
    let key = format!("BATON_DIALECTS_{}_LISTEN", spoken.name().to_uppercase().replace('-', "_"));
    let program = make(&[(&key, &listen), ("BATON_DIALECTS_ASSISTANT_EXECUTE_SECONDS", "0.3")]);
    let mut random = StdRng::seed_from_u64(plan.seed);
    let record = Arc::new(Record::default());
    let told = Arc::new(Mutex::new(Told::default()));
    let (producing, working) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let calm = Arc::new(AtomicBool::new(false));
    let mut place = Process { program: Arc::new(program), server: None };
    let (announce, own) = watch::channel(Some(place.start(false).await));
    let (_dialect, dialect) = watch::channel(Some(format!("http://{listen}")));
    let proxies = [
        Proxy::start(own.clone(), random.random(), Arc::clone(&calm)).await,
        Proxy::start(dialect, random.random(), Arc::clone(&calm)).await,
    ];
    let (_through, through): (Vec<_>, Vec<_>) =
        proxies.iter().map(|proxy| watch::channel(Some(proxy.url().to_owned()))).unzip();
    let client = |place: usize| Client::new(vec![through[place].clone()], Arc::clone(&record));

    let mut speakers = Vec::new();
    let many = if spoken == Spoken::Drift { plan.workers } else { plan.producers };
    for number in 0..many {
        let speaker = Speaker {
            client: client(1),
            url: proxies[1].url().to_owned(),
            random: StdRng::seed_from_u64(random.random()),
            told: Arc::clone(&told),
            number,
            made: 0,
            pace: plan.pace,
            on: Arc::clone(&producing),
            calm: Arc::clone(&calm),
        };
        speakers.push(tokio::spawn(async move {
            match spoken {
                Spoken::Assistant => assistant::produce(speaker).await,
                Spoken::Drift => drift::work(speaker).await,
                Spoken::Orchestrator => orchestrator::produce(speaker).await,
                Spoken::TaskTable => task_table::produce(speaker).await,
            }
        }));
    }
    let mut workers = Vec::new();
    for number in 0..if spoken == Spoken::Drift { 0 } else { plan.workers } {
        let random = StdRng::seed_from_u64(random.random());
        let (client, on, queues) = (client(0), Arc::clone(&working), [spoken.queue().to_owned()]);
        workers.push(tokio::spawn(async move { worker::run_on(&queues, number, client, random, on).await }));
    }

    for kill in 1..=plan.kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(plan.lives.clone()))).await;
        let last = kill == plan.kills;
        if last {
            producing.store(false, Ordering::Relaxed);
            calm.store(true, Ordering::Relaxed);
        }
        announce.send_replace(None);
        place.kill().await;
        announce.send_replace(Some(place.start(last).await));
    }
    for speaker in speakers {
        speaker.await.expect("a client does not panic");
    }
    let direct = Client::new(vec![own], Arc::clone(&record));
    let mut broken = Vec::new();
    match spoken {
        Spoken::Drift => broken.extend(drift::rests(&direct).await.err()),
        Spoken::TaskTable => {
            task_table::run_all(&direct, &client(1)).await;
            broken.extend(drain(&direct).await.err());
        }
        Spoken::Assistant | Spoken::Orchestrator => broken.extend(drain(&direct).await.err()),
    }
    working.store(false, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("a worker does not panic");
    }
    let told = std::mem::take(&mut *told.lock().await);
    let completed = held(spoken, &told, &record, &direct, &client(1), &mut broken).await;
    broken.extend(told.surprises.iter().cloned());
    place.kill().await;
    SpokenOutcome {
        created: told.created.len(),
        completed,
        unanswered: record.unanswered.load(Ordering::Relaxed),
        cuts: proxies.iter().map(Proxy::cuts).sum(),
        kills: plan.kills,
        broken,
    }
}

/// Holds what the store says against what all clients were told; says how many tasks are completed.
async fn held(
    spoken: Spoken,
    told: &Told,
    record: &Arc<Record>,
    direct: &Client,
    dialect: &Client,
    broken: &mut Vec<String>,
) -> usize {
    let tasks = check::all(direct, "/v1/tasks?limit=1000").await;
    let mut marks: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for task in &tasks {
        let (id, params) = (task["id"].as_str().unwrap_or_default(), task["params"].to_string());
        for mark in marks_in(&params) {
            marks.entry(mark).or_default().push(id);
        }
        // What was never acknowledged may be there: its answer was lost, and nobody has asked for it again.
        record
            .told()
            .created
            .entry(id.to_owned())
            .or_insert_with(|| serde_json::json!({ "params": task["params"] }));
    }
    for (mark, ids) in marks.iter().filter(|(_, ids)| ids.len() > 1) {
        broken.push(format!("one request made several tasks: {mark} is in {ids:?}"));
    }
    for (id, mark) in &told.created {
        if !marks.get(mark).is_some_and(|ids| ids.contains(&id.as_str())) {
            broken.push(format!("task {id} was acknowledged for {mark}, which it has not, or it is gone"));
        }
    }
    // The promises that hold for every task, whoever made it.
    broken.extend(check::check(record, direct, (false, false), 1).await.broken.into_iter().filter(|what| {
        // A queue that refills itself is never empty.
        spoken != Spoken::Drift || !what.starts_with("a task is stranded")
    }));
    let generations = check::all(direct, "/v1/generations?limit=1000").await;
    for (id, marks) in &told.completed {
        let stands: Vec<String> = generations
            .iter()
            .filter(|generation| generation["task_id"] == **id)
            .flat_map(|generation| marks_in(&generation["result"].to_string()))
            .collect();
        if marks.len() != 1 || !marks.iter().eq(stands.iter()) {
            broken
                .push(format!("task {id} was acknowledged as completed with {marks:?}, and has {stands:?}"));
        }
    }
    match spoken {
        Spoken::Assistant => assistant::agree(dialect, told, &tasks, broken).await,
        Spoken::Drift => drift::agree(dialect, &tasks, broken).await,
        Spoken::Orchestrator => orchestrator::agree(dialect, told, &tasks, broken).await,
        Spoken::TaskTable => task_table::agree(dialect, told, &tasks, broken).await,
    }
    generations.len()
}

/// The marks in a text of JSON that clients have put there.
fn marks_in(text: &str) -> Vec<String> {
    let marks = text
        .match_indices("\"mark-")
        .map(|(at, _)| text[at + 1..].split('"').next().unwrap_or_default().to_owned());
    let marks: BTreeSet<String> = marks.collect();
    marks.into_iter().collect()
}
