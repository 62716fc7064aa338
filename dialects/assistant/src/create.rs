//! `POST /task`: new tasks, one or several.

use std::collections::HashMap;

use axum::extract::Request;
use baton_api::ReadFields as _;
use baton_api::create::CreateTask;
use baton_api::manage::CancelRequest;
use baton_create_task::create_each;
use baton_http::{ApiError, room};
use baton_model::{Label, TaskId, limits};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::ask::{Ask, No, Told};
use crate::asked::{NewTask, NewTasks, Version};
use crate::entry::{Kept, queue, type_of, with_result};
use crate::execute;
use crate::log::{Kind, Suffix};

/// What the log calls the part of the server that keeps tasks, and what that was asked to do.
const MODULE: &str = "task_manager";
const FUNCTION: &str = "create_tasks";

/// Creates tasks, each by itself, and answers as the old server did for one or for a list.
pub(crate) async fn create(ask: &Ask<'_>, request: Request) -> Result<Told, No> {
    let version = if ask.endpoint.starts_with("/task") && !ask.endpoint.starts_with("/tasks") {
        Version::Early
    } else {
        Version::Late
    };
    let body = ask.body(request).await?;
    let asked = NewTasks::read(&body, version)?;
    // The answer says each task again, as it came.
    let told = body.len().saturating_add(asked.tasks.len().saturating_mul(room::ITEM));
    ask.caller.keep_room(ask.app, told).await?;
    drop(body);
    let texts: Vec<&RawValue> = asked.tasks.iter().map(|task| &*task.text).collect();
    let requested = Requested {
        task_count: texts.len(),
        task_data: texts,
        assigned_by: &asked.assigned_by,
        endpoint: ask.endpoint,
    };
    ask.note(Kind::TaskRequested, &requested, Suffix::default());
    let batch_id = ask.app.ids.uuid().to_string();
    let called = json!({ "module": MODULE, "function": FUNCTION, "batch_id": batch_id, "task_count": asked.tasks.len() });
    ask.note(Kind::ModuleCall, &called, Suffix::default());
    let outcomes = store(ask, &asked, &batch_id).await.map_err(|refused| failed(ask, &asked, refused))?;
    tell_stored(ask, &batch_id, &outcomes);
    if let (false, [Err(error)]) = (asked.is_batch, outcomes.as_slice()) {
        tell_error(ask, &asked, error);
        return Err(No::Said(StatusCode::INTERNAL_SERVER_ERROR, "Failed to create task".to_owned()));
    }
    let created: Vec<TaskId> = outcomes.iter().flatten().copied().collect();
    // Before it is waited: they are there, whatever becomes of the rest.
    tell_created(ask, &asked, &batch_id, &outcomes);
    let mut results = if asked.execute_immediately {
        let of_each = asked.tasks.iter().zip(&outcomes);
        let open = of_each.filter_map(|(task, id)| Some((*id.as_ref().ok()?, &*task.actions))).collect();
        execute::wait(ask, open, ask.settings.execute_wait).await
    } else {
        HashMap::new()
    };
    for (id, result) in &results {
        if result["executed"] == true {
            let done = json!({ "task_id": id.to_string(), "assigned_by": asked.assigned_by });
            ask.note(Kind::TaskCompleted, &done, Suffix { status: Some("completed"), ..Suffix::default() });
        }
    }
    let told = if asked.is_batch {
        batch(ask, &asked, &batch_id, &outcomes, &mut results)
    } else {
        single(ask, &asked, &created, &mut results)
    };
    if asked.self_destruct {
        destruct(ask, &asked, &created).await;
    }
    Told::whole(&told)
}

/// What the log tells of new tasks, in the order in which its viewers know it.
#[derive(Serialize)]
struct Requested<'a> {
    task_count: usize,
    task_data: Vec<&'a RawValue>,
    assigned_by: &'a str,
    endpoint: &'static str,
}

#[derive(Serialize)]
struct Created<'a> {
    batch_id: &'a str,
    total_tasks: usize,
    created_count: usize,
    failed_count: usize,
    assigned_by: &'a str,
    status: &'static str,
}

