//! Opening the file: its settings, its identity and its schema.

use std::path::Path;
use std::time::Duration;

use baton_store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::store_error;
use crate::hold::Hold;
use crate::refusal::{NOT_BATONS, cannot_open, forbidden, opening, upgrading};
use crate::{Durability, Options};

/// Marks the file as Baton's (`application_id` of the SQLite file format): "Batn".
const APPLICATION_ID: i32 = 0x4261_746e;

/// The steps that bring a file up to date; step i leads from schema version i to i + 1. Never edited once released.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
    include_str!("schema-4.sql"),
    include_str!("schema-5.sql"),
    include_str!("schema-6.sql"),
    include_str!("schema-7.sql"),
    include_str!("schema-8.sql"),
    include_str!("schema-9.sql"),
    include_str!("schema-10.sql"),
    include_str!("schema-11.sql"),
    include_str!("schema-12.sql"),
    include_str!("schema-13.sql"),
    include_str!("schema-14.sql"),
    include_str!("schema-15.sql"),
    include_str!("schema-16.sql"),
    include_str!("schema-17.sql"),
    include_str!("schema-18.sql"),
];

/// SQLite's page size, which Baton leaves at its default.
pub(crate) const PAGE_BYTES: u64 = 4_096;

/// How long to wait for another process that holds the file.
const BUSY: Duration = Duration::from_secs(5);

/// What a database begins with, where its `application_id` lies in it, and how it is written there: the SQLite file format.
const MAGIC: &[u8] = b"SQLite format 3\0";
const APPLICATION_ID_AT: std::ops::Range<usize> = 68..72;

/// Opens the held file for the writing thread and brings its schema up to date.
pub(crate) fn for_writing(hold: &Hold, options: Options) -> Result<Connection, StoreError> {
    let path = hold.path();
    refuse_others(hold)?;
    let db = connect(path)?;
    identify(&db, path)?;
    let synchronous = match options.durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    // A 64 MiB cache holds the indexes of a few hundred thousand waiting tasks. The log is folded into the file every
    // 4,000 pages (16 MiB), and shrunk when a burst has made it larger than 64 MiB.
    let settings = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -65536; \
         PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;"
    );
    db.execute_batch(&settings).map_err(|error| opening(path, error))?;
    // What bringing an older file up to date sorts and puts aside goes to the disk: in memory it would be as much as the file has of it
    // (400 MB in all with a million log lines, and so 150 MB).
    migrate(&db, path)?;
    db.execute_batch("PRAGMA temp_store = MEMORY").map_err(|error| opening(path, error))?;
    if let Some(bytes) = options.max_bytes {
        db.execute_batch(&format!("PRAGMA max_page_count = {}", (bytes / PAGE_BYTES).max(1)))
            .map_err(store_error)?;
    }
    Ok(db)
}

/// Opens the held file for queries; it has been opened for writing before.
pub(crate) fn for_reading(hold: &Hold) -> Result<Connection, StoreError> {
    let db = connect(hold.path())?;
    db.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;")
        .map_err(store_error)?;
    Ok(db)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    // Without SQLITE_OPEN_CREATE: the file was made when it was taken hold of, and is the one that is locked.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
        .and_then(|db| {
            db.busy_timeout(BUSY)?;
            db.set_prepared_statement_cache_capacity(128);
            // Without it, each new value bound to a parameter that the choice of an index hangs on has SQLite compile
            // the statement anew: 1.6 times the instructions of a lifecycle (676,000 for 428,000, HTTP included).
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            Ok(db)
        })
        .map_err(|error| opening(path, error))
}

/// Refuses a file that is plainly another program's, before SQLite opens it: to open it would be to write to it, where a
/// crash of that program is to be made good.
fn refuse_others(hold: &Hold) -> Result<(), StoreError> {
    let header = hold.header().map_err(|error| forbidden(hold.path(), error))?;
    // A file that a crash has met while it was new is empty, or has no mark but in the log.
    let is_new = header.is_empty();
    let id = header.get(APPLICATION_ID_AT).map(|id| id.iter().fold(0, |id, byte| id << 8 | i32::from(*byte)));
    if is_new || header.starts_with(MAGIC) && matches!(id, Some(0 | APPLICATION_ID)) {
        return Ok(());
    }
    Err(cannot_open(hold.path(), NOT_BATONS, None))
}

/// Refuses a file that is another program's by what it holds, before anything of Baton's is written to it.
fn identify(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let number =
        |sql: &str| db.query_row(sql, [], |row| row.get::<_, i32>(0)).map_err(|error| opening(path, error));
    let id = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if id != APPLICATION_ID && (id != 0 || tables != 0) {
        return Err(cannot_open(path, NOT_BATONS, None));
    }
    Ok(())
}

fn migrate(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as u32;
    let failed = |error| opening(path, error);
    db.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let outcome = (|| {
        let found: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if found > known {
            return Err(StoreError::NewerSchema { found, known });
        }
        for step in &MIGRATIONS[found as usize..] {
            db.execute_batch(step).map_err(|error| upgrading(path, error))?;
        }
        db.execute_batch(&format!("PRAGMA user_version = {known}; PRAGMA application_id = {APPLICATION_ID};"))
            .map_err(failed)
    })();
    match outcome {
        Ok(()) => db.execute_batch("COMMIT").map_err(failed),
        Err(error) => {
            db.execute_batch("ROLLBACK").map_err(failed)?;
            Err(error)
        }
    }
}
