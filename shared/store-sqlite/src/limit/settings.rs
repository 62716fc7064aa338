//! What is set, as it is kept, changed, listed and moved.

use std::collections::HashMap;

use baton_model::{Arrival, Label, Limit, LimitBook, LimitOn, ProjectId, Timestamp, Watch};
use baton_store::transfer::{Refusal, Verdict, limit_onto, owned_onto};
use baton_store::{
    Changed, Cursor, LimitStatus, OwnedProject, Page, PageRequest, SetLimit, SetOwner, StoreError,
};
use rusqlite::{Connection, Row, params};

use super::wait::{let_go, waiting_at};
use super::{Limits, parsed};
use crate::error::Failure;
use crate::rows::{from_json, maybe_text, text, time, to_json};
use crate::transaction::Transaction;

const SELECT_LIMIT: &str = "SELECT holds_for, rules, changed_by, reason, changed_at FROM shared_limit";
const SELECT_PROJECT: &str = "SELECT name, owner, changed_by, reason, changed_at FROM project";

fn limit(row: &Row<'_>) -> Result<Limit, Failure> {
    Ok(Limit {
        on: parsed(text(row, 0)?)?,
        rules: from_json("a limit", text(row, 1)?)?,
        changed_by: maybe_text(row, 2)?.map(Label::from_stored),
        reason: row.get(3)?,
        changed_at: time(row, 4)?,
    })
}

fn owned(row: &Row<'_>) -> Result<OwnedProject, Failure> {
    Ok(OwnedProject {
        project: ProjectId::from_stored(text(row, 0)?),
        owner: Label::from_stored(text(row, 1)?),
        changed_by: maybe_text(row, 2)?.map(Label::from_stored),
        reason: row.get(3)?,
        changed_at: time(row, 4)?,
    })
}

fn behind<T>(
    db: &Connection,
    sql: &str,
    after: &str,
    most: i64,
    read: fn(&Row<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query(params![after, most])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Limits behind one, by the text of what they hold for.
pub(crate) fn limits_behind(db: &Connection, after: &str, most: i64) -> Result<Vec<Limit>, Failure> {
    let sql = format!("{SELECT_LIMIT} WHERE holds_for > ?1 ORDER BY holds_for LIMIT ?2");
    behind(db, &sql, after, most, limit)
}

/// Owned projects behind one, by name.
pub(crate) fn owned_behind(db: &Connection, after: &str, most: i64) -> Result<Vec<OwnedProject>, Failure> {
    let sql = format!("{SELECT_PROJECT} WHERE name > ?1 ORDER BY name LIMIT ?2");
    behind(db, &sql, after, most, owned)
}

/// All that is set.
pub(super) fn book(db: &Connection) -> Result<LimitBook, Failure> {
    let limits = limits_behind(db, "", -1)?;
    let owners = owned_behind(db, "", -1)?;
    Ok(LimitBook {
        limits: limits.into_iter().map(|limit| (limit.on.clone(), limit)).collect(),
        owners: owners.into_iter().map(|owned| (owned.project, owned.owner)).collect(),
        ..LimitBook::default()
    })
}

/// When starts are due by rates.
pub(super) fn arrivals(db: &Connection) -> Result<HashMap<LimitOn, Arrival>, Failure> {
    let mut statement = db.prepare("SELECT holds_for, arrival FROM rate_arrival")?;
    let mut rows = statement.query([])?;
    let mut found = HashMap::new();
    while let Some(row) = rows.next()? {
        found.insert(parsed(text(row, 0)?)?, Arrival(row.get(1)?));
    }
    Ok(found)
}

pub(super) fn note_arrival(db: &Connection, on: &LimitOn, Arrival(arrival): Arrival) -> Result<(), Failure> {
    db.prepare_cached("INSERT OR REPLACE INTO rate_arrival (holds_for, arrival) VALUES (?1, ?2)")?
        .execute(params![on.to_string(), arrival])?;
    Ok(())
}

/// Sets a limit, or takes it away.
pub(crate) fn set_limit(
    transaction: &mut Transaction<'_>,
    set: &SetLimit,
) -> Result<Changed<Limit>, Failure> {
    let book = &transaction.state.limits.book;
    let from = book.limits.get(&set.on).cloned();
    if from.is_none() && set.rules.is_some() && book.limits.len() >= LimitBook::MOST {
        return Err(StoreError::TooManyLimits { what: "limits", most: LimitBook::MOST }.into());
    }
    let to = set.rules.clone().map(|rules| Limit {
        on: set.on.clone(),
        rules,
        changed_by: set.by.clone(),
        reason: set.reason.clone(),
        changed_at: set.now,
    });
    match &to {
        Some(limit) => write_limit(transaction.db, limit)?,
        None => {
            transaction
                .db
                .prepare_cached("DELETE FROM shared_limit WHERE holds_for = ?1")?
                .execute([set.on.to_string()])?;
        }
    }
    transaction.state.limits = Limits::load(transaction.db)?;
    settle(transaction, |on| *on == set.on || on.for_each() == set.on, set.now)?;
    if let Some(queue) = set.on.queue() {
        transaction.ring_queue(queue, set.now);
    }
    Ok(Changed { from, to })
}

fn write_limit(db: &Connection, limit: &Limit) -> Result<(), Failure> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO shared_limit (holds_for, rules, changed_by, reason, changed_at) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        limit.on.to_string(),
        to_json("a limit", &limit.rules)?,
        limit.changed_by.as_ref().map(Label::as_str),
        limit.reason,
        limit.changed_at.as_millis(),
    ])?;
    Ok(())
}

