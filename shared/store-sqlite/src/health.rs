//! What the store can do now: damage that was met, a file that is no longer there, and how much room is left.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use baton_store::{Commits, Sizes, StoreError};
use nix::sys::statvfs::Statvfs;
use rusqlite::Connection;
use tokio::sync::watch;

use crate::error::Failure;
use crate::hold::{Hold, Identity};
use crate::open::PAGE_BYTES;
use crate::refusal::{LEAST_BYTES, disk, free_bytes};
use crate::transaction::Transaction;

/// What is done to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Reading,
    Writing,
}

/// What has become of the file since it was opened. Nothing of it mends itself: it ends with the store.
#[derive(Debug)]
pub(crate) struct Condition {
    hold: Arc<Hold>,
    log: Option<Identity>,
    damage_read: OnceLock<String>,
    damage_written: OnceLock<String>,
    gone: watch::Sender<Option<String>>,
    /// As in `gone`, to be read at no cost.
    is_gone: OnceLock<String>,
    /// What the writing thread counts of its commits.
    pub(crate) commits: Commits,
}

impl Condition {
    /// Of a file that is open, with its log beside it.
    pub(crate) fn new(hold: Arc<Hold>) -> Self {
        Self {
            log: hold.log_identity(),
            hold,
            damage_read: OnceLock::new(),
            damage_written: OnceLock::new(),
            gone: watch::Sender::new(None),
            is_gone: OnceLock::new(),
            commits: Commits::default(),
        }
    }

    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    fn damage(&self, side: Side) -> &OnceLock<String> {
        match side {
            Side::Reading => &self.damage_read,
            Side::Writing => &self.damage_written,
        }
    }

    /// Remembers damage, if that is what the error tells: what is damaged stays so, also if the next request does not come by.
    pub(crate) fn note(&self, side: Side, error: &StoreError) {
        if matches!(error, StoreError::Corrupt { .. }) {
            self.damage(side).get_or_init(|| error.report());
        }
    }

    /// Whether no damage was met.
    pub(crate) fn is_whole(&self, side: Side) -> Result<(), StoreError> {
        let Some(met) = self.damage(side).get() else { return Ok(()) };
        Err(StoreError::Corrupt {
            what: "the database file".to_owned(),
            cause: Some(format!("met earlier: {met}").into()),
        })
    }

    /// Looks whether the file and its log are still there, by two looks, 4 µs together: with each commit, whose sync
    /// takes some hundred times that (`docs/decisions/0011-a-file-that-is-gone.md`).
    pub(crate) fn look(&self) -> Result<(), StoreError> {
        if let Some(what) = self.hold.gone(self.log) {
            tracing::error!(what, "the file of the task store is no longer there: nothing is kept any more");
            let what = self.is_gone.get_or_init(|| what).clone();
            self.gone.send_replace(Some(what));
        }
        self.is_there()
    }

    /// What the last look found.
    pub(crate) fn is_there(&self) -> Result<(), StoreError> {
        if self.is_gone.get().is_some() { Err(self.gone()) } else { Ok(()) }
    }

    pub(crate) fn gone(&self) -> StoreError {
        StoreError::Gone { what: self.is_gone.get().cloned().unwrap_or_default() }
    }

    pub(crate) async fn until_gone(&self) -> StoreError {
        // It cannot be closed while this borrows its sender.
        let _ = self.gone.subscribe().wait_for(Option::is_some).await;
        self.gone()
    }
}

/// How long it may take to write one row: longer than the wait for another program that holds the file, and shorter than callers have
/// patience.
pub(crate) const PULSE: Duration = Duration::from_millis(5_500);

/// That it has taken longer.
pub(crate) fn no_pulse() -> StoreError {
    let what = format!(
        "expected a row to be written within {PULSE:?}, got none: another program holds the file, or its disk is stuck"
    );
    StoreError::Unavailable(what.into())
}

/// Writes one row, to see whether the file can be written.
pub(crate) fn pulse(transaction: &mut Transaction<'_>, (): &()) -> Result<(), Failure> {
    transaction
        .db
        .prepare_cached("INSERT INTO pulse (n, at) VALUES (1, 1) ON CONFLICT DO UPDATE SET at = at + 1")?
        .execute([])?;
    Ok(())
}

/// The tables that are looked into, with what each is read in the order of.
const TABLES: [(&str, &str); 12] = [
    ("task", "n"),
    ("task_body", "n"),
    ("event", "k"),
    ("generation", "n"),
    ("worker", "id"),
    ("queue", "name"),
    ("idempotency", "key"),
    ("claim_request", "worker"),
    ("tally", "queue"),
    ("log", "k"),
    ("token", "id"),
    ("audit", "k"),
];

/// Reads the first and the last row of each table, where changes are made: damage there is met before a change meets it.
pub(crate) fn look_into_all(db: &Connection) -> Result<(), Failure> {
    for (table, order) in TABLES {
        for way in ["ASC", "DESC"] {
            let sql = format!("SELECT * FROM {table} ORDER BY {order} {way} LIMIT 1");
            let mut statement = db.prepare_cached(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                // Payloads lie on further pages, which are read with the value.
                for column in 0..row.as_ref().column_count() {
                    row.get_ref(column)?;
                }
            }
        }
    }
    Ok(())
}

/// How large the file is, and how much room it has.
pub(crate) fn sizes(db: &Connection, hold: &Hold, most: Option<u64>) -> Result<Sizes, Failure> {
    // One moment, so that what is free is not more than what there is.
    let moment = db.unchecked_transaction()?;
    let number = |sql: &str| moment.prepare_cached(sql)?.query_row([], |row| row.get::<_, u64>(0));
    let tasks = number("SELECT coalesce(sum(tasks), 0) FROM tally")?;
    let file_bytes = number("PRAGMA page_count")?.saturating_mul(PAGE_BYTES);
    let free_bytes = number("PRAGMA freelist_count")?.saturating_mul(PAGE_BYTES);
    let in_file = most.map(|most| (most / PAGE_BYTES * PAGE_BYTES).saturating_sub(file_bytes) + free_bytes);
    let on_disk = disk(hold.path()).as_ref().map(writable_bytes);
    let room_bytes = in_file.into_iter().chain(on_disk).min();
    Ok(Sizes { file_bytes, free_bytes, log_bytes: hold.log_bytes(), room_bytes, tasks })
}

/// The bytes of a disk that this process may write: the system's user has those that are kept for it as well.
#[expect(clippy::useless_conversion, reason = "these numbers are of other types on other systems")]
fn writable_bytes(disk: &Statvfs) -> u64 {
    if nix::unistd::geteuid().is_root() {
        return u64::from(disk.blocks_free()).saturating_mul(u64::from(disk.fragment_size()));
    }
    free_bytes(disk)
}

/// Refuses where less than [`LEAST_BYTES`] are left. One row more always finds its place; a small task may take a new page of
/// each of some 20 trees, and is refused long before the last page is used.
pub(crate) fn room_for_changes(sizes: &Sizes, hold: &Hold, most: Option<u64>) -> Result<(), StoreError> {
    match sizes.room_bytes {
        Some(room) if room < LEAST_BYTES => {
            let bound = match most {
                Some(most) if most < sizes.file_bytes.saturating_add(LEAST_BYTES) => {
                    "of store.max_mebibytes".to_owned()
                }
                _ => format!("on the disk of {}", hold.path().display()),
            };
            Err(StoreError::StorageFull(format!("{room} bytes are left {bound}").into()))
        }
        _ => Ok(()),
    }
}
