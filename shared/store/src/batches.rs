//! Batches as objects: adding to them, sealing them, what is told of them, and making sure that what follows them is created.

use async_trait::async_trait;
use baton_model::{Batch, BatchId, Failure, NewBatch, ProjectId, TaskId, TaskType, Timestamp};

use crate::{Create, CreateAnswer, Cursor, Page, PageRequest, StoreError};

/// Adds tasks to a batch, which is made if there is none of its id.
#[derive(Clone, Debug)]
pub struct AddToBatch {
    /// The batch. What is not said of it is as it stands, or none if it is new.
    pub batch: NewBatch,
    /// Whether no task may be added to it after these.
    pub seal: bool,
    /// The tasks, each with [`baton_model::TaskSpec::batch`] of this batch, and of its project.
    pub create: Create,
}

/// Seals a batch.
#[derive(Clone, Copy, Debug)]
pub struct SealBatch {
    /// The time.
    pub now: Timestamp,
    /// The batch.
    pub batch: BatchId,
}

/// A batch with what its tasks do.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchDetail {
    /// The batch.
    pub batch: Batch,
    /// Tasks of it that wait for others.
    pub blocked: u64,
    /// Tasks of it that wait to be claimed, now or later.
    pub queued: u64,
    /// Tasks of it that a worker holds.
    pub running: u64,
    /// Whether these three are bounds, as the store has not looked at all that have not ended.
    pub at_least: bool,
    /// Its first failures, as far as these tasks are still there, at most [`baton_model::batch::FIRST_FAILURES`].
    pub failures: Vec<BatchFailure>,
}

/// A task of a batch that has failed.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchFailure {
    /// The task.
    pub task: TaskId,
    /// Its type.
    pub task_type: TaskType,
    /// When it failed.
    pub failed_at: Timestamp,
    /// Why.
    pub error: Option<Failure>,
}

/// Which batches are asked for.
#[derive(Clone, Debug, Default)]
pub struct BatchFilter {
    /// Of this project.
    pub project: Option<ProjectId>,
}

/// Makes sure that what has become of tasks is counted, and that what follows a batch is created.
#[derive(Clone, Debug)]
pub struct TendBatches {
    /// The time.
    pub now: Timestamp,
    /// How many tasks to look at at most.
    pub limit: u32,
    /// Where the last call has stopped.
    pub after: Option<Cursor>,
}

/// The answer to [`TendBatches`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TendedBatches {
    /// How many tasks were counted that nobody had.
    pub counted: u64,
    /// For how many batches that which follows them was created.
    pub made: u64,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}

/// Batches: tasks that were handed in together, and what follows them.
///
/// A task of a batch counts for it by its state. Once that which the batch's `then` waits for has come ([`Batch::is_due`]), the task of
/// its `then` is created, in the same commit or soon after it, and exactly once, whatever is sent again and whoever does it. Others make
/// sure: see [`BatchStore::tend_batches`]. A task without a batch pays nothing for any of it.
#[async_trait]
pub trait BatchStore: Send + Sync {
    /// Creates tasks of a batch, as [`crate::TaskStore::create`] does, and makes the batch if there is none. With [`AddToBatch::seal`] no
    /// others come after them. A refusal of all leaves no new batch behind. Tasks that exist count once, however often they are sent.
    ///
    /// # Errors
    /// [`StoreError::BatchSealed`] if it is sealed and a task of these is not one of it already, [`StoreError::BatchExists`] if it is
    /// another than is said of it, and those of [`crate::TaskStore::create`].
    async fn add_to_batch(&self, add: AddToBatch) -> Result<CreateAnswer, StoreError>;

    /// Seals a batch: no task is added to it from then on. One that is sealed stays as it is.
    ///
    /// # Errors
    /// [`StoreError::BatchNotFound`].
    async fn seal_batch(&self, seal: SealBatch) -> Result<Batch, StoreError>;

    /// One batch.
    ///
    /// # Errors
    /// [`StoreError::BatchNotFound`].
    async fn batch(&self, id: BatchId) -> Result<BatchDetail, StoreError>;

    /// Batches, the newest id first.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn batches(&self, filter: BatchFilter, page: PageRequest) -> Result<Page<Batch>, StoreError>;

    /// Looks at some batches that have not ended, and does what was left undone by whoever ended their tasks. A store that counts in the
    /// commits of its tasks has nothing to do.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`], and the store's own failures; what was done before them stays done.
    async fn tend_batches(&self, tend: TendBatches) -> Result<TendedBatches, StoreError>;
}

/// The creation of what follows a batch.
pub fn follow_up(batch: &Batch, now: Timestamp) -> Option<Create> {
    let tasks = vec![batch.then_task()?];
    Some(Create { now, tasks, atomic: false, idempotency: None, by: Some(batch.by()) })
}
