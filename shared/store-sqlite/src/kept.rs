//! Finished tasks that are kept although they are past their keeping, because unfinished ones depend on them.
//!
//! A task that others depend on has no `finished_at` in its row once it has ended, so that a purge, which goes by that, passes
//! over it without looking; its row is in the table `kept` instead. A purge looks at some rows of that, and gives those that
//! nobody unfinished depends on any more their time back.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::rows::state_of;
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
        db.prepare_cached("UPDATE task SET finished_at = updated_at WHERE n = ?1")?.execute([n])?;
    }
    db.prepare_cached("DELETE FROM kept WHERE n = ?1")?.execute([n])?;
    Ok(())
}
