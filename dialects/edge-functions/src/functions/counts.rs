//! `task-counts`: how much waits, how much runs, and what stands in the way.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_http::Caller;
use baton_model::{
    LimitBook, LimitOn, ProjectId, QueueName, Standing, State, Status, Task, TaskState, Timestamp, limits,
};
use baton_store::{PageRequest, QueueStats, StoreError, TaskFilter};
use serde_json::{Value, json};

use crate::edge::Edge;
use crate::row::{id_of, started, time};
use crate::types::RunType;
use crate::words::{Answer, Object, Said, ok, text};

/// How many tasks that wait are looked at one by one; those beyond count as if nothing stood in their way.
const LOOKED_AT: usize = 1_000;
/// How many looks there are at most for those that have waited longest.
const LOOKS: usize = 8;
/// How far a list's order and the times of creation may differ: a look reads what was created so much later as well, and passes over it.
const DISORDER: Duration = Duration::from_secs(600);
/// How many tasks a look may pass over at most; of a queue that grows faster those that have waited longest are not looked for.
const PASSED_OVER: f64 = 20_000.0;
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
    /// How many run beyond those.
    more_running: u64,
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
    let mut owners = BTreeMap::new();
    for task in counted.ready.iter().chain(&counted.running) {
        if owners.contains_key(&task.project) {
            continue;
        }
        let owner = edge.user_of(&task.project).await?;
        owners.insert(task.project.clone(), owner);
    }
    told(edge, &counted, Told { run_type, requested, with_active, bound, over, users, owners })
}

struct Told<'a> {
    run_type: Option<RunType>,
    requested: Option<&'a str>,
    with_active: bool,
    bound: bool,
    /// Which of those that wait are stopped by a limit, by their places.
    over: Vec<bool>,
    users: BTreeMap<String, User>,
    /// Whose the projects are.
    owners: BTreeMap<ProjectId, String>,
}

fn told(edge: &Edge, counted: &Counted, told: Told<'_>) -> Answer {
    let stopped = told.over.iter().filter(|over| **over).count() as u64;
    let queued_only = counted.ready.len() as u64 - stopped + counted.more;
    // An orchestrator that waits for its children takes no machine.
    let active: Vec<&Task> =
        counted.running.iter().filter(|task| !edge.types.is_orchestrator(&task.task_type)).collect();
    let active_only = if told.with_active { active.len() as u64 + counted.more_running } else { 0 };
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
    let user_of = |task: &Task| told.owners.get(&task.project);
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
    let listed = active.into_iter().take(if told.with_active { ACTIVE } else { 0 });
    let active: Vec<Value> = listed.map(|task| active_task(edge, task, user_of(task))).collect();
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

fn active_task(edge: &Edge, task: &Task, user: Option<&String>) -> Value {
    let lease = match &task.head.state {
        TaskState::Running(lease) => Some(lease),
        _ => None,
    };
    json!({
        "task_id": id_of(task),
        "task_type": task.task_type,
        "user_id": user,
        "created_at": time(task.created_at),
        "worker_id": lease.map(|lease| lease.worker.as_str()),
        "started_at": lease.map(|lease| time(started(edge, task, lease))),
    })
}

async fn count(edge: &Edge, caller: &Caller, queues: &[QueueName]) -> Result<Counted, Said> {
    let now = edge.app.now();
    let bound = caller.project().is_some();
    let exact = edge.app.store.capabilities().fresh_lists;
    let mut counted =
        Counted { ready: Vec::new(), more: 0, running: Vec::new(), more_running: 0, blocked: 0 };
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
        let (waiting, running) = (stats.waits.ready.tasks, stats.running);
        if has(waiting) {
            let (ready, is_all) = longest(edge, caller, list(Status::Queued), &stats).await?;
            if !bound && !is_all {
                counted.more += waiting.saturating_sub(ready.len() as u64);
            }
            counted.ready.extend(ready);
        }
        if has(running) {
            let listed = edge.light_tasks(caller, list(Status::Running), LOOKED_AT).await?;
            if !bound && listed.len() == LOOKED_AT {
                counted.more_running += running.saturating_sub(LOOKED_AT as u64);
            }
            counted.running.extend(listed);
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

/// The tasks that wait of a list, and whether these are all. Of more than are looked at those are looked for that have waited longest:
/// a list begins with the newest, so that one is asked for what was created before a time, until that is few enough. A list that goes
/// by something else is cut at its end.
async fn longest(
    edge: &Edge,
    caller: &Caller,
    filter: TaskFilter,
    stats: &QueueStats,
) -> Result<(Vec<Task>, bool), Said> {
    let mut found = edge.light_tasks(caller, filter.clone(), LOOKED_AT).await?;
    if found.len() < LOOKED_AT {
        return Ok((found, true));
    }
    let now = edge.app.now();
    // What was created before the first one was due is looked at whatever the time is.
    let first = now.minus(stats.oldest_ready.unwrap_or_default()).as_millis();
    let newest = found.last().map_or(now, |task| task.created_at).as_millis();
    // As if they had come evenly.
    let waiting = stats.waits.ready.tasks.max(1) as f64;
    let passed_over = waiting * (DISORDER.as_millis() as f64 / (newest - first).max(1) as f64).min(1.0);
    if !edge.app.store.capabilities().lists_by_creation || newest <= first || passed_over > PASSED_OVER {
        return Ok((found, false));
    }
    let (mut low, mut high) = (first, newest);
    // About half as many as may be.
    let share = LOOKED_AT as f64 / 2.0 / waiting;
    let mut before = low + ((high - low) as f64 * share.min(0.5)) as i64;
    let mut few = Vec::new();
    for _ in 0..LOOKS {
        let filter = TaskFilter { created_before: Some(Timestamp::from_millis(before)), ..filter.clone() };
        let older = edge.light_tasks(caller, filter, LOOKED_AT).await?;
        if older.len() == LOOKED_AT {
            (high, found) = (before, older);
        } else {
            (low, few) = (before, older);
            if few.len() >= QUEUED {
                break;
            }
        }
        let middle = low + (high - low) / 2;
        if middle == before || middle <= low {
            break;
        }
        before = middle;
    }
    Ok((if few.is_empty() { found } else { few }, false))
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
