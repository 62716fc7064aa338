//! Tasks that wait for others: whoever ends a task lets go of those that wait for it, in the same commit.
//!
//! A task that ends and that nobody waits for is told by its own row ([`Links::waited_for`]), so that it asks for no more than
//! before. Of one that is waited for, each dependant is judged anew from the rows of its dependencies; no count is kept.

use std::collections::BTreeMap;

use baton_model::dependency::outlook;
use baton_model::transition::Command;
use baton_model::{
    Dependency, FirstFailure, IfDependencyFails, Outlook, ProjectId, State, Task, TaskId, TaskSpec, TaskType,
    Timestamp,
};
use baton_store::batch::{self, Item};
use baton_store::{Cancel, Cursor, Input, ItemRefusal, Linked, Mend, Mended, Retry, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::links::{Links, mark_waited_for, note_blocked};
use crate::rows::{SMALL_GENERATION, Stored, dependencies_of, select_task, small_generation, state_of, text};
use crate::transaction::Transaction;
use crate::unique;

/// The refusals of the tasks of a batch that depend on what they cannot depend on.
pub(crate) fn refusals(
    db: &Connection,
    specs: &[TaskSpec],
    items: &[Item],
) -> Result<BTreeMap<usize, ItemRefusal>, Failure> {
    let mut projects: BTreeMap<TaskId, ProjectId> = BTreeMap::new();
    let mut statement = db.prepare_cached("SELECT project FROM task WHERE id = ?1")?;
    for id in specs.iter().flat_map(|spec| &spec.depends_on) {
        if !projects.contains_key(id)
            && let Some(project) =
                statement.query_row([id.as_bytes()], |row| row.get::<_, Box<str>>(0)).optional()?
        {
            projects.insert(*id, ProjectId::from_stored(project));
        }
    }
    Ok(batch::refusals(specs, items, |id| projects.get(&id).cloned()))
}

/// Writes the edges of a new task.
pub(crate) fn insert_edges(db: &Connection, n: i64, depends_on: &[TaskId]) -> Result<(), Failure> {
    let mut statement =
        db.prepare_cached("INSERT INTO dependency (dependant, place, dependency) VALUES (?1, ?2, ?3)")?;
    for (place, id) in depends_on.iter().enumerate() {
        statement.execute(params![n, place as i64, id.as_bytes()])?;
    }
    Ok(())
}

/// A dependency as it stands.
fn standing(db: &Connection, id: TaskId) -> Result<Dependency, Failure> {
    let Some(stored) = Stored::by_id(db, id)? else {
        return Ok(Dependency { task: id, state: None, first: None });
    };
    let state = stored.head.state.state();
    let first = match state {
        State::Failed | State::Cancelled => Some(FirstFailure::of(id, state, stored.error(db)?.as_ref())),
        _ => None,
    };
    Ok(Dependency { task: id, state: Some(state), first })
}

/// What a task's dependencies mean to it.
pub(crate) fn outlook_of(db: &Connection, stored: &Stored) -> Result<Outlook, Failure> {
    if !stored.links.waits {
        return Ok(Outlook::Met);
    }
    // What most are answered by: how many did not complete, and how many have not ended.
    let (failed, unmet): (i64, i64) = db
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE task.state IS NULL OR task.state IN (3, 4)), \
             count(*) FILTER (WHERE task.state IN (0, 1, 5, 6)) \
             FROM dependency LEFT JOIN task ON task.id = dependency.dependency WHERE dependency.dependant = ?1",
        )?
        .query_row([stored.n], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if failed == 0 || stored.links.choice == IfDependencyFails::Run {
        return Ok(if unmet == 0 { Outlook::Met } else { Outlook::Unmet });
    }
    let mut dependencies = Vec::new();
    for id in dependencies_of(db, stored.n)? {
        dependencies.push(standing(db, id)?);
    }
    Ok(outlook(stored.links.choice, dependencies))
}

