//! Web pages of other sites.
//!
//! A server on a loopback address is reached by every browser on its machine, and so by every page that one shows. A page
//! may send requests without asking (a form's POST), and may read the answers if its site's name leads to 127.0.0.1 (DNS
//! rebinding). The first shows in `Origin`, the second in `Host`; neither header can be set by a page.
//!
//! A dialect may let pages of some origins in. Their browsers then need to be told so (the Fetch standard, "CORS protocol"): with each
//! answer, and before a request that no form could send.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use baton_api::ProblemCode;
use baton_model::Expected;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::error::ApiError;
use crate::head::is_host;

/// The origin of the page that has sent a request, if it is one of these.
pub(crate) fn page_of(headers: &HeaderMap, origins: &[String]) -> Option<HeaderValue> {
    let mut told = headers.get_all(ORIGIN).iter();
    let origin = told.next().filter(|_| told.next().is_none())?;
    origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Whether a browser asks what a page may send, before it does.
pub(crate) fn asks_first(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to that, of a page that is let in: what it asks for.
pub(crate) fn may_send(headers: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let told = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
    told.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    if let Some(names) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        told.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    told.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Says to a browser that a page of this origin may read the answer.
pub(crate) fn may_read(response: &mut Response, origin: HeaderValue) {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
}

/// Takes requests that no page of another site has sent, but for one of an origin that is let in.
pub(crate) fn check(headers: &HeaderMap, let_in: Option<&HeaderValue>) -> Result<(), ApiError> {
    let mut has_origin = false;
    // In one walk, and each of several: who reads another one of two than this may be led elsewhere.
    for (name, value) in headers {
        if *name == ORIGIN {
            if let_in != Some(value) && !text(value).is_some_and(is_local_origin) {
                return Err(refused(
                    "a request of a program, or of a page from this machine",
                    "Origin",
                    value,
                ));
            }
            if std::mem::replace(&mut has_origin, true) {
                let twice = HeaderValue::from_static("more than one");
                return Err(refused("at most one Origin", "Origin", &twice));
            }
        } else if *name == HOST && !text(value).is_some_and(|host| is_address(host) || is_localhost(host)) {
            return Err(refused("an address or localhost", "Host", value));
        }
    }
    Ok(())
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

/// The part of `host:port` before the port, an IPv6 address without its brackets.
fn name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_address(host: &str) -> bool {
    name(host).parse::<IpAddr>().is_ok()
}

fn is_localhost(host: &str) -> bool {
    name(host).eq_ignore_ascii_case("localhost")
}

fn is_local_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.filter(|host| is_host(host)).is_some_and(|host| {
        is_localhost(host) || name(host).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

fn refused(expected: &str, header: &str, got: &HeaderValue) -> ApiError {
    let got = Expected::text("", &String::from_utf8_lossy(got.as_bytes())).got;
    ApiError::new(
        ProblemCode::ForeignOrigin,
        format!(
            "expected {expected}, got {header}: {got}; this server takes nothing from web pages of other sites; \
             use a program, or let a proxy set the header"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_of(header: http::HeaderName, value: &'static str) -> bool {
        check(&HeaderMap::from_iter([(header, HeaderValue::from_static(value))]), None).is_ok()
    }

    #[test]
    fn programs_and_local_pages_are_taken() {
        assert!(check(&HeaderMap::new(), None).is_ok());
        for host in ["127.0.0.1:7410", "localhost:7410", "LOCALHOST", "[::1]:7410", "10.0.0.7", "127.0.0.1"] {
            assert!(check_of(HOST, host), "{host}");
        }
        for origin in ["http://127.0.0.1:7410", "http://localhost:3000", "https://[::1]:7410"] {
            assert!(check_of(ORIGIN, origin), "{origin}");
        }
    }

    #[test]
    fn a_page_of_an_origin_that_is_let_in_is_taken_and_no_other_host() {
        let origins = ["null".to_owned(), "http://localhost:3000".to_owned()];
        let taken = |pairs: &[(http::HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name.clone(), HeaderValue::from_static(value));
            }
            check(&headers, page_of(&headers, &origins).as_ref()).is_ok()
        };
        assert!(taken(&[(ORIGIN, "null"), (HOST, "localhost:8001")]));
        assert!(!taken(&[(ORIGIN, "null"), (HOST, "rebound.example.org")]));
        assert!(!taken(&[(ORIGIN, "null"), (ORIGIN, "https://example.org")]));
        assert!(!taken(&[(ORIGIN, "https://example.org")]));
    }

    #[test]
    fn pages_of_other_sites_are_not() {
        for host in
            ["example.org", "rebound.example.org:7410", "127.0.0.1.example.org", "localhost.example.org", ""]
        {
            assert!(!check_of(HOST, host), "{host}");
        }
        for origin in [
            "https://example.org",
            "null",
            "http://127.0.0.1.example.org",
            "http://10.0.0.7",
            "file://",
            "http://127.0.0.1:evil",
            "http://[::1].example.org",
        ] {
            assert!(!check_of(ORIGIN, origin), "{origin}");
        }
    }
}
