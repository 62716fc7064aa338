//! The attack on the functions: two sets of them on one table, whose clocks differ by 0.5, 3 and 60 s, are killed in turn, in
//! the middle of their invocations, and their connections fail. No acknowledged task is lost, none is completed twice, no
//! claim gets two sets of leases, and every event is told.
//!
//! Short by default; `BATON_ATTACK_SECONDS=600` has each difference last so long, `BATON_ATTACK_SKEW_MS=3000` chooses one, and
//! `BATON_CHAOS_SEED=…` draws other commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use baton_lambda::Host;
use baton_runtime::{Clock, ManualClock, Reading};
use baton_store_dynamodb::client::http_client;
use baton_store_dynamodb::faults::Faults;
use baton_store_dynamodb::table::KeptBy;
use baton_tests::chaos::{Place, Plan, run_places};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::stream::TableStream;
use crate::world::{TASK_EVENTS, World, again, invocation, request};

/// How many times faster than the test's the functions' time goes: their workers are lost after 60 s.
const FASTER: u32 = 10;

/// Tasks share limits where clocks differ by more; in long attacks they do everywhere. It takes twice as long.
const SHARED_ABOVE: Duration = Duration::from_secs(10);

/// The functions that requests are for.
const SERVING: [&str; 6] =
    ["create-task", "claim-task", "complete-task", "heartbeat-worker", "manage-tasks", "query-tasks"];

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")))
}

/// A clock that is behind.
struct Behind(Arc<ManualClock>, Duration);

impl Clock for Behind {
    fn reading(&self) -> Reading {
        let reading = self.0.reading();
        Reading { now: reading.now.minus(self.1), ..reading }
    }
}

/// Which function serves a request.
fn function_of(method: &Method, path: &str) -> &'static str {
    let last = path.rsplit('/').next().unwrap_or_default();
    match (method.as_str(), last) {
        _ if path.contains("/schedules") || path.contains("/bulk") => "manage-tasks",
        ("GET", _) => "query-tasks",
        (_, "claims") => "claim-task",
        (_, "heartbeat") => "heartbeat-worker",
        (_, "complete" | "fail" | "release" | "endings") => "complete-task",
        (_, "cancel" | "limits") => "manage-tasks",
        _ => "create-task",
    }
}

/// What a machine is asked for.
enum Job {
    /// To have a function handle an event, and to tell its answer.
    Handle(Arc<Host>, String, oneshot::Sender<Value>),
    /// To end all that it is at.
    Kill,
}

/// A thread that functions run on: their futures stay where they were made.
#[derive(Clone)]
struct Machine(mpsc::UnboundedSender<Job>);

impl Machine {
    fn new() -> Self {
        let (sender, mut jobs) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let mut at: Vec<tokio::task::AbortHandle> = Vec::new();
                while let Some(job) = jobs.recv().await {
                    at.retain(|one| !one.is_finished());
                    match job {
                        Job::Handle(host, event, told) => {
                            let handling = tokio::task::spawn_local(async move {
                                if let Ok(answer) = host.handle(&event, &invocation("attack")).await {
                                    // Who asked may have gone.
                                    let _ = told.send(serde_json::to_value(answer).unwrap());
                                }
                            });
                            at.push(handling.abort_handle());
                        }
                        Job::Kill => at.drain(..).for_each(|at| at.abort()),
                    }
                }
            });
        });
        Self(sender)
    }

    /// Has a function handle an event; none if it fails or is killed.
    async fn handle(&self, host: Arc<Host>, event: String) -> Option<Value> {
        let (told, answer) = oneshot::channel();
        self.0.send(Job::Handle(host, event, told)).ok()?;
        answer.await.ok()
    }
}

/// What a set of functions is at present: its processes, if it lives, and the machine that they run on.
struct Alive {
    hosts: Mutex<BTreeMap<&'static str, Arc<Host>>>,
    machine: Machine,
}

impl Alive {
    async fn handle(&self, function: &str, event: String) -> Option<Value> {
        let host = Arc::clone(self.hosts.lock().unwrap().get(function)?);
        self.machine.handle(host, event).await
    }
}

/// A set of functions behind an API.
struct Functions {
    world: Arc<World>,
    faults: Faults,
    behind: Duration,
    alive: Arc<Alive>,
    url: Option<String>,
    /// Its API and its reaper's schedule.
    running: Vec<tokio::task::JoinHandle<()>>,
}

