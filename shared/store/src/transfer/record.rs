//! What a store holds, one record at a time, in a form that every store can read out and take in.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use baton_model::queue::Queue;
use baton_model::{
    Batch, Bulk, BulkTasks, Digest, Event, Generation, Happened, Head, Limit, LogLine, Output, Payload,
    QueueName, RequestKey, Schedule, StoredSettings, Supply, TaskId, Timestamp, Worker, WorkerId,
};
use serde::{Deserialize, Serialize};

use super::onto::{
    audit_name, batch_name, batch_sum, bulk_name, document_name, happened_name, limit_name, order_name,
    owned_name, schedule_name, schedule_sum, settings_name, supply_name, supply_sum, token_name,
};
use crate::command::{Accepted, ItemRefusal};
use crate::limit::OwnedProject;
use crate::token::{AUDIT_KEPT, AuditEntry, StoredToken};

/// One thing that a store holds. Counts are not among them: they are made anew from the tasks.
///
/// Whatever else a store is to keep becomes a variant here, a kind in each store's export and an arm in each store's
/// import; its group then counts it in the report and in the comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A queue.
    Queue(Queue),
    /// A worker.
    Worker(WorkerRecord),
    /// A task with all that belongs to it.
    Task(Box<TaskRecord>),
    /// An hour of a queue's waiting and running times.
    Durations(DurationsRecord),
    /// A log line.
    Log(LogRecord),
    /// An idempotency key.
    Key(KeyRecord),
    /// The name of a claim request.
    Claim(ClaimRecord),
    /// A caller's token, with the digest of its secret.
    Token(StoredToken),
    /// An entry of the audit log.
    Audit(AuditEntry),
    /// A limit.
    Limit(Limit),
    /// Whose a project is.
    Owned(OwnedProject),
    /// A schedule.
    Schedule(Box<Schedule>),
    /// A queue's supply.
    Supply(Box<Supply>),
    /// A batch with what is counted of it, as tasks that were counted may be gone.
    Batch(Box<Batch>),
    /// The settings that were changed while servers ran.
    Settings(Box<StoredSettings>),
    /// A bulk command, with how far it is.
    Bulk(Box<Bulk>),
    /// A document: of an alert or a webhook.
    Document(DocumentRecord),
    /// A part of the order of all events.
    Order(OrderRecord),
    /// What the time line alone tells.
    Happened(HappenedRecord),
}

/// The group of bulk commands.
pub const BULK: &str = "bulk commands";
/// The group of documents.
pub const NOTICES: &str = "alerts and webhooks";
/// The group of what the time line tells besides histories, and of their order.
pub const TIMELINE: &str = "time line";

/// A task with its history and its generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The task, with its lease if it runs.
    pub task: baton_model::Task,
    /// Its whole history, the first event first.
    pub history: Vec<Event>,
    /// Its output record; there if and only if it is completed.
    pub generation: Option<Generation>,
    /// Who holds it, or held it last.
    pub worker: Option<WorkerId>,
    /// When its latest claim was.
    pub claimed_at: Option<Timestamp>,
    /// What its producer asked for, where the store keeps it: by it the same creation is known again.
    pub content: Option<Digest>,
    /// Its place among all tasks, where the store has one: by it bulk commands and the order of events go on in another such store. No part
    /// of what the task is.
    #[serde(skip)]
    pub place: Option<i64>,
}

/// A document of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRecord {
    /// Its kind.
    pub kind: String,
    /// Its name among those of its kind.
    pub name: String,
    /// What it says.
    pub value: String,
}

/// Some events that follow each other in the one order of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRecord {
    /// The position of the first one; those of the others follow.
    pub first: u64,
    /// When the latest of them was.
    pub at: Timestamp,
    /// Each by its task's [place](TaskRecord::place) and its number in that task's history.
    pub events: Vec<(i64, u32)>,
}

/// What happened that is no task's event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HappenedRecord {
    /// When.
    pub at: Timestamp,
    /// Its place within the millisecond.
    pub place: u32,
    /// What.
    pub what: Happened,
}

/// A worker with what is kept of it besides what it shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// The worker. Its list of what it runs holds every attempt that its last heartbeat listed and that is its own.
    pub worker: Worker,
    /// The attempts that are its own and that its last heartbeat did not list, if it listed any.
    pub unlisted: Vec<(TaskId, u32)>,
    /// The last beat or, to the hour, the last claim.
    pub seen_at: Timestamp,
}

