//! Who asks, where an authorizer in front of the process has found it out: on AWS Lambda, API Gateway asks the function
//! `authorize`, and hands what it answered to the function that serves the request.

use baton_api::ProblemCode;
use baton_model::Token;
use serde::{Deserialize, Serialize};

use super::authenticator::{check_grant, check_status, wait_seconds};
use super::{Access, Admitted, Caller, Rule};
use crate::app::App;
use crate::error::ApiError;

/// What an authorizer says of a request, in the form that API Gateway carries. The default says nothing, and lets nobody
/// do what needs a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// The caller's token, without its secret, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The token's id by itself, which is what an access log can name of a caller: the text above is full of quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    /// The token has asked too often, and may again after this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Vouched {
    /// Vouches for this caller, if there is one with a token.
    pub fn of(caller: Option<&Caller>) -> Self {
        // A token is text, numbers and times, which always serialise; without the text nobody is let through.
        let token = caller.and_then(Caller::token);
        let token_id = token.map(|token| token.id.to_string());
        let token = token.and_then(|token| serde_json::to_string(token).ok());
        Self { token, token_id, retry_after: None }
    }

    /// Hands on that a token has asked too often, which only those who answer the request can tell it.
    pub fn too_many(refusal: &ApiError) -> Self {
        Self { token: None, token_id: None, retry_after: Some(refusal.retry_seconds().unwrap_or(1)) }
    }

    /// Lets a request pass that is vouched for, if at all (`vouched`). Its token is held to its end and to its scopes once
    /// more, as an authorizer's answer may be kept for a while, and for other routes.
    pub(super) fn admit(
        vouched: Option<&Self>,
        app: &App,
        rule: &'static Rule,
    ) -> Result<Admitted, ApiError> {
        let Access::Scopes(scopes) = rule.access else { return Ok(Admitted { rule, caller: None }) };
        if let Some(seconds) = vouched.and_then(|vouched| vouched.retry_after) {
            return Err(wait_seconds("the token has made more requests than it may", seconds));
        }
        let token = vouched.and_then(|vouched| vouched.token.as_deref());
        let token: Option<Token> = token.and_then(|text| serde_json::from_str(text).ok());
        let Some(token) = token else {
            tracing::warn!(operation = rule.operation, "request refused: no authorizer vouches for a caller");
            let detail = "expected a caller that the authorizer of the API vouches for, got none; send the request to \
                          the API itself, whose routes must have the authorizer";
            return Err(ApiError::new(ProblemCode::Unauthorized, detail));
        };
        check_status(&token, app.now())?;
        check_grant(rule, scopes, &token)?;
        Ok(Admitted { rule, caller: Some(Caller::of(token)) })
    }
}
