//! Documents that a server keeps for itself are not kept in a table: on AWS, no server lives long enough to look after alerts.

use async_trait::async_trait;
use baton_store::{Document, DocumentChanges, DocumentStore, StoreError, without_documents};

use crate::DynamoStore;

#[async_trait]
impl DocumentStore for DynamoStore {
    async fn documents(&self, _: &str, _: Option<&str>, _: u32) -> Result<Vec<Document>, StoreError> {
        Err(without_documents())
    }

    async fn count_documents(&self, _: &str) -> Result<u64, StoreError> {
        Err(without_documents())
    }

    async fn document(&self, _: &str, _: &str) -> Result<Option<String>, StoreError> {
        Err(without_documents())
    }

    async fn change_documents(&self, _: DocumentChanges) -> Result<(), StoreError> {
        Err(without_documents())
    }
}
