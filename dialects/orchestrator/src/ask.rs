//! One request: who asks, for which id, with which query.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use baton_http::{App, BodyLimit, Caller, body};
use baton_model::Timestamp;
use baton_runtime::settings::OrchestratorSettings;

use crate::live::Board;
use crate::no::No;
use crate::query::Query;
use crate::wrong::Fields;

/// What the dialect's handlers work with.
#[derive(Clone)]
pub(crate) struct Orchestrator {
    pub(crate) app: App,
    pub(crate) settings: Arc<OrchestratorSettings>,
    pub(crate) board: Arc<Board>,
}

/// One request.
pub(crate) struct Ask<'a> {
    pub(crate) app: &'a App,
    pub(crate) settings: &'a OrchestratorSettings,
    pub(crate) board: &'a Board,
    pub(crate) caller: &'a Caller,
    /// The time that all of the answer is as of.
    pub(crate) now: Timestamp,
    /// The id in the path, if it has one.
    pub(crate) id: String,
    pub(crate) query: Query,
}

impl<'a> Ask<'a> {
    pub(crate) fn begin(
        orchestrator: &'a Orchestrator,
        caller: &'a Caller,
        params: Result<RawPathParams, RawPathParamsRejection>,
        request: &Request,
    ) -> Self {
        let Orchestrator { app, settings, board } = orchestrator;
        // Bytes that are no text are no id that anything has.
        let id = params.ok().and_then(|params| params.iter().next().map(|(_, id)| id.to_owned()));
        let query = Query::of(request.uri().query().unwrap_or_default());
        Self { app, settings, board, caller, now: app.now(), id: id.unwrap_or_default(), query }
    }

    /// The request's body as text, whatever its kind is said to be: not all old clients say it.
    pub(crate) async fn body(&self, request: Request) -> Result<String, No> {
        let bytes = body::of_any_kind(request, BodyLimit::Params.bytes(&self.app.limits())).await?;
        Ok(body::utf8(&bytes)?.to_owned())
    }

    /// The fields of the request's body.
    pub(crate) async fn fields(&self, request: Request) -> Result<Fields, No> {
        Ok(Fields::of(&self.body(request).await?)?)
    }
}
