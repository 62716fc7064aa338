//! Events: a task's history. Every transition appends exactly one, in the same commit.

use serde::{Deserialize, Serialize};

use crate::change::Changes;
use crate::id::{Label, SessionId, TaskId, WorkerId};
use crate::lease::LossReason;
use crate::task::{Failure, State, Status};
use crate::time::Timestamp;

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was created.
    Created,
    /// A worker claimed it: a new attempt began.
    Claimed,
    /// Its worker completed it, and its generation was written.
    Completed,
    /// Its worker failed the attempt.
    AttemptFailed,
    /// Its worker gave it back unharmed; the attempt does not count.
    Released,
    /// The reaper took it back; the attempt counts unless its particulars say otherwise.
    LeaseLost,
    /// Someone cancelled it.
    Cancelled,
    /// An operator put a finished task back into its queue with a fresh set of attempts.
    Retried,
    /// The last task that it waited for has ended: it came into its queue.
    Unblocked,
    /// A task that it waited for did not complete: it was cancelled or failed with it.
    DependencyFailed,
    /// No attempt had begun by the time until which it was to be started: it failed.
    Expired,
    /// Someone changed how it is to be run, while it waited.
    Changed,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Created,
        Self::Claimed,
        Self::Completed,
        Self::AttemptFailed,
        Self::Released,
        Self::LeaseLost,
        Self::Cancelled,
        Self::Retried,
        Self::Unblocked,
        Self::DependencyFailed,
        Self::Expired,
        Self::Changed,
    ];

    /// The kind's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Claimed => "claimed",
            Self::Completed => "completed",
            Self::AttemptFailed => "attempt_failed",
            Self::Released => "released",
            Self::LeaseLost => "lease_lost",
            Self::Cancelled => "cancelled",
            Self::Retried => "retried",
            Self::Unblocked => "unblocked",
            Self::DependencyFailed => "dependency_failed",
            Self::Expired => "expired",
            Self::Changed => "changed",
        }
    }
}

/// One entry of a task's history. Entries are numbered from 1 without gaps, and each begins in the state in which the
/// one before it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The entry's number within the task, from 1.
    pub seq: u32,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// The state before; none at creation.
    pub from: Option<State>,
    /// The state after.
    pub to: State,
    /// The attempt after.
    pub attempt: u32,
    /// What else there is to say, by kind.
    pub detail: EventDetail,
}

/// The particulars of an event. Each field is there where its kind has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventDetail {
    /// The worker that claimed, completed, failed, gave back or lost it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// The session of the worker that claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Who created, cancelled, retried or changed it, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Label>,
    /// Why it was cancelled, retried, changed or given back, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why the lease was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossReason>,
    /// Whether a lost attempt does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncounted: bool,
    /// How often in a row the task was lost with its worker, this time included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_losses: Option<u32>,
    /// What went wrong, of a failed or lost attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// When it may be claimed, if it came into its queue for later, or back into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_after: Option<Timestamp>,
    /// The task whose end, cancellation or retry brought this about, if it was another one: of a failed dependency, the first
    /// that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency: Option<TaskId>,
    /// What was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Box<Changes>>,
}

impl EventDetail {
    /// Of a creation at `now`.
    pub fn created(by: Option<&Label>, run_after: Timestamp, now: Timestamp) -> Self {
        Self { by: by.cloned(), run_after: (run_after > now).then_some(run_after), ..Self::default() }
    }
}

impl Event {
    /// The task's status just after it.
    pub fn status(&self) -> Status {
        Status::derive(self.to, self.attempt, self.detail.run_after.unwrap_or(self.at), self.at)
    }
}
