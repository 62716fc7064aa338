//! Lists by filter, the newest first.
//!
//! A list goes down the rows of the index that fits the filter best, from the newest, and keeps those that fit the
//! rest. It looks at no more than [`LOOKS`] rows, so that a page costs the same however many tasks there are; a page
//! that ends there is short, and its cursor goes on behind the last row looked at.

use std::time::Duration;

use baton_model::{Generation, LogLine, State, Status, Task, Timestamp};
use baton_store::{
    AuditEntry, AuditFilter, Cursor, GenerationFilter, LogFilter, Page, PageRequest, StoreError, TaskFilter,
};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::audit;
use crate::error::Failure;
use crate::rows::{self, Stored, first_key, select_generation, select_task};

/// The most rows that one page looks at.
const LOOKS: usize = 5_000;

/// The most bytes of payload that one page holds; a page that would hold more ends early.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How many bits of a task's number lie within one bucket of `task_by_worker`; see `schema.sql`.
const WORKER_BUCKET_BITS: u32 = 10;

/// An index to go down: the condition on it, and its parameter.
struct Source {
    table: &'static str,
    condition: &'static str,
    value: Option<Value>,
    /// How many bits of the key lie within one bucket of the index; none if it is not kept by buckets.
    bucket_bits: Option<u32>,
    /// The table that these tasks are found through, by their numbers: completed ones through their generations.
    through: Option<&'static str>,
}

impl Source {
    fn new(table: &'static str, condition: &'static str, value: Option<Value>) -> Self {
        Self { table, condition, value, bucket_bits: None, through: None }
    }
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

/// Rows, the highest key first, and the key that the next ones lie below.
type Chunk<T> = (Vec<(i64, T)>, Option<i64>);

impl<T> Descent<'_, T> {
    /// The next row down.
    fn next(&mut self) -> Result<Option<(i64, T)>, Failure> {
        for place in 0..self.lanes.len() {
            if self.lanes[place].fetched.is_empty()
                && let Some(below) = self.lanes[place].below
            {
                let source = &self.lanes[place].source;
                let (mut fetched, next) = match source.bucket_bits {
                    None => {
                        let fetched = self.fetch(source, below, None)?;
                        let last = fetched.last().map(|(key, _)| *key);
                        let next = last.filter(|_| fetched.len() == self.chunk);
                        (fetched, next)
                    }
                    Some(bits) => self.fetch_bucket(source, below, bits)?,
                };
                fetched.reverse();
                (self.lanes[place].fetched, self.lanes[place].below) = (fetched, next);
            }
        }
        let highest = self
            .lanes
            .iter_mut()
            .filter(|lane| !lane.fetched.is_empty())
            .max_by_key(|lane| lane.fetched.last().map(|(key, _)| *key));
        Ok(highest.and_then(|lane| lane.fetched.pop()))
    }

    /// Up to a chunk of a source's rows below a key, the highest first; all of them, if of one bucket.
    fn fetch(&self, source: &Source, below: i64, bucket: Option<i64>) -> Result<Vec<(i64, T)>, Failure> {
        let key = self.key;
        let sql = if let Some(through) = source.through {
            // The limit within keeps the look-up to one chunk.
            let within = format!("SELECT n FROM {through} WHERE n < ?1 AND n >= ?2 ORDER BY n DESC LIMIT ?3");
            format!("{} WHERE n IN ({within}) ORDER BY n DESC", self.select)
        } else {
            let (table, condition) = (source.table, source.condition);
            let range = format!("{key} < ?1 AND {key} >= ?2 ORDER BY {key} DESC LIMIT ?3");
            format!("{} {table} WHERE {condition} AND {range}", self.select)
        };
        let limit = if bucket.is_some() { i64::MAX } else { self.chunk as i64 };
        let mut values: Vec<Value> = vec![below.into(), self.low.into(), limit.into()];
        values.extend(source.value.clone());
        values.extend(bucket.map(Value::Integer));
        let mut statement = self.db.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut fetched = Vec::new();
        while let Some(row) = rows.next()? {
            fetched.push((self.read)(row)?);
        }
        Ok(fetched)
    }

