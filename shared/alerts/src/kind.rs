//! What a rule looks at.

use std::str::FromStr;
use std::time::Duration;

use baton_model::Expected;
use serde::{Deserialize, Serialize};

/// What a rule looks at. Each figure is one that `GET /metrics` and `GET /v1/stats` tell, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// How many tasks of a queue wait.
    QueueDepth,
    /// For how many seconds the oldest ready task of a queue has waited.
    OldestReady,
    /// Whether a queue has work that no live worker takes.
    NoWorker,
    /// How many workers are lost.
    WorkersLost,
    /// Of the attempts that ended in the last minutes, how many of a hundred failed.
    FailureRate,
    /// How many tasks have failed for good and are still kept.
    DeadLetters,
    /// Whether a schedule has missed a time within the last hour.
    ScheduleMissed,
    /// How many more bytes the store has room for.
    DiskLow,
    /// Whether all places of a limit are taken.
    LimitFull,
    /// How many workers of a supervised group have used up their restarts.
    GroupFailed,
}

/// On which side of its threshold a figure is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It is too much.
    Above,
    /// It is too little.
    Below,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::QueueDepth,
        Self::OldestReady,
        Self::NoWorker,
        Self::WorkersLost,
        Self::FailureRate,
        Self::DeadLetters,
        Self::ScheduleMissed,
        Self::DiskLow,
        Self::LimitFull,
        Self::GroupFailed,
    ];

    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueDepth => "queue_depth",
            Self::OldestReady => "oldest_ready",
            Self::NoWorker => "no_worker",
            Self::WorkersLost => "workers_lost",
            Self::FailureRate => "failure_rate",
            Self::DeadLetters => "dead_letters",
            Self::ScheduleMissed => "schedule_missed",
            Self::DiskLow => "disk_low",
            Self::LimitFull => "limit_full",
            Self::GroupFailed => "group_failed",
        }
    }

    /// On which side its figure is wrong.
    pub const fn beyond(self) -> Beyond {
        match self {
            Self::DiskLow => Beyond::Below,
            _ => Beyond::Above,
        }
    }

    /// Whether its figures are of one queue each.
    pub const fn is_of_queues(self) -> bool {
        matches!(self, Self::QueueDepth | Self::OldestReady | Self::NoWorker | Self::DeadLetters)
    }

    /// Its threshold where a rule names none.
    pub const fn threshold(self) -> f64 {
        match self {
            Self::QueueDepth => 1_000.0,
            Self::OldestReady => 900.0,
            Self::FailureRate => 50.0,
            // As where `baton debug health` begins to tell of it.
            Self::DiskLow => 268_435_456.0,
            Self::NoWorker
            | Self::WorkersLost
            | Self::DeadLetters
            | Self::ScheduleMissed
            | Self::LimitFull
            | Self::GroupFailed => 0.0,
        }
    }

    /// How long its figure must be beyond, where a rule does not say.
    pub const fn patience(self) -> Duration {
        match self {
            // What these say has been true for a while already, or does not pass by itself.
            Self::NoWorker
            | Self::WorkersLost
            | Self::DeadLetters
            | Self::ScheduleMissed
            | Self::GroupFailed => Duration::ZERO,
            Self::QueueDepth | Self::OldestReady | Self::FailureRate | Self::DiskLow => {
                Duration::from_secs(60)
            }
            Self::LimitFull => Duration::from_secs(900),
        }
    }

    /// What a figure of it says, in words.
    pub fn words(self, subject: &str, value: f64) -> String {
        let whole = value.round();
        match self {
            Self::QueueDepth if whole == 1.0 => format!("1 task waits in queue {subject}"),
            Self::QueueDepth => format!("{whole} tasks wait in queue {subject}"),
            Self::OldestReady => {
                format!("the oldest ready task of queue {subject} has waited for {whole} s")
            }
            Self::NoWorker => format!("queue {subject} has work that no live worker takes"),
            Self::WorkersLost if whole == 1.0 => "1 worker is lost".to_owned(),
            Self::WorkersLost => format!("{whole} workers are lost"),
            Self::FailureRate => {
                format!("{whole} of 100 attempts that ended in the last ten minutes failed")
            }
            Self::DeadLetters if whole == 1.0 && subject.is_empty() => {
                "1 task has failed for good".to_owned()
            }
            Self::DeadLetters if whole == 1.0 => format!("1 task of queue {subject} has failed for good"),
            Self::DeadLetters if subject.is_empty() => format!("{whole} tasks have failed for good"),
            Self::DeadLetters => format!("{whole} tasks of queue {subject} have failed for good"),
            Self::ScheduleMissed => format!("schedule {subject} has missed a time"),
            Self::DiskLow => format!("the store has room for {whole} more bytes"),
            Self::LimitFull => format!("all places of the limit of {subject} are taken"),
            Self::GroupFailed if whole == 1.0 => {
                format!("1 worker of group {subject} has used up its restarts")
            }
            Self::GroupFailed => {
                format!("{whole} workers of group {subject} have used up their restarts")
            }
        }
    }
}

impl FromStr for Kind {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            Expected::text(format!("one of {names}"), text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert!(!kind.words("q", 1.4).is_empty());
        }
        assert!("queues".parse::<Kind>().unwrap_err().expected.contains("queue_depth"));
    }
}
