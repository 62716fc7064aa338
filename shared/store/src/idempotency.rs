//! Idempotency keys of requests that create something else than tasks, such as a bulk command. Those of creations are kept by the creations
//! themselves ([`crate::Create::idempotency`]), as their tasks and the key stand or fall together.

use async_trait::async_trait;
use baton_model::{TaskId, Timestamp};

use crate::command::{Accepted, CreateAnswer, Idempotency};
use crate::error::StoreError;

/// Keeps an idempotency key.
#[derive(Clone, Debug)]
pub struct KeepKey {
    /// The time.
    pub now: Timestamp,
    /// The key, and what was asked.
    pub idempotency: Idempotency,
    /// The id of what the request creates, if it is the first one of its key.
    pub id: [u8; 16],
}

impl KeepKey {
    /// What is kept with the key: an answer in the form of a creation's, so that it is kept, moved and forgotten as those are.
    pub fn answer(&self) -> CreateAnswer {
        let first = Accepted {
            id: TaskId::from_bytes(self.id),
            created_at: self.now,
            run_after: self.now,
            new: true,
            deduplicated: None,
        };
        CreateAnswer { items: vec![Ok(first)], replayed: false }
    }
}

/// What an idempotency key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptKey {
    /// The id that the first request of the key has brought.
    pub id: [u8; 16],
    /// When that request came.
    pub created_at: Timestamp,
    /// Whether that was an earlier request.
    pub replayed: bool,
}

impl KeptKey {
    /// What a kept answer stands for.
    ///
    /// # Errors
    /// [`StoreError::Internal`] if it is that of a creation.
    pub fn of(answer: &CreateAnswer) -> Result<Self, StoreError> {
        match answer.items.as_slice() {
            [Ok(first)] => {
                Ok(Self { id: *first.id.as_bytes(), created_at: first.created_at, replayed: answer.replayed })
            }
            items => Err(StoreError::Internal {
                what: format!("expected one id with an idempotency key, got {} items", items.len()),
                cause: None,
            }),
        }
    }
}

/// Keeps idempotency keys.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Keeps a key, as long as those of creations are kept, and gives the id and the time that the first request of it came with: its own,
    /// if it is the first.
    ///
    /// # Errors
    /// [`StoreError::IdempotencyConflict`] for a key that was used with another digest, and the store's own failures.
    async fn keep_key(&self, keep: KeepKey) -> Result<KeptKey, StoreError>;
}
