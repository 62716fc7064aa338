//! A world for one test: a server, a gate before it, and a queue beside it. All of it ends with the test.

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
use baton_model::EventKind;
use baton_model::{Payload, Status, TaskId};
use baton_runtime::{Clock, LocalDoorbell, RandomIds, Settings, Shutdown, Sources, SystemClock};
use baton_store::{Doorbell, Store};
use baton_store_sqlite::{Options, SqliteStore};
use baton_worker::{Detour, Stop, Summary, WorkerError, WorkerOptions};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// How long anything may take before the test fails; generous, as nothing waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of the worker's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Road {
    Open,
    /// Each is answered with 503 by something that is not Baton.
    Cut,
    /// The server gets the ends of attempts, and its answers are lost; all else is cut.
    Deaf,
    /// The server takes all but the ends of attempts, as one whose store is out of reach.
    EndsCut,
    /// Each is answered with 403 by a gateway whose authorizer has refused the token, as API Gateway does.
    Forbidden,
    /// The ends of attempts are answered so, and nothing else.
    EndsForbidden,
    /// Each is answered with 401 by a gateway that has found no token, as API Gateway does.
    Unauthorized,
    /// Each is answered with 401 by the server, as after the token has ended.
    Ended,
    /// The server is one that does not know of several ends in one request.
    Older,
    /// The ends of attempts take their time, so that others end meanwhile.
    EndsSlow,
    /// The same, and the first answer to several ends in one request is lost.
    FirstEndingsLost,
    /// The first heartbeat that says that the worker ends is heard by the server when [`Gate::hear_goodbye`] says so.
    FirstGoodbyeLate,
    /// Whoever looks at the worker waits until [`Gate::hear_look`] says so.
    LooksLate,
    /// Of heartbeats, only those are heard that say that the worker ends; and of these, the first at once, the second when
    /// [`Gate::hear_goodbye`] says so.
    SecondGoodbyeLate,
    /// The first claim is heard by the server when [`Gate::hear_claim`] says so, whether its sender still waits or not.
    FirstClaimLate,
}

/// How long the ends of attempts take on a slow road.
const SLOW: Duration = Duration::from_millis(100);

/// A heartbeat without a list.
pub(crate) const UNLISTED: usize = usize::MAX;

pub(crate) struct Gate {
    pub(crate) road: Mutex<Road>,
    pub(crate) beats: AtomicU32,
    /// How many claims have come.
    pub(crate) claims: AtomicU32,
    /// How many requests have come that end one attempt.
    pub(crate) ends: AtomicU32,
    /// How many requests have come that end several.
    pub(crate) endings: AtomicU32,
    /// How many attempts the last heartbeat listed.
    pub(crate) listed: AtomicUsize,
    /// How many ends of attempts were answered with 403.
    pub(crate) forbidden: AtomicU32,
    /// How many requests were refused for their token.
    pub(crate) refused: AtomicU32,
    /// The claim that is held up.
    pub(crate) held: Mutex<Option<JoinHandle<()>>>,
    pub(crate) hear_claim: Arc<Notify>,
    /// How many heartbeats have said that the worker ends.
    pub(crate) goodbyes: AtomicU32,
    pub(crate) hear_goodbye: Notify,
    /// How many looks at the worker are held up, or were.
    pub(crate) looks: AtomicU32,
    pub(crate) hear_look: Notify,
}

impl Gate {
    /// Holds a claim up. It is the server's from then on, as one that is on its way when its sender goes.
    async fn hold_up(&self, request: Request, next: Next) -> Response {
        let (answer, answered) = oneshot::channel();
        let hear = Arc::clone(&self.hear_claim);
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        *self.held.lock().unwrap() = Some(tokio::spawn(async move {
            hear.notified().await;
            // Nobody may wait for it any more.
            let _ = answer.send(next.run(Request::from_parts(head, body.into())).await);
        }));
        answered.await.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
    }
}

