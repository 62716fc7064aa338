//! Unique tasks: of those that were created with the same key, one at a time.
//!
//! A key belongs to a project and a queue. That a task has it is stored with the key; whether it still holds it follows from
//! the task, so that the commit that ends a task frees its key, and nothing can leave a key held for ever.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Label;
use crate::task::State;
use crate::time::{Timestamp, seconds};

/// For how long a task holds its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UniqueWhile {
    /// While it waits: until an attempt begins, and again while it waits for its next attempt, unless another has the key by
    /// then.
    Queued,
    /// Until it is completed, failed or cancelled.
    #[default]
    Unfinished,
    /// For a while after its creation, whatever becomes of it.
    For(#[serde(with = "seconds")] Duration),
}

/// That a task is the only one of its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unique {
    /// The key, within the task's project and queue.
    pub key: Label,
    /// For how long it is held.
    #[serde(rename = "while")]
    pub held: UniqueWhile,
}

impl Unique {
    /// Whether a task in `state` that was created at `created_at`, and that has the key, holds it at `now`.
    pub fn holds(&self, state: State, created_at: Timestamp, now: Timestamp) -> bool {
        match self.held {
            UniqueWhile::Queued => matches!(state, State::Blocked | State::Queued),
            UniqueWhile::Unfinished => !state.is_final(),
            UniqueWhile::For(span) => now < created_at.plus(span),
        }
    }

    /// Whether the task's own state says how long it holds the key, so that a retry takes it anew.
    pub fn follows_state(&self) -> bool {
        !matches!(self.held, UniqueWhile::For(_))
    }

    /// When the key is free whatever becomes of the task, if a time says so.
    pub fn free_at(&self, created_at: Timestamp) -> Option<Timestamp> {
        match self.held {
            UniqueWhile::For(span) => Some(created_at.plus(span)),
            UniqueWhile::Queued | UniqueWhile::Unfinished => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_for_as_long_as_the_task_said() {
        let at = Timestamp::from_millis;
        let holds =
            |held, state, now| Unique { key: "k".parse().unwrap(), held }.holds(state, at(1_000), at(now));
        for state in State::ALL {
            let waits = matches!(state, State::Blocked | State::Queued);
            assert_eq!(holds(UniqueWhile::Queued, state, 0), waits, "{state}");
            assert_eq!(holds(UniqueWhile::Unfinished, state, 9_999), !state.is_final(), "{state}");
            let span = UniqueWhile::For(Duration::from_secs(1));
            assert!(holds(span, state, 1_999) && !holds(span, state, 2_000), "{state}");
        }
    }
}
