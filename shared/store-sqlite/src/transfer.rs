//! Reading out what the file holds, and taking in what another store has read out.

use std::time::Duration;

use async_trait::async_trait;
use baton_model::queue::Queue;
use baton_model::{
    Backoff, Digest, Label, Payload, QueueName, RequestKey, SessionId, TaskId, TaskState, Timestamp, TokenId,
    WorkerId,
};
use baton_store::transfer::{
    Answer, ClaimRecord, DurationsRecord, ImportError, KeyRecord, LogRecord, PAGE_BYTES, Record, Refusal,
    TaskRecord, Verdict, WorkerRecord, audit_onto, queue_onto, token_onto,
};
use baton_store::{AuditEntry, Count, Cursor, Page, Settled, StoreError, StoredToken, Transfer};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::codes::Code;
use crate::create::INLINE_BYTES;
use crate::error::Failure;
use crate::finish::insert_generation;
use crate::rows::{
    self, MOMENT_BITS, Stored, first_key, from_json, generation_of, select_task, select_worker, to_json,
    worker_by_id,
};
use crate::transaction::{Transaction, what_code};
use crate::worker::{insert_log, save};
use crate::{audit, token};
use baton_store::histogram::What;

/// The kinds of records in the order in which they are read out, each with the letter of its cursors.
const KINDS: &[(char, Read)] = &[
    ('q', queues),
    ('w', workers),
    ('t', tasks),
    ('h', durations),
    ('l', logs),
    ('k', keys),
    ('c', claims),
    ('o', tokens),
    ('a', audit_entries),
];

/// Reads records of one kind behind a place, at most so many; each with its own place.
type Read = fn(&Connection, &str, u32) -> Result<Vec<(String, Record)>, Failure>;

