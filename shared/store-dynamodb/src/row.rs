//! Tasks as items.

use std::time::Duration;

use baton_model::alone::LOSSES;
use baton_model::{
    AttemptEnd, Backoff, BatchId, Digest, Ended, EventDetail, EventKind, GenerationId, Head,
    IfDependencyFails, Label, Lease, Priority, ProjectId, QueueName, RequestKey, SessionId, Shared, State,
    Task, TaskId, TaskSpec, TaskState, TaskType, Timestamp, Trace, Unique, WorkerId,
};
use baton_store::StoreError;

use crate::archive::KEPT_SINCE;
use crate::attr::{Fields, Item, b, json, key, n, s, time};
use crate::batches::BATCH;
use crate::codes::Code;
use crate::db::{Db, list};
use crate::ends::{ENDS, KEPT, OWN_KEEPING};
use crate::error::damaged;
use crate::history::{Kept, Life, encode};
use crate::kept::MARK;
use crate::keys::{self, Kind};
use crate::limit::Waits;
use crate::text::Text;

/// The attributes of a task that its entry in the index has besides the keys: all that a transition is decided by,
/// and the project, unless it is the default one, by which claims are narrowed.
/// DynamoDB allows twenty, so that what only the reaper asks for (`bt`) and the time of the latest change (`ua`) are not there:
/// who needs them reads the item.
pub(crate) const PROJECTED: [&str; 20] = [
    "st", "at", "fg", "mx", "ra", "to", "bo", "ev", "wk", "ss", "cl", "ex", "tm", "rq", "en", "qu", "ty",
    "ca", "hb", "pj",
];

/// A task as its item, or its entry in the index, tells it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) head: Head,
    pub(crate) queue: QueueName,
    pub(crate) task_type: TaskType,
    pub(crate) project: ProjectId,
    pub(crate) created_at: Timestamp,
    /// Who holds it, or held it last.
    pub(crate) worker: Option<WorkerId>,
    /// When its latest claim was.
    pub(crate) claimed_at: Option<Timestamp>,
    /// How many bytes of history are with the task.
    pub(crate) history_bytes: u32,
    /// The second from which DynamoDB removes it, if it is finished and not kept for ever; an entry of the index does not
    /// tell.
    pub(crate) ends: Option<i64>,
    /// Whether a purge of a former version is removing it.
    pub(crate) purged: bool,
    /// Whether it is kept for others that depend on it. Only its item tells.
    pub(crate) waited_for: bool,
    /// How often others were about to depend on it.
    pub(crate) keepings: u32,
    /// From when on it is kept, if it was restored from an archive. Only its item tells.
    pub(crate) restored: Option<Timestamp>,
    /// What only the item has, and not the entry in the index.
    pub(crate) rest: Option<Rest>,
}

/// What only a task's item tells.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    pub(crate) priority: Priority,
    pub(crate) params: Text,
    pub(crate) description: Option<String>,
    pub(crate) domain: Option<Label>,
    pub(crate) drift_score: Option<f64>,
    pub(crate) assigned_by: Option<Label>,
    pub(crate) concurrency_key: Option<Label>,
    pub(crate) affinity: Option<Label>,
    /// How long it is kept once it has ended, if not as long as all.
    pub(crate) retention: Option<Duration>,
    /// The batch that it is one of.
    pub(crate) batch: Option<BatchId>,
    /// Where it stands in its producer's trace.
    pub(crate) trace: Option<Trace>,
    /// The key of which there is one task at a time.
    pub(crate) unique: Option<Unique>,
    /// The limits that its latest attempt was taken under.
    pub(crate) limits: Vec<String>,
    /// Where it waits at a limit, or was let go from.
    pub(crate) waits: Option<Waits>,
    pub(crate) updated_at: Timestamp,
    /// The entries of its history that are with it.
    pub(crate) history: Vec<String>,
    /// How many events are kept apart.
    pub(crate) spilled: u32,
    /// The event that tells of the failure to show.
    pub(crate) error_at: Option<u32>,
    /// What its producer asked for.
    pub(crate) content: Option<[u8; 16]>,
    /// What it waits for, or has waited for.
    pub(crate) depends_on: Vec<TaskId>,
    /// What becomes of it when one of these fails.
    pub(crate) if_dependency_fails: IfDependencyFails,
}

