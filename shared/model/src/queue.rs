//! Queues: named lanes that tasks wait in. A queue exists as soon as a task names it.

use serde::{Deserialize, Serialize};

use crate::id::{Label, QueueName};
use crate::time::Timestamp;

/// What is kept of a queue besides its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The queue's name.
    pub name: QueueName,
    /// Whether claims pass it by.
    pub paused: bool,
    /// Who last paused or resumed it, if they said.
    pub changed_by: Option<Label>,
    /// When it was first named, or last paused or resumed.
    pub changed_at: Timestamp,
}
