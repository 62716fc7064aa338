//! What webhooks are told of.

use std::str::FromStr;

use baton_model::{EventKind, Expected, State, event};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What has happened, by the name that a message's `type` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventName {
    /// An alert fires.
    #[serde(rename = "alert.fired")]
    AlertFired,
    /// An alert has ended.
    #[serde(rename = "alert.ended")]
    AlertEnded,
    /// A task was created.
    #[serde(rename = "task.created")]
    TaskCreated,
    /// A task was given to a worker.
    #[serde(rename = "task.claimed")]
    TaskClaimed,
    /// A task was completed.
    #[serde(rename = "task.completed")]
    TaskCompleted,
    /// An attempt failed or was lost, and the task is tried again.
    #[serde(rename = "task.attempt_failed")]
    TaskAttemptFailed,
    /// A task has failed for good.
    #[serde(rename = "task.failed")]
    TaskFailed,
    /// A task was cancelled.
    #[serde(rename = "task.cancelled")]
    TaskCancelled,
    /// A finished task was put back into its queue.
    #[serde(rename = "task.retried")]
    TaskRetried,
    /// Somebody asked for a message, to see whether it comes.
    #[serde(rename = "webhook.test")]
    WebhookTest,
}

impl EventName {
    /// Every name.
    pub const ALL: [Self; 10] = [
        Self::AlertFired,
        Self::AlertEnded,
        Self::TaskCreated,
        Self::TaskClaimed,
        Self::TaskCompleted,
        Self::TaskAttemptFailed,
        Self::TaskFailed,
        Self::TaskCancelled,
        Self::TaskRetried,
        Self::WebhookTest,
    ];

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlertFired => "alert.fired",
            Self::AlertEnded => "alert.ended",
            Self::TaskCreated => "task.created",
            Self::TaskClaimed => "task.claimed",
            Self::TaskCompleted => "task.completed",
            Self::TaskAttemptFailed => "task.attempt_failed",
            Self::TaskFailed => "task.failed",
            Self::TaskCancelled => "task.cancelled",
            Self::TaskRetried => "task.retried",
            Self::WebhookTest => "webhook.test",
        }
    }

    /// Whether it is of a task.
    pub fn is_of_task(self) -> bool {
        self.as_str().starts_with("task.")
    }

    /// The name of what happened to a task; none of what is a step in between.
    pub fn of_task(event: &event::Event) -> Option<Self> {
        match event.kind {
            _ if event.to == State::Failed => Some(Self::TaskFailed),
            _ if event.to == State::Cancelled => Some(Self::TaskCancelled),
            EventKind::Created => Some(Self::TaskCreated),
            EventKind::Claimed => Some(Self::TaskClaimed),
            EventKind::Completed => Some(Self::TaskCompleted),
            EventKind::AttemptFailed | EventKind::LeaseLost => Some(Self::TaskAttemptFailed),
            EventKind::Retried => Some(Self::TaskRetried),
            _ => None,
        }
    }
}

impl FromStr for EventName {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let known = Self::ALL.into_iter().filter(|name| *name != Self::WebhookTest);
        known.clone().find(|name| name.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = known.map(Self::as_str).collect();
            Expected::text(format!("one of {}", names.join(", ")), text)
        })
    }
}

/// A message as it is sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event<T> {
    /// What has happened.
    #[serde(rename = "type")]
    pub name: EventName,
    /// When.
    pub timestamp: baton_model::Timestamp,
    /// All that is told of it.
    pub data: T,
}

/// The id of a message to a receiver: it follows from what happened, so that it is the same however often it is made. Ids rise with
/// the time of what happened.
pub fn message_id(at: baton_model::Timestamp, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digits: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{:012x}_{digits}", at.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in EventName::ALL {
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
            // Nobody subscribes to tests: who asks for one gets it.
            assert_eq!(name.as_str().parse().ok(), (name != EventName::WebhookTest).then_some(name));
        }
    }

    #[test]
    fn an_id_follows_from_what_happened() {
        let at = baton_model::Timestamp::from_millis(1_800_000_000_000);
        let id = message_id(at, &["hook", "7"]);
        assert_eq!(id, message_id(at, &["hook", "7"]));
        assert_ne!(id, message_id(at, &["hoo", "k7"]));
        assert!(id < message_id(at.plus(std::time::Duration::from_millis(1)), &["hook", "7"]));
        assert!(id.starts_with("msg_01a3185c5000_") && id.len() == 33, "{id}");
    }
}
