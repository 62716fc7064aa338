//! Shows what there is: tasks, batches, generations, workers, queues, statistics, the workers' log lines; whether the program can
//! work, and the pages that describe it. Changes nothing.

mod batches;
mod fleet;
mod generations;
mod graph;
mod pages;
mod system;
mod tasks;
mod timeline;
mod why;

use baton_http::{App, routes};
use utoipa_axum::router::OpenApiRouter;

pub use pages::error_page;
pub use timeline::SLOW;
pub use why::why_view;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(tasks::list_tasks))
        .routes(routes!(tasks::get_task))
        .routes(routes!(tasks::get_history))
        .routes(routes!(batches::list_batches))
        .routes(routes!(batches::get_batch))
        .routes(routes!(graph::get_graph))
        .routes(routes!(why::get_why))
        .routes(routes!(tasks::find_task_ids))
        .routes(routes!(generations::list_generations))
        .routes(routes!(generations::get_generation))
        .routes(routes!(fleet::list_workers))
        .routes(routes!(fleet::get_worker))
        .routes(routes!(fleet::list_queues))
        .routes(routes!(fleet::get_queue))
        .routes(routes!(fleet::get_stats))
        .routes(routes!(fleet::list_logs))
        .routes(routes!(timeline::list_timeline))
        .routes(routes!(timeline::hear_events))
        .routes(routes!(system::livez))
        .routes(routes!(system::readyz))
        .routes(routes!(system::openapi))
        .routes(routes!(pages::show_error_page))
}
