//! Batches. `docs/decisions/0032-batches.md` has why they are kept so, and what it costs.
//!
//! A batch's record tells what it is and how many tasks it has. Each of its tasks has an item of its own there, its *member*, which is
//! written before the task and says as what the task counts. Whoever ends a task, or puts it back, notes that with the member and
//! counts it in the same transaction, on the condition that the member is not of a later event: so each task counts once, whoever
//! tells of it and however often. The counts lie in several items, by the tasks, so that many who end tasks at once do not wait for
//! each other. None of it is part of a task's own write: a process that dies between the two leaves a task uncounted, which
//! [`Inner::tend_batches`] makes good.
//!
//! That which follows a batch is created in one transaction with the note that it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::TransactWriteItem;
use baton_model::{Batch, BatchCounts, BatchId, Made, NewBatch, State, TaskId, TaskSpec, Timestamp};
use baton_store::transfer::{ImportError, Verdict, batch_onto};
use baton_store::{
    AddToBatch, BatchDetail, BatchFailure, BatchFilter, BatchStore, Create, CreateAnswer, Cursor, ErrorKind,
    Page, PageRequest, SealBatch, StoreError, TendBatches, TendedBatches, follow_up,
};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};

use crate::DynamoStore;
use crate::attr::{Fields, Item, json, key, n, s, time};
use crate::codes::Code;
use crate::create::Batch as Origin;
use crate::db::{Query, Range};
use crate::ends::{ENDS, end_of};
use crate::error::{TransactError, WriteError, contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::row::Stored;
use crate::store::Inner;
use crate::transact::MOST;
use crate::transition::ROUNDS;

/// The partition of the records, and that of the index where those lie that have not ended.
const RECORDS: &str = "BT";

/// The attribute of a task with the batch that it is one of.
pub(crate) const BATCH: &str = "bi";

/// Over how many items the counts of a batch are spread, and its members over as many partitions. A transaction that counts holds one
/// of them for about 10 ms.
const PARTS: u64 = 8;

/// What a member says of a task that has not ended.
const UNFINISHED: u8 = 0;

/// The attributes that count the tasks of a final state.
const COUNTS: [(State, &str); 3] =
    [(State::Completed, "c3"), (State::Failed, "c4"), (State::Cancelled, "c5")];

/// How many unfinished tasks of a batch are looked at to tell what they do.
const LOOKED_AT: usize = 1_000;

/// How many batches are looked at together.
const AT_ONCE: usize = 8;

/// How long it takes at most from writing a member to creating its task.
const CREATED_WITHIN: Duration = Duration::from_secs(3_600);

fn record_key(id: BatchId) -> Item {
    key(RECORDS, &id.to_string())
}

fn counts_partition(id: BatchId) -> String {
    format!("{RECORDS}#{id}")
}

fn part_of(task: TaskId) -> u64 {
    keys::hash(task.as_bytes()) % PARTS
}

fn count_key(id: BatchId, part: u64) -> Item {
    key(&counts_partition(id), &format!("c#{part:x}"))
}

fn members(id: BatchId, part: u64) -> String {
    format!("{RECORDS}#{id}#{part:x}")
}

fn member_key(id: BatchId, task: TaskId) -> Item {
    key(&members(id, part_of(task)), &task.to_string())
}

fn member_item(id: BatchId, task: TaskId, state: u8, event: u32, now: Timestamp) -> Item {
    let mut item = member_key(id, task);
    item.insert("st".to_owned(), n(state));
    item.insert("ev".to_owned(), n(event));
    item.insert("at".to_owned(), time(now));
    item
}

/// As what a task counts in a state: by the number of a final one.
fn noted(state: State) -> u8 {
    if state.is_final() { u8::try_from(state.code()).unwrap_or(UNFINISHED) } else { UNFINISHED }
}

/// The attribute that counts the tasks of which members say this.
fn count_of(noted: u8) -> Option<&'static str> {
    COUNTS.iter().find(|(state, _)| self::noted(*state) == noted).map(|(_, name)| *name)
}

/// A record as it was read: with its version, and without what is counted beside it.
struct Record {
    batch: Batch,
    version: u64,
}

