//! Makes, lists and revokes callers' tokens, and shows what operators did.

mod audit;
mod token;

use baton_http::{App, routes};
use utoipa_axum::router::OpenApiRouter;

pub use token::{keep_token, new_token, read_request};

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(token::create))
        .routes(routes!(token::list))
        .routes(routes!(token::own))
        .routes(routes!(token::revoke))
        .routes(routes!(audit::list))
}
