//! Work that waits and that no live worker takes is told: in the log, once when it begins and once when it ends, and wherever else the
//! server tells how it stands. Nobody may have noticed that the workers of a queue were never started.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_http::App;
use baton_model::{QueueName, Reason, Status, TaskId, Timestamp};
use baton_runtime::Shutdown;
use baton_store::{PageRequest, StoreError, TaskFilter};

/// How often it is looked at, where asking costs nothing.
const LOOK: Duration = Duration::from_secs(10);

/// The same where each question is paid for.
const PAID_LOOK: Duration = Duration::from_secs(60);

/// How long a task must have been ready. With [`LOOK`], what nobody takes is told within 30 seconds.
const WAITED: Duration = Duration::from_secs(15);

/// Of how many queues it is asked at one look; those whose tasks wait longest.
const QUEUES: usize = 20;

/// Looks until `shutdown` begins.
pub async fn run_untaken(app: App, shutdown: Shutdown) {
    // Statistics that show each write at once are those of a file of this machine.
    let is_file = app.store.capabilities().fresh_lists;
    let pause = if is_file { LOOK } else { PAID_LOOK };
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(error) = look_for_untaken(&app, is_file).await {
            tracing::warn!(
                error = error.report(),
                "whether work waits that no worker takes could not be seen"
            );
        }
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
