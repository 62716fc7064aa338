//! Batches. How many of a batch's tasks are in which state is counted by the very commits that change them, so that the counts are
//! exact, and what follows a batch is created in the commit that ends its last task. A task without a batch reads and writes nothing
//! of this.

use async_trait::async_trait;
use baton_model::{Batch, BatchCounts, BatchId, Made, State, TaskId, Timestamp};
use baton_store::transfer::{Refusal, Verdict, batch_onto};
use baton_store::{
    AddToBatch, BatchDetail, BatchFailure, BatchFilter, BatchStore, CreateAnswer, Cursor, Page, PageRequest,
    SealBatch, StoreError, TendBatches, TendedBatches, follow_up,
};
use rusqlite::{Connection, Row, params};

use crate::SqliteStore;
use crate::create;
use crate::error::Failure;
use crate::rows::{Stored, from_json, to_json};
use crate::transaction::Transaction;

const WHAT: &str = "a batch";

const SELECT: &str = "SELECT record, tasks, blocked, running, completed, failed, cancelled FROM batch";

#[async_trait]
impl BatchStore for SqliteStore {
    async fn add_to_batch(&self, add: AddToBatch) -> Result<CreateAnswer, StoreError> {
        self.writer.run(add, self::add).await
    }

    async fn seal_batch(&self, seal: SealBatch) -> Result<Batch, StoreError> {
        self.writer.run(seal, self::seal).await
    }

    async fn batch(&self, id: BatchId) -> Result<BatchDetail, StoreError> {
        self.readers.run(move |db| detail(db, id)).await
    }

    async fn batches(&self, filter: BatchFilter, page: PageRequest) -> Result<Page<Batch>, StoreError> {
        self.readers.run(move |db| list(db, &filter, &page)).await
    }

    async fn tend_batches(&self, _: TendBatches) -> Result<TendedBatches, StoreError> {
        Ok(TendedBatches::default())
    }
}

/// A batch's row.
pub(crate) struct Kept {
    pub(crate) batch: Batch,
    blocked: u64,
    queued: u64,
    running: u64,
}

fn read(row: &Row<'_>) -> Result<Kept, Failure> {
    let number = |at: usize| row.get::<_, u64>(at);
    let mut batch: Batch = from_json(WHAT, &row.get::<_, String>(0)?)?;
    let (blocked, running) = (number(2)?, number(3)?);
    batch.counts =
        BatchCounts { tasks: number(1)?, completed: number(4)?, failed: number(5)?, cancelled: number(6)? };
    let queued = batch.counts.unfinished().saturating_sub(blocked + running);
    Ok(Kept { batch, blocked, queued, running })
}

fn find(db: &Connection, id: BatchId) -> Result<Option<Kept>, Failure> {
    let mut statement = db.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_bytes()])?;
    rows.next()?.map(read).transpose()
}

/// Writes a batch's record; its counts are beside it.
fn write(db: &Connection, batch: &Batch) -> Result<(), Failure> {
    let record = Batch { counts: BatchCounts::default(), ..batch.clone() };
    db.prepare_cached(
        "INSERT INTO batch (id, project, ended_at, record) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET ended_at = ?3, record = ?4",
    )?
    .execute(params![
        batch.id.as_bytes(),
        batch.project.as_str(),
        batch.ended_at.map(Timestamp::as_millis),
        to_json(WHAT, &record)?,
    ])?;
    Ok(())
}

fn add(transaction: &mut Transaction<'_>, add: &AddToBatch) -> Result<CreateAnswer, Failure> {
    let AddToBatch { batch: asked, seal, create } = add;
    let db = transaction.db;
    if let Some(answer) = create::kept_answer(transaction, create)? {
        return Ok(answer);
    }
    let standing = find(db, asked.id)?.map(|kept| kept.batch);
    match &standing {
        Some(batch) if !batch.fits(asked) => return Err(StoreError::BatchExists(asked.id).into()),
        Some(batch) if batch.sealed_at.is_some() => {
            for spec in &create.tasks {
                if Stored::by_id(db, spec.id)?.is_none_or(|stored| stored.batch != Some(asked.id)) {
                    return Err(StoreError::BatchSealed(asked.id).into());
                }
            }
        }
        Some(_) => {}
        None => write(db, &Batch::new(asked.clone(), create.now, create.by.clone()))?,
    }
    let answer = match create::create(transaction, create) {
        Ok(answer) => answer,
        Err(refusal) => {
            // A refusal is to leave nothing behind.
            if standing.is_none() {
                db.prepare_cached("DELETE FROM batch WHERE id = ?1")?.execute([asked.id.as_bytes()])?;
            }
            return Err(refusal);
        }
    };
    if *seal {
        self::seal(transaction, &SealBatch { now: create.now, batch: asked.id })?;
    }
    Ok(answer)
}

