//! Who asks, where an authorizer in front of the process has found it out: on AWS Lambda, API Gateway asks the function
//! `authorize`, and hands what it answered to the function that serves the request.

use std::fmt;
use std::sync::Arc;

use baton_api::ProblemCode;
use baton_model::Token;
use serde::{Deserialize, Serialize};

use super::authenticator::{check_grant, check_status, too_many};
use super::rates::{Rates, Turn};
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
}

impl Vouched {
    /// Vouches for this caller, if there is one with a token.
    pub fn of(caller: Option<&Caller>) -> Self {
        // A token is text, numbers and times, which always serialise; without the text nobody is let through.
        let token = caller.and_then(Caller::token);
        let token_id = token.map(|token| token.id.to_string());
        let token = token.and_then(|token| serde_json::to_string(token).ok());
        Self { token, token_id }
    }

    /// Lets a request pass that is vouched for, if at all (`vouched`). Its token is held to its end and to its scopes once
    /// more, as an authorizer's answer may be kept for a while, and for other routes; and to its rate.
    pub(super) fn admit(
        vouched: Option<&Self>,
        by: &BehindAuthorizer,
        rule: &'static Rule,
    ) -> Result<Admitted, ApiError> {
        let Access::Scopes(scopes) = rule.access else { return Ok(Admitted { rule, caller: None }) };
        let token = vouched.and_then(|vouched| vouched.token.as_deref());
        let token: Option<Token> = token.and_then(|text| serde_json::from_str(text).ok());
        let Some(token) = token else {
            tracing::warn!(operation = rule.operation, "request refused: no authorizer vouches for a caller");
            let detail = "expected a caller that the authorizer of the API vouches for, got none; send the request to \
                          the API itself, whose routes must have the authorizer";
            return Err(ApiError::new(ProblemCode::Unauthorized, detail));
        };
        let now = by.app.now();
        check_status(&token, now)?;
        if let Turn::Wait { limit, wait } = by.rates.take(&token, by.app.requests_per_second(), now) {
            by.app.held_back.count(token.id, limit, now);
            return Err(too_many(limit, wait));
        }
        check_grant(rule, scopes, &token)?;
        Ok(Admitted { rule, caller: Some(Caller::of(token)) })
    }
}

/// What serves requests that an authorizer has let through. It counts what it serves, as the authorizer's answers are kept.
pub struct BehindAuthorizer {
    app: App,
    rates: Rates,
}

impl BehindAuthorizer {
    /// Serves with `app`.
    pub fn new(app: App) -> Arc<Self> {
        Arc::new(Self { app, rates: Rates::new() })
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }
}

impl fmt::Debug for BehindAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BehindAuthorizer").field("rates", &self.rates).finish_non_exhaustive()
    }
}
