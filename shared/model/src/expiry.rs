//! Expiry: until when a task is worth starting.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::task::{Failure, Head, State};
use crate::time::{Timestamp, seconds};

/// The code of the failure of a task that was not started in time.
pub const EXPIRED: &str = "expired";

/// Until when a new task is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// A point in time.
    At(Timestamp),
    /// A while after its creation.
    In(#[serde(with = "seconds")] Duration),
}

impl Expiry {
    /// The time meant, for a task created at `created_at`.
    pub fn resolve(self, created_at: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::In(span) => created_at.plus(span),
        }
    }
}

impl Head {
    /// When the task expired, if it has by `now`: its time has come, and no attempt that counts has begun. An attempt that was
    /// given back is none.
    pub fn expired(&self, now: Timestamp) -> Option<Timestamp> {
        let waits = matches!(self.state.state(), State::Blocked | State::Queued);
        self.expires_at.filter(|at| waits && self.attempts_used() == 0 && *at <= now)
    }
}

/// What is shown as the failure of a task that was to be started by `at`.
pub(crate) fn failure(at: Timestamp) -> Failure {
    Failure {
        message: format!("the task expired at {at}: no attempt had begun by then"),
        code: Some(EXPIRED.to_owned()),
        details: None,
    }
}
