//! What is told of batches, what the reaper does for them, and how they are moved.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_model::{Batch, BatchId, State, TaskId};
use baton_store::transfer::{ImportError, Verdict, batch_onto};
use baton_store::{
    BatchDetail, BatchFailure, BatchFilter, Cursor, Page, PageRequest, StoreError, TendBatches, TendedBatches,
};
use futures::{StreamExt, TryStreamExt};

use super::members::{UNFINISHED, count_key, member_item, noted, task_of};
use super::{COUNTS, PARTS, RECORDS, read, record_key, text_of};
use crate::attr::{Fields, Item, n, s};
use crate::db::{Query, Range};
use crate::ends::{ENDS, end_of};
use crate::error::damaged;
use crate::expression::Expression;
use crate::row::Stored;
use crate::store::Inner;

/// How many unfinished tasks of a batch are looked at to tell what they do.
const LOOKED_AT: usize = 1_000;

/// How many pages of the members of a part are looked at for that: of a large batch most have ended, and are passed by.
const PAGES: usize = 2;

/// How many members a step passes by at most that are counted already.
const PASSED_BY: usize = 500;

/// How many batches are looked at together.
const AT_ONCE: usize = 8;

/// How long it takes at most from writing a member to creating its task.
const CREATED_WITHIN: Duration = Duration::from_secs(3_600);

impl Inner {
    pub(super) async fn batch_detail(&self, id: BatchId) -> Result<BatchDetail, StoreError> {
        let record = self.batch_record(id).await?.ok_or(StoreError::BatchNotFound(id))?;
        let batch = self.with_counts(record.batch).await?;
        let mut detail =
            BatchDetail { batch, blocked: 0, queued: 0, running: 0, at_least: false, failures: Vec::new() };
        let mut open = BTreeSet::new();
        if detail.batch.counts.unfinished() > 0 {
            for part in 0..PARTS {
                let mut after: Option<String> = None;
                for _ in 0..PAGES {
                    let from = (part, after.as_deref());
                    let (items, next) = self.unfinished_members(id, from, LOOKED_AT).await?;
                    open.extend(items.iter().filter_map(|item| self.db.read_one(item, task_of)));
                    after =
                        next.as_ref().map(|next| Fields(next).text("sk").map(str::to_owned)).transpose()?;
                    if after.is_none() || open.len() >= LOOKED_AT {
                        break;
                    }
                }
                detail.at_least |= after.is_some();
            }
        }
        detail.at_least |= open.len() > LOOKED_AT;
        let wanted: BTreeSet<TaskId> = open.into_iter().take(LOOKED_AT).collect();
        for task in self.readable_tasks(wanted).await?.values().flatten() {
            match task.head.state.state() {
                State::Blocked => detail.blocked += 1,
                State::Queued => detail.queued += 1,
                State::Running => detail.running += 1,
                State::Completed | State::Failed | State::Cancelled => {}
            }
        }
        let failed = self.readable_tasks(detail.batch.failures.iter().copied().collect()).await?;
        for id in &detail.batch.failures {
            let Some(stored) =
                failed.get(id).and_then(Option::as_ref).filter(|one| one.head.state.state() == State::Failed)
            else {
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
    pub(super) async fn batches(
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
    pub(super) async fn tend_batches(&self, tend: &TendBatches) -> Result<TendedBatches, StoreError> {
        let place = tend.after.as_ref().map(|cursor| Place::read(&cursor.0)).transpose()?;
        let place = match place {
            Some(place) => place,
            None => match self.open_batch(None).await? {
                Some(id) => Place { id, part: 0, after: None },
                None => return Ok(TendedBatches::default()),
            },
        };
        let from = (place.part, place.after.as_deref());
        // Those that are counted cost next to nothing to pass by; of the others each task is read.
        let (mut items, mut next) = self.unfinished_members(place.id, from, PASSED_BY).await?;
        if items.len() > tend.limit as usize {
            items.truncate(tend.limit as usize);
            next = items.last().cloned();
        }
        let mut report = TendedBatches::default();
        let mut added = BTreeMap::new();
        for item in &items {
            added.extend(self.db.read_one(item, |item| Ok((task_of(item)?, Fields(item).time("at")?))));
        }
        let found = self.readable_tasks(added.keys().copied().collect()).await?;
        for (task, at) in added {
            match found.get(&task) {
                Some(Some(stored)) if stored.is_final() => {
                    let counted = self.count_member(place.id, (UNFINISHED, stored)).await;
                    let counted = self.db.unless_damaged(&format!("task {task} of a batch"), counted)?;
                    report.counted += u64::from(counted.unwrap_or_default());
                }
                // It has not ended, or is damaged, which is no reason to take it for one that never came to be.
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
                let settled = self.settle_batch(place.id, tend.now).await;
                let settled = self.db.unless_damaged(&format!("batch {}", place.id), settled)?;
                report.made += u64::from(settled.unwrap_or_default());
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

    /// The tasks of these ids as they stand: none for one that is damaged. What is purged, or never was, is not among them.
    async fn readable_tasks(
        &self,
        ids: BTreeSet<TaskId>,
    ) -> Result<BTreeMap<TaskId, Option<Stored>>, StoreError> {
        let keys: Vec<Item> = ids.iter().map(|id| self.task_key(*id)).collect();
        let mut found = BTreeMap::new();
        for item in self.db.get_all(keys).await? {
            let stored = self.db.read_one(&item, Stored::read);
            // A task's sort key is its id, whatever else of it cannot be read.
            let Some(id) = Fields(&item).text("sk").ok().and_then(|id| id.parse().ok()) else { continue };
            if stored.as_ref().is_none_or(|stored| !stored.purged) {
                found.insert(id, stored);
            }
        }
        Ok(found)
    }

    /// Batches by the items of their records, with what is counted of each.
    pub(crate) async fn batches_of(&self, items: &[Item]) -> Result<Vec<Batch>, StoreError> {
        let mut counted = Vec::with_capacity(items.len());
        for item in items {
            counted.push(self.with_counts(read(item)?.batch));
        }
        futures::stream::iter(counted).buffered(AT_ONCE).try_collect().await
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
        match record.ended_at.zip(self.keeping.finished()) {
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
