//! Answers to browsers: pages, redirections, problems and the page's own files, each with the headers that bind a browser.

use askama::Template;
use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use baton_api::{Problem, ProblemCode};
use baton_http::ApiError;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::words::{NAMES, plain};

/// What a browser may load and do on a page: nothing but what this server itself serves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const STYLE: &str = include_str!("../static/app.css");
const SCRIPT: &str = include_str!("../static/app.js");
const ICON: &str = include_str!("../static/icon.svg");

/// A page of this status.
pub(crate) fn page(status: StatusCode, template: &impl Template) -> Result<Response, ApiError> {
    let html = template.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be written");
        ApiError::internal()
    })?;
    Ok(guarded(status, "text/html; charset=utf-8", html, "no-store"))
}

/// A page.
pub(crate) fn ok(template: &impl Template) -> Result<Response, ApiError> {
    page(StatusCode::OK, template)
}

/// Has the browser ask for another page. Its address is one of the dashboard's own.
pub(crate) fn see(address: &str) -> Response {
    let mut response = guarded(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", String::new(), "no-store");
    let address = HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("/ui"));
    response.headers_mut().insert(LOCATION, address);
    response
}

/// Has somebody sign in, and come back to the page that they asked for.
pub(crate) fn to_sign_in(method: &Method, here: &str) -> Response {
    let next = if method == Method::GET { here } else { "/ui" };
    see(&crate::address::path(&["ui", "sign-in"], &[("next", next)]))
}

/// The style, the script and the icon.
pub(crate) async fn file(Path(name): Path<String>) -> Result<Response, ApiError> {
    let (kind, text) = match name.as_str() {
        "app.css" => ("text/css; charset=utf-8", STYLE),
        "app.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(ApiError::new(ProblemCode::RouteNotFound, "the dashboard has no such file")),
    };
    // A new version of the server brings its own at once: they are small, and asked for again.
    Ok(guarded(StatusCode::OK, kind, text.to_owned(), "private, max-age=60"))
}

/// The page that explains a problem.
pub(crate) fn explained(name: &str, explain: fn(ProblemCode) -> &'static str) -> Result<Response, ApiError> {
    // They link to each other by the names of their files.
    let code = ProblemCode::by_name(name.strip_suffix(".md").unwrap_or(name));
    let code = code.ok_or_else(|| ApiError::new(ProblemCode::RouteNotFound, "there is no such problem"))?;
    let (kind, text) = ("text/markdown; charset=utf-8", explain(code).to_owned());
    Ok(guarded(StatusCode::OK, kind, text, "private, max-age=60"))
}

fn guarded(status: StatusCode, kind: &'static str, body: String, cache: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // With `no-referrer` a browser would send its forms with `Origin: null`.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    let resource = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(resource, HeaderValue::from_static("same-origin"));
    response
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    title: String,
    status: u16,
    detail: String,
    errors: Vec<(String, String)>,
    code: String,
    explained: String,
    request_id: String,
}

/// A problem as a page.
pub(crate) fn phrase(problem: &Problem, _: &str) -> Response {
    let errors = problem.errors.iter();
    let errors = errors.map(|error| {
        (plain(&error.field, NAMES), format!("expected {}, got {}", error.expected, plain(&error.got, NAMES)))
    });
    let shown = ProblemPage {
        title: problem.title.clone(),
        status: problem.status,
        detail: plain(&problem.detail, 2_000),
        errors: errors.collect(),
        code: problem.code.clone(),
        explained: problem.page.clone(),
        request_id: problem.request_id.clone().unwrap_or_default(),
    };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    page(status, &shown).unwrap_or_else(|error| {
        let mut response = error.into_response();
        // What cannot be written as a page is told without one.
        response.extensions_mut().clear();
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