fn seal(transaction: &mut Transaction<'_>, seal: &SealBatch) -> Result<Batch, Failure> {
    let missing = || StoreError::BatchNotFound(seal.batch);
    let Kept { mut batch, .. } = find(transaction.db, seal.batch)?.ok_or_else(missing)?;
    if batch.sealed_at.is_none() {
        batch.sealed_at = Some(seal.now);
        write(transaction.db, &batch)?;
        settle(transaction, batch.id, seal.now)?;
    }
    Ok(find(transaction.db, seal.batch)?.ok_or_else(missing)?.batch)
}

/// By how much each count of a batch changes: all tasks, the blocked, running, completed, failed and cancelled ones.
fn changes(from: Option<State>, to: State) -> [i64; 6] {
    let place = |state: State| match state {
        State::Queued => None,
        State::Blocked => Some(1),
        State::Running => Some(2),
        State::Completed => Some(3),
        State::Failed => Some(4),
        State::Cancelled => Some(5),
    };
    let mut changes = [0; 6];
    match from {
        Some(from) => place(from).into_iter().for_each(|place: usize| changes[place] -= 1),
        None => changes[0] = 1,
    }
    place(to).into_iter().for_each(|place| changes[place] += 1);
    changes
}

/// Counts a task of a batch that has come to another state, or came to be.
pub(crate) fn follow(
    transaction: &mut Transaction<'_>,
    (id, task): (BatchId, TaskId),
    (from, to): (Option<State>, State),
    now: Timestamp,
) -> Result<(), Failure> {
    if from == Some(to) {
        return Ok(());
    }
    let db = transaction.db;
    let [tasks, blocked, running, completed, failed, cancelled] = changes(from, to);
    // A batch that was removed and made anew has not counted the tasks of before.
    db.prepare_cached(
        "UPDATE batch SET tasks = tasks + ?2, blocked = max(0, blocked + ?3), running = max(0, running + ?4), \
         completed = max(0, completed + ?5), failed = max(0, failed + ?6), cancelled = max(0, cancelled + ?7) WHERE id = ?1",
    )?
    .execute(params![id.as_bytes(), tasks, blocked, running, completed, failed, cancelled])?;
    if (to == State::Failed || from == Some(State::Failed))
        && let Some(mut kept) = find(db, id)?
        && kept.batch.note_failure(task, to == State::Failed)
    {
        write(db, &kept.batch)?;
    }
    if to.is_final() || from.is_some_and(State::is_final) {
        settle(transaction, id, now)?;
    }
    Ok(())
}

/// Notes that a batch has ended, or lives again, and creates what follows it if that is due.
fn settle(transaction: &mut Transaction<'_>, id: BatchId, now: Timestamp) -> Result<(), Failure> {
    let Some(Kept { mut batch, .. }) = find(transaction.db, id)? else { return Ok(()) };
    let ended_at = batch.has_ended().then(|| batch.ended_at.unwrap_or(now));
    if ended_at == batch.ended_at && !batch.is_due() {
        return Ok(());
    }
    batch.ended_at = ended_at;
    if batch.is_due()
        && let Some(follow_up) = follow_up(&batch, now)
    {
        let answer = create::create(transaction, &follow_up)?;
        // Of an id that is another's, which nobody can bring about by chance, nothing is to be had: it is noted as made.
        let task =
            answer.items.first().and_then(|item| item.as_ref().ok()).map_or(batch.then_id(), |one| one.id);
        batch.made = Some(Made { task, at: now });
    }
    write(transaction.db, &batch)
}

