//! Ends of several attempts in one request: each its own commit with its own outcome.

use baton_model::{Bounds, Fence, Generation, Head, Label, ProjectId, QueueName, TaskId, TaskState, Worker};

use crate::command::{ClaimAnswer, Complete, Fail, FailAnswer, Release};
use crate::error::StoreError;

/// The end of one attempt.
#[derive(Clone, Debug)]
pub enum Ending {
    /// It has brought an output.
    Complete(Complete),
    /// It has failed.
    Fail(Fail),
    /// Its task is given back.
    Release(Release),
}

impl Ending {
    /// The task that it is about.
    pub const fn task(&self) -> TaskId {
        match self {
            Self::Complete(complete) => complete.task,
            Self::Fail(fail) => fail.task,
            Self::Release(release) => release.task,
        }
    }

    /// The worker's right to end it.
    pub const fn fence(&self) -> &Fence {
        match self {
            Self::Complete(complete) => &complete.fence,
            Self::Fail(fail) => &fail.fence,
            Self::Release(release) => &release.fence,
        }
    }
}

/// Whether the end of an attempt is within the reach of who asks for it, by the task as it stands. Who knows a worker's name and a task that
/// both see is not to end that worker's attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It is. An attempt that the worker does not hold is refused anyway, or has ended and is told once more.
    Within,
    /// Only if the worker's name is the caller's to use ([`StoreError::WorkerOfOther`]).
    ByName,
    /// It is not: the task is as if it did not exist.
    Beyond,
}

impl Reach {
    /// How it is with the task of this head, queue and project.
    pub fn of(
        caller: &Bounds,
        fence: &Fence,
        (head, queue, project): (&Head, &QueueName, &ProjectId),
    ) -> Self {
        if caller.is_unbound() {
            return Self::Within;
        }
        if !caller.covers(queue, project) {
            return Self::Beyond;
        }
        match &head.state {
            TaskState::Running(lease) if lease.worker == fence.worker => Self::ByName,
            _ => Self::Within,
        }
    }

    /// Lets what hangs on the worker's name pass ([`Self::ByName`]), by the record of that worker if there is one: a name that nobody has
    /// used is nobody's.
    ///
    /// # Errors
    /// [`StoreError::WorkerOfOther`] if the name belongs to callers of other bounds.
    pub fn by_name(caller: &Bounds, fence: &Fence, known: Option<&Worker>) -> Result<(), StoreError> {
        match known {
            Some(known) if !caller.owner().may_use(known.owner.as_ref()) => {
                Err(StoreError::WorkerOfOther(fence.worker.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A completion that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The generation that stands.
    pub generation: Generation,
    /// The task's domain, which a generation does not repeat.
    pub domain: Option<Label>,
    /// Whether the same completion had been taken before.
    pub repeated: bool,
}

/// What became of one [`Ending`] that was taken.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "each is moved once or twice; a box would be one more allocation for each"
)]
pub enum EndedAs {
    /// The completion stands.
    Completed(Completion),
    /// The attempt failed, or its task was given back.
    Back(FailAnswer),
}

impl From<Completion> for EndedAs {
    fn from(completion: Completion) -> Self {
        Self::Completed(completion)
    }
}

impl From<FailAnswer> for EndedAs {
    fn from(back: FailAnswer) -> Self {
        Self::Back(back)
    }
}

/// The answer to [`crate::TaskStore::end`].
#[derive(Debug)]
pub struct EndAnswer {
    /// What became of each ending, in order.
    pub items: Vec<Result<EndedAs, StoreError>>,
    /// What the claim found, if one came along.
    pub next: Option<Result<ClaimAnswer, StoreError>>,
}
