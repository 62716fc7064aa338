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

pub use answer::queue;
pub use routes::RULES;
pub use words::{Kept, Said, keep, said};

/// Its name in settings.
pub const NAME: &str = "task-table";

/// The OpenAPI document of its routes.
pub fn document() -> utoipa::openapi::OpenApi {
    routes::router().split_for_parts().1
}

/// The dialect over an app.
pub fn dialect(app: &App) -> Dialect {
    Dialect::new(NAME, RULES, routes::router(), app.clone(), phrase).with_slashes()
}

fn phrase(problem: &Problem, _path: &str) -> Response {
    fastapi::phrase(problem)
}
