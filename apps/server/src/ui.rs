//! The dashboard by itself, over the API of a server elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_dashboard::{Alone, Elsewhere};
use baton_http::auth::Authority;
use baton_http::{Dialects, Envelope};
use baton_runtime::settings::ServerSettings;
use baton_runtime::{Clock, Ids, Shutdown};
use tokio::task::JoinHandle;

use crate::{StartError, Taken, options};

/// How long a page may take: it asks the server some ten times, each time as long as API Gateway waits for a function at most.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A dashboard that runs by itself, without a store. Dropping it begins its stop.
#[derive(Debug)]
pub struct RunningUi {
    addr: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<bool>,
}

impl RunningUi {
    /// Serves the pages over an API, at this address; port 0 takes any free port. `settings` say how requests are taken. On an address
    /// that others than this machine reach, everybody has to sign in.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the system gives no random bytes.
    pub async fn start(
        listen: SocketAddr,
        api: Elsewhere,
        settings: &ServerSettings,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Self, StartError> {
        let Taken { listener, addr } = Taken::new(listen, "--listen").await?;
        let shutdown = Shutdown::new();
        let alone = Alone {
            api,
            at: addr,
            clock,
            ids: Arc::clone(&ids),
            stop: shutdown.clone(),
            explain: crate::error_page,
        };
        let dialect = baton_dashboard::alone(alone);
        let dialect = dialect.map_err(|cause| StartError::Dialect { name: baton_dashboard::NAME, cause })?;
        let room = usize::try_from(settings.answers_bytes).unwrap_or(usize::MAX);
        let service = Envelope::without_app(Dialects::only(dialect, Authority::Nobody), &*ids, TIMEOUT, room);
        // As of a server, whose requests need no token on such an address.
        let service = if addr.ip().is_loopback() { service.refuse_foreign_pages() } else { service };
        let serving = baton_http::serve(listener, service, shutdown.clone(), options(settings));
        Ok(Self { addr, shutdown, serving: tokio::spawn(serving) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops it and waits for the end. Says whether all that was asked of it was answered.
    pub async fn shutdown(mut self) -> bool {
        self.shutdown.begin();
        (&mut self.serving).await.unwrap_or(false)
    }
}

impl Drop for RunningUi {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}
