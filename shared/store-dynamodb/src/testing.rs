//! What tests within the crate have in common.

use std::sync::Arc;

use baton_model::{Payload, RunAfter, TaskId, TaskSpec, Timestamp};
use baton_store::{Create, Doorbell, NoDoorbell, TaskStore};

use crate::client::{http_client, local};
use crate::table::{self, TableOptions};
use crate::{DynamoStore, Options};

/// A store on an engine of its own, which ends with the test's runtime. It writes what it has counted when it is told to.
pub(crate) async fn store(options: Options) -> DynamoStore {
    store_with(options, Arc::new(NoDoorbell)).await
}

/// The same, with somebody who hears its rings.
pub(crate) async fn store_with(options: Options, doorbell: Arc<dyn Doorbell>) -> DynamoStore {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let engine = dynoxide::Database::memory().unwrap();
    tokio::spawn(dynoxide::server::serve_on(listener, engine));
    let client = local(&endpoint, http_client());
    table::create(&client, "baton-tasks", TableOptions::default()).await.unwrap();
    let options = Options { flush_every: None, ..options };
    DynamoStore::open(client, "baton-tasks", options, doorbell).await.unwrap()
}

/// Creates a task whose params are kept apart from it.
pub(crate) async fn created_large(store: &DynamoStore, now: Timestamp) -> TaskId {
    let params = Payload::parse(&format!("\"{}\"", "x".repeat(5_000))).unwrap();
    let spec = TaskSpec { params, ..task(1, RunAfter::Now) };
    let id = spec.id;
    let create = Create { now, tasks: vec![spec], atomic: false, idempotency: None, by: None };
    store.create(create).await.unwrap();
    id
}

/// A task of the queue `a` with an id of its own.
pub(crate) fn task(n: u8, run_after: RunAfter) -> TaskSpec {
    let mut id = [0; 16];
    (id[6], id[8], id[15]) = (0x70, 0x80, n);
    TaskSpec {
        queue: "a".parse().unwrap(),
        run_after,
        ..TaskSpec::new(TaskId::from_bytes(id), "render".parse().unwrap())
    }
}
