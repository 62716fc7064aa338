//! Reading out what the table holds.
//!
//! The partitions of a kind are read side by side and merged by their sort keys, so that tasks come in the order of
//! their ids within a day, and the days from the oldest. A page's cursor names the partitions' day and the last key.

use std::collections::BTreeMap;

use baton_model::{Digest, QueueName, RequestKey, Running, TaskId, TaskState, Timestamp, WorkerId};
use baton_store::transfer::{
    Answer, ClaimRecord, KeyRecord, LogRecord, PAGE_BYTES, Record, TaskRecord, WorkerRecord,
};
use baton_store::{Cursor, Page, StoreError};
use futures::StreamExt;

use crate::attr::{Fields, Item, key};
use crate::db::{Query, Range};
use crate::error::damaged;
use crate::keys::{self, Kind, ODD, ODD_PARTS};
use crate::list::log_line;
use crate::request::Plan;
use crate::row::Stored;
use crate::store::Inner;
use crate::worker::StoredWorker;
use crate::{audit, queue, token};

use super::{AT_ONCE, durations, key_of};

/// The kinds of records in the order in which they are read out, by the letters of their cursors.
const KINDS: [char; 17] =
    ['q', 'w', 'b', 't', 'h', 'l', 'k', 'c', 'o', 'a', 'm', 'p', 's', 'u', 'g', 'd', 'e'];

/// A place in an export: the kind, the day or the like, and the last key there.
pub(super) struct Place {
    kind: usize,
    part: Option<i64>,
    pub(super) after: String,
}

impl Place {
    pub(super) fn parse(cursor: Option<&Cursor>) -> Result<Self, StoreError> {
        let Some(Cursor(text)) = cursor else { return Ok(Self::begin(0)) };
        let mut fields = text.splitn(3, '|');
        let kind = fields.next().and_then(|letter| KINDS.iter().position(|one| one.to_string() == letter));
        let part = match fields.next() {
            None => return Err(StoreError::BadCursor),
            Some("") => None,
            Some(part) => Some(part.parse().map_err(|_| StoreError::BadCursor)?),
        };
        let after = fields.next().ok_or(StoreError::BadCursor)?.to_owned();
        Ok(Self { kind: kind.ok_or(StoreError::BadCursor)?, part, after })
    }

    const fn begin(kind: usize) -> Self {
        Self { kind, part: None, after: String::new() }
    }

    fn cursor(&self) -> Cursor {
        let part = self.part.map(|part| part.to_string()).unwrap_or_default();
        Cursor(format!("{}|{part}|{}", KINDS[self.kind], self.after))
    }
}

impl Inner {
    pub(super) async fn export(
        &self,
        now: Timestamp,
        mut place: Place,
        limit: usize,
    ) -> Result<Page<Record>, StoreError> {
        let (items, more) = match KINDS[place.kind] {
            'q' => self.export_queues(&mut place, limit).await?,
            'w' => self.export_workers(&mut place, limit).await?,
            'b' => self.export_batches(&mut place, limit).await?,
            't' => self.export_tasks(&mut place, limit).await?,
            'h' => self.export_durations(&mut place, limit).await?,
            'l' => self.export_logs(&mut place, limit).await?,
            'k' => self.export_keys(&mut place, limit).await?,
            'c' => self.export_claims(now, &mut place, limit).await?,
            'o' => self.export_tokens(&mut place, limit).await?,
            'a' => self.export_audit(&mut place, limit).await?,
            'm' => self.export_limits(&mut place, limit).await?,
            'p' => self.export_owned(&mut place, limit).await?,
            's' => self.export_schedules(&mut place, limit).await?,
            'u' => self.export_supplies(&mut place, limit).await?,
            'g' => self.export_settings().await?,
            'd' => self.export_documents(&mut place, limit).await?,
            _ => self.export_bulks(&mut place, limit).await?,
        };
        if !more {
            place = Place::begin(place.kind + 1);
        }
        Ok(Page { items, next: (place.kind < KINDS.len()).then(|| place.cursor()) })
    }

