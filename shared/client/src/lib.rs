//! A client of Baton's HTTP API for Rust programs: producers, workers and tools.
//!
//! [`Client`] has one method for each route, with the types of `baton-api`. It repeats a request on its own where that
//! is safe (see [`ClientBuilder::deadline`]): reads, heartbeats and completions are safe by their nature; a created
//! task and a bulk command carry an idempotency key, and a claim is safe if it names its `request_id`.
//!
//! Attempts that end close together are told to the server by few requests ([`Client::complete`], [`Client::fail`], [`Client::release`]):
//! the first goes at once by itself, and those that end while it is under way go together in the next one, each with its own answer.
//! [`ClientBuilder::gather_ends`] switches it off, and [`Client::with_next_claims`] has one claim go along for all of them.
//!
//! On AWS, a claim that waits at a function is paid for by the second. [`Listener`] has claims wait at the stack's queue `ready`
//! instead, which it reaches by a [`ReadyQueue`]: with the feature `sqs`, `SqsReady`.
//!
//! Requests go by the proxy that `HTTP_PROXY`, `HTTPS_PROXY` or `ALL_PROXY` name, except to this machine itself and to what
//! `NO_PROXY` names.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use baton_api::claim::ClaimRequest;
//! use baton_api::complete::CompleteRequest;
//! use baton_api::create::CreateTask;
//! use baton_client::Client;
//! use baton_model::Payload;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://127.0.0.1:7410")?;
//!
//! let task = CreateTask { params: Some(Payload::parse(r#"{"page": 7}"#)?), ..CreateTask::new("ocr".parse()?) };
//! let created = client.create_task(&task).await?;
//! println!("created {}", created.id);
//!
//! // A lease of fixed length needs no heartbeats.
//! let claim = ClaimRequest {
//!     request_id: Some("ocr-7.claim-1".parse()?),
//!     lease_seconds: Some(Duration::from_secs(60)),
//!     wait_seconds: Some(Duration::from_secs(20)),
//!     ..ClaimRequest::new("ocr-7".parse()?)
//! };
//! for task in client.claim(&claim).await?.tasks {
//!     let done = CompleteRequest {
//!         worker_id: "ocr-7".parse()?,
//!         attempt: task.attempt,
//!         location: None,
//!         kind: None,
//!         metadata: None,
//!         result: Some(Payload::parse(r#"{"text": "hello"}"#)?),
//!         files: vec![],
//!         run_seconds: None,
//!         claim: None,
//!     };
//!     client.complete(task.id, &done).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod alerts;
mod builder;
mod bulk;
mod call;
mod config;
mod endings;
mod error;
mod files;
mod fleet;
mod gather;
mod place;
mod query;
mod ready;
mod routes;
mod scaling;
mod settings;
#[cfg(feature = "sqs")]
mod sqs;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use baton_model::TraceParent;
use gather::Gather;

pub use builder::{ClientBuilder, http_client, server_address};
pub use endings::{End, Sent};
pub use error::{ClientError, Untouched};
pub use files::Download;
pub use gather::NextClaims;
pub use place::stays_on_this_machine;
pub use query::{AuditQuery, GenerationQuery, LogQuery, TaskQuery, TimelineQuery};
pub use ready::{Heard, Listener, ReadyError, ReadyQueue};
#[cfg(feature = "sqs")]
pub use sqs::{OpenError, SqsReady};
pub use tls::config as tls_config;

/// A client of one server. Clones share its connections, and gather the ends of attempts together.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
    deadline: Duration,
    span: Option<TraceParent>,
    /// Where ends of attempts gather; none if each goes alone.
    gather: Option<Arc<Gather>>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    base: String,
    timeout: Duration,
}

impl Client {
    /// A client with the default times; see [`Client::builder`].
    ///
    /// # Errors
    /// [`ClientError::Address`] if `base` is no address such as `http://127.0.0.1:7410`.
    pub fn new(base: &str) -> Result<Self, ClientError> {
        Self::builder(base).build()
    }

    /// Begins a client of the server at `base`, such as `http://127.0.0.1:7410`.
    pub fn builder(base: &str) -> ClientBuilder {
        ClientBuilder::new(base)
    }

    /// The server's address, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.inner.base
    }

    /// The same client, but with another [`ClientBuilder::deadline`].
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same client, whose requests are a part of this span and say so (W3C Trace Context): tasks that they create stand in its trace.
    /// A request for several ends of attempts is a part of none.
    #[must_use]
    pub fn in_span(self, span: Option<TraceParent>) -> Self {
        Self { span, ..self }
    }

    /// The same client, which ends each attempt by a request of its own; see [`ClientBuilder::gather_ends`].
    #[must_use]
    pub fn without_gathering(&self) -> Self {
        Self { gather: None, ..self.clone() }
    }

    /// The same client, whose ends that go together bring one claim along. They gather by themselves, and not with those of `self`.
    #[must_use]
    pub fn with_next_claims(&self, next: Arc<dyn NextClaims>) -> Self {
        self.gathering(Some(next))
    }

    fn gathering(&self, next: Option<Arc<dyn NextClaims>>) -> Self {
        // What goes together is a part of no span.
        let together = self.without_gathering().in_span(None);
        Self { gather: Some(Arc::new(Gather::new(together, next))), ..self.clone() }
    }
}
