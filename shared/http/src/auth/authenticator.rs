//! Says who asks, by the token that a request presents, and whether it may.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_api::ProblemCode;
use baton_model::{Scope, SecretDigest, Timestamp, Token, TokenSecret, TokenStatus};
use baton_runtime::settings::TokenSettings;
use baton_store::Store;
use http::HeaderMap;
use tokio::task::JoinSet;

use super::Caller;
use super::door::Guests;
use super::header::{Presented, presented};
use super::rates::{Rates, Turn};
use super::rules::{Access, Rule};
use crate::app::App;
use crate::error::ApiError;

/// How often the log is told of requests without a good token; whoever sends them sets their pace.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What came instead of a good token, and what to do next.
const NOTHING: (&str, &str) = ("no such header", "ask an operator for a token (baton token create)");
const ANOTHER: (&str, &str) =
    ("another one", "check it for a slip, or ask an operator for a new one (baton token create)");

/// Knows callers by their tokens. Copies are made by [`Arc`].
pub struct Authenticator {
    app: App,
    required: bool,
    counts: Arc<Counts>,
}

/// What those share that know the same callers on several addresses.
struct Counts {
    rates: Rates,
    unknown: Unknown,
    /// The notes of uses that are being written.
    notes: Mutex<JoinSet<()>>,
}

/// A request that may go on.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Its route's rule.
    pub rule: &'static Rule,
    /// Who asks; none where nobody needs to say.
    pub caller: Option<Caller>,
}

impl Authenticator {
    /// Knows callers as `settings` say, by the tokens of the app's store.
    pub fn new(app: App, settings: TokenSettings) -> Arc<Self> {
        Self::with_rates(app, settings.required, Rates::new())
    }

    /// Knows callers in the same way, but holds no token to its rate: for an authorizer whose answers are kept, so that it
    /// does not hear of each request. Who serves the requests counts them ([`super::BehindAuthorizer`]).
    pub fn uncounted(app: App, settings: TokenSettings) -> Arc<Self> {
        Self::with_rates(app, settings.required, Rates::unlimited())
    }

    fn with_rates(app: App, required: bool, rates: Rates) -> Arc<Self> {
        let counts = Counts { rates, unknown: Unknown::default(), notes: Mutex::default() };
        Arc::new(Self { app, required, counts: Arc::new(counts) })
    }

    /// Knows the same callers for another address, where each request needs a token or not. A token's requests are counted
    /// together.
    pub fn at(&self, required: bool) -> Arc<Self> {
        Arc::new(Self { app: self.app.clone(), required, counts: Arc::clone(&self.counts) })
    }

    /// The app whose callers it knows.
    pub(super) fn app(&self) -> &App {
        &self.app
    }

    /// Says who asks for a route, and whether they may: [`Rule::of_route_key`] finds the rule where another part of
    /// the system has found the route.
    ///
    /// # Errors
    /// 401 without a good token where one is needed, 403 if its scopes do not allow the route, 429 if it has asked too
    /// often, and the store's own failures.
    pub async fn admit(&self, rule: &'static Rule, headers: &HeaderMap) -> Result<Admitted, ApiError> {
        self.admit_who(rule, || presented(headers), None).await
    }

    /// The same of what a request presents, wherever it brings that, where guests are known, too.
    pub(super) async fn admit_who(
        &self,
        rule: &'static Rule,
        presented: impl FnOnce() -> Presented,
        guests: Option<&dyn Guests>,
    ) -> Result<Admitted, ApiError> {
        let admitted = self.judge(rule, presented, guests).await;
        if let Err(error) = &admitted
            && error.problem().status < 500
        {
            self.app.meters.token_refused();
        }
        admitted
    }

    async fn judge(
        &self,
        rule: &'static Rule,
        presented: impl FnOnce() -> Presented,
        guests: Option<&dyn Guests>,
    ) -> Result<Admitted, ApiError> {
        let Access::Scopes(scopes) = rule.access else { return Ok(Admitted { rule, caller: None }) };
        let secret = match presented() {
            Presented::Token(secret) => secret,
            Presented::Unreadable => return Err(self.unauthorized(rule, ANOTHER)),
            Presented::Nothing if self.required => return Err(self.unauthorized(rule, NOTHING)),
            Presented::Nothing => {
                return Ok(Admitted { rule, caller: Some(Caller::unrestricted()) });
            }
        };
        let now = self.app.now();
        let Some(token) = self.known(&secret, guests).await? else {
            return Err(self.unauthorized(rule, ANOTHER));
        };
        let refused = |error: ApiError| {
            tracing::info!(
                token_id = %token.id,
                token_name = %token.name,
                operation = rule.operation,
                code = error.code().as_str(),
                "request refused"
            );
            error
        };
        check_status(&token, now).map_err(refused)?;
        match self.counts.rates.take(&token, self.app.requests_per_second(), now) {
            Turn::Wait { limit, wait } => {
                tracing::debug!(token_id = %token.id, limit, "request refused: too many");
                self.app.held_back.count(token.id, limit, now);
                return Err(too_many(limit, wait));
            }
            Turn::GoOn { note_use: true } => self.note_use(&token, now),
            Turn::GoOn { note_use: false } => {}
        }
        check_grant(rule, scopes, &token).map_err(refused)?;
        Ok(Admitted { rule, caller: Some(Caller::of(token)) })
    }

