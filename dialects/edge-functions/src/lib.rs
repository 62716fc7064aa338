//! The dialect of the generation platform: its edge functions, its calls of procedures, its tables and its storage, as its GPU
//! workers and orchestrators ask for them. See `README.md` for how its words map to Baton's.

mod beside;
mod caps;
mod cascade;
mod edge;
mod ending;
mod functions;
mod generation;
mod keep;
mod moved;
mod old_shelf;
mod origin;
mod path;
mod row;
mod rpc;
mod storage;
mod table;
mod types;
mod words;

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use baton_http::auth::{Access, Credentials, Rule};
use baton_http::{App, Caller, Dialect, routes};
use baton_model::Scope::{Producer, Worker};
use baton_runtime::settings::EdgeSettings;
use utoipa_axum::router::OpenApiRouter;

use crate::edge::Edge;

pub use crate::moved::{Moved, moved, task_id};
pub use crate::row::described;

/// Its name in settings.
pub const NAME: &str = "edge-functions";

/// Files are long in coming and going.
const SLOW: (&str, Duration) = ("/storage/v1/object/*", Duration::from_secs(3_600));

const BOTH: &[baton_model::Scope] = &[Producer, Worker];

/// Who may ask for what. What each function needs is said once more in the table of functions.
pub const RULES: &[Rule] = &[
    Rule::post("/functions/v1/{name}", "edge_functions.call", BOTH),
    Rule::of("OPTIONS", "/functions/v1/{name}", "edge_functions.preflight", Access::Open),
    Rule::post("/rest/v1/rpc/{name}", "edge_functions.procedure", BOTH),
    Rule::of("OPTIONS", "/rest/v1/rpc/{name}", "edge_functions.procedure_preflight", Access::Open),
    Rule::get("/rest/v1/{table}", "edge_functions.select", BOTH),
    Rule::post("/rest/v1/{table}", "edge_functions.insert", BOTH).audited().at_length(),
    Rule::patch("/rest/v1/{table}", "edge_functions.update", BOTH).audited().at_length(),
    Rule::of("DELETE", "/rest/v1/{table}", "edge_functions.delete", Access::Scopes(BOTH))
        .audited()
        .at_length(),
    Rule::of("OPTIONS", "/rest/v1/{table}", "edge_functions.table_preflight", Access::Open),
    Rule::of(
        "PUT",
        "/storage/v1/object/upload/sign/{bucket}/{*path}",
        "edge_functions.put_signed",
        Access::Open,
    ),
    Rule::post("/storage/v1/object/{bucket}/{*path}", "edge_functions.put_object", BOTH),
    Rule::open("/storage/v1/object/public/{bucket}/{*path}", "edge_functions.get_object"),
];

fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::default()
        .routes(routes!(call))
        .routes(routes!(preflight))
        .routes(routes!(procedure))
        .routes(routes!(procedure_preflight))
        .routes(routes!(select))
        .routes(routes!(insert))
        .routes(routes!(update))
        .routes(routes!(delete))
        .routes(routes!(table_preflight))
        .routes(routes!(put_signed))
        .routes(routes!(put_object))
        .routes(routes!(get_object))
}

/// The OpenAPI document of its routes.
pub fn document() -> utoipa::openapi::OpenApi {
    router().split_for_parts().1
}

/// The dialect over an app, whose files its clients' are. What earlier versions kept in a folder of their own is taken over.
pub fn dialect(app: &App, settings: &EdgeSettings) -> Dialect {
    let edge = Edge::new(app.clone(), settings.clone());
    keep::begin_taking_over(&edge);
    // Its keys come as `apikey` alone from the workers' heartbeats.
    Dialect::new(NAME, RULES, router(), edge, words::phrase)
        .with_credentials(Credentials { headers: &["apikey"], query: &[] })
        .with_slow(vec![SLOW])
}

