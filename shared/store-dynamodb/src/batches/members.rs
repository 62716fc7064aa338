//! The members of batches: the items that say as what each task of a batch counts.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::TransactWriteItem;
use baton_model::{BatchId, State, TaskId, TaskSpec, Timestamp};
use baton_store::{Create, StoreError};

use super::{COUNTS, PARTS, RECORDS, counts_partition, record_key};
use crate::attr::{Fields, Item, key, n, time};
use crate::codes::Code;
use crate::db::Query;
use crate::ends::{ENDS, end_of};
use crate::error::{TransactError, contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::row::Stored;
use crate::store::Inner;
use crate::transact::MOST;
use crate::transition::ROUNDS;

/// What a member says of a task that has not ended.
pub(super) const UNFINISHED: u8 = 0;

pub(super) fn part_of(task: TaskId) -> u64 {
    keys::hash(task.as_bytes()) % PARTS
}

pub(super) fn count_key(id: BatchId, part: u64) -> Item {
    key(&counts_partition(id), &format!("c#{part:x}"))
}

fn members(id: BatchId, part: u64) -> String {
    format!("{RECORDS}#{id}#{part:x}")
}

fn member_key(id: BatchId, task: TaskId) -> Item {
    key(&members(id, part_of(task)), &task.to_string())
}

pub(super) fn member_item(id: BatchId, task: TaskId, state: u8, event: u32, now: Timestamp) -> Item {
    let mut item = member_key(id, task);
    item.insert("st".to_owned(), n(state));
    item.insert("ev".to_owned(), n(event));
    item.insert("at".to_owned(), time(now));
    item
}

/// As what a task counts in a state: by the number of a final one.
pub(super) fn noted(state: State) -> u8 {
    if state.is_final() { state.code() } else { UNFINISHED }
}

/// The attribute that counts the tasks of which members say this.
fn count_of(noted: u8) -> Option<&'static str> {
    COUNTS.iter().find(|(state, _)| self::noted(*state) == noted).map(|(_, name)| *name)
}

impl Inner {
    /// Writes the members of tasks that are about to be created, and counts them; gives those that were not there.
    pub(super) async fn add_members(&self, id: BatchId, create: &Create) -> Result<Vec<TaskId>, StoreError> {
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
    pub(super) async fn drop_members(&self, id: BatchId, tasks: Vec<TaskId>) -> Result<(), StoreError> {
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
    pub(super) async fn count_member(
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

    /// The tasks of a batch that have not ended as far as their members tell, at most so many, from a place on.
    pub(super) async fn unfinished_members(
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
}

pub(super) fn task_of(item: &Item) -> Result<TaskId, StoreError> {
    let text = Fields(item).text("sk")?;
    text.parse().map_err(|_| damaged(format!("expected the id of a task of a batch, got {text}")))
}
