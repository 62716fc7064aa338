//! The reaper: finds lost leases on a reader, so that the search holds nobody up, and takes them back on the writer,
//! which judges each one anew.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use baton_model::lease::LeasePolicy;
use baton_model::transition::Command;
use baton_model::{Happened, Loss, LossReason, TaskState, Timestamp, Watch, Worker, WorkerId};
use baton_store::{Reap, ReapReport, Taken};
use rusqlite::{Connection, params};

use crate::dependency;
use crate::error::Failure;
use crate::rows::{MOMENT_BITS, Stored, first_key, select_task, text, time, worker_by_id};
use crate::timeline;
use crate::transaction::Transaction;

/// At how many workers that have fallen silent a round looks.
const SILENT: u32 = 256;

/// How long before the first look a worker may have fallen silent that is noted: no longer than what is noted is kept at least, so that it is
/// known what a process before has noted.
const BEFORE: Duration = Duration::from_secs(3_600);

/// Of how much that was noted since they were heard it is known whether it tells of them.
const NOTED: u32 = 10_000;

/// A task whose lease looked lost to a reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspect {
    n: i64,
    attempt: u32,
}

/// The tasks whose lease is lost, up to one more than the limit. Looks at running tasks only, so that the cost follows
/// the fleet and not the number of tasks.
pub(crate) fn suspects(
    db: &Connection,
    policy: &LeasePolicy,
    reap: &Reap,
) -> Result<(Vec<Suspect>, Watch), Failure> {
    let watch = reap.watch.clone();
    // Whether anybody is heard is asked only where there is patience.
    let last_beat = if watch.patience.is_zero() { None } else { last_beat(db, &watch)? };
    let watch = watch.hearing(last_beat, policy);
    let mut statement = db.prepare_cached(match reap.worker {
        None => select_task!("INDEXED BY task_leased WHERE state = 1 ORDER BY worker, n"),
        Some(_) => select_task!("INDEXED BY task_leased WHERE state = 1 AND worker = ?1 ORDER BY n"),
    })?;
    let mut rows = match &reap.worker {
        None => statement.query([])?,
        Some(worker) => statement.query([worker.as_str()])?,
    };
    let mut workers = Workers::default();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let stored = Stored::from_row(row)?;
        let in_queue = reap.queue.as_ref().is_none_or(|queue| *queue == stored.queue);
        if in_queue && lost(db, &mut workers, &stored, policy, &watch)?.is_some() {
            found.push(Suspect { n: stored.n, attempt: stored.head.attempt });
            if found.len() > reap.limit as usize {
                break;
            }
        }
    }
    Ok((found, watch))
}

/// How long ago the last heartbeat of all workers was.
fn last_beat(db: &Connection, watch: &Watch) -> Result<Option<Duration>, Failure> {
    let mut statement =
        db.prepare_cached("SELECT last_beat_at FROM worker WHERE last_beat_at IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let ago = watch.elapsed(time(row, 0)?);
        last = Some(last.map_or(ago, |last: Duration| last.min(ago)));
    }
    Ok(last)
}

/// Workers as they were read, each one once.
type Workers = HashMap<WorkerId, Option<Worker>>;

fn lost(
    db: &Connection,
    workers: &mut Workers,
    stored: &Stored,
    policy: &LeasePolicy,
    watch: &Watch,
) -> Result<Option<Loss>, Failure> {
    let TaskState::Running(lease) = &stored.head.state else { return Ok(None) };
    if !workers.contains_key(&lease.worker) {
        let worker = worker_by_id(db, &lease.worker)?.map(|stored| stored.worker);
        workers.insert(lease.worker.clone(), worker);
    }
    let worker = workers.get(&lease.worker).and_then(Option::as_ref);
    Ok(lease.lost(stored.head.id, stored.head.attempt, worker, policy, watch))
}

/// Takes back those suspects whose lease is lost indeed.
pub(crate) fn take_back(
    transaction: &mut Transaction<'_>,
    (suspects, watch): &(Vec<Suspect>, Watch),
) -> Result<ReapReport, Failure> {
    let policy = transaction.state.policy;
    let mut workers = Workers::default();
    let mut report = ReapReport::default();
    for suspect in suspects {
        let stored = {
            let mut statement =
                transaction.db.prepare_cached(select_task!("WHERE n = ?1 AND attempt = ?2"))?;
            let mut rows = statement.query(params![suspect.n, suspect.attempt])?;
            match rows.next()? {
                Some(row) => Stored::from_row(row)?,
                None => continue,
            }
        };
        let TaskState::Running(lease) = &stored.head.state else { continue };
        let Some(loss) = lost(transaction.db, &mut workers, &stored, &policy, watch)? else { continue };
        let worker = workers.get(&lease.worker).and_then(Option::as_ref);
        let worker_gone = worker.is_some_and(|worker| worker.ended_at.is_some());
        let command = Command::LoseLease { attempt: suspect.attempt, loss };
        let Some(after) = transaction.transition(&stored, &command, watch.now)? else { continue };
        dependency::follow(transaction, &after, watch.now)?;
        report.taken.push(Taken {
            task: stored.head.id,
            queue: stored.queue.clone(),
            task_type: stored.task_type.clone(),
            domain: stored.domain.clone(),
            attempt: suspect.attempt,
            worker: lease.worker.clone(),
            worker_gone,
            reason: loss.reason,
            to: after.head.state.state(),
        });
    }
    note_losses(transaction, &report.taken, watch.now)?;
    Ok(report)
}

