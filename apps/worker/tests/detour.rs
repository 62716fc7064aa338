//! A worker whose way to the server is cut: what it has done arrives by the detour, once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows it in tests, but does not know their helpers"
)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use baton_api::create::CreateTask;
use baton_api::task::TaskDetailView;
use baton_api::{Problem, ProblemCode};
use baton_client::Client;
use baton_http::{App, Message};
use baton_model::EventKind::{self, AttemptFailed, Claimed, Completed, Released};
use baton_model::{Payload, Status, TaskId};
use baton_runtime::{Clock, LocalDoorbell, RandomIds, Settings, Shutdown, Sources, SystemClock};
use baton_store::{Doorbell, Store};
use baton_store_sqlite::{Options, SqliteStore};
use baton_worker::{Detour, Stop, Summary, WorkerError, WorkerOptions};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long anything may take before the test fails; generous, as nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of the worker's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    Open,
    /// Each is answered with 503 by something that is not Baton.
    Cut,
    /// The server gets the ends of attempts, and its answers are lost; all else is cut.
    Deaf,
    /// The server takes all but the ends of attempts, as one whose store is out of reach.
    EndsCut,
    /// Each is answered with 403 by something that is not Baton, as by a gateway whose authorizer has refused the token.
    Forbidden,
}

/// A heartbeat without a list.
const UNLISTED: usize = usize::MAX;

struct Gate {
    road: Mutex<Road>,
    beats: AtomicU32,
    /// How many attempts the last heartbeat listed.
    listed: AtomicUsize,
    /// How many ends of attempts were answered with 403.
    forbidden: AtomicU32,
}

async fn gate(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let road = *gate.road.lock().unwrap();
    let path = request.uri().path();
    let ends = ["/complete", "/fail", "/release"].iter().any(|end| path.ends_with(end));
    let beats = path.ends_with("/heartbeat");
    match road {
        Road::Deaf if ends => {
            next.run(request).await;
            return (StatusCode::GATEWAY_TIMEOUT, "no answer").into_response();
        }
        Road::Cut | Road::Deaf => return (StatusCode::SERVICE_UNAVAILABLE, "no way").into_response(),
        Road::EndsCut if ends => {
            let problem = Problem::new(ProblemCode::StorageUnavailable, "no way; try again");
            return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(problem)).into_response();
        }
        Road::Forbidden => {
            gate.forbidden.fetch_add(u32::from(ends), Ordering::SeqCst);
            return (StatusCode::FORBIDDEN, "Forbidden").into_response();
        }
        Road::Open | Road::EndsCut => {}
    }
    if !beats {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let beat: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let answer = next.run(Request::from_parts(head, body.into())).await;
    gate.listed.store(beat["running"].as_array().map_or(UNLISTED, Vec::len), Ordering::SeqCst);
    gate.beats.fetch_add(1, Ordering::SeqCst);
    answer
}

/// A queue that keeps what it is sent, unless it is down too.
#[derive(Default)]
struct Queue {
    sent: Mutex<Vec<String>>,
    down: AtomicBool,
    refused: AtomicU32,
}

#[async_trait]
impl Detour for Queue {
    async fn send(&self, message: String) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.down.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err("the queue is down".into());
        }
        self.sent.lock().unwrap().push(message);
        Ok(())
    }
}

/// A server, a gate before it, and a queue beside it; all of it ends with the test.
struct World {
    app: App,
    /// The server past the gate.
    client: Client,
    gate: Arc<Gate>,
    gated: String,
    queue: Arc<Queue>,
    folder: TempDir,
    shutdown: Shutdown,
    serving: Vec<JoinHandle<()>>,
}

