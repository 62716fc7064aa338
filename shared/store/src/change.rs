//! Changing how a task that waits is to be run, and removing one that has ended.

use std::collections::BTreeSet;

use baton_model::change::{Ask, Standing};
use baton_model::transition::Command;
use baton_model::{Label, QueueName, TaskChange, TaskId, Timestamp};

/// Changes a task that waits.
#[derive(Clone, Debug)]
pub struct ChangeTask {
    /// The time.
    pub now: Timestamp,
    /// The task.
    pub task: TaskId,
    /// Who, if they said.
    pub by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
    /// What is to be changed.
    pub to: TaskChange,
    /// Only while it waits in one of these queues, as those alone are within the reach of who asks; in any, if there are none. One that
    /// has gone elsewhere is as if it did not exist.
    pub within: BTreeSet<QueueName>,
}

/// Removes a task that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Remove {
    /// The time.
    pub now: Timestamp,
    /// The task.
    pub task: TaskId,
}

impl ChangeTask {
    /// What it asks of the task, which stands so.
    pub fn command(&self, standing: Standing) -> Command {
        Command::Change(Ask {
            by: self.by.clone(),
            reason: self.reason.clone(),
            to: self.to.clone(),
            standing,
        })
    }

    /// Whether it reaches a task that waits in a queue.
    pub fn reaches(&self, queue: &QueueName) -> bool {
        self.within.is_empty() || self.within.contains(queue)
    }

    /// Where a task goes by it that waits in a queue; none if it stays there.
    pub fn moves_from(&self, queue: &QueueName) -> Option<&QueueName> {
        self.to.queue.as_ref().filter(|to| *to != queue)
    }
}
