//! Creating tasks.
//!
//! A task that comes alone, or in a batch whose tasks stand each for itself, is one conditional put. What must stand
//! or fall together (an atomic batch; tasks and the kept answer of an idempotency key) is one transaction, which
//! DynamoDB limits to a hundred writes. A larger batch with a key is created step by step (see `batch`).

use std::collections::{BTreeSet, HashMap, HashSet};

use aws_sdk_dynamodb::types::TransactWriteItem;
use baton_model::{Digest, TaskId, TaskSpec, Timestamp};
use baton_store::batch;
use baton_store::unique::{First, as_sibling};
use baton_store::{Accepted, Create, CreateAnswer, ErrorKind, Idempotency, ItemRefusal, Ready, StoreError};
use futures::StreamExt;

use crate::attr::{Fields, Item, b, json, n, s, time};
use crate::error::{TransactError, WriteError, contended};
use crate::expression::Expression;
use crate::kept::MARK;
use crate::keys::{self, Kind};
use crate::lane::Lane;
use crate::row::{NewTask, Stored, new_task};
use crate::stats::epoch::TOUCHED;
use crate::store::Inner;
use crate::text::Text;
use crate::transact::MOST;
use crate::transition::{ROUNDS, is_marked};
use crate::unique::Kept;

/// How many tasks of a batch are written at the same time.
const AT_ONCE: usize = 32;

/// How long an idempotency key is remembered.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

/// How long DynamoDB keeps an idempotency key, in seconds: an hour longer than it is remembered, as clocks differ.
const KEPT_S: i64 = 25 * 3_600;

/// A task that has the id already.
struct Existing {
    created_at: Timestamp,
    content: Option<Digest>,
}

/// Where the tasks of a batch come from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Batch {
    /// These very tasks may have been created before by the same request.
    pub(crate) resumed: bool,
    /// The epoch of the statistics that they are to count for, as the time of their creation is that of the first request.
    pub(crate) epoch: Option<u32>,
}

/// What is to be done about one task of the batch.
enum Step {
    Insert,
    Answer(Result<Accepted, ItemRefusal>),
    /// Another one of the batch holds its key.
    Sibling(usize),
}

/// Whether tasks fit one transaction; `along`: with another write.
///
/// # Errors
/// [`StoreError::TooLarge`].
pub(crate) fn fits_together(create: &Create, along: bool) -> Result<(), StoreError> {
    let most = MOST - usize::from(create.idempotency.is_some()) - usize::from(along);
    let unique = create.tasks.iter().filter(|spec| spec.unique.is_some()).count();
    if create.tasks.len() + unique > most {
        return Err(StoreError::TooLarge {
            what: "tasks in an atomic batch, an idempotency key and each unique key counting as one"
                .to_owned(),
            got: create.tasks.len() + unique,
            most,
        });
    }
    Ok(())
}

impl Inner {
    pub(crate) async fn create(&self, create: &Create) -> Result<CreateAnswer, StoreError> {
        if let Some(idempotency) = &create.idempotency
            && let Some(answer) = self.kept_answer(idempotency, create.now).await?
        {
            return Ok(answer);
        }
        // What depends on others comes with them or not at all.
        if create.tasks.iter().any(|spec| !spec.depends_on.is_empty()) {
            return self.create_together(create, Batch::default()).await;
        }
        match &create.idempotency {
            Some(idempotency) if !create.atomic && create.tasks.len() >= MOST => {
                self.create_under_key(create, idempotency).await
            }
            None if !create.atomic => self.create_each(create, Batch::default()).await,
            _ => self.create_together(create, Batch::default()).await,
        }
    }

