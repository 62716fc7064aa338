//! What a handler answers, and why it does not.

use axum::response::Response;
use baton_http::{ApiError, ApiResult, json};
use baton_store::StoreError;
use http::StatusCode;
use serde_json::json as value;

use crate::wrong::Wrong;

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

/// 200 with this.
pub(crate) fn told(body: &impl serde::Serialize) -> Told {
    Ok(json(StatusCode::OK, body)?)
}
