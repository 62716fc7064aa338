//! One virtual client: one connection, one request at a time, each timed and checked.

use std::time::{Duration, Instant};

use baton_model::TokenSecret;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::exit::Failure;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Livez,
    Create,
    Claim,
    Complete,
    /// A completion that carries a claim.
    CompleteAndClaim,
    /// Tasks by the hundred.
    CreateBatch,
    /// Ends by the hundred, and a claim for as many.
    EndAndClaim,
    /// A create, from when it was meant to be sent.
    FromItsTime,
    /// A waiting claim, from when the create of what it gets was answered.
    Start,
    /// A list, or figures.
    Look,
    Beat,
    /// Events that somebody waits for.
    Listen,
}

impl Operation {
    pub(crate) const ALL: [Self; 12] = [
        Self::Livez,
        Self::Create,
        Self::Claim,
        Self::Complete,
        Self::CompleteAndClaim,
        Self::CreateBatch,
        Self::EndAndClaim,
        Self::FromItsTime,
        Self::Start,
        Self::Look,
        Self::Beat,
        Self::Listen,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Livez => "livez",
            Self::Create => "create",
            Self::Claim => "claim",
            Self::Complete => "complete",
            Self::CompleteAndClaim => "complete+claim",
            Self::CreateBatch => "create by 100",
            Self::EndAndClaim => "end+claim by 100",
            Self::FromItsTime => "create from its time",
            Self::Start => "start",
            Self::Look => "look",
            Self::Beat => "heartbeat",
            Self::Listen => "listen",
        }
    }
}

/// A task that this client holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) attempt: u32,
}

pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    worker: String,
    pub(super) queue: String,
    /// What the names of its claims begin with, if they have any: its own, as a name that was used before gives no
    /// new task.
    claim_names: Option<String>,
    claims: u64,
    /// How long each request took, in microseconds.
    pub(crate) times: Vec<(Operation, u32)>,
    /// What was given to this client.
    pub(crate) given: Vec<(String, u32)>,
    pub(crate) lifecycles: u64,
}

#[derive(Deserialize)]
struct Claimed {
    tasks: Vec<ClaimedTask>,
}

#[derive(Deserialize)]
struct ClaimedTask {
    id: String,
    attempt: u32,
}

#[derive(Deserialize)]
struct Completed {
    status: String,
    next: Option<Claimed>,
}

