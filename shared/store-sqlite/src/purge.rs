//! Removing what is past its keeping, on the writing thread, beside the commands that make it.
//!
//! A purge goes over the kinds of things in turn and removes a portion of each, the oldest first; the portions grow, and it
//! looks at the clock after each. So it ends about when it is asked to ([`Purge::slice`]), whatever the things cost, and no kind
//! waits for another to be done. Where groups of other commands take longer than that, a purge may take as long as the last
//! one did: removing things costs less than making them, so that a purge in each group keeps up with whatever comes, and no
//! command waits longer for it than for the commands of others. `docs/decisions/0008-how-removing-keeps-up.md` has the figures.

use std::time::{Duration, Instant};

use baton_model::{QueueName, State, TaskType, Timestamp};
use baton_store::{Overdue, Purge, PurgeReport};
use rusqlite::{Connection, OptionalExtension, params};

use crate::batches;
use crate::bulk;
use crate::codes::Code;
use crate::dependency;
use crate::error::Failure;
use crate::feed;
use crate::kept;
use crate::limit;
use crate::links::Links;
use crate::rows::{EVENT_BITS, first_key, text};
use crate::stats::WINDOW;
use crate::timeline;
use crate::token::{self, Tokens};
use crate::transaction::Transaction;
use crate::unique;

/// How many things of a kind go at first, and at most, before the clock is looked at: few, as one task may be the work of
/// 16 MiB; many, as each statement costs something by itself.
const PORTIONS: std::ops::RangeInclusive<u64> = 8..=256;

/// What is removed when it is past its keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tasks,
    /// Tasks that are kept for a time of their own.
    OwnTasks,
    Logs,
    Workers,
    IdempotencyKeys,
    ClaimRequests,
    Tokens,
    AuditEntries,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Tasks,
        Self::OwnTasks,
        Self::Logs,
        Self::Workers,
        Self::IdempotencyKeys,
        Self::ClaimRequests,
        Self::Tokens,
        Self::AuditEntries,
    ];

    /// Before when things of this kind are past their keeping; none for never.
    pub(crate) fn before(self, purge: &Purge) -> Option<Timestamp> {
        let keep = match self {
            Self::Tasks => purge.keep_finished?,
            Self::OwnTasks => Duration::ZERO,
            Self::Logs => purge.keep_logs,
            Self::Workers => purge.keep_workers,
            Self::IdempotencyKeys => purge.keep_idempotency,
            Self::ClaimRequests => purge.keep_claims,
            Self::Tokens => purge.keep_tokens,
            Self::AuditEntries => purge.keep_audit,
        };
        Some(purge.now.minus(keep))
    }

    /// As of when the oldest is that may be removed one day.
    fn oldest(self, db: &Connection, tokens: &Tokens) -> Result<Option<Timestamp>, Failure> {
        let sql = match self {
            Self::Tokens => return Ok(tokens.first_end()),
            Self::Tasks => {
                "SELECT finished_at FROM task INDEXED BY task_by_finished WHERE finished_at IS NOT NULL \
                 ORDER BY finished_at LIMIT 1"
            }
            Self::OwnTasks => "SELECT at FROM going ORDER BY at LIMIT 1",
            Self::Logs => "SELECT taken_at FROM log ORDER BY taken_at LIMIT 1",
            Self::Workers => {
                "SELECT seen_at FROM worker WHERE NOT EXISTS (SELECT 1 FROM task INDEXED BY task_leased \
                 WHERE task.worker = worker.id AND state = 1) ORDER BY seen_at LIMIT 1"
            }
            Self::IdempotencyKeys => "SELECT created_at FROM idempotency ORDER BY created_at LIMIT 1",
            Self::ClaimRequests => "SELECT created_at FROM claim_request ORDER BY created_at LIMIT 1",
            Self::AuditEntries => "SELECT at FROM audit ORDER BY k LIMIT 1",
        };
        let oldest = db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
        Ok(oldest.map(Timestamp::from_millis))
    }

    fn count(self, report: &mut PurgeReport) -> &mut u64 {
        match self {
            Self::Tasks | Self::OwnTasks => &mut report.tasks,
            Self::Logs => &mut report.logs,
            Self::Workers => &mut report.workers,
            Self::IdempotencyKeys => &mut report.idempotency_keys,
            Self::ClaimRequests => &mut report.claim_requests,
            Self::Tokens => &mut report.tokens,
            Self::AuditEntries => &mut report.audit_entries,
        }
    }

    /// Removes up to `limit` that are older than `before`.
    fn remove(
        self,
        transaction: &mut Transaction<'_>,
        before: Timestamp,
        limit: u64,
    ) -> Result<u64, Failure> {
        let sql = match self {
            Self::Tasks => return remove_tasks(transaction, FINISHED, before, limit),
            Self::OwnTasks => return remove_tasks(transaction, GOING, before, limit),
            Self::Tokens => return token::purge(transaction, before, limit),
            Self::Logs => {
                "DELETE FROM log WHERE k IN (SELECT k FROM log WHERE taken_at < ?1 ORDER BY taken_at LIMIT ?2)"
            }
            Self::Workers => {
                transaction.state.workers.clear();
                "DELETE FROM worker WHERE id IN (SELECT id FROM worker WHERE seen_at < ?1 AND NOT EXISTS (SELECT 1 FROM \
                 task INDEXED BY task_leased WHERE task.worker = worker.id AND state = 1) ORDER BY seen_at LIMIT ?2)"
            }
            Self::IdempotencyKeys => {
                "DELETE FROM idempotency WHERE key IN \
                 (SELECT key FROM idempotency WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)"
            }
            Self::ClaimRequests => {
                "DELETE FROM claim_request WHERE (worker, request) IN \
                 (SELECT worker, request FROM claim_request WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)"
            }
            Self::AuditEntries => {
                "DELETE FROM audit WHERE k IN (SELECT k FROM audit WHERE k < ?1 ORDER BY k LIMIT ?2)"
            }
        };
        let before = match self {
            Self::AuditEntries => first_key(before),
            _ => before.as_millis(),
        };
        Ok(transaction.db.prepare_cached(sql)?.execute(params![before, limit])? as u64)
    }
}

