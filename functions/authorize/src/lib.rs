//! Says whether a request that reaches API Gateway may go on to its function, and who asks: the authorizer of the HTTP API.
//! `baton serve` does the same in its own process and has no use for this function.
//!
//! The answer is a simple response of payload format 2.0:
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>.

use baton_http::auth::{Rule, Vouched};
use baton_http::{ApiError, Authenticator};
use http::HeaderMap;
use serde::Serialize;

/// What API Gateway is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether the request goes on. If not, API Gateway answers it with 403 and words of its own.
    pub is_authorized: bool,
    /// What the function is told of who asks.
    pub context: Vouched,
}

impl Verdict {
    fn refused() -> Self {
        Self { is_authorized: false, context: Vouched::default() }
    }
}

/// Judges a request for a route, by the route's key, such as `POST /v1/tasks`. The use of its token is noted when the
/// answer comes.
///
/// A token that asks too often goes on, as the answer may be kept: the function that serves it counts, and answers 429.
///
/// # Errors
/// The store's own failures: nobody is let through then.
pub async fn authorize(
    by: &Authenticator,
    route_key: &str,
    headers: &HeaderMap,
) -> Result<Verdict, ApiError> {
    let Some(rule) = Rule::of_route_key(route_key) else {
        tracing::warn!(route_key, "request refused: its route has no rule");
        return Ok(Verdict::refused());
    };
    let admitted = by.admit(rule, headers).await;
    by.settle().await;
    match admitted {
        Ok(admitted) => Ok(Verdict { is_authorized: true, context: Vouched::of(admitted.caller.as_ref()) }),
        Err(error) if error.may_pass() => Err(error),
        Err(error) => {
            tracing::info!(operation = rule.operation, code = error.code().as_str(), "request refused");
            Ok(Verdict::refused())
        }
    }
}
