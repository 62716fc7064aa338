//! Pausing and resuming queues, the order in which they give out their tasks, and what they give to tasks that do not say.

use axum::extract::State;
use baton_api::defaults::{DefaultsChangeView, DefaultsRequest};
use baton_api::fleet::QueueView;
use baton_api::manage::ActionRequest;
use baton_api::order::{OrderChangeView, OrderRequest};
use baton_http::{ApiResult, App, Caller, JsonBody, OptionalBody, PathId, ok, wire};
use baton_model::{QueueDefaults, QueueName, QueueOrder};
use baton_store::{OrderQueue, PauseQueue, SetDefaults};

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
/// The queue gives out its tasks again. One that no task has ever named is gone from the list then, unless it has an order of its
/// own or defaults.
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

/// Say in which order a queue gives out its tasks
///
/// Whether it is fair, and whether the priorities of its tasks rise as they wait. The request states the whole order: what it leaves
/// out is off, and `{}` asks for the usual order (by priority, then by waiting time). The next claim goes by it; what runs goes on. A
/// queue that no task has named is known as long as its order is not the usual one.
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/order",
    operation_id = "order_queue",
    tag = "queues",
    params(("queue" = String, Path, description = "The queue")),
    request_body = OrderRequest,
    responses(
        (status = 200, description = "The order is set", body = OrderChangeView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn order(
    State(app): State<App>,
    caller: Caller,
    PathId(queue): PathId<QueueName>,
    JsonBody(request): JsonBody<OrderRequest>,
) -> ApiResult {
    caller.reach_queue(&queue)?;
    let order = request.order();
    let by = caller.asks(request.by, request.reason.as_deref());
    let set = OrderQueue { now: app.now(), queue: queue.clone(), order };
    let (from, to) = app.store.order_queue(set).await?;
    let (was, is) = (in_words(from), in_words(to));
    caller.has_changed(was.clone(), is.clone());
    let by = by.as_ref().map(tracing::field::display);
    tracing::info!(%queue, by, reason = request.reason, from = was, to = is, "queue's order changed");
    ok(&OrderChangeView { queue, from: from.into(), to: to.into() })
}

/// What an order says, for the audit log; nothing of the usual one.
fn in_words(order: QueueOrder) -> Option<String> {
    let fair = order.fair.map(|fair| format!("fair by {}", fair.as_str()));
    let age = order.age_after_seconds.map(|seconds| format!("a priority higher after each {seconds} s"));
    let words: Vec<String> = fair.into_iter().chain(age).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// Change what a queue gives to tasks that do not say
///
/// Attempts, timeout, backoff, priority and retention for tasks that are created without. What the request leaves out stays as it is;
/// what is null is given no longer. Tasks that are created since have it, and show it; those that exist are left as they are. Where
/// several processes use one store, all go by it within 10 seconds.
#[utoipa::path(
    patch,
    path = "/v1/queues/{queue}/defaults",
    operation_id = "set_queue_defaults",
    tag = "queues",
    params(("queue" = String, Path, description = "The queue")),
    request_body = DefaultsRequest,
    responses(
        (status = 200, description = "The defaults before and since", body = DefaultsChangeView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn set_defaults(
    State(app): State<App>,
    caller: Caller,
    PathId(queue): PathId<QueueName>,
    JsonBody(request): JsonBody<DefaultsRequest>,
) -> ApiResult {
    caller.reach_queue(&queue)?;
    let change = request.change();
    let by = caller.asks(request.by, request.reason.as_deref());
    let set = SetDefaults { now: app.now(), queue: queue.clone(), change };
    let (from, to) = app.store.set_defaults(set).await?;
    let (was, is) = (defaults_in_words(from), defaults_in_words(to));
    caller.has_changed(was.clone(), is.clone());
    let by = by.as_ref().map(tracing::field::display);
    tracing::info!(%queue, by, reason = request.reason, from = was, to = is, "queue's defaults changed");
    ok(&DefaultsChangeView { queue, from: from.into(), to: to.into() })
}

/// What defaults say, for the audit log; nothing of none.
fn defaults_in_words(defaults: QueueDefaults) -> Option<String> {
    let backoff = |one: baton_model::Backoff| {
        let (base, max) = (one.base.as_secs_f64(), one.max.as_secs_f64());
        format!("backoff of {base} s, times {}, at most {max} s, jitter {}", one.factor, one.jitter)
    };
    let words: Vec<String> = [
        defaults.max_attempts.map(|attempts| format!("{attempts} attempts")),
        defaults.timeout.map(|timeout| format!("timeout of {} s", timeout.as_secs_f64())),
        defaults.backoff.map(backoff),
        defaults.priority.map(|priority| format!("priority {}", priority.as_str())),
        defaults.retention.map(|retention| format!("kept for {} s", retention.as_secs_f64())),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!words.is_empty()).then(|| words.join("; "))
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
