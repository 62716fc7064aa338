//! Lists by filter, the newest first.
//!
//! A list goes down the rows of the index that fits the filter best, from the newest, and keeps those that fit the
//! rest. It looks at no more than [`LOOKS`] rows, so that a page costs the same however many tasks there are; a page
//! that ends there is short, and its cursor goes on behind the last row looked at.

use std::time::Duration;

use baton_model::{Generation, LogLine, State, Status, Task, Timestamp};
use baton_store::{Cursor, GenerationFilter, LogFilter, Page, PageRequest, StoreError, TaskFilter};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::codes::Code;
use crate::error::Failure;
use crate::rows::{self, Stored, select_generation, select_task};
use crate::worker::LOG_BITS;

/// The most rows that one page looks at.
const LOOKS: usize = 5_000;

/// The most bytes of payload that one page holds; a page that would hold more ends early.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// An index to go down: the condition on it, and its parameter.
struct Source {
    table: &'static str,
    condition: &'static str,
    value: Option<Value>,
}

/// A source on the way down.
struct Lane<T> {
    source: Source,
    /// Rows that were fetched and not yet given, the lowest key first.
    fetched: Vec<(i64, T)>,
    /// The key that the next chunk lies below; none at the source's end.
    below: Option<i64>,
}

impl<T> Lane<T> {
    fn new(source: Source, below: i64) -> Self {
        Self { source, fetched: Vec::new(), below: Some(below) }
    }
}

/// The rows of several sources of one table, merged from the highest key down.
struct Descent<'a, T> {
    db: &'a Connection,
    select: &'static str,
    key: &'static str,
    read: fn(&Row<'_>) -> Result<(i64, T), Failure>,
    lanes: Vec<Lane<T>>,
    low: i64,
    chunk: usize,
}

impl<T> Descent<'_, T> {
    /// The next row down.
    fn next(&mut self) -> Result<Option<(i64, T)>, Failure> {
        for lane in &mut self.lanes {
            let (true, Some(below)) = (lane.fetched.is_empty(), lane.below) else { continue };
            let sql = format!(
                "{} {} WHERE {} AND {key} < ?1 AND {key} >= ?2 ORDER BY {key} DESC LIMIT ?3",
                self.select,
                lane.source.table,
                lane.source.condition,
                key = self.key
            );
            let mut statement = self.db.prepare_cached(&sql)?;
            let mut values: Vec<Value> = vec![below.into(), self.low.into(), (self.chunk as i64).into()];
            values.extend(lane.source.value.clone());
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                lane.fetched.push((self.read)(row)?);
            }
            let last = lane.fetched.last().map(|(key, _)| *key);
            lane.below = last.filter(|_| lane.fetched.len() == self.chunk);
            lane.fetched.reverse();
        }
        let highest = self
            .lanes
            .iter_mut()
            .filter(|lane| !lane.fetched.is_empty())
            .max_by_key(|lane| lane.fetched.last().map(|(key, _)| *key));
        Ok(highest.and_then(|lane| lane.fetched.pop()))
    }
}

fn parse(cursor: &Option<Cursor>) -> Result<i64, StoreError> {
    match cursor {
        None => Ok(i64::MAX),
        Some(cursor) => cursor.0.parse().ok().filter(|n| *n >= 0).ok_or(StoreError::BadCursor),
    }
}

/// Rows arrive nearly in the order of their times: callers' clocks may differ by this much, or step back, before a list
/// bounded by time misses a row.
const DISORDER: Duration = Duration::from_secs(600);

/// The numbers between which the rows of a range of times lie, the lower one included: behind the last row that is
/// clearly too old, and before the first that is clearly too young. `older` selects the last row before a time, `younger`
/// the first row at or after it.
fn by_time(
    db: &Connection,
    (older, younger): (&str, &str),
    from: Option<Timestamp>,
    before: Option<Timestamp>,
) -> Result<(i64, i64), Failure> {
    let row_at = |sql: &str, at: Timestamp| -> Result<Option<i64>, Failure> {
        Ok(db.prepare_cached(sql)?.query_row([at.as_millis()], |row| row.get(0)).optional()?)
    };
    let low = match from {
        None => None,
        Some(from) => row_at(older, from.minus(DISORDER))?,
    };
    let high = match before {
        None => None,
        Some(before) => row_at(younger, before.plus(DISORDER))?,
    };
    Ok((low.unwrap_or(0), high.unwrap_or(i64::MAX)))
}

/// Goes down a list until the page is full, the list ends, or enough rows were looked at.
fn page<T, I>(
    mut descent: Descent<'_, T>,
    limit: u32,
    fits: impl Fn(&T) -> bool,
    finish: impl Fn(T) -> Result<(I, usize), Failure>,
) -> Result<Page<I>, Failure> {
    let mut items = Vec::new();
    let mut bytes = 0;
    let mut last = None;
    for _ in 0..LOOKS {
        let Some((key, row)) = descent.next()? else { return Ok(Page { items, next: None }) };
        last = Some(key);
        if fits(&row) {
            let (item, size) = finish(row)?;
            items.push(item);
            bytes += size;
            if items.len() >= limit as usize || bytes > PAGE_BYTES {
                break;
            }
        }
    }
    let more = descent.next()?.is_some();
    Ok(Page { items, next: last.filter(|_| more).map(|key| Cursor(key.to_string())) })
}

