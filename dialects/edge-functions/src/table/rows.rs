//! Rows of tasks, log lines and generations, from Baton's lists.

use std::collections::{BTreeMap, BTreeSet};

use baton_http::Caller;
use baton_model::{
    Generation, Level, LogLine, State, Status, Task, TaskId, TaskType, Timestamp, WorkerId, limits,
};
use baton_store::{GenerationFilter, LogFilter, PageRequest, TaskFilter};
use serde_json::{Value, json};

use super::query::{Query, Test};
use super::workers;
use crate::edge::{Edge, LOOKED_THROUGH, Pieces};
use crate::row::{self, Beside, Wanted};
use crate::rpc::BESIDES;
use crate::words::{Said, Word, task_id, text_at};

/// How many bytes of rows of tasks an answer has, unless a single row is larger.
const ROWS_BYTES: usize = 16 << 20;
/// How many rows are held at most beyond those that are asked for, before they are put in order.
const MOST_BEYOND: usize = 1_000;
/// How many rows of tasks are made at once.
const FEW: usize = 16;
/// How many sources of log lines are looked at one by one.
const SOURCES: usize = 100;
/// The kind of source that a worker's own lines are of.
const WORKER: &str = "worker";
/// How many microseconds lie between the lines of a worker and those of others about it, of one millisecond.
const APART: u32 = 500;

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

/// Tasks that may fit, as far as Baton's lists know the filters, piece by piece; the others are for the rows.
enum Found {
    /// Those of these ids that are there.
    Ids(std::vec::IntoIter<TaskId>),
    /// Those of a list.
    List(Box<Pieces>),
}

impl Found {
    fn nothing() -> Self {
        Self::Ids(Vec::new().into_iter())
    }

    fn by(edge: &Edge, caller: &Caller, query: &Query) -> Result<Self, Said> {
        if let Some(ids) = query.among("id") {
            // One task may be named twice, by both of its ids.
            let mut seen = BTreeSet::new();
            let ids = ids.into_iter().take(limits::PAGE as usize).map(task_id).filter(|id| seen.insert(*id));
            return Ok(Self::Ids(ids.collect::<Vec<_>>().into_iter()));
        }
        let words =
            query.among("status").map(|names| names.into_iter().filter_map(Word::named).collect::<Vec<_>>());
        let statuses = match &words {
            // No task has any of these statuses.
            Some(words) if words.is_empty() => return Ok(Self::nothing()),
            Some(words) => words.iter().flat_map(|word| statuses(*word)).copied().collect(),
            None => Vec::new(),
        };
        let name = |column| query.only(column);
        let parent = query.filters.iter().find_map(|filter| match &filter.test {
            Test::Contains(part) if !filter.negated => text_at(part, &["orchestrator_task_id_ref"]),
            _ => None,
        });
        let filter = TaskFilter {
            statuses,
            task_type: name("task_type").and_then(|name| name.parse().ok()),
            project: name("project_id").and_then(|name| name.parse().ok()),
            worker: name("worker_id").and_then(|name| name.parse().ok()),
            assigned_by: parent.and_then(|parent| parent.parse().ok()),
            created_from: query.since("created_at"),
            now: edge.app.now(),
            ..TaskFilter::default()
        };
        if caller.project().is_some()
            && filter.project.is_some()
            && filter.project.as_ref() != caller.project()
        {
            return Ok(Self::nothing());
        }
        Ok(Self::List(Box::new(edge.pieces(caller, filter)?)))
    }

    /// Whether more may fit than were looked through.
    fn is_cut(&self) -> bool {
        matches!(self, Self::List(pieces) if pieces.are_cut())
    }

    async fn next(&mut self, edge: &Edge, caller: &Caller) -> Result<Option<Vec<Task>>, Said> {
        match self {
            Self::List(pieces) => Ok(edge.piece(caller, pieces).await?),
            Self::Ids(ids) => match ids.next() {
                None => Ok(None),
                Some(id) => {
                    Ok(Some(edge.task(caller, id).await?.map(|detail| detail.task).into_iter().collect()))
                }
            },
        }
    }
}

