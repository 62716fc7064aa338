//! Clients: a registered one is a worker of Baton, whose record says how its token is known.
//!
//! Not a token of the store each: strangers register, and anew with each day, and the store keeps 10,000 tokens for 30 days after
//! their end (docs/decisions/0038). The token's id is the client's, which is the worker's name.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::ProblemCode;
use baton_api::heartbeat::HeartbeatRequest;
use baton_heartbeat_worker::beat;
use baton_http::auth::Guests;
use baton_http::{ApiError, Caller};
use baton_model::{
    Digest, Grant, Label, Scope, SecretDigest, Timestamp, Token, TokenId, WorkerId, WorkerStatus,
};
use baton_store::{StoreError, StoredToken, WorkerDetail};
use futures::future::BoxFuture;
use serde_json::Value;

use crate::drift::Drift;
use crate::hex;
use crate::kept::queue;

/// How long a client's token is good.
pub(crate) const TOKEN: Duration = Duration::from_secs(86_400);

/// The labels of a client's record.
const DIGEST: &str = "drift_token";
const UNTIL: &str = "drift_token_until";
const NAME: &str = "name";
const CAPABILITIES: &str = "capabilities";

/// A client's worker as it is known.
pub(crate) struct Registered {
    detail: WorkerDetail,
    token: StoredToken,
}

impl Registered {
    fn of(detail: WorkerDetail) -> Option<Self> {
        let labels = &detail.worker.labels;
        let digest: [u8; 32] = hex::decode(labels.get(DIGEST)?)?.try_into().ok()?;
        let until = Timestamp::from_millis(labels.get(UNTIL)?.parse().ok()?);
        let id: TokenId = detail.worker.id.as_str().parse().ok()?;
        let token = Token {
            id,
            name: Label::from_stored(format!("drift client {id}")),
            grant: grant(),
            requests_per_second: None,
            created_at: detail.worker.started_at,
            created_by: None,
            expires_at: Some(until),
            revoked_at: None,
            last_used_at: detail.worker.last_beat_at,
        };
        Some(Self { detail, token: StoredToken { token, digest: SecretDigest::from_bytes(digest) } })
    }

    /// Who asks when this client does.
    pub(crate) fn client(&self) -> Client {
        Client { caller: Caller::of(self.token.token.clone()), id: self.detail.worker.id.clone() }
    }

    /// Its worker.
    pub(crate) fn detail(&self) -> &WorkerDetail {
        &self.detail
    }

    /// The name that it gave itself.
    pub(crate) fn name(&self) -> &str {
        self.detail.worker.labels.get(NAME).map_or("", String::as_str)
    }

    /// What it said that it can do.
    pub(crate) fn capabilities(&self) -> Value {
        let text = self.detail.worker.labels.get(CAPABILITIES);
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_else(|| Value::Object(Default::default()))
    }

    /// Whether it is there.
    pub(crate) fn is_active(&self, drift: &Drift) -> bool {
        let status = self.detail.worker.status(&drift.app.leases, drift.app.now());
        matches!(status, WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Stopping)
    }
}

/// What a client's token allows: to work on tasks of this queue.
fn grant() -> Grant {
    Grant { scopes: [Scope::Worker].into(), queues: [queue()].into(), project: None }
}

/// Who asks for work: a registered client, or whoever presents a worker's token of Baton, under that token's id.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) caller: Caller,
    pub(crate) id: WorkerId,
}

impl Client {
    /// Who asks.
    ///
    /// # Errors
    /// 401 if no token says so, also where Baton itself would need none: there is no work for nobody.
    pub(crate) fn of(caller: &Caller) -> Result<Self, ApiError> {
        let Some(token) = caller.token() else {
            let detail =
                "Not authenticated: register at /api/v1/clients/register, and send its token as a bearer";
            return Err(ApiError::new(ProblemCode::Unauthorized, detail));
        };
        let id = WorkerId::from_stored(token.id.to_string());
        Ok(Self { caller: caller.clone(), id })
    }

    /// What it is called before others.
    pub(crate) fn alias(&self) -> Digest {
        alias(&self.id)
    }
}

/// What a client is called before others, and in log lines: its id opens its socket, so that it is told to nobody else.
pub(crate) fn alias(id: &WorkerId) -> Digest {
    Digest::of_bytes(format!("drift client {id}").as_bytes())
}

/// Registers a client; gives its id and its token.
pub(crate) async fn register(
    drift: &Drift,
    name: &str,
    capabilities: &Value,
) -> Result<(WorkerId, String), ApiError> {
    let secret = drift.app.ids.token().map_err(|error| {
        let what = "the system gives no random bytes for a client's token".to_owned();
        StoreError::Internal { what, cause: Some(error.into()) }
    })?;
    let now = drift.app.now();
    let id = WorkerId::from_stored(secret.id().to_string());
    let labels = BTreeMap::from([
        (NAME.to_owned(), name.to_owned()),
        (CAPABILITIES.to_owned(), capabilities.to_string()),
        (DIGEST.to_owned(), hex::encode(secret.digest().as_bytes())),
        (UNTIL.to_owned(), now.plus(TOKEN).as_millis().to_string()),
    ]);
    let token = Token {
        id: secret.id(),
        name: Label::from_stored(format!("drift client {id}")),
        grant: grant(),
        requests_per_second: None,
        created_at: now,
        created_by: None,
        expires_at: Some(now.plus(TOKEN)),
        revoked_at: None,
        last_used_at: None,
    };
    let request = HeartbeatRequest { labels, ..HeartbeatRequest::default() };
    beat(&drift.app, &Caller::of(token), id.clone(), request).await?;
    drift.present.speaks(&id, now);
    tracing::info!(client = %alias(&id), "client registered");
    Ok((id, secret.reveal()))
}

/// Has a client leave: its token is good for nothing from now on.
pub(crate) async fn leave(drift: &Drift, client: &Client) -> Result<(), ApiError> {
    let labels = BTreeMap::from([("left".to_owned(), "true".to_owned())]);
    let request = HeartbeatRequest { labels, ending: true, ..HeartbeatRequest::default() };
    beat(&drift.app, &client.caller, client.id.clone(), request).await?;
    drift.present.begins(&client.id);
    Ok(())
}

/// A registered client by its id.
pub(crate) async fn registered(drift: &Drift, id: &WorkerId) -> Result<Option<Registered>, StoreError> {
    match drift.app.store.worker(id).await {
        Ok(detail) => Ok(Registered::of(detail)),
        Err(StoreError::WorkerNotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All registered clients, up to a bound.
pub(crate) async fn all(drift: &Drift) -> Result<Vec<Registered>, StoreError> {
    use baton_store::PageRequest;
    const LOOKED_AT: usize = 5_000;
    let mut page = PageRequest::first(baton_model::limits::PAGE);
    let (mut clients, mut looked_at) = (Vec::new(), 0);
    loop {
        let found = drift.app.store.workers(page).await?;
        looked_at += found.items.len();
        clients.extend(found.items.into_iter().filter_map(Registered::of));
        match found.next.filter(|_| looked_at < LOOKED_AT) {
            None => return Ok(clients),
            Some(next) => {
                page = PageRequest { after: Some(next), ..PageRequest::first(baton_model::limits::PAGE) };
            }
        }
    }
}

/// Clients are known by the dialect's door, besides those with a token of the store.
impl Guests for Drift {
    fn guest(&self, id: TokenId) -> BoxFuture<'_, Result<Option<StoredToken>, StoreError>> {
        Box::pin(async move {
            let id = WorkerId::from_stored(id.to_string());
            Ok(registered(self, &id).await?.map(|found| found.token))
        })
    }
}
