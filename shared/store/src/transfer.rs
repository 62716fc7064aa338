//! Moving all that one store holds into another, of the same kind or not.
//!
//! A store that can be moved implements [`Transfer`] besides [`Store`](crate::Store): it reads out what it holds
//! as [`Record`]s, and takes such records in. [`Migration`] copies between two of them, goes on where it was cut off, and
//! ends by holding checksums of both against each other.
//!
//! The rules of taking in are here, once, and the stores apply them: [`TaskRecord::onto`] says whether a task is new, the
//! same, a later version of what stands, or another task altogether.

mod migration;
mod onto;
mod record;
mod recount;

use async_trait::async_trait;
use baton_model::Timestamp;

use crate::error::StoreError;
use crate::query::{Count, Cursor, Page};

pub use migration::{Compared, Migration, MigrationError, Outcome, Progress};
pub use onto::{
    audit_onto, batch_onto, limit_onto, owned_onto, queue_onto, schedule_onto, settings_onto, supply_onto,
    token_onto,
};
pub use record::{
    Answer, ClaimRecord, DurationsRecord, KeyRecord, LogRecord, Record, Refusal, Tally, TaskRecord, Verdict,
    WorkerRecord,
};
pub use recount::recount;

/// The most bytes of payloads, about, that one page of an export holds: a page that would hold more ends early.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A store that can be read out whole, and filled from another.
///
/// While it goes on, nobody else may change either store: see `docs/migrate.md`.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// Reads out what the store holds, as of now and not as an index may still tell: queues, workers, tasks (each kind
    /// in the order of their making as far as the store has one), then what belongs to none of these. A page may be
    /// shorter than `limit`, even empty, while it names a next one. Without a change in between, two readings give the
    /// same records. `now` only says what is long past.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`], and the store's own failures.
    async fn export(
        &self,
        now: Timestamp,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Record>, StoreError>;

    /// Takes records in, in any order. The same record again changes nothing; a later version of one takes the place of
    /// the earlier. Waiting claims are not woken, and statistics count nothing: see [`Transfer::set_counts`].
    ///
    /// # Errors
    /// [`ImportError::Refused`] for a record that what stands does not allow, and the store's own failures. Others of
    /// the same call may have been taken in then.
    async fn import(&self, records: Vec<Record>) -> Result<Vec<Verdict>, ImportError>;

    /// Puts these in the place of all counts that statistics are read from.
    ///
    /// # Errors
    /// The store's own failures.
    async fn set_counts(&self, counts: Vec<Count>) -> Result<(), StoreError>;

    /// How far a migration into this store has come, as [`Transfer::set_checkpoint`] was told last.
    ///
    /// # Errors
    /// The store's own failures.
    async fn checkpoint(&self) -> Result<Option<String>, StoreError>;

    /// Keeps how far a migration into this store has come.
    ///
    /// # Errors
    /// The store's own failures.
    async fn set_checkpoint(&self, checkpoint: String) -> Result<(), StoreError>;
}

/// Why records were not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// What stands does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
