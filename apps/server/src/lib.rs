//! All functions in one process, on one socket, with the reaper beside them.
//!
//! The server adds no rule and no route of its own: it composes the functions' routers, and makes the OpenAPI document of
//! them all.

mod api;
mod dialects;
mod ui;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_files::Files;
use baton_http::dialect::{SamePath, Switch};
use baton_http::fleet::Fleet;
use baton_http::{
    App, Authenticator, Dialect, Dialects, Envelope, Inside, Meters, Parts, ServeOptions, Timeout,
};
use baton_model::{Happened, Scope, Token, TokenStatus, limits};
use baton_runtime::settings::{DialectPlace, ServerSettings};
use baton_runtime::spans::TakeMetrics;
use baton_runtime::{Clock, Ids, LocalDoorbell, Settings, Shutdown, Spans};
use baton_store::{Archiver, PageRequest, Store, StoreError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use utoipa_axum::router::OpenApiRouter;

pub use api::openapi;
pub use baton_dashboard::Elsewhere;
pub use baton_manage_tokens::{keep_token, new_token, read_request as read_token_request};
pub use baton_query_tasks::error_page;
pub use dialects::{DIALECTS, Known};
pub use ui::RunningUi;

/// Starts servers.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// The addresses that were taken for a server: Baton's own, and those of dialects that have one.
#[derive(Debug)]
pub struct Listening {
    own: Taken,
    dialects: Vec<(&'static str, Taken)>,
    keda: Option<Taken>,
}

impl Listening {
    /// Baton's own address.
    pub fn addr(&self) -> SocketAddr {
        self.own.addr
    }
}

/// An address that was taken.
#[derive(Debug)]
struct Taken {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Taken {
    /// Takes an address; `setting` is where it can be changed.
    async fn new(addr: SocketAddr, setting: &str) -> Result<Self, StartError> {
        let failed = |cause| StartError::Listen { addr, setting: setting.to_owned(), cause };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, addr })
    }
}

/// A server that runs. Dropping it begins its stop without waiting for the end.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    dialects: Vec<(&'static str, SocketAddr)>,
    keda: Option<SocketAddr>,
    shutdown: Shutdown,
    serving: Vec<JoinHandle<bool>>,
    reaper: Option<JoinHandle<()>>,
    /// All requests are answered, and nothing is worked off any more.
    served: Shutdown,
    /// What tells others of the server's work, until it is served.
    telling: Vec<JoinHandle<()>>,
    life: Life,
}

/// Notes for the time line when a server starts and ends.
struct Life(App);

impl Life {
    async fn note(&self, happened: Happened) {
        let Self(app) = self;
        if let Err(error) = app.store.note_happened(app.now(), happened).await {
            tracing::warn!(error = error.report(), "the time line does not tell of the server");
        }
    }
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Life").finish_non_exhaustive()
    }
}

/// What a server has besides its store, as far as it has any of it.
#[derive(Clone, Default)]
pub struct Beside {
    /// Where finished tasks go before they are removed.
    pub archiver: Option<Archiver>,
    /// Where files lie.
    pub files: Option<Arc<dyn Files>>,
    /// The workers that are supervised beside it.
    pub fleet: Option<Arc<dyn Fleet>>,
    /// Who listens to what it tells of its work.
    pub listener: Listener,
}

/// Who listens to what a server tells of its work.
#[derive(Clone, Default)]
pub struct Listener {
    /// Where spans are recorded.
    pub spans: Option<Arc<Spans>>,
    /// Who takes what `GET /metrics` tells, and how often.
    pub metrics: Option<(Duration, TakeMetrics)>,
}

