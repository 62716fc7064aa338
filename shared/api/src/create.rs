//! What `create-task` is asked and answers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use baton_model::limits::Limits;
use baton_model::{
    Backoff, BatchId, Expected, Expiry, Fingerprint, IfDependencyFails, Label, Payload, Priority, ProjectId,
    QueueName, Status, TaskId, TaskSpec, TaskType, Timestamp, Trace, TraceParent, TraceState, limits,
};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use crate::fields::{
    Fields, ReadFields, as_seconds, integer, list, number, own_name, parsed, payload, span, text,
};
use crate::problem::FieldError;
use crate::unique::UniqueView;

/// A task that another is to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DependsOn {
    /// One that exists, by its id, or one of the same batch that has chosen this id.
    Task(TaskId),
    /// One of the same batch, by its `ref`.
    Ref(Label),
}

impl FromStr for DependsOn {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Task(id));
        }
        let expected = |_| Expected::text("a task's id, or the ref of another task of the batch", text);
        text.parse().map(Self::Ref).map_err(expected)
    }
}

impl fmt::Display for DependsOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(id) => id.fmt(f),
            Self::Ref(name) => name.fmt(f),
        }
    }
}

impl Serialize for DependsOn {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A task to create. Its queue may give other values to attempts, timeout, backoff, priority and retention that it leaves out.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CreateTask {
    /// The task's id, if the producer chooses it; the same id with the same content creates nothing new.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub id: Option<TaskId>,
    /// The owner; `default` if not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// The queue; `default` if not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queue: Option<QueueName>,
    /// What kind of work it is.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub task_type: TaskType,
    /// `critical`, `high`, `normal` (the default) or `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub priority: Option<Priority>,
    /// The work's input: any JSON, `{}` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub params: Option<Payload>,
    /// What it is, for people; up to 4,096 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The domain that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub domain: Option<Label>,
    /// How far its subject has drifted, by the producer's measure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift_score: Option<f64>,
    /// Who assigned it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub assigned_by: Option<Label>,
    /// When it may first be claimed, RFC 3339; at once if left out. Not with `delay_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub run_after: Option<Timestamp>,
    /// How long after its creation it may first be claimed. Not with `run_after`.
    #[serde(
        rename = "delay_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_seconds"
    )]
    #[schema(value_type = Option<f64>)]
    pub delay: Option<Duration>,
    /// How many attempts it is given, 1 to 1,000; 3 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long one attempt may run; as long as it likes if left out.
    #[serde(
        rename = "timeout_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_seconds"
    )]
    #[schema(value_type = Option<f64>)]
    pub timeout: Option<Duration>,
    /// How long it waits between attempts; what is left out keeps its default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BackoffSchema>)]
    pub backoff: Option<Backoff>,
    /// How long it is kept once it has ended, up to ten years; as long as the store keeps all if left out.
    #[serde(
        rename = "retention_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_seconds"
    )]
    #[schema(value_type = Option<f64>)]
    pub retention: Option<Duration>,
    /// What it shares a limit by with other tasks of its queue; up to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub concurrency_key: Option<Label>,
    /// What its worker had best have loaded already, such as a model; up to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub affinity: Option<Label>,
    /// Until when it is to be started, RFC 3339: if no attempt that counts has begun by then, it fails with the code `expired`. Not
    /// with `expires_after_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub expires_at: Option<Timestamp>,
    /// The same, as a while after its creation. Not with `expires_at`.
    #[serde(
        rename = "expires_after_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_seconds"
    )]
    #[schema(value_type = Option<f64>)]
    pub expires_after: Option<Duration>,
    /// A key of which there is to be one task at a time: while another task holds it, this one is not created, and the answer tells
    /// of that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<UniqueView>,
    /// The tasks that are to be completed before it may be claimed, up to 100, none twice: ids of tasks of its project, or, in a
    /// batch, the `ref` of another task of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>)]
    pub depends_on: Vec<DependsOn>,
    /// What becomes of it when one of these fails or is cancelled: `cancel` (the default; its own dependants follow), `fail`, or
    /// `run` all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub if_dependency_fails: Option<IfDependencyFails>,
    /// In a batch that stands or falls together: a name for this task, by which others of the batch may depend on it.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reference: Option<Label>,
    /// The span that it is created in, as the header `traceparent` of W3C Trace Context; that header if left out. Its attempts are spans
    /// of this trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub traceparent: Option<TraceParent>,
    /// What is noted with it, as the header `tracestate`; up to 512 characters. Only with `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tracestate: Option<TraceState>,
}

