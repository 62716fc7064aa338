//! Rows of the database as values of the model.

use std::time::Duration;

use baton_model::{
    AttemptEnd, Backoff, BatchId, Digest, Ended, Failure, Generation, GenerationId, Head, Label, Lease,
    LogLine, Output, Owner, Payload, ProjectId, QueueName, RequestKey, SessionId, Shared, State, Takes, Task,
    TaskId, TaskState, TaskType, Timestamp, Trace, Unique, Worker, WorkerId,
};
use baton_store::{Omitted, StoreError};
use rusqlite::types::{FromSql, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Statement};
use serde::de::DeserializeOwned;

use crate::codes::Code;
use crate::error::{Failure as Failed, corrupt};
use crate::links::Links;
use crate::transaction::Transaction;

/// `SELECT` of the columns of [`Stored`], in its order, with what follows the table's name; and of another one behind them, at
/// [`ALSO`].
macro_rules! select_task {
    ($tail:expr) => {
        $crate::rows::select_task!(also "NULL", $tail)
    };
    (also $also:expr, $tail:expr) => {
        concat!(
            "SELECT n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, \
             events, worker, session, claimed_at, expires_at, timeout_at, request, ended, generation, output, \
             created_at, updated_at, finished_at, timeout_ms, domain, assigned_by, backoff, \
             drift_score, params, beats, worker_losses, links, concurrency_key, waits_at, start_by, only_one, affinity, retention, batch, \
             trace, ",
             $also,
             " FROM task ",
            $tail
        )
    };
}
pub(crate) use select_task;

/// A task by its id.
const BY_ID: &str = select_task!("WHERE id = ?1");

/// The place of the column that a query of tasks adds.
pub(crate) const ALSO: usize = 41;

/// How many bits of an event's key number it within its task.
pub(crate) const EVENT_BITS: u32 = 16;

/// How many bits of the key of a log line or a generation number it within its millisecond. With the milliseconds of the
/// last time that can be named (48 bits) they fill a positive integer.
pub(crate) const MOMENT_BITS: u32 = 15;

/// The first key of a millisecond.
pub(crate) fn first_key(at: Timestamp) -> i64 {
    at.as_millis() << MOMENT_BITS
}

/// A free key for a row of `table` (which numbers its rows by `k`) that happened at `at`. A full millisecond overflows
/// into the next: keys only order.
pub(crate) fn free_key(db: &Connection, table: &'static str, at: Timestamp) -> Result<i64, Failed> {
    let mut first = first_key(at);
    loop {
        let last = first | ((1 << MOMENT_BITS) - 1);
        let taken: Option<i64> = db
            .prepare_cached(&format!("SELECT max(k) FROM {table} WHERE k BETWEEN ?1 AND ?2"))?
            .query_row([first, last], |row| row.get(0))?;
        match taken {
            None => return Ok(first),
            Some(taken) if taken < last => return Ok(taken + 1),
            Some(_) => first = last + 1,
        }
    }
}

/// A row of `task`: everything of a task but its payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) n: i64,
    pub(crate) head: Head,
    pub(crate) priority: baton_model::Priority,
    pub(crate) queue: QueueName,
    pub(crate) task_type: TaskType,
    pub(crate) project: ProjectId,
    /// Who holds it, or held it last.
    pub(crate) worker: Option<WorkerId>,
    /// When its latest claim was.
    pub(crate) claimed_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) domain: Option<Label>,
    pub(crate) assigned_by: Option<Label>,
    pub(crate) drift_score: Option<f64>,
    /// The params, if they lie in the row.
    pub(crate) params: Option<String>,
    /// What it shares a limit by.
    pub(crate) concurrency_key: Option<Label>,
    /// What its worker had best have warm.
    pub(crate) affinity: Option<Label>,
    /// The key of which there is one task at a time.
    pub(crate) unique: Option<Unique>,
    /// How long it is kept once it has ended, if not as long as all.
    pub(crate) retention: Option<Duration>,
    /// The batch that it is one of.
    pub(crate) batch: Option<BatchId>,
    /// Where it stands in its producer's trace.
    pub(crate) trace: Option<Trace>,
    /// The limit that it waits at, or that has let go of it.
    pub(crate) at_limit: Option<AtLimit>,
    /// How it is linked with others.
    pub(crate) links: Links,
}

/// A limit that a queued task waits at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AtLimit {
    /// The limit, by its text.
    pub(crate) on: Box<str>,
    /// Whether claims do not find the task; else the limit has let go of it.
    pub(crate) put_aside: bool,
}

