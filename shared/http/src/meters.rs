//! What a process counts of its own work, for those who read it as metrics: `GET /metrics` of a server (`docs/metrics.md`). What the store
//! knows is not counted here; whoever shows it asks the store.
//!
//! Each count is one atomic addition. Labels come from closed sets, whatever names callers invent.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use baton_model::{Fence, Generation, LossReason, State, Task, TaskState, Timestamp, TraceParent};
use baton_runtime::spans::{SpanCounts, Spans};
use baton_store::{FailAnswer, Taken};
use http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::attempts::Attempts;
use crate::auth::Rules;
use crate::auth::rules::Found;

/// The bounds of the buckets of durations, in seconds: from a millisecond to a day.
const SECONDS: [f64; 17] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 10_800.0,
    43_200.0, 86_400.0,
];

/// The methods that are told apart; a caller may invent others.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];

/// What a request asks for, in words of which there are few.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) route: &'static str,
    pub(crate) method: &'static str,
}

impl Route {
    /// A route that is none of Baton's own.
    const OTHER: &'static str = "other";

    /// One of Baton's own.
    pub(crate) fn of(rules: &Rules, method: &Method, path: &str) -> Self {
        let route = match rules.find(method, path) {
            Found::Rule(rule) => rule.path,
            Found::OtherMethods(_) | Found::NoPath => Self::OTHER,
        };
        Self { route, ..Self::of_dialect(method) }
    }

    /// One of a dialect.
    pub(crate) fn of_dialect(method: &Method) -> Self {
        let method = METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("other");
        Self { route: Self::OTHER, method }
    }
}

/// What a request asked for, and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    method: &'static str,
    status: u16,
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Why something came to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// An attempt that its worker failed by what it ran, with whatever code that gave it.
const ERROR: &str = "error";
/// An attempt that its worker gave back.
const GIVEN_BACK: &str = "given_back";
/// A task that was not started in time.
const EXPIRED: &str = "expired";

type Count = Counter<u64, AtomicU64>;

/// Counts of one process, from its start on.
pub struct Meters {
    registry: Registry,
    created: Count,
    claimed: Count,
    completed: Count,
    failed: Family<Outcome, Count>,
    reasons: Family<Reason, Count>,
    released: Count,
    lost: Family<Reason, Count>,
    wait: Histogram,
    run: Histogram,
    rounds: Family<Outcome, Count>,
    expired: Count,
    removed: Count,
    schedules_missed: Count,
    requests: Family<Answered, Count>,
    tokens_refused: Count,
    attempts: Option<Attempts>,
}

impl Default for Meters {
    fn default() -> Self {
        let mut meters = Self {
            registry: Registry::with_prefix("baton"),
            created: Count::default(),
            claimed: Count::default(),
            completed: Count::default(),
            failed: Family::default(),
            reasons: Family::default(),
            released: Count::default(),
            lost: Family::default(),
            wait: Histogram::new(SECONDS),
            run: Histogram::new(SECONDS),
            rounds: Family::default(),
            expired: Count::default(),
            removed: Count::default(),
            schedules_missed: Count::default(),
            requests: Family::default(),
            tokens_refused: Count::default(),
            attempts: None,
        };
        meters.register();
        meters
    }
}