/// An hour of a queue's durations: how many fell into which bucket of [`crate::histogram`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationsRecord {
    /// The queue.
    pub queue: QueueName,
    /// Hours since 1970.
    pub hour: i64,
    /// From ready to claimed, by bucket.
    pub wait: Vec<(i64, u64)>,
    /// From claimed to completed, by bucket.
    pub run: Vec<(i64, u64)>,
    /// From claimed to failed or lost, by bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<(i64, u64)>,
}

/// A log line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// The line.
    pub line: LogLine,
    /// Its place among the lines of its millisecond.
    pub place: u32,
    /// How many lines before it, of the same millisecond, are the same in everything.
    pub copy: u32,
}

/// The answer that an idempotency key keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What became of each task.
    Given(Vec<Result<Accepted, ItemRefusal>>),
    /// None yet: a large batch that was cut off, with the ids that its tasks are to have.
    Begun(Vec<TaskId>),
}

/// An idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The key.
    pub key: String,
    /// What was asked under it.
    pub digest: Digest,
    /// When.
    pub created_at: Timestamp,
    /// The answer.
    pub answer: Answer,
}

/// The name of a claim request that was answered with leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// The worker that claimed.
    pub worker: WorkerId,
    /// Its name for the claim.
    pub request: RequestKey,
    /// When.
    pub created_at: Timestamp,
    /// The attempts that it took, or that are left of them.
    pub tasks: Vec<(TaskId, u32)>,
    /// Whether it is known to have had its answer.
    pub answered: bool,
}

/// Where a record stands to what the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is new.
    New,
    /// It is a later version of what stands.
    Later,
    /// It stands as it is.
    Same,
}

/// A record that cannot be taken in because of what stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{record}: {why}")]
pub struct Refusal {
    /// The record, by name.
    pub record: String,
    /// What is in the way.
    pub why: String,
}

impl TaskRecord {
    /// Says what taking in this record does to what stands under its id: a task only ever goes forward, along the very
    /// history that it has.
    ///
    /// # Errors
    /// If what stands is another task, or is not an earlier version of this one.
    pub fn onto(&self, standing: Option<&Self>) -> Result<Verdict, Refusal> {
        let Some(standing) = standing else { return Ok(Verdict::New) };
        let refused = |why: String| Refusal { record: format!("task {}", self.task.head.id), why };
        let (ours, theirs) = (&self.task, &standing.task);
        let same_task = ours.created_at == theirs.created_at
            && (self.first_queue(), &ours.task_type, &ours.project)
                == (standing.first_queue(), &theirs.task_type, &theirs.project)
            && (&ours.params, &ours.description) == (&theirs.params, &theirs.description)
            && self.content == standing.content;
        if !same_task {
            return Err(refused("expected no other task of this id in the target, got one".to_owned()));
        }
        let (events, got) = (self.history.len(), standing.history.len());
        match got.cmp(&events) {
            Ordering::Greater => Err(refused(format!(
                "expected the target to be no further on than {events} events, got {got}: it has been worked on there"
            ))),
            Ordering::Less if self.history.starts_with(&standing.history) => Ok(Verdict::Later),
            Ordering::Equal if self.checksum() == standing.checksum() => Ok(Verdict::Same),
            Ordering::Less | Ordering::Equal => Err(refused(
                "expected the target's history to be a beginning of the source's, got another: it has been worked on there"
                    .to_owned(),
            )),
        }
    }

    /// The queue that it was created in, from which it may have gone since.
    fn first_queue(&self) -> &QueueName {
        let mut left = self.history.iter().filter_map(|event| event.detail.changes.as_ref()?.queue.as_ref());
        left.next().map_or(&self.task.queue, |moved| &moved.from)
    }

    /// The record's part of a checksum.
    pub fn checksum(&self) -> u128 {
        let mut head: Head = self.task.head.clone();
        // JSON text is read to within the last bit of a number, which is no difference.
        for number in [&mut head.backoff.factor, &mut head.backoff.jitter] {
            *number = f64::from(*number as f32);
        }
        let task = &self.task;
        let error = &task.error;
        sum_of(&(
            head,
            (&task.project, &task.queue, &task.task_type, task.priority),
            (&task.params, &task.description, &task.domain, task.drift_score, &task.assigned_by),
            (task.created_at, task.updated_at, task.finished_at, error),
            (&self.history, &self.generation, &self.worker, self.claimed_at, self.content),
            (&task.concurrency_key, &task.unique, &task.affinity, task.retention, task.batch, &task.trace),
        ))
    }
}