    /// Goes to the part that a place is in, or to the next one; none if there is none.
    fn part_of(place: &mut Place, parts: &[i64]) -> Option<i64> {
        let part = match place.part {
            None => parts.first().copied(),
            Some(at) => parts.iter().copied().find(|part| *part >= at),
        };
        if part != place.part {
            place.after.clear();
        }
        place.part = part;
        part
    }

    /// Goes behind the last item of a page; into the next part at the end of one. Says whether there may be more.
    fn step(place: &mut Place, parts: &[i64], last: Option<String>, more: bool) -> bool {
        match last {
            Some(last) if more => {
                place.after = last;
                true
            }
            _ => {
                let next = parts.iter().copied().find(|part| Some(*part) > place.part);
                (place.part, place.after) = (next, String::new());
                next.is_some()
            }
        }
    }

    async fn export_queues(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let partitions = (0..keys::NAME_PARTS).map(keys::queue_partition).collect();
        let merged = self.merged(false, partitions, &place.after, limit).await?;
        place.after = key_of(merged.items.last()).to_owned();
        let records = merged.items.iter().map(|item| queue::plain(item).map(Record::Queue));
        Ok((records.collect::<Result<_, _>>()?, merged.more))
    }

    async fn export_workers(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let partitions = (0..keys::NAME_PARTS).map(keys::worker_partition).collect();
        let merged = self.merged(false, partitions, &place.after, limit).await?;
        place.after = key_of(merged.items.last()).to_owned();
        let mut records = Vec::with_capacity(merged.items.len());
        for item in &merged.items {
            records.push(Record::Worker(self.worker_record(StoredWorker::read(item)?).await?));
        }
        Ok((records, merged.more))
    }

    /// A worker with its list made whole again, as far as the list is about attempts that it holds.
    pub(super) async fn worker_record(&self, stored: StoredWorker) -> Result<WorkerRecord, StoreError> {
        let StoredWorker { mut worker, listed, seen_at, .. } = stored;
        let mut unlisted = Vec::new();
        if let Some(listed) = listed {
            let mut running = listed.shown.clone();
            for task in self.held_by(&worker.id, usize::MAX).await? {
                let (id, attempt) = (task.head.id, task.head.attempt);
                if !listed.holds(id, attempt) {
                    unlisted.push((id, attempt));
                } else if !running.iter().any(|one| one.task == id && one.attempt == attempt) {
                    running.push(Running { task: id, attempt, progress: None, message: None });
                }
            }
            worker.running = Some(running);
        }
        Ok(WorkerRecord { worker, unlisted, seen_at })
    }

    async fn export_tasks(&self, place: &mut Place, limit: usize) -> Result<(Vec<Record>, bool), StoreError> {
        let days = self.days(Kind::Task).await?;
        let Some(day) = Self::part_of(place, &days) else { return Ok((Vec::new(), false)) };
        let parts = if day == ODD { ODD_PARTS } else { self.spread };
        let partitions = (0..parts).map(|part| keys::partition(Kind::Task, day, part)).collect();
        let merged = self.merged(false, partitions, &place.after, limit).await?;
        let stored: Vec<_> = merged.items.iter().map(Stored::read).collect::<Result<_, _>>()?;
        let records: Vec<_> = stored.into_iter().map(|stored| self.task_record(stored)).collect();
        let mut records = futures::stream::iter(records).buffered(AT_ONCE);
        let (mut found, mut bytes, mut looked) = (Vec::new(), 0, 0);
        while bytes < PAGE_BYTES
            && let Some(record) = records.next().await
        {
            looked += 1;
            // One that a purge is removing is gone.
            if let Some(record) = record? {
                let record = Record::Task(Box::new(record));
                bytes += record.size();
                found.push(record);
            }
        }
        let cut = looked < merged.items.len();
        let last = looked.checked_sub(1).map(|last| key_of(merged.items.get(last)).to_owned());
        Ok((found, Self::step(place, &days, last, merged.more || cut)))
    }

