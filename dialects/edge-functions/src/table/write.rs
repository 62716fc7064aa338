//! Changes of tasks' rows, each as the command that it means.

use baton_http::Caller;
use baton_model::{Directive, Payload, Scope, Task, TaskId, TaskState};
use baton_store::{Remove, Retry, StoreError};
use serde_json::{Value, json};

use super::query::Query;
use super::{beyond, rows};
use crate::cascade;
use crate::edge::Edge;
use crate::functions::create::{make, read_old};
use crate::functions::update::{Ask, By, Outcome, apply};
use crate::row;
use crate::rpc;
use crate::words::{Object, Said, Word, table_error, text, whole};

/// The columns that a change may have.
const CHANGES: &[&str] = &[
    "status",
    "worker_id",
    "attempts",
    "error_message",
    "error_details",
    "output_location",
    "generation_started_at",
    "generation_processed_at",
    "updated_at",
    "result_data",
];

/// The most bytes of what a task that runs is said to have found.
const RESULT_BYTES: usize = 64 * 1024;

/// What only an operator may do to rows, and see of them: it is so by Baton's own routes, too.
pub(super) fn operates(caller: &Caller, what: &str) -> Result<(), Said> {
    needs(caller, &[], what)?;
    if caller.is_bound() {
        return Err(denied(what));
    }
    Ok(())
}

/// What a key needs one of these scopes for, or an operator's.
fn needs(caller: &Caller, scopes: &[Scope], what: &str) -> Result<(), Said> {
    if caller.grant().is_some_and(|grant| !grant.has(scopes)) { Err(denied(what)) } else { Ok(()) }
}

fn denied(what: &str) -> Said {
    let message = format!("permission denied: {what} needs a service key");
    table_error(403, "42501", &message, None).into()
}

fn no_meaning(why: &str) -> Said {
    table_error(400, "0A000", why, Some("no command of Baton does this")).into()
}

/// Creates a task.
pub(super) async fn create(edge: &Edge, caller: &Caller, body: Object) -> Result<Value, Said> {
    needs(caller, &[Scope::Producer], "to create tasks")?;
    if text(&body, "status").is_some_and(|status| status != Word::Queued.as_str()) {
        return Err(no_meaning("a task begins as Queued"));
    }
    let made = make(edge, caller, read_old(body)?).await?;
    let detail = edge.app.store.task(made.task).await?;
    Ok(row::row_of(edge, &detail.task).await?)
}

/// Keeps a log line.
pub(super) async fn log(edge: &Edge, caller: &Caller, body: Object) -> Result<Value, Said> {
    needs(caller, &[Scope::Worker], "to write log lines")?;
    let row = Value::Object(body.clone());
    rpc::keep_logs(edge, caller, std::slice::from_ref(&row)).await?;
    Ok(row)
}

/// The tasks that fit, with room for their rows if those are to be told: before anything is done to them.
async fn found(edge: &Edge, caller: &Caller, query: &Query, told: bool) -> Result<Vec<TaskId>, Said> {
    let found = rows::fitting(edge, caller, query).await?;
    if told {
        let number = u32::try_from(found.len()).unwrap_or(u32::MAX);
        caller.keep_room_for_tasks(&edge.app, number).await?;
    }
    Ok(found)
}

/// Changes tasks: those that were found, as they were found. One that has changed in between fits no longer, and is none of the rows
/// that were changed; nor is one that lives, where others than its worker would put it back. `told`: whether they are told.
pub(super) async fn change(
    edge: &Edge,
    caller: &Caller,
    query: &Query,
    body: &Object,
    told: bool,
) -> Result<Vec<Value>, Said> {
    if let Some(column) = beyond(body, CHANGES) {
        return Err(no_meaning(&format!("the column {column} is not changed by clients")));
    }
    if let Some(result) = body.get("result_data") {
        return say_result(edge, caller, query, (body, result)).await;
    }
    let Some(status) = text(body, "status") else {
        return Err(no_meaning("a change without a status means nothing"));
    };
    let word = Word::named(status).ok_or_else(|| {
        let message = format!("invalid input value for enum task_status: \"{status}\"");
        Said::from(table_error(400, "22P02", &message, None))
    })?;
    let why = text(body, "error_message").or_else(|| text(body, "error_details"));
    let _ = caller.asks(None, why);
    let attempts = body.get("attempts").and_then(whole);
    // A worker that puts back its own attempt names it, and why in a column of its own. The orchestrator's resets may name the attempt,
    // too, but say why in `error_message`.
    let is_own = attempts.is_some() && body.contains_key("error_details");
    let mut changed = Vec::new();
    let mut refused = None;
    for id in found(edge, caller, query, told).await? {
        let Some(detail) = edge.task(caller, id).await? else { continue };
        let task = detail.task;
        if !rows::fits(query, &row::row_of(edge, &task).await?, &task) {
            continue;
        }
        if word == Word::Queued && !is_own && lives(edge, &task).await? {
            let attempt = task.head.attempt;
            tracing::debug!(task_id = %id, attempt, "a reset passes by a task whose worker lives");
            continue;
        }
        let ask = Ask {
            word,
            output: text(body, "output_location"),
            error: why,
            // Of a task that fails the column is only what it is to be.
            attempts: attempts.filter(|_| word == Word::Queued),
            worker: None,
            by: if is_own { By::Worker } else { By::Other },
            origin: None,
        };
        let now = match (&task.head.state, word) {
            (TaskState::Failed | TaskState::Cancelled, Word::Queued) => {
                operates(caller, "to put back what has ended")?;
                let retry = Retry {
                    now: edge.app.now(),
                    task: task.head.id,
                    by: caller.name(),
                    reason: why.map(str::to_owned),
                    delay: std::time::Duration::ZERO,
                    with_dependants: false,
                };
                edge.app.store.retry(retry).await?
            }
            _ => match apply(edge, caller, &task, &ask).await? {
                Outcome::Now(task) => *task,
                Outcome::Refused(why) => {
                    refused = Some(why);
                    continue;
                }
            },
        };
        changed.push(now);
    }
    match (changed.is_empty(), refused) {
        (true, Some(why)) => Err(table_error(409, "23514", &why, None).into()),
        _ => Ok(row::rows(edge, &changed).await?),
    }
}

