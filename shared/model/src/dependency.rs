//! Tasks that wait for others: what a task's dependencies mean to it, and in which order a graph of tasks can be made.
//!
//! A task is [`State::Blocked`] if and only if one of its dependencies has not been met. An edge is stored with the task that
//! waits; what is stored with the one that is waited for is only an index. So [`outlook`] can be asked by anyone at any time,
//! and releasing a task twice releases it once.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::payload::Payload;
use crate::task::{Failure, State};

/// What becomes of a task when one of its dependencies fails, or is cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfDependencyFails {
    /// It is cancelled.
    #[default]
    Cancel,
    /// It fails.
    Fail,
    /// It runs all the same: an ended dependency is met, however it ended.
    Run,
}

impl IfDependencyFails {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Cancel, Self::Fail, Self::Run];

    /// The choice's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Fail => "fail",
            Self::Run => "run",
        }
    }

    /// Whether it is the usual one.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The code of the failure of a task that ended because a dependency did not complete.
pub const DEPENDENCY_FAILED: &str = "dependency_failed";

/// The failure that others followed from: a task that ended without being completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstFailure {
    /// The task.
    pub task: TaskId,
    /// How it ended: failed or cancelled; none if it was removed, so that its output cannot be read any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

#[derive(Serialize, Deserialize)]
struct Details {
    task_id: TaskId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<State>,
}

impl FirstFailure {
    /// The failure that a task which ended in `state` is to those that depend on it: the one that it ended by itself, or its own.
    pub fn of(task: TaskId, state: State, error: Option<&Failure>) -> Self {
        Self::named(error).unwrap_or(Self { task, state: Some(state) })
    }

    /// The failure that a task's error names, if the task ended because of it.
    pub fn named(error: Option<&Failure>) -> Option<Self> {
        let failure = error.filter(|failure| failure.code.as_deref() == Some(DEPENDENCY_FAILED))?;
        let Details { task_id: task, state } =
            serde_json::from_str(failure.details.as_ref()?.as_str()).ok()?;
        Some(Self { task, state })
    }

    /// The failure of the tasks that follow.
    pub fn failure(self) -> Failure {
        let details = Details { task_id: self.task, state: self.state };
        let details = serde_json::to_string(&details).ok();
        Failure {
            message: self.to_string(),
            code: Some(DEPENDENCY_FAILED.to_owned()),
            details: details.and_then(|json| Payload::from_stored(json).ok()),
        }
    }
}

impl fmt::Display for FirstFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = match self.state {
            Some(State::Cancelled) => "was cancelled",
            Some(_) => "failed",
            None => "was removed",
        };
        write!(f, "task {}, which this one depends on, {ended}", self.task)
    }
}

/// What a task's dependencies mean to it, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// None is left to wait for.
    Met,
    /// One at least has not ended yet.
    Unmet,
    /// One did not complete, so that the task will never run as it was meant to.
    Failed(FirstFailure),
}

/// What is known of a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Its id.
    pub task: TaskId,
    /// Its state; none if it was removed.
    pub state: Option<State>,
    /// If it has failed or was cancelled, by which failure.
    pub first: Option<FirstFailure>,
}

impl Dependency {
    /// What it means to a task with this choice.
    pub fn outlook(&self, choice: IfDependencyFails) -> Outlook {
        match self.state {
            Some(State::Completed) => Outlook::Met,
            Some(State::Blocked | State::Queued | State::Running) => Outlook::Unmet,
            Some(State::Failed | State::Cancelled) | None if choice == IfDependencyFails::Run => Outlook::Met,
            state @ (Some(State::Failed | State::Cancelled) | None) => {
                Outlook::Failed(self.first.unwrap_or(FirstFailure { task: self.task, state }))
            }
        }
    }
}

/// What a task's dependencies mean to it: a failure counts before those that are still waited for, as nothing can make up for
/// it.
pub fn outlook(choice: IfDependencyFails, dependencies: impl IntoIterator<Item = Dependency>) -> Outlook {
    let mut all = Outlook::Met;
    for dependency in dependencies {
        match dependency.outlook(choice) {
            Outlook::Met => {}
            Outlook::Unmet => all = Outlook::Unmet,
            failed @ Outlook::Failed(_) => return failed,
        }
    }
    all
}

