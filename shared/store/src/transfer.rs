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

pub use migration::{Compared, LeftBehind, Migration, MigrationError, Outcome, Progress};
pub use onto::{
    audit_onto, batch_onto, bulk_onto, document_onto, document_sum, happened_onto, limit_onto, order_onto,
    owned_onto, queue_onto, schedule_onto, settings_onto, supply_onto, token_onto,
};
pub use record::{
    Answer, BULK, ClaimRecord, DocumentRecord, DurationsRecord, HappenedRecord, KeyRecord, LogRecord,
    NOTICES, OrderRecord, Record, Refusal, TIMELINE, Tally, TaskRecord, Verdict, WorkerRecord,
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

    /// As [`Transfer::import`], and then keeps how far the migration has come that they are of: in one commit where the store can.
    ///
    /// # Errors
    /// As [`Transfer::import`]; nothing is kept then of how far it has come.
    async fn import_page(
        &self,
        records: Vec<Record>,
        checkpoint: String,
    ) -> Result<Vec<Verdict>, ImportError> {
        let verdicts = self.import(records).await?;
        self.set_checkpoint(checkpoint).await?;
        Ok(verdicts)
    }

    /// Makes room for a copy that begins anew, as the source has changed: removes those documents that say what a record said that was
    /// taken in, and nothing that was written here. Else one that the source has removed since would stay, and a message be sent twice.
    /// What was begun before and broke off may be begun again.
    ///
    /// # Errors
    /// The store's own failures.
    async fn begin_anew(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The groups of records that this store neither reads out nor takes in: what there is of them stays behind, and is told.
    fn lacks(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether tasks have the places in its lists here that they have in another store that says so, too: bulk commands go on there
    /// where they were. Else they go down their lists again ([`Bulk::down_again`](baton_model::Bulk::down_again)).
    fn keeps_places(&self) -> bool {
        true
    }

    /// What the store holds of those groups that some stores lack: each kind of thing by name and count.
    ///
    /// # Errors
    /// The store's own failures.
    async fn holdings(&self) -> Result<Vec<Holding>, StoreError> {
        Ok(Vec::new())
    }

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

/// Whether tasks keep their places in lists when they are moved from one store into another.
fn keep_places(source: &dyn Transfer, target: &dyn Transfer) -> bool {
    source.keeps_places() && target.keeps_places()
}

/// A record of one store as another is to take it in; none if one of them has no place for it.
pub fn moved(record: Record, source: &dyn Transfer, target: &dyn Transfer) -> Option<Record> {
    if [source, target].iter().any(|store| store.lacks().contains(&record.group())) {
        return None;
    }
    match record {
        Record::Bulk(bulk) if !keep_places(source, target) => Some(Record::Bulk(Box::new(bulk.down_again()))),
        other => Some(other),
    }
}

/// How many names are told of what a store has no place for.
pub const NAMED: usize = 10;

/// Some of what a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The group of its records.
    pub group: &'static str,
    /// What it is, in the plural.
    pub what: String,
    /// How many.
    pub records: u64,
    /// Some of their names, where these say something.
    pub names: Vec<String>,
}

impl Holding {
    /// Bulk commands, with the names of some that go on: how many these are, and how many records there are of such as have ended.
    pub fn of_bulks((open, names): (u64, Vec<String>), ended: u64) -> [Self; 2] {
        let holding =
            |what: &str, records, names| Self { group: BULK, what: what.to_owned(), records, names };
        [
            holding("bulk commands that go on", open, names),
            holding("records of bulk commands that have ended", ended, Vec::new()),
        ]
    }

    /// Documents of a kind, with some of their names if [`Self::tells_names`].
    pub fn of_documents(kind: &str, records: u64, names: Vec<String>) -> Self {
        Self { group: NOTICES, what: format!("documents of {kind}"), records, names }
    }

    /// Whether documents of a kind have names that people have given them. Messages, whose kinds have a stroke in them, are named by ids.
    pub fn tells_names(kind: &str) -> bool {
        !kind.contains('/')
    }
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
