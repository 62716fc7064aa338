//! Whether the program is there and can work, and what it offers.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use baton_api::answer::HealthView;
use baton_http::{ApiResult, App, ok};
use http::header::CONTENT_TYPE;

/// The document of all functions' routes. One function cannot make it, as it knows no other; the server can, and a test of
/// it holds this copy against what it makes.
const OPENAPI: &str = include_str!("../../../docs/openapi.json");

fn health() -> HealthView {
    HealthView { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// Are you there?
///
/// Looks at nothing but the process itself.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "operations",
    responses((status = 200, description = "Yes", body = HealthView)),
)]
pub(crate) async fn livez() -> ApiResult {
    ok(&health())
}

/// Can you work?
///
/// Checks that the store can be read and written.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "Yes", body = HealthView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn readyz(State(app): State<App>) -> ApiResult {
    app.store.check().await?;
    ok(&health())
}

/// What is there to ask?
///
/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json", body = Object)),
)]
pub(crate) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