/// Tasks by filter.
pub(crate) fn tasks(
    db: &Connection,
    filter: &TaskFilter,
    request: &PageRequest,
) -> Result<Page<Task>, Failure> {
    const OLDER: &str = "SELECT n FROM task INDEXED BY task_by_created WHERE created_at < ?1 ORDER BY created_at DESC, n DESC LIMIT 1";
    const YOUNGER: &str =
        "SELECT n FROM task INDEXED BY task_by_created WHERE created_at >= ?1 ORDER BY created_at, n LIMIT 1";
    let cursor = parse(&request.after)?;
    let (low, below) = by_time(db, (OLDER, YOUNGER), filter.created_from, filter.created_before)?;
    let below = below.min(cursor);
    let descent = Descent {
        db,
        select: select_task!(""),
        key: "n",
        read: |row| Stored::from_row(row).map(|stored| (stored.n, stored)),
        lanes: task_sources(db, filter)?.into_iter().map(|source| Lane::new(source, below)).collect(),
        low,
        chunk: (request.limit as usize + 1).min(500),
    };
    page(
        descent,
        request.limit,
        |stored| fits(stored, filter),
        |stored| {
            let task = stored.into_task(db)?;
            let size = task.params.size();
            Ok((task, size))
        },
    )
}

fn fits(stored: &Stored, filter: &TaskFilter) -> bool {
    fn is<T: PartialEq>(wanted: &Option<T>, value: Option<&T>) -> bool {
        wanted.as_ref().is_none_or(|wanted| value == Some(wanted))
    }
    let head = &stored.head;
    let status = Status::derive(head.state.state(), head.attempt, head.run_after, filter.now);
    (filter.statuses.is_empty() || filter.statuses.contains(&status))
        && is(&filter.task_type, Some(&stored.task_type))
        && is(&filter.queue, Some(&stored.queue))
        && is(&filter.project, Some(&stored.project))
        && is(&filter.domain, stored.domain.as_ref())
        && is(&filter.assigned_by, stored.assigned_by.as_ref())
        && is(&filter.worker, stored.worker.as_ref())
        && filter.created_from.is_none_or(|from| stored.created_at >= from)
        && filter.created_before.is_none_or(|before| stored.created_at < before)
}

/// The index to go down: of those that the filter allows, the one with the fewest rows. Each candidate is counted, but
/// no further than a page looks.
fn task_sources(db: &Connection, filter: &TaskFilter) -> Result<Vec<Source>, Failure> {
    let text = |name: &str| Some(Value::Text(name.to_owned()));
    let one = |table: &'static str, condition: &'static str, value: Option<Value>| {
        vec![Source { table, condition, value }]
    };
    let mut choices: Vec<Vec<Source>> = Vec::new();
    if let Some(worker) = &filter.worker {
        choices.push(one("INDEXED BY task_by_worker", "worker = ?4", text(worker.as_str())));
    }
    if let Some(domain) = &filter.domain {
        choices.push(one("INDEXED BY task_by_domain", "domain = ?4", text(domain.as_str())));
    }
    if let Some(assigned_by) = &filter.assigned_by {
        choices.push(one("INDEXED BY task_by_assigned_by", "assigned_by = ?4", text(assigned_by.as_str())));
    }
    if let Some(task_type) = &filter.task_type {
        choices.push(one("INDEXED BY task_by_type", "task_type = ?4", text(task_type.as_str())));
    }
    if let Some(queue) = &filter.queue {
        choices.push(one("INDEXED BY task_by_queue", "queue = ?4", text(queue.as_str())));
    }
    if let Some(project) = &filter.project {
        choices.push(one("INDEXED BY task_by_project", "project = ?4", text(project.as_str())));
    }
    if !filter.statuses.is_empty() {
        let mut states: Vec<State> = filter.statuses.iter().map(|status| status.state()).collect();
        states.sort_unstable();
        states.dedup();
        let by_state = |state: State| Source {
            table: "INDEXED BY task_by_state",
            condition: "state = ?4",
            value: Some(Value::Integer(state.code())),
        };
        choices.push(states.into_iter().map(by_state).collect());
    }
    let mut best = one("NOT INDEXED", "1", None);
    let mut fewest = usize::MAX;
    let several = choices.len() > 1;
    for choice in choices {
        let rows = if several { count(db, &choice, fewest.min(LOOKS))? } else { 0 };
        if rows < fewest {
            (best, fewest) = (choice, rows);
        }
    }
    Ok(best)
}

