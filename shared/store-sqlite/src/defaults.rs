//! What queues give to tasks that do not say. The writing thread holds the defaults of all queues that have any in memory, so that a
//! creation reads nothing for them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use baton_model::{QueueDefaults, QueueName, TaskSpec, Timestamp};
use baton_store::SetDefaults;
use rusqlite::{Connection, params};

use crate::error::Failure;
use crate::queue::forget_unused;
use crate::rows::{from_json, text, to_json};
use crate::transaction::Transaction;

/// The defaults of all queues that have any; none if they are to be read anew.
pub(crate) type Known = Option<BTreeMap<QueueName, QueueDefaults>>;

/// The defaults that a queue's row tells.
pub(crate) fn defaults_of(column: Option<&str>) -> Result<QueueDefaults, Failure> {
    Ok(column.map(|json| from_json("a queue's defaults", json)).transpose()?.unwrap_or_default())
}

fn load(db: &Connection) -> Result<BTreeMap<QueueName, QueueDefaults>, Failure> {
    let mut statement = db.prepare_cached("SELECT name, defaults FROM queue WHERE defaults IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut known = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let json = text(row, 1)?;
        known.insert(QueueName::from_stored(text(row, 0)?), defaults_of(Some(json))?);
    }
    Ok(known)
}

impl Transaction<'_> {
    fn defaults(&mut self) -> Result<&mut BTreeMap<QueueName, QueueDefaults>, Failure> {
        if self.state.defaults.is_none() {
            self.state.defaults = Some(load(self.db)?);
        }
        Ok(self.state.defaults.get_or_insert_default())
    }
}

/// The tasks of a batch with what their queues give them.
pub(crate) fn fill<'a>(
    transaction: &mut Transaction<'_>,
    specs: Cow<'a, [TaskSpec]>,
) -> Result<Cow<'a, [TaskSpec]>, Failure> {
    let known = transaction.defaults()?;
    if known.is_empty() || !specs.iter().any(|spec| known.contains_key(&spec.queue)) {
        return Ok(specs);
    }
    let mut specs = specs.into_owned();
    for spec in &mut specs {
        if let Some(defaults) = known.get(&spec.queue) {
            defaults.fill(spec);
        }
    }
    Ok(Cow::Owned(specs))
}

/// Changes what a queue gives.
pub(crate) fn set_defaults(
    transaction: &mut Transaction<'_>,
    set: &SetDefaults,
) -> Result<(QueueDefaults, QueueDefaults), Failure> {
    let from = transaction.defaults()?.get(&set.queue).copied().unwrap_or_default();
    let to = set.change.onto(from);
    write(transaction, &set.queue, (from, to), set.now)?;
    forget_unused(transaction.db, &set.queue)?;
    Ok((from, to))
}

/// Writes what a queue gives.
pub(crate) fn write(
    transaction: &mut Transaction<'_>,
    queue: &QueueName,
    (from, to): (QueueDefaults, QueueDefaults),
    now: Timestamp,
) -> Result<(), Failure> {
    if from == to {
        return Ok(());
    }
    let json = (!to.is_none()).then(|| to_json("a queue's defaults", &to)).transpose()?;
    transaction
        .db
        .prepare_cached(
            "INSERT INTO queue (name, paused, changed_at, defaults) VALUES (?1, 0, ?2, ?3) \
             ON CONFLICT DO UPDATE SET defaults = ?3",
        )?
        .execute(params![queue.as_str(), now.as_millis(), json])?;
    let known = transaction.defaults()?;
    match to.is_none() {
        true => drop(known.remove(queue)),
        false => drop(known.insert(queue.clone(), to)),
    }
    Ok(())
}
