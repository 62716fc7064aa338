//! Rows of tasks, log lines and generations, from Baton's lists.

use std::collections::BTreeMap;

use baton_http::Caller;
use baton_model::{Generation, Level, LogLine, Status, Task, TaskId, Timestamp, limits};
use baton_store::{GenerationFilter, LogFilter, PageRequest, TaskFilter};
use serde_json::{Value, json};

use super::query::Query;
use crate::edge::{Edge, LOOKED_THROUGH};
use crate::row;
use crate::rpc::BESIDES;
use crate::words::{Said, Word, task_id, text_at};

/// The columns of tasks.
pub(super) const TASKS: &[&str] = &[
    "id",
    "task_type",
    "params",
    "status",
    "project_id",
    "dependant_on",
    "output_location",
    "worker_id",
    "attempts",
    "error_message",
    "error_details",
    "result_data",
    "created_at",
    "updated_at",
    "generation_started_at",
    "generation_processed_at",
    "generation_created",
    "idempotency_key",
];

/// The columns of log lines.
pub(super) const LOGS: &[&str] = &[
    "id",
    "timestamp",
    "source_type",
    "source_id",
    "log_level",
    "message",
    "task_id",
    "worker_id",
    "cycle_number",
    "metadata",
];

/// The columns of generations.
pub(super) const GENERATIONS: &[&str] = &[
    "id",
    "tasks",
    "params",
    "type",
    "project_id",
    "name",
    "based_on",
    "parent_generation_id",
    "is_child",
    "child_order",
    "created_at",
    "location",
    "thumbnail_url",
    "shot_id",
];

/// Tasks that may fit, as far as Baton's lists know the filters; the others are for the rows.
pub(super) async fn found(edge: &Edge, caller: &Caller, query: &Query) -> Result<Vec<Task>, Said> {
    if let Some(ids) = query.among("id") {
        let mut tasks = Vec::with_capacity(ids.len());
        for id in ids.into_iter().take(limits::PAGE as usize) {
            tasks.extend(edge.task(caller, task_id(id)).await?.map(|detail| detail.task));
        }
        return Ok(tasks);
    }
    let words =
        query.among("status").map(|names| names.into_iter().filter_map(Word::named).collect::<Vec<_>>());
    let statuses = match &words {
        // No task has any of these statuses.
        Some(words) if words.is_empty() => return Ok(Vec::new()),
        Some(words) => words.iter().flat_map(|word| statuses(*word)).copied().collect(),
        None => Vec::new(),
    };
    let name = |column| query.only(column);
    let parent = query.filters.iter().find_map(|filter| match &filter.test {
        super::query::Test::Contains(part) if !filter.negated => text_at(part, &["orchestrator_task_id_ref"]),
        _ => None,
    });
    let mut filter = TaskFilter {
        statuses,
        task_type: name("task_type").and_then(|name| name.parse().ok()),
        project: name("project_id").and_then(|name| name.parse().ok()),
        worker: name("worker_id").and_then(|name| name.parse().ok()),
        assigned_by: parent.and_then(|parent| parent.parse().ok()),
        created_from: query.since("created_at"),
        now: edge.app.now(),
        ..TaskFilter::default()
    };
    if caller.project().is_some() && filter.project.is_some() && filter.project.as_ref() != caller.project() {
        return Ok(Vec::new());
    }
    filter.queue = None;
    Ok(edge.tasks(caller, filter, LOOKED_THROUGH, |_| true).await?)
}

/// Baton's statuses of a word.
fn statuses(word: Word) -> &'static [Status] {
    match word {
        Word::Queued => &[Status::Blocked, Status::Created, Status::Queued, Status::Retry],
        Word::InProgress => &[Status::Running],
        Word::Complete => &[Status::Completed],
        Word::Failed => &[Status::Failed],
        Word::Cancelled => &[Status::Cancelled],
    }
}

/// Rows of tasks that may fit.
pub(super) async fn tasks(edge: &Edge, caller: &Caller, query: &Query) -> Result<Vec<Value>, Said> {
    let found = found(edge, caller, query).await?;
    let mut rows = row::rows(edge, &found).await?;
    for row in &mut rows {
        row["error_details"] = row["error_message"].clone();
    }
    Ok(rows)
}

