//! Tasks and their histories.

use std::sync::Arc;

use axum::extract::State;
use baton_api::task::{EventView, IdsView, Page, ProgressView, TaskDetailView, TaskView};
use baton_http::{ApiError, ApiResult, App, Caller, PathId, QueryFields, list, ok};
use baton_model::{Expected, TaskId};
use baton_store::{StoreError, TaskDetail, TaskFilter};

/// How many ids a prefix is answered with at most: enough to say that it is ambiguous, and by what.
const IDS: u32 = 20;

/// How many ids are looked through for a caller that sees only some tasks: each costs a read.
const IDS_SIFTED: u32 = 200;

/// List tasks
///
/// The newest first. Those that fit every parameter.
#[utoipa::path(
    get,
    path = "/v1/tasks",
    tag = "tasks",
    params(
        ("status" = Option<Vec<String>>, Query,
            description = "Any of blocked, created, queued, retry, running, completed, failed, cancelled; repeated or with commas"),
        ("type" = Option<String>, Query, description = "Of this type"),
        ("queue" = Option<String>, Query, description = "In this queue"),
        ("project" = Option<String>, Query, description = "Of this project"),
        ("domain" = Option<String>, Query, description = "Of this domain"),
        ("assigned_by" = Option<String>, Query, description = "Assigned by this one"),
        ("worker" = Option<String>, Query, description = "Held, or last held, by this worker"),
        ("created_from" = Option<String>, Query, description = "Created at this time (RFC 3339) or later"),
        ("created_before" = Option<String>, Query, description = "Created before this time (RFC 3339)"),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<TaskView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list_tasks(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    let now = app.now();
    let mut filter = TaskFilter {
        statuses: query.many("status"),
        task_type: query.one("type"),
        queue: query.one("queue"),
        project: query.one("project"),
        domain: query.one("domain"),
        assigned_by: query.one("assigned_by"),
        worker: query.one("worker"),
        created_from: query.one("created_from"),
        created_before: query.one("created_before"),
        now,
    };
    let page = query.page();
    query.finish()?;
    caller.narrow(&mut filter.project, &mut filter.queue)?;
    let in_parts = app.store.capabilities().lists_in_parts;
    let read = move |page| {
        let (store, filter) = (Arc::clone(&app.store), filter.clone());
        async move { store.tasks(filter, page).await }
    };
    list(page, in_parts, read, move |task| caller.sees(&task).then(|| TaskView::new(task, now))).await
}

/// Show a task
///
/// With the latest of its history, its generation if it is completed, and its worker's last word on it while it runs.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}",
    tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses(
        (status = 200, description = "The task", body = TaskDetailView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get_task(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<TaskId>,
    query: QueryFields,
) -> ApiResult {
    query.finish()?;
    let detail = detail(&app, &caller, id).await?;
    ok(&TaskDetailView {
        events: detail.task.head.events,
        task: TaskView::new(detail.task, app.now()),
        history: detail.history.into_iter().map(EventView::from).collect(),
        generation: detail.generation.map(Into::into),
        progress: detail.progress.map(ProgressView::from),
    })
}

/// Show a task's history
///
/// The first event first.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/history",
    tag = "tasks",
    params(
        ("id" = String, Path, description = "The task"),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out. A page ends at about a megabyte, too"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<EventView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get_history(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<TaskId>,
    mut query: QueryFields,
) -> ApiResult {
    let page = query.page();
    query.finish()?;
    // Only of a caller with bounds it must be asked whose the task is.
    if caller.reach_everything().is_err() {
        detail(&app, &caller, id).await?;
    }
    let page = app.store.history(id, page).await?;
    ok(&Page {
        items: page.items.into_iter().map(EventView::from).collect::<Vec<_>>(),
        next_cursor: page.next.map(|next| next.0),
    })
}

/// A task that the caller sees.
async fn detail(app: &App, caller: &Caller, id: TaskId) -> Result<TaskDetail, ApiError> {
    let detail = app.store.task(id).await?;
    if caller.sees(&detail.task) { Ok(detail) } else { Err(StoreError::TaskNotFound(id).into()) }
}

/// Find task ids by their beginning
///
/// At most twenty ids, so that people need not type whole ones.
#[utoipa::path(
    get,
    path = "/v1/task-ids",
    tag = "tasks",
    params(("prefix" = String, Query, description = "4 to 36 of the id's first characters")),
    responses(
        (status = 200, description = "The ids", body = IdsView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn find_task_ids(
    State(app): State<App>,
    caller: Caller,
    mut query: QueryFields,
) -> ApiResult {
    let prefix = query.text("prefix");
    let fits = prefix.as_deref().is_some_and(is_id_prefix);
    if !fits {
        let expected =
            "4 to 36 of a task id's first characters: hexadecimal digits, and hyphens where an id has them";
        let problem = match &prefix {
            Some(text) => Expected::text(expected, text),
            None => Expected::new(expected, "nothing"),
        };
        query.refuse("prefix", problem);
    }
    query.finish()?;
    let prefix = prefix.unwrap_or_default().to_ascii_lowercase();
    let ids = if caller.is_bound() {
        ids_seen(&app, &caller, &prefix).await?
    } else {
        app.store.task_ids_by_prefix(&prefix, IDS).await?
    };
    ok(&IdsView { ids })
}

/// The ids that begin with `prefix`, of tasks that the caller sees.
async fn ids_seen(app: &App, caller: &Caller, prefix: &str) -> Result<Vec<TaskId>, ApiError> {
    let mut seen = Vec::new();
    for id in app.store.task_ids_by_prefix(prefix, IDS_SIFTED).await? {
        match app.store.task(id).await {
            Ok(detail) if caller.sees(&detail.task) => seen.push(id),
            // Beyond its bounds, or removed meanwhile.
            Ok(_) | Err(StoreError::TaskNotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if seen.len() == IDS as usize {
            break;
        }
    }
    Ok(seen)
}

fn is_id_prefix(text: &str) -> bool {
    let in_place = |(at, c): (usize, char)| match at {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    };
    (4..=36).contains(&text.len()) && text.char_indices().all(in_place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_beginning_of_an_id() {
        for good in ["0198", "01980A6E", "01980a6e-", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"] {
            assert!(is_id_prefix(good), "{good}");
        }
        for bad in ["", "019", "0198x", "01980a6e5", "0198-", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398ff", "ü198"]
        {
            assert!(!is_id_prefix(bad), "{bad}");
        }
    }
}
