//! The routes, with who may ask for each.

use axum::extract::{Request, State};
use baton_http::auth::{Access, Rule};
use baton_http::{ApiResult, Caller, routes};
use baton_model::Scope::Producer;
use utoipa_axum::router::OpenApiRouter;

use crate::answer::{Ask, TaskTable};
use crate::{create, facts, health, logs, one, read};

macro_rules! routes_by {
    ($($(#[$doc:meta])* $name:ident = $method:ident $path:tt $operation:tt by $module:ident::$handle:ident, $access:ident;)*) => {
        $(
            $(#[$doc])*
            #[utoipa::path(
                $method,
                path = $path,
                operation_id = $operation,
                tag = "task-table",
                responses(
                    (status = 200, description = "As the old API answers"),
                    (status = "default", description = "`detail` says what is wrong: a text, or FastAPI's list"),
                ),
            )]
            async fn $name(State(table): State<TaskTable>, caller: Caller, request: Request) -> ApiResult {
                let ask = Ask { app: &table.app, late: table.late, caller: &caller };
                $module::$handle(&ask, request).await.or_else(|no| no.answer())
            }
        )*

        /// Who may ask for what.
        pub const RULES: &[Rule] = &[
            Rule::open("/health", "task_table.health"),
            Rule::open("/readyz", "task_table.readyz"),
            Rule::open("/api/v1/coordinator/health", "task_table.coordinator_health"),
            $(routes_by!(@rule $access $method $path $operation)),*
        ];

        /// All routes.
        pub(crate) fn router() -> OpenApiRouter<TaskTable> {
            OpenApiRouter::default()
                .routes(routes!(live))
                .routes(routes!(ready))
                .routes(routes!(coordinator))
                $(.routes(routes!($name)))*
        }
    };
    (@rule producer get $path:tt $operation:tt) => { Rule::get($path, $operation, &[Producer]) };
    (@rule producer post $path:tt $operation:tt) => { Rule::post($path, $operation, &[Producer]).at_length() };
    (@rule producer delete $path:tt $operation:tt) => {
        Rule::of("DELETE", $path, $operation, Access::Scopes(&[Producer]))
    };
    (@rule audited post $path:tt $operation:tt) => { Rule::post($path, $operation, &[Producer]).audited().at_length() };
    (@rule operator post $path:tt $operation:tt) => { Rule::post($path, $operation, &[]).audited().at_length() };
}

routes_by! {
    /// A new task
    create_task = post "/api/v1/tasks" "task_table.create_task" by create::create, producer;
    /// All tasks, the newest first
    list_tasks = get "/api/v1/tasks" "task_table.list_tasks" by read::list, producer;
    /// One task, by its id or the beginning of it
    get_task = get "/api/v1/tasks/{id}" "task_table.get_task" by one::show, producer;
    /// A task's status
    task_status = get "/api/v1/tasks/{id}/status" "task_table.task_status" by one::status, producer;
    /// What happens to a task, as a stream of events
    task_logs = get "/api/v1/tasks/{id}/logs" "task_table.task_logs" by logs::stream, producer;
    /// Has a task run
    run_task = post "/api/v1/tasks/{id}/run" "task_table.run_task" by one::run, operator;
    /// Calls a task off
    cancel_task = post "/api/v1/tasks/{id}/cancel" "task_table.cancel_task" by one::cancel, audited;
    /// No facts
    list_facts = get "/api/v1/facts" "task_table.list_facts" by facts::list, producer;
    /// Not kept
    create_fact = post "/api/v1/facts" "task_table.create_fact" by facts::create, producer;
    /// Not found
    delete_fact = delete "/api/v1/facts/{id}" "task_table.delete_fact" by facts::delete, producer;
}

/// Whether the server lives
#[utoipa::path(get, path = "/health", operation_id = "task_table.health", tag = "task-table",
    responses((status = 200, description = "It lives")))]
async fn live() -> ApiResult {
    health::live()
}

/// Whether the server can do its work
#[utoipa::path(get, path = "/readyz", operation_id = "task_table.readyz", tag = "task-table",
    responses((status = 200, description = "It can"), (status = 503, description = "It cannot")))]
async fn ready(State(table): State<TaskTable>) -> ApiResult {
    health::ready(&table.app).await
}

/// Whether the coordinator lives
#[utoipa::path(get, path = "/api/v1/coordinator/health", operation_id = "task_table.coordinator_health",
    tag = "task-table", responses((status = 200, description = "It lives")))]
async fn coordinator() -> ApiResult {
    health::coordinator()
}
