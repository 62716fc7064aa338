//! Workers: which there are, what they do, and what is asked of them. They are Baton's.

use axum::extract::Request;
use baton_api::ReadFields as _;
use baton_api::manage::ActionRequest;
use baton_http::ApiError;
use baton_model::takes::{Takers, Wanted};
use baton_model::{Directive, Status, Task, TaskId, TaskType, WorkerId, WorkerStatus};
use baton_store::{PageRequest, StoreError, TaskFilter, WorkerDetail};
use http::StatusCode;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::counts;
use crate::kept::{Kept, queue};
use crate::no::{No, Told, told};
use crate::read;
use crate::stamp::stamp;

/// How many waiting tasks are looked at to say whether nobody takes them.
const WAITING: u32 = 200;

/// The workers that are known.
pub(crate) struct Fleet {
    all: Vec<(WorkerDetail, WorkerStatus)>,
    unseen: bool,
}

/// All workers that are known, up to a bound.
pub(crate) async fn fleet(ask: &Ask<'_>) -> Result<Fleet, No> {
    let (all, unseen) = read::workers(ask).await?;
    let shown = |detail: WorkerDetail| {
        let status = detail.worker.status(&ask.app.leases, ask.now);
        (detail, status)
    };
    Ok(Fleet { all: all.into_iter().map(shown).collect(), unseen })
}

/// Whether a worker is there: it beats, or it never does and holds a task.
fn is_active(detail: &WorkerDetail, status: WorkerStatus) -> bool {
    match status {
        WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Stopping => true,
        WorkerStatus::Silent => detail.active > 0,
        WorkerStatus::Lost | WorkerStatus::Gone => false,
    }
}

impl Fleet {
    fn count(&self, fits: impl Fn(&WorkerDetail) -> bool) -> usize {
        self.all.iter().filter(|(detail, status)| is_active(detail, *status) && fits(detail)).count()
    }

    /// How many are there.
    pub(crate) fn active(&self) -> usize {
        self.count(|_| true)
    }

    /// How many of these hold a task.
    pub(crate) fn busy(&self) -> usize {
        self.count(|detail| detail.active > 0)
    }

    /// How many of these hold none.
    pub(crate) fn idle(&self) -> usize {
        self.count(|detail| detail.active == 0)
    }

    /// How often one has started anew under its name, as far as the records remember.
    pub(crate) fn restarts(&self) -> usize {
        self.all.iter().map(|(detail, _)| detail.worker.superseded.len()).sum()
    }

    /// Whether no live worker takes such a task.
    fn leaves(&self, ask: &Ask<'_>, task: &Task) -> bool {
        let takers = self.all.iter().map(|(detail, _)| detail.worker.taker(&ask.app.leases, ask.now));
        let wanted = Wanted {
            queue: &task.queue,
            task_type: &task.task_type,
            project: &task.project,
            affinity: task.affinity.as_ref(),
        };
        matches!(Takers::among(takers, self.unseen, &wanted, ask.now), Takers::None { unseen: false, .. })
    }
}

/// The types of the waiting tasks that no live worker takes, with how many were seen of each.
pub(crate) async fn left(ask: &Ask<'_>, fleet: &Fleet) -> Result<Vec<(TaskType, u64)>, No> {
    let filter = TaskFilter {
        statuses: vec![Status::Queued],
        queue: Some(queue()),
        now: ask.now,
        ..TaskFilter::default()
    };
    let waiting = ask.app.store.tasks(filter, PageRequest::first(WAITING)).await?.items;
    let mut left: Vec<(TaskType, u64)> = Vec::new();
    for task in &waiting {
        if let Some((_, tasks)) = left.iter_mut().find(|(kind, _)| *kind == task.task_type) {
            *tasks += 1;
        } else if fleet.leaves(ask, task) {
            left.push((task.task_type.clone(), 1));
        }
    }
    Ok(left)
}

/// A worker as clients read it.
async fn view(ask: &Ask<'_>, detail: &WorkerDetail, status: WorkerStatus) -> Result<Value, No> {
    let worker = &detail.worker;
    let state = match (is_active(detail, status), detail.active) {
        (false, _) => status.as_str(),
        (true, 0) => "idle",
        (true, _) => "busy",
    };
    Ok(json!({
        "id": worker.id,
        "worker_id": worker.id,
        "state": state,
        "status": status.as_str(),
        "directive": worker.directive.as_str(),
        "current_tasks": held(ask, &detail.leases).await?,
        "active_tasks": detail.active,
        "capacity": worker.capacity,
        "started_at": stamp(worker.started_at),
        "last_heartbeat": worker.last_beat_at.map(stamp),
        "restarts": worker.superseded.len(),
        "readings": worker.readings,
        "labels": worker.labels,
    }))
}

