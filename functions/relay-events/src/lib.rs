//! Tells what has happened to tasks: from records of the table's stream to messages of the queue `task-events`, each an
//! event in the JSON format of CloudEvents 1.0 (<https://cloudevents.io>).
//!
//! Each event comes at least once. Its `id` is the task's and the event's number, so that who has seen it knows it again,
//! and `sequence` tells the order of a task's events, as a queue does not keep it.
//!
//! The same records let go of the tasks that wait for one that has ended, whatever became of the process that ended it.
//!
//! What webhooks are to hear of tasks is kept for them by the same records, and sent by `manage-alerts`.
//!
//! The same records keep the statistics: each is counted exactly once, however often it comes.

#[cfg(feature = "lambda")]
mod notify;

use baton_api::event::{CloudEvent, EventData};
use baton_model::Timestamp;
use baton_store::StoreError;
use baton_store_dynamodb::{DynamoStore, RecordsCounted, TaskEvent};
#[cfg(feature = "lambda")]
pub use notify::Notifier;

/// What the type of each event begins with.
const TYPE: &str = "baton.task.";

/// Where events come from, relative to nothing: one table is one source.
const SOURCE: &str = "/baton/tasks";

/// The events that a record of the stream brings.
///
/// # Errors
/// The store's: the record is to come again.
pub async fn relay(store: &DynamoStore, record: &str) -> Result<Vec<TaskEvent>, StoreError> {
    store.events_of(record).await
}

/// Lets go of what waits for the task whose end a record tells of.
///
/// # Errors
/// The store's: the record is to come again.
pub async fn release(store: &DynamoStore, record: &str, now: Timestamp) -> Result<(), StoreError> {
    store.released_by(record, now).await
}

/// Counts records whose messages are sent.
pub async fn count(store: &DynamoStore, records: &[String]) -> RecordsCounted {
    store.count(records).await
}

/// The message that tells an event: the same whenever it is told, so that a reader knows it again.
pub fn cloud_event(told: TaskEvent) -> CloudEvent {
    let TaskEvent { task, project, queue, task_type, event } = told;
    CloudEvent {
        specversion: "1.0".to_owned(),
        id: format!("{task}/{}", event.seq),
        source: SOURCE.to_owned(),
        kind: format!("{TYPE}{}", event.kind.as_str()),
        subject: task,
        time: event.at,
        datacontenttype: "application/json".to_owned(),
        sequence: format!("{:010}", event.seq),
        data: EventData { task_id: task, project, queue, task_type, event: event.into() },
    }
}
