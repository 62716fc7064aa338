//! All functions in one process, on one socket, with the reaper beside them.
//!
//! The server adds no rule and no route of its own: it composes the functions' routers, and makes the OpenAPI document of
//! them all.

mod api;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use baton_http::{App, Authenticate, Authenticator, Envelope, ServeOptions};
use baton_model::{Scope, Token, TokenStatus, limits};
use baton_runtime::{Clock, Ids, LocalDoorbell, Settings, Shutdown};
use baton_store::{PageRequest, Store, StoreError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use api::openapi;
pub use baton_manage_tokens::{new_token, read_request as read_token_request};
pub use baton_query_tasks::error_page;

/// Starts servers.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// An address that was taken for a server.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    addr: SocketAddr,
}

/// A server that runs. Dropping it begins its stop without waiting for the end.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    shutdown: Shutdown,
    serving: Option<JoinHandle<bool>>,
    reaper: Option<JoinHandle<()>>,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {addr}: {cause}; stop what listens there, or choose another address with server.listen"
    )]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// All routes with all that surrounds a request.
pub type Service = Envelope<Authenticate<Router>>;

/// All routes with all that surrounds a request, as a tower service: what [`Server::start`] puts on a socket, where it
/// also refuses foreign web pages if callers need no token. (A token is nothing that a browser sends by itself.)
pub fn service(app: App, settings: &Settings) -> Service {
    let by = Authenticator::new(app.clone(), settings.tokens);
    let slow = vec![baton_claim_task::SLOW];
    Envelope::new(api::router(), app, settings.server.request_timeout, slow).authenticated(by)
}

impl Server {
    /// Takes the address that the settings name; port 0 takes any free port. Before the store is opened, so that a taken
    /// port leaves no new file behind; whoever connects meanwhile waits for [`Server::serve`].
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn listen(settings: &Settings) -> Result<Listening, StartError> {
        let wanted = settings.server.listen;
        let failed = |cause| StartError::Listen { addr: wanted, cause };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Listening { listener, addr })
    }

    /// Listens, serves and reaps, until it is stopped. `doorbell` is the one that `store` rings; port 0 takes any free
    /// port.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(
        settings: &Settings,
        store: Arc<dyn Store>,
        doorbell: Arc<LocalDoorbell>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Running, StartError> {
        Ok(Self::serve(Self::listen(settings).await?, settings, store, doorbell, clock, ids).await)
    }

    /// Serves on an address that was taken before, as [`Server::start`] does.
    pub async fn serve(
        Listening { listener, addr }: Listening,
        settings: &Settings,
        store: Arc<dyn Store>,
        doorbell: Arc<LocalDoorbell>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Running {
        let app = App::configured(settings, store, doorbell, clock, ids);
        let shutdown = app.shutdown.clone();
        let options = ServeOptions {
            max_connections: settings.server.max_connections,
            head_timeout: settings.server.head_timeout,
            answer_timeout: settings.server.answer_timeout,
            answers_bytes: usize::try_from(settings.server.answers_bytes).unwrap_or(usize::MAX),
            grace: settings.server.shutdown_grace,
        };
        let mut service = service(app.clone(), settings);
        if settings.tokens.required {
            warn_without_operator(&app).await;
        } else {
            service = service.refuse_foreign_pages();
        }
        baton_reap_stale_workers::begin(&app).await;
        let serving = tokio::spawn(baton_http::serve(listener, service, shutdown.clone(), options));
        let schedules = baton_reap_stale_workers::run_schedules(app.clone(), shutdown.clone());
        let bulk = baton_reap_stale_workers::run_bulk(app.clone(), shutdown.clone());
        let reaper = baton_reap_stale_workers::run_reaper(app, settings.reaper_interval, shutdown.clone());
        // All end with the shutdown; what is cut off of a bulk command, the next start goes on with.
        let reaper = tokio::spawn(async {
            tokio::join!(reaper, schedules, bulk);
        });
        tracing::info!(%addr, tokens_required = settings.tokens.required, version = env!("CARGO_PKG_VERSION"), "server started");
        Running { addr, shutdown, serving: Some(serving), reaper: Some(reaper) }
    }
}

/// Says so if nobody can make tokens, which only operators do.
async fn warn_without_operator(app: &App) {
    match has_operator(app).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!(
            "requests need a token, and there is none of an operator; stop the server and make one: \
             baton token create --name admin --scope operator --store URL"
        ),
        Err(error) => tracing::warn!(error = error.report(), "the tokens could not be looked through"),
    }
}

async fn has_operator(app: &App) -> Result<bool, StoreError> {
    let now = app.now();
    let mut page = PageRequest::first(limits::PAGE);
    loop {
        let tokens = app.store.tokens(page).await?;
        let operates = |token: &Token| {
            token.status(now) == TokenStatus::Active
                && token.grant.scopes.contains(&Scope::Operator)
                && token.grant.is_unbound()
        };
        if tokens.items.iter().any(operates) {
            return Ok(true);
        }
        match tokens.next {
            Some(next) => page = PageRequest { after: Some(next), limit: limits::PAGE, in_parts: false },
            None => return Ok(false),
        }
    }
}

impl Running {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The word that stops it, for whoever hears the signals.
    pub fn stop(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Begins its stop and waits for the end: waiting claims are answered at once, and all that was accepted within the
    /// grace. Says whether all was answered.
    pub async fn shutdown(self) -> bool {
        self.shutdown.begin();
        self.ended().await
    }

    /// Waits until it has been stopped by [`Running::stop`]. Says whether all that was accepted was answered.
    pub async fn ended(mut self) -> bool {
        let answered = match self.serving.take() {
            Some(serving) => serving.await.unwrap_or(false),
            None => true,
        };
        if let Some(reaper) = self.reaper.take() {
            // Its panic has been logged, and concerns no request.
            let _ = reaper.await;
        }
        tracing::info!(answered, "server stopped");
        answered
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}
