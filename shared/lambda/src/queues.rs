//! SQS, as far as functions use it: sending, and the few requests by which a waiting claim hears rings.
//!
//! What triggers functions is read by Lambda itself, and not here.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
    SendMessageBatchRequestEntry,
};

/// How many messages one request may carry.
pub const BATCH: usize = 10;

/// How many bytes one request may carry, well within SQS's limit, which was 256 KiB for long.
const BATCH_BYTES: usize = 250_000;

/// How long a received ring is hidden from others while it is looked at.
const HIDDEN: Duration = Duration::from_secs(5);

/// A message on its way to a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The message.
    pub body: String,
    /// Texts besides it. SQS refuses empty ones.
    pub attributes: BTreeMap<String, String>,
    /// How long it is held back; up to 15 minutes.
    pub delay: Duration,
}

impl Outgoing {
    fn bytes(&self) -> usize {
        self.body.len()
            + self.attributes.iter().map(|(name, value)| name.len() + value.len() + 6).sum::<usize>()
    }
}

/// A message that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What it is deleted or given back by.
    pub receipt: String,
    /// The message.
    pub body: String,
}

/// Why a queue did not take something, for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct QueueError(pub String);

/// Queues by their URLs.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Puts messages into a queue, in any order; the answer has one entry for each.
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), QueueError>>;

    /// Up to ten messages of a queue; waits for the first of them.
    ///
    /// # Errors
    /// If the queue cannot be read.
    async fn receive(&self, queue: &str, wait: Duration) -> Result<Vec<Received>, QueueError>;

    /// Removes messages that were received.
    ///
    /// # Errors
    /// If some were not removed: they come again.
    async fn delete(&self, queue: &str, receipts: &[String]) -> Result<(), QueueError>;

    /// Gives messages back at once that were received.
    ///
    /// # Errors
    /// If some were not given back: they come again later.
    async fn release(&self, queue: &str, receipts: &[String]) -> Result<(), QueueError>;
}

/// The queues of SQS.
#[derive(Debug)]
pub struct Sqs(Client);

impl Sqs {
    /// Queues that a client reaches.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    async fn send_batch(
        &self,
        queue: &str,
        messages: &[Outgoing],
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let entries: Vec<SendMessageBatchRequestEntry> = messages
            .iter()
            .enumerate()
            .map(|(place, message)| entry(place, message))
            .collect::<Result<_, _>>()?;
        let send = self.0.send_message_batch().queue_url(queue).set_entries(Some(entries));
        let answer = send.send().await.map_err(|error| failed(&error))?;
        let mut outcomes = vec![Ok(()); messages.len()];
        for refused in answer.failed() {
            let why = QueueError(format!("{}: {}", refused.code(), refused.message().unwrap_or("no reason")));
            if let Some(outcome) = refused.id().parse().ok().and_then(|place: usize| outcomes.get_mut(place))
            {
                *outcome = Err(why);
            }
        }
        Ok(outcomes)
    }
}

fn entry(place: usize, message: &Outgoing) -> Result<SendMessageBatchRequestEntry, QueueError> {
    let mut entry = SendMessageBatchRequestEntry::builder().id(place.to_string()).message_body(&message.body);
    for (name, value) in &message.attributes {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
        entry = entry.message_attributes(name, value.map_err(|error| QueueError(error.to_string()))?);
    }
    if !message.delay.is_zero() {
        entry = entry.delay_seconds(i32::try_from(message.delay.as_secs().min(900)).unwrap_or(900));
    }
    entry.build().map_err(|error| QueueError(error.to_string()))
}

fn failed<E, R>(error: &SdkError<E, R>) -> QueueError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        told = format!("{told}: {inner}");
        cause = inner.source();
    }
    QueueError(told)
}

/// Cuts a list into requests: up to ten messages and a number of bytes each.
fn requests(messages: &[Outgoing]) -> Vec<&[Outgoing]> {
    let mut requests = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (place, message) in messages.iter().enumerate() {
        if place > from && (place - from == BATCH || bytes + message.bytes() > BATCH_BYTES) {
            requests.push(&messages[from..place]);
            (from, bytes) = (place, 0);
        }
        bytes += message.bytes();
    }
    if from < messages.len() {
        requests.push(&messages[from..]);
    }
    requests
}

#[async_trait]
impl Queues for Sqs {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), QueueError>> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for batch in requests(messages) {
            match self.send_batch(queue, batch).await {
                Ok(each) => outcomes.extend(each),
                Err(error) => outcomes.extend(batch.iter().map(|_| Err(error.clone()))),
            }
        }
        outcomes
    }

    async fn receive(&self, queue: &str, wait: Duration) -> Result<Vec<Received>, QueueError> {
        let wait = wait.min(Duration::from_secs(20));
        let patient =
            TimeoutConfig::builder().operation_attempt_timeout(wait + Duration::from_secs(5)).build();
        let receive = self
            .0
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(10)
            .visibility_timeout(HIDDEN.as_secs() as i32)
            .wait_time_seconds(wait.as_secs() as i32)
            .customize()
            .config_override(aws_sdk_sqs::config::Config::builder().timeout_config(patient));
        let answer = receive.send().await.map_err(|error| failed(&error))?;
        let received = answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
            Some(Received { receipt: message.receipt_handle?, body: message.body.unwrap_or_default() })
        });
        Ok(received.collect())
    }

    async fn delete(&self, queue: &str, receipts: &[String]) -> Result<(), QueueError> {
        for batch in receipts.chunks(BATCH) {
            let entries = batch.iter().enumerate().map(|(place, receipt)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(place.to_string())
                    .receipt_handle(receipt)
                    .build()
            });
            let entries = entries.collect::<Result<_, _>>().map_err(|error| QueueError(error.to_string()))?;
            let delete = self.0.delete_message_batch().queue_url(queue).set_entries(Some(entries));
            let answer = delete.send().await.map_err(|error| failed(&error))?;
            none_failed(answer.failed().len())?;
        }
        Ok(())
    }

    async fn release(&self, queue: &str, receipts: &[String]) -> Result<(), QueueError> {
        for batch in receipts.chunks(BATCH) {
            let entries = batch.iter().enumerate().map(|(place, receipt)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(place.to_string());
                entry.receipt_handle(receipt).visibility_timeout(0).build()
            });
            let entries = entries.collect::<Result<_, _>>().map_err(|error| QueueError(error.to_string()))?;
            let change = self.0.change_message_visibility_batch().queue_url(queue).set_entries(Some(entries));
            let answer = change.send().await.map_err(|error| failed(&error))?;
            none_failed(answer.failed().len())?;
        }
        Ok(())
    }
}

fn none_failed(failed: usize) -> Result<(), QueueError> {
    match failed {
        0 => Ok(()),
        some => Err(QueueError(format!("expected the queue to take all of a batch, got {some} refused"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_in_requests_of_bounded_number_and_size() {
        let of = |bytes: usize| Outgoing { body: "x".repeat(bytes), ..Outgoing::default() };
        let sizes = |messages: &[Outgoing]| {
            requests(messages).iter().map(|request| request.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&vec![of(10); 25]), [10, 10, 5]);
        assert_eq!(sizes(&[of(200_000), of(100_000), of(100_000), of(300_000), of(1)]), [1, 2, 1, 1]);
    }
}
