//! The dialect of the multi-agent development orchestrator: its tasks under their clients' own ids, its words and its numbers.

mod ask;
mod counts;
mod create;
mod entry;
mod full;
mod history;
mod kept;
mod list;
mod live;
mod metrics;
mod no;
mod outputs;
mod preferences;
mod query;
mod read;
mod records;
mod recover;
mod routes;
mod stamp;
mod word;
mod workers;
mod wrong;

use std::sync::Arc;

use axum::response::Response;
use baton_api::{Problem, ProblemCode};
use baton_http::{App, Dialect, json};
use baton_runtime::settings::OrchestratorSettings;
use http::StatusCode;
use serde_json::json as value;

use ask::Orchestrator;
use live::Board;

pub use kept::{branch, queue, task_id, type_of};
pub use routes::RULES;

/// Its name in settings.
pub const NAME: &str = "orchestrator";

/// The OpenAPI document of its routes.
pub fn document() -> utoipa::openapi::OpenApi {
    routes::router().split_for_parts().1
}

/// The dialect over an app.
pub fn dialect(app: &App, settings: &OrchestratorSettings) -> Dialect {
    let orchestrator = Orchestrator {
        app: app.clone(),
        settings: Arc::new(settings.clone()),
        board: Arc::new(Board::new()),
    };
    let dialect = Dialect::new(NAME, RULES, routes::router(), orchestrator, phrase);
    dialect.with_slashes().with_origins(settings.origins.clone())
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
