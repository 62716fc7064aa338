//! Opening the file: its settings, its identity and its schema.

use std::path::Path;
use std::time::Duration;

use baton_store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{corrupt, store_error};
use crate::{Durability, Options};

/// Marks the file as Baton's (`application_id` of the SQLite file format): "Batn".
const APPLICATION_ID: i32 = 0x4261_746e;

/// The steps that bring a file up to date; step i leads from schema version i to i + 1. Never edited once released.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

/// SQLite's page size, which Baton leaves at its default.
const PAGE_BYTES: u64 = 4_096;

/// How long to wait for another process that holds the file.
const BUSY: Duration = Duration::from_secs(5);

/// Opens the file for the writing thread and brings its schema up to date.
pub(crate) fn for_writing(path: &Path, options: Options) -> Result<Connection, StoreError> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    identify(&db, path)?;
    let synchronous = match options.durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    // A 64 MiB cache holds the indexes of a few hundred thousand waiting tasks. The log is folded into the file every
    // 4,000 pages (16 MiB), and shrunk when a burst has made it larger than 64 MiB.
    let settings = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -65536; \
         PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY;"
    );
    db.execute_batch(&settings).map_err(store_error)?;
    migrate(&db)?;
    if let Some(bytes) = options.max_bytes {
        db.execute_batch(&format!("PRAGMA max_page_count = {}", (bytes / PAGE_BYTES).max(1)))
            .map_err(store_error)?;
    }
    Ok(db)
}

/// Opens the file for queries; it has been opened for writing before.
pub(crate) fn for_reading(path: &Path) -> Result<Connection, StoreError> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;")
        .map_err(store_error)?;
    Ok(db)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .and_then(|db| {
            db.busy_timeout(BUSY)?;
            db.set_prepared_statement_cache_capacity(128);
            // Without it, each new value bound to a parameter that the choice of an index hangs on has SQLite compile
            // the statement anew.
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            Ok(db)
        })
        .map_err(|error| match store_error(error) {
            StoreError::Unavailable(cause) => {
                StoreError::Unavailable(format!("cannot open {}: {cause}", path.display()).into())
            }
            other => other,
        })?;
    Ok(db)
}

/// Refuses a file that is another program's, before anything is written to it.
fn identify(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i32>(0)).map_err(store_error);
    let id = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if id != APPLICATION_ID && (id != 0 || tables != 0) {
        let found = format!("expected a Baton database (application id {APPLICATION_ID:#x}), got {id:#x}");
        return Err(corrupt(format!("{} is not a Baton database", path.display()), found));
    }
    Ok(())
}

fn migrate(db: &Connection) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as u32;
    // Two processes may open a new file at once: the version is read again under the lock.
    db.execute_batch("BEGIN IMMEDIATE").map_err(store_error)?;
    let outcome = (|| {
        let found: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(store_error)?;
        if found > known {
            return Err(StoreError::NewerSchema { found, known });
        }
        for step in &MIGRATIONS[found as usize..] {
            db.execute_batch(step).map_err(store_error)?;
        }
        db.execute_batch(&format!("PRAGMA user_version = {known}; PRAGMA application_id = {APPLICATION_ID};"))
            .map_err(store_error)
    })();
    match outcome {
        Ok(()) => db.execute_batch("COMMIT").map_err(store_error),
        Err(error) => {
            db.execute_batch("ROLLBACK").map_err(store_error)?;
            Err(error)
        }
    }
}
