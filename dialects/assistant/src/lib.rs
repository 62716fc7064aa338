//! The dialect of the in-memory assistant task server: its routes under both prefixes, its words, and its three log files.

mod ask;
mod asked;
mod create;
mod entry;
mod execute;
mod files;
mod log;
mod pulse;
mod python;
mod read;
mod reflect;
mod routes;

use std::io;
use std::sync::Arc;

use axum::response::Response;
use baton_api::Problem;
use baton_http::{App, Dialect, fastapi};
use baton_runtime::settings::AssistantSettings;

use ask::Assistant;
use log::Log;

pub use asked::actions;
pub use entry::{queue, type_of};
pub use routes::RULES;

/// Its name in settings.
pub const NAME: &str = "assistant";

/// The OpenAPI document of its routes.
pub fn document() -> utoipa::openapi::OpenApi {
    routes::router().split_for_parts().1
}

/// The dialect over an app.
///
/// # Errors
/// If its log files cannot be opened.
pub fn dialect(app: &App, settings: &AssistantSettings) -> io::Result<Dialect> {
    let log = Arc::new(Log::open(settings)?);
    let assistant = Assistant { app: app.clone(), settings: Arc::new(settings.clone()), log };
    let wait = settings.execute_wait;
    let slow = vec![("/task", wait), ("/tasks", wait), ("/", wait)];
    Ok(Dialect::new(NAME, RULES, routes::router(), assistant, phrase).with_slow(slow).with_slashes())
}

fn phrase(problem: &Problem, _path: &str) -> Response {
    fastapi::phrase(problem)
}