impl World {
    async fn new() -> Self {
        let flags = [
            ("leases.heartbeat_interval_seconds", "0.1"),
            ("leases.forget_grace_seconds", "0.2"),
            ("reaper.interval_seconds", "0.1"),
        ];
        let flags = flags.map(|(key, value)| ("--set".to_owned(), key.to_owned(), value.to_owned()));
        let settings = Settings::load(&Sources { flags: flags.into(), ..Sources::default() }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let doorbell = LocalDoorbell::new(Arc::clone(&clock));
        let options = Options { policy: settings.leases, ..Options::default() };
        let rung = Arc::clone(&doorbell) as Arc<dyn Doorbell>;
        let store = SqliteStore::open(&folder.path().join("baton.db"), options, rung).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let app = App::configured(&settings, store, doorbell, clock, Arc::new(RandomIds));
        let shutdown = app.shutdown.clone();
        let reaper =
            baton_reap_stale_workers::run_reaper(app.clone(), settings.reaper_interval, shutdown.clone());

        let inside = Router::new().fallback_service(baton_server::service(app.clone(), &settings));
        let gate = Arc::new(Gate {
            road: Mutex::new(Road::Open),
            beats: AtomicU32::new(0),
            listed: AtomicUsize::new(UNLISTED),
            forbidden: AtomicU32::new(0),
        });
        let outside = inside.clone().layer(from_fn_with_state(Arc::clone(&gate), self::gate));
        let (past, inside) = serve(inside).await;
        let (gated, outside) = serve(outside).await;
        Self {
            app,
            client: Client::new(&past).unwrap(),
            gate,
            gated,
            queue: Arc::default(),
            folder,
            shutdown,
            serving: vec![inside, outside, tokio::spawn(reaper)],
        }
    }

    fn road(&self, road: Road) {
        *self.gate.road.lock().unwrap() = road;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Creates a task whose params are the script that its worker runs.
    async fn create(&self, script: &str) -> TaskId {
        let params = Payload::from_value(&serde_json::Value::String(script.to_owned()));
        let task = CreateTask { params: Some(params), ..CreateTask::new("test".parse().unwrap()) };
        self.client.create_task(&task).await.unwrap().id
    }

    /// A script that says that it runs, waits until it may go on, and then does something.
    fn waiting(&self, name: &str, then: &str) -> String {
        let (started, go_on) = (self.path(&format!("{name}.started")), self.path("go-on"));
        format!(
            "touch {}; while [ ! -e {} ]; do sleep 0.02; done; {then}",
            started.display(),
            go_on.display()
        )
    }

    async fn started(&self, name: &str) {
        let file = self.path(&format!("{name}.started"));
        until("the program runs", async || file.exists().then_some(())).await;
    }

    fn go_on(&self) {
        std::fs::write(self.path("go-on"), "").unwrap();
    }

    /// Starts a worker behind the gate that runs each task's script.
    fn worker(&self, concurrency: u32) -> (Stop, JoinHandle<Result<Summary, WorkerError>>) {
        let client = Client::new(&self.gated).unwrap();
        let command = ["sh", "-c", r#"eval "$(echo "$BATON_PARAMS" | sed 's/^"//; s/"$//; s/\\"/"/g')""#];
        let command = command.map(Into::into).to_vec();
        let options = WorkerOptions {
            concurrency,
            wait: Duration::from_millis(200),
            detour: Some(Arc::clone(&self.queue) as Arc<dyn Detour>),
            ..WorkerOptions::new("w".parse().unwrap(), command, Arc::new(SystemClock), Arc::new(RandomIds))
        };
        let stop = Stop::new();
        (stop.clone(), tokio::spawn(baton_worker::run(client, options, stop)))
    }

    fn sent(&self) -> Vec<String> {
        self.queue.sent.lock().unwrap().clone()
    }

    async fn messages(&self, count: usize) {
        until("the messages are in the queue", async || (self.sent().len() >= count).then_some(())).await;
        assert_eq!(self.sent().len(), count);
    }

    /// Has the function behind the queue read all of it; each message must be taken.
    async fn read_queue(&self) {
        for (number, body) in self.sent().into_iter().enumerate() {
            baton_complete_task::end(&self.app, &Message { id: number.to_string(), body }).await.unwrap();
        }
    }

    async fn task(&self, id: TaskId) -> TaskDetailView {
        self.client.task(id).await.unwrap()
    }

    async fn becomes(&self, id: TaskId, status: Status) -> TaskDetailView {
        until("the task has its status", async || {
            let task = self.task(id).await;
            (task.task.status == status).then_some(task)
        })
        .await
    }

    /// The events of a task after its creation.
    async fn history(&self, id: TaskId) -> Vec<EventKind> {
        self.task(id).await.history.iter().skip(1).map(|event| event.kind).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.begin();
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(router: Router) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

/// Looks again and again until there is an answer.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

async fn ended(worker: JoinHandle<Result<Summary, WorkerError>>) -> Summary {
    tokio::time::timeout(PATIENCE, worker).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn the_outcomes_of_an_outage_and_no_others_go_by_the_detour_and_each_is_applied_once() {
    let world = World::new().await;
    let (stop, worker) = world.worker(3);
    let before = world.create("echo 1").await;
    world.becomes(before, Status::Completed).await;
    let done = world.create(&world.waiting("done", r#"echo 2"#)).await;
    let failed = world.create(&world.waiting("failed", "echo no page >&2; exit 65")).await;
    let released = world.create(&world.waiting("released", "exit 75")).await;
    for name in ["done", "failed", "released"] {
        world.started(name).await;
    }

    world.road(Road::Cut);
    world.go_on();
    world.messages(3).await;
    world.read_queue().await;
    let completed = world.task(done).await;
    assert_eq!(completed.generation.unwrap().result.unwrap().as_str(), "2");
    assert_eq!(world.task(failed).await.task.error.unwrap().code.as_deref(), Some("exit_65"));
    assert_eq!(world.task(released).await.task.status, Status::Retry);
    // The queue may bring each a second time.
    world.read_queue().await;

    world.road(Road::Open);
    let after = world.create("echo 3").await;
    world.becomes(after, Status::Completed).await;
    // Each outcome is told to the server too, which knows it.
    world.gate.listed.store(UNLISTED, Ordering::SeqCst);
    until("the worker has settled all three", async || {
        (world.gate.listed.load(Ordering::SeqCst) == 0).then_some(())
    })
    .await;
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.claimed, summary.completed, summary.failed, summary.released), (5, 3, 1, 1));
    assert_eq!((summary.detoured, summary.unconfirmed), (3, 0));
    assert_eq!((summary.lost, summary.undelivered), (0, 0));
    assert_eq!(world.sent().len(), 3, "nothing but the outage went by the detour");
    assert_eq!(world.history(done).await, [Claimed, Completed]);
    assert_eq!(world.history(failed).await, [Claimed, AttemptFailed]);
    assert_eq!(world.history(released).await, [Claimed, Released]);
}

#[tokio::test]
async fn an_outcome_that_the_server_heard_too_is_one_and_the_task_that_its_answer_brought_is_run() {
    let world = World::new().await;
    let first = world.create(&world.waiting("first", "echo 1")).await;
    let (stop, worker) = world.worker(1);
    world.started("first").await;
    let second = world.create("echo 2").await;

    // The completion arrives and claims the second task; the worker hears of neither.
    world.road(Road::Deaf);
    world.go_on();
    world.becomes(second, Status::Running).await;
    world.messages(1).await;
    world.read_queue().await;
    world.road(Road::Open);
    world.becomes(second, Status::Completed).await;
    assert_eq!(world.history(first).await, [Claimed, Completed]);
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.completed, summary.detoured, summary.unconfirmed), (2, 1, 0));
    // It was run or given back, but never taken for forgotten, which would cost it an attempt.
    let history = world.history(second).await;
    assert!(history.iter().all(|kind| matches!(kind, Claimed | Released | Completed)), "{history:?}");
}

#[tokio::test]
async fn a_server_that_is_back_before_the_queue_is_read_does_not_take_the_task_for_forgotten() {
    let world = World::new().await;
    let id = world.create(&world.waiting("task", "echo 1")).await;
    let (stop, worker) = world.worker(1);
    world.started("task").await;
    world.road(Road::EndsCut);
    world.go_on();
    world.messages(1).await;
    // Far more beats than the grace for what a beat does not list, and rounds of the reaper meanwhile.
    let beats = world.gate.beats.load(Ordering::SeqCst);
    until("the worker has gone on beating", async || {
        (world.gate.beats.load(Ordering::SeqCst) > beats + 20).then_some(())
    })
    .await;
    assert_eq!(world.history(id).await, [Claimed], "the lease lives while the outcome is under way");
    assert_eq!(world.gate.listed.load(Ordering::SeqCst), 1);
    world.read_queue().await;
    assert_eq!(world.history(id).await, [Claimed, Completed]);
    // The beats say that the attempt has ended, and the slot has been free all the time.
    let next = world.create(&world.waiting("next", "true")).await;
    world.becomes(next, Status::Running).await;
    stop.stop();
    assert_eq!(ended(worker).await.detoured, 2, "the next task was given back by the detour");
}

#[tokio::test]
async fn while_the_queue_is_down_too_both_ways_are_tried_until_one_takes_the_outcome() {
    let world = World::new().await;
    let id = world.create(&world.waiting("task", "echo 1")).await;
    let (stop, worker) = world.worker(1);
    world.started("task").await;
    world.queue.down.store(true, Ordering::SeqCst);
    world.road(Road::Cut);
    world.go_on();
    until("the queue was tried", async || (world.queue.refused.load(Ordering::SeqCst) >= 1).then_some(()))
        .await;
    world.queue.down.store(false, Ordering::SeqCst);
    world.messages(1).await;
    world.read_queue().await;
    assert_eq!(world.history(id).await, [Claimed, Completed]);
    // It ends without the server: the outcome is safe.
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.detoured, summary.unconfirmed, summary.undelivered), (1, 1, 0));
    assert!(summary.to_string().ends_with("1 by the detour (1 not confirmed yet)"), "{summary}");
}

#[tokio::test]
async fn a_worker_that_is_to_stop_in_an_outage_gives_its_task_back_by_the_detour_at_once() {
    let world = World::new().await;
    let id = world.create(&world.waiting("task", "echo 1")).await;
    let (stop, worker) = world.worker(1);
    world.started("task").await;
    world.road(Road::Cut);
    stop.stop();
    let summary = ended(worker).await;
    assert_eq!((summary.detoured, summary.undelivered), (1, 0));
    world.read_queue().await;
    assert_eq!(world.history(id).await, [Claimed, Released]);
}

#[tokio::test]
async fn what_is_refused_takes_no_detour() {
    let world = World::new().await;
    let forbidden = world.create(&world.waiting("forbidden", "echo 1")).await;
    let (stop, worker) = world.worker(1);
    world.started("forbidden").await;
    world.road(Road::Forbidden);
    world.go_on();
    // The pauses before the sixth try sum up to 3.1 s at least: more than the patience with a server that is out of reach.
    until("the worker has asked again", async || {
        (world.gate.forbidden.load(Ordering::SeqCst) >= 6).then_some(())
    })
    .await;
    assert_eq!(world.sent(), Vec::<String>::new());
    world.road(Road::Open);
    world.becomes(forbidden, Status::Completed).await;

    // A refusal by the server itself: it has taken the worker's failure by another way meanwhile.
    std::fs::remove_file(world.path("go-on")).unwrap();
    let late = world.create(&world.waiting("late", "echo 1")).await;
    world.started("late").await;
    let message = format!(
        r#"{{"task_id":"{late}","failure":{{"worker_id":"w","attempt":1,"retryable":false,"error":{{"message":"no"}}}}}}"#
    );
    world.road(Road::Cut);
    baton_complete_task::end(&world.app, &Message { id: "1".into(), body: message }).await.unwrap();
    world.road(Road::Open);
    world.go_on();
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.completed, summary.lost, summary.detoured), (1, 1, 0));
    assert_eq!(world.history(late).await, [Claimed, AttemptFailed]);
}
