//! Setting the supply of queues, what is told of it, and refilling.

use std::collections::BTreeSet;

use async_trait::async_trait;
use baton_model::schedule::Said;
use baton_model::{QueueName, Supply, SupplyChange, Timestamp};
use futures::{FutureExt, StreamExt};

use crate::{Changed, ErrorKind, Page, PageRequest, Store, StoreError};

/// Changes the supply of a queue.
#[derive(Clone, Debug)]
pub struct SetSupply {
    /// The queue.
    pub queue: QueueName,
    /// What is wanted of it.
    pub change: SupplyChange,
    /// Who says so, when and why.
    pub said: Said,
}

/// Creates what a queue's supply lacks.
#[derive(Clone, Debug)]
pub struct Refill {
    /// The time.
    pub now: Timestamp,
    /// The queue.
    pub queue: QueueName,
}

/// The answer to [`Refill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refilled {
    /// So many tasks were created.
    Created {
        /// How many; fewer than were wanted if their ids were taken.
        tasks: u32,
        /// Whether the target is not reached yet, as one refill creates no more than [`baton_model::supply::STEP_TASKS`].
        more: bool,
    },
    /// As many tasks are ready as are wanted, or the supply is paused.
    Enough,
    /// It refills while it is asked, and no live worker takes such tasks.
    NotAsked,
    /// Another refill was faster, or the supply was changed meanwhile: nothing was done.
    Superseded,
    /// The queue has no supply.
    NoSupply,
}

/// Supply: queues that refill themselves.
#[async_trait]
pub trait SupplyStore: Send + Sync {
    /// Changes a queue's supply by [`baton_model::supply::changed`]. A queue that no task has named is known as long as it has one.
    ///
    /// # Errors
    /// [`StoreError::TooManyLimits`].
    async fn set_supply(&self, set: SetSupply) -> Result<Changed<Supply>, StoreError>;

    /// A queue's supply.
    ///
    /// # Errors
    /// [`StoreError::SupplyNotFound`].
    async fn supply(&self, queue: &QueueName) -> Result<Supply, StoreError>;

    /// All supplies, by queue.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn supplies(&self, page: PageRequest) -> Result<Page<Supply>, StoreError>;

    /// If fewer tasks of the queue are ready than its supply says, creates tasks up to the target, a bounded number, and moves the
    /// supply on, in one commit whose precondition is that the supply stands as it did when the ready tasks were counted. Ready are
    /// tasks that wait and whose time has come, whoever created them, also those that wait at limits.
    ///
    /// However many refills run at once, what they create never has more tasks ready than the target; what others create, give back
    /// or retry meanwhile comes on top.
    ///
    /// # Errors
    /// The store's own failures.
    async fn refill(&self, refill: Refill) -> Result<Refilled, StoreError>;
}

/// What [`refill_all`] and [`refill_queue`] have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SupplyReport {
    /// Tasks created.
    pub created: u64,
    /// Queues that could not be refilled; they are tried again.
    pub failed: u64,
    /// Whether it stopped before all was done.
    pub more: bool,
}

/// How many queues are refilled at the same time.
const AT_ONCE: usize = 8;

/// How many supplies are read at a time.
const PAGE: u32 = 100;

/// After how many refills that others were faster at one gives up: it is they who refill.
const SUPERSEDED: u32 = 3;

/// Refills a queue until its target is reached. Any number of processes may do so at the same time. Says how many tasks it created.
///
/// # Errors
/// The store's; what was created before them stays created.
pub async fn refill_queue<S: Store + ?Sized>(
    store: &S,
    queue: &QueueName,
    now: impl Fn() -> Timestamp,
) -> Result<u64, StoreError> {
    let (mut created, mut superseded) = (0, 0);
    loop {
        match store.refill(Refill { now: now(), queue: queue.clone() }).await? {
            Refilled::Created { tasks, more } => {
                created += u64::from(tasks);
                if !more {
                    return Ok(created);
                }
            }
            Refilled::Superseded if superseded < SUPERSEDED => superseded += 1,
            _ => return Ok(created),
        }
    }
}

/// Refills all queues that have a supply, until `enough` says so. A queue that fails by itself holds up no other: the failure goes to
/// `tell`.
///
/// # Errors
/// What the store fails with when it is asked for the supplies.
pub async fn refill_all<S: Store + ?Sized>(
    store: &S,
    now: impl Fn() -> Timestamp + Clone + Send,
    enough: impl Fn() -> bool,
    tell: impl Fn(&QueueName, &StoreError),
) -> Result<SupplyReport, StoreError> {
    let mut report = SupplyReport::default();
    let mut page = PageRequest::first(PAGE);
    loop {
        let found = store.supplies(page).await?;
        let queues: BTreeSet<QueueName> = found.items.into_iter().map(|supply| supply.queue).collect();
        let filled = refill_some(store, queues, now.clone(), &tell).await;
        report.created += filled.created;
        report.failed += filled.failed;
        match found.next {
            _ if filled.more => return Ok(SupplyReport { more: true, ..report }),
            Some(after) if !enough() => page = PageRequest { after: Some(after), ..PageRequest::first(PAGE) },
            next => return Ok(SupplyReport { more: next.is_some(), ..report }),
        }
    }
}

/// Refills these queues, as [`refill_all`] does.
pub async fn refill_some<S: Store + ?Sized>(
    store: &S,
    queues: BTreeSet<QueueName>,
    now: impl Fn() -> Timestamp + Clone + Send,
    tell: impl Fn(&QueueName, &StoreError),
) -> SupplyReport {
    let mut report = SupplyReport::default();
    let mut refills = Vec::with_capacity(queues.len());
    for queue in queues {
        refills.push(refill_named(store, queue, now.clone()).boxed());
    }
    let mut refills = futures::stream::iter(refills).buffer_unordered(AT_ONCE);
    while let Some((queue, filled)) = refills.next().await {
        match filled {
            Ok(created) => report.created += created,
            Err(error) => {
                tell(&queue, &error);
                report.failed += 1;
                // One that nobody reaches is not asked a hundred times.
                if matches!(error.kind(), ErrorKind::Unavailable) {
                    return SupplyReport { more: true, ..report };
                }
            }
        }
    }
    report
}

/// Refills a queue, and names it with what came of it.
async fn refill_named<S: Store + ?Sized>(
    store: &S,
    queue: QueueName,
    now: impl Fn() -> Timestamp + Send,
) -> (QueueName, Result<u64, StoreError>) {
    let filled = refill_queue(store, &queue, now).await;
    (queue, filled)
}
