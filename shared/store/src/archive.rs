//! Archiving finished tasks before they are removed: what a store has for it, what an archive is, and the order of the two.
//!
//! Tasks are read out, written to the archive, and removed on the condition that they are still as they were written: a crash in
//! between leaves tasks that are written once more, and none that is gone and not written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use baton_model::{TaskId, Timestamp};

use crate::error::{Cause, StoreError};
use crate::transfer::{Refusal, TaskRecord, Verdict};

/// How many tasks are removed by one command: few enough that other commands do not wait long behind it.
pub const REMOVED_AT_ONCE: usize = 256;

/// A store whose finished tasks can be archived before they are removed. Where it is opened so, neither a purge nor
/// [`TaskStore::remove`](crate::TaskStore::remove) removes any: a purge leaves them, and what is removed by hand is past its keeping from
/// then on.
#[async_trait]
pub trait ArchiveStore: Send + Sync {
    /// Finished tasks that are past their keeping, with all that belongs to them: up to `limit`, and about
    /// [`PAGE_BYTES`](crate::transfer::PAGE_BYTES). A store that has an index of them gives those first that have been so for longest;
    /// one that has to look for them goes on where it ended the last time, and may give none although there are some further on. What
    /// unfinished tasks depend on is not among them, nor what is damaged, which the log names and which stays.
    ///
    /// # Errors
    /// The store's own failures.
    async fn ended(&self, past: Past, limit: u32) -> Result<Vec<TaskRecord>, StoreError>;

    /// Removes finished tasks of which so many events were archived; says how many. One that has lived again since, or that others have
    /// come to depend on, is left.
    ///
    /// # Errors
    /// The store's own failures; some of them may be removed then.
    async fn remove_archived(&self, tasks: Vec<(TaskId, u32)>, now: Timestamp) -> Result<u64, StoreError>;

    /// Takes tasks in again that were archived, as [`Transfer::import`](crate::Transfer::import) does, each by itself; they are kept anew
    /// from `now` on. One that lives in the store, further on than it was written, is refused.
    ///
    /// # Errors
    /// The store's own failures; some of the tasks may have been taken in then.
    async fn restore(
        &self,
        tasks: Vec<TaskRecord>,
        now: Timestamp,
    ) -> Result<Vec<Result<Verdict, Refusal>>, StoreError>;
}

/// Where finished tasks are written before they are removed.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Writes tasks. When this returns, all of them are durably there. Written again, each is still read once.
    ///
    /// # Errors
    /// Where the archive is, and why it cannot be written; some of them may be in it then.
    async fn keep(&self, tasks: &[TaskRecord], now: Timestamp) -> Result<(), ArchiveError>;

    /// Makes one file of what was written of each day that ended before `before`; says of how many days and projects. A day of a project
    /// that has more bytes than `most` is left as it lies, and is read as well; the smallest come first, so that one that is cut off holds
    /// up none that takes less.
    ///
    /// # Errors
    /// As [`Archive::keep`]; nothing is lost then.
    async fn gather(&self, before: Timestamp, most: Option<u64>) -> Result<u64, ArchiveError>;
}

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("the archive {place} cannot be used")]
pub struct ArchiveError {
    /// Where it is.
    pub place: String,
    /// Why not.
    #[source]
    pub cause: Cause,
}

impl ArchiveError {
    /// The error with its causes, for the log.
    pub fn report(&self) -> String {
        baton_model::with_causes(self)
    }
}

/// Why a step of archiving stopped. Nothing was removed that was not written.
#[derive(Debug, thiserror::Error)]
pub enum ArchivingError {
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a step has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// How many tasks were written.
    pub written: u64,
    /// How many of these were removed.
    pub removed: u64,
}

/// A store with its archive.
#[derive(Clone)]
pub struct Archiver {
    /// The store.
    pub store: Arc<dyn ArchiveStore>,
    /// Where its finished tasks go.
    pub archive: Arc<dyn Archive>,
}

/// Which tasks are past their keeping.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// Those that are kept as all are, whose keeping began before this time.
    pub all: Timestamp,
    /// Those that are kept for a time of their own, which is over before this one.
    pub own: Timestamp,
}

impl Archiver {
    /// Archives all tasks that are past their keeping, a step of up to `limit` after another, and says what it has done, and why it
    /// stopped if that was not for want of more. What comes to be past its keeping meanwhile is left for the next time: else there would
    /// always be some more, and each step makes parts of its own.
    pub async fn archive<F: Future<Output = ()> + Send>(
        &self,
        past: Past,
        now: impl Fn() -> Timestamp + Send,
        limit: u32,
        pause: impl Fn(Duration) -> F + Send + Sync,
    ) -> (Archived, Option<ArchivingError>) {
        let mut all = Archived::default();
        loop {
            match self.step(past, now(), limit, &pause).await {
                // All of these have come to be needed since they were read: they are looked at again later.
                Ok(Archived { removed: 0, .. }) => return (all, None),
                Ok(Archived { written, removed }) => {
                    all = Archived { written: all.written + written, removed: all.removed + removed };
                }
                Err(error) => return (all, Some(error)),
            }
        }
    }

    /// Archives some of the tasks that are past their keeping, up to `limit`, and removes them. `pause` is awaited after each command
    /// that removes, for as long as that has taken, so that others have their turn.
    ///
    /// # Errors
    /// [`ArchivingError`]; the next step begins with the same tasks.
    pub async fn step<F: Future<Output = ()> + Send>(
        &self,
        past: Past,
        now: Timestamp,
        limit: u32,
        pause: impl Fn(Duration) -> F + Send,
    ) -> Result<Archived, ArchivingError> {
        let tasks = self.store.ended(past, limit).await?;
        if tasks.is_empty() {
            return Ok(Archived::default());
        }
        self.archive.keep(&tasks, now).await?;
        let mut archived = Archived { written: tasks.len() as u64, removed: 0 };
        for some in tasks.chunks(REMOVED_AT_ONCE) {
            let some = some.iter().map(|record| (record.task.head.id, record.task.head.events)).collect();
            let began = Instant::now();
            archived.removed += self.store.remove_archived(some, now).await?;
            pause(began.elapsed()).await;
        }
        Ok(archived)
    }
}
