//! The DynamoDB store keeps every rule of a task store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use baton_model::{LeasePolicy, Timestamp};
use baton_store::conformance::{Archiving, Movable, World};
use baton_store::{Doorbell, NoDoorbell, PurgeReport, Store};
use baton_store_dynamodb::table::KeptBy;
use baton_store_dynamodb::{DynamoStore, Options};

use crate::engine::{Engine, Stream};

/// A table of its own for each rule.
struct Cloud {
    engine: Engine,
    /// The table's stream, if it keeps the statistics.
    stream: Option<Mutex<Stream>>,
    open: Mutex<Option<Arc<DynamoStore>>>,
    keep_finished: Mutex<Option<Duration>>,
    opened: AtomicU64,
}

impl Cloud {
    /// With `BATON_TEST_STATISTICS=stream`, the stream keeps the statistics.
    async fn start() -> Self {
        let (engine, stream) = match std::env::var("BATON_TEST_STATISTICS").as_deref() {
            Ok("stream") => {
                let (engine, stream) = Engine::with_stream(KeptBy::Stream).await;
                (engine, Some(Mutex::new(stream)))
            }
            _ => (Engine::start().await, None),
        };
        let keep_finished = Mutex::new(Some(Duration::from_secs(30 * 86_400)));
        Self { engine, stream, open: Mutex::new(None), keep_finished, opened: AtomicU64::new(0) }
    }
}

impl Cloud {
    async fn opened(
        &self,
        policy: LeasePolicy,
        archived: bool,
        doorbell: Arc<dyn Doorbell>,
    ) -> Arc<DynamoStore> {
        // With BATON_TEST_SHARDS=4, the rules' queues have as many shards: what then holds is less, and all of it must.
        let shards = std::env::var("BATON_TEST_SHARDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let queues = ["default", "a", "b", "c", "q", "gpu"];
        let shards = queues.into_iter().map(|name| (name.parse().unwrap(), shards)).collect();
        let keep_finished = *self.keep_finished.lock().unwrap();
        let options = Options {
            policy,
            shards,
            keep_finished,
            archived,
            max_tokens: 30,
            flush_every: None,
            // No two processes on a table have the same.
            ..Options::seeded(7 + self.opened.fetch_add(100, Ordering::Relaxed))
        };
        let (client, table) = (self.engine.client.clone(), self.engine.table.clone());
        let store = Arc::new(DynamoStore::open(client, table, options, doorbell).await.unwrap());
        *self.open.lock().unwrap() = Some(Arc::clone(&store));
        store
    }
}

#[async_trait]
impl World for Cloud {
    async fn open(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Arc<dyn Store> {
        self.opened(policy, false, doorbell).await
    }

    async fn archiving(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Option<Archiving> {
        let store = self.opened(policy, true, doorbell).await;
        Some(Archiving { store: Arc::clone(&store) as _, archive: store })
    }

    async fn close(&self, store: Arc<dyn Store>) {
        self.settle().await;
        self.open.lock().unwrap().take();
        drop(store);
    }

    async fn keep_finished(&self, keep: Option<Duration>) {
        *self.keep_finished.lock().unwrap() = keep;
    }

    async fn pass(&self, now: Timestamp) -> PurgeReport {
        let store = self.open.lock().unwrap().clone();
        if let Some(store) = store {
            // As of long ago, so that what is past its keeping goes at once.
            store.let_go_of_all_kept(Timestamp::default()).await.unwrap();
        }
        let gone = self.engine.pass(now).await;
        let of = |letters: [char; 2]| letters.iter().filter_map(|letter| gone.get(letter)).sum();
        PurgeReport {
            tasks: of(['T', 'X']),
            logs: of(['L', 'Z']),
            idempotency_keys: of(['I', '-']),
            claim_requests: of(['C', '-']),
            audit_entries: of(['A', '-']),
            ..PurgeReport::default()
        }
    }

    /// Each command is several requests to an engine: a third of a history here, and all of it by `BATON_STEPS`.
    fn steps(&self, of: usize) -> usize {
        of / 3
    }

    async fn movable(&self, policy: LeasePolicy) -> Option<Movable> {
        let source = self.open.lock().unwrap().clone()?;
        let (client, table) = (self.engine.client.clone(), self.engine.another().await);
        let options = Options { policy, max_tokens: 30, flush_every: None, ..Options::seeded(8) };
        let target = DynamoStore::open(client, table, options, Arc::new(NoDoorbell)).await.unwrap();
        let target = Arc::new(target);
        Some(Movable { source, store: Arc::clone(&target) as _, target })
    }

    async fn settle(&self) {
        let store = self.open.lock().unwrap().clone();
        if let Some(store) = store {
            store.flush().await.unwrap();
            if let Some(stream) = &self.stream {
                let records: Vec<_> =
                    stream.lock().unwrap().read().into_iter().map(|(_, record)| record).collect();
                let counted = store.count(&records).await;
                assert!(counted.failed.is_none(), "{counted:?}");
            }
        }
    }
}

baton_store::conformance_tests!(Cloud::start().await);