/// Keeps what tasks that run are said to have found: their records have it once they are written. A record that is written stands.
async fn say_result(
    edge: &Edge,
    caller: &Caller,
    query: &Query,
    (body, result): (&Object, &Value),
) -> Result<Vec<Value>, Said> {
    needs(caller, &[Scope::Worker], "to write down results")?;
    if let Some(column) = beyond(body, &["result_data", "updated_at"]) {
        return Err(no_meaning(&format!("result_data is changed by itself, and not with {column}")));
    }
    let result = (!result.is_null()).then(|| Payload::from_value(result));
    if result.as_ref().is_some_and(|result| result.size() > RESULT_BYTES) {
        return Err(no_meaning(&format!("result_data has more than {RESULT_BYTES} bytes")));
    }
    let (mut said, mut refused) = (Vec::new(), None);
    for id in rows::fitting(edge, caller, query).await? {
        let Some(detail) = edge.task(caller, id).await? else { continue };
        let stands = detail.generation.is_some_and(|record| record.output.result == result);
        match &detail.task.head.state {
            TaskState::Running(_) => edge.say_result(&detail.task, result.clone()),
            _ if stands => {}
            state => {
                let word = Word::of(state.state()).as_str();
                refused =
                    Some(format!("the task is {word}, and only one that is In Progress takes result_data"));
                continue;
            }
        }
        said.push(detail.task);
    }
    match refused {
        Some(why) if said.is_empty() => Err(no_meaning(&why)),
        _ => Ok(row::rows(edge, &said).await?),
    }
}

/// Whether a task's attempt is alive: its worker beats, or its lease of a fixed length runs on; and nobody has ended the worker.
async fn lives(edge: &Edge, task: &Task) -> Result<bool, Said> {
    let TaskState::Running(lease) = &task.head.state else { return Ok(false) };
    let now = edge.app.now();
    let worker = match edge.app.store.worker(&lease.worker).await {
        Ok(detail) => detail.worker,
        Err(StoreError::WorkerNotFound(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if worker.directive == Directive::Stop || worker.ended_at.is_some() {
        return Ok(false);
    }
    if lease.timeout_at.is_some_and(|timeout| timeout <= now) {
        return Ok(false);
    }
    Ok(match (lease.expires_at, worker.last_beat_at) {
        (Some(end), _) => end > now,
        (None, Some(beat)) => now.since(beat) <= edge.app.leases.heartbeat_timeout,
        // It has shown no sign of life yet.
        (None, None) => false,
    })
}

/// Removes tasks; those that have not ended are called off first. `told`: whether their rows are told.
pub(super) async fn remove(
    edge: &Edge,
    caller: &Caller,
    query: &Query,
    told: bool,
) -> Result<Vec<Value>, Said> {
    operates(caller, "to remove tasks")?;
    let mut removed = Vec::new();
    for id in found(edge, caller, query, told).await? {
        let Some(detail) = edge.task(caller, id).await? else { continue };
        let task = detail.task;
        let row = row::row_of(edge, &task).await?;
        if !rows::fits(query, &row, &task) {
            continue;
        }
        if !task.head.state.state().is_final() {
            crate::ending::cancel(edge, caller, &task, cascade::REMOVED).await?;
        }
        edge.app.store.remove(Remove { now: edge.app.now(), task: task.head.id }).await?;
        tracing::info!(task_id = %task.head.id, "task removed");
        removed.push(row);
    }
    Ok(removed)
}

/// A worker's name that may be written.
pub(super) fn worker_name(body: &Object) -> Result<baton_model::WorkerId, Said> {
    let missing =
        || table_error(400, "23502", "null value in column \"id\" violates not-null constraint", None);
    let name = text(body, "id").ok_or_else(missing)?;
    name.parse().map_err(|error| {
        table_error(400, "22023", &format!("id: {error}"), Some(&json!(name).to_string())).into()
    })
}
