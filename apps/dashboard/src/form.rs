//! Forms that were sent: read, and taken only from a page of the one who sends them.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use baton_api::ProblemCode;
use baton_http::ApiError;
use http_body_util::{BodyExt, Limited};
use subtle::ConstantTimeEq;

use crate::visit::Visit;
use crate::{Dashboard, origin};

/// The most bytes of a form: reasons and filters are short.
const MOST: usize = 64 * 1024;

/// The fields of a form.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The first value of a field that says something.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.trim());
        values.find(|value| !value.is_empty())
    }

    /// All fields that say something.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let trimmed = self.0.iter().map(|(key, value)| (key.as_str(), value.trim()));
        trimmed.filter(|(_, value)| !value.is_empty())
    }

    /// Reads a form, and takes it if it holds this token and comes from a page of this server.
    pub(crate) async fn read(request: Request, token: &str) -> Result<Self, ApiError> {
        origin::check(request.headers())?;
        let body = Limited::new(request.into_body(), MOST).collect().await.map_err(|_| {
            ApiError::new(
                ProblemCode::PayloadTooLarge,
                format!("expected a form of at most {MOST} bytes, got more"),
            )
        })?;
        let fields = Self(form_urlencoded::parse(&body.to_bytes()).into_owned().collect());
        let same: bool = fields.one("form").unwrap_or_default().as_bytes().ct_eq(token.as_bytes()).into();
        if same {
            return Ok(fields);
        }
        Err(ApiError::new(
            ProblemCode::ForeignOrigin,
            "expected a form of this session's own pages, got another one; nothing was done: load the page again and repeat it",
        ))
    }
}

/// Somebody who does something: a visit with a form of its own. What changes anything takes this, and so cannot forget to ask.
pub(crate) struct Act {
    pub(crate) visit: Visit,
    pub(crate) fields: Fields,
}

impl Act {
    /// Why, if they said.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.fields.one("reason")
    }
}

impl FromRequest<Arc<Dashboard>> for Act {
    type Rejection = Response;

    async fn from_request(request: Request, ui: &Arc<Dashboard>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visit = Visit::from_request_parts(&mut parts, ui).await?;
        let read = Fields::read(Request::from_parts(parts, body), &visit.form).await;
        let fields = read.map_err(IntoResponse::into_response)?;
        Ok(Self { visit, fields })
    }
}
