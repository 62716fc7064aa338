//! Queues: named lanes that tasks wait in. A queue is known once a task has named it, and as long as it is paused.

use serde::{Deserialize, Serialize};

use crate::defaults::QueueDefaults;
use crate::id::{Label, QueueName};
use crate::order::QueueOrder;
use crate::time::Timestamp;

/// What is kept of a queue besides its tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// The queue's name.
    pub name: QueueName,
    /// Whether claims pass it by.
    pub paused: bool,
    /// Who last paused or resumed it, if they said.
    pub changed_by: Option<Label>,
    /// Why they did, if they said.
    pub reason: Option<String>,
    /// When it was first named, or last paused or resumed.
    pub changed_at: Timestamp,
    /// In which order it gives out its ready tasks.
    #[serde(default, skip_serializing_if = "QueueOrder::is_usual")]
    pub order: QueueOrder,
    /// What it gives to tasks that do not say.
    #[serde(default, skip_serializing_if = "QueueDefaults::is_none")]
    pub defaults: QueueDefaults,
}

impl Queue {
    /// Why claims pass it by; none if they do not.
    pub fn pause(&self) -> Option<Pause> {
        self.paused.then(|| Pause {
            since: self.changed_at,
            by: self.changed_by.clone(),
            reason: self.reason.clone(),
        })
    }
}

/// That claims pass a queue by: since when, who has asked for it, and why. Of several pauses in a row the last one counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it was paused.
    pub since: Timestamp,
    /// Who paused it, if they said.
    pub by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
}
