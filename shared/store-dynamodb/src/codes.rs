//! The numbers that stand for enums in the table. They are part of the stored format: never renumbered.

use baton_model::{Directive, Ended, EventKind, Level, LossReason, Priority, State};
use baton_store::StoreError;

use crate::error::damaged;

/// An enum that is stored as a small number.
pub(crate) trait Code: Sized + Copy + PartialEq + 'static {
    /// Every value with its number.
    const TABLE: &'static [(Self, u8)];
    /// What the enum is called when a number is unknown.
    const NAME: &'static str;

    /// The number.
    fn code(self) -> u8 {
        // Every value is in the table: the test below holds the tables complete.
        Self::TABLE.iter().find(|(value, _)| *value == self).map_or(u8::MAX, |(_, code)| *code)
    }

    /// The value of a number.
    fn of(code: u8) -> Result<Self, StoreError> {
        let known = Self::TABLE.iter().find(|(_, known)| *known == code).map(|(value, _)| *value);
        known.ok_or_else(|| damaged(format!("{}: expected a known number, got {code}", Self::NAME)))
    }
}

impl Code for State {
    const TABLE: &'static [(Self, u8)] = &[
        (Self::Queued, 0),
        (Self::Running, 1),
        (Self::Completed, 2),
        (Self::Failed, 3),
        (Self::Cancelled, 4),
        (Self::Blocked, 5),
    ];
    const NAME: &'static str = "a task's state";
}

impl Code for Priority {
    const TABLE: &'static [(Self, u8)] =
        &[(Self::Critical, 0), (Self::High, 1), (Self::Normal, 2), (Self::Low, 3)];
    const NAME: &'static str = "a task's priority";
}

impl Code for Ended {
    const TABLE: &'static [(Self, u8)] = &[
        (Self::Completed, 1),
        (Self::Failed, 2),
        (Self::Released, 3),
        (Self::Cancelled, 4),
        (Self::Lost(LossReason::HeartbeatMissed), 10),
        (Self::Lost(LossReason::LeaseExpired), 11),
        (Self::Lost(LossReason::TimedOut), 12),
        (Self::Lost(LossReason::SessionEnded), 13),
        (Self::Lost(LossReason::Forgotten), 14),
    ];
    const NAME: &'static str = "an attempt's end";
}

impl Code for EventKind {
    const TABLE: &'static [(Self, u8)] = &[
        (Self::Created, 0),
        (Self::Claimed, 1),
        (Self::Completed, 2),
        (Self::AttemptFailed, 3),
        (Self::Released, 4),
        (Self::LeaseLost, 5),
        (Self::Cancelled, 6),
        (Self::Retried, 7),
        (Self::Unblocked, 8),
        (Self::DependencyFailed, 9),
        (Self::Expired, 10),
        (Self::Changed, 11),
    ];
    const NAME: &'static str = "an event's kind";
}

impl Code for Directive {
    const TABLE: &'static [(Self, u8)] = &[(Self::Run, 0), (Self::Drain, 1), (Self::Stop, 2)];
    const NAME: &'static str = "a worker's directive";
}

impl Code for Level {
    const TABLE: &'static [(Self, u8)] =
        &[(Self::Debug, 0), (Self::Info, 1), (Self::Warn, 2), (Self::Error, 3)];
    const NAME: &'static str = "a log line's level";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete<T: Code>(all: &[T]) {
        for value in all {
            assert_eq!(T::of(value.code()).ok().map(Code::code), Some(value.code()));
        }
        assert_eq!(T::TABLE.len(), all.len());
    }

    #[test]
    fn every_value_has_its_number() {
        complete(&State::ALL);
        complete(&Priority::ALL);
        complete(&EventKind::ALL);
        complete(&Directive::ALL);
        complete(&Level::ALL);
        let lost = LossReason::ALL.map(Ended::Lost);
        complete(
            &[&[Ended::Completed, Ended::Failed, Ended::Released, Ended::Cancelled][..], &lost].concat(),
        );
        assert!(State::of(9).is_err());
    }
}
