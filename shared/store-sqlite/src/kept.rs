//! Finished tasks that are kept although they are past their keeping, because unfinished ones depend on them.
//!
//! A task that others depend on has no `finished_at` in its row once it has ended, so that a purge, which goes by that, passes
//! over it without looking; its row is in the table `kept` instead. A purge looks at some rows of that, and gives those that
//! nobody unfinished depends on any more their time back.
//!
//! A task that is kept for a time of its own has none either, for the same reason: when it goes stands in the table `going`.

use std::time::{Duration, Instant};

use baton_model::{State, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::rows::{Stored, state_of};
use crate::transaction::Transaction;

/// How many rows are looked at before the clock is.
const PORTION: usize = 64;

/// How long one purge looks at kept tasks at most before the next one goes on: other commands wait as long.
const SLICE: Duration = Duration::from_millis(10);

/// Goes on with looking at kept tasks, for no longer than a purge may take.
pub(crate) fn let_go(transaction: &mut Transaction<'_>, slice: Option<Duration>) -> Result<(), Failure> {
    let (began, slice) = (Instant::now(), slice.map_or(SLICE, |slice| slice.min(SLICE)));
    loop {
        let rows: Vec<i64> = transaction
            .db
            .prepare_cached("SELECT n FROM kept WHERE n > ?1 ORDER BY n LIMIT ?2")?
            .query_map(params![transaction.state.kept_after, PORTION as i64], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for n in &rows {
            look_at(transaction.db, *n)?;
        }
        let is_end = rows.len() < PORTION;
        transaction.state.kept_after = if is_end { 0 } else { rows[PORTION - 1] };
        if is_end || began.elapsed() >= slice {
            return Ok(());
        }
    }
}

fn look_at(db: &Connection, n: i64) -> Result<(), Failure> {
    let state: Option<i64> = db
        .prepare_cached("SELECT state FROM task WHERE n = ?1")?
        .query_row([n], |row| row.get(0))
        .optional()?;
    // One that lives again is noted again when it ends.
    if let Some(state) = state
        && state_of(state)?.is_final()
    {
        let is_needed = db
            .prepare_cached(
                "SELECT 1 FROM task AS kept \
                 JOIN dependency INDEXED BY dependency_of ON dependency.dependency = kept.id \
                 JOIN task AS waiting ON waiting.n = dependency.dependant \
                 WHERE kept.n = ?1 AND waiting.state IN (0, 1, 5, 6) LIMIT 1",
            )?
            .exists([n])?;
        if is_needed {
            return Ok(());
        }
        db.prepare_cached("UPDATE task SET finished_at = updated_at WHERE n = ?1 AND retention IS NULL")?
            .execute([n])?;
        db.prepare_cached(
            "INSERT OR REPLACE INTO going (n, at) SELECT n, updated_at + retention FROM task \
             WHERE n = ?1 AND retention IS NOT NULL",
        )?
        .execute([n])?;
    }
    db.prepare_cached("DELETE FROM kept WHERE n = ?1")?.execute([n])?;
    Ok(())
}

/// Notes when a task goes that is kept for a time of its own, as it comes to a state.
pub(crate) fn follow(db: &Connection, before: &Stored, to: State, at: Timestamp) -> Result<(), Failure> {
    let retention = before.retention.filter(|_| to.is_final() && !before.links.waited_for);
    goes(db, before.n, retention.map(|retention| at.plus(retention)))
}

/// Notes when a task goes that is kept for a time of its own; none if it does not.
pub(crate) fn goes(db: &Connection, n: i64, at: Option<Timestamp>) -> Result<(), Failure> {
    let Some(at) = at else { return stay(db, n) };
    db.prepare_cached("INSERT OR REPLACE INTO going (n, at) VALUES (?1, ?2)")?
        .execute(params![n, at.as_millis()])?;
    Ok(())
}

/// Notes that a task does not go.
pub(crate) fn stay(db: &Connection, n: i64) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM going WHERE n = ?1")?.execute([n])?;
    Ok(())
}
