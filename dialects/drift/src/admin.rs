//! What the old server's operators see and set.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::Request;
use baton_http::BodyLimit;
use baton_model::{State, Status, Task, TaskState};
use baton_store::Reap;
use serde_json::{Value, json};

use crate::ask::{Ask, Told, told};
use crate::client::{self, Client};
use crate::kept::{Kept, deadline_of, queue, retries};
use crate::look;
use crate::numbers::{self, Numbers};
use crate::watch;

/// How many expired leases one request ends at most.
const CLEARED: u32 = 1_000;
/// How soon after one request the next looks: each client asks every ten seconds.
const CLEARED_EVERY: Duration = Duration::from_secs(1);

/// `GET /api/v1/admin/debug/active-tasks`.
pub(crate) async fn active_tasks(ask: &Ask<'_>, _: Request) -> Told {
    let (tasks, more) = look::tasks(ask, vec![Status::Running]).await?;
    let mut by_client: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut all = Vec::with_capacity(tasks.len());
    for task in tasks.iter().rev() {
        let TaskState::Running(lease) = &task.head.state else { continue };
        let client = lease.worker.to_string();
        let kept = Kept::of(task.head.id, task.params.as_str());
        by_client.entry(client.clone()).or_default().push(json!(task.head.id));
        all.push(json!({
            "task_id": task.head.id,
            "simulation_id": kept.simulation_id,
            "particle_count": kept.particle_count,
            "assigned_client": client,
            "assigned_at": lease.claimed_at.isoformat(),
            "deadline": deadline_of(task),
            "retry_count": retries(task),
            "priority": kept.priority,
            "age_seconds": ask.now.since(lease.claimed_at).as_secs_f64(),
        }));
    }
    let (queue_size, _) = look::waiting_and_running(ask).await?;
    told(&json!({
        "total_active_tasks": all.len(),
        "tasks_by_client": by_client,
        "all_tasks": all,
        "queue_size": queue_size,
        "more": more,
        "timestamp": ask.now.isoformat(),
    }))
}

/// `POST /api/v1/admin/tasks/clear-stuck`: ends what is lost already, as the next round of the server would. Every client asks for
/// it every ten seconds, so that what is alive must not be touched.
pub(crate) async fn clear_stuck(ask: &Ask<'_>, _: Request) -> Told {
    // A client is heard by it; operators are none.
    let is_client = ask.caller.grant().is_some_and(|grant| !grant.has(&[]));
    if is_client && ask.caller.token().is_some() {
        watch::hear(ask.drift, &Client::of(ask.caller)?).await?;
    }
    let cleared = if is_due(ask) { clear(ask).await? } else { 0 };
    told(&json!({
        "status": "success",
        "message": format!("Cleared {cleared} stuck tasks"),
        "cleared_count": cleared,
        "timestamp": ask.now.isoformat(),
    }))
}

fn is_due(ask: &Ask<'_>) -> bool {
    let mut cleared_at = ask.drift.cleared_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let is_due = cleared_at.is_none_or(|at| ask.now.since(at).max(at.since(ask.now)) >= CLEARED_EVERY);
    if is_due {
        *cleared_at = Some(ask.now);
    }
    is_due
}

async fn clear(ask: &Ask<'_>) -> Result<usize, crate::ask::No> {
    let app = &ask.drift.app;
    let last = if app.timekeeper.hears_itself() { None } else { app.store.last_round().await? };
    let round = app.timekeeper.watch(last.as_ref());
    let reap = Reap { watch: round, limit: CLEARED, worker: None, queue: Some(queue()) };
    let report = app.store.reap(reap).await?;
    for taken in &report.taken {
        tracing::info!(
            task_id = %taken.task,
            attempt = taken.attempt,
            client = %client::alias(&taken.worker),
            reason = taken.reason.as_str(),
            "an expired lease was cleared on request"
        );
    }
    Ok(report.taken.len())
}

