//! Lists, one task, and the counts.

use std::collections::BTreeMap;

use axum::extract::Request;
use baton_http::{ApiError, App, Caller, fastapi};
use baton_model::{State, Status, Task, TaskId, limits};
use baton_store::{PageRequest, StoreError, TaskDetail, TaskFilter};
use serde::Serialize;
use serde_json::json;

use crate::ask::{Ask, No, Told};
use crate::entry::{ACTIVE, Entry, FINISHED, Kept, REFLECTION, Thoughts, is_asked_for, queue};
use crate::execute;

/// How many tasks a list has at most, and about how many bytes: clients take the whole of it at once.
const LISTED: usize = 10_000;
const LISTED_BYTES: usize = 16 << 20;

/// Tasks that fit a filter.
struct Listed {
    tasks: Vec<Task>,
    /// Whether there are more than a list has.
    more: bool,
}

/// The tasks of this dialect's queue with these statuses, as far as the caller sees them, the newest first.
async fn listed(
    app: &App,
    caller: &Caller,
    statuses: &[Status],
    fits: impl Fn(&Task) -> bool,
    filter: TaskFilter,
) -> Result<Listed, ApiError> {
    let mut filter =
        TaskFilter { statuses: statuses.to_vec(), queue: Some(queue()), now: app.now(), ..filter };
    caller.narrow(&mut filter.project, &mut filter.queue)?;
    let mut page = PageRequest::first(limits::PAGE);
    let (mut tasks, mut bytes) = (Vec::new(), 0);
    loop {
        let found = app.store.tasks(filter.clone(), page).await?;
        for task in found.items.into_iter().filter(|task| caller.sees(task) && fits(task)) {
            bytes += task.params.size();
            tasks.push(task);
            if tasks.len() >= LISTED || bytes >= LISTED_BYTES {
                return Ok(Listed { tasks, more: true });
            }
        }
        match found.next {
            Some(next) => page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) },
            None => return Ok(Listed { tasks, more: false }),
        }
    }
}

/// What was thought of tasks: of one, or of all.
pub(crate) async fn thoughts(
    app: &App,
    caller: &Caller,
    of: Option<TaskId>,
) -> Result<BTreeMap<String, Thoughts>, ApiError> {
    let filter = TaskFilter {
        task_type: REFLECTION.parse().ok(),
        domain: of.and_then(|id| id.to_string().parse().ok()),
        ..TaskFilter::default()
    };
    Ok(Thoughts::by_task(listed(app, caller, &[], |_| true, filter).await?.tasks))
}

/// `GET /task/list`: what is active; with `?finished=true` what is over, in the same form.
pub(crate) async fn list(ask: &Ask<'_>, request: Request) -> Result<Told, No> {
    let finished =
        request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "finished=true"));
    let statuses: &[Status] = if finished { &FINISHED } else { &ACTIVE };
    list_of(ask, statuses, finished).await.map_err(|no| no.because("Failed to get task list: "))
}

async fn list_of(ask: &Ask<'_>, statuses: &[Status], finished: bool) -> Result<Told, No> {
    let (app, caller) = (ask.app, ask.caller);
    let fits = |task: &Task| is_asked_for(task) && !is_destroyed(task);
    let Listed { mut tasks, more } = listed(app, caller, statuses, fits, TaskFilter::default()).await?;
    tasks.reverse();
    let thoughts = thoughts(app, caller, None).await?;
    let now = app.now();
    let entries: Vec<Entry> = tasks
        .iter()
        .map(|task| Entry::new(task, now, thoughts.get(&task.head.id.to_string()), None))
        .collect();
    let states: &[State] = if finished { &OVER } else { &OPEN };
    let here = entries.len() as u64;
    let count = if more { counted(app, caller, states).await?.unwrap_or(here) } else { here };
    let (status, timestamp) = ("success", now.isoformat());
    if finished {
        let body = Finished { status, finished_tasks_count: count, finished_tasks: entries, timestamp };
        Told::in_short(&body, json!({ "status": status, "finished_tasks_count": count }))
    } else {
        let body = Active { status, active_tasks_count: count, active_tasks: entries, timestamp };
        Told::in_short(&body, json!({ "status": status, "active_tasks_count": count }))
    }
}

#[derive(Serialize)]
struct Active {
    status: &'static str,
    active_tasks_count: u64,
    active_tasks: Vec<Entry>,
    timestamp: String,
}

