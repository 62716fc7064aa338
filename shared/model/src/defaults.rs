//! What a queue gives to tasks that do not say: attempts, timeout, backoff, priority and retention.
//!
//! They are applied when a task is created, which then has them as if it had said so; what exists is not changed by a later change
//! of them. What a task asked for, and nothing that its queue gave, decides whether another request asks for the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::task::{Priority, TaskSpec};
use crate::time::maybe_seconds;

/// What a queue gives to tasks that do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueDefaults {
    /// How many attempts they are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long one attempt may run.
    #[serde(
        rename = "timeout_seconds",
        default,
        skip_serializing_if = "Option::is_none",
        with = "maybe_seconds"
    )]
    pub timeout: Option<Duration>,
    /// How long they wait between attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// How soon they are claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How long they are kept once they have ended.
    #[serde(
        rename = "retention_seconds",
        default,
        skip_serializing_if = "Option::is_none",
        with = "maybe_seconds"
    )]
    pub retention: Option<Duration>,
}

impl QueueDefaults {
    /// Whether it gives nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Gives a task what it does not say.
    pub fn fill(&self, spec: &mut TaskSpec) {
        if spec.unsaid.max_attempts {
            spec.max_attempts = self.max_attempts.unwrap_or(spec.max_attempts);
        }
        if spec.unsaid.priority {
            spec.priority = self.priority.unwrap_or(spec.priority);
        }
        spec.timeout = spec.timeout.or(self.timeout);
        spec.backoff = spec.backoff.or(self.backoff);
        spec.retention = spec.retention.or(self.retention);
    }
}

/// What is to be changed of a queue's defaults: none for what stays as it is, `Some(None)` for what is to be given no longer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DefaultsChange {
    /// How many attempts.
    pub max_attempts: Option<Option<u32>>,
    /// How long one attempt may run.
    pub timeout: Option<Option<Duration>>,
    /// How long to wait between attempts.
    pub backoff: Option<Option<Backoff>>,
    /// How soon to be claimed.
    pub priority: Option<Option<Priority>>,
    /// How long to be kept.
    pub retention: Option<Option<Duration>>,
}

impl DefaultsChange {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What becomes of these defaults.
    pub fn onto(&self, from: QueueDefaults) -> QueueDefaults {
        QueueDefaults {
            max_attempts: self.max_attempts.unwrap_or(from.max_attempts),
            timeout: self.timeout.unwrap_or(from.timeout),
            backoff: self.backoff.unwrap_or(from.backoff),
            priority: self.priority.unwrap_or(from.priority),
            retention: self.retention.unwrap_or(from.retention),
        }
    }
}

/// Of what has a usual value, what a producer has left out, so that its queue may give another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unsaid {
    /// How many attempts the task is given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub max_attempts: bool,
    /// How soon it is claimed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub priority: bool,
}

impl Unsaid {
    /// Nothing was said of either.
    pub const BOTH: Self = Self { max_attempts: true, priority: true };

    /// Whether all was said.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fingerprint, TaskId};

    fn spec() -> TaskSpec {
        TaskSpec::new(TaskId::from_bytes([1; 16]), "render".parse().unwrap())
    }

    fn defaults() -> QueueDefaults {
        QueueDefaults {
            max_attempts: Some(7),
            timeout: Some(Duration::from_secs(60)),
            backoff: Some(Backoff { factor: 3.0, ..Backoff::default() }),
            priority: Some(Priority::High),
            retention: Some(Duration::from_secs(3_600)),
        }
    }

    #[test]
    fn a_task_is_given_what_it_does_not_say_and_nothing_else() {
        let mut silent = TaskSpec { unsaid: Unsaid::BOTH, ..spec() };
        let mut told = TaskSpec {
            max_attempts: 2,
            priority: Priority::Low,
            timeout: Some(Duration::from_secs(5)),
            backoff: Some(Backoff::default()),
            retention: Some(Duration::from_secs(9)),
            ..spec()
        };
        let before = told.clone();
        defaults().fill(&mut silent);
        defaults().fill(&mut told);
        assert_eq!(told, before);
        assert_eq!((silent.max_attempts, silent.priority), (7, Priority::High));
        assert_eq!((silent.timeout, silent.backoff), (defaults().timeout, defaults().backoff));
        assert_eq!(silent.retention, defaults().retention);
    }

    #[test]
    fn what_is_unsaid_is_no_part_of_what_was_asked_for() {
        let silent = TaskSpec { unsaid: Unsaid::BOTH, ..spec() };
        assert_eq!(silent.fingerprint(), spec().fingerprint());
        assert_eq!(spec().fingerprint(), Fingerprint::of(&spec()));
        assert_ne!(
            Fingerprint::of(&silent),
            silent.fingerprint(),
            "it is written with what keeps a task to create"
        );
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name_and_comes_back_as_json() {
        let change =
            DefaultsChange { timeout: Some(None), priority: Some(Some(Priority::Low)), ..Default::default() };
        let to = change.onto(defaults());
        assert_eq!(to, QueueDefaults { timeout: None, priority: Some(Priority::Low), ..defaults() });
        assert!(
            DefaultsChange::default().onto(defaults()) == defaults() && DefaultsChange::default().is_empty()
        );
        for one in [to, defaults(), QueueDefaults::default()] {
            let json = serde_json::to_string(&one).unwrap();
            assert_eq!(serde_json::from_str::<QueueDefaults>(&json).unwrap(), one, "{json}");
        }
    }
}