    /// A task's item with all that belongs to it; none if it is being removed, or was in part.
    pub(crate) async fn task_record(&self, stored: Stored) -> Result<Option<TaskRecord>, StoreError> {
        if stored.purged {
            return Ok(None);
        }
        let id = stored.head.id;
        let rest = stored.rest()?;
        let generation = match &stored.head.state {
            TaskState::Completed { generation, .. } => match self.stored_generation(*generation).await? {
                None if stored.ends.is_some() => return Ok(None),
                None => {
                    let what = format!("task {id} is completed without generation {generation}");
                    return Err(damaged(what));
                }
                standing => standing,
            },
            _ => None,
        };
        let claimed_at = stored.claimed_at;
        let history = match self.db.history(&stored.kept()?).await {
            Err(StoreError::TaskNotFound(_)) => return Ok(None),
            history => history?,
        };
        let (worker, content) = (stored.worker.clone(), rest.content.map(Digest::from_bytes));
        let Some(task) = self.db.task_of(stored).await? else { return Ok(None) };
        Ok(Some(TaskRecord { task, history, generation, worker, claimed_at, content, place: None }))
    }

    async fn export_durations(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        // The place is a queue and the last of its hours that was given, if that was not the last of all.
        let (mut queue, mut after) = match place.after.split_once(' ') {
            Some((queue, sort)) if !sort.is_empty() => (queue.to_owned(), Some(hour_of(sort)?)),
            Some((queue, _)) => (queue.to_owned(), None),
            None => (String::new(), None),
        };
        let mut found = Vec::new();
        loop {
            let last = match after {
                Some(last) => last,
                None => {
                    let partitions = (0..keys::NAME_PARTS).map(keys::queue_partition).collect();
                    match self.merged(false, partitions, &queue, 1).await?.items.first() {
                        Some(item) => key_of(Some(item)).clone_into(&mut queue),
                        None => return Ok((found, false)),
                    }
                    -1
                }
            };
            let name = QueueName::from_stored(queue.clone());
            // A day's and few more, each in several parts where the stream counts them.
            let range = Range::Within("H".to_owned(), "H~".to_owned());
            let all = Query { range, ..Query::table(keys::statistics(&name)) };
            let mut hours: BTreeMap<i64, Vec<Item>> = BTreeMap::new();
            for item in self.db.query_whole(all).await?.items {
                hours.entry(hour_of(key_of(Some(&item)))?).or_default().push(item);
            }
            for (hour, parts) in hours.range(last + 1..) {
                found.push(Record::Durations(durations(&name, *hour, parts)?));
                if found.len() == limit {
                    place.after = format!("{name} H{hour:08}");
                    return Ok((found, true));
                }
            }
            after = None;
        }
    }

    async fn export_logs(&self, place: &mut Place, limit: usize) -> Result<(Vec<Record>, bool), StoreError> {
        let days = self.days(Kind::Log).await?;
        let Some(day) = Self::part_of(place, &days) else { return Ok((Vec::new(), false)) };
        let partitions: Vec<_> =
            (0..keys::LOG_PARTS).map(|part| keys::partition(Kind::Log, day, part)).collect();
        // What precedes the page within its first millisecond, to count lines that are the same.
        let mut before = Vec::new();
        if let Some((moment, _)) = place.after.split_once('#') {
            for partition in &partitions {
                let range = Range::Within(format!("{moment}#"), place.after.clone());
                let found = self.db.query_whole(Query { range, ..Query::table(partition) }).await?;
                before.extend(found.items.iter().map(|item| key_of(Some(item)).to_owned()));
            }
        }
        let merged = self.merged(false, partitions, &place.after, limit).await?;
        let mut found = Vec::with_capacity(merged.items.len());
        for item in &merged.items {
            let sort = key_of(Some(item));
            let mut parts = sort.splitn(3, '#');
            let (moment, number, content) = (parts.next(), parts.next(), parts.next());
            before.retain(|earlier| earlier.split('#').next() == moment);
            let same = |earlier: &&String| earlier.splitn(3, '#').nth(2) == content;
            let copy = before.iter().filter(same).count();
            before.push(sort.to_owned());
            found.push(Record::Log(LogRecord {
                line: log_line(item)?,
                place: number.and_then(|number| number.parse().ok()).unwrap_or(0),
                copy: u32::try_from(copy).unwrap_or(u32::MAX),
            }));
        }
        let last = merged.items.last().map(|item| key_of(Some(item)).to_owned());
        Ok((found, Self::step(place, &days, last, merged.more)))
    }

