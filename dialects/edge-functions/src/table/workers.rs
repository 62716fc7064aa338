//! The rows of workers. What Baton knows of a worker comes from its claims and heartbeats. What others write down about it (its
//! machine, and what is to become of it) is no sign of its life: it is kept as the labels of a record beside the worker's own.

use std::collections::BTreeMap;

use baton_http::Caller;
use baton_model::{Directive, State, Worker, WorkerId, WorkerStatus, limits};
use baton_store::{Beat, Direct, PageRequest, StoreError, WorkerDetail};
use serde_json::{Value, json};

use super::query::Query;
use super::write::{operates, worker_name};
use crate::beside::{BESIDE, beside_name, written};
use crate::edge::Edge;
use crate::row::time;
use crate::rpc::SHIPS;
use crate::words::{Object, Said, read_time, table_error, text};

/// The columns of workers.
pub(super) const WORKERS: &[&str] =
    &["id", "instance_type", "status", "created_at", "last_heartbeat", "metadata", "current_model"];
/// The columns of the view of those that live.
pub(super) const HEALTH: &[&str] = &[
    "id",
    "instance_type",
    "status",
    "created_at",
    "last_heartbeat",
    "metadata",
    "current_model",
    "heartbeat_age_seconds",
    "health_status",
    "current_task_id",
];
/// The columns of the view of everything.
pub(super) const STATUS: &[&str] = &[
    "timestamp",
    "queued_tasks",
    "active_tasks",
    "tasks_in_progress",
    "active_workers",
    "spawning_workers",
    "terminating_workers",
    "error_workers",
];

/// Words that end a worker: its own heartbeats do not take them back.
const ENDS: [&str; 4] = ["terminating", "error", "terminated", "crashed"];
/// All words of a worker's status.
const STATUSES: [&str; 7] =
    ["inactive", "spawning", "active", "terminating", "error", "terminated", "crashed"];

/// A worker by its own record and by what others have written down.
#[derive(Default)]
struct Known {
    own: Option<WorkerDetail>,
    beside: Option<BTreeMap<String, String>>,
}

async fn known(edge: &Edge) -> Result<BTreeMap<String, Known>, Said> {
    let mut all: BTreeMap<String, Known> = BTreeMap::new();
    let mut after = None;
    loop {
        let request = PageRequest { after, ..PageRequest::first(limits::PAGE) };
        let page = edge.app.store.workers(request).await?;
        for detail in page.items {
            let name = detail.worker.id.to_string();
            if name.starts_with(SHIPS) {
                continue;
            }
            match name.strip_prefix(BESIDE) {
                Some(of) => all.entry(of.to_owned()).or_default().beside = Some(detail.worker.labels),
                None => all.entry(name).or_default().own = Some(detail),
            }
        }
        after = page.next;
        if after.is_none() || all.len() >= crate::edge::LOOKED_THROUGH {
            return Ok(all);
        }
    }
}

/// The sources whose log lines come by no heartbeat, by the records that ship these.
pub(super) async fn sources(edge: &Edge) -> Result<Vec<WorkerId>, Said> {
    let (mut sources, mut looked, mut after) = (Vec::new(), 0, None);
    loop {
        let request = PageRequest { after, ..PageRequest::first(limits::PAGE) };
        let page = edge.app.store.workers(request).await?;
        looked += page.items.len();
        let names = page.items.iter().filter_map(|detail| detail.worker.id.as_str().strip_prefix(SHIPS));
        sources.extend(names.map(WorkerId::from_stored));
        after = page.next;
        if after.is_none() || looked >= crate::edge::LOOKED_THROUGH {
            return Ok(sources);
        }
    }
}

/// What a worker's row has as its status.
fn word(edge: &Edge, own: Option<&Worker>, written: Option<&str>) -> String {
    let status = own.map(|worker| worker.status(&edge.app.leases, edge.app.now()));
    let told = match (written, status) {
        (Some(written), _) if ENDS.contains(&written) => written,
        (_, Some(WorkerStatus::Gone)) => "crashed",
        (_, Some(WorkerStatus::Stopping | WorkerStatus::Draining)) => "terminating",
        (_, Some(WorkerStatus::Active | WorkerStatus::Lost | WorkerStatus::Silent)) => "active",
        (Some(written), None) => written,
        (None, None) => "inactive",
    };
    told.to_owned()
}

fn row(edge: &Edge, name: &str, known: &Known) -> Value {
    let own = known.own.as_ref().map(|detail| &detail.worker);
    let beside = |key: &str| known.beside.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let mut metadata = match beside("metadata").and_then(|text| serde_json::from_str(text).ok()) {
        Some(Value::Object(metadata)) => metadata,
        _ => Object::new(),
    };
    for (key, reading) in own.into_iter().flat_map(|worker| &worker.readings) {
        // The platform counts memory in whole numbers.
        let whole = reading.fract() == 0.0 && reading.abs() < 1e15;
        metadata.insert(key.clone(), if whole { json!(*reading as i64) } else { json!(reading) });
    }
    let beat = own.and_then(|worker| worker.last_beat_at).map(time);
    json!({
        "id": name,
        "instance_type": beside("instance_type").unwrap_or("external"),
        "status": word(edge, own, beside("status")),
        "created_at": beside("created_at").map(str::to_owned).or_else(|| own.map(|worker| time(worker.started_at))),
        "last_heartbeat": beat.or_else(|| beside("last_heartbeat").map(str::to_owned)),
        "metadata": metadata,
        "current_model": own.and_then(|worker| worker.labels.get("current_model")),
    })
}

/// The rows of workers.
pub(super) async fn rows(edge: &Edge, caller: &Caller) -> Result<Vec<Value>, Said> {
    operates(caller, "to read workers")?;
    Ok(known(edge).await?.iter().map(|(name, known)| row(edge, name, known)).collect())
}

