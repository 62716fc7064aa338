//! Faults between the store and DynamoDB, drawn from a seed: for tests, under the SDK's HTTP client.
//!
//! Engines on one's own machine show none of what a busy table in a cloud does. This layer does: throttles, conflicts,
//! requests and answers that are lost, requests that arrive twice, batches done in part, and an index that trails. It
//! alters requests after they were signed, so that it works with engines only that do not look at signatures.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::random::Random;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The table is over its throughput: the request is not carried out.
    Throttled,
    /// Another transaction is at the item: the request is not carried out.
    Conflict,
    /// The request is lost on its way.
    LostRequest,
    /// The request is carried out, and its answer is lost.
    LostAnswer,
    /// DynamoDB fails after the request was carried out.
    ServerError,
    /// The request arrives twice, and the second answer is the one that comes back.
    Twice,
    /// Of a batch, only a part is done.
    PartOfBatch,
    /// The index answers as it did to the same question before.
    OldIndex,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 8] = [
        Self::Throttled,
        Self::Conflict,
        Self::LostRequest,
        Self::LostAnswer,
        Self::ServerError,
        Self::Twice,
        Self::PartOfBatch,
        Self::OldIndex,
    ];
}

/// An HTTP client that lets things go wrong.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

struct Shared {
    inner: SharedHttpClient,
    random: Mutex<Random>,
    /// One request in so many meets a fault; 0 for none.
    one_in: AtomicU64,
    on: AtomicBool,
    /// Faults that the next requests of an operation are to meet.
    ordered: Mutex<Vec<(String, Fault)>>,
    /// Operations whose next answer is held back.
    held: Mutex<Vec<(String, Hold)>>,
    injected: Mutex<HashMap<Fault, u64>>,
    /// Answers of the index by their questions.
    answers: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    /// Wraps an HTTP client: one request in `one_in` meets a fault.
    pub fn new(inner: SharedHttpClient, seed: u64, one_in: u64) -> Self {
        let shared = Shared {
            inner,
            random: Mutex::new(Random::new(seed)),
            one_in: AtomicU64::new(one_in),
            on: AtomicBool::new(true),
            ordered: Mutex::default(),
            held: Mutex::default(),
            injected: Mutex::default(),
            answers: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The client to give to the SDK.
    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// Switches faults on or off.
    pub fn switch(&self, on: bool) {
        self.shared.on.store(on, Ordering::SeqCst);
    }

    /// Has the next request of an operation, such as `UpdateItem`, meet a fault, whether faults are on or off.
    pub fn order(&self, operation: &str, fault: Fault) {
        lock(&self.shared.ordered).push((operation.to_owned(), fault));
    }

    /// Has the answer to the next request of an operation, such as `UpdateItem`, wait until it is let go of: what others do
    /// meanwhile comes after the request and before its sender knows of it.
    pub fn hold(&self, operation: &str) -> Held {
        let ((done, carried_out), (release, released)) = (oneshot::channel(), oneshot::channel());
        lock(&self.shared.held).push((operation.to_owned(), Hold { done, released }));
        Held { carried_out, release }
    }

    /// How often each fault has been met.
    pub fn injected(&self) -> HashMap<Fault, u64> {
        lock(&self.shared.injected).clone()
    }
}

impl HttpClient for Faults {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.shared.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector { inner, shared: Arc::clone(&self.shared) })
    }
}

/// An answer that is held back. It is let go of when this is dropped.
#[derive(Debug)]
pub struct Held {
    carried_out: oneshot::Receiver<()>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the request was carried out; what this gives back holds its answer until it is dropped.
    pub async fn carried_out(self) -> impl Send {
        let Self { carried_out, release } = self;
        // Its sender goes without a word only if the whole connection goes.
        let _known = carried_out.await;
        release
    }
}

/// The other end of an answer that is held back.
struct Hold {
    done: oneshot::Sender<()>,
    released: oneshot::Receiver<()>,
}

impl Hold {
    async fn wait(self) {
        // Either who waits or who holds may be gone: then nothing is held back.
        let _heard = self.done.send(());
        let _dropped = self.released.await;
    }
}

struct Connector {
    inner: SharedHttpConnector,
    shared: Arc<Shared>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faults::Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, shared) = (self.inner.clone(), Arc::clone(&self.shared));
        HttpConnectorFuture::new(async move {
            let hold = shared.hold_of(&operation_of(&request));
            let answer = shared.call(inner, request).await;
            if let Some(hold) = hold {
                hold.wait().await;
            }
            answer
        })
    }
}

