//! Claims that wait at a queue of rings, and not at the server.
//!
//! A claim that waits at a function on AWS is paid for by the second; a long poll at SQS costs a request. So a [`Listener`]
//! claims without waiting, listens at the queue, and claims again when it is rung, and at the latest when its caller does.
//! Rings are hints: losing one costs the time until the next claim, and nothing else
//! (docs/decisions/0018-workers-wait-at-the-queue.md).

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baton_api::claim::{AffinityWord, ClaimRequest, ClaimView};
use baton_api::ring::{MOST_RECEIVED, Ring};
use baton_model::limits;
use tokio::time::{Instant, sleep};

use crate::Client;
use crate::error::ClientError;

/// The most rings that one request to a queue brings.
const AT_ONCE: u32 = 10;

/// After rings that were of no use the queue is left to others for a while, so that a few listeners do not pass the rings of
/// nobody around among themselves, and so that old rings of a busy time cost a claim a second and no more.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// How long the queue is left alone after it could not be heard: at first, and at the longest.
const DEAF: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];

/// How long a worker that may take no task now waits before it asks again. It must not listen: the rings are for others.
const HELD_BACK: Duration = Duration::from_secs(5);

/// A queue that carries rings, such as the queue `ready` of a stack on AWS.
#[async_trait]
pub trait ReadyQueue: Send + Sync {
    /// Up to `most` messages, 1 to 10; waits for the first of them for up to 20 s. They are hidden from others for some
    /// seconds, or until they are given back.
    ///
    /// # Errors
    /// If the queue cannot be heard.
    async fn receive(&self, most: u32, wait: Duration) -> Result<Vec<Heard>, ReadyError>;

    /// Removes messages, by their receipts.
    ///
    /// # Errors
    /// If they are not removed: they come again.
    async fn delete(&self, receipts: &[String]) -> Result<(), ReadyError>;

    /// Gives messages back at once, by their receipts.
    ///
    /// # Errors
    /// If they are not given back: they come again later.
    async fn release(&self, receipts: &[String]) -> Result<(), ReadyError>;

    /// Puts messages into it.
    ///
    /// # Errors
    /// If it does not take them all.
    async fn send(&self, messages: &[String]) -> Result<(), ReadyError>;
}

/// A message that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What it is removed or given back by.
    pub receipt: String,
    /// The message.
    pub body: String,
    /// How often it has been received, this time included.
    pub times: u32,
}

/// Why a queue of rings cannot be used, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadyError(#[source] pub Box<dyn Error + Send + Sync>);

/// Hears rings for one worker, and claims when it is rung.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use baton_api::claim::ClaimRequest;
/// # use baton_client::{Client, Listener, ReadyQueue};
/// # async fn run(client: Client, queue: Arc<dyn ReadyQueue>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut listener = Listener::new(queue);
/// let claim = ClaimRequest {
///     wait_seconds: Some(Duration::from_secs(20)),
///     ..ClaimRequest::new("ocr-7".parse()?)
/// };
/// loop {
///     for task in listener.claim(&client, &claim).await?.tasks {
///         println!("{}", task.id);
///     }
/// }
/// # }
/// ```
pub struct Listener {
    queue: Arc<dyn ReadyQueue>,
    /// How often in a row rings were of no use.
    useless: usize,
    deaf: Option<Deaf>,
}

/// The queue could not be heard.
struct Deaf {
    until: Instant,
    pause: Duration,
}

/// A ring that may be of use here.
struct Rung {
    receipt: String,
    ring: Ring,
    times: u32,
}

impl Listener {
    /// A listener at this queue.
    pub fn new(queue: Arc<dyn ReadyQueue>) -> Self {
        Self { queue, useless: 0, deaf: None }
    }

