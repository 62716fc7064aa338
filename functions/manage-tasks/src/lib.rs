//! What operators do: cancel, retry and change tasks, one by one or many by one command, pause and order queues and set their
//! defaults and supply, set limits and schedules, change settings while servers run, ask workers to drain or stop.

mod bulk;
mod change;
mod config;
mod limits;
mod queues;
mod schedules;
mod supply;
mod tasks;
mod workers;

use baton_http::{App, routes};
use utoipa_axum::router::OpenApiRouter;

pub use change::change_task;
pub use tasks::{cancel_task, retry_task};
pub use workers::direct_worker;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::retry))
        .routes(routes!(change::change))
        .routes(routes!(bulk::create))
        .routes(routes!(bulk::list))
        .routes(routes!(bulk::show))
        .routes(routes!(bulk::call_off))
        .routes(routes!(limits::set, limits::list))
        .routes(routes!(limits::clear))
        .routes(routes!(limits::set_owner))
        .routes(routes!(limits::list_projects))
        .routes(routes!(config::list))
        .routes(routes!(config::get, config::set, config::unset))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(queues::order))
        .routes(routes!(queues::set_defaults))
        .routes(routes!(schedules::set, schedules::list))
        .routes(routes!(schedules::get))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::delete))
        .routes(routes!(supply::set, supply::get))
        .routes(routes!(supply::unset))
        .routes(routes!(supply::list))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::stop))
        .routes(routes!(workers::run))
}
