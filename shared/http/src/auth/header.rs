//! The token of a request: `Authorization: Bearer baton_…` (RFC 6750 §2.1).

use baton_model::TokenSecret;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// What a request presents.
#[derive(Debug)]
pub(super) enum Presented {
    /// No bearer token. Other schemes are not Baton's: a proxy before it may use them.
    Nothing,
    /// Something that is no token of Baton, or more than one.
    Unreadable,
    /// What looks like a token.
    Token(TokenSecret),
}

/// Reads the header.
pub(super) fn presented(headers: &HeaderMap) -> Presented {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Presented::Nothing };
    if values.next().is_some() {
        return Presented::Unreadable;
    }
    let value = value.as_bytes();
    let (scheme, rest) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Presented::Nothing;
    }
    let token = std::str::from_utf8(rest).ok().map(str::trim).and_then(TokenSecret::parse);
    token.map_or(Presented::Unreadable, Presented::Token)
}

#[cfg(test)]
mod tests {
    use baton_model::TokenId;
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Presented {
        let headers = values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| _ = map.append(name, value));
        presented(&map)
    }

    #[test]
    fn a_token_is_read_whatever_the_case_of_its_scheme() {
        let secret = TokenSecret::new(TokenId::from_bytes([1; 16]), [2; 32]);
        for scheme in ["Bearer", "bearer", "BEARER", "Bearer  "] {
            let Presented::Token(read) = read(&[&format!("{scheme} {}", secret.reveal())]) else {
                panic!("{scheme}")
            };
            assert!(read.digest() == secret.digest());
        }
    }

    #[test]
    fn a_bearer_that_is_no_token_is_not_taken_for_none() {
        for bad in ["Bearer", "Bearer ", "Bearer x", "bearer baton_1_2", "Bearer\t"] {
            let presented = read(&[bad]);
            let other_scheme = bad == "Bearer\t";
            assert!(matches!(presented, Presented::Unreadable) || other_scheme, "{bad}: {presented:?}");
        }
        assert!(matches!(read(&["Basic x", "Bearer y"]), Presented::Unreadable));
    }

    #[test]
    fn other_schemes_are_left_to_others() {
        for other in [&[][..], &["Basic YTpi"], &["Digest username=x"], &[""]] {
            assert!(matches!(read(other), Presented::Nothing), "{other:?}");
        }
    }
}