/// The operation that a request asks for.
fn operation_of(request: &HttpRequest) -> String {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

impl Shared {
    /// What holds back the answer to a request of an operation.
    fn hold_of(&self, operation: &str) -> Option<Hold> {
        let mut held = lock(&self.held);
        let place = held.iter().position(|(wanted, _)| wanted == operation)?;
        Some(held.remove(place).1)
    }

    /// Draws the fault that a request meets, if any.
    fn draw(&self, operation: &str, body: &[u8]) -> Option<Fault> {
        let mut ordered = lock(&self.ordered);
        if let Some(place) = ordered.iter().position(|(wanted, _)| wanted == operation) {
            return Some(ordered.remove(place).1);
        }
        drop(ordered);
        let one_in = self.one_in.load(Ordering::SeqCst);
        if !self.on.load(Ordering::SeqCst) || one_in == 0 {
            return None;
        }
        let mut random = lock(&self.random);
        if !random.next().is_multiple_of(one_in) {
            return None;
        }
        let writes = matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems");
        let batch = matches!(operation, "BatchWriteItem" | "BatchGetItem");
        let index = operation == "Query" && contains(body, b"\"IndexName\"");
        let possible: Vec<_> = Fault::ALL
            .into_iter()
            .filter(|fault| match fault {
                Fault::Throttled | Fault::LostRequest | Fault::LostAnswer | Fault::ServerError => true,
                Fault::Conflict | Fault::Twice => writes,
                Fault::PartOfBatch => batch,
                Fault::OldIndex => index,
            })
            .collect();
        let place = usize::try_from(random.next() % possible.len() as u64).unwrap_or(0);
        possible.get(place).copied()
    }

    async fn call(
        &self,
        inner: SharedHttpConnector,
        mut request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let operation = operation_of(&request);
        let body = request.body().bytes().map(<[u8]>::to_vec).unwrap_or_default();
        let fault = self.draw(&operation, &body);
        let question = (operation == "Query" && contains(&body, b"\"IndexName\"")).then(|| body.clone());
        if let Some(fault) = fault {
            *lock(&self.injected).entry(fault).or_insert(0) += 1;
        }
        match fault {
            None => {}
            Some(Fault::Throttled) => {
                return Ok(refused(400, "ProvisionedThroughputExceededException", None));
            }
            Some(Fault::Conflict) if operation == "TransactWriteItems" => {
                let reasons =
                    json!([{"Code": "None"}, {"Code": "TransactionConflict", "Message": "in conflict"}]);
                return Ok(refused(400, "TransactionCanceledException", Some(reasons)));
            }
            Some(Fault::Conflict) => return Ok(refused(400, "TransactionConflictException", None)),
            Some(Fault::LostRequest) => return Err(lost("the request was lost")),
            Some(Fault::LostAnswer) => {
                inner.call(request).await?;
                return Err(lost("the answer was lost"));
            }
            Some(Fault::ServerError) => {
                inner.call(request).await?;
                return Ok(refused(500, "InternalServerError", None));
            }
            Some(Fault::Twice) => {
                if let Some(first) = request.try_clone() {
                    inner.call(first).await?;
                }
            }
            Some(Fault::PartOfBatch) => {
                if let Some((part, left)) = halves(&operation, &body) {
                    request.headers_mut().insert("content-length", part.len().to_string());
                    *request.body_mut() = SdkBody::from(part);
                    let answer = read(inner.call(request).await?).await?;
                    return Ok(with_left(&operation, &answer, left));
                }
            }
            Some(Fault::OldIndex) => {
                let old = lock(&self.answers).get(&body).cloned();
                if let Some(old) = old {
                    return Ok(answered(200, old));
                }
            }
        }
        let response = inner.call(request).await?;
        match question {
            Some(question) if self.on.load(Ordering::SeqCst) && response.status().is_success() => {
                let answer = read(response).await?;
                lock(&self.answers).insert(question, answer.clone());
                Ok(answered(200, answer))
            }
            _ => Ok(response),
        }
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

fn lost(what: &str) -> ConnectorError {
    ConnectorError::timeout(what.into())
}

async fn read(response: HttpResponse) -> Result<Vec<u8>, ConnectorError> {
    let body = ByteStream::new(response.into_body()).collect().await;
    Ok(body.map_err(|error| ConnectorError::io(error.into()))?.into_bytes().to_vec())
}

fn answered(status: u16, body: Vec<u8>) -> HttpResponse {
    let status = StatusCode::try_from(status).unwrap_or_else(|_| http::StatusCode::OK.into());
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    response
}

fn refused(status: u16, code: &str, reasons: Option<Value>) -> HttpResponse {
    let mut body =
        json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "injected"});
    if let Some(reasons) = reasons {
        body["CancellationReasons"] = reasons;
    }
    answered(status, body.to_string().into_bytes())
}

/// The first half of a batch as a request of its own, and the rest of it.
fn halves(operation: &str, body: &[u8]) -> Option<(Vec<u8>, Value)> {
    let mut whole: Value = serde_json::from_slice(body).ok()?;
    let mut left = whole["RequestItems"].clone();
    for (table, items) in whole["RequestItems"].as_object_mut()? {
        let (items, rest) = match operation {
            "BatchGetItem" => (items["Keys"].as_array_mut()?, left[table]["Keys"].as_array_mut()?),
            _ => (items.as_array_mut()?, left[table].as_array_mut()?),
        };
        if items.len() < 2 {
            return None;
        }
        let half = items.len() / 2;
        items.truncate(half);
        rest.drain(..half);
    }
    Some((whole.to_string().into_bytes(), left))
}

fn with_left(operation: &str, answer: &[u8], left: Value) -> HttpResponse {
    let mut answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let name = if operation == "BatchGetItem" { "UnprocessedKeys" } else { "UnprocessedItems" };
    answer[name] = left;
    answered(200, answer.to_string().into_bytes())
}