    /// Each task for itself.
    pub(crate) async fn create_each(
        &self,
        create: &Create,
        batch: Batch,
    ) -> Result<CreateAnswer, StoreError> {
        // A second task of an id, or of a unique key, is answered by the first one's, which must be there then.
        let mut seen: HashSet<TaskId> = HashSet::new();
        let mut keys = HashSet::new();
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for (place, spec) in create.tasks.iter().enumerate() {
            let key = spec.unique.as_ref().map(|unique| (&spec.project, &spec.queue, &unique.key));
            let is_new = key.is_none_or(|key| keys.insert(key));
            let earlier = !seen.insert(spec.id) || !is_new;
            if earlier { later.push((place, spec)) } else { first.push((place, spec)) }
        }
        for spec in &create.tasks {
            self.know_day(spec, create.now).await?;
            // One after the other, so that a lane is written down once and not by all that are created at the same time.
            let filled = self.filled(spec).await?;
            self.lane_of(&filled, create.now).await?;
        }
        let mut items: Vec<Option<Result<Accepted, ItemRefusal>>> = vec![None; create.tasks.len()];
        let mut failed: Option<StoreError> = None;
        let mut rings = Vec::new();
        for (part, batch) in [(first, batch), (later, Batch { resumed: false, ..batch })] {
            let mut puts = Vec::with_capacity(part.len());
            for (place, spec) in part {
                puts.push(self.create_at(place, create, spec, batch));
            }
            let mut outcomes = futures::stream::iter(puts).buffered(AT_ONCE);
            while let Some((place, outcome)) = outcomes.next().await {
                match outcome {
                    Ok((item, written)) => {
                        if let Ok(accepted) = &item
                            && written
                        {
                            self.created(&create.tasks[place], accepted.run_after, &mut rings);
                        }
                        items[place] = Some(item);
                    }
                    // Of one whose fate is not known it is not to be said that nothing was changed.
                    Err(error)
                        if failed.as_ref().is_none_or(|failed| failed.kind() != ErrorKind::Unknown) =>
                    {
                        failed = Some(error);
                    }
                    Err(_) => {}
                }
            }
        }
        rings.into_iter().for_each(|ready| self.doorbell.ring(ready));
        match (failed, items.iter().any(|item| matches!(item, Some(Ok(accepted)) if accepted.new))) {
            (None, _) => Ok(CreateAnswer { items: items.into_iter().flatten().collect(), replayed: false }),
            (Some(error), false) => Err(error),
            // It is not so that nothing was changed.
            (Some(error), true) => Err(StoreError::Unknown(Box::new(error))),
        }
    }

    async fn create_at(
        &self,
        place: usize,
        create: &Create,
        spec: &TaskSpec,
        batch: Batch,
    ) -> (usize, Result<(Result<Accepted, ItemRefusal>, bool), StoreError>) {
        (place, self.create_one(create, spec, batch).await)
    }

    /// Creates one task; says whether it was written now.
    async fn create_one(
        &self,
        create: &Create,
        spec: &TaskSpec,
        batch: Batch,
    ) -> Result<(Result<Accepted, ItemRefusal>, bool), StoreError> {
        if spec.unique.is_some() {
            // With its key, or not at all.
            let alone =
                Create { tasks: vec![spec.clone()], atomic: false, idempotency: None, ..create.clone() };
            let mut answer = Box::pin(self.create_together(&alone, batch)).await?;
            return answer.items.pop().map(|item| (item, false)).ok_or_else(|| contended("the task"));
        }
        let mark = self.mark(&(spec.id, create.now));
        let content = spec.fingerprint().digest();
        let mut new = self.new_item(create, (spec, content), mark).await?;
        if let Some(epoch) = batch.epoch {
            new.item.insert(TOUCHED.to_owned(), n(epoch));
        }
        self.write_before(spec, create.now, &new).await?;
        let accepted = accepted(spec.id, create.now, new.run_after);
        match self.db.put(new.item, Expression::new().when_absent("pk")).await {
            Ok(()) => Ok((Ok(accepted), true)),
            Err(WriteError::Failed(error)) => Err(error),
            // The first sending of this very write went through, and its answer was lost.
            Err(WriteError::Condition(Some(item))) if is_marked(&item, mark)? => Ok((Ok(accepted), true)),
            Err(WriteError::Condition(standing)) => {
                let standing = standing.as_ref().map(Stored::read).transpose()?;
                // One that is being purged will be gone in a moment.
                let standing =
                    standing.filter(|task| !task.purged).ok_or_else(|| contended("the task's id"))?;
                let known = existing(&standing)?;
                let same = known.content.is_some_and(|content| spec.fingerprint().matches(content));
                if batch.resumed && same && known.created_at == create.now {
                    return Ok((Ok(accepted), false));
                }
                let answer = answer_of(spec, &known);
                if let Some(params) = &new.apart {
                    match answer {
                        Err(_) => self.drop_params(spec, params, &standing).await,
                        // The same text, written anew, has lost its end.
                        Ok(_) => self.date_params(&standing).await?,
                    }
                }
                Ok((answer, false))
            }
        }
    }