fn count(db: &Connection, sources: &[Source], most: usize) -> Result<usize, Failure> {
    let mut all = 0;
    for source in sources {
        let condition = source.condition.replace("?4", "?2");
        let sql =
            format!("SELECT count(*) FROM (SELECT 1 FROM task {} WHERE {condition} LIMIT ?1)", source.table);
        let mut values = vec![Value::Integer(most as i64)];
        values.extend(source.value.clone());
        all += db.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get::<_, usize>(0))?;
    }
    Ok(all)
}

/// Generations by filter.
pub(crate) fn generations(
    db: &Connection,
    filter: &GenerationFilter,
    request: &PageRequest,
) -> Result<Page<Generation>, Failure> {
    let below = parse(&request.after)?;
    let text = |name: &str| Some(Value::Text(name.to_owned()));
    let (table, condition, value) = match filter {
        GenerationFilter { task: Some(task), .. } => {
            let n = "n = (SELECT t.n FROM task t WHERE t.id = ?4)";
            ("", n, Some(Value::Blob(task.as_bytes().to_vec())))
        }
        GenerationFilter { worker: Some(worker), .. } => {
            ("INDEXED BY generation_by_worker", "worker = ?4", text(worker.as_str()))
        }
        GenerationFilter { task_type: Some(task_type), .. } => {
            ("INDEXED BY generation_by_type", "task_type = ?4", text(task_type.as_str()))
        }
        GenerationFilter { queue: Some(queue), .. } => {
            ("INDEXED BY generation_by_queue", "queue = ?4", text(queue.as_str()))
        }
        GenerationFilter { project: Some(project), .. } => {
            ("INDEXED BY generation_by_project", "project = ?4", text(project.as_str()))
        }
        _ => ("NOT INDEXED", "1", None),
    };
    const OLDER: &str = "SELECT g FROM generation INDEXED BY generation_by_finished WHERE finished_at < ?1 \
                         ORDER BY finished_at DESC, g DESC LIMIT 1";
    const YOUNGER: &str = "SELECT g FROM generation INDEXED BY generation_by_finished WHERE finished_at >= ?1 \
                           ORDER BY finished_at, g LIMIT 1";
    let (low, before) = by_time(db, (OLDER, YOUNGER), filter.finished_from, filter.finished_before)?;
    let descent = Descent {
        db,
        select: select_generation!(""),
        key: "g",
        read: rows::generation,
        lanes: vec![Lane::new(Source { table, condition, value }, below.min(before))],
        low,
        chunk: (request.limit as usize + 1).min(100),
    };
    let fits = |generation: &Generation| {
        fn is<T: PartialEq>(wanted: &Option<T>, value: &T) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        }
        is(&filter.task, &generation.task)
            && is(&filter.task_type, &generation.task_type)
            && is(&filter.queue, &generation.queue)
            && is(&filter.project, &generation.project)
            && is(&filter.worker, &generation.worker)
            && filter.finished_from.is_none_or(|from| generation.finished_at >= from)
            && filter.finished_before.is_none_or(|before| generation.finished_at < before)
    };
    page(descent, request.limit, fits, |generation| {
        let sized = [&generation.output.metadata, &generation.output.result];
        let size = sized.into_iter().flatten().map(baton_model::Payload::size).sum();
        Ok((generation, size))
    })
}

/// Log lines by filter, the newest first by their own times.
pub(crate) fn logs(
    db: &Connection,
    filter: &LogFilter,
    request: &PageRequest,
) -> Result<Page<LogLine>, Failure> {
    let below = parse(&request.after)?;
    let (table, condition, value) = match filter {
        LogFilter { task: Some(task), .. } => {
            ("INDEXED BY log_by_task", "task = ?4", Some(Value::Blob(task.as_bytes().to_vec())))
        }
        LogFilter { worker: Some(worker), .. } => {
            ("INDEXED BY log_by_worker", "worker = ?4", Some(Value::Text(worker.as_str().to_owned())))
        }
        _ => ("NOT INDEXED", "1", None),
    };
    let before = filter.before.map_or(i64::MAX, |before| before.as_millis() << LOG_BITS);
    let descent = Descent {
        db,
        select: "SELECT k, at, worker, task, level, source, message, metadata FROM log",
        key: "k",
        read: rows::log_line,
        lanes: vec![Lane::new(Source { table, condition, value }, below.min(before))],
        low: filter.from.map_or(0, |from| from.as_millis() << LOG_BITS),
        chunk: (request.limit as usize + 1).min(500),
    };
    let fits = |line: &LogLine| {
        filter.task.as_ref().is_none_or(|task| line.task.as_ref() == Some(task))
            && filter.worker.as_ref().is_none_or(|worker| line.worker == *worker)
            && filter.level.is_none_or(|level| line.level >= level)
            && filter.from.is_none_or(|from| line.at >= from)
            && filter.before.is_none_or(|before| line.at < before)
    };
    page(descent, request.limit, fits, |line| {
        let size = line.message.len();
        Ok((line, size))
    })
}
