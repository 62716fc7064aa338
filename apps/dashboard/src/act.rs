//! What the pages' buttons do: each asks one route, which says whether it may be done, and records it.

use axum::extract::Path;
use axum::response::Response;
use baton_api::ProblemCode;
use baton_api::fleet::WorkerView;
use baton_http::ApiError;
use serde_json::{Map, Value, json};

use crate::address::path;
use crate::answer;
use crate::form::Act;

/// What is said once an action is done, of those that there are.
fn did(action: &str, words: &[(&str, &'static str)]) -> Result<&'static str, ApiError> {
    let known = words.iter().find(|(known, _)| *known == action);
    known
        .map(|(_, did)| *did)
        .ok_or_else(|| ApiError::new(ProblemCode::RouteNotFound, "the dashboard has no such action"))
}

/// Back to a page, with a word on what was done.
fn done(parts: &[&str], did: &str) -> Response {
    answer::see(&path(parts, &[("did", did)]))
}

/// A body with the reason, if one was given.
pub(crate) fn because(act: &Act) -> Map<String, Value> {
    act.reason().map(|reason| ("reason".to_owned(), json!(reason))).into_iter().collect()
}

/// Cancels a task, or puts it back into its queue.
pub(crate) async fn task(Path((id, action)): Path<(String, String)>, act: Act) -> Result<Response, ApiError> {
    let did = did(&action, &[("cancel", "cancelled"), ("retry", "retried")])?;
    let mut body = because(&act);
    if act.fields.one("with_dependants").is_some() {
        body.insert("with_dependants".to_owned(), json!(true));
    }
    act.visit.post::<Value>(&["v1", "tasks", &id, &action], &body).await?;
    Ok(done(&["ui", "tasks", &id], did))
}

/// Pauses or resumes a queue.
pub(crate) async fn queue(
    Path((queue, action)): Path<(String, String)>,
    act: Act,
) -> Result<Response, ApiError> {
    let did = did(&action, &[("pause", "paused"), ("resume", "resumed")])?;
    act.visit.post::<Value>(&["v1", "queues", &queue, &action], &because(&act)).await?;
    Ok(done(&["ui", "queues"], did))
}

/// Asks a worker to drain, to stop, or to run on.
pub(crate) async fn worker(
    Path((worker, action)): Path<(String, String)>,
    act: Act,
) -> Result<Response, ApiError> {
    let mut did = did(&action, &[("drain", "drains"), ("stop", "stops"), ("run", "runs")])?;
    let told: WorkerView = act.visit.post(&["v1", "workers", &worker, &action], &because(&act)).await?;
    if action == "run" && told.ended_at.is_some() {
        did = "ended-before";
    }
    Ok(done(&["ui", "workers", &worker], did))
}

/// Starts, stops, restarts or scales a group of supervised workers.
pub(crate) async fn group(
    Path((group, action)): Path<(String, String)>,
    act: Act,
) -> Result<Response, ApiError> {
    let words = [("start", "started"), ("stop", "stopped"), ("restart", "restarted"), ("scale", "scaled")];
    let mut did = did(&action, &words)?;
    let mut body = because(&act);
    if action == "restart" && act.fields.one("rolling").is_some() {
        body.insert("rolling".to_owned(), json!(true));
        did = "rolled";
    }
    if action == "scale" {
        // What is no number is refused by the route, which says what it expected.
        let count = act.fields.one("count").unwrap_or_default();
        body.insert(
            "count".to_owned(),
            count.parse::<u64>().map_or_else(|_| json!(count), |count| json!(count)),
        );
    }
    act.visit.post::<Value>(&["v1", "fleet", &group, &action], &body).await?;
    Ok(done(&["ui", "groups"], did))
}

/// Pauses or resumes a schedule.
pub(crate) async fn schedule(
    Path((project, name, action)): Path<(String, String, String)>,
    act: Act,
) -> Result<Response, ApiError> {
    let did = did(&action, &[("pause", "paused"), ("resume", "resumed")])?;
    let mut body = because(&act);
    body.insert("project".to_owned(), json!(project));
    act.visit.post::<Value>(&["v1", "schedules", &name, &action], &body).await?;
    Ok(done(&["ui", "schedules"], did))
}

/// Revokes a token.
pub(crate) async fn revoke(Path(id): Path<String>, act: Act) -> Result<Response, ApiError> {
    act.visit.post::<Value>(&["v1", "tokens", &id, "revoke"], &Map::new()).await?;
    Ok(done(&["ui", "tokens"], "revoked"))
}
