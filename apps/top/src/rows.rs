//! Which rows a list has, and in what order: of what is known, what the filter leaves, sorted as its user wants it.

use std::cmp::Ordering;

use baton_api::fleet::{QueueView, WorkerView};
use baton_api::task::TaskView;
use baton_model::TaskId;

use crate::state::{Place, Row, State, Stay};

/// The orders of each list, by the names that they are shown with.
pub(crate) const QUEUES: &[&str] = &["waiting", "oldest", "running", "out", "failed", "name"];
pub(crate) const WORKERS: &[&str] = &["name", "tasks", "beat", "life"];
pub(crate) const TASKS: &[&str] = &["age", "worker", "queue", "type", "attempt"];

/// The orders of the list that its user looks at; none of a page of lines.
pub(crate) fn orders(place: &Place) -> &'static [&'static str] {
    match place {
        Place::Queues => QUEUES,
        Place::Workers => WORKERS,
        Place::Tasks | Place::Queue(_) => TASKS,
        Place::Wrong | Place::Worker(_) | Place::Task(_) => &[],
    }
}

/// The rows of where its user is.
pub(crate) fn rows(state: &State) -> Vec<Row> {
    match &state.stay().place {
        Place::Queues => queues(state).iter().map(|queue| Row::Queue(queue.name.clone())).collect(),
        Place::Workers => workers(state).iter().map(|worker| Row::Worker(worker.id.clone())).collect(),
        Place::Tasks | Place::Queue(_) => tasks(state).iter().map(|task| Row::Task(task.id)).collect(),
        Place::Worker(id) => {
            let worker = state.known.worker.as_ref().filter(|worker| worker.id == *id);
            worker
                .map(|worker| worker.tasks.iter().map(|held| Row::Task(held.task_id)).collect())
                .unwrap_or_default()
        }
        Place::Wrong | Place::Task(_) => Vec::new(),
    }
}

/// How many queues there are besides those that the server has told of; and whether that is all that is known.
pub(crate) fn further_queues(state: &State) -> (u64, bool) {
    match (&state.known.stats, &state.known.queues) {
        (_, Some(queues)) => (u64::from(queues.more), false),
        (Some((stats, _)), None) => (stats.other_queues.as_ref().map_or(0, |others| others.queues), true),
        (None, None) => (0, true),
    }
}

fn all_queues(state: &State) -> &[QueueView] {
    match (&state.known.queues, &state.known.stats) {
        (Some(queues), _) => &queues.items,
        (None, Some((stats, _))) => &stats.queues,
        (None, None) => &[],
    }
}

/// How many tasks of a queue have failed, as far as that is told.
pub(crate) fn failed(state: &State, queue: &QueueView) -> Option<u64> {
    state.known.stats.as_ref()?;
    Some(state.known.failed.get(&queue.name).copied().unwrap_or_default())
}

/// How many tasks of a queue wait for others, as far as that is told.
pub(crate) fn blocked(state: &State, queue: &QueueView) -> u64 {
    state.known.blocked.get(&queue.name).copied().unwrap_or_default()
}

/// The queues that are shown.
pub(crate) fn queues(state: &State) -> Vec<&QueueView> {
    let stay = state.stay();
    let mut queues: Vec<_> =
        all_queues(state).iter().filter(|queue| fits(stay, &[queue.name.as_str()])).collect();
    if let Some(asked) = &state.known.queue
        && wanted_by_name(stay, asked.name.as_str())
        && !queues.iter().any(|queue| queue.name == asked.name)
    {
        queues.push(asked);
    }
    let down = |a: f64, b: f64| b.total_cmp(&a);
    let out = |queue: &QueueView| state.known.rates.of(&queue.name).unwrap_or_default().out;
    sorted(
        &mut queues,
        stay,
        QUEUES,
        |order, a, b| match order {
            "waiting" => b.waiting.cmp(&a.waiting),
            "oldest" => {
                down(a.oldest_ready_seconds.unwrap_or_default(), b.oldest_ready_seconds.unwrap_or_default())
            }
            "running" => b.running.cmp(&a.running),
            "out" => down(out(a), out(b)),
            "failed" => failed(state, b).cmp(&failed(state, a)),
            _ => a.name.cmp(&b.name),
        },
        |a, b| a.name.cmp(&b.name),
    );
    queues
}