/// `POST /api/v1/admin/tasks/config`.
pub(crate) async fn config(ask: &Ask<'_>, request: Request) -> Told {
    let mut fields = ask.fields(request, BodyLimit::Plain).await?;
    let standing = numbers::read(ask.drift).await?;
    // What is too small is raised to one.
    let mut number = |name, standing: u32| {
        let number = fields.whole(name).map(|number| u32::try_from(number.max(1)).unwrap_or(u32::MAX));
        number.unwrap_or(standing)
    };
    let to = Numbers {
        target_pending_tasks: number("target_pending_tasks", standing.target_pending_tasks),
        min_pending_tasks: number("min_pending_tasks", standing.min_pending_tasks),
        max_tasks_per_client: number("max_tasks_per_client", standing.max_tasks_per_client),
    };
    let to = fields.none_or(Some(to.held()))?;
    if to != standing {
        numbers::set(ask.drift, ask.caller, to).await?;
    }
    told(&json!({
        "status": "updated",
        "message": "Task configuration updated",
        "current_config": to,
        "timestamp": ask.now.isoformat(),
    }))
}

/// `GET /api/v1/admin/clients`.
pub(crate) async fn clients(ask: &Ask<'_>, _: Request) -> Told {
    let all = client::all(ask.drift).await?;
    let clients: Vec<Value> = all
        .iter()
        .map(|one| {
            let detail = one.detail();
            json!({
                "client_id": detail.worker.id,
                "name": one.name(),
                "capabilities": one.capabilities(),
                "created_at": detail.worker.started_at.isoformat(),
                "last_seen": detail.worker.last_beat_at.map(|at| at.isoformat()),
                "is_active": one.is_active(ask.drift),
                "active_tasks": detail.active,
            })
        })
        .collect();
    told(&json!({ "clients": clients, "total_clients": clients.len(), "timestamp": ask.now.isoformat() }))
}

/// How many of some tasks are in which of the old server's four states.
fn by_word<'a>(tasks: impl Iterator<Item = &'a Task>) -> BTreeMap<&'static str, usize> {
    let words = [State::Queued, State::Running, State::Completed, State::Failed].map(look::word);
    let mut counts: BTreeMap<_, _> = words.into_iter().map(|word| (word, 0)).collect();
    for task in tasks {
        *counts.entry(look::word(task.head.state.state())).or_default() += 1;
    }
    counts
}

/// `GET /api/v1/admin/stats`.
pub(crate) async fn stats(ask: &Ask<'_>, _: Request) -> Told {
    let (tasks, more) = look::tasks(ask, Vec::new()).await?;
    let all = client::all(ask.drift).await?;
    told(&json!({
        "total_tasks": tasks.len(),
        "tasks": by_word(tasks.iter()),
        "total_clients": all.len(),
        "active_clients": all.iter().filter(|one| one.is_active(ask.drift)).count(),
        "queue_status": look::of_queue(ask).await?,
        "more": more,
        "timestamp": ask.now.isoformat(),
    }))
}

/// `GET /api/v1/admin/batches`: simulations, by the tasks that are kept of each.
pub(crate) async fn batches(ask: &Ask<'_>, _: Request) -> Told {
    let (tasks, more) = look::tasks(ask, Vec::new()).await?;
    let mut simulations: BTreeMap<String, Vec<&Task>> = BTreeMap::new();
    for task in &tasks {
        let kept = Kept::of(task.head.id, task.params.as_str());
        simulations.entry(kept.simulation_id).or_default().push(task);
    }
    let batches: Vec<Value> = simulations
        .iter()
        .map(|(id, tasks)| {
            let created_at = tasks.iter().map(|task| task.created_at).min();
            json!({
                "batch_id": id,
                "task_count": tasks.len(),
                "tasks": by_word(tasks.iter().copied()),
                "created_at": created_at.map(|at| at.isoformat()),
            })
        })
        .collect();
    told(&json!({ "batches": batches, "total_batches": batches.len(), "more": more }))
}
