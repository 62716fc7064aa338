//! Tells an OpenTelemetry collector of spans and figures, by OTLP over HTTP, as the standard variables `OTEL_…` say (`docs/traces.md`).
//!
//! Nobody waits for it: spans come through a bounded queue (`baton_runtime::spans`), batches go one after the other, and what the collector
//! does not take in time is dropped, counted and said in the log.

mod encode;
mod figures;
mod send;
mod settings;
mod stop;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use baton_runtime::spans::{Span, Spans, TakeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::send::{Sender, Sent};
pub use crate::settings::{Batches, Settings, Target, Tells};
use crate::stop::{Stop, Stopped};

/// How often it is said at most that spans are dropped.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What is being told.
type Telling = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Exports what a process tells of its work.
pub struct Exporter {
    spans: Option<(Arc<Spans>, JoinHandle<()>)>,
    metrics: Option<(Duration, TakeMetrics)>,
    stop: Stop,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// Exports as the variables say; none if nobody is to be told. What is wrong with a variable goes to the log: a task system does not
    /// stand still for want of its spans. `service` is what the process is called unless a variable names it.
    pub fn of_environment(service: &str, tells: Tells) -> Option<Self> {
        let settings = Settings::read(service, tells, |name| std::env::var(name).ok());
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        Self::start(settings)
    }

    /// Exports as the settings say; none if nobody is to be told.
    pub fn start(settings: Settings) -> Option<Self> {
        let Settings { traces, metrics, resource, sampler, batches, metrics_every, warnings: _ } = settings;
        if traces.is_none() && metrics.is_none() {
            return None;
        }
        let (stop, stopped) = Stop::new();
        let resource = Arc::new(resource);
        let spans = traces.and_then(|target| {
            let sender = sender("spans", target, batches.patience, stopped.clone())?;
            let (spans, queue) = Spans::new(sampler, batches.queue);
            let told = Arc::clone(&spans);
            let (resource, stopped) = (Arc::clone(&resource), stopped.clone());
            let export = Export { spans, sender, resource, batches, stopped };
            Some((told, tokio::spawn(export.run(queue))))
        });
        let metrics = metrics.and_then(|target| {
            let sender = Arc::new(sender("metrics", target, metrics_every, stopped)?);
            let began = baton_runtime::SystemClock.since_1970();
            let take: TakeMetrics = Arc::new(move |text: String| -> Telling {
                let (sender, resource) = (Arc::clone(&sender), Arc::clone(&resource));
                Box::pin(async move { take(&sender, &resource, began, &text).await })
            });
            Some((metrics_every, take))
        });
        (spans.is_some() || metrics.is_some()).then_some(Self { spans, metrics, stop })
    }

    /// Where spans are recorded; none if they go nowhere.
    pub fn spans(&self) -> Option<Arc<Spans>> {
        self.spans.as_ref().map(|(spans, _)| Arc::clone(spans))
    }

    /// Who takes what `GET /metrics` tells, and how often; none if that goes nowhere.
    pub fn metrics(&self) -> Option<(Duration, TakeMetrics)> {
        self.metrics.clone()
    }

