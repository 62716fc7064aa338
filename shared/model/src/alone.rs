//! Tasks that are given out alone: those that were lost with their workers twice in a row, each of which may be what
//! ends them. Such a task goes only to a worker that holds nothing else, and that worker is given nothing else until the
//! attempt has ended: if the task ends it again, no other task loses an attempt by it.
//!
//! Its turn comes in the order of all tasks. So that it does not wait for ever while every worker always holds
//! something, a worker makes room for one that has waited for [`PATIENCE`]: it is given nothing more until it is empty.
//! At most one worker does so for one task, and only while it goes on claiming ([`ROOM`]).
//! Why so is told in `docs/decisions/0012-given-out-alone.md`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{QueueName, TaskId, WorkerId};
use crate::order::Place;
use crate::takes::Takes;
use crate::task::{Head, TaskState};
use crate::time::Timestamp;

/// From how many losses of its worker in a row on a task is given out alone.
pub const LOSSES: u32 = 2;

/// How long a task that is given out alone waits for a worker that happens to hold nothing.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a worker that makes room may go without a claim before another may do so. It has a free slot, so that it
/// claims every 20 s at least, unless it is gone.
pub const ROOM: Duration = Duration::from_secs(120);

/// How the worker is tied to a task that is given out alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alone {
    /// It is given nothing more until it holds nothing: then the task's turn comes.
    MakesRoom {
        /// The task.
        task: TaskId,
        /// Until when, if it does not claim meanwhile.
        until: Timestamp,
    },
    /// It was given the task, and is given nothing more until that attempt has ended.
    Runs {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: u32,
    },
}

impl Alone {
    /// The task.
    pub const fn task(self) -> TaskId {
        match self {
            Self::MakesRoom { task, .. } | Self::Runs { task, .. } => task,
        }
    }

    /// A worker makes room for a task, from `now` on.
    pub fn makes_room(task: TaskId, now: Timestamp) -> Self {
        Self::MakesRoom { task, until: now.plus(ROOM) }
    }

    /// Whether a worker still makes room at `now`. A time further ahead than any that is given was told by another clock.
    pub fn makes_room_at(self, now: Timestamp) -> bool {
        match self {
            Self::MakesRoom { until, .. } => until > now && until <= now.plus(ROOM),
            Self::Runs { .. } => false,
        }
    }

    /// Whether a worker that makes room has to say again that it does.
    pub fn is_to_be_renewed(self, now: Timestamp) -> bool {
        match self {
            Self::MakesRoom { until, .. } => until.since(now) < ROOM / 2,
            Self::Runs { .. } => false,
        }
    }

    /// Whether the worker, which holds `holds` tasks and takes what `takes` says, is still tied to the task, which has this head and is in
    /// this queue. For one that has gone to a queue of which the worker takes nothing it makes no room.
    pub fn stands(
        self,
        (worker, takes): (&WorkerId, &[Takes]),
        holds: u32,
        task: Option<(&Head, &QueueName)>,
        now: Timestamp,
    ) -> bool {
        task.is_some_and(|(head, queue)| match (self, &head.state) {
            (Self::Runs { attempt, .. }, TaskState::Running(lease)) => {
                head.attempt == attempt && lease.worker == *worker
            }
            (Self::MakesRoom { .. }, TaskState::Queued) => {
                let takes_from = takes.is_empty() || takes.iter().any(|one| one.takes_from(queue));
                head.runs_alone() && holds > 0 && takes_from && self.makes_room_at(now)
            }
            _ => false,
        })
    }
}

impl Head {
    /// Whether the task is given out alone.
    pub const fn runs_alone(&self) -> bool {
        self.worker_losses >= LOSSES
    }
}

/// What a claim is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Tasks that need not be alone, as far as there are any.
    Plain,
    /// This one task, which is given out alone.
    Alone(TaskId),
    /// Nothing: the worker makes room for this task from now on, if no other does so already.
    MakeRoom(TaskId),
}

/// What a claim is given of the tasks that are ready for it: `plain` is the first of those that need not be alone, and
/// `alone` are the first of those that must be, in their order. `empty`: whether the worker holds nothing. `awaited`
/// says whether another worker makes room for a task.
pub fn turn(
    empty: bool,
    plain: Option<Place>,
    alone: &[Place],
    awaited: impl Fn(TaskId) -> bool,
    now: Timestamp,
) -> Turn {
    let before_plain = |one: &&Place| plain.is_none_or(|plain| one.before(&plain).is_lt());
    let mut before_plain = alone.iter().filter(before_plain);
    if empty {
        return before_plain.next().map(|one| one.id).map_or(Turn::Plain, Turn::Alone);
    }
    let overdue = |one: &&Place| now.since(one.run_after) >= PATIENCE;
    let mut overdue = before_plain.filter(overdue).map(|one| one.id);
    overdue.find(|id| !awaited(*id)).map_or(Turn::Plain, Turn::MakeRoom)
}