async fn gate(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let road = *gate.road.lock().unwrap();
    let path = request.uri().path();
    let ends = ["/complete", "/fail", "/release", "/endings"].iter().any(|end| path.ends_with(end));
    let beats = path.ends_with("/heartbeat");
    let several = path == "/v1/endings";
    gate.claims.fetch_add(u32::from(path == "/v1/claims"), Ordering::SeqCst);
    gate.ends.fetch_add(u32::from(ends && !several), Ordering::SeqCst);
    let endings = gate.endings.fetch_add(u32::from(several), Ordering::SeqCst);
    if matches!(road, Road::Forbidden | Road::Unauthorized | Road::Ended) {
        gate.refused.fetch_add(1, Ordering::SeqCst);
    }
    match road {
        Road::Deaf if ends => {
            next.run(request).await;
            return (StatusCode::GATEWAY_TIMEOUT, "no answer").into_response();
        }
        Road::Cut | Road::Deaf => return (StatusCode::SERVICE_UNAVAILABLE, "no way").into_response(),
        Road::Older if several => {
            let problem = Problem::new(ProblemCode::RouteNotFound, "no route has the path /v1/endings");
            return (StatusCode::NOT_FOUND, axum::Json(problem)).into_response();
        }
        Road::EndsSlow | Road::FirstEndingsLost if ends => {
            let answer = next.run(request).await;
            tokio::time::sleep(SLOW).await;
            if several && endings == 0 && road == Road::FirstEndingsLost {
                return (StatusCode::GATEWAY_TIMEOUT, "no answer").into_response();
            }
            return answer;
        }
        Road::EndsCut if ends => {
            let problem = Problem::new(ProblemCode::StorageUnavailable, "no way; try again");
            return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(problem)).into_response();
        }
        Road::EndsForbidden if ends => {
            return (StatusCode::FORBIDDEN, r#"{"message":"Forbidden"}"#).into_response();
        }
        Road::Forbidden => {
            gate.forbidden.fetch_add(u32::from(ends), Ordering::SeqCst);
            return (StatusCode::FORBIDDEN, r#"{"message":"Forbidden"}"#).into_response();
        }
        Road::Unauthorized => {
            return (StatusCode::UNAUTHORIZED, r#"{"message":"Unauthorized"}"#).into_response();
        }
        Road::Ended => {
            let problem = Problem::new(ProblemCode::Unauthorized, "the token has ended; present another");
            return (StatusCode::UNAUTHORIZED, axum::Json(problem)).into_response();
        }
        Road::LooksLate if path == "/v1/workers/w" => {
            gate.looks.fetch_add(1, Ordering::SeqCst);
            gate.hear_look.notified().await;
        }
        Road::FirstClaimLate if path == "/v1/claims" && gate.held.lock().unwrap().is_none() => {
            return gate.hold_up(request, next).await;
        }
        Road::Open
        | Road::EndsCut
        | Road::EndsForbidden
        | Road::FirstClaimLate
        | Road::FirstGoodbyeLate
        | Road::SecondGoodbyeLate
        | Road::LooksLate
        | Road::Older
        | Road::EndsSlow
        | Road::FirstEndingsLost => {}
    }
    if !beats {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let beat: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let is_goodbye = beat["ending"] == true;
    if road == Road::SecondGoodbyeLate && !is_goodbye {
        return (StatusCode::SERVICE_UNAVAILABLE, "no way").into_response();
    }
    let before = gate.goodbyes.fetch_add(u32::from(is_goodbye), Ordering::SeqCst);
    if is_goodbye && matches!((road, before), (Road::FirstGoodbyeLate, 0) | (Road::SecondGoodbyeLate, 1)) {
        gate.hear_goodbye.notified().await;
    }
    let answer = next.run(Request::from_parts(head, body.into())).await;
    gate.listed.store(beat["running"].as_array().map_or(UNLISTED, Vec::len), Ordering::SeqCst);
    gate.beats.fetch_add(1, Ordering::SeqCst);
    answer
}

/// A queue that keeps what it is sent, unless it is down too.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) sent: Mutex<Vec<String>>,
    pub(crate) down: AtomicBool,
    pub(crate) refused: AtomicU32,
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
pub(crate) struct World {
    pub(crate) app: App,
    /// The server past the gate.
    pub(crate) client: Client,
    pub(crate) gate: Arc<Gate>,
    pub(crate) gated: String,
    pub(crate) queue: Arc<Queue>,
    pub(crate) folder: TempDir,
    pub(crate) shutdown: Shutdown,
    pub(crate) serving: Vec<JoinHandle<()>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let flags = [
            ("leases.heartbeat_interval_seconds", "0.1"),
            ("leases.forget_grace_seconds", "1"),
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
        let reaper = baton_reap_stale_workers::run_reaper(app.clone(), shutdown.clone());

        let inside = Router::new().fallback_service(baton_server::service(app.clone(), &settings).unwrap());
        let gate = Arc::new(Gate {
            road: Mutex::new(Road::Open),
            beats: AtomicU32::new(0),
            claims: AtomicU32::default(),
            ends: AtomicU32::default(),
            endings: AtomicU32::default(),
            listed: AtomicUsize::new(UNLISTED),
            forbidden: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            held: Mutex::default(),
            hear_claim: Arc::default(),
            goodbyes: AtomicU32::default(),
            hear_goodbye: Notify::new(),
            looks: AtomicU32::default(),
            hear_look: Notify::new(),
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

    pub(crate) fn road(&self, road: Road) {
        *self.gate.road.lock().unwrap() = road;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Creates a task whose params are the script that its worker runs.
    pub(crate) async fn create(&self, script: &str) -> TaskId {
        let params = Payload::from_value(&serde_json::Value::String(script.to_owned()));
        let task = CreateTask { params: Some(params), ..CreateTask::new("test".parse().unwrap()) };
        self.client.create_task(&task).await.unwrap().id
    }

    /// A script that says that it runs, waits until it may go on, and then does something.
    pub(crate) fn waiting(&self, name: &str, then: &str) -> String {
        let (started, go_on) = (self.path(&format!("{name}.started")), self.path("go-on"));
        format!(
            "touch {}; while [ ! -e {} ]; do sleep 0.02; done; {then}",
            started.display(),
            go_on.display()
        )
    }

    pub(crate) async fn started(&self, name: &str) {
        let file = self.path(&format!("{name}.started"));
        until("the program runs", async || file.exists().then_some(())).await;
    }

    pub(crate) fn go_on(&self) {
        std::fs::write(self.path("go-on"), "").unwrap();
    }

    /// Starts a worker behind the gate that runs each task's script.
    pub(crate) fn worker(&self, concurrency: u32) -> (Stop, JoinHandle<Result<Summary, WorkerError>>) {
        self.worker_with(concurrency, |_| {})
    }

    /// The same with other options.
    pub(crate) fn worker_with(
        &self,
        concurrency: u32,
        change: impl FnOnce(&mut WorkerOptions),
    ) -> (Stop, JoinHandle<Result<Summary, WorkerError>>) {
        let client = Client::new(&self.gated).unwrap();
        let command = ["sh", "-c", r#"eval "$(echo "$BATON_PARAMS" | sed 's/^"//; s/"$//; s/\\"/"/g')""#];
        let command = command.map(Into::into).to_vec();
        let mut options = WorkerOptions {
            concurrency,
            wait: Duration::from_millis(200),
            detour: Some(Arc::clone(&self.queue) as Arc<dyn Detour>),
            ..WorkerOptions::new("w".parse().unwrap(), command, Arc::new(SystemClock), Arc::new(RandomIds))
        };
        change(&mut options);
        let stop = Stop::new();
        (stop.clone(), tokio::spawn(baton_worker::run(client, options, stop)))
    }

    /// Waits until so many more heartbeats were answered. After two, the worker has heard what is asked of it now: the second began
    /// later.
    pub(crate) async fn beaten(&self, times: u32) {
        let before = self.gate.beats.load(Ordering::SeqCst);
        until("the worker has gone on beating", async || {
            (self.gate.beats.load(Ordering::SeqCst) >= before + times).then_some(())
        })
        .await;
    }

    /// How many requests were refused for their token.
    pub(crate) fn refused(&self) -> u32 {
        self.gate.refused.load(Ordering::SeqCst)
    }

    pub(crate) fn sent(&self) -> Vec<String> {
        self.queue.sent.lock().unwrap().clone()
    }

    pub(crate) async fn messages(&self, count: usize) {
        until("the messages are in the queue", async || (self.sent().len() >= count).then_some(())).await;
        assert_eq!(self.sent().len(), count);
    }

    /// Has the function behind the queue read all of it; each message must be taken.
    pub(crate) async fn read_queue(&self) {
        for (number, body) in self.sent().into_iter().enumerate() {
            baton_complete_task::end(&self.app, &Message { id: number.to_string(), body }).await.unwrap();
        }
    }

    pub(crate) async fn task(&self, id: TaskId) -> TaskDetailView {
        self.client.task(id).await.unwrap()
    }

    pub(crate) async fn becomes(&self, id: TaskId, status: Status) -> TaskDetailView {
        until("the task has its status", async || {
            let task = self.task(id).await;
            (task.task.status == status).then_some(task)
        })
        .await
    }

    /// The events of a task after its creation.
    pub(crate) async fn history(&self, id: TaskId) -> Vec<EventKind> {
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
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
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

pub(crate) async fn ended(worker: JoinHandle<Result<Summary, WorkerError>>) -> Summary {
    tokio::time::timeout(PATIENCE, worker).await.unwrap().unwrap().unwrap()
}