/// How long a task waits between attempts: `min(base · factor^(n−1), max)`, less up to `jitter` of itself.
#[derive(ToSchema)]
#[schema(as = Backoff)]
pub struct BackoffSchema {
    /// Delay after the first failed attempt, in seconds; 5 if left out.
    pub base_seconds: Option<f64>,
    /// What each further failure multiplies it by, 1 to 10; 2 if left out.
    pub factor: Option<f64>,
    /// The longest delay, in seconds; 600 if left out.
    pub max_seconds: Option<f64>,
    /// The part that jitter may take away, 0 to 1; 0.2 if left out.
    pub jitter: Option<f64>,
}

struct BackoffFields(Backoff);

impl ReadFields for BackoffFields {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let default = Backoff::default();
        let base = f.optional("base_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN));
        let factor = f.optional("factor", number(1.0..=10.0));
        let max = f.optional("max_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN));
        let jitter = f.optional("jitter", number(0.0..=1.0));
        Some(Self(Backoff {
            base: base?.unwrap_or(default.base),
            factor: factor?.unwrap_or(default.factor),
            max: max?.unwrap_or(default.max),
            jitter: jitter?.unwrap_or(default.jitter),
        }))
    }
}

/// Reads a backoff that may be missing or null.
pub(crate) fn backoff(f: &mut Fields<'_>) -> Option<Option<Backoff>> {
    Some(f.optional_object::<BackoffFields>("backoff", &())?.map(|fields| fields.0))
}

impl CreateTask {
    /// A task of this type with nothing else said.
    pub fn new(task_type: TaskType) -> Self {
        Self {
            id: None,
            project: None,
            queue: None,
            task_type,
            priority: None,
            params: None,
            description: None,
            domain: None,
            drift_score: None,
            assigned_by: None,
            run_after: None,
            delay: None,
            max_attempts: None,
            timeout: None,
            backoff: None,
            retention: None,
            concurrency_key: None,
            affinity: None,
            expires_at: None,
            expires_after: None,
            unique: None,
            depends_on: Vec::new(),
            if_dependency_fails: None,
            reference: None,
            traceparent: None,
            tracestate: None,
        }
    }

    /// Where it says that it stands in its producer's trace.
    pub fn trace(&self) -> Option<Trace> {
        self.traceparent.map(|parent| Trace { parent, state: self.tracestate.clone() })
    }

