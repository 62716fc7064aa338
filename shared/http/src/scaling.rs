//! How many machines should run workers: what waits in each pool's queues, who works there, and what follows from both. Told by a route,
//! as metrics, to KEDA, and by the reaper's round on AWS.

use std::collections::{BTreeMap, BTreeSet};

use baton_api::scaling::PoolView;
use baton_model::{Directive, LimitOn, QueueName, State as TaskState, Timestamp, Worker, WorkerStatus};
use baton_scaling::{Counts, Policy, QueueFacts, Wanted};
use baton_store::{Page, Stats, StoreError, WorkerDetail};

use crate::app::App;

/// Each pool of the settings as it is at `now`; the store is not asked if there is none.
///
/// # Errors
/// The store's own failures.
pub async fn pools(app: &App, now: Timestamp) -> Result<Vec<PoolView>, StoreError> {
    if app.scaling.is_empty() {
        return Ok(Vec::new());
    }
    let stats = app.store.stats(now).await?;
    pools_by(app, &stats, now).await
}

/// The same by counts of all tasks that were read already.
///
/// # Errors
/// The store's own failures.
pub async fn pools_by(app: &App, stats: &Stats, now: Timestamp) -> Result<Vec<PoolView>, StoreError> {
    if app.scaling.is_empty() {
        return Ok(Vec::new());
    }
    let known = Known::read(app, stats).await?;
    let mut items = Vec::with_capacity(app.scaling.len());
    for policy in &app.scaling {
        items.push(pool(app, policy, &known, now).await?);
    }
    Ok(items)
}

/// What is read once for all pools.
struct Known {
    blocked: BTreeMap<QueueName, u64>,
    room: BTreeMap<QueueName, u64>,
    workers: Vec<WorkerDetail>,
}

impl Known {
    async fn read(app: &App, stats: &Stats) -> Result<Self, StoreError> {
        let mut blocked = BTreeMap::new();
        for count in stats.counts.iter().filter(|count| count.state == TaskState::Blocked) {
            *blocked.entry(count.queue.clone()).or_default() += count.tasks;
        }
        let mut room = BTreeMap::new();
        for one in Page::all(|page| app.store.limits(page)).await? {
            let taken = one.running.unwrap_or(0).saturating_add(one.held.unwrap_or(0));
            if let (LimitOn::Queue(queue), Some(most)) = (one.limit.on, one.limit.rules.max_running) {
                room.insert(queue, u64::from(most.saturating_sub(taken)));
            }
        }
        let workers = Page::all(|page| app.store.workers(page)).await?;
        Ok(Self { blocked, room, workers })
    }
}

async fn pool(app: &App, policy: &Policy, known: &Known, now: Timestamp) -> Result<PoolView, StoreError> {
    let mut facts = Vec::with_capacity(policy.queues.len());
    for queue in &policy.queues {
        let stats = match app.store.queue(queue, now).await {
            Ok(stats) => stats,
            // No task has named it yet.
            Err(StoreError::QueueNotFound(_)) => continue,
            Err(error) => return Err(error),
        };
        facts.push(QueueFacts {
            ready: stats.waits.ready.tasks,
            later: stats.waits.later().tasks,
            blocked: known.blocked.get(queue).copied().unwrap_or_default(),
            running: stats.running,
            is_paused: stats.pause.is_some(),
            room: known.room.get(queue).copied(),
        });
    }
    let counts = Counts::of(facts);
    let wanted = Wanted::of(policy, &counts);
    let works = |detail: &&WorkerDetail| {
        let takes = |queue| detail.worker.takes.iter().any(|takes| takes.takes_from(queue));
        let status = detail.worker.status(&app.leases, now);
        // One that has only claimed lives as long as it holds something.
        let is_alive = status == WorkerStatus::Active || status == WorkerStatus::Silent && detail.active > 0;
        is_alive && detail.worker.directive == Directive::Run && policy.queues.iter().any(takes)
    };
    let workers: Vec<&WorkerDetail> = known.workers.iter().filter(works).collect();
    let machines: BTreeSet<(bool, &str)> = (workers.iter())
        .map(|detail| match detail.worker.labels.get(Worker::MACHINE) {
            Some(machine) => (true, machine.as_str()),
            None => (false, detail.worker.id.as_str()),
        })
        .collect();
    let many = |many: usize| u32::try_from(many).unwrap_or(u32::MAX);
    Ok(PoolView {
        name: policy.name.clone(),
        queues: policy.queues.clone(),
        wanted: wanted.machines,
        have: many(machines.len()),
        workers: many(workers.len()),
        idle: many(workers.iter().filter(|detail| detail.active == 0).count()),
        why: wanted.why.as_str().to_owned(),
        bound: wanted.bound.map(|bound| bound.as_str().to_owned()),
        tasks: counts.tasks(),
        claimable: counts.claimable,
        running: counts.running,
        at_limit: counts.at_limit,
        paused: counts.paused,
        blocked: counts.blocked,
        later: counts.later,
        least: policy.least,
        most: policy.bound().0,
        tasks_per_machine: policy.tasks_per_machine,
    })
}
