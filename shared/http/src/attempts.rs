//! Spans of attempts, each from its claim to its end, in the trace of its task (`docs/traces.md`).
//!
//! A span is told once its attempt has ended. What its claim knows, such as the trace, the end does not tell, and to ask the store would cost
//! each completion a look: so it is held in between, of up to [`MOST`] attempts. The end of one that was claimed before this process
//! began, or by another server, is looked up beside the requests.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::{
    EventKind, Fence, Generation, LossReason, Task, TaskId, TaskState, Timestamp, Trace, TraceParent,
};
use baton_runtime::Shutdown;
use baton_runtime::spans::{Span, SpanKind, SpanValue, Spans};
use baton_store::{StoreError, Taken, TaskDetail};
use tokio::sync::mpsc;

use crate::app::App;

/// Of how many attempts it is held what their claims know: about 20 MB, of a server that exports.
const MOST: usize = 50_000;

/// How many ends may wait to be looked up.
const LOOKUPS: usize = 1_024;

/// For how long ends are still looked up once all requests are answered.
const LAST_LOOKUPS: Duration = Duration::from_secs(1);

/// The most characters of an error's code.
const CODE_CHARS: usize = 128;

type Key = (TaskId, u32);

/// What a claim knows.
#[derive(Debug)]
struct Held {
    trace: Option<Trace>,
    claimed_at: Timestamp,
    attributes: Vec<(&'static str, SpanValue)>,
    queue: String,
}

impl Held {
    fn of(task: &Task, claimed_at: Timestamp, worker: &str) -> Self {
        let text = |text: &str| SpanValue::from(text.to_owned());
        Self {
            trace: task.trace.clone(),
            claimed_at,
            attributes: vec![
                ("messaging.system", "baton".into()),
                ("messaging.operation.name", "process".into()),
                ("messaging.operation.type", "process".into()),
                ("messaging.destination.name", text(task.queue.as_str())),
                ("messaging.message.id", task.head.id.to_string().into()),
                ("baton.task.id", task.head.id.to_string().into()),
                ("baton.task.type", text(task.task_type.as_str())),
                ("baton.project", text(task.project.as_str())),
                ("baton.worker.id", text(worker)),
            ],
            queue: task.queue.to_string(),
        }
    }
}

/// An attempt's end.
#[derive(Debug)]
pub(crate) struct End {
    key: Key,
    at: Timestamp,
    outcome: &'static str,
    /// Why, if it failed.
    error: Option<String>,
}

/// What is held of attempts that run. Of those whose traces are not recorded that alone.
#[derive(Debug, Default)]
struct Running {
    held: HashMap<Key, Option<Box<Held>>>,
    /// Those that were held, the first one first; some have ended since.
    order: VecDeque<Key>,
}

impl Running {
    fn hold(&mut self, key: Key, held: Option<Box<Held>>) {
        if self.held.insert(key, held).is_some() {
            return;
        }
        self.order.push_back(key);
        while self.held.len() > MOST {
            let Some(first) = self.order.pop_front() else { return };
            self.held.remove(&first);
        }
        if self.order.len() > 2 * MOST {
            let Self { held, order } = self;
            order.retain(|key| held.contains_key(key));
        }
    }
}

/// Tells of attempts.
#[derive(Debug)]
pub(crate) struct Attempts {
    spans: Arc<Spans>,
    running: Mutex<Running>,
    unknown: mpsc::Sender<End>,
    lookups: Mutex<Option<mpsc::Receiver<End>>>,
}

impl Attempts {
    pub(crate) fn new(spans: Arc<Spans>) -> Self {
        let (unknown, lookups) = mpsc::channel(LOOKUPS);
        Self { spans, running: Mutex::default(), unknown, lookups: Mutex::new(Some(lookups)) }
    }

