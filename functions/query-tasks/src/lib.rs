//! Shows what there is: tasks, generations, workers, queues, statistics, the workers' log lines. Changes nothing.

mod fleet;
mod generations;
mod tasks;

use baton_http::App;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(tasks::list_tasks))
        .routes(routes!(tasks::get_task))
        .routes(routes!(tasks::get_history))
        .routes(routes!(tasks::find_task_ids))
        .routes(routes!(generations::list_generations))
        .routes(routes!(generations::get_generation))
        .routes(routes!(fleet::list_workers))
        .routes(routes!(fleet::get_worker))
        .routes(routes!(fleet::list_queues))
        .routes(routes!(fleet::get_queue))
        .routes(routes!(fleet::get_stats))
        .routes(routes!(fleet::list_logs))
}