#[async_trait]
impl Transfer for SqliteStore {
    async fn export(
        &self,
        _now: Timestamp,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Record>, StoreError> {
        self.readers.run(move |db| page(db, after, limit)).await
    }

    async fn import(&self, records: Vec<Record>) -> Result<Vec<Verdict>, ImportError> {
        // Each is a command of its own, so that a refused one has written nothing; they still share a commit.
        let taken = records.into_iter().map(|record| self.writer.run(record, import));
        let taken = futures::future::join_all(taken).await;
        taken.into_iter().map(|one| one?.map_err(ImportError::Refused)).collect()
    }

    async fn set_counts(&self, counts: Vec<Count>) -> Result<(), StoreError> {
        self.writer.run(counts, set_counts).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.readers
            .run(|db| {
                if !has_checkpoints(db)? {
                    return Ok(None);
                }
                Ok(db.query_row("SELECT checkpoint FROM transfer", [], |row| row.get(0)).optional()?)
            })
            .await
    }

    async fn set_checkpoint(&self, checkpoint: String) -> Result<(), StoreError> {
        self.writer.run(checkpoint, set_checkpoint).await
    }
}

/// Whether the file was ever migrated into: only then has it the table, which is no part of its schema.
fn has_checkpoints(db: &Connection) -> Result<bool, Failure> {
    Ok(db.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = 'transfer'")?.exists([])?)
}

fn set_checkpoint(transaction: &mut Transaction<'_>, checkpoint: &String) -> Result<(), Failure> {
    let db = transaction.db;
    if !has_checkpoints(db)? {
        db.execute_batch("CREATE TABLE transfer (n INTEGER PRIMARY KEY, checkpoint TEXT NOT NULL) STRICT")?;
    }
    db.prepare_cached("INSERT OR REPLACE INTO transfer (n, checkpoint) VALUES (1, ?1)")?
        .execute([checkpoint])?;
    Ok(())
}

fn set_counts(transaction: &mut Transaction<'_>, counts: &Vec<Count>) -> Result<(), Failure> {
    transaction.db.execute("DELETE FROM tally", [])?;
    for count in counts {
        let change = i64::try_from(count.tasks).unwrap_or(i64::MAX);
        transaction.tally(&count.queue, &count.task_type, count.state, change);
    }
    Ok(())
}

/// One page of the export.
fn page(db: &Connection, after: Option<Cursor>, limit: u32) -> Result<Page<Record>, Failure> {
    let moment = db.unchecked_transaction()?;
    let after = after.map_or("q".to_owned(), |cursor| cursor.0);
    let kind =
        KINDS.iter().position(|(letter, _)| after.starts_with(*letter)).ok_or(StoreError::BadCursor)?;
    let (letter, read) = KINDS[kind];
    let mut found = read(&moment, &after[1..], limit)?;
    let mut bytes = 0;
    let fits = found.iter().take_while(|(_, record)| {
        let begun = bytes < PAGE_BYTES;
        bytes += record.size();
        begun
    });
    let fits = fits.count();
    let whole = found.len() < limit as usize && bytes < PAGE_BYTES;
    found.truncate(fits);
    let next = match found.last() {
        Some((place, _)) if !whole => Some(Cursor(format!("{letter}{place}"))),
        _ => KINDS.get(kind + 1).map(|(letter, _)| Cursor(letter.to_string())),
    };
    Ok(Page { items: found.into_iter().map(|(_, record)| record).collect(), next })
}

fn number(place: &str) -> Result<i64, Failure> {
    if place.is_empty() { Ok(i64::MIN) } else { place.parse().map_err(|_| StoreError::BadCursor.into()) }
}

fn queue(row: &Row<'_>) -> Result<Queue, Failure> {
    Ok(Queue {
        name: QueueName::from_stored(row.get::<_, Box<str>>(0)?),
        paused: row.get(1)?,
        changed_by: row.get::<_, Option<Box<str>>>(2)?.map(Label::from_stored),
        reason: row.get(3)?,
        changed_at: Timestamp::from_millis(row.get(4)?),
    })
}

/// The columns that [`queue`] reads.
const SELECT_QUEUE: &str = "SELECT name, paused, changed_by, reason, changed_at FROM queue";

fn queues(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let sql = format!("{SELECT_QUEUE} WHERE name > ?1 ORDER BY name LIMIT ?2");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let queue = queue(row)?;
        found.push((queue.name.to_string(), Record::Queue(queue)));
    }
    Ok(found)
}

fn workers(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let mut statement = db.prepare_cached(select_worker!("WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let mut rows = statement.query(params![after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let stored = rows::worker(row)?;
        let mut unlisted = Vec::new();
        if let Some(running) = &stored.worker.running {
            unlisted = held(db, &stored.worker.id, None)?;
            unlisted.retain(|(task, attempt)| {
                !running.iter().any(|one| one.task == *task && one.attempt == *attempt)
            });
        }
        let (worker, seen_at) = (stored.worker, stored.seen_at);
        let place = worker.id.to_string();
        found.push((place, Record::Worker(WorkerRecord { worker, unlisted, seen_at })));
    }
    Ok(found)
}

/// The attempts that a worker holds, all or those of one claim.
fn held(db: &Connection, worker: &WorkerId, request: Option<&str>) -> Result<Vec<(TaskId, u32)>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT id, attempt FROM task INDEXED BY task_leased \
         WHERE worker = ?1 AND state = 1 AND (?2 IS NULL OR request = ?2) ORDER BY n",
    )?;
    let held = statement.query_map(params![worker.as_str(), request], |row| {
        Ok((TaskId::from_bytes(row.get::<_, [u8; 16]>(0)?), row.get(1)?))
    })?;
    Ok(held.collect::<rusqlite::Result<_>>()?)
}

fn tasks(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let mut statement = db.prepare_cached(select_task!("WHERE n > ?1 ORDER BY n LIMIT ?2"))?;
    let mut rows = statement.query(params![number(after)?, limit])?;
    let mut found = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()?
        && bytes < PAGE_BYTES
    {
        let stored = Stored::from_row(row)?;
        let place = stored.n.to_string();
        let record = Record::Task(Box::new(task_record(db, stored)?));
        bytes += record.size();
        found.push((place, record));
    }
    Ok(found)
}

