//! `POST /tasks`: a new task under the client's own id.

use std::collections::HashMap;

use axum::extract::Request;
use baton_api::create::CreateTask;
use baton_api::{ProblemCode, ReadFields as _};
use baton_http::ApiError;
use baton_model::{TaskId, limits};
use baton_store::StoreError;
use http::StatusCode;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::ask::Ask;
use crate::entry::Entry;
use crate::kept::{Kept, branch, queue, task_id, type_of};
use crate::no::{No, Told, told};
use crate::preferences;
use crate::wrong::{Fields, Wrong};

/// Creates it, with the provider and model that its client, or the preferences, name.
pub(crate) async fn create(ask: &Ask<'_>, request: Request) -> Told {
    let mut kept = read(ask.fields(request).await?)?;
    let sent = kept.clone();
    let chosen = preferences::choose(ask, &kept).await?;
    (kept.provider, kept.model) = (Some(chosen.provider), chosen.model);
    let project = ask.caller.project().cloned().unwrap_or_default();
    let id = task_id(&project, &kept.id);
    let asked = create_task(ask, id, &kept).map_err(No::Refused)?;
    let made = match baton_create_task::create_one(ask.app, ask.caller, asked, None).await {
        Ok(made) => made,
        Err(error) if error.code() == ProblemCode::TaskIdConflict => {
            // The preferences may have changed since it was submitted first, and so what was chosen for it.
            return match earlier(ask, id, &sent).await? {
                Some(first) => answer(id, &first),
                None => Err(taken(&kept.id)),
            };
        }
        Err(error) => return Err(error.into()),
    };
    if !made.replayed {
        let task = ask.app.store.task(made.task.id).await?.task;
        ask.board.submitted(&task, Entry::of(&task, kept.clone(), None));
    }
    answer(made.task.id, &kept)
}

fn answer(id: TaskId, kept: &Kept) -> Told {
    told(&json!({
        "job_id": id,
        "task_id": kept.id,
        "selected_provider": kept.provider,
        "selected_model": kept.model,
        "full_access": kept.full_access,
    }))
}

/// What is kept of the task that has this id, if its client sent the same for it.
async fn earlier(ask: &Ask<'_>, id: TaskId, sent: &Kept) -> Result<Option<Kept>, No> {
    let task = match ask.app.store.task(id).await {
        Ok(detail) => detail.task,
        Err(StoreError::TaskNotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if task.queue != queue() || !ask.caller.sees(&task) {
        return Ok(None);
    }
    let kept = Kept::of(&task);
    Ok(kept.is_of(sent).then_some(kept))
}

fn taken(id: &str) -> No {
    No::Said(StatusCode::CONFLICT, format!("Task {id} already exists with other fields; choose another id"))
}

fn read(mut fields: Fields) -> Result<Kept, Wrong> {
    let (id, role) = (fields.text("id"), fields.text("role"));
    let kept = Kept {
        branch: branch(&role, &id),
        title: fields.text("title"),
        description: fields.text("description"),
        acceptance: fields.object("acceptance").unwrap_or_default(),
        target_dir: fields.text_or_none("target_dir").unwrap_or_else(|| ".".to_owned()),
        full_access: fields.flag("full_access").unwrap_or(false),
        provider_override: fields.text_or_none("provider_override"),
        provider: None,
        model: fields.text_or_none("model"),
        repository_url: fields.text_or_none("repository_url"),
        base_branch: fields.text_or_none("base_branch"),
        id,
        role,
    };
    fields.none_or(kept)
}

/// The task as Baton is asked for it. It is read as the route for new tasks reads it, so that no other rule holds.
fn create_task(ask: &Ask<'_>, id: TaskId, kept: &Kept) -> Result<CreateTask, ApiError> {
    let text = members(ask, id, kept).and_then(|members| serde_json::to_string(&members));
    let text = text.map_err(|_| ApiError::internal())?;
    Ok(CreateTask::from_json(&text, &ask.app.limits())?)
}

fn members(
    ask: &Ask<'_>,
    id: TaskId,
    kept: &Kept,
) -> serde_json::Result<HashMap<&'static str, Box<RawValue>>> {
    // The whole of it is in the params.
    let title: String = kept.title.chars().take(limits::DESCRIPTION_CHARS).collect();
    let mut members = HashMap::from([
        ("id", to_raw_value(&id)?),
        ("type", to_raw_value(&type_of(&kept.role))?),
        ("queue", to_raw_value(&queue())?),
        ("description", to_raw_value(&title)?),
        ("max_attempts", to_raw_value(&ask.settings.max_attempts)?),
        ("params", to_raw_value(kept)?),
    ]);
    if !ask.settings.timeout.is_zero() {
        members.insert("timeout_seconds", to_raw_value(&ask.settings.timeout.as_secs_f64())?);
    }
    Ok(members)
}
