//! The supply of queues.

use axum::extract::State;
use baton_api::manage::ActionRequest;
use baton_api::supply::{SetSupply as SetSupplyRequest, SupplyView};
use baton_api::task::Page;
use baton_http::spec::template_spec;
use baton_http::{ApiResult, App, Caller, JsonBody, OptionalBody, PathId, QueryFields, created, ok, wire};
use baton_model::schedule::Said;
use baton_model::{Label, QueueName, Supply, SupplyChange};
use baton_store::{Changed, SetSupply, StoreError};

use crate::schedules::seed;

/// The most entries of a page, whatever is asked for: each may have the params of several tasks.
const MOST_LISTED: u32 = 50;

/// Set the supply of a queue
///
/// When fewer than `min` tasks of the queue are ready, tasks are created from the templates until `target` are, however many servers run.
/// The request states the whole supply, whatever it was before; the same again changes nothing. What was created stays as it is.
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/supply",
    operation_id = "set_supply",
    tag = "queues",
    params(("queue" = String, Path, description = "The queue")),
    request_body = SetSupplyRequest,
    responses(
        (status = 201, description = "The supply is new", body = SupplyView),
        (status = 200, description = "There was one, and it says this now", body = SupplyView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn set(
    State(app): State<App>,
    caller: Caller,
    PathId(queue): PathId<QueueName>,
    JsonBody(request): JsonBody<SetSupplyRequest>,
) -> ApiResult {
    caller.reach_queue(&queue)?;
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    for (place, template) in request.templates.iter().enumerate() {
        let mut task = template.task.clone();
        task.queue = Some(queue.clone());
        match template_spec(&app, &caller, &format!("templates[{place}].task."), task) {
            Ok(task) => tasks.push(task),
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(caller.beyond(errors));
    }
    let change = SupplyChange::Set { plan: Box::new(request.plan(tasks)), seed: seed(&app) };
    let Changed { from, to } = change_to(&app, &caller, &queue, change, request.by, request.reason).await?;
    let is_new = from.is_none();
    let supply = to.ok_or(StoreError::SupplyNotFound(queue))?;
    let view = SupplyView::from(supply);
    if is_new { created(&view) } else { ok(&view) }
}

/// Unset the supply of a queue
///
/// It is refilled no more. The tasks that were created stay as they are. The answer is the supply as it was.
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/supply/unset",
    operation_id = "unset_supply",
    tag = "queues",
    params(("queue" = String, Path, description = "The queue")),
    request_body = Option<ActionRequest>,
    responses(
        (status = 200, description = "The supply is gone", body = SupplyView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn unset(
    State(app): State<App>,
    caller: Caller,
    PathId(queue): PathId<QueueName>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    caller.reach_queue(&queue)?;
    let changed = change_to(&app, &caller, &queue, SupplyChange::Unset, request.by, request.reason).await?;
    let supply = changed.from.ok_or(StoreError::SupplyNotFound(queue))?;
    ok(&SupplyView::from(supply))
}

/// Get the supply of a queue
#[utoipa::path(
    get,
    path = "/v1/queues/{queue}/supply",
    operation_id = "get_supply",
    tag = "queues",
    params(("queue" = String, Path, description = "The queue")),
    responses(
        (status = 200, description = "The supply", body = SupplyView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    PathId(queue): PathId<QueueName>,
) -> ApiResult {
    caller.reach_queue(&queue)?;
    ok(&SupplyView::from(app.store.supply(&queue).await?))
}

/// List supplies
///
/// By queue. A token that is bound to queues sees theirs.
#[utoipa::path(
    get,
    path = "/v1/supplies",
    operation_id = "list_supplies",
    tag = "queues",
    params(
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out. A page has 50 at most"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<SupplyView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    let mut page = query.page();
    query.finish()?;
    caller.reach_whole_queues()?;
    page.limit = page.limit.min(MOST_LISTED);
    let mut found = app.store.supplies(page).await?;
    found.items.retain(|supply| caller.reach_queue(&supply.queue).is_ok());
    ok(&wire::page(found, SupplyView::from))
}

async fn change_to(
    app: &App,
    caller: &Caller,
    queue: &QueueName,
    change: SupplyChange,
    by: Option<Label>,
    reason: Option<String>,
) -> Result<Changed<Supply>, StoreError> {
    let by = caller.asks(by, reason.as_deref());
    let said = Said { now: app.now(), by: by.clone(), reason: reason.clone() };
    let changed = app.store.set_supply(SetSupply { queue: queue.clone(), change, said }).await?;
    let (was, is) = (changed.from.as_ref().map(in_words), changed.to.as_ref().map(in_words));
    caller.has_changed(was.clone(), is.clone());
    let by = by.as_ref().map(tracing::field::display);
    tracing::info!(%queue, by, reason, from = was, to = is, "queue's supply changed");
    Ok(changed)
}

/// What a supply says, for the audit log.
fn in_words(supply: &Supply) -> String {
    let plan = &supply.plan;
    let template = |one: &baton_model::Template| format!("{} × {}", one.weight, one.task.task_type);
    let templates: Vec<String> = plan.templates.iter().map(template).collect();
    let asked = if plan.while_asked { ", while asked" } else { "" };
    let paused = if plan.paused { ", paused" } else { "" };
    format!("{} to {} ready of {}{asked}{paused}", plan.min, plan.target, templates.join(", "))
}