impl WorkerRecord {
    /// As [`TaskRecord::onto`], of a worker.
    ///
    /// # Errors
    /// If the target has heard of the worker since.
    pub fn onto(&self, standing: Option<&Self>) -> Result<Verdict, Refusal> {
        let Some(standing) = standing else { return Ok(Verdict::New) };
        if standing.seen_at > self.seen_at {
            return Err(Refusal {
                record: format!("worker {}", self.worker.id),
                why: format!(
                    "expected it to be heard of by {} at the latest, got {}: it works with the target",
                    self.seen_at, standing.seen_at
                ),
            });
        }
        Ok(if self.checksum() == standing.checksum() { Verdict::Same } else { Verdict::Later })
    }

    /// The record's part of a checksum. What the worker runs is left out: each heartbeat says it anew, and some stores
    /// keep it in short. So are its readings.
    pub fn checksum(&self) -> u128 {
        let worker = &self.worker;
        sum_of(&(
            (&worker.id, &worker.owner, worker.session, worker.started_at, worker.last_beat_at),
            (worker.capacity, worker.running.is_some(), &worker.labels, worker.alone, &worker.takes),
            (worker.directive, &worker.directed),
            (&worker.superseded, worker.contested_at, self.seen_at, worker.beats, worker.ended_at),
        ))
    }
}

/// What goes into a sum: the first 16 bytes of the SHA-256 of the JSON.
pub(super) fn sum_of(value: &impl Serialize) -> u128 {
    // All of it has text for keys, so that it always can be written as JSON; were it not so, both sides would differ
    // from what they should be by the same.
    let text = serde_json::to_vec(value).unwrap_or_default();
    u128::from_be_bytes(*Digest::of_bytes(&text).as_bytes())
}

const HOUR: Duration = Duration::from_secs(3_600);

impl Record {
    /// The record's name, for people.
    pub fn name(&self) -> String {
        match self {
            Self::Queue(queue) => format!("queue {}", queue.name),
            Self::Worker(worker) => format!("worker {}", worker.worker.id),
            Self::Task(record) => format!("task {}", record.task.head.id),
            Self::Durations(record) => format!("the durations of queue {}", record.queue),
            Self::Log(record) => format!("a log line of {} at {}", record.line.worker, record.line.at),
            Self::Key(record) => format!("idempotency key {}", record.key),
            Self::Claim(record) => format!("claim {} of {}", record.request, record.worker),
            Self::Token(stored) => token_name(stored),
            Self::Audit(entry) => audit_name(entry),
            Self::Limit(limit) => limit_name(limit),
            Self::Owned(owned) => owned_name(owned),
            Self::Schedule(schedule) => schedule_name(schedule),
            Self::Supply(supply) => supply_name(supply),
            Self::Batch(batch) => batch_name(batch),
            Self::Settings(_) => settings_name(),
            Self::Bulk(bulk) => bulk_name(bulk),
            Self::Document(document) => document_name(document),
            Self::Order(order) => order_name(order),
            Self::Happened(happened) => happened_name(happened),
        }
    }

