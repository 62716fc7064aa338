//! Cancelling and retrying tasks.

use axum::extract::State;
use baton_api::manage::{ActionRequest, RetryRequest};
use baton_api::task::TaskView;
use baton_http::{ApiResult, App, Caller, OptionalBody, PathId, ok};
use baton_model::{Label, Task, TaskId};
use baton_store::{Cancel, Retry};

/// Cancel a task
///
/// A worker that runs it learns so from its next heartbeat. A cancelled task stays as it is and is answered as then.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/cancel",
    operation_id = "cancel_task",
    tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    request_body = Option<ActionRequest>,
    responses(
        (status = 200, description = "The task is cancelled", body = TaskView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    PathId(task): PathId<TaskId>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    caller.reach(&*app.store, task).await?;
    let now = app.now();
    let by = caller.asks(request.by, request.reason.as_deref());
    let task = app.store.cancel(Cancel { now, task, by: by.clone(), reason: request.reason }).await?;
    log("task cancelled", &task, by.as_ref());
    if let Some(end) = &task.head.ended {
        app.doorbell.ring_worker(&end.worker);
    }
    ok(&TaskView::new(task, now))
}

/// Retry a task
///
/// Puts a failed or cancelled task back into its queue, with a fresh set of attempts.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/retry",
    operation_id = "retry_task",
    tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    request_body = Option<RetryRequest>,
    responses(
        (status = 200, description = "The task waits in its queue", body = TaskView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn retry(
    State(app): State<App>,
    caller: Caller,
    PathId(task): PathId<TaskId>,
    OptionalBody(request): OptionalBody<RetryRequest>,
) -> ApiResult {
    caller.reach(&*app.store, task).await?;
    let now = app.now();
    let by = caller.asks(request.by, request.reason.as_deref());
    let delay = request.delay_seconds.unwrap_or_default();
    let task = app.store.retry(Retry { now, task, by: by.clone(), reason: request.reason, delay }).await?;
    log("task retried", &task, by.as_ref());
    ok(&TaskView::new(task, now))
}

fn log(what: &str, task: &Task, by: Option<&Label>) {
    tracing::info!(
        task_id = %task.head.id,
        task_type = %task.task_type,
        queue = %task.queue,
        domain = task.domain.as_ref().map(tracing::field::display),
        attempt = task.head.attempt,
        worker_id = task.head.ended.as_ref().map(|end| tracing::field::display(&end.worker)),
        by = by.map(tracing::field::display),
        "{what}"
    );
}
