//! What operators do: cancel and retry tasks, pause queues, ask workers to drain or stop.

mod queues;
mod tasks;
mod workers;

use baton_http::{App, routes};
use utoipa_axum::router::OpenApiRouter;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::retry))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::stop))
        .routes(routes!(workers::run))
}
