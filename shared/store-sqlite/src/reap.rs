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
use crate::rows::{Stored, select_task, time, worker_by_id};
use crate::timeline;
use crate::transaction::Transaction;

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
