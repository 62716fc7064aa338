//! A service on a socket: HTTP/1.1 with keep-alive, bounds on open connections, on their patience and on the memory of
//! answers, and a stop that answers what was accepted.

mod answers;
mod handler;
mod library;
mod stage;
mod stream;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use baton_runtime::Shutdown;
use http::Request;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::Service;

use crate::envelope::Envelope;
use handler::Handler;
use stage::{At, Stage};
use stream::{Patience, Stream};

pub use handler::Arriving;

/// How long a connection may be silent between two requests. Longer than clients keep idle connections (90 s is usual), so
/// that it is the client who closes, and no request meets a closed door.
const SILENCE: Duration = Duration::from_secs(120);

/// How long a connection must have been silent before it may be closed to make room for another.
const SILENT: Duration = Duration::from_secs(1);

/// How long a connection must have waited for its caller, with half a request or an answer, before it may be broken off to
/// make room for another. Shorter than the waits that are set, as these are for a server that has room.
const STUCK: Duration = Duration::from_secs(3);

/// How often room is looked for while a connection waits for it.
const LOOK: Duration = Duration::from_millis(100);

/// How long to wait after a connection could not be accepted, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bytes that the kernel keeps of an answer. It says that there is room again once a third of them is taken: at the
/// slowest rate that is taken for steady, 16 KiB a second, five seconds. Left alone, it keeps 2.5 MiB and more. A line that
/// holds more than this at a time (20 Gbit/s over 0.1 ms, 20 Mbit/s over 100 ms) is not filled by one connection.
const SEND_BUFFER: usize = 256 * 1024;

/// How a socket is served.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Connections open at once. One more is accepted, and waits; silent ones are closed for it, and those whose callers
    /// neither send what they began nor take their answers.
    pub max_connections: u32,
    /// How long a request's head may take.
    pub head_timeout: Duration,
    /// How long an answer may wait for its caller to take any of it.
    pub answer_timeout: Duration,
    /// How long a stopping server answers what it has accepted, before it breaks off.
    pub grace: Duration,
}

/// Serves until `shutdown` begins, then answers what was accepted, and returns. Returns `false` if some request that had
/// come whole was not answered within the grace.
pub async fn serve<S>(
    listener: TcpListener,
    service: Envelope<S>,
    shutdown: Shutdown,
    options: ServeOptions,
) -> bool
where
    S: Service<Request<Arriving>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let service = service.on_socket();
    let room = service.room();
    let mut open = Open::new(options.max_connections);
    let mut builder = http1::Builder::new();
    // `stream` has limits of its own.
    builder.max_header_size(library::HEAD_BYTES).header_read_timeout(None);
    let patience = Patience { head: options.head_timeout, silence: SILENCE, answer: options.answer_timeout };
    let mut stop = pin!(shutdown.wait());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &mut open) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                let stage = Arc::new(Stage::new());
                let stream = Stream::new(accepted, Arc::clone(&stage), patience, service.request_ids());
                let handler =
                    Handler { envelope: service.clone(), stage: Arc::clone(&stage), room: Arc::clone(&room) };
                let connection = builder.serve_connection(TokioIo::new(stream), handler).with_upgrades();
                let (watched, shutdown) = (Arc::clone(&stage), shutdown.clone());
                open.spawn(stage, async move { run(connection, &watched, &shutdown).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted; raise the limit of open files if it recurs");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    open.close(options.grace).await
}

/// Runs one connection until it ends, or is silent and unwanted.
async fn run<S>(
    connection: http1::UpgradeableConnection<TokioIo<Stream>, Handler<S>>,
    stage: &Stage,
    shutdown: &Shutdown,
) where
    S: Service<Request<Arriving>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut connection = pin!(connection);
    let mut stop = pin!(shutdown.wait());
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                // A connection that breaks concerns its client alone.
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
            () = &mut stop, if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = stage.unwanted() => {
                if stage.is_silent() {
                    return;
                }
                if stage.stuck_for().is_some_and(|stuck| stuck >= STUCK) {
                    // The connection is looked at again, and its stream waits no longer.
                    stage.give_up();
                }
            }
        }
    }
}

