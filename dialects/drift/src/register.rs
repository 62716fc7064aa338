//! Clients by their own routes: they register, look whether they still are, beat, ask how they do, and leave.

use axum::extract::Request;
use baton_http::BodyLimit;
use baton_http::fastapi::Must;
use baton_store::{GenerationFilter, PageRequest};
use serde_json::{Value, json};

use crate::ask::{Ask, Told, told};
use crate::client::{self, TOKEN};
use crate::give;
use crate::kept::queue;
use crate::numbers;

/// The most characters of a client's name.
const NAME_CHARS: usize = 256;
/// The most bytes of what a client says it can do: it is written anew with each of its heartbeats.
const CAPABILITIES_BYTES: usize = 4_096;

/// `POST /api/v1/clients/register`.
pub(crate) async fn register(ask: &Ask<'_>, request: Request) -> Told {
    let mut fields = ask.fields(request, BodyLimit::Params).await?;
    let name = fields.text("name");
    if name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARS) {
        fields.refuse("name", "at most 256 characters");
    }
    fields.maybe("public_key", Must::BeText, |key| key.as_str().map(str::to_owned));
    fields.object("system_info");
    let capabilities = Value::Object(fields.object("capabilities").unwrap_or_default());
    if capabilities.to_string().len() > CAPABILITIES_BYTES {
        fields.refuse("capabilities", "at most 4,096 bytes");
    }
    let name = fields.none_or(name)?;
    let (client_id, token) = client::register(ask.drift, &name, &capabilities).await?;
    told(&json!({ "client_id": client_id, "token": token, "expires_in": TOKEN.as_secs() }))
}

/// `GET /api/v1/clients/me`: asked by a client that starts, which runs nothing yet.
pub(crate) async fn me(ask: &Ask<'_>, _: Request) -> Told {
    let client = ask.client().await?;
    // What its earlier run held would be kept alive by this one's requests.
    give::give_all_back(ask.drift, &client, "the client has started anew").await?;
    ask.drift.present.begins(&client.id);
    told(&match client::registered(ask.drift, &client.id).await? {
        Some(found) => json!({
            "client_id": client.id,
            "name": found.name(),
            "capabilities": found.capabilities(),
            "created_at": found.detail().worker.started_at.isoformat(),
            "is_active": found.is_active(ask.drift),
        }),
        None => json!({
            "client_id": client.id,
            "name": client.caller.name(),
            "capabilities": {},
            "created_at": ask.now.isoformat(),
            "is_active": true,
        }),
    })
}

/// `PUT /api/v1/clients/heartbeat`.
pub(crate) async fn heartbeat(ask: &Ask<'_>, _: Request) -> Told {
    let client = ask.client().await?;
    told(&json!({ "status": "ok", "client_id": client.id, "timestamp": ask.now.isoformat() }))
}

/// `DELETE /api/v1/clients/unregister`.
pub(crate) async fn unregister(ask: &Ask<'_>, _: Request) -> Told {
    let client = ask.client().await?;
    give::give_all_back(ask.drift, &client, "the client has left").await?;
    client::leave(ask.drift, &client).await?;
    told(&json!({ "status": "success", "message": "Client unregistered", "client_id": client.id }))
}

/// `GET /api/v1/clients/stats`.
pub(crate) async fn stats(ask: &Ask<'_>, _: Request) -> Told {
    let client = ask.client().await?;
    let detail = ask.drift.app.store.worker(&client.id).await?;
    let filter = GenerationFilter {
        worker: Some(client.id.clone()),
        queue: Some(queue()),
        ..GenerationFilter::default()
    };
    let done = ask.drift.app.store.generations(filter, PageRequest::first(baton_model::limits::PAGE)).await?;
    let seconds: f64 = done.items.iter().map(|one| one.run_time().as_secs_f64()).sum();
    told(&json!({
        "client_id": client.id,
        "active_tasks": detail.active,
        "max_tasks": numbers::read(ask.drift).await?.max_tasks_per_client,
        "completed_tasks": done.items.len(),
        "total_execution_time": seconds,
        "more": done.next.is_some(),
        "timestamp": ask.now.isoformat(),
    }))
}
