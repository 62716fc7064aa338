//! Batches of the table's stream: records are relayed and counted in their order, up to the first that cannot be now. A
//! record that never can be is put aside whole, and its neighbours go on.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use baton_api::event::CloudEvent;
use baton_model::Timestamp;
use baton_store::StoreError;
use baton_store_dynamodb::{DynamoStore, RecordsCounted, TaskEvent};
use futures::{FutureExt, StreamExt};
use serde_json::value::RawValue;

use crate::answer::{BatchAnswer, Failed};
use crate::batch;
use crate::counted::Count;
use crate::event::StreamRecord;
use crate::function::{CountHandler, Notify, ReleaseHandler, StreamHandler};
use crate::opened::Opened;
use crate::queues::{Outgoing, Queues};

/// How many records of a stream are read at once.
const RECORDS_AT_ONCE: usize = 8;

/// The reason's code of a record that was put aside.
pub(crate) const RECORD_DAMAGED: &str = "record_damaged";

/// The records of a batch, and what has been found out of them.
struct Batch<'a> {
    records: Vec<&'a RawValue>,
    /// Their numbers, by which they are asked for again.
    numbers: Vec<String>,
    /// The first record that could not be done now: that and all after it come again.
    undone: Option<usize>,
    /// Records that can never be done, with why.
    damaged: BTreeMap<usize, String>,
}

/// What is done with records.
pub(crate) struct Handlers<'a> {
    pub(crate) tell: &'a StreamHandler,
    pub(crate) release: Option<&'a ReleaseHandler>,
    pub(crate) notify: Option<&'a dyn Notify>,
    pub(crate) count: Option<&'a CountHandler>,
}

/// Relays records in their order, lets go of what waits for the tasks whose ends they tell of, keeps what others hear of them, and counts
/// those whose messages are sent, up to the first that cannot be now: that and all after it come again. One that can never be done is put into the queue for
/// such, whole, and the others go on; it comes again if that queue does not take it.
pub(crate) async fn relay(
    opened: &Opened,
    Handlers { tell, release, notify, count }: Handlers<'_>,
    records: Vec<&RawValue>,
) -> Result<BatchAnswer, Failed> {
    let Some(store) = &opened.dynamo else {
        return Err(Failed::settings("expected a table as the store, got a file; set BATON_STORE_URL"));
    };
    let mut batch = Batch::read(records)?;
    let queue = opened.queues.as_ref().zip(opened.queue_settings.task_events.as_ref());
    let heard = match notify {
        Some(notify) => notify.is_heard(&opened.app).await,
        None => Ok(false),
    };
    let mut events = Vec::new();
    if queue.is_some() || !matches!(heard, Ok(false)) {
        let made = batch.events(store, tell).await;
        (events, batch.damaged, batch.undone) = (made.events, made.damaged, made.undone);
    }
    // Without the queue nobody is told by it, and statistics are kept all the same.
    if let Some((queues, queue)) = queue {
        batch.tell(opened, queues.as_ref(), queue, tell.message, &events).await;
    }
    if let Some(release) = release {
        batch.release(store, release, opened.app.clock.now()).await;
    }
    if let Some(notify) = notify {
        batch.notify(opened, notify, heard, events).await;
    }
    if let Some(count) = count {
        batch.count(store, count).await;
    }
    batch.put_aside(opened).await;
    let Batch { numbers, undone, .. } = batch;
    Ok(BatchAnswer::again(undone.and_then(|place| numbers.into_iter().nth(place))))
}

/// What the records of a batch tell.
#[derive(Default)]
struct Made {
    /// Events, and the record of each.
    events: Vec<(TaskEvent, usize)>,
    damaged: BTreeMap<usize, String>,
    undone: Option<usize>,
}

