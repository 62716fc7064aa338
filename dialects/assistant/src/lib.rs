//! The dialect of the in-memory assistant task server: its routes under both prefixes, its words, and its three log files.

use std::io;

use axum::extract::State;
use axum::response::Response;
use baton_api::Problem;
use baton_http::auth::Rule;
use baton_http::{ApiResult, App, Dialect, ok, routes};
use baton_model::Scope::Producer;
use baton_runtime::settings::AssistantSettings;
use http::StatusCode;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;

/// Its name in settings.
pub const NAME: &str = "assistant";

/// Who may ask for what.
pub const RULES: &[Rule] = &[Rule::get("/heartbeat", "assistant.heartbeat", &[Producer])];

fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(heartbeat))
}

/// The OpenAPI document of its routes.
pub fn document() -> utoipa::openapi::OpenApi {
    router().split_for_parts().1
}

/// The dialect over an app.
///
/// # Errors
/// If its log files cannot be opened.
pub fn dialect(app: &App, _settings: &AssistantSettings) -> io::Result<Dialect> {
    Ok(Dialect::new(NAME, RULES, router(), app.clone(), phrase))
}

fn phrase(problem: &Problem, _path: &str) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    baton_http::json(status, &json!({ "detail": problem.detail })).unwrap_or_default()
}

/// The server's health
#[utoipa::path(
    get,
    path = "/heartbeat",
    operation_id = "assistant.heartbeat",
    tag = "assistant",
    responses((status = 200, description = "It lives")),
)]
async fn heartbeat(State(_app): State<App>) -> ApiResult {
    ok(&json!({ "status": "alive" }))
}
