//! Signing in with a token, and out again.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use baton_api::ProblemCode;
use baton_http::ApiError;
use baton_model::TokenSecret;
use http::header::{AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use crate::form::{Act, Fields};
use crate::rights::Rights;
use crate::visit;
use crate::{Dashboard, answer};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    form: String,
    next: String,
    /// Whose pages these are, if of a server elsewhere.
    of: Option<String>,
    /// What was wrong with the token before.
    refused: Option<String>,
}

/// The form.
pub(crate) async fn show(
    State(ui): State<Arc<Dashboard>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let next = query.into_owned().find(|(key, _)| key == "next").map(|(_, next)| next);
    let next = own_page(next.as_deref());
    let now = ui.clock.now();
    let signed_in =
        visit::cookie(&headers, &ui.cookie).is_some_and(|id| ui.sessions.find(&id, now).is_some());
    if signed_in {
        return Ok(answer::see(&next));
    }
    answer::ok(&SignIn::new(&ui, next, None))
}

/// Begins a session for whoever brings a good token.
pub(crate) async fn sign_in(
    State(ui): State<Arc<Dashboard>>,
    request: Request,
) -> Result<Response, ApiError> {
    let before = visit::cookie(request.headers(), &ui.cookie);
    let fields = Fields::read(request, &ui.open_form).await?;
    let next = own_page(fields.one("next"));
    let refused = match begin(&ui, &fields).await {
        Ok(id) => {
            if let Some(before) = before {
                ui.sessions.end(&before);
            }
            let mut response = answer::see(&next);
            let cookie = format!("{}={id}; Path=/ui; Secure; HttpOnly; SameSite=Strict", ui.cookie);
            set_cookie(&mut response, &cookie);
            return Ok(response);
        }
        Err(error) => error,
    };
    if refused.code() != ProblemCode::Unauthorized {
        return Err(refused);
    }
    let refused = "This is no token that is good. Check it for a slip, or ask an operator for one: \
                   baton token create --name NAME --scope operator";
    answer::page(StatusCode::UNAUTHORIZED, &SignIn::new(&ui, next, Some(refused.to_owned())))
}

impl SignIn {
    fn new(ui: &Dashboard, next: String, refused: Option<String>) -> Self {
        let of = ui.source.address().map(str::to_owned);
        Self { form: ui.open_form.clone(), next, of, refused }
    }
}

async fn begin(ui: &Dashboard, fields: &Fields) -> Result<String, ApiError> {
    let no_token = || ApiError::new(ProblemCode::Unauthorized, "expected a token");
    let token = fields.one("token").and_then(TokenSecret::presented).ok_or_else(no_token)?;
    let headers = HeaderMap::from_iter([(AUTHORIZATION, visit::bearer(&token)?)]);
    let rights = Rights::of(ui.source.known(&headers).await?);
    let id = ui.sessions.begin(&*ui.ids, ui.clock.now(), token).map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes");
        ApiError::internal()
    })?;
    tracing::info!(token_name = rights.name, "signed in to the dashboard");
    Ok(id)
}

/// Ends the session.
pub(crate) async fn sign_out(act: Act) -> Response {
    if let Some(id) = &act.visit.session {
        act.visit.ui.sessions.end(id);
    }
    let mut response = answer::see("/ui/sign-in");
    let cookie = format!("{}=; Path=/ui; Secure; HttpOnly; SameSite=Strict; Max-Age=0", act.visit.ui.cookie);
    set_cookie(&mut response, &cookie);
    response
}

fn set_cookie(response: &mut Response, cookie: &str) {
    // It is made of digits, letters and marks.
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
}

/// A page of the dashboard, whatever was asked for: nobody is led elsewhere.
fn own_page(next: Option<&str>) -> String {
    let own = |next: &&str| {
        let rest = next.strip_prefix("/ui");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with('?'))
            && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    next.filter(own).unwrap_or("/ui").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_site() {
        for own in ["/ui", "/ui/tasks", "/ui?x=1", "/ui/tasks?status=failed&queue=a"] {
            assert_eq!(own_page(Some(own)), own);
        }
        for other in [
            "//evil.example",
            "https://evil.example",
            "/uix",
            "/ui\\evil",
            "/ui/\r\nx: y",
            "javascript:alert(1)",
            "",
        ] {
            assert_eq!(own_page(Some(other)), "/ui", "{other}");
        }
    }
}
