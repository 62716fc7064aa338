//! The queue of what was removed by hand where tasks are archived: a task stays as it is until it is written.
//!
//! An entry names a task as it was when it was removed. It is no part of the task, so that lists and the index have that as before, and
//! that it is done again costs a write and nothing else. Who archives looks at the entries before all else, and takes out those whose task
//! is gone, or is another by now. Where tasks are archived no more, purges remove what the queue names.

use std::collections::HashMap;

use baton_model::{TaskId, Timestamp};
use baton_store::StoreError;
use serde::{Deserialize, Serialize};

use crate::attr::{Fields, Item, key, n, time};
use crate::dating::last_of;
use crate::db::Query;
use crate::error::damaged;
use crate::expression::Expression;
use crate::kept::if_still;
use crate::keys::{self, HAND_PARTS};
use crate::queue::unconditional;
use crate::row::Stored;
use crate::store::Inner;

/// How many entries a page has.
const PAGE: i32 = 100;

/// How many pages one look reads at most.
pub(crate) const PAGES: u32 = 40;

/// How far the queue was gone down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    part: u64,
    /// The last task that was looked at there.
    after: Option<String>,
    /// How many partitions were come to the end of.
    ended: u64,
}

impl Place {
    /// Whether all of the queue was looked at that was behind where the look began.
    pub(crate) const fn is_end(&self) -> bool {
        self.ended >= HAND_PARTS
    }

    /// Goes behind a task: not all that a page has may have been looked at.
    pub(crate) fn behind(&self, task: TaskId) -> Self {
        Self { after: Some(task.to_string()), ..self.clone() }
    }
}

/// An entry of the queue.
struct Entry {
    task: TaskId,
    events: u32,
    created_at: Timestamp,
}

impl Entry {
    fn read(item: &Item) -> Result<Self, StoreError> {
        let fields = Fields(item);
        let text = fields.text("sk")?;
        let task: TaskId =
            text.parse().map_err(|_| damaged(format!("expected the id of a removed task, got {text}")))?;
        Ok(Self { task, events: fields.number("ev")?, created_at: fields.time("ca")? })
    }

    fn place(&self) -> Item {
        key(&keys::by_hand(keys::hash(self.task.as_bytes()) % HAND_PARTS), &self.task.to_string())
    }

    /// Whether a task is as it was when it was removed.
    fn is_of(&self, task: &Stored) -> bool {
        task.head.events == self.events && task.created_at == self.created_at
    }
}

impl Inner {
    /// Queues an ended task, as it was read, to be archived and removed.
    pub(crate) async fn queue_by_hand(&self, task: &Stored) -> Result<(), StoreError> {
        let Stored { head, created_at, .. } = task;
        let mut item = Entry { task: head.id, events: head.events, created_at: *created_at }.place();
        item.insert("ev".to_owned(), n(head.events));
        item.insert("ca".to_owned(), time(*created_at));
        unconditional(self.db.put(item, Expression::new()).await)
    }

    /// Takes an entry out, unless its task was removed anew since.
    async fn unqueue(&self, entry: &Entry) -> Result<(), StoreError> {
        let same = Expression::new().when("ev", "=", n(entry.events)).when("ca", "=", time(entry.created_at));
        if_still(self.db.delete(entry.place(), &same).await)
    }

    /// A page of the queue, and the place behind it.
    async fn queue_page(&self, place: &Place) -> Result<(Vec<Entry>, Place), StoreError> {
        let partition = keys::by_hand(place.part);
        let query = Query {
            start: place.after.as_ref().map(|after| key(&partition, after)),
            limit: Some(PAGE),
            // What was queued this moment is the next look's.
            consistent: false,
            ..Query::table(&partition)
        };
        let page = self.db.query(&query).await?;
        let entries = page.items.iter().filter_map(|item| self.db.read_one(item, Entry::read)).collect();
        let next = match last_of(&page) {
            Some(last) => Place { after: Some(last), ..place.clone() },
            None => Place { part: (place.part + 1) % HAND_PARTS, after: None, ended: place.ended + 1 },
        };
        Ok((entries, next))
    }

