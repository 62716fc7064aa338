//! Who asks.

use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use baton_api::ProblemCode;
use baton_model::{Grant, Label, Owner, ProjectId, QueueName, Token};
use baton_store::SettingChange;
use http::request::Parts;

use super::authenticator::check_status;
use crate::app::App;
use crate::error::ApiError;

/// Who asks, as far as is known. A handler that takes it works only behind [`super::Authenticate`]. Copies are of one
/// request.
#[derive(Clone, Debug)]
pub struct Caller {
    token: Option<Arc<Token>>,
    said: Arc<OnceLock<Said>>,
    changed: Arc<OnceLock<SettingChange>>,
}

/// What a request says of itself, for the audit log.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) by: Option<Label>,
    pub(super) reason: Option<String>,
    pub(super) change: Option<SettingChange>,
}

impl Caller {
    /// A caller that needs no token, as on a loopback address: it may do everything.
    pub fn unrestricted() -> Self {
        Self { token: None, said: Arc::default(), changed: Arc::default() }
    }

    /// The caller that presented this token.
    pub fn of(token: Token) -> Self {
        Self { token: Some(Arc::new(token)), said: Arc::default(), changed: Arc::default() }
    }

    /// The token that was presented, if one was.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_deref()
    }

    /// What the token allows; everything if there is none.
    pub fn grant(&self) -> Option<&Grant> {
        self.token().map(|token| &token.grant)
    }

    /// The token's name, for the record of what was done with it.
    pub fn name(&self) -> Option<Label> {
        self.token().map(|token| token.name.clone())
    }

    /// Notes for the audit log who asks, by the request's own word (`by`), and why. Gives who is to be named for what is
    /// done: that one, else the token.
    pub fn asks(&self, by: Option<Label>, reason: Option<&str>) -> Option<Label> {
        let said = Said { by: by.clone(), reason: reason.map(str::to_owned), change: None };
        // A handler says it once; what was said first stands.
        let _ = self.said.set(said);
        by.or_else(|| self.name())
    }

    /// Notes for the audit log what a setting was and is, in words.
    pub fn has_changed(&self, from: Option<String>, to: Option<String>) {
        // A request changes one setting.
        let _ = self.changed.set(SettingChange { from, to });
    }

    /// What the request has said of itself until now.
    pub(super) fn said(&self) -> Said {
        let said = self.said.get().cloned().unwrap_or_default();
        Said { change: self.changed.get().cloned(), ..said }
    }

    /// The project that it is bound to.
    pub fn project(&self) -> Option<&ProjectId> {
        self.grant().and_then(|grant| grant.project.as_ref())
    }

    /// Its bounds, as far as workers' names belong to them.
    pub fn owner(&self) -> Owner {
        self.grant().map_or(Owner::Unbound, Owner::of)
    }

    /// The queues that it is bound to; all if none.
    pub fn queues(&self) -> impl ExactSizeIterator<Item = &QueueName> {
        static ALL: std::collections::BTreeSet<QueueName> = std::collections::BTreeSet::new();
        self.grant().map_or(&ALL, |grant| &grant.queues).iter()
    }

    /// Lets a request go on that has waited: its token may have ended meanwhile.
    ///
    /// # Errors
    /// 401 if it has, and the store's own failures.
    pub async fn still_stands(&self, app: &App) -> Result<(), ApiError> {
        let Some(token) = self.token() else { return Ok(()) };
        match app.store.token(token.id).await? {
            Some(stored) => check_status(&stored.token, app.now()),
            None => Err(ApiError::new(
                ProblemCode::Unauthorized,
                "the token is gone; ask an operator for a new one",
            )),
        }
    }

    /// Whether it does not reach all tasks.
    pub fn is_bound(&self) -> bool {
        self.grant().is_some_and(|grant| !grant.is_unbound())
    }

    /// Whether it reaches tasks of this queue.
    pub fn covers_queue(&self, queue: &QueueName) -> bool {
        self.grant().is_none_or(|grant| grant.covers_queue(queue))
    }

    /// Whether it reaches tasks of a project, as far as its project goes.
    pub fn covers_project(&self, project: &ProjectId) -> bool {
        self.project().is_none_or(|own| own == project)
    }

    /// Whether it reaches a task.
    pub fn covers(&self, queue: &QueueName, project: &ProjectId) -> bool {
        self.grant().is_none_or(|grant| grant.covers(queue, project))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    /// Without the layer that authenticates, nobody may do anything: the server is put together wrongly.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a handler that needs to know its caller stands outside of the authentication");
            ApiError::internal()
        })
    }
}
