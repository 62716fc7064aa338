//! The order of all events: one row a commit, written by the writing thread, with the keys of the commit's events.
//!
//! An index on the time of each event would give an order too, at the price of a page of its own for each commit and of 25
//! bytes for each event, and not an order that only grows: a clock that is set back puts events before those that were told.
//! `docs/decisions/0045-one-order-of-events.md` has the figures.
//!
//! A position is never used again: the last row stays. A number of a task may be, if the newest task of all is removed; so an
//! event that is later than its row is another one's, and is passed over.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::transaction::Transaction;

/// The most events in one row, so that a reader that wants few does not read many.
const ROW: usize = 512;

/// How many keys each purge looks at, and how many more for each task that was removed since the last one: with four events a
/// task, as the usual life has, what is gone never comes to more than what is there.
const SWEPT: usize = 64;
const SWEPT_A_TASK: usize = 8;
/// And at most: they take some milliseconds.
const SWEPT_AT_ONCE: usize = 4_096;

/// A row: the position of its first event, the time of its latest one, and the keys of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) keys: Vec<i64>,
}

impl Row {
    /// The position behind its last event.
    pub(crate) fn end(&self) -> i64 {
        self.seq + self.keys.len() as i64
    }
}

/// Writes keys in little space: each as what it is more or less than the one before, in groups of seven bits.
fn pack(keys: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(keys.len() * 4);
    let mut before = 0_i64;
    for key in keys {
        let step = key.wrapping_sub(before);
        let mut rest = (step.wrapping_shl(1) ^ (step >> 63)) as u64;
        loop {
            let low = (rest & 0x7f) as u8;
            rest >>= 7;
            if rest == 0 {
                bytes.push(low);
                break;
            }
            bytes.push(low | 0x80);
        }
        before = *key;
    }
    bytes
}

fn unpack(bytes: &[u8]) -> Vec<i64> {
    let (mut keys, mut before, mut rest, mut shift) = (Vec::new(), 0_i64, 0_u64, 0_u32);
    for byte in bytes {
        rest |= u64::from(byte & 0x7f).wrapping_shl(shift);
        shift += 7;
        if byte & 0x80 == 0 {
            let step = (rest >> 1) as i64 ^ -((rest & 1) as i64);
            before = before.wrapping_add(step);
            keys.push(before);
            (rest, shift) = (0, 0);
        }
    }
    keys
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let bytes = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(Row { seq: row.get(0)?, at: row.get(1)?, keys: unpack(bytes) })
}

