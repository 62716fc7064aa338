//! Workers: their sessions, heartbeats and directives.

use baton_model::{
    Alone, Directive, Happened, LogLine, Owner, ProjectId, SessionId, TaskId, Timestamp, Worker, WorkerId,
};
use baton_store::{Beat, BeatAnswer, Claim, Direct, LostLease, NameNotice, StoreError};
use rusqlite::{Connection, params};

use crate::alone::tie_columns;
use crate::codes::Code;
use crate::error::Failure;
use crate::rows::{Stored, StoredWorker, free_key, to_json, worker_by_id};
use crate::timeline;
use crate::transaction::Transaction;

/// A claim is a sign of life, too; it is noted to this many milliseconds, so that not every claim writes.
const SEEN_GRAIN_MS: u64 = 3_600_000;

/// A worker that may claim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entered {
    /// What is asked of it.
    pub(crate) directive: Directive,
    /// How many heartbeats of it are recorded.
    pub(crate) beats: u64,
    /// How it was tied to a task that is given out alone.
    pub(crate) alone: Option<Alone>,
}

/// Makes the claiming worker and its session known, and says what is asked of it.
pub(crate) fn enter_session(transaction: &mut Transaction<'_>, claim: &Claim) -> Result<Entered, Failure> {
    if let Some(entered) = known_session(transaction, claim)? {
        return Ok(entered);
    }
    let known = look_up(transaction, &claim.worker)?.cloned();
    let mut worker = session_of(transaction, known, &claim.worker, &claim.caller, claim.session, claim.now)?;
    worker.worker.capacity = claim.capacity.or(worker.worker.capacity);
    worker.worker.ended_at = None;
    worker.worker.note_takes(claim.takes());
    worker.seen_at = claim.now;
    save(transaction, &worker)?;
    Ok(Entered { directive: worker.worker.directive, beats: worker.worker.beats, alone: worker.worker.alone })
}

/// The worker, if a claim changes nothing about it: the usual case, which writes nothing.
fn known_session(transaction: &mut Transaction<'_>, claim: &Claim) -> Result<Option<Entered>, Failure> {
    let Some(StoredWorker { worker, seen_at }) = look_up(transaction, &claim.worker)? else {
        return Ok(None);
    };
    // A name of which it is not known whose it is, is so no longer.
    let is_theirs = worker.owner.is_some() && claim.caller.may_use(worker.owner.as_ref());
    let same_session = claim.session.is_none_or(|claimed| worker.session == Some(claimed));
    let same_capacity = claim.capacity.is_none_or(|claimed| worker.capacity == Some(claimed));
    // It was seen lately, too, if the clock was set back since; a time far ahead is written anew.
    let seen = claim.now.as_millis().abs_diff(seen_at.as_millis()) <= SEEN_GRAIN_MS;
    let is_as_before = worker.ended_at.is_none() && is_theirs && same_session && same_capacity && seen;
    if !is_as_before || !claim.takes().is_noted(&worker.takes) {
        return Ok(None);
    }
    Ok(Some(Entered { directive: worker.directive, beats: worker.beats, alone: worker.alone }))
}

/// The record of a worker, which is held from then on.
pub(crate) fn look_up<'a>(
    transaction: &'a mut Transaction<'_>,
    id: &WorkerId,
) -> Result<Option<&'a StoredWorker>, Failure> {
    let db = transaction.db;
    let workers = &mut transaction.state.workers;
    match workers.get(id) {
        Some(held) => debug_assert!(is_stored(db, held)?, "a worker was written behind its copy"),
        None => {
            if let Some(stored) = worker_by_id(db, id)? {
                workers.put(id.clone(), stored);
            }
        }
    }
    Ok(workers.get(id))
}

/// Whether a worker's record is as this copy of it, but for its readings, of which numbers may have lost their last bit.
fn is_stored(db: &Connection, held: &StoredWorker) -> Result<bool, Failure> {
    let stored = worker_by_id(db, &held.worker.id)?;
    let plain = |stored: &StoredWorker| {
        let mut stored = stored.clone();
        stored.worker.readings.clear();
        stored
    };
    Ok(stored.as_ref().map(plain) == Some(plain(held)))
}

/// The worker's record with this session as its present one.
///
/// # Errors
/// If the name belongs to callers of other bounds; if the session was superseded before: of two
/// processes with one name, the later start keeps it.
fn session_of(
    transaction: &mut Transaction<'_>,
    known: Option<StoredWorker>,
    id: &WorkerId,
    caller: &Owner,
    session: Option<SessionId>,
    now: Timestamp,
) -> Result<StoredWorker, Failure> {
    let Some(mut known) = known else {
        let worker = Worker::new(id.clone(), caller.clone(), session, now);
        note_start(transaction, &worker, now)?;
        return Ok(StoredWorker { worker, seen_at: now });
    };
    if !known.worker.admit(caller) {
        return Err(StoreError::WorkerOfOther(id.clone()).into());
    }
    let before = known.worker.session;
    match known.worker.enter(session, now) {
        Ok(None) => {}
        Ok(Some(takeover)) => transaction.tell(NameNotice::taken(&known.worker, takeover)),
        Err(late) => {
            if late.first_word {
                // Kept although the answer is a refusal: the leases of both starts are judged by it.
                save(transaction, &known)?;
                transaction.tell(NameNotice::contested(&known.worker, late, now));
            }
            return Err(StoreError::SessionSuperseded { worker: id.clone(), session: late.session }.into());
        }
    }
    if known.worker.session != before {
        note_start(transaction, &known.worker, now)?;
    }
    Ok(known)
}