    /// All tasks, and the answer that the idempotency key keeps, in one transaction.
    async fn create_together(&self, create: &Create, batch: Batch) -> Result<CreateAnswer, StoreError> {
        self.create_along(create, batch, None).await?.map_err(|_| contended("a task of the batch"))
    }

    /// The same, along with another write, whose condition may not hold: then nothing is written, and what stands there is the
    /// answer.
    pub(crate) async fn create_along(
        &self,
        create: &Create,
        batch: Batch,
        along: Option<TransactWriteItem>,
    ) -> Result<Result<CreateAnswer, Option<Item>>, StoreError> {
        fits_together(create, along.is_some())?;
        // What the tasks depend on and was found to be gone.
        let mut gone = BTreeSet::new();
        for _ in 0..ROUNDS {
            let mut steps = self.steps(create, batch).await?;
            let Kept { specs, firsts, seen } =
                self.keep_unique(create, |place| matches!(steps[place], Step::Insert)).await?;
            for (place, first) in firsts {
                steps[place] = match first {
                    First::Standing(accepted) => Step::Answer(Ok(accepted)),
                    First::Sibling(first) => Step::Sibling(first),
                };
            }
            if specs.iter().any(|spec| !spec.depends_on.is_empty()) {
                self.refuse_dependants(&specs, &mut steps, &gone).await?;
            }
            if create.atomic {
                let refusal = |step: &Step| match step {
                    Step::Answer(Err(refusal)) => Some(refusal.clone()),
                    _ => None,
                };
                let refusals = |(place, step): (usize, &Step)| match step {
                    Step::Sibling(first) => Some((place, refusal(&steps[*first])?)),
                    step => Some((place, refusal(step)?)),
                };
                let refusals: Vec<_> = steps.iter().enumerate().filter_map(refusals).collect();
                if !refusals.is_empty() {
                    return Err(StoreError::BatchRefused { refusals });
                }
            }
            let mark = self.mark(&(create.now, create.tasks.first().map(|spec| spec.id)));
            let mut writes = Vec::new();
            let mut items = Vec::new();
            let mut rings = Vec::new();
            let new = specs.iter().zip(&steps).filter(|(_, step)| matches!(step, Step::Insert));
            let new: Vec<&TaskSpec> = new.map(|(spec, _)| spec).collect();
            let inserted: BTreeSet<TaskId> = new.iter().map(|spec| spec.id).collect();
            let waiting: Vec<&TaskSpec> =
                new.into_iter().filter(|spec| !spec.depends_on.is_empty()).collect();
            let waited_for: BTreeSet<TaskId> =
                waiting.iter().flat_map(|spec| &spec.depends_on).copied().collect();
            if !waiting.is_empty() {
                let lost = self.before_creation(&waiting, &inserted, &waited_for, create.now).await?;
                if !lost.is_empty() {
                    gone.extend(lost);
                    continue;
                }
            }
            for (place, (spec, step)) in specs.iter().zip(steps).enumerate() {
                items.push(match step {
                    Step::Answer(answer) => answer,
                    Step::Sibling(first) => as_sibling(&specs[first], &items[first], create.now),
                    Step::Insert => {
                        self.know_day(spec, create.now).await?;
                        let content = create.tasks[place].fingerprint().digest();
                        let mut new = self.new_item(create, (spec, content), mark).await?;
                        if let Some(epoch) = batch.epoch {
                            new.item.insert(TOUCHED.to_owned(), n(epoch));
                        }
                        if waited_for.contains(&spec.id) {
                            new.item.insert(MARK.to_owned(), n(1));
                        }
                        self.write_before(spec, create.now, &new).await?;
                        writes.push(self.db.put_write(new.item, &Expression::new().when_absent("pk"))?);
                        if let Some(seen) = seen.get(&place) {
                            writes.extend(self.hold_write(spec, seen, create.now, mark)?);
                        }
                        Ok(accepted(spec.id, create.now, new.run_after))
                    }
                });
            }
            if let Some(idempotency) = &create.idempotency {
                let item = key_item(idempotency, &items, create.now, mark)?;
                writes.push(self.db.put_write(item, &forgotten(create.now))?);
            }
            let place = writes.len();
            writes.extend(along.clone());
            let answer = CreateAnswer { items, replayed: false };
            let written = match writes.is_empty() {
                true => Ok(()),
                false => self.db.transact(writes, &format!("create#{mark}")).await,
            };
            match written {
                Ok(()) => {
                    for (spec, item) in specs.iter().zip(&answer.items) {
                        if let Ok(accepted) = item
                            && accepted.new
                        {
                            self.created(spec, accepted.run_after, &mut rings);
                        }
                    }
                    rings.into_iter().for_each(|ready| self.doorbell.ring(ready));
                    self.after_creation(&waiting, &inserted, create.now).await;
                    return Ok(Ok(answer));
                }
                Err(TransactError::Failed(error)) => return Err(error),
                Err(TransactError::Conditions(reasons)) => {
                    for (_, item) in &reasons {
                        if let Some(item) = item
                            && is_marked(item, mark)?
                        {
                            self.after_creation(&waiting, &inserted, create.now).await;
                            return Ok(Ok(answer));
                        }
                    }
                    if let Some((true, standing)) = reasons.into_iter().nth(place) {
                        return Ok(Err(standing));
                    }
                    // Something of it has come to be since the look: look again.
                    if let Some(idempotency) = &create.idempotency
                        && let Some(answer) = self.kept_answer(idempotency, create.now).await?
                    {
                        return Ok(Ok(answer));
                    }
                }
            }
        }
        Err(contended("a task of the batch"))
    }