/// The connections that are open.
struct Open {
    room: Arc<Semaphore>,
    most: u32,
    tasks: JoinSet<u64>,
    stages: HashMap<u64, Arc<Stage>>,
    count: u64,
    /// The one that was accepted and waits for room.
    next: Option<TcpStream>,
}

impl Open {
    fn new(most: u32) -> Self {
        Self {
            room: Arc::new(Semaphore::new(most as usize)),
            most,
            tasks: JoinSet::new(),
            stages: HashMap::new(),
            count: 0,
            next: None,
        }
    }

    fn spawn(&mut self, stage: Arc<Stage>, connection: impl Future<Output = ()> + Send + 'static) {
        self.forget_ended();
        let key = self.count;
        self.count += 1;
        self.stages.insert(key, stage);
        self.tasks.spawn(async move {
            connection.await;
            key
        });
    }

    fn forget_ended(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            match ended {
                Ok(key) => drop(self.stages.remove(&key)),
                // Nobody knows whose task has panicked: all that are gone are forgotten.
                Err(_) => self.stages.retain(|_, stage| Arc::strong_count(stage) > 1),
            }
        }
    }

    /// Room for one more connection. While there is none, that which has been silent for longest is closed: who keeps a
    /// connection for later may open another. If none is silent, that which has waited for its caller for longest.
    async fn room(&mut self) -> Option<OwnedSemaphorePermit> {
        loop {
            self.forget_ended();
            let freed = tokio::time::timeout(LOOK, Arc::clone(&self.room).acquire_owned()).await;
            if let Ok(permit) = freed {
                // The semaphore is never closed.
                return permit.ok();
            }
            let silent =
                self.stages.values().filter(|stage| stage.is_silent() && stage.since().elapsed() >= SILENT);
            if let Some(longest) = silent.min_by_key(|stage| stage.since()) {
                longest.make_room();
                continue;
            }
            let stuck = self.stages.values().filter_map(|stage| Some((stage.stuck_for()?, stage)));
            if let Some((_, longest)) = stuck.filter(|(long, _)| *long >= STUCK).max_by_key(|(long, _)| *long)
            {
                longest.make_room();
            }
        }
    }

    /// Waits until all connections have ended, or the grace is over. Says whether no request was broken off that had come
    /// whole and had no answer.
    async fn close(mut self, grace: Duration) -> bool {
        drop(self.next.take());
        let all = async {
            while self.tasks.join_next().await.is_some() {}
            // Those that speak another protocol have no task here, but a place; who speaks it hears of the stop by itself.
            let _ = self.room.acquire_many(self.most).await;
        };
        if tokio::time::timeout(grace, all).await.is_ok() {
            return true;
        }
        let count = |at: &[At]| {
            let open = self.stages.values().filter(|stage| Arc::strong_count(stage) > 1);
            open.filter(|stage| at.contains(&stage.at())).count()
        };
        let (working, half, untaken) =
            (count(&[At::Working]), count(&[At::Head, At::Arriving]), count(&[At::Answering]));
        tracing::warn!(
            unanswered = working,
            half_sent = half,
            untaken_answers = untaken,
            "the grace is over; breaking off what is left"
        );
        self.tasks.shutdown().await;
        working == 0
    }
}

/// Accepts a connection that there is room for. May be given up at any point, and goes on where it was.
async fn accept(listener: &TcpListener, open: &mut Open) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    loop {
        if open.next.is_none() {
            let (stream, _) = listener.accept().await?;
            // Answers are small and waited for; on failure they are merely slower.
            let _ = stream.set_nodelay(true);
            // So that what a caller takes of a large answer shows while it takes it, and not in pieces of some MiB.
            let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
            open.next = Some(stream);
        }
        let permit = open.room().await;
        if let (Some(permit), Some(stream)) = (permit, open.next.take()) {
            return Ok((stream, permit));
        }
    }
}