    /// Sends what is left, for as long as `within`; what is not sent by then is counted, and said in the log.
    pub async fn finish(self, within: Duration) {
        self.stop.within(within);
        let Some((_, export)) = self.spans else { return };
        if let Err(error) = export.await {
            tracing::error!(%error, "the export of spans has broken off; what was left is dropped");
        }
    }
}

/// Sends to a target; none if it cannot be spoken to, which is said.
fn sender(what: &'static str, target: Target, patience: Duration, stopped: Stopped) -> Option<Sender> {
    let url = target.url.clone();
    match Sender::new(target, patience, stopped) {
        Ok(sender) => {
            tracing::info!(url = %shown(&url), what, "an OpenTelemetry collector is told");
            Some(sender)
        }
        Err(error) => {
            tracing::warn!(url = %shown(&url), what, error, "the collector cannot be spoken to; nothing is exported");
            None
        }
    }
}

/// An address without what may be secret in it.
fn shown(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    // An address that can have neither is none that is spoken to.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

async fn take(sender: &Sender, resource: &Resource, began: Duration, text: &str) {
    let now = baton_runtime::SystemClock.since_1970();
    match sender.send(figures::encode(resource, text, began, now)).await {
        Sent::Taken { rejected: 0 } => {}
        Sent::Taken { rejected } => tracing::warn!(rejected, "the collector has refused some figures"),
        Sent::Refused(error) | Sent::Unsent(error) => {
            tracing::warn!(error, "figures could not be told to the collector; the next ones are in time");
        }
    }
}

/// Takes spans from the queue and sends them.
struct Export {
    spans: Arc<Spans>,
    sender: Sender,
    resource: Arc<Resource>,
    batches: Batches,
    stopped: Stopped,
}

impl Export {
    async fn run(self, mut queue: mpsc::Receiver<Span>) {
        let mut trouble = Trouble::default();
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                came = queue.recv_many(&mut batch, self.batches.size) => if came == 0 { return },
                () = self.stopped.wait() => break,
            }
            let full_at = Instant::now() + self.batches.delay;
            while batch.len() < self.batches.size {
                let room = self.batches.size - batch.len();
                tokio::select! {
                    came = queue.recv_many(&mut batch, room) => if came == 0 { break },
                    () = sleep_until(full_at) => break,
                    () = self.stopped.wait() => break,
                }
            }
            self.send(batch, &mut trouble).await;
        }
        // What is recorded from now on comes too late.
        queue.close();
        loop {
            let mut batch = Vec::new();
            if queue.recv_many(&mut batch, self.batches.size).await == 0 {
                break;
            }
            self.send(batch, &mut trouble).await;
        }
        trouble.tell_last(&self.spans);
    }

    async fn send(&self, batch: Vec<Span>, trouble: &mut Trouble) {
        let count = batch.len();
        let sent = tokio::select! {
            biased;
            () = self.stopped.too_late() => Sent::Unsent("the process ends".to_owned()),
            sent = async { self.sender.send(encode::request(&self.resource, batch)).await } => sent,
        };
        let error = match sent {
            Sent::Taken { rejected } => {
                let rejected = usize::try_from(rejected).unwrap_or(count).min(count);
                self.spans.taken(count - rejected, rejected);
                (rejected > 0).then(|| "it has taken a part of them".to_owned())
            }
            Sent::Refused(error) => {
                self.spans.taken(0, count);
                Some(error)
            }
            Sent::Unsent(error) => {
                self.spans.unsent(count);
                Some(error)
            }
        };
        trouble.tell(&self.spans, error);
    }
}

/// What the log has been told of spans that are dropped.
#[derive(Default)]
struct Trouble {
    told_at: Option<Instant>,
    told: u64,
}

impl Trouble {
    fn dropped(spans: &Spans) -> u64 {
        let counts = spans.counts();
        counts.overrun + counts.refused + counts.unsent
    }

    fn tell(&mut self, spans: &Spans, error: Option<String>) {
        let dropped = Self::dropped(spans);
        if dropped == self.told || self.told_at.is_some_and(|at| at.elapsed() < TOLD_EVERY) {
            return;
        }
        self.told_at = Some(Instant::now());
        self.say(spans, dropped, error);
    }

    fn tell_last(&mut self, spans: &Spans) {
        let dropped = Self::dropped(spans);
        if dropped != self.told {
            self.say(spans, dropped, None);
        }
    }

    fn say(&mut self, spans: &Spans, dropped: u64, error: Option<String>) {
        let counts = spans.counts();
        tracing::warn!(
            dropped = dropped - self.told,
            overrun = counts.overrun,
            refused = counts.refused,
            unsent = counts.unsent,
            exported = counts.exported,
            error,
            "spans were dropped, as the collector did not take them in time; the work goes on"
        );
        self.told = dropped;
    }
}
