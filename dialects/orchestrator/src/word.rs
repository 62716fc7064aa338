//! The ten states, in the one place that names them: what is read, written, listed and counted goes by these.

use baton_model::{State, Status};

/// A state of the old system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    Queued,
    Starting,
    Running,
    Paused,
    Completing,
    Passed,
    Failed,
    Error,
    Cancelled,
    Timeout,
}

impl Word {
    pub(crate) const ALL: [Self; 10] = [
        Self::Queued,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Completing,
        Self::Passed,
        Self::Failed,
        Self::Error,
        Self::Cancelled,
        Self::Timeout,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completing => "completing",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
        }
    }

    pub(crate) fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.as_str() == text)
    }

    /// The word for a state of Baton's; `code` is that of the failure, if it failed.
    pub(crate) fn of(state: State, code: Option<&str>) -> Self {
        match (state, code) {
            (State::Blocked | State::Queued, _) => Self::Queued,
            (State::Running, _) => Self::Running,
            (State::Completed, _) => Self::Passed,
            (State::Cancelled, _) => Self::Cancelled,
            (State::Failed, Some("timed_out" | "timeout")) => Self::Timeout,
            // It never came to an attempt, or its worker says that the fault is not in the task's own work.
            (State::Failed, Some("error" | "expired" | "dependency_failed")) => Self::Error,
            (State::Failed, _) => Self::Failed,
        }
    }

    /// The same for a task that runs, if its worker says by the message of its heartbeat in which phase it is.
    pub(crate) fn in_phase(self, message: Option<&str>) -> Self {
        match (self, message.and_then(Self::named)) {
            (Self::Running, Some(phase @ (Self::Starting | Self::Paused | Self::Completing))) => phase,
            (word, _) => word,
        }
    }

    /// The statuses of the tasks that may be in this state.
    pub(crate) const fn statuses(self) -> &'static [Status] {
        match self {
            Self::Queued => &[Status::Blocked, Status::Created, Status::Queued, Status::Retry],
            Self::Starting | Self::Running | Self::Paused | Self::Completing => &[Status::Running],
            Self::Passed => &[Status::Completed],
            Self::Failed | Self::Error | Self::Timeout => &[Status::Failed],
            Self::Cancelled => &[Status::Cancelled],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_baton_has_a_word_and_each_word_its_statuses() {
        for state in State::ALL {
            for code in [None, Some("timed_out"), Some("error"), Some("heartbeat_missed")] {
                let word = Word::of(state, code);
                assert!(word.statuses().iter().any(|status| status.state() == state), "{state} {code:?}");
            }
        }
        for word in Word::ALL {
            assert_eq!(Word::named(word.as_str()), Some(word));
        }
        assert_eq!(Word::named("completed"), None);
    }

    #[test]
    fn only_what_runs_has_a_phase() {
        assert_eq!(Word::Running.in_phase(Some("paused")), Word::Paused);
        assert_eq!(Word::Running.in_phase(Some("passed")), Word::Running);
        assert_eq!(Word::Running.in_phase(Some("compiling")), Word::Running);
        assert_eq!(Word::Passed.in_phase(Some("paused")), Word::Passed);
    }
}
