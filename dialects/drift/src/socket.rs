//! `/ws/client/{client_id}`: a client's socket, of which it may have two at once.
//!
//! A socket holds the tasks that were given over it. When it closes, those go back whose end was not told; what the client holds
//! otherwise stays with it, as it goes on over HTTP or another socket.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use baton_http::ApiError;
use baton_model::{Directive, TaskId, WorkerId};
use serde_json::{Map, Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{self, Client};
use crate::drift::Drift;
use crate::end::{self, Done};
use crate::give::{give, give_back};
use crate::kept::given;
use crate::watch;

/// How often a client is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// How often it is looked whether there is a task for a client that had asked for one in vain.
const LOOK: Duration = Duration::from_secs(1);
/// How long a client may take to take a message.
const SENDING: Duration = Duration::from_secs(10);
/// The close code for a client that is not registered.
const UNKNOWN: u16 = 4004;
/// What stands for a result that is missing: no text of hexadecimal digits.
const NO_RESULT: &str = "-";
/// How often it is tried to store what a client tells: it never tells it again.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Why a socket ends.
enum End {
    /// The client is gone, or takes nothing.
    Gone,
    /// It is told why.
    Told(CloseFrame),
}

/// What happens next.
enum Next {
    Stop,
    Heard(Option<Result<Message, axum::Error>>),
    Ping,
    Look,
}

struct Socket<'a> {
    drift: &'a Drift,
    client: Client,
    stream: WebSocket,
    /// The tasks that were given over it and have not ended, with their attempts.
    held: BTreeMap<TaskId, u32>,
    /// Whether the client has asked for a task in vain.
    waits: bool,
}

/// Serves one socket until one of both sides ends it.
pub(crate) async fn serve(drift: Drift, id: String, mut stream: WebSocket) {
    let known = match id.parse::<WorkerId>() {
        Ok(id) => client::registered(&drift, &id).await,
        Err(_) => Ok(None),
    };
    let client = match known {
        Ok(Some(found)) => found.client(),
        Ok(None) => return close(&mut stream, Some(not_registered())).await,
        Err(error) => {
            tracing::warn!(error = error.report(), "a client that connects could not be looked up");
            return close(&mut stream, Some(frame(1011, "Try again later"))).await;
        }
    };
    let mut socket = Socket { drift: &drift, client, stream, held: BTreeMap::new(), waits: false };
    let end = socket.run().await;
    let frame = match end {
        End::Gone => None,
        End::Told(frame) => Some(frame),
    };
    close(&mut socket.stream, frame).await;
    for (task, attempt) in std::mem::take(&mut socket.held) {
        let reason = "the client's socket has closed";
        if let Err(error) = give_back(&drift, &socket.client, (task, attempt), reason).await {
            // Its lease ends it.
            tracing::warn!(task_id = %task, detail = error.problem().detail, "a task of a closed socket could not be given back");
        }
    }
}

fn frame(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}

fn not_registered() -> CloseFrame {
    frame(UNKNOWN, "Client not registered")
}

async fn close(stream: &mut WebSocket, frame: Option<CloseFrame>) {
    // A client that is gone hears nothing of it.
    let _ = tokio::time::timeout(SENDING, stream.send(Message::Close(frame))).await;
}