/// The client's ids of tasks that a worker holds.
async fn held(ask: &Ask<'_>, leases: &[(TaskId, u32)]) -> Result<Vec<String>, No> {
    let mut ids = Vec::with_capacity(leases.len());
    for (id, _) in leases {
        match ask.app.store.task(*id).await {
            Ok(detail) if detail.task.queue == queue() => ids.push(Kept::of(&detail.task).id),
            Ok(_) => ids.push(id.to_string()),
            Err(StoreError::TaskNotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ids)
}

/// `GET /api/workers` and `GET /api/workers/status`: all of them, the counts, and whether tasks wait that nobody takes.
pub(crate) async fn list(ask: &Ask<'_>, _: Request) -> Told {
    ask.caller.reach_everything()?;
    let fleet = fleet(ask).await?;
    let mut workers = Vec::with_capacity(fleet.all.len());
    for (detail, status) in &fleet.all {
        workers.push(view(ask, detail, *status).await?);
    }
    let left = left(ask, &fleet).await?;
    let warnings: Vec<String> = left
        .iter()
        .map(|(kind, tasks)| {
            format!(
                "{tasks} or more tasks of the role {kind} wait, and no live worker takes them; start one: \
                     baton worker run --queue autodev"
            )
        })
        .collect();
    told(&json!({
        "workers": workers,
        "total_workers": workers.len(),
        "workers_active": fleet.active(),
        "workers_idle": fleet.idle(),
        "workers_busy": fleet.busy(),
        "worker_restarts": fleet.restarts(),
        "tasks_in_queue": counts::counts(ask).await?.waiting,
        "healthy": warnings.is_empty(),
        "warnings": warnings,
    }))
}

fn name(ask: &Ask<'_>) -> Result<WorkerId, No> {
    ask.id.parse().map_err(|_| no_worker())
}

fn no_worker() -> No {
    No::Said(StatusCode::NOT_FOUND, "Worker not found".to_owned())
}

/// `GET /api/workers/{id}`.
pub(crate) async fn one(ask: &Ask<'_>, _: Request) -> Told {
    ask.caller.reach_everything()?;
    match ask.app.store.worker(&name(ask)?).await {
        Ok(detail) => {
            let status = detail.worker.status(&ask.app.leases, ask.now);
            told(&view(ask, &detail, status).await?)
        }
        Err(StoreError::WorkerNotFound(_)) => Err(no_worker()),
        Err(error) => Err(error.into()),
    }
}

async fn direct(ask: &Ask<'_>, request: Request, directive: Directive) -> Told {
    let body = ask.body(request).await?;
    let action = if body.trim().is_empty() {
        ActionRequest::default()
    } else {
        ActionRequest::from_json(&body, &()).map_err(ApiError::from)?
    };
    let worker = name(ask)?;
    // The worker is told with what it holds.
    ask.caller.keep_room_for_tasks(ask.app, 1).await?;
    match baton_manage_tasks::direct_worker(ask.app, ask.caller, worker, directive, action).await {
        Ok(detail) => {
            let status = detail.worker.status(&ask.app.leases, ask.now);
            told(&view(ask, &detail, status).await?)
        }
        Err(error) if error.code() == baton_api::ProblemCode::WorkerNotFound => Err(no_worker()),
        Err(error) => Err(error.into()),
    }
}

/// `POST /api/workers/{id}/drain`: it claims nothing more, finishes what it runs, and exits.
pub(crate) async fn drain(ask: &Ask<'_>, request: Request) -> Told {
    direct(ask, request, Directive::Drain).await
}

/// `POST /api/workers/{id}/stop`: it gives everything back and exits.
pub(crate) async fn stop(ask: &Ask<'_>, request: Request) -> Told {
    direct(ask, request, Directive::Stop).await
}

/// `POST /api/workers/{id}/run`: takes back what was asked of it.
pub(crate) async fn run(ask: &Ask<'_>, request: Request) -> Told {
    direct(ask, request, Directive::Run).await
}

/// `GET /agents/status`: the workers, as the dashboard's agents.
pub(crate) async fn agents(ask: &Ask<'_>, _: Request) -> Told {
    ask.caller.reach_everything()?;
    let fleet = fleet(ask).await?;
    let mut agents = Vec::with_capacity(fleet.all.len());
    for (detail, status) in fleet.all.iter().filter(|(detail, status)| is_active(detail, *status)) {
        let mut agent = view(ask, detail, *status).await?;
        agent["name"] = agent["id"].clone();
        agent["current_task"] = agent["current_tasks"].get(0).cloned().unwrap_or_default();
        agents.push(agent);
    }
    told(&json!({ "agents": agents, "total_agents": agents.len(), "active_agents": fleet.busy() }))
}