    /// Refuses the tasks that depend on what they cannot depend on.
    async fn refuse_dependants(
        &self,
        specs: &[TaskSpec],
        steps: &mut [Step],
        gone: &BTreeSet<TaskId>,
    ) -> Result<(), StoreError> {
        let kinds: Vec<batch::Item> = steps
            .iter()
            .map(|step| match step {
                Step::Insert => batch::Item::New,
                Step::Answer(Ok(_)) | Step::Sibling(_) => batch::Item::Standing,
                Step::Answer(Err(_)) => batch::Item::Refused,
            })
            .collect();
        for (place, refusal) in self.dependency_refusals(specs, &kinds, gone).await? {
            steps[place] = Step::Answer(Err(refusal));
        }
        Ok(())
    }

    /// A task's item. Makes known where claims will look for it.
    async fn new_item(
        &self,
        create: &Create,
        (spec, content): (&TaskSpec, Digest),
        mark: u64,
    ) -> Result<NewTask, StoreError> {
        let filled = self.filled(spec).await?;
        let spec = filled.as_ref();
        if spec.retention.is_some() {
            self.note_own_keeping(create.now).await?;
        }
        let partition = if spec.depends_on.is_empty() {
            let lane = self.lane_of(spec, create.now).await?;
            let shard = keys::shard(spec.id, self.options.shards_of(&spec.queue));
            keys::ready(&spec.queue, spec.priority, shard, lane)
        } else {
            self.know_queue(&spec.queue, create.now).await?;
            keys::blocked(keys::hash(spec.id.as_bytes()) % self.spread)
        };
        let new = new_task(spec, content, create.by.as_ref(), create.now, mark, self.spread, partition)?;
        let got = crate::attr::size(&new.item);
        if got > MOST_BYTES {
            return Err(StoreError::TooLarge {
                what: "bytes of a task besides its params".to_owned(),
                got,
                most: MOST_BYTES,
            });
        }
        Ok(new)
    }

