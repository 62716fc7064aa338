//! Archiving: finding what is past its keeping, removing it once it is written, and taking it in again.
//!
//! In a table whose tasks are archived (a mark of the table's own, so that whoever opens it knows) nothing is dated as it ends
//! (`ends.rs`), so that DynamoDB removes no task by itself. No index has what is past its keeping: tasks lie by the days of their ids, and
//! a walk goes over the days that are old enough, page by page, from where it ended the last time. What is archived is deleted, so that
//! old days are empty but for what is kept for longer, and are struck off then (`purge.rs`). `docs/decisions/0061-archive-on-dynamodb.md`
//! has the figures.
//!
//! What was removed by hand comes first, from a queue of its own (`by_hand.rs`).
//!
//! A task goes in three steps: it is marked, and is there for nobody from then on; what belongs to it is deleted; and it itself is. A walk
//! that meets a marked one does what is left.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use baton_model::{TaskId, TaskState, Timestamp};
use baton_store::transfer::{ImportError, PAGE_BYTES, Record, Refusal, TaskRecord, Verdict};
use baton_store::{ArchiveStore, Past, StoreError};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::DynamoStore;
use crate::attr::{Fields, Item, json, n, s, time};
use crate::batches::members::member_key;
use crate::by_hand;
use crate::dating::{finals, last_of, of_ended};
use crate::db::Query;
use crate::error::WriteError;
use crate::expression::Expression;
use crate::kept::{MARK, if_still};
use crate::keys::{self, DAY_MS, Kind, ODD};
use crate::queue::unconditional;
use crate::row::Stored;
use crate::stats::epoch::Epochs;
use crate::store::Inner;
use crate::transfer::days_of_task;

/// The attribute of the table's settings that says that its finished tasks are archived.
pub(crate) const ARCHIVED: &str = "ah";

/// The attribute of a restored task that says from when on it is kept.
pub(crate) const KEPT_SINCE: &str = "ks";

/// The attribute of the list of days that says when the latest task came that has a keeping of its own.
const OWN_AT: &str = "oa";

/// How many tasks a page of the walk has.
const PAGE: i32 = 100;

/// How many pages one look reads at most: 4,000 tasks of 600 bytes are 300 read units.
const PAGES: u32 = 40;

/// How many tasks are read whole, or removed, at the same time.
const AT_ONCE: usize = 16;

/// How often all days are gone over while there may be tasks with a shorter keeping of their own.
const ALL_DAYS_EVERY: Duration = Duration::from_secs(86_400);

/// How much later than it is noted the latest task with a keeping of its own may have come: each process notes it once a day, and clocks
/// differ.
const NOTED_WITHIN: Duration = Duration::from_secs(2 * 86_400);

/// How far the walk is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Walk {
    day: i64,
    part: u64,
    /// The last task that was looked at there.
    after: Option<String>,
    /// When it began to go over all days the last time, in milliseconds since 1970.
    all_at: i64,
    /// Whether it goes over all days, or over those alone whose tasks may be past the keeping of all.
    all: bool,
    /// When it was begun at all, in milliseconds since 1970: of tasks of before nobody has noted whether some have a keeping of their own.
    #[serde(default)]
    first_at: Option<i64>,
    /// How far the queue was gone down of what was removed by hand, if the last look was cut off.
    #[serde(default)]
    by_hand: Option<by_hand::Place>,
    /// Where a look has found something that may still be there, as it could not be written.
    #[serde(default)]
    again: Option<Spot>,
}

/// A page of the walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spot {
    day: i64,
    part: u64,
    after: Option<String>,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            day: ODD,
            part: 0,
            after: None,
            all_at: i64::MIN,
            all: false,
            first_at: None,
            by_hand: None,
            again: None,
        }
    }
}

impl Walk {
    fn spot(&self) -> Spot {
        Spot { day: self.day, part: self.part, after: self.after.clone() }
    }

    fn at(&self, spot: &Spot) -> Self {
        let Spot { day, part, after } = spot.clone();
        Self { day, part, after, ..self.clone() }
    }
}

/// What was read out, and how much more fits.
#[derive(Default)]
struct Found {
    records: Vec<TaskRecord>,
    /// What was removed by hand may be past its keeping, too.
    known: BTreeSet<TaskId>,
    bytes: usize,
    limit: usize,
}