impl Socket<'_> {
    async fn run(&mut self) -> End {
        if let Err(end) = self.listen().await {
            return end;
        }
        let mut ping = interval(PING);
        let mut look = interval(LOOK);
        for ticks in [&mut ping, &mut look] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        // The first tick is at once.
        ping.tick().await;
        loop {
            // What is done is not broken off by what comes meanwhile: a task that was claimed must be sent.
            let next = tokio::select! {
                () = self.drift.app.shutdown.wait() => Next::Stop,
                message = self.stream.recv() => Next::Heard(message),
                _ = ping.tick() => Next::Ping,
                _ = look.tick(), if self.waits => Next::Look,
            };
            let going_on = match next {
                Next::Stop => self.stop().await,
                Next::Heard(Some(Ok(Message::Text(text)))) => self.hear(&text).await,
                Next::Heard(Some(Ok(Message::Close(_)) | Err(_)) | None) => Err(End::Gone),
                Next::Heard(Some(Ok(_))) => Ok(()),
                Next::Ping => self.say(json!({ "type": "ping", "timestamp": self.timestamp() })).await,
                Next::Look => self.offer(false).await,
            };
            if let Err(end) = going_on {
                return end;
            }
        }
    }

    fn timestamp(&self) -> String {
        self.drift.app.now().isoformat()
    }

    async fn stop(&mut self) -> Result<(), End> {
        let message = "The server is restarting; it will be back in a moment";
        self.say(json!({ "type": "system_announcement", "message": message })).await?;
        Err(End::Told(frame(1001, "Server is going away")))
    }

    /// Hears a client live: it is still registered, and nobody has asked it to stop.
    async fn listen(&mut self) -> Result<(), End> {
        match client::registered(self.drift, &self.client.id).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(End::Told(not_registered())),
            // The word counts all the same, if it can be stored.
            Err(error) => {
                tracing::warn!(error = error.report(), "a client that speaks could not be looked up")
            }
        }
        match watch::hear(self.drift, &self.client).await {
            Ok(Directive::Stop) => Err(End::Told(frame(1000, "Stopped by an operator"))),
            Ok(Directive::Run | Directive::Drain) => Ok(()),
            Err(error) => {
                tracing::warn!(detail = error.problem().detail, "a client's sign of life could not be noted");
                Ok(())
            }
        }
    }

    async fn hear(&mut self, text: &str) -> Result<(), End> {
        self.listen().await?;
        let Ok(Value::Object(said)) = serde_json::from_str::<Value>(text) else {
            tracing::debug!(client = %self.client.alias(), "a client's message is no JSON object");
            return Ok(());
        };
        match said.get("type").and_then(Value::as_str).unwrap_or_default() {
            "heartbeat" => self.say(json!({ "type": "heartbeat_ack", "timestamp": self.timestamp() })).await,
            "task_request" => self.offer(true).await,
            "task_completed" => self.completed(&said).await,
            "task_failed" => self.failed(&said).await,
            // A pong is a sign of life, and so is what this version does not know.
            _ => Ok(()),
        }
    }

    /// Gives the client a task if there is one. Who has asked is told if there is none, and is given the next one.
    async fn offer(&mut self, asked: bool) -> Result<(), End> {
        match give(self.drift, &self.client).await {
            Ok(Some(task)) => {
                self.waits = false;
                self.held.insert(task.id, task.attempt);
                let sent = self.say(json!({ "type": "task_assignment", "task": given(&task) })).await;
                if sent.is_err() {
                    // It was never told.
                    self.drift.present.ends(&self.client.id, task.id);
                }
                sent
            }
            Ok(None) => self.nothing(asked).await,
            Err(error) => {
                tracing::warn!(detail = error.problem().detail, "a client could not be given a task");
                self.nothing(asked).await
            }
        }
    }

    async fn nothing(&mut self, asked: bool) -> Result<(), End> {
        self.waits = true;
        if asked { self.say(json!({ "type": "no_tasks_available" })).await } else { Ok(()) }
    }

    async fn completed(&mut self, said: &Map<String, Value>) -> Result<(), End> {
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_result = said.get("result_data").is_some_and(Value::is_string);
        let done = Done {
            task: text("task_id"),
            result: if is_result { text("result_data") } else { NO_RESULT.to_owned() },
            execution_time: said.get("execution_time").and_then(Value::as_f64),
            metadata: said.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default(),
        };
        let success = match persist(|| end::complete(self.drift, &self.client, &done)).await {
            Ok(taken) => {
                self.forget(&done.task);
                taken
            }
            Err(error) => {
                tracing::error!(
                    task_id = done.task,
                    detail = error.problem().detail,
                    "a result could not be stored"
                );
                false
            }
        };
        self.say(json!({ "type": "task_completion_ack", "task_id": said.get("task_id"), "success": success }))
            .await
    }

    async fn failed(&mut self, said: &Map<String, Value>) -> Result<(), End> {
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        let (task, error) = (text("task_id"), text("error"));
        match persist(|| end::fail(self.drift, &self.client, task, error)).await {
            Ok(_) => self.forget(task),
            Err(error) => {
                tracing::error!(
                    task_id = task,
                    detail = error.problem().detail,
                    "a failure could not be stored"
                );
            }
        }
        self.say(json!({ "type": "task_failure_ack", "task_id": said.get("task_id") })).await
    }

    fn forget(&mut self, task: &str) {
        if let Ok(task) = task.parse() {
            self.held.remove(&task);
        }
    }

    async fn say(&mut self, message: Value) -> Result<(), End> {
        let sent = self.stream.send(Message::Text(message.to_string().into()));
        match tokio::time::timeout(SENDING, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}

/// Tries again what the store cannot take for the moment.
async fn persist<F: Future<Output = Result<bool, ApiError>>>(ask: impl Fn() -> F) -> Result<bool, ApiError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match ask().await {
            Err(error) if error.code().status() == 503 => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            other => return other,
        }
    }
    ask().await
}
