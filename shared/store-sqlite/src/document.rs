//! Small documents that a server keeps for itself.

use async_trait::async_trait;
use baton_store::{Document, DocumentChange, DocumentChanges, DocumentStore, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use crate::SqliteStore;
use crate::error::Failure;
use crate::timeline;
use crate::transaction::Transaction;

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

    async fn change_documents(&self, changes: DocumentChanges) -> Result<(), StoreError> {
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

fn change(transaction: &mut Transaction<'_>, changes: &DocumentChanges) -> Result<(), Failure> {
    for change in &changes.changes {
        match change {
            DocumentChange::Put { kind, name, value } => transaction
                .db
                .prepare_cached(
                    "INSERT INTO document (kind, name, value) VALUES (?1, ?2, ?3) \
                     ON CONFLICT DO UPDATE SET value = ?3",
                )?
                .execute([kind, name, value])?,
            DocumentChange::Remove { kind, name } => transaction
                .db
                .prepare_cached("DELETE FROM document WHERE kind = ?1 AND name = ?2")?
                .execute([kind, name])?,
        };
    }
    for (at, happened) in &changes.happened {
        timeline::note(transaction, *at, happened)?;
    }
    Ok(())
}
