//! The store that a setting names: the one place where it is opened, for the server and for the commands that work on a
//! store themselves.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use baton_model::Timestamp;
use baton_runtime::settings::{Durability, Settings, StoreLocation};
use baton_store::{ArchiveStore, Doorbell, StoreError, Transfer};
#[cfg(feature = "dynamodb")]
use baton_store_dynamodb::DynamoStore;
use baton_store_sqlite::SqliteStore;

use crate::exit::Failure;

/// An open store.
pub(crate) enum Store {
    /// On a file.
    Sqlite(Arc<SqliteStore>),
    /// On a table.
    #[cfg(feature = "dynamodb")]
    Dynamodb(Arc<DynamoStore>),
}

impl Store {
    /// Opens the store that the settings name. `doorbell` hears of tasks that become claimable.
    pub(crate) async fn open(settings: &Settings, doorbell: Arc<dyn Doorbell>) -> Result<Self, Failure> {
        match &settings.store.location {
            StoreLocation::Sqlite(path) => {
                sqlite(path, settings, doorbell).map(|store| Self::Sqlite(Arc::new(store)))
            }
            #[cfg(feature = "dynamodb")]
            StoreLocation::Dynamodb(table) => {
                dynamodb::open(table, settings, doorbell).await.map(|store| Self::Dynamodb(Arc::new(store)))
            }
            #[cfg(not(feature = "dynamodb"))]
            StoreLocation::Dynamodb(_) => Err(not_built(&settings.store.location)),
        }
    }

    /// The store as all of Baton sees it.
    pub(crate) fn shared(&self) -> Arc<dyn baton_store::Store> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            #[cfg(feature = "dynamodb")]
            Self::Dynamodb(store) => Arc::clone(store) as _,
        }
    }

    /// The store as one that can be moved.
    pub(crate) fn transfer(&self) -> Arc<dyn Transfer> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            #[cfg(feature = "dynamodb")]
            Self::Dynamodb(store) => Arc::clone(store) as _,
        }
    }

    /// The store as one whose tasks are archived.
    pub(crate) fn archived(&self) -> Arc<dyn ArchiveStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            #[cfg(feature = "dynamodb")]
            Self::Dynamodb(store) => Arc::clone(store) as _,
        }
    }

    /// Has all programs that use the store leave finished tasks to their archiver, where several do.
    #[cfg_attr(not(feature = "dynamodb"), expect(clippy::unused_async, reason = "a file has one program"))]
    pub(crate) async fn begin_archiving(&self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(_) => Ok(()),
            #[cfg(feature = "dynamodb")]
            Self::Dynamodb(store) => {
                store.begin_archiving().await.map_err(|error| Failure::failed(error.report()))
            }
        }
    }

    /// Tells the log if finished tasks are left to an archiver that this program has not.
    pub(crate) fn tell_of_missing_archiver(&self) {
        match self {
            Self::Sqlite(_) => {}
            #[cfg(feature = "dynamodb")]
            Self::Dynamodb(store) if store.is_archived() => tracing::warn!(
                "the table's finished tasks are archived, and this server has no archive: they are kept until a server with archive.url \
                 archives them; `baton table end-archiving` has them removed without"
            ),
            #[cfg(feature = "dynamodb")]
            Self::Dynamodb(_) => {}
        }
    }

    /// Waits until what the store lies on is no longer there, and says what is gone. A table that is removed answers each
    /// request so, and may come back: nothing is confirmed that is not in it.
    pub(crate) async fn gone(&self) -> StoreError {
        match self {
            Self::Sqlite(store) => store.gone().await,
            #[cfg(feature = "dynamodb")]
            Self::Dynamodb(_) => std::future::pending().await,
        }
    }

    /// Counts anew what it holds, where importing does not count as it goes.
    #[cfg_attr(
        not(feature = "dynamodb"),
        expect(clippy::unused_async, unused_variables, reason = "a file counts as it goes")
    )]
    pub(crate) async fn recount(&self, now: Timestamp) -> Result<(), Failure> {
        match self {
            Self::Sqlite(_) => Ok(()),
            #[cfg(feature = "dynamodb")]
            Self::Dynamodb(store) => {
                let counted = baton_store::transfer::recount(&**store, now).await;
                counted.map_err(|error| Failure::failed(error.report()))
            }
        }
    }

    /// Writes what the store still keeps in memory, as the last thing that is done with it.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        match self {
            // The file's own thread writes what it was sent, and closes it.
            Self::Sqlite(_) => Ok(()),
            #[cfg(feature = "dynamodb")]
            Self::Dynamodb(store) => store.flush().await,
        }
    }
}

/// What a program says that was built without the store that is asked for.
#[cfg(not(feature = "dynamodb"))]
pub(crate) fn not_built(location: &StoreLocation) -> Failure {
    Failure::usage(format!(
        "{location}: this baton was built without the store on DynamoDB; build one with it: \
         cargo install --path apps/baton --features dynamodb (or cargo build --package baton --features dynamodb)"
    ))
}

/// An error that says what could not be opened, with all its causes.
fn cannot_open(location: &StoreLocation, error: &dyn std::error::Error) -> Failure {
    Failure::failed(format!("cannot open {location}: {}", baton_model::with_causes(error)))
}

/// How far apart commits for heartbeats alone are. What one tells is as good a moment later, and a commit costs as much for one as for ten.
const BEATS_APART: Duration = Duration::from_millis(50);

fn sqlite(path: &Path, settings: &Settings, doorbell: Arc<dyn Doorbell>) -> Result<SqliteStore, Failure> {
    let durability = match settings.store.durability {
        Durability::Full => baton_store_sqlite::Durability::Full,
        Durability::Normal => baton_store_sqlite::Durability::Normal,
    };
    let options = baton_store_sqlite::Options {
        policy: settings.leases,
        durability,
        max_bytes: settings.store.max_bytes,
        beats_apart: BEATS_APART,
        archived: settings.archive.is_some(),
        ..baton_store_sqlite::Options::default()
    };
    SqliteStore::open(path, options, doorbell).map_err(|error| cannot_open(&settings.store.location, &error))
}

/// Tables on DynamoDB.
#[cfg(feature = "dynamodb")]
pub(crate) mod dynamodb {
    use baton_store_dynamodb::aws_sdk_dynamodb::Client;
    use baton_store_dynamodb::{Options, client, environment};

    use super::*;

    /// A client by the standard settings of AWS.
    pub(crate) async fn client(location: &StoreLocation) -> Result<Client, Failure> {
        let wrong = |expected| Failure::usage(format!("{}: {expected}", client::Roots::VARIABLE));
        let roots = client::Roots::from_environment().map_err(wrong)?;
        let http_client = client::http_client_with(roots);
        environment::client(http_client).await.map_err(|error| cannot_open(location, &error))
    }

    /// The store on a table.
    pub(crate) async fn open(
        table: &str,
        settings: &Settings,
        doorbell: Arc<dyn Doorbell>,
    ) -> Result<DynamoStore, Failure> {
        let location = &settings.store.location;
        let options = Options {
            policy: settings.leases,
            shards: settings.store.dynamodb.queue_shards.clone(),
            keep_finished: settings.retention.finished,
            keep_logs: settings.retention.logs,
            archived: settings.archive.is_some(),
            // Each process must draw marks of its own.
            ..Options::seeded(rand::random())
        };
        let opened = DynamoStore::open(client(location).await?, table, options, doorbell).await;
        opened.map_err(|error| cannot_open(location, &error))
    }
}
