//! Taking in records: each is written as a whole, or refused.

use baton_model::queue::Queue;
use baton_model::{Backoff, BatchId, Digest, Label, RequestKey, SessionId, TaskState, Timestamp, WorkerId};
use baton_store::transfer::{
    Answer, ClaimRecord, DurationsRecord, KeyRecord, LogRecord, OrderRecord, Record, Refusal, TaskRecord,
    Verdict, WorkerRecord, audit_onto, order_onto, queue_onto, token_onto,
};
use baton_store::{AuditEntry, Settled, StoredToken};
use rusqlite::{Connection, OptionalExtension, params};

use super::export::{SELECT_QUEUE, copies, durations_of, order_record, queue, task_record};
use crate::codes::Code;
use crate::create::INLINE_BYTES;
use crate::defaults;
use crate::dependency::{self, links_of};
use crate::error::Failure;
use crate::expiry::Next;
use crate::finish::insert_generation;
use crate::kept;
use crate::links::keep;
use crate::order;
use crate::rows::{self, EVENT_BITS, Stored, affinity_code, millis_of, to_json, worker_by_id};
use crate::transaction::{Transaction, what_code};
use crate::worker::{insert_log, save};
use crate::{audit, batches, bulk, config, document, feed, limit, schedule, supply, timeline, token, unique};
use baton_store::histogram::What;

/// What became of a record: a refusal is an outcome, as it has written nothing.
pub(crate) type Taken = Result<Verdict, Refusal>;

pub(crate) fn import(transaction: &mut Transaction<'_>, record: &Record) -> Result<Taken, Failure> {
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
        Record::Limit(record) => limit::import_limit(transaction, record),
        Record::Owned(record) => limit::import_owned(transaction, record),
        Record::Schedule(record) => schedule::import(transaction, record),
        Record::Supply(record) => supply::import(transaction, record),
        Record::Batch(record) => batches::import(transaction, record),
        Record::Settings(record) => config::import(transaction, record),
        Record::Bulk(record) => bulk::import(transaction, record),
        Record::Document(record) => document::import(transaction, record),
        Record::Order(record) => import_order(transaction, record),
        Record::Happened(record) => timeline::import(transaction, record),
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
        let standing = standing.as_ref();
        let from = standing.map(|standing| standing.order).unwrap_or_default();
        order::write(transaction, &record.name, (from, record.order), record.changed_at)?;
        let from = standing.map(|standing| standing.defaults).unwrap_or_default();
        defaults::write(transaction, &record.name, (from, record.defaults), record.changed_at)?;
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
    let before = stored.as_ref().map(|stored| (stored.queue.clone(), stored.head.state.state()));
    let standing = stored.map(|stored| task_record(db, stored)).transpose()?;
    let verdict = match record.onto(standing.as_ref()) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if verdict == Verdict::Same {
        return Ok(Ok(verdict));
    }
    if let (None, Some(place)) = (n, record.place)
        && db.prepare_cached("SELECT 1 FROM task WHERE n = ?1")?.exists([place])?
    {
        let why = format!(
            "expected no other task in its place ({place}) in the target, got one: it is used there, or the source has removed that one \
             since and gave its place to this"
        );
        return Ok(Err(Refusal { record: format!("task {}", task.head.id), why }));
    }
    // Its own record says when it was changed, and may come later.
    transaction.know_queue(&task.queue, Timestamp::default())?;
    transaction.state.limits.unsettle();
    transaction.state.expiring = Next::Unknown;
    transaction.state.leased.clear();
    let n = write_task(db, n.or(record.place), record)?;
    order::note_whose(transaction, n, task.shared())?;
    dependency::import(db, n, task)?;
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
    let told = transaction.told();
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
    transaction.tell_no_more_than(told);
    if let Some(generation) = &record.generation {
        insert_generation(transaction, n, generation)?;
    }
    if let Some(batch) = task.batch {
        let from = before.as_ref().map(|(_, state)| *state);
        batches::import_task(db, batch, (from, task.head.state.state()))?;
    }
    if let Some((queue, state)) = before {
        transaction.tally(&queue, &task.task_type, state, -1);
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
    let links = links_of(db, task)?;
    let is_kept = links.waited_for && head.state.state().is_final();
    let inline = task.params.size() <= INLINE_BYTES && task.description.is_none();
    let backoff =
        (head.backoff != Backoff::default()).then(|| to_json("a backoff", &head.backoff)).transpose()?;
    db.prepare_cached(
        "INSERT OR REPLACE INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, \
         max_attempts, events, worker, session, claimed_at, expires_at, timeout_at, request, ended, generation, output, \
         created_at, updated_at, finished_at, timeout_ms, domain, assigned_by, backoff, drift_score, digest, params, \
         beats, worker_losses, links, concurrency_key, start_by, only_one, affinity, fair, retention, batch, trace) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
         ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39, ?40, ?41, ?42)",
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
        task.finished_at.filter(|_| !is_kept && task.retention.is_none()).map(Timestamp::as_millis),
        head.timeout.map(millis_of),
        task.domain.as_ref().map(Label::as_str),
        task.assigned_by.as_ref().map(Label::as_str),
        backoff,
        task.drift_score,
        record.content.as_ref().map(Digest::as_bytes),
        inline.then(|| task.params.as_str()),
        lease.and_then(|lease| lease.beats),
        head.worker_losses,
        links.code(),
        task.concurrency_key.as_ref().map(Label::as_str),
        head.expires_at.map(Timestamp::as_millis),
        task.unique.as_ref().map(|unique| to_json("a unique key", unique)).transpose()?,
        affinity_code(task.affinity.as_ref()),
        task.affinity.as_ref().map(|_| ""),
        task.retention.map(millis_of),
        task.batch.as_ref().map(BatchId::as_bytes),
        task.trace.as_ref().map(ToString::to_string),
    ])?;
    unique::import(db, task)?;
    let n = db.last_insert_rowid();
    if is_kept {
        keep(db, n)?;
    }
    let goes_after = task.retention.filter(|_| head.state.state().is_final() && !is_kept);
    kept::goes(db, n, goes_after.map(|retention| task.updated_at.plus(retention)))?;
    Ok(n)
}

