//! The rounds of the reaper: the note that one leaves for the next, and what is to be dated anew after the clock was set back.

use baton_model::task::redated;
use baton_model::{RoundNote, State, Timestamp, Watch};
use baton_store::{Redate, Redated};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::limit;
use crate::rows::{Stored, from_json, select_task, select_worker, to_json, worker};
use crate::transaction::Transaction;
use crate::worker::save;

/// The note of the last round.
pub(crate) fn last(db: &Connection) -> Result<Option<RoundNote>, Failure> {
    let mut statement = db.prepare_cached("SELECT note FROM reaper_round WHERE n = 1")?;
    let note: Option<String> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(note.map(|note| from_json("the note of a round", &note)).transpose()?)
}

pub(crate) fn note(transaction: &mut Transaction<'_>, note: &RoundNote) -> Result<(), Failure> {
    transaction
        .db
        .prepare_cached("INSERT OR REPLACE INTO reaper_round (n, note) VALUES (1, ?1)")?
        .execute([to_json("the note of a round", note)?])?;
    Ok(())
}

/// The tasks that wait for a time that was reckoned by the clock before it was set back, up to a limit: by [`redated`], so that
/// each one found is changed. Found on a reader, so that the search holds nobody up. It goes down the index that claims
/// go down, from the present on, as there may be a million tasks that are ready.
pub(crate) fn ahead(db: &Connection, redate: &Redate) -> Result<Vec<i64>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT n FROM (SELECT task.n FROM queue CROSS JOIN (SELECT 0 AS p UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) \
         CROSS JOIN task INDEXED BY task_ready ON task.state = 0 AND task.queue = queue.name AND task.priority = p \
         AND task.run_after > ?1 WHERE task.updated_at > ?1 AND task.run_after >= task.updated_at \
         AND (task.events > 1 OR task.run_after <= task.created_at) \
         UNION ALL \
         SELECT task.n FROM queue CROSS JOIN (SELECT 0 AS p UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) \
         CROSS JOIN task INDEXED BY task_put_aside ON task.state = 6 AND task.queue = queue.name AND task.priority = p \
         AND task.run_after > ?1 WHERE task.updated_at > ?1 AND task.run_after >= task.updated_at \
         AND (task.events > 1 OR task.run_after <= task.created_at)) LIMIT ?2",
    )?;
    let found = statement.query_map(params![redate.watch.now.as_millis(), redate.limit], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Dates tasks, workers and what is kept for a while by the clock as it is.
pub(crate) fn redate(
    transaction: &mut Transaction<'_>,
    (tasks, Redate { watch, limit }): &(Vec<i64>, Redate),
) -> Result<Redated, Failure> {
    let mut changed = 0;
    for n in tasks {
        let stored = {
            let mut statement = transaction.db.prepare_cached(select_task!("WHERE n = ?1"))?;
            let mut rows = statement.query([n])?;
            rows.next()?.map(Stored::from_row).transpose()?
        };
        let Some(stored) = stored.filter(|stored| stored.head.state.state() == State::Queued) else {
            continue;
        };
        let Some(run_after) = redated(&stored.head, stored.created_at, stored.updated_at, watch) else {
            continue;
        };
        transaction
            .db
            .prepare_cached("UPDATE task SET run_after = ?2 WHERE n = ?1")?
            .execute(params![n, run_after.as_millis()])?;
        transaction.ring(&stored.queue, &stored.task_type, run_after);
        changed += 1;
    }
    limit::redate(transaction, watch)?;
    let workers = redate_workers(transaction, watch)?;
    // What is kept for a while from then on is kept from now on.
    for sql in [
        "UPDATE idempotency SET created_at = ?1 WHERE created_at > ?1",
        "UPDATE claim_request SET created_at = ?1 WHERE created_at > ?1",
        "UPDATE log SET taken_at = ?1 WHERE taken_at > ?1",
    ] {
        transaction.db.prepare_cached(sql)?.execute([watch.now.as_millis()])?;
    }
    Ok(Redated { tasks: changed, workers, more: tasks.len() == *limit as usize })
}

fn redate_workers(transaction: &mut Transaction<'_>, watch: &Watch) -> Result<u64, Failure> {
    let mut ahead = Vec::new();
    {
        let mut statement = transaction
            .db
            .prepare_cached(select_worker!("WHERE last_beat_at > ?1 OR seen_at > ?1 OR started_at > ?1"))?;
        let mut rows = statement.query([watch.now.as_millis()])?;
        while let Some(row) = rows.next()? {
            ahead.push(worker(row)?);
        }
    }
    let dated = |at: Timestamp| watch.dated(at);
    for stored in &mut ahead {
        stored.seen_at = dated(stored.seen_at);
        stored.worker.started_at = dated(stored.worker.started_at);
        stored.worker.last_beat_at = stored.worker.last_beat_at.map(dated);
        stored.worker.ended_at = stored.worker.ended_at.map(dated);
        save(transaction, stored)?;
    }
    Ok(ahead.len() as u64)
}
