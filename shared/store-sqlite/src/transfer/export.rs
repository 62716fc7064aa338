//! Reading out records, page by page.

use baton_model::queue::Queue;
use baton_model::{
    BulkId, Digest, Happened, Label, Payload, QueueName, RequestKey, Supply, TaskId, Timestamp, TokenId,
    WorkerId,
};
use baton_store::transfer::{
    Answer, ClaimRecord, DurationsRecord, HappenedRecord, KeyRecord, LogRecord, OrderRecord, PAGE_BYTES,
    Record, TaskRecord, WorkerRecord,
};
use baton_store::{Cursor, Page, StoreError};
use rusqlite::{Connection, Row, Rows, params};

use crate::codes::Code;
use crate::defaults::defaults_of;
use crate::error::Failure;
use crate::order::order_of;
use crate::rows::{
    self, EVENT_BITS, MOMENT_BITS, Stored, first_key, from_json, generation_of, select_task, select_worker,
};
use crate::transaction::what_code;
use crate::{audit, batches, bulk, config, document, events, feed, limit, schedule, supply, timeline, token};
use baton_store::histogram::What;

/// The kinds of records in the order in which they are read out, each with the letter of its cursors.
const KINDS: &[(char, Read)] = &[
    ('q', queues),
    ('w', workers),
    ('b', all_batches),
    ('t', tasks),
    ('h', durations),
    ('l', logs),
    ('k', keys),
    ('c', claims),
    ('o', tokens),
    ('a', audit_entries),
    ('m', shared_limits),
    ('p', owned_projects),
    ('s', schedules),
    ('u', supplies),
    ('g', settings),
    ('j', bulks),
    ('d', documents),
    ('f', order),
    ('x', happened),
];

/// Reads records of one kind behind a place, at most so many; each with its own place.
type Read = fn(&Connection, &str, u32) -> Result<Vec<(String, Record)>, Failure>;

/// One page of the export.
pub(super) fn page(db: &Connection, after: Option<Cursor>, limit: u32) -> Result<Page<Record>, Failure> {
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

/// What a query gives, to the end of a page: as long as it has room for more bytes, so that a page of what is large is not read whole.
fn read_rows(
    mut rows: Rows<'_>,
    read: impl Fn(&Row<'_>) -> Result<(String, Record), Failure>,
) -> Result<Vec<(String, Record)>, Failure> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    while bytes < PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let (place, record) = read(row)?;
        bytes += record.size();
        found.push((place, record));
    }
    Ok(found)
}

fn number(place: &str) -> Result<i64, Failure> {
    if place.is_empty() { Ok(i64::MIN) } else { place.parse().map_err(|_| StoreError::BadCursor.into()) }
}

pub(super) fn queue(row: &Row<'_>) -> Result<Queue, Failure> {
    Ok(Queue {
        name: QueueName::from_stored(row.get::<_, Box<str>>(0)?),
        paused: row.get(1)?,
        changed_by: row.get::<_, Option<Box<str>>>(2)?.map(Label::from_stored),
        reason: row.get(3)?,
        changed_at: Timestamp::from_millis(row.get(4)?),
        order: order_of(row.get::<_, Option<String>>(5)?.as_deref())?,
        defaults: defaults_of(row.get::<_, Option<String>>(6)?.as_deref())?,
    })
}

/// The columns that [`queue`] reads.
pub(super) const SELECT_QUEUE: &str =
    "SELECT name, paused, changed_by, reason, changed_at, ordering, defaults FROM queue";

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

fn all_batches(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let after = match after {
        "" => None,
        id => Some(id.parse().map_err(|_| StoreError::BadCursor)?),
    };
    let found = batches::behind_id(db, after, limit)?;
    Ok(found.into_iter().map(|batch| (batch.id.to_string(), Record::Batch(Box::new(batch)))).collect())
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
    read_rows(statement.query(params![number(after)?, limit])?, |row| {
        let stored = Stored::from_row(row)?;
        let n = stored.n;
        let record = TaskRecord { place: Some(n), ..task_record(db, stored)? };
        Ok((n.to_string(), Record::Task(Box::new(record))))
    })
}

fn shared_limits(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let found = limit::limits_behind(db, after, i64::from(limit))?;
    Ok(found.into_iter().map(|limit| (limit.on.to_string(), Record::Limit(limit))).collect())
}

fn schedules(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let after = match after {
        "" => None,
        after => Some(schedule::place(after)?),
    };
    let found = schedule::behind(db, after.as_ref(), None, i64::from(limit))?;
    let record = |schedule| (schedule::place_of(&schedule), Record::Schedule(Box::new(schedule)));
    Ok(found.into_iter().map(record).collect())
}

fn supplies(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let found = supply::behind(db, after, i64::from(limit))?;
    let record = |supply: Supply| (supply.queue.to_string(), Record::Supply(Box::new(supply)));
    Ok(found.into_iter().map(record).collect())
}

fn settings(db: &Connection, after: &str, _limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let settings = Some(config::all(db)?).filter(|settings| after.is_empty() && !settings.is_none());
    Ok(settings.map(|settings| ("1".to_owned(), Record::Settings(Box::new(settings)))).into_iter().collect())
}