/// The positions of events go on where the source's ended: who has read up to one of them goes on from there.
fn import_order(transaction: &mut Transaction<'_>, record: &OrderRecord) -> Result<Taken, Failure> {
    let db = transaction.db;
    let first = i64::try_from(record.first).unwrap_or(i64::MAX);
    let end = first.saturating_add(record.events.len() as i64);
    let before = feed::below(db, first)?.filter(|row| row.end() > first);
    let within = feed::from(db, first)?.filter(|row| row.seq < end.max(first + 1));
    let standing = before.or(within).map(|row| order_record(&row));
    let verdict = order_onto(record, standing.as_ref());
    if verdict == Ok(Verdict::New) {
        let keys: Vec<i64> =
            record.events.iter().map(|(place, seq)| place << EVENT_BITS | i64::from(*seq)).collect();
        feed::write(db, first, record.at.as_millis(), &keys)?;
        transaction.state.feed_next = None;
        transaction.feed_is_moved = true;
    }
    Ok(verdict)
}

fn import_durations(transaction: &mut Transaction<'_>, record: &DurationsRecord) -> Result<Taken, Failure> {
    let db = transaction.db;
    let queue = record.queue.as_str();
    let standing = durations_of(db, &record.queue, record.hour)?;
    if standing == *record {
        return Ok(Ok(Verdict::Same));
    }
    let removed = db
        .prepare_cached("DELETE FROM histogram WHERE queue = ?1 AND what IN (0, 1, 2) AND hour = ?2")?
        .execute(params![queue, record.hour])?;
    let all = [(What::Wait, &record.wait), (What::Run, &record.run), (What::Failed, &record.failed)];
    for (what, buckets) in all {
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
            let AuditEntry { by, reason, change, .. } = record.clone();
            audit::settle(transaction, &(record.id, Settled { outcome, by, reason, change }))?;
        }
        // What is later is later by its outcome.
        (Verdict::Later, None) | (Verdict::Same, _) => {}
    }
    Ok(Ok(verdict))
}
