//! Bulk commands.

use baton_api::bulk::{BulkCountView, BulkRequest, BulkView};
use baton_api::task::Page;
use baton_model::BulkId;

use crate::call::{Call, new_key};
use crate::{Client, ClientError};

impl Client {
    /// How many tasks a bulk command would look at; nothing is done.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn count_bulk(&self, bulk: &BulkRequest) -> Result<BulkCountView, ClientError> {
        let asked = BulkRequest { dry_run: true, ..bulk.clone() };
        self.call(Call::post("/v1/tasks/bulk", &asked).repeatable(true)).await
    }

    /// Does something to all tasks of a filter, under an idempotency key of the client's own making: however often the request must be
    /// sent, there is one command. The answer tells how far it is, and it goes on by itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn bulk(&self, bulk: &BulkRequest) -> Result<BulkView, ClientError> {
        self.bulk_once(bulk, &new_key()).await
    }

    /// The same under the caller's idempotency key, which also holds over restarts of the caller: the same key with the same command
    /// gives that command again for 24 hours, with how far it is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn bulk_once(&self, bulk: &BulkRequest, key: &str) -> Result<BulkView, ClientError> {
        let asked = BulkRequest { dry_run: false, ..bulk.clone() };
        self.call(Call::post("/v1/tasks/bulk", &asked).idempotency_key(key.to_owned())).await
    }

    /// How far a bulk command is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_bulk(&self, id: BulkId) -> Result<BulkView, ClientError> {
        self.call(Call::get(format!("/v1/bulk/{id}"))).await
    }

    /// Bulk commands, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn bulks(
        &self,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<BulkView>, ClientError> {
        self.call(Call::get("/v1/bulk").query("cursor", cursor).query("limit", limit)).await
    }

    /// Calls a bulk command off; what it has done stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn abort_bulk(&self, id: BulkId) -> Result<BulkView, ClientError> {
        self.call(Call::post(format!("/v1/bulk/{id}/abort"), &serde_json::json!({})).repeatable(true)).await
    }
}
