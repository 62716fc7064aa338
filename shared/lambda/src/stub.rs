//! Stand-ins for what surrounds a function on AWS, for tests and measurements: Lambda's Runtime API on a port of this
//! machine, and queues in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use baton_runtime::{Clock, SystemClock};
use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::queues::{Outgoing, QueueError, Queues, Received};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a function made of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Its answer.
    Answer(Value),
    /// The error that it told: the invocation has failed.
    Error(Value),
}

/// Lambda's Runtime API (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>) for one function.
#[derive(Debug)]
pub struct RuntimeApi {
    addr: SocketAddr,
    events: mpsc::UnboundedSender<(String, String)>,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<(String, String)>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    polls: AtomicU64,
    polled: Notify,
    count: AtomicU64,
}

impl RuntimeApi {
    /// Listens on any free port.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let (events, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            events: tokio::sync::Mutex::new(receiver),
            waiting: Mutex::default(),
            polls: AtomicU64::new(0),
            polled: Notify::new(),
            count: AtomicU64::new(0),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            // It ends with the test that started it.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { addr, events, shared, serving })
    }

    /// The variables that Lambda sets for a function of this name, without region and credentials of an account.
    pub fn environment(&self, function: &str) -> Vec<(String, String)> {
        [
            ("AWS_LAMBDA_RUNTIME_API", self.addr.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", function.to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Waits until the function has asked for an event.
    pub async fn polled(&self) {
        loop {
            let polled = self.shared.polled.notified();
            if self.shared.polls.load(Ordering::SeqCst) > 0 {
                return;
            }
            polled.await;
        }
    }

    /// Gives the function an event; none if it ended without a word.
    pub async fn invoke(&self, event: &Value) -> Option<Outcome> {
        let id = format!("stub-{}", self.shared.count.fetch_add(1, Ordering::SeqCst));
        let (told, outcome) = oneshot::channel();
        lock(&self.shared.waiting).insert(id.clone(), told);
        self.events.send((id, event.to_string())).ok()?;
        outcome.await.ok()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    shared.polls.fetch_add(1, Ordering::SeqCst);
    shared.polled.notify_waiters();
    let Some((id, event)) = shared.events.lock().await.recv().await else {
        return http::StatusCode::GONE.into_response();
    };
    let deadline = SystemClock.now().plus(Duration::from_secs(30)).as_millis();
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:stub".to_owned(),
        ),
        ("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000".to_owned()),
    ];
    (headers, event).into_response()
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    body: Bytes,
) -> http::StatusCode {
    tell(&shared, &id, Outcome::Answer(serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

async fn error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> http::StatusCode {
    tell(&shared, &id, Outcome::Error(serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

fn tell(shared: &Shared, id: &str, outcome: Outcome) -> http::StatusCode {
    match lock(&shared.waiting).remove(id) {
        Some(told) => {
            // Who asked may have gone.
            let _ = told.send(outcome);
            http::StatusCode::ACCEPTED
        }
        None => http::StatusCode::BAD_REQUEST,
    }
}

/// Queues in memory. A message that was received stays hidden until it is released or deleted.
#[derive(Debug, Default)]
pub struct MemoryQueues {
    queues: Mutex<BTreeMap<String, Held>>,
    refusing: Mutex<BTreeSet<String>>,
    arrived: Notify,
    receipts: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    visible: VecDeque<Kept>,
    hidden: HashMap<String, Kept>,
}

/// A message, and how often it was received.
#[derive(Debug)]
struct Kept {
    message: Outgoing,
    times: u32,
}

impl MemoryQueues {
    /// All messages of a queue that are visible, which it keeps.
    pub fn visible(&self, queue: &str) -> Vec<Outgoing> {
        lock(&self.queues)
            .get(queue)
            .map(|held| held.visible.iter().map(|kept| kept.message.clone()).collect())
            .unwrap_or_default()
    }

    /// How many messages of a queue are being looked at.
    pub fn hidden(&self, queue: &str) -> usize {
        lock(&self.queues).get(queue).map_or(0, |held| held.hidden.len())
    }

    /// Has a queue refuse what is sent to it, or take it again.
    pub fn refuse(&self, queue: &str, refuses: bool) {
        let mut refusing = lock(&self.refusing);
        if refuses {
            refusing.insert(queue.to_owned());
        } else {
            refusing.remove(queue);
        }
    }

    fn take(&self, queue: &str, most: usize) -> Vec<Received> {
        let mut queues = lock(&self.queues);
        let held = queues.entry(queue.to_owned()).or_default();
        let several = held.visible.len().min(most.clamp(1, 10));
        let taken: Vec<Kept> = held.visible.drain(..several).collect();
        taken
            .into_iter()
            .map(|Kept { message, times }| {
                let receipt = self.receipts.fetch_add(1, Ordering::SeqCst).to_string();
                let times = times.saturating_add(1);
                let received = Received { receipt: receipt.clone(), body: message.body.clone(), times };
                held.hidden.insert(receipt, Kept { message, times });
                received
            })
            .collect()
    }
}

#[async_trait]
impl Queues for MemoryQueues {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), QueueError>> {
        if lock(&self.refusing).contains(queue) {
            return messages.iter().map(|_| Err(QueueError("refused".to_owned()))).collect();
        }
        let new = messages.iter().map(|message| Kept { message: message.clone(), times: 0 });
        lock(&self.queues).entry(queue.to_owned()).or_default().visible.extend(new);
        self.arrived.notify_waiters();
        vec![Ok(()); messages.len()]
    }

    async fn receive(&self, queue: &str, most: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let arrived = self.arrived.notified();
            let taken = self.take(queue, most);
            if !taken.is_empty() || tokio::time::timeout_at(deadline, arrived).await.is_err() {
                return Ok(taken);
            }
        }
    }

    async fn delete(&self, queue: &str, receipts: &[String]) -> Result<(), QueueError> {
        let mut queues = lock(&self.queues);
        let held = queues.entry(queue.to_owned()).or_default();
        receipts.iter().for_each(|receipt| drop(held.hidden.remove(receipt)));
        Ok(())
    }

    async fn release(&self, queue: &str, receipts: &[String]) -> Result<(), QueueError> {
        let mut queues = lock(&self.queues);
        let held = queues.entry(queue.to_owned()).or_default();
        held.visible.extend(receipts.iter().filter_map(|receipt| held.hidden.remove(receipt)));
        drop(queues);
        self.arrived.notify_waiters();
        Ok(())
    }
}