/// The state of a task that waits at a limit, in the database: it is queued, and in no index that claims go down.
pub(crate) const PUT_ASIDE: i64 = 6;

/// What a task's worker had best have warm, by a column.
pub(crate) fn affinity(row: &Row<'_>, column: usize) -> Result<Option<Label>, Failed> {
    Ok(Some(text(row, column)?).filter(|name| !name.is_empty()).map(Label::from_stored))
}

/// The same for its row.
pub(crate) fn affinity_code(affinity: Option<&Label>) -> &str {
    affinity.map_or("", Label::as_str)
}

/// Where a task stands in its producer's trace, by a column.
fn trace(row: &Row<'_>, column: usize) -> Result<Option<Trace>, Failed> {
    match row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        Some(text) => Ok(Some(text.parse::<Trace>().map_err(|error| corrupt("a task's trace", error))?)),
        None => Ok(None),
    }
}

/// The state of a task by the number in its row.
pub(crate) fn state_of(code: i64) -> Result<State, StoreError> {
    if code == PUT_ASIDE { Ok(State::Queued) } else { State::of(code) }
}

/// Sixteen bytes of a blob column.
struct Sixteen([u8; 16]);

impl FromSql for Sixteen {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 16]>::column_result(value).map(Self)
    }
}

/// A span in milliseconds, as it is written.
pub(crate) fn millis_of(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A time.
pub(crate) fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Timestamp> {
    row.get(at).map(Timestamp::from_millis)
}

/// A time that may be null.
pub(crate) fn maybe_time(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(at)?.map(Timestamp::from_millis))
}

/// A text.
pub(crate) fn text<'r>(row: &'r Row<'_>, at: usize) -> rusqlite::Result<&'r str> {
    row.get_ref(at)?.as_str().map_err(rusqlite::Error::from)
}

/// A text that may be null.
pub(crate) fn maybe_text<'r>(row: &'r Row<'_>, at: usize) -> rusqlite::Result<Option<&'r str>> {
    row.get_ref(at)?.as_str_or_null().map_err(rusqlite::Error::from)
}

/// An id's bytes.
pub(crate) fn sixteen(row: &Row<'_>, at: usize) -> rusqlite::Result<[u8; 16]> {
    row.get::<_, Sixteen>(at).map(|bytes| bytes.0)
}

/// An id's bytes that may be null.
pub(crate) fn maybe_id(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<[u8; 16]>> {
    Ok(row.get::<_, Option<Sixteen>>(at)?.map(|bytes| bytes.0))
}

/// Reads stored JSON.
pub(crate) fn from_json<T: DeserializeOwned>(what: &str, json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| corrupt(what, error))
}

/// Writes JSON to be stored.
pub(crate) fn to_json<T: serde::Serialize>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Internal {
        what: format!("cannot write {what}"),
        cause: Some(error.into()),
    })
}

fn payload(what: &str, json: String) -> Result<Payload, StoreError> {
    Payload::from_stored(json).map_err(|error| corrupt(what, error))
}

