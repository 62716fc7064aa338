//! Moving between SQLite and DynamoDB keeps every rule of moving, in both directions.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use baton_model::LeasePolicy;
use baton_store::conformance::{Bench, Movable, World};
use baton_store::{Doorbell, NoDoorbell, Store, Transfer};
use baton_store_dynamodb::{DynamoStore, Options};
use baton_store_sqlite::SqliteStore;

use crate::engine::Engine;

/// A store of either kind.
#[derive(Clone)]
enum Either {
    File(Arc<SqliteStore>),
    Table(Arc<DynamoStore>),
}

impl Either {
    fn shared(&self) -> Arc<dyn Store> {
        match self {
            Self::File(store) => Arc::clone(store) as _,
            Self::Table(store) => Arc::clone(store) as _,
        }
    }

    fn transfer(&self) -> Arc<dyn Transfer> {
        match self {
            Self::File(store) => Arc::clone(store) as _,
            Self::Table(store) => Arc::clone(store) as _,
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    FromFileToTable,
    FromTableToFile,
}

/// A source of one kind, and targets of the other.
struct Between {
    direction: Direction,
    folder: tempfile::TempDir,
    engine: Engine,
    source: Mutex<Option<Either>>,
}

impl Between {
    async fn bench(direction: Direction) -> Bench {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::start().await);
        Bench::open(Self { direction, folder, engine, source: Mutex::new(None) }).await
    }

    fn file(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Either {
        let names = (0..).map(|n| self.folder.path().join(format!("{n}.db")));
        let path = names.into_iter().find(|path| !path.exists()).unwrap();
        let options =
            baton_store_sqlite::Options { policy, max_tokens: 30, ..baton_store_sqlite::Options::default() };
        Either::File(Arc::new(SqliteStore::open(&path, options, doorbell).unwrap()))
    }

    async fn table(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Either {
        let (client, table) = (self.engine.client.clone(), self.engine.another().await);
        let options = Options { policy, max_tokens: 30, flush_every: None, ..Options::seeded(9) };
        Either::Table(Arc::new(DynamoStore::open(client, table, options, doorbell).await.unwrap()))
    }
}

#[async_trait]
impl World for Between {
    async fn open(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Arc<dyn Store> {
        let store = match self.direction {
            Direction::FromFileToTable => self.file(policy, doorbell),
            Direction::FromTableToFile => self.table(policy, doorbell).await,
        };
        *self.source.lock().unwrap() = Some(store.clone());
        store.shared()
    }

    async fn movable(&self, policy: LeasePolicy) -> Option<Movable> {
        let source = self.source.lock().unwrap().clone()?;
        let target = match self.direction {
            Direction::FromFileToTable => self.table(policy, Arc::new(NoDoorbell)).await,
            Direction::FromTableToFile => self.file(policy, Arc::new(NoDoorbell)),
        };
        Some(Movable { source: source.transfer(), target: target.transfer(), store: target.shared() })
    }

    async fn settle(&self) {
        let source = self.source.lock().unwrap().clone();
        if let Some(Either::Table(store)) = source {
            store.flush().await.unwrap();
        }
    }
}

macro_rules! one_way {
    ($module:ident, $direction:ident, $($rule:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $rule() {
                let bench = crate::transfer::Between::bench(crate::transfer::Direction::$direction).await;
                baton_store::conformance::$module::$rule(bench).await;
            }
        )*
    };
}

macro_rules! transfer_both_ways {
    ($($rule:ident),*) => {
        mod from_a_file_to_a_table {
            one_way!(transfer, FromFileToTable, $($rule),*);
        }

        mod from_a_table_to_a_file {
            one_way!(transfer, FromTableToFile, $($rule),*);
        }
    };
}

macro_rules! moved_both_ways {
    ($($rule:ident),*) => {
        mod along_from_a_file_to_a_table {
            one_way!(moved, FromFileToTable, $($rule),*);
        }

        mod along_from_a_table_to_a_file {
            one_way!(moved, FromTableToFile, $($rule),*);
        }
    };
}

baton_store::rules_of!(transfer => transfer_both_ways);
baton_store::rules_of!(moved => moved_both_ways);
