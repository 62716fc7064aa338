//! Whether the server is there and can work, and what it offers.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use baton_api::answer::HealthView;
use baton_http::{ApiResult, App, ok};
use http::header::CONTENT_TYPE;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(livez)).routes(routes!(readyz)).routes(routes!(openapi))
}

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
async fn livez() -> ApiResult {
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
async fn readyz(State(app): State<App>) -> ApiResult {
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
async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], crate::api::openapi()).into_response()
}
