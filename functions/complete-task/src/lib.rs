//! Takes tasks back from their workers: completed with their output, failed, or released unharmed.
//! They come over HTTP or through the queue `completions`.

mod ended;
mod ending;

use axum::extract::State;
use baton_api::Problem;
use baton_api::claim::ClaimView;
use baton_api::complete::CompleteRequest;
use baton_api::complete::CompletedView;
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, PathId, inputs, ok, routes, wire};
use baton_model::{Fence, Output, Status, TaskId};
use baton_store::{Complete, StoreError};
use utoipa_axum::router::OpenApiRouter;

pub use ending::end;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(complete))
        .routes(routes!(ended::fail))
        .routes(routes!(ended::release))
}

/// Complete a task
///
/// Sets the task's status and writes its output record, the generation, in one commit. The same completion sent again
/// answers as the first time. With `claim`, the answer brings the worker's next tasks along.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/complete",
    tag = "workers",
    params(("id" = String, Path, description = "The task")),
    request_body = CompleteRequest,
    responses(
        (status = 200, description = "The task is completed, and its generation stands", body = CompletedView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn complete(
    State(app): State<App>,
    caller: Caller,
    PathId(task): PathId<TaskId>,
    JsonBody(request): JsonBody<CompleteRequest>,
) -> ApiResult {
    let now = app.now();
    let worker = request.worker_id;
    caller.reach_attempt(&*app.store, task, &worker).await?;
    let next = request.claim.map(|claim| wire::claim(&app, &caller, claim, now)).transpose()?;
    let named = next.as_ref().map(|claim| (claim.queues.clone(), claim.types.clone())).unwrap_or_default();
    let complete = Complete {
        now,
        task,
        fence: Fence { attempt: request.attempt, worker: worker.clone() },
        generation: app.ids.generation(),
        output: Output {
            location: request.location,
            kind: request.kind,
            metadata: request.metadata,
            result: request.result,
        },
        ran: request.run_seconds,
    };
    let answer = app.store.complete(complete, next).await?;
    let generation = answer.generation;
    if !answer.repeated {
        tracing::info!(
            task_id = %generation.task,
            task_type = %generation.task_type,
            queue = %generation.queue,
            domain = answer.domain.as_ref().map(tracing::field::display),
            attempt = generation.attempt,
            worker_id = %generation.worker,
            generation_id = %generation.id,
            run_seconds = generation.run_time().as_secs_f64(),
            "task completed"
        );
    }
    app.doorbell.ring_worker(&worker);
    let (next, next_problem) = match answer.next {
        None => (None, None),
        Some(Ok(found)) => {
            let mut view = wire::claim_view(caller.sift(found), &named.0, &named.1, now);
            match inputs::fill(&*app.store, &mut view.tasks).await {
                Ok(()) => (Some(view), None),
                Err(error) => untold(error),
            }
        }
        Some(Err(error)) => untold(error),
    };
    ok(&CompletedView {
        task_id: generation.task,
        status: Status::Completed,
        generation_id: generation.id,
        finished_at: generation.finished_at,
        next,
        next_problem,
    })
}

/// What a completion that was taken tells of a claim that failed.
fn untold(error: StoreError) -> (Option<ClaimView>, Option<Problem>) {
    let error = ApiError::from(error);
    error.log();
    (None, Some(error.into_problem()))
}
