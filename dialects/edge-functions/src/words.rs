//! The words of the platform: its bodies as they are read, its statuses, its answers and its errors.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use baton_api::{Problem, ProblemCode};
use baton_http::{ApiError, body, fastapi};
use baton_model::{State, TaskId, Timestamp};
use baton_store::StoreError;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE,
    RETRY_AFTER,
};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

/// A JSON object, as bodies are.
pub(crate) type Object = Map<String, Value>;

/// What a handler answers, or why not.
pub(crate) type Answer = Result<Response, Said>;

/// Why not, in Baton's words, which are yet to be put into the platform's, or in the platform's own.
pub(crate) enum Said {
    Baton(ApiError),
    Own(Box<Response>),
}

impl From<ApiError> for Said {
    fn from(error: ApiError) -> Self {
        Self::Baton(error)
    }
}

impl From<StoreError> for Said {
    fn from(error: StoreError) -> Self {
        Self::Baton(error.into())
    }
}

impl From<Response> for Said {
    fn from(response: Response) -> Self {
        Self::Own(Box::new(response))
    }
}

/// A handler's answer as a response.
pub(crate) fn told(answer: Answer) -> Response {
    match answer {
        Ok(response) => open_to_all(response),
        Err(Said::Own(response)) => open_to_all(*response),
        Err(Said::Baton(error)) => error.into_response(),
    }
}

/// JSON of this status.
pub(crate) fn json_of(status: u16, value: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) fn ok(value: &Value) -> Answer {
    Ok(json_of(200, value))
}