fn label(text: Option<&str>) -> Option<Label> {
    text.map(Label::from_stored)
}

impl Stored {
    /// Reads a task's item, or an entry of the index.
    pub(crate) fn read(item: &Item) -> Result<Self, StoreError> {
        let fields = Fields(item);
        let text = fields.text("sk")?;
        let id: TaskId = text.parse().map_err(|_| damaged(format!("expected a task's id, got {text}")))?;
        let half = |what: &str| damaged(format!("task {id} is {what}"));
        let worker = fields.maybe_text("wk")?.map(WorkerId::from_stored);
        let claimed_at = fields.maybe_time("cl")?;
        let ended = match fields.maybe_number("en")? {
            Some(code) => {
                let worker = worker.clone().ok_or_else(|| half("an attempt without its worker"))?;
                Some(AttemptEnd { worker, how: Ended::of(code)? })
            }
            None => None,
        };
        let state = match State::of(fields.number("st")?)? {
            State::Blocked => TaskState::Blocked,
            State::Queued => TaskState::Queued,
            State::Failed => TaskState::Failed,
            State::Cancelled => TaskState::Cancelled,
            State::Running => TaskState::Running(Lease {
                worker: worker.clone().ok_or_else(|| half("running without a worker"))?,
                session: fields.maybe_sixteen("ss")?.map(SessionId::from_bytes),
                claimed_at: claimed_at.ok_or_else(|| half("running without the time of its claim"))?,
                expires_at: fields.maybe_time("ex")?,
                timeout_at: fields.maybe_time("tm")?,
                request: fields.maybe_text("rq")?.map(RequestKey::from_stored),
                beats: fields.maybe_number("bt")?,
            }),
            State::Completed => TaskState::Completed {
                generation: fields
                    .maybe_sixteen("gn")?
                    .map(GenerationId::from_bytes)
                    .ok_or_else(|| half("completed without its generation"))?,
                output: fields
                    .maybe_sixteen("od")?
                    .map(Digest::from_bytes)
                    .ok_or_else(|| half("completed without its output's digest"))?,
            },
        };
        let is_item = fields.has("pr");
        let head = Head {
            id,
            state,
            attempt: fields.maybe_number("at")?.unwrap_or(0),
            forgiven: fields.maybe_number("fg")?.unwrap_or(0),
            // Not in the index, which has no room for it: who counts reads the item. Whether the task is given out alone is
            // in the sort key.
            worker_losses: match fields.maybe_number("wl")? {
                Some(losses) => losses,
                None if fields.maybe_text("is")?.is_some_and(|key| key.ends_with(keys::ALONE)) => LOSSES,
                None => 0,
            },
            max_attempts: fields.number("mx")?,
            run_after: fields.time("ra")?,
            expires_at: match fields.maybe_time("xa")? {
                Some(at) => Some(at),
                // An entry of the index has it in the sort key.
                None if !is_item => fields.maybe_text("is")?.and_then(keys::expiry_in),
                None => None,
            },
            timeout: fields.maybe_number("to")?.map(Duration::from_millis),
            backoff: fields.maybe_json("bo")?.unwrap_or_default(),
            ended,
            events: fields.number("ev")?,
        };
        // An entry of the index has no priority of its own: its partition says it.
        let rest = if is_item { Some(Rest::read(fields)?) } else { None };
        Ok(Self {
            head,
            queue: QueueName::from_stored(fields.text("qu")?),
            task_type: TaskType::from_stored(fields.text("ty")?),
            project: fields.maybe_text("pj")?.map_or_else(ProjectId::default, ProjectId::from_stored),
            created_at: fields.time("ca")?,
            worker,
            claimed_at,
            history_bytes: fields.number("hb")?,
            ends: fields.maybe_number(ENDS)?,
            purged: fields.has("pg"),
            waited_for: fields.has(MARK),
            keepings: fields.maybe_number(KEPT)?.unwrap_or(0),
            restored: fields.maybe_time(KEPT_SINCE)?,
            rest,
        })
    }