impl Stored {
    /// Reads a row that `select_task!` selected.
    pub(crate) fn from_row(row: &Row<'_>) -> Result<Self, Failed> {
        let n = row.get(0)?;
        let code: i64 = row.get(2)?;
        let state = state_of(code)?;
        let worker = maybe_text(row, 12)?.map(WorkerId::from_stored);
        let claimed_at = maybe_time(row, 14)?;
        let ended = match row.get::<_, Option<i64>>(18)? {
            Some(code) => Some(AttemptEnd { worker: of_running(n, &worker)?, how: Ended::of(code)? }),
            None => None,
        };
        let state = match state {
            State::Blocked => TaskState::Blocked,
            State::Queued => TaskState::Queued,
            State::Failed => TaskState::Failed,
            State::Cancelled => TaskState::Cancelled,
            State::Running => TaskState::Running(Lease {
                worker: of_running(n, &worker)?,
                session: maybe_id(row, 13)?.map(SessionId::from_bytes),
                claimed_at: claimed_at
                    .ok_or_else(|| half(n, "a running task without the time of its claim"))?,
                expires_at: maybe_time(row, 15)?,
                timeout_at: maybe_time(row, 16)?,
                request: maybe_text(row, 17)?.map(RequestKey::from_stored),
                beats: row.get(30)?,
            }),
            State::Completed => TaskState::Completed {
                generation: maybe_id(row, 19)?
                    .map(GenerationId::from_bytes)
                    .ok_or_else(|| half(n, "a completed task without its generation"))?,
                output: maybe_id(row, 20)?
                    .map(Digest::from_bytes)
                    .ok_or_else(|| half(n, "a completed task without its output's digest"))?,
            },
        };
        let backoff = match maybe_text(row, 27)? {
            Some(json) => from_json("a task's backoff", json)?,
            None => Backoff::default(),
        };
        let (is_final, updated_at) = (state.state().is_final(), time(row, 22)?);
        Ok(Self {
            n,
            links: Links::of(row.get(32)?),
            head: Head {
                id: TaskId::from_bytes(row.get::<_, Sixteen>(1)?.0),
                state,
                attempt: row.get(8)?,
                forgiven: row.get(9)?,
                worker_losses: row.get(31)?,
                max_attempts: row.get(10)?,
                run_after: time(row, 7)?,
                expires_at: maybe_time(row, 35)?,
                timeout: row.get::<_, Option<u64>>(24)?.map(Duration::from_millis),
                backoff,
                ended,
                events: row.get(11)?,
            },
            priority: Code::of(row.get(3)?)?,
            queue: QueueName::from_stored(text(row, 4)?),
            task_type: TaskType::from_stored(text(row, 5)?),
            project: ProjectId::from_stored(text(row, 6)?),
            worker,
            claimed_at,
            created_at: time(row, 21)?,
            updated_at,
            // Nothing changes a task after its end. The time in `finished_at` says from when on it is kept (`kept.rs`, `archive.rs`).
            finished_at: is_final.then_some(updated_at),
            domain: maybe_text(row, 25)?.map(Label::from_stored),
            assigned_by: maybe_text(row, 26)?.map(Label::from_stored),
            drift_score: row.get(28)?,
            params: row.get(29)?,
            concurrency_key: maybe_text(row, 33)?.map(Label::from_stored),
            affinity: affinity(row, 37)?,
            retention: row.get::<_, Option<u64>>(38)?.map(Duration::from_millis),
            batch: maybe_id(row, 39)?.map(BatchId::from_bytes),
            trace: trace(row, 40)?,
            unique: maybe_text(row, 36)?.map(|json| from_json("a task's unique key", json)).transpose()?,
            at_limit: maybe_text(row, 34)?.map(|on| AtLimit { on: on.into(), put_aside: code == PUT_ASIDE }),
        })
    }

    /// The number that stands for its state in the database.
    pub(crate) fn state_code(&self) -> i64 {
        match &self.at_limit {
            Some(AtLimit { put_aside: true, .. }) => PUT_ASIDE,
            _ => self.head.state.state().code(),
        }
    }

    /// What says which limits it falls under.
    pub(crate) fn shared(&self) -> Shared<'_> {
        Shared {
            queue: &self.queue,
            project: &self.project,
            task_type: &self.task_type,
            key: self.concurrency_key.as_ref(),
        }
    }

    /// The row of a task.
    pub(crate) fn by_id(db: &Connection, id: TaskId) -> Result<Option<Self>, Failed> {
        let mut statement = db.prepare_cached(BY_ID)?;
        let mut rows = statement.query([id.as_bytes()])?;
        rows.next()?.map(Self::from_row).transpose()
    }

    /// The row of a task that must be there, for the commands that each attempt has.
    pub(crate) fn held(transaction: &mut Transaction<'_>, id: TaskId) -> Result<Self, Failed> {
        if let Some(leased) = transaction.state.leased.take(&id) {
            debug_assert_eq!(
                Some(&leased),
                Self::by_id(transaction.db, id)?.as_ref(),
                "a row was written behind its copy"
            );
            return Ok(leased);
        }
        let stored = transaction.held.first(BY_ID, [id.as_bytes()], Self::from_row)?;
        stored.ok_or(Failed::Refused(StoreError::TaskNotFound(id)))
    }

    /// The row of a task that must be there.
    pub(crate) fn known(db: &Connection, id: TaskId) -> Result<Self, Failed> {
        Self::by_id(db, id)?.ok_or(Failed::Refused(StoreError::TaskNotFound(id)))
    }

    /// The whole task, with its payload.
    pub(crate) fn into_task(mut self, db: &Connection) -> Result<Task, Failed> {
        let (params, description) = match self.params.take() {
            Some(params) => (params, None),
            None => db
                .prepare_cached("SELECT params, description FROM task_body WHERE n = ?1")?
                .query_row([self.n], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?
                .ok_or_else(|| half(self.n, "a task without its params"))?,
        };
        let error = self.error(db)?;
        let depends_on = if self.links.waits { dependencies_of(db, self.n)? } else { Vec::new() };
        Ok(Task {
            head: self.head,
            project: self.project,
            queue: self.queue,
            task_type: self.task_type,
            priority: self.priority,
            params: payload("a task's params", params)?,
            description,
            domain: self.domain,
            drift_score: self.drift_score,
            assigned_by: self.assigned_by,
            concurrency_key: self.concurrency_key,
            affinity: self.affinity,
            retention: self.retention,
            unique: self.unique,
            created_at: self.created_at,
            updated_at: self.updated_at,
            finished_at: self.finished_at,
            error,
            depends_on,
            if_dependency_fails: self.links.choice,
            batch: self.batch,
            trace: self.trace,
        })
    }

    /// The failure of the latest attempt that ended. A task whose only attempt is running or done has none, which
    /// saves the look. One that was never claimed has one if it ended with a dependency, or expired.
    pub(crate) fn error(&self, db: &Connection) -> Result<Option<Failure>, Failed> {
        let ended_unclaimed = self.head.attempt == 0 && (self.links.waits || self.head.expires_at.is_some());
        let first_is_well =
            self.head.attempt <= 1 && self.head.ended.as_ref().is_none_or(|end| end.how == Ended::Completed);
        if first_is_well && !ended_unclaimed {
            return Ok(None);
        }
        let mut statement = db.prepare_cached("SELECT error FROM task_error WHERE n = ?1")?;
        let json: Option<String> = statement.query_row([self.n], |row| row.get(0)).optional()?;
        Ok(json.map(|json| from_json("a task's error", &json)).transpose()?)
    }
}

