//! A service on a socket: HTTP/1.1 with keep-alive, a bound on open connections, and a stop that answers what was
//! accepted.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use baton_runtime::Shutdown;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::Service;

use crate::envelope::Envelope;

/// How long a connection may be silent between two requests, and take to send a request's head. Longer than clients
/// keep idle connections (90 s is usual), so that it is the client who closes, and no request meets a closed door.
const SILENCE: Duration = Duration::from_secs(120);

/// How long to wait after a connection could not be accepted, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a socket is served.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Connections open at once; more wait to be accepted.
    pub max_connections: u32,
    /// How long a stopping server answers what it has accepted, before it breaks off.
    pub grace: Duration,
}

/// Serves until `shutdown` begins, then answers what was accepted, and returns. Returns `false` if some request was not
/// answered within the grace.
pub async fn serve<S>(
    listener: TcpListener,
    service: Envelope<S>,
    shutdown: Shutdown,
    options: ServeOptions,
) -> bool
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let room = Arc::new(Semaphore::new(options.max_connections as usize));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(SILENCE);
    let stop = shutdown.wait();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok(Some((stream, permit))) => {
                let connection =
                    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service.clone()));
                let connection = graceful.watch(connection);
                connections.spawn(async move {
                    // A connection that breaks concerns its client alone.
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection broke");
                    }
                    drop(permit);
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted; raise the limit of open files if it recurs");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let answered = tokio::time::timeout(options.grace, graceful.shutdown()).await.is_ok();
    if !answered {
        tracing::warn!(
            connections = connections.len(),
            "the grace is over; breaking off what is not answered"
        );
    }
    connections.shutdown().await;
    answered
}

type Permit = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<Option<(TcpStream, Permit)>> {
    // The semaphore is never closed.
    let Ok(permit) = Arc::clone(room).acquire_owned().await else { return Ok(None) };
    let (stream, _) = listener.accept().await?;
    // Answers are small and waited for; on failure they are merely slower.
    let _ = stream.set_nodelay(true);
    Ok(Some((stream, permit)))
}
