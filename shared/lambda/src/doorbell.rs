//! The doorbell between functions: who makes tasks claimable puts a ring into the queue `ready`, and a waiting claim
//! takes it out and is woken.
//!
//! Rings are hints. A lost one costs a claim until its own next look, a repeated one costs one look; so that they are
//! sent once, without insisting, and their order means nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_api::ring::{MOST_RECEIVED, Ring};
use baton_model::{QueueName, TaskType, Timestamp};
use baton_runtime::{Clock, LocalDoorbell};
use baton_store::{Doorbell, Ready};

use crate::queues::{BATCH, Outgoing, Queues, Received};

/// How long one request waits for rings.
const LISTEN: Duration = Duration::from_secs(20);

/// How long a claim waits before the queue is asked. One that finds tasks at once is answered by then, and needs no rings: each
/// request is paid for, and would take rings from those who wait. The queue keeps them meanwhile.
const HOLD: Duration = Duration::from_millis(100);

/// SQS holds a message back for no longer. A task that is due later rings nobody: a claim waits for seconds only, and
/// looks by itself when a task is due that it knows of.
const LONGEST_DELAY: Duration = Duration::from_secs(900);

/// After rings that concern others alone, or a failure, the next request waits a while, so that a few claims do not
/// pass rings around among themselves.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// What rings are about, and when it is due if later; rings of one name are one ring with a larger count.
type Name = (QueueName, Option<TaskType>, Option<Timestamp>);

/// The doorbell of a function: rings in its own process, and gathers rings for others until they are sent.
pub struct QueueDoorbell {
    local: Arc<LocalDoorbell>,
    clock: Arc<dyn Clock>,
    /// The queue `ready`; nobody else hears a ring without it.
    remote: Option<(Arc<dyn Queues>, String)>,
    gathered: Mutex<Gathered>,
}

#[derive(Default)]
struct Gathered {
    rings: BTreeMap<Name, u32>,
    /// Received messages that are used, and those that concern others.
    used: Vec<String>,
    others: Vec<String>,
}