/// What became of each task: its id, or why it was not created.
///
/// # Errors
/// The first failure of the store, if no task was created until then; else those that it concerns have failed by it.
async fn store(
    ask: &Ask<'_>,
    asked: &NewTasks,
    batch_id: &str,
) -> Result<Vec<Result<TaskId, String>>, ApiError> {
    let read: Vec<Result<CreateTask, ApiError>> =
        asked.tasks.iter().map(|task| create_task(ask, asked, batch_id, task)).collect();
    let mut outcomes: Vec<Result<TaskId, String>> = Vec::with_capacity(read.len());
    let mut read = read.into_iter().peekable();
    while read.peek().is_some() {
        let part: Vec<_> = read.by_ref().take(limits::BATCH_TASKS).collect();
        let fitting = part.iter().filter_map(|task| task.as_ref().ok().cloned()).collect();
        let mut stored = match create_each(ask.app, ask.caller, fitting).await {
            Ok(stored) => stored.into_iter(),
            Err(error) if outcomes.iter().any(Result::is_ok) => {
                error.log();
                // What is behind it would meet the same.
                let why = error.into_problem().detail;
                let rest = part.into_iter().chain(read).map(|task| match task {
                    Ok(_) => Err(why.clone()),
                    Err(error) => Err(error.into_problem().detail),
                });
                outcomes.extend(rest);
                return Ok(outcomes);
            }
            Err(error) => return Err(error),
        };
        for task in part {
            let outcome = match task {
                Ok(_) => stored.next().unwrap_or_else(|| Err(ApiError::internal())),
                Err(error) => Err(error),
            };
            outcomes.push(outcome.map(|task| task.id).map_err(|error| error.into_problem().detail));
        }
    }
    Ok(outcomes)
}

/// A task as Baton is asked for it. It is read as the route for new tasks reads it, so that no other rule holds.
fn create_task(
    ask: &Ask<'_>,
    asked: &NewTasks,
    batch_id: &str,
    task: &NewTask,
) -> Result<CreateTask, ApiError> {
    let kept = Kept {
        task: task.text.clone(),
        assigned_by: asked.assigned_by.clone(),
        batch_id: asked.is_batch.then(|| batch_id.to_owned()),
        execute_immediately: asked.execute_immediately,
        self_destruct: asked.self_destruct,
    };
    let params = serde_json::value::to_raw_value(&kept).map_err(|_| ApiError::internal())?;
    let members: HashMap<&str, Box<RawValue>> = [
        ("type", serde_json::value::to_raw_value(&type_of(&task.actions))),
        ("queue", serde_json::value::to_raw_value(&queue())),
        // What cannot be a name in Baton is kept in the params alone.
        ("assigned_by", serde_json::value::to_raw_value(&asked.assigned_by.parse::<Label>().ok())),
    ]
    .into_iter()
    .map(|(name, value)| Ok((name, value?)))
    .chain([Ok(("params", params))])
    .collect::<Result<_, serde_json::Error>>()
    .map_err(|_| ApiError::internal())?;
    let text = serde_json::to_string(&members).map_err(|_| ApiError::internal())?;
    Ok(CreateTask::from_json(&text, &ask.app.limits())?)
}

/// That nothing was created, as the server or the caller's bounds are in the way.
fn failed(ask: &Ask<'_>, asked: &NewTasks, refused: ApiError) -> No {
    tell_error(ask, asked, &refused.problem().detail);
    if asked.is_batch {
        return No::Refused(refused).because("Failed to create batch tasks: ");
    }
    match No::Refused(refused).because("") {
        No::Said(status, _) => No::Said(status, "Failed to create task".to_owned()),
        other => other,
    }
}

fn tell_error(ask: &Ask<'_>, asked: &NewTasks, error: &str) {
    let data = json!({ "error": error, "task_count": asked.tasks.len(), "assigned_by": asked.assigned_by });
    ask.note(Kind::TaskError, &data, Suffix { error: Some(error), ..Suffix::default() });
}

