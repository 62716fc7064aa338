//! Heartbeats, the welcome, and what no route has.

use axum::extract::Request;
use http::StatusCode;
use serde_json::json;

use crate::ask::{Ask, No, Told};
use crate::asked;
use crate::create::create;
use crate::log::{Kind, Suffix};

/// The old server's kinds of tasks: a heartbeat that names one is sent to the route for tasks.
const KINDS: [&str; 8] = ["reflect", "evolve", "connect", "remember", "care", "observe", "respond", "grow"];

/// `GET /heartbeat`. It is answered only if the store can be read: a server without its tasks is not alive.
pub(crate) async fn alive(ask: &Ask<'_>, _: Request) -> Result<Told, No> {
    let health = ask.app.store.health().await;
    if let Err(error) = health.read {
        return Err(No::from(error).because("Failed to read the tasks: "));
    }
    Told::whole(&json!({
        "type": "heartbeat",
        "timestamp": ask.app.now().isoformat(),
        "in_task": false,
        "last_server_action": null,
        "status": "alive",
        "ray_state": {},
        "cognitive_map": {},
        "execution_protocols": {},
        "memory_flags": {},
    }))
}

/// `POST /heartbeat`: says where what it asks is to be sent.
pub(crate) async fn beat(ask: &Ask<'_>, request: Request) -> Result<Told, No> {
    let (action, question) = asked::heartbeat(&ask.body(request).await?)?;
    let known = KINDS.contains(&action.as_str());
    let status = if known { "redirect_suggested" } else { "unknown_action" };
    let message = if known {
        format!("Send {{\"task\": {{\"action\": \"{action}\"}}, \"assigned_by\": ...}} to POST /task")
    } else {
        format!("Unknown action; known ones are {}", KINDS.join(", "))
    };
    let data = json!({ "action": action, "status": status });
    let suffix = Suffix { question: question.as_deref(), status: Some(status), error: None };
    ask.note(Kind::TaskUpdated, &data, suffix);
    Told::whole(&json!({
        "status": status,
        "action": action,
        "suggested_endpoint": known.then_some("/task"),
        "message": message,
        "timestamp": ask.app.now().isoformat(),
    }))
}

/// `POST /`: a welcome, or new tasks, as [`any`].
pub(crate) async fn welcome(ask: &Ask<'_>, request: Request) -> Result<Told, No> {
    match tasks_in(ask, request).await? {
        Ok(tasks) => create(ask, tasks).await,
        Err(_) => Told::whole(&json!({
            "message": "Welcome",
            "status": "alive",
            "endpoints": ["/task", "/task/list", "/task/status", "/heartbeat"],
            "timestamp": ask.app.now().isoformat(),
        })),
    }
}

/// A `POST` to a path without a route: late clients send new tasks anywhere.
pub(crate) async fn any(ask: &Ask<'_>, request: Request) -> Result<Told, No> {
    match tasks_in(ask, request).await? {
        Ok(tasks) => create(ask, tasks).await,
        Err(_) => nowhere(ask, Request::default()).await,
    }
}

/// The same to a path that has a route for reading alone.
pub(crate) async fn elsewhere(ask: &Ask<'_>, request: Request) -> Result<Told, No> {
    match tasks_in(ask, request).await? {
        Ok(tasks) => create(ask, tasks).await,
        Err(()) => Err(No::Said(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".to_owned())),
    }
}

/// A path without a route.
pub(crate) async fn nowhere(_: &Ask<'_>, _: Request) -> Result<Told, No> {
    Err(No::Said(StatusCode::NOT_FOUND, "Not Found".to_owned()))
}

/// The same request if its body is one for new tasks.
async fn tasks_in(ask: &Ask<'_>, request: Request) -> Result<Result<Request, ()>, No> {
    let body = ask.body(request).await?;
    Ok(if asked::has_tasks(&body) { Ok(Request::new(body.into())) } else { Err(()) })
}
