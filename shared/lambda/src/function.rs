//! What a function's binary says of itself: its name, its routes, and what triggers it besides requests.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baton_api::ProblemCode;
use baton_api::event::CloudEvent;
use baton_files::{Cause, Files};
use baton_http::{ApiError, App, Authenticator, Dialect, Message};
use baton_model::{Place, Timestamp};
use baton_runtime::Settings;
use baton_runtime::settings::QueueSettings;
use baton_store::{Archive, Archiver, StoreError};
use baton_store_dynamodb::{DynamoStore, RecordsCounted, TaskEvent};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;

use crate::api_gateway::Asked;
use crate::metrics::Gauges;

/// A function, as its binary describes it.
pub struct Function {
    pub(crate) name: &'static str,
    pub(crate) router: fn() -> OpenApiRouter<App>,
    pub(crate) slow: Vec<(&'static str, Duration)>,
    pub(crate) messages: Option<MessageHandler>,
    pub(crate) stream: Option<StreamHandler>,
    pub(crate) releasing: Option<ReleaseHandler>,
    pub(crate) notifying: Option<Box<dyn Notify>>,
    pub(crate) counting: Option<CountHandler>,
    pub(crate) schedule: Option<ScheduleHandler>,
    pub(crate) archive: Option<OpenArchive>,
    pub(crate) files: Option<OpenFiles>,
    pub(crate) authorizer: Option<AuthorizerHandler>,
    pub(crate) dialect: Option<fn(&App, &Settings) -> Dialect>,
}

/// What handles messages of a queue.
pub(crate) struct MessageHandler {
    /// The queue for messages that can never succeed.
    pub(crate) dead: fn(&QueueSettings) -> Option<String>,
    pub(crate) handle: HandleMessage,
}

type HandleMessage = Box<dyn Fn(App, Message) -> BoxFuture<'static, Result<(), ApiError>> + Send + Sync>;

/// What tells of records of the table's stream.
pub(crate) struct StreamHandler {
    /// Reads the events of a record, given as its JSON.
    pub(crate) read: ReadRecord,
    /// The message of an event for the queue `task-events`.
    pub(crate) message: fn(TaskEvent) -> CloudEvent,
}

type ReadRecord = Box<
    dyn Fn(Arc<DynamoStore>, String) -> BoxFuture<'static, Result<Vec<TaskEvent>, StoreError>> + Send + Sync,
>;

/// Keeps events of tasks for those that hear of them otherwise than by the queue `task-events`.
#[async_trait]
pub trait Notify: Send + Sync {
    /// Whether there is anybody.
    ///
    /// # Errors
    /// The store's.
    async fn is_heard(&self, app: &App) -> Result<bool, StoreError>;

    /// Keeps what they are to hear of events, in their order.
    ///
    /// # Errors
    /// The store's: the events come again.
    async fn notify(&self, app: &App, events: Vec<TaskEvent>) -> Result<(), StoreError>;
}

/// What lets go, at a time, of tasks that wait for the one of a record of the table's stream, given as its JSON.
pub(crate) type ReleaseHandler = Box<
    dyn Fn(Arc<DynamoStore>, String, Timestamp) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync,
>;

/// What counts records of the table's stream, given as their JSON, once their messages are sent.
pub(crate) type CountHandler =
    Box<dyn Fn(Arc<DynamoStore>, Vec<String>) -> BoxFuture<'static, RecordsCounted> + Send + Sync>;

/// What judges requests before they reach their functions.
pub(crate) type AuthorizerHandler =
    Box<dyn Fn(Arc<Authenticator>, Asked) -> BoxFuture<'static, Result<Value, ApiError>> + Send + Sync>;

/// What was done on a schedule, what was found, and how many machines each pool should have.
pub(crate) type Found = (Value, Gauges, BTreeMap<String, f64>);

/// What is given to what is done on a schedule.
pub struct Tick {
    /// What handlers work with.
    pub app: App,
    /// Within which time it is to be done.
    pub budget: Duration,
    /// What archives the table's finished tasks, if the function does so.
    pub archiver: Option<Archiver>,
}

/// What is done on a schedule, within a time.
pub(crate) type ScheduleHandler =
    Box<dyn Fn(Tick) -> BoxFuture<'static, Result<Found, StoreError>> + Send + Sync>;

/// Opens the archive at a place, or says why it cannot.
pub type OpenArchive = fn(&Place) -> Result<Arc<dyn Archive>, String>;

/// Opens the files at a place, or says why it cannot.
pub type OpenFiles = fn(&Place) -> Result<Arc<dyn Files>, Cause>;

impl Function {
    /// A function of this name with these routes.
    pub fn new(name: &'static str, router: fn() -> OpenApiRouter<App>) -> Self {
        Self {
            name,
            router,
            slow: Vec::new(),
            messages: None,
            stream: None,
            releasing: None,
            notifying: None,
            counting: None,
            schedule: None,
            archive: None,
            files: None,
            authorizer: None,
            dialect: None,
        }
    }

