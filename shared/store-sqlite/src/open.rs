//! Opening the file: its settings, its identity and its schema.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use baton_store::StoreError;
use baton_store::error::Cause;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::store_error;
use crate::{Durability, Options};

/// Marks the file as Baton's (`application_id` of the SQLite file format): "Batn".
const APPLICATION_ID: i32 = 0x4261_746e;

/// The steps that bring a file up to date; step i leads from schema version i to i + 1. Never edited once released.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("schema-2.sql")];

/// SQLite's page size, which Baton leaves at its default.
const PAGE_BYTES: u64 = 4_096;

const NOT_BATONS: &str = "it is not a Baton database; name another file";

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
    db.execute_batch(&settings).map_err(|error| opening(path, error))?;
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

/// Takes the lock that says which process has the database open: a file beside it, as a lock on the database itself
/// would be in SQLite's way. The system lets go of it when the process ends, however it ends.
pub(crate) fn lock(path: &Path) -> Result<File, StoreError> {
    if path.is_dir() {
        return Err(cannot_open(path, "it is a folder; name a file", None));
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        let why = format!("the folder {} does not exist; make it, or name another file", folder.display());
        return Err(cannot_open(path, why, None));
    }
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&name).map_err(|error| {
        cannot_open(
            path,
            "its folder cannot be written; mend its permissions, or name another file",
            Some(error.into()),
        )
    })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(cannot_open(path, "another baton has it open; stop that one, or name another file", None))
        }
        Err(TryLockError::Error(error)) => Err(cannot_open(
            path,
            "it cannot be locked; put it on a file system that has locks",
            Some(error.into()),
        )),
    }
}

fn cannot_open(path: &Path, why: impl Into<String>, cause: Option<Cause>) -> StoreError {
    StoreError::CannotOpen { place: path.display().to_string(), why: why.into(), cause }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .and_then(|db| {
            db.busy_timeout(BUSY)?;
            db.set_prepared_statement_cache_capacity(128);
            // Without it, each new value bound to a parameter that the choice of an index hangs on has SQLite compile
            // the statement anew.
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            Ok(db)
        })
        .map_err(|error| opening(path, error))
}

/// What an error at opening means, and what to do about it.
fn opening(path: &Path, error: rusqlite::Error) -> StoreError {
    match store_error(error) {
        StoreError::Corrupt { cause, .. } => cannot_open(path, NOT_BATONS, cause),
        StoreError::Unavailable(cause) => {
            let why = "it is locked by another program, or may not be read and written; see to that, or name another file";
            cannot_open(path, why, Some(cause))
        }
        other => other,
    }
}

/// Refuses a file that is another program's, before anything is written to it.
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
