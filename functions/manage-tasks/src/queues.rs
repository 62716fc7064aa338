//! Pausing and resuming queues.

use axum::extract::State;
use baton_api::fleet::QueueView;
use baton_api::manage::ActionRequest;
use baton_http::{ApiResult, App, Caller, OptionalBody, PathId, ok, wire};
use baton_model::QueueName;
use baton_store::PauseQueue;

/// Pause a queue
///
/// A paused queue gives out no task; what runs goes on. By whom and why it was paused is shown with the queue. A queue that
/// no task has named is known until it is resumed.
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/pause",
    operation_id = "pause_queue",
    tag = "queues",
    params(("queue" = String, Path, description = "The queue")),
    request_body = Option<ActionRequest>,
    responses(
        (status = 200, description = "The queue is paused", body = QueueView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller,
    PathId(queue): PathId<QueueName>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    set(app, caller, queue, true, request).await
}

/// Resume a queue
///
/// The queue gives out its tasks again. One that no task has ever named is gone from the list then.
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/resume",
    operation_id = "resume_queue",
    tag = "queues",
    params(("queue" = String, Path, description = "The queue")),
    request_body = Option<ActionRequest>,
    responses(
        (status = 200, description = "The queue is not paused", body = QueueView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller,
    PathId(queue): PathId<QueueName>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    set(app, caller, queue, false, request).await
}

async fn set(app: App, caller: Caller, queue: QueueName, paused: bool, request: ActionRequest) -> ApiResult {
    caller.reach_queue(&queue)?;
    let by = caller.asks(request.by, request.reason.as_deref());
    let reason = request.reason;
    let pause = PauseQueue { now: app.now(), queue, paused, by: by.clone(), reason: reason.clone() };
    let stats = app.store.pause_queue(pause).await?;
    let by = by.as_ref().map(tracing::field::display);
    tracing::info!(queue = %stats.queue, by, reason, "{}", if paused { "queue paused" } else { "queue resumed" });
    ok(&wire::queue_view(stats))
}