#[derive(Serialize)]
struct Finished {
    status: &'static str,
    finished_tasks_count: u64,
    finished_tasks: Vec<Entry>,
    timestamp: String,
}

/// Whether a task was to be gone once its request was answered: it is over, by its worker or as it was called off then.
fn is_destroyed(task: &Task) -> bool {
    task.head.state.state().is_final() && Kept::of(task).self_destruct
}

const OPEN: [State; 3] = [State::Blocked, State::Queued, State::Running];
const OVER: [State; 3] = [State::Completed, State::Failed, State::Cancelled];

/// How many tasks of the queue are in these states by the store's own counts; none if it does not tell, or the caller may not
/// know.
async fn counted(app: &App, caller: &Caller, states: &[State]) -> Result<Option<u64>, ApiError> {
    if caller.reach_queue(&queue()).is_err() {
        return Ok(None);
    }
    let stats = app.store.stats(app.now()).await?;
    if !stats.queues.iter().any(|listed| listed.queue == queue()) {
        return Ok(None);
    }
    let ours = stats.counts.iter().filter(|count| {
        let is_thought = count.task_type.as_ref().is_some_and(|kind| kind.as_str() == REFLECTION);
        count.queue == queue() && !is_thought && states.contains(&count.state)
    });
    Ok(Some(ours.map(|count| count.tasks).sum()))
}

/// The same, by looking at the tasks themselves where the store's counts cannot be had: up to as many as a list has.
async fn count(app: &App, caller: &Caller, states: &[State], statuses: &[Status]) -> Result<u64, ApiError> {
    match counted(app, caller, states).await? {
        Some(count) => Ok(count),
        None => {
            let listed = listed(app, caller, statuses, is_asked_for, TaskFilter::default()).await?;
            Ok(listed.tasks.len() as u64)
        }
    }
}

/// `GET /task/status`.
pub(crate) async fn status(ask: &Ask<'_>, _: Request) -> Result<Told, No> {
    counts(ask).await.map_err(|no| no.because("Failed to get status: "))
}

async fn counts(ask: &Ask<'_>) -> Result<Told, No> {
    let active = count(ask.app, ask.caller, &OPEN, &ACTIVE).await?;
    let completed = count(ask.app, ask.caller, &[State::Completed], &[Status::Completed]).await?;
    Told::whole(&json!({
        "status": "operational",
        "task_manager": {
            "active_tasks_count": active,
            "completed_tasks_count": completed,
            "total_tasks_processed": active + completed,
        },
        "timestamp": ask.app.now().isoformat(),
    }))
}

/// A task that clients have asked for, by the text of its id.
pub(crate) async fn found(ask: &Ask<'_>, id: &str) -> Result<TaskDetail, No> {
    let Ok(known) = id.parse::<TaskId>() else { return Err(No::no_task(id)) };
    match ask.app.store.task(known).await {
        Ok(detail)
            if ask.caller.sees(&detail.task) && is_asked_for(&detail.task) && !is_destroyed(&detail.task) =>
        {
            Ok(detail)
        }
        Ok(_) | Err(StoreError::TaskNotFound(_)) => Err(No::no_task(id)),
        Err(error) => Err(error.into()),
    }
}

/// `GET /task/{task_id}`: one that is active, or over and not yet removed.
pub(crate) async fn one(ask: &Ask<'_>, request: Request) -> Result<Told, No> {
    let id = fastapi::part_of_path(request.uri().path().rsplit('/').next().unwrap_or_default());
    show(ask, &id).await.map_err(|no| no.because("Failed to get task: "))
}

async fn show(ask: &Ask<'_>, id: &str) -> Result<Told, No> {
    let detail = found(ask, id).await?;
    let entry = entry(ask, &detail).await?;
    Told::whole(&json!({ "status": "success", "task": entry, "timestamp": ask.app.now().isoformat() }))
}

/// A task as clients read it, with what was thought of it and what came of it.
pub(crate) async fn entry(ask: &Ask<'_>, detail: &TaskDetail) -> Result<Entry, No> {
    let thoughts = thoughts(ask.app, ask.caller, Some(detail.task.head.id)).await?;
    let is_over = detail.task.head.state.state().is_final();
    let result = is_over.then(|| execute::result(detail, ask.app, ask.settings.execute_wait));
    let thoughts = thoughts.get(&detail.task.head.id.to_string());
    Ok(Entry::new(&detail.task, ask.app.now(), thoughts, result))
}
