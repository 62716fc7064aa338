//! SQS, as far as Baton uses it: sending, and the few requests by which a waiting claim hears rings.
//!
//! What triggers functions is read by Lambda itself, and not here.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Builder};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};

/// How many messages one request may carry.
pub const BATCH: usize = 10;

/// How many bytes one request may carry, well within SQS's limit, which was 256 KiB for long.
const BATCH_BYTES: usize = 250_000;

/// The longest that one request waits for messages.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How long a received ring is hidden from others while it is looked at.
const HIDDEN: Duration = Duration::from_secs(5);

/// How many bytes a message may have: what SQS takes at most since August 2025. A queue may be set to less.
pub const MESSAGE_BYTES: usize = 1_048_576;

/// What SQS calls a queue that is not there, as of old and as of its present protocol.
pub(crate) const NO_QUEUE: [&str; 2] = ["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"];

/// Sets short time limits, and that the SDK sends again what got no answer: a message that comes twice does no harm.
pub fn suited(config: Builder) -> Builder {
    let seconds = Duration::from_secs;
    let timeouts = TimeoutConfig::builder().connect_timeout(seconds(2)).operation_attempt_timeout(seconds(5));
    config
        .behavior_version(BehaviorVersion::v2026_01_12())
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts.build())
}

/// The region in the URL of a queue of AWS, such as `https://sqs.eu-west-1.amazonaws.com/123456789012/completions`; none
/// for another one, as of an engine of your own.
pub fn region_of(queue: &str) -> Option<String> {
    let host = queue.strip_prefix("https://")?.split(['/', ':']).next()?;
    let region = host.strip_prefix("sqs.")?;
    let region =
        region.strip_suffix(".amazonaws.com").or_else(|| region.strip_suffix(".amazonaws.com.cn"))?;
    (!region.is_empty() && !region.contains('.')).then(|| region.to_owned())
}

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
    /// How often it has been received, this time included.
    pub times: u32,
}

impl Outgoing {
    /// A message of JSON, in characters that SQS takes, which are those of XML 1.0: of all that JSON writes as they are, only
    /// two are none, and they stand in texts alone, where an escape means the same.
    pub fn of_json(json: String) -> Self {
        let body = if json.contains(['\u{fffe}', '\u{ffff}']) {
            json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
        } else {
            json
        };
        Self { body, ..Self::default() }
    }
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

    /// Up to `most` messages of a queue, ten at the most; waits for the first of them.
    ///
    /// # Errors
    /// If the queue cannot be read.
    async fn receive(&self, queue: &str, most: usize, wait: Duration) -> Result<Vec<Received>, QueueError>;

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

/// Why SQS cannot be reached at all.
#[cfg(feature = "environment")]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Region or credentials are missing.
    #[error(transparent)]
    Environment(#[from] crate::environment::EnvironmentError),
    /// `BATON_AWS_ROOTS` names no roots.
    #[error("{variable}: {0}", variable = crate::Roots::VARIABLE)]
    Roots(#[from] baton_model::Expected),
}

/// The queues of SQS.
#[derive(Debug)]
pub struct Sqs(pub(crate) Client);

impl Sqs {
    /// Queues that a client reaches.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// SQS for who uses the queue at this URL, with credentials and roots by the environment; the region that the URL names
    /// goes before the environment's. Whether there is such a queue is seen when it is used.
    ///
    /// # Errors
    /// What is missing, and what to set.
    #[cfg(feature = "environment")]
    pub async fn of_queue(url: &str) -> Result<Self, OpenError> {
        let http_client = crate::http_client_with(crate::Roots::from_environment()?);
        let config = crate::environment::config(http_client, region_of(url)).await?;
        Ok(Self(Client::from_conf(suited(Builder::from(&config)).build())))
    }

    /// Whether there is such a queue.
    ///
    /// # Errors
    /// If that cannot be told: SQS does not answer, or the right `sqs:GetQueueAttributes` is missing.
    pub async fn exists(&self, queue: &str) -> Result<bool, QueueError> {
        let asked =
            self.0.get_queue_attributes().queue_url(queue).attribute_names(QueueAttributeName::QueueArn);
        match asked.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.code().is_some_and(|code| NO_QUEUE.contains(&code)) => Ok(false),
            Err(error) => Err(failed(&error)),
        }
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

pub(crate) fn failed<E, R>(error: &SdkError<E, R>) -> QueueError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    if let Some((code, message)) = error.code().zip(error.message()) {
        return QueueError(format!("{code}: {message}"));
    }
    QueueError(baton_model::with_causes(error))
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

    async fn receive(&self, queue: &str, most: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        // Whole seconds, and rather more: what is left of a wait is one request, and no second one for its last part.
        let wait = Duration::from_secs(wait.as_millis().div_ceil(1_000) as u64).min(LONGEST_WAIT);
        let patient =
            TimeoutConfig::builder().operation_attempt_timeout(wait + Duration::from_secs(5)).build();
        let receive = self
            .0
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(most.clamp(1, BATCH) as i32)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .visibility_timeout(HIDDEN.as_secs() as i32)
            .wait_time_seconds(wait.as_secs() as i32)
            .customize()
            .config_override(aws_sdk_sqs::config::Config::builder().timeout_config(patient));
        let answer = receive.send().await.map_err(|error| failed(&error))?;
        let received = answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
            let received = MessageSystemAttributeName::ApproximateReceiveCount;
            let times = message.attributes.as_ref().and_then(|told| told.get(&received)?.parse().ok());
            let body = message.body.unwrap_or_default();
            Some(Received { receipt: message.receipt_handle?, body, times: times.unwrap_or(1) })
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
    fn characters_that_sqs_refuses_are_written_as_escapes_of_the_same_meaning() {
        let message = "{\"a\":\"\u{ffff}x\u{fffe}\"}".to_owned();
        assert_eq!(Outgoing::of_json(message).body, r#"{"a":"\uffffx\ufffe"}"#);
        assert_eq!(Outgoing::of_json("{\"a\":1}".to_owned()).body, "{\"a\":1}");
    }

    #[test]
    fn the_url_of_a_queue_of_aws_tells_its_region() {
        for (url, region) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/completions", Some("eu-west-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/completions", Some("cn-north-1")),
            ("http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/completions", None),
            ("https://sqs.example.org/1/completions", None),
            ("https://sqs.amazonaws.com/1/completions", None),
        ] {
            assert_eq!(region_of(url).as_deref(), region, "{url}");
        }
    }

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
