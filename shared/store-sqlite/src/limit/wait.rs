//! Who waits at a limit, and in which order they are let go.

use baton_model::Label;
use baton_model::{LimitOn, Priority, ProjectId, QueueName, Shared, TaskId, TaskType, Timestamp};
use baton_store::Claim;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Stop, moves, parsed};
use crate::codes::Code;
use crate::error::Failure;
use crate::rows::{AtLimit, Stored, affinity, affinity_code, maybe_text, select_task, text, time};
use crate::transaction::Transaction;

/// How many tasks that wait at limits are looked at to tell a claim why it is given nothing.
const LOOKED_AT: i64 = 64;

/// How many of a line that its limit does not concern any more stand where claims look: more than any claim takes.
const LOOSE: u32 = 1_000;

/// A limit's tasks of which a claim gets all or none: those of one queue, type, project, affinity and priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) queue: QueueName,
    pub(crate) task_type: TaskType,
    pub(crate) project: ProjectId,
    pub(crate) affinity: Option<Label>,
    pub(crate) priority: Priority,
}

/// The first of a line.
struct Front {
    line: Line,
    n: i64,
    id: TaskId,
    run_after: Timestamp,
    key: Option<Label>,
}

impl Front {
    fn from_row(row: &Row<'_>) -> Result<Self, Failure> {
        Ok(Self {
            n: row.get(0)?,
            id: TaskId::from_bytes(row.get::<_, [u8; 16]>(1)?),
            line: Line {
                queue: QueueName::from_stored(text(row, 2)?),
                task_type: TaskType::from_stored(text(row, 3)?),
                project: ProjectId::from_stored(text(row, 4)?),
                affinity: affinity(row, 8)?,
                priority: Code::of(row.get(5)?)?,
            },
            run_after: time(row, 6)?,
            key: maybe_text(row, 7)?.map(Label::from_stored),
        })
    }

    fn shared(&self) -> Shared<'_> {
        let Line { queue, task_type, project, .. } = &self.line;
        Shared { queue, project, task_type, key: self.key.as_ref() }
    }
}

macro_rules! front {
    ($tail:literal) => {
        concat!(
            "SELECT n, id, queue, task_type, project, priority, run_after, concurrency_key, affinity FROM task \
             INDEXED BY task_at_limit WHERE state = 6 AND waits_at = ?1 ",
            $tail
        )
    };
}

/// The first limit behind a text that somebody waits at.
pub(super) fn waiting_at(db: &Connection, after: &str) -> Result<Option<LimitOn>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT waits_at FROM task INDEXED BY task_at_limit WHERE state = 6 AND waits_at > ?1 \
         ORDER BY waits_at LIMIT 1",
    )?;
    let found: Option<Box<str>> = statement.query_row([after], |row| row.get(0)).optional()?;
    found.map(|on| parsed(&on)).transpose()
}

/// Whether somebody waits at a limit.
pub(super) fn is_waited_at(db: &Connection, on: &LimitOn) -> Result<bool, Failure> {
    let mut statement =
        db.prepare_cached("SELECT 1 FROM task INDEXED BY task_at_limit WHERE state = 6 AND waits_at = ?1")?;
    Ok(statement.exists([on.to_string()])?)
}

/// Takes a task that its limit stops out of what claims look at.
pub(super) fn put_aside(
    transaction: &mut Transaction<'_>,
    stored: &Stored,
    stop: &Stop,
    now: Timestamp,
) -> Result<(), Failure> {
    transaction
        .db
        .prepare_cached("UPDATE task SET state = 6, waits_at = ?2 WHERE n = ?1 AND state = 0")?
        .execute(params![stored.n, stop.on.to_string()])?;
    transaction.put_aside += 1;
    let limits = &mut transaction.state.limits;
    match &stored.at_limit {
        None => {
            let narrowest = limits.book.of(stored.shared()).into_iter().map(|(on, _)| on).find(moves);
            if let Some(under) = narrowest.and_then(|on| limits.under.get_mut(&on)) {
                under.fresh = under.fresh.saturating_sub(1);
            }
        }
        // It takes no place of the limit that has let go of it.
        Some(AtLimit { on, .. }) if **on != *stop.on.to_string() => {
            let earlier = parsed(on)?;
            let_go(transaction, &earlier, now)?;
        }
        Some(_) => {}
    }
    if let Some(next_at) = stop.next_at {
        transaction.state.limits.look_again(&stop.on, next_at);
        transaction.ring(&stored.queue, &stored.task_type, next_at);
    }
    Ok(())
}

/// Lets go of those that a limit has room for, in each of its lines; the cost follows the number of lines.
pub(super) fn let_go(transaction: &mut Transaction<'_>, on: &LimitOn, now: Timestamp) -> Result<(), Failure> {
    let text = on.to_string();
    let_holders_go(transaction, on, &text, now)?;
    let mut after = (String::new(), String::new(), String::new(), String::new(), -1_i64);
    loop {
        let front = {
            // With `run_after`, past all times: SQLite looks for row values at or behind the given one, and would walk past the line.
            let mut statement = transaction.db.prepare_cached(front!(
                "AND (queue, task_type, project, affinity, priority, run_after) > (?2, ?3, ?4, ?5, ?6, 9223372036854775807) \
                 ORDER BY queue, task_type, project, affinity, priority, run_after, id LIMIT 1"
            ))?;
            let mut rows = statement.query(params![text, after.0, after.1, after.2, after.3, after.4])?;
            rows.next()?.map(Front::from_row).transpose()?
        };
        let Some(front) = front else { break };
        let Line { queue, task_type, project, affinity, priority } = &front.line;
        let affinity = affinity_code(affinity.as_ref()).to_owned();
        after = (queue.to_string(), task_type.to_string(), project.to_string(), affinity, priority.code());
        line_go(transaction, on, &text, front, now)?;
    }
    let limits = &mut transaction.state.limits;
    if limits.left_over && waiting_at(transaction.db, "")?.is_none() {
        limits.left_over = false;
    }
    if let Some(rate) = limits.book.rules_of(on).and_then(|rules| rules.rate)
        && rate.free(limits.arrivals.get(on).copied(), now) < rate.burst
        && is_waited_at(transaction.db, on)?
    {
        let more_at = rate.more_at(limits.arrivals.get(on).copied(), now);
        limits.look_again(on, more_at);
    }
    Ok(())
}