fn detail(db: &Connection, id: BatchId) -> Result<BatchDetail, Failure> {
    let moment = db.unchecked_transaction()?;
    let Kept { batch, blocked, queued, running } = find(&moment, id)?.ok_or(StoreError::BatchNotFound(id))?;
    let mut failures = Vec::new();
    for task in &batch.failures {
        let Some(stored) = Stored::by_id(&moment, *task)? else { continue };
        if stored.head.state.state() == State::Failed {
            let task = stored.into_task(&moment)?;
            failures.push(BatchFailure {
                task: task.head.id,
                task_type: task.task_type,
                failed_at: task.updated_at,
                error: task.error,
            });
        }
    }
    Ok(BatchDetail { batch, blocked, queued, running, at_least: false, failures })
}

/// Batches, the newest id first.
fn list(db: &Connection, filter: &BatchFilter, request: &PageRequest) -> Result<Page<Batch>, Failure> {
    let below = match &request.after {
        None => None,
        Some(Cursor(text)) => Some(text.parse::<BatchId>().map_err(|_| StoreError::BadCursor)?),
    };
    let mut items = behind(db, below, filter, request.limit.saturating_add(1))?;
    let more = items.len() > request.limit as usize;
    items.truncate(request.limit as usize);
    let next = items.last().filter(|_| more).map(|last| Cursor(last.id.to_string()));
    Ok(Page { items, next })
}

fn behind(
    db: &Connection,
    below: Option<BatchId>,
    filter: &BatchFilter,
    most: u32,
) -> Result<Vec<Batch>, Failure> {
    let sql = format!(
        "{SELECT} WHERE (?1 IS NULL OR id < ?1) AND (?2 IS NULL OR project = ?2) ORDER BY id DESC LIMIT ?3"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let project = filter.project.as_ref().map(|project| project.as_str());
    let mut rows = statement.query(params![below.as_ref().map(BatchId::as_bytes), project, most])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?.batch);
    }
    Ok(found)
}

/// Removes batches that ended before.
pub(crate) fn sweep(db: &Connection, before: Timestamp) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM batch WHERE ended_at < ?1")?.execute([before.as_millis()])?;
    Ok(())
}

/// Batches behind an id, the oldest id first.
pub(crate) fn behind_id(db: &Connection, after: Option<BatchId>, most: u32) -> Result<Vec<Batch>, Failure> {
    let mut statement =
        db.prepare_cached(&format!("{SELECT} WHERE ?1 IS NULL OR id > ?1 ORDER BY id LIMIT ?2"))?;
    let mut rows = statement.query(params![after.as_ref().map(BatchId::as_bytes), most])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?.batch);
    }
    Ok(found)
}

/// Takes a batch in, with what was counted of it. What its unfinished tasks do, these bring along.
pub(crate) fn import(
    transaction: &mut Transaction<'_>,
    record: &Batch,
) -> Result<Result<Verdict, Refusal>, Failure> {
    let db = transaction.db;
    let standing = find(db, record.id)?.map(|kept| kept.batch);
    let verdict = match batch_onto(record, standing.as_ref()) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if verdict != Verdict::Same {
        write(db, record)?;
        let BatchCounts { tasks, completed, failed, cancelled } = record.counts;
        db.prepare_cached(
            "UPDATE batch SET tasks = ?2, completed = ?3, failed = ?4, cancelled = ?5 WHERE id = ?1",
        )?
        .execute(params![record.id.as_bytes(), tasks, completed, failed, cancelled])?;
    }
    Ok(Ok(verdict))
}

/// Takes note of what a task does that was taken in: its batch's record counts it already.
pub(crate) fn import_task(
    db: &Connection,
    id: BatchId,
    (from, to): (Option<State>, State),
) -> Result<(), Failure> {
    let is = |state: Option<State>, one: State| i64::from(state == Some(one));
    let change = |one: State| is(Some(to), one) - is(from, one);
    db.prepare_cached("UPDATE batch SET blocked = blocked + ?2, running = running + ?3 WHERE id = ?1")?
        .execute(params![id.as_bytes(), change(State::Blocked), change(State::Running)])?;
    Ok(())
}
