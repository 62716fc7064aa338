//! Supply: kept, listed, and moved on together with the tasks that a refill creates.
//!
//! The one writer counts and creates in one transaction, so that the count is exact. That a queue need not be refilled is found on a
//! reader first, and costs the writer nothing.

use async_trait::async_trait;
use std::collections::HashSet;

use baton_model::supply::{MOST_SUPPLIES, changed};
use baton_model::takes::Takers;
use baton_model::{LeasePolicy, Priority, QueueName, Supply, Timestamp};
use baton_store::transfer::{Refusal, Verdict, supply_onto};
use baton_store::{
    Changed, Claim, ClaimAnswer, Create, Cursor, Page, PageRequest, Refill, Refilled, SetSupply, StoreError,
    SupplyStore,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::SqliteStore;
use crate::codes::Code;
use crate::create;
use crate::error::Failure;
use crate::queue::forget_unused;
use crate::rows::{from_json, to_json};
use crate::transaction::Transaction;
use crate::why;

/// The queues that have a supply, as the writing thread remembers them; none until it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Supplied(Option<HashSet<QueueName>>);

impl Supplied {
    /// Forgets it: a transaction was undone.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    fn loaded(&mut self, db: &Connection) -> Result<&mut HashSet<QueueName>, Failure> {
        let known = match self.0.take() {
            Some(known) => known,
            None => {
                let mut statement = db.prepare_cached("SELECT queue FROM supply")?;
                let found = statement
                    .query_map([], |row| row.get(0).map(|name: String| QueueName::from_stored(name)))?;
                found.collect::<rusqlite::Result<_>>()?
            }
        };
        Ok(self.0.insert(known))
    }
}

#[async_trait]
impl SupplyStore for SqliteStore {
    async fn set_supply(&self, set: SetSupply) -> Result<Changed<Supply>, StoreError> {
        self.writer.run(set, self::set).await
    }

    async fn supply(&self, queue: &QueueName) -> Result<Supply, StoreError> {
        let wanted = queue.clone();
        let found = self.readers.run(move |db| self::of_queue(db, &wanted)).await?;
        found.ok_or_else(|| StoreError::SupplyNotFound(queue.clone()))
    }

    async fn supplies(&self, page: PageRequest) -> Result<Page<Supply>, StoreError> {
        self.readers.run(move |db| self::list(db, &page)).await
    }

    async fn refill(&self, refill: Refill) -> Result<Refilled, StoreError> {
        let (policy, asked) = (self.policy, refill.clone());
        match self.readers.run(move |db| self::unneeded(db, &asked, &policy)).await? {
            Some(unneeded) => Ok(unneeded),
            None => self.writer.run(refill, self::refill).await,
        }
    }
}

/// Notes that a claim has come to queues that have a supply; they are told after the commit. Of one that was given nothing as its
/// worker may have no more, nothing follows.
pub(crate) fn asked(
    transaction: &mut Transaction<'_>,
    claim: &Claim,
    answer: &ClaimAnswer,
) -> Result<(), Failure> {
    use baton_store::Nothing::{NoneQueued, NotWarm, Paused, Scheduled};
    let supplied = transaction.state.supplied.loaded(transaction.db)?;
    if supplied.is_empty() {
        return Ok(());
    }
    let closed: &[QueueName] = match answer {
        ClaimAnswer::Leased(_) | ClaimAnswer::Nothing(NoneQueued | NotWarm | Scheduled { .. }) => &[],
        ClaimAnswer::Nothing(Paused { queues }) => queues,
        ClaimAnswer::Nothing(_) => return Ok(()),
    };
    let is_asked = |queue: &&QueueName| supplied.contains(*queue) && !closed.contains(queue);
    let asked: Vec<QueueName> = claim.queues.iter().filter(is_asked).cloned().collect();
    transaction.asked(asked);
    Ok(())
}

pub(crate) fn of_queue(db: &Connection, queue: &QueueName) -> Result<Option<Supply>, Failure> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM supply WHERE queue = ?1")?
        .query_row([queue.as_str()], |row| row.get(0))
        .optional()?;
    Ok(body.map(|body| from_json("a supply", &body)).transpose()?)
}

fn write(transaction: &mut Transaction<'_>, supply: &Supply) -> Result<(), Failure> {
    transaction
        .db
        .prepare_cached("INSERT OR REPLACE INTO supply (queue, body) VALUES (?1, ?2)")?
        .execute(params![supply.queue.as_str(), to_json("a supply", supply)?])?;
    Ok(())
}

/// Has the queue of a new supply be known, also before its first task.
fn begin(transaction: &mut Transaction<'_>, queue: &QueueName, now: Timestamp) -> Result<(), Failure> {
    transaction.state.supplied.loaded(transaction.db)?.insert(queue.clone());
    transaction
        .db
        .prepare_cached("INSERT OR IGNORE INTO queue (name, paused, changed_at) VALUES (?1, 0, ?2)")?
        .execute(params![queue.as_str(), now.as_millis()])?;
    Ok(())
}