/// An answer to a browser's question of what it may ask
///
/// Says that any site may post to the functions.
#[utoipa::path(
    options,
    path = "/functions/v1/{name}",
    operation_id = "edge_functions.preflight",
    tag = "edge-functions",
    params(("name" = String, Path, description = "The function")),
    responses((status = 200, description = "What may be asked")),
)]
async fn preflight() -> Response {
    words::preflight()
}

/// Calls a function
///
/// Each function of the platform by its name, with `-` or `_` between its words: `create-task`, `claim-next-task`, `complete-task`,
/// `update-task-status`, `mark-task-failed`, `task-counts`, `get-task-status`, `get-task-output`, `get-predecessor-output`,
/// `get-completed-segments`, `get-orchestrator-children`, `generate-upload-url`, `update-worker-model`, `tasks-list`,
/// `update-shot-pair-prompts`, `calculate-task-cost`.
#[utoipa::path(
    post,
    path = "/functions/v1/{name}",
    operation_id = "edge_functions.call",
    tag = "edge-functions",
    params(("name" = String, Path, description = "The function")),
    responses((status = 200, description = "What the function answers"), (status = 204, description = "A claim found nothing")),
)]
async fn call(
    State(edge): State<Edge>,
    caller: Caller,
    axum::extract::Path(name): axum::extract::Path<String>,
    request: axum::extract::Request,
) -> Response {
    words::told(functions::call(&edge, &caller, &name, request).await)
}

/// An answer to a browser's question of what it may ask
///
/// Says that any site may call the procedures.
#[utoipa::path(
    options,
    path = "/rest/v1/rpc/{name}",
    operation_id = "edge_functions.procedure_preflight",
    tag = "edge-functions",
    params(("name" = String, Path, description = "The procedure")),
    responses((status = 200, description = "What may be asked")),
)]
async fn procedure_preflight() -> Response {
    words::preflight()
}

/// Calls a procedure
///
/// `func_worker_heartbeat_with_logs`, `func_insert_logs_batch`, `func_update_worker_heartbeat` and `func_cleanup_old_logs`.
#[utoipa::path(
    post,
    path = "/rest/v1/rpc/{name}",
    operation_id = "edge_functions.procedure",
    tag = "edge-functions",
    params(("name" = String, Path, description = "The procedure")),
    responses((status = 200, description = "What the procedure answers")),
)]
async fn procedure(
    State(edge): State<Edge>,
    caller: Caller,
    axum::extract::Path(name): axum::extract::Path<String>,
    request: axum::extract::Request,
) -> Response {
    words::told(rpc::call(&edge, &caller, &name, request).await)
}

/// An answer to a browser's question of what it may ask
///
/// Says that any site may ask for the tables.
#[utoipa::path(
    options,
    path = "/rest/v1/{table}",
    operation_id = "edge_functions.table_preflight",
    tag = "edge-functions",
    params(("table" = String, Path, description = "The table")),
    responses((status = 200, description = "What may be asked")),
)]
async fn table_preflight() -> Response {
    words::preflight()
}

/// Reads a table
///
/// `tasks`, `workers`, `system_logs`, `generations`, and the views `orchestrator_status` and `active_workers_health`, by filters,
/// in an order, a page of it.
#[utoipa::path(
    get,
    path = "/rest/v1/{table}",
    operation_id = "edge_functions.select",
    tag = "edge-functions",
    params(("table" = String, Path, description = "The table")),
    responses((status = 200, description = "Rows")),
)]
async fn select(
    State(edge): State<Edge>,
    caller: Caller,
    axum::extract::Path(name): axum::extract::Path<String>,
    request: axum::extract::Request,
) -> Response {
    words::told(table::select(&edge, &caller, &name, &request.into_parts().0).await)
}

