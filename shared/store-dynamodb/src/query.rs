//! Queries about one thing, and numbers.

use std::collections::HashMap;

use baton_model::{
    Event, Generation, GenerationId, QueueName, State, TaskId, TaskState, Timestamp, WorkerId, WorkerStatus,
};
use baton_store::{
    Count, Cursor, Page, PageRequest, Percentiles, QueueStats, StatesOfQueues, Stats, StoreError, TaskDetail,
    Tasks, Waits, WorkerCounts, WorkerDetail, events_after, page_of_events, sum_of_states,
};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};

use crate::attr::{Item, n};
use crate::db::{Query, Range};
use crate::expression::Expression;
use crate::generation::StoredGeneration;
use crate::keys::{self, Kind};
use crate::queue::StoredQueue;
use crate::row::Stored;
use crate::stats::Counted;
use crate::store::Inner;
use crate::worker::StoredWorker;
use baton_store::Hours;
use baton_store::histogram::percentile;

/// Of how many queues the numbers are read at the same time.
const QUEUES_AT_ONCE: usize = 8;

impl Inner {
    pub(crate) fn generation_key(&self, id: GenerationId) -> Item {
        keys::by_id(Kind::Generation, id.as_bytes(), &id, self.spread)
    }

    pub(crate) async fn stored_generation(&self, id: GenerationId) -> Result<Option<Generation>, StoreError> {
        match self.db.get(self.generation_key(id)).await? {
            Some(item) => self.db.generation_of(StoredGeneration::read(&item)?).await,
            None => Ok(None),
        }
    }

    /// A generation whose task is still there: DynamoDB removes the two one after the other, in either order, and none is
    /// told without the other.
    pub(crate) async fn generation(&self, id: GenerationId) -> Result<Option<Generation>, StoreError> {
        let Some(generation) = self.stored_generation(id).await? else { return Ok(None) };
        let task = self.find(generation.task).await?;
        let names = |stored: Stored| matches!(stored.head.state, TaskState::Completed { generation, .. } if generation == id);
        Ok(task.is_some_and(names).then_some(generation))
    }

    pub(crate) async fn task_detail(&self, id: TaskId) -> Result<TaskDetail, StoreError> {
        let stored = self.known(id).await?;
        let history = Box::pin(self.db.events_shown(&stored.kept()?, stored.head.events)).await?;
        let (mut generation, mut progress) = (None, None);
        match &stored.head.state {
            TaskState::Completed { generation: standing, .. } => {
                // DynamoDB removes the two one after the other, in either order: one that is gone takes the other with it.
                let found = self.stored_generation(*standing).await?;
                generation = Some(found.ok_or(StoreError::TaskNotFound(id))?);
            }
            TaskState::Running(lease) => {
                let running =
                    self.stored_worker(&lease.worker).await?.and_then(|stored| stored.worker.running);
                let attempt = stored.head.attempt;
                progress = running.into_iter().flatten().find(|one| one.task == id && one.attempt == attempt);
            }
            TaskState::Blocked | TaskState::Queued | TaskState::Failed | TaskState::Cancelled => {}
        }
        let task = self.db.known_task(stored).await?;
        Ok(TaskDetail { task, history, generation, progress })
    }

    /// A page of a task's history.
    pub(crate) async fn history(&self, id: TaskId, page: &PageRequest) -> Result<Page<Event>, StoreError> {
        let after = events_after(page)?;
        let stored = self.known(id).await?;
        let (kept, all) = (stored.kept()?, stored.head.events);
        let last = all.min(after.saturating_add(page.limit));
        let first = after.saturating_add(1);
        let items = Box::pin(self.db.events_between(&kept, first, last, TaskDetail::EVENT_BYTES)).await?;
        Ok(page_of_events(items, all))
    }

