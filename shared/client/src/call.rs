//! One request: sent, repeated where that is safe, and its answer read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_api::Problem;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Client;
use crate::error::ClientError;

/// The pause before the first repetition; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before a repetition.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// When a request may be sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Whenever no answer came: a second sending changes nothing more than the first.
    Freely,
    /// Only if the first sending has certainly changed nothing.
    IfUntouched,
    /// Not at all: the caller wants to know how things stand now.
    Never,
}

impl Repeat {
    /// Freely if `so`, as the change may then be made twice without harm.
    pub(crate) fn freely_if(so: bool) -> Self {
        if so { Self::Freely } else { Self::IfUntouched }
    }
}

/// A request in the making.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Result<Vec<u8>, Arc<serde_json::Error>>>,
    idempotency_key: Option<String>,
    repeat: Repeat,
    waits: Duration,
}

impl Call {
    /// A read, which may be repeated freely.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            query: Vec::new(),
            body: None,
            idempotency_key: None,
            repeat: Repeat::Freely,
            waits: Duration::ZERO,
        }
    }

    /// A change, which is repeated only if it has certainly not been made.
    pub(crate) fn post(path: impl Into<String>, body: &impl Serialize) -> Self {
        Self {
            method: Method::POST,
            body: Some(serde_json::to_vec(body).map_err(Arc::new)),
            repeat: Repeat::IfUntouched,
            ..Self::get(path)
        }
    }

    /// The same, of a thing that is there already.
    pub(crate) fn patch(path: impl Into<String>, body: &impl Serialize) -> Self {
        Self { method: Method::PATCH, ..Self::post(path, body) }
    }

    /// A thing as it is to be, which may be sent again.
    pub(crate) fn put(path: impl Into<String>, body: &impl Serialize) -> Self {
        Self { method: Method::PUT, ..Self::post(path, body) }.repeatable(true)
    }

    /// A thing that is to be gone.
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, repeat: Repeat::IfUntouched, ..Self::get(path) }
    }

    /// The same with a body.
    pub(crate) fn delete_with(path: impl Into<String>, body: &impl Serialize) -> Self {
        Self { method: Method::DELETE, ..Self::post(path, body) }
    }

    /// The change may be made twice without harm, if `so`.
    pub(crate) fn repeatable(mut self, so: bool) -> Self {
        self.repeat = Repeat::freely_if(so);
        self
    }

    /// The answer is wanted as it is now.
    pub(crate) fn once(mut self) -> Self {
        self.repeat = Repeat::Never;
        self
    }

    /// The server recognises a repetition by this key.
    pub(crate) fn idempotency_key(mut self, key: String) -> Self {
        self.idempotency_key = Some(key);
        self.repeatable(true)
    }

    /// The server may take this long on purpose.
    pub(crate) fn waits(mut self, wait: Option<Duration>) -> Self {
        self.waits = wait.unwrap_or_default();
        self
    }

    /// Adds a parameter, if there is a value.
    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }
}

/// A failed sending, and when the server would like the next.
#[derive(Clone)]
pub(crate) struct Failed {
    pub(crate) error: ClientError,
    retry_after: Option<Duration>,
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self { error, retry_after: None }
    }
}

/// For how long a request is sent again, and when next.
pub(crate) struct Repeats {
    repeat: Repeat,
    begun: Instant,
    deadline: Duration,
    pause: Duration,
}

impl Repeats {
    /// The first sending begins.
    pub(crate) fn begin(repeat: Repeat, deadline: Duration) -> Self {
        Self { repeat, begun: Instant::now(), deadline, pause: FIRST_PAUSE }
    }

    /// How long to wait before the next sending, after one has failed; none if there is to be no other.
    pub(crate) fn pause(&mut self, failed: &Failed) -> Option<Duration> {
        let again = match self.repeat {
            Repeat::Freely => failed.error.is_passing(),
            Repeat::IfUntouched => failed.error.is_untouched(),
            Repeat::Never => false,
        };
        let wait = wait(self.pause, failed.retry_after, rand::random_range(0.5..=1.0));
        if !again || self.begun.elapsed().saturating_add(wait) > self.deadline {
            return None;
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(wait)
    }
}

impl Client {
    /// Sends a request until it is answered, or may not be repeated, or the deadline has passed.
    pub(crate) async fn call<A: DeserializeOwned>(&self, call: Call) -> Result<A, ClientError> {
        let mut repeats = Repeats::begin(call.repeat, self.deadline.saturating_add(call.waits));
        loop {
            let failed = match self.once(&call).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let Some(pause) = repeats.pause(&failed) else { return Err(failed.error) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends a request once.
    pub(crate) async fn once<A: DeserializeOwned>(&self, call: &Call) -> Result<A, Failed> {
        let body = call.body.as_ref().map(Result::as_ref).transpose();
        let body = body.map_err(|error| ClientError::Request(Arc::clone(error)))?;
        let url = format!("{}{}", self.inner.base, call.path);
        let mut request = self
            .inner
            .http
            .request(call.method.clone(), &url)
            .timeout(self.inner.timeout.saturating_add(call.waits))
            .query(&call.query);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(span) = &self.span {
            request = request.header(baton_model::trace::TRACEPARENT, span.to_string());
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.send(request, &url).await
    }

    /// Sends a request that is not to be sent again by itself.
    pub(crate) async fn send_once<A: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
        url: &str,
    ) -> Result<A, ClientError> {
        self.send(request, url).await.map_err(|failed| failed.error)
    }

    async fn send<A: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
        url: &str,
    ) -> Result<A, Failed> {
        let unreachable = |error| ClientError::unreachable(&self.inner.base, error);
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let retry_after = retry_after(&answer);
        let body = answer.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                unexpected(url, status, format!("{status} with a body that does not fit: {error}")).into()
            });
        }
        Err(Failed { error: refused(url, status, &body), retry_after })
    }
}

/// What an answer says that is no success.
pub(crate) fn refused(url: &str, status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Problem(Box::new(problem)),
        Err(_) => unexpected(url, status, status.to_string()),
    }
}

fn unexpected(url: &str, status: StatusCode, got: String) -> ClientError {
    ClientError::Unexpected { url: url.to_owned(), status: status.as_u16(), got }
}

/// How long to wait before the next sending: as long as the server asks for, and besides a pause that grows, less up to
/// half of it by chance. With what was asked for alone, all who were turned away together would come back together, as
/// often as they are turned away.
fn wait(pause: Duration, asked: Option<Duration>, chance: f64) -> Duration {
    asked.unwrap_or_default() + pause.mul_f64(chance)
}

/// The pause that the server asks for, if it asks in seconds; held within a minute.
fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds: u64 = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(60)))
}

/// A name for a request that nobody has used: 128 bits by chance.
pub(crate) fn new_key() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_never_shorter_than_the_server_asks_for() {
        for asked in [None, Some(Duration::from_secs(2))] {
            let (mut pause, mut before) = (FIRST_PAUSE, Duration::ZERO);
            while pause < LONGEST_PAUSE {
                let (least, most) = (wait(pause, asked, 0.5), wait(pause, asked, 1.0));
                assert!(least >= asked.unwrap_or_default() && least >= before && most > least);
                (pause, before) = ((pause * 2).min(LONGEST_PAUSE), least);
            }
        }
    }
}
