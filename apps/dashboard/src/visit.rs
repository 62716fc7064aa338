//! Who comes to a page: by the cookie of a session, or without any where no token is needed.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use baton_api::ProblemCode;
use baton_http::ApiError;
use baton_http::request_id::REQUEST_ID;
use baton_model::{Timestamp, TokenSecret};
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::Dashboard;
use crate::answer;
use crate::rights::Rights;

/// Somebody who may see pages.
pub(crate) struct Visit {
    pub(crate) ui: Arc<Dashboard>,
    /// What is presented to the routes: the token, and the id of the request.
    pub(crate) headers: HeaderMap,
    pub(crate) rights: Rights,
    /// Whether there are supervised workers to show.
    pub(crate) groups: bool,
    /// What stands in each form.
    pub(crate) form: String,
    /// What the cookie holds, if there is a session.
    pub(crate) session: Option<String>,
    /// The query's fields that say something.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) now: Timestamp,
}

impl Visit {
    /// The first value of a field of the query.
    pub(crate) fn asked(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl FromRequestParts<Arc<Dashboard>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, ui: &Arc<Dashboard>) -> Result<Self, Response> {
        let now = ui.clock.now();
        let id = cookie(&parts.headers, &ui.cookie);
        let session = id.as_ref().and_then(|id| ui.sessions.find(id, now));
        let mut headers = HeaderMap::new();
        if let Some(id) = parts.headers.get(REQUEST_ID) {
            headers.insert(REQUEST_ID, id.clone());
        }
        if let Some(session) = &session {
            headers.insert(AUTHORIZATION, bearer(&session.token).map_err(IntoResponse::into_response)?);
        }
        let here = parts.uri.path_and_query().map_or("/ui", |here| here.as_str()).to_owned();
        let rights = match ui.source.known(&headers).await {
            Ok(token) => Rights::of(token),
            Err(error) if error.code() == ProblemCode::Unauthorized => {
                if let Some(id) = &id {
                    ui.sessions.end(id);
                }
                return Err(answer::to_sign_in(&parts.method, &here));
            }
            Err(error) => return Err(error.into_response()),
        };
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let query = query.into_owned().filter(|(_, value)| !value.trim().is_empty()).collect();
        let groups = rights.may("list_groups") && ui.source.has_groups(&headers, now).await;
        Ok(Self {
            ui: Arc::clone(ui),
            headers,
            rights,
            groups,
            form: session.as_ref().map_or_else(|| ui.open_form.clone(), |session| session.form.clone()),
            session: id.filter(|_| session.is_some()),
            query,
            now,
        })
    }
}

/// The header that presents a token.
pub(crate) fn bearer(token: &TokenSecret) -> Result<HeaderValue, ApiError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(|_| {
        ApiError::new(ProblemCode::Unauthorized, "the token cannot stand in a header; use another one")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// What the cookie of a session holds. Of several of its name, the first.
pub(crate) fn cookie(headers: &HeaderMap, cookie: &str) -> Option<String> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == cookie).map(|(_, id)| id.to_owned())
}
