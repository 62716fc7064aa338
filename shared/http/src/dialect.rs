//! Dialects: other systems' requests, answered in those systems' words.
//!
//! A dialect is a router, the rules of who may ask for its routes, where its callers bring their tokens, and how it words a
//! problem. All else is as for Baton's own routes: the same envelope, the same tokens, the same stop. Where it is served
//! beside Baton's routes, the path says which router a request is for ([`Switch`]); at an address of its own it is alone.

mod slash;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use baton_api::Problem;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body::Body;
use tower::Service;
use utoipa_axum::router::OpenApiRouter;

use crate::auth::{Authenticate, Authority, Credentials, Door, Guests, Rule, Rules};
use crate::body::discard;
use crate::envelope::{method_not_allowed, no_such_route};
use crate::error::ApiError;
use crate::foreign;
use crate::slow::Slow;
use slash::Slashes;

/// How a dialect words a problem that Baton tells: the answer for the path (without its prefix) that was asked. Headers that it
/// does not set are those of the problem's own answer, such as `Retry-After`.
pub type Phrase = fn(&Problem, &str) -> Response;

/// Another system's routes and words.
pub struct Dialect {
    name: &'static str,
    rules: Arc<Rules>,
    credentials: Credentials,
    guests: Option<Arc<dyn Guests>>,
    phrase: Phrase,
    slow: Slow,
    slashes: Option<Slashes>,
    origins: Vec<String>,
    router: Router,
}

impl Dialect {
    /// A dialect of these routes, each of which has its rule; `state` is what its handlers work with.
    pub fn new<S: Clone + Send + Sync + 'static>(
        name: &'static str,
        rules: &'static [Rule],
        router: OpenApiRouter<S>,
        state: S,
        phrase: Phrase,
    ) -> Self {
        let (router, _) = router.split_for_parts();
        let router =
            router.fallback(no_such_route).method_not_allowed_fallback(method_not_allowed).with_state(state);
        let credentials = Credentials::default();
        Self {
            name,
            rules: Rules::new(rules),
            credentials,
            guests: None,
            phrase,
            slow: Slow::default(),
            slashes: None,
            origins: Vec::new(),
            router,
        }
    }

    /// The same, whose callers bring their tokens there, too.
    #[must_use]
    pub fn with_credentials(self, credentials: Credentials) -> Self {
        Self { credentials, ..self }
    }

    /// The same, which knows these besides those who have a token of the store.
    #[must_use]
    pub fn with_guests(self, guests: Arc<dyn Guests>) -> Self {
        Self { guests: Some(guests), ..self }
    }

    /// The same, whose paths may take as much longer than others as these say: all below one that ends with `/*`.
    #[must_use]
    pub fn with_slow(self, slow: Vec<(&'static str, Duration)>) -> Self {
        Self { slow: Slow(slow), ..self }
    }

    /// The same, which leads a path with a slash too many at its end, or with one too few, to the route that is meant (307), as FastAPI
    /// does.
    #[must_use]
    pub fn with_slashes(self) -> Self {
        Self { slashes: Some(Slashes::of(self.rules.all())), ..self }
    }

    /// The same, which lets web pages of these origins in, besides those from this machine, and lets them read its answers.
    #[must_use]
    pub fn with_origins(self, origins: Vec<String>) -> Self {
        Self { origins, ..self }
    }

    /// Its name, as settings have it.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialect").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Two dialects, or a dialect and Baton, cannot be told apart by their paths.
#[derive(Debug, thiserror::Error)]
#[error(
    "the dialects {first} and {second} both have the route {path}; give one of them a prefix, or an address of its own"
)]
pub struct SamePath {
    /// One of them.
    pub first: String,
    /// The other.
    pub second: String,
    /// The route's path.
    pub path: String,
}

/// A dialect as it is spoken at an address.
pub(crate) struct Spoken {
    name: &'static str,
    prefix: String,
    phrase: Phrase,
    slow: Slow,
    slashes: Option<Slashes>,
    origins: Vec<String>,
    service: Authenticate<Router>,
}

impl Spoken {
    fn new(dialect: Dialect, prefix: String, by: Authority) -> Self {
        let Dialect { name, rules, credentials, guests, phrase, slow, slashes, origins, router } = dialect;
        let service = Authenticate::at(Door { rules, credentials, guests }, router, by);
        Self { name, prefix, phrase, slow, slashes, origins, service }
    }

