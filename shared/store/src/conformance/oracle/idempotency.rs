//! The oracle's idempotency keys of requests that create something else than tasks: among those of creations.

use async_trait::async_trait;

use super::Oracle;
use crate::{CreateAnswer, Idempotency, KeepKey, KeptKey, KeyStore, StoreError};

#[async_trait]
impl KeyStore for Oracle {
    async fn keep_key(&self, keep: KeepKey) -> Result<KeptKey, StoreError> {
        let first = keep.answer();
        let KeepKey { now, idempotency: Idempotency { key, fingerprint }, .. } = keep;
        let mut inner = self.lock();
        match inner.answers.get(&key) {
            Some((_, asked, _)) if *asked != fingerprint => Err(StoreError::IdempotencyConflict { key }),
            Some((_, _, kept)) => KeptKey::of(&CreateAnswer { replayed: true, ..kept.clone() }),
            None => {
                let kept = KeptKey::of(&first);
                inner.answers.insert(key, (now, fingerprint, first));
                kept
            }
        }
    }
}