/// Says whose a project is.
pub(crate) fn set_owner(
    transaction: &mut Transaction<'_>,
    set: &SetOwner,
) -> Result<Changed<OwnedProject>, Failure> {
    let sql = format!("{SELECT_PROJECT} WHERE name >= ?1 ORDER BY name LIMIT ?2");
    let from = behind(transaction.db, &sql, set.project.as_str(), 1, owned)?;
    let from = from.into_iter().find(|owned| owned.project == set.project);
    if from.is_none() && set.owner.is_some() && owners(transaction.db)? >= LimitBook::MOST {
        return Err(StoreError::TooManyLimits { what: "owned projects", most: LimitBook::MOST }.into());
    }
    let to = set.owner.clone().map(|owner| OwnedProject {
        project: set.project.clone(),
        owner,
        changed_by: set.by.clone(),
        reason: set.reason.clone(),
        changed_at: set.now,
    });
    match &to {
        Some(owned) => write_owned(transaction.db, owned)?,
        None => {
            transaction
                .db
                .prepare_cached("DELETE FROM project WHERE name = ?1")?
                .execute([set.project.as_str()])?;
        }
    }
    transaction.state.limits = Limits::load(transaction.db)?;
    settle(transaction, |on| matches!(on, LimitOn::Owner(_)), set.now)?;
    Ok(Changed { from, to })
}

fn owners(db: &Connection) -> Result<usize, Failure> {
    Ok(db.query_row("SELECT count(*) FROM project", [], |row| row.get(0))?)
}

fn write_owned(db: &Connection, owned: &OwnedProject) -> Result<(), Failure> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO project (name, owner, changed_by, reason, changed_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        owned.project.as_str(),
        owned.owner.as_str(),
        owned.changed_by.as_ref().map(Label::as_str),
        owned.reason,
        owned.changed_at.as_millis(),
    ])?;
    Ok(())
}

/// Lets those go that wait at limits that have room for them, or that concern them no more.
pub(super) fn settle(
    transaction: &mut Transaction<'_>,
    concerns: impl Fn(&LimitOn) -> bool,
    now: Timestamp,
) -> Result<(), Failure> {
    let mut after = String::new();
    while let Some(on) = waiting_at(transaction.db, &after)? {
        after = on.to_string();
        if concerns(&on) {
            let_go(transaction, &on, now)?;
        }
    }
    Ok(())
}

