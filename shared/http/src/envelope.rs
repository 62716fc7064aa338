//! What every request gets around it: an id, which its log lines bear, a time limit, and an answer also when its handler panics.
//!
//! One layer and not five: each layer of an axum router costs a request two allocations and a clone of what is below
//! it. As a tower service it stands around the router of a server and around that of a single function alike.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::{IntoResponse, Response};
use baton_api::ProblemCode;
use baton_runtime::Ids;
use baton_runtime::telemetry::Named;
use http::header::{ALLOW, CONTENT_RANGE};
use http::{HeaderValue, Request};
use http_body::Body;
use tower::Service;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::auth::{Authenticate, Authority, Rules};
use crate::body::discard;
use crate::dialect::{Asked, Dialects, Switch};
use crate::error::ApiError;
use crate::foreign;
use crate::head;
use crate::meters::Route;
use crate::request_id::{REQUEST_ID, RequestIds};
use crate::room::Room;
use crate::slow::Slow;
use crate::spanned::Spanned;

/// A router, or what stands before it, with all that surrounds a request.
#[derive(Clone)]
pub struct Envelope<S = Router> {
    inner: S,
    shared: Arc<Shared>,
    dialects: Option<Arc<Dialects>>,
    guarded: bool,
    on_socket: bool,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// As long as the settings in force say when it comes.
    OfSettings,
    /// So long.
    Fixed(Duration),
}

impl From<Duration> for Timeout {
    fn from(timeout: Duration) -> Self {
        Self::Fixed(timeout)
    }
}

/// How long a request may take, and who says so.
enum Patience {
    /// The settings in force of this app.
    Of(App),
    /// Nobody any more.
    Fixed(Duration),
}

struct Shared {
    patience: Patience,
    slow: Slow,
    ids: Arc<RequestIds>,
    room: Arc<Room>,
    /// Counts the answers; none of a program that has no store.
    app: Option<App>,
    rules: Arc<Rules>,
}

impl Shared {
    fn new(app: App, timeout: Timeout, slow: Slow) -> Self {
        let ids = Arc::new(RequestIds::new(&*app.ids));
        let patience = match timeout {
            Timeout::OfSettings => Patience::Of(app.clone()),
            Timeout::Fixed(timeout) => Patience::Fixed(timeout),
        };
        let room = Arc::clone(&app.room);
        Self { patience, slow, ids, room, app: Some(app), rules: Rules::of_baton() }
    }
}

impl Envelope {
    /// Puts an envelope around a router: unknown routes and methods become problems, and a request that takes longer
    /// than `timeout` is given up; the paths of `slow` may take as much longer as
    /// they say, which are all below one that ends with `/*`. Handlers that need to know
    /// their caller work only [`Self::authenticated`].
    pub fn new(
        router: OpenApiRouter<App>,
        app: App,
        timeout: impl Into<Timeout>,
        slow: Vec<(&'static str, Duration)>,
    ) -> Self {
        let (router, _) = router.split_for_parts();
        let router = router
            .fallback(no_such_route)
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(app.clone());
        let shared = Arc::new(Shared::new(app, timeout.into(), Slow(slow)));
        Self { inner: router, shared, dialects: None, guarded: false, on_socket: false }
    }

    /// Puts callers' authentication between the envelope and the router.
    pub fn authenticated(self, by: impl Into<Authority>) -> Envelope<Authenticate<Router>> {
        let Self { inner, shared, dialects, guarded, on_socket } = self;
        Envelope { inner: Authenticate::new(inner, by), shared, dialects, guarded, on_socket }
    }
}

impl Envelope<Authenticate<Router>> {
    /// What a server puts on a socket, where dialects may stand beside.
    pub fn switched(self) -> Envelope<Switch> {
        let Self { inner, shared, dialects, guarded, on_socket } = self;
        Envelope { inner: Switch::new(inner), shared, dialects, guarded, on_socket }
    }
}

impl Envelope<Switch> {
    /// The same with dialects beside Baton's own routes.
    #[must_use]
    pub fn beside(self, dialects: Arc<Dialects>) -> Self {
        Self { inner: self.inner.beside(Arc::clone(&dialects)), dialects: Some(dialects), ..self }
    }

    /// Dialects without Baton's own routes.
    pub fn of_dialects(dialects: Arc<Dialects>, app: &App, timeout: impl Into<Timeout>) -> Self {
        let shared = Arc::new(Shared::new(app.clone(), timeout.into(), Slow::default()));
        Self::around(dialects, shared)
    }

    /// The same of a program that has no store and no app. It counts no answers, and tells no spans. `room`: how many bytes
    /// of answers may wait for their callers.
    pub fn without_app(dialects: Arc<Dialects>, ids: &dyn Ids, timeout: Duration, room: usize) -> Self {
        let shared = Shared {
            patience: Patience::Fixed(timeout),
            slow: Slow::default(),
            ids: Arc::new(RequestIds::new(ids)),
            room: Room::new(room),
            app: None,
            rules: Rules::of_baton(),
        };
        Self::around(dialects, Arc::new(shared))
    }

