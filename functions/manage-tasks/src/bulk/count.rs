//! How many tasks a bulk command would look at: what a dry run answers.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_api::bulk::BulkCountView;
use baton_http::App;
use baton_model::{Bulk, BulkFilter, BulkTasks, QueueName, State, Status, TaskId};
use baton_store::bulk::filter_of;
use baton_store::{Count, Linked, PageRequest, StoreError, Tasks, Waits};
use tokio::time::Instant;

/// Up to how many tasks a dry run counts.
const COUNTED: u64 = 10_000;

/// How long a dry run counts at most.
const COUNTING: Duration = Duration::from_secs(5);

/// How many tasks are looked up at once by their ids: on DynamoDB each costs a query, so that a hundred take about half a second.
const LOOKED_UP: usize = 100;

/// How many tasks a command would look at.
pub(super) async fn count(app: &App, bulk: &Bulk) -> Result<BulkCountView, StoreError> {
    match &bulk.tasks {
        BulkTasks::Ids(ids) => of_ids(app, bulk, ids).await,
        BulkTasks::Filter(filter) => of_filter(app, bulk, filter).await,
    }
}

/// Of these tasks, those that there are, that the command reaches, and whose state it may be done to.
async fn of_ids(app: &App, bulk: &Bulk, ids: &[TaskId]) -> Result<BulkCountView, StoreError> {
    let states: BTreeSet<State> = bulk.action.statuses().iter().map(|status| status.state()).collect();
    let fits = |task: &&Linked| bulk.covers(&task.queue, &task.project) && states.contains(&task.state);
    let ids: Vec<TaskId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let (began, mut matches) = (Instant::now(), 0);
    for (part, ids) in ids.chunks(LOOKED_UP).enumerate() {
        if part > 0 && began.elapsed() >= COUNTING {
            return Ok(BulkCountView { matches, more: true, about: None });
        }
        matches += app.store.linked(ids.to_vec()).await?.iter().filter(fits).count() as u64;
    }
    Ok(BulkCountView { matches, more: false, about: None })
}

/// The tasks that fit the filter.
async fn of_filter(app: &App, bulk: &Bulk, filter: &BulkFilter) -> Result<BulkCountView, StoreError> {
    let listed = filter_of(bulk, filter);
    let (began, mut matches, mut request) = (Instant::now(), 0, PageRequest::first(1_000));
    loop {
        let page = app.store.tasks(listed.clone(), request).await?;
        matches += page.items.iter().filter(|task| bulk.covers(&task.queue, &task.project)).count() as u64;
        match page.next {
            None => return Ok(BulkCountView { matches, more: false, about: None }),
            Some(_) if matches >= COUNTED || began.elapsed() >= COUNTING => {
                // Statistics may trail: what they know less of than was counted, they do not tell.
                let about = about(app, bulk, filter).await?.filter(|about| *about > matches);
                return Ok(BulkCountView { matches, more: true, about });
            }
            Some(next) => request = PageRequest { after: Some(next), ..PageRequest::first(1_000) },
        }
    }
}

/// How many tasks fit a filter by the statistics, which cost the same however many there are; none if the filter asks for more than
/// queue, type and status, which these do not tell apart.
async fn about(app: &App, bulk: &Bulk, filter: &BulkFilter) -> Result<Option<u64>, StoreError> {
    let BulkFilter { statuses, task_type, queue, .. } = filter;
    let told = BulkFilter {
        statuses: statuses.clone(),
        task_type: task_type.clone(),
        queue: queue.clone(),
        ..BulkFilter::default()
    };
    if *filter != told || bulk.project.is_some() {
        return Ok(None);
    }
    let wanted = if statuses.is_empty() { bulk.action.statuses() } else { statuses.as_slice() };
    let waiting = [Status::Created, Status::Queued, Status::Retry].map(|status| wanted.contains(&status));
    // By type they tell only those of all three together.
    let (some_wait, all_wait) = (waiting.contains(&true), !waiting.contains(&false));
    let by_status = some_wait && !all_wait;
    if by_status && task_type.is_some() {
        return Ok(None);
    }
    let states = wanted.iter().map(|status| status.state());
    let states: BTreeSet<State> = states.filter(|state| !by_status || *state != State::Queued).collect();
    let stats = app.store.stats(app.now()).await?;
    let is_of = |name: &QueueName| {
        queue.as_ref().is_none_or(|queue| queue == name)
            && (bulk.queues.is_empty() || bulk.queues.contains(name))
    };
    let fits = |count: &&Count| {
        is_of(&count.queue)
            && states.contains(&count.state)
            && (task_type.is_none() || count.task_type == *task_type)
    };
    let is_of_all = queue.is_none() && task_type.is_none() && bulk.queues.is_empty();
    let in_states: u64 = match is_of_all {
        true => states.iter().filter_map(|state| stats.states.get(state)).sum(),
        false => stats.counts.iter().filter(fits).map(|count| count.tasks).sum(),
    };
    if !by_status {
        return Ok(Some(in_states));
    }
    let of = |status: Status, tasks: Tasks| if wanted.contains(&status) { tasks.tasks } else { 0 };
    let queues = stats.queues.iter().filter(|one| is_of(&one.queue));
    let in_queues: u64 = queues
        .map(|one| {
            let Waits { ready, created, retry } = one.waits;
            of(Status::Queued, ready) + of(Status::Created, created) + of(Status::Retry, retry)
        })
        .sum();
    Ok(Some(in_states + in_queues))
}
