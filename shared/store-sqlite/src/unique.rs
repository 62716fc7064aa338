//! Unique keys: who was given one last is a row; whether that task holds it still, its own row says. The commit that ends a task
//! removes its row, which only tidies up.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_model::{QueueName, Task, TaskId, TaskSpec, Timestamp, Unique};
use baton_store::unique::{First, firsts, held_by};
use baton_store::{Accepted, Create};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::rows::Stored;

/// How many keys that are free by their time one purge removes.
const SWEPT: i64 = 1_000;

/// How long after that time: commands may be dated by clocks that differ, or were set back.
const SWEPT_AFTER: Duration = Duration::from_secs(3_600);

/// Who holds the keys of those tasks of a batch that would be created, by their places.
pub(crate) fn keep(
    db: &Connection,
    create: &Create,
    is_new: impl Fn(usize) -> bool,
) -> Result<BTreeMap<usize, First>, Failure> {
    let mut holders: BTreeMap<usize, Accepted> = BTreeMap::new();
    for (place, spec) in create.tasks.iter().enumerate().filter(|(place, _)| is_new(*place)) {
        let Some(unique) = &spec.unique else { continue };
        if let Some(stored) = holder(db, (spec.project.as_str(), spec.queue.as_str(), unique), create.now)? {
            holders.insert(place, held_by(&stored.head, stored.created_at, create.now));
        }
    }
    Ok(firsts(&create.tasks, is_new, |place| holders.get(&place).cloned()))
}

/// The task that holds a key now.
fn holder(
    db: &Connection,
    (project, queue, unique): (&str, &str, &Unique),
    now: Timestamp,
) -> Result<Option<Stored>, Failure> {
    let id: Option<[u8; 16]> = db
        .prepare_cached("SELECT task FROM unique_key WHERE project = ?1 AND queue = ?2 AND key = ?3")?
        .query_row(params![project, queue, unique.key.as_str()], |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(None) };
    let stored = Stored::by_id(db, TaskId::from_bytes(id))?;
    Ok(stored.filter(|stored| {
        // The task that had it may be gone, and another one of its id be there.
        let is_its = |own: &Unique| {
            (stored.project.as_str(), stored.queue.as_str(), &own.key) == (project, queue, &unique.key)
        };
        let holds = |own: &Unique| own.holds(stored.head.state.state(), stored.created_at, now);
        stored.unique.as_ref().is_some_and(|own| is_its(own) && holds(own))
    }))
}

/// The other task that holds the key which a finished task needs to live again.
pub(crate) fn other_holder(
    db: &Connection,
    stored: &Stored,
    now: Timestamp,
) -> Result<Option<TaskId>, Failure> {
    let Some(unique) = stored.unique.as_ref().filter(|unique| unique.follows_state()) else {
        return Ok(None);
    };
    let holder = holder(db, (stored.project.as_str(), stored.queue.as_str(), unique), now)?;
    Ok(holder.map(|holder| holder.head.id).filter(|id| *id != stored.head.id))
}

/// The other task that holds, in a queue that a task is to wait in, the key that it holds itself.
pub(crate) fn holder_in(
    db: &Connection,
    stored: &Stored,
    queue: &QueueName,
    now: Timestamp,
) -> Result<Option<TaskId>, Failure> {
    let Some(unique) = held(stored, now) else { return Ok(None) };
    let holder = holder(db, (stored.project.as_str(), queue.as_str(), unique), now)?;
    Ok(holder.map(|holder| holder.head.id).filter(|id| *id != stored.head.id))
}

/// Has a task hold its key in another queue, and no longer in its own.
pub(crate) fn take_along(
    db: &Connection,
    stored: &Stored,
    queue: &QueueName,
    now: Timestamp,
) -> Result<(), Failure> {
    let Some(unique) = held(stored, now) else { return Ok(()) };
    let project = stored.project.as_str();
    forget(db, (project, stored.queue.as_str(), unique), stored.head.id)?;
    hold(db, (project, queue.as_str(), unique), stored.head.id, stored.created_at)
}

/// The key that a task holds.
fn held(stored: &Stored, now: Timestamp) -> Option<&Unique> {
    let holds = |unique: &&Unique| unique.holds(stored.head.state.state(), stored.created_at, now);
    stored.unique.as_ref().filter(holds)
}

/// Gives a new task its key.
pub(crate) fn hold_new(db: &Connection, spec: &TaskSpec, created_at: Timestamp) -> Result<(), Failure> {
    let Some(unique) = &spec.unique else { return Ok(()) };
    hold(db, (spec.project.as_str(), spec.queue.as_str(), unique), spec.id, created_at)
}

/// Gives a task its key again that lives again.
pub(crate) fn hold_again(db: &Connection, stored: &Stored) -> Result<(), Failure> {
    let Some(unique) = stored.unique.as_ref().filter(|unique| unique.follows_state()) else { return Ok(()) };
    let place = (stored.project.as_str(), stored.queue.as_str(), unique);
    hold(db, place, stored.head.id, stored.created_at)
}

fn hold(
    db: &Connection,
    (project, queue, unique): (&str, &str, &Unique),
    id: TaskId,
    created_at: Timestamp,
) -> Result<(), Failure> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO unique_key (project, queue, key, task, free_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        project,
        queue,
        unique.key.as_str(),
        id.as_bytes(),
        unique.free_at(created_at).map(Timestamp::as_millis),
    ])?;
    Ok(())
}

/// Removes the row of a key whose task has ended.
pub(crate) fn tidy(db: &Connection, stored: &Stored) -> Result<(), Failure> {
    if let Some(unique) = stored.unique.as_ref().filter(|unique| unique.follows_state()) {
        forget(db, (stored.project.as_str(), stored.queue.as_str(), unique), stored.head.id)?;
    }
    Ok(())
}

fn forget(
    db: &Connection,
    (project, queue, unique): (&str, &str, &Unique),
    id: TaskId,
) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM unique_key WHERE project = ?1 AND queue = ?2 AND key = ?3 AND task = ?4")?
        .execute(params![project, queue, unique.key.as_str(), id.as_bytes()])?;
    Ok(())
}

/// Removes keys that are free by their time.
pub(crate) fn sweep(db: &Connection, now: Timestamp) -> Result<(), Failure> {
    db.prepare_cached(
        "DELETE FROM unique_key WHERE (project, queue, key) IN (SELECT project, queue, key FROM unique_key \
         INDEXED BY unique_key_free WHERE free_at IS NOT NULL AND free_at <= ?1 LIMIT ?2)",
    )?
    .execute(params![now.minus(SWEPT_AFTER).as_millis(), SWEPT])?;
    Ok(())
}

/// Gives a task that comes from another store its key, unless a later one has come before it.
pub(crate) fn import(db: &Connection, task: &Task) -> Result<(), Failure> {
    let Some(unique) = &task.unique else { return Ok(()) };
    let place = (task.project.as_str(), task.queue.as_str(), unique);
    if unique.follows_state() && task.head.state.state().is_final() {
        return forget(db, place, task.head.id);
    }
    let standing: Option<i64> = db
        .prepare_cached(
            "SELECT task.created_at FROM unique_key JOIN task ON task.id = unique_key.task \
             WHERE unique_key.project = ?1 AND unique_key.queue = ?2 AND unique_key.key = ?3",
        )?
        .query_row(params![place.0, place.1, unique.key.as_str()], |row| row.get(0))
        .optional()?;
    if standing.is_some_and(|created_at| created_at > task.created_at.as_millis()) {
        return Ok(());
    }
    hold(db, place, task.head.id, task.created_at)
}