/// A task's row with all that belongs to it.
fn task_record(db: &Connection, stored: Stored) -> Result<TaskRecord, Failure> {
    let n = stored.n;
    let content: Option<[u8; 16]> =
        db.prepare_cached("SELECT digest FROM task WHERE n = ?1")?.query_row([n], |row| row.get(0))?;
    Ok(TaskRecord {
        worker: stored.worker.clone(),
        claimed_at: stored.claimed_at,
        content: content.map(Digest::from_bytes),
        history: rows::history(db, n)?,
        generation: generation_of(db, n)?,
        task: stored.into_task(db)?,
    })
}

fn durations(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let (hour, queue) = after.split_once(' ').unwrap_or((after, ""));
    let mut statement = db.prepare_cached(
        "SELECT DISTINCT hour, queue FROM histogram WHERE (hour, queue) > (?1, ?2) ORDER BY hour, queue LIMIT ?3",
    )?;
    let places = statement.query_map(params![number(hour)?, queue, limit], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Box<str>>(1)?))
    })?;
    let mut found = Vec::new();
    for place in places {
        let (hour, queue) = place?;
        let place = format!("{hour} {queue}");
        let record = durations_of(db, &QueueName::from_stored(queue), hour)?;
        found.push((place, Record::Durations(record)));
    }
    Ok(found)
}

/// An hour of a queue's durations.
fn durations_of(db: &Connection, queue: &QueueName, hour: i64) -> Result<DurationsRecord, Failure> {
    let buckets = |what: What| -> Result<Vec<(i64, u64)>, Failure> {
        let mut statement = db.prepare_cached(
            "SELECT bucket, tasks FROM histogram WHERE hour = ?1 AND queue = ?2 AND what = ?3 ORDER BY bucket",
        )?;
        let rows = statement.query_map(params![hour, queue.as_str(), what_code(what)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    };
    Ok(DurationsRecord { queue: queue.clone(), hour, wait: buckets(What::Wait)?, run: buckets(What::Run)? })
}

/// How many lines received in the same millisecond, numbered below `k`, are the same as this one.
fn copies(db: &Connection, line: &baton_model::LogLine, k: i64) -> Result<u32, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT count(*) FROM log WHERE k >= ?1 AND k < ?2 AND at = ?3 AND worker = ?4 AND task IS ?5 AND level = ?6 \
         AND source = ?7 AND message = ?8 AND metadata IS ?9 AND taken_at = ?10",
    )?;
    Ok(statement.query_row(
        params![
            first_key(line.received_at),
            k,
            line.at.as_millis(),
            line.worker.as_str(),
            line.task.as_ref().map(TaskId::as_bytes),
            line.level.code(),
            line.source,
            line.message,
            line.metadata.as_ref().map(Payload::as_str),
            line.received_at.as_millis(),
        ],
        |row| row.get(0),
    )?)
}

fn logs(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT k, at, worker, task, level, source, message, metadata, taken_at FROM log WHERE k > ?1 ORDER BY k LIMIT ?2",
    )?;
    let mut rows = statement.query(params![number(after)?, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (k, line) = rows::log_line(row)?;
        let place = u32::try_from(k & ((1 << MOMENT_BITS) - 1)).unwrap_or(0);
        let copy = copies(db, &line, k)?;
        found.push((k.to_string(), Record::Log(LogRecord { line, place, copy })));
    }
    Ok(found)
}

fn keys(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT key, digest, created_at, answer FROM idempotency WHERE key > ?1 ORDER BY key LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        let record = KeyRecord {
            key: key.clone(),
            digest: Digest::from_bytes(row.get(1)?),
            created_at: Timestamp::from_millis(row.get(2)?),
            answer: Answer::Given(from_json("a kept answer", &row.get::<_, String>(3)?)?),
        };
        found.push((key, Record::Key(record)));
    }
    Ok(found)
}

