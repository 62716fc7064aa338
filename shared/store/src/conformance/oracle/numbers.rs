//! Counts, ages and durations.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_model::{LeasePolicy, QueueName, TaskState, Timestamp};

use super::Inner;
use crate::histogram::What;
use crate::*;

const DAY: Duration = Duration::from_secs(86_400);

impl Inner {
    /// What a queue tells of itself.
    pub(super) fn queue_stats(&self, queue: &QueueName, now: Timestamp) -> QueueStats {
        let mine = || self.tasks.values().map(|kept| &kept.task).filter(|task| task.queue == *queue);
        let queued = || mine().filter(|task| task.head.state == TaskState::Queued);
        let claimed = || {
            mine().filter_map(|task| match &task.head.state {
                TaskState::Running(lease) => Some(lease.claimed_at),
                _ => None,
            })
        };
        let of = |list: &[(QueueName, Timestamp, Duration)]| {
            let mut spans: Vec<_> = list
                .iter()
                .filter(|(of, at, _)| of == queue && now.since(*at) < DAY)
                .map(|(_, _, span)| *span)
                .collect();
            spans.sort();
            percentiles(&spans)
        };
        let lane = self.queues.get(queue);
        QueueStats {
            queue: queue.clone(),
            pause: lane.and_then(|lane| lane.pause.clone()),
            order: lane.map(|lane| lane.order).unwrap_or_default(),
            defaults: lane.map(|lane| lane.defaults).unwrap_or_default(),
            used: lane.is_some_and(|lane| lane.used),
            queued: queued().count() as u64,
            waits: {
                let later = |again| {
                    let later = queued().filter(|task| task.head.run_after > now);
                    later.filter(|task| (task.head.attempt > 0) == again).count() as u64
                };
                Waits::of_all(queued().count() as u64, later(false), later(true))
            },
            running: claimed().count() as u64,
            oldest_ready: queued()
                .map(|task| task.head.run_after.max(task.created_at))
                .filter(|ready| *ready <= now)
                .min()
                .map(|ready| now.since(ready)),
            oldest_running: claimed().min().map(|since| now.since(since)),
            wait: of(&self.waits),
            run: of(&self.runs),
            counted_at: Some(now),
        }
    }

    /// Forgets a queue that no task has named, and of which nothing is said.
    pub(super) fn forget_unused(&mut self, queue: &QueueName) {
        let is_known = |lane: &super::Lane| {
            lane.used || lane.pause.is_some() || !lane.order.is_usual() || !lane.defaults.is_none()
        };
        if !self.queues.get(queue).is_some_and(is_known) && !self.supplies.contains_key(queue) {
            self.queues.remove(queue);
        }
    }

    /// Statistics of all queues and workers.
    pub(super) fn stats(&self, policy: &LeasePolicy, now: Timestamp) -> Stats {
        let mut counts = BTreeMap::new();
        for kept in self.tasks.values() {
            let task = &kept.task;
            let key = (task.queue.clone(), task.task_type.clone(), task.head.state.state());
            *counts.entry(key).or_insert(0) += 1;
        }
        let mut workers = WorkerCounts::default();
        for worker in self.workers.values() {
            workers.add(worker.status(policy, now), self.held_by(&worker.id).next().is_some());
        }
        let mut of_queues: StatesOfQueues =
            self.queues.keys().map(|name| (name.clone(), BTreeMap::new())).collect();
        for ((queue, _, state), tasks) in &counts {
            *of_queues.entry(queue.clone()).or_default().entry(*state).or_default() += tasks;
        }
        let size = (of_queues.len() as u64, counts.len() as u64);
        let states = sum_of_states(&of_queues);
        let listed = Stats::foremost(of_queues);
        let counts = counts
            .into_iter()
            .filter(|((queue, ..), _)| listed.contains_key(queue))
            .map(|((queue, task_type, state), tasks)| Count {
                queue,
                task_type: Some(task_type),
                state,
                tasks,
            })
            .collect();
        let queues = listed.keys().map(|name| self.queue_stats(name, now)).collect();
        let mut hours = Hours::default();
        let all = [(&self.waits, What::Wait), (&self.runs, What::Run), (&self.failures, What::Failed)];
        for (list, what) in all {
            for (_, at, _) in list.iter().filter(|(queue, ..)| listed.contains_key(queue)) {
                hours.add(Hours::of(*at), what, 1);
            }
        }
        let stats = Stats::bounded(now, size, (states, sum_of_states(&listed)), counts, queues, workers);
        Stats { hours: hours.last_day(now), ..stats }
    }
}

fn percentiles(sorted: &[Duration]) -> Percentiles {
    let rank = |percent: usize| {
        let place = (sorted.len() * percent).div_ceil(100);
        sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
    };
    Percentiles { count: sorted.len() as u64, p50: rank(50), p95: rank(95), p99: rank(99) }
}
