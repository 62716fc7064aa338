//! Tells what has happened to tasks: from records of the table's stream to messages of the queue `task-events`, each an
//! event in the JSON format of CloudEvents 1.0 (<https://cloudevents.io>).
//!
//! Each event comes at least once. Its `id` is the task's and the event's number, so that who has seen it knows it again,
//! and `sequence` tells the order of a task's events, as a queue does not keep it.
//!
//! The same records keep the statistics: each is counted exactly once, however often it comes.

use baton_api::task::EventView;
use baton_model::{ProjectId, QueueName, TaskId, TaskType, Timestamp};
use baton_store::StoreError;
use baton_store_dynamodb::{DynamoStore, RecordsCounted, TaskEvent};
use serde::Serialize;

/// An event of a task as a CloudEvent.
#[derive(Debug, Serialize)]
struct CloudEvent {
    specversion: &'static str,
    id: String,
    source: &'static str,
    #[serde(rename = "type")]
    kind: String,
    subject: TaskId,
    time: Timestamp,
    datacontenttype: &'static str,
    /// The number of the event within its task, as the extension `sequence` has it: a text that sorts as the numbers do.
    sequence: String,
    data: Data,
}

#[derive(Debug, Serialize)]
struct Data {
    task_id: TaskId,
    project: ProjectId,
    queue: QueueName,
    task_type: TaskType,
    event: EventView,
}

/// What the type of each event begins with.
const TYPE: &str = "baton.task.";

/// Where events come from, relative to nothing: one table is one source.
const SOURCE: &str = "/baton/tasks";

/// The messages that a record of the stream brings.
///
/// # Errors
/// The store's: the record is to come again.
pub async fn relay(store: &DynamoStore, record: &str) -> Result<Vec<String>, StoreError> {
    let events = store.events_of(record).await?;
    events.into_iter().map(cloud_event).collect()
}

/// Counts records whose messages are sent.
pub async fn count(store: &DynamoStore, records: &[String]) -> RecordsCounted {
    store.count(records).await
}

/// The message that tells an event: the same whenever it is told, so that a reader knows it again.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn cloud_event(told: TaskEvent) -> Result<String, StoreError> {
    let TaskEvent { task, project, queue, task_type, event } = told;
    let event = CloudEvent {
        specversion: "1.0",
        id: format!("{task}/{}", event.seq),
        source: SOURCE,
        kind: format!("{TYPE}{}", event.kind.as_str()),
        subject: task,
        time: event.at,
        datacontenttype: "application/json",
        sequence: format!("{:010}", event.seq),
        data: Data { task_id: task, project, queue, task_type, event: event.into() },
    };
    serde_json::to_string(&event).map_err(|error| StoreError::Internal {
        what: "cannot write an event".into(),
        cause: Some(error.into()),
    })
}
