//! Whether a form was sent by a page of this server. The form's own token says it, too; this also guards the form that signs in,
//! which nobody has a session for yet.

use baton_api::ProblemCode;
use baton_http::ApiError;
use http::HeaderMap;
use http::header::{HOST, ORIGIN};

/// Takes what a page of this server has sent, or a program.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own = match (text("sec-fetch-site"), text(ORIGIN.as_str())) {
        // What the browser itself says goes before names, which a proxy may have changed.
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some() && host == text(HOST.as_str())
        }
        (None, None) => true,
    };
    if own {
        return Ok(());
    }
    Err(ApiError::new(
        ProblemCode::ForeignOrigin,
        "expected a form of the dashboard's own pages, got one of another site; nothing was done",
    ))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn takes(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        check(&HeaderMap::from_iter(headers)).is_ok()
    }

    #[test]
    fn forms_of_other_sites_are_refused() {
        let host = ("host", "baton.example.org");
        assert!(takes(&[host]));
        assert!(takes(&[host, ("origin", "https://baton.example.org")]));
        assert!(takes(&[
            ("host", "127.0.0.1:7410"),
            ("origin", "https://a.b"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(!takes(&[host, ("origin", "https://example.org")]));
        assert!(!takes(&[host, ("origin", "null")]));
        assert!(!takes(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!takes(&[host, ("sec-fetch-site", "same-site"), ("origin", "https://baton.example.org")]));
    }
}
