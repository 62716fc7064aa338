//! A task of another system, in Baton's words, before it is made a lawful one.

use std::time::Duration;

use baton_model::task::{Failure, IfDependencyFails, Priority};
use baton_model::{
    Backoff, Expected, Label, Output, Payload, ProjectId, QueueName, TaskId, TaskType, Timestamp, WorkerId,
};

/// The states that a task of another system can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldState {
    /// It waits to be run.
    Queued,
    /// It waits until somebody asks for it to be run.
    Held,
    /// Somebody ran it when it was written down.
    Running,
    /// It is done.
    Completed,
    /// It is given up.
    Failed,
    /// It is called off.
    Cancelled,
}

impl OldState {
    const ALL: [(&'static str, Self); 6] = [
        ("queued", Self::Queued),
        ("held", Self::Held),
        ("running", Self::Running),
        ("completed", Self::Completed),
        ("failed", Self::Failed),
        ("cancelled", Self::Cancelled),
    ];

    /// The state of this name.
    ///
    /// # Errors
    /// If none has it.
    pub(crate) fn named(name: &str) -> Result<Self, Expected> {
        Self::ALL.into_iter().find(|(one, _)| *one == name).map(|(_, state)| state).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            Expected::text(format!("one of {}", names.join(", ")), name)
        })
    }
}

/// What is changed of a task when it is taken over: the same words for all tasks of which the same is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Change {
    Requeued,
    OneMoreAttempt,
    CountedAttempt,
    FewerAttempts,
    NamedId,
    PlainType,
    KeptWords,
    NoLabel,
    OtherWorker,
    ShortDescription,
    ShortError,
    LongLocation,
    OrderedTimes,
    Held,
}

impl Change {
    /// What, and why.
    pub(crate) const fn explain(self) -> &'static str {
        match self {
            Self::Requeued => {
                "it ran, and nobody holds a lease of it here: it is queued again, and the attempt that ran counts once"
            }
            Self::OneMoreAttempt => "its attempts were used up: it is given one more, as it had not ended",
            Self::CountedAttempt => "it had ended without an attempt: one is counted",
            Self::FewerAttempts => "it had more attempts than Baton counts: they are 999",
            Self::NamedId => "its id is no UUID: it is kept as a name, and the task's id is made of it",
            Self::PlainType => "its type cannot be a type's name in Baton: it is `task`",
            Self::KeptWords => {
                "its type, description or domain is no such text in Baton: one is made of it, and its own is kept with the params"
            }
            Self::NoLabel => {
                "a label is empty, longer than 256 characters or has control characters: it is left out"
            }
            Self::OtherWorker => "its worker's name cannot be one in Baton: it is `imported`",
            Self::ShortDescription => "its description is cut to 4,096 characters",
            Self::ShortError => "its error is cut to its last 16 KiB",
            Self::LongLocation => {
                "its output's location is longer than 4,096 bytes: it is kept as the result"
            }
            Self::OrderedTimes => "its times were not in their order: none is before the one that it follows",
            Self::Held => "nobody had asked for it to be run: it waits until somebody does",
        }
    }
}

/// The task.
#[derive(Clone, Debug)]
pub(crate) struct OldTask {
    pub(crate) id: TaskId,
    /// The id that it had.
    pub(crate) name: String,
    pub(crate) project: ProjectId,
    pub(crate) queue: QueueName,
    pub(crate) task_type: TaskType,
    pub(crate) params: Payload,
    pub(crate) description: Option<String>,
    pub(crate) domain: Option<Label>,
    pub(crate) drift_score: Option<f64>,
    pub(crate) assigned_by: Option<Label>,
    pub(crate) affinity: Option<Label>,
    pub(crate) priority: Priority,
    /// How many attempts have begun, the one that runs included.
    pub(crate) attempts: u32,
    pub(crate) max_attempts: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) depends_on: Vec<TaskId>,
    pub(crate) if_dependency_fails: IfDependencyFails,
    pub(crate) state: OldState,
    /// The old system's word for the state.
    pub(crate) word: String,
    pub(crate) run_after: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) error: Option<Failure>,
    pub(crate) output: Output,
    /// What was changed so far, with what came instead.
    pub(crate) changes: Vec<(Change, String)>,
}
