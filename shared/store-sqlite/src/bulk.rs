//! The records of bulk commands.

use async_trait::async_trait;
use baton_model::{Bulk, BulkId, Timestamp};
use baton_store::transfer::{Holding, NAMED, Verdict, bulk_onto};
use baton_store::{BulkStore, Cursor, Page, PageRequest, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::error::Failure;
use crate::rows::{from_json, to_json};
use crate::transaction::Transaction;
use crate::transfer::Taken;

const WHAT: &str = "a bulk command";

/// How many that go on are told at once.
const OPEN: i64 = 100;

#[async_trait]
impl BulkStore for SqliteStore {
    async fn create_bulk(&self, bulk: Bulk) -> Result<(), StoreError> {
        self.writer.run(bulk, create).await
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError> {
        self.readers.run(move |db| by_id(db, id)).await
    }

    async fn put_bulk(&self, bulk: Bulk) -> Result<bool, StoreError> {
        let is_over = bulk.pending.is_empty();
        let is_put = self.writer.run(bulk, put).await?;
        if is_put
            && is_over
            && let Err(error) = self.readers.run(fold_log).await
        {
            tracing::warn!(
                error = error.report(),
                "the log could not be folded into the file beside a bulk command"
            );
        }
        Ok(is_put)
    }

    async fn bulks(&self, page: PageRequest) -> Result<Page<Bulk>, StoreError> {
        self.readers.run(move |db| self::page(db, &page)).await
    }

    async fn open_bulks(&self) -> Result<Vec<BulkId>, StoreError> {
        self.readers.run(open).await
    }
}

/// Keeps a new record.
fn create(transaction: &mut Transaction<'_>, bulk: &Bulk) -> Result<(), Failure> {
    transaction
        .db
        .prepare_cached("INSERT OR IGNORE INTO bulk (id, version, ended_at, record) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            bulk.id.as_bytes(),
            bulk.version,
            bulk.ended_at.map(Timestamp::as_millis),
            to_json(WHAT, bulk)?
        ])?;
    Ok(())
}

/// Puts a record in the place of the version before it.
fn put(transaction: &mut Transaction<'_>, bulk: &Bulk) -> Result<bool, Failure> {
    let put = transaction
        .db
        .prepare_cached(
            "UPDATE bulk SET version = ?2, ended_at = ?3, record = ?4 WHERE id = ?1 AND version = ?2 - 1",
        )?
        .execute(params![
            bulk.id.as_bytes(),
            bulk.version,
            bulk.ended_at.map(Timestamp::as_millis),
            to_json(WHAT, bulk)?
        ])?;
    Ok(put == 1 || by_id(transaction.db, bulk.id)?.as_ref() == Some(bulk))
}

/// Folds the log into the file after each page of a command, as far as nobody is in the way. A reader does it, as it holds nobody up: the
/// writing thread would do it every 16 MiB, and claims would wait for it (the slowest of a hundred beside a command 105 ms, and so 18 ms).
fn fold_log(db: &Connection) -> Result<(), Failure> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    Ok(())
}

/// The record of a command.
fn by_id(db: &Connection, id: BulkId) -> Result<Option<Bulk>, Failure> {
    let record: Option<String> = db
        .prepare_cached("SELECT record FROM bulk WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(record.map(|json| from_json(WHAT, &json)).transpose()?)
}

/// Records, the newest first.
fn page(db: &Connection, request: &PageRequest) -> Result<Page<Bulk>, Failure> {
    let below = match &request.after {
        None => None,
        Some(Cursor(text)) => Some(text.parse::<BulkId>().map_err(|_| StoreError::BadCursor)?),
    };
    let mut statement =
        db.prepare_cached("SELECT record FROM bulk WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2")?;
    let limit = request.limit as usize;
    let mut rows =
        statement.query(params![below.as_ref().map(BulkId::as_bytes), limit.saturating_add(1) as i64])?;
    let mut items: Vec<Bulk> = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(from_json(WHAT, &row.get::<_, String>(0)?)?);
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| Cursor(last.id.to_string()));
    Ok(Page { items, next })
}

/// Records by id, behind one (`?1`), the oldest first, at most so many (`?2`): each as [`record`] reads it.
pub(crate) const BEHIND: &str = "SELECT record FROM bulk WHERE id > ?1 ORDER BY id LIMIT ?2";

pub(crate) fn record(row: &Row<'_>) -> Result<Bulk, Failure> {
    Ok(from_json(WHAT, &row.get::<_, String>(0)?)?)
}

/// Takes in a record of another store. Where its list goes on is told by the places of tasks, which are moved, too.
pub(crate) fn import(transaction: &mut Transaction<'_>, record: &Bulk) -> Result<Taken, Failure> {
    let verdict = bulk_onto(record, by_id(transaction.db, record.id)?.as_ref());
    if matches!(verdict, Ok(Verdict::New | Verdict::Later)) {
        transaction.db.prepare_cached("DELETE FROM bulk WHERE id = ?1")?.execute([record.id.as_bytes()])?;
        create(transaction, record)?;
    }
    Ok(verdict)
}

/// What there is of commands, for who cannot take them: how many go on, and which, and how many have ended.
pub(crate) fn holdings(db: &Connection) -> Result<[Holding; 2], Failure> {
    let names = open(db)?.iter().map(ToString::to_string).take(NAMED).collect();
    let count = |sql: &str| Ok::<_, Failure>(db.query_row(sql, [], |row| row.get::<_, u64>(0))?);
    let open = count("SELECT count(*) FROM bulk WHERE ended_at IS NULL")?;
    Ok(Holding::of_bulks((open, names), count("SELECT count(*) FROM bulk WHERE ended_at IS NOT NULL")?))
}

/// Commands that go on, the oldest first.
fn open(db: &Connection) -> Result<Vec<BulkId>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT id FROM bulk INDEXED BY bulk_open WHERE ended_at IS NULL ORDER BY id LIMIT ?1",
    )?;
    let ids = statement.query_map([OPEN], |row| row.get(0).map(BulkId::from_bytes))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// Removes records of commands that ended long ago.
pub(crate) fn sweep(db: &Connection, now: Timestamp) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM bulk WHERE ended_at < ?1")?
        .execute([now.minus(Bulk::KEPT).as_millis()])?;
    Ok(())
}
