//! Reading out what the file holds, and taking in what another store has read out.

mod export;
mod import;

use async_trait::async_trait;
use baton_model::Timestamp;
use baton_store::transfer::{Holding, ImportError, Record, Refusal, Verdict};
use baton_store::{Count, Cursor, Page, StoreError, Transfer};
use rusqlite::{Connection, OptionalExtension};

use self::export::page;
use crate::SqliteStore;
use crate::error::Failure;
use crate::transaction::Transaction;
use crate::{bulk, document, timeline};

pub(crate) use self::export::task_record;
pub(crate) use self::import::{Taken, import};

#[async_trait]
impl Transfer for SqliteStore {
    async fn export(
        &self,
        _now: Timestamp,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Record>, StoreError> {
        self.readers.run(move |db| page(db, after, limit)).await
    }

    async fn import(&self, records: Vec<Record>) -> Result<Vec<Verdict>, ImportError> {
        // Each is a command of its own, so that a refused one has written nothing; they still share a commit.
        let taken = records.into_iter().map(|record| self.writer.run(record, import));
        let taken = futures::future::join_all(taken).await;
        taken.into_iter().map(|one| one?.map_err(ImportError::Refused)).collect()
    }

    async fn import_page(
        &self,
        records: Vec<Record>,
        checkpoint: String,
    ) -> Result<Vec<Verdict>, ImportError> {
        self.writer.run((records, checkpoint), import_page).await?.map_err(ImportError::Refused)
    }

    async fn begin_anew(&self) -> Result<(), StoreError> {
        self.writer.run((), |transaction, ()| document::remove_copies(transaction)).await
    }

    async fn holdings(&self) -> Result<Vec<Holding>, StoreError> {
        self.readers
            .run(|db| {
                let mut found = Vec::from(bulk::holdings(db)?);
                found.extend(document::holdings(db)?);
                found.extend(timeline::holdings(db)?);
                Ok(found)
            })
            .await
    }

    async fn set_counts(&self, counts: Vec<Count>) -> Result<(), StoreError> {
        self.writer.run(counts, set_counts).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.readers
            .run(|db| {
                if !has_checkpoints(db)? {
                    return Ok(None);
                }
                Ok(db.query_row("SELECT checkpoint FROM transfer", [], |row| row.get(0)).optional()?)
            })
            .await
    }

    async fn set_checkpoint(&self, checkpoint: String) -> Result<(), StoreError> {
        self.writer.run(checkpoint, set_checkpoint).await
    }
}

/// A page of a migration, with how far that has come then: one command and one commit. Where a record is refused, those before it are taken
/// in, and nothing is kept of how far it has come.
fn import_page(
    transaction: &mut Transaction<'_>,
    (records, checkpoint): &(Vec<Record>, String),
) -> Result<Result<Vec<Verdict>, Refusal>, Failure> {
    let mut verdicts = Vec::with_capacity(records.len());
    for record in records {
        match import(transaction, record)? {
            Ok(verdict) => verdicts.push(verdict),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    set_checkpoint(transaction, checkpoint)?;
    Ok(Ok(verdicts))
}

/// Whether the file was ever migrated into: only then has it the table, which is no part of its schema.
fn has_checkpoints(db: &Connection) -> Result<bool, Failure> {
    has_table(db, "transfer")
}

pub(crate) fn has_table(db: &Connection, name: &str) -> Result<bool, Failure> {
    Ok(db.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = ?1")?.exists([name])?)
}

fn set_checkpoint(transaction: &mut Transaction<'_>, checkpoint: &String) -> Result<(), Failure> {
    let db = transaction.db;
    if !has_checkpoints(db)? {
        db.execute_batch("CREATE TABLE transfer (n INTEGER PRIMARY KEY, checkpoint TEXT NOT NULL) STRICT")?;
    }
    db.prepare_cached("INSERT OR REPLACE INTO transfer (n, checkpoint) VALUES (1, ?1)")?
        .execute([checkpoint])?;
    Ok(())
}

fn set_counts(transaction: &mut Transaction<'_>, counts: &Vec<Count>) -> Result<(), Failure> {
    transaction.db.execute("DELETE FROM tally", [])?;
    for count in counts {
        let change = i64::try_from(count.tasks).unwrap_or(i64::MAX);
        // All types have tallies of their own here.
        if let Some(task_type) = &count.task_type {
            transaction.tally(&count.queue, task_type, count.state, change);
        }
    }
    Ok(())
}