/// Does what the dependencies of a blocked task ask for; gives the task after it, if it has ended.
fn settle(
    transaction: &mut Transaction<'_>,
    stored: &Stored,
    outlook: Outlook,
    now: Timestamp,
) -> Result<Option<Stored>, Failure> {
    let command = match outlook {
        Outlook::Unmet => return Ok(None),
        Outlook::Met => Command::Unblock,
        Outlook::Failed(first) => {
            Command::DependencyFailed { first, fails: stored.links.choice == IfDependencyFails::Fail }
        }
    };
    let after = transaction.transition(stored, &command, now)?;
    Ok(after.filter(|after| after.head.state.state().is_final()))
}

/// A blocked task that depends on one that has ended.
struct Dependant {
    stored: Stored,
    /// Whether its dependencies are known to be met; else it is to be judged.
    is_met: bool,
}

/// The tasks that depend on one and wait for no other, in the order of their arrival, each with whether a dependency of it did not
/// complete. Each is judged by its dependencies from the last one on, which is the latest to end as a rule: in a graph of layers five are
/// looked at for three dependants, and eight from the first one on.
const FREED: &str = "SELECT dependant, EXISTS (SELECT 1 FROM dependency AS edge LEFT JOIN task AS waited ON waited.id = edge.dependency \
     WHERE edge.dependant = held.dependant AND (waited.state IS NULL OR waited.state IN (3, 4))) \
     FROM dependency AS held INDEXED BY dependency_of WHERE dependency = ?1 \
     AND (SELECT 1 FROM dependency AS edge CROSS JOIN task AS waited ON waited.id = edge.dependency \
     WHERE edge.dependant = held.dependant AND waited.state IN (0, 1, 5, 6) ORDER BY edge.place DESC LIMIT 1) IS NULL \
     ORDER BY dependant";

/// A task if it is blocked.
const BLOCKED: &str = select_task!("WHERE n = ?1 AND state = 5");

/// The blocked tasks that depend on one that was completed and wait for no other, in the order of their arrival. The one query
/// judges them; but those for which others did not complete, and that do not run all the same, are to be looked at.
fn freed_dependants(transaction: &Transaction<'_>, id: TaskId) -> Result<Vec<Dependant>, Failure> {
    let judged = transaction
        .held
        .query(FREED, [id.as_bytes()], |row| Ok(Some((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?))))?;
    let mut freed = Vec::with_capacity(judged.len());
    for (n, any_failed) in judged {
        if let Some(stored) = transaction.held.first(BLOCKED, [n], Stored::from_row)? {
            let is_met = !any_failed || stored.links.choice == IfDependencyFails::Run;
            freed.push(Dependant { stored, is_met });
        }
    }
    Ok(freed)
}

/// The blocked tasks that depend on one that did not complete, in the order of their arrival.
fn blocked_dependants(db: &Connection, id: TaskId) -> Result<Vec<Dependant>, Failure> {
    let mut statement = db.prepare_cached(select_task!(
        "WHERE n IN (SELECT dependant FROM dependency INDEXED BY dependency_of WHERE dependency = ?1) \
         AND state = 5 ORDER BY n"
    ))?;
    let found = statement.query([id.as_bytes()])?.and_then(Stored::from_row);
    found.map(|stored| Ok(Dependant { stored: stored?, is_met: false })).collect()
}

/// Has those follow that wait for a task which has ended, and those that wait for them if they end by it.
pub(crate) fn follow(
    transaction: &mut Transaction<'_>,
    ended: &Stored,
    now: Timestamp,
) -> Result<(), Failure> {
    if !ended.links.waited_for || !ended.head.state.state().is_final() {
        return Ok(());
    }
    let mut next = vec![(ended.head.id, ended.head.state.state() == State::Completed)];
    while let Some((id, completed)) = next.pop() {
        let dependants = match completed {
            true => freed_dependants(transaction, id)?,
            false => blocked_dependants(transaction.db, id)?,
        };
        for Dependant { stored, is_met } in dependants {
            let outlook = if is_met { Outlook::Met } else { outlook_of(transaction.db, &stored)? };
            if let Some(after) = settle(transaction, &stored, outlook, now)?
                && after.links.waited_for
            {
                next.push((after.head.id, false));
            }
        }
    }
    Ok(())
}