/// The last row that begins below a position.
pub(crate) fn below(db: &Connection, position: i64) -> rusqlite::Result<Option<Row>> {
    db.prepare_cached("SELECT seq, at, keys FROM feed WHERE seq < ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([position], row)
        .optional()
}

/// The first row that begins at a position or behind it.
pub(crate) fn from(db: &Connection, position: i64) -> rusqlite::Result<Option<Row>> {
    db.prepare_cached("SELECT seq, at, keys FROM feed WHERE seq >= ?1 ORDER BY seq LIMIT 1")?
        .query_row([position], row)
        .optional()
}

/// The position of the last event; 0 if there was none.
pub(crate) fn head(db: &Connection) -> rusqlite::Result<i64> {
    Ok(below(db, i64::MAX)?.map_or(0, |row| row.end() - 1))
}

/// The first position whose row is of `at` or later, as far as they rise with time: found by halving.
pub(crate) fn first_at(db: &Connection, at: i64) -> rusqlite::Result<i64> {
    let (mut low, mut high) = (0, head(db)? + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match from(db, middle)? {
            Some(row) if row.at < at => low = row.end().max(middle + 1),
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Writes the events of a commit, each with its time, and gives the position of the last one. `next` is the position that
/// comes next, if that is known.
pub(crate) fn append(
    db: &Connection,
    next: &mut Option<i64>,
    events: &[(i64, i64)],
) -> rusqlite::Result<Option<i64>> {
    if events.is_empty() {
        return Ok(None);
    }
    let mut seq = match *next {
        Some(next) => next,
        None => head(db)? + 1,
    };
    for events in events.chunks(ROW) {
        let keys: Vec<i64> = events.iter().map(|(key, _)| *key).collect();
        let at = events.iter().map(|(_, at)| *at).max();
        write(db, seq, at.unwrap_or_default(), &keys)?;
        seq += events.len() as i64;
    }
    *next = Some(seq);
    Ok(Some(seq - 1))
}

/// Writes a row.
pub(crate) fn write(db: &Connection, seq: i64, at: i64, keys: &[i64]) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO feed (seq, at, keys) VALUES (?1, ?2, ?3)")?.execute(params![
        seq,
        at,
        pack(keys)
    ])?;
    Ok(())
}

/// Removes the places of some events whose tasks are gone: a bounded number, going round. What is left of a row that is more
/// than half gone is written as rows of its own, so that no event changes its position.
pub(crate) fn sweep(transaction: &mut Transaction<'_>) -> Result<(), Failure> {
    let removed = std::mem::take(&mut transaction.state.removed_tasks);
    let mut looks = removed.saturating_mul(SWEPT_A_TASK).saturating_add(SWEPT).min(SWEPT_AT_ONCE);
    let db = transaction.db;
    let last = head(db)?;
    while looks > 0 {
        let Some(row) = from(db, transaction.state.feed_swept)?.filter(|row| row.end() <= last) else {
            transaction.state.feed_swept = 0;
            return Ok(());
        };
        transaction.state.feed_swept = row.end();
        looks = looks.saturating_sub(row.keys.len());
        sweep_row(db, &row)?;
    }
    Ok(())
}

fn sweep_row(db: &Connection, row: &Row) -> Result<(), Failure> {
    let mut live = Vec::with_capacity(row.keys.len());
    let mut statement = db.prepare_cached("SELECT 1 FROM event WHERE k = ?1 AND at <= ?2")?;
    for key in &row.keys {
        live.push(statement.exists(params![key, row.at])?);
    }
    let left = live.iter().filter(|is_live| **is_live).count();
    if left * 2 > row.keys.len() {
        return Ok(());
    }
    db.prepare_cached("DELETE FROM feed WHERE seq = ?1")?.execute([row.seq])?;
    let mut place = 0;
    for run in live.chunk_by(|one, other| one == other) {
        if run[0] {
            write(db, row.seq + place as i64, row.at, &row.keys[place..place + run.len()])?;
        }
        place += run.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("schema-13.sql")).unwrap();
        db.execute_batch("CREATE TABLE event (k INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT").unwrap();
        db
    }

    #[test]
    fn keys_read_back_and_take_little_space() {
        for keys in [vec![], vec![0], vec![i64::MAX, 0, i64::MIN, -1, 1], vec![5, 5, 5]] {
            assert_eq!(unpack(&pack(&keys)), keys);
        }
        // A hundred new tasks, and their claims.
        let n = |n: i64, seq: i64| (1_000_000 + n) << 16 | seq;
        let keys: Vec<i64> = (0..100).map(|task| n(task, 1)).chain((0..100).map(|task| n(task, 2))).collect();
        assert!(pack(&keys).len() <= 3 * keys.len() + 4, "{}", pack(&keys).len());
    }

    #[test]
    fn positions_rise_by_one_over_commits_of_any_size() {
        let db = file();
        let mut next = None;
        assert_eq!(append(&db, &mut next, &[]).unwrap(), None);
        let events: Vec<(i64, i64)> = (0..1_200).map(|n| (n << 16 | 1, n)).collect();
        assert_eq!(append(&db, &mut next, &events[..3]).unwrap(), Some(3));
        // As after a restart.
        next = None;
        assert_eq!(append(&db, &mut next, &events[3..]).unwrap(), Some(1_200));
        assert_eq!(head(&db).unwrap(), 1_200);
        let mut position = 1;
        let mut keys = Vec::new();
        while let Some(row) = from(&db, position).unwrap() {
            assert_eq!(row.seq, position);
            position = row.end();
            keys.extend(row.keys);
        }
        assert_eq!(keys, events.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        assert_eq!(below(&db, 4).unwrap().unwrap().seq, 1);
        assert_eq!(first_at(&db, 0).unwrap(), 0);
        assert_eq!(first_at(&db, 3).unwrap(), 4);
        assert_eq!(first_at(&db, 5_000).unwrap(), 1_201);
    }

    #[test]
    fn what_is_left_of_a_row_keeps_its_positions() {
        let db = file();
        let events: Vec<(i64, i64)> = (0..10).map(|n| (n << 16 | 1, 5)).collect();
        append(&db, &mut None, &events).unwrap();
        for n in [0_i64, 1, 7] {
            db.execute("INSERT INTO event VALUES (?1, 5)", [n << 16 | 1]).unwrap();
        }
        // A later task of a number that was used before.
        db.execute("INSERT INTO event VALUES (?1, 6)", [5_i64 << 16 | 1]).unwrap();
        sweep_row(&db, &from(&db, 1).unwrap().unwrap()).unwrap();
        let mut rows = Vec::new();
        let mut position = 0;
        while let Some(row) = from(&db, position).unwrap() {
            position = row.end();
            rows.push((row.seq, row.keys.len()));
        }
        assert_eq!(rows, [(1, 2), (8, 1)]);
    }
}