fn read(item: &Item) -> Result<Record, StoreError> {
    let fields = Fields(item);
    let mut batch: Batch =
        fields.maybe_json("tx")?.ok_or_else(|| damaged("expected the record of a batch"))?;
    batch.counts = BatchCounts { tasks: fields.maybe_number("tk")?.unwrap_or(0), ..BatchCounts::default() };
    Ok(Record { batch, version: fields.number("vn")? })
}

fn text_of(batch: &Batch) -> Result<String, StoreError> {
    json("a batch", &Batch { counts: BatchCounts::default(), ..batch.clone() })
}

#[async_trait]
impl BatchStore for DynamoStore {
    async fn add_to_batch(&self, add: AddToBatch) -> Result<CreateAnswer, StoreError> {
        self.inner.add_to_batch(&add).await
    }

    async fn seal_batch(&self, seal: SealBatch) -> Result<Batch, StoreError> {
        self.inner.seal_batch(seal.batch, seal.now).await
    }

    async fn batch(&self, id: BatchId) -> Result<BatchDetail, StoreError> {
        self.inner.batch_detail(id).await
    }

    async fn batches(&self, filter: BatchFilter, page: PageRequest) -> Result<Page<Batch>, StoreError> {
        self.inner.batches(&filter, &page).await
    }

    async fn tend_batches(&self, tend: TendBatches) -> Result<TendedBatches, StoreError> {
        self.inner.tend_batches(&tend).await
    }
}

impl Inner {
    async fn batch_record(&self, id: BatchId) -> Result<Option<Record>, StoreError> {
        self.db.get(record_key(id)).await?.as_ref().map(read).transpose()
    }

    /// The batch of a record with what is counted of it.
    async fn with_counts(&self, mut batch: Batch) -> Result<Batch, StoreError> {
        for item in self.db.query_whole(Query::table(counts_partition(batch.id))).await?.items {
            for (state, name) in COUNTS {
                let number = Fields(&item).maybe_number::<i64>(name)?.unwrap_or(0);
                if let Some(sum) = batch.counts.of_mut(state) {
                    *sum = sum.saturating_add_signed(number);
                }
            }
        }
        Ok(batch)
    }

    async fn add_to_batch(&self, add: &AddToBatch) -> Result<CreateAnswer, StoreError> {
        let AddToBatch { batch: asked, seal, create } = add;
        let kept = match &create.idempotency {
            Some(idempotency) => self.kept_answer(idempotency, create.now).await?,
            None => None,
        };
        let answer = match kept {
            Some(answer) => answer,
            None => self.create_in_batch(asked, create).await?,
        };
        if *seal {
            match self.seal_batch(asked.id, create.now).await {
                // An answer may be kept for longer than its batch.
                Ok(_) | Err(StoreError::BatchNotFound(_)) => {}
                Err(error) => return Err(unknown(error)),
            }
        }
        Ok(answer)
    }