    /// The path that is meant by another, which has no route.
    fn meant(&self, path: &str) -> Option<String> {
        let slashes = self.slashes.as_ref()?;
        let meant = slashes.meant(path.strip_prefix(self.prefix.as_str())?)?;
        Some(format!("{}{meant}", self.prefix))
    }
}

/// The dialects that are spoken at one address.
pub struct Dialects {
    all: Vec<Arc<Spoken>>,
    /// Whose a path is; none for Baton's own.
    paths: matchit::Router<Option<usize>>,
    /// Whether nothing else is served there.
    alone: bool,
}

impl Dialects {
    /// Dialects with their prefixes, beside Baton's own routes.
    ///
    /// # Errors
    /// If two of them, or one and Baton, have the same path.
    pub fn beside_baton(
        dialects: Vec<(Dialect, String)>,
        by: impl Into<Authority>,
    ) -> Result<Arc<Self>, SamePath> {
        let mut paths = Paths::default();
        let own = Rules::of_baton();
        let (yielding, kept): (Vec<&Rule>, Vec<_>) = own.all().iter().partition(|rule| rule.yields);
        paths.add("of Baton itself", "", kept, None)?;
        let dialects = Self::with(dialects, by.into(), paths)?;
        Ok(Arc::new(dialects.yielded(&yielding)))
    }

    /// One dialect, alone at its address.
    ///
    /// # Errors
    /// If two of its own paths cannot be told apart, which its tests exclude.
    pub fn alone(dialect: Dialect, prefix: String, by: impl Into<Authority>) -> Result<Arc<Self>, SamePath> {
        let dialects = Self::with(vec![(dialect, prefix)], by.into(), Paths::default())?;
        Ok(Arc::new(Self { alone: true, ..dialects }))
    }

    /// One dialect without a prefix, alone at its address: it has every path.
    pub fn only(dialect: Dialect, by: impl Into<Authority>) -> Arc<Self> {
        let spoken = Spoken::new(dialect, String::new(), by.into());
        Arc::new(Self { all: vec![Arc::new(spoken)], paths: matchit::Router::new(), alone: true })
    }

    fn with(dialects: Vec<(Dialect, String)>, by: Authority, mut paths: Paths) -> Result<Self, SamePath> {
        let mut all = Vec::with_capacity(dialects.len());
        for (dialect, prefix) in dialects {
            paths.add(dialect.name, &prefix, dialect.rules.all(), Some(all.len()))?;
            all.push(Arc::new(Spoken::new(dialect, prefix, by.clone())));
        }
        Ok(Self { all, paths: paths.found, alone: false })
    }

    /// The same where Baton has these paths, too, as far as no dialect has them.
    fn yielded(mut self, rules: &[&Rule]) -> Self {
        for rule in rules {
            // This is refused where a dialect has the very path, which it keeps then.
            drop(self.paths.insert(rule.path, None));
        }
        self
    }

    /// The dialect that a path belongs to: that of the route, else that of the prefix, else the only one there is, else that of the
    /// route which a slash more or less makes of it.
    fn of_path(&self, path: &str) -> Option<&Arc<Spoken>> {
        match self.paths.at(path) {
            Ok(found) => self.all.get((*found.value)?),
            Err(_) => {
                let has_prefix = |spoken: &&Arc<Spoken>| {
                    let rest = path.strip_prefix(spoken.prefix.as_str());
                    !spoken.prefix.is_empty()
                        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                let by_prefix = self.all.iter().filter(has_prefix).max_by_key(|spoken| spoken.prefix.len());
                by_prefix
                    .or_else(|| self.all.first().filter(|_| self.alone))
                    .or_else(|| self.all.iter().find(|spoken| spoken.meant(path).is_some()))
            }
        }
    }

    /// What is to be known of a request to answer it in its own words.
    pub(crate) fn asked(&self, path: &str) -> Option<Asked> {
        let spoken = Arc::clone(self.of_path(path)?);
        let path = path.strip_prefix(spoken.prefix.as_str()).unwrap_or(path).to_owned();
        Some(Asked { spoken, path })
    }
}

impl fmt::Debug for Dialects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(|spoken| spoken.name)).finish()
    }
}

/// Paths as they are gathered, with whose they are.
#[derive(Default)]
struct Paths {
    found: matchit::Router<Option<usize>>,
    of: Vec<(String, String)>,
}

