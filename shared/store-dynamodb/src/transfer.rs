//! Reading out what the table holds, and taking in what another store has read out.
//!
//! The partitions of a kind are read side by side and merged by their sort keys, so that tasks come in the order of
//! their ids within a day, and the days from the oldest. A page's cursor names the partitions' day and the last key.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use baton_model::queue::Queue;
use baton_model::{
    Backoff, Digest, Label, ProjectId, QueueName, RequestKey, Running, State, TaskId, TaskState, Timestamp,
    WorkerId,
};
use baton_store::transfer::{
    Answer, ClaimRecord, DurationsRecord, ImportError, KeyRecord, LogRecord, PAGE_BYTES, Record, Refusal,
    TaskRecord, Verdict, WorkerRecord, queue_onto,
};
use baton_store::{Count, Cursor, Idempotency, Page, StoreError, Transfer};
use futures::StreamExt;
use futures::future::try_join_all;

use crate::DynamoStore;
use crate::attr::{Fields, Item, b, json, key, n, s, time};
use crate::codes::Code;
use crate::create::open_key;
use crate::db::{Query, Range, list};
use crate::error::{WriteError, contended, damaged};
use crate::expression::Expression;
use crate::heartbeat::{log_item, millis};
use crate::history::{INLINE_HISTORY, entry_of_event};
use crate::keys::{self, Kind, ODD, ODD_PARTS};
use crate::list::log_line;
use crate::listed::Listed;
use crate::queue::unconditional;
use crate::request::{KEPT_S, Plan};
use crate::row::{Stored, generation_item};
use crate::stats::epoch::TOUCHED;
use crate::stats::news::IMPORTED;
use crate::stats::{COUNTS, ends};
use crate::store::Inner;
use crate::text::Text;
use crate::worker::StoredWorker;
use crate::{audit, token};

/// How many records are read or written at the same time.
const AT_ONCE: usize = 16;

/// The most bytes of history in one archive that is written here.
const ARCHIVE_BYTES: usize = 64 * 1_024;

/// How many spans of claim requests are looked at: all whose names are still remembered, and one for clocks that are
/// ahead.
const SPANS: std::ops::RangeInclusive<i64> = -3..=1;

/// The kinds of records in the order in which they are read out, by the letters of their cursors.
const KINDS: [char; 9] = ['q', 'w', 't', 'h', 'l', 'k', 'c', 'o', 'a'];

/// A place in an export: the kind, the day or the like, and the last key there.
struct Place {
    kind: usize,
    part: Option<i64>,
    after: String,
}

