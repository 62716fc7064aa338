//! Bulk commands: how their records are kept, and how they are carried out, a page at a time.
//!
//! A step notes a page of the command's list with its record, does the command to each task of it, and notes what became of them.
//! Killed in between, the next step finds the page noted and does what is left of it: a task that has an event of the command was
//! done, and is counted and left. So each task is changed once, and counted once, however often a step is cut off and wherever steps
//! run.

use std::collections::BTreeMap;

use async_trait::async_trait;
use baton_model::transition::Refusal;
use baton_model::{
    Bulk, BulkAction, BulkFilter, BulkId, BulkOutcome, BulkState, BulkTasks, Task, TaskId, Timestamp,
};
use futures::{StreamExt, TryStreamExt};

use crate::{
    Cancel, ChangeTask, Cursor, ErrorKind, Page, PageRequest, Remove, Retry, Store, StoreError, TaskDetail,
    TaskFilter,
};

/// How many tasks of a page are done at the same time: on SQLite they share a commit.
const AT_ONCE: usize = 50;

/// What a task is skipped for that is not there, or that the command does not reach.
pub const GONE: &str = "gone";

/// What a task is skipped for that is so already.
pub const ALREADY: &str = "already";

/// Keeps the records of bulk commands.
#[async_trait]
pub trait BulkStore: Send + Sync {
    /// Keeps the record of a new command. One of its id that is there stays as it is.
    ///
    /// # Errors
    /// The store's own failures.
    async fn create_bulk(&self, bulk: Bulk) -> Result<(), StoreError>;

    /// A command's record; none if there is none.
    ///
    /// # Errors
    /// The store's own failures.
    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError>;

    /// Puts a record in the place of the one of the version before it; says whether that was there. Sent again, it says so again.
    ///
    /// # Errors
    /// The store's own failures.
    async fn put_bulk(&self, bulk: Bulk) -> Result<bool, StoreError>;

    /// Records by id, the newest first. Those that ended long ago ([`Bulk::KEPT`]) go with a purge.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn bulks(&self, page: PageRequest) -> Result<Page<Bulk>, StoreError>;

    /// Commands that go on, some of them at least, in any order. The newest may be missing for a moment.
    ///
    /// # Errors
    /// The store's own failures.
    async fn open_bulks(&self) -> Result<Vec<BulkId>, StoreError>;
}

/// The tasks that a bulk command's filter is about, as a list's.
pub fn filter_of(bulk: &Bulk, filter: &BulkFilter) -> TaskFilter {
    let after_it = bulk.created_at.plus(std::time::Duration::from_millis(1));
    let statuses = match filter.statuses.is_empty() {
        true => bulk.action.statuses().to_vec(),
        false => filter.statuses.clone(),
    };
    TaskFilter {
        statuses,
        task_type: filter.task_type.clone(),
        queue: filter.queue.clone(),
        project: bulk.project.clone().or_else(|| filter.project.clone()),
        domain: filter.domain.clone(),
        assigned_by: filter.assigned_by.clone(),
        worker: filter.worker.clone(),
        created_from: filter.created_from,
        created_before: Some(filter.created_before.map_or(after_it, |before| before.min(after_it))),
        // As things stood when it was made: else the clock would move tasks about in the list while it is gone down.
        now: bulk.created_at,
    }
}

/// A page of the list.
struct Found {
    ids: Vec<TaskId>,
    /// The tasks, where the list has told them.
    tasks: BTreeMap<TaskId, Task>,
    after: Option<String>,
    is_last: bool,
}