    /// Reads the item of a task that a command is about: one that is being removed is gone.
    pub(crate) fn standing(item: &Item) -> Result<Self, StoreError> {
        let stored = Self::read(item)?;
        if stored.purged { Err(StoreError::TaskNotFound(stored.head.id)) } else { Ok(stored) }
    }

    /// What only the item tells.
    pub(crate) fn rest(&self) -> Result<&Rest, StoreError> {
        self.rest.as_ref().ok_or_else(|| StoreError::Internal {
            what: format!("task {} was taken from the index where its item was needed", self.head.id),
            cause: None,
        })
    }

    /// What says which limits it falls under; only its item does.
    pub(crate) fn shared(&self) -> Result<Shared<'_>, StoreError> {
        let rest = self.rest()?;
        Ok(Shared {
            queue: &self.queue,
            project: &self.project,
            task_type: &self.task_type,
            key: rest.concurrency_key.as_ref(),
        })
    }

    /// Where its history is.
    pub(crate) fn kept(&self) -> Result<Kept<'_>, StoreError> {
        let rest = self.rest()?;
        Ok(Kept { life: self.life(), spilled: rest.spilled, inline: &rest.history })
    }

    /// When it was changed last, as far as this tells it: an entry of the index may be short of it.
    pub(crate) fn changed_at(&self) -> Timestamp {
        match &self.rest {
            Some(rest) => rest.updated_at,
            None => self.claimed_at.map_or(self.created_at, |at| at.max(self.created_at)),
        }
    }

    /// From when on it is kept, if it has ended.
    pub(crate) fn kept_since(&self) -> Timestamp {
        self.restored.map_or(self.changed_at(), |restored| restored.max(self.changed_at()))
    }

    /// The life that it is told of.
    pub(crate) fn life(&self) -> Life {
        Life { task: self.head.id, created_at: self.created_at, ended: self.is_final() }
    }

    /// Whether it depends on another, as far as it tells.
    pub(crate) fn depends_on(&self, other: TaskId) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.depends_on.contains(&other))
    }

    /// The keys of its entries in the indexes of what it depends on.
    pub(crate) fn edges(&self) -> impl Iterator<Item = Item> {
        let depends_on = self.rest.iter().flat_map(|rest| &rest.depends_on);
        depends_on.map(|one| key(&keys::dependants(*one), &self.head.id.to_string()))
    }

    /// Whether something of it is kept apart from its item, as far as it tells.
    pub(crate) fn has_apart(&self) -> bool {
        let params = |rest: &Rest| matches!(rest.params, Text::Apart { .. }) || !rest.depends_on.is_empty();
        self.rest.as_ref().is_none_or(params) || self.has_apart_history()
    }

    /// Whether some of its history is kept apart, as far as it tells.
    pub(crate) fn has_apart_history(&self) -> bool {
        let apart = |rest: &Rest| rest.spilled > 0 || rest.history.iter().any(|entry| entry.starts_with('@'));
        self.rest.as_ref().is_none_or(apart)
    }

    /// How long it is kept once it has ended, where all are kept for so long.
    pub(crate) fn keeping(&self, all: Option<Duration>) -> Option<Duration> {
        self.rest.as_ref().and_then(|rest| rest.retention).or(all)
    }

    /// Whether the task is finished.
    pub(crate) fn is_final(&self) -> bool {
        self.head.state.state().is_final()
    }

    /// Whether it is running in this attempt.
    pub(crate) fn runs(&self, attempt: u32) -> bool {
        matches!(self.head.state, TaskState::Running(_)) && self.head.attempt == attempt
    }
}

