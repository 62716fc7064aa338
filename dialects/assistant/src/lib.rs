//! The dialect of the in-memory assistant task server: its routes under both prefixes, its words, and its three log files.

mod ask;
mod asked;
mod create;
mod entry;
mod execute;
mod files;
mod log;
mod pulse;
mod python;
mod read;
mod reflect;
mod routes;
mod stamp;
mod wrong;

use std::io;
use std::sync::Arc;

use axum::response::Response;
use baton_api::{Problem, ProblemCode};
use baton_http::{App, Dialect, json};
use baton_runtime::settings::AssistantSettings;
use http::StatusCode;
use serde_json::json as value;

use ask::Assistant;
use log::Log;

pub use routes::RULES;

/// Its name in settings.
pub const NAME: &str = "assistant";

/// The OpenAPI document of its routes.
pub fn document() -> utoipa::openapi::OpenApi {
    routes::router().split_for_parts().1
}

/// The dialect over an app.
///
/// # Errors
/// If its log files cannot be opened.
pub fn dialect(app: &App, settings: &AssistantSettings) -> io::Result<Dialect> {
    let log = Arc::new(Log::open(settings)?);
    let assistant = Assistant { app: app.clone(), settings: Arc::new(settings.clone()), log };
    let wait = settings.execute_wait;
    let slow = vec![("/task", wait), ("/tasks", wait), ("/", wait)];
    Ok(Dialect::new(NAME, RULES, routes::router(), assistant, phrase).with_slow(slow))
}

/// A problem as FastAPI says it.
fn phrase(problem: &Problem, _path: &str) -> Response {
    let detail = match problem.code.as_str() {
        code if code == ProblemCode::RouteNotFound.as_str() => "Not Found",
        code if code == ProblemCode::MethodNotAllowed.as_str() => "Method Not Allowed",
        _ => problem.detail.as_str(),
    };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, &value!({ "detail": detail })).unwrap_or_default()
}
