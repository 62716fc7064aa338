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

pub(crate) mod members;
mod told;

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::TransactWriteItem;
use baton_model::{Batch, BatchCounts, BatchId, Made, NewBatch, State, TaskId, Timestamp};
use baton_store::{
    AddToBatch, BatchDetail, BatchFilter, BatchStore, Create, CreateAnswer, ErrorKind, Page, PageRequest,
    SealBatch, StoreError, TendBatches, TendedBatches, follow_up,
};
use futures::future::BoxFuture;

use self::members::count_key;
use crate::DynamoStore;
use crate::attr::{Fields, Item, json, key, n, s};
use crate::create::{Batch as Origin, fits_together};
use crate::db::Query;
use crate::ends::{ENDS, end_of};
use crate::error::{WriteError, contended, damaged};
use crate::expression::Expression;
use crate::store::Inner;
use crate::transition::ROUNDS;

/// The partition of the records, and that of the index where those lie that have not ended.
pub(crate) const RECORDS: &str = "BT";

/// The attribute of a task with the batch that it is one of.
pub(crate) const BATCH: &str = "bi";

/// Over how many items the counts of a batch are spread, and its members over as many partitions. A transaction that counts holds one
/// of them for about 10 ms.
const PARTS: u64 = 8;

/// The attributes that count the tasks of a final state.
const COUNTS: [(State, &str); 3] =
    [(State::Completed, "c3"), (State::Failed, "c4"), (State::Cancelled, "c5")];

fn record_key(id: BatchId) -> Item {
    key(RECORDS, &id.to_string())
}

fn counts_partition(id: BatchId) -> String {
    format!("{RECORDS}#{id}")
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
        // Before anything is written: what is taken away again is paid for twice.
        if create.atomic {
            fits_together(create, false)?;
        }
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
                self.drop_if_undone(id, added, &error).await;
                if is_new && error.kind() != ErrorKind::Unknown {
                    self.forget_new(id).await?;
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

    /// The write by which a batch's record notes that a task has failed, or lives again, and the version of the record that it goes by;
    /// none if that changes nothing.
    async fn failure_write(
        &self,
        id: BatchId,
        (task, failed): (TaskId, bool),
    ) -> Result<Option<(TransactWriteItem, u64)>, StoreError> {
        let Some(Record { mut batch, version }) = self.batch_record(id).await? else { return Ok(None) };
        if !batch.note_failure(task, failed) {
            return Ok(None);
        }
        let write = self.db.update_write(record_key(id), &self.record_update(&batch, version)?)?;
        Ok(Some((write, version)))
    }

    /// The update of a record that stands at a version.
    fn record_update(&self, batch: &Batch, version: u64) -> Result<Expression, StoreError> {
        let is_open = batch.ended_at.is_none();
        let ends = batch.ended_at.zip(self.keeping.finished()).map(|(at, keep)| end_of(at, keep));
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
        self.note_sealed(id, now).await?;
        self.settle_batch(id, now).await?;
        let record = self.batch_record(id).await?.ok_or(StoreError::BatchNotFound(id))?;
        self.with_counts(record.batch).await
    }

    async fn note_sealed(&self, id: BatchId, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..ROUNDS {
            let record = self.batch_record(id).await?.ok_or(StoreError::BatchNotFound(id))?;
            let Record { mut batch, version } = record;
            if batch.sealed_at.is_some() {
                return Ok(());
            }
            batch.sealed_at = Some(now);
            match self.db.update(record_key(id), &self.record_update(&batch, version)?).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Err(contended("the batch"))
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
        let ends = batch.ended_at.zip(self.keeping.finished()).map(|(at, keep)| end_of(at, keep));
        let dated = Expression::new().when_present("pk").put(ENDS, ends.map(n));
        self.write_each((0..PARTS).map(|part| count_key(batch.id, part)).collect(), &dated).await
    }
}

/// That something was done before this failed.
fn unknown(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(cause) => StoreError::Unknown(cause),
        other => other,
    }
}
