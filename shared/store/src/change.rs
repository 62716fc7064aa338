//! Changing how a task that waits is to be run, and removing one that has ended.

use baton_model::change::Ask;
use baton_model::transition::Command;
use baton_model::{Label, Priority, TaskChange, TaskId, Timestamp};

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
    /// What it asks of the task, which has this priority as it stands.
    pub fn command(&self, priority: Priority) -> Command {
        Command::Change(Ask { by: self.by.clone(), reason: self.reason.clone(), to: self.to, priority })
    }
}
