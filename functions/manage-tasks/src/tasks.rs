//! Cancelling and retrying tasks.

use std::collections::BTreeSet;

use axum::extract::State;
use baton_api::manage::{CancelRequest, RetryRequest};
use baton_api::task::TaskView;
use baton_http::{ApiError, ApiResult, App, Caller, OptionalBody, PathId, ok};
use baton_model::{Expected, Label, Task, TaskId, limits};
use baton_store::{Cancel, Retry};

/// Cancel a task
///
/// A worker that runs it learns so from its next heartbeat. A cancelled task stays as it is and is answered as then. The tasks
/// that wait for it end with it, as each says; with `with_dependants` all of them are cancelled, whatever they say: they must
/// be within the token's queues.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/cancel",
    operation_id = "cancel_task",
    tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    request_body = Option<CancelRequest>,
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
    OptionalBody(request): OptionalBody<CancelRequest>,
) -> ApiResult {
    let task = cancel_task(&app, &caller, task, request).await?;
    ok(&TaskView::new(task, app.now()))
}

/// Calls a task off for a caller, as the route does.
///
/// # Errors
/// Those of the route.
pub async fn cancel_task(
    app: &App,
    caller: &Caller,
    task: TaskId,
    request: CancelRequest,
) -> Result<Task, ApiError> {
    caller.reach(&*app.store, task).await?;
    if request.with_dependants {
        reach_dependants(app, caller, task).await?;
    }
    let now = app.now();
    let by = caller.asks(request.by, request.reason.as_deref());
    let task = app
        .store
        .cancel(Cancel {
            now,
            task,
            by: by.clone(),
            reason: request.reason,
            with_dependants: request.with_dependants,
        })
        .await?;
    app.meters.cancelled(&task);
    log("task cancelled", &task, by.as_ref());
    if let Some(end) = &task.head.ended {
        app.doorbell.ring_worker(&end.worker);
    }
    Ok(task)
}

/// Retry a task
///
/// Puts a failed or cancelled task back into its queue, with a fresh set of attempts; blocked, if it waits for others. With
/// `with_dependants` the tasks that ended because it did not complete wait for it again: all that depend on it must be within the
/// token's queues.
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
    let task = retry_task(&app, &caller, task, request).await?;
    ok(&TaskView::new(task, app.now()))
}

/// Starts a finished task over for a caller, as the route does.
///
/// # Errors
/// Those of the route.
pub async fn retry_task(
    app: &App,
    caller: &Caller,
    task: TaskId,
    request: RetryRequest,
) -> Result<Task, ApiError> {
    caller.reach(&*app.store, task).await?;
    if request.with_dependants {
        reach_dependants(app, caller, task).await?;
    }
    let now = app.now();
    let by = caller.asks(request.by, request.reason.as_deref());
    let delay = request.delay_seconds.unwrap_or_default();
    let task = app
        .store
        .retry(Retry {
            now,
            task,
            by: by.clone(),
            reason: request.reason,
            delay,
            with_dependants: request.with_dependants,
        })
        .await?;
    log("task retried", &task, by.as_ref());
    Ok(task)
}

/// Lets a change pass of all that depends on a task, where the caller is bound to queues: its own token's bounds hold for
/// tasks that it does not name, too.
async fn reach_dependants(app: &App, caller: &Caller, task: TaskId) -> Result<(), ApiError> {
    if caller.queues().next().is_none() {
        return Ok(());
    }
    let (mut seen, mut next) = (BTreeSet::from([task]), vec![task]);
    while !next.is_empty() {
        let found = app.store.linked(std::mem::take(&mut next)).await?;
        for one in &found {
            if !caller.covers(&one.queue, &one.project)
                || one.more_dependants
                || seen.len() > limits::GRAPH_TASKS
            {
                let expected = "false, as tasks depend on it that the token does not reach, or very many do";
                return Err(ApiError::field("with_dependants", Expected::new(expected, "true")));
            }
            next.extend(one.dependants.iter().filter(|id| seen.insert(**id)));
        }
    }
    Ok(())
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