/// What the store has answered: here alone the log tells the ids of all tasks of a list in one line.
fn tell_stored(ask: &Ask<'_>, batch_id: &str, outcomes: &[Result<TaskId, String>]) {
    let ids: Vec<String> = outcomes.iter().flatten().map(TaskId::to_string).collect();
    let (_, failed) = counts(outcomes);
    let data = json!({
        "module": MODULE,
        "function": FUNCTION,
        "batch_id": batch_id,
        "task_ids": ids,
        "failed_count": failed,
    });
    ask.note(Kind::ModuleResponse, &data, Suffix::default());
}

fn tell_created(ask: &Ask<'_>, asked: &NewTasks, batch_id: &str, outcomes: &[Result<TaskId, String>]) {
    let (created, failed) = counts(outcomes);
    let status = match (created, failed) {
        (_, 0) => "success",
        (0, _) => "failed",
        _ => "partial",
    };
    let data = Created {
        batch_id,
        total_tasks: outcomes.len(),
        created_count: created,
        failed_count: failed,
        assigned_by: &asked.assigned_by,
        status,
    };
    ask.note(Kind::TaskCreated, &data, Suffix { status: Some(status), ..Suffix::default() });
    for (index, outcome) in outcomes.iter().enumerate() {
        if let Err(error) = outcome {
            let data = json!({ "error": error, "task_index": index, "task_count": 1, "assigned_by": asked.assigned_by });
            ask.note(Kind::TaskError, &data, Suffix { error: Some(error), ..Suffix::default() });
        }
    }
}

fn counts(outcomes: &[Result<TaskId, String>]) -> (usize, usize) {
    let created = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    (created, outcomes.len() - created)
}

fn batch(
    ask: &Ask<'_>,
    asked: &NewTasks,
    batch_id: &str,
    outcomes: &[Result<TaskId, String>],
    results: &mut HashMap<TaskId, Value>,
) -> Value {
    let now = ask.app.now().isoformat();
    let (mut created, mut failed) = (Vec::new(), Vec::new());
    for (index, (task, outcome)) in asked.tasks.iter().zip(outcomes).enumerate() {
        match outcome {
            Ok(id) => created.push(json!({
                "task_id": id.to_string(),
                "task": with_result(&task.text, results.remove(id)),
                "timestamp": now,
                "reflections": [],
                "is_reflection_final": false,
            })),
            Err(error) => failed.push(json!({ "task_index": index, "task_data": task.text, "error": error })),
        }
    }
    let message = format!("Batch processed: {} tasks created, {} failed", created.len(), failed.len());
    json!({
        "status": "batch_processed",
        "batch_id": batch_id,
        "total_tasks": outcomes.len(),
        "created_count": created.len(),
        "failed_count": failed.len(),
        "created_tasks": created,
        "failed_tasks": failed,
        "assigned_by": asked.assigned_by,
        "timestamp": now,
        "message": message,
    })
}

fn single(
    ask: &Ask<'_>,
    asked: &NewTasks,
    created: &[TaskId],
    results: &mut HashMap<TaskId, Value>,
) -> Value {
    let id = created.first().copied();
    let task = asked.tasks.first().map(|task| with_result(&task.text, id.and_then(|id| results.remove(&id))));
    json!({
        "status": "task_created",
        "task_id": id.map(|id| id.to_string()),
        "assigned_by": asked.assigned_by,
        "task": task,
        "timestamp": ask.app.now().isoformat(),
        "message": format!("Task created and assigned by {}", asked.assigned_by),
    })
}

/// Calls off what is not over yet: the client wants it to be gone once it has its answer. It has that in any case: what cannot be
/// called off is told in the log.
async fn destruct(ask: &Ask<'_>, asked: &NewTasks, created: &[TaskId]) {
    for id in created {
        let request = CancelRequest { reason: Some("self_destruct".to_owned()), ..CancelRequest::default() };
        match baton_manage_tasks::cancel_task(ask.app, ask.caller, *id, request).await {
            Ok(_) => {}
            // It has ended by itself.
            Err(error) if error.code() == baton_api::ProblemCode::TransitionRefused => {}
            Err(error) => {
                error.log();
                let error = error.into_problem().detail;
                let data =
                    json!({ "error": error, "task_id": id.to_string(), "assigned_by": asked.assigned_by });
                ask.note(Kind::TaskError, &data, Suffix { error: Some(&error), ..Suffix::default() });
            }
        }
    }
}
