//! All functions in one process, on one socket, with the reaper beside them.
//!
//! The server adds no rule of its own: it composes the functions' routers and brings what a process needs: health
//! checks, the OpenAPI document, the pages that explain problems.

mod api;
mod pages;
mod system;

use std::net::SocketAddr;
use std::sync::Arc;

use baton_http::{App, Envelope, ServeOptions};
use baton_runtime::{Clock, Ids, LocalDoorbell, Settings, Shutdown};
use baton_store::TaskStore;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use api::openapi;
pub use pages::error_page;

/// Starts servers.
#[derive(Clone, Copy, Debug)]
pub struct Server;

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

/// All routes with all that surrounds a request, as a tower service: what [`Server::start`] puts on a socket, where it
/// also refuses foreign web pages.
pub fn service(app: App, settings: &Settings) -> Envelope {
    Envelope::new(api::router(), app, settings.server.request_timeout, vec![baton_claim_task::SLOW])
}

impl Server {
    /// Listens, serves and reaps, until it is stopped. `doorbell` is the one that `store` rings; port 0 takes any free
    /// port.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(
        settings: &Settings,
        store: Arc<dyn TaskStore>,
        doorbell: Arc<LocalDoorbell>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Running, StartError> {
        let wanted = settings.server.listen;
        let failed = |cause| StartError::Listen { addr: wanted, cause };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let app = App::configured(settings, store, doorbell, clock, ids);
        let shutdown = app.shutdown.clone();
        let options = ServeOptions {
            max_connections: settings.server.max_connections,
            grace: settings.server.shutdown_grace,
        };
        let service = service(app.clone(), settings).refuse_foreign_pages();
        let serving = tokio::spawn(baton_http::serve(listener, service, shutdown.clone(), options));
        let reaper = baton_reap_stale_workers::run_reaper(app, settings.reaper_interval, shutdown.clone());
        let reaper = tokio::spawn(reaper);
        tracing::info!(%addr, version = env!("CARGO_PKG_VERSION"), "server started");
        Ok(Running { addr, shutdown, serving: Some(serving), reaper: Some(reaper) })
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
