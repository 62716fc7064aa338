//! Small documents that a server keeps for itself.

use async_trait::async_trait;
use baton_store::transfer::{DocumentRecord, Holding, NAMED, Verdict, document_onto, document_sum};
use baton_store::{Document, DocumentChange, DocumentChanges, DocumentStore, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::error::Failure;
use crate::timeline;
use crate::transaction::Transaction;
use crate::transfer::{Taken, has_table};

#[async_trait]
impl DocumentStore for SqliteStore {
    async fn documents(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Document>, StoreError> {
        let (kind, after) = (kind.to_owned(), after.map(str::to_owned));
        self.readers.run(move |db| documents(db, &kind, after.as_deref(), limit)).await
    }

    async fn count_documents(&self, kind: &str) -> Result<u64, StoreError> {
        let kind = kind.to_owned();
        self.readers.run(move |db| count(db, &kind)).await
    }

    async fn document(&self, kind: &str, name: &str) -> Result<Option<String>, StoreError> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.readers.run(move |db| document(db, &kind, &name)).await
    }

    async fn change_documents(&self, changes: DocumentChanges) -> Result<bool, StoreError> {
        self.writer.run(changes, change).await
    }
}

fn documents(db: &Connection, kind: &str, after: Option<&str>, limit: u32) -> Result<Vec<Document>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT name, value FROM document WHERE kind = ?1 AND name > ?2 ORDER BY name LIMIT ?3",
    )?;
    // No document has an empty name.
    let rows = statement.query_map(params![kind, after.unwrap_or_default(), limit], |row| {
        Ok(Document { name: row.get(0)?, value: row.get(1)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn count(db: &Connection, kind: &str) -> Result<u64, Failure> {
    let mut statement = db.prepare_cached("SELECT count(*) FROM document WHERE kind = ?1")?;
    Ok(statement.query_row([kind], |row| row.get(0))?)
}

fn document(db: &Connection, kind: &str, name: &str) -> Result<Option<String>, Failure> {
    let mut statement = db.prepare_cached("SELECT value FROM document WHERE kind = ?1 AND name = ?2")?;
    Ok(statement.query_row([kind, name], |row| row.get(0)).optional()?)
}

fn change(transaction: &mut Transaction<'_>, changes: &DocumentChanges) -> Result<bool, Failure> {
    for change in &changes.changes {
        let DocumentChange::Replace { kind, name, was, value } = change else { continue };
        let standing = document(transaction.db, kind, name)?;
        if standing != *was && standing.as_ref() != Some(value) {
            return Ok(false);
        }
    }
    for change in &changes.changes {
        match change {
            DocumentChange::Put { kind, name, value } | DocumentChange::Replace { kind, name, value, .. } => {
                transaction
                    .db
                    .prepare_cached(
                        "INSERT INTO document (kind, name, value) VALUES (?1, ?2, ?3) \
                     ON CONFLICT DO UPDATE SET value = ?3",
                    )?
                    .execute([kind, name, value])?
            }
            DocumentChange::Remove { kind, name } => transaction
                .db
                .prepare_cached("DELETE FROM document WHERE kind = ?1 AND name = ?2")?
                .execute([kind, name])?,
        };
    }
    for (at, happened) in &changes.happened {
        timeline::note(transaction, *at, happened)?;
    }
    Ok(true)
}

/// Documents by kind and name, behind one (`?1`, `?2`), at most so many (`?3`): each as [`record`] reads it.
pub(crate) const BEHIND: &str =
    "SELECT kind, name, value FROM document WHERE (kind, name) > (?1, ?2) ORDER BY kind, name LIMIT ?3";

pub(crate) fn record(row: &Row<'_>) -> rusqlite::Result<DocumentRecord> {
    Ok(DocumentRecord { kind: row.get(0)?, name: row.get(1)?, value: row.get(2)? })
}

/// Where it is noted what documents said that were taken in.
const NOTED: &str = "transfer_document";

/// Takes in a document of another store. What it said then is noted beside the schema's tables, as how far the migration has come is:
/// by it one is known that was written here since.
pub(crate) fn import(transaction: &mut Transaction<'_>, record: &DocumentRecord) -> Result<Taken, Failure> {
    let db = transaction.db;
    let DocumentRecord { kind, name, value } = record;
    if !has_table(db, NOTED)? {
        db.execute_batch(
            "CREATE TABLE transfer_document (kind TEXT NOT NULL, name TEXT NOT NULL, sum TEXT NOT NULL, \
             PRIMARY KEY (kind, name)) STRICT, WITHOUT ROWID",
        )?;
    }
    let standing = document(db, kind, name)?;
    let noted: Option<String> = db
        .prepare_cached("SELECT sum FROM transfer_document WHERE kind = ?1 AND name = ?2")?
        .query_row([kind, name], |row| row.get(0))
        .optional()?;
    let was_taken = |sum: &str| noted.as_deref() == Some(sum);
    let verdict = document_onto(record, standing.as_deref(), was_taken);
    if matches!(verdict, Ok(Verdict::New | Verdict::Later)) {
        let (kind, name, value) = (kind.clone(), name.clone(), value.clone());
        let noted = document_sum(&value);
        db.prepare_cached("INSERT OR REPLACE INTO transfer_document (kind, name, sum) VALUES (?1, ?2, ?3)")?
            .execute([&kind, &name, &noted])?;
        let changes = vec![DocumentChange::Put { kind, name, value }];
        change(transaction, &DocumentChanges { changes, happened: Vec::new() })?;
    }
    Ok(verdict)
}

/// Removes those documents that say what they said when they were taken in.
pub(crate) fn remove_copies(transaction: &mut Transaction<'_>) -> Result<(), Failure> {
    let db = transaction.db;
    if !has_table(db, NOTED)? {
        return Ok(());
    }
    let mut statement = db.prepare(
        "SELECT d.kind, d.name, d.value, t.sum FROM transfer_document t JOIN document d USING (kind, name)",
    )?;
    let mut rows = statement.query([])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let DocumentRecord { kind, name, value } = record(row)?;
        if row.get::<_, String>(3)? == document_sum(&value) {
            changes.push(DocumentChange::Remove { kind, name });
        }
    }
    change(transaction, &DocumentChanges { changes, happened: Vec::new() })?;
    Ok(())
}

/// What there is of documents, for who cannot take them: each kind by count, and by names where people have given them.
pub(crate) fn holdings(db: &Connection) -> Result<Vec<Holding>, Failure> {
    let mut statement = db.prepare("SELECT kind, count(*) FROM document GROUP BY kind ORDER BY kind")?;
    let kinds = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    let mut found = Vec::new();
    for kind in kinds {
        let (kind, records) = kind?;
        let names = match Holding::tells_names(&kind) {
            true => documents(db, &kind, None, NAMED as u32)?.into_iter().map(|one| one.name).collect(),
            false => Vec::new(),
        };
        found.push(Holding::of_documents(&kind, records, names));
    }
    Ok(found)
}
