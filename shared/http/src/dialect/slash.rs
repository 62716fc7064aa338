//! A path with a slash too many at its end, or with one too few. The servers that several of the systems were built with (FastAPI, by
//! Starlette's `redirect_slashes`) lead it by 307 to the one that is a route, whatever the method, so that a client that follows sends
//! the same again there.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, LOCATION, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use crate::auth::Rule;

/// The paths that are led to. One that takes every path is none of them.
pub(super) struct Slashes(matchit::Router<()>);

impl Slashes {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut paths = matchit::Router::new();
        for rule in rules.iter().filter(|rule| !rule.path.contains("{*")) {
            // This is refused where another rule has the very path.
            drop(paths.insert(rule.path, ()));
        }
        Self(paths)
    }

    /// The path that is meant, if this one has no route.
    pub(super) fn meant(&self, path: &str) -> Option<String> {
        // A prefix alone is the root.
        if path.is_empty() || self.0.at(path).is_ok() {
            return None;
        }
        let other = match path.ends_with('/') {
            true => path.trim_end_matches('/').to_owned(),
            false => format!("{path}/"),
        };
        let is_route = self.0.at(&other).is_ok();
        is_route.then_some(other)
    }
}

/// Leads to another path of this server, with the same query; none for a socket, which follows nothing, or if it cannot be said. The path
/// alone is told (RFC 9110 §10.2.2): which address and protocol its client knows is not known behind a proxy, and what it says of that is
/// not to be trusted.
pub(super) fn lead(path: &str, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    // What begins with two slashes is another server's.
    if headers.contains_key(UPGRADE) || path.starts_with("//") {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{path}{query}")).ok()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &[Rule] = &[
        Rule::get("/tasks", "t.list", &[]),
        Rule::post("/tasks", "t.create", &[]),
        Rule::get("/tasks/{id}", "t.get", &[]),
        Rule::get("/metrics/", "t.metrics", &[]),
        Rule::open("/", "t.root"),
        Rule::post("/{*rest}", "t.any", &[]),
    ];

    #[test]
    fn a_path_is_led_to_the_other_one_if_that_alone_is_a_route() {
        let slashes = Slashes::of(RULES);
        for (path, meant) in [
            ("/tasks", None),
            ("/tasks/", Some("/tasks")),
            ("/tasks//", Some("/tasks")),
            ("/tasks/a/", Some("/tasks/a")),
            ("/tasks/a", None),
            ("/metrics", Some("/metrics/")),
            ("/metrics/", None),
            ("/", None),
            ("", None),
            ("//", None),
            ("//evil.test/", None),
            ("/nowhere/", None),
            ("/nowhere", None),
        ] {
            assert_eq!(slashes.meant(path).as_deref(), meant, "{path}");
        }
    }

    #[test]
    fn the_query_stays_and_the_path_alone_is_told() {
        let uri: Uri = "/tasks/?limit=5".parse().unwrap();
        let told = |path: &str, headers: &[(&'static str, &'static str)]| {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
                .collect();
            let response = lead(path, &uri, &headers)?;
            assert_eq!(response.status(), 307);
            Some(response.headers()[LOCATION].to_str().unwrap().to_owned())
        };
        assert_eq!(told("/tasks", &[]).unwrap(), "/tasks?limit=5");
        assert_eq!(told("/tasks", &[("host", "me:secret@here")]).unwrap(), "/tasks?limit=5");
        let behind = [("host", "here"), ("x-forwarded-proto", "https")];
        assert_eq!(told("/tasks", &behind).unwrap(), "/tasks?limit=5");
        assert_eq!(told("/tasks", &[("host", "here"), ("upgrade", "websocket")]), None);
        assert_eq!(told("//evil.test", &[]), None);
    }
}
