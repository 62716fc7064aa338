//! The audit log: what operators did.

use baton_model::{AuditId, Label, TokenId};
use baton_store::{AuditEntry, SettingChange, Settled, StoreError};
use rusqlite::{Connection, Row, params};

use crate::error::Failure;
use crate::rows::{free_key, from_json, maybe_id, maybe_text, sixteen, time, to_json};
use crate::transaction::Transaction;

/// Adds an entry; one that is there stays as it is.
pub(crate) fn record(transaction: &mut Transaction<'_>, entry: &AuditEntry) -> Result<(), Failure> {
    let db = transaction.db;
    if db.prepare_cached("SELECT 1 FROM audit WHERE id = ?1")?.exists([entry.id.as_bytes()])? {
        return Ok(());
    }
    db.prepare_cached(
        "INSERT INTO audit (k, id, at, action, target, token, token_name, request, asked_by, reason, outcome, \
         change) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        free_key(db, "audit", entry.at)?,
        entry.id.as_bytes(),
        entry.at.as_millis(),
        entry.action,
        entry.target,
        entry.token.as_ref().map(TokenId::as_bytes),
        entry.token_name.as_ref().map(Label::as_str),
        entry.request_id,
        entry.by.as_ref().map(Label::as_str),
        entry.reason,
        entry.outcome,
        json(entry.change.as_ref())?,
    ])?;
    Ok(())
}

fn json(change: Option<&SettingChange>) -> Result<Option<String>, StoreError> {
    change.map(|change| to_json("what was changed", change)).transpose()
}

/// Notes how an entry's request was answered, and what it said of itself.
pub(crate) fn settle(
    transaction: &mut Transaction<'_>,
    (id, settled): &(AuditId, Settled),
) -> Result<(), Failure> {
    let Settled { outcome, by, reason, change } = settled;
    transaction
        .db
        .prepare_cached(
            "UPDATE audit SET outcome = ?2, asked_by = ?3, reason = ?4, change = ?5 WHERE id = ?1",
        )?
        .execute(params![
            id.as_bytes(),
            outcome,
            by.as_ref().map(Label::as_str),
            reason,
            json(change.as_ref())?
        ])?;
    Ok(())
}

/// The columns that [`entry`] reads.
pub(crate) const SELECT: &str = "SELECT k, id, at, action, target, token, token_name, request, outcome, asked_by, reason, change FROM audit";

/// The entry of an id.
pub(crate) fn by_id(db: &Connection, id: AuditId) -> Result<Option<AuditEntry>, Failure> {
    let mut statement = db.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_bytes()])?;
    Ok(rows.next()?.map(entry).transpose()?.map(|(_, entry)| entry))
}

/// Entries by number behind one, up to a limit, each with its number.
pub(crate) fn behind(db: &Connection, after: i64, limit: u32) -> Result<Vec<(i64, AuditEntry)>, Failure> {
    let mut statement = db.prepare_cached(&format!("{SELECT} WHERE k > ?1 ORDER BY k LIMIT ?2"))?;
    let mut rows = statement.query(params![after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(entry(row)?);
    }
    Ok(found)
}

/// Reads a row that [`SELECT`] selected: its number and the entry.
pub(crate) fn entry(row: &Row<'_>) -> Result<(i64, AuditEntry), Failure> {
    let entry = AuditEntry {
        id: AuditId::from_bytes(sixteen(row, 1)?),
        at: time(row, 2)?,
        action: row.get(3)?,
        target: row.get(4)?,
        token: maybe_id(row, 5)?.map(TokenId::from_bytes),
        token_name: maybe_text(row, 6)?.map(Label::from_stored),
        request_id: row.get(7)?,
        by: maybe_text(row, 9)?.map(Label::from_stored),
        reason: row.get(10)?,
        outcome: row.get(8)?,
        change: maybe_text(row, 11)?.map(|json| from_json("what was changed", json)).transpose()?,
    };
    Ok((row.get(0)?, entry))
}
