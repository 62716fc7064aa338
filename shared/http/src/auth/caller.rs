//! Who asks.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use baton_api::ProblemCode;
use baton_model::{Grant, Label, ProjectId, QueueName, Token};
use http::request::Parts;

use super::authenticator::check_status;
use crate::app::App;
use crate::error::ApiError;

/// Who asks, as far as is known. A handler that takes it works only behind [`super::Authenticate`].
#[derive(Clone, Debug)]
pub struct Caller(Option<Arc<Token>>);

impl Caller {
    /// A caller that needs no token, as on a loopback address: it may do everything.
    pub fn unrestricted() -> Self {
        Self(None)
    }

    /// The caller that presented this token.
    pub fn of(token: Token) -> Self {
        Self(Some(Arc::new(token)))
    }

    /// The token that was presented, if one was.
    pub fn token(&self) -> Option<&Token> {
        self.0.as_deref()
    }

    /// What the token allows; everything if there is none.
    pub fn grant(&self) -> Option<&Grant> {
        self.token().map(|token| &token.grant)
    }

    /// The token's name, for the record of what was done with it.
    pub fn name(&self) -> Option<Label> {
        self.token().map(|token| token.name.clone())
    }

    /// The project that it is bound to.
    pub fn project(&self) -> Option<&ProjectId> {
        self.grant().and_then(|grant| grant.project.as_ref())
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
