//! The routes, with who may ask for each.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{RawPathParams, Request, State, WebSocketUpgrade};
use baton_http::auth::{Access, Rule};
use baton_http::{ApiResult, BodyLimit, Caller, fastapi, routes};
use baton_model::Scope::{self, Producer, Worker};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;

use crate::ask::{Ask, No};
use crate::drift::Drift;
use crate::{admin, look, make, numbers, register, socket, work};

const OPERATOR: &[Scope] = &[];

macro_rules! routes_by {
    ($($(#[$doc:meta])* $name:ident = $method:ident $path:tt $operation:tt $scopes:ident by $module:ident::$handle:ident;)*) => {
        $(
            $(#[$doc])*
            #[utoipa::path(
                $method,
                path = $path,
                operation_id = $operation,
                tag = "drift",
                responses(
                    (status = 200, description = "As the old server answers"),
                    (status = "default", description = "`detail` says what is wrong: a text, or FastAPI's list"),
                ),
            )]
            async fn $name(
                State(drift): State<Drift>,
                caller: routes_by!(@caller $scopes),
                params: Result<RawPathParams, RawPathParamsRejection>,
                request: Request,
            ) -> ApiResult {
                numbers::begin(&drift).await?;
                let caller = routes_by!(@called $scopes caller);
                let ask = Ask::begin(&drift, &caller, params, &request);
                $module::$handle(&ask, request).await.or_else(No::answer)
            }
        )*

        /// Who may ask for what. A client's own token is a worker's.
        pub const RULES: &[Rule] = &[
            $(routes_by!(@rule $scopes $method $path $operation),)*
            Rule::open("/ws/client/{client_id}", "drift.ws"),
        ];

        /// All routes.
        pub(crate) fn router() -> OpenApiRouter<Drift> {
            OpenApiRouter::default()$(.routes(routes!($name)))*.routes(routes!(ws))
        }
    };
    // Of an open route it is not known who asks.
    (@caller open) => { () };
    (@caller $scopes:ident) => { Caller };
    (@called open $caller:ident) => {{
        let () = $caller;
        Caller::unrestricted()
    }};
    (@called $scopes:ident $caller:ident) => { $caller };
    (@rule open get $path:tt $operation:tt) => { Rule::open($path, $operation) };
    (@rule open post $path:tt $operation:tt) => { Rule::of("POST", $path, $operation, Access::Open) };
    (@rule client get $path:tt $operation:tt) => { Rule::get($path, $operation, &[Worker]) };
    (@rule client post $path:tt $operation:tt) => { Rule::post($path, $operation, &[Worker]) };
    (@rule client put $path:tt $operation:tt) => { Rule::put($path, $operation, &[Worker]) };
    (@rule client delete $path:tt $operation:tt) => { Rule::of("DELETE", $path, $operation, Access::Scopes(&[Worker])) };
    (@rule both get $path:tt $operation:tt) => { Rule::get($path, $operation, &[Producer, Worker]) };
    (@rule both post $path:tt $operation:tt) => { Rule::post($path, $operation, &[Producer, Worker]) };
    (@rule producer post $path:tt $operation:tt) => { Rule::post($path, $operation, &[Producer]) };
    (@rule operator get $path:tt $operation:tt) => { Rule::get($path, $operation, OPERATOR) };
    (@rule operator post $path:tt $operation:tt) => { Rule::post($path, $operation, OPERATOR).audited() };
}

routes_by! {
    /// What this is
    root = get "/" "drift.root" open by look::root;
    /// Whether the server lives
    health = get "/health" "drift.health" open by look::health;
    /// Register a client
    register = post "/api/v1/clients/register" "drift.register" open by register::register;
    /// Whether a client is registered
    me = get "/api/v1/clients/me" "drift.me" client by register::me;
    /// A client's sign of life
    heartbeat = put "/api/v1/clients/heartbeat" "drift.heartbeat" client by register::heartbeat;
    /// Have a client leave
    unregister = delete "/api/v1/clients/unregister" "drift.unregister" client by register::unregister;
    /// What a client has done
    client_stats = get "/api/v1/clients/stats" "drift.client_stats" client by register::stats;
    /// A task, or null
    available = get "/api/v1/tasks/available" "drift.available" client by work::available;
    /// A task, or null
    request_task = post "/api/v1/tasks/request" "drift.request" client by work::available;
    /// What has come of a task
    complete = post "/api/v1/tasks/complete" "drift.complete" client by work::complete;
    /// Why nothing has come of a task
    fail = post "/api/v1/tasks/fail" "drift.fail" client by work::fail;
    /// How a task stands
    status = get "/api/v1/tasks/status/{task_id}" "drift.status" both by look::status;
    /// What has come of tasks
    results = get "/api/v1/tasks/results" "drift.results" both by look::results;
    /// How the queue stands
    queue_status = get "/api/v1/tasks/queue/status" "drift.queue_status" open by look::queue_status;
    /// A new simulation
    batch = post "/api/v1/simulations/batch" "drift.batch" producer by make::batch;
    /// A small simulation to try
    test_batch = post "/api/v1/simulations/test-batch" "drift.test_batch" producer by make::test_batch;
    /// A new simulation
    admin_batch = post "/api/v1/admin/batch/create" "drift.admin_batch" operator by make::batch;
    /// What runs, by client
    active_tasks = get "/api/v1/admin/debug/active-tasks" "drift.active_tasks" operator by admin::active_tasks;
    /// Take back what is lost, and nothing else
    clear_stuck = post "/api/v1/admin/tasks/clear-stuck" "drift.clear_stuck" both by admin::clear_stuck;
    /// How much waits, and how much a client holds
    config = post "/api/v1/admin/tasks/config" "drift.config" operator by admin::config;
    /// All clients
    clients = get "/api/v1/admin/clients" "drift.clients" operator by admin::clients;
    /// Counts
    stats = get "/api/v1/admin/stats" "drift.stats" operator by admin::stats;
    /// Simulations
    batches = get "/api/v1/admin/batches" "drift.batches" operator by admin::batches;
    /// Whether the server lives
    admin_health = get "/api/v1/admin/health" "drift.admin_health" operator by look::health;
}

/// A client's socket
///
/// A WebSocket without a token: the client's id, which nobody guesses, says who it is. One that is not registered is closed with the
/// code 4004.
#[utoipa::path(
    get,
    path = "/ws/client/{client_id}",
    operation_id = "drift.ws",
    tag = "drift",
    params(("client_id" = String, Path, description = "The client")),
    responses(
        (status = 101, description = "A WebSocket"),
        (status = "default", description = "`detail` says what is wrong"),
    ),
)]
async fn ws(
    State(drift): State<Drift>,
    axum::extract::Path(id): axum::extract::Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult {
    let Ok(upgrade) = upgrade else {
        let why = "this is a WebSocket; connect to it as ws://, not by a plain request";
        return fastapi::detail(StatusCode::UPGRADE_REQUIRED, why);
    };
    numbers::begin(&drift).await?;
    let most = BodyLimit::Output.bytes(&drift.app.limits());
    let upgrade = upgrade.max_message_size(most).max_frame_size(most);
    Ok(upgrade.on_upgrade(move |stream| socket::serve(drift, id, stream)))
}
