//! What a request's head must be, where the HTTP library lets more pass: one that two programs read in two ways may reach
//! another place than the first of them has looked at.

use baton_api::ProblemCode;
use baton_model::Expected;
use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::{Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Version};

use crate::error::ApiError;

/// The most bytes of a path with its query. RFC 9110 §4.1 recommends that at least 8,000 be taken.
const TARGET_BYTES: usize = 8 * 1024;

/// Takes the head of a request that came over a socket, if it can be read in one way only.
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), ApiError> {
    let framing = Framing::of(request.headers());
    framing.check_coding()?;
    let host = framing.the_host(request.version())?;
    check_target(request.method(), request.uri(), host)
}

/// The headers that say where a request goes and where it ends.
#[derive(Default)]
struct Framing<'a> {
    host: Option<&'a HeaderValue>,
    /// Whether there are several of it.
    more_hosts: bool,
    codings: Vec<&'a HeaderValue>,
}

impl<'a> Framing<'a> {
    // One walk over the few headers of a request costs a fifth of two look-ups in their table, each of which hashes.
    fn of(headers: &'a HeaderMap) -> Self {
        let mut framing = Self::default();
        for (name, value) in headers {
            if *name == HOST {
                framing.more_hosts |= framing.host.replace(value).is_some();
            } else if *name == TRANSFER_ENCODING {
                framing.codings.push(value);
            }
        }
        framing
    }

    /// That the body is as it is, in chunks or not (RFC 9112 §6.1).
    fn check_coding(&self) -> Result<(), ApiError> {
        match self.codings[..] {
            [] => return Ok(()),
            [coding] if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => return Ok(()),
            _ => {}
        }
        let got = self.codings.iter().map(|coding| String::from_utf8_lossy(coding.as_bytes()));
        let got = Expected::text("", &got.collect::<Vec<_>>().join(", ")).got;
        Err(ApiError::new(
            ProblemCode::TransferCodingUnsupported,
            format!(
                "expected a body as it is, or Transfer-Encoding: chunked alone, got {got}; send the body without a coding"
            ),
        ))
    }

    /// The one header `Host` (RFC 9112 §3.2); HTTP/1.0 may leave it out.
    fn the_host(&self, version: Version) -> Result<Option<&'a str>, ApiError> {
        let malformed = |got: &str| {
            ApiError::new(
                ProblemCode::MalformedRequest,
                format!(
                    "expected one header Host with a name or an address, and a port if need be, got {got}; set it to \
                     where the request is sent, and send it again"
                ),
            )
        };
        match self.host {
            _ if self.more_hosts => Err(malformed("more than one")),
            None if version == Version::HTTP_10 => Ok(None),
            None => Err(malformed("none")),
            Some(host) => match host.to_str().ok().filter(|host| is_host(host)) {
                Some(host) => Ok(Some(host)),
                None => Err(malformed(&Expected::text("", &String::from_utf8_lossy(host.as_bytes())).got)),
            },
        }
    }
}

/// `host[:port]` as RFC 3986 §3.2.2 has it.
pub(crate) fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(address) => match address.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("address", port),
            _ => return false,
        },
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let in_name = |c: u8| c.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&c);
    let is_port = match port.strip_prefix(':') {
        // A port may be left out behind its colon.
        Some(digits) => {
            digits.is_empty() || (digits.bytes().all(|c| c.is_ascii_digit()) && digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    !name.is_empty() && name.bytes().all(in_name) && is_port
}

/// That a target is short enough, and names no other place than `Host` does (RFC 9112 §3.2.2).
fn check_target(method: &Method, target: &Uri, host: Option<&str>) -> Result<(), ApiError> {
    if target.path_and_query().is_some_and(|path| path.as_str().len() > TARGET_BYTES) {
        return Err(too_long());
    }
    // A tunnel is asked for by a name alone; no route opens one.
    let Some(authority) = target.authority().filter(|_| *method != Method::CONNECT) else { return Ok(()) };
    let http = target.scheme().is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
    if http
        && host.is_none_or(|host| host.eq_ignore_ascii_case(authority.as_str()))
        && is_host(authority.as_str())
    {
        return Ok(());
    }
    let got = Expected::text("", &target.to_string()).got;
    Err(ApiError::new(
        ProblemCode::MalformedRequest,
        format!(
            "expected a path as the target, or an address of HTTP with the same host as the header Host, got {got}; send \
             the path alone"
        ),
    ))
}

/// A target that is too long.
pub(crate) fn too_long() -> ApiError {
    ApiError::new(
        ProblemCode::UriTooLong,
        format!(
            "expected a path with its query of at most {TARGET_BYTES} bytes, got a longer one; name fewer things at once"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in [
            "localhost",
            "127.0.0.1:7410",
            "[::1]",
            "[::1]:7410",
            "baton.example.org:443",
            "a_b",
            "x:",
            "%41",
        ] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "127.0.0.1:evil",
            "a:65536",
            "a:+1",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[evil]",
            "a b",
            "a/b",
            "a@b",
            "a\\b",
            "a?b",
            "é",
        ] {
            assert!(!is_host(host), "{host}");
        }
    }

    fn status(version: Version, target: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match check(&request.body(()).unwrap()) {
            Ok(()) => 200,
            Err(error) => error.code().status(),
        }
    }

    #[test]
    fn a_head_that_can_be_read_in_two_ways_is_refused() {
        let host = ("host", "localhost");
        for (target, headers, expected) in [
            ("/livez", &[host][..], 200),
            ("/livez", &[], 400),
            ("/livez", &[host, host], 400),
            ("/livez", &[host, ("transfer-encoding", "chunked")], 200),
            ("/livez", &[host, ("transfer-encoding", "Chunked ")], 200),
            ("/livez", &[host, ("transfer-encoding", "gzip, chunked")], 501),
            ("/livez", &[host, ("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")], 501),
            ("http://localhost/livez", &[host], 200),
            ("https://LOCALHOST/livez", &[host], 200),
            ("http://example.org/livez", &[host], 400),
            ("ftp://localhost/livez", &[host], 400),
            ("http://a@localhost/livez", &[host], 400),
        ] {
            assert_eq!(status(Version::HTTP_11, target, headers), expected, "{target} {headers:?}");
        }
        assert_eq!(status(Version::HTTP_10, "/livez", &[]), 200);
        assert_eq!(status(Version::HTTP_10, "/livez", &[host, host]), 400);
        assert_eq!(status(Version::HTTP_11, &format!("/{}", "x".repeat(TARGET_BYTES)), &[host]), 414);
    }
}