impl Rest {
    fn read(fields: Fields<'_>) -> Result<Self, StoreError> {
        let drift_score = match fields.maybe_text("dr")? {
            Some(text) => {
                Some(text.parse().map_err(|_| damaged(format!("expected a drift score, got {text}")))?)
            }
            None => None,
        };
        Ok(Self {
            priority: Priority::of(fields.number("pr")?)?,
            params: Text::read(fields, "pa", "px")?
                .ok_or_else(|| damaged("expected a task to have params"))?,
            description: fields.maybe_text("ds")?.map(str::to_owned),
            domain: label(fields.maybe_text("dm")?),
            drift_score,
            assigned_by: label(fields.maybe_text("ab")?),
            concurrency_key: label(fields.maybe_text("ck")?),
            affinity: label(fields.maybe_text("af")?),
            retention: fields.maybe_number(OWN_KEEPING)?.map(Duration::from_millis),
            batch: fields.maybe_sixteen(BATCH)?.map(BatchId::from_bytes),
            trace: match fields.maybe_text("tp")? {
                Some(text) => Some(
                    text.parse::<Trace>().map_err(|error| damaged(format!("of a task's trace: {error}")))?,
                ),
                None => None,
            },
            unique: fields.maybe_json("uq")?,
            limits: fields.set_of_texts("lu")?.to_vec(),
            waits: Waits::read(fields)?,
            updated_at: fields.time("ua")?,
            history: fields.texts("hl")?,
            spilled: fields.maybe_number("hs")?.unwrap_or(0),
            error_at: fields.maybe_number("es")?,
            content: fields.maybe_sixteen("dg")?,
            depends_on: ids_of(fields.maybe_bytes("dp")?.unwrap_or_default())?,
            if_dependency_fails: fields.maybe_number("df")?.map(choice_of).transpose()?.unwrap_or_default(),
        })
    }
}

/// The dependencies that a task's item names, 16 bytes each.
fn ids_of(bytes: &[u8]) -> Result<Vec<TaskId>, StoreError> {
    let id = |part: &[u8]| part.try_into().map(TaskId::from_bytes);
    let ids: Result<Vec<_>, _> = bytes.chunks(16).map(id).collect();
    ids.map_err(|_| damaged("expected ids of 16 bytes of a task's dependencies"))
}

fn choice_of(code: u8) -> Result<IfDependencyFails, StoreError> {
    IfDependencyFails::ALL
        .get(usize::from(code))
        .copied()
        .ok_or_else(|| damaged(format!("expected what a failed dependency does, got {code}")))
}

/// Writes what a task waits for into its item.
pub(crate) fn put_dependencies(item: &mut Item, depends_on: &[TaskId], choice: IfDependencyFails) {
    if !depends_on.is_empty() {
        let bytes: Vec<u8> = depends_on.iter().flat_map(|id| *id.as_bytes()).collect();
        item.insert("dp".to_owned(), b(bytes));
    }
    if !choice.is_default() {
        let code = IfDependencyFails::ALL.iter().position(|one| *one == choice).unwrap_or_default();
        item.insert("df".to_owned(), n(code));
    }
}

/// A new task's item.
pub(crate) struct NewTask {
    pub(crate) item: Item,
    /// The params, where they are kept apart.
    pub(crate) apart: Option<Text>,
    pub(crate) run_after: Timestamp,
}

