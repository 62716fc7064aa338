//! The routes: each under both prefixes, with who may ask for it.

use axum::extract::{Request, State};
use baton_http::auth::Rule;
use baton_http::{ApiResult, Caller, routes};
use baton_model::Scope::Producer;
use utoipa_axum::router::OpenApiRouter;

use crate::ask::{Ask, Assistant};
use crate::{create, pulse, read, reflect};

macro_rules! routes_by {
    ($($(#[$doc:meta])* $name:ident = $method:ident $path:tt $operation:tt, $action:literal by $module:ident::$handle:ident;)*) => {
        $(
            $(#[$doc])*
            #[utoipa::path(
                $method,
                path = $path,
                operation_id = $operation,
                tag = "assistant",
                responses(
                    (status = 200, description = "As the old server answers"),
                    (status = "default", description = "`detail` says what is wrong: a text, or FastAPI's list"),
                ),
            )]
            async fn $name(State(assistant): State<Assistant>, caller: Caller, request: Request) -> ApiResult {
                let ask = Ask::begin(&assistant, &caller, ($path, $action), &request);
                ask.tell($module::$handle(&ask, request).await)
            }
        )*

        /// Who may ask for what.
        pub const RULES: &[Rule] = &[$(routes_by!(@rule $method $path $operation)),*];

        /// All routes.
        pub(crate) fn router() -> OpenApiRouter<Assistant> {
            OpenApiRouter::default()$(.routes(routes!($name)))*
        }
    };
    (@rule get $path:tt $operation:tt) => { Rule::get($path, $operation, &[Producer]) };
    (@rule post $path:tt $operation:tt) => { Rule::post($path, $operation, &[Producer]) };
}

routes_by! {
    /// New tasks, one or a list
    create_task = post "/task" "assistant.create_task", "task_batch" by create::create;
    /// New tasks, one or a list, each with its action
    create_tasks = post "/tasks" "assistant.create_tasks", "task_batch" by create::create;
    /// Active tasks; those that are over with `finished=true`
    list_task = get "/task/list" "assistant.list_task", "get_task_list" by read::list;
    /// Active tasks; those that are over with `finished=true`
    list_tasks = get "/tasks/list" "assistant.list_tasks", "get_task_list" by read::list;
    /// How many tasks are active and completed
    task_status = get "/task/status" "assistant.task_status", "get_task_status" by read::status;
    /// How many tasks are active and completed
    tasks_status = get "/tasks/status" "assistant.tasks_status", "get_task_status" by read::status;
    /// One task
    get_task = get "/task/{task_id}" "assistant.get_task", "get_task" by read::one;
    /// One task
    get_tasks = get "/tasks/{task_id}" "assistant.get_tasks", "get_task" by read::one;
    /// A thought on a task
    reflect_task = post "/task/reflect" "assistant.reflect_task", "reflect" by reflect::reflect;
    /// A thought on a task
    reflect_tasks = post "/tasks/reflect" "assistant.reflect_tasks", "reflect" by reflect::reflect;
    /// The server's health
    heartbeat = get "/heartbeat" "assistant.heartbeat", "heartbeat" by pulse::alive;
    /// Where an action is to be sent
    beat = post "/heartbeat" "assistant.beat", "heartbeat" by pulse::beat;
    /// A welcome, or new tasks
    welcome = post "/" "assistant.welcome", "welcome" by pulse::welcome;
    /// New tasks, wherever they are sent
    create_anywhere = post "/{*rest}" "assistant.create_anywhere", "task_batch" by pulse::any;
    /// New tasks, where a list is read
    create_at_list = post "/task/list" "assistant.create_at_list", "task_batch" by pulse::elsewhere;
    /// New tasks, where a list is read
    create_at_lists = post "/tasks/list" "assistant.create_at_lists", "task_batch" by pulse::elsewhere;
    /// New tasks, where the counts are read
    create_at_status = post "/task/status" "assistant.create_at_status", "task_batch" by pulse::elsewhere;
    /// New tasks, where the counts are read
    create_at_statuses = post "/tasks/status" "assistant.create_at_statuses", "task_batch" by pulse::elsewhere;
    /// New tasks, where one is read
    create_at_task = post "/task/{task_id}" "assistant.create_at_task", "task_batch" by pulse::elsewhere;
    /// New tasks, where one is read
    create_at_tasks = post "/tasks/{task_id}" "assistant.create_at_tasks", "task_batch" by pulse::elsewhere;
    /// No route
    nowhere = get "/{*rest}" "assistant.nowhere", "unknown" by pulse::nowhere;
}
