//! What waits, and how many machines that wants.

use crate::policy::Policy;

/// A queue of a pool, as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFacts {
    /// Tasks that are ready.
    pub ready: u64,
    /// Tasks that are for later.
    pub later: u64,
    /// Tasks that wait for others.
    pub blocked: u64,
    /// Tasks that a worker holds.
    pub running: u64,
    /// Whether claims pass it by.
    pub is_paused: bool,
    /// How many more its limit lets run; none if it has none.
    pub room: Option<u64>,
}

/// The tasks of a pool, by what keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that a claim would be given now.
    pub claimable: u64,
    /// Those that a worker holds.
    pub running: u64,
    /// Those that are ready and kept by their queue's limit.
    pub at_limit: u64,
    /// Those that are ready and whose queue is paused.
    pub paused: u64,
    /// Those that wait for other tasks.
    pub blocked: u64,
    /// Those that are for later: claimable once their time has come.
    pub later: u64,
}

impl Counts {
    /// The tasks of these queues together.
    pub fn of(queues: impl IntoIterator<Item = QueueFacts>) -> Self {
        queues.into_iter().fold(Self::default(), |sum, queue| {
            let open = if queue.is_paused { 0 } else { queue.ready.min(queue.room.unwrap_or(u64::MAX)) };
            let kept = queue.ready - open;
            Self {
                claimable: sum.claimable.saturating_add(open),
                running: sum.running.saturating_add(queue.running),
                at_limit: sum.at_limit.saturating_add(if queue.is_paused { 0 } else { kept }),
                paused: sum.paused.saturating_add(if queue.is_paused { kept } else { 0 }),
                blocked: sum.blocked.saturating_add(queue.blocked),
                later: sum.later.saturating_add(queue.later),
            }
        })
    }

    /// The tasks that machines are wanted for.
    pub const fn tasks(&self) -> u64 {
        self.claimable.saturating_add(self.running)
    }

    /// Why machines are wanted, or why not.
    pub const fn why(&self) -> Why {
        match (self.claimable > 0, self.running > 0) {
            (true, true) => Why::Both,
            (true, false) => Why::QueuedOnly,
            (false, true) => Why::ActiveOnly,
            // The nearest to being claimed tells.
            (false, false) if self.at_limit > 0 || self.paused > 0 => Why::BlockedByCapacity,
            (false, false) if self.later > 0 => Why::PotentiallyClaimable,
            (false, false) if self.blocked > 0 => Why::BlockedByDependencies,
            (false, false) => Why::Nothing,
        }
    }
}

/// Why machines are wanted, or why none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Tasks wait to be claimed, and none runs.
    QueuedOnly,
    /// Tasks run, and none waits to be claimed.
    ActiveOnly,
    /// Both.
    Both,
    /// Tasks are ready, and limits or pauses keep all of them.
    BlockedByCapacity,
    /// All that waits, waits for other tasks.
    BlockedByDependencies,
    /// Tasks are for later, and none is ready.
    PotentiallyClaimable,
    /// There is nothing to do.
    Nothing,
}

impl Why {
    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueuedOnly => "queued_only",
            Self::ActiveOnly => "active_only",
            Self::Both => "both",
            Self::BlockedByCapacity => "blocked_by_capacity",
            Self::BlockedByDependencies => "blocked_by_dependencies",
            Self::PotentiallyClaimable => "potentially_claimable",
            Self::Nothing => "nothing",
        }
    }
}

/// What keeps the number of machines from being what the tasks alone would want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// There are so many whatever waits.
    Least,
    /// There may be no more.
    Most,
    /// More would cost too much.
    Budget,
}

impl Bound {
    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Least => "least",
            Self::Most => "most",
            Self::Budget => "budget",
        }
    }
}

/// How many machines a pool should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How many.
    pub machines: u32,
    /// Why.
    pub why: Why,
    /// What bounds it, if something does.
    pub bound: Option<Bound>,
}

impl Wanted {
    /// What these tasks want by a policy.
    pub fn of(policy: &Policy, counts: &Counts) -> Self {
        let needed = counts.tasks().div_ceil(u64::from(policy.tasks_per_machine.max(1)));
        let needed = u32::try_from(needed).unwrap_or(u32::MAX);
        let (most, by) = policy.bound();
        let (machines, bound) = match () {
            () if needed.max(policy.least) > most => (most, Some(by)),
            () if needed < policy.least => (policy.least, Some(Bound::Least)),
            () => (needed, None),
        };
        Self { machines, why: counts.why(), bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: QueueFacts =
        QueueFacts { ready: 0, later: 0, blocked: 0, running: 0, is_paused: false, room: None };

    #[test]
    fn why_is_told_by_what_is_nearest_to_being_claimed() {
        for (queue, why) in [
            (NONE, "nothing"),
            (QueueFacts { ready: 1, ..NONE }, "queued_only"),
            (QueueFacts { running: 1, ..NONE }, "active_only"),
            (QueueFacts { ready: 1, running: 1, ..NONE }, "both"),
            (QueueFacts { ready: 1, running: 1, room: Some(0), ..NONE }, "active_only"),
            (QueueFacts { ready: 1, room: Some(0), later: 1, ..NONE }, "blocked_by_capacity"),
            (QueueFacts { ready: 1, is_paused: true, blocked: 1, ..NONE }, "blocked_by_capacity"),
            (QueueFacts { later: 1, blocked: 1, ..NONE }, "potentially_claimable"),
            (QueueFacts { blocked: 1, ..NONE }, "blocked_by_dependencies"),
        ] {
            assert_eq!(Counts::of([queue]).why().as_str(), why, "{queue:?}");
        }
    }

    #[test]
    fn a_limit_and_a_pause_keep_what_is_ready_of_their_own_queue() {
        let limited = QueueFacts { ready: 10, running: 3, room: Some(4), ..NONE };
        let paused = QueueFacts { ready: 7, is_paused: true, room: Some(4), ..NONE };
        let counts = Counts::of([limited, paused, QueueFacts { ready: 1, ..NONE }]);
        assert_eq!((counts.claimable, counts.at_limit, counts.paused, counts.tasks()), (5, 6, 7, 8));
    }
}