    fn around(dialects: Arc<Dialects>, shared: Arc<Shared>) -> Self {
        let inner = Switch::only(Arc::clone(&dialects));
        Self { inner, shared, dialects: Some(dialects), guarded: false, on_socket: false }
    }
}

impl<S> Envelope<S> {
    /// Refuses what web pages of other sites ask for: for a server that serves whoever reaches it, and that browsers on
    /// its machine do reach.
    #[must_use]
    pub fn refuse_foreign_pages(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// Looks at heads as they come over a socket, with nothing in front that has read them.
    pub(crate) fn on_socket(mut self) -> Self {
        self.on_socket = true;
        self
    }

    /// What makes the ids of requests.
    pub(crate) fn request_ids(&self) -> Arc<RequestIds> {
        Arc::clone(&self.shared.ids)
    }

    /// What is to be known of a request to answer it in a dialect; none if it is for Baton itself.
    pub(crate) fn asked(&self, path: &str) -> Option<Asked> {
        self.dialects.as_ref()?.asked(path)
    }

    /// The room that its answers share with those of all addresses.
    pub(crate) fn room(&self) -> Arc<Room> {
        Arc::clone(&self.shared.room)
    }
}

impl<S> fmt::Debug for Envelope<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope").field("guarded", &self.guarded).finish_non_exhaustive()
    }
}

impl Shared {
    fn timeout(&self, path: &str, asked: Option<&Asked>) -> Duration {
        let longer = asked.map_or_else(|| self.slow.longer(path), Asked::longer);
        let timeout = match &self.patience {
            Patience::Of(app) => app.request_timeout(),
            Patience::Fixed(timeout) => *timeout,
        };
        timeout + longer.unwrap_or_default()
    }
}

impl<S, B> Service<Request<B>> for Envelope<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let id = self.shared.ids.of(request.headers().get(REQUEST_ID));
        let name: Arc<str> = id.to_str().unwrap_or_default().into();
        let answered = answer(self.clone(), request, id);
        Box::pin(Named::new(name, async { Ok(answered.await) }))
    }
}

async fn answer<S, B>(envelope: Envelope<S>, mut request: Request<B>, id: HeaderValue) -> Response
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
    B: Body + Unpin,
{
    // Each request is a line at debug, and no work at all above it.
    let logged = tracing::enabled!(tracing::Level::DEBUG)
        .then(|| (request.method().clone(), request.uri().path().to_owned(), Instant::now()));
    // What is recorded of the request names it as the log and its answer do.
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let asked = envelope.asked(request.uri().path());
    let route = match asked {
        Some(_) => Route::of_dialect(request.method()),
        None => Route::of(&envelope.shared.rules, request.method(), request.uri().path()),
    };
    let app = envelope.shared.app.as_ref();
    let spanned = app.and_then(|app| Spanned::begin(app, route, request.headers()));
    let Envelope { mut inner, shared, dialects: _, guarded, on_socket } = envelope;
    let timeout = shared.timeout(request.uri().path(), asked.as_ref());
    let page = asked.as_ref().and_then(|asked| asked.page_of(request.headers()));
    let asks_first = page.is_some() && foreign::asks_first(request.method(), request.headers());
    let routed = async {
        let well_formed = if on_socket { head::check(&request) } else { Ok(()) };
        let from_here = well_formed
            .and_then(|()| if guarded { foreign::check(request.headers(), page.as_ref()) } else { Ok(()) });
        match from_here {
            Ok(()) if asks_first => foreign::may_send(request.headers()),
            Ok(()) => inner.call(request).await.unwrap_or_else(|never| match never {}),
            Err(refused) => {
                let (parts, mut body) = request.into_parts();
                discard(&parts.headers, &mut body, 0).await;
                refused.into_response()
            }
        }
    };
    let mut response = match tokio::time::timeout(timeout, survive(routed)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(
            ProblemCode::RequestTimeout,
            format!(
                "the request took longer than {} s and was given up; it may have been done: look, or send it again, \
                 which is safe with an Idempotency-Key or a chosen id",
                timeout.as_secs_f64()
            ),
        )
        .into_response(),
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        error.log();
        let error = match response.headers().get(ALLOW).and_then(|allow| allow.to_str().ok()) {
            Some(allow) => error.with_allow(allow),
            None => error,
        };
        let range = response.headers_mut().remove(CONTENT_RANGE);
        response = tell(error, id.to_str().ok(), asked.as_ref());
        if let Some(range) = range {
            response.headers_mut().insert(CONTENT_RANGE, range);
        }
    }
    if let Some(page) = page {
        foreign::may_read(&mut response, page);
    }
    if let Some(app) = &shared.app {
        app.meters.answered(route, response.status());
    }
    if let Some(spanned) = spanned {
        spanned.answered(response.status(), id.to_str().ok());
    }
    if let Some((method, path, began)) = logged {
        let status = response.status().as_u16();
        let millis = began.elapsed().as_secs_f64() * 1e3;
        tracing::debug!(%method, path, status, millis, "request answered");
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// A problem as an answer, in the words that it was asked in.
pub(crate) fn tell(error: ApiError, request_id: Option<&str>, asked: Option<&Asked>) -> Response {
    match asked {
        Some(asked) => asked.phrase(error, request_id),
        None => error.respond(request_id),
    }
}

/// Polls a handler to its end, also if that end is a panic.
async fn survive(routed: impl Future<Output = Response>) -> Response {
    let mut routed = pin!(routed);
    // A handler shares with others only what locks and channels guard, so that a half-done one harms nobody.
    let polled = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| routed.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    match polled.await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(panic = panic_message(&*panic), "a handler panicked");
            ApiError::internal().into_response()
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "(no message)",
    }
}

pub(crate) async fn no_such_route(request: axum::extract::Request) -> ApiError {
    ApiError::no_such_route(request.uri().path())
}

pub(crate) async fn method_not_allowed(request: axum::extract::Request) -> ApiError {
    ApiError::method_not_allowed(request.method().as_str(), request.uri().path())
}