impl Functions {
    fn new(world: &Arc<World>, faults: &Faults, behind: Duration) -> Self {
        let (world, faults) = (Arc::clone(world), faults.clone());
        let alive = Arc::new(Alive { hosts: Mutex::default(), machine: Machine::new() });
        Self { world, faults, behind, alive, url: None, running: Vec::new() }
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        self.running.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn api(
    State(alive): State<Arc<Alive>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = uri.path_and_query().map_or("/", |asked| asked.as_str());
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut event = request(method.as_str(), asked, &body);
    if method == Method::GET {
        event.as_object_mut().unwrap().remove("body");
    }
    if let Some(key) = headers.get("idempotency-key") {
        event["headers"]["idempotency-key"] = json!(key.to_str().unwrap());
    }
    match alive.handle(function_of(&method, uri.path()), event.to_string()).await {
        Some(answer) => {
            let status =
                answer["statusCode"].as_u64().and_then(|code| StatusCode::from_u16(code as u16).ok());
            let body = answer["body"].as_str().unwrap_or_default().to_owned();
            (status.unwrap(), body).into_response()
        }
        // API Gateway says no more of a function that died.
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

impl Place for Functions {
    async fn start(&mut self, calm: bool) -> String {
        if calm {
            self.faults.switch(false);
        }
        let clock = || Arc::new(Behind(Arc::clone(&self.world.clock), self.behind)) as Arc<dyn Clock>;
        let names = SERVING.into_iter().chain(["reap-stale-workers"]);
        let hosts = names.map(|name| (name, Arc::new(self.world.function_at(name, clock())))).collect();
        *self.alive.hosts.lock().unwrap() = hosts;
        if let Some(url) = &self.url {
            return url.clone();
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(api).with_state(Arc::clone(&self.alive));
        self.running.push(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        let alive = Arc::clone(&self.alive);
        self.running.push(tokio::spawn(async move {
            loop {
                // Every 20 s of the functions' time.
                tokio::time::sleep(Duration::from_secs(20) / FASTER).await;
                alive.handle("reap-stale-workers", json!({"source": "aws.scheduler"}).to_string()).await;
            }
        }));
        self.url = Some(url.clone());
        url
    }

    async fn kill(&mut self) {
        self.alive.hosts.lock().unwrap().clear();
        self.alive.machine.0.send(Job::Kill).unwrap();
    }
}

/// The table's stream, from its beginning, as Lambda hands it to `relay-events`; and that function.
struct Relay {
    stream: TableStream,
    host: Arc<Host>,
    machine: Machine,
    open: Vec<Value>,
}

impl Relay {
    fn new(world: &Arc<World>) -> Self {
        let host = Arc::new(world.function("relay-events"));
        Self { stream: TableStream::of(&world.db), host, machine: Machine::new(), open: Vec::new() }
    }

    /// Relays a batch; false if there is nothing.
    async fn round(&mut self) -> bool {
        for mut record in self.stream.read() {
            record["eventSource"] = json!("aws:dynamodb");
            self.open.push(record);
        }
        if self.open.is_empty() {
            return false;
        }
        let batch = &self.open[..self.open.len().min(100)];
        let event = json!({ "Records": batch }).to_string();
        let done = match self.machine.handle(Arc::clone(&self.host), event).await {
            Some(answer) => {
                let undone = again(&answer).into_iter().next();
                let number =
                    |record: &Value| record["dynamodb"]["SequenceNumber"].as_str().map(str::to_owned);
                undone.map_or(batch.len(), |undone| {
                    batch.iter().position(|record| number(record) == Some(undone.clone())).unwrap_or(0)
                })
            }
            None => 0,
        };
        self.open.drain(..done);
        true
    }
}

/// The numbers of the events that the queue `task-events` was told of each task.
fn told(world: &World) -> BTreeMap<String, BTreeSet<u32>> {
    let mut told: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for message in world.queues.visible(TASK_EVENTS) {
        let event: Value = serde_json::from_str(&message.body).unwrap();
        let seq = event["data"]["event"]["seq"].as_u64().unwrap() as u32;
        told.entry(event["subject"].as_str().unwrap().to_owned()).or_default().insert(seq);
    }
    told
}

/// An error says what is broken.
async fn attack(seed: u64, behind: Duration) -> Result<(), String> {
    let faults = Faults::new(http_client(), seed, 12);
    faults.switch(false);
    let world = Arc::new(World::over(faults.client(), KeptBy::Stream).await);
    let mut relay = Relay::new(&world);
    faults.switch(true);
    let clock = Arc::clone(&world.clock);
    let ticking = tokio::spawn(async move {
        let mut last = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = tokio::time::Instant::now();
            clock.advance((now - last) * FASTER);
            last = now;
        }
    });
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let relayed = tokio::spawn(async move {
        while !*stopped.borrow_and_update() {
            if !relay.round().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        relay
    });

    let lasts = setting("BATON_ATTACK_SECONDS").map(Duration::from_secs);
    let limits = lasts.is_some() || behind > SHARED_ABOVE;
    // A long run comes to its end by no more than its producers create.
    let every = if lasts.is_some() { 60 } else { 1 };
    let plan =
        Plan { seed, kills: 4, lasts, workers: 6, producers: 3, lives: 300..1_200, pace: 60, limits, every };
    let places = [Duration::ZERO, behind].map(|behind| Functions::new(&world, &faults, behind));
    let mut outcome = run_places(plan.clone(), places.into(), false).await;
    stop.send(true).unwrap();
    let mut relay = relayed.await.unwrap();
    while relay.round().await {}
    ticking.abort();

    let told = told(&world);
    outcome.hold_against(&told);
    // What is counted is the question, and no longer whether an answer comes through.
    faults.switch(false);
    let (_, stats) =
        crate::world::send(&world.function("query-tasks"), "GET", "/v1/stats", json!(null)).await;
    let counted: u64 = stats["states"]
        .as_object()
        .unwrap_or_else(|| panic!("{stats}"))
        .values()
        .filter_map(Value::as_u64)
        .sum();
    if counted != outcome.events.len() as u64 {
        outcome.broken.push(format!("{counted} tasks are counted, there are {}", outcome.events.len()));
    }
    println!("{} ms behind, BATON_CHAOS_SEED={seed}: {outcome}", behind.as_millis());
    if outcome.broken.is_empty() && outcome.completed > 0 {
        return Ok(());
    }
    Err(format!("{behind:?}: {plan:?}\n{}", outcome.broken.join("\n")))
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_whose_clocks_differ_lose_and_repeat_nothing_however_they_are_killed() {
    let seed = setting("BATON_CHAOS_SEED").unwrap_or(7);
    let skews = setting("BATON_ATTACK_SKEW_MS").map_or(vec![500, 3_000, 60_000], |skew| vec![skew]);
    let mut broken = Vec::new();
    for skew in skews {
        broken.extend(attack(seed, Duration::from_millis(skew)).await.err());
    }
    assert!(broken.is_empty(), "{} attacks succeeded:\n{}", broken.len(), broken.join("\n"));
}