impl Found {
    fn is_full(&self) -> bool {
        self.records.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn add(&mut self, record: TaskRecord) {
        if !self.known.insert(record.task.head.id) {
            return;
        }
        let record = Record::Task(Box::new(record));
        self.bytes += record.size();
        if let Record::Task(record) = record {
            self.records.push(*record);
        }
    }
}

#[async_trait]
impl ArchiveStore for DynamoStore {
    async fn ended(&self, past: Past, limit: u32) -> Result<Vec<TaskRecord>, StoreError> {
        let mut found = Found { limit: limit as usize, ..Found::default() };
        self.inner.to_archive(past, &mut found).await?;
        Ok(found.records)
    }

    async fn remove_archived(&self, tasks: Vec<(TaskId, u32)>, _: Timestamp) -> Result<u64, StoreError> {
        let removals: Vec<_> =
            tasks.into_iter().map(|(id, events)| self.inner.remove_written(id, events)).collect();
        let mut removals = futures::stream::iter(removals).buffer_unordered(AT_ONCE);
        let (mut removed, mut failed) = (0, None);
        while let Some(removal) = removals.next().await {
            match removal {
                Ok(is_removed) => removed += u64::from(is_removed),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    async fn restore(
        &self,
        tasks: Vec<TaskRecord>,
        now: Timestamp,
    ) -> Result<Vec<Result<Verdict, Refusal>>, StoreError> {
        self.inner.restore(tasks, now).await
    }
}

impl Inner {
    /// Whether a task's keeping is over.
    fn is_past(task: &Stored, past: Past) -> bool {
        let Some(rest) = task.rest.as_ref().filter(|_| task.is_final() && !task.waited_for) else {
            return false;
        };
        let since = task.kept_since();
        match rest.retention {
            Some(own) => since.plus(own) < past.own,
            None => since < past.all,
        }
    }

    /// Goes on where the last look has ended, and reads out what is to be archived: what was removed by hand, and what is past its keeping.
    async fn to_archive(&self, past: Past, found: &mut Found) -> Result<(), StoreError> {
        let item = self.db.get(keys::meta("archive")).await?;
        let noted: Option<Walk> = match &item {
            // One that is damaged is made anew.
            Some(item) => self.db.read_one(item, |item| Fields(item).maybe_json("tx")).flatten(),
            None => None,
        };
        let mut walk = noted.clone().unwrap_or_default();
        self.ended_by_hand(&mut walk, found).await?;
        self.ended_long_ago(&mut walk, past, found).await?;
        if noted.as_ref() != Some(&walk) {
            let update = Expression::new().set("tx", json("how far archiving is", &walk).map(s)?);
            unconditional(self.db.update(keys::meta("archive"), &update).await)?;
        }
        Ok(())
    }

    /// Reads out what was removed by hand. A look that is cut off is gone on with by the next one, so that what cannot be archived at the
    /// moment holds up nothing.
    async fn ended_by_hand(&self, walk: &mut Walk, found: &mut Found) -> Result<(), StoreError> {
        let mut place = walk.by_hand.take().unwrap_or_default();
        for _ in 0..by_hand::PAGES {
            if found.is_full() {
                break;
            }
            let (due, next) = self.queued_by_hand(&place).await?;
            let ids: Vec<TaskId> = due.iter().map(|task| task.head.id).collect();
            let looked = self.read_out(due, found).await?;
            place = match looked.checked_sub(1).and_then(|last| ids.get(last)) {
                Some(last) if looked < ids.len() => place.behind(*last),
                _ => next,
            };
            if place.is_end() {
                return Ok(());
            }
        }
        walk.by_hand = Some(place);
        Ok(())
    }

    /// Reads tasks out as far as they fit; says how many of them were looked at.
    async fn read_out(&self, tasks: Vec<Stored>, found: &mut Found) -> Result<usize, StoreError> {
        let mut looked = 0;
        let reads: Vec<_> = tasks
            .into_iter()
            .map(|task| {
                let (id, record) = (task.head.id, self.task_record(task));
                async move { (id, record.await) }
            })
            .collect();
        let mut records = futures::stream::iter(reads).buffered(AT_ONCE);
        while !found.is_full()
            && let Some((id, record)) = records.next().await
        {
            looked += 1;
            match record {
                Ok(record) => record.into_iter().for_each(|record| found.add(record)),
                // It holds up none of those behind it.
                Err(damaged @ StoreError::Corrupt { .. }) => tracing::error!(
                    task_id = %id,
                    error = damaged.report(),
                    "a finished task is damaged: it is not archived, and stays"
                ),
                Err(error) => return Err(error),
            }
        }
        Ok(looked)
    }

    /// Goes on with the walk, and reads out what is past its keeping; but first what the last look found and what is still there, as it
    /// could not be written: who archives hears of it at each look, and it holds up none of those behind it.
    async fn ended_long_ago(&self, walk: &mut Walk, past: Past, found: &mut Found) -> Result<(), StoreError> {
        let own = past.own.as_millis();
        // While the time is in doubt, it is not told.
        walk.first_at = walk.first_at.or(Some(own).filter(|own| *own > 0));
        let item = self.db.get(keys::days(Kind::Task)).await?.unwrap_or_default();
        let mut days = Fields(&item).numbers("d")?;
        days.sort_unstable();
        let own_at = Fields(&item).maybe_time(OWN_AT)?;
        if let Some(spot) = &walk.again
            && !self.look_at_again(walk.at(spot), past, found).await?
        {
            walk.again = None;
        }
        for _ in 0..PAGES {
            if found.is_full() {
                break;
            }
            let last = if walk.all { i64::MAX } else { past.all.as_millis() / DAY_MS };
            let day = days.iter().copied().find(|day| *day >= walk.day && *day <= last);
            let Some(day) = day else {
                *walk = Self::begun_anew(walk, past, own_at);
                break;
            };
            if day > walk.day {
                *walk = Walk { day, part: 0, after: None, ..walk.clone() };
            }
            let (spot, known) = (walk.spot(), found.records.len());
            self.look_at_page(walk, past, found).await?;
            if found.records.len() > known {
                walk.again.get_or_insert(spot);
            }
        }
        Ok(())
    }

    /// Reads out what is still past its keeping on a page where a look has found something, to half of what there is room for; says whether
    /// something may be left there.
    async fn look_at_again(&self, mut at: Walk, past: Past, found: &mut Found) -> Result<bool, StoreError> {
        let (known, bytes, limit) = (found.records.len(), found.bytes, found.limit);
        found.limit = usize::midpoint(known, limit);
        let looked = if found.is_full() {
            Ok(true)
        } else {
            self.look_at_page(&mut at, past, found).await.map(|()| found.records.len() > known)
        };
        found.limit = limit;
        found.bytes = found.bytes.min(usize::midpoint(bytes, PAGE_BYTES));
        looked
    }

    /// The walk behind one that has come to its end. It goes over all days once a day while a task may be there that has a keeping of its
    /// own and is too young to be met otherwise.
    fn begun_anew(walk: &Walk, past: Past, own_at: Option<Timestamp>) -> Walk {
        let own = past.own.as_millis();
        let every = i64::try_from(ALL_DAYS_EVERY.as_millis()).unwrap_or(i64::MAX);
        let latest = own_at.max(walk.first_at.map(Timestamp::from_millis));
        let some_are_young = latest.is_some_and(|at| at.plus(NOTED_WITHIN) >= past.all);
        // Either way: a clock that was set back must not put it off.
        let is_due = own > 0 && own.saturating_sub(walk.all_at).saturating_abs() >= every;
        let all = some_are_young && is_due;
        let all_at = if all { own } else { walk.all_at };
        let (by_hand, again) = (walk.by_hand.clone(), walk.again.clone());
        Walk { all, all_at, first_at: walk.first_at, by_hand, again, ..Walk::default() }
    }

    /// Notes, once a day, that a task is about to be there that has a keeping of its own: without such, no archiver goes over young days.
    pub(crate) async fn note_own_keeping(&self, now: Timestamp) -> Result<(), StoreError> {
        if !self.is_news_of_day(now) {
            return Ok(());
        }
        let later = Expression::new().when_absent_or(OWN_AT, "<", time(now)).set(OWN_AT, time(now));
        if_still(self.db.update(keys::days(Kind::Task), &later).await)?;
        self.note_day_of_own_keeping(now);
        Ok(())
    }

    /// Looks at a page of the walk, and moves behind what it has looked at.
    async fn look_at_page(&self, walk: &mut Walk, past: Past, found: &mut Found) -> Result<(), StoreError> {
        let partition = keys::partition(Kind::Task, walk.day, walk.part);
        let query = Query { limit: Some(PAGE), ..of_ended(&partition, walk.after.as_deref()) };
        let page = self.db.query(&query).await?;
        let (mut due, mut places) = (Vec::new(), Vec::new());
        for item in &page.items {
            let Some(task) = self.db.read_one(item, Stored::read) else { continue };
            if task.purged {
                self.clear_left(&task).await?;
            } else if Self::is_past(&task, past) {
                places.push(Fields(item).text("sk")?.to_owned());
                due.push(task);
            }
        }
        let looked = self.read_out(due, found).await?;
        if looked < places.len() {
            // The others are the next look's.
            if let Some(last) = looked.checked_sub(1).and_then(|last| places.get(last)) {
                walk.after = Some(last.clone());
            }
            return Ok(());
        }
        walk.after = last_of(&page);
        if walk.after.is_none() {
            walk.part += 1;
            if walk.part >= self.parts_of(walk.day) {
                *walk = Walk { day: walk.day + 1, part: 0, ..walk.clone() };
            }
        }
        Ok(())
    }

    /// Removes a task that was written with so many events, unless it has lived again or others depend on it; says whether it did.
    async fn remove_written(&self, id: TaskId, events: u32) -> Result<bool, StoreError> {
        // A retry adds an event, and whoever comes to depend on it marks it first.
        let marked = Expression::new()
            .when("ev", "=", n(events))
            .when_in("st", finals())
            .when_absent(MARK)
            .when_absent("pg")
            .set("pg", n(1))
            .remove("ip")
            .remove("is");
        let task = match self.db.update(self.task_key(id), &marked).await {
            Ok(item) => {
                let task = Stored::read(&item)?;
                self.count_removed(&task);
                task
            }
            // Marked by the first sending of this write, or by one that was cut off.
            Err(WriteError::Condition(Some(item))) if Fields(&item).has("pg") => Stored::read(&item)?,
            Err(WriteError::Condition(_)) => return Ok(false),
            Err(WriteError::Failed(error)) => return Err(error),
        };
        self.clear(&task).await?;
        Ok(true)
    }

    /// Deletes what is left of a task that a read of a moment ago has shown as marked. Its id may be another's by now, whose params and
    /// edges lie at the same places: as of now it is known.
    async fn clear_left(&self, seen: &Stored) -> Result<(), StoreError> {
        let Some(item) = self.db.get(self.task_key(seen.head.id)).await? else { return Ok(()) };
        match self.db.read_one(&item, Stored::read) {
            Some(task) if task.purged => self.clear(&task).await,
            _ => Ok(()),
        }
    }

    /// Deletes a task that is marked as removed, with all that belongs to it. It itself comes last, so that what is cut off is done again.
    pub(crate) async fn clear(&self, task: &Stored) -> Result<(), StoreError> {
        let id = task.head.id;
        let mut all: Vec<Item> = Vec::new();
        if let TaskState::Completed { generation, .. } = task.head.state {
            all.extend(self.kept_apart(&keys::apart(&generation)).await?);
            all.push(self.generation_key(generation));
        }
        if task.has_apart() {
            all.extend(self.kept_apart(&keys::apart(&id)).await?);
            all.extend(task.edges());
        }
        all.extend(task.rest.as_ref().and_then(|rest| rest.batch).map(|batch| member_key(batch, id)));
        self.db.delete_all(all).await?;
        self.tidy_ended(task).await;
        match self.db.delete(self.task_key(id), &Expression::new().when("pg", "=", n(1))).await {
            // It is gone, and its id may be another's already.
            Ok(()) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    async fn restore(
        &self,
        tasks: Vec<TaskRecord>,
        now: Timestamp,
    ) -> Result<Vec<Result<Verdict, Refusal>>, StoreError> {
        let days: BTreeSet<_> = tasks.iter().flat_map(days_of_task).collect();
        for (kind, day) in days {
            self.notes.know_past_day(&self.db, kind, day).await?;
        }
        let table = self.db.get(keys::meta("table")).await?.unwrap_or_default();
        let epoch = Epochs::read(&table)?.latest();
        if !Fields(&table).has(ARCHIVED) {
            // A purge is to date these; where tasks are archived, it would go over all others for nothing.
            self.date_later().await?;
        }
        let restored: Vec<_> = tasks.into_iter().map(|task| self.restore_one(task, epoch, now)).collect();
        let restored: Vec<_> = futures::stream::iter(restored).buffered(AT_ONCE).collect().await;
        restored.into_iter().collect()
    }

    /// Has the table say whether its finished tasks are archived.
    pub(crate) async fn mark_archived(&self, archived: bool) -> Result<(), StoreError> {
        let update = Expression::new().put(ARCHIVED, archived.then(|| n(1)));
        unconditional(self.db.update(keys::meta("table"), &update).await)?;
        self.note_archived(archived);
        Ok(())
    }

    async fn restore_one(
        &self,
        task: TaskRecord,
        epoch: Option<u32>,
        now: Timestamp,
    ) -> Result<Result<Verdict, Refusal>, StoreError> {
        match self.import_task(&task, epoch, Some(now)).await {
            Ok(verdict) => Ok(Ok(verdict)),
            Err(ImportError::Refused(refusal)) => Ok(Err(refusal)),
            Err(ImportError::Store(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
