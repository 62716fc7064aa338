//! What is done about each event: its trigger told by its shape, its handler run, its panic survived, and all that was
//! begun ended before the answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use baton_api::ProblemCode;
use baton_http::auth::Authority;
use baton_http::{ApiError, App, Authenticate, Authenticator, Envelope};
use baton_model::Timestamp;
use baton_runtime::settings::{QueueSettings, TokenSettings};
use baton_runtime::{Clock, Ids, Settings};
use baton_store::{Store, StoreError};
use baton_store_dynamodb::{DynamoStore, RecordsCounted};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;
use tower::Service;
use tracing::{Instrument, Span};

use crate::api_gateway::{self, Asked, HttpAnswer};
use crate::batch::{self, BatchAnswer};
use crate::counted::{Count, Counted, Counts};
use crate::doorbell::QueueDoorbell;
use crate::event::{Event, StreamRecord, Trigger};
use crate::function::{AuthorizerHandler, CountHandler, Function, ScheduleHandler, StreamHandler};
use crate::metrics::{self, Gauges, Measured};
use crate::queues::{Outgoing, Queues};

/// How long before its deadline a request is answered, so that its caller hears from Baton and not of a killed process.
const MARGIN: Duration = Duration::from_millis(500);

/// How long scheduled work may take if nobody says: some local runtimes set a deadline of 1970.
const BUDGET: Duration = Duration::from_secs(20);

/// No deadline lies further ahead: Lambda's longest.
const LONGEST: Duration = Duration::from_secs(900);

/// How many records of a stream are read at once.
const RECORDS_AT_ONCE: usize = 8;

/// What an invocation brings besides its event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Lambda's id of it.
    pub request_id: String,
    /// X-Ray's id of the trace that it belongs to.
    pub trace_id: Option<String>,
    /// When it is killed, if it is known.
    pub deadline: Option<Timestamp>,
}

/// What a function answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To a request.
    Http(HttpAnswer),
    /// To a batch of messages or records.
    Batch(BatchAnswer),
    /// To a schedule, which takes note of none.
    Scheduled(Scheduled),
    /// To API Gateway, whether a request may go on.
    Verdict(Value),
}

/// What was done on a schedule.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Scheduled {
    /// What its invocation answers.
    pub answer: Value,
    /// What it found.
    #[serde(skip)]
    pub gauges: Gauges,
}

impl Answer {
    fn gauges(&self) -> Gauges {
        match self {
            Self::Scheduled(done) => done.gauges.clone(),
            Self::Http(_) | Self::Batch(_) | Self::Verdict(_) => Gauges::new(),
        }
    }

    fn has_failed(&self) -> bool {
        match self {
            Self::Http(answer) => answer.status_code >= 500,
            Self::Batch(answer) => !answer.is_whole(),
            Self::Scheduled(_) | Self::Verdict(_) => false,
        }
    }
}

/// Why an invocation has failed as a whole; Lambda sends its event again, as its trigger does.
#[derive(Debug, thiserror::Error)]
#[error("{told}")]
pub struct Failed {
    kind: &'static str,
    told: String,
}

impl Failed {
    pub(crate) fn event(told: impl Into<String>) -> Self {
        Self { kind: "Baton.Event", told: told.into() }
    }

    fn settings(told: impl Into<String>) -> Self {
        Self { kind: "Baton.Settings", told: told.into() }
    }

    fn store(error: &StoreError) -> Self {
        Self { kind: "Baton.Store", told: error.report() }
    }

    fn problem(error: &ApiError) -> Self {
        error.log();
        Self { kind: "Baton.Problem", told: error.clone().into_problem().detail }
    }
}

impl From<Failed> for Diagnostic {
    fn from(failed: Failed) -> Self {
        Self { error_type: failed.kind.to_owned(), error_message: failed.told }
    }
}

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
}

/// A function that is ready for events.
pub struct Opened {
    pub(crate) app: App,
    pub(crate) queues: Option<Arc<dyn Queues>>,
    pub(crate) queue_settings: QueueSettings,
    pub(crate) counts: Arc<Counts>,
    service: Envelope<Authenticate<Router>>,
    /// Knows callers by their tokens, for an authorizer.
    authenticator: Arc<Authenticator>,
    doorbell: Arc<QueueDoorbell>,
    dynamo: Option<Arc<DynamoStore>>,
}