impl Meters {
    fn register(&mut self) {
        let all = &mut self.registry;
        all.register("tasks_created", "Tasks created", self.created.clone());
        all.register("claims", "Tasks given out", self.claimed.clone());
        all.register("completions", "Attempts completed", self.completed.clone());
        all.register(
            "failures",
            "Attempts that failed: those to be tried again, and those after which their task has failed",
            self.failed.clone(),
        );
        all.register(
            "failures_by_reason",
            "Attempts that ended otherwise than completed or cancelled, and tasks that were not started in time, by why",
            self.reasons.clone(),
        );
        all.register("releases", "Attempts given back, which do not count", self.released.clone());
        all.register("leases_lost", "Attempts taken back from workers", self.lost.clone());
        all.register("task_wait_seconds", "How long claimed tasks had been ready", self.wait.clone());
        all.register("task_run_seconds", "How long completed attempts ran", self.run.clone());
        all.register("reaper_rounds", "Rounds of the reaper", self.rounds.clone());
        all.register("tasks_expired", "Tasks that were not started in time", self.expired.clone());
        all.register(
            "removals",
            "Finished tasks, log lines, workers and keys removed after their keeping",
            self.removed.clone(),
        );
        all.register(
            "schedules_missed",
            "Times of schedules that were missed",
            self.schedules_missed.clone(),
        );
        all.register("requests", "Requests answered", self.requests.clone());
        all.register(
            "tokens_refused",
            "Requests refused as their token is missing, unknown, ended, over its rate or may not ask this",
            self.tokens_refused.clone(),
        );
        // Series that are there from the start: an alert on a rate sees the first of each kind.
        for outcome in ["retry", "failed"] {
            drop(self.failed.get_or_create(&Outcome { outcome }));
        }
        for reason in LossReason::ALL {
            drop(self.lost.get_or_create(&Reason { reason: reason.as_str() }));
        }
        for reason in LossReason::ALL.map(LossReason::as_str).into_iter().chain([ERROR, GIVEN_BACK, EXPIRED])
        {
            drop(self.reasons.get_or_create(&Reason { reason }));
        }
        for outcome in ["ok", "failed"] {
            drop(self.rounds.get_or_create(&Outcome { outcome }));
        }
    }

    /// A task was created.
    pub fn created(&self) {
        self.created.inc();
    }

    /// The same where somebody listens to spans.
    #[must_use]
    pub fn with_spans(self, spans: Option<Arc<Spans>>) -> Self {
        Self { attempts: spans.map(Attempts::new), ..self }
    }

    /// Where spans are recorded; none if nobody listens.
    pub fn spans(&self) -> Option<&Arc<Spans>> {
        self.attempts.as_ref().map(Attempts::spans)
    }

    pub(crate) fn attempts(&self) -> Option<&Attempts> {
        self.attempts.as_ref()
    }

    /// A task was given out. Gives the span of the attempt, where somebody listens.
    pub fn claimed(&self, task: &Task) -> Option<TraceParent> {
        let TaskState::Running(lease) = &task.head.state else { return None };
        self.claimed.inc();
        // A task may have been due before it was created; it has waited from then on only.
        let ready_since = task.head.run_after.max(task.created_at);
        self.wait.observe(lease.claimed_at.since(ready_since).as_secs_f64());
        self.attempts.as_ref()?.claimed(task)
    }

    /// An attempt was completed.
    pub fn completed(&self, generation: &Generation) {
        self.completed.inc();
        self.run.observe(generation.run_time().as_secs_f64());
        if let Some(attempts) = &self.attempts {
            attempts.completed(generation);
        }
    }

    /// An attempt failed.
    pub fn failed(&self, answer: &FailAnswer, fence: &Fence) {
        let failed = answer.task.head.state.state() == State::Failed;
        self.failed.get_or_create(&Outcome { outcome: if failed { "failed" } else { "retry" } }).inc();
        // A worker ends by itself what has run too long, and says so by the word that the reaper has for it.
        let timed_out = LossReason::TimedOut.as_str();
        let code = answer.task.error.as_ref().and_then(|error| error.code.as_deref());
        self.ended_by(if code == Some(timed_out) { timed_out } else { ERROR }, 1);
        if let Some(attempts) = &self.attempts {
            attempts.failed(&answer.task, fence);
        }
    }

    /// An attempt was given back.
    pub fn released(&self, answer: &FailAnswer, fence: &Fence) {
        self.released.inc();
        self.ended_by(GIVEN_BACK, 1);
        if let Some(attempts) = &self.attempts {
            attempts.released(&answer.task, fence);
        }
    }

