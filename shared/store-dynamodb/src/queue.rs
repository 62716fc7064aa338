//! Queues: what is kept of them besides their tasks. A queue's record says whether it is paused, and where its tasks
//! wait: in which lanes of which priorities, and over how many shards. A claim reads it anyway, and looks nowhere else;
//! so a queue that knows one priority, project and type costs one query.

use std::collections::BTreeSet;

use baton_model::queue::{Pause, Queue};
use baton_model::{Label, Priority, QueueDefaults, QueueName, QueueOrder, Timestamp};
use baton_store::{OrderQueue, PauseQueue, QueueStats, Ready, StoreError};

use crate::attr::{Fields, Item, json, n, s, time};
use crate::codes::Code;
use crate::db::Query;
use crate::defaults::DEFAULTS;
use crate::error::{WriteError, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::lane::{Choice, Claimed, Lane, named};
use crate::store::Inner;
use crate::tidy::Watched;

/// The attribute with a queue's order, if it is not the usual one.
const ORDER: &str = "qo";

/// The attribute that says that a queue has a supply.
pub(crate) const SUPPLIED: &str = "sy";

/// A queue as its record tells it.
#[derive(Clone, Debug)]
pub(crate) struct StoredQueue {
    pub(crate) name: QueueName,
    /// Why claims pass it by; none if they do not.
    pub(crate) pause: Option<Pause>,
    /// In which order it gives out its tasks.
    pub(crate) order: QueueOrder,
    /// What it gives to tasks that do not say.
    pub(crate) defaults: QueueDefaults,
    /// Where tasks of it ever lay, the first priority to be claimed first.
    pub(crate) lanes: BTreeSet<(Priority, Lane)>,
    /// Whether a task has ever named it. A record of which none has was never written by who creates a task, so that no
    /// process believes it to be there.
    pub(crate) used: bool,
    /// How it is claimed from, if that is known.
    pub(crate) claimed: Option<Claimed>,
    /// Which of its lanes are watched, as they were found empty.
    pub(crate) watched: Option<Watched>,
    /// Over how many shards its tasks were ever spread at most.
    pub(crate) shards: u64,
    /// The number of the latest change of limits that concern it; none if there was none.
    pub(crate) limits: Option<u64>,
    /// Whether it has a supply.
    pub(crate) supplied: bool,
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
        order: fields.maybe_json(ORDER)?.unwrap_or_default(),
        defaults: fields.maybe_json(DEFAULTS)?.unwrap_or_default(),
    })
}

impl StoredQueue {
    /// A queue that has no record.
    fn unknown(name: QueueName) -> Self {
        Self {
            name,
            pause: None,
            order: QueueOrder::default(),
            defaults: QueueDefaults::default(),
            lanes: BTreeSet::new(),
            used: false,
            claimed: None,
            watched: None,
            shards: 1,
            limits: None,
            supplied: false,
        }
    }

    /// The partitions of the index where its tasks wait.
    pub(crate) fn partitions(&self) -> Vec<String> {
        self.partitions_of(&Choice::default())
    }

    /// The partitions of the index where such tasks wait.
    pub(crate) fn partitions_of(&self, choice: &Choice) -> Vec<String> {
        let lanes = self.lanes.iter().filter(|(_, lane)| choice.may_lie_in(*lane));
        let partitions = lanes.flat_map(|(priority, lane)| {
            (0..self.shards).map(|shard| keys::ready(&self.name, *priority, shard, *lane))
        });
        partitions.chain(self.put_aside()).collect()
    }

    /// The partitions of the index where its tasks wait at limits, the first priority to be claimed first; none of a queue that no
    /// limit ever concerned.
    pub(crate) fn put_aside(&self) -> impl Iterator<Item = String> {
        let priorities = Priority::ALL.into_iter().filter(|_| self.limits.is_some());
        priorities.flat_map(|priority| self.put_aside_of(priority))
    }

    /// Those of one priority.
    pub(crate) fn put_aside_of(&self, priority: Priority) -> impl Iterator<Item = String> {
        (0..self.shards).map(move |shard| keys::put_aside(&self.name, priority, shard))
    }