    /// A function of this name that speaks a dialect, and has no routes of Baton's own. It knows its callers by itself, by the tokens
    /// that they bring where the dialect says, as that dialect's old clients know no authorizer's words
    /// (`docs/decisions/0040-a-dialect-on-lambda-knows-its-callers-itself.md`).
    pub fn speaking(name: &'static str, dialect: fn(&App, &Settings) -> Dialect) -> Self {
        Self { dialect: Some(dialect), ..Self::new(name, OpenApiRouter::default) }
    }

    /// A path whose requests may take longer than others, and by how much.
    #[must_use]
    pub fn slow(mut self, slow: (&'static str, Duration)) -> Self {
        self.slow.push(slow);
        self
    }

    /// Takes messages of a queue. Those that are refused for good ([`ApiError::may_pass`] says whether) go to the queue
    /// `dead`.
    #[must_use]
    pub fn messages<F>(
        mut self,
        dead: fn(&QueueSettings) -> Option<String>,
        handle: impl Fn(App, Message) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), ApiError>> + Send + 'static,
    {
        let handle = Box::new(move |app, message| handle(app, message).boxed());
        self.messages = Some(MessageHandler { dead, handle });
        self
    }

    /// Takes records of the table's stream, each as its JSON, and reads the events that they bring, whose messages are for the queue
    /// `task-events`.
    #[must_use]
    pub fn stream<F>(
        mut self,
        read: impl Fn(Arc<DynamoStore>, String) -> F + Send + Sync + 'static,
        message: fn(TaskEvent) -> CloudEvent,
    ) -> Self
    where
        F: Future<Output = Result<Vec<TaskEvent>, StoreError>> + Send + 'static,
    {
        let read: ReadRecord = Box::new(move |store, record| read(store, record).boxed());
        self.stream = Some(StreamHandler { read, message });
        self
    }

    /// Keeps the events of records for those that hear of them otherwise than by the queue. Records of which it fails come again.
    #[must_use]
    pub fn notifying(mut self, notify: impl Notify + 'static) -> Self {
        self.notifying = Some(Box::new(notify));
        self
    }

    /// Lets go of what waits for the task of each record of the table's stream. A record of which it fails comes again.
    #[must_use]
    pub fn releasing<F>(
        mut self,
        release: impl Fn(Arc<DynamoStore>, String, Timestamp) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        self.releasing = Some(Box::new(move |store, record, now| release(store, record, now).boxed()));
        self
    }

    /// Counts records of the table's stream whose messages are sent, and says how many from the first on. The others come
    /// again.
    #[must_use]
    pub fn counting<F>(
        mut self,
        count: impl Fn(Arc<DynamoStore>, Vec<String>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = RecordsCounted> + Send + 'static,
    {
        self.counting = Some(Box::new(move |store, records| count(store, records).boxed()));
        self
    }

    /// Does something on a schedule, within the time that it is given, and tells what it did, and what it found.
    #[must_use]
    pub fn schedule<F>(mut self, handle: impl Fn(Tick) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Found, StoreError>> + Send + 'static,
    {
        self.schedule = Some(Box::new(move |tick| handle(tick).boxed()));
        self
    }

    /// Archives finished tasks on its schedule, where the settings name a place for them (`archive.url`).
    #[must_use]
    pub fn archiving(mut self, open: OpenArchive) -> Self {
        self.archive = Some(open);
        self
    }

    /// Has a place for files, where the settings name one (`files.url`). Functions that do not say so are built without what speaks to it.
    #[must_use]
    pub fn with_files(mut self, open: OpenFiles) -> Self {
        self.files = Some(open);
        self
    }

    /// Judges requests for API Gateway before they reach their functions. Each needs a token, unless its route is open.
    /// An error answers nothing, so that nobody is let through.
    #[must_use]
    pub fn authorizer<F, V>(
        mut self,
        handle: impl Fn(Arc<Authenticator>, Asked) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<V, ApiError>> + Send + 'static,
        V: Serialize,
    {
        self.authorizer = Some(Box::new(move |by, asked| {
            let judged = handle(by, asked);
            async move { serde_json::to_value(judged.await?).map_err(|_| unwritable()) }.boxed()
        }));
        self
    }
}

fn unwritable() -> ApiError {
    ApiError::new(ProblemCode::Internal, "the verdict cannot be written as JSON; tell an operator")
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("name", &self.name).finish_non_exhaustive()
    }
}