/// As [`let_go`], of one line.
pub(super) fn let_go_of_line(
    transaction: &mut Transaction<'_>,
    on: &LimitOn,
    line: &Line,
    now: Timestamp,
) -> Result<(), Failure> {
    let text = on.to_string();
    match front_of(transaction.db, &text, line)? {
        Some(front) => line_go(transaction, on, &text, front, now),
        None => Ok(()),
    }
}

fn front_of(db: &Connection, on: &str, line: &Line) -> Result<Option<Front>, Failure> {
    let mut statement = db.prepare_cached(front!(
        "AND queue = ?2 AND task_type = ?3 AND project = ?4 AND affinity = ?5 AND priority = ?6 ORDER BY run_after, id LIMIT 1"
    ))?;
    let Line { queue, task_type, project, affinity, priority } = line;
    let mut rows = statement.query(params![
        on,
        queue.as_str(),
        task_type.as_str(),
        project.as_str(),
        affinity_code(affinity.as_ref()),
        priority.code()
    ])?;
    rows.next()?.map(Front::from_row).transpose()
}

/// Has at least as many of a line's first tasks stand where claims look as its limit has places.
fn line_go(
    transaction: &mut Transaction<'_>,
    on: &LimitOn,
    text: &str,
    front: Front,
    now: Timestamp,
) -> Result<(), Failure> {
    let limits = &transaction.state.limits;
    let rules = limits.book.of(front.shared()).into_iter().find(|(one, _)| one == on);
    // Those that it does not concern any more go a few at a time, as there may be a million of them.
    let free = rules.map_or(LOOSE, |(_, rules)| limits.free(on, rules, now).0);
    let line = front.line.clone();
    let Line { queue, task_type, project, affinity, priority } = &line;
    let mut next = Some(front);
    while let Some(Front { n, id, run_after, .. }) = next.take() {
        let ahead: u32 = transaction
            .db
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM task INDEXED BY task_let_go WHERE state = 0 \
                 AND waits_at IS NOT NULL AND waits_at = ?1 AND queue = ?2 AND task_type = ?3 AND project = ?4 \
                 AND affinity = ?5 AND priority = ?6 AND (run_after, id) < (?7, ?8) LIMIT ?9)",
            )?
            .query_row(
                params![
                    text,
                    queue.as_str(),
                    task_type.as_str(),
                    project.as_str(),
                    affinity_code(affinity.as_ref()),
                    priority.code(),
                    run_after.as_millis(),
                    id.as_bytes(),
                    free
                ],
                |row| row.get(0),
            )?;
        if ahead >= free {
            break;
        }
        transaction.db.prepare_cached("UPDATE task SET state = 0 WHERE n = ?1")?.execute([n])?;
        transaction.ring(&line.queue, &line.task_type, run_after.max(now));
        next = front_of(transaction.db, text, &line)?;
    }
    Ok(())
}

/// Lets go of those that hold a place of a limit and wait at it for another to be free.
fn let_holders_go(
    transaction: &mut Transaction<'_>,
    on: &LimitOn,
    text: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let limits = &transaction.state.limits;
    let Some(under) = limits.under.get(on).filter(|under| !under.held.is_empty()) else { return Ok(()) };
    let Some(rules) = limits.book.rules_of(on) else { return Ok(()) };
    if limits.free(on, rules, now).1 == 0 {
        return Ok(());
    }
    for n in &under.held {
        transaction
            .db
            .prepare_cached(
                "UPDATE task SET state = 0, waits_at = NULL WHERE n = ?1 AND state = 6 AND waits_at = ?2",
            )?
            .execute(params![n, text])?;
    }
    Ok(())
}

/// Whether a task of a queue waits at a limit that a claim could be given.
pub(crate) fn is_put_aside(db: &Connection, claim: &Claim, queue: &QueueName) -> Result<bool, Failure> {
    first_put_aside(db, claim, queue).map(|first| first.is_some())
}

/// The first of a queue's tasks that wait at limits and that a claim could be given, of those that are looked at.
pub(super) fn first_put_aside(
    db: &Connection,
    claim: &Claim,
    queue: &QueueName,
) -> Result<Option<Stored>, Failure> {
    let mut statement = db.prepare_cached(select_task!(
        "INDEXED BY task_put_aside WHERE state = 6 AND queue = ?1 ORDER BY priority, run_after, id LIMIT ?2"
    ))?;
    let mut rows = statement.query(params![queue.as_str(), LOOKED_AT])?;
    while let Some(row) = rows.next()? {
        let stored = Stored::from_row(row)?;
        let of_type = claim.types.is_empty() || claim.types.contains(&stored.task_type);
        let of_project = claim.caller.project().is_none_or(|project| *project == stored.project);
        let of_affinity = claim.warm.takes(stored.affinity.as_ref());
        if of_type && of_project && of_affinity && stored.head.run_after <= claim.now {
            return Ok(Some(stored));
        }
    }
    Ok(None)
}
