//! Changing tasks that wait, and removing those that have ended.
//!
//! What a transition writes has no priority, timeout or number of attempts, as no other one than a change changes them:
//! so that it costs each of those nothing, a change writes them by a statement of its own, before it. So it does with the queue.

use baton_model::change::Standing;
use baton_model::transition::{Decision, Refusal, decide};
use baton_model::{QueueName, Task, Timestamp};
use baton_store::{ChangeTask, Remove, StoreError};
use rusqlite::params;

use crate::archive;
use crate::codes::Code;
use crate::dependency;
use crate::error::Failure;
use crate::order;
use crate::purge;
use crate::rows::Stored;
use crate::transaction::Transaction;
use crate::unique;

/// Changes a task that waits.
pub(crate) fn change(transaction: &mut Transaction<'_>, change: &ChangeTask) -> Result<Task, Failure> {
    let before = Stored::known(transaction.db, change.task)?;
    if !change.reaches(&before.queue) {
        return Err(StoreError::TaskNotFound(change.task).into());
    }
    let holder = match change.moves_from(&before.queue) {
        Some(to) => unique::holder_in(transaction.db, &before, to, change.now)?,
        None => None,
    };
    let standing = Standing { priority: before.priority, queue: before.queue.clone(), holder };
    let refused = |refusal: Refusal| StoreError::Refused { task: change.task, refusal };
    let after = match decide(&before.head, &change.command(standing), change.now).map_err(refused)? {
        Decision::Repeat => before,
        Decision::Apply(decided) => {
            let priority = decided.priority.unwrap_or(before.priority);
            let timeout = decided.head.timeout;
            transaction.state.leased.take(&change.task);
            transaction
                .db
                .prepare_cached(
                    "UPDATE task SET priority = ?2, timeout_ms = ?3, max_attempts = ?4 WHERE n = ?1",
                )?
                .execute(params![
                    before.n,
                    priority.code(),
                    timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
                    decided.head.max_attempts,
                ])?;
            if let Some(to) = &decided.queue {
                go_to(transaction, &before, to, change.now)?;
            }
            transaction.write(&Stored { priority, ..before }, *decided, change.now)?
        }
    };
    after.into_task(transaction.db)
}

/// Has a task's row be in another queue, with what goes with it: its place in the queue's order, and its key. What stands under limits, and
/// the counts, follow as its event is written.
fn go_to(
    transaction: &mut Transaction<'_>,
    before: &Stored,
    to: &QueueName,
    now: Timestamp,
) -> Result<(), Failure> {
    transaction.know_queue(to, now)?;
    let after = Stored { queue: to.clone(), ..before.clone() };
    let fair = order::fair_code(transaction, &after);
    transaction.db.prepare_cached("UPDATE task SET queue = ?2, fair = ?3 WHERE n = ?1")?.execute(params![
        before.n,
        to.as_str(),
        fair
    ])?;
    unique::take_along(transaction.db, before, to, now)
}

/// Removes a task that has ended, unless unfinished ones depend on it. Where tasks are archived, that is what removes it, next.
pub(crate) fn remove(transaction: &mut Transaction<'_>, remove: &Remove) -> Result<(), Failure> {
    let stored = Stored::known(transaction.db, remove.task)?;
    let state = stored.head.state.state();
    let is_needed = || -> Result<bool, Failure> {
        let mut statement = transaction.db.prepare_cached(
            "SELECT 1 FROM dependency INDEXED BY dependency_of JOIN task ON task.n = dependency.dependant \
             WHERE dependency.dependency = ?1 AND task.state IN (0, 1, 5, 6) LIMIT 1",
        )?;
        Ok(stored.links.waited_for && statement.exists([remove.task.as_bytes()])?)
    };
    let refusal = match state.is_final() {
        false => Some(Refusal::Unfinished { state }),
        true if is_needed()? => Some(Refusal::WaitedFor),
        true => None,
    };
    if let Some(refusal) = refusal {
        return Err(StoreError::Refused { task: remove.task, refusal }.into());
    }
    transaction.db.prepare_cached("DELETE FROM kept WHERE n = ?1")?.execute([stored.n])?;
    if transaction.state.archived {
        return archive::let_go(transaction.db, stored.n);
    }
    if stored.links.waits {
        dependency::remove_edges(transaction.db, stored.n)?;
    }
    purge::remove_rows(transaction.db, stored.n, stored.n)?;
    transaction.state.removed_tasks += 1;
    transaction.tally(&stored.queue, &stored.task_type, state, -1);
    Ok(())
}
