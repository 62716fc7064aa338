//! Attempts that ended without an output.

use axum::extract::State;
use baton_api::complete::EndedView;
use baton_api::complete::{FailRequest, ReleaseRequest};
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, Meters, PathId, ok};
use baton_model::{Bounds, Failure, Fence, State as TaskState, Task, TaskId, Timestamp};
use baton_store::{Fail, FailAnswer, Release};

/// Fail an attempt
///
/// The task goes back to its queue after its backoff (or `retry_after_seconds`) while it has attempts left, unless
/// `retryable` is `false`; else it is failed for good. The same request sent again answers as the first time.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/fail",
    tag = "workers",
    params(("id" = String, Path, description = "The task")),
    request_body = FailRequest,
    responses(
        (status = 200, description = "The attempt has ended", body = EndedView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn fail(
    State(app): State<App>,
    caller: Caller,
    PathId(task): PathId<TaskId>,
    JsonBody(request): JsonBody<FailRequest>,
) -> ApiResult {
    ok(&fail_task(&app, &caller, task, request).await?)
}

/// Fails an attempt for a caller, as the route does.
///
/// # Errors
/// Those of the route.
pub async fn fail_task(
    app: &App,
    caller: &Caller,
    task: TaskId,
    request: FailRequest,
) -> Result<EndedView, ApiError> {
    let now = app.now();
    let fail = failure(task, caller.bounds(), request, now);
    let fence = fail.fence.clone();
    let answer = app.store.fail(fail).await?;
    log(&app.meters, FAILED, &answer, &fence);
    app.doorbell.ring_worker(&fence.worker);
    Ok(view(&answer.task, now))
}

/// Release a task
///
/// Gives the task back unharmed: the attempt does not count. It may be claimed again after `delay_seconds`.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/release",
    tag = "workers",
    params(("id" = String, Path, description = "The task")),
    request_body = ReleaseRequest,
    responses(
        (status = 200, description = "The task is back in its queue", body = EndedView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn release(
    State(app): State<App>,
    caller: Caller,
    PathId(task): PathId<TaskId>,
    JsonBody(request): JsonBody<ReleaseRequest>,
) -> ApiResult {
    ok(&release_task(&app, &caller, task, request).await?)
}

/// Gives a task back for a caller, as the route does.
///
/// # Errors
/// Those of the route.
pub async fn release_task(
    app: &App,
    caller: &Caller,
    task: TaskId,
    request: ReleaseRequest,
) -> Result<EndedView, ApiError> {
    let now = app.now();
    let release = release_of(task, caller.bounds(), request, now);
    let fence = release.fence.clone();
    let answer = app.store.release(release).await?;
    log(&app.meters, RELEASED, &answer, &fence);
    app.doorbell.ring_worker(&fence.worker);
    Ok(view(&answer.task, now))
}

/// A failure as the store takes it.
pub(crate) fn failure(task: TaskId, caller: Bounds, request: FailRequest, now: Timestamp) -> Fail {
    let FailRequest { worker_id: worker, attempt, error, retryable, retry_after_seconds } = request;
    Fail {
        now,
        task,
        fence: Fence { attempt, worker },
        caller,
        failure: Failure { message: error.message, code: error.code, details: error.details },
        retryable: retryable.unwrap_or(true),
        retry_after: retry_after_seconds,
    }
}

/// A release as the store takes it.
pub(crate) fn release_of(task: TaskId, caller: Bounds, request: ReleaseRequest, now: Timestamp) -> Release {
    let ReleaseRequest { worker_id: worker, attempt, delay_seconds, reason } = request;
    let (fence, delay) = (Fence { attempt, worker }, delay_seconds.unwrap_or_default());
    Release { now, task, fence, caller, delay, reason }
}

/// What the log says of an attempt that failed.
pub(crate) const FAILED: &str = "attempt failed";
/// What the log says of a task that was given back.
pub(crate) const RELEASED: &str = "task released";

/// Tells the log of an attempt that has ended by this very request.
pub(crate) fn log(meters: &Meters, what: &str, answer: &FailAnswer, fence: &Fence) {
    let FailAnswer { task, repeated: false } = answer else { return };
    match what {
        RELEASED => meters.released(answer, fence),
        _ => meters.failed(answer, fence),
    }
    let Fence { attempt, worker } = fence;
    tracing::info!(
        task_id = %task.head.id,
        task_type = %task.task_type,
        queue = %task.queue,
        domain = task.domain.as_ref().map(tracing::field::display),
        attempt,
        worker_id = %worker,
        status = task.head.state.state().as_str(),
        // The message may tell what belongs to the task's owner alone; it is in the task's history.
        error_code = task.error.as_ref().and_then(|error| error.code.as_deref()),
        "{what}"
    );
}

/// A task after the attempt.
pub(crate) fn view(task: &Task, now: Timestamp) -> EndedView {
    let waits = task.head.state.state() == TaskState::Queued;
    EndedView {
        task_id: task.head.id,
        status: task.status(now),
        attempts_used: task.head.attempts_used(),
        max_attempts: task.head.max_attempts,
        run_after: waits.then_some(task.head.run_after),
    }
}