impl<'a> Batch<'a> {
    fn read(records: Vec<&'a RawValue>) -> Result<Self, Failed> {
        let number = |record: &&RawValue| {
            let record: StreamRecord<'_> = serde_json::from_str(record.get())
                .map_err(|error| Failed::event(format!("a record of a stream cannot be read: {error}")))?;
            Ok(record.dynamodb.sequence_number.into_owned())
        };
        let numbers = records.iter().map(number).collect::<Result<Vec<String>, Failed>>()?;
        Ok(Self { records, numbers, undone: None, damaged: BTreeMap::new() })
    }

    /// How many records are done but for what has yet to be done with them, from the first on.
    fn done(&self) -> usize {
        self.undone.unwrap_or(self.records.len())
    }

    fn stop_at(&mut self, place: usize) {
        self.undone = Some(self.done().min(place));
    }

    /// The events of the records, up to the first of which they cannot be told now.
    async fn events(&self, store: &Arc<DynamoStore>, handler: &StreamHandler) -> Made {
        let made = futures::stream::iter(&self.records)
            .map(|record| {
                AssertUnwindSafe((handler.read)(Arc::clone(store), record.get().to_owned())).catch_unwind()
            })
            .buffered(RECORDS_AT_ONCE)
            .enumerate();
        let mut made = std::pin::pin!(made);
        let mut all = Made::default();
        while let Some((place, events)) = made.next().await {
            match events {
                Ok(Ok(events)) => all.events.extend(events.into_iter().map(|event| (event, place))),
                Ok(Err(error)) if is_for_good(&error) => _ = all.damaged.insert(place, error.report()),
                Ok(Err(error)) => {
                    let (sequence, error) = (&self.numbers[place], error.report());
                    tracing::error!(sequence, error, "a record of the stream could not be relayed");
                    all.undone = Some(place);
                    break;
                }
                // The panic itself is in the log.
                Err(_) => _ = all.damaged.insert(place, "the handler panicked".to_owned()),
            }
        }
        all
    }

    /// Sends what the records tell.
    async fn tell(
        &mut self,
        opened: &Opened,
        queues: &dyn Queues,
        queue: &str,
        message: fn(TaskEvent) -> CloudEvent,
        events: &[(TaskEvent, usize)],
    ) {
        let told: Vec<CloudEvent> = events.iter().map(|(event, _)| message(event.clone())).collect();
        // Names, numbers, and what was JSON before, always serialise.
        let body = |event| serde_json::to_string(event).unwrap_or_default();
        let messages: Vec<Outgoing> = told.iter().map(|event| Outgoing::of_json(body(event))).collect();
        let outcomes = queues.send(queue, &messages).await.into_iter();
        for (outcome, (event, (_, place))) in outcomes.zip(told.iter().zip(events)) {
            match outcome {
                Ok(()) => opened.counts.add_event(&event.data.event),
                Err(error) => {
                    let sequence = &self.numbers[*place];
                    tracing::error!(sequence, %error, "the queue task-events did not take an event");
                    self.stop_at(*place);
                }
            }
        }
    }

    /// Keeps what others are to hear of the records that are done so far. If that cannot be now, those come again from the first one that
    /// tells anything.
    async fn notify(
        &mut self,
        opened: &Opened,
        notify: &dyn Notify,
        heard: Result<bool, StoreError>,
        events: Vec<(TaskEvent, usize)>,
    ) {
        let done = self.done();
        let (told, places): (Vec<_>, Vec<_>) = events.into_iter().filter(|(_, place)| *place < done).unzip();
        let Some(first) = places.first() else { return };
        let notified = match heard {
            Ok(false) => return,
            Ok(true) => AssertUnwindSafe(notify.notify(&opened.app, told)).catch_unwind().await,
            Err(error) => Ok(Err(error)),
        };
        // The panic itself is in the log. It would come again with the records.
        let Ok(Err(error)) = notified else { return };
        let (sequence, told) = (&self.numbers[*first], error.report());
        tracing::error!(sequence, error = told, "what webhooks hear of tasks could not be kept");
        // What is damaged is not mended by coming again, and must hold nobody else up.
        if !is_for_good(&error) && !matches!(error, StoreError::Internal { .. }) {
            self.stop_at(*first);
        }
    }

