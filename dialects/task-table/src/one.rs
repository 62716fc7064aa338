//! One task: shown, run, called off.

use std::collections::BTreeSet;

use axum::extract::Request;
use baton_api::change::ChangeRequest;
use baton_api::manage::{CancelRequest, RetryRequest};
use baton_http::{fastapi, ok};
use baton_model::{Status, Task, TaskId};
use baton_store::{StoreError, TaskDetail};
use http::StatusCode;
use serde_json::json;

use crate::answer::{Answer, Ask, No, TaskRead, queue, word};

/// How many ids with the same beginning are asked for at first, and at most: those of other queues have it, too.
const ALIKE: u32 = 200;
const ALIKE_AT_MOST: u32 = 2_000;

/// The part of a path that names the task: behind `tasks`.
pub(crate) fn named(request: &Request) -> String {
    let mut parts = request.uri().path().split('/').skip_while(|part| *part != "tasks");
    fastapi::part_of_path(parts.nth(1).unwrap_or_default())
}

/// The task that an id or the beginning of one means, among those that the caller sees.
pub(crate) async fn found(ask: &Ask<'_>, text: String) -> Result<TaskDetail, No> {
    if let Ok(id) = text.parse::<TaskId>() {
        return seen(ask, id).await?.ok_or_else(|| No::no_task(&text));
    }
    let prefix = text.to_ascii_lowercase();
    if prefix.is_empty() || TaskId::range_of_prefix(&prefix).is_none() {
        return Err(No::no_task(&text));
    }
    let (mut alike, mut looked_at, mut limit) = (None, BTreeSet::new(), ALIKE);
    loop {
        let ids = ask.app.store.task_ids_by_prefix(&prefix, limit).await?;
        let is_all = ids.len() < limit as usize;
        for id in ids {
            if !looked_at.insert(id) {
                continue;
            }
            let Some(detail) = seen(ask, id).await? else { continue };
            if alike.replace(detail).is_some() {
                let said = format!("Task id prefix '{text}' is ambiguous; give more of it");
                return Err(No::Said(StatusCode::CONFLICT, said));
            }
        }
        if is_all {
            return alike.ok_or_else(|| No::no_task(&text));
        }
        if limit == ALIKE_AT_MOST {
            // Which one is meant is not known: another may be among those that were not looked at.
            let said = format!("Task id prefix '{text}' is that of {limit} tasks or more; give more of it");
            return Err(No::Said(StatusCode::CONFLICT, said));
        }
        limit = ALIKE_AT_MOST;
    }
}

async fn seen(ask: &Ask<'_>, id: TaskId) -> Result<Option<TaskDetail>, No> {
    match ask.app.store.task(id).await {
        Ok(detail) if detail.task.queue == queue() && ask.caller.sees(&detail.task) => Ok(Some(detail)),
        Ok(_) | Err(StoreError::TaskNotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The task as it is.
pub(crate) async fn show(ask: &Ask<'_>, request: Request) -> Answer {
    told(ask, &found(ask, named(&request)).await?)
}

/// Its status.
pub(crate) async fn status(ask: &Ask<'_>, request: Request) -> Answer {
    let task = found(ask, named(&request)).await?.task;
    Ok(ok(&json!({
        "id": task.head.id,
        "status": word(task.status(ask.app.now())),
        "updated_at": task.updated_at.isoformat(),
        "error": task.error.as_ref().map(|error| &error.message),
    }))?)
}

/// Has it run: at once if it waits for its time, anew if it has failed or was cancelled. What is at work or done stays as it is.
pub(crate) async fn run(ask: &Ask<'_>, request: Request) -> Answer {
    let detail = found(ask, named(&request)).await?;
    let id = detail.task.head.id;
    let task = match detail.task.status(ask.app.now()) {
        Status::Running | Status::Completed | Status::Queued | Status::Blocked => return told(ask, &detail),
        Status::Created | Status::Retry => {
            let now =
                ChangeRequest { delay_seconds: Some(std::time::Duration::ZERO), ..ChangeRequest::default() };
            baton_manage_tasks::change_task(ask.app, ask.caller, id, now).await?
        }
        Status::Failed | Status::Cancelled => {
            baton_manage_tasks::retry_task(ask.app, ask.caller, id, RetryRequest::default()).await?
        }
    };
    changed(ask, &task)
}

/// Calls it off. What has ended stays as it is.
pub(crate) async fn cancel(ask: &Ask<'_>, request: Request) -> Answer {
    let detail = found(ask, named(&request)).await?;
    if detail.task.head.state.state().is_final() {
        return told(ask, &detail);
    }
    let id = detail.task.head.id;
    match baton_manage_tasks::cancel_task(ask.app, ask.caller, id, CancelRequest::default()).await {
        Ok(task) => changed(ask, &task),
        // It has ended meanwhile.
        Err(error) if error.code() == baton_api::ProblemCode::TransitionRefused => {
            told(ask, &ask.app.store.task(id).await?)
        }
        Err(error) => Err(error.into()),
    }
}

fn told(ask: &Ask<'_>, detail: &TaskDetail) -> Answer {
    Ok(ok(&TaskRead::new(&detail.task, detail.generation.as_ref(), ask.app.now()))?)
}

fn changed(ask: &Ask<'_>, task: &Task) -> Answer {
    Ok(ok(&TaskRead::new(task, None, ask.app.now()))?)
}
