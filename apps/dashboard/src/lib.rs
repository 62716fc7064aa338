//! The dashboard: pages for people, at `/ui` of a server.
//!
//! It has no view of its own of anything. Each page asks the routes that programs ask ([`baton_http::Inside`]), with the token of
//! whoever signed in, and each button posts to one of them: so a page shows what the API answers, may what the token may, and is
//! recorded as any other request. `docs/dashboard.md` is for its users.

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
mod visit;
mod words;

use std::io;
use std::sync::Arc;

use baton_http::{App, Authenticator, Dialect, Inside};

use session::Sessions;

/// Its name, where it is told apart from the dialects that stand beside it.
pub const NAME: &str = "ui";

/// What all pages work with.
struct Dashboard {
    app: App,
    inside: Inside,
    by: Arc<Authenticator>,
    sessions: Sessions,
    /// Stands in the forms of those who have no session: whoever posts one has read a page of this server.
    open_form: String,
}

/// The dashboard over an app, asking its routes by `inside`; `by` knows who signs in.
///
/// # Errors
/// If the system gives no random bytes.
pub fn dashboard(app: &App, inside: Inside, by: Arc<Authenticator>) -> io::Result<Dialect> {
    let dashboard = Dashboard {
        app: app.clone(),
        inside,
        by,
        sessions: Sessions::default(),
        open_form: session::random(app)?,
    };
    let dialect = Dialect::new(NAME, routes::RULES, routes::router(), Arc::new(dashboard), answer::phrase);
    Ok(dialect.with_slow(vec![files::SLOW, events::SLOW]))
}
