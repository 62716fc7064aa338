//! Taking in what another store has read out: each record on the condition that nothing else stands there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use baton_model::queue::Queue;
use baton_model::{Backoff, Digest, Label, ProjectId, QueueName, TaskId, TaskState, Timestamp};
use baton_store::transfer::{
    Answer, ClaimRecord, DurationsRecord, ImportError, KeyRecord, LogRecord, Record, Refusal, TaskRecord,
    Verdict, WorkerRecord, queue_onto,
};
use baton_store::{Count, Idempotency, StoreError};

use crate::archive::KEPT_SINCE;
use crate::attr::{Fields, Item, b, json, key, n, s, time};
use crate::batches::BATCH;
use crate::codes::Code;
use crate::create::open_key;
use crate::db::list;
use crate::defaults::defaults_update;
use crate::ends::OWN_KEEPING;
use crate::ends::{ENDS, KEPT, end_of};
use crate::error::{WriteError, contended, damaged};
use crate::expression::Expression;
use crate::generation::generation_item;
use crate::heartbeat::{log_item, millis};
use crate::history::{INLINE_HISTORY, entry_of_event};
use crate::kept::MARK;
use crate::keys::{self, Kind};
use crate::lane::Lane;
use crate::listed::Listed;
use crate::queue::{plain, unconditional};
use crate::request::KEPT_S;
use crate::row::{Stored, put_dependencies};
use crate::stats::epoch::TOUCHED;
use crate::stats::news::IMPORTED;
use crate::stats::types::OF_PROCESSES;
use crate::stats::{COUNTS, attribute, ends};
use crate::store::Inner;
use crate::text::Text;
use crate::worker::StoredWorker;

use super::{durations, key_of};

/// The most bytes of history in one archive that is written here.
const ARCHIVE_BYTES: usize = 64 * 1_024;

/// How long a task that is marked as removed is waited for, until what is left of it is deleted here: twice an attempt at a request.
const REMOVED_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The days that a record lies in.
pub(super) fn days_of(record: &Record) -> Vec<(Kind, i64)> {
    match record {
        Record::Task(record) => days_of_task(record),
        Record::Log(record) => vec![(Kind::Log, record.line.received_at.as_millis() / keys::DAY_MS)],
        _ => Vec::new(),
    }
}

/// The days that a task and its generation lie in.
pub(crate) fn days_of_task(record: &TaskRecord) -> Vec<(Kind, i64)> {
    let generation = record.generation.as_ref().map(|generation| generation.id);
    let generation = generation.map(|id| (Kind::Generation, keys::day_of(id.as_bytes())));
    generation.into_iter().chain([(Kind::Task, keys::day_of(record.task.head.id.as_bytes()))]).collect()
}

impl Inner {
    /// Takes a record in. `epoch`: the one that a task is to count for.
    pub(crate) async fn import(&self, record: Record, epoch: Option<u32>) -> Result<Verdict, ImportError> {
        match record {
            Record::Queue(queue) => self.import_queue(&queue).await,
            Record::Worker(worker) => self.import_worker(worker).await,
            Record::Task(task) => self.import_task(&task, epoch, None).await,
            Record::Durations(durations) => self.import_durations(&durations).await,
            Record::Log(log) => self.import_log(&log).await,
            Record::Key(key) => self.import_key(&key).await,
            Record::Claim(claim) => self.import_claim(&claim).await,
            Record::Token(stored) => self.import_token(&stored).await,
            Record::Audit(entry) => self.import_audit(&entry).await,
            Record::Limit(limit) => self.import_limit(&limit).await,
            Record::Owned(owned) => self.import_owned(&owned).await,
            Record::Schedule(schedule) => self.import_schedule(&schedule).await,
            Record::Supply(supply) => self.import_supply(&supply).await,
            Record::Batch(batch) => self.import_batch(&batch).await,
            Record::Settings(settings) => self.import_settings(&settings).await,
            Record::Document(document) => self.import_document(&document).await,
            Record::Bulk(bulk) => self.import_bulk(&bulk).await,
            // A migration leaves them behind: this store says that it lacks them.
            Record::Order(_) | Record::Happened(_) => {
                let why = "expected what a table has a place for, got what it has none for".to_owned();
                Err(Refusal { record: record.name(), why }.into())
            }
        }
    }

