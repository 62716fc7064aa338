//! Work that waits and that no live worker takes is told: in the log, once when it begins and once when it ends, and wherever else it is
//! told how all stands. Nobody may have noticed that the workers of a queue were never started.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::{QueueName, Reason, Status, TaskId, Timestamp};
use baton_store::{PageRequest, StoreError, TaskFilter};

use crate::App;

/// How long a task must have been ready.
const WAITED: Duration = Duration::from_secs(15);

/// Of how many queues it is asked at one look; those whose tasks wait longest.
const QUEUES: usize = 20;

/// The queues that are known to have such work, each with why.
#[derive(Debug, Default)]
pub struct Untaken(Mutex<BTreeMap<QueueName, String>>);

impl Untaken {
    /// Takes note of what a look has found. Gives what has changed by it: queues that came to it, with why, and those that
    /// are over it.
    pub fn turn(&self, found: BTreeMap<QueueName, String>) -> Vec<(QueueName, Option<String>)> {
        let mut known = self.known();
        let over =
            known.keys().filter(|queue| !found.contains_key(*queue)).map(|queue| (queue.clone(), None));
        let come = found.iter().filter(|(queue, _)| !known.contains_key(*queue));
        let changes = over.chain(come.map(|(queue, why)| (queue.clone(), Some(why.clone())))).collect();
        *known = found;
        changes
    }

    /// The queues.
    pub fn queues(&self) -> Vec<QueueName> {
        self.known().keys().cloned().collect()
    }

    /// The queues, each with why.
    pub fn all(&self) -> BTreeMap<QueueName, String> {
        self.known().clone()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<QueueName, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks once, and tells what has changed since the last look. `of_all`: at each queue that statistics list, and not only at that of
/// the longest wait.
///
/// # Errors
/// The store's own failures; what was found before stays.
pub async fn look_for_untaken(app: &App, of_all: bool) -> Result<(), StoreError> {
    let now = app.now();
    let mut waiting: Vec<(QueueName, Duration)> = if of_all {
        let stats = app.store.stats(now).await?;
        app.minutes.note(&stats);
        let open = stats.queues.into_iter().filter(|queue| queue.pause.is_none());
        open.filter_map(|queue| Some((queue.queue, queue.oldest_ready?))).collect()
    } else {
        app.store.waiting(now).await?.longest.into_iter().collect()
    };
    waiting.retain(|(_, age)| *age >= WAITED);
    waiting.sort_by_key(|(_, age)| std::cmp::Reverse(*age));
    let mut found = BTreeMap::new();
    for (queue, age) in waiting.into_iter().take(QUEUES) {
        if let Some(why) = nobody_takes(app, &queue, age, now).await? {
            found.insert(queue, why);
        }
    }
    for (queue, why) in app.untaken.turn(found) {
        match why {
            Some(why) => tracing::warn!(%queue, why, "work waits and no worker takes it; start one"),
            None => tracing::info!(%queue, "no work waits any more that no worker takes"),
        }
    }
    Ok(())
}

/// Why nobody takes the task of a queue that waits longest, if nobody does.
async fn nobody_takes(
    app: &App,
    queue: &QueueName,
    age: Duration,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let Some(task) = oldest(app, queue, age, now).await? else { return Ok(None) };
    let why = match app.store.why(task, now).await {
        Ok(why) => why,
        // It was removed meanwhile.
        Err(StoreError::TaskNotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    // A task that something else keeps waits for that.
    let first = why.reasons.first();
    let nobody = first.is_some_and(|reason| matches!(reason, Reason::NoWorker { .. }));
    Ok(nobody.then(|| format!("no live worker takes type {} of queue {queue}", why.task_type)))
}

/// A ready task of a queue: one of the oldest, if it can be told by when it was created.
async fn oldest(
    app: &App,
    queue: &QueueName,
    age: Duration,
    now: Timestamp,
) -> Result<Option<TaskId>, StoreError> {
    let filter = TaskFilter {
        statuses: vec![Status::Queued],
        queue: Some(queue.clone()),
        now,
        ..TaskFilter::default()
    };
    let before = now.minus(age.saturating_sub(Duration::from_secs(1)));
    let old = TaskFilter { created_before: Some(before), ..filter.clone() };
    for filter in [old, filter] {
        let page = app.store.tasks(filter, PageRequest::first(1)).await?;
        if let Some(task) = page.items.into_iter().next() {
            return Ok(Some(task.head.id));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_queue_is_told_when_it_comes_and_when_it_is_over() {
        let untaken = Untaken::default();
        let found =
            |names: &[&str]| names.iter().map(|name| (name.parse().unwrap(), "why".to_owned())).collect();
        let told = |changes: Vec<(QueueName, Option<String>)>| -> Vec<(String, bool)> {
            changes.into_iter().map(|(queue, why)| (queue.to_string(), why.is_some())).collect()
        };
        let is = |name: &str, come: bool| (name.to_owned(), come);
        assert_eq!(told(untaken.turn(found(&["a", "b"]))), [is("a", true), is("b", true)]);
        assert_eq!(told(untaken.turn(found(&["a", "b"]))), []);
        assert_eq!(told(untaken.turn(found(&["b", "c"]))), [is("a", false), is("c", true)]);
        assert_eq!(untaken.queues().len(), 2);
        assert_eq!(told(untaken.turn(found(&[]))), [is("b", false), is("c", false)]);
    }
}