impl Place {
    fn parse(cursor: Option<&Cursor>) -> Result<Self, StoreError> {
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

#[async_trait]
impl Transfer for DynamoStore {
    async fn export(
        &self,
        now: Timestamp,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Record>, StoreError> {
        self.inner.export(now, Place::parse(after.as_ref())?, limit as usize).await
    }

    async fn import(&self, records: Vec<Record>) -> Result<Vec<Verdict>, ImportError> {
        // Before anything lies in them, and once for all of the records: most are of the same few days.
        let days: BTreeSet<_> = records.iter().flat_map(days_of).collect();
        let notes = &self.inner.notes;
        try_join_all(days.into_iter().map(|(kind, day)| notes.know_past_day(&self.inner.db, kind, day)))
            .await?;
        // Tokens are counted in one item, for which those that are made at once would contend.
        let counted = records.iter().any(|record| matches!(record, Record::Token(_)));
        let at_once = if counted { 1 } else { AT_ONCE };
        // Tasks come with the time of their creation, by which statistics would take them for counted.
        let tasks = records.iter().any(|record| matches!(record, Record::Task(_)));
        let epoch = if tasks { self.inner.db.epochs().await?.latest() } else { None };
        let imports: Vec<_> = records.into_iter().map(|record| self.inner.import(record, epoch)).collect();
        let outcomes: Vec<_> = futures::stream::iter(imports).buffered(at_once).collect().await;
        outcomes.into_iter().collect()
    }

    async fn set_counts(&self, counts: Vec<Count>) -> Result<(), StoreError> {
        self.inner.set_counts(counts).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        let item = self.inner.db.get(keys::meta("transfer")).await?;
        item.as_ref().map(|item| Fields(item).text("t").map(str::to_owned)).transpose()
    }

    async fn set_checkpoint(&self, checkpoint: String) -> Result<(), StoreError> {
        let mut item = keys::meta("transfer");
        item.insert("t".to_owned(), s(checkpoint));
        unconditional(self.inner.db.put(item, Expression::new()).await)
    }
}

/// The days that a record lies in.
fn days_of(record: &Record) -> Vec<(Kind, i64)> {
    match record {
        Record::Task(record) => {
            let generation = record.generation.as_ref().map(|generation| generation.id);
            let generation = generation.map(|id| (Kind::Generation, keys::day_of(id.as_bytes())));
            generation
                .into_iter()
                .chain([(Kind::Task, keys::day_of(record.task.head.id.as_bytes()))])
                .collect()
        }
        Record::Log(record) => vec![(Kind::Log, record.line.at.as_millis() / keys::DAY_MS)],
        _ => Vec::new(),
    }
}

/// Items of several partitions, merged by their sort keys.
struct Merged {
    items: Vec<Item>,
    /// Whether there is more behind the last.
    more: bool,
}

impl Inner {
    /// The items of these partitions behind a key, about as many as asked for.
    async fn merged(
        &self,
        index: bool,
        partitions: Vec<String>,
        after: &str,
        limit: usize,
    ) -> Result<Merged, StoreError> {
        let chunk = i32::try_from(limit * 2 / partitions.len().max(1) + 3).unwrap_or(250).min(250);
        let lanes = try_join_all(partitions.iter().map(|partition| {
            // The least text behind a key is the key with a zero character.
            let range = if after.is_empty() { Range::All } else { Range::AtLeast(format!("{after}\0")) };
            let all = if index { Query::index(partition) } else { Query::table(partition) };
            let query = Query { range, limit: Some(chunk), ..all };
            async move { self.db.query(&query).await }
        }));
        let sort = |item: &Item| -> String {
            let name = if index { "is" } else { "sk" };
            item.get(name).and_then(|key| key.as_s().ok()).cloned().unwrap_or_default()
        };
        let (mut items, mut bound) = (Vec::new(), None::<String>);
        for lane in lanes.await? {
            if lane.next.is_some()
                && let Some(last) = lane.items.last().map(sort)
                && bound.as_ref().is_none_or(|bound| last < *bound)
            {
                bound = Some(last);
            }
            items.extend(lane.items);
        }
        items.sort_by_cached_key(sort);
        let fetched = items.len();
        if let Some(bound) = &bound {
            items.retain(|item| sort(item) <= *bound);
        }
        items.truncate(limit);
        let more = bound.is_some() || items.len() < fetched;
        Ok(Merged { items, more })
    }

    async fn export(
        &self,
        now: Timestamp,
        mut place: Place,
        limit: usize,
    ) -> Result<Page<Record>, StoreError> {
        let (items, more) = match KINDS[place.kind] {
            'q' => self.export_queues(&mut place, limit).await?,
            'w' => self.export_workers(&mut place, limit).await?,
            't' => self.export_tasks(&mut place, limit).await?,
            'h' => self.export_durations(&mut place, limit).await?,
            'l' => self.export_logs(&mut place, limit).await?,
            'k' => self.export_keys(&mut place, limit).await?,
            'c' => self.export_claims(now, &mut place, limit).await?,
            'o' => self.export_tokens(&mut place, limit).await?,
            _ => self.export_audit(&mut place, limit).await?,
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
        let records = merged.items.iter().map(|item| queue(item).map(Record::Queue));
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
    async fn worker_record(&self, stored: StoredWorker) -> Result<WorkerRecord, StoreError> {
        let StoredWorker { mut worker, listed, superseded, seen_at } = stored;
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
        Ok(WorkerRecord { worker, unlisted, superseded, seen_at })
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

    /// A task's item with all that belongs to it; none if it is being removed.
    async fn task_record(&self, stored: Stored) -> Result<Option<TaskRecord>, StoreError> {
        if stored.purged {
            return Ok(None);
        }
        let id = stored.head.id;
        let rest = stored.rest()?;
        let generation = match &stored.head.state {
            TaskState::Completed { generation, .. } => {
                let standing = self.stored_generation(*generation).await?;
                let missing = || damaged(format!("task {id} is completed without generation {generation}"));
                Some(standing.ok_or_else(missing)?)
            }
            _ => None,
        };
        let claimed_at = stored.claimed_at;
        Ok(Some(TaskRecord {
            history: self.db.history(id, rest.spilled, &rest.history).await?,
            generation,
            worker: stored.worker.clone(),
            claimed_at,
            content: rest.content.map(Digest::from_bytes),
            task: self.db.known_task(stored).await?,
        }))
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
            let range = Range::AtLeast("H".to_owned());
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
            let ends: i64 = Fields(item).number("xp")?;
            found.push(Record::Log(LogRecord {
                line: log_line(item)?,
                taken_at: Timestamp::from_millis(ends * 1_000).minus(self.options.keep_logs),
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
        let spans: Vec<_> = SPANS.map(|span| keys::request_span(now) + span).collect();
        let Some(span) = Self::part_of(place, &spans) else { return Ok((Vec::new(), false)) };
        let partitions = (0..keys::REQUEST_PARTS).map(|part| keys::request_partition(span, part)).collect();
        let merged = self.merged(false, partitions, &place.after, limit).await?;
        let mut found = Vec::with_capacity(merged.items.len());
        for item in &merged.items {
            let sort = key_of(Some(item));
            let unnamed = || damaged(format!("expected a worker and its claim, got {sort}"));
            let (worker, request) = sort.split_once('#').ok_or_else(unnamed)?;
            let plan = Plan::read(item)?;
            found.push(Record::Claim(ClaimRecord {
                worker: WorkerId::from_stored(worker),
                request: RequestKey::from_stored(request),
                created_at: Fields(item).time("ca")?,
                tasks: plan.tasks,
                answered: plan.answered,
            }));
        }
        let last = merged.items.last().map(|item| key_of(Some(item)).to_owned());
        Ok((found, Self::step(place, &spans, last, merged.more)))
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

    /// Takes a record in. `epoch`: the one that a task is to count for.
    async fn import(&self, record: Record, epoch: Option<u32>) -> Result<Verdict, ImportError> {
        match record {
            Record::Queue(queue) => self.import_queue(&queue).await,
            Record::Worker(worker) => self.import_worker(worker).await,
            Record::Task(task) => self.import_task(&task, epoch).await,
            Record::Durations(durations) => self.import_durations(&durations).await,
            Record::Log(log) => self.import_log(&log).await,
            Record::Key(key) => self.import_key(&key).await,
            Record::Claim(claim) => self.import_claim(&claim).await,
            Record::Token(stored) => self.import_token(&stored).await,
            Record::Audit(entry) => self.import_audit(&entry).await,
        }
    }

    async fn import_queue(&self, record: &Queue) -> Result<Verdict, ImportError> {
        let standing = self.db.get(keys::queue(&record.name)).await?.as_ref().map(queue).transpose()?;
        let verdict = queue_onto(record, standing.as_ref())?;
        if verdict != Verdict::Same {
            let update = Expression::new()
                .set("pd", n(u8::from(record.paused)))
                .set("ca", time(record.changed_at))
                .put("cb", record.changed_by.as_ref().map(Label::as_str).map(s));
            unconditional(self.db.update(keys::queue(&record.name), &update).await)?;
        }
        Ok(verdict)
    }

    async fn import_worker(&self, record: WorkerRecord) -> Result<Verdict, ImportError> {
        let before = self.stored_worker(&record.worker.id).await?;
        let standing = before.clone().map(|stored| WorkerRecord {
            worker: stored.worker,
            unlisted: Vec::new(),
            superseded: stored.superseded,
            seen_at: stored.seen_at,
        });
        let verdict = record.onto(standing.as_ref())?;
        if verdict != Verdict::Same {
            let listed = record.worker.running.as_ref().map(|running| {
                let mut held: Vec<_> = running.iter().map(|one| (one.task, one.attempt)).collect();
                held.extend(&record.unlisted);
                Listed::new(running, &held)
            });
            let WorkerRecord { mut worker, superseded, seen_at, .. } = record;
            worker.running = listed.as_ref().map(|listed| listed.shown.clone());
            let after = StoredWorker { worker, listed, superseded, seen_at };
            if !self.save_worker(before.as_ref(), &after).await? {
                return Err(contended("the worker").into());
            }
        }
        Ok(verdict)
    }

    async fn import_task(&self, record: &TaskRecord, epoch: Option<u32>) -> Result<Verdict, ImportError> {
        let task = &record.task;
        let id = task.head.id;
        // Looked at first: what is kept apart of another task of this id must not be written over.
        let given = self.db.get(self.task_key(id)).await?;
        let touched = given.as_ref().map_or(Ok(None), |item| Fields(item).maybe_number::<u32>(TOUCHED))?;
        let stored = given.as_ref().map(Stored::read).transpose()?;
        if stored.as_ref().is_some_and(|stored| stored.purged) {
            return Err(contended("the task").into());
        }
        let before = stored.as_ref().map(|stored| (stored.head.state.state(), stored.head.events));
        let standing = match stored {
            Some(stored) => self.task_record(stored).await?,
            None => None,
        };
        let verdict = record.onto(standing.as_ref())?;
        if verdict == Verdict::Same {
            return Ok(verdict);
        }
        // Its own record says when it was changed, and may come later.
        self.know_queue(&task.queue, task.priority, Timestamp::default()).await?;
        let mut item = self.task_item(record).await?;
        if let Some(epoch) = epoch.max(touched) {
            item.insert(TOUCHED.to_owned(), n(epoch));
        }
        if let Some(generation) = &record.generation {
            let (item, apart) = generation_item(generation, self.spread);
            for (text, whole) in &apart {
                self.db.write_text(&keys::apart(&generation.id), text, whole).await?;
            }
            match self.db.put(item, Expression::new().when_absent("pk")).await {
                Ok(()) => {}
                Err(WriteError::Condition(Some(item))) if Fields(&item).text("tk")? == id.to_string() => {}
                Err(WriteError::Condition(_)) => {
                    let why = format!("expected generation {} to be its own, got another's", generation.id);
                    return Err(Refusal { record: format!("task {id}"), why }.into());
                }
                Err(WriteError::Failed(error)) => return Err(error.into()),
            }
        }
        // The task comes last: all that it names is there by then.
        let condition = match before {
            None => Expression::new().when_absent("pk"),
            Some((_, events)) => Expression::new()
                .when("ev", "=", n(events))
                .when("ca", "=", time(task.created_at))
                .when_still(TOUCHED, touched.map(n)),
        };
        let mark = item.get("nc").cloned();
        match self.db.put(item, condition).await {
            Ok(()) => {}
            // The first sending of this very write went through, and its answer was lost.
            Err(WriteError::Condition(Some(item))) if item.get("nc").cloned() == mark => {}
            Err(WriteError::Condition(_)) => return Err(contended("the task").into()),
            Err(WriteError::Failed(error)) => return Err(error.into()),
        }
        let mut stats = self.stats.lock();
        if let Some((state, _)) = before {
            stats.tally(&task.queue, &task.task_type, state, -1);
        }
        stats.tally(&task.queue, &task.task_type, task.head.state.state(), 1);
        Ok(verdict)
    }

    /// A task's item in any state. Writes what is kept apart from it.
    async fn task_item(&self, record: &TaskRecord) -> Result<Item, StoreError> {
        let (task, head) = (&record.task, &record.task.head);
        let id = head.id;
        let owner = keys::apart(&id);
        let params = Text::of("params", task.params.as_str());
        if matches!(params, Text::Apart { .. }) {
            self.db.write_text(&owner, &params, task.params.as_str()).await?;
        }
        let mut entries = Vec::with_capacity(record.history.len());
        for event in &record.history {
            let written = entry_of_event(event)?;
            if let Some((text, whole)) = &written.apart {
                self.db.write_text(&owner, text, whole).await?;
            }
            entries.push(written.entry);
        }
        let spilled = self.spill_all(id, &entries).await?;
        let inline = &entries[spilled..];
        let bytes: usize = inline.iter().map(String::len).sum();
        // The failure to show is told by the event that brought it.
        let error_at = match &task.error {
            None => None,
            Some(error) => {
                let place =
                    record.history.iter().rposition(|event| event.detail.error.as_ref() == Some(error));
                Some(place.ok_or_else(|| damaged(format!("no event of task {id} tells of its failure")))? + 1)
            }
        };
        let (lease, output) = match &head.state {
            TaskState::Running(lease) => (Some(lease), None),
            TaskState::Completed { generation, output } => (None, Some((generation, output))),
            TaskState::Queued | TaskState::Failed | TaskState::Cancelled => (None, None),
        };
        let place = match (&head.state, lease) {
            (TaskState::Queued, _) => {
                let shard = keys::shard(id, self.options.shards_of(&task.queue));
                let partition = keys::ready(&task.queue, task.priority, shard);
                Some((partition, keys::place(head.run_after, id)))
            }
            (_, Some(lease)) => Some((keys::held(&lease.worker), keys::place(lease.claimed_at, id))),
            (TaskState::Failed | TaskState::Cancelled, _) => {
                let part = keys::hash(id.as_bytes()) % self.spread;
                Some((keys::given_up(head.state.state(), part), keys::place(task.updated_at, id)))
            }
            _ => None,
        };
        let backoff = (head.backoff != Backoff::default()).then(|| json("a backoff", &head.backoff));
        let project = (task.project != ProjectId::default()).then(|| s(task.project.as_str()));
        let (partition, sort) = place.unzip();
        let mut item = self.task_key(id);
        let mut put = |name: &str, value| {
            if let Some(value) = value {
                item.insert(name.to_owned(), value);
            }
        };
        put("ip", partition.map(s));
        put("is", sort.map(s));
        put("st", Some(n(head.state.state().code())));
        put("at", (head.attempt > 0).then(|| n(head.attempt)));
        put("fg", (head.forgiven > 0).then(|| n(head.forgiven)));
        put("mx", Some(n(head.max_attempts)));
        put("ra", Some(time(head.run_after)));
        put("to", head.timeout.map(|timeout| n(timeout.as_millis())));
        put("bo", backoff.transpose()?.map(s));
        put("ev", Some(n(head.events)));
        put("wk", record.worker.as_ref().map(|worker| s(worker.as_str())));
        put("cl", record.claimed_at.map(time));
        put("ss", lease.and_then(|lease| lease.session).map(|session| b(*session.as_bytes())));
        put("ex", lease.and_then(|lease| lease.expires_at).map(time));
        put("tm", lease.and_then(|lease| lease.timeout_at).map(time));
        put("rq", lease.and_then(|lease| lease.request.as_ref()).map(|request| s(request.as_str())));
        put("en", head.ended.as_ref().map(|end| n(end.how.code())));
        put("gn", output.map(|(generation, _)| b(*generation.as_bytes())));
        put("od", output.map(|(_, output)| b(*output.as_bytes())));
        put("qu", Some(s(task.queue.as_str())));
        put("ty", Some(s(task.task_type.as_str())));
        put("pr", Some(n(task.priority.code())));
        put("ca", Some(time(task.created_at)));
        put("ua", Some(time(task.updated_at)));
        put("hb", Some(n(bytes)));
        put("hl", Some(list(inline.iter().map(s))));
        put("hs", (spilled > 0).then(|| n(spilled)));
        put("es", error_at.map(n));
        put("dg", record.content.map(|content| b(*content.as_bytes())));
        put("nc", Some(n(self.mark(&(id, head.events)))));
        put(IMPORTED, Some(n(head.events)));
        put("pj", project);
        put("ds", task.description.as_ref().map(s));
        put("dm", task.domain.as_ref().map(|domain| s(domain.as_str())));
        put("dr", task.drift_score.map(|score| s(score.to_string())));
        put("ab", task.assigned_by.as_ref().map(|by| s(by.as_str())));
        params.put(&mut item, "pa", "px");
        Ok(item)
    }

    /// Keeps a history apart, all but its last entry, if it is too long to stay with its task; says how many entries.
    async fn spill_all(&self, id: TaskId, entries: &[String]) -> Result<usize, StoreError> {
        let bytes: usize = entries.iter().map(String::len).sum();
        if bytes <= INLINE_HISTORY as usize {
            return Ok(0);
        }
        let spilled = entries.len() - 1;
        let mut first = 0;
        while first < spilled {
            let mut bytes = 0;
            let fits = entries[first..spilled].iter().take_while(|entry| {
                bytes += entry.len();
                bytes <= ARCHIVE_BYTES
            });
            let count = fits.count().max(1);
            let number = u32::try_from(first + 1).unwrap_or(u32::MAX);
            self.db.archive(id, number, &entries[first..first + count]).await?;
            first += count;
        }
        Ok(spilled)
    }

    async fn import_durations(&self, record: &DurationsRecord) -> Result<Verdict, ImportError> {
        let place = key(&keys::statistics(&record.queue), &format!("H{:08}", record.hour));
        let standing = self.db.get(place.clone()).await?;
        let standing = standing.map(|item| durations(&record.queue, record.hour, &[item])).transpose()?;
        if standing.as_ref() == Some(record) {
            return Ok(Verdict::Same);
        }
        let mut item = place;
        for (letter, buckets) in [('w', &record.wait), ('r', &record.run)] {
            item.extend(buckets.iter().map(|(bucket, tasks)| (format!("{letter}{bucket}"), n(tasks))));
        }
        // As long as those that the store counts itself.
        item.insert("xp".to_owned(), n(ends(record.hour)));
        unconditional(self.db.put(item, Expression::new()).await)?;
        Ok(if standing.is_none() { Verdict::New } else { Verdict::Later })
    }

    async fn import_log(&self, record: &LogRecord) -> Result<Verdict, ImportError> {
        let line = &record.line;
        let ends = (record.taken_at.as_millis() + millis(self.options.keep_logs)) / 1_000;
        self.put_new_record(log_item(line, record.place as usize, ends)?).await
    }

    /// Writes an item that is the same wherever it is written.
    async fn put_new_record(&self, item: Item) -> Result<Verdict, ImportError> {
        match self.db.put(item, Expression::new().when_absent("pk")).await {
            Ok(()) => Ok(Verdict::New),
            Err(WriteError::Condition(_)) => Ok(Verdict::Same),
            Err(WriteError::Failed(error)) => Err(error.into()),
        }
    }

    async fn import_key(&self, record: &KeyRecord) -> Result<Verdict, ImportError> {
        let idempotency = Idempotency { key: record.key.clone(), digest: record.digest };
        let mark = self.mark(&(record.created_at, &record.key));
        let mut item = open_key(&idempotency, record.created_at, mark);
        let given = match &record.answer {
            Answer::Given(items) => {
                item.insert("an".to_owned(), s(json("an answer", items)?));
                true
            }
            Answer::Begun(ids) => {
                item.insert("op".to_owned(), b(ids.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<_>>()));
                false
            }
        };
        match self.db.put(item.clone(), Expression::new().when_absent("pk")).await {
            Ok(()) => Ok(Verdict::New),
            Err(WriteError::Condition(Some(standing))) => {
                let fields = Fields(&standing);
                if fields.maybe_sixteen("dg")?.map(Digest::from_bytes) != Some(record.digest) {
                    let why = "expected no other request under this key in the target, got one".to_owned();
                    let record = format!("idempotency key {}", record.key);
                    return Err(Refusal { record, why }.into());
                }
                if !given || fields.has("an") {
                    return Ok(Verdict::Same);
                }
                unconditional(self.db.put(item, Expression::new()).await)?;
                Ok(Verdict::Later)
            }
            Err(WriteError::Condition(None)) => Err(contended("the idempotency key").into()),
            Err(WriteError::Failed(error)) => Err(error.into()),
        }
    }

    async fn import_claim(&self, record: &ClaimRecord) -> Result<Verdict, ImportError> {
        let span = keys::request_span(record.created_at);
        let mut item = keys::request(&record.worker, &record.request, span);
        let mut put = |name: &str, value| item.insert(name.to_owned(), value);
        put("vn", n(1));
        put("pl", list(record.tasks.iter().map(|(id, attempt)| s(format!("{id}#{attempt}")))));
        put("ca", time(record.created_at));
        put("nc", n(self.mark(&(record.created_at, &record.request))));
        put("xp", n(record.created_at.as_millis() / 1_000 + KEPT_S));
        if record.answered {
            put("aw", n(1));
        }
        self.put_new_record(item).await
    }

    /// Puts these in the place of all counts.
    async fn set_counts(&self, counts: Vec<Count>) -> Result<(), StoreError> {
        // What this process has gathered is in what was counted.
        self.stats.flush(&self.db).await?;
        if self.stats.by_stream(&self.db).await? {
            // It has heard of each task that was taken in.
            return Ok(());
        }
        let mut queues: BTreeMap<QueueName, Item> = BTreeMap::new();
        let mut after = String::new();
        loop {
            let partitions = (0..keys::NAME_PARTS).map(keys::queue_partition).collect();
            let merged = self.merged(false, partitions, &after, 100).await?;
            for item in &merged.items {
                let name = QueueName::from_stored(key_of(Some(item)));
                let counts = key(&keys::statistics(&name), COUNTS);
                queues.insert(name, counts);
            }
            if !merged.more {
                break;
            }
            key_of(merged.items.last()).clone_into(&mut after);
        }
        for count in counts {
            let attribute = format!("{}:{}", State::code(count.state), count.task_type);
            let place = || key(&keys::statistics(&count.queue), COUNTS);
            queues.entry(count.queue.clone()).or_insert_with(place).insert(attribute, n(count.tasks));
        }
        self.db.put_all(queues.into_values().collect()).await
    }
}

/// A queue's record.
fn queue(item: &Item) -> Result<Queue, StoreError> {
    let fields = Fields(item);
    Ok(Queue {
        name: QueueName::from_stored(fields.text("sk")?),
        paused: fields.maybe_number("pd")? == Some(1_u8),
        changed_by: fields.maybe_text("cb")?.map(Label::from_stored),
        changed_at: fields.time("ca")?,
    })
}

/// The hour that a sort key names.
fn hour_of(sort: &str) -> Result<i64, StoreError> {
    let hour =
        sort.strip_prefix('H').and_then(|rest| rest.split('#').next()).and_then(|hour| hour.parse().ok());
    hour.ok_or_else(|| damaged(format!("expected durations, got {sort}")))
}

/// An hour of a queue's durations, from the items that hold parts of it.
fn durations(queue: &QueueName, hour: i64, parts: &[Item]) -> Result<DurationsRecord, StoreError> {
    let (mut wait, mut run) = (BTreeMap::new(), BTreeMap::new());
    for part in parts {
        let fields = Fields(part);
        for name in part.keys().filter(|name| !matches!(name.as_str(), "pk" | "sk" | "xp" | "nc")) {
            let bucket: Option<i64> = name.get(1..).and_then(|digits| digits.parse().ok());
            let bucket = bucket.ok_or_else(|| damaged(format!("expected a duration, got {name}")))?;
            let buckets = if name.starts_with('w') { &mut wait } else { &mut run };
            *buckets.entry(bucket).or_default() += fields.number::<u64>(name)?;
        }
    }
    let (wait, run) = (wait.into_iter().collect(), run.into_iter().collect());
    Ok(DurationsRecord { queue: queue.clone(), hour, wait, run })
}

/// The sort key of a page's entry, or nothing.
fn key_of(item: Option<&Item>) -> &str {
    item.map_or("", |item| crate::descent::key_of(item, false))
}
