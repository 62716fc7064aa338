//! The limits that a task falls under, as they stand, and who holds those that are full.

use baton_model::why::{FullLimit, Holder, UnderLimit};
use baton_model::{ProjectId, QueueName, State, TaskId, Timestamp, WorkerId};
use rusqlite::Connection;

use super::{Limits, Under};
use crate::codes::Code;
use crate::error::Failure;
use crate::rows::{Stored, maybe_text, sixteen, text};
use crate::transaction::Transaction;

/// Whether anything is limited.
pub(crate) fn are_set(db: &Connection) -> Result<bool, Failure> {
    Ok(db.prepare_cached("SELECT 1 FROM shared_limit LIMIT 1")?.exists([])?)
}

/// The limits that a task falls under that waits. On the writing thread, which knows what stands under them.
pub(crate) fn falls_under(
    transaction: &mut Transaction<'_>,
    (id, now): &(TaskId, Timestamp),
) -> Result<Vec<UnderLimit>, Failure> {
    let Some(stored) = Stored::by_id(transaction.db, *id)? else { return Ok(Vec::new()) };
    if !matches!(stored.head.state.state(), State::Blocked | State::Queued) {
        return Ok(Vec::new());
    }
    let anew;
    let mut limits = &transaction.state.limits;
    if limits.unsettled {
        anew = Limits::load(transaction.db)?;
        limits = &anew;
    }
    let mut found = Vec::new();
    for (on, rules) in limits.book.of(stored.shared()) {
        let mut under = UnderLimit {
            standing: limits.standing(&on),
            holds_place: limits.holds_place(&on, &stored),
            rules: rules.clone(),
            holders: Vec::new(),
            on,
        };
        if under.is_full(*now)
            && let Some(counted) = limits.under.get(&under.on)
        {
            under.holders = holders(transaction.db, counted)?;
        }
        found.push(under);
    }
    Ok(found)
}

/// The first of those that came first.
fn holders(db: &Connection, under: &Under) -> Result<Vec<Holder>, Failure> {
    let mut rows: Vec<i64> = under.running.union(&under.held).copied().collect();
    if rows.len() > FullLimit::HOLDERS {
        rows.select_nth_unstable(FullLimit::HOLDERS);
        rows.truncate(FullLimit::HOLDERS);
    }
    let mut statement =
        db.prepare_cached("SELECT id, queue, project, state, worker FROM task WHERE n = ?1")?;
    let mut holders = Vec::with_capacity(rows.len());
    for n in rows {
        let mut found = statement.query([n])?;
        let Some(row) = found.next()? else { continue };
        let runs = row.get::<_, i64>(3)? == State::Running.code();
        holders.push(Holder {
            task: TaskId::from_bytes(sixteen(row, 0)?),
            queue: QueueName::from_stored(text(row, 1)?),
            project: ProjectId::from_stored(text(row, 2)?),
            worker: maybe_text(row, 4)?.map(WorkerId::from_stored).filter(|_| runs),
        });
    }
    holders.sort_by_key(|holder| holder.task);
    Ok(holders)
}
