//! The dashboard: pages for people, at `/ui` of a server.
//!
//! It has no view of its own of anything. Each page asks the routes that programs ask ([`baton_http::Inside`]), with the token of
//! whoever signed in, and each button posts to one of them: so a page shows what the API answers, may what the token may, and is
//! recorded as any other request. By itself it asks the routes of a server elsewhere, over HTTP ([`alone`]).
//! `docs/dashboard.md` is for its users.

mod act;
mod address;
mod answer;
mod ask;
mod bulk;
mod charts;
mod events;
mod files;
mod form;
mod graph;
mod origin;
mod pages;
mod rights;
mod routes;
mod session;
mod shell;
mod sign;
mod source;
mod visit;
mod words;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use baton_api::ProblemCode;
use baton_http::auth::Rule;
use baton_http::{App, Dialect, Inside};
use baton_runtime::{Clock, Ids, Shutdown};
use utoipa_axum::router::OpenApiRouter;

use session::Sessions;
use source::Source;

pub use source::Elsewhere;

/// Its name, where it is told apart from the dialects that stand beside it.
pub const NAME: &str = "ui";

/// The name of the cookie that names a session.
const COOKIE: &str = "baton_ui";

/// What all pages work with.
struct Dashboard {
    source: Source,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    sessions: Sessions,
    /// The cookie's name.
    cookie: String,
    /// Stands in the forms of those who have no session: whoever posts one has read a page of this server.
    open_form: String,
}

impl Dashboard {
    fn new(
        source: Source,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        cookie: String,
    ) -> io::Result<Arc<Self>> {
        let open_form = session::random(&*ids)?;
        Ok(Arc::new(Self { source, clock, ids, sessions: Sessions::default(), cookie, open_form }))
    }

    fn spoken(self: Arc<Self>, rules: &'static [Rule], router: OpenApiRouter<Arc<Self>>) -> Dialect {
        let dialect = Dialect::new(NAME, rules, router, self, answer::phrase);
        dialect.with_slow(vec![files::SLOW, events::SLOW])
    }
}

/// The dashboard over an app, asking its routes by `inside`.
///
/// # Errors
/// If the system gives no random bytes.
pub fn dashboard(app: &App, inside: Inside) -> io::Result<Dialect> {
    let (clock, ids) = (Arc::clone(&app.clock), Arc::clone(&app.ids));
    let source = Source::Here { app: app.clone(), inside };
    let dashboard = Dashboard::new(source, clock, ids, COOKIE.to_owned())?;
    Ok(dashboard.spoken(routes::RULES, routes::router()))
}

/// What a dashboard by itself is made of.
pub struct Alone {
    /// Whose pages it shows.
    pub api: Elsewhere,
    /// Where it is served. On an address that others than this machine reach, everybody has to sign in, also if that server asks for no
    /// token.
    pub at: SocketAddr,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub ids: Arc<dyn Ids>,
    /// Says when to stop.
    pub stop: Shutdown,
    /// The page that explains a problem, as Markdown.
    pub explain: fn(ProblemCode) -> &'static str,
}

/// The dashboard by itself, asking the API of a server elsewhere.
///
/// # Errors
/// If the system gives no random bytes.
pub fn alone(alone: Alone) -> io::Result<Dialect> {
    let Alone { api, at, clock, ids, stop, explain } = alone;
    let source = Source::Elsewhere { api, open: at.ip().is_loopback(), stop };
    // Browsers send cookies to every port of a machine, where a server may show its own pages, or another dashboard those of another one.
    let cookie = format!("{COOKIE}_{}", at.port());
    let dashboard = Dashboard::new(source, clock, ids, cookie)?;
    Ok(dashboard.spoken(routes::ALONE, routes::alone(explain)))
}
