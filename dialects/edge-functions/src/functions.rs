//! The functions by their names, and who may call which.

mod claim;
pub(crate) mod complete;
mod counts;
pub(crate) mod create;
mod model;
mod read;
pub(crate) mod update;
mod upload;

use axum::extract::Request;
use baton_api::ProblemCode;
use baton_http::room::Unchanged;
use baton_http::{ApiError, Caller};
use baton_model::Scope::{self, Producer, Worker};

use crate::edge::Edge;
use crate::origin::Origin;
use crate::words::{self, Answer, Object, Said, coded, ok, too_many};

/// Each function with the scopes that it takes.
const FUNCTIONS: &[(&str, &[Scope])] = &[
    ("create-task", &[Producer]),
    ("claim-next-task", &[Worker]),
    ("complete-task", &[Worker]),
    ("update-task-status", &[Producer, Worker]),
    ("mark-task-failed", &[Worker]),
    ("task-counts", &[Producer, Worker]),
    ("get-task-status", &[Producer, Worker]),
    ("get-task-output", &[Producer, Worker]),
    ("get-predecessor-output", &[Producer, Worker]),
    ("get-completed-segments", &[Producer, Worker]),
    ("get-orchestrator-children", &[Producer, Worker]),
    ("generate-upload-url", &[Worker]),
    ("update-worker-model", &[Worker]),
    ("tasks-list", &[Producer]),
    ("update-shot-pair-prompts", &[Producer, Worker]),
    ("calculate-task-cost", &[Producer, Worker]),
];

/// The functions that answer with what others have put in, and do nothing that may not be done again.
const READING: &[&str] =
    &["get-task-output", "get-completed-segments", "get-orchestrator-children", "tasks-list"];
/// How often a person's own token may call these in a minute.
const A_MINUTE: [(&str, u32); 2] = [("create-task", 120), ("complete-task", 60)];

/// Calls a function.
pub(crate) async fn call(edge: &Edge, caller: &Caller, name: &str, request: Request) -> Answer {
    let name = name.replace('_', "-");
    let Some((name, scopes)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
        return Err(coded(404, "not_found", "Requested function was not found").into());
    };
    if caller.grant().is_some_and(|grant| !grant.has(scopes)) {
        let detail = format!("the token's scopes do not allow {name}; use another token");
        return Err(ApiError::new(ProblemCode::ScopeMissing, detail).into());
    }
    limited(edge, caller, name)?;
    if *name == "complete-task" {
        complete::refuse_parts(request.headers())?;
    }
    let origin = Origin::of(edge, &request);
    let most = most_bytes(edge, name);
    let body = words::object(request, most).await?;
    let mut answer = dispatch(edge, caller, name, &origin, body).await?;
    if READING.contains(name) {
        answer.extensions_mut().insert(Unchanged);
    }
    Ok(answer)
}

/// Refuses a call beyond those that the platform allows of a person's own token in a minute.
fn limited(edge: &Edge, caller: &Caller, name: &'static str) -> Result<(), Said> {
    let most = A_MINUTE.iter().find(|(limited, _)| *limited == name).map(|(_, most)| *most);
    let Some(most) = most else { return Ok(()) };
    let Some(token) = caller.token().filter(|_| caller.is_bound()) else { return Ok(()) };
    match edge.counts(token.id, name, most) {
        None => Ok(()),
        Some(wait) => Err(too_many(most, wait).into()),
    }
}

/// The most bytes of a function's body. A file of 2 MB comes as base64, and some clients send larger ones.
fn most_bytes(edge: &Edge, name: &str) -> usize {
    match name {
        "complete-task" => edge.app.limits().batch_bytes,
        _ => edge.app.limits().params_bytes.saturating_add(64 * 1024),
    }
}

async fn dispatch(edge: &Edge, caller: &Caller, name: &str, origin: &Origin, body: Object) -> Answer {
    match name {
        "create-task" => create::create(edge, caller, body).await,
        "claim-next-task" => claim::claim(edge, caller, &body).await,
        "complete-task" => complete::complete(edge, caller, origin, body).await,
        "update-task-status" => update::update(edge, caller, origin, &body).await,
        "mark-task-failed" => update::mark_failed(edge, caller, &body).await,
        "task-counts" => counts::counts(edge, caller, &body).await,
        "get-task-status" => read::status(edge, caller, &body).await,
        "get-task-output" => read::output(edge, caller, &body).await,
        "get-predecessor-output" => read::predecessor(edge, caller, &body).await,
        "get-completed-segments" => read::segments(edge, caller, &body).await,
        "get-orchestrator-children" => read::children(edge, caller, &body).await,
        "generate-upload-url" => upload::prepare(edge, caller, origin, &body).await,
        "update-worker-model" => model::update(edge, caller, &body).await,
        "tasks-list" => read::list(edge, caller, &body).await,
        // The prompts and the prices are the web app's own: it keeps them, and Baton has no part in them. Workers call these and go
        // on whatever the answer is.
        _ => ok(&serde_json::json!({ "success": true, "skipped": true })),
    }
}
