//! A task as a row of a table.

use baton_api::task::TaskView;
use baton_model::Timestamp;

use crate::words::{NAMES, Pill, When, plain, short};

pub(crate) struct TaskRow {
    pub(crate) id: String,
    pub(crate) short: String,
    pub(crate) task_type: String,
    pub(crate) queue: String,
    pub(crate) project: String,
    pub(crate) pill: Pill,
    pub(crate) priority: &'static str,
    pub(crate) attempts: String,
    pub(crate) updated: When,
    /// What it is, or what went wrong with it.
    pub(crate) note: String,
}

impl TaskRow {
    pub(crate) fn new(task: TaskView, now: Timestamp) -> Self {
        let failed = task.error.map(|error| plain(&error.message, NAMES));
        let described = task.description.map(|text| plain(&text, NAMES));
        Self {
            short: short(&task.id),
            id: task.id.to_string(),
            task_type: task.task_type.to_string(),
            queue: task.queue.to_string(),
            project: task.project.to_string(),
            pill: Pill(task.status),
            priority: task.priority.as_str(),
            attempts: format!("{} / {}", task.attempt, task.max_attempts),
            updated: When::new(task.updated_at, now),
            note: failed.or(described).unwrap_or_default(),
        }
    }
}
