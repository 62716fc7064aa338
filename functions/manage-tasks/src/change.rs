//! Changing tasks that wait.

use axum::extract::State;
use baton_api::change::ChangeRequest;
use baton_api::task::TaskView;
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, PathId, ok};
use baton_model::{Task, TaskId};
use baton_store::ChangeTask;

/// Change a task that waits
///
/// Changes the priority, the queue, when it may be claimed, how long an attempt may run and how many it is given, of a task that is
/// ready, for later or blocked. From then on it has the turn that its new priority and time give it in its queue. The history tells what
/// each was and is; what is so already is no change. A task that runs or has ended is refused with `transition_refused`, as is one whose
/// unique key another holds in the new queue.
#[utoipa::path(
    patch,
    path = "/v1/tasks/{id}",
    operation_id = "change_task",
    tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    request_body = ChangeRequest,
    responses(
        (status = 200, description = "The task as it is since", body = TaskView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    PathId(task): PathId<TaskId>,
    JsonBody(request): JsonBody<ChangeRequest>,
) -> ApiResult {
    let task = change_task(&app, &caller, task, request).await?;
    ok(&TaskView::new(task, app.now()))
}

/// Changes a task that waits for a caller, as the route does.
///
/// # Errors
/// Those of the route.
pub async fn change_task(
    app: &App,
    caller: &Caller,
    task: TaskId,
    request: ChangeRequest,
) -> Result<Task, ApiError> {
    if let Some(queue) = &request.queue {
        caller.reach_place_in("queue", queue)?;
    }
    caller.reach(&*app.store, task).await?;
    let now = app.now();
    let to = request.change();
    let by = caller.asks(request.by, request.reason.as_deref());
    let within = caller.queues().cloned().collect();
    let change = ChangeTask { now, task, by: by.clone(), reason: request.reason, to, within };
    let task = app.store.change(change).await?;
    tracing::info!(
        task_id = %task.head.id,
        task_type = %task.task_type,
        queue = %task.queue,
        priority = task.priority.as_str(),
        by = by.as_ref().map(tracing::field::display),
        "task changed"
    );
    Ok(task)
}
