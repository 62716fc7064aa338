//! Takes tasks back from their workers: completed with their output, failed, or released unharmed.
//! They come over HTTP or through the queue `completions`.

mod ended;
mod ending;
mod endings;
mod files;

use axum::extract::State;
use baton_api::Problem;
use baton_api::claim::{ClaimRequest, ClaimView};
use baton_api::complete::{CompleteRequest, CompletedView};
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, Meters, PathId, inputs, ok, routes, wire};
use baton_model::{Fence, Generation, Output, QueueName, Status, TaskId, TaskType, Timestamp};
use baton_store::{Claim, ClaimAnswer, Complete, CompleteAnswer, Completion, StoreError};
use utoipa_axum::router::OpenApiRouter;

pub use ended::{fail_task, release_task};
pub use ending::end;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(complete))
        .routes(routes!(ended::fail))
        .routes(routes!(ended::release))
        .routes(routes!(endings::end_attempts))
}

/// Complete a task
///
/// Sets the task's status and writes its output record, the generation, in one commit. The same completion sent again
/// answers as the first time. With `claim`, the answer brings the worker's next tasks along. With `files`, the task is completed
/// only if all of them are there; nothing is changed if one is not, and the attempt goes on.
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
    ok(&complete_task(&app, &caller, task, request).await?)
}

/// Completes a task for a caller, as the route does.
///
/// # Errors
/// Those of the route.
pub async fn complete_task(
    app: &App,
    caller: &Caller,
    task: TaskId,
    request: CompleteRequest,
) -> Result<CompletedView, ApiError> {
    let now = app.now();
    let worker = request.worker_id.clone();
    caller.reach_attempt(&*app.store, task, &worker).await?;
    let (complete, claim) = completion(app, caller, task, request, (now, "files")).await?;
    let next = claim.map(|claim| wire::claim(app, caller, claim, now)).transpose()?;
    let named = named(next.as_ref());
    let answer = app.store.complete(complete, next).await?;
    let CompleteAnswer { generation, domain, repeated, next } = answer;
    let taken = Completion { generation, domain, repeated };
    log(&app.meters, &taken);
    app.doorbell.ring_worker(&worker);
    let (next, next_problem) = match next {
        None => (None, None),
        Some(found) => told(app, caller, found, &named, now).await,
    };
    Ok(CompletedView { next, next_problem, ..view(&taken.generation) })
}

/// A completion as the store takes it, and the claim that comes along; in which field of the request it names files.
///
/// # Errors
/// Which of its files are not there.
async fn completion(
    app: &App,
    caller: &Caller,
    task: TaskId,
    request: CompleteRequest,
    (now, field): (Timestamp, &str),
) -> Result<(Complete, Option<ClaimRequest>), ApiError> {
    let CompleteRequest { worker_id, attempt, location, kind, metadata, result, files, run_seconds, claim } =
        request;
    let fence = Fence { attempt, worker: worker_id };
    let files = files::named(app, caller, (task, &fence), files, field).await?;
    let complete = Complete {
        now,
        task,
        fence,
        generation: app.ids.generation(),
        output: Output { location, kind, metadata, result, files },
        ran: run_seconds,
    };
    Ok((complete, claim))
}

/// Tells the log of a task that was completed by this very request.
fn log(meters: &Meters, taken: &Completion) {
    let Completion { generation, domain, repeated: false } = taken else { return };
    meters.completed(generation);
    tracing::info!(
        task_id = %generation.task,
        task_type = %generation.task_type,
        queue = %generation.queue,
        domain = domain.as_ref().map(tracing::field::display),
        attempt = generation.attempt,
        worker_id = %generation.worker,
        generation_id = %generation.id,
        run_seconds = generation.run_time().as_secs_f64(),
        "task completed"
    );
}

fn view(generation: &Generation) -> CompletedView {
    CompletedView {
        task_id: generation.task,
        status: Status::Completed,
        generation_id: generation.id,
        finished_at: generation.finished_at,
        next: None,
        next_problem: None,
    }
}

/// The queues and types that a claim names.
type Named = (Vec<QueueName>, Vec<TaskType>);

fn named(claim: Option<&Claim>) -> Named {
    claim.map(|claim| (claim.queues.clone(), claim.types.clone())).unwrap_or_default()
}

/// What a claim found that came along, or why it failed.
async fn told(
    app: &App,
    caller: &Caller,
    found: Result<ClaimAnswer, StoreError>,
    (queues, types): &Named,
    now: Timestamp,
) -> (Option<ClaimView>, Option<Problem>) {
    let mut view = match found {
        Ok(found) => wire::claim_view(&app.meters, caller.sift(found), queues, types, now),
        Err(error) => return untold(error.into()),
    };
    match inputs::fill(&*app.store, &mut view.tasks).await {
        Ok(()) => (Some(view), None),
        Err(error) => untold(error.into()),
    }
}

/// What is told of a claim that failed, along with what was done all the same.
fn untold(error: ApiError) -> (Option<ClaimView>, Option<Problem>) {
    error.log();
    (None, Some(error.into_problem()))
}
