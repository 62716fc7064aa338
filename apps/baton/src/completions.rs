//! The queue of `complete-task` as another way for a worker's outcomes while the server is out of reach.

use std::sync::Arc;

use baton_worker::Detour;

use crate::exit::Failure;

/// Opens the queue at a URL, as far as it can be seen from here.
#[cfg(not(feature = "sqs"))]
pub(crate) async fn open(queue: &str) -> Result<Arc<dyn Detour>, Failure> {
    Err(crate::sqs::missing(&format!("--completions-queue (or BATON_QUEUES_COMPLETIONS): {queue}")))
}

#[cfg(feature = "sqs")]
pub(crate) use detour::open;

#[cfg(feature = "sqs")]
mod detour {
    use std::error::Error;
    use std::time::Duration;

    use async_trait::async_trait;
    use baton_aws::queues::{MESSAGE_BYTES, Outgoing, QueueError, Queues as _, Sqs};

    use super::*;
    use crate::sqs::client;

    /// How long a start waits for SQS to say whether there is the queue.
    const LOOK: Duration = Duration::from_secs(5);

    struct CompletionsQueue {
        sqs: Sqs,
        url: String,
    }

    pub(crate) async fn open(queue: &str) -> Result<Arc<dyn Detour>, Failure> {
        let sqs = client(queue).await?;
        let looked = tokio::time::timeout(LOOK, sqs.exists(queue)).await;
        match looked.unwrap_or_else(|_| Err(QueueError(format!("no answer in {} s", LOOK.as_secs())))) {
            Ok(true) => {}
            Ok(false) => {
                return Err(Failure::usage(format!(
                    "--completions-queue (or BATON_QUEUES_COMPLETIONS): expected the URL of a queue, got {queue}, where \
                     SQS has none for this account; the output CompletionsQueue of the stack has it"
                )));
            }
            // It is for bad days: that this is one must not keep the worker from its work.
            Err(error) => tracing::warn!(
                queue, %error,
                "the queue for outcomes could not be looked at; it is used all the same if the server is out of reach"
            ),
        }
        Ok(Arc::new(CompletionsQueue { sqs, url: queue.to_owned() }))
    }

    #[async_trait]
    impl Detour for CompletionsQueue {
        async fn send(&self, message: String) -> Result<(), Box<dyn Error + Send + Sync>> {
            let message = Outgoing::of_json(message);
            if message.body.len() > MESSAGE_BYTES {
                return Err(format!(
                    "{}: expected an outcome of {MESSAGE_BYTES} bytes at most, which is what SQS takes, got {}; it waits \
                     for the server; put large output elsewhere and tell its location",
                    self.url,
                    message.body.len()
                )
                .into());
            }
            let sent = self.sqs.send(&self.url, &[message]).await.into_iter().collect::<Result<(), _>>();
            sent.map_err(|error| format!("{}: {error}", self.url).into())
        }
    }
}
