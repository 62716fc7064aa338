//! Tasks: what a producer asks for, and what has become of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::defaults::Unsaid;
pub use crate::dependency::IfDependencyFails;
use crate::digest::{Digest, Fingerprint};
use crate::expected::Expected;
use crate::expiry::Expiry;
use crate::id::{BatchId, GenerationId, Label, ProjectId, QueueName, TaskId, TaskType, WorkerId};
use crate::lease::{Lease, LossReason};
use crate::limits;
use crate::payload::Payload;
use crate::share::Shared;
use crate::time::{Timestamp, maybe_seconds, seconds};
use crate::trace::Trace;
use crate::unique::Unique;
pub use crate::watch::redated;

/// How soon a task is claimed, among those that are ready in its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before all others.
    Critical,
    /// Before normal.
    High,
    /// The usual.
    #[default]
    Normal,
    /// When nothing else is ready.
    Low,
}

impl Priority {
    /// Every priority, the first to be claimed first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The priority's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// A task's stored state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for other tasks.
    Blocked,
    /// It waits to be claimed, now or later.
    Queued,
    /// A worker holds its lease.
    Running,
    /// It is done, and its generation exists.
    Completed,
    /// Its attempts are used up, or its worker said that none would help.
    Failed,
    /// Someone called it off.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Blocked, Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// The state's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a task in this state is finished.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A task's status as it is shown: derived from state, attempt and clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for other tasks.
    Blocked,
    /// Queued for a later time, and never tried.
    Created,
    /// Ready to be claimed.
    Queued,
    /// Queued for a later time after an attempt.
    Retry,
    /// A worker holds its lease.
    Running,
    /// Done, with its generation.
    Completed,
    /// Given up.
    Failed,
    /// Called off.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Blocked,
        Self::Created,
        Self::Queued,
        Self::Retry,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The status's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Created => "created",
            Self::Queued => "queued",
            Self::Retry => "retry",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of a task in `state` at `now`.
    pub fn derive(state: State, attempt: u32, run_after: Timestamp, now: Timestamp) -> Self {
        match state {
            State::Blocked => Self::Blocked,
            State::Queued if run_after <= now => Self::Queued,
            State::Queued if attempt == 0 => Self::Created,
            State::Queued => Self::Retry,
            State::Running => Self::Running,
            State::Completed => Self::Completed,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }

    /// The stored state that a task of this status is in.
    pub const fn state(self) -> State {
        match self {
            Self::Blocked => State::Blocked,
            Self::Created | Self::Queued | Self::Retry => State::Queued,
            Self::Running => State::Running,
            Self::Completed => State::Completed,
            Self::Failed => State::Failed,
            Self::Cancelled => State::Cancelled,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! from_str_by_name {
    ($type:ty) => {
        impl FromStr for $type {
            type Err = Expected;

            fn from_str(text: &str) -> Result<Self, Expected> {
                Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    Expected::text(format!("one of {}", names.join(", ")), text)
                })
            }
        }
    };
}

from_str_by_name!(Priority);
from_str_by_name!(State);
from_str_by_name!(Status);
from_str_by_name!(crate::log::Level);
from_str_by_name!(crate::worker::Directive);
from_str_by_name!(crate::event::EventKind);
from_str_by_name!(LossReason);
from_str_by_name!(IfDependencyFails);
from_str_by_name!(crate::schedule::IfRunning);

/// When a new task may first be claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunAfter {
    /// At once.
    #[default]
    Now,
    /// At a point in time.
    At(Timestamp),
    /// A while after its creation.
    In(#[serde(with = "seconds")] Duration),
}

impl RunAfter {
    /// The time meant, for a task created at `created_at`.
    pub fn resolve(self, created_at: Timestamp) -> Timestamp {
        match self {
            Self::Now => created_at,
            Self::At(at) => at,
            Self::In(delay) => created_at.plus(delay),
        }
    }
}

/// What a producer asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The task's id; made by Baton unless [`TaskSpec::id_chosen`].
    #[serde(skip, default = "TaskId::unset")]
    pub id: TaskId,
    /// Whether the producer chose the id. Only then does a second task of the same id and content count as the first.
    #[serde(skip)]
    pub id_chosen: bool,
    /// The task's owner.
    pub project: ProjectId,
    /// The lane that it waits in.
    pub queue: QueueName,
    /// What kind of work it is.
    pub task_type: TaskType,
    /// How soon it is claimed, among those that are ready.
    pub priority: Priority,
    /// The work's input, which only its worker understands.
    pub params: Payload,
    /// What it is, for people.
    pub description: Option<String>,
    /// The domain that it belongs to.
    pub domain: Option<Label>,
    /// How far its subject has drifted, by the producer's measure.
    pub drift_score: Option<f64>,
    /// Who assigned it.
    pub assigned_by: Option<Label>,
    /// When it may first be claimed.
    #[serde(rename = "schedule")]
    pub run_after: RunAfter,
    /// How many attempts it is given.
    pub max_attempts: u32,
    /// How long one attempt may run; none if as long as it likes.
    pub timeout: Option<Duration>,
    /// How long it waits between attempts; none for the default.
    pub backoff: Option<Backoff>,
    /// How long it is kept once it has ended; none for as long as the store keeps tasks.
    #[serde(
        rename = "retention_seconds",
        default,
        skip_serializing_if = "Option::is_none",
        with = "maybe_seconds"
    )]
    pub retention: Option<Duration>,
    /// Which of the above were left out: what the queue gives comes in their place. No part of what makes two tasks the same.
    #[serde(default, skip_serializing_if = "Unsaid::is_none")]
    pub unsaid: Unsaid,
    /// What it shares a limit by with other tasks of its queue, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Label>,
    /// What its worker had best have warm, if it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Label>,
    /// Until when it is to be started; no time if it is worth starting at any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Expiry>,
    /// The key of which there is to be one task at a time, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,
    /// The tasks that are to end before it may be claimed; at most [`limits::DEPENDENCIES`], none twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<TaskId>,
    /// What becomes of it when one of these fails or is cancelled.
    #[serde(default, skip_serializing_if = "IfDependencyFails::is_default")]
    pub if_dependency_fails: IfDependencyFails,
    /// The batch that it is one of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// Where it stands in its producer's trace. No part of what makes two tasks the same; what makes tasks again and again has none for
    /// them.
    #[serde(skip)]
    pub trace: Option<Trace>,
}