    /// The ids that begin with `prefix`: all partitions that may hold one are asked for the range.
    pub(crate) async fn ids_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        let Some((first, last)) = TaskId::range_of_prefix(prefix) else { return Ok(Vec::new()) };
        let (low, high) = (keys::day_within(&first), keys::day_within(&last));
        let mut partitions = Vec::new();
        for day in self.days(Kind::Task).await? {
            if day == keys::ODD {
                let (low, high) = (u64::from(first[0] >> 4), u64::from(last[0] >> 4));
                partitions.extend((low..=high).map(|part| keys::partition(Kind::Task, day, part)));
            } else if (low..=high).contains(&day) {
                partitions.extend((0..self.spread).map(|part| keys::partition(Kind::Task, day, part)));
            }
        }
        let (first, last) = (TaskId::from_bytes(first), TaskId::from_bytes(last));
        let mut ids = Vec::new();
        for partitions in partitions.chunks(16) {
            let queries = partitions.iter().map(|partition| {
                let range = Range::Within(first.to_string(), last.to_string());
                let limit = i32::try_from(limit).ok();
                async move { self.db.query(&Query { range, limit, ..Query::table(partition) }).await }
            });
            for found in try_join_all(queries).await? {
                for item in &found.items {
                    ids.extend(self.db.read_one(item, Stored::read).map(|stored| stored.head.id));
                }
            }
            if ids.len() >= limit as usize {
                break;
            }
        }
        ids.sort();
        ids.truncate(limit as usize);
        Ok(ids)
    }

    pub(crate) async fn workers(&self, page: &PageRequest) -> Result<Page<WorkerDetail>, StoreError> {
        let after = match &page.after {
            None => String::new(),
            Some(Cursor(text)) if text.parse::<WorkerId>().is_ok() => text.clone(),
            Some(_) => return Err(StoreError::BadCursor),
        };
        let items = self.by_name(keys::worker_partition, &after, page.limit).await?;
        let more = items.len() > page.limit as usize;
        let mut details = Vec::new();
        let given = &items[..items.len().min(page.limit as usize)];
        for item in given {
            if let Some(worker) = self.db.read_one(item, StoredWorker::read) {
                details.push(self.worker_detail(worker).await?);
            }
        }
        let next = given.last().filter(|_| more).map(|last| Cursor(name_of(last).to_owned()));
        Ok(Page { items: details, next })
    }

    /// One more record than asked for behind a name, from all partitions of its kind.
    async fn by_name(
        &self,
        partition: fn(u64) -> String,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Item>, StoreError> {
        let limit = limit as usize + 1;
        let queries = (0..keys::NAME_PARTS).map(|part| {
            // The least text behind a name is the name with a zero character.
            let range = if after.is_empty() { Range::All } else { Range::AtLeast(format!("{after}\0")) };
            let limit = i32::try_from(limit).ok();
            let query = Query { range, limit, ..Query::table(partition(part)) };
            async move { self.db.query(&query).await }
        });
        let mut items: Vec<Item> =
            try_join_all(queries).await?.into_iter().flat_map(|found| found.items).collect();
        items.sort_by(|one, other| name_of(one).cmp(name_of(other)));
        items.truncate(limit);
        Ok(items)
    }

    pub(crate) async fn queues(
        &self,
        now: Timestamp,
        page: &PageRequest,
    ) -> Result<Page<QueueStats>, StoreError> {
        let after = match &page.after {
            None => String::new(),
            Some(Cursor(text)) if text.parse::<QueueName>().is_ok() => text.clone(),
            Some(_) => return Err(StoreError::BadCursor),
        };
        let found = self.by_name(keys::queue_partition, &after, page.limit).await?;
        let more = found.len() > page.limit as usize;
        let given = &found[..found.len().min(page.limit as usize)];
        let items = given.iter().filter_map(|item| self.db.read_one(item, StoredQueue::read)).collect();
        let (items, _) = self.stats_of(items, now).await?;
        let next = given.last().filter(|_| more).map(|last| Cursor(name_of(last).to_owned()));
        Ok(Page { items: items.into_iter().map(|(stats, _)| stats).collect(), next })
    }

    pub(crate) async fn queue_stats(
        &self,
        queue: StoredQueue,
        now: Timestamp,
    ) -> Result<QueueStats, StoreError> {
        let name = queue.name.clone();
        let (mut stats, _) = self.stats_of(vec![queue], now).await?;
        stats.pop().map(|(stats, _)| stats).ok_or(StoreError::QueueNotFound(name))
    }

    /// The numbers of queues, each with what has been counted of it, and as of when that is.
    async fn stats_of(
        &self,
        queues: Vec<StoredQueue>,
        now: Timestamp,
    ) -> Result<(Vec<(QueueStats, Counted)>, Option<Timestamp>), StoreError> {
        self.stats.flush(&self.db).await?;
        let (epochs, as_of) = self.db.counting().await?;
        let oldest = self.oldest_running().await?;
        let names: Vec<_> = queues.iter().map(|queue| queue.name.clone()).collect();
        let mut states = self.db.counted_states(&names, epochs.current).await?;
        let counted = queues.into_iter().map(|queue| {
            let states = states.remove(&queue.name).unwrap_or_default();
            (queue, states)
        });
        let mut all = self.counted_queues(counted.collect(), &oldest, now).await?;
        let counted_at = match epochs.current {
            // What is counted of one queue tells how far the stream was read for all.
            Some(_) => all.iter().map(|(_, counted)| counted.as_of).fold(as_of, Option::max),
            None => Some(now),
        };
        let counted_at = counted_at.map(|at| at.min(now));
        all.iter_mut().for_each(|(stats, _)| stats.counted_at = counted_at);
        Ok((all, counted_at))
    }

    /// The numbers of queues whose states were read.
    async fn counted_queues(
        &self,
        queues: Vec<(StoredQueue, Counted)>,
        oldest: &HashMap<QueueName, Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<(QueueStats, Counted)>, StoreError> {
        let looks = queues.into_iter().map(|(queue, mut counted)| async move {
            self.db.counted_durations(&queue.name, &mut counted, now).await?;
            self.one_queue(queue, now, counted, oldest).await
        });
        futures::stream::iter(looks).buffered(QUEUES_AT_ONCE).try_collect().await
    }

    /// The time of the oldest claim among the running tasks of each queue.
    async fn oldest_running(&self) -> Result<HashMap<QueueName, Timestamp>, StoreError> {
        let workers = self.all_workers().await?;
        let mut oldest: HashMap<QueueName, Timestamp> = HashMap::new();
        for workers in workers.chunks(16) {
            let held = workers.iter().map(|worker| self.held_by(&worker.worker.id, usize::MAX));
            for task in try_join_all(held).await?.into_iter().flatten() {
                if let TaskState::Running(lease) = &task.head.state {
                    let first = oldest.entry(task.queue.clone()).or_insert(lease.claimed_at);
                    *first = lease.claimed_at.min(*first);
                }
            }
        }
        Ok(oldest)
    }

    async fn one_queue(
        &self,
        queue: StoredQueue,
        now: Timestamp,
        counted: Counted,
        oldest: &HashMap<QueueName, Timestamp>,
    ) -> Result<(QueueStats, Counted), StoreError> {
        let queued = counted.of(State::Queued);
        let waits = self.waits(&queue, queued, now, Waits::COUNTED);
        let lanes = queue.partitions();
        let dues = lanes.iter().map(|lane| self.first_ready(lane, now));
        let (waits, dues) = futures::try_join!(waits, try_join_all(dues))?;
        let first_due = dues.into_iter().flatten().min();
        let percentiles = |times: &std::collections::BTreeMap<i64, u64>| {
            let buckets: Vec<_> = times.iter().map(|(bucket, count)| (*bucket, *count)).collect();
            Percentiles {
                count: times.values().sum(),
                p50: percentile(&buckets, 0.50),
                p95: percentile(&buckets, 0.95),
                p99: percentile(&buckets, 0.99),
            }
        };
        let stats = QueueStats {
            used: queue.used,
            order: queue.order,
            defaults: queue.defaults,
            pause: queue.pause,
            queued,
            waits,
            running: counted.of(State::Running),
            oldest_ready: first_due.map(|due| now.since(due)),
            oldest_running: oldest.get(&queue.name).map(|claimed_at| now.since(*claimed_at)),
            wait: percentiles(&counted.waits),
            run: percentiles(&counted.runs),
            counted_at: None,
            queue: queue.name,
        };
        Ok((stats, counted))
    }

    /// What waits in a queue, by status; of each no more is counted than `bound` and a page.
    pub(crate) async fn waits(
        &self,
        queue: &StoredQueue,
        queued: u64,
        now: Timestamp,
        bound: u64,
    ) -> Result<Waits, StoreError> {
        let lanes = queue.partitions();
        let ahead = keys::sortable(Timestamp::from_millis(now.as_millis() + 1));
        let counts = lanes.iter().map(|lane| self.count_lane(lane, Range::AtLeast(ahead.clone()), bound));
        let (mut created, mut retry) = (0_u64, 0_u64);
        for (all, again) in try_join_all(counts).await? {
            created += all.saturating_sub(again);
            retry += again;
        }
        if created + retry < bound {
            return Ok(Waits::of_all(queued, created, retry));
        }
        let counts = lanes.iter().map(|lane| self.count_lane(lane, Range::Below(ahead.clone()), bound));
        let ready = try_join_all(counts).await?.into_iter().map(|(all, _)| all).sum();
        // The looks end at the bound, wherever that was: more of both may lie behind it.
        let created = created.min(bound);
        Ok(Waits::of_many(
            queued,
            created,
            Tasks { tasks: retry.min(bound), at_least: true },
            Tasks::counted(ready, bound),
        ))
    }

    /// How many tasks lie in a range of a lane, and how many of them were claimed before. Both come with each page, as
    /// what was looked at and what fits.
    async fn count_lane(&self, lane: &str, range: Range, bound: u64) -> Result<(u64, u64), StoreError> {
        let claimed = Expression::new().when("at", ">", n(0));
        let mut query = Query { count: true, range, filter: Some(claimed), ..Query::index(lane) };
        let (mut all, mut again) = (0, 0);
        loop {
            let page = self.db.query(&query).await?;
            all += page.scanned;
            again += page.count;
            match page.next {
                Some(next) if all < bound => query.start = Some(next),
                _ => return Ok((all, again)),
            }
        }
    }

    pub(crate) async fn statistics(&self, now: Timestamp) -> Result<Stats, StoreError> {
        self.stats.flush(&self.db).await?;
        let (epochs, as_of) = self.db.counting().await?;
        let mut known: HashMap<_, _> =
            self.all_queues().await?.into_iter().map(|queue| (queue.name.clone(), queue)).collect();
        let names: Vec<_> = known.keys().cloned().collect();
        let mut counted = self.db.counted_states(&names, epochs.current).await?;
        let as_of = counted.values().map(|counted| counted.as_of).fold(as_of, Option::max);
        let states: StatesOfQueues = names
            .into_iter()
            .map(|name| {
                let states = counted.get(&name).map(Counted::by_state).unwrap_or_default();
                (name, states)
            })
            .collect();
        let rows = counted.values().map(|counted| counted.rows().count() as u64).sum();
        let size = (states.len() as u64, rows);
        let sum = sum_of_states(&states);
        let listed = Stats::foremost(states);
        let queues = listed.keys().filter_map(|name| {
            let counted = counted.remove(name).unwrap_or_default();
            known.remove(name).map(|queue| (queue, counted))
        });
        let (queues, oldest) = (queues.collect(), self.oldest_running().await?);
        let counted_at = if epochs.current.is_some() { as_of.map(|at| at.min(now)) } else { Some(now) };
        let (mut stats, mut counts, mut hours) = (Vec::new(), Vec::new(), Hours::default());
        for (mut queue, counted) in self.counted_queues(queues, &oldest, now).await? {
            queue.counted_at = counted_at;
            for (task_type, state, tasks) in counted.rows() {
                counts.push(Count {
                    queue: queue.queue.clone(),
                    task_type: task_type.cloned(),
                    state,
                    tasks,
                });
            }
            hours.and(&counted.hours);
            stats.push(queue);
        }
        let hours = hours.last_day(now);
        let workers = self.worker_counts(now).await?;
        let states = (sum, sum_of_states(&listed));
        Ok(Stats { counted_at, hours, ..Stats::bounded(now, size, states, counts, stats, workers) })
    }

    async fn worker_counts(&self, now: Timestamp) -> Result<WorkerCounts, StoreError> {
        let mut counts = WorkerCounts::default();
        for worker in self.all_workers().await? {
            let status = worker.worker.status(&self.options.policy, now);
            // Only of those that are alive it matters whether they hold something.
            let alive = !matches!(status, WorkerStatus::Silent | WorkerStatus::Lost | WorkerStatus::Gone);
            let busy = alive && !self.held_by(&worker.worker.id, 1).await?.is_empty();
            counts.add(status, busy);
        }
        Ok(counts)
    }
}

fn name_of(item: &Item) -> &str {
    item.get("sk").and_then(|key| key.as_s().ok()).map_or("", String::as_str)
}
