//! One request: who asks, over which route, and the lines that the log files have of it.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use baton_http::fastapi::Wrong;
use baton_http::{ApiError, ApiResult, App, BodyLimit, Caller, body, json};
use baton_runtime::settings::AssistantSettings;
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json as value};

use crate::log::{Kind, Log, Suffix};

/// What the dialect's handlers work with. Copies share the files.
#[derive(Clone)]
pub(crate) struct Assistant {
    pub(crate) app: App,
    pub(crate) settings: Arc<AssistantSettings>,
    pub(crate) log: Arc<Log>,
}

/// One request.
pub(crate) struct Ask<'a> {
    pub(crate) app: &'a App,
    pub(crate) settings: &'a AssistantSettings,
    pub(crate) caller: &'a Caller,
    /// The route's path.
    pub(crate) endpoint: &'static str,
    /// What the log files call what is asked for.
    pub(crate) action: &'static str,
    request_id: String,
    log: &'a Log,
}

/// Why a request is not answered as it wishes.
#[derive(Debug)]
pub(crate) enum No {
    /// Its body does not fit.
    Wrong(Wrong),
    /// The dialect's own words for it.
    Said(StatusCode, String),
    /// Baton's machinery refuses it; the words are found where all of it is worded.
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

impl From<baton_store::StoreError> for No {
    fn from(error: baton_store::StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl No {
    /// The same, with what was to be done before the reason if the server failed: `Failed to get task: `.
    pub(crate) fn because(self, beginning: &str) -> Self {
        match self {
            Self::Refused(error) if error.code().status() >= 500 => {
                error.log();
                let detail = format!("{beginning}{}", error.problem().detail);
                Self::Said(StatusCode::INTERNAL_SERVER_ERROR, detail)
            }
            other => other,
        }
    }

    /// That there is no such task.
    pub(crate) fn no_task(id: &str) -> Self {
        Self::Said(StatusCode::NOT_FOUND, format!("Task {id} not found"))
    }
}

/// An answer, and what the log files tell of it.
pub(crate) struct Told {
    response: Response,
    data: Value,
}

impl Told {
    /// An answer whose log line has all of it.
    pub(crate) fn whole(body: &impl Serialize) -> Result<Self, No> {
        let data = serde_json::to_value(body).unwrap_or_default();
        Ok(Self { response: json(StatusCode::OK, body)?, data })
    }

    /// An answer whose log line has this of it.
    pub(crate) fn in_short(body: &impl Serialize, data: Value) -> Result<Self, No> {
        Ok(Self { response: json(StatusCode::OK, body)?, data })
    }
}

impl<'a> Ask<'a> {
    /// Begins with a request, and writes that it came.
    pub(crate) fn begin(
        assistant: &'a Assistant,
        caller: &'a Caller,
        (endpoint, action): (&'static str, &'static str),
        request: &Request,
    ) -> Self {
        let Assistant { app, settings, log } = assistant;
        // The end of a fresh UUID is random.
        let id = app.ids.task().to_string();
        let request_id = id[id.len() - 8..].to_owned();
        let ask = Self { app, settings, caller, endpoint, action, request_id, log };
        let kind = if *request.method() == Method::POST { Kind::IncomingPost } else { Kind::IncomingGet };
        let came = value!({ "endpoint": request.uri().path(), "method": request.method().as_str() });
        ask.note(kind, &came, Suffix::default());
        ask
    }

    /// Answers, and writes what went.
    pub(crate) fn tell(&self, answered: Result<Told, No>) -> ApiResult {
        let (response, status, data) = match answered {
            Ok(Told { response, data }) => {
                let status = response.status().as_u16();
                (Ok(response), status, data)
            }
            Err(No::Wrong(wrong)) => (wrong.answer(), 422, value!({ "detail": wrong.line() })),
            Err(No::Said(status, detail)) => {
                let data = value!({ "detail": detail });
                (json(status, &data), status.as_u16(), data)
            }
            Err(No::Refused(error)) => {
                let data = value!({ "detail": error.problem().detail });
                let status = error.problem().status;
                (Err(error), status, data)
            }
        };
        if status >= 500 {
            let detail = data["detail"].as_str().unwrap_or_default();
            self.log.error(self.app.now(), &self.request_id, self.action, detail);
        }
        let word = status.to_string();
        let told = value!({ "status_code": status, "response": data });
        self.note(Kind::OutgoingResponse, &told, Suffix { status: Some(&word), ..Suffix::default() });
        response
    }

    /// Writes an event of this request.
    pub(crate) fn note(&self, kind: Kind, data: &impl Serialize, suffix: Suffix<'_>) {
        self.log.event((self.app.now(), kind), &self.request_id, self.action, data, suffix);
    }

    /// The request's body as text, whatever its kind is said to be: not all old clients say it.
    pub(crate) async fn body(&self, request: Request) -> Result<String, No> {
        let most = BodyLimit::Batch.bytes(&self.app.limits());
        let bytes = body::of_any_kind(request, most).await?;
        Ok(body::utf8(&bytes)?.to_owned())
    }
}