impl Paths {
    fn add<'a>(
        &mut self,
        name: &str,
        prefix: &str,
        rules: impl IntoIterator<Item = &'a Rule>,
        index: Option<usize>,
    ) -> Result<(), SamePath> {
        for rule in rules {
            let path = format!("{prefix}{}", rule.path);
            let known = self.of.iter().find(|(_, other)| *other == path);
            if known.is_some_and(|(of, _)| of == name) {
                continue;
            }
            if let Err(error) = self.found.insert(path.as_str(), index) {
                let with = match error {
                    matchit::InsertError::Conflict { with } => with,
                    _ => path.clone(),
                };
                let first = self.of.iter().find(|(_, other)| *other == with).map(|(of, _)| of.clone());
                let first = first.unwrap_or_default();
                return Err(SamePath { first, second: name.to_owned(), path });
            }
            self.of.push((name.to_owned(), path));
        }
        Ok(())
    }
}

/// A request that is answered in a dialect.
#[derive(Clone)]
pub(crate) struct Asked {
    spoken: Arc<Spoken>,
    path: String,
}

impl Asked {
    /// A problem in the dialect's words.
    pub(crate) fn phrase(&self, error: ApiError, request_id: Option<&str>) -> Response {
        let mut told = (self.spoken.phrase)(error.problem(), &self.path);
        for (name, value) in error.respond(request_id).headers() {
            let of_body = [CONTENT_TYPE, CONTENT_LENGTH].contains(name);
            if !of_body && !told.headers().contains_key(name) {
                told.headers_mut().insert(name, value.clone());
            }
        }
        told
    }

    /// The origin of the page that has sent the request, if the dialect lets pages of it in.
    pub(crate) fn page_of(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        foreign::page_of(headers, &self.spoken.origins)
    }

    /// How much longer than others the request may take, if so.
    pub(crate) fn longer(&self) -> Option<Duration> {
        self.spoken.slow.longer(&self.path)
    }
}

/// What is served at an address: Baton's own routes with dialects beside them, or dialects alone.
#[derive(Clone, Debug)]
pub struct Switch {
    own: Option<Authenticate<Router>>,
    dialects: Option<Arc<Dialects>>,
}

impl Switch {
    pub(crate) fn new(own: Authenticate<Router>) -> Self {
        Self { own: Some(own), dialects: None }
    }

    pub(crate) fn beside(self, dialects: Arc<Dialects>) -> Self {
        Self { dialects: Some(dialects), ..self }
    }

    pub(crate) fn only(dialects: Arc<Dialects>) -> Self {
        Self { own: None, dialects: Some(dialects) }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<B> Service<Request<B>> for Switch
where
    Authenticate<Router>: Service<Request<B>, Response = Response, Error = Infallible, Future = Answer>,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Answer {
        let spoken = self.dialects.as_ref().and_then(|dialects| dialects.of_path(request.uri().path()));
        match (spoken, &mut self.own) {
            (Some(spoken), _) => {
                if let Some(answer) = led(spoken, &request) {
                    return Box::pin(async move {
                        let (parts, mut body) = request.into_parts();
                        discard(&parts.headers, &mut body, 0).await;
                        Ok(answer)
                    });
                }
                if !spoken.prefix.is_empty() {
                    let uri = without(request.uri(), &spoken.prefix);
                    *request.uri_mut() = uri;
                }
                spoken.service.clone().call(request)
            }
            (None, Some(own)) => own.call(request),
            // Where there is nothing of Baton's own, a dialect has every path.
            (None, None) => Box::pin(async { Ok(no_such_route_there()) }),
        }
    }
}

/// An answer that leads to the route that is meant, if the request's path has none.
fn led<B>(spoken: &Spoken, request: &Request<B>) -> Option<Response> {
    let meant = spoken.meant(request.uri().path())?;
    slash::lead(&meant, request.uri(), request.headers())
}

fn no_such_route_there() -> Response {
    use axum::response::IntoResponse as _;
    ApiError::no_such_route("").into_response()
}

/// An address without the beginning of its path.
fn without(uri: &Uri, prefix: &str) -> Uri {
    let rest = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = rest.strip_prefix(prefix).unwrap_or(rest);
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let mut parts = uri.clone().into_parts();
    // What is left of a path that was one is one.
    parts.path_and_query = rest.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests;
