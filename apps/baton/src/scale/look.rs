//! What is seen of a pool: its tasks, by the server; its machines, by their provider; the workers on them, by the server.

use std::collections::{BTreeMap, HashMap};

use baton_api::ProblemCode;
use baton_api::fleet::{QueueView, WorkerView};
use baton_client::{Client, ClientError};
use baton_machines::{Machine, State};
use baton_model::{LimitOn, QueueName, WorkerStatus};
use baton_scaling::{Counts, Policy, QueueFacts, SeenMachine, SeenWorker};

use crate::pages;

/// What the server tells once for all pools.
pub(crate) struct Known {
    blocked: BTreeMap<QueueName, u64>,
    room: BTreeMap<QueueName, u64>,
    workers: Vec<WorkerView>,
}

impl Known {
    pub(crate) async fn read(client: &Client) -> Result<Self, ClientError> {
        let mut blocked = BTreeMap::new();
        for count in client.stats().await?.counts {
            if count.state == baton_model::State::Blocked.as_str() {
                *blocked.entry(count.queue).or_default() += count.tasks;
            }
        }
        let (limits, _) = pages::first(pages::ALL, async |cursor: Option<String>, most| {
            client.limits(cursor.as_deref(), Some(most)).await
        })
        .await?;
        let mut room = BTreeMap::new();
        for limit in limits {
            let taken = limit.running.unwrap_or(0).saturating_add(limit.held.unwrap_or(0));
            if let (LimitOn::Queue(queue), Some(most)) = (limit.on, limit.max_running) {
                room.insert(queue, u64::from(most.saturating_sub(taken)));
            }
        }
        Ok(Self { blocked, room, workers: workers(client).await? })
    }

    /// The workers alone.
    pub(crate) async fn workers(client: &Client) -> Result<Self, ClientError> {
        Ok(Self { blocked: BTreeMap::new(), room: BTreeMap::new(), workers: workers(client).await? })
    }

    /// The tasks of a pool.
    pub(crate) async fn counts(&self, client: &Client, policy: &Policy) -> Result<Counts, ClientError> {
        let mut facts = Vec::with_capacity(policy.queues.len());
        for queue in &policy.queues {
            match client.queue(queue).await {
                Ok(view) => facts.push(self.facts(&view)),
                // No task has named it yet.
                Err(error) if error.code() == Some(ProblemCode::QueueNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Counts::of(facts))
    }

    fn facts(&self, queue: &QueueView) -> QueueFacts {
        QueueFacts {
            ready: queue.queued,
            later: queue.created.saturating_add(queue.retry),
            blocked: self.blocked.get(&queue.name).copied().unwrap_or_default(),
            running: queue.running,
            is_paused: queue.paused,
            room: self.room.get(&queue.name).copied(),
        }
    }

    /// The machines that are paid for, with the workers on them: by the machine's id, else by its name.
    pub(crate) fn machines(&self, listed: Vec<Machine>) -> Vec<SeenMachine> {
        let listed: Vec<Machine> =
            listed.into_iter().filter(|machine| machine.state != State::Stopped).collect();
        let ids: HashMap<&str, usize> = listed.iter().map(|machine| machine.id.as_str()).zip(0..).collect();
        let mut on: Vec<Vec<SeenWorker>> = vec![Vec::new(); listed.len()];
        for worker in &self.workers {
            let Some(place) = worker.labels.get(baton_model::Worker::MACHINE) else { continue };
            match ids.get(place.as_str()) {
                Some(at) => on[*at].push(seen(worker)),
                // On one of several of a name it may be on each.
                None => (listed.iter().zip(&mut on))
                    .filter(|(machine, _)| machine.name == *place)
                    .for_each(|(_, on)| on.push(seen(worker))),
            }
        }
        (listed.into_iter().zip(on))
            .map(|(machine, workers)| SeenMachine {
                id: machine.id,
                price_per_hour: machine.price_per_hour,
                started_at: machine.started_at,
                is_stopping: machine.state == State::Stopping,
                workers,
            })
            .collect()
    }
}

pub(crate) async fn workers(client: &Client) -> Result<Vec<WorkerView>, ClientError> {
    let (workers, _) = pages::first(pages::ALL, async |cursor: Option<String>, most| {
        client.workers(cursor.as_deref(), Some(most)).await
    })
    .await?;
    Ok(workers)
}

/// A worker as scaling sees it.
pub(crate) fn seen(worker: &WorkerView) -> SeenWorker {
    let beats =
        matches!(worker.status, WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Stopping);
    SeenWorker {
        id: worker.id.to_string(),
        // One that has only claimed lives as long as it holds something.
        is_alive: beats || worker.status == WorkerStatus::Silent && worker.active > 0,
        is_gone: worker.status == WorkerStatus::Gone,
        directive: worker.directive,
        holds: worker.active,
        heard_at: worker.last_beat_at.max(worker.ended_at).or(Some(worker.started_at)),
    }
}