/// Those that live or are about to, with how they fare.
pub(super) async fn health(edge: &Edge, caller: &Caller) -> Result<Vec<Value>, Said> {
    operates(caller, "to read workers")?;
    let now = edge.app.now();
    let mut rows = Vec::new();
    for (name, known) in known(edge).await? {
        let mut row = row(edge, &name, &known);
        if row["status"] != "active" && row["status"] != "spawning" {
            continue;
        }
        let age = row["last_heartbeat"].as_str().and_then(read_time).map(|at| now.since(at).as_secs());
        row["heartbeat_age_seconds"] = json!(age);
        row["health_status"] = match age {
            Some(0..60) => "healthy",
            Some(60..300) => "warning",
            _ => "stale",
        }
        .into();
        row["current_task_id"] =
            json!(known.own.and_then(|detail| detail.leases.first().map(|(task, _)| *task)));
        rows.push(row);
    }
    Ok(rows)
}

/// Everything in one row.
pub(super) async fn status(edge: &Edge, caller: &Caller) -> Result<Vec<Value>, Said> {
    operates(caller, "to read workers")?;
    let stats = edge.app.store.stats(edge.app.now()).await?;
    let tasks = |states: &[State]| states.iter().filter_map(|state| stats.states.get(state)).sum::<u64>();
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows(edge, caller).await? {
        *words.entry(row["status"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let workers = |word: &str| words.get(word).copied().unwrap_or_default();
    Ok(vec![json!({
        "timestamp": time(edge.app.now()),
        "queued_tasks": tasks(&[State::Queued, State::Blocked]),
        "active_tasks": tasks(&[State::Running]),
        "tasks_in_progress": tasks(&[State::Running]),
        "active_workers": workers("active"),
        "spawning_workers": workers("spawning"),
        "terminating_workers": workers("terminating"),
        "error_workers": workers("error") + workers("crashed"),
    })])
}

/// Writes down what a body says of a worker, over what was written before.
pub(super) async fn put(edge: &Edge, caller: &Caller, mut body: Object) -> Result<Value, Said> {
    operates(caller, "to write down workers")?;
    let worker = worker_name(&body)?;
    body.remove("id");
    let fresh = |key: &str, value: String| (key.to_owned(), value);
    let mut labels: BTreeMap<String, String> = match beside(edge, &worker).await? {
        Some(labels) => labels,
        None => BTreeMap::from([
            fresh("created_at", time(edge.app.now())),
            fresh("status", "inactive".to_owned()),
            fresh("instance_type", "external".to_owned()),
        ]),
    };
    write(edge, &worker, &body, &mut labels).await
}

async fn beside(edge: &Edge, worker: &WorkerId) -> Result<Option<BTreeMap<String, String>>, Said> {
    Ok(written(edge, &beside_name(worker)?).await?)
}

async fn write(
    edge: &Edge,
    worker: &WorkerId,
    body: &Object,
    labels: &mut BTreeMap<String, String>,
) -> Result<Value, Said> {
    if let Some(status) = text(body, "status")
        && !STATUSES.contains(&status)
    {
        let message = format!("invalid input value for enum worker_status: \"{status}\"");
        return Err(table_error(400, "22P02", &message, None).into());
    }
    for key in ["status", "instance_type", "created_at", "last_heartbeat"] {
        if let Some(value) = text(body, key) {
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    if let Some(metadata) = body.get("metadata") {
        if !metadata.is_object() {
            return Err(table_error(400, "22023", "metadata must be an object", None).into());
        }
        labels.insert("metadata".to_owned(), metadata.to_string());
    }
    let now = edge.app.now();
    // It ends with its beginning, so that nobody takes it for a worker that lives.
    let beat = Beat { labels: labels.clone(), ending: true, ..Beat::new(beside_name(worker)?, now) };
    edge.app.store.heartbeat(beat).await?;
    if let Some(status) = text(body, "status") {
        direct(edge, worker, status).await?;
    }
    let own = match edge.app.store.worker(worker).await {
        Ok(detail) => Some(detail),
        Err(StoreError::WorkerNotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(row(edge, worker.as_str(), &Known { own, beside: Some(labels.clone()) }))
}

/// Asks of a worker what its status means: one that ends is given nothing more.
async fn direct(edge: &Edge, worker: &WorkerId, status: &str) -> Result<(), Said> {
    let directive = match status {
        "terminating" => Directive::Drain,
        "error" | "terminated" | "crashed" => Directive::Stop,
        "active" => Directive::Run,
        _ => return Ok(()),
    };
    let (now, worker_id) = (edge.app.now(), worker.clone());
    let direct = Direct { now, worker: worker_id, directive, by: None, reason: None, only_if: None };
    match edge.app.store.direct_worker(direct).await {
        Ok(_) => {
            edge.app.doorbell.ring_worker(worker);
            Ok(())
        }
        // It has never been heard of.
        Err(StoreError::WorkerNotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes down what a change says of workers.
pub(super) async fn change(
    edge: &Edge,
    caller: &Caller,
    query: &Query,
    body: &Object,
) -> Result<Vec<Value>, Said> {
    operates(caller, "to write down workers")?;
    if let Some(column) = super::beyond(body, WORKERS) {
        let message = format!("column workers.{column} does not exist");
        return Err(table_error(400, "42703", &message, None).into());
    }
    let mut changed = Vec::new();
    for (name, known) in known(edge).await? {
        if !query.fits(&row(edge, &name, &known)) {
            continue;
        }
        let worker = WorkerId::from_stored(name);
        let mut labels = known.beside.unwrap_or_default();
        changed.push(write(edge, &worker, body, &mut labels).await?);
    }
    Ok(changed)
}
