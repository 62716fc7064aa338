//! The dialect of the volunteer-compute drift simulation: its clients' registration, tasks and sockets, and its operators' routes.
//! See `README.md` for how its words map to Baton's.

mod admin;
mod ask;
mod client;
mod drift;
mod end;
mod give;
mod hex;
mod kept;
mod look;
mod make;
mod numbers;
mod present;
mod register;
mod routes;
mod socket;
mod watch;
mod work;

use std::sync::Arc;

use axum::response::Response;
use baton_api::Problem;
use baton_http::auth::Credentials;
use baton_http::{App, Dialect, fastapi};

use drift::Drift;

pub use routes::RULES;

/// Its name in settings.
pub const NAME: &str = "drift";

/// The OpenAPI document of its routes.
pub fn document() -> utoipa::openapi::OpenApi {
    routes::router().split_for_parts().1
}

/// The dialect over an app.
pub fn dialect(app: &App) -> Dialect {
    let drift = Drift::new(app.clone());
    watch::begin_all(&drift);
    // The old server took the token of most routes from the query.
    Dialect::new(NAME, RULES, routes::router(), drift.clone(), phrase)
        .with_slashes()
        .with_credentials(Credentials { headers: &[], query: &["token"] })
        .with_guests(Arc::new(drift))
}

fn phrase(problem: &Problem, _path: &str) -> Response {
    fastapi::phrase(problem)
}