fn claims(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let (worker, request) = after.split_once(' ').unwrap_or((after, ""));
    let mut statement = db.prepare_cached(
        "SELECT worker, request, created_at FROM claim_request WHERE (worker, request) > (?1, ?2) \
         ORDER BY worker, request LIMIT ?3",
    )?;
    let mut rows = statement.query(params![worker, request, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let worker = WorkerId::from_stored(row.get::<_, Box<str>>(0)?);
        let request = RequestKey::from_stored(row.get::<_, Box<str>>(1)?);
        let tasks = held(db, &worker, Some(request.as_str()))?;
        let created_at = Timestamp::from_millis(row.get(2)?);
        let place = format!("{worker} {request}");
        let record = ClaimRecord { worker, request, created_at, tasks, answered: true };
        found.push((place, Record::Claim(record)));
    }
    Ok(found)
}

fn tokens(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let after = match after {
        "" => None,
        id => Some(id.parse::<TokenId>().map_err(|_| StoreError::BadCursor)?),
    };
    let found = token::behind(db, after, limit)?.into_iter();
    Ok(found.map(|stored| (stored.token.id.to_string(), Record::Token(stored))).collect())
}

fn audit_entries(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let found = audit::behind(db, number(after)?, limit)?.into_iter();
    Ok(found.map(|(k, entry)| (k.to_string(), Record::Audit(entry))).collect())
}

/// What became of a record: a refusal is an outcome, as it has written nothing.
type Taken = Result<Verdict, Refusal>;

fn import(transaction: &mut Transaction<'_>, record: &Record) -> Result<Taken, Failure> {
    match record {
        Record::Queue(queue) => import_queue(transaction, queue),
        Record::Worker(worker) => import_worker(transaction, worker),
        Record::Task(task) => import_task(transaction, task),
        Record::Durations(durations) => import_durations(transaction, durations),
        Record::Log(log) => import_log(transaction, log),
        Record::Key(key) => import_key(transaction, key),
        Record::Claim(claim) => import_claim(transaction, claim),
        Record::Token(stored) => import_token(transaction, stored),
        Record::Audit(entry) => import_audit(transaction, entry),
    }
}

fn import_queue(transaction: &mut Transaction<'_>, record: &Queue) -> Result<Taken, Failure> {
    let mut statement = transaction.db.prepare_cached(&format!("{SELECT_QUEUE} WHERE name = ?1"))?;
    let mut rows = statement.query([record.name.as_str()])?;
    let standing = rows.next()?.map(queue).transpose()?;
    let verdict = match queue_onto(record, standing.as_ref()) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if verdict != Verdict::Same {
        transaction
            .db
            .prepare_cached(
                "INSERT INTO queue (name, paused, changed_by, reason, changed_at) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT DO UPDATE SET paused = ?2, changed_by = ?3, reason = ?4, changed_at = ?5",
            )?
            .execute(params![
                record.name.as_str(),
                record.paused,
                record.changed_by.as_ref().map(Label::as_str),
                record.reason,
                record.changed_at.as_millis(),
            ])?;
    }
    Ok(Ok(verdict))
}

fn import_worker(transaction: &mut Transaction<'_>, record: &WorkerRecord) -> Result<Taken, Failure> {
    let standing = worker_by_id(transaction.db, &record.worker.id)?;
    let standing = standing.map(|stored| WorkerRecord {
        worker: stored.worker,
        unlisted: record.unlisted.clone(),
        seen_at: stored.seen_at,
    });
    let verdict = match record.onto(standing.as_ref()) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if verdict != Verdict::Same {
        let stored = rows::StoredWorker { worker: record.worker.clone(), seen_at: record.seen_at };
        save(transaction, &stored)?;
    }
    Ok(Ok(verdict))
}

fn import_task(transaction: &mut Transaction<'_>, record: &TaskRecord) -> Result<Taken, Failure> {
    let db = transaction.db;
    let task = &record.task;
    let stored = Stored::by_id(db, task.head.id)?;
    let n = stored.as_ref().map(|stored| stored.n);
    let before = stored.as_ref().map(|stored| stored.head.state.state());
    let standing = stored.map(|stored| task_record(db, stored)).transpose()?;
    let verdict = match record.onto(standing.as_ref()) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if verdict == Verdict::Same {
        return Ok(Ok(verdict));
    }
    // Its own record says when it was changed, and may come later.
    transaction.know_queue(&task.queue, Timestamp::default())?;
    let n = write_task(db, n, record)?;
    let inline = task.params.size() <= INLINE_BYTES && task.description.is_none();
    if !inline {
        db.prepare_cached("INSERT OR REPLACE INTO task_body (n, params, description) VALUES (?1, ?2, ?3)")?
            .execute(params![n, task.params.as_str(), task.description])?;
    }
    match &task.error {
        Some(failure) => db
            .prepare_cached("INSERT OR REPLACE INTO task_error (n, error) VALUES (?1, ?2)")?
            .execute(params![n, to_json("a failure", failure)?])?,
        None => db.prepare_cached("DELETE FROM task_error WHERE n = ?1")?.execute([n])?,
    };
    // What stands of the history is a beginning of it.
    let known = standing.as_ref().map_or(0, |standing| standing.history.len());
    for event in &record.history[known..] {
        transaction.event(
            n,
            event.seq,
            event.at,
            event.kind,
            event.from,
            event.to,
            event.attempt,
            &event.detail,
        )?;
    }
    if let Some(generation) = &record.generation {
        insert_generation(db, n, generation)?;
    }
    if let Some(state) = before {
        transaction.tally(&task.queue, &task.task_type, state, -1);
    }
    transaction.tally(&task.queue, &task.task_type, task.head.state.state(), 1);
    Ok(Ok(verdict))
}

/// Writes a task's row, under its number if it has one; gives the number.
fn write_task(db: &Connection, n: Option<i64>, record: &TaskRecord) -> Result<i64, Failure> {
    let (task, head) = (&record.task, &record.task.head);
    let lease = match &head.state {
        TaskState::Running(lease) => Some(lease),
        _ => None,
    };
    let (generation, output) = match &head.state {
        TaskState::Completed { generation, output } => (Some(generation.as_bytes()), Some(output.as_bytes())),
        _ => (None, None),
    };
    let inline = task.params.size() <= INLINE_BYTES && task.description.is_none();
    let backoff =
        (head.backoff != Backoff::default()).then(|| to_json("a backoff", &head.backoff)).transpose()?;
    db.prepare_cached(
        "INSERT OR REPLACE INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, \
         max_attempts, events, worker, session, claimed_at, expires_at, timeout_at, request, ended, generation, output, \
         created_at, updated_at, finished_at, timeout_ms, domain, assigned_by, backoff, drift_score, digest, params, \
         beats, worker_losses) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
         ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)",
    )?
    .execute(params![
        n,
        head.id.as_bytes(),
        head.state.state().code(),
        task.priority.code(),
        task.queue.as_str(),
        task.task_type.as_str(),
        task.project.as_str(),
        head.run_after.as_millis(),
        head.attempt,
        head.forgiven,
        head.max_attempts,
        head.events,
        record.worker.as_ref().map(WorkerId::as_str),
        lease.and_then(|lease| lease.session.as_ref()).map(SessionId::as_bytes),
        record.claimed_at.map(Timestamp::as_millis),
        lease.and_then(|lease| lease.expires_at).map(Timestamp::as_millis),
        lease.and_then(|lease| lease.timeout_at).map(Timestamp::as_millis),
        lease.and_then(|lease| lease.request.as_ref()).map(RequestKey::as_str),
        head.ended.as_ref().map(|end| end.how.code()),
        generation,
        output,
        task.created_at.as_millis(),
        task.updated_at.as_millis(),
        task.finished_at.map(Timestamp::as_millis),
        head.timeout.map(millis),
        task.domain.as_ref().map(Label::as_str),
        task.assigned_by.as_ref().map(Label::as_str),
        backoff,
        task.drift_score,
        record.content.as_ref().map(Digest::as_bytes),
        inline.then(|| task.params.as_str()),
        lease.and_then(|lease| lease.beats),
        head.worker_losses,
    ])?;
    Ok(db.last_insert_rowid())
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

fn import_durations(transaction: &mut Transaction<'_>, record: &DurationsRecord) -> Result<Taken, Failure> {
    let db = transaction.db;
    let queue = record.queue.as_str();
    let standing = durations_of(db, &record.queue, record.hour)?;
    if standing == *record {
        return Ok(Ok(Verdict::Same));
    }
    let removed = db
        .prepare_cached("DELETE FROM histogram WHERE queue = ?1 AND what IN (0, 1) AND hour = ?2")?
        .execute(params![queue, record.hour])?;
    for (what, buckets) in [(What::Wait, &record.wait), (What::Run, &record.run)] {
        for (bucket, tasks) in buckets {
            db.prepare_cached(
                "INSERT INTO histogram (hour, queue, what, bucket, tasks) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![record.hour, queue, what_code(what), bucket, tasks])?;
        }
    }
    Ok(Ok(if removed == 0 { Verdict::New } else { Verdict::Later }))
}

fn import_log(transaction: &mut Transaction<'_>, record: &LogRecord) -> Result<Taken, Failure> {
    let standing = copies(transaction.db, &record.line, i64::MAX)?;
    // The second of two that are the same says that there is a first.
    for _ in standing..=record.copy {
        insert_log(transaction, &record.line, record.line.received_at)?;
    }
    Ok(Ok(if standing > record.copy { Verdict::Same } else { Verdict::New }))
}

fn import_key(transaction: &mut Transaction<'_>, record: &KeyRecord) -> Result<Taken, Failure> {
    let refused = |why: &str| {
        let record = Record::Key(record.clone()).name();
        Ok(Err(Refusal { record, why: why.to_owned() }))
    };
    let Answer::Given(items) = &record.answer else {
        return refused(
            "expected a request that has its answer, got a large batch that was cut off in the middle, which this kind \
             of store cannot go on with: send the request again, or have the key purged (24 hours after it was sent)",
        );
    };
    let mut statement = transaction.db.prepare_cached("SELECT digest FROM idempotency WHERE key = ?1")?;
    let standing: Option<[u8; 16]> = statement.query_row([&record.key], |row| row.get(0)).optional()?;
    match standing {
        Some(digest) if digest == *record.digest.as_bytes() => return Ok(Ok(Verdict::Same)),
        Some(_) => return refused("expected no other request under this key in the target, got one"),
        None => {}
    }
    transaction
        .db
        .prepare_cached("INSERT INTO idempotency (key, digest, answer, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            record.key,
            record.digest.as_bytes(),
            to_json("an answer", items)?,
            record.created_at.as_millis(),
        ])?;
    Ok(Ok(Verdict::New))
}

fn import_claim(transaction: &mut Transaction<'_>, record: &ClaimRecord) -> Result<Taken, Failure> {
    let added = transaction
        .db
        .prepare_cached(
            "INSERT OR IGNORE INTO claim_request (worker, request, created_at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![record.worker.as_str(), record.request.as_str(), record.created_at.as_millis()])?;
    Ok(Ok(if added == 0 { Verdict::Same } else { Verdict::New }))
}

fn import_token(transaction: &mut Transaction<'_>, record: &StoredToken) -> Result<Taken, Failure> {
    let standing = token::by_id(transaction.db, record.token.id)?;
    let verdict = match token_onto(record, standing.as_ref()) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    match verdict {
        Verdict::New => token::create(transaction, record)?,
        Verdict::Later => token::carry_on(transaction, record)?,
        Verdict::Same => {}
    }
    Ok(Ok(verdict))
}

fn import_audit(transaction: &mut Transaction<'_>, record: &AuditEntry) -> Result<Taken, Failure> {
    let standing = audit::by_id(transaction.db, record.id)?;
    let verdict = match audit_onto(record, standing.as_ref()) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    match (verdict, record.outcome) {
        (Verdict::New, _) => audit::record(transaction, record)?,
        (Verdict::Later, Some(outcome)) => {
            let AuditEntry { by, reason, .. } = record.clone();
            audit::settle(transaction, &(record.id, Settled { outcome, by, reason }))?;
        }
        // What is later is later by its outcome.
        (Verdict::Later, None) | (Verdict::Same, _) => {}
    }
    Ok(Ok(verdict))
}