/// Adds a row
///
/// A task is created, as by the function; a worker's record is kept.
#[utoipa::path(
    post,
    path = "/rest/v1/{table}",
    operation_id = "edge_functions.insert",
    tag = "edge-functions",
    params(("table" = String, Path, description = "The table")),
    responses((status = 201, description = "The row")),
)]
async fn insert(
    State(edge): State<Edge>,
    caller: Caller,
    axum::extract::Path(name): axum::extract::Path<String>,
    request: axum::extract::Request,
) -> Response {
    words::told(table::insert(&edge, &caller, &name, request).await)
}

/// Changes rows
///
/// What a change says becomes the command that it means: a task's attempt ends and it is queued again, or it is cancelled; what
/// means none is refused.
#[utoipa::path(
    patch,
    path = "/rest/v1/{table}",
    operation_id = "edge_functions.update",
    tag = "edge-functions",
    params(("table" = String, Path, description = "The table")),
    responses((status = 200, description = "The rows as they are now")),
)]
async fn update(
    State(edge): State<Edge>,
    caller: Caller,
    axum::extract::Path(name): axum::extract::Path<String>,
    request: axum::extract::Request,
) -> Response {
    words::told(table::update(&edge, &caller, &name, request).await)
}

/// Removes rows
///
/// A task that has ended is removed; one that has not is cancelled first.
#[utoipa::path(
    delete,
    path = "/rest/v1/{table}",
    operation_id = "edge_functions.delete",
    tag = "edge-functions",
    params(("table" = String, Path, description = "The table")),
    responses((status = 200, description = "The rows as they were")),
)]
async fn delete(
    State(edge): State<Edge>,
    caller: Caller,
    axum::extract::Path(name): axum::extract::Path<String>,
    request: axum::extract::Request,
) -> Response {
    words::told(table::delete(&edge, &caller, &name, &request.into_parts().0).await)
}

/// Puts a file where an upload was prepared for it
///
/// The address is that which `generate-upload-url` gave; it is signed, and so needs no token.
#[utoipa::path(
    put,
    path = "/storage/v1/object/upload/sign/{bucket}/{*path}",
    operation_id = "edge_functions.put_signed",
    tag = "edge-functions",
    params(
        ("bucket" = String, Path, description = "The bucket, `image_uploads`"),
        ("path" = String, Path, description = "The file"),
    ),
    responses((status = 200, description = "It is there")),
)]
async fn put_signed(
    State(edge): State<Edge>,
    axum::extract::Path((bucket, path)): axum::extract::Path<(String, String)>,
    request: axum::extract::Request,
) -> Response {
    words::told(storage::put_signed(&edge, &bucket, &path, request).await)
}

/// Puts a file
///
/// What is there under the path already is replaced with `x-upsert: true`.
#[utoipa::path(
    post,
    path = "/storage/v1/object/{bucket}/{*path}",
    operation_id = "edge_functions.put_object",
    tag = "edge-functions",
    params(
        ("bucket" = String, Path, description = "The bucket, `image_uploads`"),
        ("path" = String, Path, description = "The file"),
    ),
    responses((status = 200, description = "It is there")),
)]
async fn put_object(
    State(edge): State<Edge>,
    caller: Caller,
    axum::extract::Path((bucket, path)): axum::extract::Path<(String, String)>,
    request: axum::extract::Request,
) -> Response {
    words::told(storage::put(&edge, &caller, &bucket, &path, request).await)
}

/// Reads a file
///
/// Served so that no browser runs it.
#[utoipa::path(
    get,
    path = "/storage/v1/object/public/{bucket}/{*path}",
    operation_id = "edge_functions.get_object",
    tag = "edge-functions",
    params(
        ("bucket" = String, Path, description = "The bucket, `image_uploads`"),
        ("path" = String, Path, description = "The file"),
    ),
    responses((status = 200, description = "Its bytes")),
)]
async fn get_object(
    State(edge): State<Edge>,
    axum::extract::Path((bucket, path)): axum::extract::Path<(String, String)>,
    verb: http::Method,
    headers: http::HeaderMap,
) -> Response {
    words::told(storage::get(&edge, &bucket, &path, &verb, &headers).await)
}
