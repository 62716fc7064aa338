//! Baton's own routes, asked from within the process.
//!
//! What shows people the state of things, such as the dashboard, asks the very routes that programs ask: with its caller's own
//! token, held to the same rules, recorded in the same audit log. So it can neither tell another story nor do more.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use tower::Service;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::auth::{Authenticate, Authority};
use crate::envelope::{method_not_allowed, no_such_route};
use crate::error::ApiError;

/// Routes behind their authentication, without a socket and without an envelope: the request that asks has one already.
#[derive(Clone, Debug)]
pub struct Inside {
    routes: Authenticate<Router>,
}

impl Inside {
    /// The routes of a router, asked by those whom `by` knows.
    pub fn new(router: OpenApiRouter<App>, app: App, by: impl Into<Authority>) -> Self {
        let (router, _) = router.split_for_parts();
        let router =
            router.fallback(no_such_route).method_not_allowed_fallback(method_not_allowed).with_state(app);
        Self { routes: Authenticate::new(router, by) }
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// What the routes refuse, as they would tell it.
    pub async fn ask(&self, request: Request<Body>) -> Result<Response, ApiError> {
        let mut response = self.routes.clone().call(request).await.unwrap_or_else(|never| match never {});
        match response.extensions_mut().remove::<ApiError>() {
            Some(refused) => Err(refused),
            None => Ok(response),
        }
    }
}