/// An order of `edges.len()` tasks in which each comes after those that it depends on, given for each task the places of
/// these; by Kahn's algorithm, so that the cost is that of the tasks and edges.
///
/// # Errors
/// The places of a cycle, each depending on the next, and the last on the first. A place beyond the end is nobody's.
pub fn order(edges: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut unmet: Vec<usize> = vec![0; edges.len()];
    let mut dependants: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (place, of) in edges.iter().enumerate() {
        for dependency in of.iter().copied().filter(|one| *one < edges.len()) {
            unmet[place] += 1;
            dependants[dependency].push(place);
        }
    }
    let mut ready: BTreeSet<usize> = (0..edges.len()).filter(|place| unmet[*place] == 0).collect();
    let mut order = Vec::with_capacity(edges.len());
    while let Some(place) = ready.pop_first() {
        order.push(place);
        for dependant in &dependants[place] {
            unmet[*dependant] -= 1;
            if unmet[*dependant] == 0 {
                ready.insert(*dependant);
            }
        }
    }
    if order.len() == edges.len() { Ok(order) } else { Err(cycle(edges, &unmet)) }
}

/// A cycle among the places that are never met: each has a dependency that is one of them, so that going on comes back.
fn cycle(edges: &[Vec<usize>], unmet: &[usize]) -> Vec<usize> {
    let left = |place: &usize| unmet.get(*place).is_some_and(|unmet| *unmet > 0);
    let mut path: Vec<usize> = Vec::new();
    let mut next = (0..edges.len()).find(left);
    while let Some(place) = next {
        if let Some(begin) = path.iter().position(|one| *one == place) {
            return path.split_off(begin);
        }
        path.push(place);
        next = edges[place].iter().copied().find(left);
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> TaskId {
        TaskId::from_bytes([n; 16])
    }

    fn graph() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1_usize..12).prop_flat_map(|n| prop::collection::vec(prop::collection::vec(0..n, 0..3), n))
    }

    proptest! {
        #[test]
        fn an_order_has_each_task_after_its_dependencies_and_a_cycle_is_one(edges in graph()) {
            match order(&edges) {
                Ok(order) => {
                    let mut sorted = order.clone();
                    sorted.sort_unstable();
                    prop_assert_eq!(sorted, (0..edges.len()).collect::<Vec<_>>());
                    let place = |task: usize| order.iter().position(|one| *one == task).unwrap();
                    for (task, of) in edges.iter().enumerate() {
                        prop_assert!(of.iter().all(|dependency| place(*dependency) < place(task)));
                    }
                }
                Err(cycle) => {
                    prop_assert!(!cycle.is_empty());
                    for (at, task) in cycle.iter().enumerate() {
                        prop_assert!(edges[*task].contains(&cycle[(at + 1) % cycle.len()]));
                    }
                }
            }
        }

        #[test]
        fn edges_to_earlier_tasks_only_have_the_order_of_the_tasks(picks in prop::collection::vec(any::<u8>(), 1..40)) {
            let edges: Vec<Vec<usize>> =
                picks.iter().enumerate().map(|(n, pick)| if n == 0 { vec![] } else { vec![*pick as usize % n] }).collect();
            prop_assert!(order(&edges).is_ok());
        }
    }

    #[test]
    fn a_task_that_depends_on_itself_is_a_cycle() {
        assert_eq!(order(&[vec![], vec![1]]), Err(vec![1]));
    }

    #[test]
    fn a_failure_counts_before_what_is_still_waited_for() {
        let dependency = |n, state| Dependency { task: id(n), state, first: None };
        let both = [dependency(1, Some(State::Running)), dependency(2, Some(State::Cancelled))];
        let first = FirstFailure { task: id(2), state: Some(State::Cancelled) };
        assert_eq!(outlook(IfDependencyFails::Cancel, both), Outlook::Failed(first));
        assert_eq!(outlook(IfDependencyFails::Fail, both), Outlook::Failed(first));
        assert_eq!(outlook(IfDependencyFails::Run, both), Outlook::Unmet);
        let gone = [dependency(3, None)];
        assert!(matches!(outlook(IfDependencyFails::Cancel, gone), Outlook::Failed(_)));
        assert_eq!(outlook(IfDependencyFails::Run, gone), Outlook::Met);
        assert_eq!(outlook(IfDependencyFails::Cancel, []), Outlook::Met);
    }

    #[test]
    fn what_follows_from_a_failure_names_the_first_one() {
        let first = FirstFailure { task: id(1), state: Some(State::Failed) };
        let followed = first.failure();
        assert_eq!(FirstFailure::of(id(2), State::Cancelled, Some(&followed)), first);
        assert!(followed.message.contains(&id(1).to_string()));
        let own = FirstFailure { task: id(2), state: Some(State::Cancelled) };
        assert_eq!(FirstFailure::of(id(2), State::Cancelled, None), own);
    }
}