    /// The tasks of a page of the queue that are to be archived, and the place behind it. What is left of such as were cut off while they
    /// were deleted goes, and entries go whose task is gone or lives again.
    pub(crate) async fn queued_by_hand(&self, place: &Place) -> Result<(Vec<Stored>, Place), StoreError> {
        let (entries, next) = self.queue_page(place).await?;
        if entries.is_empty() {
            return Ok((Vec::new(), next));
        }
        let wanted = entries.iter().map(|entry| self.task_key(entry.task)).collect();
        let mut standing = HashMap::new();
        for item in self.db.get_all(wanted).await? {
            standing.insert(Fields(&item).text("sk")?.to_owned(), item);
        }
        let mut due = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(item) = standing.remove(&entry.task.to_string()) else {
                self.unqueue(&entry).await?;
                continue;
            };
            // One that is damaged stays, and holds up none of those behind it.
            let Some(task) = self.db.read_one(&item, Stored::read) else { continue };
            if !entry.is_of(&task) {
                self.unqueue(&entry).await?;
            } else if task.purged {
                self.clear(&task).await?;
                self.unqueue(&entry).await?;
            } else if !task.waited_for {
                due.push(task);
            }
        }
        Ok((due, next))
    }

    /// Removes what was queued while tasks were archived; says whether nothing was left in the queue.
    pub(crate) async fn remove_queued(&self, now: Timestamp) -> Result<bool, StoreError> {
        let (mut place, mut is_empty) = (Place::default(), true);
        for _ in 0..PAGES {
            if place.is_end() {
                return Ok(is_empty);
            }
            let (entries, next) = self.queue_page(&place).await?;
            for entry in entries {
                is_empty &= self.remove_one_queued(&entry, now).await?;
            }
            place = next;
        }
        Ok(is_empty && place.is_end())
    }

    /// Removes what an entry names, and the entry. False: the task is damaged, or was changed this moment.
    async fn remove_one_queued(&self, entry: &Entry, now: Timestamp) -> Result<bool, StoreError> {
        let what = format!("task {}", entry.task);
        let Some(found) = self.db.unless_damaged(&what, self.find(entry.task).await)? else {
            return Ok(false);
        };
        if let Some(task) = found.filter(|task| entry.is_of(task))
            // Others have come to need it since: it is kept for them, and goes by its own end.
            && self.unfinished(&task).await?.is_empty()
        {
            let Some(removed) = self.mark_removed(&task).await? else { return Ok(false) };
            self.date_removed(&removed, now).await;
            self.tidy_ended(&removed).await;
        }
        self.unqueue(entry).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use baton_model::RunAfter;
    use baton_store::{ArchiveStore, Cancel, Create, NoDoorbell, Past, Purge, Remove, Retry, TaskStore};

    use super::*;
    use crate::testing::{store, task as spec};
    use crate::{DynamoStore, Options};

    fn days(n: u32) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(86_400) * n)
    }

    /// Reads out what is to be archived while nothing is past its keeping.
    async fn to_archive(store: &DynamoStore, limit: u32) -> Vec<TaskId> {
        let past = Past { all: Timestamp::from_millis(1), own: Timestamp::from_millis(1) };
        let found = store.ended(past, limit).await.unwrap();
        found.iter().map(|record| record.task.head.id).collect()
    }

    async fn cancel(store: &DynamoStore, task: TaskId, now: Timestamp) {
        store.cancel(Cancel { now, task, by: None, reason: None, with_dependants: false }).await.unwrap();
    }

    /// Creates a task, cancels it, and removes it by hand.
    async fn removed(store: &DynamoStore, number: u8) -> TaskId {
        let (now, tasks) = (days(0), vec![spec(number, RunAfter::Now)]);
        let task = tasks[0].id;
        store.create(Create { now, tasks, atomic: false, idempotency: None, by: None }).await.unwrap();
        cancel(store, task, now).await;
        store.remove(Remove { now, task }).await.unwrap();
        task
    }

    async fn queued(store: &DynamoStore) -> u64 {
        let mut all = 0;
        for part in 0..HAND_PARTS {
            all += store.inner.db.query_whole(Query::table(keys::by_hand(part))).await.unwrap().count;
        }
        all
    }

    /// A task that lives again after its removal is none of the queue's; nor is it when it has ended anew.
    #[tokio::test]
    async fn what_lives_again_is_out_of_the_queue() {
        let store = store(Options { archived: true, ..Options::seeded(1) }).await;
        let task = removed(&store, 1).await;
        assert_eq!(queued(&store).await, 1);
        let delay = Duration::ZERO;
        let retry = Retry { now: days(1), task, by: None, reason: None, delay, with_dependants: false };
        store.retry(retry).await.unwrap();
        cancel(&store, task, days(1)).await;
        assert_eq!(to_archive(&store, 10).await, []);
        assert_eq!(queued(&store).await, 0);
        assert!(store.task(task).await.is_ok());
    }

    /// Those at the front of the queue may be such as cannot be archived: a look begins where the last one ended.
    #[tokio::test]
    async fn what_stays_in_the_queue_holds_up_nothing() {
        let store = store(Options { archived: true, ..Options::seeded(1) }).await;
        for number in 1..=10 {
            removed(&store, number).await;
        }
        let mut seen = BTreeSet::new();
        for _ in 0..6 {
            let found = to_archive(&store, 3).await;
            assert!(found.len() <= 3);
            seen.extend(found);
        }
        assert_eq!(seen.len(), 10);
    }

    /// An entry goes with its task, also if that is cut off while it is deleted.
    #[tokio::test]
    async fn a_removal_that_was_cut_off_is_done_by_the_queue() {
        let store = store(Options { archived: true, ..Options::seeded(1) }).await;
        let (inner, task) = (&store.inner, removed(&store, 1).await);
        let mark = Expression::new().set("pg", n(1)).remove("ip").remove("is");
        inner.db.update(inner.task_key(task), &mark).await.unwrap();
        assert_eq!(to_archive(&store, 10).await, []);
        assert!(inner.db.get(inner.task_key(task)).await.unwrap().is_none());
        assert_eq!(queued(&store).await, 0);
    }

    /// Where tasks are archived no more, what waits for it goes unwritten, also what is queued by those who do not know that yet.
    #[tokio::test]
    async fn what_is_queued_goes_when_archiving_ends() {
        let store = store(Options::seeded(1)).await;
        store.begin_archiving().await.unwrap();
        let options = Options { flush_every: None, ..Options::seeded(2) };
        let (client, table) = (store.inner.db.client.clone(), store.inner.db.table.clone());
        let late = DynamoStore::open(client, table, options, Arc::new(NoDoorbell)).await.unwrap();
        store.purge(Purge::at(days(0))).await.unwrap();
        let first = removed(&store, 1).await;
        assert!(store.task(first).await.is_ok());
        store.end_archiving().await.unwrap();
        store.purge(Purge::at(days(1))).await.unwrap();
        assert!(store.task(first).await.is_err());
        let second = removed(&late, 2).await;
        assert!(store.task(second).await.is_ok() && queued(&store).await == 1);
        store.purge(Purge::at(days(2))).await.unwrap();
        assert!(store.task(second).await.is_err());
        assert_eq!(queued(&store).await, 0);
    }
}
