//! Readers: connections that answer queries beside the writer. Each sees the last commit, and holds nobody up.

use std::sync::{Arc, Mutex, PoisonError};

use baton_store::StoreError;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::error::Failure;
use crate::health::{Condition, Side};
use crate::hold::Hold;
use crate::open;

/// A pool of reading connections.
pub(crate) struct Readers {
    pool: Arc<Pool>,
    free: Arc<Semaphore>,
    condition: Arc<Condition>,
}

struct Pool {
    idle: Mutex<Vec<Connection>>,
    /// Declared after the connections, so that it is let go of after them: also after one that is lent while the store ends.
    _hold: Arc<Hold>,
}

impl Pool {
    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl Readers {
    pub(crate) fn open(
        hold: &Arc<Hold>,
        condition: &Arc<Condition>,
        count: usize,
    ) -> Result<Self, StoreError> {
        let count = count.max(1);
        let idle = (0..count).map(|_| open::for_reading(hold)).collect::<Result<Vec<_>, _>>()?;
        let pool = Pool { idle: Mutex::new(idle), _hold: Arc::clone(hold) };
        Ok(Self {
            pool: Arc::new(pool),
            free: Arc::new(Semaphore::new(count)),
            condition: Arc::clone(condition),
        })
    }

    /// Runs a query on a connection of the pool, off the caller's thread; waits while all are taken.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, StoreError> {
        // What it would find is kept by nothing. A server with nothing to do writes seldom, and reads with each round of its reaper.
        self.condition.is_there()?;
        self.condition.look()?;
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(|_| StoreError::Busy)?;
        let pool = Arc::clone(&self.pool);
        let answer = tokio::task::spawn_blocking(move || {
            // Every holder of a permit finds a connection: there are as many as permits.
            let db = pool.take().ok_or(StoreError::Busy)?;
            let lent = Lent { db: Some(db), pool };
            let answer =
                lent.db.as_ref().map_or(Err(StoreError::Busy), |db| query(db).map_err(StoreError::from));
            drop(lent);
            drop(permit);
            answer
        });
        let answer = answer.await.unwrap_or_else(|error| {
            Err(StoreError::Internal { what: "a query panicked".to_owned(), cause: Some(error.into()) })
        });
        if let Err(error) = &answer {
            self.condition.note(Side::Reading, error);
        }
        answer
    }
}

/// A connection on loan: it goes back to the pool also when the query panics.
struct Lent {
    db: Option<Connection>,
    pool: Arc<Pool>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        }
    }
}
