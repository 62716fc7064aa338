//! Idempotency keys of a store that fails.

use async_trait::async_trait;

use super::{Call, Faulty};
use crate::{KeepKey, KeptKey, KeyStore, StoreError};

#[async_trait]
impl KeyStore for Faulty {
    async fn keep_key(&self, keep: KeepKey) -> Result<KeptKey, StoreError> {
        self.call("keep_key", Call::Repeatable, || self.inner.keep_key(keep.clone())).await
    }
}
