//! The `Idempotency-Key` header: a caller's name for a request that it may send more than once.

use axum::extract::FromRequestParts;
use axum::response::Response;
use baton_model::{Expected, Fingerprint, RequestKey};
use baton_store::Idempotency;
use http::HeaderValue;
use http::request::Parts;

use crate::auth::Caller;
use crate::error::ApiError;

/// The header's name.
pub const HEADER: &str = "idempotency-key";

/// The header that says that an answer is the kept one of an earlier request.
pub const REPLAYED: &str = "idempotency-replayed";

/// The answer, which says so if it is the kept one of an earlier request.
#[must_use]
pub fn replay(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The key of a request, if it brought one.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(pub Option<RequestKey>);

impl IdempotencyKey {
    /// The key as the store knows it: within the route, so that two routes do not share keys, and within the caller's
    /// bounds, so that nobody is answered what somebody else was.
    pub fn scoped(
        self,
        route: &str,
        caller: &Caller,
        fingerprint: impl FnOnce() -> Fingerprint,
    ) -> Option<Idempotency> {
        let key = self.0?;
        // Neither a key nor a realm has a space.
        let key = match caller.realm() {
            Some(realm) => format!("{route} {key} {realm}"),
            None => format!("{route} {key}"),
        };
        Some(Idempotency { key, fingerprint: fingerprint() })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let key = match (values.next(), value.to_str()) {
            (None, Ok(text)) => text.parse(),
            (Some(_), _) => Err(Expected::new("one key", "more than one")),
            (_, Err(_)) => Err(Expected::new("a key of visible ASCII", "other bytes")),
        };
        key.map(|key| Self(Some(key))).map_err(|problem| ApiError::field("Idempotency-Key (header)", problem))
    }
}
