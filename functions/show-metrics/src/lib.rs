//! Metrics of a server as OpenMetrics text (`docs/metrics.md`).
//!
//! What the store knows is asked of it for each answer, by the same questions as `GET /v1/stats`, so that both tell the same; what the
//! process counts of its own work is in [`baton_http::Meters`]. It is no function on AWS: there, functions write their figures into their logs, and
//! no process lives long enough to be asked.

mod figures;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use baton_http::{ApiError, App, Caller};
use http::header::CONTENT_TYPE;
use tokio::sync::Mutex;
use utoipa_axum::router::OpenApiRouter;

/// The type of the answer, by the OpenMetrics specification, version 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long an answer is good for: however many ask, the store is asked once in this time.
const FRESH: Duration = Duration::from_secs(1);

/// The latest answer.
#[derive(Clone, Default)]
struct Latest(Arc<Mutex<Option<(Instant, String)>>>);

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    let latest = Latest::default();
    OpenApiRouter::new()
        .route("/metrics", get(move |State(app): State<App>, caller: Caller| show(app, caller, latest)))
}

async fn show(app: App, caller: Caller, latest: Latest) -> Result<Response, ApiError> {
    // Figures of all queues are for those who may see all of them.
    caller.reach_everything()?;
    let mut latest = latest.0.lock().await;
    let text = match &*latest {
        Some((at, text)) if at.elapsed() < FRESH => text.clone(),
        _ => {
            let text = figures::text(&app).await?;
            *latest = Some((Instant::now(), text.clone()));
            text
        }
    };
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