    async fn import_queue(&self, record: &Queue) -> Result<Verdict, ImportError> {
        let standing = self.db.get(keys::queue(&record.name)).await?.as_ref().map(plain).transpose()?;
        let verdict = queue_onto(record, standing.as_ref())?;
        if verdict != Verdict::Same {
            let update = Expression::new()
                .set("pd", n(u8::from(record.paused)))
                .set("ca", time(record.changed_at))
                .put("cb", record.changed_by.as_ref().map(Label::as_str).map(s))
                .put("cr", record.reason.clone().map(s));
            unconditional(self.db.update(keys::queue(&record.name), &update).await)?;
            let from = standing.map(|standing| standing.order).unwrap_or_default();
            self.write_order(&record.name, (from, record.order), record.changed_at).await?;
            let update = defaults_update(record.defaults, record.changed_at)?;
            unconditional(self.db.update(keys::queue(&record.name), &update).await)?;
        }
        Ok(verdict)
    }

    async fn import_worker(&self, record: WorkerRecord) -> Result<Verdict, ImportError> {
        let before = self.stored_worker(&record.worker.id).await?;
        let standing = before.clone().map(|stored| WorkerRecord {
            worker: stored.worker,
            unlisted: Vec::new(),
            seen_at: stored.seen_at,
        });
        let verdict = record.onto(standing.as_ref())?;
        if verdict != Verdict::Same {
            let listed = record.worker.running.as_ref().map(|running| {
                let mut held: Vec<_> = running.iter().map(|one| (one.task, one.attempt)).collect();
                held.extend(&record.unlisted);
                Listed::new(running, &held)
            });
            let WorkerRecord { mut worker, seen_at, .. } = record;
            worker.running = listed.as_ref().map(|listed| listed.shown.clone());
            let shipped = before.as_ref().map_or(0, |before| before.shipped);
            let after = StoredWorker { worker, listed, seen_at, shipped };
            if !self.save_worker(before.as_ref(), &after).await? {
                return Err(contended("the worker").into());
            }
        }
        Ok(verdict)
    }

