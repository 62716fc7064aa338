//! Batches: one, and the list of them.

use axum::extract::State;
use baton_api::batch::{BatchFailureView, BatchView, DoingView};
use baton_api::task::Page;
use baton_http::{ApiResult, App, Caller, PathId, QueryFields, ok, wire};
use baton_model::{BatchId, ProjectId};
use baton_store::{BatchDetail, BatchFilter, StoreError};

/// The most entries of a page, whatever is asked for: each is counted.
const MOST_LISTED: u32 = 100;

/// Show a batch
///
/// How many of its tasks are in which state, its first failures, and when it will probably end.
#[utoipa::path(
    get,
    path = "/v1/batches/{id}",
    operation_id = "get_batch",
    tag = "batches",
    params(("id" = String, Path, description = "The batch")),
    responses(
        (status = 200, description = "The batch", body = BatchView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get_batch(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<BatchId>,
    query: QueryFields,
) -> ApiResult {
    query.finish()?;
    caller.reach_all_queues()?;
    let detail = app.store.batch(id).await?;
    if !caller.covers_project(&detail.batch.project) {
        return Err(StoreError::BatchNotFound(id).into());
    }
    let BatchDetail { batch, blocked, queued, running, at_least, failures } = detail;
    let first_failures = failures.into_iter().map(|one| BatchFailureView {
        task_id: one.task,
        task_type: one.task_type,
        failed_at: one.failed_at,
        error: one.error,
    });
    let view = BatchView::new(batch, app.now());
    let doing = (view.unfinished > 0).then_some(DoingView { blocked, queued, running, at_least });
    ok(&BatchView { doing, first_failures: first_failures.collect(), ..view })
}

/// List batches
///
/// The newest id first; a page may be shorter than asked while it names a next one.
#[utoipa::path(
    get,
    path = "/v1/batches",
    operation_id = "list_batches",
    tag = "batches",
    params(
        ("project" = Option<String>, Query, description = "Only those of this project"),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out. A page has 100 at most"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<BatchView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list_batches(
    State(app): State<App>,
    caller: Caller,
    mut query: QueryFields,
) -> ApiResult {
    let mut project = query.one::<ProjectId>("project");
    let mut page = query.page();
    query.finish()?;
    caller.reach_all_queues()?;
    caller.narrow(&mut project, &mut None)?;
    page.limit = page.limit.min(MOST_LISTED);
    let now = app.now();
    let found = app.store.batches(BatchFilter { project }, page).await?;
    ok(&wire::page(found, |batch| BatchView::new(batch, now)))
}