/// Lets go of a new task whose dependencies are met, or have failed, already.
pub(crate) fn let_go(transaction: &mut Transaction<'_>, id: TaskId, now: Timestamp) -> Result<(), Failure> {
    let stored = Stored::known(transaction.db, id)?;
    if stored.head.state.state() != State::Blocked {
        return Ok(());
    }
    let outlook = outlook_of(transaction.db, &stored)?;
    match settle(transaction, &stored, outlook, now)? {
        Some(after) => follow(transaction, &after, now),
        None => Ok(()),
    }
}

/// The tasks that depend on one.
fn dependants(db: &Connection, id: TaskId) -> Result<Vec<Stored>, Failure> {
    let mut statement = db.prepare_cached(select_task!(
        "WHERE n IN (SELECT dependant FROM dependency INDEXED BY dependency_of WHERE dependency = ?1) ORDER BY n"
    ))?;
    statement.query([id.as_bytes()])?.and_then(Stored::from_row).collect()
}

/// Cancels the unfinished tasks that depend on one, however far: in one commit with it, so that none of them sees it ended.
pub(crate) fn cancel_dependants(
    transaction: &mut Transaction<'_>,
    cancel: &Cancel,
    of: &Stored,
) -> Result<(), Failure> {
    let mut next = if of.links.waited_for { vec![of.head.id] } else { Vec::new() };
    while let Some(id) = next.pop() {
        for stored in dependants(transaction.db, id)? {
            if stored.head.state.state().is_final() {
                continue;
            }
            transaction.transition(&stored, &cancel.command(Some(cancel.task)), cancel.now)?;
            if stored.links.waited_for {
                next.push(stored.head.id);
            }
        }
    }
    Ok(())
}

/// Has the tasks wait again that ended because one did not complete.
pub(crate) fn retry_dependants(transaction: &mut Transaction<'_>, retry: &Retry) -> Result<(), Failure> {
    let mut next = vec![retry.task];
    while let Some(id) = next.pop() {
        for stored in dependants(transaction.db, id)? {
            if !stored.head.state.state().is_final()
                || FirstFailure::named(stored.error(transaction.db)?.as_ref()).is_none()
            {
                continue;
            }
            let outlook = outlook_of(transaction.db, &stored)?;
            let holder = unique::other_holder(transaction.db, &stored, retry.now)?;
            if matches!(outlook, Outlook::Failed(_)) || holder.is_some() {
                continue;
            }
            let command = retry.command(outlook, holder, Some(retry.task));
            transaction.transition(&stored, &command, retry.now)?;
            unique::hold_again(transaction.db, &stored)?;
            next.push(stored.head.id);
        }
    }
    Ok(())
}

/// Blocked tasks that need not wait any longer, as a reader sees them, and where to go on. There are none but such as came from
/// another store.
pub(crate) fn overdue(db: &Connection, mend: &Mend) -> Result<(Vec<TaskId>, Option<Cursor>), Failure> {
    let after: i64 = match &mend.after {
        None => 0,
        Some(Cursor(text)) => text.parse().map_err(|_| StoreError::BadCursor)?,
    };
    let mut statement = db.prepare_cached(select_task!(
        "WHERE n IN (SELECT n FROM blocked WHERE n > ?1 ORDER BY n LIMIT ?2) ORDER BY n"
    ))?;
    let mut rows = statement.query(params![after, mend.limit])?;
    let (mut found, mut looked, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let stored = Stored::from_row(row)?;
        (looked, last) = (looked + 1, Some(stored.n));
        if outlook_of(db, &stored)? != Outlook::Unmet {
            found.push(stored.head.id);
        }
    }
    Ok((found, last.filter(|_| looked == mend.limit).map(|n| Cursor(n.to_string()))))
}

/// Lets go of those, each judged anew.
pub(crate) fn mend(
    transaction: &mut Transaction<'_>,
    (ids, now): &(Vec<TaskId>, Timestamp),
) -> Result<Mended, Failure> {
    let mut report = Mended::default();
    for id in ids {
        let_go(transaction, *id, *now)?;
        match Stored::by_id(transaction.db, *id)?.map(|stored| stored.head.state.state()) {
            Some(State::Queued) => report.unblocked += 1,
            Some(State::Failed | State::Cancelled) => report.ended += 1,
            _ => {}
        }
    }
    Ok(report)
}

