//! Whom the pages ask: the routes of this very process, or those of a server elsewhere, over HTTP.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use baton_api::token::{OwnTokenView, TokenView};
use baton_api::{Problem, ProblemCode};
use baton_client::{ClientError, http_client, server_address};
use baton_http::{ApiError, App, Inside, Taken};
use baton_model::Timestamp;
use baton_runtime::Shutdown;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, DATE, RETRY_AFTER, SET_COOKIE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use reqwest::Url;
use serde::de::DeserializeOwned;

/// The route that tells callers who they are, which a token of any scope may ask for: whoever may, may sign in.
const OWN_TOKEN: &str = "/v1/token";

/// How long a server elsewhere may take until it begins to answer; API Gateway lets a function have as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most bytes of what such a server refuses with; a problem that names a thousand fields has less.
const REFUSAL: usize = 1024 * 1024;

/// For how long it is remembered whether such a server has supervised workers.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Whom the pages ask.
pub(crate) enum Source {
    /// The routes of this process.
    Here { app: App, inside: Inside },
    /// Those of a server elsewhere. Where it is not `open`, only who has signed in is answered, also by a server that asks for no
    /// token: others than its own users reach the pages.
    Elsewhere { api: Elsewhere, open: bool, stop: Shutdown },
}

impl Source {
    /// What a route answers.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, ApiError> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| ApiError::internal())?;
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Self::Here { inside, .. } => inside.ask(request).await,
            Self::Elsewhere { api, .. } => api.ask(request).await,
        }
    }

    /// The token that these headers present, as the routes know it; none where none is needed.
    pub(crate) async fn known(&self, headers: &HeaderMap) -> Result<Option<TokenView>, ApiError> {
        if let Self::Elsewhere { open: false, .. } = self
            && !headers.contains_key(AUTHORIZATION)
        {
            return Err(ApiError::new(
                ProblemCode::Unauthorized,
                "nobody has signed in; sign in with a token",
            ));
        }
        match self.send(Method::GET, OWN_TOKEN, headers, Body::empty()).await {
            Ok(answer) => Ok(read::<OwnTokenView>(answer).await?.token),
            Err(error) => Err(self.unknown(error)),
        }
    }

    /// Why a server does not say who somebody is.
    fn unknown(&self, error: ApiError) -> ApiError {
        match (self, error.code()) {
            // A gateway answers so to what is no good token, as each one that is may ask for this route.
            (_, ProblemCode::ScopeMissing) => {
                ApiError::new(ProblemCode::Unauthorized, error.problem().detail.clone())
            }
            (Self::Elsewhere { api, .. }, ProblemCode::RouteNotFound) => ApiError::new(
                ProblemCode::ServerUnreachable,
                format!(
                    "expected a Baton server of this version at {}, got one without GET {OWN_TOKEN}; bring the server to the version of \
                     this program, or check the address",
                    api.base
                ),
            ),
            _ => error,
        }
    }

    /// Whether there are supervised workers to show to those who present these headers, and may see them.
    pub(crate) async fn has_groups(&self, headers: &HeaderMap, now: Timestamp) -> bool {
        let api = match self {
            Self::Here { app, .. } => return app.fleet.is_some(),
            Self::Elsewhere { api, .. } => api,
        };
        if let Some(groups) = api.remembered(now) {
            return groups;
        }
        let groups = match self.send(Method::GET, "/v1/fleet", headers, Body::empty()).await {
            Ok(_) => true,
            Err(error) if error.code() == ProblemCode::RouteNotFound => false,
            Err(error) => {
                // The page says what is wrong, by what it asks itself.
                tracing::debug!(code = error.code().as_str(), "it is not known whether there are groups");
                return false;
            }
        };
        api.remember(now, groups);
        groups
    }

    /// The settings in force, as far as this process knows all of them.
    pub(crate) fn settings(&self) -> Option<Arc<Taken>> {
        match self {
            Self::Here { app, .. } => Some(app.in_force.taken()),
            Self::Elsewhere { .. } => None,
        }
    }

    /// After how many seconds a page looks again to which nobody tells what happens. Elsewhere, each look is some ten requests over a
    /// network, which on AWS are paid for.
    pub(crate) fn every(&self) -> u32 {
        match self {
            Self::Here { .. } => 5,
            Self::Elsewhere { .. } => 15,
        }
    }

    /// After how many seconds the page of a task that runs looks again at its progress and its log, of which no event tells. Elsewhere,
    /// each look is three or four requests.
    pub(crate) fn moving(&self) -> u32 {
        match self {
            Self::Here { .. } => 2,
            Self::Elsewhere { .. } => 5,
        }
    }

    /// The address of the server, where it is another one than that of the pages.
    pub(crate) fn address(&self) -> Option<&str> {
        match self {
            Self::Here { .. } => None,
            Self::Elsewhere { api, .. } => Some(&api.base),
        }
    }

    /// The word that this process stops, where whoever tells of events does not say so itself.
    pub(crate) fn stop(&self) -> Option<Shutdown> {
        match self {
            Self::Here { .. } => None,
            Self::Elsewhere { stop, .. } => Some(stop.clone()),
        }
    }
}

