//! Claiming: which tasks a worker gets, and why it gets none.

use baton_model::transition::Command;
use baton_model::{Directive, Priority, QueueName, Task, TaskType, Timestamp};
use baton_store::{Claim, ClaimAnswer, Nothing};
use rusqlite::{OptionalExtension, params};

use crate::codes::Code;
use crate::error::Failure;
use crate::rows::{Stored, select_task};
use crate::transaction::Transaction;
use crate::worker::enter_session;
use baton_store::histogram::What;

pub(crate) fn claim(transaction: &mut Transaction<'_>, claim: &Claim) -> Result<ClaimAnswer, Failure> {
    let directive = enter_session(transaction, claim)?;
    if let Some(answer) = repeated(transaction, claim)? {
        return Ok(answer);
    }
    if directive != Directive::Run {
        return Ok(ClaimAnswer::Nothing(Nothing::Directed { directive }));
    }
    let active = active(transaction, claim)?;
    if active >= claim.cap {
        return Ok(ClaimAnswer::Nothing(Nothing::AtCap { active, cap: claim.cap }));
    }
    let mut open = Vec::with_capacity(claim.queues.len());
    for queue in &claim.queues {
        if !open.contains(&queue) && !is_paused(transaction, queue)? {
            open.push(queue);
        }
    }
    if open.is_empty() {
        return Ok(ClaimAnswer::Nothing(Nothing::Paused { queues: claim.queues.clone() }));
    }
    let most = claim.max_tasks.min(claim.cap - active);
    let ready = candidates(transaction, claim, &open, most as usize)?;
    if ready.is_empty() {
        return Ok(ClaimAnswer::Nothing(match next_due(transaction, claim, &open)? {
            Some(next_at) => Nothing::Scheduled { next_at },
            None => Nothing::NoneQueued,
        }));
    }
    let mut leased = Vec::with_capacity(ready.len());
    for stored in ready {
        leased.push(take(transaction, claim, &stored)?);
    }
    if let Some(request) = &claim.request {
        transaction
            .db
            .prepare_cached("INSERT INTO claim_request (worker, request, created_at) VALUES (?1, ?2, ?3)")?
            .execute(params![claim.worker.as_str(), request.as_str(), claim.now.as_millis()])?;
    }
    Ok(ClaimAnswer::Leased(leased))
}

/// The answer to a request key that was answered before.
fn repeated(transaction: &Transaction<'_>, claim: &Claim) -> Result<Option<ClaimAnswer>, Failure> {
    let Some(request) = &claim.request else { return Ok(None) };
    let known = transaction
        .db
        .prepare_cached("SELECT 1 FROM claim_request WHERE worker = ?1 AND request = ?2")?
        .exists(params![claim.worker.as_str(), request.as_str()])?;
    if !known {
        return Ok(None);
    }
    let mut statement = transaction.db.prepare_cached(select_task!(
        "INDEXED BY task_leased WHERE worker = ?1 AND state = 1 AND request = ?2 ORDER BY n"
    ))?;
    let mut rows = statement.query(params![claim.worker.as_str(), request.as_str()])?;
    let mut held: Vec<Task> = Vec::new();
    while let Some(row) = rows.next()? {
        held.push(Stored::from_row(row)?.into_task(transaction.db)?);
    }
    held.sort_by_key(|task| (task.priority, task.head.run_after, task.head.id));
    Ok(Some(if held.is_empty() {
        ClaimAnswer::Nothing(Nothing::RequestSpent)
    } else {
        ClaimAnswer::Leased(held)
    }))
}

/// How many tasks the worker holds: the leases that name it, and no stored number.
fn active(transaction: &Transaction<'_>, claim: &Claim) -> Result<u32, Failure> {
    let mut statement = transaction
        .db
        .prepare_cached("SELECT count(*) FROM task INDEXED BY task_leased WHERE worker = ?1 AND state = 1")?;
    Ok(statement.query_row([claim.worker.as_str()], |row| row.get(0))?)
}

fn is_paused(transaction: &Transaction<'_>, queue: &QueueName) -> Result<bool, Failure> {
    let mut statement = transaction.db.prepare_cached("SELECT paused FROM queue WHERE name = ?1")?;
    Ok(statement.query_row([queue.as_str()], |row| row.get(0)).optional()?.unwrap_or(false))
}

/// The ready tasks that are claimed first, up to `most`: by priority, then run_after, then id.
fn candidates(
    transaction: &Transaction<'_>,
    claim: &Claim,
    queues: &[&QueueName],
    most: usize,
) -> Result<Vec<Stored>, Failure> {
    if let ([queue], []) = (queues, &*claim.types)
        && let Some(first) = first_in_line(transaction, queue, claim.now, most)?
    {
        return Ok(first);
    }
    let mut chosen: Vec<Stored> = Vec::new();
    for priority in Priority::ALL {
        let mut found = Vec::new();
        for queue in queues {
            for task_type in types(claim) {
                ready(transaction, queue, task_type, priority, claim.now, most - chosen.len(), &mut found)?;
            }
        }
        found.sort_by_key(|stored| (stored.head.run_after, stored.head.id));
        found.truncate(most - chosen.len());
        chosen.append(&mut found);
        if chosen.len() == most {
            break;
        }
    }
    Ok(chosen)
}