/// Notes for the time line that tasks were taken back, and which workers were lost with them.
fn note_losses(transaction: &Transaction<'_>, taken: &[Taken], now: Timestamp) -> Result<(), Failure> {
    if taken.is_empty() {
        return Ok(());
    }
    let mut workers: BTreeMap<&WorkerId, (u64, LossReason)> = BTreeMap::new();
    for one in taken {
        workers.entry(&one.worker).or_insert((0, one.reason)).0 += 1;
    }
    let (tasks, of) = (taken.len() as u64, workers.len() as u64);
    for (worker, (tasks, reason)) in workers {
        if reason == LossReason::HeartbeatMissed {
            let lost = Happened::WorkerLost { worker: worker.clone(), tasks, reason };
            timeline::note(transaction, now, &lost)?;
        }
    }
    timeline::note(transaction, now, &Happened::TakenBack { tasks, workers: of })
}

/// The workers that were last heard longer ago than the heartbeat timeout, and at a time behind which it is not known yet who has fallen
/// silent; and the time behind which it is not known after these. Each worker crosses that line once for each time that it falls silent, and is
/// found by an index, so that a look costs the same however many workers there are.
pub(crate) fn silent(
    db: &Connection,
    policy: &LeasePolicy,
    watch: &Watch,
    known: Option<Timestamp>,
) -> Result<(Vec<WorkerId>, Option<Timestamp>), Failure> {
    let timeout = policy.heartbeat_timeout + watch.patience;
    // Who could not be heard for so long is not silent.
    if watch.heard_for() <= timeout {
        return Ok((Vec::new(), known));
    }
    let until = watch.now.minus(timeout);
    // Where the clock was set back, it goes on from there: what is noted is not noted again.
    let from = known.unwrap_or_else(|| until.minus(BEFORE)).min(until);
    let mut statement = db.prepare_cached(
        "SELECT id, seen_at FROM worker INDEXED BY worker_by_seen WHERE seen_at >= ?1 AND seen_at < ?2 \
         ORDER BY seen_at LIMIT ?3",
    )?;
    let mut rows = statement.query(params![from.as_millis(), until.as_millis(), SILENT])?;
    let (mut workers, mut last) = (Vec::new(), from);
    while let Some(row) = rows.next()? {
        workers.push(WorkerId::from_stored(text(row, 0)?));
        last = time(row, 1)?;
    }
    let known = match workers.len() < SILENT as usize {
        true => until,
        // There may be more of the last millisecond; if all are of one, others are not held up by it.
        false => last.max(from.plus(Duration::from_millis(1))),
    };
    Ok((workers, Some(known)))
}

/// Whether a worker holds what it loses by its silence, though not yet: it has claimed since it beat last. It is told of with that.
fn holds(db: &Connection, worker: &WorkerId) -> Result<bool, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT 1 FROM task INDEXED BY task_leased WHERE worker = ?1 AND state = 1 AND expires_at IS NULL LIMIT 1",
    )?;
    Ok(statement.exists([worker.as_str()])?)
}

/// Notes for the time line that workers have fallen silent: those of which it is not noted, with tasks that they lost or without.
pub(crate) fn note_silent(
    transaction: &mut Transaction<'_>,
    (workers, watch): &(Vec<WorkerId>, Watch),
) -> Result<(), Failure> {
    let timeout = transaction.state.policy.heartbeat_timeout + watch.patience;
    let mut silent = Vec::new();
    for id in workers {
        let Some(stored) = worker_by_id(transaction.db, id)? else { continue };
        if holds(transaction.db, id)? {
            continue;
        }
        // One that has said that it ends is gone, and one that never beat is none that is waited for.
        let beat = stored.worker.last_beat_at.filter(|_| stored.worker.ended_at.is_none());
        silent.extend(beat.filter(|beat| watch.elapsed(*beat) > timeout).map(|beat| (id, beat)));
    }
    let Some(earliest) = silent.iter().map(|(_, beat)| *beat).min() else { return Ok(()) };
    let mut noted: HashMap<WorkerId, Timestamp> = HashMap::new();
    for (k, happened) in timeline::happened_behind(transaction.db, first_key(earliest) - 1, NOTED)? {
        if let Happened::WorkerLost { worker, .. } = happened {
            noted.insert(worker, Timestamp::from_millis(k >> MOMENT_BITS));
        }
    }
    for (worker, beat) in silent {
        if noted.get(worker).is_none_or(|at| *at < beat) {
            let lost = Happened::WorkerLost {
                worker: worker.clone(),
                tasks: 0,
                reason: LossReason::HeartbeatMissed,
            };
            timeline::note(transaction, watch.now, &lost)?;
        }
    }
    Ok(())
}
