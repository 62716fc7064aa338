//! Files, as the route of files gives them, to a browser that has a session instead of a token.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use baton_api::address::{PATH, escaped};
use baton_http::ApiError;
use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, Method};

use crate::visit::Visit;

/// Their paths, and how much longer than others their requests may take.
pub(crate) const SLOW: (&str, Duration) = ("/ui/files/*", Duration::from_secs(3_600));

/// The most bytes of a file whose text is shown on a page.
pub(crate) const PREVIEWED: u64 = 16 * 1024;

/// The address of a file on the pages.
pub(crate) fn address(project: &str, path: &str) -> String {
    format!("/ui/files/{}/{}", escaped(project, baton_api::address::NAME), escaped(path, PATH))
}

/// A file. The route says how it may be shown: nothing of it is run.
pub(crate) async fn show(
    visit: Visit,
    Path((project, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut asked = visit.headers.clone();
    // A browser plays a video by parts of it.
    for name in [RANGE, IF_RANGE, IF_NONE_MATCH] {
        if let Some(value) = headers.get(&name) {
            asked.insert(name, value.clone());
        }
    }
    visit.send_with(&asked, Method::GET, &route(&project, &path), Body::empty()).await
}

/// The text of a small file, as it is now: if a larger one has taken its place since, as much of it.
pub(crate) async fn text(visit: &Visit, project: &str, path: &str) -> Result<String, ApiError> {
    visit.beginning(&route(project, path), PREVIEWED).await
}

/// The address of a file by the route of files.
fn route(project: &str, path: &str) -> String {
    format!("/v1/files/{}/{}", escaped(project, baton_api::address::NAME), escaped(path, PATH))
}
