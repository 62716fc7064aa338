//! Batches of the table's stream: records are relayed and counted in their order, up to the first that cannot be.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use baton_store::StoreError;
use baton_store_dynamodb::RecordsCounted;
use futures::{FutureExt, StreamExt};
use serde_json::value::RawValue;

use crate::answer::{BatchAnswer, Failed};
use crate::counted::Count;
use crate::event::StreamRecord;
use crate::function::{CountHandler, StreamHandler};
use crate::opened::Opened;
use crate::queues::Outgoing;

/// How many records of a stream are read at once.
const RECORDS_AT_ONCE: usize = 8;

/// Relays records in their order, and counts those whose messages are sent, up to the first that cannot be: that and all
/// after it come again.
pub(crate) async fn relay(
    opened: &Opened,
    handler: &StreamHandler,
    counting: Option<&CountHandler>,
    records: Vec<&RawValue>,
) -> Result<BatchAnswer, Failed> {
    let Some(store) = &opened.dynamo else {
        return Err(Failed::settings("expected a table as the store, got a file; set BATON_STORE_URL"));
    };
    let Some((queues, queue)) = opened.queues.as_ref().zip(opened.queue_settings.task_events.as_ref()) else {
        return Err(Failed::settings(
            "expected the URL of the queue task-events, got none; set BATON_QUEUES_TASK_EVENTS",
        ));
    };
    let numbers = records.iter().map(|record| {
        let record: StreamRecord<'_> = serde_json::from_str(record.get())
            .map_err(|error| Failed::event(format!("a record of a stream cannot be read: {error}")))?;
        Ok(record.dynamodb.sequence_number.into_owned())
    });
    let numbers = numbers.collect::<Result<Vec<String>, Failed>>()?;
    let made = futures::stream::iter(&records)
        .map(|record| AssertUnwindSafe(handler(Arc::clone(store), record.get().to_owned())).catch_unwind())
        .buffered(RECORDS_AT_ONCE);
    let mut made = std::pin::pin!(made);
    let mut outgoing = Vec::new();
    let mut places = Vec::new();
    let mut first_undone = None;
    for (place, sequence) in numbers.iter().enumerate() {
        match made.next().await {
            Some(Ok(Ok(messages))) => {
                places.extend(messages.iter().map(|_| place));
                outgoing.extend(messages.into_iter().map(|body| Outgoing { body, ..Outgoing::default() }));
            }
            Some(Ok(Err(error))) => {
                let error = error.report();
                tracing::error!(
                    sequence = numbers[place],
                    error,
                    "a record of the stream could not be relayed"
                );
                first_undone = Some(place);
                break;
            }
            Some(Err(_)) | None => {
                tracing::error!(sequence, "the handler of a record of the stream panicked");
                first_undone = Some(place);
                break;
            }
        }
    }
    let mut relayed = 0;
    for (outcome, place) in queues.send(queue, &outgoing).await.into_iter().zip(places) {
        match outcome {
            Ok(()) => relayed += 1,
            Err(error) => {
                tracing::error!(sequence = numbers[place], %error, "the queue task-events did not take an event");
                first_undone = Some(first_undone.map_or(place, |first: usize| first.min(place)));
            }
        }
    }
    opened.counts.add(Count::Relayed, relayed);
    if let Some(count) = counting {
        let sent = &records[..first_undone.unwrap_or(records.len())];
        let sent = sent.iter().map(|record| record.get().to_owned()).collect();
        let counted = AssertUnwindSafe(count(Arc::clone(store), sent)).catch_unwind().await;
        let (done, failed) = match counted {
            Ok(RecordsCounted { records, failed }) => (records, failed),
            // The panic itself is in the log. What was counted before it is known again.
            Err(_) => (0, Some(StoreError::Unknown("the counting panicked".into()))),
        };
        if let Some(error) = failed {
            let sequence = numbers.get(done);
            tracing::error!(sequence, error = error.report(), "records of the stream could not be counted");
            first_undone = Some(done);
        }
    }
    Ok(BatchAnswer::again(first_undone.and_then(|place| numbers.into_iter().nth(place))))
}
