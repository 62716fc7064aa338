//! Archiving: reading out what is past its keeping, removing it once it is written, and taking it in again.
//!
//! In a file that is opened so ([`Options::archived`](crate::Options)), nothing else removes a task that has ended: a purge leaves tasks,
//! and what is removed by hand is dated past any keeping.

use async_trait::async_trait;
use baton_model::{QueueName, State, TaskId, TaskType, Timestamp};
use baton_store::transfer::{PAGE_BYTES, Record, Refusal, TaskRecord, Verdict};
use baton_store::{ArchiveStore, Past, StoreError};
use rusqlite::{Connection, params};

use crate::SqliteStore;
use crate::codes::Code;
use crate::dependency;
use crate::error::Failure;
use crate::links::Links;
use crate::purge::remove_rows;
use crate::rows::{Stored, select_task, text};
use crate::transaction::Transaction;
use crate::transfer::{Taken, import, task_record};

#[async_trait]
impl ArchiveStore for SqliteStore {
    async fn ended(&self, past: Past, limit: u32) -> Result<Vec<TaskRecord>, StoreError> {
        self.readers.run(move |db| ended(db, past, limit)).await
    }

    async fn remove_archived(&self, tasks: Vec<(TaskId, u32)>, _: Timestamp) -> Result<u64, StoreError> {
        self.writer.run(tasks, remove_archived).await
    }

    async fn restore(
        &self,
        tasks: Vec<TaskRecord>,
        now: Timestamp,
    ) -> Result<Vec<Result<Verdict, Refusal>>, StoreError> {
        // Each is a command of its own, so that a refused one has written nothing; they still share a commit.
        let restored = tasks.into_iter().map(|task| {
            let record = Record::Task(Box::new(task));
            self.writer.run((record, now), restore)
        });
        futures::future::join_all(restored).await.into_iter().collect()
    }
}

fn ended(db: &Connection, past: Past, limit: u32) -> Result<Vec<TaskRecord>, Failure> {
    let moment = db.unchecked_transaction()?;
    let as_all =
        select_task!("INDEXED BY task_by_finished WHERE finished_at < ?1 ORDER BY finished_at LIMIT ?2");
    let for_a_time_of_their_own = select_task!(
        "WHERE n IN (SELECT n FROM going INDEXED BY going_at WHERE at < ?1 ORDER BY at LIMIT ?2) AND finished_at IS NULL"
    );
    let (mut found, mut bytes) = (Vec::new(), 0);
    for (sql, before) in [(as_all, past.all), (for_a_time_of_their_own, past.own)] {
        let mut statement = moment.prepare_cached(sql)?;
        let mut rows = statement.query(params![before.as_millis(), limit])?;
        while let Some(row) = rows.next()?
            && bytes < PAGE_BYTES
            && found.len() < limit as usize
        {
            let task = match Stored::from_row(row).and_then(|stored| task_record(&moment, stored)) {
                // It holds up none of those behind it.
                Err(Failure::Broken(damaged @ StoreError::Corrupt { .. })) => {
                    tracing::error!(
                        error = damaged.report(),
                        "a finished task is damaged: it is not archived, and stays"
                    );
                    continue;
                }
                task => task?,
            };
            let record = Record::Task(Box::new(task));
            bytes += record.size();
            if let Record::Task(record) = record {
                found.push(*record);
            }
        }
    }
    Ok(found)
}

/// What is known of a task that is to be removed.
struct Ended {
    n: i64,
    queue: QueueName,
    task_type: TaskType,
    state: State,
}

fn remove_archived(transaction: &mut Transaction<'_>, tasks: &Vec<(TaskId, u32)>) -> Result<u64, Failure> {
    let mut old = Vec::with_capacity(tasks.len());
    for (id, events) in tasks {
        // One that lives, or that others depend on, has no `finished_at` in its row, and is not to go at a time of its own.
        let mut statement = transaction.db.prepare_cached(
            "SELECT n, queue, task_type, state, links FROM task WHERE id = ?1 AND events = ?2 \
             AND (finished_at IS NOT NULL OR EXISTS (SELECT 1 FROM going WHERE going.n = task.n))",
        )?;
        let mut rows = statement.query(params![id.as_bytes(), events])?;
        let Some(row) = rows.next()? else { continue };
        let n = row.get(0)?;
        if Links::of(row.get(4)?).waits {
            dependency::remove_edges(transaction.db, n)?;
        }
        let (queue, task_type) =
            (QueueName::from_stored(text(row, 1)?), TaskType::from_stored(text(row, 2)?));
        old.push(Ended { n, queue, task_type, state: State::of(row.get(3)?)? });
    }
    old.sort_unstable_by_key(|task| task.n);
    for run in old.chunk_by(|task, next| next.n == task.n + 1) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        remove_rows(transaction.db, first.n, last.n)?;
    }
    transaction.state.removed_tasks += old.len();
    for task in &old {
        transaction.tally(&task.queue, &task.task_type, task.state, -1);
    }
    Ok(old.len() as u64)
}

/// Takes a task in again, and has its keeping begin anew: the time in its row says from when on it is kept, and nothing else.
fn restore(transaction: &mut Transaction<'_>, (record, now): &(Record, Timestamp)) -> Result<Taken, Failure> {
    let taken = import(transaction, record)?;
    if let (Ok(Verdict::New | Verdict::Later), Record::Task(record)) = (&taken, record) {
        transaction
            .db
            .prepare_cached("UPDATE task SET finished_at = ?2 WHERE id = ?1 AND finished_at IS NOT NULL")?
            .execute(params![record.task.head.id.as_bytes(), now.as_millis()])?;
        transaction
            .db
            .prepare_cached(
                "UPDATE going SET at = ?2 + (SELECT retention FROM task WHERE task.n = going.n) \
                 WHERE n = (SELECT n FROM task WHERE id = ?1 AND retention IS NOT NULL)",
            )?
            .execute(params![record.task.head.id.as_bytes(), now.as_millis()])?;
    }
    Ok(taken)
}

/// Has a task that has ended be past any keeping, so that it is archived and removed next.
pub(crate) fn let_go(db: &Connection, n: i64) -> Result<(), Failure> {
    db.prepare_cached("UPDATE task SET finished_at = 0 WHERE n = ?1")?.execute([n])?;
    Ok(())
}
