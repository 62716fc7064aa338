//! Bulk commands: one command for all tasks of a filter.

mod count;

use std::time::Duration;

use axum::extract::State;
use baton_api::bulk::{BulkAnswerView, BulkRequest, BulkView};
use baton_api::task::Page;
use baton_http::idempotency::replay;
use baton_http::{ApiResult, App, Caller, IdempotencyKey, JsonBody, PathId, QueryFields, ok, wire};
use baton_model::{
    Bulk, BulkAction, BulkId, BulkState, BulkTasks, Fingerprint, ProjectId, TaskChange, Timestamp,
};
use baton_store::bulk::{abort, go_on};
use baton_store::{Idempotency, KeepKey, StoreError};
use tokio::time::Instant;

/// How long a request goes on with its own command before it answers; the server, or the reaper's rounds, go on from there.
const BY_REQUEST: Duration = Duration::from_secs(1);

/// The route, by which its idempotency keys are its own.
const ROUTE: &str = "POST /v1/tasks/bulk";

/// Do something to many tasks
///
/// Cancels, retries, changes or deletes all tasks of a filter, or those of up to 1,000 ids, each as the command for one task does it; only what has ended is deleted. At least one
/// field of the filter is to be there. Tasks that are created later are not touched. The answer tells how far it has come within a second;
/// it goes on by itself, also if the server is stopped in between (`GET /v1/bulk/{id}`). Each task's history names the bulk command.
/// Sent again with the same `Idempotency-Key` within 24 hours, the request makes no second command: the answer is the one of the first time,
/// with how far it is.
/// With `dry_run` nothing is done: the answer is how many tasks it would look at (`matches`, `more`, `about`), of ids those that there are and
/// that it may be done to.
#[utoipa::path(
    post,
    path = "/v1/tasks/bulk",
    operation_id = "bulk_tasks",
    tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header, description = "The caller's name for this request")),
    request_body = BulkRequest,
    responses(
        (status = 200, description = "The command, with how far it is; of a dry run, how many tasks", body = BulkAnswerView,
            headers(("Idempotency-Replayed" = String, description = "`true` if an earlier request made the command"))),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    key: IdempotencyKey,
    JsonBody(request): JsonBody<BulkRequest>,
) -> ApiResult {
    let mut tasks = request.tasks();
    if let BulkTasks::Filter(filter) = &mut tasks {
        caller.narrow(&mut filter.project, &mut filter.queue)?;
    }
    let action = request.bulk_action();
    if let BulkAction::Change(TaskChange { queue: Some(queue), .. }) = &action {
        caller.reach_place_in("with.queue", queue)?;
    }
    let by = caller.asks(request.by.clone(), request.reason.as_deref());
    // What a dry run answers is not kept: nothing is done by it.
    let idempotency = key.scoped(ROUTE, &caller, || Fingerprint::of(&request)).filter(|_| !request.dry_run);
    let Named { id, made_at, replayed } = named(&app, idempotency).await?;
    let bulk = Bulk {
        project: caller.project().cloned(),
        queues: caller.queues().cloned().collect(),
        by,
        reason: request.reason.clone(),
        ..Bulk::new(id, made_at, action, tasks)
    };
    if request.dry_run {
        return ok(&BulkAnswerView::Count(count::count(&app, &bulk).await?));
    }
    // One that is there stays as it is. The first request may have ended before it was.
    app.store.create_bulk(bulk.clone()).await?;
    caller.has_changed(None, Some(format!("{} ({})", bulk.mark(), bulk.action.as_str())));
    tracing::info!(bulk = %id, action = bulk.action.as_str(), replayed, "bulk command made");
    let mut standing = match replayed {
        true => app.store.bulk(id).await?.unwrap_or(bulk),
        false => bulk,
    };
    let began = Instant::now();
    while standing.state == BulkState::Running && began.elapsed() < BY_REQUEST {
        let version = standing.version;
        match go_on(&*app.store, standing.clone(), Bulk::PAGE, app.now()).await {
            Ok(after) => standing = after,
            // It is kept, and goes on.
            Err(error) => {
                tracing::warn!(bulk = %standing.id, error = error.report(), "a bulk command's page could not be done");
                break;
            }
        }
        if standing.version == version {
            break;
        }
    }
    let answer = BulkAnswerView::Command(Box::new(BulkView::from(standing)));
    Ok(replay(ok(&answer)?, replayed))
}

/// Which command a request makes.
struct Named {
    id: BulkId,
    made_at: Timestamp,
    /// Whether an earlier request has made it.
    replayed: bool,
}

/// A new command's id; under a key, that of the first request of the key, with its time. By the time ids sort, and by it spans are told
/// from, so that the command is the same whichever of the requests makes its record.
async fn named(app: &App, idempotency: Option<Idempotency>) -> Result<Named, StoreError> {
    let (id, now) = (app.ids.bulk(), app.now());
    let Some(idempotency) = idempotency else { return Ok(Named { id, made_at: now, replayed: false }) };
    let kept = app.store.keep_key(KeepKey { now, idempotency, id: *id.as_bytes() }).await?;
    Ok(Named { id: BulkId::from_bytes(kept.id), made_at: kept.created_at, replayed: kept.replayed })
}

/// Whether a caller sees a command: one without bounds sees all, another those that were made within the same bounds.
fn sees(caller: &Caller, bulk: &Bulk) -> bool {
    let of = |project: &Option<ProjectId>| project.as_ref() == caller.project();
    !caller.is_bound() || of(&bulk.project) && bulk.queues.iter().eq(caller.queues())
}

async fn known(app: &App, caller: &Caller, id: BulkId) -> Result<Bulk, StoreError> {
    let bulk = app.store.bulk(id).await?.filter(|bulk| sees(caller, bulk));
    bulk.ok_or(StoreError::BulkNotFound(id))
}

/// List bulk commands
///
/// The newest first. They are kept for 30 days after their end.
#[utoipa::path(
    get,
    path = "/v1/bulk",
    operation_id = "list_bulks",
    tag = "tasks",
    params(
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<BulkView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    let page = query.page();
    query.finish()?;
    let mut found = app.store.bulks(page).await?;
    found.items.retain(|bulk| sees(&caller, bulk));
    ok(&wire::page(found, BulkView::from))
}

/// Show a bulk command
///
/// How many tasks were looked at and changed, and why others were not.
#[utoipa::path(
    get,
    path = "/v1/bulk/{id}",
    operation_id = "get_bulk",
    tag = "tasks",
    params(("id" = String, Path, description = "The bulk command")),
    responses(
        (status = 200, description = "The command, with how far it is", body = BulkView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn show(State(app): State<App>, caller: Caller, PathId(id): PathId<BulkId>) -> ApiResult {
    ok(&BulkView::from(known(&app, &caller, id).await?))
}

/// Call a bulk command off
///
/// What it has done stands. One that has ended stays as it is.
#[utoipa::path(
    post,
    path = "/v1/bulk/{id}/abort",
    operation_id = "abort_bulk",
    tag = "tasks",
    params(("id" = String, Path, description = "The bulk command")),
    responses(
        (status = 200, description = "The command, with how far it has come", body = BulkView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn call_off(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<BulkId>,
) -> ApiResult {
    known(&app, &caller, id).await?;
    let bulk = abort(&*app.store, id, app.now()).await?;
    tracing::info!(bulk = %id, looked_at = bulk.looked_at, changed = bulk.changed, "bulk command called off");
    ok(&BulkView::from(bulk))
}
