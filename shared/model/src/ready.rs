//! Whether a task may be claimed now, and if not, for which reasons: one pure function of stored facts. What a claim gives out
//! and what it says of a task that waits are the same rule, so that neither can differ from the other.

use serde::{Deserialize, Serialize};

use crate::dependency::{Dependency, Outlook};
use crate::id::TaskId;
use crate::queue::Pause;
use crate::task::{Head, IfDependencyFails, State};
use crate::time::Timestamp;

/// What is known of a task at a point in time.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The task's head.
    pub head: &'a Head,
    /// Its dependencies, as they stand.
    pub dependencies: &'a [Dependency],
    /// What becomes of it if one of them fails.
    pub choice: IfDependencyFails,
    /// Why its queue is paused, if it is.
    pub pause: Option<&'a Pause>,
    /// The time.
    pub now: Timestamp,
}

/// Why a task may not be claimed now. The order of the variants is that in which they must be lifted: it does not help to
/// resume a queue for a task that still waits for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// A worker holds it, or it is finished.
    NotWaiting {
        /// Its state.
        state: State,
    },
    /// It waits for other tasks.
    Blocked {
        /// Those that have not ended yet; empty if it is about to be released.
        by: Vec<Waited>,
    },
    /// It is for later.
    NotDue {
        /// When it is due.
        at: Timestamp,
    },
    /// Its queue gives out nothing.
    QueuePaused {
        /// Since when, by whom and why.
        pause: Pause,
    },
}

/// A task that another one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// The task.
    pub task: TaskId,
    /// Its state; none if it was removed.
    pub state: Option<State>,
}

/// What a task's own head says against a claim.
pub fn of_head(head: &Head, now: Timestamp) -> Option<Reason> {
    match head.state.state() {
        State::Queued if head.run_after <= now => None,
        State::Queued => Some(Reason::NotDue { at: head.run_after }),
        State::Blocked => Some(Reason::Blocked { by: Vec::new() }),
        state @ (State::Running | State::Completed | State::Failed | State::Cancelled) => {
            Some(Reason::NotWaiting { state })
        }
    }
}

/// Every reason that holds now, in the order in which they must be lifted. None: the task may be claimed.
pub fn reasons(facts: &Facts<'_>) -> Vec<Reason> {
    let Facts { head, dependencies, choice, pause, now } = *facts;
    let mut reasons = Vec::new();
    match of_head(head, now) {
        Some(last @ Reason::NotWaiting { .. }) => return vec![last],
        Some(Reason::Blocked { .. }) => {
            let unmet = dependencies.iter().filter(|one| one.outlook(choice) == Outlook::Unmet);
            let by = unmet.map(|one| Waited { task: one.task, state: one.state }).collect();
            reasons.push(Reason::Blocked { by });
            if head.run_after > now {
                reasons.push(Reason::NotDue { at: head.run_after });
            }
        }
        other => reasons.extend(other),
    }
    reasons.extend(pause.map(|pause| Reason::QueuePaused { pause: pause.clone() }));
    reasons
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Backoff, TaskState};

    fn head(state: TaskState, run_after: Timestamp) -> Head {
        Head {
            id: TaskId::from_bytes([1; 16]),
            state,
            attempt: 0,
            forgiven: 0,
            worker_losses: 0,
            max_attempts: 3,
            run_after,
            timeout: None,
            backoff: Backoff::default(),
            ended: None,
            events: 1,
        }
    }

    #[test]
    fn every_reason_is_told_in_the_order_in_which_it_must_be_lifted() {
        let now = Timestamp::from_millis(1_000);
        let later = now.plus(Duration::from_secs(1));
        let pause = Pause { since: now, by: None, reason: None };
        let waited =
            Dependency { task: TaskId::from_bytes([2; 16]), state: Some(State::Running), first: None };
        let done =
            Dependency { task: TaskId::from_bytes([3; 16]), state: Some(State::Completed), first: None };
        let told = |head: &Head, dependencies: &[Dependency], pause| {
            reasons(&Facts { head, dependencies, choice: IfDependencyFails::Cancel, pause, now })
        };
        let by = vec![Waited { task: waited.task, state: waited.state }];
        let blocked = head(TaskState::Blocked, later);
        assert_eq!(
            told(&blocked, &[done, waited], Some(&pause)),
            [
                Reason::Blocked { by },
                Reason::NotDue { at: later },
                Reason::QueuePaused { pause: pause.clone() }
            ]
        );
        assert_eq!(told(&head(TaskState::Queued, later), &[], None), [Reason::NotDue { at: later }]);
        assert_eq!(
            told(&head(TaskState::Queued, now), &[], Some(&pause)),
            [Reason::QueuePaused { pause: pause.clone() }]
        );
        assert_eq!(told(&head(TaskState::Queued, now), &[done], None), []);
        let failed = told(&head(TaskState::Failed, now), &[], None);
        assert_eq!(failed, [Reason::NotWaiting { state: State::Failed }]);
    }
}