/// Changes the supply of a queue.
pub(crate) fn set(transaction: &mut Transaction<'_>, set: &SetSupply) -> Result<Changed<Supply>, Failure> {
    let SetSupply { queue, change, said } = set;
    let from = of_queue(transaction.db, queue)?;
    let to = changed(queue, from.as_ref(), change, said);
    match &to {
        Some(supply) => {
            let count: u64 = transaction.db.query_row("SELECT count(*) FROM supply", [], |row| row.get(0))?;
            if from.is_none() && count >= MOST_SUPPLIES {
                return Err(StoreError::too_many_supplies().into());
            }
            write(transaction, supply)?;
            begin(transaction, queue, said.now)?;
            transaction.asked([queue.clone()]);
        }
        None => {
            transaction
                .db
                .prepare_cached("DELETE FROM supply WHERE queue = ?1")?
                .execute([queue.as_str()])?;
            transaction.state.supplied.loaded(transaction.db)?.remove(queue);
            forget_unused(transaction.db, queue)?;
        }
    }
    Ok(Changed { from, to })
}

/// How many tasks of a supply's queue are ready, counted up to its target.
// Of one priority and place each, as these begin an index: no count reads more rows than it counts.
fn ready(db: &Connection, supply: &Supply, now: Timestamp) -> Result<u32, Failure> {
    const READY: &str = "SELECT count(*) FROM (SELECT 1 FROM task INDEXED BY task_ready \
         WHERE state = 0 AND queue = ?1 AND priority = ?2 AND run_after <= ?3 LIMIT ?4)";
    const ASIDE: &str = "SELECT count(*) FROM (SELECT 1 FROM task INDEXED BY task_put_aside \
         WHERE state = 6 AND queue = ?1 AND priority = ?2 AND run_after <= ?3 LIMIT ?4)";
    let (most, as_of) = (supply.plan.target, supply.as_of(now).as_millis());
    let mut count = 0;
    for priority in Priority::ALL {
        for sql in [READY, ASIDE] {
            let wanted = params![supply.queue.as_str(), priority.code(), as_of, most - count];
            let found: u32 = db.prepare_cached(sql)?.query_row(wanted, |row| row.get(0))?;
            count += found;
            if count >= most {
                return Ok(count);
            }
        }
    }
    Ok(count)
}

/// Why a queue is not to be refilled; none if it is.
pub(crate) fn unneeded(
    db: &Connection,
    refill: &Refill,
    policy: &LeasePolicy,
) -> Result<Option<Refilled>, Failure> {
    let Some(supply) = of_queue(db, &refill.queue)? else { return Ok(Some(Refilled::NoSupply)) };
    if !supply.is_short(ready(db, &supply, refill.now)?) {
        return Ok(Some(Refilled::Enough));
    }
    if !supply.plan.while_asked {
        return Ok(None);
    }
    for wanted in supply.plan.wanted(&refill.queue) {
        // Workers that were not looked at may take them.
        let takers = why::takers(db, &wanted, policy, refill.now)?;
        if !matches!(takers, Takers::None { unseen: false, .. }) {
            return Ok(None);
        }
    }
    Ok(Some(Refilled::NotAsked))
}

/// Creates what a queue's supply lacks.
pub(crate) fn refill(transaction: &mut Transaction<'_>, refill: &Refill) -> Result<Refilled, Failure> {
    let Some(supply) = of_queue(transaction.db, &refill.queue)? else { return Ok(Refilled::NoSupply) };
    let ready = ready(transaction.db, &supply, refill.now)?;
    let Some(missing) = supply.missing(ready, refill.now) else { return Ok(Refilled::Enough) };
    let (more, by) = (missing.after.filling, Some(supply.by()));
    let create = Create { now: refill.now, tasks: missing.tasks, atomic: false, idempotency: None, by };
    let answer = create::create(transaction, &create)?;
    write(transaction, &missing.after)?;
    Ok(Refilled::Created { tasks: answer.created(), more })
}

/// Supplies by queue.
pub(crate) fn list(db: &Connection, request: &PageRequest) -> Result<Page<Supply>, Failure> {
    let after = request.after.as_ref().map_or("", |cursor| cursor.0.as_str());
    if request.after.is_some() && after.parse::<QueueName>().is_err() {
        return Err(StoreError::BadCursor.into());
    }
    let mut items = behind(db, after, i64::from(request.limit) + 1)?;
    let more = items.len() > request.limit as usize;
    items.truncate(request.limit as usize);
    let next = items.last().filter(|_| more).map(|last| Cursor(last.queue.to_string()));
    Ok(Page { items, next })
}

/// Supplies behind a queue's name.
pub(crate) fn behind(db: &Connection, after: &str, most: i64) -> Result<Vec<Supply>, Failure> {
    let mut statement =
        db.prepare_cached("SELECT body FROM supply WHERE queue > ?1 ORDER BY queue LIMIT ?2")?;
    let mut rows = statement.query(params![after, most])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_json("a supply", &row.get::<_, String>(0)?)?);
    }
    Ok(found)
}

/// Takes a supply in.
pub(crate) fn import(
    transaction: &mut Transaction<'_>,
    record: &Supply,
) -> Result<Result<Verdict, Refusal>, Failure> {
    let verdict = match supply_onto(record, of_queue(transaction.db, &record.queue)?.as_ref()) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if verdict != Verdict::Same {
        write(transaction, record)?;
        begin(transaction, &record.queue, record.changed_at)?;
    }
    Ok(Ok(verdict))
}