    /// What says whether two requests ask for the same: all but the trace, as a request that is sent again has a span of its own.
    pub fn fingerprint(&self) -> Fingerprint {
        match self.traceparent {
            None => Fingerprint::of(self),
            Some(_) => Fingerprint::of(&Self { traceparent: None, tracestate: None, ..self.clone() }),
        }
    }
}

impl CreateTask {
    /// The task that a template creates, without what each such task has of its own.
    pub fn of_template(template: &TaskSpec) -> Self {
        Self {
            queue: Some(template.queue.clone()),
            priority: (!template.unsaid.priority).then_some(template.priority),
            params: Some(template.params.clone()),
            description: template.description.clone(),
            domain: template.domain.clone(),
            drift_score: template.drift_score,
            assigned_by: template.assigned_by.clone(),
            max_attempts: (!template.unsaid.max_attempts).then_some(template.max_attempts),
            timeout: template.timeout,
            backoff: template.backoff,
            retention: template.retention,
            concurrency_key: template.concurrency_key.clone(),
            affinity: template.affinity.clone(),
            expires_after: match template.expiry {
                Some(Expiry::In(span)) => Some(span),
                Some(Expiry::At(_)) | None => None,
            },
            unique: template.unique.clone().map(Into::into),
            ..Self::new(template.task_type.clone())
        }
    }
}

impl ReadFields for CreateTask {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let id = f.optional("id", parsed);
        let project = f.optional("project", parsed);
        let queue = f.optional("queue", parsed);
        let task_type = f.required("type", parsed);
        let priority = f.optional("priority", parsed);
        let params = f.optional("params", payload(limits.params_bytes));
        let description = f.optional("description", text(0..=limits::DESCRIPTION_CHARS));
        let domain = f.optional("domain", parsed);
        let drift_score = f.optional("drift_score", number(f64::MIN..=f64::MAX));
        let assigned_by = f.optional("assigned_by", parsed);
        if f.has("run_after") && f.has("delay_seconds") {
            f.refuse("delay_seconds", Expected::new("run_after or delay_seconds, not both", "both"));
        }
        let run_after = f.optional("run_after", parsed);
        let delay = f.optional("delay_seconds", span(Duration::ZERO, limits::LONGEST_DELAY));
        let max_attempts = f.optional("max_attempts", integer(1..=limits::MAX_ATTEMPTS));
        let timeout = f.optional("timeout_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN));
        let backoff = backoff(f);
        let retention =
            f.optional("retention_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_RETENTION));
        let concurrency_key = f.optional("concurrency_key", own_name);
        let affinity = f.optional("affinity", own_name);
        if f.has("expires_at") && f.has("expires_after_seconds") {
            f.refuse(
                "expires_after_seconds",
                Expected::new("expires_at or expires_after_seconds, not both", "both"),
            );
        }
        let expires_at = f.optional("expires_at", parsed);
        let expires_after =
            f.optional("expires_after_seconds", span(limits::SHORTEST_SPAN, limits::LONGEST_DELAY));
        let too_late = match (expires_at, run_after, expires_after, delay) {
            (Some(Some(until)), Some(Some(from)), ..) => until <= from,
            (_, _, Some(Some(until)), Some(Some(from))) => until <= from,
            _ => false,
        };
        if too_late {
            let name = if f.has("expires_at") { "expires_at" } else { "expires_after_seconds" };
            f.refuse(name, Expected::new("a time after the task may first be claimed", "one before"));
        }
        let unique = f.optional_object::<UniqueView>("unique", &());
        let depends_on = f.optional("depends_on", list(0..=limits::DEPENDENCIES, parsed));
        if let Some(Some(dependencies)) = &depends_on
            && let Some(again) = repeated(dependencies)
        {
            f.refuse("depends_on", Expected::new("each task once", format!("{again} twice")));
        }
        let if_dependency_fails = f.optional("if_dependency_fails", parsed);
        let reference = f.optional("ref", parsed);
        if f.has("tracestate") && !f.has("traceparent") {
            f.refuse("tracestate", Expected::new("traceparent with it", "tracestate alone"));
        }
        let traceparent = f.optional("traceparent", parsed);
        let tracestate = f.optional("tracestate", parsed);
        Some(Self {
            id: id?,
            project: project?,
            queue: queue?,
            task_type: task_type?,
            priority: priority?,
            params: params?,
            description: description?,
            domain: domain?,
            drift_score: drift_score?,
            assigned_by: assigned_by?,
            run_after: run_after?,
            delay: delay?,
            max_attempts: max_attempts?,
            timeout: timeout?,
            backoff: backoff?,
            retention: retention?,
            concurrency_key: concurrency_key?,
            affinity: affinity?,
            expires_at: expires_at?,
            expires_after: expires_after?,
            unique: unique?,
            depends_on: depends_on?.unwrap_or_default(),
            if_dependency_fails: if_dependency_fails?,
            reference: reference?,
            traceparent: traceparent?,
            tracestate: tracestate?,
        })
    }
}

/// A dependency that is named more than once.
fn repeated(dependencies: &[DependsOn]) -> Option<&DependsOn> {
    dependencies.iter().enumerate().find(|(at, one)| dependencies[..*at].contains(one)).map(|(_, one)| one)
}

/// A task that was created, now or by the same request before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreatedTask {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub id: TaskId,
    /// Its status at its creation, or now if it is `deduplicated`: `queued`, `created` if it is for later, or `blocked` if it depends on other tasks: if all of
    /// these are completed already, it is let go of at once.
    #[schema(value_type = String)]
    pub status: Status,
    /// When it was created.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When it could first be claimed.
    #[schema(value_type = String, format = "date-time")]
    pub run_after: Timestamp,
    /// Whether it is another task, which holds the unique key that was asked for: nothing was created. Left out if it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deduplicated: bool,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// The batch, if the request named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub batch_id: Option<BatchId>,
    /// How many tasks exist by this request.
    pub accepted: u32,
    /// How many were refused.
    pub refused: u32,
    /// One entry for each task, in order.
    pub items: Vec<BatchItem>,
}

/// What became of one task of a batch: either `task` or `problem` is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchItem {
    /// The task's place in the request, from 0.
    pub index: u32,
    /// The task, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<CreatedTask>,
    /// Why not, if it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ItemProblem>,
}

/// Why one task of a batch was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ItemProblem {
    /// The stable code, as of a problem document.
    pub code: String,
    /// What happened.
    pub detail: String,
    /// The fields that do not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}
