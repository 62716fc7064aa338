//! The SQLite store keeps every rule of a task store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

use std::sync::Arc;

use async_trait::async_trait;
use baton_model::LeasePolicy;
use baton_store::conformance::World;
use baton_store::{Doorbell, Store};
use baton_store_sqlite::{Options, SqliteStore};

/// A folder of its own for each rule.
struct Disk(tempfile::TempDir);

#[async_trait]
impl World for Disk {
    async fn open(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Arc<dyn Store> {
        let options = Options { policy, max_tokens: 30, ..Options::default() };
        Arc::new(SqliteStore::open(&self.0.path().join("baton.db"), options, doorbell).unwrap())
    }
}

baton_store::conformance_tests!(Disk(tempfile::tempdir().unwrap()));
