//! One task, and the walk over many.

use std::collections::BTreeMap;

use axum::extract::Request;
use baton_model::{Running, Status, Task, TaskId, TaskState, limits};
use baton_store::{PageRequest, StoreError, TaskDetail, TaskFilter, WorkerDetail};

use crate::ask::Ask;
use crate::entry::{Entry, word};
use crate::kept::{Kept, queue, task_id};
use crate::no::{No, Told, told};
use crate::query::Wanted;

/// How many tasks one request looks at, and how many workers: clients want an answer at once.
const LOOKED_AT: usize = 20_000;
const WORKERS: usize = 1_000;

/// A task by the text that its client knows it by, or by its id in Baton.
pub(crate) async fn found(ask: &Ask<'_>) -> Result<TaskDetail, No> {
    let project = ask.caller.project().cloned().unwrap_or_default();
    match ask.app.store.task(task_id(&project, &ask.id)).await {
        Ok(detail) if ask.caller.sees(&detail.task) && detail.task.queue == queue() => Ok(detail),
        Ok(_) | Err(StoreError::TaskNotFound(_)) => Err(No::no_task()),
        Err(error) => Err(error.into()),
    }
}

/// `GET /tasks/{id}`.
pub(crate) async fn one(ask: &Ask<'_>, _: Request) -> Told {
    let detail = found(ask).await?;
    told(&Entry::new(&detail.task, detail.progress.as_ref()))
}

/// All workers that are known, up to a bound; whether there are others.
pub(crate) async fn workers(ask: &Ask<'_>) -> Result<(Vec<WorkerDetail>, bool), No> {
    let mut page = PageRequest::first(limits::PAGE);
    let mut all = Vec::new();
    loop {
        let found = ask.app.store.workers(page).await?;
        all.extend(found.items);
        match found.next {
            None => return Ok((all, false)),
            Some(_) if all.len() >= WORKERS => return Ok((all, true)),
            Some(next) => page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) },
        }
    }
}

/// What workers say of the tasks that they hold.
#[derive(Debug, Default)]
pub(crate) struct Said(BTreeMap<(TaskId, u32), Running>);

impl Said {
    /// What all workers say.
    async fn by_all(ask: &Ask<'_>) -> Result<Self, No> {
        let (workers, _) = workers(ask).await?;
        let said = workers.into_iter().flat_map(|detail| detail.worker.running.unwrap_or_default());
        Ok(Self(said.map(|said| ((said.task, said.attempt), said)).collect()))
    }

    /// What is said of a task, if it runs and its latest attempt is meant.
    pub(crate) fn of(&self, task: &Task) -> Option<&Running> {
        let runs = matches!(task.head.state, TaskState::Running(_));
        runs.then(|| self.0.get(&(task.head.id, task.head.attempt))).flatten()
    }
}

/// The tasks that are asked for.
#[derive(Debug)]
pub(crate) struct Found {
    /// Those of the part that is asked for, the newest first.
    pub(crate) tasks: Vec<Task>,
    /// What workers say of them.
    pub(crate) said: Said,
    /// How many there are in all, or at least.
    pub(crate) total: usize,
    /// Whether there are tasks that were not looked at.
    pub(crate) more: bool,
}

/// Walks over the tasks that the caller sees.
pub(crate) async fn walk(ask: &Ask<'_>, wanted: &Wanted) -> Result<Found, No> {
    let mut statuses: Vec<Status> = wanted.states.iter().flat_map(|word| word.statuses()).copied().collect();
    statuses.sort_unstable();
    statuses.dedup();
    let mut filter = TaskFilter { statuses, queue: Some(queue()), now: ask.now, ..TaskFilter::default() };
    ask.caller.narrow(&mut filter.project, &mut filter.queue)?;
    let mut found = Found { tasks: Vec::new(), said: Said::by_all(ask).await?, total: 0, more: false };
    let mut page = PageRequest::first(limits::PAGE);
    let (mut looked_at, mut bytes) = (0, 0);
    loop {
        let read = ask.app.store.tasks(filter.clone(), page).await?;
        for task in read.items {
            looked_at += 1;
            let word = word(&task, found.said.of(&task));
            if !ask.caller.sees(&task) || !wanted.has(word, &Kept::of(&task)) {
                continue;
            }
            found.total += 1;
            if found.total > wanted.offset && found.tasks.len() < wanted.limit {
                bytes += task.params.size();
                found.tasks.push(task);
            }
        }
        let full = looked_at >= LOOKED_AT || bytes >= LISTED_BYTES;
        match read.next {
            None => return Ok(found),
            Some(_) if full => return Ok(Found { more: true, ..found }),
            Some(next) => page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) },
        }
    }
}

/// About how many bytes the tasks of one answer have at most: their params, and where it shows them, what was handed over.
pub(crate) const LISTED_BYTES: usize = 16 << 20;