/// Notes for the time line that a worker is heard that was not known, or a new start of it.
fn note_start(transaction: &Transaction<'_>, worker: &Worker, now: Timestamp) -> Result<(), Failure> {
    let started = Happened::WorkerStarted { worker: worker.id.clone(), session: worker.session };
    timeline::note(transaction, now, &started)
}

pub(crate) fn save(transaction: &mut Transaction<'_>, stored: &StoredWorker) -> Result<(), Failure> {
    let worker = &stored.worker;
    let (alone_task, alone_attempt, alone_until) = tie_columns(worker.alone);
    transaction
        .db
        .prepare_cached(
            "INSERT OR REPLACE INTO worker (id, session, superseded, started_at, seen_at, last_beat_at, capacity, \
             running, readings, labels, directive, project, beats, contested_at, \
             ended_at, owner, alone_task, alone_attempt, alone_until, takes, directed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        )?
        .execute(params![
            worker.id.as_str(),
            worker.session.as_ref().map(SessionId::as_bytes),
            to_json("a worker's sessions", &worker.superseded)?,
            worker.started_at.as_millis(),
            stored.seen_at.as_millis(),
            worker.last_beat_at.map(Timestamp::as_millis),
            worker.capacity,
            worker.running.as_ref().map(|running| to_json("what a worker runs", running)).transpose()?,
            to_json("a worker's readings", &worker.readings)?,
            to_json("a worker's labels", &worker.labels)?,
            worker.directive.code(),
            worker.project().map(ProjectId::as_str),
            worker.beats,
            worker.contested_at.map(Timestamp::as_millis),
            worker.ended_at.map(Timestamp::as_millis),
            worker.owner.as_ref().and_then(Owner::stored),
            alone_task,
            alone_attempt,
            alone_until,
            (!worker.takes.is_empty()).then(|| to_json("what a worker takes", &worker.takes)).transpose()?,
            worker.directed.as_ref().map(|asked| to_json("who has directed a worker", asked)).transpose()?,
        ])?;
    transaction.state.workers.put(worker.id.clone(), stored.clone());
    Ok(())
}

pub(crate) fn heartbeat(transaction: &mut Transaction<'_>, beat: &Beat) -> Result<BeatAnswer, Failure> {
    let known = look_up(transaction, &beat.worker)?.cloned();
    let mut stored = session_of(transaction, known, &beat.worker, &beat.caller, beat.session, beat.now)?;
    let mut lost = Vec::new();
    for running in beat.running.iter().flatten() {
        let stored = Stored::by_id(transaction.db, running.task)?;
        lost.extend(LostLease::of(running, &beat.worker, stored.as_ref().map(|stored| &stored.head)));
    }
    // Why not the one with the latest time: after the clock was set back, the worker's list would stay as it was, and the
    // reaper would take what it claims for forgotten.
    stored.worker.last_beat_at = Some(beat.now);
    stored.worker.beats += 1;
    stored.worker.running = beat.running.clone();
    stored.worker.readings = beat.readings.clone();
    if beat.ending && stored.worker.ended_at.is_none() {
        timeline::note(transaction, beat.now, &Happened::WorkerEnded { worker: beat.worker.clone() })?;
    }
    stored.worker.ended_at = beat.ending.then_some(beat.now);
    stored.worker.capacity = beat.capacity.or(stored.worker.capacity);
    if !beat.labels.is_empty() {
        stored.worker.labels = beat.labels.clone();
    }
    stored.seen_at = beat.now;
    save(transaction, &stored)?;
    for line in &beat.logs {
        // Why not by the line's own time: one that is dated far ahead would be the newest for ever.
        insert_log(transaction, line, beat.now)?;
    }
    Ok(BeatAnswer { lost, directive: stored.worker.directive, shipped: None })
}

pub(crate) fn insert_log(
    transaction: &Transaction<'_>,
    line: &LogLine,
    received_at: Timestamp,
) -> Result<(), Failure> {
    let k = free_key(transaction.db, "log", received_at)?;
    transaction
        .db
        .prepare_cached(
            "INSERT INTO log (k, at, taken_at, worker, task, level, source, message, metadata) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            k,
            line.at.as_millis(),
            received_at.as_millis(),
            line.worker.as_str(),
            line.task.as_ref().map(TaskId::as_bytes),
            line.level.code(),
            line.source,
            line.message,
            line.metadata.as_ref().map(baton_model::Payload::as_str),
        ])?;
    Ok(())
}

pub(crate) fn direct(transaction: &mut Transaction<'_>, direct: &Direct) -> Result<(), Failure> {
    let Some(mut stored) = look_up(transaction, &direct.worker)?.cloned() else {
        return Err(StoreError::WorkerNotFound(direct.worker.clone()).into());
    };
    if direct.of(&mut stored.worker) {
        save(transaction, &stored)?;
    }
    Ok(())
}
