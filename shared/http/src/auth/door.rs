//! How a set of routes is asked: which rules hold for them, and where requests bring their tokens.

use std::fmt;
use std::sync::Arc;

use baton_model::TokenId;
use baton_store::{StoreError, StoredToken};
use futures::future::BoxFuture;
use http::request::Parts;

use super::Rules;
use super::header::{Presented, presented, presented_as};

/// Whom a set of routes knows besides those who have a token of the store, such as clients that have registered there. What such
/// a token allows, and until when, is judged as of any other.
pub trait Guests: Send + Sync {
    /// The token of this id, with what is kept of its secret; none if nobody is known by it.
    fn guest(&self, id: TokenId) -> BoxFuture<'_, Result<Option<StoredToken>, StoreError>>;
}

/// How a set of routes is asked. Copies share the rules.
#[derive(Clone)]
pub struct Door {
    /// Who may ask for what.
    pub rules: Arc<Rules>,
    /// Where tokens are.
    pub credentials: Credentials,
    /// Whom the routes know besides; nobody if none.
    pub guests: Option<Arc<dyn Guests>>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Door {
    /// The door to Baton's own routes.
    pub fn of_baton() -> Self {
        Self { rules: Rules::of_baton(), credentials: Credentials::default(), guests: None }
    }
}

/// Where requests bring their tokens besides `Authorization: Bearer`, which goes before all of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Headers whose whole value is the token, such as `apikey`, in lower case. The first that is there counts.
    pub headers: &'static [&'static str],
    /// Parameters of the query whose value is the token, such as `token`. They count where no header is there: addresses are
    /// written to logs more often than headers.
    pub query: &'static [&'static str],
}

impl Credentials {
    /// What a request presents.
    pub(super) fn presented(&self, request: &Parts) -> Presented {
        let bearer = presented(&request.headers);
        if !matches!(bearer, Presented::Nothing) {
            return bearer;
        }
        for name in self.headers {
            let mut values = request.headers.get_all(*name).iter();
            if let Some(value) = values.next() {
                let only = values.next().is_none();
                return presented_as(only.then(|| value.as_bytes()));
            }
        }
        let query = request.uri.query().unwrap_or_default();
        for name in self.query {
            let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
            if let Some((_, value)) = values.next() {
                let only = values.next().is_none();
                return presented_as(only.then(|| value.as_bytes()));
            }
        }
        Presented::Nothing
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &str = "an-old-key-of-another-system";

    fn read(uri: &str, headers: &[(&str, &str)]) -> Presented {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let credentials = Credentials { headers: &["apikey"], query: &["token"] };
        credentials.presented(&request.body(()).unwrap().into_parts().0)
    }

    fn is_token(presented: &Presented, text: &str) -> bool {
        let expected = baton_model::TokenSecret::presented(text).unwrap();
        matches!(presented, Presented::Token(secret) if secret.digest() == expected.digest())
    }

    #[test]
    fn a_token_is_found_where_the_dialect_says() {
        assert!(is_token(&read("/", &[("apikey", KEY)]), KEY));
        assert!(is_token(&read("/?a=1&token=an-old-key-of%2danother-system", &[]), KEY));
        assert!(is_token(&read("/", &[("authorization", &format!("Bearer {KEY}"))]), KEY));
        assert!(matches!(read("/?tokens=x", &[("x-key", KEY)]), Presented::Nothing));
    }

    #[test]
    fn a_bearer_goes_before_a_header_and_a_header_before_the_query() {
        let other = "another-key-of-another-system";
        let bearer = format!("Bearer {other}");
        assert!(is_token(&read("/", &[("apikey", KEY), ("authorization", &bearer)]), other));
        assert!(is_token(&read(&format!("/?token={other}"), &[("apikey", KEY)]), KEY));
    }

    #[test]
    fn what_is_there_twice_is_no_token() {
        assert!(matches!(read("/", &[("apikey", KEY), ("apikey", KEY)]), Presented::Unreadable));
        assert!(matches!(read(&format!("/?token={KEY}&token={KEY}"), &[]), Presented::Unreadable));
        assert!(matches!(read("/", &[("apikey", "short")]), Presented::Unreadable));
    }
}
