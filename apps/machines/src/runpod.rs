//! RunPod's pods, by its REST API (version 1).

use std::time::Duration;

use async_trait::async_trait;
use baton_model::{Expected, Timestamp};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Map, Value};

use crate::inventory::{State, price};
use crate::{Machine, Provider, ProviderError};

/// Where the API is, unless another address is set.
const ADDRESS: &str = "https://rest.runpod.io/v1";
/// How long a request may take.
const LONGEST: Duration = Duration::from_secs(30);
/// The most bytes of an answer.
const MOST_BYTES: usize = 32 << 20;
/// How much of a refusal is told on.
const SHOWN: usize = 200;

/// The pods of an account.
pub struct RunPod {
    http: reqwest::Client,
    base: Url,
    key: HeaderValue,
    /// What a new pod is made of, but its name; none if none is to be made.
    pod: Option<Map<String, Value>>,
}

impl std::fmt::Debug for RunPod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunPod").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl RunPod {
    /// The pods of the account whose key this is. `address` is another one than the API's own.
    ///
    /// # Errors
    /// What of it does not fit: an address or a key that is none. A key is never repeated.
    pub fn new(address: Option<&str>, key: &str) -> Result<Self, Expected> {
        let address = address.unwrap_or(ADDRESS);
        let wrong = || Expected::text("an address such as https://rest.runpod.io/v1", address);
        let base = Url::parse(address).map_err(|_| wrong())?;
        let http = baton_client::http_client(&base).map_err(|_| wrong())?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", key.trim()))
            .map_err(|_| Expected::new("an API key of letters and digits", "another text"))?;
        if key.trim().is_empty() {
            return Err(Expected::new("an API key of letters and digits", "nothing"));
        }
        header.set_sensitive(true);
        Ok(Self { http, base, key: header, pod: None })
    }

    /// The same, with what new pods are made of: the body of `POST /pods`, whose `name` is set for each.
    #[must_use]
    pub fn making(self, pod: Map<String, Value>) -> Self {
        Self { pod: Some(pod), ..self }
    }

    fn url(&self, parts: &[&str]) -> Result<Url, ProviderError> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut path) => _ = path.pop_if_empty().extend(parts),
            Err(()) => {
                return Err(ProviderError::Unreadable {
                    place: "the address".to_owned(),
                    problem: Expected::text("one with a path", self.base.as_str()),
                });
            }
        }
        Ok(url)
    }

    async fn ask(
        &self,
        method: Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Vec<u8>), ProviderError> {
        let unreachable = |cause: reqwest::Error| ProviderError::Unreachable {
            url: url.to_string(),
            cause: Box::new(cause),
        };
        let mut request =
            self.http.request(method, url.clone()).header(AUTHORIZATION, self.key.clone()).timeout(LONGEST);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let mut answer = request.send().await.map_err(unreachable)?;
        let mut body = Vec::new();
        while let Some(some) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&some);
            if body.len() > MOST_BYTES {
                return Err(ProviderError::Unreadable {
                    place: url.to_string(),
                    problem: Expected::new(format!("up to {MOST_BYTES} bytes"), "more"),
                });
            }
        }
        Ok((answer.status(), body))
    }
}

#[async_trait]
impl Provider for RunPod {
    async fn list(&self) -> Result<Vec<Machine>, ProviderError> {
        let url = self.url(&["pods"])?;
        let (status, body) = self.ask(Method::GET, &url, None).await?;
        if status != StatusCode::OK {
            return Err(refused(&url, "200", status, &body));
        }
        let wrong = |place: String, problem: Expected| ProviderError::Unreadable { place, problem };
        let Ok(Value::Array(pods)) = serde_json::from_slice(&body) else {
            return Err(wrong(url.to_string(), Expected::new("a list of pods", "something else")));
        };
        let mut machines = Vec::new();
        for (pod, at) in pods.iter().zip(0..) {
            let read = read(pod).map_err(|(field, problem)| wrong(format!("pod {at}, {field}"), problem))?;
            machines.extend(read);
        }
        Ok(machines)
    }