    /// Under which word the record is counted and summed: a task by its state.
    pub fn group(&self) -> &'static str {
        match self {
            Self::Queue(_) => "queues",
            Self::Worker(_) => "workers",
            Self::Task(record) => record.task.head.state.state().as_str(),
            Self::Durations(_) => "durations",
            Self::Log(_) => "log lines",
            Self::Key(_) => "idempotency keys",
            Self::Claim(_) => "claim requests",
            Self::Token(_) => "tokens",
            Self::Audit(_) => "audit entries",
            Self::Limit(_) => "limits",
            Self::Owned(_) => "owned projects",
            Self::Schedule(_) => "schedules",
            Self::Supply(_) => "supplies",
            Self::Batch(_) => "batches",
            Self::Settings(_) => "settings",
            Self::Bulk(_) => BULK,
            Self::Document(_) => NOTICES,
            Self::Order(_) | Self::Happened(_) => TIMELINE,
        }
    }

    /// How many bytes of payload the record has, about.
    pub fn size(&self) -> usize {
        let text = |payload: &Option<Payload>| payload.as_ref().map_or(0, Payload::size);
        match self {
            Self::Task(record) => {
                let output = record.generation.as_ref().map(|one| &one.output);
                let output = output.map_or(0, Output::told_bytes);
                record.task.params.size() + output + record.history.len() * 256
            }
            Self::Log(record) => record.line.message.len() + text(&record.line.metadata),
            Self::Key(record) => match &record.answer {
                Answer::Given(items) => items.len() * 200,
                Answer::Begun(ids) => ids.len() * 16,
            },
            Self::Worker(record) => record.worker.running.as_ref().map_or(0, |list| list.len() * 200),
            Self::Audit(entry) => entry.target.len(),
            Self::Schedule(schedule) => schedule.plan.task.params.size(),
            Self::Supply(supply) => supply.plan.templates.iter().map(|one| one.task.params.size()).sum(),
            Self::Batch(batch) => batch.then.as_ref().map_or(0, |then| then.task.params.size()),
            Self::Settings(settings) => settings.bytes(),
            Self::Bulk(bulk) => match &bulk.tasks {
                BulkTasks::Ids(ids) => (ids.len() + bulk.pending.len()) * 16,
                BulkTasks::Filter(_) => bulk.pending.len() * 16,
            },
            Self::Document(document) => document.value.len(),
            Self::Order(order) => order.events.len() * 16,
            Self::Happened(_) => 256,
            Self::Queue(_)
            | Self::Durations(_)
            | Self::Claim(_)
            | Self::Token(_)
            | Self::Limit(_)
            | Self::Owned(_) => 0,
        }
    }

    /// The record's part of its group's checksum, at the time `now` of comparing; none if it is not compared. Log lines,
    /// keys, names of claims and audit entries that are about to end are not: DynamoDB may remove them on one side at any
    /// moment.
    pub fn checksum(&self, now: Timestamp, keep_logs: Duration) -> Option<u128> {
        let kept = |since: Timestamp, keep: Duration| since > now.minus(keep);
        match self {
            Self::Queue(queue) => Some(sum_of(queue)),
            Self::Worker(record) => Some(record.checksum()),
            Self::Task(record) => Some(record.checksum()),
            Self::Durations(_) => None,
            Self::Log(record) => {
                let counts = kept(record.line.received_at, keep_logs.saturating_sub(HOUR));
                counts.then(|| sum_of(&(&record.line, record.copy)))
            }
            Self::Key(record) => kept(record.created_at, HOUR * 23).then(|| sum_of(record)),
            Self::Claim(record) => {
                let counts = kept(record.created_at, HOUR / 4);
                counts.then(|| sum_of(&(&record.worker, &record.request, record.created_at)))
            }
            Self::Token(stored) => Some(sum_of(&(&stored.token, stored.digest.as_bytes()))),
            Self::Audit(entry) => kept(entry.at, AUDIT_KEPT.saturating_sub(HOUR)).then(|| sum_of(entry)),
            Self::Limit(limit) => Some(sum_of(limit)),
            Self::Owned(owned) => Some(sum_of(owned)),
            Self::Schedule(schedule) => Some(schedule_sum(schedule)),
            Self::Supply(supply) => Some(supply_sum(supply)),
            Self::Batch(batch) => Some(batch_sum(batch)),
            Self::Settings(settings) => Some(sum_of(settings)),
            Self::Bulk(bulk) => Some(sum_of(bulk)),
            Self::Document(document) => Some(sum_of(document)),
            Self::Order(order) => Some(sum_of(order)),
            Self::Happened(happened) => Some(sum_of(happened)),
        }
    }
}

/// Records of one group, counted and summed. The sum does not depend on their order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub records: u64,
    sum: u128,
}

impl Tally {
    /// Adds a record by its checksum.
    pub fn add(&mut self, checksum: u128) {
        self.records += 1;
        self.sum = self.sum.wrapping_add(checksum);
    }

    /// The checksum as 32 hexadecimal digits: the sum modulo 2^128 of the first 16 bytes of each record's SHA-256.
    pub fn checksum(&self) -> String {
        format!("{:032x}", self.sum)
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, {}", self.records, self.checksum())
    }
}