fn bulks(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let after: Option<BulkId> = match after {
        "" => None,
        id => Some(id.parse().map_err(|_| StoreError::BadCursor)?),
    };
    // Nothing sorts before the empty blob.
    let after = after.as_ref().map_or(&[][..], |id| id.as_bytes());
    let mut statement = db.prepare_cached(bulk::BEHIND)?;
    read_rows(statement.query(params![after, limit])?, |row| {
        let bulk = bulk::record(row)?;
        Ok((bulk.id.to_string(), Record::Bulk(Box::new(bulk))))
    })
}

fn documents(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    // A kind has no space in it.
    let (kind, name) = after.split_once(' ').unwrap_or((after, ""));
    let mut statement = db.prepare_cached(document::BEHIND)?;
    read_rows(statement.query(params![kind, name, limit])?, |row| {
        let document = document::record(row)?;
        Ok((format!("{} {}", document.kind, document.name), Record::Document(document)))
    })
}

fn order(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let mut next = number(after)?.saturating_add(1);
    let (mut found, mut events) = (Vec::new(), 0);
    // Each has up to as many events as a page has records.
    while found.len() < limit as usize
        && events < PAGE_BYTES / 16
        && let Some(row) = feed::from(db, next)?
    {
        next = row.seq + 1;
        events += row.keys.len();
        found.push((row.seq.to_string(), Record::Order(order_record(&row))));
    }
    Ok(found)
}

pub(super) fn order_record(row: &feed::Row) -> OrderRecord {
    let events = row.keys.iter().map(|key| (key >> EVENT_BITS, (key & ((1 << EVENT_BITS) - 1)) as u32));
    OrderRecord { first: row.seq as u64, at: Timestamp::from_millis(row.at), events: events.collect() }
}

fn happened(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let found = timeline::happened_behind(db, number(after)?, limit)?;
    let record = |(k, what): (i64, Happened)| {
        let (at, place) = (Timestamp::from_millis(k >> MOMENT_BITS), k & ((1 << MOMENT_BITS) - 1));
        (k.to_string(), Record::Happened(HappenedRecord { at, place: place as u32, what }))
    };
    Ok(found.into_iter().map(record).collect())
}

fn owned_projects(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let found = limit::owned_behind(db, after, i64::from(limit))?;
    Ok(found.into_iter().map(|owned| (owned.project.to_string(), Record::Owned(owned))).collect())
}

/// A task's row with all that belongs to it.
pub(crate) fn task_record(db: &Connection, stored: Stored) -> Result<TaskRecord, Failure> {
    let n = stored.n;
    let content: Option<[u8; 16]> =
        db.prepare_cached("SELECT digest FROM task WHERE n = ?1")?.query_row([n], |row| row.get(0))?;
    Ok(TaskRecord {
        worker: stored.worker.clone(),
        claimed_at: stored.claimed_at,
        content: content.map(Digest::from_bytes),
        history: events::history(db, n)?,
        generation: generation_of(db, n)?,
        task: stored.into_task(db)?,
        place: None,
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
pub(super) fn durations_of(
    db: &Connection,
    queue: &QueueName,
    hour: i64,
) -> Result<DurationsRecord, Failure> {
    let buckets = |what: What| -> Result<Vec<(i64, u64)>, Failure> {
        let mut statement = db.prepare_cached(
            "SELECT bucket, tasks FROM histogram WHERE hour = ?1 AND queue = ?2 AND what = ?3 ORDER BY bucket",
        )?;
        let rows = statement.query_map(params![hour, queue.as_str(), what_code(what)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    };
    let (wait, run, failed) = (buckets(What::Wait)?, buckets(What::Run)?, buckets(What::Failed)?);
    Ok(DurationsRecord { queue: queue.clone(), hour, wait, run, failed })
}

/// How many lines received in the same millisecond, numbered below `k`, are the same as this one.
pub(super) fn copies(db: &Connection, line: &baton_model::LogLine, k: i64) -> Result<u32, Failure> {
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
    read_rows(statement.query(params![number(after)?, limit])?, |row| {
        let (k, line) = rows::log_line(row)?;
        let place = u32::try_from(k & ((1 << MOMENT_BITS) - 1)).unwrap_or(0);
        let copy = copies(db, &line, k)?;
        Ok((k.to_string(), Record::Log(LogRecord { line, place, copy })))
    })
}

fn keys(db: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT key, digest, created_at, answer FROM idempotency WHERE key > ?1 ORDER BY key LIMIT ?2",
    )?;
    read_rows(statement.query(params![after, limit])?, |row| {
        let key: String = row.get(0)?;
        let record = KeyRecord {
            key: key.clone(),
            digest: Digest::from_bytes(row.get(1)?),
            created_at: Timestamp::from_millis(row.get(2)?),
            answer: Answer::Given(from_json("a kept answer", &row.get::<_, String>(3)?)?),
        };
        Ok((key, Record::Key(record)))
    })
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