/// Text of this status.
pub(crate) fn text_of(status: u16, text: impl Into<String>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// No content.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An error of the newer functions.
pub(crate) fn coded(status: u16, code: &str, message: &str) -> Response {
    let recoverable = status >= 500 || status == 429;
    json_of(
        status,
        &json!({ "error": message, "errorCode": code, "message": message, "recoverable": recoverable }),
    )
}

/// That a function was called too often, and after how long it may be called again.
pub(crate) fn too_many(most: u32, wait: Duration) -> Response {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    let message = format!("more than {most} calls within a minute; try again after {seconds} s");
    let mut response = json_of(
        429,
        &json!({
            "error": message,
            "errorCode": function_code(429),
            "message": message,
            "recoverable": true,
            "retryAfter": u64::try_from(seconds).unwrap_or(u64::MAX),
        }),
    );
    if let Ok(seconds) = HeaderValue::try_from(seconds.to_string()) {
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

/// That there is no such task, in the words that clients search for.
pub(crate) fn no_task() -> Response {
    json_of(404, &json!({ "error": "Task not found" }))
}

/// An error of the tables and procedures.
pub(crate) fn table_error(status: u16, code: &str, message: &str, details: Option<&str>) -> Response {
    json_of(status, &json!({ "code": code, "message": message, "details": details, "hint": null }))
}

const ANY: HeaderValue = HeaderValue::from_static("*");

fn open_to_all(mut response: Response) -> Response {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

/// What a browser is told that asks before it posts.
pub(crate) fn preflight() -> Response {
    let mut response = open_to_all(text_of(200, "ok"));
    let headers = response.headers_mut();
    headers
        .insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PATCH, DELETE, OPTIONS"));
    let names = "authorization, x-client-info, apikey, content-type, prefer, x-upsert";
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
    response
}

/// A problem that Baton tells, as the route that was asked would tell it.
pub(crate) fn phrase(problem: &Problem, path: &str) -> Response {
    let status = status_of(problem);
    let detail = problem.detail.as_str();
    let response = if path.starts_with("/rest/") {
        table_error(status, table_code(status), detail, None)
    } else if path.starts_with("/storage/") {
        json_of(
            status,
            &json!({ "statusCode": status.to_string(), "error": problem.title, "message": detail }),
        )
    } else {
        match path.strip_prefix("/functions/v1/").unwrap_or_default().replace('_', "-").as_str() {
            "claim-next-task" | "get-orchestrator-children" => text_of(status, detail),
            _ => coded(status, function_code(status), detail),
        }
    };
    open_to_all(response)
}

/// The platform tells a key that is missing from one that is wrong; and what does not fit is 400 there.
fn status_of(problem: &Problem) -> u16 {
    match problem.status {
        401 if problem.code == ProblemCode::Unauthorized.as_str()
            && !problem.detail.contains("got no such header") =>
        {
            403
        }
        415 | 422 => 400,
        status => status,
    }
}

fn function_code(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_body",
        401 | 403 => "authentication_failed",
        404 => "not_found",
        405 => "method_not_allowed",
        409 => "conflict",
        413 => "validation_error",
        429 => "rate_limited",
        503 => "service_unavailable",
        _ => "internal_error",
    }
}

fn table_code(status: u16) -> &'static str {
    match status {
        401 | 403 => "42501",
        404 => "PGRST205",
        400 => "PGRST100",
        405 => "PGRST117",
        409 => "23505",
        503 => "PGRST001",
        _ => "PGRST000",
    }
}

/// A body that is an object, of up to `most` bytes.
pub(crate) async fn object(request: Request, most: usize) -> Result<Object, Said> {
    match value(request, most).await? {
        Value::Object(object) => Ok(object),
        _ => Err(coded(400, "invalid_request_body", "the body must be a JSON object").into()),
    }
}

/// A body that is JSON, of up to `most` bytes.
pub(crate) async fn value(request: Request, most: usize) -> Result<Value, Said> {
    let bytes = body::required(request, most).await?;
    let text = body::utf8(&bytes)?;
    let broken =
        |error: serde_json::Error| coded(400, "invalid_request_body", &format!("Invalid JSON: {error}"));
    serde_json::from_str(text).map_err(|error| broken(error).into())
}

/// A text that is there and is not empty.
pub(crate) fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A whole number of 0 or more. One with nothing behind its point is the same to the platform's programs.
pub(crate) fn whole(value: &Value) -> Option<u64> {
    let number = if value.is_number() { fastapi::whole(value) } else { None };
    number.and_then(|number| u64::try_from(number).ok())
}

/// The value along a path of keys.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// The text along a path of keys.
pub(crate) fn text_at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Where names that are no UUIDs become ids.
const NAMES: &str = "edge-functions";

/// The id of a task that a client names so.
pub fn task_id(name: &str) -> TaskId {
    name.parse().unwrap_or_else(|_| TaskId::of_name(NAMES, name))
}

/// The id of the task that a client makes under a key of its own.
pub(crate) fn task_of_key(key: &str) -> TaskId {
    TaskId::of_name("edge-functions/idempotency_key", key)
}

/// A task's status as the platform has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Queued,
    InProgress,
    Complete,
    Failed,
    Cancelled,
}

impl Word {
    pub(crate) const ALL: [Self; 5] =
        [Self::Queued, Self::InProgress, Self::Complete, Self::Failed, Self::Cancelled];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::InProgress => "In Progress",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    /// What it is called of a task in this state. One that waits for others waits, to the platform.
    pub(crate) const fn of(state: State) -> Self {
        match state {
            State::Blocked | State::Queued => Self::Queued,
            State::Running => Self::InProgress,
            State::Completed => Self::Complete,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }

    /// Which others may follow.
    pub(crate) const fn next(self) -> &'static [Self] {
        match self {
            Self::Queued => &[Self::InProgress, Self::Failed, Self::Cancelled],
            Self::InProgress => &[Self::Complete, Self::Failed, Self::Cancelled, Self::Queued],
            Self::Complete | Self::Failed | Self::Cancelled => &[],
        }
    }
}

/// A time as Pythons write it: with an offset, or with none for UTC.
pub(crate) fn read_time(text: &str) -> Option<Timestamp> {
    let text = text.trim().replace(' ', "T");
    text.parse().or_else(|_| format!("{text}Z").parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_itself_and_any_other_name_has_an_id_of_its_own() {
        let uuid = "8b6e6f2e-5b7c-4cc3-98c4-dc0c0c07398f";
        assert_eq!(task_id(uuid).to_string(), uuid);
        assert_eq!(task_id("segment-1"), task_id("segment-1"));
        assert_ne!(task_id("segment-1"), task_id("segment-2"));
        assert_ne!(task_id("k"), task_of_key("k"));
    }

    #[test]
    fn a_number_is_whole_with_nothing_behind_its_point() {
        for (value, expected) in
            [(json!(3), Some(3)), (json!(3.0), Some(3)), (json!(3.5), None), (json!(-1), None)]
        {
            assert_eq!(whole(&value), expected, "{value}");
        }
        assert_eq!((whole(&json!("3")), whole(&json!(true))), (None, None));
    }

    #[test]
    fn every_state_has_a_word_and_what_is_final_has_no_next() {
        for state in State::ALL {
            let word = Word::of(state);
            assert_eq!(Word::named(word.as_str()), Some(word));
            assert_eq!(state.is_final(), word.next().is_empty(), "{state}");
        }
        assert_eq!(Word::named("queued"), None);
    }
}
