//! A client that does not trust the server to live: it sends a request until it is answered, as a careful program would,
//! and counts the answers that it lost on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::Addresses;
use super::record::Record;

/// An answer: its status and its body.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body, null if it has none.
    pub(super) body: Value,
}

impl Answer {
    /// Whether the server took the request.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The problem's code.
    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }
}

/// One client, with connections of its own.
pub(super) struct Client {
    http: reqwest::Client,
    addresses: Addresses,
    /// How many requests were sent: each goes to the next server.
    sent: AtomicUsize,
    /// Where requests and answers are noted.
    pub(super) record: Arc<Record>,
}

impl Client {
    /// A client of the servers that `addresses` name at any time.
    pub(super) fn new(addresses: Addresses, record: Arc<Record>) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .tls_backend_preconfigured(nobody_trusted())
            .build()
            .expect("a client");
        Self { http, addresses, sent: AtomicUsize::new(0), record }
    }

    /// Sends a request until it is answered: the same request each time.
    pub(super) async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Answer {
        loop {
            if let Some(answer) = self.try_post(path, key, body).await {
                return answer;
            }
        }
    }

    /// Sends a request once. `None`: no answer came, and the server may or may not have done it.
    pub(super) async fn try_post(&self, path: &str, key: Option<&str>, body: &Value) -> Option<Answer> {
        let mut request = self.http.post(self.url(path).await).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.answered(request).await
    }

    /// Sends a request once to a dialect, whose answers may be plain text. `None`: no answer came.
    pub(super) async fn ask(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.told(self.http.post(self.url(path).await).json(body)).await
    }

    /// The same of a question without a body.
    pub(super) async fn ask_for(&self, path: &str) -> Option<(u16, Value)> {
        self.told(self.http.get(self.url(path).await)).await
    }

    /// The same of a removal.
    pub(super) async fn remove(&self, path: &str) -> Option<(u16, Value)> {
        self.told(self.http.delete(self.url(path).await)).await
    }

    /// The same of bytes that are put.
    pub(super) async fn put(&self, path: &str, bytes: Vec<u8>) -> Option<(u16, Value)> {
        self.told(self.http.put(self.url(path).await).body(bytes)).await
    }

    /// Reads bytes until they have come; none if there are none.
    pub(super) async fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        loop {
            let Ok(answer) = self.http.get(self.url(path).await).send().await else { continue };
            match answer.status().as_u16() {
                200 => {
                    if let Ok(bytes) = answer.bytes().await {
                        return Some(bytes.to_vec());
                    }
                }
                404 => return None,
                503 => {}
                status => panic!("GET {path}: {status}"),
            }
        }
    }

    async fn told(&self, request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
        let answer = async {
            let response = request.send().await.ok()?;
            let status = response.status().as_u16();
            let bytes = response.bytes().await.ok()?;
            let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
            let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
            // The server says itself that it does not know, or that it is going down: as good as no answer.
            (status != 503).then_some((status, body))
        };
        let answer = answer.await;
        if answer.is_none() {
            self.record.unanswered.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        answer
    }

    /// The same, where there may be no such route.
    pub(super) async fn get_if_there(&self, path: &str) -> Option<Value> {
        loop {
            let request = self.http.get(self.url(path).await);
            match self.answered(request).await {
                Some(answer) if answer.is_success() => return Some(answer.body),
                Some(answer) if answer.status == 404 => return None,
                Some(answer) => panic!("GET {path}: {} {}", answer.status, answer.body),
                None => {}
            }
        }
    }

    /// Asks until it is answered well.
    pub(super) async fn get(&self, path: &str) -> Value {
        loop {
            let request = self.http.get(self.url(path).await);
            match self.answered(request).await {
                Some(answer) if answer.is_success() => return answer.body,
                Some(answer) => panic!("GET {path}: {} {}", answer.status, answer.body),
                None => {}
            }
        }
    }

    async fn answered(&self, request: reqwest::RequestBuilder) -> Option<Answer> {
        let answer = async {
            let response = request.send().await.ok()?;
            let status = response.status().as_u16();
            let body = response.bytes().await.ok()?;
            let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).ok()? };
            // The server says itself that it does not know, or that it is going down: as good as no answer.
            (status != 503).then_some(Answer { status, body })
        };
        let answer = answer.await;
        if answer.is_none() {
            self.record.unanswered.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        answer
    }

    /// How many servers there are.
    pub(super) fn servers(&self) -> usize {
        self.addresses.len()
    }

    async fn url(&self, path: &str) -> String {
        let place = self.sent.fetch_add(1, Ordering::Relaxed) % self.addresses.len();
        let mut address = self.addresses[place].clone();
        let url = address.wait_for(Option::is_some).await.expect("the server comes back");
        format!("{}{path}", url.as_deref().unwrap_or_default())
    }
}

/// reqwest makes no client without settings of TLS, also for plain http.
fn nobody_trusted() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks the versions of TLS")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