impl TaskSpec {
    /// A task of this type that asks for nothing else: without params, ready at once, in the default project and queue, with
    /// the default priority, number of attempts and backoff.
    pub fn new(id: TaskId, task_type: TaskType) -> Self {
        Self {
            id,
            id_chosen: false,
            project: ProjectId::default(),
            queue: QueueName::default(),
            task_type,
            priority: Priority::default(),
            params: Payload::default(),
            description: None,
            domain: None,
            drift_score: None,
            assigned_by: None,
            run_after: RunAfter::Now,
            max_attempts: limits::DEFAULT_ATTEMPTS,
            timeout: None,
            backoff: None,
            retention: None,
            unsaid: Unsaid::default(),
            concurrency_key: None,
            affinity: None,
            expiry: None,
            unique: None,
            depends_on: Vec::new(),
            if_dependency_fails: IfDependencyFails::default(),
            batch: None,
            trace: None,
        }
    }

    /// What says which limits it falls under.
    pub fn shared(&self) -> Shared<'_> {
        Shared {
            queue: &self.queue,
            project: &self.project,
            task_type: &self.task_type,
            key: self.concurrency_key.as_ref(),
        }
    }

    /// The state that it begins in: a task with dependencies is blocked, and let go of by whoever finds that all are met.
    pub fn first_state(&self) -> TaskState {
        if self.depends_on.is_empty() { TaskState::Queued } else { TaskState::Blocked }
    }

    /// The time by which it is to be started, created at `created_at`; none if it waits for as long as it takes.
    pub fn expires_at(&self, created_at: Timestamp) -> Option<Timestamp> {
        self.expiry.map(|expiry| expiry.resolve(created_at))
    }

    /// The head that it begins with, created at `created_at`.
    pub fn first_head(&self, created_at: Timestamp) -> Head {
        Head {
            id: self.id,
            state: self.first_state(),
            attempt: 0,
            forgiven: 0,
            worker_losses: 0,
            max_attempts: self.max_attempts,
            run_after: self.run_after.resolve(created_at),
            expires_at: self.expires_at(created_at),
            timeout: self.timeout,
            backoff: self.backoff.unwrap_or_default(),
            ended: None,
            events: 1,
        }
    }

    /// Says whether two specs ask for the same; the id itself is left out.
    pub fn fingerprint(&self) -> Fingerprint {
        match self.unsaid.is_none() {
            true => Fingerprint::of(self),
            // The usual value said and left out is the same. A copy costs little beside the digest.
            false => Fingerprint::of(&Self { unsaid: Unsaid::default(), ..self.clone() }),
        }
    }
}

/// Why an attempt, or the whole task, failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong, for people.
    pub message: String,
    /// What went wrong, for programs: the worker's own code, or a [`LossReason`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// More about it, as the worker likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Payload>,
}