/// How long the last figures may take to be told, as the server ends.
const LAST_FIGURES: Duration = Duration::from_secs(2);

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {addr}: {cause}; stop what listens there, or choose another address with {setting}"
    )]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The setting that names it.
        setting: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A dialect was asked for that this program does not have.
    #[error(
        "this program was built without the dialect {name}; build it with that feature, or turn the dialect off"
    )]
    NotBuiltIn {
        /// The dialect.
        name: &'static str,
    },
    /// KEDA's external scaler was asked for, and this program does not have it.
    #[error(
        "keda.listen: this program was built without KEDA's external scaler: build one with `cargo install --path apps/baton --features keda`, or leave that empty"
    )]
    NoKeda,
    /// A dialect cannot be opened.
    #[error("the dialect {name} cannot be spoken: {cause}; mend it, or turn the dialect off")]
    Dialect {
        /// The dialect.
        name: &'static str,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Dialects cannot be told apart.
    #[error(transparent)]
    SamePath(#[from] SamePath),
}

/// All routes with all that surrounds a request.
pub type Service = Envelope<Switch>;

/// All routes with all that surrounds a request, as a tower service: what [`Server::start`] puts on a socket, where it
/// also refuses foreign web pages if callers need no token. (A token is nothing that a browser sends by itself.)
///
/// # Errors
/// If a dialect cannot be spoken, or not be told from another one.
pub fn service(app: App, settings: &Settings) -> Result<Service, StartError> {
    services(&app, settings).map(|services| services.own)
}

/// What each address serves.
struct Services {
    /// Baton's own routes with the dialects beside them.
    own: Service,
    /// Each dialect that has an address of its own.
    dialects: Vec<(&'static str, Service)>,
}

/// All of Baton's own routes, those that are in no document included.
fn routes() -> OpenApiRouter<App> {
    api::router()
        .merge(baton_manage_files::router())
        .merge(baton_manage_fleet::router())
        .merge(baton_manage_alerts::router())
        .merge(baton_show_metrics::router())
}

fn services(app: &App, settings: &Settings) -> Result<Services, StartError> {
    let by = Authenticator::new(app.clone(), settings.tokens);
    let timeout = Timeout::OfSettings;
    let (alone, beside): (Vec<_>, Vec<_>) = dialects::open(app, &settings.dialects)?
        .into_iter()
        .partition(|(_, place): &(Dialect, DialectPlace)| place.listen.is_some());
    let slow = vec![
        baton_claim_task::SLOW,
        baton_query_tasks::SLOW,
        baton_manage_files::SLOW,
        baton_manage_files::SLOW_SIGNED,
    ];
    let own = Envelope::new(routes(), app.clone(), timeout, slow).authenticated(Arc::clone(&by));
    let mut own = own.switched();
    let mut beside: Vec<_> = beside.into_iter().map(|(dialect, place)| (dialect, place.prefix)).collect();
    if settings.ui.enabled {
        let inside = Inside::new(routes(), app.clone(), Arc::clone(&by));
        let ui = baton_dashboard::dashboard(app, inside);
        let ui = ui.map_err(|cause| StartError::Dialect { name: baton_dashboard::NAME, cause })?;
        beside.push((ui, String::new()));
    }
    if !beside.is_empty() {
        own = own.beside(Dialects::beside_baton(beside, Arc::clone(&by))?);
    }
    let mut dialects = Vec::with_capacity(alone.len());
    for (dialect, place) in alone {
        let name = dialect.name();
        let only = Dialects::alone(dialect, place.prefix, by.at(place.tokens_required))?;
        let service = Envelope::of_dialects(only, app, timeout);
        // A web page presents no token, so that only where none is needed it must be refused.
        let needs_token = place.tokens_required;
        dialects.push((name, if needs_token { service } else { service.refuse_foreign_pages() }));
    }
    Ok(Services { own, dialects })
}

/// How a socket is served, as settings say.
fn options(settings: &ServerSettings) -> ServeOptions {
    ServeOptions {
        max_connections: settings.max_connections,
        head_timeout: settings.head_timeout,
        answer_timeout: settings.answer_timeout,
        grace: settings.shutdown_grace,
    }
}

impl Server {
    /// Takes the addresses that the settings name; port 0 takes any free port. Before the store is opened, so that a taken
    /// port leaves no new file behind; whoever connects meanwhile waits for [`Server::serve`].
    ///
    /// # Errors
    /// If an address cannot be listened on.
    pub async fn listen(settings: &Settings) -> Result<Listening, StartError> {
        let own = Taken::new(settings.server.listen, "server.listen").await?;
        let mut dialects = Vec::new();
        for (name, place) in settings.dialects.places() {
            if let Some(addr) = place.listen {
                dialects.push((name, Taken::new(addr, &format!("dialects.{name}.listen")).await?));
            }
        }
        let keda = match settings.keda {
            Some(_) if !cfg!(feature = "keda") => return Err(StartError::NoKeda),
            Some(addr) => Some(Taken::new(addr, "keda.listen").await?),
            None => None,
        };
        Ok(Listening { own, dialects, keda })
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
        let listening = Self::listen(settings).await?;
        Self::serve(listening, settings, store, doorbell, clock, ids, Beside::default()).await
    }

    /// Serves on addresses that were taken before, as [`Server::start`] does.
    ///
    /// # Errors
    /// If a dialect cannot be spoken.
    pub async fn serve(
        listening: Listening,
        settings: &Settings,
        store: Arc<dyn Store>,
        doorbell: Arc<LocalDoorbell>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        beside: Beside,
    ) -> Result<Running, StartError> {
        let parts = Parts::configured(settings, store, doorbell, clock, ids);
        let Listener { spans, metrics } = beside.listener;
        let meters = Meters::default().with_spans(spans);
        let app = App::new(Parts { files: beside.files, fleet: beside.fleet, meters, ..parts });
        let shutdown = app.shutdown.clone();
        if let Err(error) = app.look_at_settings().await {
            tracing::warn!(
                error = error.report(),
                "the settings of the store could not be read; it is tried again, and those of the file hold until then"
            );
        }
        let options = options(&settings.server);
        let Services { mut own, dialects: others } = services(&app, settings)?;
        if settings.tokens.required {
            warn_without_operator(&app).await;
        } else {
            own = own.refuse_foreign_pages();
        }
        baton_reap_stale_workers::begin(&app).await;
        let Listening { own: Taken { listener, addr }, dialects: mut taken, keda } = listening;
        let serve =
            |listener, service| tokio::spawn(baton_http::serve(listener, service, shutdown.clone(), options));
        let mut serving = vec![serve(listener, own)];
        let mut dialects = Vec::with_capacity(others.len());
        for (name, service) in others {
            // The same settings have named both.
            let Some(at) = taken.iter().position(|(of, _)| *of == name) else { continue };
            let (_, Taken { listener, addr }) = taken.swap_remove(at);
            serving.push(serve(listener, service));
            dialects.push((name, addr));
            tracing::info!(%addr, dialect = name, "a dialect is spoken at an address of its own");
        }
        let keda = keda.map(|Taken { listener, addr }| {
            serving.extend(serve_keda(listener, &app, &shutdown));
            tracing::info!(%addr, pools = settings.scaling.len(), "KEDA's external scaler is served");
            addr
        });
        let life = Life(app.clone());
        let schedules = baton_reap_stale_workers::run_schedules(app.clone(), shutdown.clone());
        let supplies = baton_reap_stale_workers::run_supplies(app.clone(), shutdown.clone());
        let readings = baton_reap_stale_workers::run_readings(app.clone(), shutdown.clone());
        let untaken = baton_reap_stale_workers::run_untaken(app.clone(), shutdown.clone());
        let alerts = baton_manage_alerts::run_alerts(app.clone(), shutdown.clone());
        let private = settings.server.private_webhooks;
        let webhooks = baton_webhooks::run_webhooks(app.clone(), private, shutdown.clone());
        let bulk = baton_reap_stale_workers::run_bulk(app.clone(), shutdown.clone());
        let sweep = baton_manage_files::run_sweep(app.clone(), shutdown.clone());
        let archiving = archive(app.clone(), beside.archiver, shutdown.clone());
        let looks = baton_http::run_settings(app.clone(), shutdown.clone());
        let served = Shutdown::new();
        // Each on its own: who listens is not to stand in the reaper's way. They end last, so that they tell of the last requests.
        let telling = vec![
            tokio::spawn(baton_http::run_lookups(app.clone(), served.clone())),
            tokio::spawn(tell_metrics(app.clone(), metrics, served.clone())),
        ];
        let reaper = baton_reap_stale_workers::run_reaper(app.clone(), shutdown.clone());
        // All end with the shutdown; what is cut off of a bulk command, the next start goes on with.
        let reaper = tokio::spawn(async move {
            tokio::join!(
                reaper, schedules, supplies, readings, untaken, alerts, webhooks, bulk, archiving, sweep,
                looks
            );
            // Another server need not wait until it is over.
            if let Err(error) = app.notices.end_hold(&app).await {
                tracing::warn!(
                    error = error.report(),
                    "another server looks after alerts only in a while, as it could not be told that this one ends"
                );
            }
        });
        tracing::info!(%addr, tokens_required = settings.tokens.required, version = env!("CARGO_PKG_VERSION"), "server started");
        life.note(Happened::ServerStarted { version: env!("CARGO_PKG_VERSION").to_owned() }).await;
        let reaper = Some(reaper);
        Ok(Running { addr, dialects, keda, shutdown, serving, reaper, served, telling, life })
    }
}

/// Serves KEDA's external scaler, if this program has it: without it, no address is taken for it.
#[cfg(feature = "keda")]
fn serve_keda(listener: TcpListener, app: &App, shutdown: &Shutdown) -> Option<JoinHandle<bool>> {
    Some(tokio::spawn(baton_keda::serve(listener, app.clone(), shutdown.clone())))
}

#[cfg(not(feature = "keda"))]
fn serve_keda(_: TcpListener, _: &App, _: &Shutdown) -> Option<JoinHandle<bool>> {
    None
}

/// Hands figures on as often as is asked, and once more when all is served.
async fn tell_metrics(app: App, to: Option<(Duration, TakeMetrics)>, served: Shutdown) {
    let Some((every, to)) = to else { return };
    let mut last = false;
    while !last {
        last = tokio::select! {
            () = tokio::time::sleep(every) => false,
            () = served.wait() => true,
        };
        let told = async {
            match baton_show_metrics::text(&app).await {
                Ok(text) => to(text).await,
                Err(error) => error.log(),
            }
        };
        let too_late = async {
            served.wait().await;
            tokio::time::sleep(LAST_FIGURES).await;
        };
        tokio::select! {
            () = told => {}
            () = too_late => return,
        }
    }
}

async fn archive(app: App, archiver: Option<Archiver>, shutdown: Shutdown) {
    if let Some(archiver) = archiver {
        baton_reap_stale_workers::run_archiver(app, archiver, shutdown).await;
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

    /// Where each dialect listens that has an address of its own.
    pub fn dialects(&self) -> &[(&'static str, SocketAddr)] {
        &self.dialects
    }

    /// Where KEDA is told how many machines are wanted, if it is.
    pub fn keda(&self) -> Option<SocketAddr> {
        self.keda
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
        let mut answered = true;
        for serving in std::mem::take(&mut self.serving) {
            answered &= serving.await.unwrap_or(false);
        }
        if let Some(reaper) = self.reaper.take() {
            // Its panic has been logged, and concerns no request.
            let _ = reaper.await;
        }
        self.served.begin();
        for telling in std::mem::take(&mut self.telling) {
            if let Err(error) = telling.await {
                tracing::error!(%error, "spans or figures are told no more since then; nothing else has stopped");
            }
        }
        self.life.note(Happened::ServerEnded { answered }).await;
        tracing::info!(answered, "server stopped");
        answered
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.begin();
        self.served.begin();
    }
}