    /// The rows of the highest bucket below a key that has any, and where to go on. Steps over an empty bucket cost a
    /// look at the index each: a thousand for a million rows.
    fn fetch_bucket(&self, source: &Source, below: i64, bits: u32) -> Result<Chunk<T>, Failure> {
        let highest: i64 = self
            .db
            .prepare_cached("SELECT coalesce(max(n), -1) FROM task")?
            .query_row([], |row| row.get(0))?;
        let mut below = below.min(highest + 1);
        let mut fetched = Vec::new();
        while fetched.is_empty() && below > self.low {
            let bucket = (below - 1) >> bits;
            fetched = self.fetch(source, below, Some(bucket))?;
            below = bucket << bits;
        }
        Ok((fetched, Some(below).filter(|below| *below > self.low)))
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
pub(crate) const DISORDER: Duration = Duration::from_secs(600);

/// The numbers between which the tasks of a range of times of creation lie, the lower one included, with room for
/// disorder at both ends.
fn by_time(
    db: &Connection,
    from: Option<Timestamp>,
    before: Option<Timestamp>,
) -> Result<(i64, i64), Failure> {
    let low = from.map_or(Ok(0), |from| first_created(db, from.minus(DISORDER)))?;
    let high = before.map_or(Ok(i64::MAX), |before| first_created(db, before.plus(DISORDER)))?;
    Ok((low, high))
}

/// The number of the first task created at `at` or later, as far as numbers rise with time; found by halving, as an index
/// on the time of creation would only repeat the order of arrival.
fn first_created(db: &Connection, at: Timestamp) -> Result<i64, Failure> {
    let mut high = 1 + db
        .prepare_cached("SELECT coalesce(max(n), 0) FROM task")?
        .query_row([], |row| row.get::<_, i64>(0))?;
    let mut low = 0;
    let mut statement =
        db.prepare_cached("SELECT n, created_at FROM task WHERE n >= ?1 ORDER BY n LIMIT 1")?;
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> =
            statement.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((n, created_at)) if created_at < at.as_millis() => low = n + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The key that all rows of before `at` lie below: with a second of room, as a full millisecond overflows.
pub(crate) fn before_key(at: Timestamp) -> i64 {
    first_key(at.plus(Duration::from_secs(1)))
}

/// Goes down a list until the page is full, the list ends, or enough rows were looked at.
fn page<T, I>(
    mut descent: Descent<'_, T>,
    request: &PageRequest,
    fits: impl Fn(&T) -> bool,
    finish: impl Fn(T) -> Result<(I, usize), Failure>,
) -> Result<Page<I>, Failure> {
    // All of a page is read as of one moment: a row that goes from one source to another meanwhile would be met twice, or never.
    let _moment = descent.db.unchecked_transaction()?;
    let most = if request.in_parts { PageRequest::PART_BYTES } else { PAGE_BYTES };
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
            if items.len() >= request.limit as usize || bytes > most {
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
    let cursor = parse(&request.after)?;
    let (low, below) = by_time(db, filter.created_from, filter.created_before)?;
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
        request,
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
    let mut choices: Vec<Vec<Source>> = Vec::new();
    if let Some(domain) = &filter.domain {
        choices.push(vec![Source::new("INDEXED BY task_by_domain", "domain = ?4", text(domain.as_str()))]);
    }
    if let Some(by) = &filter.assigned_by {
        choices.push(vec![Source::new(
            "INDEXED BY task_by_assigned_by",
            "assigned_by = ?4",
            text(by.as_str()),
        )]);
    }
    if let Some(task_type) = &filter.task_type {
        choices.push(vec![Source::new(
            "INDEXED BY task_by_type",
            "task_type = ?4",
            text(task_type.as_str()),
        )]);
    }
    if let Some(queue) = &filter.queue {
        choices.push(vec![Source::new("INDEXED BY task_by_queue", "queue = ?4", text(queue.as_str()))]);
    }
    if !filter.statuses.is_empty() {
        let mut states: Vec<State> = filter.statuses.iter().map(|status| status.state()).collect();
        states.sort_unstable();
        states.dedup();
        let by_state = |state: State| match state {
            State::Blocked => Source { through: Some("blocked"), ..Source::new("", "", None) },
            State::Queued => Source::new("INDEXED BY task_queued", "state = 0", None),
            State::Running => Source::new("INDEXED BY task_leased", "state = 1", None),
            State::Completed => Source { through: Some("generation"), ..Source::new("", "", None) },
            State::Failed => Source::new("INDEXED BY task_failed", "state = 3", None),
            State::Cancelled => Source::new("INDEXED BY task_cancelled", "state = 4", None),
        };
        let waits = states.contains(&State::Queued);
        let mut sources: Vec<Source> = states.into_iter().map(by_state).collect();
        if waits {
            sources.push(Source::new("INDEXED BY task_put_aside_listed", "state = 6", None));
        }
        choices.push(sources);
    }
    let mut best = vec![Source::new("NOT INDEXED", "1", None)];
    let mut fewest = usize::MAX;
    if let Some(worker) = &filter.worker {
        let condition = "(n >> 10) = ?5 AND worker = ?4";
        let by_worker = Source::new("INDEXED BY task_by_worker", condition, text(worker.as_str()));
        best = vec![Source { bucket_bits: Some(WORKER_BUCKET_BITS), ..by_worker }];
        // Its rows cannot be counted at one place; anything clearly rarer is the better choice.
        fewest = 500;
    }
    let several = choices.len() > 1 || filter.worker.is_some();
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
        let rows = if let Some(through) = source.through {
            through.to_owned()
        } else {
            format!("task {} WHERE {}", source.table, source.condition.replace("?4", "?2"))
        };
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT ?1)");
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
    let source = match &filter.task {
        Some(task) => {
            let of_task = "n = (SELECT t.n FROM task t WHERE t.id = ?4)";
            Source::new("", of_task, Some(Value::Blob(task.as_bytes().to_vec())))
        }
        None => Source::new("NOT INDEXED", "1", None),
    };
    let low = filter.finished_from.map_or(0, first_key);
    let before = filter.finished_before.map_or(i64::MAX, before_key);
    let descent = Descent {
        db,
        select: select_generation!(""),
        key: "k",
        read: rows::generation,
        lanes: vec![Lane::new(source, below.min(before))],
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
    page(descent, request, fits, |generation| {
        let size = generation.output.told_bytes();
        Ok((generation, size))
    })
}

/// Entries of the audit log by filter, the newest first.
pub(crate) fn audit(
    db: &Connection,
    filter: &AuditFilter,
    request: &PageRequest,
) -> Result<Page<AuditEntry>, Failure> {
    let below = parse(&request.after)?;
    // By token first: an operator does fewer things than a kind of thing is done.
    let (table, condition, value) = match filter {
        AuditFilter { token: Some(token), .. } => {
            ("INDEXED BY audit_by_token", "token = ?4", Some(Value::Blob(token.as_bytes().to_vec())))
        }
        AuditFilter { action: Some(action), .. } => {
            ("INDEXED BY audit_by_action", "action = ?4", Some(Value::Text(action.clone())))
        }
        _ => ("NOT INDEXED", "1", None),
    };
    let before = filter.before.map_or(i64::MAX, before_key);
    let descent = Descent {
        db,
        select: audit::SELECT,
        key: "k",
        read: audit::entry,
        lanes: vec![Lane::new(Source::new(table, condition, value), below.min(before))],
        low: filter.from.map_or(0, first_key),
        chunk: (request.limit as usize + 1).min(500),
    };
    let fits = |entry: &AuditEntry| {
        filter.token.is_none_or(|token| entry.token == Some(token))
            && filter.action.as_ref().is_none_or(|action| entry.action == *action)
            && filter.from.is_none_or(|from| entry.at >= from)
            && filter.before.is_none_or(|before| entry.at < before)
    };
    page(descent, request, fits, |entry| {
        let size = entry.target.len();
        Ok((entry, size))
    })
}

/// Log lines by filter, the latest received first.
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
    let before = filter.before.map_or(i64::MAX, before_key);
    let descent = Descent {
        db,
        select: "SELECT k, at, worker, task, level, source, message, metadata, taken_at FROM log",
        key: "k",
        read: rows::log_line,
        lanes: vec![Lane::new(Source::new(table, condition, value), below.min(before))],
        low: filter.from.map_or(0, first_key),
        chunk: (request.limit as usize + 1).min(500),
    };
    let fits = |line: &LogLine| {
        filter.task.as_ref().is_none_or(|task| line.task.as_ref() == Some(task))
            && filter.worker.as_ref().is_none_or(|worker| line.worker == *worker)
            && filter.level.is_none_or(|level| line.level >= level)
            && filter.from.is_none_or(|from| line.received_at >= from)
            && filter.before.is_none_or(|before| line.received_at < before)
    };
    page(descent, request, fits, |line| {
        let size = line.message.len();
        Ok((line, size))
    })
}
