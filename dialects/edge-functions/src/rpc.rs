//! The procedures: heartbeats with log lines, and log lines alone.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::Request;
use baton_http::{ApiError, Caller};
use baton_model::{Level, LogLine, Payload, TaskId, TaskState, Timestamp, WorkerId, limits};
use baton_store::{Beat, StoreError, WorkerDetail};
use http::StatusCode;
use serde_json::{Value, json};

use crate::cascade;
use crate::edge::Edge;
use crate::ending;
use crate::words::{self, Answer, Object, Said, Word, empty, ok, read_time, table_error, task_id, text};

/// The word of a worker's watcher for its end.
const CRASHED: &str = "crashed";
/// What a watcher's last word has as its tasks' failure.
const CRASH: &str = "the worker has crashed";

/// Calls a procedure.
pub(crate) async fn call(edge: &Edge, caller: &Caller, name: &str, request: Request) -> Answer {
    if caller.grant().is_some_and(|grant| !grant.has(&[baton_model::Scope::Worker])) {
        let message = format!("permission denied for function {name}");
        return Err(table_error(403, "42501", &message, None).into());
    }
    let body = words::object(request, edge.app.limits().batch_bytes).await?;
    match name {
        "func_worker_heartbeat_with_logs" => heartbeat(edge, caller, &body).await,
        "func_insert_logs_batch" => logs(edge, caller, &body).await,
        "func_update_worker_heartbeat" => beat_alone(edge, caller, &body).await,
        // Log lines go by themselves, after the retention that the settings name.
        "func_cleanup_old_logs" => ok(&json!({ "success": true, "deleted": 0 })),
        _ => {
            let message = format!("Could not find the function public.{name} in the schema cache");
            let hint = "claim-next-task, complete_task and update-task-status do what it did";
            Err(table_error(404, "PGRST202", &message, Some(hint)).into())
        }
    }
}

fn worker(body: &Object) -> Result<WorkerId, Said> {
    let missing = || table_error(400, "PGRST202", "worker_id_param is required", None);
    let name = text(body, "worker_id_param").ok_or_else(missing)?;
    name.parse().map_err(|error| table_error(400, "22023", &format!("worker_id_param: {error}"), None).into())
}

