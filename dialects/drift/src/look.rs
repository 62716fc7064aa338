//! Looking on: one task, results, the queue, and the server.

use axum::extract::Request;
use baton_model::{State, Task, TaskState, WorkerId, limits};
use baton_store::{GenerationFilter, PageRequest, QueueStats, StoreError, TaskFilter};
use http::StatusCode;
use serde_json::{Value, json};

use crate::ask::{Ask, No, Told, told};
use crate::client;
use crate::end;
use crate::kept::{deadline_of, queue, retries};
use crate::numbers;

/// How many results one answer has if it is not said, and at most.
const RESULTS: u32 = 100;
/// How many tasks one answer looks at.
const LOOKED_AT: usize = 10_000;

/// A state in the old server's four words.
pub(crate) fn word(state: State) -> &'static str {
    match state {
        State::Blocked | State::Queued => "pending",
        State::Running => "assigned",
        State::Completed => "completed",
        State::Failed | State::Cancelled => "failed",
    }
}

/// `GET /api/v1/tasks/status/{id}`.
pub(crate) async fn status(ask: &Ask<'_>, _: Request) -> Told {
    let unknown = || No::Said(StatusCode::NOT_FOUND, "Task not found");
    let id = ask.id.parse::<baton_model::TaskId>().map_err(|_| unknown())?;
    let detail = match ask.drift.app.store.task(id).await {
        Ok(detail) if ask.caller.sees(&detail.task) && detail.task.queue == queue() => detail,
        Ok(_) | Err(StoreError::TaskNotFound(_)) => return Err(unknown()),
        Err(error) => return Err(error.into()),
    };
    let task = &detail.task;
    let assigned_at = match &task.head.state {
        TaskState::Running(lease) => Some(lease.claimed_at),
        _ => detail.generation.as_ref().map(|generation| generation.started_at),
    };
    let completed_at = detail.generation.as_ref().map(|generation| generation.finished_at);
    told(&json!({
        "task_id": task.head.id,
        "status": word(task.head.state.state()),
        "created_at": task.created_at.isoformat(),
        "assigned_at": assigned_at.map(|at| at.isoformat()),
        "completed_at": completed_at.map(|at| at.isoformat()),
        "deadline": deadline_of(task),
        "retry_count": retries(task),
    }))
}

/// `GET /api/v1/tasks/results`: the newest first.
pub(crate) async fn results(ask: &Ask<'_>, _: Request) -> Told {
    let limit = ask.number("limit", limits::PAGE, RESULTS)?;
    let mut filter = GenerationFilter { queue: Some(queue()), ..GenerationFilter::default() };
    ask.caller.narrow(&mut filter.project, &mut filter.queue)?;
    let found = ask.drift.app.store.generations(filter, PageRequest::first(limit)).await?;
    // Whoever knows a client's id opens its socket.
    let by = ask.caller.token().map(|token| token.id.to_string());
    let is_operator = ask.caller.grant().is_none_or(|grant| grant.has(&[]));
    let shown = |worker: &WorkerId| {
        let is_shown = is_operator || by.as_deref() == Some(worker.as_str());
        if is_shown { worker.to_string() } else { client::alias(worker).to_string() }
    };
    let seen = found.items.iter().filter(|one| ask.caller.sees_generation(one));
    let results: Vec<Value> = seen
        .map(|one| {
            let metadata =
                one.output.metadata.as_ref().map(|metadata| metadata.to_value()).unwrap_or_default();
            json!({
                "task_id": one.task,
                "simulation_id": metadata.get("simulation_id"),
                "client_id": shown(&one.worker),
                "result_data": one.output.result.as_ref().map(end::outside).unwrap_or_default(),
                "execution_time": metadata.get("execution_time"),
                "completed_at": one.finished_at.isoformat(),
                "metadata": metadata,
            })
        })
        .collect();
    told(&json!({ "results": results, "total": results.len() }))
}

/// The queue as it stands; none if no task has been in it.
async fn standing(ask: &Ask<'_>) -> Result<Option<QueueStats>, No> {
    match ask.drift.app.store.queue(&queue(), ask.now).await {
        Ok(stats) => Ok(Some(stats)),
        Err(StoreError::QueueNotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How many tasks wait, and how many run.
pub(crate) async fn waiting_and_running(ask: &Ask<'_>) -> Result<(u64, u64), No> {
    Ok(standing(ask).await?.map_or((0, 0), |stats| (stats.queued, stats.running)))
}

/// The queue's numbers.
pub(crate) async fn of_queue(ask: &Ask<'_>) -> Result<Value, No> {
    let (pending, active) = waiting_and_running(ask).await?;
    let numbers = numbers::read(ask.drift).await?;
    let clients = client::all(ask.drift).await?;
    let clients = clients.iter().filter(|one| one.is_active(ask.drift)).count() as u64;
    Ok(json!({
        "pending_tasks": pending,
        "active_tasks": active,
        "active_clients": clients,
        "total_client_capacity": clients * u64::from(numbers.max_tasks_per_client),
        "target_pending_tasks": numbers.target_pending_tasks,
        "min_pending_tasks": numbers.min_pending_tasks,
        "max_tasks_per_client": numbers.max_tasks_per_client,
        "timestamp": ask.now.isoformat(),
    }))
}

/// `GET /api/v1/tasks/queue/status`.
pub(crate) async fn queue_status(ask: &Ask<'_>, _: Request) -> Told {
    told(&of_queue(ask).await?)
}

/// `GET /health` and `GET /api/v1/admin/health`.
pub(crate) async fn health(ask: &Ask<'_>, _: Request) -> Told {
    let queue_status = of_queue(ask).await?;
    told(&json!({ "status": "healthy", "timestamp": ask.now.isoformat(), "queue_status": queue_status }))
}

/// `GET /`.
pub(crate) async fn root(ask: &Ask<'_>, _: Request) -> Told {
    told(&json!({
        "message": "Baton, as the drift simulation's server",
        "status": "running",
        "timestamp": ask.now.isoformat(),
    }))
}

/// The tasks of the queue in some statuses, the newest first; whether there are others.
pub(crate) async fn tasks(
    ask: &Ask<'_>,
    statuses: Vec<baton_model::Status>,
) -> Result<(Vec<Task>, bool), No> {
    let filter = TaskFilter { statuses, queue: Some(queue()), now: ask.now, ..TaskFilter::default() };
    let mut page = PageRequest::first(limits::PAGE);
    let mut tasks = Vec::new();
    loop {
        let found = ask.drift.app.store.tasks(filter.clone(), page).await?;
        tasks.extend(found.items.into_iter().filter(|task| ask.caller.sees(task)));
        match found.next {
            None => return Ok((tasks, false)),
            Some(_) if tasks.len() >= LOOKED_AT => return Ok((tasks, true)),
            Some(next) => page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) },
        }
    }
}
