//! Asking something of workers. A worker hears of it in the answer to its next heartbeat or claim.

use axum::extract::State;
use baton_api::fleet::WorkerView;
use baton_api::manage::ActionRequest;
use baton_http::{ApiError, ApiResult, App, Caller, OptionalBody, PathId, ok, wire};
use baton_model::{Directive, WorkerId};
use baton_store::{Direct, WorkerDetail};

/// Drain a worker
///
/// Asks it to claim nothing more, finish what it runs, and exit.
#[utoipa::path(
    post,
    path = "/v1/workers/{worker}/drain",
    operation_id = "drain_worker",
    tag = "workers",
    params(("worker" = String, Path, description = "The worker")),
    request_body = Option<ActionRequest>,
    responses(
        (status = 200, description = "The worker will be told", body = WorkerView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn drain(
    State(app): State<App>,
    caller: Caller,
    PathId(worker): PathId<WorkerId>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    direct(app, caller, worker, Directive::Drain, request).await
}

/// Stop a worker
///
/// Asks it to give everything back and exit.
#[utoipa::path(
    post,
    path = "/v1/workers/{worker}/stop",
    operation_id = "stop_worker",
    tag = "workers",
    params(("worker" = String, Path, description = "The worker")),
    request_body = Option<ActionRequest>,
    responses(
        (status = 200, description = "The worker will be told", body = WorkerView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn stop(
    State(app): State<App>,
    caller: Caller,
    PathId(worker): PathId<WorkerId>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    direct(app, caller, worker, Directive::Stop, request).await
}

/// Let a worker run on
///
/// Takes back an earlier drain or stop, as long as the worker has not ended. With `ended_at` in the answer it was too late.
#[utoipa::path(
    post,
    path = "/v1/workers/{worker}/run",
    operation_id = "run_worker",
    tag = "workers",
    params(("worker" = String, Path, description = "The worker")),
    request_body = Option<ActionRequest>,
    responses(
        (status = 200, description = "The worker will be told", body = WorkerView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn run(
    State(app): State<App>,
    caller: Caller,
    PathId(worker): PathId<WorkerId>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    direct(app, caller, worker, Directive::Run, request).await
}

async fn direct(
    app: App,
    caller: Caller,
    worker: WorkerId,
    directive: Directive,
    request: ActionRequest,
) -> ApiResult {
    let detail = direct_worker(&app, &caller, worker, directive, request).await?;
    ok(&wire::worker_view(detail, None, &app.leases, app.now()))
}

/// Asks something of a worker for a caller, as the routes do.
///
/// # Errors
/// Those of the routes.
pub async fn direct_worker(
    app: &App,
    caller: &Caller,
    worker: WorkerId,
    directive: Directive,
    request: ActionRequest,
) -> Result<WorkerDetail, ApiError> {
    caller.reach_everything()?;
    let now = app.now();
    let by = caller.asks(request.by, request.reason.as_deref());
    let reason = request.reason.clone();
    let direct = Direct { now, worker, directive, by: by.clone(), reason, only_if: None };
    let detail = app.store.direct_worker(direct).await?;
    let by = by.as_ref().map(tracing::field::display);
    tracing::info!(
        worker_id = %detail.worker.id,
        directive = directive.as_str(),
        by,
        reason = request.reason,
        "worker directed"
    );
    // Its waiting claims are to hear of it now and not when they have waited enough.
    app.doorbell.ring_worker(&detail.worker.id);
    Ok(detail)
}
