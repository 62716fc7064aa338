//! `task-counts`: how much waits, how much runs, and what stands in the way.

use std::collections::BTreeMap;

use baton_http::Caller;
use baton_model::{LimitBook, LimitOn, QueueName, Standing, State, Status, Task, TaskState, limits};
use baton_store::{PageRequest, StoreError, TaskFilter};
use serde_json::{Value, json};

use crate::edge::Edge;
use crate::row::{id_of, time};
use crate::types::RunType;
use crate::words::{Answer, Object, Said, ok, text};

/// How many tasks that wait are looked at one by one; those beyond count as if nothing stood in their way.
const LOOKED_AT: usize = 1_000;
/// How many tasks that wait are listed.
const QUEUED: usize = 100;
/// How many tasks that run are listed.
const ACTIVE: usize = 50;

/// What is counted.
struct Counted {
    /// Tasks that wait, the oldest first.
    ready: Vec<Task>,
    /// How many wait beyond those.
    more: u64,
    /// Tasks that run.
    running: Vec<Task>,
    /// How many wait for others.
    blocked: u64,
}

/// Of one owner.
#[derive(Default)]
struct User {
    queued: u64,
    active: u64,
    at_limit: bool,
}

/// Counts tasks.
pub(crate) async fn counts(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let requested = text(body, "run_type");
    let bound = caller.project().is_some();
    let run_type = requested.filter(|_| !bound).and_then(RunType::named);
    let with_active = body.get("include_active").is_none_or(|include| *include != false);
    let queues: Vec<QueueName> = match run_type {
        Some(one) => vec![one.queue()],
        None => RunType::ALL.map(RunType::queue).to_vec(),
    };
    let queues: Vec<QueueName> = queues.into_iter().filter(|queue| caller.covers_queue(queue)).collect();
    let counted = count(edge, caller, &queues).await?;
    let book = if bound { LimitBook::default() } else { book(edge).await? };
    let users = users(edge, &counted).await?;
    let over = over_limit(&counted, &book);
    told(edge, &counted, Told { run_type, requested, with_active, bound, over, users })
}

struct Told<'a> {
    run_type: Option<RunType>,
    requested: Option<&'a str>,
    with_active: bool,
    bound: bool,
    /// Which of those that wait are stopped by a limit, by their places.
    over: Vec<bool>,
    users: BTreeMap<String, User>,
}

fn told(edge: &Edge, counted: &Counted, told: Told<'_>) -> Answer {
    let stopped = told.over.iter().filter(|over| **over).count() as u64;
    let queued_only = counted.ready.len() as u64 - stopped + counted.more;
    // An orchestrator that waits for its children takes no machine.
    let active: Vec<&Task> =
        counted.running.iter().filter(|task| !edge.types.is_orchestrator(&task.task_type)).collect();
    let active_only = if told.with_active { active.len() as u64 } else { 0 };
    let mut totals = json!({
        "queued_only": queued_only,
        "active_only": active_only,
        "queued_plus_active": queued_only + active_only,
    });
    if told.bound {
        totals["eligible_queued"] = queued_only.into();
    } else {
        totals["blocked_by_capacity"] = stopped.into();
        totals["blocked_by_deps"] = counted.blocked.into();
        totals["blocked_by_settings"] = 0.into();
        totals["potentially_claimable"] = (queued_only + stopped).into();
    }
    let user_of = |task: &Task| task.project.to_string();
    let claimable = counted.ready.iter().zip(&told.over).filter(|(_, over)| !**over).map(|(task, _)| task);
    let queued: Vec<Value> = claimable
        .take(QUEUED)
        .map(|task| {
            json!({
                "task_id": id_of(task),
                "task_type": task.task_type,
                "user_id": user_of(task),
                "created_at": time(task.created_at),
            })
        })
        .collect();
    let active: Vec<Value> =
        active.into_iter().take(if told.with_active { ACTIVE } else { 0 }).map(active_task).collect();
    let users: Vec<Value> = told
        .users
        .into_iter()
        .map(|(user, User { queued, active, at_limit })| {
            json!({
                "user_id": user,
                "queued_only": queued,
                "active_only": active,
                "queued_plus_active": queued + active,
                "credits": null,
                "at_limit": at_limit,
            })
        })
        .collect();
    ok(&json!({
        "mode": "count",
        "timestamp": time(edge.app.now()),
        "run_type_filter": told.run_type.map(RunType::as_str),
        "run_type_filter_requested": told.requested,
        "totals": totals,
        "queued_tasks": queued,
        "active_tasks": active,
        "users": users,
    }))
}