async fn known(edge: &Edge, worker: &WorkerId) -> Result<Option<WorkerDetail>, ApiError> {
    match edge.app.store.worker(worker).await {
        Ok(detail) => Ok(Some(detail)),
        Err(StoreError::WorkerNotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The readings of a beat: those that it brings, else those that stand.
fn readings(body: &Object, known: Option<&WorkerDetail>, now: Timestamp) -> BTreeMap<String, f64> {
    let number = |key| body.get(key).and_then(Value::as_f64);
    let mut readings = known.map(|detail| detail.worker.readings.clone()).unwrap_or_default();
    if let Some(total) = number("vram_total_mb_param").filter(|total| *total > 0.0) {
        readings.insert("vram_total_mb".to_owned(), total);
        readings.insert("vram_used_mb".to_owned(), number("vram_used_mb_param").unwrap_or_default());
        // Seconds since 1970, as the platform's own have it.
        readings.insert("vram_timestamp".to_owned(), (now.as_millis() / 1_000) as f64);
    }
    readings
}

/// A worker's heartbeat. What it says of its status is believed of its end alone: a row that was marked as ending by others is
/// not brought back by the worker's own word.
async fn heartbeat(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let worker = worker(body)?;
    let now = edge.app.now();
    let known = known(edge, &worker).await?;
    let crashed = text(body, "status_param") == Some(CRASHED);
    let entries = match body.get("logs_param") {
        Some(Value::Array(entries)) => entries.as_slice(),
        _ => &[],
    };
    let (lines, errors) = lines(entries, now, |_| Some((worker.clone(), "worker".to_owned())));
    let (requeued, failed) =
        if crashed { give_back(edge, caller, &worker, known.as_ref()).await? } else { (0, 0) };
    let inserted = lines.len();
    let beat = Beat {
        caller: caller.owner(),
        readings: readings(body, known.as_ref(), now),
        ending: crashed,
        ..Beat::new(worker, now)
    };
    beat_with(edge, caller, beat, lines).await?;
    ok(&json!({
        "success": true,
        "heartbeat_updated": true,
        "logs_inserted": inserted,
        "log_errors": errors,
        "crash_requeued_tasks": requeued,
        "crash_failed_tasks": failed,
    }))
}

/// Beats, with as many of the lines as the worker's share of log lines has room for.
async fn beat_with(edge: &Edge, caller: &Caller, beat: Beat, mut lines: Vec<LogLine>) -> Result<(), Said> {
    if caller.is_bound() {
        let mut unseen = BTreeSet::new();
        for task in lines.iter().filter_map(|line| line.task).collect::<BTreeSet<_>>() {
            if edge.task(caller, task).await?.is_none() {
                unseen.insert(task);
            }
        }
        // The log of a task is no place for the words of who only knows its id.
        lines.iter_mut().for_each(|line| line.task = line.task.filter(|task| !unseen.contains(task)));
    }
    let shipment = edge.app.log_shares.take(&beat.worker, &beat.caller, lines, beat.ending, beat.now);
    let (logs, _, counted) = shipment.parts();
    match edge.app.store.heartbeat(Beat { logs, ..beat }).await {
        Ok(answer) => {
            edge.app.log_shares.heard(&counted, answer.shipped);
            Ok(())
        }
        Err(error) => {
            edge.app.log_shares.refused(counted);
            Err(error.into())
        }
    }
}

/// Gives back all that a crashed worker holds: to the queue while there are attempts left, else failed for good. Counts both.
async fn give_back(
    edge: &Edge,
    caller: &Caller,
    worker: &WorkerId,
    known: Option<&WorkerDetail>,
) -> Result<(u64, u64), Said> {
    let (mut requeued, mut failed) = (0, 0);
    let Some(detail) = known else { return Ok((0, 0)) };
    for (id, attempt) in &detail.leases {
        let Some(found) = edge.task(caller, *id).await? else { continue };
        let held = matches!(&found.task.head.state, TaskState::Running(lease) if lease.worker == *worker);
        if !held || found.task.head.attempt != *attempt {
            continue;
        }
        match ending::fail(edge, caller, &found.task, (CRASH, Some("worker_crashed")), true).await {
            Ok(task) if Word::of(task.head.state.state()) == Word::Failed => {
                failed += 1;
                cascade::after_failure(edge, caller, &task, Word::Failed, CRASH).await?;
            }
            Ok(_) => requeued += 1,
            // It has ended since it was looked at.
            Err(Said::Baton(error)) if ending::has_changed(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((requeued, failed))
}

/// A heartbeat without lines.
async fn beat_alone(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let worker = worker(body)?;
    let now = edge.app.now();
    let known = known(edge, &worker).await?;
    let readings = readings(body, known.as_ref(), now);
    let beat = Beat { caller: caller.owner(), readings, ..Beat::new(worker, now) };
    edge.app.store.heartbeat(beat).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Log lines of orchestrators and of others. They are no sign of anybody's life.
async fn logs(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let Some(Value::Array(entries)) = body.get("logs") else {
        return Err(table_error(400, "PGRST202", "logs must be an array", None).into());
    };
    let (inserted, errors) = keep_logs(edge, caller, entries).await?;
    ok(&json!({ "success": true, "inserted": inserted, "errors": errors }))
}

/// How the name begins of the record under which log lines are shipped that come by no heartbeat: none of it is a worker.
pub(crate) const SHIPS: &str = "logs:";

/// The record that ships a source's lines beside the worker of that name, if there is one.
fn shipper(source: &WorkerId) -> WorkerId {
    format!("{SHIPS}{source}").parse().unwrap_or_else(|_| {
        // The name has no room for more.
        WorkerId::from_stored(format!("{SHIPS}{}", TaskId::of_name("edge-functions/logs", source.as_str())))
    })
}

/// Keeps the lines that can be read; says how many these are, and how many others.
pub(crate) async fn keep_logs(
    edge: &Edge,
    caller: &Caller,
    entries: &[Value],
) -> Result<(usize, usize), Said> {
    let now = edge.app.now();
    let (lines, errors) = lines(entries, now, |entry| {
        // Under whose name it is found.
        let named = ["source_id", "worker_id", "source_type"].into_iter().find_map(|key| text(entry, key))?;
        Some((named.parse().ok()?, text(entry, "source_type").unwrap_or("worker").to_owned()))
    });
    let inserted = lines.len();
    let mut by_worker: BTreeMap<WorkerId, Vec<LogLine>> = BTreeMap::new();
    for line in lines {
        by_worker.entry(line.worker.clone()).or_default().push(line);
    }
    for (source, lines) in by_worker {
        // It ends with its beginning, so that nobody takes it for a worker that lives.
        let beat = Beat { caller: caller.owner(), ending: true, ..Beat::new(shipper(&source), now) };
        beat_with(edge, caller, beat, lines).await?;
    }
    Ok((inserted, errors))
}

/// The lines that can be read, up to as many as a heartbeat may bring, and how many others there are.
fn lines(
    entries: &[Value],
    now: Timestamp,
    source: impl Fn(&Object) -> Option<(WorkerId, String)>,
) -> (Vec<LogLine>, usize) {
    let mut lines = Vec::with_capacity(entries.len());
    for entry in entries {
        let line = entry.as_object().and_then(|entry| line(entry, now, source(entry)?));
        lines.extend(line.filter(|_| lines.len() < limits::LOG_LINES));
    }
    let errors = entries.len() - lines.len();
    (lines, errors)
}

fn line(entry: &Object, now: Timestamp, (worker, source): (WorkerId, String)) -> Option<LogLine> {
    let message = entry.get("message")?.as_str()?;
    let level = text(entry, "level").or_else(|| text(entry, "log_level")).unwrap_or("INFO");
    let at = match entry.get("timestamp") {
        None | Some(Value::Null) => now,
        Some(Value::String(text)) => read_time(text)?,
        Some(_) => return None,
    };
    Some(LogLine {
        at,
        received_at: now,
        worker,
        task: text(entry, "task_id").map(task_id),
        level: level_of(level)?,
        source,
        message: cut(message),
        metadata: Some(Payload::from_value(&metadata(entry, level)))
            .filter(|metadata| metadata.as_str() != "{}"),
    })
}

fn level_of(name: &str) -> Option<Level> {
    match name.to_ascii_uppercase().as_str() {
        "DEBUG" => Some(Level::Debug),
        "INFO" => Some(Level::Info),
        "WARNING" | "WARN" => Some(Level::Warn),
        "ERROR" | "CRITICAL" => Some(Level::Error),
        _ => None,
    }
}

/// The key under which a line's metadata has what Baton's lines have no place for.
pub(crate) const BESIDES: &str = "_row";

/// A line's metadata, with what Baton's lines have no place for.
fn metadata(entry: &Object, level: &str) -> Value {
    let mut metadata = match entry.get("metadata") {
        Some(Value::Object(metadata)) => metadata.clone(),
        _ => Object::new(),
    };
    let mut besides = Object::new();
    if level.eq_ignore_ascii_case("CRITICAL") {
        besides.insert("log_level".to_owned(), "CRITICAL".into());
    }
    for key in ["cycle_number", "worker_id", "task_id"] {
        if let Some(value) = entry.get(key).filter(|value| !value.is_null()) {
            // A task's own id is known by the line.
            if key != "task_id" || value.as_str().is_some_and(|name| name.parse::<TaskId>().is_err()) {
                besides.insert(key.to_owned(), value.clone());
            }
        }
    }
    if !besides.is_empty() {
        metadata.insert(BESIDES.to_owned(), Value::Object(besides));
    }
    Value::Object(metadata)
}

/// The beginning of a message that is too long.
fn cut(message: &str) -> String {
    let mut until = message.len().min(limits::LOG_BYTES);
    while !message.is_char_boundary(until) {
        until -= 1;
    }
    message[..until].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_pythons_write_them() {
        let expected = read_time("2026-01-31T08:15:00.250Z").unwrap();
        for text in
            ["2026-01-31T08:15:00.250000+00:00", "2026-01-31T08:15:00.250000", "2026-01-31 08:15:00.250"]
        {
            assert_eq!(read_time(text), Some(expected), "{text}");
        }
        assert_eq!(read_time("yesterday"), None);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_counted_and_leaves_the_others_alone() {
        let entries = [
            json!({"message": "a", "level": "INFO"}),
            json!({"message": "b", "level": "LOUD"}),
            json!({"level": "INFO"}),
            json!("c"),
            json!({"message": "d", "level": "CRITICAL", "metadata": {"k": 1}, "task_id": "not-a-uuid"}),
        ];
        let source = |_: &Object| Some(("w".parse().unwrap(), "worker".to_owned()));
        let (lines, errors) = lines(&entries, Timestamp::default(), source);
        assert_eq!((lines.len(), errors), (2, 3));
        let metadata = lines[1].metadata.as_ref().unwrap().to_value();
        assert_eq!(metadata, json!({"k": 1, "_row": {"log_level": "CRITICAL", "task_id": "not-a-uuid"}}));
        assert_eq!(lines[1].level, Level::Error);
    }
}
