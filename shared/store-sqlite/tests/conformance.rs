//! The SQLite store keeps every rule of a task store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use baton_model::LeasePolicy;
use baton_store::conformance::{Archiving, Movable, World};
use baton_store::{Doorbell, NoDoorbell, Store};
use baton_store_sqlite::{Options, SqliteStore};

/// A folder of its own for each rule.
struct Disk {
    folder: tempfile::TempDir,
    open: Mutex<Option<Arc<SqliteStore>>>,
}

impl Disk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), open: Mutex::new(None) }
    }

    fn file(&self, name: &str, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Arc<SqliteStore> {
        self.file_by(name, Options { policy, max_tokens: 30, ..Options::default() }, doorbell)
    }

    fn file_by(&self, name: &str, options: Options, doorbell: Arc<dyn Doorbell>) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(&self.folder.path().join(name), options, doorbell).unwrap())
    }
}

#[async_trait]
impl World for Disk {
    async fn open(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Arc<dyn Store> {
        let store = self.file("baton.db", policy, doorbell);
        *self.open.lock().unwrap() = Some(Arc::clone(&store));
        store
    }

    async fn close(&self, store: Arc<dyn Store>) {
        self.open.lock().unwrap().take();
        drop(store);
    }

    async fn movable(&self, policy: LeasePolicy) -> Option<Movable> {
        let source = self.open.lock().unwrap().clone()?;
        let beside =
            (0..).map(|n| format!("beside-{n}.db")).find(|name| !self.folder.path().join(name).exists())?;
        let target = self.file(&beside, policy, Arc::new(NoDoorbell));
        Some(Movable { source, store: Arc::clone(&target) as _, target })
    }

    async fn archiving(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Option<Archiving> {
        let options = Options { policy, archived: true, max_tokens: 30, ..Options::default() };
        let store = self.file_by("baton.db", options, doorbell);
        *self.open.lock().unwrap() = Some(Arc::clone(&store));
        Some(Archiving { store: Arc::clone(&store) as _, archive: store })
    }
}

baton_store::conformance_tests!(Disk::new());
