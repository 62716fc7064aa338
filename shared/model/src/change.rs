//! Changing a task that waits: how soon it is claimed, in which queue it waits, from when on, how long an attempt may run, and how many
//! it is given.
//!
//! A pure function of the task as it stands, as every transition is: the same change again changes nothing, and adds no event.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{EventDetail, EventKind};
use crate::id::{Label, QueueName, TaskId};
use crate::refusal::Refusal;
use crate::task::{Head, Priority, RunAfter, State};
use crate::time::Timestamp;
use crate::transition::{self, Change};

/// What is to be changed of a task; what is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskChange {
    /// How soon it is claimed, among those that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// The queue that it is to wait in. What a queue gives to tasks that do not say was given when the task was created, and stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// From when on it may be claimed. A time that has come means now; a task that is due already keeps its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_after: Option<RunAfter>,
    /// How long one attempt may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// How many counting attempts it is given: more than it has used up, as another one is to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
}

/// How long one attempt may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timeout {
    /// As long as it likes.
    Never,
    /// For this long.
    After(Duration),
}

impl Timeout {
    /// The same, as a task has it.
    pub const fn span(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(span) => Some(span),
        }
    }
}

impl TaskChange {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a value was before a change, and what it is since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromTo<T> {
    /// Before.
    pub from: T,
    /// Since.
    pub to: T,
}

impl<T: PartialEq> FromTo<T> {
    /// A change, if it is one.
    fn of(from: T, to: T) -> Option<Self> {
        (from != to).then_some(Self { from, to })
    }
}

/// What a change has changed of a task, as its event tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// How soon it is claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<FromTo<Priority>>,
    /// The queue that it waits in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<FromTo<QueueName>>,
    /// From when on it may be claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_after: Option<FromTo<Timestamp>>,
    /// How long one attempt may run, in milliseconds; none for as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<FromTo<Option<u64>>>,
    /// How many attempts it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<FromTo<u32>>,
}

impl Changes {
    /// Whether nothing is other than it was.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A change as it is asked of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Who, if they said.
    pub by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
    /// What is to be changed.
    pub to: TaskChange,
    /// How the task stands, as far as its head does not tell.
    pub standing: Standing,
}

/// What a task's head does not tell of it, and a change goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How soon it is claimed.
    pub priority: Priority,
    /// The queue that it waits in.
    pub queue: QueueName,
    /// Another task that holds, in the queue that it is to wait in, the key that it holds itself ([`crate::unique`]).
    pub holder: Option<TaskId>,
}

/// What a change makes of a task that waits; none if it is so already.
///
/// # Errors
/// [`Refusal`], which says why not; the task stays as it is.
pub(crate) fn decide(head: &Head, ask: &Ask, now: Timestamp) -> Result<Option<Change>, Refusal> {
    let state = head.state.state();
    if !matches!(state, State::Blocked | State::Queued) {
        return Err(Refusal::NotWaiting { state });
    }
    if let Some(at) = head.expired(now) {
        return Err(Refusal::Expired { at });
    }
    let run_after = ask.to.run_after.map_or(head.run_after, |schedule| due(head, schedule, now));
    let timeout = ask.to.timeout.map_or(head.timeout, Timeout::span);
    let max_attempts = ask.to.max_attempts.unwrap_or(head.max_attempts);
    let priority = ask.to.priority.unwrap_or(ask.standing.priority);
    let queue = ask.to.queue.as_ref().filter(|queue| **queue != ask.standing.queue);
    let millis =
        |span: Option<Duration>| span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let changes = Changes {
        priority: FromTo::of(ask.standing.priority, priority),
        queue: queue.map(|to| FromTo { from: ask.standing.queue.clone(), to: to.clone() }),
        run_after: FromTo::of(head.run_after, run_after),
        timeout_ms: FromTo::of(millis(head.timeout), millis(timeout)),
        max_attempts: FromTo::of(head.max_attempts, max_attempts),
    };
    if changes.is_empty() {
        return Ok(None);
    }
    if changes.max_attempts.is_some() && max_attempts <= head.attempts_used() {
        return Err(Refusal::AttemptsUsed { used: head.attempts_used() });
    }
    if let (Some(_), Some(by)) = (queue, ask.standing.holder) {
        return Err(Refusal::KeyHeld { by });
    }
    let expires_at = head.expires_at.filter(|_| head.attempts_used() == 0);
    if let (Some(_), Some(expires_at)) = (changes.run_after, expires_at)
        && run_after >= expires_at
    {
        return Err(Refusal::DueTooLate { run_after, expires_at });
    }
    let changed = Head { run_after, timeout, max_attempts, ..transition::next(head, head.state.clone()) };
    let detail = EventDetail {
        by: ask.by.clone(),
        reason: ask.reason.clone(),
        run_after: (run_after > now).then_some(run_after),
        changes: Some(Box::new(changes)),
        ..EventDetail::default()
    };
    let change = transition::change(head, changed, EventKind::Changed, detail);
    Ok(Some(Change { priority: Some(priority), queue: queue.cloned(), ..change }))
}

/// From when on the task may be claimed, by what is asked.
fn due(head: &Head, schedule: RunAfter, now: Timestamp) -> Timestamp {
    let at = schedule.resolve(now);
    // A past time would put it before those that wait for longer; and one that is due would lose its turn to "now".
    if at <= now && head.run_after <= now { head.run_after } else { at.max(now) }
}
