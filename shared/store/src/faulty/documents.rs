//! Documents of a store that fails.

use async_trait::async_trait;
use baton_model::Timestamp;

use super::{Call, Faulty};
use crate::{Document, DocumentChanges, DocumentStore, Hold, StoreError};

#[async_trait]
impl DocumentStore for Faulty {
    async fn documents(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Document>, StoreError> {
        self.call("documents", Call::Point, || self.inner.documents(kind, after, limit)).await
    }

    async fn count_documents(&self, kind: &str) -> Result<u64, StoreError> {
        self.call("count_documents", Call::Point, || self.inner.count_documents(kind)).await
    }

    async fn document(&self, kind: &str, name: &str) -> Result<Option<String>, StoreError> {
        self.call("document", Call::Point, || self.inner.document(kind, name)).await
    }

    async fn change_documents(&self, changes: DocumentChanges) -> Result<bool, StoreError> {
        self.call("change_documents", Call::Repeatable, || self.inner.change_documents(changes.clone())).await
    }

    async fn hold(
        &self,
        what: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Hold, StoreError> {
        self.call("hold", Call::Repeatable, || self.inner.hold(what, holder, now, until)).await
    }

    async fn end_hold(&self, what: &str, holder: &str) -> Result<(), StoreError> {
        self.call("end_hold", Call::Repeatable, || self.inner.end_hold(what, holder)).await
    }
}
