//! What is done about each event: its trigger told by its shape, its handler run, its panic survived, and all that was
//! begun ended before the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_api::ProblemCode;
use baton_http::ApiError;
use baton_runtime::Clock;
use baton_store::StoreError;
use baton_store_dynamodb::PassedOver;
use serde_json::Value;
use tokio::sync::OnceCell;
use tower::Service;
use tracing::{Instrument, Span};

use crate::answer::{Answer, Failed, Invocation, Scheduled};
use crate::api_gateway::{self, Asked, HttpAnswer};
use crate::batch;
use crate::event::{Event, Trigger};
use crate::function::{AuthorizerHandler, Function, ScheduleHandler, Tick};
use crate::metrics::{self, Gauges, Measured};
use crate::opened::{Opened, Opening};
use crate::relay::{self, Handlers};

/// How long before its deadline a request is answered, so that its caller hears from Baton and not of a killed process.
const MARGIN: Duration = Duration::from_millis(500);

/// How long scheduled work may take if nobody says: some local runtimes set a deadline of 1970.
const BUDGET: Duration = Duration::from_secs(20);

/// No deadline lies further ahead: Lambda's longest.
const LONGEST: Duration = Duration::from_secs(900);

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

/// Hears what an invocation measured, as one line, if that is more than AWS counts.
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
        let cold = !self.warm.swap(true, Ordering::Relaxed);
        let trigger = Trigger::read(event).map_err(Failed::event);
        let route = route(trigger.as_ref().ok());
        let id = match &trigger {
            Ok(Trigger::Http(event)) => api_gateway::id(event, &invocation.request_id).to_owned(),
            _ => invocation.request_id.clone(),
        };
        let span = self.span(trigger.as_ref().ok(), invocation, &id, cold);
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
            failed: answered.as_ref().map_or(true, Answer::has_failed),
            counts: self.opened.get().map(|opened| opened.counts.take()).unwrap_or_default(),
            table: self.table.clone(),
            gauges: self.gauges(&answered),
            pools: answered.as_ref().map(Answer::pools).unwrap_or_default(),
        };
        if let Some(line) = measured.line(self.clock.now(), &id) {
            (self.tell)(&line);
        }
        for line in measured.pool_lines(self.clock.now(), &id) {
            (self.tell)(&line);
        }
        answered
    }

    /// What a schedule found, and, where it happened, what the store has passed over: by the table alone, whichever function
    /// has met it, so that one alarm hears of all.
    fn gauges(&self, answered: &Result<Answer, Failed>) -> Gauges {
        let mut gauges = answered.as_ref().map(Answer::gauges).unwrap_or_default();
        let store = self.opened.get().and_then(|opened| opened.dynamo.as_ref());
        let PassedOver { damaged, uncounted } =
            store.map(|store| store.take_passed_over()).unwrap_or_default();
        for (name, count) in [("DamagedItems", damaged), ("UncountedItems", uncounted)] {
            if count > 0 {
                gauges.insert(name, count as f64);
            }
        }
        gauges
    }

    /// The fields that each line of an invocation has; its function is named by its log group. A request's envelope adds
    /// `request_id` by itself: this `id`, or the caller's own, and then this one is told besides.
    fn span(&self, trigger: Option<&Trigger<'_>>, invocation: &Invocation, id: &str, cold: bool) -> Span {
        let header = |name: &str| match trigger {
            Some(Trigger::Http(event)) => header(event, name),
            _ => None,
        };
        let is_request = matches!(trigger, Some(Trigger::Http(_)));
        let id = Some(id);
        tracing::info_span!(
            "invocation",
            request_id = id.filter(|_| !is_request),
            invocation_id = id.filter(|_| header("x-request-id").is_some()),
            cold_start = cold.then_some(true),
            // Nobody keeps a trace that is not sampled.
            xray_trace_id = invocation.trace_id.as_deref().filter(|trace| trace.contains("Sampled=1")),
            traceparent = header("traceparent"),
        )
    }

    async fn dispatch(&self, trigger: Trigger<'_>, invocation: &Invocation) -> Result<Answer, Failed> {
        let opened = self.open().await;
        match (trigger, &self.function) {
            (Trigger::Http(event), _) => {
                let answer = match opened {
                    Ok(opened) => {
                        opened.look_at_settings().await;
                        self.request(opened, *event, invocation).await
                    }
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
                opened.look_at_settings().await;
                batch::handle(opened, handler, records).await.map(Answer::Batch)
            }
            (
                Trigger::Stream(records),
                Function { stream: Some(tell), releasing, notifying, counting, .. },
            ) => {
                let opened = opened.map_err(|error| Failed::store(&error))?;
                let handlers = Handlers {
                    tell,
                    release: releasing.as_ref(),
                    notify: notifying.as_deref(),
                    count: counting.as_ref(),
                };
                relay::relay(opened, handlers, records).await.map(Answer::Batch)
            }
            (Trigger::Other, Function { schedule: Some(handler), .. }) => {
                let opened = opened.map_err(|error| Failed::store(&error))?;
                opened.look_at_settings().await;
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
        let id = api_gateway::id(&event, &invocation.request_id).to_owned();
        let request = match api_gateway::request(event, &id) {
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
        let tick = Tick { app: opened.app.clone(), budget, archiver: opened.archiver.clone() };
        let done = handler(tick).await.map_err(|error| Failed::store(&error))?;
        let (answer, gauges, pools) = done;
        Ok(Answer::Scheduled(Scheduled { answer, gauges, pools }))
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
