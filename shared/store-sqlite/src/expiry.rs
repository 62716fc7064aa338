//! Tasks that are to be started by a time: whoever claims, and the reaper, fails those whose time has come.
//!
//! The writing thread remembers when the next one expires, so that a claim without any asks for nothing.

use baton_model::transition::Command;
use baton_model::{TaskId, Timestamp};
use baton_store::{Expire, Expired};
use rusqlite::{Connection, params};

use crate::dependency;
use crate::error::Failure;
use crate::rows::Stored;
use crate::transaction::Transaction;

/// How many tasks one claim fails at most: about 20 ms.
const OF_CLAIM: u32 = 256;

/// When the first of those that were not started yet expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is to be looked up.
    #[default]
    Unknown,
    /// At no time before this; never, if there is none.
    At(Option<Timestamp>),
}

impl Next {
    /// Takes note of when a task expires that waits.
    pub(crate) fn note(&mut self, expires_at: Option<Timestamp>) {
        if let (Self::At(next), Some(at)) = (self, expires_at) {
            *next = Some(next.map_or(at, |next| next.min(at)));
        }
    }
}

/// Fails tasks that have expired, for a claim; says whether there are more than one claim is to fail.
pub(crate) fn before_claim(transaction: &mut Transaction<'_>, now: Timestamp) -> Result<bool, Failure> {
    if transaction.state.expiring == Next::Unknown {
        transaction.state.expiring = Next::At(first(transaction.db)?);
    }
    match transaction.state.expiring {
        Next::At(Some(next)) if next <= now => {
            Ok(expire(transaction, &Expire { now, limit: OF_CLAIM })?.more)
        }
        _ => Ok(false),
    }
}

/// Fails tasks that have expired.
pub(crate) fn expire(transaction: &mut Transaction<'_>, expire: &Expire) -> Result<Expired, Failure> {
    let due = due(transaction.db, expire)?;
    let mut expired = Expired { tasks: 0, more: due.len() > expire.limit as usize };
    for id in due.into_iter().take(expire.limit as usize) {
        let stored = Stored::known(transaction.db, id)?;
        // The end of another may have ended it.
        if stored.head.expired(expire.now).is_none() {
            continue;
        }
        if let Some(after) = transaction.transition(&stored, &Command::Expire, expire.now)? {
            dependency::follow(transaction, &after, expire.now)?;
            expired.tasks += 1;
        }
    }
    transaction.state.expiring = Next::At(first(transaction.db)?);
    Ok(expired)
}

/// Whether tasks have expired.
pub(crate) fn is_due(db: &Connection, now: Timestamp) -> Result<bool, Failure> {
    Ok(first(db)?.is_some_and(|first| first <= now))
}

fn first(db: &Connection) -> Result<Option<Timestamp>, Failure> {
    let first: Option<i64> = db
        .prepare_cached(
            "SELECT min(start_by) FROM task INDEXED BY task_expiring \
             WHERE start_by IS NOT NULL AND state IN (0, 5, 6) AND attempt = forgiven",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(first.map(Timestamp::from_millis))
}

/// What has expired, the first first; one more than is asked for, to tell that there are more.
fn due(db: &Connection, expire: &Expire) -> Result<Vec<TaskId>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT id FROM task INDEXED BY task_expiring WHERE start_by <= ?1 AND start_by IS NOT NULL \
         AND state IN (0, 5, 6) AND attempt = forgiven ORDER BY start_by LIMIT ?2",
    )?;
    let most = i64::from(expire.limit) + 1;
    let ids = statement.query_map(params![expire.now.as_millis(), most], |row| row.get(0))?;
    ids.map(|id| Ok(TaskId::from_bytes(id?))).collect()
}