/// The first tasks of a queue in the order of its index. `None` if one of them is not due: then a due one of lower
/// priority may come behind it. The usual case, at the price of one look instead of one a priority.
fn first_in_line(
    transaction: &Transaction<'_>,
    queue: &QueueName,
    now: Timestamp,
    most: usize,
) -> Result<Option<Vec<Stored>>, Failure> {
    let mut statement = transaction.db.prepare_cached(select_task!(
        "INDEXED BY task_ready WHERE state = 0 AND queue = ?1 ORDER BY priority, run_after, id LIMIT ?2"
    ))?;
    let mut rows = statement.query(params![queue.as_str(), most as i64])?;
    let mut first = Vec::new();
    while let Some(row) = rows.next()? {
        let stored = Stored::from_row(row)?;
        if stored.head.run_after > now {
            return Ok(None);
        }
        first.push(stored);
    }
    Ok(Some(first))
}

/// The types to look for, each one once; one `None` for all.
fn types(claim: &Claim) -> impl Iterator<Item = Option<&TaskType>> {
    let all = claim.types.is_empty().then_some(None);
    let distinct = |(index, one): &(usize, &TaskType)| !claim.types[..*index].contains(one);
    all.into_iter().chain(claim.types.iter().enumerate().filter(distinct).map(|(_, one)| Some(one)))
}

fn ready(
    transaction: &Transaction<'_>,
    queue: &QueueName,
    task_type: Option<&TaskType>,
    priority: Priority,
    now: Timestamp,
    most: usize,
    found: &mut Vec<Stored>,
) -> Result<(), Failure> {
    let most = most as i64;
    let (queue, priority, now) = (queue.as_str(), priority.code(), now.as_millis());
    let mut statement = transaction.db.prepare_cached(match task_type {
        None => select_task!(
            "INDEXED BY task_ready WHERE state = 0 AND queue = ?1 AND priority = ?2 AND run_after <= ?3 \
             ORDER BY run_after, id LIMIT ?4"
        ),
        Some(_) => select_task!(
            "INDEXED BY task_ready_type WHERE state = 0 AND queue = ?1 AND priority = ?2 AND run_after <= ?3 \
             AND task_type = ?5 ORDER BY run_after, id LIMIT ?4"
        ),
    })?;
    let mut rows = match task_type {
        None => statement.query(params![queue, priority, now, most])?,
        Some(task_type) => statement.query(params![queue, priority, now, most, task_type.as_str()])?,
    };
    while let Some(row) = rows.next()? {
        found.push(Stored::from_row(row)?);
    }
    Ok(())
}

/// When the next of the waiting tasks is due.
fn next_due(
    transaction: &Transaction<'_>,
    claim: &Claim,
    queues: &[&QueueName],
) -> Result<Option<Timestamp>, Failure> {
    let mut next: Option<i64> = None;
    for queue in queues {
        for task_type in types(claim) {
            for priority in Priority::ALL {
                let due: Option<i64> = match task_type {
                    None => transaction
                        .db
                        .prepare_cached(
                            "SELECT min(run_after) FROM task INDEXED BY task_ready \
                             WHERE state = 0 AND queue = ?1 AND priority = ?2",
                        )?
                        .query_row(params![queue.as_str(), priority.code()], |row| row.get(0))?,
                    Some(task_type) => transaction
                        .db
                        .prepare_cached(
                            "SELECT min(run_after) FROM task INDEXED BY task_ready_type \
                             WHERE state = 0 AND queue = ?1 AND task_type = ?2 AND priority = ?3",
                        )?
                        .query_row(params![queue.as_str(), task_type.as_str(), priority.code()], |row| {
                            row.get(0)
                        })?,
                };
                next = match (next, due) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
    }
    Ok(next.map(Timestamp::from_millis))
}

fn take(transaction: &mut Transaction<'_>, claim: &Claim, ready: &Stored) -> Result<Task, Failure> {
    let command = Command::Claim {
        worker: claim.worker.clone(),
        session: claim.session,
        terms: claim.terms,
        request: claim.request.clone(),
    };
    // A claim is never a repetition: those are answered before candidates are sought.
    let taken = transaction.transition(ready, &command, claim.now)?.unwrap_or_else(|| ready.clone());
    // A task may have been due before it was created; it has waited from then on only.
    let ready_since = ready.head.run_after.max(ready.created_at);
    transaction.duration(&ready.queue, What::Wait, claim.now, claim.now.since(ready_since));
    taken.into_task(transaction.db)
}
