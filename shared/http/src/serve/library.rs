//! What the HTTP library answers by itself: that a request's head cannot be read. It knows no problem documents, and hands
//! such a request to nobody; so its answer is known by its bytes on their way out, and another one goes in its place.

use baton_api::ProblemCode;
use http::HeaderValue;

use crate::error::ApiError;
use crate::request_id::REQUEST_ID;

/// The most bytes of a request's head.
pub(super) const HEAD_BYTES: usize = 64 * 1024;

/// What is known of a head that could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unread {
    /// Whether its first line has come to an end.
    pub(super) line: bool,
    /// Whether it was given up, as the rest did not come.
    pub(super) late: bool,
}

/// The answer that takes the place of the library's; none if `written` is not one of those.
pub(super) fn instead_of(written: &[u8], unread: Unread, id: &HeaderValue) -> Option<Vec<u8>> {
    let head = std::str::from_utf8(written).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let (error, reason) = problem(status, unread)?;
    let status = error.code().status();
    let date = head.lines().find(|line| line.starts_with("date: ")).map(|line| format!("{line}\r\n"));
    let id = id.to_str().unwrap_or_default();
    let body = error.document(Some(id));
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/problem+json\r\n{REQUEST_ID}: {id}\r\nconnection: close\r\n\
         content-length: {}\r\n{}\r\n",
        body.len(),
        date.unwrap_or_default()
    );
    Some([head.into_bytes(), body].concat())
}

fn problem(status: &str, unread: Unread) -> Option<(ApiError, &'static str)> {
    let too_long = || (crate::head::too_long(), "URI Too Long");
    Some(match status {
        _ if unread.late => (
            ApiError::new(
                ProblemCode::RequestTimeout,
                "expected the whole head of a request, got a part of it and no more in the time that there is for it; send \
                 the request again in one piece",
            ),
            "Request Timeout",
        ),
        "400" => (
            ApiError::new(
                ProblemCode::MalformedRequest,
                "expected a request in HTTP/1.1 (RFC 9112), got a request line or a header that is not; look at what is \
                 sent, or use an HTTP library, and send it again",
            ),
            "Bad Request",
        ),
        "414" => too_long(),
        // The library has one limit for all of a head.
        "431" if !unread.line => too_long(),
        "431" => (
            ApiError::new(
                ProblemCode::HeadersTooLarge,
                format!(
                    "expected at most 100 headers and a head of at most {HEAD_BYTES} bytes, got more; leave out headers \
                     and cookies that are not for this server, and send it again"
                ),
            ),
            "Request Header Fields Too Large",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HeaderValue = HeaderValue::from_static("0123456789abcdef");

    fn library(status: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: Sun, 22 Nov 2026 03:26:51 GMT\r\n\r\n"
        )
    }

    #[test]
    fn the_librarys_answers_become_problem_documents() {
        for (status, unread, expected) in [
            ("400 Bad Request", Unread::default(), "HTTP/1.1 400 Bad Request"),
            ("400 Bad Request", Unread { line: true, late: true }, "HTTP/1.1 408 Request Timeout"),
            ("414 URI Too Long", Unread { line: true, late: false }, "HTTP/1.1 414 URI Too Long"),
            ("431 Request Header Fields Too Large", Unread::default(), "HTTP/1.1 414 URI Too Long"),
            (
                "431 Request Header Fields Too Large",
                Unread { line: true, late: false },
                "HTTP/1.1 431 Request Header Fields Too Large",
            ),
        ] {
            let answer = instead_of(library(status).as_bytes(), unread, &ID).unwrap();
            let answer = String::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(expected), "{head}");
            assert!(head.contains("\r\ndate: Sun, 22 Nov 2026 03:26:51 GMT"), "{head}");
            assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{head}");
            assert!(body.contains(r#""request_id":"0123456789abcdef""#), "{body}");
        }
        for other in [&library("200 OK"), "HTTP/1.1 100 Continue\r\n\r\n", "", "{}"] {
            assert!(instead_of(other.as_bytes(), Unread::default(), &ID).is_none(), "{other}");
        }
    }
}
