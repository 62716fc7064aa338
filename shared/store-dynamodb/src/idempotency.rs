//! Idempotency keys of requests that create something else than tasks: items as those of creations are.

use async_trait::async_trait;
use baton_store::{KeepKey, KeptKey, KeyStore, StoreError};

use crate::DynamoStore;
use crate::create::{forgotten, key_item};
use crate::error::{WriteError, contended};
use crate::store::Inner;
use crate::transition::is_marked;

#[async_trait]
impl KeyStore for DynamoStore {
    async fn keep_key(&self, keep: KeepKey) -> Result<KeptKey, StoreError> {
        self.inner.keep_key(&keep).await
    }
}

impl Inner {
    async fn keep_key(&self, keep: &KeepKey) -> Result<KeptKey, StoreError> {
        let KeepKey { now, idempotency, .. } = keep;
        if let Some(answer) = self.kept_answer(idempotency, *now).await? {
            return KeptKey::of(&answer);
        }
        let answer = keep.answer();
        let mark = self.mark(&(now, &idempotency.key));
        let item = key_item(idempotency, &answer.items, *now, mark)?;
        let is_first = match self.db.put(item, forgotten(*now)).await {
            Ok(()) => true,
            // Its own, whose answer was lost, or another's that was faster.
            Err(WriteError::Condition(Some(standing))) => is_marked(&standing, mark)?,
            Err(WriteError::Condition(None)) => false,
            Err(WriteError::Failed(error)) => return Err(error),
        };
        if is_first {
            return KeptKey::of(&answer);
        }
        let kept = self.kept_answer(idempotency, *now).await?;
        KeptKey::of(&kept.ok_or_else(|| contended("the idempotency key"))?)
    }
}
