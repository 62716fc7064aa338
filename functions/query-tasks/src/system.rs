//! Whether the program is there and can work, and what it offers.

use std::sync::LazyLock;

use axum::extract::State;
use axum::response::IntoResponse;
use baton_api::health::{HealthView, ReadinessView};
use baton_http::health::ready;
use baton_http::{ApiResult, App, QueryFields, ok};
use baton_store::StoreError;
use http::header::CONTENT_TYPE;
use miniz_oxide::inflate::{DecompressError, decompress_to_vec};

/// The document of all functions' routes. One function cannot make it, as it knows no other; the server can, and a test of
/// it holds this copy, packed by the build, against what it makes.
static OPENAPI: LazyLock<Result<Vec<u8>, DecompressError>> =
    LazyLock::new(|| decompress_to_vec(include_bytes!(concat!(env!("OUT_DIR"), "/openapi.deflate"))));

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
/// Reads the store and writes to it, and tells both, with how much room is left; on AWS it only reads, as each write is paid
/// for. 503 if one of them cannot be done: then `store` of the problem says which, and why.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    params(("verbose" = Option<String>, Query, description = "With whatever value: tells `queues_untaken`, too")),
    responses(
        (status = 200, description = "Yes", body = ReadinessView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn readyz(State(app): State<App>, mut query: QueryFields) -> ApiResult {
    let verbose = query.text("verbose").is_some();
    query.finish()?;
    let store = ready(app.store.health().await)?;
    let HealthView { status, version } = health();
    // Who asks needs no token, so that no queue is named; the log names them, and `baton debug health`.
    let queues_untaken = verbose.then(|| app.untaken.queues().len() as u64);
    ok(&ReadinessView { status, version, store, queues_untaken })
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
pub(crate) async fn openapi() -> ApiResult {
    let document = OPENAPI.as_ref().map_err(|error| StoreError::Internal {
        what: format!("the OpenAPI document cannot be unpacked: {error}"),
        cause: None,
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], document.as_slice()).into_response())
}
