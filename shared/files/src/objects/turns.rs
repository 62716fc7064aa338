//! Turns: of all who change a name in this process, one at a time does.

use std::hash::BuildHasher;
use std::hash::RandomState;

use tokio::sync::{Mutex, MutexGuard};

use crate::FileName;

/// How many locks there are. Two names may share one: then one waits for the other, for a look and a write.
const LOCKS: usize = 64;

/// The locks of all names. None is held while bytes of files come or go.
#[derive(Debug)]
pub(super) struct Turns {
    locks: [Mutex<()>; LOCKS],
    hash: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { locks: std::array::from_fn(|_| Mutex::new(())), hash: RandomState::new() }
    }
}

impl Turns {
    /// Waits until nobody else changes the name, and holds others back until it is dropped.
    pub(super) async fn of(&self, name: &FileName) -> MutexGuard<'_, ()> {
        // Less than the number of locks in any case.
        let lock = self.hash.hash_one(name) % LOCKS as u64;
        self.locks[lock as usize].lock().await
    }
}