/// Rows of log lines that may fit, the newest first.
pub(super) async fn logs(edge: &Edge, caller: &Caller, query: &Query) -> Result<Vec<Value>, Said> {
    super::write::operates(caller, "to read log lines")?;
    let source = query.only("source_id").or_else(|| query.only("worker_id"));
    let filter = LogFilter {
        task: query.only("task_id").map(task_id),
        worker: source.and_then(|name| name.parse().ok()),
        level: query.only("log_level").and_then(level_of),
        ..LogFilter::default()
    };
    let since = query.since("timestamp");
    let (mut lines, mut after) = (Vec::new(), None);
    while lines.len() < LOOKED_THROUGH {
        let request = PageRequest { after, ..PageRequest::first(limits::PAGE) };
        let page = edge.app.store.logs(filter.clone(), request).await?;
        // By when they were received, which is no earlier than they were written, unless clocks differ by more than an hour.
        let margin = std::time::Duration::from_secs(3_600);
        let is_over = |line: &LogLine| since.is_some_and(|since| line.received_at.plus(margin) < since);
        let ends = page.items.last().is_some_and(is_over);
        lines.extend(page.items);
        after = page.next.filter(|_| !ends);
        if after.is_none() {
            break;
        }
    }
    Ok(log_rows(&lines))
}

fn level_of(name: &str) -> Option<Level> {
    match name {
        "INFO" => Some(Level::Info),
        "WARNING" => Some(Level::Warn),
        "ERROR" | "CRITICAL" => Some(Level::Error),
        _ => None,
    }
}

/// The rows of lines, the newest first. Lines of one millisecond are told apart by the microsecond, in the order in which they came:
/// clients take two lines of one time for the same.
fn log_rows(lines: &[LogLine]) -> Vec<Value> {
    let mut places: BTreeMap<(&str, Timestamp), u32> = BTreeMap::new();
    let mut rows: Vec<Value> = Vec::with_capacity(lines.len());
    for line in lines.iter().rev() {
        let place = places.entry((line.worker.as_str(), line.at)).or_default();
        rows.push(log_row(line, *place));
        *place += 1;
    }
    rows.reverse();
    rows
}

fn log_row(line: &LogLine, place: u32) -> Value {
    let mut metadata =
        line.metadata.as_ref().map(|metadata| metadata.to_value()).unwrap_or_else(|| json!({}));
    let besides = metadata.as_object_mut().and_then(|metadata| metadata.remove(BESIDES)).unwrap_or_default();
    let level = match line.level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARNING",
        Level::Error => "ERROR",
    };
    let own_worker = (line.source == "worker").then(|| line.worker.to_string());
    let at = row::micros(line.at, place);
    let id = TaskId::of_name("edge-functions/system_logs", &format!("{} {at}", line.worker));
    json!({
        "id": id,
        "timestamp": at,
        "source_type": line.source,
        "source_id": line.worker,
        "log_level": besides.get("log_level").and_then(Value::as_str).unwrap_or(level),
        "message": line.message,
        "task_id": besides.get("task_id").cloned().or_else(|| line.task.map(|task| task.to_string().into())),
        "worker_id": own_worker.map(Value::from).or_else(|| besides.get("worker_id").cloned()),
        "cycle_number": besides.get("cycle_number"),
        "metadata": metadata,
    })
}

/// Rows of generations that may fit, the newest first.
pub(super) async fn generations(edge: &Edge, caller: &Caller, query: &Query) -> Result<Vec<Value>, Said> {
    let mut filter = GenerationFilter {
        project: query.only("project_id").and_then(|name| name.parse().ok()),
        ..GenerationFilter::default()
    };
    caller.narrow(&mut filter.project, &mut filter.queue)?;
    let (mut rows, mut looked, mut after) = (Vec::new(), 0, None);
    while looked < LOOKED_THROUGH {
        let request = PageRequest { after, ..PageRequest::first(limits::PAGE) };
        let page = edge.app.store.generations(filter.clone(), request).await?;
        looked += page.items.len();
        let shown = page.items.iter().filter(|one| caller.sees_generation(one) && !row::is_hidden(one));
        rows.extend(shown.map(generation_row));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(rows)
}

fn generation_row(generation: &Generation) -> Value {
    let metadata =
        generation.output.metadata.as_ref().map(|metadata| metadata.to_value()).unwrap_or_default();
    let own = |key: &str| metadata.get(key).cloned().unwrap_or_default();
    json!({
        "id": generation.id,
        "tasks": [generation.task],
        "params": metadata,
        "type": own("type"),
        "project_id": generation.project,
        "name": own("name"),
        "based_on": own("based_on"),
        "parent_generation_id": own("parent_generation_id"),
        "is_child": own("is_child"),
        "child_order": own("child_order"),
        "created_at": row::time(generation.finished_at),
        "location": generation.output.location,
        "thumbnail_url": own("thumbnail_url"),
        "shot_id": own("shot_id"),
    })
}
