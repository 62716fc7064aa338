//! The word that a worker's process lives, and who is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// How many attempts it runs.
    pub running: u32,
    /// How many have come to an end with it.
    pub ended: u64,
}

/// Who is told that a worker lives, and how often.
#[derive(Clone)]
pub struct Pulse {
    /// How often.
    pub every: Duration,
    /// Takes the word; it may not wait.
    pub tell: Arc<dyn Fn(Life) + Send + Sync>,
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("every", &self.every).finish_non_exhaustive()
    }
}
