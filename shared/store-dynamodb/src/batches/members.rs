//! The members of batches: the items that say as what each task of a batch counts.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::TransactWriteItem;
use baton_model::{BatchId, State, TaskId, TaskSpec, Timestamp};
use baton_store::{Create, ErrorKind, StoreError};

use super::{COUNTS, PARTS, RECORDS, counts_partition, record_key};
use crate::attr::{Fields, Item, key, n, time};
use crate::codes::Code;
use crate::db::Query;
use crate::ends::ENDS;
use crate::error::{TransactError, WriteError, contended, damaged};
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

pub(crate) fn member_key(id: BatchId, task: TaskId) -> Item {
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
                    Err(TransactError::Failed(error)) => {
                        self.drop_if_undone(id, added, &error).await;
                        return Err(error);
                    }
                    Err(TransactError::Conditions(reasons))
                        if reasons.first().is_some_and(|(failed, _)| *failed) =>
                    {
                        self.drop_members(id, added).await?;
                        return Err(match reasons.into_iter().next() {
                            // Sealed meanwhile, or before.
                            Some((_, Some(_))) => StoreError::BatchSealed(id),
                            // Whoever made it has had its own request refused, and taken it away again.
                            _ => contended("the batch"),
                        });
                    }
                    // Another sending of the same has written some: look again.
                    Err(TransactError::Conditions(_)) => break,
                }
            }
        }
        Err(contended("the members of the batch"))
    }

    /// Removes members whose tasks have not come to be: many together, and one by one if something has become of one of them.
    pub(super) async fn drop_members(&self, id: BatchId, tasks: Vec<TaskId>) -> Result<(), StoreError> {
        for some in tasks.chunks(MOST - 1) {
            if !self.drop_together(id, some).await? && some.len() > 1 {
                for task in some {
                    self.drop_together(id, std::slice::from_ref(task)).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes members in one transaction; says whether it did.
    async fn drop_together(&self, id: BatchId, tasks: &[TaskId]) -> Result<bool, StoreError> {
        let Some(first) = tasks.first() else { return Ok(true) };
        let same = Expression::new().when("st", "=", n(UNFINISHED)).when("ev", "=", n(0));
        let gone = i64::try_from(tasks.len()).unwrap_or(i64::MAX);
        let fewer = Expression::new().when_present("tx").add("tk", n(-gone));
        let mut writes: Vec<TransactWriteItem> = vec![self.db.update_write(record_key(id), &fewer)?];
        for task in tasks {
            writes.push(self.db.delete_write(member_key(id, *task), &same)?);
        }
        match self.db.transact(writes, &format!("drop#{id}#{first}#{}", self.db.draw())).await {
            Ok(()) => Ok(true),
            Err(TransactError::Conditions(_)) => Ok(false),
            Err(TransactError::Failed(error)) => Err(error),
        }
    }

    /// Removes members of a request that has failed for certain, so that whoever sends it again is not counted twice. Of one whose fate
    /// is not known they stay, and whoever tends batches finds out. So they do if they cannot be removed now.
    pub(super) async fn drop_if_undone(&self, id: BatchId, added: Vec<TaskId>, failed: &StoreError) {
        if added.is_empty() || failed.kind() == ErrorKind::Unknown {
            return;
        }
        if let Err(error) = self.drop_members(id, added).await {
            tracing::warn!(
                batch = %id,
                error = error.report(),
                "tasks that were not created will be taken off their batch by the reaper"
            );
        }
    }

    /// Counts a task of a batch by its state, that has come from another one. It is a hint: what fails of it, whoever tends batches
    /// makes good.
    pub(crate) async fn note_in_batch(&self, task: &Stored, from: State, now: Timestamp) {
        let Some(id) = task.rest.as_ref().and_then(|rest| rest.batch) else { return };
        let done = async {
            if self.count_member(id, (noted(from), task)).await? {
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
    /// counts is most likely known: its member tells if that is not so. A member that already says the same is told the later event all
    /// the same: else one of before, told late, would count. Of a task that lives again, one that is gone is made anew: it went by the end that
    /// its task had first, and that was kept for longer, as for others that depend on it.
    pub(super) async fn count_member(
        &self,
        id: BatchId,
        (mut from, task): (u8, &Stored),
    ) -> Result<bool, StoreError> {
        let (state, event) = (task.head.state.state(), task.head.events);
        let to = noted(state);
        let (mut is_read, mut is_gone) = (false, false);
        for _ in 0..ROUNDS {
            if from == to && !is_read {
                return Ok(false);
            }
            // It goes with its task, in the very second: one that is sent again, or put back, while that is there finds it.
            let same = match is_gone {
                true => Expression::new().when_absent("pk").set("at", time(task.created_at)),
                false => Expression::new().when("st", "=", n(from)).when("ev", "<", n(event)),
            };
            let member = same.set("st", n(to)).set("ev", n(event)).put(ENDS, task.ends.map(n));
            if from == to {
                match self.db.update(member_key(id, task.head.id), &member).await {
                    Ok(_) => return Ok(false),
                    Err(WriteError::Failed(error)) => return Err(error),
                    Err(WriteError::Condition(standing)) => {
                        let Some(standing) = standing else { return Ok(false) };
                        if Fields(&standing).number::<u32>("ev")? >= event {
                            return Ok(true);
                        }
                        from = Fields(&standing).number("st")?;
                        continue;
                    }
                }
            }
            let mut count = Expression::new();
            if let Some(name) = count_of(from) {
                count = count.add(name, n(-1));
            }
            if let Some(name) = count_of(to) {
                count = count.add(name, n(1));
            }
            let mut writes = vec![
                self.db.update_write(member_key(id, task.head.id), &member)?,
                self.db.update_write(count_key(id, part_of(task.head.id)), &count)?,
            ];
            // Another condition is another transaction, though it counts the same.
            let how = if is_gone { "anew" } else { "" };
            let mut name = format!("count#{id}#{}#{event}#{from}{how}", task.head.id);
            if [from, to].contains(&noted(State::Failed)) {
                // Together, so that what is told of the failures fits how many there are.
                let failed = (task.head.id, state == State::Failed);
                if let Some((write, version)) = self.failure_write(id, failed).await? {
                    writes.push(write);
                    name = format!("{name}#{version}");
                }
            }
            match self.db.transact(writes, &name).await {
                Ok(()) => return Ok(true),
                Err(TransactError::Failed(error)) => return Err(error),
                Err(TransactError::Conditions(reasons)) => {
                    let standing = match reasons.into_iter().next() {
                        Some((true, Some(standing))) => standing,
                        Some((true, None))
                            if to == UNFINISHED && !is_gone && self.counts_again(id, task).await? =>
                        {
                            is_gone = true;
                            continue;
                        }
                        // One that is gone was counted long ago.
                        Some((true, None)) | None => return Ok(false),
                        // Another failure was noted meanwhile.
                        Some((false, _)) => continue,
                    };
                    let fields = Fields(&standing);
                    if fields.number::<u32>("ev")? >= event {
                        // It was counted before, perhaps by a process that died before it looked at the batch.
                        return Ok(true);
                    }
                    from = fields.number("st")?;
                    (is_read, is_gone) = (true, false);
                }
            }
        }
        Err(contended("a member of the batch"))
    }

    /// Whether a batch is still there, and a task of it as it was read: what is told late of one that has gone makes nothing anew.
    async fn counts_again(&self, id: BatchId, task: &Stored) -> Result<bool, StoreError> {
        let is_there = self.batch_record(id).await?.is_some();
        Ok(is_there && self.find(task.head.id).await?.is_some_and(|now| now.head.events == task.head.events))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use baton_model::{Batch, NewBatch, Payload, ProjectId, RunAfter, Then, ThenOn};
    use baton_store::{AddToBatch, BatchStore as _, Cancel, Retry, TaskStore as _};

    use super::*;
    use crate::testing::{store, task};
    use crate::{DynamoStore, Options};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn batch() -> NewBatch {
        let report = TaskSpec { id: TaskId::unset(), ..task(99, RunAfter::Now) };
        let then = Some(Then { on: ThenOn::Ended, task: report });
        NewBatch { id: BatchId::from_bytes([7; 16]), project: ProjectId::default(), name: None, then }
    }

    fn adding(tasks: impl Iterator<Item = TaskSpec>, atomic: bool) -> AddToBatch {
        let batch = batch();
        let tasks = tasks.map(|spec| TaskSpec { batch: Some(batch.id), ..spec }).collect();
        let create = Create { now: at(0), tasks, atomic, idempotency: None, by: None };
        AddToBatch { batch, seal: true, create }
    }

    async fn told(store: &DynamoStore) -> Batch {
        store.batch(batch().id).await.unwrap().batch
    }

    async fn cancel(store: &DynamoStore, task: TaskId, now: Timestamp) {
        store.cancel(Cancel { now, task, by: None, reason: None, with_dependants: false }).await.unwrap();
    }

    async fn retry(store: &DynamoStore, task: TaskId, now: Timestamp) {
        let delay = Duration::ZERO;
        store
            .retry(Retry { now, task, by: None, reason: None, delay, with_dependants: false })
            .await
            .unwrap();
    }

    /// Whoever ended a task dies before it counts it, or is slow; the task lives again, and then that one goes on.
    #[tokio::test]
    async fn what_is_told_late_of_an_earlier_event_does_not_count() {
        let store = store(Options::seeded(1)).await;
        let [first, second] = [1, 2].map(|number| task(number, RunAfter::Now));
        let ids = [first.id, second.id];
        store.add_to_batch(adding([first, second].into_iter(), true)).await.unwrap();
        cancel(&store, ids[0], at(1)).await;
        let late = store.inner.known(ids[0]).await.unwrap();
        // As it would be, had that one not counted yet.
        let member = member_item(batch().id, ids[0], UNFINISHED, 0, at(0));
        store.inner.db.put(member, Expression::new()).await.unwrap();
        let uncounted = Expression::new().add("c5", n(-1));
        store.inner.db.update(count_key(batch().id, part_of(ids[0])), &uncounted).await.unwrap();

        retry(&store, ids[0], at(2)).await;
        cancel(&store, ids[1], at(3)).await;
        store.inner.note_in_batch(&late, State::Queued, at(4)).await;
        let batch = told(&store).await;
        assert_eq!((batch.counts.cancelled, batch.made), (1, None), "one of them waits");
        cancel(&store, ids[0], at(5)).await;
        assert!(told(&store).await.made.is_some());
    }

    /// A task is kept for others that depend on it, and DynamoDB removes what its batch notes of it by the end that it had before.
    #[tokio::test]
    async fn a_task_that_lives_again_counts_also_if_its_member_is_gone() {
        let store = store(Options::seeded(1)).await;
        let [first, second] = [1, 2].map(|number| task(number, RunAfter::Now));
        let ids = [first.id, second.id];
        store.add_to_batch(adding([first, second].into_iter(), true)).await.unwrap();
        for id in ids {
            cancel(&store, id, at(1)).await;
        }
        store.inner.db.delete(member_key(batch().id, ids[0]), &Expression::new()).await.unwrap();
        assert!(told(&store).await.ended_at.is_some());
        retry(&store, ids[0], at(2)).await;
        let of_batch = told(&store).await;
        assert_eq!((of_batch.counts.cancelled, of_batch.ended_at), (1, None), "one of them waits");
        cancel(&store, ids[0], at(3)).await;
        let of_batch = told(&store).await;
        assert_eq!((of_batch.counts.cancelled, of_batch.ended_at.is_some()), (2, true));

        // Of a batch that is gone nothing comes back.
        for (id, second) in ids.into_iter().zip([4, 5]) {
            store.inner.db.delete(member_key(batch().id, id), &Expression::new()).await.unwrap();
            store.inner.db.delete(record_key(batch().id), &Expression::new()).await.unwrap();
            retry(&store, id, at(second)).await;
            assert_eq!(store.inner.db.get(member_key(batch().id, id)).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_request_that_is_too_large_writes_nothing() {
        let store = store(Options::seeded(1)).await;
        let tasks = (0..150).map(|number| task(number, RunAfter::Now));
        let refused = store.add_to_batch(adding(tasks, true)).await.unwrap_err();
        assert!(matches!(refused, StoreError::TooLarge { .. }), "{refused:?}");
        assert!(matches!(store.batch(batch().id).await, Err(StoreError::BatchNotFound(_))));
        for part in 0..PARTS {
            let found = store.inner.db.query_whole(Query::table(members(batch().id, part))).await.unwrap();
            assert!(found.items.is_empty());
        }
    }

    #[tokio::test]
    async fn members_are_taken_away_together_and_those_that_count_stay() {
        let store = store(Options::seeded(1)).await;
        let tasks = (0..150).map(|number| task(number, RunAfter::Now));
        store.add_to_batch(adding(tasks, false)).await.unwrap();
        let ids: Vec<TaskId> = (0..150).map(|number| task(number, RunAfter::Now).id).collect();
        cancel(&store, ids[3], at(1)).await;
        store.inner.drop_members(batch().id, ids[..120].to_vec()).await.unwrap();
        let counts = told(&store).await.counts;
        assert_eq!((counts.tasks, counts.cancelled), (31, 1));
    }

    #[tokio::test]
    async fn a_member_goes_with_its_task() {
        let store = store(Options::seeded(1)).await;
        let own = TaskSpec { retention: Some(Duration::from_secs(90 * 86_400)), ..task(1, RunAfter::Now) };
        let plain = TaskSpec { params: Payload::default(), ..task(2, RunAfter::Now) };
        store.add_to_batch(adding([own, plain].into_iter(), true)).await.unwrap();
        for number in [1, 2] {
            let id = task(number, RunAfter::Now).id;
            cancel(&store, id, at(1)).await;
            let ends = store.inner.known(id).await.unwrap().ends;
            let member = store.inner.db.get(member_key(batch().id, id)).await.unwrap().unwrap();
            assert!(ends.is_some() && Fields(&member).maybe_number::<i64>(ENDS).unwrap() == ends, "{number}");
        }
    }
}