/// The columns of rows that a query needs: those that it asks for, or goes by.
fn wanted(query: &Query, asked: &[&str]) -> Wanted {
    let mut columns: BTreeSet<String> = query.filters.iter().map(|one| one.column.clone()).collect();
    columns.extend(query.order.iter().map(|(column, _)| column.clone()));
    columns.extend(asked.iter().map(|column| (*column).to_owned()));
    if columns.contains("error_details") {
        columns.insert("error_message".to_owned());
    }
    Wanted::These(columns)
}

/// Whether the row of a task fits: its id by either of its names.
pub(super) fn fits(query: &Query, row: &Value, task: &Task) -> bool {
    query.fits_as(row, &task.head.id.to_string())
}

/// The ids of the tasks that fit.
pub(super) async fn fitting(edge: &Edge, caller: &Caller, query: &Query) -> Result<Vec<TaskId>, Said> {
    let (wanted, mut beside) = (wanted(query, &["id"]), Beside::default());
    let mut found = Found::by(edge, caller, query)?;
    let mut ids = Vec::new();
    while let Some(tasks) = found.next(edge, caller).await? {
        let rows = row::rows_of(edge, &tasks, &wanted, &mut beside).await?;
        ids.extend(
            tasks
                .iter()
                .zip(&rows)
                .filter(|(task, row)| fits(query, row, task))
                .map(|(task, _)| task.head.id),
        );
    }
    Ok(ids)
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

/// The rows of tasks that fit, in order, of which only the first `most` and about [`ROWS_BYTES`] are kept; and how many fit in all, or
/// of those that are looked through where the statistics do not tell.
pub(super) async fn tasks(
    edge: &Edge,
    caller: &Caller,
    query: &Query,
    most: usize,
) -> Result<(Vec<Value>, usize), Said> {
    let asked: Vec<&str> = match (query.counts, query.columns.is_empty()) {
        (true, _) => vec!["id"],
        (false, true) => TASKS.to_vec(),
        (false, false) => query.columns.iter().map(String::as_str).collect(),
    };
    let (wanted, mut beside) = (wanted(query, &asked), Beside::default());
    let mut found = Found::by(edge, caller, query)?;
    let (mut kept, mut total) = (Kept::default(), 0);
    while let Some(tasks) = found.next(edge, caller).await? {
        for few in tasks.chunks(FEW) {
            let rows = row::rows_of(edge, few, &wanted, &mut beside).await?;
            for (task, mut row) in few.iter().zip(rows) {
                if asked.contains(&"error_details") {
                    row["error_details"] = row["error_message"].clone();
                }
                if fits(query, &row, task) {
                    total += 1;
                    kept.add(row, query, most);
                }
            }
        }
    }
    kept.cut(query, most);
    if found.is_cut()
        && let Some(counted) = counted(edge, caller, query).await?
    {
        total = total.max(counted);
    }
    Ok((kept.rows, total))
}

/// How many tasks fit by Baton's statistics, where these tell: they count by status and type, over all projects.
async fn counted(edge: &Edge, caller: &Caller, query: &Query) -> Result<Option<usize>, Said> {
    let by = |column: &str| query.filters.iter().any(|filter| filter.column == column);
    let told = query.filters.iter().all(|filter| ["status", "task_type"].contains(&filter.column.as_str()));
    if caller.is_bound() || !told {
        return Ok(None);
    }
    let stats = edge.app.store.stats(edge.app.now()).await?;
    let fits = |state: State, task_type: Option<&TaskType>| {
        query.fits(&json!({ "status": Word::of(state).as_str(), "task_type": task_type }))
    };
    let tasks: u64 = if by("task_type") {
        let is_whole = stats.other_counts.1 == 0 && stats.counts.iter().all(|row| row.task_type.is_some());
        if !is_whole {
            return Ok(None);
        }
        let rows = stats.counts.iter().filter(|row| fits(row.state, row.task_type.as_ref()));
        rows.map(|row| row.tasks).sum()
    } else {
        let states = stats.states.iter().filter(|(state, _)| fits(**state, None));
        states.map(|(_, tasks)| *tasks).sum()
    };
    Ok(usize::try_from(tasks).ok())
}

/// The first rows of those that came by so far.
#[derive(Default)]
struct Kept {
    rows: Vec<Value>,
    bytes: usize,
    /// Whether some were left off for their bytes, so that those which stand behind them are, too, if rows go by no order.
    is_full: bool,
}

impl Kept {
    fn add(&mut self, row: Value, query: &Query, most: usize) {
        if query.order.is_empty() && (self.is_full || self.rows.len() >= most) {
            return;
        }
        self.bytes += row.to_string().len();
        self.rows.push(row);
        if self.bytes > 2 * ROWS_BYTES || self.rows.len() > most.saturating_add(MOST_BEYOND) {
            self.cut(query, most);
        }
    }

    /// Puts what there is in order, and leaves off what stands beyond the bounds.
    fn cut(&mut self, query: &Query, most: usize) {
        query.sort(&mut self.rows);
        self.rows.truncate(most);
        self.bytes = 0;
        let mut fit = 0;
        for row in &self.rows {
            let bytes = self.bytes + row.to_string().len();
            // One row is told, however large it is.
            if bytes > ROWS_BYTES && fit > 0 {
                break;
            }
            self.bytes = bytes;
            fit += 1;
        }
        self.is_full |= fit < self.rows.len();
        self.rows.truncate(fit);
    }
}

/// Rows of log lines that may fit, the newest first.
pub(super) async fn logs(edge: &Edge, caller: &Caller, query: &Query) -> Result<Vec<Value>, Said> {
    super::write::operates(caller, "to read log lines")?;
    let task = query.only("task_id").map(task_id);
    let (source, worker) = (query.only("source_id"), query.only("worker_id"));
    let filter =
        LogFilter { task, level: query.only("log_level").and_then(level_of), ..LogFilter::default() };
    let of = |name: &str| {
        // A name that no worker can have has no lines.
        name.parse::<WorkerId>().ok().map(|worker| LogFilter { worker: Some(worker), ..filter.clone() })
    };
    let looks: Vec<LogFilter> = match (source, worker, query.only("source_type")) {
        (Some(source), ..) => of(source).into_iter().collect(),
        // The lines of one task are few: which of them are about the worker their rows tell.
        _ if task.is_some() => vec![filter],
        // A worker's own lines are of this source, and no others that it is named in.
        (None, Some(worker), Some(WORKER)) => of(worker).into_iter().collect(),
        (None, Some(worker), _) => {
            let others = workers::sources(edge).await?;
            let others = others.iter().map(|source| source.as_str()).filter(|source| *source != worker);
            std::iter::once(worker).chain(others).filter_map(of).collect()
        }
        // Those that come by no heartbeat are few among all, so that they are looked for where they lie.
        (None, None, Some(kind)) if kind != WORKER => {
            let sources = workers::sources(edge).await?;
            let looks: Vec<_> = sources.iter().filter_map(|source| of(source.as_str())).collect();
            if looks.is_empty() { vec![filter] } else { looks }
        }
        _ => vec![filter],
    };
    let since = query.since("timestamp");
    let share = LOOKED_THROUGH / looks.len().clamp(1, SOURCES);
    let mut found: Vec<(Timestamp, Value)> = Vec::new();
    for (place, filter) in looks.into_iter().take(SOURCES).enumerate() {
        let most = if place == 0 { LOOKED_THROUGH } else { share };
        let lines = lines(edge, filter, since, most).await?;
        let rows = log_rows(&lines);
        let rows = lines.iter().map(|line| line.received_at).zip(rows);
        found.extend(rows.filter(|(_, row)| query.fits(row)));
    }
    found.sort_by_key(|(received_at, _)| std::cmp::Reverse(*received_at));
    Ok(found.into_iter().map(|(_, row)| row).collect())
}

/// The newest lines of a filter, of which about so many are looked through.
async fn lines(
    edge: &Edge,
    filter: LogFilter,
    since: Option<Timestamp>,
    most: usize,
) -> Result<Vec<LogLine>, Said> {
    let (mut lines, mut after) = (Vec::new(), None);
    while lines.len() < most {
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
    Ok(lines)
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
        let first = if line.source == WORKER { 0 } else { APART };
        let place = places.entry((line.worker.as_str(), line.at)).or_insert(first);
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
    let own_worker = (line.source == WORKER).then(|| line.worker.to_string());
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