/// Removes what is past its keeping, up to the limit of each kind and until the slice is over.
pub(crate) fn purge(transaction: &mut Transaction<'_>, purge: &Purge) -> Result<PurgeReport, Failure> {
    let began = Instant::now();
    let slice = purge.slice.map(|slice| slice.max(transaction.state.last_group));
    let over = || slice.is_some_and(|slice| began.elapsed() >= slice);
    let mut report = PurgeReport::default();
    kept::let_go(transaction, slice)?;
    // What is to be archived goes once it is (`archive.rs`).
    let is_archived = transaction.state.archived;
    let goes = |kind: &Kind| !(is_archived && matches!(kind, Kind::Tasks | Kind::OwnTasks));
    // Each purge begins with another kind, so that the short slices of a busy store get to all of them.
    transaction.state.purges = transaction.state.purges.wrapping_add(1);
    let mut open = Kind::ALL;
    open.rotate_left(transaction.state.purges % Kind::ALL.len());
    let mut open: Vec<_> =
        open.into_iter().filter(&goes).filter_map(|kind| Some((kind, kind.before(purge)?))).collect();
    let mut is_over = false;
    let mut portion = *PORTIONS.start();
    let limit = u64::from(purge.limit);
    while !open.is_empty() {
        let mut left = Vec::with_capacity(open.len());
        for (kind, before) in open {
            let room = limit - *kind.count(&mut report);
            let asked = room.min(portion);
            let removed = kind.remove(transaction, before, asked)?;
            *kind.count(&mut report) += removed;
            if removed == asked {
                report.more |= removed == room;
                if removed < room {
                    left.push((kind, before));
                }
            }
            if over() {
                is_over = true;
                left.clear();
                break;
            }
        }
        open = left;
        portion = (portion * 2).min(*PORTIONS.end());
    }
    feed::sweep(transaction)?;
    timeline::purge(transaction.db, purge.now.minus(purge.keep_logs))?;
    if is_over || report.more {
        let overdue = overdue(transaction.db, &transaction.state.tokens, purge, goes)?;
        report.more |= !overdue.longest().is_zero();
        report.overdue = Some(overdue);
    }
    if !report.more {
        sweep_counts(transaction, purge.now)?;
        if let Some(keep) = purge.keep_finished {
            batches::sweep(transaction.db, purge.now.minus(keep))?;
        }
    }
    transaction.state.purging += began.elapsed();
    Ok(report)
}

/// Finished tasks that are kept as long as all, the oldest first.
const FINISHED: &str = "SELECT n, queue, task_type, state, links FROM task INDEXED BY task_by_finished WHERE finished_at < ?1 \
                        ORDER BY finished_at LIMIT ?2";

/// Those that are kept for a time of their own, by when they go.
const GOING: &str = "SELECT going.n, queue, task_type, state, links FROM going INDEXED BY going_at JOIN task USING (n) \
                     WHERE going.at < ?1 ORDER BY going.at LIMIT ?2";