/// Limits with what stands under them. On the writing thread, which knows it.
pub(crate) fn limits(
    transaction: &mut Transaction<'_>,
    request: &PageRequest,
) -> Result<Page<LimitStatus>, Failure> {
    let after = cursor(request, |text| text.parse::<LimitOn>().is_ok())?;
    let found = limits_behind(transaction.db, &after, i64::from(request.limit) + 1)?;
    let limits = &transaction.state.limits;
    let status = |limit: Limit| {
        let standing = limits.standing(&limit.on);
        let by_name = !limit.on.is_each();
        LimitStatus {
            running: by_name.then_some(standing.running),
            held: by_name.then_some(standing.held),
            limit,
        }
    };
    Ok(page(found.into_iter().map(status).collect(), request, |status| status.limit.on.to_string()))
}

/// Owned projects, by name.
pub(crate) fn owned_projects(db: &Connection, request: &PageRequest) -> Result<Page<OwnedProject>, Failure> {
    let after = cursor(request, |text| text.parse::<ProjectId>().is_ok())?;
    let found = owned_behind(db, &after, i64::from(request.limit) + 1)?;
    Ok(page(found, request, |owned| owned.project.to_string()))
}

fn cursor(request: &PageRequest, is_one: impl Fn(&str) -> bool) -> Result<String, Failure> {
    match &request.after {
        None => Ok(String::new()),
        Some(cursor) if is_one(&cursor.0) => Ok(cursor.0.clone()),
        Some(_) => Err(StoreError::BadCursor.into()),
    }
}

fn page<T>(mut items: Vec<T>, request: &PageRequest, name: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > request.limit as usize;
    items.truncate(request.limit as usize);
    let next = items.last().filter(|_| more).map(|last| Cursor(name(last)));
    Page { items, next }
}

/// Takes a limit in.
pub(crate) fn import_limit(
    transaction: &mut Transaction<'_>,
    record: &Limit,
) -> Result<Result<Verdict, Refusal>, Failure> {
    let standing = transaction.state.limits.book.limits.get(&record.on);
    let verdict = match limit_onto(record, standing) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if verdict != Verdict::Same {
        write_limit(transaction.db, record)?;
        transaction.state.limits = Limits::load(transaction.db)?;
        transaction.state.limits.unsettle();
    }
    Ok(Ok(verdict))
}

/// Takes a project's owner in.
pub(crate) fn import_owned(
    transaction: &mut Transaction<'_>,
    record: &OwnedProject,
) -> Result<Result<Verdict, Refusal>, Failure> {
    let sql = format!("{SELECT_PROJECT} WHERE name >= ?1 ORDER BY name LIMIT ?2");
    let found = behind(transaction.db, &sql, record.project.as_str(), 1, owned)?;
    let standing = found.iter().find(|owned| owned.project == record.project);
    let verdict = match owned_onto(record, standing) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if verdict != Verdict::Same {
        write_owned(transaction.db, record)?;
        transaction.state.limits = Limits::load(transaction.db)?;
        transaction.state.limits.unsettle();
    }
    Ok(Ok(verdict))
}

/// Dates rates by a clock that was set back.
pub(crate) fn redate(transaction: &mut Transaction<'_>, watch: &Watch) -> Result<(), Failure> {
    let limits = &mut transaction.state.limits;
    if limits.is_empty() {
        return Ok(());
    }
    let mut changed = Vec::new();
    for (on, arrival) in &mut limits.arrivals {
        let Some(rate) = limits.book.rules_of(on).and_then(|rules| rules.rate) else { continue };
        let dated = rate.redated(*arrival, watch.now);
        if dated != *arrival {
            *arrival = dated;
            changed.push((on.clone(), dated));
        }
    }
    for (on, arrival) in changed {
        note_arrival(transaction.db, &on, arrival)?;
    }
    // Whoever waits at one is looked at anew, as it may be let go earlier.
    transaction.state.limits.unsettle();
    Ok(())
}

/// Removes the arrivals of rates that have rested.
pub(crate) fn sweep(transaction: &mut Transaction<'_>, before: Timestamp) -> Result<(), Failure> {
    let before = before.as_millis().saturating_mul(1_000);
    transaction.db.prepare_cached("DELETE FROM rate_arrival WHERE arrival < ?1")?.execute([before])?;
    transaction.state.limits.arrivals.retain(|_, Arrival(arrival)| *arrival >= before);
    Ok(())
}
