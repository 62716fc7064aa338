//! Ends of several attempts in one request: each its own commit with its own outcome.

use baton_model::{Fence, Generation, Label, TaskId};

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
