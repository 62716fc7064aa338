//! Callers' tokens: rows of the file, and all of them in memory.
//!
//! Every request presents a token, so that reading one must not cost a look at the disk. This process alone has the file
//! open, so its memory is as good as the file, as long as both change together: the writing thread changes the memory
//! after a commit and before its answers ([`Tokens::apply`]).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use baton_model::watch::AHEAD;
use baton_model::{Label, SecretDigest, Timestamp, Token, TokenId};
use baton_store::{Cursor, Page, PageRequest, StoreError, StoredToken};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::Failure;
use crate::rows::{from_json, maybe_text, maybe_time, sixteen, text, time, to_json};
use crate::transaction::Transaction;

/// Every token of the file, as of the last commit that was answered.
#[derive(Debug, Default)]
pub(crate) struct Tokens(RwLock<BTreeMap<TokenId, StoredToken>>);

/// What a transaction does to a token.
#[derive(Debug)]
pub(crate) enum TokenChange {
    /// It is as told now.
    Kept(Box<StoredToken>),
    /// It is gone.
    Removed(TokenId),
}

impl Tokens {
    /// Reads them from the file.
    pub(crate) fn load(db: &Connection) -> Result<Self, StoreError> {
        let read = || -> Result<BTreeMap<_, _>, Failure> {
            let mut statement = db.prepare(select_token!(""))?;
            let mut rows = statement.query([])?;
            let mut tokens = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let stored = from_row(row)?;
                tokens.insert(stored.token.id, stored);
            }
            Ok(tokens)
        };
        Ok(Self(RwLock::new(read()?)))
    }

    /// Makes the changes of a transaction that has been committed.
    pub(crate) fn apply(&self, changes: Vec<TokenChange>) {
        if changes.is_empty() {
            return;
        }
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                TokenChange::Kept(stored) => drop(tokens.insert(stored.token.id, *stored)),
                TokenChange::Removed(id) => drop(tokens.remove(&id)),
            }
        }
    }

    /// The token of an id.
    pub(crate) fn get(&self, id: TokenId) -> Option<StoredToken> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Tokens, the newest first.
    pub(crate) fn page(&self, request: &PageRequest) -> Result<Page<Token>, StoreError> {
        let below = match &request.after {
            None => Bound::Unbounded,
            Some(cursor) => Bound::Excluded(cursor.0.parse::<TokenId>().map_err(|_| StoreError::BadCursor)?),
        };
        let limit = request.limit as usize;
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut older = tokens.range((Bound::Unbounded, below)).rev().map(|(_, stored)| &stored.token);
        let items: Vec<Token> = older.by_ref().take(limit).cloned().collect();
        let more = older.next().is_some();
        let next = items.last().filter(|_| more).map(|last| Cursor(last.id.to_string()));
        Ok(Page { items, next })
    }

    /// When the first of those ended or ends that do not last for ever.
    pub(crate) fn first_end(&self) -> Option<Timestamp> {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tokens.values().filter_map(|stored| stored.token.ends_at()).min()
    }

    /// Those that ended before a time, up to a limit.
    fn ended_before(&self, before: Timestamp, limit: usize) -> Vec<TokenId> {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let ended = |stored: &&StoredToken| stored.token.ends_at().is_some_and(|end| end < before);
        tokens.values().filter(ended).map(|stored| stored.token.id).take(limit).collect()
    }
}

/// `SELECT` of a token's columns, with what follows the table's name.
macro_rules! select_token {
    ($tail:expr) => {
        concat!(
            "SELECT id, digest, name, grants, requests_per_second, created_at, created_by, expires_at, revoked_at, \
             last_used_at FROM token ",
            $tail
        )
    };
}
use select_token;

fn from_row(row: &Row<'_>) -> Result<StoredToken, Failure> {
    Ok(StoredToken {
        token: Token {
            id: TokenId::from_bytes(sixteen(row, 0)?),
            name: Label::from_stored(text(row, 2)?),
            grant: from_json("a token's grant", text(row, 3)?)?,
            requests_per_second: row.get(4)?,
            created_at: time(row, 5)?,
            created_by: maybe_text(row, 6)?.map(Label::from_stored),
            expires_at: maybe_time(row, 7)?,
            revoked_at: maybe_time(row, 8)?,
            last_used_at: maybe_time(row, 9)?,
        },
        digest: SecretDigest::from_bytes(row.get(1)?),
    })
}