async fn next_page(store: &dyn Store, bulk: &Bulk, size: u32) -> Result<Found, StoreError> {
    match &bulk.tasks {
        BulkTasks::Filter(filter) => {
            let after = bulk.after.clone().map(Cursor);
            let request = PageRequest { after, ..PageRequest::first(size) };
            let page = store.tasks(filter_of(bulk, filter), request).await?;
            let covered = page.items.into_iter().filter(|task| bulk.covers(&task.queue, &task.project));
            let mut tasks: Vec<_> = covered.map(|task| (task.head.id, task)).collect();
            if bulk.again {
                tasks = not_done(store, bulk, tasks).await?;
            }
            let ids = tasks.iter().map(|(id, _)| *id).collect();
            let is_last = page.next.is_none();
            Ok(Found {
                ids,
                tasks: tasks.into_iter().collect(),
                after: page.next.map(|next| next.0),
                is_last,
            })
        }
        BulkTasks::Ids(all) => {
            let from = match &bulk.after {
                None => 0,
                Some(text) => text.parse::<usize>().map_err(|_| StoreError::BadCursor)?,
            };
            let to = all.len().min(from.saturating_add(size as usize));
            let ids = all.get(from..to).unwrap_or_default().to_vec();
            let after = Some(to.to_string());
            Ok(Found { ids, tasks: BTreeMap::new(), after, is_last: to >= all.len() })
        }
    }
}

/// Those that have no event of the command, in their order: where a list is gone down again, the others are counted, and are not done a
/// second time though the list tells them again. (Who has done one since then has written the record, too, so that this page is not begun.)
async fn not_done(
    store: &dyn Store,
    bulk: &Bulk,
    tasks: Vec<(TaskId, Task)>,
) -> Result<Vec<(TaskId, Task)>, StoreError> {
    let looked = futures::stream::iter(tasks).map(|(id, task)| async move {
        let is_over = matches!(look(store, bulk, id).await?, Look::Over(BulkOutcome::Changed));
        Ok((!is_over).then_some((id, task)))
    });
    let left: Vec<_> = looked.buffered(AT_ONCE).try_collect().await?;
    Ok(left.into_iter().flatten().collect())
}

/// Goes on with a bulk command by one page of up to `size` tasks, and gives its record as it is then. One that has ended, or that
/// another is at, is left.
///
/// # Errors
/// [`StoreError::BulkNotFound`], and the store's own failures; what was done before them stays done, and is not done again.
pub async fn step(store: &dyn Store, id: BulkId, size: u32, now: Timestamp) -> Result<Bulk, StoreError> {
    go_on(store, known(store, id).await?, size, now).await
}

