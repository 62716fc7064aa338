//! The token of a request: `Authorization: Bearer …` (RFC 6750 §2.1), one that Baton has made or one that was imported.

use baton_model::TokenSecret;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// What a request presents.
#[derive(Debug)]
pub(super) enum Presented {
    /// No bearer token. Other schemes are not Baton's: a proxy before it may use them.
    Nothing,
    /// Something that can be no token, or more than one.
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
    presented_as(Some(rest))
}

/// Reads a token where nothing else stands; `None` is what cannot be one.
pub(super) fn presented_as(value: Option<&[u8]>) -> Presented {
    let text = value.and_then(|value| std::str::from_utf8(value).ok()).map(str::trim);
    text.and_then(TokenSecret::presented).map_or(Presented::Unreadable, Presented::Token)
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
