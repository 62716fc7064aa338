//! One request: who asks, for which id, with which query.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::response::Response;
use baton_http::{ApiError, ApiResult, App, BodyLimit, Caller, body, json};
use baton_model::Timestamp;
use baton_runtime::settings::OrchestratorSettings;
use baton_store::StoreError;
use http::StatusCode;
use serde_json::json as value;

use crate::live::Board;
use crate::query::Query;
use crate::wrong::{Fields, Wrong};

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

/// Why a request is not answered as it wishes.
#[derive(Debug)]
pub(crate) enum No {
    /// It does not fit.
    Wrong(Wrong),
    /// The dialect's own words for it.
    Said(StatusCode, String),
    /// Baton refuses it; the words are found where all of its problems are worded.
    Refused(ApiError),
}

impl From<ApiError> for No {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl From<Wrong> for No {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<StoreError> for No {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl No {
    /// That there is no such task.
    pub(crate) fn no_task() -> Self {
        Self::Said(StatusCode::NOT_FOUND, "Task not found".to_owned())
    }

    /// The answer.
    pub(crate) fn answer(self) -> ApiResult {
        match self {
            Self::Wrong(wrong) => wrong.answer(),
            Self::Said(status, detail) => json(status, &value!({ "detail": detail })),
            Self::Refused(error) => Err(error),
        }
    }
}

/// What a handler answers.
pub(crate) type Told = Result<Response, No>;

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
        let bytes = body::of_any_kind(request, BodyLimit::Params.bytes(&self.app.limits)).await?;
        Ok(body::utf8(&bytes)?.to_owned())
    }

    /// The fields of the request's body.
    pub(crate) async fn fields(&self, request: Request) -> Result<Fields, No> {
        Ok(Fields::of(&self.body(request).await?)?)
    }
}

/// 200 with this.
pub(crate) fn told(body: &impl serde::Serialize) -> Told {
    Ok(json(StatusCode::OK, body)?)
}
