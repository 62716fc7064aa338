//! Looks after alerts, and tells how they and webhooks stand.
//!
//! A server looks at the figures of its rules every ten seconds ([`run_alerts`]), a function on AWS once a minute ([`scheduled`]). What
//! fires and what has ended is written in one commit with what is told of it: in the time line, and to webhooks, whose messages
//! `baton-webhooks` sends.

mod alerts;
mod command;
mod figures;
mod round;
mod watch;
mod webhooks;

use axum::routing::{get, post};
use baton_http::App;
use utoipa_axum::router::OpenApiRouter;

pub use round::{AlertRounds, scheduled};
pub use watch::{Watch, run_alerts};

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .route("/v1/alerts", get(alerts::list))
        .route("/v1/alerts/{alert}", get(alerts::show).put(alerts::set).delete(alerts::delete))
        .route("/v1/webhooks", get(webhooks::list))
        .route("/v1/webhooks/{webhook}", get(webhooks::show).put(webhooks::set).delete(webhooks::delete))
        .route("/v1/webhooks/{webhook}/enable", post(webhooks::enable))
        .route("/v1/webhooks/{webhook}/redeliver", post(webhooks::redeliver))
        .route("/v1/webhooks/{webhook}/test", post(webhooks::test))
}
