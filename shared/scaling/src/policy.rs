//! What an operator has set for a pool.

use std::time::Duration;

use baton_model::{GroupName, Money, QueueName};

use crate::demand::Bound;

/// How a pool of queues is to be served by machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The pool's name.
    pub name: GroupName,
    /// The queues that its machines serve.
    pub queues: Vec<QueueName>,
    /// The provider that its machines are of; none where only figures are asked for.
    pub provider: Option<GroupName>,
    /// How many machines there are whatever waits.
    pub least: u32,
    /// How many there are at most, those included that come up or end.
    pub most: u32,
    /// How many tasks a machine runs at once.
    pub tasks_per_machine: u32,
    /// How long a machine may run nothing before it is ended.
    pub idle: Duration,
    /// How long one may take from its start until a worker on it lives.
    pub spawn_timeout: Duration,
    /// The pause after the first failure in a row; each further one is twice as long.
    pub failure_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// What all of its machines may cost an hour; none for as much as they do.
    pub budget_per_hour: Option<Money>,
    /// What a new machine costs an hour.
    pub price_per_hour: Money,
}

impl Policy {
    /// The most machines, by their number and by the budget, and which of the two it is.
    pub fn bound(&self) -> (u32, Bound) {
        match self.affordable(Money::default()) {
            Some(affordable) if affordable < self.most => (affordable, Bound::Budget),
            _ => (self.most, Bound::Most),
        }
    }

    /// How many new machines the budget has room for besides what is paid; none if it bounds nothing.
    pub fn affordable(&self, paid: Money) -> Option<u32> {
        let budget = self.budget_per_hour?;
        let left = budget.billionths().saturating_sub(paid.billionths());
        match self.price_per_hour.billionths() {
            // What costs nothing fits into what is left of any budget that is kept.
            0 => (paid > budget).then_some(0),
            price => Some(u32::try_from(left / price).unwrap_or(u32::MAX)),
        }
    }

    /// How long no machine is started after so many failures in a row.
    pub fn pause_after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.failure_pause.saturating_mul(1 << doublings).min(self.longest_pause)
    }
}