impl Opened {
    fn new(function: &Function, services: Services) -> Self {
        let Services { settings, store, dynamo, doorbell, queues, clock, ids } = services;
        let counts = Arc::new(Counts::default());
        let store: Arc<dyn Store> = Arc::new(Counted::new(store, Arc::clone(&counts)));
        let app = App::configured(&settings, store, doorbell.local(), clock, ids);
        let timeout = settings.server.request_timeout;
        // A request comes through an authorizer, and whom that vouches for is the caller: a header that got past it says
        // nothing.
        let service = Envelope::new((function.router)(), app.clone(), timeout, function.slow.clone())
            .authenticated(Authority::Authorizer(app.clone()));
        let tokens = TokenSettings { required: true, ..settings.tokens };
        let authenticator = Authenticator::new(app.clone(), tokens);
        let queue_settings = settings.queues;
        Self { app, queues, queue_settings, counts, service, authenticator, doorbell, dynamo }
    }

    /// Whether a claim waits for work.
    pub fn waits(&self) -> bool {
        self.app.doorbell.waiting() > 0
    }

    /// Ends what was begun: rings are sent, counts are written. What fails delays a claim or dims a statistic.
    async fn settle(&self) {
        let written = async {
            match &self.dynamo {
                Some(store) => store.flush().await,
                None => Ok(()),
            }
        };
        let ((), written) = futures::join!(self.doorbell.settle(), written);
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

/// Opens what a function works with.
pub type Opening = Box<dyn Fn() -> BoxFuture<'static, Result<Services, StoreError>> + Send + Sync>;

/// A function and what it works with.
pub struct Host {
    function: Function,
    opening: Opening,
    opened: OnceCell<Opened>,
    clock: Arc<dyn Clock>,
    warm: AtomicBool,
    tell: Tell,
    table: Option<String>,
}

/// Hears what each invocation measured, as one line.
type Tell = Box<dyn Fn(&str) + Send + Sync>;

impl Host {
    /// A function that is opened by its first event, or by [`Host::open`].
    pub fn new(function: Function, clock: Arc<dyn Clock>, opening: Opening) -> Self {
        Self {
            function,
            opening,
            opened: OnceCell::new(),
            clock,
            warm: AtomicBool::new(false),
            tell: Box::new(metrics::tell),
            table: None,
        }
    }

    /// Names the table that it works on, by which its metrics are told from those of other stacks.
    #[must_use]
    pub fn on_table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// Has metrics told to someone else than stdout.
    #[must_use]
    pub fn metrics_to(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// Opens it if it is not open. After a failure the next event tries again.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(&self) -> Result<&Opened, StoreError> {
        self.opened
            .get_or_try_init(|| async { Ok(Opened::new(&self.function, (self.opening)().await?)) })
            .await
    }

    /// Does what an event asks for.
    ///
    /// # Errors
    /// If the invocation is to count as failed, and its event is to come again as its trigger's settings say.
    pub async fn handle(&self, event: &str, invocation: &Invocation) -> Result<Answer, Failed> {
        let began = Instant::now();
        let cold = !self.warm.swap(true, Ordering::Relaxed);
        let trigger = Trigger::read(event).map_err(Failed::event);
        let route = route(trigger.as_ref().ok());
        let span = self.span(trigger.as_ref().ok(), invocation, cold);
        let answered = async {
            let answered = match trigger {
                Ok(trigger) => self.dispatch(trigger, invocation).await,
                Err(failed) => Err(failed),
            };
            if let Some(opened) = self.opened.get() {
                opened.settle().await;
            }
            if let Err(failed) = &answered {
                tracing::error!(error = failed.told, kind = failed.kind, "an invocation failed");
            }
            answered
        };
        let answered = answered.instrument(span).await;
        let measured = Measured {
            function: self.function.name.to_owned(),
            route,
            millis: began.elapsed().as_secs_f64() * 1e3,
            failed: answered.as_ref().map_or(true, Answer::has_failed),
            cold,
            counts: self.opened.get().map(|opened| opened.counts.take()).unwrap_or_default(),
            table: self.table.clone(),
            gauges: answered.as_ref().map(Answer::gauges).unwrap_or_default(),
        };
        (self.tell)(&measured.line(self.clock.now(), &invocation.request_id));
        answered
    }

    /// The fields that each line of an invocation has. A request's envelope adds `request_id` by itself: Lambda's, or
    /// the caller's own, and then Lambda's is told besides.
    fn span(&self, trigger: Option<&Trigger<'_>>, invocation: &Invocation, cold: bool) -> Span {
        let header = |name: &str| match trigger {
            Some(Trigger::Http(event)) => header(event, name),
            _ => None,
        };
        let is_request = matches!(trigger, Some(Trigger::Http(_)));
        let id = Some(invocation.request_id.as_str());
        tracing::info_span!(
            "invocation",
            request_id = id.filter(|_| !is_request),
            invocation_id = id.filter(|_| header("x-request-id").is_some()),
            function = self.function.name,
            cold_start = cold.then_some(true),
            xray_trace_id = invocation.trace_id.as_deref(),
            traceparent = header("traceparent"),
        )
    }

    async fn dispatch(&self, trigger: Trigger<'_>, invocation: &Invocation) -> Result<Answer, Failed> {
        let opened = self.open().await;
        match (trigger, &self.function) {
            (Trigger::Http(event), _) => {
                let answer = match opened {
                    Ok(opened) => self.request(opened, *event, invocation).await,
                    Err(error) => HttpAnswer::problem(&ApiError::from(error)),
                };
                Ok(Answer::Http(answer))
            }
            (Trigger::Authorization(event), Function { authorizer: Some(handler), .. }) => {
                let opened = opened.map_err(|error| Failed::store(&error))?;
                judge(opened, handler, *event).await.map(Answer::Verdict)
            }
            (Trigger::Queue(records), Function { messages: Some(handler), .. }) => {
                let opened = opened.map_err(|error| Failed::store(&error))?;
                batch::handle(opened, handler, records).await.map(Answer::Batch)
            }
            (Trigger::Stream(records), Function { stream: Some(handler), counting, .. }) => {
                let opened = opened.map_err(|error| Failed::store(&error))?;
                relay(opened, handler, counting.as_ref(), records).await.map(Answer::Batch)
            }
            (Trigger::Other, Function { schedule: Some(handler), .. }) => {
                let opened = opened.map_err(|error| Failed::store(&error))?;
                self.scheduled(opened, handler, invocation).await
            }
            (other, function) => {
                let got = match other {
                    Trigger::Authorization(_) => "a question for an authorizer",
                    Trigger::Queue(_) => "messages of a queue",
                    Trigger::Stream(_) => "records of a stream",
                    Trigger::Other | Trigger::Http(_) => "an event of another shape",
                };
                let told = format!(
                    "expected an event that {} takes, got {got}; see events/ for those",
                    function.name
                );
                Err(Failed::event(told))
            }
        }
    }

    /// The time that is left, if the deadline makes sense.
    fn left(&self, invocation: &Invocation) -> Option<Duration> {
        let left = invocation.deadline?.since(self.clock.now());
        (!left.is_zero() && left <= LONGEST).then_some(left)
    }

    async fn request(&self, opened: &Opened, event: Event<'_>, invocation: &Invocation) -> HttpAnswer {
        let request = match api_gateway::request(event, &invocation.request_id) {
            Ok(request) => request,
            Err(problem) => return HttpAnswer::problem(&problem),
        };
        let mut service = opened.service.clone();
        let answering = async {
            tokio::select! {
                biased;
                Ok(response) = service.call(request) => HttpAnswer::of(response).await,
                () = opened.doorbell.hear() => HttpAnswer::problem(&given_up()),
            }
        };
        let patience = self.left(invocation).map(|left| left.saturating_sub(MARGIN).max(left / 2));
        match patience {
            Some(patience) => match tokio::time::timeout(patience, answering).await {
                Ok(answer) => answer,
                Err(_) => HttpAnswer::problem(&given_up()),
            },
            None => answering.await,
        }
    }

    async fn scheduled(
        &self,
        opened: &Opened,
        handler: &ScheduleHandler,
        invocation: &Invocation,
    ) -> Result<Answer, Failed> {
        // A command that was begun within the budget needs some time to end.
        let budget = self.left(invocation).map_or(BUDGET, |left| left.mul_f64(0.8));
        let done = handler(opened.app.clone(), budget).await.map_err(|error| Failed::store(&error))?;
        let (answer, gauges) = done;
        Ok(Answer::Scheduled(Scheduled { answer, gauges }))
    }
}

fn given_up() -> ApiError {
    let detail = "the function's time was over before the request was answered; it may have been done: look, or send it \
                  again, which is safe with an Idempotency-Key or a chosen id";
    ApiError::new(ProblemCode::RequestTimeout, detail)
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("function", &self.function.name).finish_non_exhaustive()
    }
}

/// The metrics' name of what was asked. API Gateway names the route; where it does not, all are one.
fn route(trigger: Option<&Trigger<'_>>) -> String {
    match trigger {
        Some(Trigger::Http(event)) => event.route_key.as_deref().unwrap_or("$default"),
        // One for all routes, as each is a set of metrics that is billed; the functions tell them apart.
        Some(Trigger::Authorization(_)) => "authorizer",
        Some(Trigger::Queue(_)) => "queue",
        Some(Trigger::Stream(_)) => "stream",
        Some(Trigger::Other) => "schedule",
        None => "unknown",
    }
    .to_owned()
}

/// A header's value; API Gateway gives names in small letters.
fn header<'a>(event: &'a Event<'_>, name: &str) -> Option<&'a str> {
    event.headers.as_ref()?.get(name).map(|value| &**value)
}

/// Has a request judged. Whatever goes wrong is no answer, and API Gateway lets nobody through then.
async fn judge(opened: &Opened, handler: &AuthorizerHandler, event: Event<'_>) -> Result<Value, Failed> {
    let by = Arc::clone(&opened.authenticator);
    handler(by, Asked::of(event)).await.map_err(|error| Failed::problem(&error))
}

/// Relays records in their order, and counts those whose messages are sent, up to the first that cannot be: that and all
/// after it come again.
async fn relay(
    opened: &Opened,
    handler: &StreamHandler,
    counting: Option<&CountHandler>,
    records: Vec<&RawValue>,
) -> Result<BatchAnswer, Failed> {
    let Some(store) = &opened.dynamo else {
        return Err(Failed::settings("expected a table as the store, got a file; set BATON_STORE_URL"));
    };
    let Some((queues, queue)) = opened.queues.as_ref().zip(opened.queue_settings.task_events.as_ref()) else {
        return Err(Failed::settings(
            "expected the URL of the queue task-events, got none; set BATON_QUEUES_TASK_EVENTS",
        ));
    };
    let numbers = records.iter().map(|record| {
        let record: StreamRecord<'_> = serde_json::from_str(record.get())
            .map_err(|error| Failed::event(format!("a record of a stream cannot be read: {error}")))?;
        Ok(record.dynamodb.sequence_number.into_owned())
    });
    let numbers = numbers.collect::<Result<Vec<String>, Failed>>()?;
    let made = futures::stream::iter(&records)
        .map(|record| AssertUnwindSafe(handler(Arc::clone(store), record.get().to_owned())).catch_unwind())
        .buffered(RECORDS_AT_ONCE);
    let mut made = std::pin::pin!(made);
    let mut outgoing = Vec::new();
    let mut places = Vec::new();
    let mut first_undone = None;
    for (place, sequence) in numbers.iter().enumerate() {
        match made.next().await {
            Some(Ok(Ok(messages))) => {
                places.extend(messages.iter().map(|_| place));
                outgoing.extend(messages.into_iter().map(|body| Outgoing { body, ..Outgoing::default() }));
            }
            Some(Ok(Err(error))) => {
                let error = error.report();
                tracing::error!(
                    sequence = numbers[place],
                    error,
                    "a record of the stream could not be relayed"
                );
                first_undone = Some(place);
                break;
            }
            Some(Err(_)) | None => {
                tracing::error!(sequence, "the handler of a record of the stream panicked");
                first_undone = Some(place);
                break;
            }
        }
    }
    let mut relayed = 0;
    for (outcome, place) in queues.send(queue, &outgoing).await.into_iter().zip(places) {
        match outcome {
            Ok(()) => relayed += 1,
            Err(error) => {
                tracing::error!(sequence = numbers[place], %error, "the queue task-events did not take an event");
                first_undone = Some(first_undone.map_or(place, |first: usize| first.min(place)));
            }
        }
    }
    opened.counts.add(Count::Relayed, relayed);
    if let Some(count) = counting {
        let sent = &records[..first_undone.unwrap_or(records.len())];
        let sent = sent.iter().map(|record| record.get().to_owned()).collect();
        let counted = AssertUnwindSafe(count(Arc::clone(store), sent)).catch_unwind().await;
        let (done, failed) = match counted {
            Ok(RecordsCounted { records, failed }) => (records, failed),
            // The panic itself is in the log. What was counted before it is known again.
            Err(_) => (0, Some(StoreError::Unknown("the counting panicked".into()))),
        };
        if let Some(error) = failed {
            let sequence = numbers.get(done);
            tracing::error!(sequence, error = error.report(), "records of the stream could not be counted");
            first_undone = Some(done);
        }
    }
    Ok(BatchAnswer::again(first_undone.and_then(|place| numbers.into_iter().nth(place))))
}