/// Tasks with their edges.
pub(crate) fn linked(db: &Connection, ids: &[TaskId]) -> Result<Vec<Linked>, Failure> {
    let moment = db.unchecked_transaction()?;
    let mut found = Vec::new();
    for id in ids {
        let Some(stored) = Stored::by_id(&moment, *id)? else { continue };
        // Whatever its links say: it may be a new one under the id of one that was removed.
        let mut dependants = dependant_ids(&moment, *id)?;
        let more_dependants = dependants.len() > Linked::DEPENDANTS;
        dependants.truncate(Linked::DEPENDANTS);
        found.push(Linked {
            id: *id,
            project: stored.project.clone(),
            queue: stored.queue.clone(),
            task_type: stored.task_type.clone(),
            state: stored.head.state.state(),
            attempt: stored.head.attempt,
            run_after: stored.head.run_after,
            created_at: stored.created_at,
            claimed_at: stored.claimed_at,
            finished_at: stored.finished_at,
            depends_on: if stored.links.waits { dependencies_of(&moment, stored.n)? } else { Vec::new() },
            if_dependency_fails: stored.links.choice,
            dependants,
            more_dependants,
        });
    }
    Ok(found)
}

/// The ids of the tasks that depend on one, one more than are shown at most.
fn dependant_ids(db: &Connection, id: TaskId) -> Result<Vec<TaskId>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT task.id FROM dependency INDEXED BY dependency_of JOIN task ON task.n = dependency.dependant \
         WHERE dependency.dependency = ?1 ORDER BY dependency.dependant LIMIT ?2",
    )?;
    let most = Linked::DEPENDANTS as i64 + 1;
    let ids = statement.query_map(params![id.as_bytes(), most], |row| row.get(0).map(TaskId::from_bytes))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// What tasks have put out, without what is too large to come along.
pub(crate) fn inputs(db: &Connection, ids: &[TaskId]) -> Result<Vec<Input>, Failure> {
    let moment = db.unchecked_transaction()?;
    let mut statement = moment.prepare_cached("SELECT n, task_type, state FROM task WHERE id = ?1")?;
    let mut generations = moment.prepare_cached(SMALL_GENERATION)?;
    let mut found = Vec::new();
    for id in ids {
        let mut rows = statement.query([id.as_bytes()])?;
        let Some(row) = rows.next()? else { continue };
        let (task_type, state) = (TaskType::from_stored(text(row, 1)?), state_of(row.get(2)?)?);
        let mut input = Input::of(*id, task_type, state);
        if state == State::Completed
            && let Some((generation, omitted)) = small_generation(&mut generations, row.get(0)?)?
        {
            (input.generation, input.omitted) = (Some(generation), omitted);
        }
        found.push(input);
    }
    Ok(found)
}

/// Removes the edges of removed tasks, whose rows these were.
pub(crate) fn remove_edges(db: &Connection, n: i64) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM dependency WHERE dependant = ?1")?.execute([n])?;
    Ok(())
}

/// Brings in line what is kept of a task's edges when it comes from another store.
pub(crate) fn import(db: &Connection, n: i64, task: &Task) -> Result<(), Failure> {
    if !task.depends_on.is_empty() {
        remove_edges(db, n)?;
        insert_edges(db, n, &task.depends_on)?;
        mark_waited_for(db, &task.depends_on)?;
        note_blocked(db, n, task.head.state.state() == State::Blocked)?;
    }
    Ok(())
}

/// How a task that comes from another store is linked; those that depend on it may have come before it.
pub(crate) fn links_of(db: &Connection, task: &Task) -> Result<Links, Failure> {
    let waited_for = db
        .prepare_cached("SELECT 1 FROM dependency INDEXED BY dependency_of WHERE dependency = ?1 LIMIT 1")?
        .exists([task.head.id.as_bytes()])?;
    Ok(Links { waited_for, waits: !task.depends_on.is_empty(), choice: task.if_dependency_fails })
}
