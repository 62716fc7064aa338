//! Lists by status, each by the way on which its tasks are found without the others.
//!
//! The index has the tasks that wait by when they are due, those that run by when they were claimed, and those that
//! failed or were cancelled by when they did. Completed ones are found by their generations. So such a list is in the
//! order in which its tasks came to that status, the latest first, and its page costs what its tasks cost, however many
//! others there are. Completed tasks together with others go down the days, as all tasks do.

use std::collections::{HashMap, HashSet};

use baton_model::{State, Status, Task, TaskId, Timestamp};
use baton_store::{Cursor, Page, PageRequest, StoreError, TaskFilter};

use crate::attr::Item;
use crate::descent::{Descent, key_of};
use crate::error::damaged;
use crate::generation::StoredGeneration;
use crate::keys;
use crate::lane::Choice;
use crate::list::{COMPLETED, DISORDER, Fits, LOOKS, PAGE_BYTES, chunk, head_fits, is, task_fits};
use crate::row::Stored;
use crate::store::Inner;

/// How many tasks are read from the table at a time.
const READ: usize = 100;

/// What a list's cursors begin with.
const LETTER: &str = "s:";

/// An item on the way: the task that it names, if that is wanted, and the cursor behind it.
struct Hint {
    task: Option<TaskId>,
    cursor: Cursor,
}

impl Inner {
    /// Tasks by filter, if its statuses have a way of their own.
    pub(crate) async fn tasks_by_status(
        &self,
        filter: &TaskFilter,
        request: &PageRequest,
    ) -> Result<Option<Page<Task>>, StoreError> {
        let statuses = &filter.statuses;
        if statuses.is_empty() {
            return Ok(None);
        }
        if statuses.iter().all(|status| *status == Status::Completed) {
            let descent = self.descent(COMPLETED, request, None).await?;
            return self
                .page_of_tasks(filter, request, descent, |item| completed(item, filter))
                .await
                .map(Some);
        }
        if statuses.contains(&Status::Completed) {
            return Ok(None);
        }
        let after = match &request.after {
            None => None,
            Some(Cursor(text)) => match text.strip_prefix(LETTER) {
                Some(key) if !key.is_empty() => Some(key.to_owned()),
                _ => return Err(StoreError::BadCursor),
            },
        };
        // Of tasks that wait, those for later come first: a list of those that are ready begins below them.
        let ready = statuses.iter().all(|status| *status == Status::Queued);
        let bound = ready.then(|| keys::sortable(Timestamp::from_millis(filter.now.as_millis() + 1)));
        let below = match (after, bound) {
            (Some(after), Some(bound)) => Some(after.min(bound)),
            (one, other) => one.or(other),
        };
        let partitions = self.partitions_of(filter).await?;
        let chunk = chunk(request, partitions.len() as u64);
        let descent = Descent::of_index(&self.db, partitions, below, chunk);
        self.page_of_tasks(filter, request, descent, |item| indexed(item, filter)).await.map(Some)
    }

    /// The partitions of the index where tasks of the wanted statuses lie.
    async fn partitions_of(&self, filter: &TaskFilter) -> Result<Vec<String>, StoreError> {
        let wanted = |status| filter.statuses.contains(&status);
        let mut partitions = Vec::new();
        if [Status::Created, Status::Queued, Status::Retry].into_iter().any(wanted) {
            let queues = match &filter.queue {
                Some(name) => self.stored_queue(name).await?.into_iter().collect(),
                None => self.all_queues().await?,
            };
            let choice = Choice::new(filter.project.as_ref(), &filter.task_type);
            partitions.extend(queues.iter().flat_map(|queue| queue.partitions_of(&choice)));
        }
        if wanted(Status::Running) {
            match &filter.worker {
                Some(worker) => partitions.push(keys::held(worker)),
                None => {
                    let workers = self.all_workers().await?;
                    partitions.extend(workers.iter().map(|worker| keys::held(&worker.worker.id)));
                }
            }
        }
        if wanted(Status::Blocked) {
            partitions.extend((0..self.spread).map(keys::blocked));
        }
        for (status, state) in [(Status::Failed, State::Failed), (Status::Cancelled, State::Cancelled)] {
            if wanted(status) {
                partitions.extend((0..self.spread).map(|part| keys::given_up(state, part)));
            }
        }
        Ok(partitions)
    }