/// The workers that are shown.
pub(crate) fn workers(state: &State) -> Vec<&WorkerView> {
    let stay = state.stay();
    let all = state.known.workers.as_ref().map(|workers| &workers.items[..]).unwrap_or_default();
    let fit = |worker: &&WorkerView| {
        let life = worker.life.as_ref().map(|life| &*life.state).unwrap_or_default();
        fits(stay, &[worker.id.as_str(), life, worker.status.as_str()])
    };
    let mut workers: Vec<_> = all.iter().filter(fit).collect();
    if let Some(asked) = &state.known.worker
        && wanted_by_name(stay, asked.id.as_str())
        && !workers.iter().any(|worker| worker.id == asked.id)
    {
        workers.push(asked);
    }
    sorted(
        &mut workers,
        stay,
        WORKERS,
        |order, a, b| match order {
            "tasks" => b.active.cmp(&a.active),
            "beat" => a.last_beat_at.cmp(&b.last_beat_at),
            "life" => a.status.as_str().cmp(b.status.as_str()),
            _ => Ordering::Equal,
        },
        |a, b| a.id.cmp(&b.id),
    );
    workers
}

/// The tasks that are shown.
pub(crate) fn tasks(state: &State) -> Vec<&TaskView> {
    let stay = state.stay();
    let listed = state.known.tasks.as_ref().filter(|(of, _)| Some(of) == state.tasks_here().as_ref());
    let all = listed.map(|(_, tasks)| &tasks.items[..]).unwrap_or_default();
    let fit = |task: &&TaskView| {
        let worker = task.lease.as_ref().map(|lease| lease.worker_id.to_string()).unwrap_or_default();
        let error = task.error.as_ref().map(|error| &*error.message).unwrap_or_default();
        let of = [task.queue.as_str(), task.task_type.as_str(), task.project.as_str(), task.status.as_str()];
        fits(stay, &[&of[..], &[&task.id.to_string(), &worker, error]].concat())
    };
    let mut tasks: Vec<_> = all.iter().filter(fit).collect();
    let worker = |task: &TaskView| task.lease.as_ref().map(|lease| lease.worker_id.clone());
    sorted(
        &mut tasks,
        stay,
        TASKS,
        |order, a, b| match order {
            "age" => since(a).cmp(&since(b)),
            "worker" => worker(a).cmp(&worker(b)),
            "queue" => a.queue.cmp(&b.queue),
            "type" => a.task_type.cmp(&b.task_type),
            "attempt" => b.attempt.cmp(&a.attempt),
            _ => Ordering::Equal,
        },
        |a, b| a.id.cmp(&b.id),
    );
    tasks
}

/// Since when a task is as it is: a running one since its claim.
pub(crate) fn since(task: &TaskView) -> baton_model::Timestamp {
    task.lease.as_ref().map_or(task.updated_at, |lease| lease.claimed_at)
}

/// How far a task has come, by what its worker last said.
pub(crate) fn progress(state: &State, id: TaskId) -> Option<f64> {
    let workers = state.known.workers.as_ref()?;
    let mut held = workers.items.iter().flat_map(|worker| &worker.tasks);
    held.find(|held| held.task_id == id)?.progress
}

/// Whether one of these contains what the filter says, in letters of any size.
fn fits(stay: &Stay, texts: &[&str]) -> bool {
    let wanted = stay.filter.to_lowercase();
    wanted.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&wanted))
}

/// Whether the filter is this very name.
fn wanted_by_name(stay: &Stay, name: &str) -> bool {
    stay.filter == name
}

fn sorted<T>(
    rows: &mut [&T],
    stay: &Stay,
    orders: &[&'static str],
    by: impl Fn(&str, &T, &T) -> Ordering,
    then: impl Fn(&T, &T) -> Ordering,
) {
    let order = orders.get(stay.order).copied().unwrap_or_default();
    rows.sort_by(|a, b| {
        let first = by(order, a, b);
        (if stay.turned { first.reverse() } else { first }).then_with(|| then(a, b))
    });
}
