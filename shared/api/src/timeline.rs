//! What `query-tasks` answers of what has happened.

use baton_model::{
    Level, Particulars, ProjectId, QueueName, ScheduleName, Source, TaskId, TimelineEntry, Timestamp,
    WorkerId,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::task::EventView;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = TimelineEntry)]
pub struct TimelineView {
    /// When; of a log line, when it was received.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// Where it is told: `event` (of a task's history), `log` (a worker's line), `worker` (it started, ended or was lost, or a rule for
    /// readings asked it to drain or to go on), `audit` (a request of an operator), `reaper` (a round that took tasks back), `alert` (one fires or
    /// has ended, or a webhook was given up) or `server` (it started or ended).
    #[schema(value_type = String)]
    pub source: Source,
    /// `debug`, `info`, `warn` or `error`.
    #[schema(value_type = String)]
    pub level: Level,
    /// The task that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub task_id: Option<TaskId>,
    /// The worker that did it, or that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker_id: Option<WorkerId>,
    /// The queue that the task is in now, or that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queue: Option<QueueName>,
    /// The project of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// The schedule that created the task, or that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub schedule: Option<ScheduleName>,
    /// What happened, in up to 300 characters.
    pub message: String,
    /// All that is kept of it: of an event, as the task's history shows it; of a line, its `source`, when it was `written_at` by
    /// the worker's clock, its whole `message` if it is longer, and `metadata`; of a request, as the audit log shows it.
    #[schema(value_type = Object)]
    pub details: Value,
}

/// Something that happened to a task, as it is told live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveEvent)]
pub struct LiveEventView {
    /// Its position in the order of all events: they rise, and none is used again.
    pub id: u64,
    /// What happened.
    #[serde(flatten)]
    pub entry: TimelineView,
}

/// What has happened behind a position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveEvents)]
pub struct LiveEventsView {
    /// The events that fit, the first one first.
    pub items: Vec<LiveEventView>,
    /// The position up to which was looked: `after` of the next request.
    pub last_id: u64,
}

impl From<TimelineEntry> for TimelineView {
    fn from(entry: TimelineEntry) -> Self {
        let details = match entry.particulars {
            Particulars::Event(event) => serde_json::to_value(EventView::from(*event)),
            Particulars::Line(line) => {
                let mut details = json!({"source": line.source, "written_at": line.at});
                if line.message != entry.message {
                    details["message"] = json!(line.message);
                }
                if let Some(metadata) = &line.metadata {
                    details["metadata"] = serde_json::from_str(metadata.as_str()).unwrap_or_default();
                }
                Ok(details)
            }
            Particulars::Asked(asked) => serde_json::to_value(asked),
            Particulars::Happened(happened) => serde_json::to_value(happened),
        };
        Self {
            at: entry.at,
            source: entry.source,
            level: entry.level,
            task_id: entry.task,
            worker_id: entry.worker,
            queue: entry.queue,
            project: entry.project,
            schedule: entry.schedule,
            message: entry.message,
            // What is made of text and numbers always has a value.
            details: details.unwrap_or_default(),
        }
    }
}