/// Removes finished tasks with all that belongs to them. Tasks that were made one after the other mostly end so, too, and
/// their rows lie side by side: each run of them goes by one statement a table, at a third of the price.
fn remove_tasks(
    transaction: &mut Transaction<'_>,
    sql: &'static str,
    before: Timestamp,
    limit: u64,
) -> Result<u64, Failure> {
    let mut old = Vec::new();
    {
        let mut statement = transaction.db.prepare_cached(sql)?;
        let mut rows = statement.query(params![before.as_millis(), limit])?;
        while let Some(row) = rows.next()? {
            let queue = QueueName::from_stored(text(row, 1)?);
            let task_type = TaskType::from_stored(text(row, 2)?);
            if Links::of(row.get(4)?).waits {
                dependency::remove_edges(transaction.db, row.get(0)?)?;
            }
            old.push((row.get::<_, i64>(0)?, queue, task_type, State::of(row.get(3)?)?));
        }
    }
    old.sort_unstable_by_key(|(n, ..)| *n);
    for run in old.chunk_by(|(n, ..), (next, ..)| *next == n + 1) {
        let (Some((first, ..)), Some((last, ..))) = (run.first(), run.last()) else { continue };
        remove_rows(transaction.db, *first, *last)?;
    }
    for (_, queue, task_type, state) in &old {
        transaction.tally(queue, task_type, *state, -1);
    }
    transaction.state.removed_tasks += old.len();
    Ok(old.len() as u64)
}

/// Removes the rows of tasks whose numbers lie side by side.
pub(crate) fn remove_rows(db: &Connection, first: i64, last: i64) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM event WHERE k BETWEEN ?1 AND ?2")?
        .execute([first << EVENT_BITS, last << EVENT_BITS | ((1 << EVENT_BITS) - 1)])?;
    for sql in [
        "DELETE FROM generation WHERE n BETWEEN ?1 AND ?2",
        "DELETE FROM task_error WHERE n BETWEEN ?1 AND ?2",
        "DELETE FROM task_body WHERE n BETWEEN ?1 AND ?2",
        "DELETE FROM going WHERE n BETWEEN ?1 AND ?2",
        "DELETE FROM task WHERE n BETWEEN ?1 AND ?2",
    ] {
        db.prepare_cached(sql)?.execute([first, last])?;
    }
    Ok(())
}

/// How far past its keeping the oldest thing is of each kind that purges remove: a look at the first entry of an index each.
fn overdue(
    db: &Connection,
    tokens: &Tokens,
    purge: &Purge,
    goes: impl Fn(&Kind) -> bool,
) -> Result<Overdue, Failure> {
    let of = |kind: Kind| -> Result<Duration, Failure> {
        if !goes(&kind) {
            return Ok(Duration::ZERO);
        }
        let (Some(before), Some(oldest)) = (kind.before(purge), kind.oldest(db, tokens)?) else {
            return Ok(Duration::ZERO);
        };
        Ok(before.since(oldest))
    };
    Ok(Overdue {
        tasks: of(Kind::Tasks)?.max(of(Kind::OwnTasks)?),
        logs: of(Kind::Logs)?,
        workers: of(Kind::Workers)?,
        idempotency_keys: of(Kind::IdempotencyKeys)?,
        claim_requests: of(Kind::ClaimRequests)?,
        tokens: of(Kind::Tokens)?,
        audit_entries: of(Kind::AuditEntries)?,
    })
}

/// How many counts are looked at in one purge.
const COUNTS: i64 = 1_000;

/// Removes counts of nothing, and durations that statistics no longer look at.
fn sweep_counts(transaction: &mut Transaction<'_>, now: Timestamp) -> Result<(), Failure> {
    let db = transaction.db;
    let hour = now.minus(WINDOW).as_millis() / 3_600_000;
    db.prepare_cached("DELETE FROM histogram WHERE hour < ?1")?.execute([hour])?;
    limit::sweep(transaction, now.minus(WINDOW))?;
    unique::sweep(db, now)?;
    bulk::sweep(db, now)?;
    // With 100,000 queues a look at all counts takes 50 ms: a part of them goes each time.
    let from = transaction.state.counts_swept.take().unwrap_or_default();
    let to: Option<String> = db
        .prepare_cached("SELECT queue FROM tally WHERE queue >= ?1 ORDER BY queue LIMIT 1 OFFSET ?2")?
        .query_row(params![from, COUNTS], |row| row.get(0))
        .optional()?;
    // The end of a queue with very many types is the end of the table.
    let to = to.filter(|to| *to > from);
    db.prepare_cached("DELETE FROM tally WHERE tasks = 0 AND queue >= ?1 AND (?2 IS NULL OR queue < ?2)")?
        .execute(params![from, to])?;
    transaction.state.counts_swept = to;
    Ok(())
}
