//! Idempotency keys: what is kept with them, of creations and of other requests.

use async_trait::async_trait;
use baton_model::{Digest, Timestamp};
use baton_store::{CreateAnswer, Idempotency, KeepKey, KeptKey, KeyStore, StoreError};
use rusqlite::{OptionalExtension, params};

use crate::SqliteStore;
use crate::error::Failure;
use crate::rows::{from_json, to_json};
use crate::transaction::Transaction;

#[async_trait]
impl KeyStore for SqliteStore {
    async fn keep_key(&self, keep: KeepKey) -> Result<KeptKey, StoreError> {
        self.writer.run(keep, keep_key).await
    }
}

fn keep_key(transaction: &mut Transaction<'_>, keep: &KeepKey) -> Result<KeptKey, Failure> {
    let answer = match kept(transaction, &keep.idempotency)? {
        Some(answer) => answer,
        None => {
            let answer = keep.answer();
            self::keep(transaction, &keep.idempotency, &answer, keep.now)?;
            answer
        }
    };
    Ok(KeptKey::of(&answer)?)
}

/// Keeps an answer with a key that has none.
pub(crate) fn keep(
    transaction: &Transaction<'_>,
    idempotency: &Idempotency,
    answer: &CreateAnswer,
    now: Timestamp,
) -> Result<(), Failure> {
    transaction
        .db
        .prepare_cached("INSERT INTO idempotency (key, digest, answer, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            idempotency.key,
            idempotency.fingerprint.digest().as_bytes(),
            to_json("an answer", &answer.items)?,
            now.as_millis(),
        ])?;
    Ok(())
}

/// The answer that a key keeps.
pub(crate) fn kept(
    transaction: &Transaction<'_>,
    idempotency: &Idempotency,
) -> Result<Option<CreateAnswer>, Failure> {
    let mut statement =
        transaction.db.prepare_cached("SELECT digest, answer FROM idempotency WHERE key = ?1")?;
    let kept = statement
        .query_row([&idempotency.key], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    match kept {
        None => Ok(None),
        Some((digest, answer)) if idempotency.fingerprint.matches(Digest::from_bytes(digest)) => {
            Ok(Some(CreateAnswer { items: from_json("a kept answer", &answer)?, replayed: true }))
        }
        Some(_) => Err(StoreError::IdempotencyConflict { key: idempotency.key.clone() }.into()),
    }
}
