//! What a function works with: its store, its queues, its doorbell, and its routes over them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_files::Files;
use baton_http::auth::{Authority, BehindAuthorizer};
use baton_http::dialect::Switch;
use baton_http::{App, Authenticator, Dialect, Dialects, Envelope, Parts, Timeout};
use baton_runtime::settings::{QueueSettings, TokenSettings};
use baton_runtime::{Clock, Ids, Settings};
use baton_store::{Archiver, Store, StoreError};
use baton_store_dynamodb::DynamoStore;
use futures::StreamExt as _;
use futures::future::BoxFuture;

use crate::counted::Counts;
use crate::doorbell::QueueDoorbell;
use crate::function::Function;
use crate::queues::Queues;

/// How old a look at the settings of the store may be before an event.
const LOOK_EVERY: Duration = Duration::from_secs(4);

/// How long an event waits for such a look.
const PATIENCE: Duration = Duration::from_secs(1);

/// Of how many queues it is asked at the same time whether a claim waits.
const AT_ONCE: usize = 16;

/// What a function works with, as it is opened.
pub struct Services {
    /// The settings.
    pub settings: Settings,
    /// The store, which rings `doorbell`.
    pub store: Arc<dyn Store>,
    /// The same store, where it is a table: its counts are written before each answer, and its stream is relayed.
    pub dynamo: Option<Arc<DynamoStore>>,
    /// The doorbell.
    pub doorbell: Arc<QueueDoorbell>,
    /// The queues, if there are any.
    pub queues: Option<Arc<dyn Queues>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// What archives the table's finished tasks, if the function does so.
    pub archiver: Option<Archiver>,
    /// Where files lie, if the function has a place for them.
    pub files: Option<Arc<dyn Files>>,
}

/// A function that is ready for events.
pub struct Opened {
    pub(crate) app: App,
    pub(crate) queues: Option<Arc<dyn Queues>>,
    pub(crate) queue_settings: QueueSettings,
    pub(crate) counts: Arc<Counts>,
    pub(crate) service: Envelope<Switch>,
    /// Knows callers by their tokens: for an authorizer, and for a dialect.
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) doorbell: Arc<QueueDoorbell>,
    pub(crate) dynamo: Option<Arc<DynamoStore>>,
    /// What archives finished tasks on the function's schedule.
    pub(crate) archiver: Option<Archiver>,
    /// When the settings of the store were looked at last, by what has passed on the clock.
    looked: Mutex<Option<Duration>>,
}

impl Opened {
    pub(crate) fn new(function: &Function, services: Services) -> Self {
        let Services { settings, store, dynamo, doorbell, queues, clock, ids, archiver, files } = services;
        let is_left = archiver.is_none() && dynamo.as_ref().is_some_and(|store| store.is_archived());
        if function.archive.is_some() && is_left {
            tracing::warn!(
                "the table's finished tasks are archived, and this function has no archive: they are kept until one with archive.url, or a \
                 server with it, archives them; `baton table end-archiving` has them removed without"
            );
        }
        let counts = Arc::new(Counts::default());
        let parts = Parts::configured(&settings, store, doorbell.local(), clock, ids);
        let app = App::new(Parts { files, ..parts });
        // It hears its own requests only, and is frozen between them.
        app.timekeeper.hear_by_others();
        let (service, authenticator) = match function.dialect {
            Some(dialect) => speaking(dialect(&app, &settings), &app, &settings),
            None => routed(function, &app, &settings),
        };
        let queue_settings = settings.queues;
        let looked = Mutex::default();
        Self {
            app,
            queues,
            queue_settings,
            counts,
            service,
            authenticator,
            doorbell,
            dynamo,
            archiver,
            looked,
        }
    }

    /// Goes by the settings that the store keeps. Looks for them before an event if the last look is older than [`LOOK_EVERY`]: between
    /// its events a function is frozen, and may not look by itself. What is in force stays so if they cannot be read.
    pub(crate) async fn look_at_settings(&self) {
        let now = self.app.clock.reading().passed;
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|at| now.saturating_sub(at) < LOOK_EVERY) {
                return;
            }
            *looked = Some(now);
        }
        match tokio::time::timeout(PATIENCE, self.app.look_at_settings()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                error = error.report(),
                "the settings of the store could not be read; those in force stay so"
            ),
            Err(_) => {
                tracing::warn!("the settings of the store were not read in time; those in force stay so")
            }
        }
    }

    /// Whether a claim waits for work.
    pub fn waits(&self) -> bool {
        self.app.doorbell.waiting() > 0
    }

    /// Drops rings that nobody waits for. Where that cannot be told, they are sent.
    async fn hush(&self) {
        let Some(store) = &self.dynamo else { return };
        let each = |queue| async move {
            match store.is_waited_for(&queue, self.app.clock.now()).await {
                Ok(true) => {}
                Ok(false) => self.doorbell.hush(&queue),
                Err(error) => {
                    tracing::warn!(%queue, error = error.report(), "it could not be read whether a claim waits");
                }
            }
        };
        futures::stream::iter(self.doorbell.rung_now()).for_each_concurrent(AT_ONCE, each).await;
    }

    /// Ends what was begun: rings are sent, counts and the uses of tokens are written. What fails delays a claim or dims a statistic.
    pub(crate) async fn settle(&self) {
        let rings = async {
            self.hush().await;
            self.doorbell.settle().await;
        };
        let written = async {
            match &self.dynamo {
                Some(store) => store.flush().await,
                None => Ok(()),
            }
        };
        let ((), written, ()) = futures::join!(rings, written, self.authenticator.settle());
        if let Err(error) = written {
            tracing::warn!(error = error.report(), "counts could not be written; statistics may be off");
        }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("queues", &self.queue_settings).finish_non_exhaustive()
    }
}

/// Tokens as functions look at them: each request needs one.
fn tokens(settings: &Settings) -> TokenSettings {
    TokenSettings { required: true, ..settings.tokens }
}

/// A function's own routes. A request comes through an authorizer, and whom that vouches for is the caller: a header that got past it
/// says nothing.
fn routed(function: &Function, app: &App, settings: &Settings) -> (Envelope<Switch>, Arc<Authenticator>) {
    let by = BehindAuthorizer::new(app.clone());
    let service = Envelope::new((function.router)(), app.clone(), Timeout::OfSettings, function.slow.clone());
    let service = service.authenticated(Authority::Authorizer(by)).switched();
    (service, Authenticator::uncounted(app.clone(), tokens(settings)))
}

/// A dialect's routes, before which there is no authorizer.
fn speaking(dialect: Dialect, app: &App, settings: &Settings) -> (Envelope<Switch>, Arc<Authenticator>) {
    let by = Authenticator::new(app.clone(), tokens(settings));
    let only = Dialects::only(dialect, Arc::clone(&by));
    (Envelope::of_dialects(only, app, Timeout::OfSettings), by)
}

/// Opens what a function works with.
pub type Opening = Box<dyn Fn() -> BoxFuture<'static, Result<Services, StoreError>> + Send + Sync>;