fn active_task(task: &Task) -> Value {
    let lease = match &task.head.state {
        TaskState::Running(lease) => Some(lease),
        _ => None,
    };
    json!({
        "task_id": id_of(task),
        "task_type": task.task_type,
        "user_id": task.project,
        "created_at": time(task.created_at),
        "worker_id": lease.map(|lease| lease.worker.as_str()),
        "started_at": lease.map(|lease| time(lease.claimed_at)),
    })
}

async fn count(edge: &Edge, caller: &Caller, queues: &[QueueName]) -> Result<Counted, Said> {
    let now = edge.app.now();
    let bound = caller.project().is_some();
    let exact = edge.app.store.capabilities().fresh_lists;
    let mut counted = Counted { ready: Vec::new(), more: 0, running: Vec::new(), blocked: 0 };
    for queue in queues {
        let list = |status| TaskFilter {
            queue: Some(queue.clone()),
            statuses: vec![status],
            now,
            ..TaskFilter::default()
        };
        let stats = match edge.app.store.queue(queue, now).await {
            Ok(stats) => stats,
            Err(StoreError::QueueNotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        // A queue without any costs no list; but counts that trail would have workers that ask for them first claim nothing.
        let has = |counted: u64| counted > 0 || !exact;
        if has(stats.waits.ready.tasks) {
            let ready = edge.light_tasks(caller, list(Status::Queued), LOOKED_AT).await?;
            if !bound && ready.len() == LOOKED_AT {
                counted.more += stats.waits.ready.tasks.saturating_sub(LOOKED_AT as u64);
            }
            counted.ready.extend(ready);
        }
        if has(stats.running) {
            counted.running.extend(edge.light_tasks(caller, list(Status::Running), LOOKED_AT).await?);
        }
        if bound || !exact {
            counted.blocked += edge.light_tasks(caller, list(Status::Blocked), LOOKED_AT).await?.len() as u64;
        }
    }
    counted.ready.sort_by_key(|task| (task.priority, task.head.run_after, task.head.id));
    if !bound && exact {
        let stats = edge.app.store.stats(now).await?;
        let blocked =
            stats.counts.iter().filter(|row| row.state == State::Blocked && queues.contains(&row.queue));
        counted.blocked = blocked.map(|row| row.tasks).sum();
    }
    Ok(counted)
}

/// All limits that are set, and whose the projects are.
async fn book(edge: &Edge) -> Result<LimitBook, Said> {
    let mut book = LimitBook::default();
    let mut page = PageRequest::first(limits::PAGE);
    loop {
        let found = edge.app.store.limits(page).await?;
        book.limits.extend(found.items.into_iter().map(|status| (status.limit.on.clone(), status.limit)));
        match found.next {
            Some(next) => page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) },
            None => break,
        }
    }
    if !book.is_empty() {
        let mut page = PageRequest::first(limits::PAGE);
        loop {
            let found = edge.app.store.owned_projects(page).await?;
            book.owners.extend(found.items.into_iter().map(|one| (one.project, one.owner)));
            match found.next {
                Some(next) => page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) },
                None => break,
            }
        }
    }
    Ok(book)
}

/// Which of the tasks that wait a limit would stop, if those before them were claimed now.
fn over_limit(counted: &Counted, book: &LimitBook) -> Vec<bool> {
    let mut running: BTreeMap<LimitOn, u32> = BTreeMap::new();
    for task in &counted.running {
        for (on, _) in book.of(task.shared()) {
            *running.entry(on).or_default() += 1;
        }
    }
    let mut over = Vec::with_capacity(counted.ready.len());
    for task in &counted.ready {
        let limits = book.of(task.shared());
        let stops = limits.iter().any(|(on, rules)| {
            let running = running.get(on).copied().unwrap_or_default();
            rules.max_running.is_some()
                && rules
                    .stop(Standing { running, ..Standing::default() }, false, task.head.run_after)
                    .is_some()
        });
        over.push(stops);
        if !stops {
            for (on, _) in limits {
                *running.entry(on).or_default() += 1;
            }
        }
    }
    over
}

/// The counts of each owner.
async fn users(edge: &Edge, counted: &Counted) -> Result<BTreeMap<String, User>, Said> {
    let mut users: BTreeMap<String, User> = BTreeMap::new();
    for task in &counted.ready {
        users.entry(edge.user_of(&task.project).await?).or_default().queued += 1;
    }
    for task in counted.running.iter().filter(|task| !edge.types.is_orchestrator(&task.task_type)) {
        let user = users.entry(edge.user_of(&task.project).await?).or_default();
        user.active += 1;
        let cap = u64::from(edge.settings.running_per_owner);
        user.at_limit = cap > 0 && user.active >= cap;
    }
    Ok(users)
}
