//! The routes, with who may ask for each.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{RawPathParams, Request, State, WebSocketUpgrade};
use baton_http::auth::Rule;
use baton_http::{ApiResult, BodyLimit, Caller, routes};
use baton_model::Scope::{self, Producer};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;

use crate::ask::{Ask, Orchestrator};
use crate::no::No;
use crate::{create, full, history, list, live, metrics, outputs, preferences, read, recover, workers};

const OPERATOR: &[Scope] = &[];

macro_rules! routes_by {
    ($($(#[$doc:meta])* $name:ident = $method:ident $path:tt $operation:tt $scopes:ident by $module:ident::$handle:ident;)*) => {
        $(
            $(#[$doc])*
            #[utoipa::path(
                $method,
                path = $path,
                operation_id = $operation,
                tag = "orchestrator",
                responses(
                    (status = 200, description = "As the old server answers"),
                    (status = "default", description = "`detail` says what is wrong: a text, or FastAPI's list"),
                ),
            )]
            async fn $name(
                State(orchestrator): State<Orchestrator>,
                caller: Caller,
                params: Result<RawPathParams, RawPathParamsRejection>,
                request: Request,
            ) -> ApiResult {
                let ask = Ask::begin(&orchestrator, &caller, params, &request);
                $module::$handle(&ask, request).await.or_else(No::answer)
            }
        )*

        /// Who may ask for what.
        pub const RULES: &[Rule] = &[
            $(routes_by!(@rule $method $path $operation $scopes),)*
            Rule::get("/ws", "orchestrator.ws", &[Producer]),
        ];

        /// All routes.
        pub(crate) fn router() -> OpenApiRouter<Orchestrator> {
            OpenApiRouter::default()$(.routes(routes!($name)))*.routes(routes!(ws))
        }
    };
    (@rule get $path:tt $operation:tt producer) => { Rule::get($path, $operation, &[Producer]) };
    (@rule post $path:tt $operation:tt producer) => { Rule::post($path, $operation, &[Producer]) };
    (@rule get $path:tt $operation:tt operator) => { Rule::get($path, $operation, OPERATOR) };
    (@rule post $path:tt $operation:tt operator) => { Rule::post($path, $operation, OPERATOR).audited() };
}

routes_by! {
    /// A new task
    submit = post "/tasks" "orchestrator.submit" producer by create::create;
    /// All tasks
    tasks = get "/tasks" "orchestrator.tasks" producer by list::all;
    /// One task
    task = get "/tasks/{id}" "orchestrator.task" producer by read::one;
    /// Tasks by state, role, provider and words
    persistent = get "/api/tasks/persistent" "orchestrator.persistent" producer by list::persistent;
    /// Tasks with state and history together
    full_list = get "/api/tasks/full" "orchestrator.full_list" producer by full::list;
    /// One task with all that belongs to it
    full_one = get "/api/tasks/full/{id}" "orchestrator.full_one" producer by full::one;
    /// What has become of a task
    history = get "/api/tasks/history/{id}" "orchestrator.history" producer by history::show;
    /// What a task has put out
    outputs = get "/api/tasks/outputs/{id}" "orchestrator.outputs" producer by outputs::list;
    /// More that a task has put out
    append_output = post "/api/tasks/outputs/{id}" "orchestrator.append_output" producer by outputs::append;
    /// Try a task again that has ended badly
    recover = post "/api/tasks/{id}/recover" "orchestrator.recover" operator by recover::recover;
    /// How many tasks there are in which state
    stats = get "/api/persistence/stats" "orchestrator.stats" producer by metrics::stats;
    /// Counts
    metrics_json = get "/api/metrics" "orchestrator.metrics_json" producer by metrics::json_of;
    /// Counts and gauges for Prometheus
    metrics_text = get "/metrics" "orchestrator.metrics" producer by metrics::prometheus;
    /// Counts and gauges for Prometheus
    metrics_slash = get "/metrics/" "orchestrator.metrics_slash" producer by metrics::prometheus;
    /// Providers
    providers = get "/api/providers" "orchestrator.providers" producer by preferences::providers;
    /// Store the list of providers
    set_providers = post "/api/providers" "orchestrator.set_providers" operator by preferences::set_providers;
    /// What a user prefers
    get_preferences = get "/api/preferences" "orchestrator.preferences" producer by preferences::get;
    /// Store what a user prefers
    set_preferences = post "/api/preferences" "orchestrator.set_preferences" producer by preferences::set;
    /// Workers, and whether tasks wait that nobody takes
    worker_list = get "/api/workers" "orchestrator.workers" operator by workers::list;
    /// Workers, and whether tasks wait that nobody takes
    worker_status = get "/api/workers/status" "orchestrator.worker_status" operator by workers::list;
    /// One worker
    worker = get "/api/workers/{id}" "orchestrator.worker" operator by workers::one;
    /// Have a worker finish what it runs and exit
    drain = post "/api/workers/{id}/drain" "orchestrator.drain" operator by workers::drain;
    /// Have a worker give everything back and exit
    stop = post "/api/workers/{id}/stop" "orchestrator.stop" operator by workers::stop;
    /// Let a worker run on
    run = post "/api/workers/{id}/run" "orchestrator.run" operator by workers::run;
    /// Workers, as the dashboard's agents
    agents = get "/agents/status" "orchestrator.agents" operator by workers::agents;
    /// The merge queue, which is empty
    merges = get "/merge/status" "orchestrator.merges" producer by metrics::merges;
    /// The repository that the settings name
    repositories = get "/api/repositories" "orchestrator.repositories" producer by metrics::repositories;
}

/// Live updates
///
/// A WebSocket. It tells of tasks that are submitted, and that tasks have changed; a text that is sent comes back as `Echo: …`.
#[utoipa::path(
    get,
    path = "/ws",
    operation_id = "orchestrator.ws",
    tag = "orchestrator",
    responses(
        (status = 101, description = "A WebSocket"),
        (status = "default", description = "`detail` says what is wrong"),
    ),
)]
async fn ws(
    State(orchestrator): State<Orchestrator>,
    caller: Caller,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult {
    let Ok(upgrade) = upgrade else {
        let why = "this is a WebSocket; connect to it as ws://, not by a plain request";
        return No::Said(StatusCode::UPGRADE_REQUIRED, why.to_owned()).answer();
    };
    let Orchestrator { app, board, .. } = orchestrator;
    // The dashboard says little.
    let most = BodyLimit::Plain.bytes(&app.limits());
    let upgrade = upgrade.max_message_size(most).max_frame_size(most);
    Ok(upgrade.on_upgrade(move |socket| live::serve(app, Arc::clone(&board), caller, socket)))
}
