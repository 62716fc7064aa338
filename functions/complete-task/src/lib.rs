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
use baton_model::{
    Fence, Generation, Output, QueueName, RequestKey, Status, TaskId, TaskType, Timestamp, WorkerId,
};
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
/// answers as the first time. With `claim`, the answer brings the worker's next tasks along; its `request_id` may be the task's id
/// with `@` and the attempt, by which the completion names it and brings the same leases when it is sent again. A claim that has the
/// name of another completion is refused in `next_problem`, and the task is completed all the same. With `files`, the task is completed
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
    let own = RequestKey::of_completion(task, request.attempt);
    if let Some(claim) = &request.claim {
        // What is completed must be told, and what is claimed along with it is told at length.
        caller.keep_room_for_tasks(app, claim.max_tasks.unwrap_or(1)).await?;
    }
    let (complete, claim) = completion(app, caller, task, request, (now, "files")).await?;
    let own = Own { name: own, worker: &worker };
    let misnamed = claim.as_ref().and_then(|claim| misnamed(claim, Some(&own)));
    let next = match claim.filter(|_| misnamed.is_none()) {
        Some(claim) => Some(following(app, caller, claim, now)?),
        None => None,
    };
    let named = named(next.as_ref());
    let answer = app.store.complete(complete, next).await?;
    let CompleteAnswer { generation, domain, repeated, next } = answer;
    let taken = Completion { generation, domain, repeated };
    log(&app.meters, &taken);
    app.doorbell.ring_worker(&worker);
    let (next, next_problem) = match (next, misnamed) {
        (Some(found), _) => told(app, caller, found, &named, now).await,
        (None, Some(misnamed)) => untold(misnamed),
        (None, None) => (None, None),
    };
    Ok(CompletedView { next, next_problem, ..view(&taken.generation) })
}

/// Whose claim a completion may name, and how.
struct Own<'a> {
    name: RequestKey,
    worker: &'a WorkerId,
}

/// The refusal of a claim that comes along with ends, if it has a completion's name and is not that one's own. What has ended is not
/// refused for it.
fn misnamed(claim: &ClaimRequest, own: Option<&Own<'_>>) -> Option<ApiError> {
    let name = claim.request_id.as_ref().filter(|name| name.is_of_completion())?;
    let is_own = own.is_some_and(|own| *name == own.name && claim.worker_id == *own.worker);
    (!is_own).then(|| wire::of_completion(name, "claim.request_id"))
}

/// The claim that comes along as the store takes it, by its completion's name if it has that.
fn following(app: &App, caller: &Caller, mut claim: ClaimRequest, now: Timestamp) -> Result<Claim, ApiError> {
    let own = claim.request_id.take_if(|name| name.is_of_completion());
    let claim = wire::claim(app, caller, claim, now)?;
    Ok(Claim { request: own.or(claim.request), ..claim })
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
    if !files.is_empty() {
        // They are looked for, and taken, before the store judges.
        caller.reach_attempt(&*app.store, task, &fence).await?;
    }
    let files = files::named(app, caller, (task, &fence), files, field).await?;
    let complete = Complete {
        now,
        task,
        fence,
        caller: caller.bounds(),
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

/// The queues and types that a claim names, and how many tasks it asks for.
type Named = (Vec<QueueName>, Vec<TaskType>, u32);

fn named(claim: Option<&Claim>) -> Named {
    claim.map(|claim| (claim.queues.clone(), claim.types.clone(), claim.max_tasks)).unwrap_or_default()
}

/// What a claim found that came along, or why it failed.
async fn told(
    app: &App,
    caller: &Caller,
    found: Result<ClaimAnswer, StoreError>,
    (queues, types, most): &Named,
    now: Timestamp,
) -> (Option<ClaimView>, Option<Problem>) {
    let mut view = match found {
        Ok(found) => wire::claim_view(&app.meters, caller.sift(found, *most), queues, types, now),
        Err(error) => return untold(error.into()),
    };
    match inputs::fill(app, &mut view.tasks).await {
        Ok(()) => (Some(view), None),
        Err(error) => untold(error.into()),
    }
}

/// What is told of a claim that failed, along with what was done all the same.
fn untold(error: ApiError) -> (Option<ClaimView>, Option<Problem>) {
    error.log();
    (None, Some(error.into_problem()))
}
