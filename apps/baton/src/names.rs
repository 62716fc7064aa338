//! What somebody meant who misspelt a name: looked up once a name was not found. What cannot be looked up, for instance
//! because the token does not allow it, is not guessed at.

use baton_api::supervised::GroupView;
use baton_api::{Problem, ProblemCode};
use baton_client::{Client, ClientError, TaskQuery};
use baton_model::{GroupName, QueueName, TaskId, WorkerId, limits};
use baton_runtime::{nearest, nearest_within};

use crate::exit::Failure;
use crate::pages;

/// How many names are looked through.
const LOOKED_AT: usize = 10 * limits::PAGE as usize;
/// How many slips of the hand an id may have. Ids that were made in the same second differ in no more than a few of their
/// first characters anyway.
const SLIPS: usize = 2;

/// The queue whose name is nearest to one that does not exist.
pub(crate) async fn queue_like(client: &Client, name: &str) -> Option<String> {
    let (found, _) = pages::first(LOOKED_AT, async |cursor: Option<String>, most| {
        client.queues(cursor.as_deref(), Some(most)).await
    })
    .await
    .ok()?;
    let names: Vec<String> = found.into_iter().map(|queue| queue.name.to_string()).collect();
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

/// The worker whose name is nearest to one that does not exist.
pub(crate) async fn worker_like(client: &Client, name: &str) -> Option<String> {
    let (found, _) = pages::first(LOOKED_AT, async |cursor: Option<String>, most| {
        client.workers(cursor.as_deref(), Some(most)).await
    })
    .await
    .ok()?;
    let names: Vec<String> = found.into_iter().map(|worker| worker.id.to_string()).collect();
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

/// How many first characters of an id an older task must share to be looked at: as many as can be had, and 13, which tell the
/// millisecond in which it was made.
const SHARED: [usize; 4] = [32, 24, 18, 13];

/// Of the newest tasks, and of older ones that begin alike, the one whose id begins nearest to this.
pub(crate) async fn task_like(client: &Client, beginning: &str) -> Option<String> {
    let newest = TaskQuery { limit: Some(limits::PAGE), ..TaskQuery::default() };
    let mut ids: Vec<String> =
        client.tasks(&newest).await.ok()?.items.iter().map(|task| task.id.to_string()).collect();
    for prefix in SHARED.iter().filter_map(|shared| beginning.get(..*shared)) {
        let alike = client.task_ids(prefix).await.ok()?.ids;
        if !alike.is_empty() {
            ids.extend(alike.iter().map(ToString::to_string));
            break;
        }
    }
    let beginnings: Vec<&str> = ids.iter().filter_map(|id| id.get(..beginning.len())).collect();
    let near = nearest_within(SLIPS, beginning, beginnings)?;
    ids.iter().find(|id| id.starts_with(near)).cloned()
}

/// What a request about this queue brought; that there is none is told with the nearest.
pub(crate) async fn of_queue<T>(
    client: &Client,
    name: &QueueName,
    asked: Result<T, ClientError>,
) -> Result<T, Failure> {
    match asked {
        Err(ClientError::Problem(problem)) if is(&problem, ProblemCode::QueueNotFound) => {
            Err(with(problem, queue_like(client, name.as_str()).await))
        }
        asked => Ok(asked?),
    }
}

/// What a request about this worker brought; that there is none is told with the nearest.
pub(crate) async fn of_worker<T>(
    client: &Client,
    name: &WorkerId,
    asked: Result<T, ClientError>,
) -> Result<T, Failure> {
    match asked {
        Err(ClientError::Problem(problem)) if is(&problem, ProblemCode::WorkerNotFound) => {
            Err(with(problem, worker_like(client, name.as_str()).await))
        }
        asked => Ok(asked?),
    }
}

/// What a request about this group of workers brought; that there is none is told with the nearest.
pub(crate) async fn of_group<T>(
    client: &Client,
    name: &GroupName,
    asked: Result<T, ClientError>,
) -> Result<T, Failure> {
    match asked {
        Err(ClientError::Problem(problem)) if is(&problem, ProblemCode::GroupNotFound) => {
            let groups = client.groups().await.map(|groups| groups.items).unwrap_or_default();
            Err(with(problem, group_like(name, &groups)))
        }
        asked => Ok(asked?),
    }
}

/// That a server supervises no such group, told with the nearest.
pub(crate) fn no_group(name: &GroupName, groups: &[GroupView]) -> Failure {
    let near = group_like(name, groups).map(|near| format!("; the nearest is {near}")).unwrap_or_default();
    Failure::NotFound(format!(
        "the server supervises no group {name}{near}; `baton fleet list` shows those that it does"
    ))
}

fn group_like(name: &GroupName, groups: &[GroupView]) -> Option<String> {
    nearest(name.as_str(), groups.iter().map(|group| group.name.as_str())).map(str::to_owned)
}

/// What a request about this task brought; that there is none is told with the nearest.
pub(crate) async fn of_task<T>(
    client: &Client,
    id: TaskId,
    asked: Result<T, ClientError>,
) -> Result<T, Failure> {
    match asked {
        Err(ClientError::Problem(problem)) if is(&problem, ProblemCode::TaskNotFound) => {
            Err(with(problem, task_like(client, &id.to_string()).await))
        }
        asked => Ok(asked?),
    }
}

fn is(problem: &Problem, code: ProblemCode) -> bool {
    ProblemCode::by_name(&problem.code) == Some(code)
}

fn with(mut problem: Box<Problem>, near: Option<String>) -> Failure {
    if let Some(near) = near {
        problem.detail = format!("{}; the nearest is {near}", problem.detail);
    }
    Failure::Request(Box::new(ClientError::Problem(problem)))
}