/// What the task in row `n` depends on.
pub(crate) fn dependencies_of(db: &Connection, n: i64) -> Result<Vec<TaskId>, Failed> {
    let mut statement =
        db.prepare_cached("SELECT dependency FROM dependency WHERE dependant = ?1 ORDER BY place")?;
    let ids = statement.query_map([n], |row| row.get(0).map(TaskId::from_bytes))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

fn of_running(n: i64, worker: &Option<WorkerId>) -> Result<WorkerId, StoreError> {
    worker.clone().ok_or_else(|| half(n, "an attempt without its worker"))
}

fn half(n: i64, what: &str) -> StoreError {
    StoreError::Corrupt { what: format!("row {n} is {what}"), cause: None }
}

/// `SELECT` of a generation's columns, with what follows the table's name; metadata and result as they are, or as they are told.
macro_rules! select_generation {
    ($tail:expr) => {
        crate::rows::select_generation!("metadata", "result", "", $tail)
    };
    ($metadata:expr, $result:expr, $more:expr, $tail:expr) => {
        concat!(
            "SELECT k, id, task, project, queue, task_type, attempt, worker, created_at, started_at, finished_at, \
             location, kind, ",
            $metadata,
            ", ",
            $result,
            ", ran, files",
            $more,
            " FROM generation ",
            $tail
        )
    };
}
pub(crate) use select_generation;

/// Reads a row that `select_generation!` selected: its number and the record.
pub(crate) fn generation(row: &Row<'_>) -> Result<(i64, Generation), Failed> {
    let json = |at: usize, what: &str| -> Result<Option<Payload>, Failed> {
        Ok(row.get::<_, Option<String>>(at)?.map(|json| payload(what, json)).transpose()?)
    };
    let generation = Generation {
        id: GenerationId::from_bytes(row.get::<_, Sixteen>(1)?.0),
        task: TaskId::from_bytes(row.get::<_, Sixteen>(2)?.0),
        project: ProjectId::from_stored(text(row, 3)?),
        queue: QueueName::from_stored(text(row, 4)?),
        task_type: TaskType::from_stored(text(row, 5)?),
        attempt: row.get(6)?,
        worker: WorkerId::from_stored(text(row, 7)?),
        output: Output {
            location: row.get(11)?,
            kind: row.get(12)?,
            metadata: json(13, "a generation's metadata")?,
            result: json(14, "a generation's result")?,
            files: match row.get::<_, Option<String>>(16)? {
                None => Vec::new(),
                Some(json) => from_json("a generation's files", &json)?,
            },
        },
        created_at: time(row, 8)?,
        started_at: time(row, 9)?,
        finished_at: time(row, 10)?,
        ran: row.get::<_, Option<u64>>(15)?.map(Duration::from_millis),
    };
    Ok((row.get(0)?, generation))
}

/// The generation of the task in row `n`.
pub(crate) fn generation_of(db: &Connection, n: i64) -> Result<Option<Generation>, Failed> {
    let mut statement = db.prepare_cached(select_generation!("WHERE n = ?1"))?;
    let mut rows = statement.query([n])?;
    Ok(rows.next()?.map(generation).transpose()?.map(|(_, generation)| generation))
}

/// A generation by its task's row without what is larger than comes along with a task that waited for it. What is left out is not read.
pub(crate) const SMALL_GENERATION: &str = select_generation!(
    "CASE WHEN octet_length(metadata) <= ?2 THEN metadata END",
    "CASE WHEN octet_length(result) <= ?2 THEN result END",
    ", ifnull(octet_length(metadata) > ?2, 0), ifnull(octet_length(result) > ?2, 0)",
    "WHERE n = ?1"
);

/// What [`SMALL_GENERATION`] says of the task in row `n`, and which of metadata and result it leaves out.
pub(crate) fn small_generation(
    statement: &mut Statement<'_>,
    n: i64,
) -> Result<Option<(Generation, Omitted)>, Failed> {
    let mut rows = statement.query(rusqlite::params![n, baton_model::limits::INPUT_BYTES as i64])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let omitted = Omitted { metadata: row.get(17)?, result: row.get(18)? };
    Ok(Some((generation(row)?.1, omitted)))
}

/// A row of `worker`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredWorker {
    pub(crate) worker: Worker,
    /// The last beat or, to the hour, the last claim.
    pub(crate) seen_at: Timestamp,
}

