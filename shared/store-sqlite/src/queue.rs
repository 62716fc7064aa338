//! What is common to all that is said of a queue.

use baton_model::QueueName;
use rusqlite::Connection;

use crate::error::Failure;

/// Takes a queue off the list that no task has named, and of which nothing is said any more. Says whether it did.
pub(crate) fn forget_unused(db: &Connection, queue: &QueueName) -> Result<bool, Failure> {
    let unused = "DELETE FROM queue WHERE name = ?1 AND used = 0 AND paused = 0 AND ordering IS NULL AND defaults IS NULL \
                  AND NOT EXISTS (SELECT 1 FROM supply WHERE supply.queue = ?1)";
    Ok(db.prepare_cached(unused)?.execute([queue.as_str()])? > 0)
}
