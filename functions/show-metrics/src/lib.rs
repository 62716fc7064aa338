//! Metrics of a server as OpenMetrics text (`docs/metrics.md`).
//!
//! What the store knows is asked of it for each answer, by the same questions as `GET /v1/stats`, so that both tell the same; what the
//! process counts of its own work is in [`baton_http::Meters`]. It is no function on AWS: there, functions write their figures into their logs, and
//! no process lives long enough to be asked.

mod figures;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use baton_http::{ApiError, App, Caller, Fresh};
use http::header::CONTENT_TYPE;
use utoipa_axum::router::OpenApiRouter;

/// The type of the answer, by the OpenMetrics specification, version 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The latest answer.
type Latest = Arc<Fresh<Result<String, ApiError>>>;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    let latest = Latest::default();
    let show = get(move |State(app): State<App>, caller: Caller| show(app, caller, latest));
    OpenApiRouter::new().route("/metrics", show.clone()).route("/v1/metrics", show)
}

/// The figures of now, in OpenMetrics text.
///
/// # Errors
/// The store's own failures.
pub async fn text(app: &App) -> Result<String, ApiError> {
    figures::text(app).await
}

async fn show(app: App, caller: Caller, latest: Latest) -> Result<Response, ApiError> {
    // Figures of all queues are for those who may see all of them.
    caller.reach_everything()?;
    let text = latest.get(figures::text(&app)).await?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