/// `SELECT` of a worker's columns, with what follows the table's name.
macro_rules! select_worker {
    ($tail:expr) => {
        concat!(
            "SELECT id, session, superseded, started_at, seen_at, last_beat_at, capacity, running, readings, labels, \
             directive, project, beats, contested_at, ended_at, owner, \
             alone_task, alone_attempt, alone_until, takes, directed FROM worker ",
            $tail
        )
    };
}
pub(crate) use select_worker;

/// Reads a row that `select_worker!` selected.
pub(crate) fn worker(row: &Row<'_>) -> Result<StoredWorker, Failed> {
    let running = row.get::<_, Option<String>>(7)?;
    let project = maybe_text(row, 11)?.map(ProjectId::from_stored);
    Ok(StoredWorker {
        worker: Worker {
            id: WorkerId::from_stored(text(row, 0)?),
            owner: Owner::from_stored(project, row.get::<_, Option<Vec<u8>>>(15)?.as_deref()),
            session: maybe_id(row, 1)?.map(SessionId::from_bytes),
            superseded: from_json("a worker's sessions", &row.get::<_, String>(2)?)?,
            contested_at: maybe_time(row, 13)?,
            started_at: time(row, 3)?,
            last_beat_at: maybe_time(row, 5)?,
            beats: row.get(12)?,
            capacity: row.get(6)?,
            running: running.map(|json| from_json("what a worker runs", &json)).transpose()?,
            readings: from_json("a worker's readings", &row.get::<_, String>(8)?)?,
            labels: from_json("a worker's labels", &row.get::<_, String>(9)?)?,
            directive: Code::of(row.get(10)?)?,
            directed: match row.get_ref(20)?.as_str_or_null().map_err(rusqlite::Error::from)? {
                Some(json) => Some(from_json("who has directed a worker", json)?),
                None => None,
            },
            ended_at: maybe_time(row, 14)?,
            alone: crate::alone::tie_of(row, 16)?,
            takes: takes(row, 19)?,
        },
        seen_at: time(row, 4)?,
    })
}

/// What a worker takes.
pub(crate) fn takes(row: &Row<'_>, at: usize) -> Result<Vec<Takes>, Failed> {
    match row.get_ref(at)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        Some(json) => Ok(from_json("what a worker takes", json)?),
        None => Ok(Vec::new()),
    }
}

/// The worker of that name.
pub(crate) fn worker_by_id(db: &Connection, id: &WorkerId) -> Result<Option<StoredWorker>, Failed> {
    let mut statement = db.prepare_cached(select_worker!("WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(worker).transpose()
}

/// Reads a log line: k, at, worker, task, level, source, message, metadata.
pub(crate) fn log_line(row: &Row<'_>) -> Result<(i64, LogLine), Failed> {
    let metadata = row.get::<_, Option<String>>(7)?;
    let line = LogLine {
        at: time(row, 1)?,
        worker: WorkerId::from_stored(text(row, 2)?),
        task: maybe_id(row, 3)?.map(TaskId::from_bytes),
        level: Code::of(row.get(4)?)?,
        source: row.get(5)?,
        message: row.get(6)?,
        metadata: metadata.map(|json| payload("a log line's metadata", json)).transpose()?,
        received_at: time(row, 8)?,
    };
    Ok((row.get(0)?, line))
}