    pub(crate) fn read(item: &Item) -> Result<Self, StoreError> {
        let fields = Fields(item);
        let code = |code: i64| u8::try_from(code).map_err(|_| damaged("expected a priority's number"));
        let common =
            fields.numbers("pz")?.into_iter().map(|one| Ok((Priority::of(code(one)?)?, Lane::Common)));
        let named = fields.set_of_texts("ln")?.iter().map(|name| named(name));
        Ok(Self {
            name: QueueName::from_stored(fields.text("sk")?),
            pause: plain(item)?.pause(),
            order: fields.maybe_json(ORDER)?.unwrap_or_default(),
            defaults: fields.maybe_json(DEFAULTS)?.unwrap_or_default(),
            lanes: common.chain(named).collect::<Result<_, StoreError>>()?,
            used: fields.has("sh") || fields.has("pz"),
            claimed: match fields.maybe_number::<u8>("cw")? {
                None => None,
                Some(1) => Some(Claimed::Whole),
                Some(_) => Some(Claimed::ByChoice),
            },
            watched: match fields.maybe_time("wt")? {
                Some(since) => Some(Watched { lanes: fields.set_of_texts("wl")?.to_vec(), since }),
                None => None,
            },
            shards: fields
                .numbers("sh")?
                .into_iter()
                .max()
                .and_then(|most| u64::try_from(most).ok())
                .unwrap_or(1),
            limits: fields.maybe_number("lm")?,
            supplied: fields.has(SUPPLIED),
        })
    }
}

impl Inner {
    pub(crate) async fn pause(&self, pause: PauseQueue) -> Result<QueueStats, StoreError> {
        let now = pause.now;
        let known =
            if pause.paused { false } else { !self.forget_if(&pause.queue, Expression::new()).await? };
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

    /// Says in which order a queue gives out its tasks.
    pub(crate) async fn order(&self, set: OrderQueue) -> Result<(QueueOrder, QueueOrder), StoreError> {
        let OrderQueue { now, queue, order: to } = set;
        let from = self.stored_queue(&queue).await?.map(|queue| queue.order).unwrap_or_default();
        self.write_order(&queue, (from, to), now).await?;
        if to.is_usual() {
            self.forget_unused(&queue).await?;
        }
        self.doorbell.ring(Ready { queue, task_type: None, count: u32::MAX, run_after: now });
        Ok((from, to))
    }

    /// Writes the order of a queue. Done again after a part of it, it does the rest.
    pub(crate) async fn write_order(
        &self,
        queue: &QueueName,
        (from, to): (QueueOrder, QueueOrder),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // What a claim goes by comes first where it is to be fair, and last where it is not any more: so that whoever asks again
        // after a failure finds that something is left to be done.
        if to.fair.is_some() || from.fair.is_some() {
            self.set_fair(queue, to.fair, now).await?;
        }
        if from == to {
            return Ok(());
        }
        let order = (!to.is_usual()).then(|| json("a queue's order", &to)).transpose()?;
        let mut update = Expression::new().set_if_absent("ca", time(now)).put(ORDER, order.map(s));
        if to.fair.is_some() {
            // Tasks that lie together could not be told apart by whose they are.
            update = update.set("cw", n(Claimed::ByChoice as u8));
        }
        unconditional(self.db.update(keys::queue(queue), &update).await).map(drop)
    }

    /// Removes the record of a queue that no task has ever named, that is not paused and of which nothing is set; false if something
    /// is known of it.
    pub(crate) async fn forget_unused(&self, queue: &QueueName) -> Result<bool, StoreError> {
        self.forget_if(queue, Expression::new().when_absent_or("pd", "=", n(0))).await
    }

    /// The same, also if it is paused and the condition holds; false if something is known of it.
    async fn forget_if(&self, queue: &QueueName, condition: Expression) -> Result<bool, StoreError> {
        let unused = [ORDER, DEFAULTS, SUPPLIED]
            .into_iter()
            .fold(condition.when_absent("pz").when_absent("sh"), Expression::when_absent);
        match self.db.delete(keys::queue(queue), &unused).await {
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
        let all = found.iter().flat_map(|found| &found.items);
        Ok(all.filter_map(|item| self.db.read_one(item, StoredQueue::read)).collect())
    }
}

/// The outcome of a write that has no condition.
pub(crate) fn unconditional<T>(written: Result<T, WriteError>) -> Result<T, StoreError> {
    written.map_err(|error| match error {
        WriteError::Failed(error) => error,
        WriteError::Condition(_) => damaged("a write without condition was refused"),
    })
}