    /// Reads the tasks that a descent names until the page is full, the list ends, or enough items were looked at.
    async fn page_of_tasks(
        &self,
        filter: &TaskFilter,
        request: &PageRequest,
        mut descent: Descent<'_>,
        hint_of: impl Fn(&Item) -> Result<Option<Hint>, StoreError> + Send,
    ) -> Result<Page<Task>, StoreError> {
        let limit = request.limit as usize;
        let mut items = Vec::new();
        let mut given = HashSet::new();
        let (mut bytes, mut looks) = (0, 0);
        let mut last = None;
        loop {
            let wanted = (limit - items.len()).min(READ);
            let (mut hints, mut named, mut ended) = (Vec::new(), HashSet::new(), false);
            while named.len() < wanted && looks < LOOKS {
                looks += 1;
                let hint = match descent.next().await? {
                    Some(item) => {
                        let Some(hint) = self.db.read_one(&item, &hint_of) else { continue };
                        hint
                    }
                    None => None,
                };
                let Some(hint) = hint else {
                    ended = true;
                    break;
                };
                named.extend(hint.task);
                hints.push(hint);
            }
            let mut tasks = self.tasks_lately(named).await?;
            for Hint { task, cursor } in hints {
                // An index that trails may name a task twice.
                if let Some(stored) = task.filter(|id| given.insert(*id)).and_then(|id| tasks.remove(&id))
                    && matches!(task_fits(&stored, filter), Fits::Yes)
                {
                    let what = format!("task {}", stored.head.id);
                    let read = Box::pin(self.db.task_of(stored)).await;
                    if let Some(task) = self.db.unless_damaged(&what, read)?.flatten() {
                        bytes += task.params.size();
                        items.push(task);
                    }
                }
                if bytes > PAGE_BYTES {
                    return Ok(Page { items, next: Some(cursor) });
                }
                last = Some(cursor);
            }
            if ended {
                return Ok(Page { items, next: None });
            }
            if items.len() >= limit || looks >= LOOKS {
                let more = descent.next().await?.is_some();
                return Ok(Page { items, next: last.filter(|_| more) });
            }
        }
    }

    /// Tasks as they were a moment ago.
    async fn tasks_lately(&self, ids: HashSet<TaskId>) -> Result<HashMap<TaskId, Stored>, StoreError> {
        let keys = ids.into_iter().map(|id| self.task_key(id)).collect();
        let mut tasks = HashMap::new();
        for item in self.db.get_all_lately(keys).await? {
            if let Some(stored) = self.db.read_one(&item, Stored::read) {
                tasks.insert(stored.head.id, stored);
            }
        }
        Ok(tasks)
    }
}

/// What an entry of the index says; none if all further ones are too old.
fn indexed(item: &Item, filter: &TaskFilter) -> Result<Option<Hint>, StoreError> {
    let entry = Stored::read(item)?;
    let key = key_of(item, true);
    let at = key.split('#').next().and_then(|millis| millis.parse().ok()).map(Timestamp::from_millis);
    let at = at.ok_or_else(|| damaged(format!("expected a time in the index, got {key}")))?;
    let later = |status| matches!(status, Status::Created | Status::Retry);
    let waiting = |status| later(status) || status == Status::Queued;
    if filter.statuses.iter().all(|status| later(*status)) && at <= filter.now {
        return Ok(None);
    }
    // Nobody claims or ends a task before its creation; but a task may have been due before it.
    if !filter.statuses.iter().any(|status| waiting(*status)) && is_before(at, filter.created_from) {
        return Ok(None);
    }
    let cursor = Cursor(format!("{LETTER}{key}"));
    Ok(Some(Hint { task: head_fits(&entry, filter).then_some(entry.head.id), cursor }))
}

/// What a generation says of its task; none if all further ones are too old.
fn completed(item: &Item, filter: &TaskFilter) -> Result<Option<Hint>, StoreError> {
    let stored = StoredGeneration::read(item)?;
    let one = stored.plain();
    if is_before(one.finished_at, filter.created_from) {
        return Ok(None);
    }
    let fits = is(&filter.task_type, Some(&one.task_type))
        && is(&filter.queue, Some(&one.queue))
        && is(&filter.project, Some(&one.project))
        && is(&filter.worker, Some(&one.worker))
        && filter.created_from.is_none_or(|from| one.created_at >= from)
        && filter.created_before.is_none_or(|before| one.created_at < before);
    let cursor = COMPLETED.cursor_behind(item)?;
    Ok(Some(Hint { task: fits.then_some(one.task), cursor }))
}

/// Whether a time lies before a bound, by more than clocks differ.
fn is_before(at: Timestamp, bound: Option<Timestamp>) -> bool {
    bound.is_some_and(|bound| at < bound.minus(DISORDER))
}
