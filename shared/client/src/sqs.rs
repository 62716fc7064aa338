//! The queue `ready` at SQS.

use std::time::Duration;

use async_trait::async_trait;
pub use baton_aws::queues::OpenError;
use baton_aws::queues::{Outgoing, QueueError, Queues as _, Sqs};

use crate::ready::{Heard, ReadyError, ReadyQueue};

/// The queue `ready` of a stack, by its URL: the output `ReadyQueue` of the template.
#[derive(Debug)]
pub struct SqsReady {
    sqs: Sqs,
    url: String,
}

impl SqsReady {
    /// The queue at this URL, with region and credentials by the standard settings of AWS; the URL's region goes before
    /// theirs. Whether there is such a queue is seen when it is heard.
    ///
    /// # Errors
    /// What is missing, and what to set.
    pub async fn open(url: impl Into<String>) -> Result<Self, OpenError> {
        let url = url.into();
        Ok(Self { sqs: Sqs::of_queue(&url).await?, url })
    }

    fn failed(&self, error: &QueueError) -> ReadyError {
        ReadyError(format!("{}: {error}", self.url).into())
    }
}

#[async_trait]
impl ReadyQueue for SqsReady {
    async fn receive(&self, most: u32, wait: Duration) -> Result<Vec<Heard>, ReadyError> {
        let received = self.sqs.receive(&self.url, most as usize, wait).await;
        let received = received.map_err(|error| self.failed(&error))?.into_iter();
        let heard = received.map(|message| Heard {
            receipt: message.receipt,
            body: message.body,
            times: message.times,
        });
        Ok(heard.collect())
    }

    async fn delete(&self, receipts: &[String]) -> Result<(), ReadyError> {
        self.sqs.delete(&self.url, receipts).await.map_err(|error| self.failed(&error))
    }

    async fn release(&self, receipts: &[String]) -> Result<(), ReadyError> {
        self.sqs.release(&self.url, receipts).await.map_err(|error| self.failed(&error))
    }

    async fn send(&self, messages: &[String]) -> Result<(), ReadyError> {
        let outgoing = |body: &String| Outgoing { body: body.clone(), ..Outgoing::default() };
        let messages: Vec<Outgoing> = messages.iter().map(outgoing).collect();
        let sent = self.sqs.send(&self.url, &messages).await.into_iter().collect::<Result<(), _>>();
        sent.map_err(|error| self.failed(&error))
    }
}