    pub(crate) fn spans(&self) -> &Arc<Spans> {
        &self.spans
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the spans of a task are recorded.
    fn samples(&self, task: TaskId, trace: Option<&Trace>) -> bool {
        self.spans.samples(TraceParent::trace_of(task, trace), trace.map(|trace| trace.parent))
    }

    /// Holds what the claim of a task knows. Gives the span of the attempt.
    pub(crate) fn claimed(&self, task: &Task) -> Option<TraceParent> {
        let TaskState::Running(lease) = &task.head.state else { return None };
        let (id, attempt, trace) = (task.head.id, task.head.attempt, task.trace.as_ref());
        let sampled = self.samples(id, trace);
        let held = sampled.then(|| Box::new(Held::of(task, lease.claimed_at, lease.worker.as_str())));
        self.running().hold((id, attempt), held);
        Some(TraceParent::of_attempt(id, trace, attempt, sampled))
    }

    pub(crate) fn completed(&self, generation: &Generation) {
        let key = (generation.task, generation.attempt);
        self.ended(End { key, at: generation.finished_at, outcome: "completed", error: None });
    }

    pub(crate) fn failed(&self, task: &Task, fence: &Fence) {
        let code = task.error.as_ref().and_then(|error| error.code.as_deref()).unwrap_or("failed");
        // The message may tell what belongs to the task's owner alone.
        let error = Some(code.chars().take(CODE_CHARS).collect());
        let key = (task.head.id, fence.attempt);
        self.ended_in(task.trace.as_ref(), End { key, at: task.updated_at, outcome: "failed", error });
    }

    pub(crate) fn released(&self, task: &Task, fence: &Fence) {
        let key = (task.head.id, fence.attempt);
        let end = End { key, at: task.updated_at, outcome: "released", error: None };
        self.ended_in(task.trace.as_ref(), end);
    }

    pub(crate) fn lost(&self, taken: &Taken, now: Timestamp) {
        let error = Some(LossReason::as_str(taken.reason).to_owned());
        self.ended(End { key: (taken.task, taken.attempt), at: now, outcome: "lost", error });
    }

    /// A task was cancelled, perhaps while an attempt was running.
    pub(crate) fn cancelled(&self, task: &Task) {
        let key = (task.head.id, task.head.attempt);
        // What was not running here has no attempt that ends by it; that of another server's claim is told by nobody.
        if self.running().held.contains_key(&key) {
            let error = Some("cancelled".to_owned());
            self.ended(End { key, at: task.updated_at, outcome: "cancelled", error });
        }
    }

    fn ended(&self, end: End) {
        self.ended_if(end, || !self.spans.are_never_sampled());
    }

    /// As [`Self::ended`], of a task whose trace is known: the claim of one that is not recorded needs no look into the store.
    fn ended_in(&self, trace: Option<&Trace>, end: End) {
        let task = end.key.0;
        self.ended_if(end, || self.samples(task, trace));
    }

    fn ended_if(&self, end: End, may_be_sampled: impl FnOnce() -> bool) {
        let held = self.running().held.remove(&end.key);
        match held {
            Some(Some(held)) => self.tell(*held, end),
            // Its trace is not recorded.
            Some(None) => {}
            None => {
                if may_be_sampled() && self.unknown.try_send(end).is_err() {
                    self.spans.overrun();
                }
            }
        }
    }

    fn tell(&self, held: Held, end: End) {
        let Held { trace, claimed_at, mut attributes, queue } = held;
        let End { key: (task, attempt), at, outcome, error } = end;
        let of = |attempt| TraceParent::of_attempt(task, trace.as_ref(), attempt, true);
        attributes.push(("baton.attempt", attempt.into()));
        attributes.push(("baton.outcome", outcome.into()));
        let failed = error.is_some();
        attributes.extend(error.map(|error| ("error.type", error.into())));
        self.spans.record(Span {
            at: of(attempt),
            parent: trace.as_ref().map(|trace| trace.parent.span()),
            follows: (attempt > 1).then(|| of(attempt - 1)),
            name: format!("process {queue}").into(),
            kind: SpanKind::Consumer,
            began: since_1970(claimed_at),
            lasted: at.since(claimed_at),
            attributes,
            failed,
            state: trace.and_then(|trace| trace.state),
        });
    }
}

fn since_1970(at: Timestamp) -> Duration {
    at.since(Timestamp::from_millis(0))
}

/// Looks up the attempts whose claims this process has not seen, until all requests are answered, and for a second more what has
/// come until then.
pub async fn run_lookups(app: App, served: Shutdown) {
    let Some(attempts) = app.meters.attempts() else { return };
    let lookups = attempts.lookups.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(lookups) = lookups else { return };
    work_off(attempts, lookups, &served, |key| look_up(&app, attempts, key)).await;
}

/// Looks up what comes; what is left at the end is counted as unsent.
async fn work_off<L>(
    attempts: &Attempts,
    mut lookups: mpsc::Receiver<End>,
    served: &Shutdown,
    look_up: impl Fn(Key) -> L,
) where
    L: Future<Output = Result<Option<Held>, StoreError>>,
{
    let mut too_late = pin!(async {
        served.wait().await;
        tokio::time::sleep(LAST_LOOKUPS).await;
    });
    loop {
        let end = tokio::select! {
            biased;
            end = lookups.recv() => end,
            () = served.wait() => break,
        };
        let Some(end) = end else { break };
        let found = tokio::select! {
            biased;
            () = &mut too_late => {
                attempts.spans.unsent(1);
                break;
            }
            found = look_up(end.key) => found,
        };
        match found {
            Ok(Some(held)) => attempts.tell(held, end),
            // It has been removed, its trace is not recorded, or its history tells of no such claim: there is nothing to tell.
            Ok(None) => {}
            Err(error) => {
                attempts.spans.unsent(1);
                tracing::debug!(task_id = %end.key.0, error = error.report(), "the claim of an attempt could not be looked up for its span");
            }
        }
    }
    lookups.close();
    while lookups.try_recv().is_ok() {
        attempts.spans.unsent(1);
    }
}

/// What the claim of an attempt has known; none if there is nothing to tell. One read: the attempt has only just ended, so that its claim is
/// among the events that come with the task.
async fn look_up(app: &App, attempts: &Attempts, (id, attempt): Key) -> Result<Option<Held>, StoreError> {
    let TaskDetail { task, history, .. } = match app.store.task(id).await {
        Ok(detail) => detail,
        Err(StoreError::TaskNotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !attempts.samples(id, task.trace.as_ref()) {
        return Ok(None);
    }
    let claim = history.iter().rfind(|event| event.kind == EventKind::Claimed && event.attempt == attempt);
    Ok(claim.map(|claim| {
        let worker = claim.detail.worker.as_ref().map_or("", |worker| worker.as_str());
        Held::of(&task, claim.at, worker)
    }))
}

#[cfg(test)]
mod tests {
    use baton_runtime::spans::{Sampler, SpanCounts};

    use super::*;

    fn lost(n: u8) -> End {
        let key = (TaskId::from_bytes([n; 16]), 1);
        End { key, at: Timestamp::from_millis(0), outcome: "lost", error: None }
    }

    #[test]
    fn an_end_that_is_known_to_be_of_no_recorded_trace_is_not_looked_up() {
        let (spans, _queue) = Spans::new(Sampler { by_parent: true, ratio: 0.0 }, 1);
        let attempts = Attempts::new(spans);
        let mut lookups = attempts.lookups.lock().unwrap().take().unwrap();
        let trace = |flags: &str| -> Trace {
            format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}").parse().unwrap()
        };
        attempts.ended_in(None, lost(1));
        attempts.ended_in(Some(&trace("00")), lost(2));
        assert!(lookups.try_recv().is_err());
        attempts.ended_in(Some(&trace("01")), lost(3));
        attempts.ended(lost(4));
        let looked_up = [(); 2].map(|()| lookups.try_recv().unwrap().key.0);
        assert_eq!(looked_up, [3, 4].map(|n| TaskId::from_bytes([n; 16])));
        let (spans, _queue) = Spans::new(Sampler { by_parent: false, ratio: 0.0 }, 1);
        let attempts = Attempts::new(spans);
        let mut lookups = attempts.lookups.lock().unwrap().take().unwrap();
        attempts.ended(lost(5));
        assert!(lookups.try_recv().is_err(), "no trace at all is recorded");
    }

    #[tokio::test]
    async fn what_is_not_looked_up_in_time_at_the_end_is_counted() {
        let (spans, _queue) = Spans::new(Sampler::default(), 1);
        let attempts = Attempts::new(Arc::clone(&spans));
        let lookups = attempts.lookups.lock().unwrap().take().unwrap();
        let served = Shutdown::new();
        served.begin();
        (1..=3).for_each(|n| attempts.ended(lost(n)));
        // A store that does not answer.
        let ended = work_off(&attempts, lookups, &served, |_| std::future::pending());
        tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
        assert_eq!(spans.counts(), SpanCounts { unsent: 3, ..SpanCounts::default() });
        attempts.ended(lost(4));
        assert_eq!(spans.counts().overrun, 1, "it comes too late");
    }

    #[test]
    fn of_more_attempts_than_are_held_the_first_are_let_go() {
        let mut running = Running::default();
        let key = |n: usize| (TaskId::from_bytes((n as u128).to_be_bytes()), 1);
        for n in 0..MOST + 10 {
            running.hold(key(n), None);
        }
        assert_eq!(running.held.len(), MOST);
        assert!(!running.held.contains_key(&key(9)) && running.held.contains_key(&key(10)));
        for n in 0..4 * MOST {
            running.hold(key(n), None);
            running.held.remove(&key(n));
        }
        assert!(running.order.len() <= 2 * MOST + 1, "{}", running.order.len());
    }
}