    async fn spawn(&self, name: &str) -> Result<Machine, ProviderError> {
        let Some(pod) = &self.pod else {
            return Err(ProviderError::CannotSpawn("RunPod".to_owned(), "pod_file"));
        };
        let mut pod = pod.clone();
        pod.insert("name".to_owned(), name.into());
        let url = self.url(&["pods"])?;
        let (status, body) = self.ask(Method::POST, &url, Some(&Value::Object(pod))).await?;
        if !status.is_success() {
            return Err(refused(&url, "201", status, &body));
        }
        let wrong =
            |field: &str, problem| ProviderError::Unreadable { place: format!("{url}, {field}"), problem };
        let made: Value = serde_json::from_slice(&body)
            .map_err(|_| wrong("the body", Expected::new("the new pod", "something else")))?;
        match read(&made).map_err(|(field, problem)| wrong(field, problem))? {
            Some(machine) => Ok(machine),
            None => Err(wrong("desiredStatus", Expected::text("RUNNING", "TERMINATED"))),
        }
    }

    async fn terminate(&self, id: &str) -> Result<(), ProviderError> {
        let url = self.url(&["pods", id])?;
        let (status, body) = self.ask(Method::DELETE, &url, None).await?;
        // One that is gone is as it is asked to be.
        if status.is_success() || status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(refused(&url, "204", status, &body))
    }
}

fn refused(url: &Url, expected: &'static str, status: StatusCode, body: &[u8]) -> ProviderError {
    let told = String::from_utf8_lossy(body).chars().take(SHOWN).flat_map(char::escape_debug).collect();
    ProviderError::Refused { url: url.to_string(), expected, status: status.as_u16(), told }
}

/// A pod as a machine; none of one that is terminated.
fn read(pod: &Value) -> Result<Option<Machine>, (&'static str, Expected)> {
    let text = |name: &str| pod.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let state = match text("desiredStatus") {
        Some("RUNNING") => State::Running,
        Some("EXITED") => State::Stopped,
        Some("TERMINATED") => return Ok(None),
        Some(other) => {
            return Err(("desiredStatus", Expected::text("one of RUNNING, EXITED, TERMINATED", other)));
        }
        None => return Err(("desiredStatus", Expected::new("a status", "none"))),
    };
    let id = text("id").ok_or_else(|| ("id", Expected::new("the pod's id", "none")))?;
    // With a savings plan it costs less than its list price.
    let cost = pod.get("adjustedCostPerHr").filter(|cost| !cost.is_null()).or_else(|| pod.get("costPerHr"));
    Ok(Some(Machine {
        id: id.to_owned(),
        name: text("name").unwrap_or(id).to_owned(),
        price_per_hour: price(cost).map_err(|problem| ("costPerHr", problem))?,
        started_at: text("lastStartedAt").and_then(time),
        state,
        labels: text("machineId")
            .map(|machine| ("machine_id".to_owned(), machine.to_owned()))
            .into_iter()
            .collect(),
    }))
}

/// A time by the standard, or as Go prints one: `2026-11-28 10:00:00.123 +0000 UTC`. None for what is neither: it is not known.
fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let mut words = text.split(' ');
    let (date, clock, offset) = (words.next()?, words.next()?, words.next()?);
    let (hours, minutes) = offset.split_at_checked(3)?;
    format!("{date}T{clock}{hours}:{minutes}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        let expected: Timestamp = "2026-11-28T10:00:00.123Z".parse().unwrap();
        for text in [
            "2026-11-28T10:00:00.123Z",
            "2026-11-28 10:00:00.123 +0000 UTC",
            "2026-11-28 11:00:00.123 +0100 CET",
        ] {
            assert_eq!(time(text), Some(expected), "{text}");
        }
        for text in ["", "yesterday", "2026-11-28 10:00:00", "2026-11-28 10:00:00 ü"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let provider = RunPod::new(Some("http://127.0.0.1:1"), "rpa_secret").unwrap();
        assert!(!format!("{provider:?}").contains("secret"));
        let wrong = RunPod::new(None, "rpa_secret\n\u{7f}x").unwrap_err();
        assert!(!wrong.to_string().contains("secret"), "{wrong}");
        assert!(RunPod::new(Some("nowhere"), "k").is_err() && RunPod::new(None, " ").is_err());
    }
}