    /// Takes a task in. `kept_since`: from when on it is kept, if that is not from its end.
    pub(crate) async fn import_task(
        &self,
        record: &TaskRecord,
        epoch: Option<u32>,
        kept_since: Option<Timestamp>,
    ) -> Result<Verdict, ImportError> {
        let task = &record.task;
        let id = task.head.id;
        // Looked at first: what is kept apart of another task of this id must not be written over.
        let given = self.once_removed(id, REMOVED_WITHIN, kept_since).await?;
        let touched = given.as_ref().map_or(Ok(None), |item| Fields(item).maybe_number::<u32>(TOUCHED))?;
        let keepings = given.as_ref().and_then(|item| item.get(KEPT).cloned());
        let stored = given.as_ref().map(Stored::read).transpose()?;
        let before = stored
            .as_ref()
            .map(|stored| (stored.queue.clone(), stored.head.state.state(), stored.head.events, stored.ends));
        let standing = match stored {
            Some(stored) => self.task_record(stored).await?,
            None => None,
        };
        let verdict = record.onto(standing.as_ref())?;
        if verdict == Verdict::Same {
            return Ok(verdict);
        }
        let waited_for = self.import_edges(&record.task).await?;
        let mut item = self.task_item(record).await?;
        if waited_for {
            item.insert(MARK.to_owned(), n(1));
        }
        item.extend(keepings.map(|count| (KEPT.to_owned(), count)));
        item.extend(kept_since.map(|since| (KEPT_SINCE.to_owned(), time(since))));
        if task.retention.is_some() {
            self.note_own_keeping(task.created_at).await?;
        }
        if let Some(epoch) = epoch.max(touched) {
            item.insert(TOUCHED.to_owned(), n(epoch));
        }
        if let Some(generation) = &record.generation {
            let (item, apart) = generation_item(generation, self.spread)?;
            for (text, whole) in &apart {
                self.db.write_text(&keys::apart(&generation.id), text, whole, None).await?;
            }
            match self.db.put(item, Expression::new().when_absent("pk")).await {
                Ok(()) => {}
                Err(WriteError::Condition(Some(item))) if Fields(&item).text("tk")? == id.to_string() => {
                    // As the task, it is dated by a walk that comes later.
                    if item.contains_key(ENDS) {
                        let undated = Expression::new().when_present("pk").remove(ENDS);
                        match self.db.update(self.generation_key(generation.id), &undated).await {
                            Ok(_) => {}
                            Err(WriteError::Condition(_)) => return Err(contended("the generation").into()),
                            Err(WriteError::Failed(error)) => return Err(error.into()),
                        }
                    }
                }
                Err(WriteError::Condition(_)) => {
                    let why = format!("expected generation {} to be its own, got another's", generation.id);
                    return Err(Refusal { record: format!("task {id}"), why }.into());
                }
                Err(WriteError::Failed(error)) => return Err(error.into()),
            }
        }
        if !task.head.state.state().is_final() {
            self.note_expiry(id, task.head.expires_at).await?;
        }
        self.import_unique(task).await?;
        // The task comes last: all that it names is there by then.
        let condition = match &before {
            None => Expression::new().when_absent("pk"),
            Some((_, _, events, _)) => Expression::new()
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
        self.import_member(&record.task).await?;
        self.keep_imported(&record.task).await?;
        if matches!(task.head.state, TaskState::Running(_)) {
            self.count_now(id).await?;
        }
        let mut stats = self.stats.lock();
        if let Some((queue, state, _, ends)) = before {
            stats.tally(&queue, &task.task_type, state, -1);
            stats.end(&queue, &task.task_type, state, ends, -1);
        }
        stats.tally(&task.queue, &task.task_type, task.head.state.state(), 1);
        Ok(verdict)
    }

    /// The item of a task, or none once one that is marked as removed is gone: whoever has marked it deletes it a moment later, and what
    /// is still there after so long was left by one that was cut off, and is deleted here. What has been past its end for so long by `now`
    /// waits for DynamoDB alone, and is deleted at once.
    pub(crate) async fn once_removed(
        &self,
        id: TaskId,
        within: Duration,
        now: Option<Timestamp>,
    ) -> Result<Option<Item>, StoreError> {
        let begun = Instant::now();
        loop {
            let Some(item) = self.db.get(self.task_key(id)).await? else { return Ok(None) };
            let stored = Stored::read(&item)?;
            if !stored.purged {
                return Ok(Some(item));
            }
            let waits_alone = stored
                .ends
                .zip(now)
                .is_some_and(|(ends, now)| ends <= end_of(now.minus(within), Duration::ZERO));
            if waits_alone || begun.elapsed() >= within {
                self.clear(&stored).await?;
            } else {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// A task's item in any state. Writes what is kept apart from it.
    async fn task_item(&self, record: &TaskRecord) -> Result<Item, StoreError> {
        let (task, head) = (&record.task, &record.task.head);
        let id = head.id;
        let owner = keys::apart(&id);
        let params = Text::of("params", task.params.as_str());
        if matches!(params, Text::Apart { .. }) {
            self.db.write_text(&owner, &params, task.params.as_str(), None).await?;
        }
        let mut entries = Vec::with_capacity(record.history.len());
        for event in &record.history {
            let written = entry_of_event(event)?;
            if let Some((text, whole)) = &written.apart {
                self.db.write_text(&owner, text, whole, None).await?;
            }
            entries.push(written.entry);
        }
        let spilled = self.spill_all((id, task.created_at), &entries).await?;
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
            TaskState::Blocked | TaskState::Queued | TaskState::Failed | TaskState::Cancelled => (None, None),
        };
        // Its own record says when the queue was changed, and may come later.
        self.know_queue(&task.queue, Timestamp::default()).await?;
        let place = match (&head.state, lease) {
            (TaskState::Queued, _) => {
                let pair = (&task.project, &task.task_type);
                let own = Lane::of(pair, task.concurrency_key.as_ref(), task.affinity.as_ref());
                let lane = self.lane_for(&task.queue, task.priority, own, Timestamp::default()).await?;
                let shard = keys::shard(id, self.options.shards_of(&task.queue));
                let partition = keys::ready(&task.queue, task.priority, shard, lane);
                Some((partition, keys::waiting_place(head)))
            }
            (_, Some(lease)) => Some((keys::held(&lease.worker), keys::place(lease.claimed_at, id))),
            (TaskState::Blocked, _) => {
                let part = keys::hash(id.as_bytes()) % self.spread;
                Some((keys::blocked(part), keys::place(task.updated_at, id)))
            }
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
        put("wl", (head.worker_losses > 0).then(|| n(head.worker_losses)));
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
        put("bt", lease.and_then(|lease| lease.beats).map(n));
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
        put("ck", task.concurrency_key.as_ref().map(|key| s(key.as_str())));
        put("af", task.affinity.as_ref().map(|affinity| s(affinity.as_str())));
        put("xa", head.expires_at.map(time));
        put(BATCH, task.batch.map(|batch| b(*batch.as_bytes())));
        put(OWN_KEEPING, task.retention.map(|retention| n(retention.as_millis())));
        put("tp", task.trace.as_ref().map(|trace| s(trace.to_string())));
        let unique = task.unique.as_ref().map(|unique| json("a unique key", unique)).transpose()?;
        put("uq", unique.map(s));
        params.put(&mut item, "pa", "px");
        put_dependencies(&mut item, &task.depends_on, task.if_dependency_fails);
        Ok(item)
    }

    /// Keeps a history apart, all but its last entry, if it is too long to stay with its task; says how many entries.
    async fn spill_all(&self, life: (TaskId, Timestamp), entries: &[String]) -> Result<usize, StoreError> {
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
            self.db.archive(life, number, &entries[first..first + count]).await?;
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
        for (letter, buckets) in [('w', &record.wait), ('r', &record.run), ('f', &record.failed)] {
            item.extend(buckets.iter().map(|(bucket, tasks)| (format!("{letter}{bucket}"), n(tasks))));
        }
        // As long as those that the store counts itself.
        item.insert("xp".to_owned(), n(ends(record.hour)));
        unconditional(self.db.put(item, Expression::new()).await)?;
        Ok(if standing.is_none() { Verdict::New } else { Verdict::Later })
    }

    async fn import_log(&self, record: &LogRecord) -> Result<Verdict, ImportError> {
        let line = &record.line;
        let ends = (line.received_at.as_millis() + millis(self.keeping.logs())) / 1_000;
        self.put_new_record(log_item(line, line.received_at, record.place as usize, ends)?).await
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
        let idempotency = Idempotency { key: record.key.clone(), fingerprint: record.digest.into() };
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
        let mut item = keys::request(&record.worker, &record.request);
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
    pub(super) async fn set_counts(&self, counts: Vec<Count>) -> Result<(), StoreError> {
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
        let mut of_queues: BTreeMap<&QueueName, Vec<&Count>> = BTreeMap::new();
        for count in &counts {
            of_queues.entry(&count.queue).or_default().push(count);
        }
        let mut sums: BTreeMap<(&QueueName, String), u64> = BTreeMap::new();
        for (queue, counts) in of_queues {
            let types = counts.iter().filter_map(|count| count.task_type.clone()).collect();
            let named = self.stats.types.named(&self.db, queue, OF_PROCESSES, &types).await?;
            for count in counts {
                let name = count.task_type.as_ref().and_then(|one| named.get(one));
                *sums.entry((queue, attribute(count.state, name))).or_default() += count.tasks;
            }
        }
        for ((queue, attribute), tasks) in sums {
            let place = || key(&keys::statistics(queue), COUNTS);
            queues.entry(queue.clone()).or_insert_with(place).insert(attribute, n(tasks));
        }
        self.db.put_all(queues.into_values().collect()).await
    }
}