    /// Makes known where claims will look for the task, before it is there.
    async fn lane_of(&self, spec: &TaskSpec, now: Timestamp) -> Result<Lane, StoreError> {
        let pair = (&spec.project, &spec.task_type);
        let own = Lane::of(pair, spec.concurrency_key.as_ref(), spec.affinity.as_ref());
        self.lane_for(&spec.queue, spec.priority, own, now).await
    }

    /// Makes known where lists will look for the task, before it is there.
    async fn know_day(&self, spec: &TaskSpec, now: Timestamp) -> Result<(), StoreError> {
        self.notes.know_day(&self.db, Kind::Task, keys::day_of(spec.id.as_bytes()), now).await
    }

    /// Writes params that are kept apart, and the note of when the task expires. It comes before the task's own write: a process
    /// that dies between the two leaves a text that no task names, where the other order would leave a task without its params.
    // Not in one transaction with the task, where each KB would cost two write units and not one.
    async fn write_before(&self, spec: &TaskSpec, now: Timestamp, new: &NewTask) -> Result<(), StoreError> {
        self.note_expiry(spec.id, spec.expires_at(now)).await?;
        match &new.apart {
            Some(text) => self.db.write_text(&keys::apart(&spec.id), text, spec.params.as_str(), None).await,
            None => Ok(()),
        }
    }

    /// Removes the params of a refused task, unless the task that stands has the same.
    async fn drop_params(&self, spec: &TaskSpec, params: &Text, standing: &Stored) {
        if standing.rest.as_ref().is_some_and(|rest| rest.params != *params) {
            self.db.drop_text(&keys::apart(&spec.id), params).await;
        }
    }

    /// What follows from a task that was created.
    fn created(&self, spec: &TaskSpec, run_after: Timestamp, rings: &mut Vec<Ready>) {
        self.stats.lock().tally(&spec.queue, &spec.task_type, spec.first_state().state(), 1);
        if !spec.depends_on.is_empty() {
            return;
        }
        let same = |ready: &&mut Ready| {
            ready.queue == spec.queue
                && ready.task_type.as_ref() == Some(&spec.task_type)
                && ready.run_after == run_after
        };
        match rings.iter_mut().rev().take(8).find(same) {
            Some(ready) => ready.count += 1,
            None => rings.push(Ready {
                queue: spec.queue.clone(),
                task_type: Some(spec.task_type.clone()),
                count: 1,
                run_after,
            }),
        }
    }

    /// The answer that an idempotency key keeps, while it is remembered: DynamoDB may remove it days later.
    pub(crate) async fn kept_answer(
        &self,
        idempotency: &Idempotency,
        now: Timestamp,
    ) -> Result<Option<CreateAnswer>, StoreError> {
        let Some(item) = self.db.get(keys::idempotency(&idempotency.key)).await? else { return Ok(None) };
        let fields = Fields(&item);
        if fields.time("ca")? < now.minus(REMEMBERED) {
            return Ok(None);
        }
        let stored = fields.maybe_sixteen("dg")?.map(Digest::from_bytes);
        if !stored.is_some_and(|stored| idempotency.fingerprint.matches(stored)) {
            return Err(StoreError::IdempotencyConflict { key: idempotency.key.clone() });
        }
        // A large batch that was begun has no answer yet.
        Ok(fields.maybe_json("an")?.map(|items| CreateAnswer { items, replayed: true }))
    }

