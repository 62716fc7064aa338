//! Queries about one thing, and numbers.

use std::collections::HashMap;

use baton_model::{
    Generation, GenerationId, Priority, QueueName, State, TaskId, TaskState, Timestamp, WorkerId,
    WorkerStatus,
};
use baton_store::{
    Count, Cursor, Page, PageRequest, Percentiles, QueueStats, Stats, StoreError, TaskDetail, WorkerCounts,
    WorkerDetail,
};
use futures::future::try_join_all;

use crate::attr::Item;
use crate::db::{Query, Range};
use crate::keys::{self, Kind};
use crate::queue::StoredQueue;
use crate::row::{Stored, StoredGeneration};
use crate::stats::Counted;
use crate::store::Inner;
use crate::worker::StoredWorker;
use baton_store::histogram::percentile;

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

    pub(crate) async fn task_detail(&self, id: TaskId) -> Result<TaskDetail, StoreError> {
        let stored = self.known(id).await?;
        let rest = stored.rest()?;
        let history = self.db.history(id, rest.spilled, &rest.history).await?;
        let (mut generation, mut progress) = (None, None);
        match &stored.head.state {
            TaskState::Completed { generation: standing, .. } => {
                // It goes with its task only: one that is gone takes the task with it.
                let found = self.stored_generation(*standing).await?;
                generation = Some(found.ok_or(StoreError::TaskNotFound(id))?);
            }
            TaskState::Running(lease) => {
                let running =
                    self.stored_worker(&lease.worker).await?.and_then(|stored| stored.worker.running);
                let attempt = stored.head.attempt;
                progress = running.into_iter().flatten().find(|one| one.task == id && one.attempt == attempt);
            }
            TaskState::Queued | TaskState::Failed | TaskState::Cancelled => {}
        }
        let task = self.db.known_task(stored).await?;
        Ok(TaskDetail { task, history, generation, progress })
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
                    ids.push(Stored::read(item)?.head.id);
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
        for item in items.iter().take(page.limit as usize) {
            details.push(self.worker_detail(StoredWorker::read(item)?).await?);
        }
        let next = details.last().filter(|_| more).map(|last| Cursor(last.worker.id.to_string()));
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
        let items =
            found.iter().take(page.limit as usize).map(StoredQueue::read).collect::<Result<_, _>>()?;
        let (items, _) = self.stats_of(items, now).await?;
        let next = items.last().filter(|_| more).map(|(last, _)| Cursor(last.queue.to_string()));
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
        let mut all = Vec::with_capacity(queues.len());
        for queue in queues {
            let counted = self.db.counted(&queue.name, epochs.current, now).await?;
            all.push(self.one_queue(queue, now, counted, &oldest).await?);
        }
        let counted_at = match epochs.current {
            // What is counted of one queue tells how far the stream was read for all.
            Some(_) => all.iter().map(|(_, counted)| counted.as_of).fold(as_of, Option::max),
            None => Some(now),
        };
        let counted_at = counted_at.map(|at| at.min(now));
        all.iter_mut().for_each(|(stats, _)| stats.counted_at = counted_at);
        Ok((all, counted_at))
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
        let mut lanes = Vec::new();
        for priority in &queue.priorities {
            lanes.extend((0..queue.shards).map(|shard| self.lane_numbers(&queue, *priority, shard, now)));
        }
        let (mut scheduled, mut first_due) = (0, None::<Timestamp>);
        for (later, due) in try_join_all(lanes).await? {
            scheduled += later;
            first_due = match (first_due, due) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
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
            used: queue.is_used(),
            pause: queue.pause,
            queued: counted.of(State::Queued),
            scheduled: scheduled.min(QueueStats::SCHEDULED_COUNTED),
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

    /// How many tasks of a lane are for later, and when the first of the others was due.
    async fn lane_numbers(
        &self,
        queue: &StoredQueue,
        priority: Priority,
        shard: u64,
        now: Timestamp,
    ) -> Result<(u64, Option<Timestamp>), StoreError> {
        let partition = keys::ready(&queue.name, priority, shard);
        let due = self.first_ready(&partition, now).await?;
        let ahead = keys::sortable(Timestamp::from_millis(now.as_millis() + 1));
        let mut query = Query { count: true, range: Range::AtLeast(ahead), ..Query::index(&partition) };
        let mut later = 0;
        loop {
            let page = self.db.query(&query).await?;
            later += page.count;
            match page.next {
                Some(next) if later < QueueStats::SCHEDULED_COUNTED => query.start = Some(next),
                _ => return Ok((later, due)),
            }
        }
    }

    pub(crate) async fn statistics(&self, now: Timestamp) -> Result<Stats, StoreError> {
        let rows = u32::try_from(Stats::ROWS).unwrap_or(u32::MAX) - 1;
        let found = self.by_name(keys::queue_partition, "", rows).await?;
        let queues = found.iter().map(StoredQueue::read).collect::<Result<_, _>>()?;
        let (mut stats, mut counts) = (Vec::new(), Vec::new());
        let (all, counted_at) = self.stats_of(queues, now).await?;
        for (queue, counted) in all {
            for ((task_type, state), tasks) in counted.states {
                if let Ok(tasks @ 1..) = u64::try_from(tasks) {
                    counts.push(Count { queue: queue.queue.clone(), task_type, state, tasks });
                }
            }
            stats.push(queue);
        }
        counts.truncate(Stats::ROWS);
        Ok(Stats { at: now, counted_at, counts, queues: stats, workers: self.worker_counts(now).await? })
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
