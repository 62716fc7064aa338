//! The layer around a router: finds out who asks, and records what operators do.

use std::convert::Infallible;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::response::{IntoResponse, Response};
use baton_model::AuditId;
use baton_store::{AuditEntry, Settled};
use http::Request;
use http::request::Parts;
use http_body::Body;
use tower::Service;

use super::caller::Said;
use super::{Admitted, Authority, Caller, Door};
use crate::body::discard;
use crate::error::ApiError;
use crate::request_id::REQUEST_ID;

/// How many characters of a path are recorded; those that lead to something are shorter.
const TARGET_CHARS: usize = 512;

/// A service whose requests are let through by an [`Authority`], each with its [`super::Caller`].
#[derive(Clone, Debug)]
pub struct Authenticate<S> {
    inner: S,
    by: Authority,
    door: Door,
}

impl<S> Authenticate<S> {
    /// Stands before Baton's own routes.
    pub fn new(inner: S, by: impl Into<Authority>) -> Self {
        Self::at(Door::of_baton(), inner, by)
    }

    /// Stands before the routes of `inner`, which are asked by `door`.
    pub fn at(door: Door, inner: S, by: impl Into<Authority>) -> Self {
        Self { inner, by: by.into(), door }
    }
}

impl<S, B> Service<Request<B>> for Authenticate<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was found ready takes the request.
        let next = self.inner.clone();
        let inner = mem::replace(&mut self.inner, next);
        let (by, door) = (self.by.clone(), self.door.clone());
        Box::pin(async move { Ok(answer(inner, &by, &door, request).await) })
    }
}

async fn answer<S, B>(mut inner: S, by: &Authority, door: &Door, request: Request<B>) -> Response
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
    B: Body + Unpin,
{
    let (mut parts, mut body) = request.into_parts();
    let (admitted, recorded) = match admit(by, door, &parts).await {
        Ok(admitted) => admitted,
        Err(error) => {
            // So that the sender of a large body gets to read the refusal.
            discard(&parts.headers, &mut body, 0).await;
            return error.into_response();
        }
    };
    let caller = admitted.caller;
    if let Some(caller) = &caller {
        parts.extensions.insert(caller.clone());
    }
    let mut response =
        inner.call(Request::from_parts(parts, body)).await.unwrap_or_else(|never| match never {});
    if let Some(kept) = caller.as_ref().and_then(Caller::has_its_answer) {
        response.extensions_mut().insert(kept);
    }
    if let (Some(id), Some(app)) = (recorded, by.app()) {
        // Only the handler reads the body, and what is recorded before it is done says what, where and by which token.
        let Said { by: asked_by, reason, change } = caller.map(|caller| caller.said()).unwrap_or_default();
        let settled = Settled { outcome: response.status().as_u16(), by: asked_by, reason, change };
        if let Err(error) = app.store.settle(id, settled).await {
            // What was asked for is done, and recorded; only its outcome is not.
            tracing::warn!(audit_id = %id, error = error.report(), "the outcome of an audited request could not be noted");
        }
    }
    response
}

/// Lets a request pass, and records it if it is to be recorded.
async fn admit(
    by: &Authority,
    door: &Door,
    request: &Parts,
) -> Result<(Admitted, Option<AuditId>), ApiError> {
    let admitted = by.authorize(door, request).await?;
    if let Some(caller) = &admitted.caller {
        caller.hears_an_answer();
        if let Some(app) = by.app().filter(|_| admitted.rule.at_length) {
            caller.keep_room_for_tasks(app, 1).await?;
        }
    }
    let recorded = if admitted.rule.audited { Some(record(by, &admitted, request).await?) } else { None };
    Ok((admitted, recorded))
}

/// Records what is asked for, before it is done: what cannot be recorded is not done.
async fn record(by: &Authority, admitted: &Admitted, request: &Parts) -> Result<AuditId, ApiError> {
    // Where nobody knows callers, no route is audited.
    let app = by.app().ok_or_else(ApiError::internal)?;
    let token = admitted.caller.as_ref().and_then(|caller| caller.token());
    let request_id = request.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let entry = AuditEntry {
        id: app.ids.audit(),
        at: app.now(),
        action: admitted.rule.operation.to_owned(),
        target: request.uri.path().chars().take(TARGET_CHARS).collect(),
        token: token.map(|token| token.id),
        token_name: token.map(|token| token.name.clone()),
        request_id: request_id.map(str::to_owned),
        by: None,
        reason: None,
        outcome: None,
        change: None,
    };
    let id = entry.id;
    app.store.record(entry).await?;
    Ok(id)
}