    /// The token that a secret belongs to. What is unknown is compared, too, so that the time tells nothing.
    async fn known(
        &self,
        secret: &TokenSecret,
        guests: Option<&dyn Guests>,
    ) -> Result<Option<Token>, ApiError> {
        let nobodys = SecretDigest::from_bytes([0; 32]);
        let mut stored = self.app.store.token(secret.id()).await?;
        if let (None, Some(guests)) = (&stored, guests) {
            stored = guests.guest(secret.id()).await?;
        }
        let digest = stored.as_ref().map_or(nobodys, |stored| stored.digest);
        let same = digest == secret.digest();
        Ok(stored.filter(|_| same).map(|stored| stored.token))
    }

    /// Notes a use beside the request's path: no request waits for it, and none fails by it.
    fn note_use(&self, token: &Token, now: Timestamp) {
        let (store, id): (Arc<dyn Store>, _) = (Arc::clone(&self.app.store), token.id);
        let mut notes = self.counts.notes.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are written, whose panics are in the log.
        while notes.try_join_next().is_some() {}
        notes.spawn(async move {
            if let Err(error) = store.token_used(id, now).await {
                tracing::warn!(token_id = %id, error = error.report(), "the use of a token could not be noted");
            }
        });
    }

    /// Waits until the uses of tokens so far are noted: for a process that does nothing between its requests.
    pub async fn settle(&self) {
        let mut notes =
            std::mem::take(&mut *self.counts.notes.lock().unwrap_or_else(PoisonError::into_inner));
        while notes.join_next().await.is_some() {}
    }

    /// The one answer to all that is no good token: whether the id exists, or how much of the secret is right, shows in
    /// nothing.
    fn unauthorized(&self, rule: &Rule, (got, next): (&str, &str)) -> ApiError {
        tracing::debug!(operation = rule.operation, got, "request refused: no good token");
        self.counts.unknown.tell(self.app.now());
        let detail =
            format!("expected the header Authorization: Bearer with a token that is good, got {got}; {next}");
        ApiError::new(ProblemCode::Unauthorized, detail)
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("required", &self.required).finish_non_exhaustive()
    }
}

/// Lets a token pass that has not ended.
pub(super) fn check_status(token: &Token, now: Timestamp) -> Result<(), ApiError> {
    let ended = match token.status(now) {
        TokenStatus::Active => return Ok(()),
        TokenStatus::Expired => "has expired",
        TokenStatus::Revoked => "was revoked",
    };
    let at = token.ends_at().map(|at| format!(" at {at}")).unwrap_or_default();
    let detail = format!("the token {ended}{at}; ask an operator for a new one (baton token create)");
    Err(ApiError::new(ProblemCode::Unauthorized, detail))
}

/// Has a caller come again later.
pub(super) fn too_many(limit: u32, wait: Duration) -> ApiError {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let detail =
        format!("the token may make {limit} requests a second and has made more; try again in {seconds} s");
    ApiError::new(ProblemCode::TooManyRequests, detail).retry_after(seconds)
}

/// Lets a token pass that allows what a rule asks for.
pub(super) fn check_grant(rule: &Rule, scopes: &[Scope], token: &Token) -> Result<(), ApiError> {
    if token.grant.has(scopes) { Ok(()) } else { Err(scope_missing(rule, token)) }
}

fn scope_missing(rule: &Rule, token: &Token) -> ApiError {
    let has: Vec<&str> = token.grant.scopes.iter().map(|scope| scope.as_str()).collect();
    let detail = format!(
        "expected a token with the scope {}, got one with {}; use another token, or ask an operator for one",
        rule.scopes(),
        has.join(" and ")
    );
    ApiError::new(ProblemCode::ScopeMissing, detail)
}

/// Counts requests without a good token, and tells the log of them now and then.
#[derive(Debug, Default)]
struct Unknown {
    since: AtomicU64,
    told_at: AtomicI64,
}

impl Unknown {
    fn tell(&self, now: Timestamp) {
        self.since.fetch_add(1, Ordering::Relaxed);
        let told_at = self.told_at.load(Ordering::Relaxed);
        let told = Timestamp::from_millis(told_at);
        // Either way: a clock that was set back must not silence it.
        let due = now.since(told).max(told.since(now)) >= TELL_EVERY;
        let mine =
            || self.told_at.compare_exchange(told_at, now.as_millis(), Ordering::Relaxed, Ordering::Relaxed);
        if due && mine().is_ok() {
            let requests = self.since.swap(0, Ordering::Relaxed);
            tracing::info!(requests, "requests were refused that presented no good token");
        }
    }
}
