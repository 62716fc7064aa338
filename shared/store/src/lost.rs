//! Attempts that a worker believes to hold, and what became of them.

use baton_model::{Ended, Head, Running, State, TaskId, TaskState, WorkerId};

/// A listed attempt that is no longer the worker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostLease {
    /// The task.
    pub task: TaskId,
    /// The attempt listed.
    pub attempt: u32,
    /// What became of it.
    pub problem: LeaseProblem,
}

impl LostLease {
    /// Judges an attempt that a worker lists by its task, if there is one. None: the worker holds it.
    pub fn of(listed: &Running, worker: &WorkerId, task: Option<&Head>) -> Option<Self> {
        let problem =
            task.map_or(Some(LeaseProblem::Unknown), |head| problem(listed.attempt, worker, head))?;
        Some(Self { task: listed.task, attempt: listed.attempt, problem })
    }
}

/// What became of an attempt that a worker believes to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseProblem {
    /// The task was cancelled.
    Cancelled,
    /// The attempt ended: it was completed, failed, released or taken back, and nobody holds the task now.
    Ended(State),
    /// A later attempt runs, or has run.
    Superseded,
    /// The attempt was never this worker's.
    NotHeld,
    /// The task does not exist.
    Unknown,
}

fn problem(attempt: u32, worker: &WorkerId, head: &Head) -> Option<LeaseProblem> {
    if attempt < head.attempt {
        return Some(LeaseProblem::Superseded);
    }
    if attempt > head.attempt {
        return Some(LeaseProblem::NotHeld);
    }
    match (&head.state, &head.ended) {
        (TaskState::Running(lease), _) => (lease.worker != *worker).then_some(LeaseProblem::NotHeld),
        (state, Some(end)) if end.worker == *worker => {
            // Also when the task was cancelled later, or the cancelled one was retried since.
            let cancelled = end.how == Ended::Cancelled || *state == TaskState::Cancelled;
            Some(if cancelled { LeaseProblem::Cancelled } else { LeaseProblem::Ended(state.state()) })
        }
        _ => Some(LeaseProblem::NotHeld),
    }
}