    /// An attempt was taken back.
    pub fn lost(&self, taken: &Taken, now: Timestamp) {
        self.lost.get_or_create(&Reason { reason: taken.reason.as_str() }).inc();
        self.ended_by(taken.reason.as_str(), 1);
        if let Some(attempts) = &self.attempts {
            attempts.lost(taken, now);
        }
    }

    fn ended_by(&self, reason: &'static str, many: u64) {
        self.reasons.get_or_create(&Reason { reason }).inc_by(many);
    }

    /// A task was cancelled.
    pub fn cancelled(&self, task: &Task) {
        if let Some(attempts) = &self.attempts {
            attempts.cancelled(task);
        }
    }

    /// The reaper has made a round, or could not.
    pub fn round(&self, made: bool) {
        self.rounds.get_or_create(&Outcome { outcome: if made { "ok" } else { "failed" } }).inc();
    }

    /// What a round has removed, let expire, and found missed.
    pub fn worked(&self, removed: u64, expired: u64, schedules_missed: u64) {
        self.removed.inc_by(removed);
        self.expired.inc_by(expired);
        self.ended_by(EXPIRED, expired);
        self.schedules_missed.inc_by(schedules_missed);
    }

    /// How many attempts have completed, and how many have failed or were taken back.
    pub fn ended(&self) -> (u64, u64) {
        let failed = ["retry", "failed"].map(|outcome| self.failed.get_or_create(&Outcome { outcome }).get());
        let lost = LossReason::ALL
            .iter()
            .map(|reason| self.lost.get_or_create(&Reason { reason: reason.as_str() }).get());
        (self.completed.get(), failed.iter().sum::<u64>() + lost.sum::<u64>())
    }

    /// A request was answered.
    pub(crate) fn answered(&self, asked: Route, status: StatusCode) {
        let Route { route, method } = asked;
        self.requests.get_or_create(&Answered { route, method, status: status.as_u16() }).inc();
    }

    /// A request was refused for its token.
    pub(crate) fn token_refused(&self) {
        self.tokens_refused.inc();
    }

    /// All of it in OpenMetrics text, without the line that ends it.
    ///
    /// # Errors
    /// None that the buffer does not make.
    pub fn write(&self, to: &mut String) -> fmt::Result {
        text::encode_registry(to, &self.registry)?;
        match self.spans() {
            Some(spans) => text::encode_registry(to, &of_spans(spans.counts())),
            None => Ok(()),
        }
    }
}

/// What has become of spans.
fn of_spans(counts: SpanCounts) -> Registry {
    let spans = Family::<Outcome, Count>::default();
    let SpanCounts { exported, overrun, refused, unsent } = counts;
    for (outcome, count) in
        [("exported", exported), ("overrun", overrun), ("refused", refused), ("unsent", unsent)]
    {
        spans.get_or_create(&Outcome { outcome }).inc_by(count);
    }
    let mut registry = Registry::with_prefix("baton");
    registry.register("spans", "Spans by what has become of them", spans);
    registry
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_callers_invent_the_labels_are_few() {
        let meters = Meters::default();
        let rules = Rules::of_baton();
        for n in 0..1_000 {
            let method: Method = format!("M{n}").parse().unwrap();
            meters.answered(Route::of(&rules, &method, &format!("/x/{n}")), StatusCode::NOT_FOUND);
            meters.answered(Route::of(&rules, &Method::GET, &format!("/v1/tasks/{n}")), StatusCode::OK);
        }
        let mut text = String::new();
        meters.write(&mut text).unwrap();
        let requests: Vec<_> = text.lines().filter(|line| line.starts_with("baton_requests_total")).collect();
        assert_eq!(requests.len(), 2, "{requests:?}");
        assert!(
            text.contains(r#"baton_requests_total{route="/v1/tasks/{id}",method="GET",status="200"} 1000"#),
            "{text}"
        );
        assert!(
            text.contains(r#"baton_requests_total{route="other",method="other",status="404"} 1000"#),
            "{text}"
        );
        assert!(text.contains(r#"baton_leases_lost_total{reason="heartbeat_missed"} 0"#), "{text}");
    }
}
