//! Web pages of other sites.
//!
//! A server on a loopback address is reached by every browser on its machine, and so by every page that one shows. A page
//! may send requests without asking (a form's POST), and may read the answers if its site's name leads to 127.0.0.1 (DNS
//! rebinding). The first shows in `Origin`, the second in `Host`; neither header can be set by a page.

use std::net::IpAddr;

use baton_api::ProblemCode;
use baton_model::Expected;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue};

use crate::error::ApiError;
use crate::head::is_host;

/// Takes requests that no page of another site has sent.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut has_origin = false;
    // In one walk, and each of several: who reads another one of two than this may be led elsewhere.
    for (name, value) in headers {
        if *name == ORIGIN {
            if !text(value).is_some_and(is_local_origin) {
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
        check(&HeaderMap::from_iter([(header, HeaderValue::from_static(value))])).is_ok()
    }

    #[test]
    fn programs_and_local_pages_are_taken() {
        assert!(check(&HeaderMap::new()).is_ok());
        for host in ["127.0.0.1:7410", "localhost:7410", "LOCALHOST", "[::1]:7410", "10.0.0.7", "127.0.0.1"] {
            assert!(check_of(HOST, host), "{host}");
        }
        for origin in ["http://127.0.0.1:7410", "http://localhost:3000", "https://[::1]:7410"] {
            assert!(check_of(ORIGIN, origin), "{origin}");
        }
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