impl Client {
    pub(crate) async fn connect(
        url: &str,
        worker: String,
        queue: String,
        named_claims: bool,
        token: Option<&TokenSecret>,
    ) -> Result<Self, Failure> {
        let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let failed = |error: String| Failure::failed(format!("cannot connect to {address}: {error}"));
        let stream = TcpStream::connect(address).await.map_err(|error| failed(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
        tokio::spawn(async move {
            // A broken connection shows as the failure of the next request.
            let _ = connection.await;
        });
        let host = HeaderValue::from_str(address).map_err(|error| failed(error.to_string()))?;
        let authorization = token.map(|token| HeaderValue::try_from(format!("Bearer {}", token.reveal())));
        let authorization = authorization.transpose().map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            sender,
            host,
            authorization,
            worker,
            queue,
            claim_names: named_claims.then(|| format!("{:016x}", rand::random::<u64>())),
            claims: 0,
            times: Vec::new(),
            given: Vec::new(),
            lifecycles: 0,
        })
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let failed = |error: String| Failure::failed(format!("{path}: {error}"));
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.host.clone());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|error| failed(error.to_string()))?;
        self.sender.ready().await.map_err(|error| failed(error.to_string()))?;
        let answer = self.sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| failed(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    /// Sends a request that counts, and expects this status.
    async fn timed(
        &mut self,
        operation: Operation,
        method: Method,
        path: &str,
        body: String,
        expected: StatusCode,
    ) -> Result<Bytes, Failure> {
        let begun = Instant::now();
        let (status, answer) = self.send(method, path, body).await?;
        let micros = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.times.push((operation, micros));
        if status != expected {
            let told = String::from_utf8_lossy(&answer);
            return Err(Failure::failed(format!("{path}: expected {expected}, got {status}: {told}")));
        }
        Ok(answer)
    }

    /// Sends a request that makes or ends many tasks and counts; gives the answer.
    pub(super) async fn many(
        &mut self,
        operation: Operation,
        path: &str,
        body: String,
        expected: StatusCode,
    ) -> Result<Bytes, Failure> {
        self.timed(operation, Method::POST, path, body, expected).await
    }

    /// A request that does nothing.
    pub(crate) async fn livez(&mut self) -> Result<(), Failure> {
        self.timed(Operation::Livez, Method::GET, "/livez", String::new(), StatusCode::OK).await.map(drop)
    }

    pub(crate) async fn create(&mut self) -> Result<(), Failure> {
        let body = format!(
            r#"{{"type":"bench","queue":"{}","params":{{"file":"in/0001.png","width":320}},"domain":"bench"}}"#,
            self.queue
        );
        self.timed(Operation::Create, Method::POST, "/v1/tasks", body, StatusCode::CREATED).await.map(drop)
    }

    /// Creates `tasks` tasks in one request, which does not count.
    pub(crate) async fn create_batch(&mut self, tasks: u64) -> Result<(), Failure> {
        let task = format!(
            r#"{{"type":"bench","queue":"{}","params":{{"file":"in/0001.png","width":320}}}}"#,
            self.queue
        );
        let tasks = vec![task; usize::try_from(tasks).unwrap_or(0)].join(",");
        let (status, answer) =
            self.send(Method::POST, "/v1/tasks/batch", format!(r#"{{"tasks":[{tasks}]}}"#)).await?;
        if status.is_success() {
            return Ok(());
        }
        Err(Failure::failed(format!("/v1/tasks/batch: got {status}: {}", String::from_utf8_lossy(&answer))))
    }

    /// The same for up to `tasks`.
    pub(super) fn claim_of(&mut self, tasks: usize) -> String {
        let one = self.claim_body();
        let (head, _) = one.split_at(one.len() - 1);
        format!(r#"{head},"max_tasks":{tasks},"capacity":{tasks}}}"#)
    }

    fn claim_body(&mut self) -> String {
        self.claims += 1;
        let name =
            self.claim_names.as_ref().map(|names| format!(r#","request_id":"{names}.{}""#, self.claims));
        let name = name.unwrap_or_default();
        format!(r#"{{"worker_id":"{}","queues":["{}"],"lease_seconds":600{name}}}"#, self.worker, self.queue)
    }

    /// Claims one task; none if none waits.
    pub(crate) async fn claim(&mut self) -> Result<Option<Held>, Failure> {
        let body = self.claim_body();
        let answer = self.timed(Operation::Claim, Method::POST, "/v1/claims", body, StatusCode::OK).await?;
        Ok(self.held(read(&answer)?))
    }

    /// Claims one task, and waits so many seconds for it if there is none.
    pub(super) async fn claim_waiting(&mut self, seconds: u32) -> Result<Option<Held>, Failure> {
        let body = self.claim_body();
        let (head, _) = body.split_at(body.len() - 1);
        let body = format!(r#"{head},"wait_seconds":{seconds}}}"#);
        let (status, answer) = self.send(Method::POST, "/v1/claims", body).await?;
        if status != StatusCode::OK {
            let told = String::from_utf8_lossy(&answer);
            return Err(Failure::failed(format!("/v1/claims: expected 200 OK, got {status}: {told}")));
        }
        Ok(self.held(read(&answer)?))
    }

    /// Creates a task and gives its id.
    pub(super) async fn create_known(&mut self) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Created {
            id: String,
        }
        let body = format!(
            r#"{{"type":"bench","queue":"{}","params":{{"file":"in/0001.png","width":320}},"domain":"bench"}}"#,
            self.queue
        );
        let answer =
            self.timed(Operation::Create, Method::POST, "/v1/tasks", body, StatusCode::CREATED).await?;
        Ok(read::<Created>(&answer)?.id)
    }

    /// Notes how long something took that is no request by itself.
    pub(super) fn note(&mut self, operation: Operation, took: Duration) {
        self.times.push((operation, u32::try_from(took.as_micros()).unwrap_or(u32::MAX)));
    }

    /// Asks for a list or for figures.
    pub(super) async fn look(&mut self, path: &str) -> Result<(), Failure> {
        self.timed(Operation::Look, Method::GET, path, String::new(), StatusCode::OK).await.map(drop)
    }

    /// Beats for one of the workers of this client.
    pub(super) async fn beat(&mut self, number: u32) -> Result<(), Failure> {
        let path = format!("/v1/workers/{}-beats-{number}/heartbeat", self.worker);
        let body = r#"{"readings":{"vram_free_mib":8000}}"#.to_owned();
        self.timed(Operation::Beat, Method::POST, &path, body, StatusCode::OK).await.map(drop)
    }

    /// Waits for events behind the one of this id, or from now on; gives the id of the last one.
    pub(super) async fn listen(&mut self, after: Option<u64>) -> Result<Option<u64>, Failure> {
        #[derive(Deserialize)]
        struct Events {
            last_id: u64,
        }
        let behind = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let path = format!("/v1/events?wait=1s&limit=1000{behind}");
        let answer = self.timed(Operation::Listen, Method::GET, &path, String::new(), StatusCode::OK).await?;
        Ok(Some(read::<Events>(&answer)?.last_id))
    }

    pub(crate) async fn complete(&mut self, held: &Held) -> Result<(), Failure> {
        let body = self.completion(held, "");
        let path = format!("/v1/tasks/{}/complete", held.id);
        let answer = self.timed(Operation::Complete, Method::POST, &path, body, StatusCode::OK).await?;
        self.completed(held, &read(&answer)?)
    }

    /// Completes a task and claims the next in the same request.
    pub(crate) async fn complete_and_claim(&mut self, held: &Held) -> Result<Option<Held>, Failure> {
        let claim = self.claim_body();
        let body = self.completion(held, &format!(r#","claim":{claim}"#));
        let path = format!("/v1/tasks/{}/complete", held.id);
        let answer =
            self.timed(Operation::CompleteAndClaim, Method::POST, &path, body, StatusCode::OK).await?;
        let answer: Completed = read(&answer)?;
        self.completed(held, &answer)?;
        Ok(answer.next.and_then(|next| self.held(next)))
    }

    pub(super) fn completion(&self, held: &Held, more: &str) -> String {
        format!(
            r#"{{"worker_id":"{}","attempt":{},"location":"out/0001.png","kind":"image/png","result":{{"ok":true}}{more}}}"#,
            self.worker, held.attempt
        )
    }

    fn completed(&mut self, held: &Held, answer: &Completed) -> Result<(), Failure> {
        if answer.status != "completed" {
            return Err(Failure::failed(format!(
                "task {}: expected completed, got {}",
                held.id, answer.status
            )));
        }
        self.lifecycles += 1;
        Ok(())
    }

    fn held(&mut self, claimed: Claimed) -> Option<Held> {
        let task = claimed.tasks.into_iter().next()?;
        self.given.push((task.id.clone(), task.attempt));
        Some(Held { id: task.id, attempt: task.attempt })
    }
}

fn read<'a, T: Deserialize<'a>>(answer: &'a Bytes) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| {
        Failure::failed(format!("an answer does not fit: {error}: {}", String::from_utf8_lossy(answer)))
    })
}
