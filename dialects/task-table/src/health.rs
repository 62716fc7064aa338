//! Whether the server lives, and can do its work.

use baton_http::{ApiResult, App, json, ok};
use http::StatusCode;
use serde_json::json as value;

const SERVICE: &str = "baton";

pub(crate) fn live() -> ApiResult {
    ok(&value!({ "status": "healthy", "service": SERVICE, "version": env!("CARGO_PKG_VERSION") }))
}

pub(crate) async fn ready(app: &App) -> ApiResult {
    let health = app.store.health().await;
    let able = health.all().is_ok();
    let (status, code) =
        if able { ("ready", StatusCode::OK) } else { ("not_ready", StatusCode::SERVICE_UNAVAILABLE) };
    let store = if able { "ok" } else { "unavailable" };
    json(code, &value!({ "status": status, "deps": { "db": store } }))
}

pub(crate) fn coordinator() -> ApiResult {
    ok(&value!({ "status": "healthy", "coordinator": SERVICE }))
}