/// The token of an id as the file has it, a transaction's own changes included.
pub(crate) fn by_id(db: &Connection, id: TokenId) -> Result<Option<StoredToken>, Failure> {
    let mut statement = db.prepare_cached(select_token!("WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_bytes()])?;
    rows.next()?.map(from_row).transpose()
}

/// Tokens as the file has them, by id behind one, up to a limit.
pub(crate) fn behind(
    db: &Connection,
    after: Option<TokenId>,
    limit: u32,
) -> Result<Vec<StoredToken>, Failure> {
    // Nothing sorts before the empty blob.
    let after = after.as_ref().map_or(&[][..], |id| id.as_bytes());
    let mut statement = db.prepare_cached(select_token!("WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let mut rows = statement.query(params![after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_row(row)?);
    }
    Ok(found)
}

/// Keeps a new token.
pub(crate) fn create(transaction: &mut Transaction<'_>, stored: &StoredToken) -> Result<(), Failure> {
    let StoredToken { token, digest } = stored;
    let db = transaction.db;
    if db.prepare_cached("SELECT 1 FROM token WHERE id = ?1")?.exists([token.id.as_bytes()])? {
        return Ok(());
    }
    let most = transaction.state.most_tokens;
    let kept: usize = db.prepare_cached("SELECT count(*) FROM token")?.query_row([], |row| row.get(0))?;
    if kept >= most {
        return Err(StoreError::TooManyTokens { most }.into());
    }
    db.prepare_cached(
        "INSERT INTO token (id, digest, name, grants, requests_per_second, created_at, created_by, expires_at, \
         revoked_at, last_used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        token.id.as_bytes(),
        digest.as_bytes(),
        token.name.as_str(),
        to_json("a token's grant", &token.grant)?,
        token.requests_per_second,
        token.created_at.as_millis(),
        token.created_by.as_ref().map(Label::as_str),
        token.expires_at.map(Timestamp::as_millis),
        token.revoked_at.map(Timestamp::as_millis),
        token.last_used_at.map(Timestamp::as_millis),
    ])?;
    transaction.token(TokenChange::Kept(Box::new(stored.clone())));
    Ok(())
}

/// Ends a token; one that was revoked before stays as it is.
pub(crate) fn revoke(
    transaction: &mut Transaction<'_>,
    (id, now): &(TokenId, Timestamp),
) -> Result<Token, Failure> {
    let changed = transaction
        .db
        .prepare_cached("UPDATE token SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL")?
        .execute(params![id.as_bytes(), now.as_millis()])?;
    let stored = by_id(transaction.db, *id)?.ok_or(StoreError::TokenNotFound(*id))?;
    let token = stored.token.clone();
    if changed > 0 {
        transaction.token(TokenChange::Kept(Box::new(stored)));
    }
    Ok(token)
}

/// Notes that a token was used.
pub(crate) fn used(
    transaction: &mut Transaction<'_>,
    (id, at): &(TokenId, Timestamp),
) -> Result<(), Failure> {
    let changed = transaction
        .db
        .prepare_cached(
            "UPDATE token SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2 \
             OR last_used_at > ?3)",
        )?
        .execute(params![id.as_bytes(), at.as_millis(), at.plus(AHEAD).as_millis()])?;
    if changed > 0
        && let Some(stored) = by_id(transaction.db, *id)?
    {
        transaction.token(TokenChange::Kept(Box::new(stored)));
    }
    Ok(())
}

/// Brings a token to a later version of it: only revocation and last use ever change.
pub(crate) fn carry_on(transaction: &mut Transaction<'_>, later: &StoredToken) -> Result<(), Failure> {
    let token = &later.token;
    transaction
        .db
        .prepare_cached("UPDATE token SET revoked_at = ?2, last_used_at = ?3 WHERE id = ?1")?
        .execute(params![
            token.id.as_bytes(),
            token.revoked_at.map(Timestamp::as_millis),
            token.last_used_at.map(Timestamp::as_millis),
        ])?;
    transaction.token(TokenChange::Kept(Box::new(later.clone())));
    Ok(())
}

/// Removes tokens that ended before a time, up to a limit. They are sought in memory: what has ended never begins again.
pub(crate) fn purge(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
    limit: u64,
) -> Result<u64, Failure> {
    let mut removed = 0;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    for id in transaction.state.tokens.ended_before(before, limit) {
        let gone: Option<()> = transaction
            .db
            .prepare_cached("DELETE FROM token WHERE id = ?1 RETURNING 1")?
            .query_row([id.as_bytes()], |_| Ok(()))
            .optional()?;
        removed += u64::from(gone.is_some());
        transaction.token(TokenChange::Removed(id));
    }
    Ok(removed)
}
