//! Generations: the output records of completed tasks.

use std::sync::Arc;

use axum::extract::State;
use baton_api::task::{GenerationView, Page};
use baton_http::{ApiResult, App, Caller, PathId, QueryFields, list, ok};
use baton_model::GenerationId;
use baton_store::{GenerationFilter, StoreError};

/// List generations
///
/// The newest first. Those that fit every parameter.
#[utoipa::path(
    get,
    path = "/v1/generations",
    tag = "generations",
    params(
        ("task_id" = Option<String>, Query, description = "Of this task"),
        ("type" = Option<String>, Query, description = "Of this task type"),
        ("queue" = Option<String>, Query, description = "Of this queue"),
        ("project" = Option<String>, Query, description = "Of this project"),
        ("worker" = Option<String>, Query, description = "Completed by this worker"),
        ("finished_from" = Option<String>, Query, description = "Finished at this time (RFC 3339) or later"),
        ("finished_before" = Option<String>, Query, description = "Finished before this time (RFC 3339)"),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<GenerationView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list_generations(
    State(app): State<App>,
    caller: Caller,
    mut query: QueryFields,
) -> ApiResult {
    let mut filter = GenerationFilter {
        task: query.one("task_id"),
        task_type: query.one("type"),
        queue: query.one("queue"),
        project: query.one("project"),
        worker: query.one("worker"),
        finished_from: query.one("finished_from"),
        finished_before: query.one("finished_before"),
    };
    let page = query.page();
    query.finish()?;
    caller.narrow(&mut filter.project, &mut filter.queue)?;
    let in_parts = app.store.capabilities().lists_in_parts;
    let read = move |page| {
        let (store, filter) = (Arc::clone(&app.store), filter.clone());
        async move { store.generations(filter, page).await }
    };
    let show =
        move |generation| caller.sees_generation(&generation).then(|| GenerationView::from(generation));
    list(page, in_parts, read, show).await
}

/// Show a generation
#[utoipa::path(
    get,
    path = "/v1/generations/{id}",
    tag = "generations",
    params(("id" = String, Path, description = "The generation")),
    responses(
        (status = 200, description = "The generation", body = GenerationView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get_generation(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<GenerationId>,
    query: QueryFields,
) -> ApiResult {
    query.finish()?;
    let generation = app.store.generation(id).await?;
    if !caller.sees_generation(&generation) {
        return Err(StoreError::GenerationNotFound(id).into());
    }
    ok(&GenerationView::from(generation))
}
