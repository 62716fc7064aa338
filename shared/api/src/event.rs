//! What the queue `task-events` carries: an event of a task, in the JSON format of CloudEvents 1.0
//! (<https://cloudevents.io>).

use baton_model::{ProjectId, QueueName, TaskId, TaskType, Timestamp};
use serde::{Deserialize, Serialize};

use crate::task::EventView;

/// An event of a task. It may come more than once, and in any order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CloudEvent {
    /// The format's version: `1.0`.
    pub specversion: String,
    /// The task and the event's number: the same whenever the event is told.
    pub id: String,
    /// Where it comes from, relative to nothing: one table is one source.
    pub source: String,
    /// `baton.task.` and the event's kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The task.
    pub subject: TaskId,
    /// When it happened.
    pub time: Timestamp,
    /// `application/json`.
    pub datacontenttype: String,
    /// The number of the event within its task, as the extension `sequence` has it: a text that sorts as the numbers do.
    pub sequence: String,
    /// The event.
    pub data: EventData,
}

/// What happened, and to what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventData {
    /// The task.
    pub task_id: TaskId,
    /// Its project.
    pub project: ProjectId,
    /// Its queue.
    pub queue: QueueName,
    /// Its type.
    pub task_type: TaskType,
    /// The event, as the task's history shows it.
    pub event: EventView,
}
