//! Attempts that ended without an output.

use axum::extract::State;
use baton_api::complete::EndedView;
use baton_api::complete::{FailRequest, ReleaseRequest};
use baton_http::{ApiResult, App, Caller, JsonBody, PathId, ok};
use baton_model::{Failure, Fence, State as TaskState, Task, TaskId, Timestamp, WorkerId};
use baton_store::{Fail, Release};

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
    caller.reach_attempt(&*app.store, task, &request.worker_id).await?;
    let now = app.now();
    let worker = request.worker_id;
    let error = request.error;
    let fail = Fail {
        now,
        task,
        fence: Fence { attempt: request.attempt, worker: worker.clone() },
        failure: Failure { message: error.message, code: error.code, details: error.details },
        retryable: request.retryable.unwrap_or(true),
        retry_after: request.retry_after_seconds,
    };
    let answer = app.store.fail(fail).await?;
    if !answer.repeated {
        log("attempt failed", &answer.task, request.attempt, &worker);
    }
    app.doorbell.ring_worker(&worker);
    ok(&view(&answer.task, now))
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
    caller.reach_attempt(&*app.store, task, &request.worker_id).await?;
    let now = app.now();
    let worker = request.worker_id;
    let release = Release {
        now,
        task,
        fence: Fence { attempt: request.attempt, worker: worker.clone() },
        delay: request.delay_seconds.unwrap_or_default(),
        reason: request.reason,
    };
    let answer = app.store.release(release).await?;
    if !answer.repeated {
        log("task released", &answer.task, request.attempt, &worker);
    }
    app.doorbell.ring_worker(&worker);
    ok(&view(&answer.task, now))
}

fn log(what: &str, task: &Task, attempt: u32, worker: &WorkerId) {
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

fn view(task: &Task, now: Timestamp) -> EndedView {
    let waits = task.head.state.state() == TaskState::Queued;
    EndedView {
        task_id: task.head.id,
        status: task.status(now),
        attempts_used: task.head.attempts_used(),
        max_attempts: task.head.max_attempts,
        run_after: waits.then_some(task.head.run_after),
    }
}