/// The API of a server elsewhere.
#[derive(Debug)]
pub struct Elsewhere {
    /// Its address, without a slash at its end.
    base: String,
    /// The path of that address.
    prefix: String,
    http: reqwest::Client,
    /// Whether it has supervised workers, as of when.
    groups: Mutex<Option<(Timestamp, bool)>>,
}

impl Elsewhere {
    /// That of the server at `base`, such as `https://baton.example.org`.
    ///
    /// # Errors
    /// [`ClientError::Address`] if that is no address of a server, or holds a password: it stands on the pages.
    pub fn new(base: &str) -> Result<Self, ClientError> {
        let url = server_address(base)?;
        if !url.username().is_empty() || url.password().is_some() {
            let given = format!("{}://…@{}", url.scheme(), url.host_str().unwrap_or_default());
            return Err(ClientError::Address { given, reason: "it has a name or a password".to_owned() });
        }
        let wrong = |reason| ClientError::Address { given: base.to_owned(), reason };
        let http = http_client(&url).map_err(wrong)?;
        let without_slash = |text: &str| text.trim_end_matches('/').to_owned();
        let (base, prefix) = (without_slash(url.as_str()), without_slash(url.path()));
        Ok(Self { base, prefix, http, groups: Mutex::default() })
    }

    /// Where a path of the API is.
    fn url(&self, path: &str) -> Result<Url, ApiError> {
        let url = Url::parse(&format!("{}{path}", self.base)).map_err(|error| fault(&error))?;
        let meant = path.split('?').next().unwrap_or_default();
        if url.path().strip_prefix(&self.prefix) == Some(meant) {
            return Ok(url);
        }
        // A name such as `..` makes another path of it, which nobody has asked for.
        Err(ApiError::new(ProblemCode::RouteNotFound, "the dashboard has no such page"))
    }

    async fn ask(&self, request: Request<Body>) -> Result<Response, ApiError> {
        let (asked, body) = request.into_parts();
        let path = asked.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = self.url(path)?;
        let body = body.collect().await.map_err(|error| fault(&error))?.to_bytes();
        let sent = self.http.request(asked.method, url).headers(asked.headers).body(body).send();
        let answer = match tokio::time::timeout(PATIENCE, sent).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(away(&ClientError::unreachable(&self.base, error))),
            Err(elapsed) => return Err(away(&ClientError::too_late(&self.base, elapsed))),
        };
        let (head, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        if head.status.is_client_error() || head.status.is_server_error() {
            return Err(self.refused(path, head.status, &head.headers, body).await);
        }
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        // What concerns the connection to that server; and cookies are the pages' own business.
        for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, DATE, SET_COOKIE] {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }

    /// What the server refuses, or what a gateway before it says in its place.
    async fn refused(
        &self,
        path: &str,
        status: StatusCode,
        headers: &HeaderMap,
        body: reqwest::Body,
    ) -> ApiError {
        let retry_after = headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        let text = match Limited::new(body, REFUSAL).collect().await {
            Ok(text) => text.to_bytes(),
            Err(error) => {
                let cause = format!("no whole answer from {} ({status}): {error}; try again", self.base);
                tracing::warn!(cause, "the server that the dashboard shows cannot be read");
                return ApiError::new(ProblemCode::ServerUnreachable, cause);
            }
        };
        if let Ok(problem) = serde_json::from_slice::<Problem>(&text) {
            return ApiError::told(problem, retry_after);
        }
        let (base, path) = (&self.base, path.split('?').next().unwrap_or_default());
        let (code, detail) = match status {
            StatusCode::UNAUTHORIZED => {
                (ProblemCode::Unauthorized, format!("{base} asks for a token that is good; sign in with one"))
            }
            StatusCode::FORBIDDEN => (
                ProblemCode::ScopeMissing,
                format!("{base} does not let this token ask for {path}; use another token"),
            ),
            StatusCode::NOT_FOUND => (
                ProblemCode::RouteNotFound,
                format!("{base} has no {path}: it is of another version, or was set up without it"),
            ),
            StatusCode::TOO_MANY_REQUESTS => (
                ProblemCode::TooManyRequests,
                format!("{base} takes no more requests for now; wait a moment"),
            ),
            status => (
                ProblemCode::ServerUnreachable,
                format!(
                    "expected an answer of Baton from {base}, got {status} without one; see its log, or try again"
                ),
            ),
        };
        ApiError::new(code, detail)
    }

    fn remembered(&self, now: Timestamp) -> Option<bool> {
        let groups = *self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.filter(|(at, _)| now.since(*at) < REMEMBERED).map(|(_, groups)| groups)
    }

    fn remember(&self, now: Timestamp, groups: bool) {
        *self.groups.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, groups));
    }
}

/// That a server gave no answer.
fn away(error: &ClientError) -> ApiError {
    tracing::warn!(%error, "the server that the dashboard shows cannot be reached");
    ApiError::new(ProblemCode::ServerUnreachable, error.to_string())
}

/// What a route answers.
pub(crate) async fn read<T: DeserializeOwned>(response: Response) -> Result<T, ApiError> {
    serde_json::from_slice(&whole(response).await?).map_err(|error| fault(&error))
}

/// The bytes that a route answers with.
pub(crate) async fn whole(response: Response) -> Result<Bytes, ApiError> {
    let body = response.into_body().collect().await.map_err(|error| fault(&error))?;
    Ok(body.to_bytes())
}

/// What cannot be asked or read for a reason of the dashboard's own.
pub(crate) fn fault(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "the dashboard cannot read what a route answers");
    ApiError::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_another_path_is_not_asked_for() {
        for base in ["http://baton.example.org", "http://baton.example.org/prod/"] {
            let api = Elsewhere::new(base).unwrap();
            let url = |path: &str| api.url(path).map(|url| url.to_string());
            for path in ["/v1/tasks?status=failed&type=a%2Fb", "/v1/queues/a%2Fb/pause", "/v1/tasks/a.b"] {
                assert_eq!(url(path).unwrap(), format!("{}{path}", api.base));
            }
            for path in ["/v1/queues/../pause", "/v1/tasks/.", "/v1/tasks/..?x=1", "/v1/tasks/%2e%2E/graph"] {
                assert_eq!(url(path).unwrap_err().code(), ProblemCode::RouteNotFound, "{path}");
            }
        }
    }

    #[test]
    fn an_address_with_a_password_is_refused_without_it() {
        let refused = Elsewhere::new("http://ada:secret@baton.example.org").unwrap_err().to_string();
        assert!(refused.contains("a name or a password") && !refused.contains("secret"), "{refused}");
        for none in ["localhost", "ftp://baton.example.org", "http://baton.example.org/?a=b"] {
            assert!(Elsewhere::new(none).is_err(), "{none}");
        }
    }
}
