//! How a store fails: one public kind that says what the caller must do, and causes under it.

use baton_model::schedule::{MOST_SCHEDULES, ScheduleProblem};
use baton_model::supply::MOST_SUPPLIES;
use baton_model::transition::Refusal;
use baton_model::{
    BatchId, BulkId, GenerationId, QueueName, ScheduleKey, SessionId, TaskId, TokenId, WorkerId,
};

use crate::command::ItemRefusal;

/// What the caller must do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Mend the request; sent again as it is, it fails again.
    Request,
    /// What was named does not exist.
    NotFound,
    /// The state of things does not allow it: a worker drops the task and takes another.
    Conflict,
    /// Nothing was changed; try again later.
    Unavailable,
    /// It is not known whether the change was made; asking again is safe, as every command is idempotent or fenced.
    Unknown,
    /// Tell an operator: the store is damaged or misused.
    Internal,
}

/// Where a failure came from, kept for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What a store answers when it cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The task is unknown.
    #[error("task {0} does not exist")]
    TaskNotFound(TaskId),
    /// The generation is unknown.
    #[error("generation {0} does not exist")]
    GenerationNotFound(GenerationId),
    /// The worker is unknown.
    #[error("worker {0} has never claimed nor beaten")]
    WorkerNotFound(WorkerId),
    /// The queue is unknown.
    #[error("no task has ever named queue {0}, and it is not paused")]
    QueueNotFound(QueueName),
    /// The task's state does not allow it.
    #[error("task {task}: {refusal}")]
    Refused {
        /// The task.
        task: TaskId,
        /// Why.
        refusal: Refusal,
    },
    /// An atomic batch was refused; nothing was created.
    #[error("{} of the tasks were refused, so none was created", refusals.len())]
    BatchRefused {
        /// The refused tasks by their place in the batch, from 0.
        refusals: Vec<(usize, ItemRefusal)>,
    },
    /// The idempotency key was used before with another request.
    #[error("the idempotency key {key} was used before with another request")]
    IdempotencyConflict {
        /// The key.
        key: String,
    },
    /// The worker has started anew, and this is an earlier start of it.
    #[error("session {session} of worker {worker} was superseded by a newer start of the same worker")]
    SessionSuperseded {
        /// The worker.
        worker: WorkerId,
        /// The earlier session.
        session: SessionId,
    },
    /// The worker's name belongs to callers of other bounds; see [`baton_model::Owner`].
    #[error("worker {0} belongs to callers of another project or of other queues")]
    WorkerOfOther(WorkerId),
    /// The schedule is unknown.
    #[error("there is no schedule {0}")]
    ScheduleNotFound(ScheduleKey),
    /// Another schedule of the name says something else.
    #[error("there is a schedule {0} already, which says something else; nothing was changed")]
    ScheduleExists(ScheduleKey),
    /// The queue has no supply.
    #[error("queue {0} has no supply")]
    SupplyNotFound(QueueName),
    /// There is no such batch.
    #[error("batch {0} does not exist")]
    BatchNotFound(BatchId),
    /// No task may be added to a batch any more.
    #[error("batch {0} is sealed, and these are not all tasks of it; put them into another one")]
    BatchSealed(BatchId),
    /// A batch is another than is said of it.
    #[error(
        "batch {0} exists with another project, name or then; leave these out to add to it, or choose another id"
    )]
    BatchExists(BatchId),
    /// The bulk command is unknown.
    #[error("bulk command {0} does not exist")]
    BulkNotFound(BulkId),
    /// The token is unknown.
    #[error("token {0} does not exist")]
    TokenNotFound(TokenId),
    /// There are as many tokens as a store holds.
    #[error("there are {most} tokens, and no more can be made; revoke those that nobody uses")]
    TooManyTokens {
        /// The most that there may be, those that have ended and are still kept included.
        most: usize,
    },
    /// There are as many limits, owned projects, schedules or supplies as a store holds.
    #[error("there are {most} {what}, and no more can be set; take away those that nobody needs")]
    TooManyLimits {
        /// What there is too much of.
        what: &'static str,
        /// The most that there may be.
        most: usize,
    },
    /// The cursor is not one that this store gave for this query.
    #[error("expected a cursor from an earlier page of the same query")]
    BadCursor,
    /// The store keeps nothing by which it could tell what is asked for at a bounded cost.
    #[error("{what}; {instead}")]
    NotTold {
        /// What is not kept.
        what: String,
        /// What to ask for in its place.
        instead: String,
    },
    /// The store cannot hold as much as this in one piece.
    #[error("expected at most {most} {what}, got {got}")]
    TooLarge {
        /// What there is too much of, with its unit.
        what: String,
        /// How much came.
        got: usize,
        /// How much the store can hold.
        most: usize,
    },
    /// The store holds no more commands at once, or is closing.
    #[error("the store is busy or closing; nothing was changed")]
    Busy,
    /// The disk that the store lies on is full.
    #[error("the disk of the task store is full; nothing was changed; free space and try again")]
    StorageFull(#[source] Cause),
    /// The store is out of reach for now: locked, unreachable, throttled.
    #[error("the task store is unavailable; nothing was changed; try again later")]
    Unavailable(#[source] Cause),
    /// The store did not say whether it committed.
    #[error("the task store did not say whether the change was made; send the same request again")]
    Unknown(#[source] Cause),
    /// What the store lies on was removed or replaced while it was open. What was asked for since then is kept by nothing.
    #[error(
        "the task store is gone ({what}); nothing that is asked for is kept; put it back and start again"
    )]
    Gone {
        /// What is gone.
        what: String,
    },
    /// The store cannot be opened.
    #[error("cannot open {place}: {why}")]
    CannotOpen {
        /// Where the store lies.
        place: String,
        /// What is in the way, and what to do about it.
        why: String,
        /// The cause, if there is one.
        #[source]
        cause: Option<Cause>,
    },
    /// The store was written by a newer version of Baton.
    #[error("the task store has schema version {found}, this program knows up to {known}; use a newer baton")]
    NewerSchema {
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The store's content is damaged.
    #[error("the task store is damaged ({what}); restore it from a backup")]
    Corrupt {
        /// What is damaged.
        what: String,
        /// The cause, if there is one.
        #[source]
        cause: Option<Cause>,
    },
    /// Something that should not happen.
    #[error("the task store failed: {what}")]
    Internal {
        /// What was being done.
        what: String,
        /// The cause, if there is one.
        #[source]
        cause: Option<Cause>,
    },
}

impl StoreError {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TaskNotFound(_)
            | Self::GenerationNotFound(_)
            | Self::WorkerNotFound(_)
            | Self::QueueNotFound(_)
            | Self::ScheduleNotFound(_)
            | Self::SupplyNotFound(_)
            | Self::BulkNotFound(_)
            | Self::BatchNotFound(_)
            | Self::TokenNotFound(_) => ErrorKind::NotFound,
            Self::Refused { .. }
            | Self::BatchRefused { .. }
            | Self::BatchSealed(_)
            | Self::BatchExists(_)
            | Self::IdempotencyConflict { .. }
            | Self::SessionSuperseded { .. }
            | Self::WorkerOfOther(_)
            | Self::ScheduleExists(_)
            | Self::TooManyTokens { .. }
            | Self::TooManyLimits { .. } => ErrorKind::Conflict,
            Self::BadCursor | Self::NotTold { .. } | Self::TooLarge { .. } => ErrorKind::Request,
            Self::Busy | Self::StorageFull(_) | Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Unknown(_) | Self::Gone { .. } => ErrorKind::Unknown,
            Self::CannotOpen { .. }
            | Self::NewerSchema { .. }
            | Self::Corrupt { .. }
            | Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// Why a schedule was not changed.
    pub fn schedule(key: ScheduleKey, problem: ScheduleProblem) -> Self {
        match problem {
            ScheduleProblem::Unknown => Self::ScheduleNotFound(key),
            ScheduleProblem::Exists => Self::ScheduleExists(key),
        }
    }

    /// That there are as many schedules as a store holds.
    pub fn too_many_schedules() -> Self {
        Self::TooManyLimits { what: "schedules", most: usize::try_from(MOST_SCHEDULES).unwrap_or(usize::MAX) }
    }

    /// That there are as many supplies as a store holds.
    pub fn too_many_supplies() -> Self {
        Self::TooManyLimits { what: "supplies", most: usize::try_from(MOST_SUPPLIES).unwrap_or(usize::MAX) }
    }

    /// The error with all its causes, for an operator's log.
    pub fn report(&self) -> String {
        baton_model::with_causes(self)
    }
}