/// As [`step`], of a command whose record was read just now.
///
/// # Errors
/// As [`step`].
pub async fn go_on(store: &dyn Store, bulk: Bulk, size: u32, now: Timestamp) -> Result<Bulk, StoreError> {
    let id = bulk.id;
    if bulk.state != BulkState::Running || bulk.is_busy(now) {
        return Ok(bulk);
    }
    let is_new = bulk.pending.is_empty();
    let (begun, tasks) = if is_new {
        let found = next_page(store, &bulk, size).await?;
        (bulk.begun(found.ids, found.after, found.is_last, now), found.tasks)
    } else {
        (bulk.begun_again(now), BTreeMap::new())
    };
    if !store.put_bulk(begun.clone()).await? {
        // Another was faster: it has the page.
        return known(store, id).await;
    }
    if begun.pending.is_empty() {
        return Ok(begun);
    }
    let done = futures::stream::iter(begun.pending.clone())
        .map(|task| {
            let (bulk, listed) = (&begun, tasks.get(&task));
            async move {
                let outcome = match bulk.action {
                    BulkAction::Delete => remove(store, bulk, task, (listed, is_new), now).await,
                    _ => one(store, bulk, task, listed, now).await,
                };
                (task, outcome)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let (mut outcomes, mut failed) = (BTreeMap::new(), None);
    for (task, outcome) in done {
        match outcome {
            Ok(outcome) => drop(outcomes.insert(task, outcome)),
            // What is left is noted with the page, and done by the next step.
            Err(error) => failed = Some(error),
        }
    }
    let noted = note(store, &begun, &outcomes, now).await?;
    match failed.filter(|_| outcomes.is_empty()) {
        Some(error) => Err(error),
        None => Ok(noted),
    }
}

/// Notes what became of tasks of a page, unless that was noted.
async fn note(
    store: &dyn Store,
    begun: &Bulk,
    outcomes: &BTreeMap<TaskId, BulkOutcome>,
    now: Timestamp,
) -> Result<Bulk, StoreError> {
    let mut standing = begun.clone();
    loop {
        // Another has done the page meanwhile, or what is left of it; it counts what this one has done.
        if standing.page != begun.page || standing.pending.is_empty() {
            return Ok(standing);
        }
        let noted = standing.noted(outcomes, now);
        if store.put_bulk(noted.clone()).await? {
            return Ok(noted);
        }
        // It was called off, perhaps: what was done counts all the same.
        standing = known(store, begun.id).await?;
    }
}

async fn known(store: &dyn Store, id: BulkId) -> Result<Bulk, StoreError> {
    store.bulk(id).await?.ok_or(StoreError::BulkNotFound(id))
}

/// Does the command to one task. `listed` is the task as the page's list told it; none if it was not, or another has begun with it.
async fn one(
    store: &dyn Store,
    bulk: &Bulk,
    id: TaskId,
    listed: Option<&Task>,
    now: Timestamp,
) -> Result<BulkOutcome, StoreError> {
    let looked = match listed {
        Some(_) => None,
        None => match look(store, bulk, id).await? {
            Look::Over(outcome) => return Ok(outcome),
            Look::At(task) => Some(task),
        },
    };
    let Some(before) = listed.or(looked.as_deref()) else { return Ok(BulkOutcome::Skipped(GONE)) };
    let otherwise = match act(store, bulk, id, now).await {
        Ok(after) if after.head.events == before.head.events => return Ok(BulkOutcome::Skipped(ALREADY)),
        Ok(_) => ALREADY,
        // Also one that has left the queues of the command, by another or by this very command.
        Err(StoreError::TaskNotFound(_)) => GONE,
        Err(StoreError::Refused { refusal, .. }) => reason_of(&refusal),
        Err(error) => return Err(error),
    };
    // Another may have done it since it was listed, or it was done and its answer was lost: its history tells whose it is.
    match look(store, bulk, id).await? {
        Look::Over(outcome) => Ok(outcome),
        Look::At(_) => Ok(BulkOutcome::Skipped(otherwise)),
    }
}

/// Removes one task. One that is gone, and was there when the page was begun, is as it is asked to be.
async fn remove(
    store: &dyn Store,
    bulk: &Bulk,
    task: TaskId,
    (listed, is_new): (Option<&Task>, bool),
    now: Timestamp,
) -> Result<BulkOutcome, StoreError> {
    let gone = match listed.is_some() || !is_new {
        true => BulkOutcome::Changed,
        false => BulkOutcome::Skipped(GONE),
    };
    if listed.is_none() {
        match store.task(task).await {
            Ok(detail) if bulk.covers(&detail.task.queue, &detail.task.project) => {}
            Ok(_) => return Ok(BulkOutcome::Skipped(GONE)),
            Err(StoreError::TaskNotFound(_)) => return Ok(gone),
            Err(error) => return Err(error),
        }
    }
    match store.remove(Remove { now, task }).await {
        Ok(()) => Ok(BulkOutcome::Changed),
        Err(StoreError::TaskNotFound(_)) => Ok(gone),
        Err(StoreError::Refused { refusal, .. }) => Ok(BulkOutcome::Skipped(reason_of(&refusal))),
        Err(error) => Err(error),
    }
}

/// How a task stands to the command.
enum Look {
    /// There is nothing to be done.
    Over(BulkOutcome),
    /// It was not done yet.
    At(Box<Task>),
}

async fn look(store: &dyn Store, bulk: &Bulk, id: TaskId) -> Result<Look, StoreError> {
    let TaskDetail { task, history, .. } = match store.task(id).await {
        Ok(detail) => detail,
        Err(StoreError::TaskNotFound(_)) => return Ok(Look::Over(BulkOutcome::Skipped(GONE))),
        Err(error) => return Err(error),
    };
    let mark = bulk.mark();
    let is_its = |reason: &String| reason.starts_with(&mark);
    if history.iter().any(|event| event.detail.reason.as_ref().is_some_and(is_its)) {
        return Ok(Look::Over(BulkOutcome::Changed));
    }
    if !bulk.covers(&task.queue, &task.project) {
        return Ok(Look::Over(BulkOutcome::Skipped(GONE)));
    }
    Ok(Look::At(Box::new(task)))
}

async fn act(store: &dyn Store, bulk: &Bulk, task: TaskId, now: Timestamp) -> Result<Task, StoreError> {
    let (by, reason) = (bulk.by.clone(), Some(bulk.note()));
    match &bulk.action {
        BulkAction::Cancel => store.cancel(Cancel { now, task, by, reason, with_dependants: false }).await,
        BulkAction::Retry => {
            let delay = std::time::Duration::ZERO;
            store.retry(Retry { now, task, by, reason, delay, with_dependants: false }).await
        }
        BulkAction::Delete => Err(StoreError::TaskNotFound(task)),
        BulkAction::Change(to) => {
            let within = bulk.within();
            store.change(ChangeTask { now, task, by, reason, to: to.clone(), within }).await
        }
    }
}

/// Why a task was skipped, in a word.
fn reason_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Finished { state }
        | Refusal::NotFinished { state }
        | Refusal::NotWaiting { state }
        | Refusal::Unfinished { state } => state.as_str(),
        Refusal::WaitedFor => "waited_for",
        Refusal::CompletedIsFinal => "completed",
        Refusal::DependencyFailed { .. } => "dependency_failed",
        Refusal::KeyHeld { .. } => "key_held",
        Refusal::AttemptsUsed { .. } => "attempts_used",
        Refusal::DueTooLate { .. } => "due_too_late",
        Refusal::Expired { .. } => "expired",
        Refusal::HistoryFull => "history_full",
        _ => "refused",
    }
}

/// Calls a bulk command off, and gives its record; one that has ended stays as it is. A page that is under way is done to its end by
/// who is at it; of one that was cut off, what was done is not counted.
///
/// # Errors
/// [`StoreError::BulkNotFound`], and the store's own failures.
pub async fn abort(store: &dyn Store, id: BulkId, now: Timestamp) -> Result<Bulk, StoreError> {
    loop {
        let bulk = known(store, id).await?;
        if bulk.state != BulkState::Running {
            return Ok(bulk);
        }
        let aborted = bulk.aborted(now);
        if store.put_bulk(aborted.clone()).await? {
            return Ok(aborted);
        }
    }
}

/// Goes on with all bulk commands, a page each in turn, while there `is_time`; says whether some are left.
///
/// # Errors
/// The store's own failures; what was done before them stays done, and is not done again.
pub async fn work(
    store: &dyn Store,
    now: &(dyn Fn() -> Timestamp + Send + Sync),
    is_time: &(dyn Fn() -> bool + Send + Sync),
) -> Result<bool, StoreError> {
    loop {
        let (mut is_left, mut is_done) = (false, false);
        for id in store.open_bulks().await? {
            if !is_time() {
                return Ok(true);
            }
            let Some(before) = store.bulk(id).await? else { continue };
            let version = before.version;
            match go_on(store, before, Bulk::PAGE, now()).await {
                Ok(bulk) => {
                    is_left |= bulk.state == BulkState::Running;
                    is_done |= bulk.version != version;
                }
                Err(StoreError::BulkNotFound(_)) => {}
                Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) => {
                    return Err(error);
                }
                // The others go on.
                Err(error) => {
                    tracing::error!(bulk = %id, error = error.report(), "a bulk command cannot go on");
                }
            }
        }
        // Those that are left are in the hands of others.
        if !is_left || !is_done {
            return Ok(is_left);
        }
    }
}
