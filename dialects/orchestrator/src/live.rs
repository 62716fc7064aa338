//! `/ws`: what is submitted, that something has changed, and an echo.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use baton_http::{App, Caller};
use baton_model::{ProjectId, QueueName, Task, Timestamp};
use baton_store::StoreError;
use serde_json::json;
use tokio::sync::{Mutex, broadcast};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::entry::Entry;
use crate::kept::queue;

/// How often it is looked whether something has changed. The answer is shared by all sockets.
const LOOK: Duration = Duration::from_millis(500);
/// How often a socket is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// How many submissions a socket may be behind before it is told only that there were some.
const BEHIND: usize = 256;
/// How long a client may take to take a message.
const SENDING: Duration = Duration::from_secs(10);

/// A task that was submitted.
#[derive(Clone, Debug)]
struct Submitted {
    queue: QueueName,
    project: ProjectId,
    text: String,
}

/// What all sockets hear.
#[derive(Debug)]
pub(crate) struct Board {
    submitted: broadcast::Sender<Arc<Submitted>>,
    seen: Mutex<Option<(Instant, Seen)>>,
}

/// What changes whenever a task does: how many tasks of the queue are in which state.
type Seen = Vec<(String, u64)>;

impl Board {
    pub(crate) fn new() -> Self {
        Self { submitted: broadcast::Sender::new(BEHIND), seen: Mutex::new(None) }
    }

    /// Tells all sockets of a new task.
    pub(crate) fn submitted(&self, task: &Task, entry: Entry) {
        let text = json!({ "type": "task_submitted", "task": entry }).to_string();
        let told = Submitted { queue: task.queue.clone(), project: task.project.clone(), text };
        // Nobody may listen.
        let _ = self.submitted.send(Arc::new(told));
    }

    /// How the queue looks, as of now or of a moment ago.
    async fn look(&self, app: &App) -> Result<Seen, StoreError> {
        let mut seen = self.seen.lock().await;
        if let Some((at, known)) = &*seen
            && at.elapsed() < LOOK / 2
        {
            return Ok(known.clone());
        }
        let stats = app.store.stats(app.now()).await?;
        let ours = stats.counts.into_iter().filter(|count| count.queue == queue());
        let now: Seen = ours
            .map(|count| {
                let kind = count.task_type.map(|kind| kind.to_string()).unwrap_or_default();
                (format!("{kind} {}", count.state), count.tasks)
            })
            .collect();
        *seen = Some((Instant::now(), now.clone()));
        Ok(now)
    }
}

/// Why a socket ends.
struct End;

/// Serves one socket until one of both sides ends it.
pub(crate) async fn serve(app: App, board: Arc<Board>, caller: Caller, mut socket: WebSocket) {
    let mut submitted = board.submitted.subscribe();
    let mut known = board.look(&app).await.unwrap_or_default();
    let mut look = interval(LOOK);
    let mut ping = interval(PING);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let going_on = tokio::select! {
            () = app.shutdown.wait() => Err(End),
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => say(&mut socket, format!("Echo: {text}")).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End),
                Some(Ok(_)) => Ok(()),
            },
            heard = submitted.recv() => match heard {
                Ok(task) if !caller.covers(&task.queue, &task.project) => Ok(()),
                Ok(task) => tell(&app, &caller, &mut socket, task.text.clone()).await,
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    tell(&app, &caller, &mut socket, changed(app.now())).await
                }
                Err(broadcast::error::RecvError::Closed) => Err(End),
            },
            _ = look.tick() => match board.look(&app).await {
                Ok(seen) if seen == known => Ok(()),
                Ok(seen) => {
                    known = seen;
                    tell(&app, &caller, &mut socket, changed(app.now())).await
                }
                Err(error) => {
                    tracing::warn!(%error, "what a socket is to be told of cannot be read");
                    Ok(())
                }
            },
            _ = ping.tick() => send(&mut socket, Message::Ping(Bytes::new())).await,
        };
        if going_on.is_err() {
            // A client that is gone hears nothing of it.
            let _ = send(&mut socket, Message::Close(None)).await;
            return;
        }
    }
}

/// That tasks have changed: a dashboard reads them anew.
fn changed(now: Timestamp) -> String {
    json!({ "type": "tasks_changed", "timestamp": crate::stamp::stamp(now) }).to_string()
}

/// Tells a client something, if its token is still good.
async fn tell(app: &App, caller: &Caller, socket: &mut WebSocket, text: String) -> Result<(), End> {
    caller.still_stands(app).await.map_err(|_| End)?;
    say(socket, text).await
}

async fn say(socket: &mut WebSocket, text: String) -> Result<(), End> {
    send(socket, Message::Text(text.into())).await
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), End> {
    match tokio::time::timeout(SENDING, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End),
    }
}
