//! What is read from the server.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use baton_api::task::TaskView;
use baton_client::{Client, GenerationQuery, TaskQuery};
use baton_model::{Payload, Status, TaskId, limits};
use futures::{StreamExt as _, TryStreamExt as _};

use super::row::{Row, UNFINISHED};
use super::trouble::Trouble;

/// How many tasks are asked for one by one at once.
const AT_ONCE: usize = 16;

/// How many pages of output records are read for a page of tasks, before those that are missing are asked for one by one.
const PAGES: usize = 4;

/// A part of a list of tasks.
pub(super) struct Tasks {
    pub(super) items: Vec<TaskView>,
    pub(super) next: Option<String>,
}

/// Which list of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    All,
    Unfinished,
}

/// A page of a list, from a cursor on.
pub(super) async fn page(
    client: &Client,
    list: List,
    cursor: Option<String>,
    limit: u32,
) -> Result<Tasks, Trouble> {
    let statuses = match list {
        List::All => Vec::new(),
        List::Unfinished => UNFINISHED.to_vec(),
    };
    let query = TaskQuery { statuses, cursor, limit: Some(limit), ..TaskQuery::default() };
    let page = client.tasks(&query).await?;
    Ok(Tasks { items: page.items, next: page.next_cursor })
}

/// The rows of tasks as far as the lists tell them, and the completed ones whose output is to be asked for with each.
pub(super) async fn rows(client: &Client, tasks: &[TaskView]) -> Result<(Vec<Row>, Vec<TaskId>), Trouble> {
    let mut results = results(client, tasks).await?;
    let (mut rows, mut alone) = (Vec::with_capacity(tasks.len()), Vec::new());
    for task in tasks {
        match (task.status, results.remove(&task.id)) {
            (Status::Completed, None) => alone.push(task.id),
            (_, result) => rows.push(Row::new(task, result.flatten().as_ref())),
        }
    }
    Ok((rows, alone))
}

/// What completed tasks have put out, found among the records of the time in which they ended. Those of a page of tasks mostly
/// ended one after the other; where they did not, some are missing here.
async fn results(client: &Client, tasks: &[TaskView]) -> Result<HashMap<TaskId, Option<Payload>>, Trouble> {
    let done = || tasks.iter().filter(|task| task.status == Status::Completed);
    let mut wanted: HashSet<TaskId> = done().map(|task| task.id).collect();
    let mut found = HashMap::with_capacity(wanted.len());
    let ends = || done().filter_map(|task| task.finished_at);
    let (Some(first), Some(last)) = (ends().min(), ends().max()) else { return Ok(found) };
    let mut query = GenerationQuery {
        finished_from: Some(first),
        finished_before: Some(last.plus(Duration::from_millis(1))),
        limit: Some(limits::PAGE),
        ..GenerationQuery::default()
    };
    for _ in 0..PAGES {
        let page = client.generations(&query).await?;
        for generation in page.items {
            if wanted.remove(&generation.task_id) {
                found.insert(generation.task_id, generation.result);
            }
        }
        query.cursor = page.next_cursor;
        if wanted.is_empty() || query.cursor.is_none() {
            break;
        }
    }
    Ok(found)
}

/// What becomes of tasks that are asked for one by one: the rows of those that are there, and those that are not.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) rows: Vec<Row>,
    pub(super) gone: Vec<TaskId>,
}

/// Asks for some tasks one by one.
pub(super) async fn ask(client: &Client, ids: &[TaskId]) -> Result<Asked, Trouble> {
    let ask = |id: TaskId| async move {
        match client.task(id).await {
            Ok(detail) => {
                let result = detail.generation.and_then(|generation| generation.result);
                Ok(Ok(Row::new(&detail.task, result.as_ref())))
            }
            Err(error) if error.problem().is_some_and(|problem| problem.code == "task_not_found") => {
                Ok(Err(id))
            }
            Err(error) => Err(Trouble::from(error)),
        }
    };
    let told: Vec<Result<Row, TaskId>> =
        futures::stream::iter(ids.iter().copied().map(ask)).buffer_unordered(AT_ONCE).try_collect().await?;
    let mut asked = Asked::default();
    for one in told {
        match one {
            Ok(row) => asked.rows.push(row),
            Err(id) => asked.gone.push(id),
        }
    }
    Ok(asked)
}

/// The workers that have beaten, and when they last did; none if only others may ask: workers are an operator's.
pub(super) async fn beats(client: &Client) -> Result<Option<(Vec<String>, Vec<String>)>, Trouble> {
    let (mut workers, mut at) = (Vec::new(), Vec::new());
    let mut cursor = None;
    loop {
        let page = match client.workers(cursor.as_deref(), Some(limits::PAGE)).await {
            Err(error) if error.is_denied() => return Ok(None),
            page => page?,
        };
        for worker in page.items {
            if let Some(beat) = worker.last_beat_at {
                workers.push(worker.id.to_string());
                at.push(beat.to_string());
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(Some((workers, at)));
        }
    }
}
