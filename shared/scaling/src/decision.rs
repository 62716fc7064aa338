//! What is decided, and why, in words.

use std::fmt;
use std::time::Duration;

use baton_model::{Money, Timestamp};

use crate::demand::{Counts, Wanted};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start so many machines.
    Spawn {
        /// How many.
        machines: u32,
    },
    /// Have the workers of a machine claim nothing more.
    Drain {
        /// The machine.
        machine: String,
        /// Those of its workers that may still claim.
        workers: Vec<String>,
    },
    /// End a machine for good: no lease names its workers.
    Terminate {
        /// The machine.
        machine: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn { machines: 1 } => f.write_str("start 1 machine"),
            Self::Spawn { machines } => write!(f, "start {machines} machines"),
            Self::Drain { machine, workers } => write!(f, "drain {machine} ({})", workers.join(", ")),
            Self::Terminate { machine } => write!(f, "end {machine}"),
        }
    }
}

/// Why something is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// There are fewer machines than wanted.
    TooFew {
        /// How many there are.
        have: u32,
        /// How many there should be, and why.
        wanted: Wanted,
        /// The tasks.
        counts: Counts,
    },
    /// It has run nothing for so long, and there are more than wanted.
    Idle(Duration),
    /// There are more than there may be.
    OverMost {
        /// How many there may be.
        most: u32,
    },
    /// They cost more than they may.
    OverBudget {
        /// What they may cost an hour.
        budget: Money,
    },
    /// Its workers were drained, and hold nothing.
    Drained,
    /// No worker on it came to live in time.
    NoWorker(Duration),
    /// Its workers are heard of no more, and hold nothing.
    WorkerLost(Duration),
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { have, wanted, counts } => {
                write!(
                    f,
                    "{} wanted, {have} there: {} ({} to claim, {} running)",
                    wanted.machines,
                    wanted.why.as_str().replace('_', " "),
                    counts.claimable,
                    counts.running
                )?;
                match wanted.bound {
                    Some(bound) => write!(f, ", bounded by {}", bound.as_str()),
                    None => Ok(()),
                }
            }
            Self::Idle(span) => {
                write!(f, "it has run nothing for {} s, and no more is wanted", span.as_secs())
            }
            Self::OverMost { most } => write!(f, "there are more than {most}"),
            Self::OverBudget { budget } => write!(f, "they cost more than {budget} an hour"),
            Self::Drained => f.write_str("its workers have drained, and hold nothing"),
            Self::NoWorker(span) => write!(f, "no worker on it came to live within {} s", span.as_secs()),
            Self::WorkerLost(span) => {
                write!(f, "its workers were not heard of for {} s, and hold nothing", span.as_secs())
            }
        }
    }
}

/// Something that is to be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub action: Action,
    /// Why.
    pub because: Because,
}

/// Why machines that are wanted are not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// Starts have failed.
    Pause {
        /// Until then.
        until: Timestamp,
        /// How many in a row.
        failures: u32,
    },
    /// After failures, one at a time is tried.
    Probing,
    /// Machines that end still count.
    Most,
    /// Machines that end are still paid for.
    Budget,
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause { until, failures } => {
                write!(f, "{failures} starts in a row have failed; none before {until}")
            }
            Self::Probing => f.write_str("starts have failed; one at a time is tried"),
            Self::Most => f.write_str("there are as many as there may be, those included that end"),
            Self::Budget => f.write_str("the budget has no room for more, with those that end"),
        }
    }
}

/// What a turn has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How many machines there should be.
    pub wanted: Wanted,
    /// How many there are that work or come up.
    pub have: u32,
    /// How many of these come up.
    pub starting: u32,
    /// How many are paid for, those that end included.
    pub paid: u32,
    /// What they cost an hour.
    pub cost: Money,
    /// What is to be done.
    pub decisions: Vec<Decision>,
    /// Why fewer are started than are wanted.
    pub held_back: Option<HeldBack>,
}
