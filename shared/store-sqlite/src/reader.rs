//! Readers: connections that answer queries beside the writer. Each sees the last commit, and holds nobody up.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use baton_store::StoreError;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::error::Failure;
use crate::open;

/// A pool of reading connections.
pub(crate) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    free: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn open(path: &Path, count: usize) -> Result<Self, StoreError> {
        let count = count.max(1);
        let connections = (0..count).map(|_| open::for_reading(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { idle: Arc::new(Mutex::new(connections)), free: Arc::new(Semaphore::new(count)) })
    }

    /// Runs a query on a connection of the pool, off the caller's thread; waits while all are taken.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, StoreError> {
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(|_| StoreError::Busy)?;
        let idle = Arc::clone(&self.idle);
        let answer = tokio::task::spawn_blocking(move || {
            // Every holder of a permit finds a connection: there are as many as permits.
            let db = idle.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or(StoreError::Busy)?;
            let lent = Lent { db: Some(db), idle };
            let answer =
                lent.db.as_ref().map_or(Err(StoreError::Busy), |db| query(db).map_err(StoreError::from));
            drop(lent);
            drop(permit);
            answer
        });
        answer.await.unwrap_or_else(|error| {
            Err(StoreError::Internal { what: "a query panicked".to_owned(), cause: Some(error.into()) })
        })
    }
}

/// A connection on loan: it goes back to the pool also when the query panics.
struct Lent {
    db: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        }
    }
}