    /// As [`Client::claim`], but the wait is spent at the queue: the server is asked at once, and again when a ring tells of
    /// tasks that the claim may bring. The answer that nothing was there is as of the last time that it was asked.
    ///
    /// Name the claim's queues: without them only the server knows which the token is bound to, and each ring of any queue
    /// costs a claim.
    ///
    /// While the queue cannot be heard, the claim waits at the server; the log is told of it, and of its end.
    ///
    /// # Errors
    /// Those of [`Client::claim`].
    pub async fn claim(&mut self, client: &Client, request: &ClaimRequest) -> Result<ClaimView, ClientError> {
        let deadline = Instant::now() + request.wait_seconds.unwrap_or_default().min(limits::CLAIM_WAIT);
        if self.deaf.as_ref().is_some_and(|deaf| Instant::now() < deaf.until) {
            return client.claim(request).await;
        }
        let look = ClaimRequest { wait_seconds: None, ..request.clone() };
        let mut answer = client.claim(&look).await?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !answer.tasks.is_empty() {
                return Ok(answer);
            }
            match answer.nothing.as_ref().map(|nothing| nothing.reason.as_str()) {
                // No waiting helps.
                Some("directed" | "request_spent") => return Ok(answer),
                Some("at_cap" | "runs_alone" | "makes_room" | "only_alone") => {
                    sleep(HELD_BACK.min(left)).await;
                    answer = client.claim(&look).await?;
                }
                _ => match self.hear(&look, deadline).await {
                    Ok(rung) if rung.is_empty() => return Ok(answer),
                    Ok(rung) => answer = self.rung(client, &look, rung, deadline).await?,
                    Err(error) => {
                        self.deafen(&error);
                        let left = deadline.saturating_duration_since(Instant::now());
                        return client.claim(&ClaimRequest { wait_seconds: Some(left), ..look }).await;
                    }
                },
            }
        }
    }

    /// Listens until there are rings for this claim; none if the time is over.
    async fn hear(&mut self, claim: &ClaimRequest, deadline: Instant) -> Result<Vec<Rung>, ReadyError> {
        // A claim that names no queue takes from those that its token is bound to, which only the server knows.
        let concerns = |ring: &Ring| claim.queues.is_empty() || ring.concerns(&claim.queues, &claim.types);
        let most = claim.max_tasks.unwrap_or(1).clamp(1, AT_ONCE);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            let heard = self.queue.receive(most, left).await?;
            if self.deaf.take().is_some() {
                tracing::info!("the queue of rings is heard again; claims wait there");
            }
            let some = !heard.is_empty();
            let (mut rung, mut gone, mut others) = (Vec::new(), Vec::new(), Vec::new());
            for Heard { receipt, body, times } in heard {
                match serde_json::from_str::<Ring>(&body) {
                    Ok(ring) if concerns(&ring) => rung.push(Rung { receipt, ring, times }),
                    Ok(_) if times < MOST_RECEIVED => others.push(receipt),
                    Ok(_) => gone.push(receipt),
                    Err(error) => {
                        tracing::warn!(%error, "the queue of rings had a message that is no ring; it is removed. \
                            Check that --ready-queue (or BATON_QUEUES_READY) names the stack's queue `ready`");
                        gone.push(receipt);
                    }
                }
            }
            self.settle(&gone, &others).await?;
            if !rung.is_empty() {
                return Ok(rung);
            }
            if some {
                self.rest(deadline).await;
            }
        }
    }

    /// Claims as it was rung. Rings for more tasks than the claim has taken go on to others, if there may be more.
    async fn rung(
        &mut self,
        client: &Client,
        claim: &ClaimRequest,
        rung: Vec<Rung>,
        deadline: Instant,
    ) -> Result<ClaimView, ClientError> {
        let answer = match client.claim(claim).await {
            Ok(answer) => answer,
            Err(error) => {
                // Others may reach the server.
                let receipts: Vec<String> = rung.into_iter().map(|rung| rung.receipt).collect();
                let given_back = self.settle(&[], &receipts).await;
                given_back.unwrap_or_else(|error| self.deafen(&error));
                return Err(error);
            }
        };
        let taken = u32::try_from(answer.tasks.len()).unwrap_or(u32::MAX);
        // What it may not take, by its token or by what it has warm, others may.
        let passes_by = claim.queues.is_empty() || claim.affinity == Some(AffinityWord::Only);
        let may_be_more = taken >= claim.max_tasks.unwrap_or(1) || (taken == 0 && passes_by);
        let settled = self.pass_on(rung, taken, may_be_more).await;
        settled.unwrap_or_else(|error| self.deafen(&error));
        if taken > 0 {
            self.useless = 0;
        } else {
            self.rest(deadline).await;
        }
        Ok(answer)
    }

    async fn pass_on(&self, rung: Vec<Rung>, mut taken: u32, may_be_more: bool) -> Result<(), ReadyError> {
        let (mut used, mut others, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for Rung { receipt, ring, times } in rung {
            let here = ring.count.min(taken);
            taken -= here;
            if may_be_more && here == 0 && times < MOST_RECEIVED {
                others.push(receipt);
                continue;
            }
            used.push(receipt);
            if may_be_more && here > 0 {
                rest.extend(Ring { count: ring.count - here, ..ring }.parts(AT_ONCE));
            }
        }
        // Names and numbers always serialise.
        let rest: Vec<String> =
            rest.iter().map(|ring| serde_json::to_string(ring).unwrap_or_default()).collect();
        for messages in rest.chunks(AT_ONCE as usize) {
            self.queue.send(messages).await?;
        }
        self.settle(&used, &others).await
    }

    async fn settle(&self, gone: &[String], others: &[String]) -> Result<(), ReadyError> {
        if !gone.is_empty() {
            self.queue.delete(gone).await?;
        }
        if !others.is_empty() {
            self.queue.release(others).await?;
        }
        Ok(())
    }

    /// Leaves the queue to others for a while.
    async fn rest(&mut self, deadline: Instant) {
        let pause = PAUSES[self.useless.min(PAUSES.len() - 1)];
        self.useless += 1;
        sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
    }

    fn deafen(&mut self, error: &ReadyError) {
        let [first, longest] = DEAF;
        let pause = self.deaf.as_ref().map_or(first, |deaf| (deaf.pause * 2).min(longest));
        self.deaf = Some(Deaf { until: Instant::now() + pause, pause });
        tracing::warn!(%error, again_seconds = pause.as_secs(),
            "the queue of rings cannot be used; claims wait at the server meanwhile, which costs more. Check its URL \
             (--ready-queue or BATON_QUEUES_READY) and the rights sqs:ReceiveMessage, sqs:DeleteMessage, \
             sqs:ChangeMessageVisibility and sqs:SendMessage on it");
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("useless", &self.useless).finish_non_exhaustive()
    }
}