    /// Says for each task, before anything is written, whether it can be created.
    async fn steps(&self, create: &Create, batch: Batch) -> Result<Vec<Step>, StoreError> {
        let mut ids: Vec<_> = create.tasks.iter().map(|spec| spec.id).collect();
        ids.sort();
        ids.dedup();
        let mut standing: HashMap<TaskId, Existing> = HashMap::new();
        for item in self.db.get_all(ids.into_iter().map(|id| self.task_key(id)).collect()).await? {
            let stored = Stored::read(&item)?;
            if stored.purged {
                return Err(contended("a task's id"));
            }
            standing.insert(stored.head.id, existing(&stored)?);
        }
        let mut steps = Vec::with_capacity(create.tasks.len());
        for spec in &create.tasks {
            steps.push(match standing.get(&spec.id) {
                Some(existing)
                    if batch.resumed && is_same(spec, existing) && existing.created_at == create.now =>
                {
                    Step::Answer(Ok(accepted(spec.id, create.now, spec.run_after.resolve(create.now))))
                }
                Some(existing) => Step::Answer(answer_of(spec, existing)),
                None => {
                    let content = Some(spec.fingerprint().digest());
                    standing.insert(spec.id, Existing { created_at: create.now, content });
                    Step::Insert
                }
            });
        }
        Ok(steps)
    }
}

/// The most bytes of a task's item: DynamoDB's 400 KB, less room for what a task gathers as it goes.
const MOST_BYTES: usize = 390 * 1_024;

fn existing(stored: &Stored) -> Result<Existing, StoreError> {
    Ok(Existing { created_at: stored.created_at, content: stored.rest()?.content.map(Digest::from_bytes) })
}

/// Whether a task that exists was asked for as this one.
fn is_same(spec: &TaskSpec, existing: &Existing) -> bool {
    existing.content.is_some_and(|content| spec.fingerprint().matches(content))
}

/// The answer to a task that is created.
fn accepted(id: TaskId, created_at: Timestamp, run_after: Timestamp) -> Accepted {
    Accepted { id, created_at, run_after, new: true, deduplicated: None }
}

/// The answer to a task whose id is taken.
fn answer_of(spec: &TaskSpec, existing: &Existing) -> Result<Accepted, ItemRefusal> {
    if spec.id_chosen && is_same(spec, existing) {
        let run_after = spec.run_after.resolve(existing.created_at);
        Ok(Accepted { new: false, ..accepted(spec.id, existing.created_at, run_after) })
    } else {
        Err(ItemRefusal::IdConflict { id: spec.id })
    }
}

/// The item of an idempotency key with its answer.
pub(crate) fn key_item(
    idempotency: &Idempotency,
    items: &Vec<Result<Accepted, ItemRefusal>>,
    now: Timestamp,
    mark: u64,
) -> Result<Item, StoreError> {
    let mut item = open_key(idempotency, now, mark);
    item.insert("an".to_owned(), s(json("an answer", items)?));
    Ok(item)
}

/// The condition that an idempotency key is free: it is not there, or is remembered no more.
pub(crate) fn forgotten(now: Timestamp) -> Expression {
    Expression::new().when_absent_or("ca", "<", time(now.minus(REMEMBERED)))
}

/// The item of an idempotency key that has no answer yet.
pub(crate) fn open_key(idempotency: &Idempotency, now: Timestamp, mark: u64) -> Item {
    let mut item = keys::idempotency(&idempotency.key);
    let part = keys::hash(idempotency.key.as_bytes()) % keys::IDEMPOTENCY_PARTS;
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("ip", s(keys::idempotency_index(part)));
    put("is", s(format!("{}#{}", keys::sortable(now), idempotency.key)));
    put("dg", b(*idempotency.fingerprint.digest().as_bytes()));
    put("nc", n(mark));
    put("ca", time(now));
    put("xp", n(now.as_millis() / 1_000 + KEPT_S));
    item
}
