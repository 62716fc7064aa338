//! What lists may be asked for.

use std::time::Duration;

use baton_model::{
    Label, Level, ProjectId, QueueName, ScheduleName, Status, TaskId, TaskType, Timestamp, TokenId, WorkerId,
};

use crate::call::Call;

/// Which tasks are asked for: those that fit every field that is set, the newest first.
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    /// One of these statuses; any if empty.
    pub statuses: Vec<Status>,
    /// Of this type.
    pub task_type: Option<TaskType>,
    /// In this queue.
    pub queue: Option<QueueName>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this domain.
    pub domain: Option<Label>,
    /// Assigned by this one.
    pub assigned_by: Option<Label>,
    /// Held, or last held, by this worker.
    pub worker: Option<WorkerId>,
    /// Created at this time or later.
    pub created_from: Option<Timestamp>,
    /// Created before this time.
    pub created_before: Option<Timestamp>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many entries at most, 1 to 1,000.
    pub limit: Option<u32>,
}

/// Which output records are asked for: those that fit every field that is set, the newest first.
#[derive(Clone, Debug, Default)]
pub struct GenerationQuery {
    /// Of this task.
    pub task_id: Option<TaskId>,
    /// Of this task type.
    pub task_type: Option<TaskType>,
    /// Of this queue.
    pub queue: Option<QueueName>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Completed by this worker.
    pub worker: Option<WorkerId>,
    /// Finished at this time or later.
    pub finished_from: Option<Timestamp>,
    /// Finished before this time.
    pub finished_before: Option<Timestamp>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many entries at most, 1 to 1,000.
    pub limit: Option<u32>,
}

/// Which log lines are asked for: those that fit every field that is set, the newest first.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// About this task.
    pub task_id: Option<TaskId>,
    /// From this worker.
    pub worker: Option<WorkerId>,
    /// At least this grave.
    pub level: Option<Level>,
    /// Written at this time or later.
    pub from: Option<Timestamp>,
    /// Written before this time.
    pub before: Option<Timestamp>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many entries at most, 1 to 1,000.
    pub limit: Option<u32>,
}

/// Which entries of the time line are asked for: those that fit every field that is set, the newest first.
#[derive(Clone, Debug, Default)]
pub struct TimelineQuery {
    /// About this task.
    pub task_id: Option<TaskId>,
    /// Of this worker.
    pub worker: Option<WorkerId>,
    /// About this queue, or tasks that are in it now.
    pub queue: Option<QueueName>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this schedule, or of tasks that it created.
    pub schedule: Option<ScheduleName>,
    /// At least this grave.
    pub level: Option<Level>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub before: Option<Timestamp>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many entries at most, 1 to 1,000.
    pub limit: Option<u32>,
}

/// Which entries of the audit log are asked for: those that fit every field that is set, the newest first.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Made with the token of this id.
    pub token: Option<TokenId>,
    /// Of this operation, such as `cancel_task`.
    pub action: Option<String>,
    /// Asked for at this time or later.
    pub from: Option<Timestamp>,
    /// Asked for before this time.
    pub before: Option<Timestamp>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many entries at most, 1 to 1,000.
    pub limit: Option<u32>,
}

impl TaskQuery {
    pub(crate) fn call(&self) -> Call {
        let statuses: Vec<_> = self.statuses.iter().map(|status| status.as_str()).collect();
        Call::get("/v1/tasks")
            .query("status", (!statuses.is_empty()).then(|| statuses.join(",")))
            .query("type", self.task_type.as_ref())
            .query("queue", self.queue.as_ref())
            .query("project", self.project.as_ref())
            .query("domain", self.domain.as_ref())
            .query("assigned_by", self.assigned_by.as_ref())
            .query("worker", self.worker.as_ref())
            .query("created_from", self.created_from)
            .query("created_before", self.created_before)
            .query("cursor", self.cursor.as_ref())
            .query("limit", self.limit)
    }
}

impl GenerationQuery {
    pub(crate) fn call(&self) -> Call {
        Call::get("/v1/generations")
            .query("task_id", self.task_id)
            .query("type", self.task_type.as_ref())
            .query("queue", self.queue.as_ref())
            .query("project", self.project.as_ref())
            .query("worker", self.worker.as_ref())
            .query("finished_from", self.finished_from)
            .query("finished_before", self.finished_before)
            .query("cursor", self.cursor.as_ref())
            .query("limit", self.limit)
    }
}

impl LogQuery {
    pub(crate) fn call(&self) -> Call {
        Call::get("/v1/logs")
            .query("task_id", self.task_id)
            .query("worker", self.worker.as_ref())
            .query("level", self.level.map(Level::as_str))
            .query("from", self.from)
            .query("before", self.before)
            .query("cursor", self.cursor.as_ref())
            .query("limit", self.limit)
    }
}

impl TimelineQuery {
    pub(crate) fn call(&self) -> Call {
        self.filters("/v1/timeline")
            .query("from", self.from)
            .query("before", self.before)
            .query("cursor", self.cursor.as_ref())
            .query("limit", self.limit)
    }

    /// What is asked of events as they happen: `from`, `before` and `cursor` say nothing there.
    pub(crate) fn listen(&self, after: Option<u64>, wait: Duration) -> Call {
        self.filters("/v1/events")
            .query("after", after)
            .query("wait", Some(format!("{}s", wait.as_secs_f64())))
            .query("limit", self.limit)
            .waits(Some(wait))
    }

    fn filters(&self, path: &str) -> Call {
        Call::get(path)
            .query("task_id", self.task_id)
            .query("worker", self.worker.as_ref())
            .query("queue", self.queue.as_ref())
            .query("project", self.project.as_ref())
            .query("schedule", self.schedule.as_ref())
            .query("level", self.level.map(Level::as_str))
    }
}

impl AuditQuery {
    pub(crate) fn call(&self) -> Call {
        Call::get("/v1/audit")
            .query("token", self.token)
            .query("action", self.action.as_ref())
            .query("from", self.from)
            .query("before", self.before)
            .query("cursor", self.cursor.as_ref())
            .query("limit", self.limit)
    }
}
