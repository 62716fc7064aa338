//! What is seen of machines and of the workers on them.

use std::time::Duration;

use baton_model::{Directive, Money, Timestamp};

/// A machine that is paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMachine {
    /// What its provider knows it by.
    pub id: String,
    /// What it costs an hour.
    pub price_per_hour: Money,
    /// When it was started; none if that is not known.
    pub started_at: Option<Timestamp>,
    /// Whether its provider is ending it.
    pub is_stopping: bool,
    /// The workers that say they run on it.
    pub workers: Vec<SeenWorker>,
}

/// A worker on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenWorker {
    /// Its name.
    pub id: String,
    /// Whether it lives.
    pub is_alive: bool,
    /// Whether it has said that it ends.
    pub is_gone: bool,
    /// What is asked of it.
    pub directive: Directive,
    /// How many tasks' leases name it.
    pub holds: u32,
    /// When it was heard of last.
    pub heard_at: Option<Timestamp>,
}

/// What a machine does, as far as scaling is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Workers on it live and may claim; they hold so many tasks.
    Active(u32),
    /// No worker on it has lived yet, and one may still come; or the last one may come back.
    Starting,
    /// Its workers claim nothing more, or live no more, and tasks' leases still name them.
    Held,
    /// Its workers were drained, and hold nothing.
    Drained,
    /// None of its workers came in time.
    Failed,
    /// Its workers are heard of no more, and did not come back in time.
    Lost,
    /// Its provider is ending it.
    Stopping,
}

impl SeenMachine {
    /// How many tasks' leases name its workers.
    pub fn holds(&self) -> u32 {
        self.workers.iter().map(|worker| worker.holds).sum()
    }

    /// What it does. `first_seen` is when it was seen first: a start that is not known, or of a clock that is ahead, is taken to be then.
    pub(crate) fn standing(&self, first_seen: Timestamp, timeout: Duration, now: Timestamp) -> Standing {
        if self.is_stopping {
            return Standing::Stopping;
        }
        let holds = self.holds();
        let mut alive = self.workers.iter().filter(|worker| worker.is_alive).peekable();
        if alive.peek().is_some() {
            return match alive.any(|worker| worker.directive == Directive::Run) {
                true => Standing::Active(holds),
                false if holds > 0 => Standing::Held,
                false => Standing::Drained,
            };
        }
        // Leases of workers that are lost are taken back first: a machine is only ever ended when none names it.
        if holds > 0 {
            return Standing::Held;
        }
        let last = self.workers.iter().max_by_key(|worker| worker.heard_at);
        if last.is_some_and(|worker| worker.is_gone && worker.directive != Directive::Run) {
            return Standing::Drained;
        }
        let started = self.started_at.filter(|at| *at <= now).unwrap_or(first_seen);
        let heard = last.and_then(|worker| worker.heard_at).map(|at| at.min(now));
        let since = heard.map_or(started, |heard| heard.max(started));
        match now.since(since) < timeout {
            true => Standing::Starting,
            false if self.workers.is_empty() => Standing::Failed,
            false => Standing::Lost,
        }
    }
}