impl QueueDoorbell {
    /// A doorbell whose rings others hear through the queue `ready`, if there is one.
    pub fn new(clock: Arc<dyn Clock>, queues: Option<Arc<dyn Queues>>, ready: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            local: LocalDoorbell::new(Arc::clone(&clock)),
            clock,
            remote: queues.zip(ready),
            gathered: Mutex::default(),
        })
    }

    /// The doorbell of this process, at which claims wait.
    pub fn local(&self) -> Arc<LocalDoorbell> {
        Arc::clone(&self.local)
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        // Losing or repeating what is in it costs time alone.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queues that rings are gathered for whose tasks are due now.
    pub(crate) fn rung_now(&self) -> BTreeSet<QueueName> {
        let gathered = self.gathered();
        let now = gathered.rings.keys().filter(|(_, _, later)| later.is_none());
        now.map(|(queue, ..)| queue.clone()).collect()
    }

    /// Drops the rings for tasks of a queue that are due now. One that is due later is rung for all the same: who will wait
    /// then is not known yet.
    pub(crate) fn hush(&self, queue: &QueueName) {
        self.gathered().rings.retain(|(one, _, later), _| one != queue || later.is_some());
    }

    /// Sends what was gathered, and settles what was received: to be awaited before a function answers.
    pub async fn settle(&self) {
        let Some((queues, ready)) = &self.remote else { return };
        let Gathered { rings, used, others } = std::mem::take(&mut *self.gathered());
        let now = self.clock.now();
        let messages: Vec<Outgoing> =
            rings.into_iter().flat_map(|(name, count)| messages(name, count, now)).collect();
        let sent = async {
            let outcomes = if messages.is_empty() { Vec::new() } else { queues.send(ready, &messages).await };
            outcomes.into_iter().collect::<Result<(), _>>()
        };
        let deleted = async { if used.is_empty() { Ok(()) } else { queues.delete(ready, &used).await } };
        let released =
            async { if others.is_empty() { Ok(()) } else { queues.release(ready, &others).await } };
        let (sent, deleted, released) = futures::join!(sent, deleted, released);
        for failed in [sent, deleted, released].into_iter().filter_map(Result::err) {
            tracing::warn!(error = %failed, "the queue `ready` did not take a ring; a waiting claim may wait longer");
        }
    }

    /// Hears rings of others for as long as claims of this process wait. Never ends: drop it when the claim is
    /// answered, and then [`QueueDoorbell::settle`].
    pub async fn hear(&self) {
        let Some((queues, ready)) = &self.remote else { return std::future::pending().await };
        let mut idle: usize = 0;
        self.local.someone_waits().await;
        tokio::time::sleep(HOLD).await;
        loop {
            self.local.someone_waits().await;
            let pause = match queues.receive(ready, BATCH, LISTEN).await {
                Ok(received) => {
                    let none = received.is_empty();
                    let used = received.into_iter().filter(|message| self.take(message));
                    if used.count() > 0 || none {
                        idle = 0;
                    } else {
                        idle += 1;
                    }
                    idle.checked_sub(1)
                }
                Err(error) => {
                    tracing::warn!(%error, "the queue `ready` cannot be heard; a waiting claim looks by itself");
                    idle += 1;
                    Some(PAUSES.len() - 1)
                }
            };
            self.settle().await;
            if let Some(place) = pause {
                tokio::time::sleep(PAUSES[place.min(PAUSES.len() - 1)]).await;
            }
        }
    }

    fn later(&self, run_after: Timestamp) -> Option<Timestamp> {
        (run_after > self.clock.now()).then_some(run_after)
    }

    fn gather(&self, name: Name, count: u32) {
        if count > 0 {
            let mut gathered = self.gathered();
            let known = gathered.rings.entry(name).or_default();
            *known = known.saturating_add(count);
        }
    }

    /// Takes a received ring; says whether it woke somebody here.
    fn take(&self, Received { receipt, body, times }: &Received) -> bool {
        let Ok(ring) = serde_json::from_str::<Ring>(body) else {
            tracing::warn!("the queue `ready` had a message that is no ring; it is removed");
            self.gathered().used.push(receipt.clone());
            return false;
        };
        if !self.local.concerns(&ring.queue, ring.task_type.as_ref()) {
            let mut gathered = self.gathered();
            // Nobody may be there whom it concerns: it does not go round for ever.
            let done = if *times < MOST_RECEIVED { &mut gathered.others } else { &mut gathered.used };
            done.push(receipt.clone());
            return false;
        }
        let Ring { queue, task_type, count, run_after } = ring;
        self.gathered().used.push(receipt.clone());
        // One claim has heard it; the rest is for others.
        self.gather((queue.clone(), task_type.clone(), self.later(run_after)), count.saturating_sub(1));
        self.local.ring(Ready { queue, task_type, count: 1, run_after });
        true
    }
}

/// A ring cut into as many messages as a request carries, so that several claims hear it at once.
fn messages((queue, task_type, later): Name, count: u32, now: Timestamp) -> Vec<Outgoing> {
    let run_after = later.unwrap_or(now);
    let delay = run_after.since(now);
    if delay > LONGEST_DELAY {
        return Vec::new();
    }
    // Whole seconds, and rather late: a claim that is woken early looks and waits on.
    let delay = Duration::from_secs(delay.as_millis().div_ceil(1_000) as u64);
    let parts = Ring { queue, task_type, count, run_after }.parts(BATCH as u32);
    // Names and numbers always serialise.
    let body = |part| serde_json::to_string(&part).unwrap_or_default();
    parts.into_iter().map(|part| Outgoing { body: body(part), delay, ..Outgoing::default() }).collect()
}

impl Doorbell for QueueDoorbell {
    fn ring(&self, ready: Ready) {
        self.local.ring(ready.clone());
        if self.remote.is_some() {
            // A queue that was resumed rings for as many as there may be. These many claims are enough to begin with.
            let count = ready.count.min(10 * BATCH as u32);
            self.gather((ready.queue, ready.task_type, self.later(ready.run_after)), count);
        }
    }

    fn asked(&self, queue: &QueueName) {
        self.local.asked(queue);
    }
}

impl std::fmt::Debug for QueueDoorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueDoorbell").field("local", &self.local).finish_non_exhaustive()
    }
}
