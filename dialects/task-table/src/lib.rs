//! The dialect of the cognitive platform's task table: its HTTP API.

mod answer;
mod asked;
mod create;
mod facts;
mod health;
mod logs;
mod one;
mod read;
mod routes;
mod words;

use axum::response::Response;
use baton_api::Problem;
use baton_http::{App, Dialect, fastapi};

use answer::TaskTable;

pub use answer::queue;
pub use routes::RULES;
pub use words::{Kept, Said, keep, said};

/// Its name in settings.
pub const NAME: &str = "task-table";

/// The OpenAPI document of its routes.
pub fn document() -> utoipa::openapi::OpenApi {
    routes::router().split_for_parts().1
}

/// The dialect over an app; `late` says whether a new task whose client does not say runs at once.
pub fn dialect(app: &App, late: bool) -> Dialect {
    let table = TaskTable { app: app.clone(), late };
    Dialect::new(NAME, RULES, routes::router(), table, phrase).with_slashes()
}

fn phrase(problem: &Problem, _path: &str) -> Response {
    fastapi::phrase(problem)
}
