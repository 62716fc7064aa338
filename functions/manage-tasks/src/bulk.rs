//! Bulk commands: one command for all tasks of a filter.

use std::time::Duration;

use axum::extract::State;
use baton_api::bulk::{BulkCountView, BulkRequest, BulkView};
use baton_api::task::Page;
use baton_http::{ApiResult, App, Caller, JsonBody, PathId, QueryFields, ok, wire};
use baton_model::{Bulk, BulkAction, BulkId, BulkState, BulkTasks, ProjectId, TaskChange};
use baton_store::bulk::{abort, filter_of, go_on};
use baton_store::{PageRequest, StoreError};
use tokio::time::Instant;

/// How long a request goes on with its own command before it answers; the server, or the reaper's rounds, go on from there.
const BY_REQUEST: Duration = Duration::from_secs(1);

/// Up to how many tasks a dry run counts.
const COUNTED: u64 = 10_000;

/// How long a dry run counts at most.
const COUNTING: Duration = Duration::from_secs(5);

/// Do something to many tasks
///
/// Cancels, retries, changes or deletes all tasks of a filter, or those of up to 1,000 ids, each as the command for one task does it; only what has ended is deleted. At least one
/// field of the filter is to be there. Tasks that are created later are not touched. The answer tells how far it has come within a second;
/// it goes on by itself, also if the server is stopped in between (`GET /v1/bulk/{id}`). Each task's history names the bulk command.
/// With `dry_run` nothing is done: the answer is how many tasks it would look at (`matches`, `more`).
#[utoipa::path(
    post,
    path = "/v1/tasks/bulk",
    operation_id = "bulk_tasks",
    tag = "tasks",
    request_body = BulkRequest,
    responses(
        (status = 200, description = "The command, with how far it is; of a dry run, how many tasks", body = BulkView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
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
    let bulk = Bulk {
        project: caller.project().cloned(),
        queues: caller.queues().cloned().collect(),
        by,
        reason: request.reason.clone(),
        ..Bulk::new(app.ids.bulk(), app.now(), action, tasks)
    };
    if request.dry_run {
        return ok(&count(&app, &bulk).await?);
    }
    app.store.create_bulk(bulk.clone()).await?;
    caller.has_changed(None, Some(format!("{} ({})", bulk.mark(), bulk.action.as_str())));
    tracing::info!(bulk = %bulk.id, action = bulk.action.as_str(), "bulk command made");
    let began = Instant::now();
    let mut standing = bulk;
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
    ok(&BulkView::from(standing))
}

/// How many tasks a command would look at.
async fn count(app: &App, bulk: &Bulk) -> Result<BulkCountView, StoreError> {
    let filter = match &bulk.tasks {
        BulkTasks::Ids(ids) => return Ok(BulkCountView { matches: ids.len() as u64, more: false }),
        BulkTasks::Filter(filter) => filter_of(bulk, filter),
    };
    let (began, mut matches, mut request) = (Instant::now(), 0, PageRequest::first(1_000));
    loop {
        let page = app.store.tasks(filter.clone(), request).await?;
        matches += page.items.iter().filter(|task| bulk.covers(&task.queue, &task.project)).count() as u64;
        match page.next {
            None => return Ok(BulkCountView { matches, more: false }),
            Some(_) if matches >= COUNTED || began.elapsed() >= COUNTING => {
                return Ok(BulkCountView { matches, more: true });
            }
            Some(next) => request = PageRequest { after: Some(next), ..PageRequest::first(1_000) },
        }
    }
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
