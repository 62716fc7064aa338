//! What a store can do now, and how large it is.

use crate::error::StoreError;

/// Whether a store can be read and written: two answers, as a full disk or a read-only one leaves the first true.
#[derive(Debug)]
pub struct Health {
    /// Whether what is stored can be read; what is in the way, if not.
    pub read: Result<(), StoreError>,
    /// Whether something can be changed; what is in the way, if not. None if that was not tried, as it would cost a write.
    pub write: Option<Result<(), StoreError>>,
    /// How large the store is and how much room it has left, if it can tell.
    pub sizes: Option<Sizes>,
}

impl Health {
    /// Whether all that was tried can be done; else what is in the way of writing, or of reading.
    ///
    /// # Errors
    /// The first thing that cannot be done.
    pub fn all(self) -> Result<(), StoreError> {
        self.write.unwrap_or(Ok(())).and(self.read)
    }
}

/// How large a store is: each is read in time that does not depend on the number of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The bytes of the file, those that are free in it included, without its log.
    pub file_bytes: u64,
    /// Of these, the bytes that hold nothing any more and are used again.
    pub free_bytes: u64,
    /// The bytes of the log beside it.
    pub log_bytes: u64,
    /// How many more bytes can be stored: what is free in the file and what it may still grow by, or what is free on its
    /// disk, whichever is less. None if it cannot be told.
    pub room_bytes: Option<u64>,
    /// How many tasks there are, in whatever state.
    pub tasks: u64,
}