/// A task's state with what belongs to it, so that a running task has its lease and a completed one its generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It waits for other tasks.
    Blocked,
    /// It waits to be claimed, from [`Head::run_after`] on.
    Queued,
    /// A worker holds it.
    Running(Lease),
    /// It is done.
    Completed {
        /// Its output record.
        generation: GenerationId,
        /// What was handed over, to recognise the same completion sent again.
        output: Digest,
    },
    /// It is given up.
    Failed,
    /// It is called off.
    Cancelled,
}

impl TaskState {
    /// The plain state.
    pub const fn state(&self) -> State {
        match self {
            Self::Blocked => State::Blocked,
            Self::Queued => State::Queued,
            Self::Running(_) => State::Running,
            Self::Completed { .. } => State::Completed,
            Self::Failed => State::Failed,
            Self::Cancelled => State::Cancelled,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Its worker completed it.
    Completed,
    /// Its worker failed it.
    Failed,
    /// Its worker gave it back.
    Released,
    /// The reaper took it back.
    Lost(LossReason),
    /// Someone cancelled the task under it.
    Cancelled,
}

impl Ended {
    /// Whether the attempt failed: its worker failed it, or was lost with it.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Lost(_))
    }
}

/// The latest attempt that has ended: whose it was, and how it ended. It tells a repeated request from a late one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// The worker that held the attempt.
    pub worker: WorkerId,
    /// How it ended.
    pub how: Ended,
}

/// The part of a task that transitions read and change: small, so that a change of status does not pay for the
/// payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The task.
    pub id: TaskId,
    /// Its state.
    pub state: TaskState,
    /// How often it has been claimed. Raised by a claim and by nothing else; fences all that a worker does.
    pub attempt: u32,
    /// How many of these attempts do not count: those given back, those that ended because another start took the
    /// worker's name, and those before an operator's retry.
    pub forgiven: u32,
    /// How often in a row it was lost with its worker: it may be what ends them.
    #[serde(default)]
    pub worker_losses: u32,
    /// How many counting attempts it is given.
    pub max_attempts: u32,
    /// From when on it may be claimed, while queued.
    pub run_after: Timestamp,
    /// Until when it is to be started, if a time was given: see [`Head::expired`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How long one attempt may run.
    pub timeout: Option<Duration>,
    /// How long it waits between attempts.
    pub backoff: Backoff,
    /// How the latest attempt ended; none before the first end and while one runs.
    pub ended: Option<AttemptEnd>,
    /// How many events its history has.
    pub events: u32,
}

impl Head {
    /// How many attempts count against [`Head::max_attempts`].
    pub const fn attempts_used(&self) -> u32 {
        self.attempt.saturating_sub(self.forgiven)
    }

    /// The status to show at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        Status::derive(self.state.state(), self.attempt, self.run_after, now)
    }
}

/// A task, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The part that changes.
    pub head: Head,
    /// Its owner.
    pub project: ProjectId,
    /// The lane that it waits in.
    pub queue: QueueName,
    /// What kind of work it is.
    pub task_type: TaskType,
    /// How soon it is claimed.
    pub priority: Priority,
    /// The work's input.
    pub params: Payload,
    /// What it is, for people.
    pub description: Option<String>,
    /// The domain that it belongs to.
    pub domain: Option<Label>,
    /// How far its subject has drifted.
    pub drift_score: Option<f64>,
    /// Who assigned it.
    pub assigned_by: Option<Label>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// When it finished; none while it is not.
    pub finished_at: Option<Timestamp>,
    /// The latest attempt's failure; none once it is completed.
    pub error: Option<Failure>,
    /// How long it is kept once it has ended; none for as long as the store keeps tasks.
    #[serde(
        rename = "retention_seconds",
        default,
        skip_serializing_if = "Option::is_none",
        with = "maybe_seconds"
    )]
    pub retention: Option<Duration>,
    /// What it shares a limit by with other tasks of its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Label>,
    /// What its worker had best have warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Label>,
    /// The key of which there is one task at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,
    /// The tasks that it waits for, or has waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<TaskId>,
    /// What becomes of it when one of these fails or is cancelled.
    #[serde(default, skip_serializing_if = "IfDependencyFails::is_default")]
    pub if_dependency_fails: IfDependencyFails,
    /// The batch that it is one of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// Where it stands in its producer's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

impl Task {
    /// What says which limits it falls under.
    pub fn shared(&self) -> Shared<'_> {
        Shared {
            queue: &self.queue,
            project: &self.project,
            task_type: &self.task_type,
            key: self.concurrency_key.as_ref(),
        }
    }

    /// The status to show at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        self.head.status(now)
    }
}
