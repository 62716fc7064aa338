//! Affinity: what a task wants its worker to have at hand already, such as a model that takes minutes to load, and what a worker that
//! has some of it warm makes of that.

use std::time::Duration;

use crate::id::Label;
use crate::time::Timestamp;

/// What a worker has warm, and what it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warm {
    /// What it has warm, by the names that tasks give as their affinity.
    pub names: Vec<Label>,
    /// What it makes of it.
    pub wants: Wants,
}

/// What a worker makes of what it has warm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wants {
    /// Nothing: it takes tasks as they come.
    #[default]
    Any,
    /// Of one priority, tasks for what it has warm go first, unless another one has waited for this long: that one is passed over no
    /// longer.
    Prefer {
        /// The longest that a task may be passed over.
        pass_over: Duration,
    },
    /// It takes tasks for what it has warm, and no others.
    Only,
}

/// How ready tasks of one priority stand to what a worker has warm, the first to be claimed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It makes no difference: the worker has no preference, or the task has waited for too long.
    Even,
    /// It is for what the worker has warm.
    Warm,
    /// It is not.
    Cold,
}

impl Warm {
    /// For how long a worker that names no time passes others over: five minutes.
    pub const PASS_OVER: Duration = Duration::from_secs(300);

    /// Whether a worker with it is given tasks of this affinity at all.
    pub fn takes(&self, affinity: Option<&Label>) -> bool {
        self.wants != Wants::Only || self.has(affinity)
    }

    /// What a worker has to be given first; nothing if it has no preference.
    pub fn preferred(&self) -> &[Label] {
        match self.wants {
            Wants::Any => &[],
            Wants::Prefer { .. } | Wants::Only => &self.names,
        }
    }

    fn has(&self, affinity: Option<&Label>) -> bool {
        affinity.is_some_and(|affinity| self.names.contains(affinity))
    }

    /// How a task stands that may be claimed from `run_after` on.
    pub fn fit(&self, affinity: Option<&Label>, run_after: Timestamp, now: Timestamp) -> Fit {
        match self.wants {
            Wants::Any | Wants::Only => Fit::Even,
            Wants::Prefer { pass_over } if now >= run_after.plus(pass_over) => Fit::Even,
            Wants::Prefer { .. } if self.has(affinity) => Fit::Warm,
            Wants::Prefer { .. } => Fit::Cold,
        }
    }
}