    async fn export_keys(&self, place: &mut Place, limit: usize) -> Result<(Vec<Record>, bool), StoreError> {
        let partitions = (0..keys::IDEMPOTENCY_PARTS).map(keys::idempotency_index).collect();
        let merged = self.merged(true, partitions, &place.after, limit).await?;
        let mut found = Vec::with_capacity(merged.items.len());
        let mut whole = Vec::with_capacity(merged.items.len());
        for entry in &merged.items {
            let fields = Fields(entry);
            whole.push(key(fields.text("pk")?, fields.text("sk")?));
            fields.text("is")?.clone_into(&mut place.after);
        }
        for item in self.db.get_all(whole).await? {
            let fields = Fields(&item);
            let name = fields.text("pk")?;
            let name = name.strip_prefix("I#").ok_or_else(|| damaged("expected an idempotency key"))?;
            let answer = match fields.maybe_json("an")? {
                Some(items) => Answer::Given(items),
                None => {
                    let ids = fields.maybe_bytes("op")?.unwrap_or_default().chunks_exact(16);
                    let ids = ids.filter_map(|id| id.try_into().ok()).map(TaskId::from_bytes);
                    Answer::Begun(ids.collect())
                }
            };
            let digest = fields.maybe_sixteen("dg")?.map(Digest::from_bytes);
            found.push(Record::Key(KeyRecord {
                key: name.to_owned(),
                digest: digest.ok_or_else(|| damaged("expected an idempotency key to have a digest"))?,
                created_at: fields.time("ca")?,
                answer,
            }));
        }
        Ok((found, merged.more))
    }

    async fn export_claims(
        &self,
        now: Timestamp,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let partitions = (0..keys::REQUEST_PARTS).map(keys::request_partition).collect();
        let merged = self.merged(false, partitions, &place.after, limit).await?;
        let mut found = Vec::with_capacity(merged.items.len());
        for item in &merged.items {
            let sort = key_of(Some(item));
            let unnamed = || damaged(format!("expected a worker and its claim, got {sort}"));
            let (worker, request) = sort.split_once('#').ok_or_else(unnamed)?;
            let plan = Plan::read(item)?;
            if plan.is_forgotten(now) {
                continue;
            }
            found.push(Record::Claim(ClaimRecord {
                worker: WorkerId::from_stored(worker),
                request: RequestKey::from_stored(request),
                created_at: Fields(item).time("ca")?,
                tasks: plan.tasks,
                answered: plan.answered,
            }));
        }
        place.after = key_of(merged.items.last()).to_owned();
        Ok((found, merged.more))
    }

    async fn export_tokens(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let partitions = (0..keys::TOKEN_PARTS).map(keys::token_partition).collect();
        let merged = self.merged(false, partitions, &place.after, limit).await?;
        place.after = key_of(merged.items.last()).to_owned();
        let records = merged.items.iter().map(|item| token::read(item).map(Record::Token));
        Ok((records.collect::<Result<_, _>>()?, merged.more))
    }

    async fn export_audit(&self, place: &mut Place, limit: usize) -> Result<(Vec<Record>, bool), StoreError> {
        let partitions = (0..keys::AUDIT_PARTS).map(keys::audit_partition).collect();
        let merged = self.merged(false, partitions, &place.after, limit).await?;
        place.after = key_of(merged.items.last()).to_owned();
        let records = merged.items.iter().map(|item| audit::read(item).map(Record::Audit));
        Ok((records.collect::<Result<_, _>>()?, merged.more))
    }
}

/// The hour that a sort key names.
fn hour_of(sort: &str) -> Result<i64, StoreError> {
    let hour =
        sort.strip_prefix('H').and_then(|rest| rest.split('#').next()).and_then(|hour| hour.parse().ok());
    hour.ok_or_else(|| damaged(format!("expected durations, got {sort}")))
}
