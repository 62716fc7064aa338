//! The dialect of the cognitive platform's task table: its HTTP API.

use axum::extract::State;
use axum::response::Response;
use baton_api::Problem;
use baton_http::auth::Rule;
use baton_http::{ApiResult, App, Dialect, ok, routes};
use baton_model::Scope::Producer;
use http::StatusCode;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;

/// Its name in settings.
pub const NAME: &str = "task-table";

/// Who may ask for what.
pub const RULES: &[Rule] = &[Rule::get("/health", "task_table.health", &[Producer])];

fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(health))
}

/// The OpenAPI document of its routes.
pub fn document() -> utoipa::openapi::OpenApi {
    router().split_for_parts().1
}

/// The dialect over an app.
pub fn dialect(app: &App) -> Dialect {
    Dialect::new(NAME, RULES, router(), app.clone(), phrase)
}

fn phrase(problem: &Problem, _path: &str) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    baton_http::json(status, &json!({ "detail": problem.detail })).unwrap_or_default()
}

/// The server's health
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "task_table.health",
    tag = "task-table",
    responses((status = 200, description = "It lives")),
)]
async fn health(State(_app): State<App>) -> ApiResult {
    ok(&json!({ "status": "alive" }))
}