    async fn create_in_batch(&self, asked: &NewBatch, create: &Create) -> Result<CreateAnswer, StoreError> {
        let id = asked.id;
        let is_new = self.make_known(asked, create).await?;
        let added = match self.add_members(id, create).await {
            Ok(added) => added,
            Err(error) => {
                if is_new {
                    self.forget_new(id).await?;
                }
                return Err(error);
            }
        };
        let answer = match self.create(create).await {
            Ok(answer) => answer,
            Err(error) => {
                // What is not known, or may be sent again, may have been done: whoever tends batches finds out.
                if !matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Unavailable) {
                    self.drop_members(id, added).await?;
                    if is_new {
                        self.forget_new(id).await?;
                    }
                }
                return Err(error);
            }
        };
        let taken: BTreeMap<TaskId, bool> = answer
            .items
            .iter()
            .flatten()
            .filter(|one| one.deduplicated.is_none())
            .map(|one| (one.id, one.new))
            .collect();
        let (stay, go): (Vec<TaskId>, Vec<TaskId>) =
            added.into_iter().partition(|task| taken.contains_key(task));
        self.drop_members(id, go).await.map_err(unknown)?;
        // One that was there before may have ended before it had its member; so may one that waits for what has ended.
        let waits = |task: &TaskId| {
            taken.get(task) == Some(&false)
                || create.tasks.iter().any(|spec| spec.id == *task && !spec.depends_on.is_empty())
        };
        for task in stay.into_iter().filter(waits) {
            if let Some(stored) = self.find(task).await.map_err(unknown)? {
                self.note_in_batch(&stored, State::Queued, create.now).await;
            }
        }
        Ok(answer)
    }

    /// Makes a batch's record if there is none; says whether it did.
    async fn make_known(&self, asked: &NewBatch, create: &Create) -> Result<bool, StoreError> {
        let batch = Batch::new(asked.clone(), create.now, create.by.clone());
        let mut item = record_key(asked.id);
        let mut put = |name: &str, value| item.insert(name.to_owned(), value);
        put("tx", s(text_of(&batch)?));
        put("vn", n(1));
        put("pj", s(batch.project.as_str()));
        put("ip", s(RECORDS));
        put("is", s(asked.id.to_string()));
        match self.db.put(item, Expression::new().when_absent("pk")).await {
            Ok(()) => Ok(true),
            Err(WriteError::Condition(Some(standing))) => {
                let standing = read(&standing)?.batch;
                if standing.fits(asked) { Ok(false) } else { Err(StoreError::BatchExists(asked.id)) }
            }
            Err(WriteError::Condition(None)) => Err(contended("the batch")),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Removes the record of a batch that has come to nothing.
    async fn forget_new(&self, id: BatchId) -> Result<(), StoreError> {
        let unused = Expression::new().when_absent_or("tk", "=", n(0)).when("vn", "=", n(1));
        match self.db.delete(record_key(id), &unused).await {
            Ok(()) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    /// Writes the members of tasks that are about to be created, and counts them; gives those that were not there.
    async fn add_members(&self, id: BatchId, create: &Create) -> Result<Vec<TaskId>, StoreError> {
        let wanted: BTreeSet<TaskId> = create.tasks.iter().map(|spec: &TaskSpec| spec.id).collect();
        let mut added = Vec::new();
        for _ in 0..ROUNDS {
            let keys = wanted.iter().map(|task| member_key(id, *task)).collect();
            let standing: BTreeSet<TaskId> =
                self.db.get_all(keys).await?.iter().map(task_of).collect::<Result<_, _>>()?;
            let missing: Vec<TaskId> =
                wanted.iter().copied().filter(|task| !standing.contains(task)).collect();
            if missing.is_empty() {
                return Ok(added);
            }
            for part in missing.chunks(MOST - 1) {
                let more = Expression::new().when_present("tx").when_absent("sl").add("tk", n(part.len()));
                let mut writes = vec![self.db.update_write(record_key(id), &more)?];
                for task in part {
                    let item = member_item(id, *task, UNFINISHED, 0, create.now);
                    writes.push(self.db.put_write(item, &Expression::new().when_absent("pk"))?);
                }
                let name = format!("members#{id}#{}#{}", part[0], self.db.draw());
                match self.db.transact(writes, &name).await {
                    Ok(()) => added.extend_from_slice(part),
                    Err(TransactError::Failed(error)) => return Err(error),
                    Err(TransactError::Conditions(reasons))
                        if reasons.first().is_some_and(|(failed, _)| *failed) =>
                    {
                        // Sealed meanwhile, or before.
                        self.drop_members(id, added).await?;
                        return Err(StoreError::BatchSealed(id));
                    }
                    // Another sending of the same has written some: look again.
                    Err(TransactError::Conditions(_)) => break,
                }
            }
        }
        Err(contended("the members of the batch"))
    }

    /// Removes members whose tasks have not come to be.
    async fn drop_members(&self, id: BatchId, tasks: Vec<TaskId>) -> Result<(), StoreError> {
        for task in tasks {
            let same = Expression::new().when("st", "=", n(UNFINISHED)).when("ev", "=", n(0));
            let fewer = Expression::new().when_present("tx").add("tk", n(-1));
            let writes: Vec<TransactWriteItem> = vec![
                self.db.delete_write(member_key(id, task), &same)?,
                self.db.update_write(record_key(id), &fewer)?,
            ];
            match self.db.transact(writes, &format!("drop#{id}#{task}#{}", self.db.draw())).await {
                Ok(()) | Err(TransactError::Conditions(_)) => {}
                Err(TransactError::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Counts a task of a batch by its state, that has come from another one. It is a hint: what fails of it, whoever tends batches
    /// makes good.
    pub(crate) async fn note_in_batch(&self, task: &Stored, from: State, now: Timestamp) {
        let Some(id) = task.rest.as_ref().and_then(|rest| rest.batch) else { return };
        let done = async {
            if self.count_member(id, (noted(from), task), now).await? {
                self.settle_batch(id, now).await?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = done.await {
            tracing::warn!(
                task_id = %task.head.id,
                batch = %id,
                error = error.report(),
                "a task of a batch will be counted by the reaper"
            );
        }
    }

    /// Counts a task by its state, unless a later event of it was counted; says whether the batch is to be looked at. As what it
    /// counts is most likely known: its member tells if that is not so.
    async fn count_member(
        &self,
        id: BatchId,
        (mut from, task): (u8, &Stored),
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (state, event) = (task.head.state.state(), task.head.events);
        let to = noted(state);
        for _ in 0..ROUNDS {
            if from == to {
                return Ok(false);
            }
            let ends = self.options.keep_finished.filter(|_| state.is_final()).map(|keep| end_of(now, keep));
            let member = Expression::new()
                .when("st", "=", n(from))
                .when("ev", "<", n(event))
                .set("st", n(to))
                .set("ev", n(event))
                .put(ENDS, ends.map(n));
            let mut count = Expression::new();
            if let Some(name) = count_of(from) {
                count = count.add(name, n(-1));
            }
            if let Some(name) = count_of(to) {
                count = count.add(name, n(1));
            }
            let writes = vec![
                self.db.update_write(member_key(id, task.head.id), &member)?,
                self.db.update_write(count_key(id, part_of(task.head.id)), &count)?,
            ];
            match self.db.transact(writes, &format!("count#{id}#{}#{event}#{from}", task.head.id)).await {
                Ok(()) => {
                    if [from, to].contains(&noted(State::Failed)) {
                        let failed = state == State::Failed;
                        self.change_record(id, |batch| batch.note_failure(task.head.id, failed)).await?;
                    }
                    return Ok(true);
                }
                Err(TransactError::Failed(error)) => return Err(error),
                Err(TransactError::Conditions(reasons)) => {
                    // One that is gone was counted long ago.
                    let Some((_, Some(standing))) = reasons.into_iter().next() else { return Ok(false) };
                    let fields = Fields(&standing);
                    if fields.number::<u32>("ev")? >= event {
                        // It was counted before, perhaps by a process that died before it looked at the batch.
                        return Ok(true);
                    }
                    from = fields.number("st")?;
                }
            }
        }
        Err(contended("a member of the batch"))
    }

    /// Changes a batch's record, if there is one and something is to be changed.
    async fn change_record(
        &self,
        id: BatchId,
        change: impl Fn(&mut Batch) -> bool + Send,
    ) -> Result<Option<Batch>, StoreError> {
        for _ in 0..ROUNDS {
            let Some(Record { mut batch, version }) = self.batch_record(id).await? else { return Ok(None) };
            if !change(&mut batch) {
                return Ok(Some(batch));
            }
            match self.db.update(record_key(id), &self.record_update(&batch, version)?).await {
                Ok(_) => return Ok(Some(batch)),
                Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Err(contended("the batch"))
    }

    /// The update of a record that stands at a version.
    fn record_update(&self, batch: &Batch, version: u64) -> Result<Expression, StoreError> {
        let is_open = batch.ended_at.is_none();
        let ends = batch.ended_at.zip(self.options.keep_finished).map(|(at, keep)| end_of(at, keep));
        Ok(Expression::new()
            .when("vn", "=", n(version))
            .set("vn", n(version + 1))
            .set("tx", s(text_of(batch)?))
            .put("sl", batch.sealed_at.map(|_| n(1)))
            .put("ip", is_open.then(|| s(RECORDS)))
            .put("is", is_open.then(|| s(batch.id.to_string())))
            .put(ENDS, ends.map(n)))
    }

    async fn seal_batch(&self, id: BatchId, now: Timestamp) -> Result<Batch, StoreError> {
        let seal = |batch: &mut Batch| {
            let is_open = batch.sealed_at.is_none();
            batch.sealed_at = batch.sealed_at.or(Some(now));
            is_open
        };
        self.change_record(id, seal).await?.ok_or(StoreError::BatchNotFound(id))?;
        self.settle_batch(id, now).await?;
        let record = self.batch_record(id).await?.ok_or(StoreError::BatchNotFound(id))?;
        self.with_counts(record.batch).await
    }

    /// Notes that a batch has ended, or lives again, and creates what follows it if that is due; says whether it did.
    ///
    /// Boxed, as what is created may end by what it depends on.
    fn settle_batch(&self, id: BatchId, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.settle_now(id, now))
    }

    async fn settle_now(&self, id: BatchId, now: Timestamp) -> Result<bool, StoreError> {
        for _ in 0..ROUNDS {
            let Some(Record { batch, version }) = self.batch_record(id).await? else { return Ok(false) };
            let mut batch = self.with_counts(batch).await?;
            let ended_at = batch.has_ended().then(|| batch.ended_at.unwrap_or(now));
            let follow_up = follow_up(&batch, now).filter(|_| batch.is_due());
            if ended_at == batch.ended_at && follow_up.is_none() {
                return Ok(false);
            }
            let ends_changed = ended_at != batch.ended_at;
            batch.ended_at = ended_at;
            let is_written = match follow_up {
                None => match self.db.update(record_key(id), &self.record_update(&batch, version)?).await {
                    Ok(_) => true,
                    Err(WriteError::Condition(_)) => false,
                    Err(WriteError::Failed(error)) => return Err(error),
                },
                Some(create) => {
                    batch.made = Some(Made { task: batch.then_id(), at: now });
                    let update = self.record_update(&batch, version)?;
                    let along = self.db.update_write(record_key(id), &update)?;
                    self.create_along(&create, Origin::default(), Some(along)).await?.is_ok()
                }
            };
            if is_written {
                if ends_changed {
                    self.date_counts(&batch).await?;
                }
                return Ok(batch.made.is_some_and(|made| made.at == now));
            }
        }
        Err(contended("the batch"))
    }

    /// Has the counts of a batch go with its record, or stay.
    async fn date_counts(&self, batch: &Batch) -> Result<(), StoreError> {
        let ends = batch.ended_at.zip(self.options.keep_finished).map(|(at, keep)| end_of(at, keep));
        let dated = Expression::new().when_present("pk").put(ENDS, ends.map(n));
        self.write_each((0..PARTS).map(|part| count_key(batch.id, part)).collect(), &dated).await
    }

    /// The tasks of a batch that have not ended as far as their members tell, at most so many, from a place on.
    async fn unfinished_members(
        &self,
        id: BatchId,
        (part, after): (u64, Option<&str>),
        most: usize,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let partition = members(id, part);
        let query = Query {
            filter: Some(Expression::new().when("st", "=", n(UNFINISHED))),
            limit: Some(i32::try_from(most).unwrap_or(i32::MAX)),
            start: after.map(|after| key(&partition, after)),
            consistent: false,
            ..Query::table(&partition)
        };
        let found = self.db.query(&query).await?;
        Ok((found.items, found.next))
    }

    async fn batch_detail(&self, id: BatchId) -> Result<BatchDetail, StoreError> {
        let record = self.batch_record(id).await?.ok_or(StoreError::BatchNotFound(id))?;
        let batch = self.with_counts(record.batch).await?;
        let mut detail =
            BatchDetail { batch, blocked: 0, queued: 0, running: 0, at_least: false, failures: Vec::new() };
        let mut open = BTreeSet::new();
        if detail.batch.counts.unfinished() > 0 {
            for part in 0..PARTS {
                let mut after: Option<String> = None;
                loop {
                    let from = (part, after.as_deref());
                    let (items, next) = self.unfinished_members(id, from, LOOKED_AT).await?;
                    for item in &items {
                        open.insert(task_of(item)?);
                    }
                    after =
                        next.as_ref().map(|next| Fields(next).text("sk").map(str::to_owned)).transpose()?;
                    if after.is_none() || open.len() >= LOOKED_AT {
                        detail.at_least |= after.is_some();
                        break;
                    }
                }
            }
        }
        detail.at_least |= open.len() > LOOKED_AT;
        let wanted: BTreeSet<TaskId> = open.into_iter().take(LOOKED_AT).collect();
        for task in self.tasks_by_id(wanted).await?.values() {
            match task.head.state.state() {
                State::Blocked => detail.blocked += 1,
                State::Queued => detail.queued += 1,
                State::Running => detail.running += 1,
                State::Completed | State::Failed | State::Cancelled => {}
            }
        }
        let failed = self.tasks_by_id(detail.batch.failures.iter().copied().collect()).await?;
        for id in &detail.batch.failures {
            let Some(stored) = failed.get(id).filter(|one| one.head.state.state() == State::Failed) else {
                continue;
            };
            let Some(task) = self.db.task_of(stored.clone()).await? else { continue };
            detail.failures.push(BatchFailure {
                task: *id,
                task_type: task.task_type,
                failed_at: task.updated_at,
                error: task.error,
            });
        }
        Ok(detail)
    }

    /// Batches, the newest id first.
    pub(crate) async fn batches(
        &self,
        filter: &BatchFilter,
        request: &PageRequest,
    ) -> Result<Page<Batch>, StoreError> {
        let range = match &request.after {
            None => Range::All,
            Some(Cursor(text)) => {
                Range::Below(text.parse::<BatchId>().map_err(|_| StoreError::BadCursor)?.to_string())
            }
        };
        let query = Query {
            range,
            forward: false,
            limit: Some(i32::try_from(request.limit).unwrap_or(i32::MAX)),
            filter: filter
                .project
                .as_ref()
                .map(|project| Expression::new().when("pj", "=", s(project.as_str()))),
            ..Query::table(RECORDS)
        };
        let found = self.db.query(&query).await?;
        let mut counts = Vec::with_capacity(found.items.len());
        for record in found.items.iter().filter_map(|item| self.db.read_one(item, read)) {
            counts.push(self.with_counts(record.batch));
        }
        let items = futures::stream::iter(counts).buffered(AT_ONCE).try_collect().await?;
        let next = found
            .next
            .as_ref()
            .map(|next| Fields(next).text("sk").map(|id| Cursor(id.to_owned())))
            .transpose()?;
        Ok(Page { items, next })
    }

    /// Looks at the members of one batch that has not ended, or at a part of them, and has count what has ended meanwhile.
    async fn tend_batches(&self, tend: &TendBatches) -> Result<TendedBatches, StoreError> {
        let place = tend.after.as_ref().map(|cursor| Place::read(&cursor.0)).transpose()?;
        let place = match place {
            Some(place) => place,
            None => match self.open_batch(None).await? {
                Some(id) => Place { id, part: 0, after: None },
                None => return Ok(TendedBatches::default()),
            },
        };
        let from = (place.part, place.after.as_deref());
        let (items, next) = self.unfinished_members(place.id, from, tend.limit as usize).await?;
        let mut report = TendedBatches::default();
        let mut added = BTreeMap::new();
        for item in &items {
            added.insert(task_of(item)?, Fields(item).time("at")?);
        }
        let found = self.tasks_by_id(added.keys().copied().collect()).await?;
        for (task, at) in added {
            match found.get(&task) {
                Some(stored) if stored.is_final() => {
                    report.counted +=
                        u64::from(self.count_member(place.id, (UNFINISHED, stored), tend.now).await?);
                }
                Some(_) => {}
                None if tend.now.since(at) > CREATED_WITHIN => {
                    self.drop_members(place.id, vec![task]).await?
                }
                None => {}
            }
        }
        let after = next.as_ref().map(|next| Fields(next).text("sk").map(str::to_owned)).transpose()?;
        let next = match after {
            Some(after) => Some(Place { after: Some(after), ..place }),
            None if place.part + 1 < PARTS => Some(Place { part: place.part + 1, after: None, ..place }),
            None => {
                report.made += u64::from(self.settle_batch(place.id, tend.now).await?);
                self.open_batch(Some(place.id)).await?.map(|id| Place { id, part: 0, after: None })
            }
        };
        report.next = next.map(|place| Cursor(place.to_string()));
        Ok(report)
    }

    /// The first batch behind another that has not ended.
    async fn open_batch(&self, after: Option<BatchId>) -> Result<Option<BatchId>, StoreError> {
        let range = after.map_or(Range::All, |id| Range::AtLeast(format!("{id}~")));
        let found = self.db.query(&Query { range, limit: Some(1), ..Query::index(RECORDS) }).await?;
        found.items.first().map(batch_of).transpose()
    }

    /// Batches behind an id, the oldest id first.
    pub(crate) async fn batches_behind(&self, after: &str, most: usize) -> Result<Vec<Batch>, StoreError> {
        let range = if after.is_empty() { Range::All } else { Range::AtLeast(format!("{after}~")) };
        let limit = Some(i32::try_from(most).unwrap_or(i32::MAX));
        let found = self.db.query(&Query { range, limit, ..Query::table(RECORDS) }).await?;
        let mut batches = Vec::with_capacity(found.items.len());
        for item in &found.items {
            batches.push(self.with_counts(read(item)?.batch).await?);
        }
        Ok(batches)
    }

    /// Takes in a batch that another store has read out. Its tasks bring their members along.
    pub(crate) async fn import_batch(&self, record: &Batch) -> Result<Verdict, ImportError> {
        let standing = match self.batch_record(record.id).await? {
            Some(standing) => Some(self.with_counts(standing.batch).await?),
            None => None,
        };
        let verdict = batch_onto(record, standing.as_ref())?;
        if verdict == Verdict::Same {
            return Ok(verdict);
        }
        let mut item = record_key(record.id);
        let mut put = |name: &str, value| item.insert(name.to_owned(), value);
        put("tx", s(text_of(record)?));
        put("vn", n(1));
        put("tk", n(record.counts.tasks));
        put("pj", s(record.project.as_str()));
        if record.sealed_at.is_some() {
            put("sl", n(1));
        }
        match record.ended_at.zip(self.options.keep_finished) {
            Some((at, keep)) => drop(put(ENDS, n(end_of(at, keep)))),
            None => {
                put("ip", s(RECORDS));
                put("is", s(record.id.to_string()));
            }
        }
        self.db.put_all(vec![item]).await?;
        let mut counts = Vec::new();
        for part in 0..PARTS {
            let mut item = count_key(record.id, part);
            let mut own = record.counts;
            for (state, name) in COUNTS {
                let number = own.of_mut(state).map_or(0, |number| *number);
                item.insert(name.to_owned(), n(if part == 0 { number } else { 0 }));
            }
            counts.push(item);
        }
        self.db.put_all(counts).await?;
        Ok(verdict)
    }

    /// Writes the member of a task that was taken in; the record of its batch counts it already.
    pub(crate) async fn import_member(&self, task: &baton_model::Task) -> Result<(), StoreError> {
        let Some(id) = task.batch else { return Ok(()) };
        let state = noted(task.head.state.state());
        let item = member_item(id, task.head.id, state, task.head.events, task.created_at);
        self.db.put_all(vec![item]).await
    }
}

/// That something was done before this failed.
fn unknown(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(cause) => StoreError::Unknown(cause),
        other => other,
    }
}

fn task_of(item: &Item) -> Result<TaskId, StoreError> {
    let text = Fields(item).text("sk")?;
    text.parse().map_err(|_| damaged(format!("expected the id of a task of a batch, got {text}")))
}

fn batch_of(item: &Item) -> Result<BatchId, StoreError> {
    let text = Fields(item).text("sk")?;
    text.parse().map_err(|_| damaged(format!("expected a batch's id, got {text}")))
}

/// How far the members of batches are looked through.
struct Place {
    id: BatchId,
    part: u64,
    after: Option<String>,
}

impl Place {
    fn read(text: &str) -> Result<Self, StoreError> {
        let mut parts = text.splitn(3, ' ');
        let (Some(id), Some(part), after) = (parts.next(), parts.next(), parts.next()) else {
            return Err(StoreError::BadCursor);
        };
        let id = id.parse().map_err(|_| StoreError::BadCursor)?;
        let part = part.parse().ok().filter(|part| *part < PARTS).ok_or(StoreError::BadCursor)?;
        Ok(Self { id, part, after: after.filter(|after| !after.is_empty()).map(str::to_owned) })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.id, self.part, self.after.as_deref().unwrap_or_default())
    }
}
