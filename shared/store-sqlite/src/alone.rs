//! Tasks that are given out alone, as far as claims meet them. Plain claims ask nothing of this: they come here when such a
//! task is among those that they found, or when their worker is tied to one.

use baton_model::alone::{Turn, turn};
use baton_model::order::Place;
use baton_model::{Alone, Priority, TaskId, Timestamp, WorkerId};
use baton_store::{Claim, Nothing};
use rusqlite::{Row, params};

use crate::claim::{Kind, Lane, ranked};
use crate::codes::Code;
use crate::error::Failure;
use crate::order::place;
use crate::rows::{Stored, select_task, worker_by_id};
use crate::transaction::Transaction;

/// How many of those that wait are looked at for one that no worker makes room for: as many workers may be making room
/// before a further one looks on as if there were no more.
const LOOKED_AT: usize = 32;

/// Those of a queue and a priority that are due; of very many, as claims come by types and projects, the first.
const DUE: &str = select_task!(
    "INDEXED BY task_alone WHERE state = 0 AND worker_losses >= 2 AND queue = ?1 AND priority = ?2 \
     AND run_after <= ?3 ORDER BY run_after, id LIMIT 1000"
);

/// A worker's tie, from the columns `alone_task`, `alone_attempt` and `alone_until`, of which `first` is the first.
pub(crate) fn tie_of(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Alone>> {
    let Some(task) = row.get::<_, Option<[u8; 16]>>(first)?.map(TaskId::from_bytes) else { return Ok(None) };
    Ok(Some(match row.get(first + 1)? {
        Some(attempt) => Alone::Runs { task, attempt },
        None => Alone::MakesRoom { task, until: Timestamp::from_millis(row.get(first + 2)?) },
    }))
}

/// A worker's tie as those three columns.
pub(crate) fn tie_columns(alone: Option<Alone>) -> (Option<[u8; 16]>, Option<u32>, Option<i64>) {
    let task = alone.map(|alone| *alone.task().as_bytes());
    match alone {
        None => (None, None, None),
        Some(Alone::Runs { attempt, .. }) => (task, Some(attempt), None),
        Some(Alone::MakesRoom { until, .. }) => (task, None, Some(until.as_millis())),
    }
}

/// Why a worker that is tied to a task is given nothing, if it still is.
pub(crate) fn tied(
    transaction: &mut Transaction<'_>,
    claim: &Claim,
    alone: Alone,
    active: u32,
) -> Result<Option<Nothing>, Failure> {
    let stored = Stored::by_id(transaction.db, alone.task())?;
    let task = stored.as_ref().map(|stored| (&stored.head, &stored.queue));
    let worker = worker_by_id(transaction.db, &claim.worker)?;
    let takes = worker.map(|stored| stored.worker.takes).unwrap_or_default();
    if !alone.stands((&claim.worker, &takes), active, task, claim.now) {
        tie(transaction, &claim.worker, None)?;
        return Ok(None);
    }
    if alone.is_to_be_renewed(claim.now) {
        tie(transaction, &claim.worker, Some(Alone::makes_room(alone.task(), claim.now)))?;
    }
    Ok(Some(match alone {
        Alone::Runs { .. } => Nothing::RunsAlone,
        Alone::MakesRoom { .. } => Nothing::MakesRoom,
    }))
}

/// What a claim is given that has found such a task, or why it is given nothing.
pub(crate) fn choose(
    transaction: &mut Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
    most: usize,
    active: u32,
) -> Result<Result<Vec<Stored>, Nothing>, Failure> {
    let plain = ranked(transaction, claim, lanes, most, Kind::Plain)?;
    let alone = due(transaction, claim, lanes)?;
    let place = |stored: &Stored| place(transaction, claim, lanes, stored);
    let places: Vec<Place> = alone.iter().map(place).collect();
    let mut awaited = Vec::new();
    for one in &places {
        if active > 0 && is_awaited(transaction, one.id, claim.now)? {
            awaited.push(one.id);
        }
    }
    let first = plain.first().map(place);
    match turn(active == 0, first, &places, |task| awaited.contains(&task), claim.now) {
        Turn::Plain if plain.is_empty() => Ok(Err(Nothing::OnlyAlone)),
        Turn::Plain => Ok(Ok(plain)),
        Turn::Alone(id) => {
            let chosen: Vec<Stored> = alone.into_iter().filter(|stored| stored.head.id == id).collect();
            let runs =
                chosen.first().map(|stored| Alone::Runs { task: id, attempt: stored.head.attempt + 1 });
            tie(transaction, &claim.worker, runs)?;
            Ok(Ok(chosen))
        }
        Turn::MakeRoom(id) => {
            tie(transaction, &claim.worker, Some(Alone::makes_room(id, claim.now)))?;
            Ok(Err(Nothing::MakesRoom))
        }
    }
}

/// The first of those that are due for a claim, in their order.
pub(crate) fn due(
    transaction: &Transaction<'_>,
    claim: &Claim,
    lanes: &[Lane<'_>],
) -> Result<Vec<Stored>, Failure> {
    let mut statement = transaction.db.prepare_cached(DUE)?;
    let mut all = Vec::new();
    for priority in Priority::ALL {
        let mut found = Vec::new();
        for lane in lanes {
            let mut rows =
                statement.query(params![lane.queue.as_str(), priority.code(), claim.now.as_millis()])?;
            let mut fitting = 0;
            while fitting < LOOKED_AT
                && let Some(row) = rows.next()?
            {
                let stored = Stored::from_row(row)?;
                let of_type = lane.has_type(claim, &stored.task_type);
                let of_type = of_type && claim.warm.takes(stored.affinity.as_ref());
                if of_type && claim.caller.project().is_none_or(|project| *project == stored.project) {
                    found.push(stored);
                    fitting += 1;
                }
            }
        }
        all.append(&mut found);
    }
    all.sort_by_cached_key(|stored| place(transaction, claim, lanes, stored).across());
    all.truncate(LOOKED_AT);
    Ok(all)
}

/// Whether a worker makes room for a task.
fn is_awaited(transaction: &Transaction<'_>, task: TaskId, now: Timestamp) -> Result<bool, Failure> {
    let mut statement = transaction.db.prepare_cached(
        "SELECT alone_task, alone_attempt, alone_until FROM worker INDEXED BY worker_makes_room \
         WHERE alone_until IS NOT NULL AND alone_task = ?1",
    )?;
    let mut rows = statement.query([task.as_bytes()])?;
    while let Some(row) = rows.next()? {
        if tie_of(row, 0)?.is_some_and(|alone| alone.makes_room_at(now)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn tie(transaction: &mut Transaction<'_>, worker: &WorkerId, alone: Option<Alone>) -> Result<(), Failure> {
    transaction.state.workers.take(worker);
    let (task, attempt, until) = tie_columns(alone);
    transaction
        .db
        .prepare_cached(
            "UPDATE worker SET alone_task = ?2, alone_attempt = ?3, alone_until = ?4 WHERE id = ?1",
        )?
        .execute(params![worker.as_str(), task, attempt, until])?;
    Ok(())
}
