//! Queues: what is kept of them besides their tasks. A queue's record says whether it is paused, and where its tasks
//! wait: which priorities were ever used, and over how many shards. A claim reads it anyway, and looks nowhere else;
//! so a queue that knows one priority costs one query.

use std::collections::BTreeSet;

use baton_model::queue::{Pause, Queue};
use baton_model::{Label, Priority, QueueName, Timestamp};
use baton_store::{PauseQueue, QueueStats, Ready, StoreError};

use crate::attr::{Fields, Item, n, s, time};
use crate::codes::Code;
use crate::db::{Query, numbers};
use crate::error::{WriteError, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::store::Inner;

/// A queue as its record tells it.
#[derive(Clone, Debug)]
pub(crate) struct StoredQueue {
    pub(crate) name: QueueName,
    /// Why claims pass it by; none if they do not.
    pub(crate) pause: Option<Pause>,
    /// The priorities that tasks of it ever had, the first to be claimed first.
    pub(crate) priorities: BTreeSet<Priority>,
    /// Over how many shards its tasks were ever spread at most.
    pub(crate) shards: u64,
}

/// What a queue's record tells to whoever moves it.
pub(crate) fn plain(item: &Item) -> Result<Queue, StoreError> {
    let fields = Fields(item);
    Ok(Queue {
        name: QueueName::from_stored(fields.text("sk")?),
        paused: fields.maybe_number("pd")? == Some(1_u8),
        changed_by: fields.maybe_text("cb")?.map(Label::from_stored),
        reason: fields.maybe_text("cr")?.map(str::to_owned),
        changed_at: fields.time("ca")?,
    })
}

impl StoredQueue {
    /// A queue that has no record.
    fn unknown(name: QueueName) -> Self {
        Self { name, pause: None, priorities: BTreeSet::new(), shards: 1 }
    }

    /// Whether a task has ever named it. A record that has no priority was never written by who creates a task, so that
    /// no process believes it to be there.
    pub(crate) fn is_used(&self) -> bool {
        !self.priorities.is_empty()
    }

    /// The partitions of the index where its tasks wait.
    pub(crate) fn lanes(&self) -> Vec<String> {
        let lanes = self
            .priorities
            .iter()
            .flat_map(|priority| (0..self.shards).map(|shard| keys::ready(&self.name, *priority, shard)));
        lanes.collect()
    }

    pub(crate) fn read(item: &Item) -> Result<Self, StoreError> {
        let fields = Fields(item);
        let code = |code: i64| u8::try_from(code).map_err(|_| damaged("expected a priority's number"));
        let priorities = fields.numbers("pz")?;
        Ok(Self {
            name: QueueName::from_stored(fields.text("sk")?),
            pause: plain(item)?.pause(),
            priorities: priorities
                .into_iter()
                .map(|one| Priority::of(code(one)?))
                .collect::<Result<_, _>>()?,
            shards: fields
                .numbers("sh")?
                .into_iter()
                .max()
                .and_then(|most| u64::try_from(most).ok())
                .unwrap_or(1),
        })
    }
}

impl Inner {
    /// Makes a queue known before a task of it waits, with all that claims must know to find the task. Written once
    /// by each process for each priority.
    pub(crate) async fn know_queue(
        &self,
        queue: &QueueName,
        priority: Priority,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.notes.knows_queue(queue, priority) {
            return Ok(());
        }
        let update = Expression::new()
            .set_if_absent("ca", time(now))
            .add("pz", numbers([i64::from(priority.code())]))
            .add("sh", numbers([i64::try_from(self.options.shards_of(queue)).unwrap_or(1)]));
        unconditional(self.db.update(keys::queue(queue), &update).await)?;
        self.notes.note_queue(queue, priority);
        Ok(())
    }

    pub(crate) async fn pause(&self, pause: PauseQueue) -> Result<QueueStats, StoreError> {
        let now = pause.now;
        let known = if pause.paused { false } else { !self.forget_unused(&pause.queue).await? };
        let queue = if pause.paused || known {
            let update = Expression::new()
                .set("pd", n(u8::from(pause.paused)))
                .set("ca", time(now))
                .put("cb", pause.by.as_ref().map(Label::as_str).map(s))
                .put("cr", pause.reason.map(s));
            let item = unconditional(self.db.update(keys::queue(&pause.queue), &update).await)?;
            StoredQueue::read(&item)?
        } else {
            StoredQueue::unknown(pause.queue)
        };
        if !pause.paused {
            let queue = queue.name.clone();
            self.doorbell.ring(Ready { queue, task_type: None, count: u32::MAX, run_after: now });
        }
        self.queue_stats(queue, now).await
    }

    /// Removes the record of a queue that no task has ever named; false if one has.
    async fn forget_unused(&self, queue: &QueueName) -> Result<bool, StoreError> {
        match self.db.delete(keys::queue(queue), &Expression::new().when_absent("pz")).await {
            Ok(()) => Ok(true),
            Err(WriteError::Condition(_)) => Ok(false),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    pub(crate) async fn stored_queue(&self, name: &QueueName) -> Result<Option<StoredQueue>, StoreError> {
        self.db.get(keys::queue(name)).await?.as_ref().map(StoredQueue::read).transpose()
    }
}

impl Inner {
    /// The records of all queues, as they were a moment ago.
    pub(crate) async fn all_queues(&self) -> Result<Vec<StoredQueue>, StoreError> {
        let parts = (0..keys::NAME_PARTS).map(|part| {
            self.db.query_whole(Query { consistent: false, ..Query::table(keys::queue_partition(part)) })
        });
        let found = futures::future::try_join_all(parts).await?;
        found.iter().flat_map(|found| &found.items).map(StoredQueue::read).collect()
    }
}

/// The outcome of a write that has no condition.
pub(crate) fn unconditional<T>(written: Result<T, WriteError>) -> Result<T, StoreError> {
    written.map_err(|error| match error {
        WriteError::Failed(error) => error,
        WriteError::Condition(_) => damaged("a write without condition was refused"),
    })
}
