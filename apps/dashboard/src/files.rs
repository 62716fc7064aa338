//! Files, as the route of files gives them, to a browser that has a session instead of a token.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use baton_api::address::{PATH, escaped};
use baton_http::ApiError;
use http::header::{IF_NONE_MATCH, RANGE};
use http::{HeaderMap, Method};

use crate::visit::Visit;

/// Their paths, and how much longer than others their requests may take.
pub(crate) const SLOW: (&str, Duration) = ("/ui/files/*", Duration::from_secs(3_600));

/// The address of a file on the pages.
pub(crate) fn address(project: &str, path: &str) -> String {
    format!("/ui/files/{}/{}", escaped(project, baton_api::address::NAME), escaped(path, PATH))
}

/// A file. The route says how it may be shown: nothing of it is run.
pub(crate) async fn show(
    mut visit: Visit,
    Path((project, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    for name in [RANGE, IF_NONE_MATCH] {
        if let Some(value) = headers.get(&name) {
            visit.headers.insert(name, value.clone());
        }
    }
    let address =
        format!("/v1/files/{}/{}", escaped(&project, baton_api::address::NAME), escaped(&path, PATH));
    visit.send(Method::GET, &address, Body::empty()).await
}
