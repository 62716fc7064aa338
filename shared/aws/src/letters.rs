//! Dead letters: looking at those of a queue, sending them back, removing them.
//!
//! SQS has no way to look at a message without receiving it, which hides it from others for a while: what was looked at
//! and stays is given back. Its own redrive (`StartMessageMoveTask`) moves a whole queue and tells nothing of any message.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use aws_sdk_sqs::types::{MessageAttributeValue, MessageSystemAttributeName};

use crate::queues::{NO_QUEUE, QueueError, Sqs, failed};

/// The attribute of a dead letter that has the problem's code.
pub const REASON_CODE: &str = "baton-reason-code";

/// The attribute of a dead letter that says what is wrong with it.
pub const REASON: &str = "baton-reason";

/// The attribute that has the id under which a message was first sent: by it a submission is known again.
pub const MESSAGE_ID: &str = "baton-message-id";

/// How long a look waits for messages, so that SQS asks all of its servers.
const LOOK: Duration = Duration::from_secs(1);

/// How many attributes a message may have.
const MOST_ATTRIBUTES: usize = 10;

/// A message of a dead-letter queue.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its id in the queue.
    pub id: String,
    /// The message.
    pub body: String,
    /// When it was sent, in milliseconds since 1970; what SQS itself has moved keeps the time at which it was first sent.
    pub sent_at: Option<i64>,
    /// How often it was received.
    pub received: Option<u32>,
    attributes: BTreeMap<String, MessageAttributeValue>,
    receipt: String,
}

impl Letter {
    /// The text of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).and_then(|value| value.string_value())
    }

    /// The id under which it was first sent.
    pub fn first_id(&self) -> &str {
        self.attribute(MESSAGE_ID).unwrap_or(&self.id)
    }

    /// Its attributes without the reason, and with the id that it was first sent under.
    fn back(&self) -> Result<BTreeMap<String, MessageAttributeValue>, QueueError> {
        let mut attributes = self.attributes.clone();
        attributes.retain(|name, _| name != REASON_CODE && name != REASON);
        let id = MessageAttributeValue::builder().data_type("String").string_value(self.first_id()).build();
        attributes.insert(MESSAGE_ID.to_owned(), id.map_err(|error| QueueError(error.to_string()))?);
        if attributes.len() > MOST_ATTRIBUTES {
            return Err(QueueError(format!(
                "expected at most {MOST_ATTRIBUTES} attributes with {MESSAGE_ID} among them, got {}",
                attributes.len()
            )));
        }
        Ok(attributes)
    }
}

impl Sqs {
    /// The URL of a queue of this account and region; none if there is no such queue.
    ///
    /// # Errors
    /// If that cannot be told: SQS does not answer, or the right `sqs:GetQueueUrl` is missing.
    pub async fn url_of(&self, name: &str) -> Result<Option<String>, QueueError> {
        match self.0.get_queue_url().queue_name(name).send().await {
            Ok(found) => Ok(found.queue_url),
            Err(error) if error.code().is_some_and(|code| NO_QUEUE.contains(&code)) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Up to ten letters of a queue, hidden from others for so long.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub async fn letters(&self, queue: &str, hidden: Duration) -> Result<Vec<Letter>, QueueError> {
        let seconds = |span: Duration| i32::try_from(span.as_secs()).unwrap_or(i32::MAX);
        let asked = self
            .0
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(10)
            .visibility_timeout(seconds(hidden))
            .wait_time_seconds(seconds(LOOK))
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let answer = asked.send().await.map_err(|error| failed(&error))?;
        let letters = answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
            let system = message.attributes.unwrap_or_default();
            let number = |name| system.get(&name).map(String::as_str);
            Some(Letter {
                sent_at: number(MessageSystemAttributeName::SentTimestamp).and_then(|text| text.parse().ok()),
                received: number(MessageSystemAttributeName::ApproximateReceiveCount)
                    .and_then(|text| text.parse().ok()),
                id: message.message_id?,
                receipt: message.receipt_handle?,
                body: message.body.unwrap_or_default(),
                attributes: message.message_attributes.unwrap_or_default().into_iter().collect(),
            })
        });
        Ok(letters.collect())
    }

    /// Sends a letter to a queue, with its attributes but those that say why it was given up; the answer is the id that it
    /// has there.
    ///
    /// # Errors
    /// If the queue did not take it.
    pub async fn send_back(&self, queue: &str, letter: &Letter) -> Result<String, QueueError> {
        let attributes = Some(letter.back()?.into_iter().collect());
        let send = self.0.send_message().queue_url(queue).message_body(&letter.body);
        let sent = send.set_message_attributes(attributes).send().await.map_err(|error| failed(&error))?;
        Ok(sent.message_id.unwrap_or_default())
    }

    /// Removes a letter from the queue that it was received from.
    ///
    /// # Errors
    /// If it was not removed: it shows again.
    pub async fn remove(&self, queue: &str, letter: &Letter) -> Result<(), QueueError> {
        let delete = self.0.delete_message().queue_url(queue).receipt_handle(&letter.receipt);
        delete.send().await.map(drop).map_err(|error| failed(&error))
    }

    /// Shows a letter to others again.
    ///
    /// # Errors
    /// If that failed: it shows by itself once it has been hidden for long enough.
    pub async fn give_back(&self, queue: &str, letter: &Letter) -> Result<(), QueueError> {
        let change = self.0.change_message_visibility().queue_url(queue).receipt_handle(&letter.receipt);
        change.visibility_timeout(0).send().await.map(drop).map_err(|error| failed(&error))
    }
}