/// The item of a task that is created now, and waits in a partition of the index. `content` is what its producer asked for.
pub(crate) fn new_task(
    spec: &TaskSpec,
    content: Digest,
    by: Option<&Label>,
    created_at: Timestamp,
    mark: u64,
    spread: u64,
    partition: String,
) -> Result<NewTask, StoreError> {
    let head = spec.first_head(created_at);
    let (run_after, state) = (head.run_after, head.state.state());
    let detail = EventDetail::created(by, run_after, created_at);
    let entry = encode(created_at, EventKind::Created, state, 0, &detail)?;
    let params = Text::of("params", spec.params.as_str());
    let mut item = keys::by_id(Kind::Task, spec.id.as_bytes(), &spec.id, spread);
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("ip", s(partition));
    put("is", s(keys::waiting_place(&head)));
    put("st", n(state.code()));
    put("mx", n(spec.max_attempts));
    put("ra", time(run_after));
    put("ev", n(1));
    put("qu", s(spec.queue.as_str()));
    put("ty", s(spec.task_type.as_str()));
    put("pr", n(spec.priority.code()));
    put("ca", time(created_at));
    put("ua", time(created_at));
    put("hb", n(entry.len()));
    put("hl", list([s(entry)].into_iter()));
    put("dg", b(*content.as_bytes()));
    put("nc", n(mark));
    if spec.project != ProjectId::default() {
        put("pj", s(spec.project.as_str()));
    }
    if let Some(timeout) = spec.timeout {
        put("to", n(timeout.as_millis()));
    }
    if let Some(backoff) = spec.backoff.filter(|backoff| *backoff != Backoff::default()) {
        put("bo", s(json("a backoff", &backoff)?));
    }
    if let Some(description) = &spec.description {
        put("ds", s(description));
    }
    if let Some(domain) = &spec.domain {
        put("dm", s(domain.as_str()));
    }
    if let Some(drift_score) = spec.drift_score {
        put("dr", s(drift_score.to_string()));
    }
    if let Some(assigned_by) = &spec.assigned_by {
        put("ab", s(assigned_by.as_str()));
    }
    if let Some(affinity) = &spec.affinity {
        put("af", s(affinity.as_str()));
    }
    if let Some(key) = &spec.concurrency_key {
        put("ck", s(key.as_str()));
    }
    if let Some(batch) = spec.batch {
        put(BATCH, b(*batch.as_bytes()));
    }
    if let Some(trace) = &spec.trace {
        put("tp", s(trace.to_string()));
    }
    if let Some(retention) = spec.retention {
        put(OWN_KEEPING, n(retention.as_millis()));
    }
    if let Some(expires_at) = head.expires_at {
        put("xa", time(expires_at));
    }
    if let Some(unique) = &spec.unique {
        put("uq", s(json("a unique key", unique)?));
    }
    params.put(&mut item, "pa", "px");
    put_dependencies(&mut item, &spec.depends_on, spec.if_dependency_fails);
    let apart = matches!(params, Text::Apart { .. }).then_some(params);
    Ok(NewTask { item, apart, run_after })
}

impl Db {
    /// The whole task of an item; none if it is being removed.
    pub(crate) async fn task_of(&self, stored: Stored) -> Result<Option<Task>, StoreError> {
        let id = stored.head.id;
        let rest = stored.rest()?.clone();
        let Some(params) = self.read_payload(&keys::apart(&id), &rest.params).await? else {
            // DynamoDB removes the parts of what has ended in no order.
            return if stored.is_final() {
                Ok(None)
            } else {
                Err(damaged(format!("task {id} lacks its params")))
            };
        };
        let error = match rest.error_at {
            Some(seq) => match self.event_detail(&stored.kept()?, seq).await {
                Err(StoreError::TaskNotFound(_)) => return Ok(None),
                detail => detail?.error,
            },
            None => None,
        };
        let finished_at = stored.is_final().then_some(rest.updated_at);
        Ok(Some(Task {
            head: stored.head,
            project: stored.project,
            queue: stored.queue,
            task_type: stored.task_type,
            priority: rest.priority,
            params,
            description: rest.description,
            domain: rest.domain,
            drift_score: rest.drift_score,
            assigned_by: rest.assigned_by,
            concurrency_key: rest.concurrency_key,
            affinity: rest.affinity,
            retention: rest.retention,
            unique: rest.unique,
            created_at: stored.created_at,
            updated_at: rest.updated_at,
            finished_at,
            error,
            depends_on: rest.depends_on,
            if_dependency_fails: rest.if_dependency_fails,
            batch: rest.batch,
            trace: rest.trace,
        }))
    }

    /// The whole task of an item that a command has just read or written.
    pub(crate) async fn known_task(&self, stored: Stored) -> Result<Task, StoreError> {
        let id = stored.head.id;
        self.task_of(stored).await?.ok_or(StoreError::TaskNotFound(id))
    }
}