    /// Lets go of what waits for the tasks of the records, up to the first of which that cannot be done now.
    async fn release(&mut self, store: &Arc<DynamoStore>, release: &ReleaseHandler, now: Timestamp) {
        for place in 0..self.done() {
            let record = self.records[place].get().to_owned();
            match AssertUnwindSafe(release(Arc::clone(store), record, now)).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if is_for_good(&error) => {
                    self.damaged.entry(place).or_insert_with(|| error.report());
                }
                Ok(Err(error)) => {
                    let (sequence, error) = (&self.numbers[place], error.report());
                    tracing::error!(
                        sequence,
                        error,
                        "what waits for a task that has ended could not be let go of"
                    );
                    return self.stop_at(place);
                }
                // The panic itself is in the log.
                Err(_) => {
                    self.damaged.entry(place).or_insert_with(|| "the handler panicked".to_owned());
                }
            }
        }
    }

    /// Counts the records that are done so far, past those that can never be counted.
    async fn count(&mut self, store: &Arc<DynamoStore>, count: &CountHandler) {
        let mut from = 0;
        while from < self.done() {
            let sent = self.records[from..self.done()].iter().map(|record| record.get().to_owned()).collect();
            let counted = AssertUnwindSafe(count(Arc::clone(store), sent)).catch_unwind().await;
            // The panic itself is in the log. What was counted before it is known again.
            let panicked = |_| RecordsCounted {
                records: 0,
                failed: Some(StoreError::Unknown("the counting panicked".into())),
            };
            let RecordsCounted { records, failed } = counted.unwrap_or_else(panicked);
            let Some(error) = failed else { return };
            let place = from + records;
            if is_for_good(&error) && place < self.done() {
                self.damaged.entry(place).or_insert_with(|| error.report());
                from = place + 1;
                continue;
            }
            let sequence = self.numbers.get(place);
            tracing::error!(sequence, error = error.report(), "records of the stream could not be counted");
            self.stop_at(place);
            return;
        }
    }

    /// Puts the damaged ones into the queue for such, of those that do not come again anyhow.
    async fn put_aside(&mut self, opened: &Opened) {
        let damaged = std::mem::take(&mut self.damaged);
        let damaged: Vec<_> = damaged.into_iter().filter(|(place, _)| *place < self.done()).collect();
        if damaged.is_empty() {
            return;
        }
        let letters: Vec<Outgoing> = damaged
            .iter()
            .map(|(place, why)| {
                batch::letter(self.records[*place].get(), RECORD_DAMAGED, why, &self.numbers[*place])
            })
            .collect();
        let outcomes = match opened.queues.as_ref().zip(opened.queue_settings.relay_dead.as_ref()) {
            Some((queues, dead)) => queues.send(dead, &letters).await,
            None => letters.iter().map(|_| Err(no_queue())).collect(),
        };
        for ((place, why), outcome) in damaged.into_iter().zip(outcomes) {
            let sequence = &self.numbers[place];
            match outcome {
                Ok(()) => {
                    opened.counts.add(Count::DeadLettered, 1);
                    tracing::error!(
                        sequence,
                        error = why,
                        "a record of the stream is damaged; it was put aside, whole"
                    );
                }
                Err(error) => {
                    tracing::error!(sequence, %error, why, "a damaged record of the stream could not be put aside");
                    self.stop_at(place);
                }
            }
        }
    }
}

fn no_queue() -> crate::queues::QueueError {
    crate::queues::QueueError(
        "expected the URL of a queue for damaged records, got none; set BATON_QUEUES_RELAY_DEAD".to_owned(),
    )
}

/// Whether what a record says is itself in the way, so that it would fail as often as it comes.
fn is_for_good(error: &StoreError) -> bool {
    matches!(error, StoreError::Corrupt { .. } | StoreError::TooLarge { .. })
}
