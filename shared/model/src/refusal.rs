//! Why a command about a task is refused.

use std::fmt;

use crate::dependency::FirstFailure;
use crate::id::{GenerationId, TaskId};
use crate::limits;
use crate::task::{Ended, State};
use crate::time::Timestamp;

/// Why a command was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A claim: the task is not queued, or not yet due.
    NotClaimable {
        /// The task's state.
        state: State,
    },
    /// A claim: the task was to be started by a time that has come. It fails.
    Expired {
        /// That time.
        at: Timestamp,
    },
    /// The task has not expired.
    NotExpired {
        /// The task's state.
        state: State,
    },
    /// The reaper: nobody holds the task.
    NotRunning {
        /// The task's state.
        state: State,
    },
    /// The presented attempt is not the task's latest.
    StaleAttempt {
        /// The attempt presented.
        presented: u32,
        /// The task's latest attempt.
        current: u32,
        /// The task's state.
        state: State,
    },
    /// The attempt is another worker's.
    WrongWorker {
        /// The attempt.
        attempt: u32,
    },
    /// The attempt has ended already, otherwise than by this request.
    LeaseLost {
        /// The task's state.
        state: State,
        /// How the attempt ended.
        how: Ended,
    },
    /// The attempt completed already, with another output.
    CompletedDifferently {
        /// The generation that stands.
        generation: GenerationId,
    },
    /// A cancellation: the task is finished already.
    Finished {
        /// The task's state.
        state: State,
    },
    /// A retry: the task is not finished yet.
    NotFinished {
        /// The task's state.
        state: State,
    },
    /// A retry: a completed task stays completed, as its generation stands.
    CompletedIsFinal,
    /// A retry: a task that this one depends on did not complete.
    DependencyFailed {
        /// The first failure.
        first: FirstFailure,
    },
    /// A retry, or a change of the queue: another task holds its key there.
    KeyHeld {
        /// That task.
        by: TaskId,
    },
    /// The task waits for no other, or no longer.
    NotBlocked {
        /// The task's state.
        state: State,
    },
    /// A change: the task does not wait.
    NotWaiting {
        /// The task's state.
        state: State,
    },
    /// A change: so many attempts, or more, have been counted, and the task waits for another one.
    AttemptsUsed {
        /// How many were counted.
        used: u32,
    },
    /// A change: by the time from when on it could be claimed, the task would have expired.
    DueTooLate {
        /// That time.
        run_after: Timestamp,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// A removal: the task has not ended.
    Unfinished {
        /// The task's state.
        state: State,
    },
    /// A removal: unfinished tasks depend on it.
    WaitedFor,
    /// The history is full: [`limits::EVENTS`]; for a change, half of it is.
    HistoryFull,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotClaimable { state } => {
                write!(f, "expected a queued task that is due, got one that is {state}")
            }
            Self::Expired { at } => {
                write!(f, "expected a task that may still be started, got one that expired at {at}")
            }
            Self::NotExpired { state } => {
                write!(f, "expected a task that has expired, got one that is {state}")
            }
            Self::NotRunning { state } => write!(f, "expected a running task, got one that is {state}"),
            Self::StaleAttempt { presented, current, state } => {
                write!(f, "expected attempt {current}, got attempt {presented}; the task is {state}")
            }
            Self::WrongWorker { attempt } => write!(f, "attempt {attempt} is held by another worker"),
            Self::LeaseLost { state, how } => {
                let how = match how {
                    Ended::Completed => "was completed",
                    Ended::Failed => "was failed by its worker",
                    Ended::Released => "was released by its worker",
                    Ended::Lost(reason) => reason.explain(),
                    Ended::Cancelled => "was cancelled",
                };
                write!(f, "the attempt has ended: {how}; the task is {state}")
            }
            Self::CompletedDifferently { generation } => {
                write!(
                    f,
                    "the attempt was completed before with another output; generation {generation} stands"
                )
            }
            Self::Finished { state } => {
                write!(f, "expected a task that is not finished, got one that is {state}")
            }
            Self::NotFinished { state } => {
                write!(f, "expected a task that is failed or cancelled, got one that is {state}")
            }
            Self::CompletedIsFinal => {
                f.write_str("a completed task cannot be retried: its generation stands")
            }
            Self::DependencyFailed { first } => {
                write!(
                    f,
                    "{first}; expected its dependencies to be completed or under way: retry that one first, with its dependants"
                )
            }
            Self::KeyHeld { by } => write!(f, "task {by} holds its unique key; expected a key that is free"),
            Self::NotBlocked { state } => write!(f, "expected a blocked task, got one that is {state}"),
            Self::NotWaiting { state } => {
                write!(f, "expected a task that waits (queued or blocked), got one that is {state}")
            }
            Self::AttemptsUsed { used } => {
                let least = used.saturating_add(1);
                write!(
                    f,
                    "expected max_attempts of at least {least}: {used} have been counted, and it waits for another one"
                )
            }
            Self::DueTooLate { run_after, expires_at } => {
                write!(f, "expected a time before {expires_at}, when the task expires, got {run_after}")
            }
            Self::Unfinished { state } => {
                write!(f, "expected a task that has ended, got one that is {state}")
            }
            Self::WaitedFor => f.write_str("expected a task that no unfinished one depends on"),
            Self::HistoryFull => write!(f, "the task's history is full ({} events)", limits::EVENTS),
        }
    }
}
