//! The oracle: a store in memory that is simple enough to be right by reading it. One mutex holds everything, every
//! transition is [`decide`]'s, every query is a scan.
//!
//! Claims, tokens with the audit log, lists, what the reaper does, counts and durations, dependencies and workers are in
//! files of their own.
//!
//! The suite is checked against it, and random histories of other stores are compared with its answers.

mod batches;
mod bulks;
mod callers;
mod claims;
mod configs;
mod dependencies;
mod documents;
mod endings;
mod idempotency;
mod limits;
mod lists;
mod made;
mod numbers;
mod reaper;
mod schedules;
mod supplies;
mod timeline;
mod unique;
mod why;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use baton_model::change::Standing;
use baton_model::queue::Pause;
use baton_model::transition::{Change, Command, Decision, Refusal, decide};
use baton_model::{
    AuditId, Batch, BatchId, Bulk, BulkId, Event, EventKind, Fingerprint, Generation, GenerationId, Happened,
    Label, LeasePolicy, Limit, LimitOn, LogLine, Owner, ProjectId, QueueDefaults, QueueName, QueueOrder,
    RequestKey, RoundNote, Schedule, ScheduleKey, SessionId, StoredSettings, Supply, Task, TaskId, TaskState,
    Timestamp, TokenId, Why, Worker, WorkerId,
};

use self::lists::{fits, page, sortable, within};
use crate::unique::{First, as_sibling};
use crate::*;

/// A store of tasks in memory, for tests: exact, and slow with many tasks.
pub struct Oracle {
    policy: LeasePolicy,
    doorbell: Arc<dyn Doorbell>,
    most_tokens: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tasks: BTreeMap<TaskId, Kept>,
    generations: BTreeMap<GenerationId, Generation>,
    workers: BTreeMap<WorkerId, Worker>,
    queues: BTreeMap<QueueName, Lane>,
    answers: BTreeMap<String, (Timestamp, Fingerprint, CreateAnswer)>,
    requests: BTreeMap<(WorkerId, RequestKey), Answered>,
    logs: Vec<LogLine>,
    waits: Vec<(QueueName, Timestamp, Duration)>,
    runs: Vec<(QueueName, Timestamp, Duration)>,
    failures: Vec<(QueueName, Timestamp, Duration)>,
    round: Option<RoundNote>,
    bulks: BTreeMap<BulkId, Bulk>,
    batches: BTreeMap<BatchId, Batch>,
    /// Batches that were made anew while tasks of an earlier one with their id were still there.
    reused: BTreeSet<BatchId>,
    /// Tasks that came into their queues because others ended, to be rung for.
    unblocked: Vec<Task>,
    tokens: BTreeMap<TokenId, StoredToken>,
    audit: BTreeMap<AuditId, AuditEntry>,
    limits: BTreeMap<LimitOn, Limit>,
    owned: BTreeMap<ProjectId, OwnedProject>,
    schedules: BTreeMap<ScheduleKey, Schedule>,
    supplies: BTreeMap<QueueName, Supply>,
    /// What is set while servers run.
    settings: StoredSettings,
    /// Who was given which unique key last.
    keys: BTreeMap<(ProjectId, QueueName, Label), TaskId>,
    /// When starts are due by rates, in microseconds.
    arrivals: BTreeMap<LimitOn, i128>,
    /// All events in the order in which they happened.
    feed: Vec<(TaskId, Event)>,
    /// What the time line alone tells.
    happened: Vec<(Timestamp, Happened)>,
    /// What a server keeps for itself, by kind and name.
    documents: BTreeMap<(String, String), String>,
}

/// What is kept of a queue besides its tasks.
#[derive(Default)]
struct Lane {
    used: bool,
    pause: Option<Pause>,
    order: QueueOrder,
    defaults: QueueDefaults,
}

/// When a claim request was answered, and by which leases.
type Answered = (Timestamp, Vec<(TaskId, u32)>);

struct Kept {
    task: Task,
    content: Fingerprint,
    first_run_after: Timestamp,
    /// When its latest claim was.
    claimed_at: Option<Timestamp>,
    history: Vec<Event>,
}

impl Oracle {
    /// An empty store.
    pub fn new(policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Self {
        Self { policy, doorbell, most_tokens: token::TOKENS, inner: Mutex::default() }
    }

    /// The same, with room for so many tokens.
    pub fn with_room_for_tokens(self, most_tokens: usize) -> Self {
        Self { most_tokens, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Rings for what the last command has let go of.
    fn ring_unblocked(&self, inner: &mut Inner) {
        std::mem::take(&mut inner.unblocked).iter().for_each(|task| self.ring(task));
    }

    fn ring(&self, task: &Task) {
        if task.head.state == TaskState::Queued {
            self.doorbell.ring(Ready {
                queue: task.queue.clone(),
                task_type: Some(task.task_type.clone()),
                count: 1,
                run_after: task.head.run_after,
            });
        }
    }
}

impl Inner {
    /// Creates tasks; they come along as they are then, to be rung for.
    fn create(&mut self, create: Create) -> Result<(CreateAnswer, Vec<Task>), StoreError> {
        if let Some(idempotency) = &create.idempotency
            && let Some((_, fingerprint, answer)) = self.answers.get(&idempotency.key)
        {
            return if *fingerprint == idempotency.fingerprint {
                Ok((CreateAnswer { replayed: true, ..answer.clone() }, Vec::new()))
            } else {
                Err(StoreError::IdempotencyConflict { key: idempotency.key.clone() })
            };
        }
        let mut fresh: BTreeMap<TaskId, Kept> = BTreeMap::new();
        let mut items = Vec::new();
        for spec in create.tasks.iter().cloned() {
            let chosen = spec.id_chosen;
            let made = self.made(spec, &create);
            let id = made.task.head.id;
            let accepted = |kept: &Kept, new| Accepted {
                id,
                created_at: kept.task.created_at,
                run_after: kept.first_run_after,
                new,
                deduplicated: None,
            };
            items.push(match self.tasks.get(&id).or_else(|| fresh.get(&id)) {
                Some(standing) if chosen && standing.content == made.content => Ok(accepted(standing, false)),
                Some(_) => Err(ItemRefusal::IdConflict { id }),
                None => {
                    let answer = accepted(&made, true);
                    fresh.insert(id, made);
                    Ok(answer)
                }
            });
        }
        let (specs, firsts) = self.keep_unique(&create, &mut items, &mut fresh);
        self.refuse_dependants(&specs, &mut items, &mut fresh);
        for (place, first) in firsts {
            if let First::Sibling(first) = first {
                items[place] = as_sibling(&specs[first], &items[first], create.now);
            }
        }
        let refusals: Vec<_> = items
            .iter()
            .enumerate()
            .filter_map(|(place, item)| item.clone().err().map(|refusal| (place, refusal)))
            .collect();
        if create.atomic && !refusals.is_empty() {
            return Err(StoreError::BatchRefused { refusals });
        }
        let ready: Vec<_> = fresh.values().map(|kept| kept.task.clone()).collect();
        for task in &ready {
            self.queues.entry(task.queue.clone()).or_default().used = true;
        }
        fresh.values().for_each(|kept| self.hold_key(&kept.task));
        self.tasks.extend(fresh);
        ready.iter().for_each(|task| self.fed(task.head.id));
        ready.iter().for_each(|task| self.follow_in_batch(task.head.id, None, create.now));
        self.let_go(&specs, create.now);
        let ready: Vec<_> = ready.iter().map(|task| self.tasks[&task.head.id].task.clone()).collect();
        let answer = CreateAnswer { items, replayed: false };
        if let Some(Idempotency { key, fingerprint }) = create.idempotency {
            self.answers.insert(key, (create.now, fingerprint, answer.clone()));
        }
        Ok((answer, ready))
    }

    fn kept(&self, id: TaskId) -> Result<&Kept, StoreError> {
        self.tasks.get(&id).ok_or(StoreError::TaskNotFound(id))
    }

    /// Applies a command to a task; the answer is the task after it, and whether the command was a repetition.
    fn apply(&mut self, id: TaskId, command: &Command, now: Timestamp) -> Result<(Task, bool), StoreError> {
        let kept = self.tasks.get_mut(&id).ok_or(StoreError::TaskNotFound(id))?;
        let refused = |refusal: Refusal| StoreError::Refused { task: id, refusal };
        match decide(&kept.task.head, command, now).map_err(refused)? {
            Decision::Repeat => Ok((kept.task.clone(), true)),
            Decision::Apply(change) => {
                let task = &mut kept.task;
                let at = Change::dated(now, task.updated_at);
                if let TaskState::Running(lease) = &task.head.state
                    && matches!(change.kind, EventKind::AttemptFailed | EventKind::LeaseLost)
                {
                    self.failures.push((task.queue.clone(), now, now.since(lease.claimed_at)));
                }
                task.head = change.head;
                task.updated_at = at;
                if let TaskState::Running(lease) = &task.head.state {
                    kept.claimed_at = Some(lease.claimed_at);
                }
                task.finished_at = task.head.state.state().is_final().then_some(at);
                if let Some(error) = change.error {
                    task.error = error;
                }
                task.priority = change.priority.unwrap_or(task.priority);
                if let Some(queue) = change.queue {
                    task.queue = queue;
                }
                kept.history.push(Event {
                    seq: task.head.events,
                    at,
                    kind: change.kind,
                    from: Some(change.from),
                    to: task.head.state.state(),
                    attempt: task.head.attempt,
                    detail: change.detail,
                });
                let (after, from) = (task.clone(), change.from);
                self.fed(id);
                self.follow_in_batch(id, Some(from), now);
                if after.head.state.state().is_final() {
                    self.ended(id, now);
                }
                Ok((after, false))
            }
        }
    }

    /// Takes note of a worker, and refuses callers of another project and an earlier session of it.
    fn meet(
        &mut self,
        id: &WorkerId,
        caller: &Owner,
        session: Option<SessionId>,
        now: Timestamp,
    ) -> Result<&mut Worker, StoreError> {
        let new = || Worker::new(id.clone(), caller.clone(), session, now);
        let is_new = !self.workers.contains_key(id);
        let worker = self.workers.entry(id.clone()).or_insert_with(new);
        if !worker.admit(caller) {
            return Err(StoreError::WorkerOfOther(id.clone()));
        }
        let before = worker.session;
        if let Err(late) = worker.enter(session, now) {
            return Err(StoreError::SessionSuperseded { worker: id.clone(), session: late.session });
        }
        if is_new || worker.session != before {
            let started = Happened::WorkerStarted { worker: id.clone(), session: worker.session };
            self.happened.push((now, started));
        }
        Ok(worker)
    }
}

#[async_trait]
impl TaskStore for Oracle {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exact_worker_cap: true,
            fresh_lists: true,
            total_claim_order: true,
            lists_by_creation: true,
            tokens: self.most_tokens,
            sliced_purges: false,
            removes_by_itself: false,
            counts_removals: true,
            lists_in_parts: false,
            releases_at_once: true,
            feed: true,
            streams: false,
        }
    }

    async fn create(&self, create: Create) -> Result<CreateAnswer, StoreError> {
        let (answer, ready) = self.lock().create(create)?;
        ready.iter().for_each(|task| self.ring(task));
        Ok(answer)
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        self.claimed(&claim)
    }

    async fn complete(&self, complete: Complete, next: Option<Claim>) -> Result<CompleteAnswer, StoreError> {
        let Completion { generation, domain, repeated } = self.completion(complete)?;
        let next = next.map(|claim| self.claimed(&claim));
        Ok(CompleteAnswer { generation, domain, repeated, next })
    }

    async fn fail(&self, fail: Fail) -> Result<FailAnswer, StoreError> {
        self.failure(fail)
    }

    async fn release(&self, release: Release) -> Result<FailAnswer, StoreError> {
        self.given_back(release)
    }

    async fn end(&self, endings: Vec<Ending>, next: Option<Claim>) -> Result<EndAnswer, StoreError> {
        Ok(self.end_each(endings, next))
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatAnswer, StoreError> {
        self.lock().heartbeat(beat)
    }

    async fn cancel(&self, cancel: Cancel) -> Result<Task, StoreError> {
        let mut inner = self.lock();
        let task = inner.cancel(&cancel)?;
        self.ring_freed(&inner, cancel.now);
        self.ring_unblocked(&mut inner);
        Ok(task)
    }

    async fn retry(&self, retry: Retry) -> Result<Task, StoreError> {
        let (task, rung) = self.lock().retry(&retry)?;
        rung.iter().for_each(|task| self.ring(task));
        Ok(task)
    }

    async fn change(&self, change: ChangeTask) -> Result<Task, StoreError> {
        let mut inner = self.lock();
        let before = inner.kept(change.task)?.task.clone();
        if !change.reaches(&before.queue) {
            return Err(StoreError::TaskNotFound(change.task));
        }
        let moves_to = change.moves_from(&before.queue);
        let holder = moves_to.and_then(|to| inner.key_holder_in(&before, to, change.now));
        let standing = Standing { priority: before.priority, queue: before.queue.clone(), holder };
        let (task, repeated) = inner.apply(change.task, &change.command(standing), change.now)?;
        if task.queue != before.queue {
            inner.arrived(&task, change.now);
            self.ring_freed(&inner, change.now);
        }
        if !repeated {
            self.ring(&task);
        }
        Ok(task)
    }

    async fn remove(&self, remove: Remove) -> Result<(), StoreError> {
        self.lock().remove_ended(remove.task)
    }

    async fn reap(&self, reap: Reap) -> Result<ReapReport, StoreError> {
        self.take_back(&reap)
    }

    async fn expire(&self, expire: Expire) -> Result<Expired, StoreError> {
        self.expire_due(&expire)
    }

    async fn mend(&self, _: Mend) -> Result<Mended, StoreError> {
        Ok(Mended::default())
    }

    async fn linked(&self, ids: Vec<TaskId>) -> Result<Vec<Linked>, StoreError> {
        let inner = self.lock();
        Ok(ids.into_iter().filter_map(|id| inner.linked(id)).collect())
    }

    async fn inputs(&self, ids: Vec<TaskId>) -> Result<Vec<Input>, StoreError> {
        let inner = self.lock();
        Ok(ids.into_iter().filter_map(|id| inner.input(id)).collect())
    }

    async fn last_round(&self) -> Result<Option<RoundNote>, StoreError> {
        Ok(self.lock().round.clone())
    }

    async fn note_round(&self, note: RoundNote) -> Result<(), StoreError> {
        self.lock().round = Some(note);
        Ok(())
    }

    async fn redate(&self, redate: Redate) -> Result<Redated, StoreError> {
        Ok(self.date_anew(&redate))
    }

    async fn purge(&self, purge: Purge) -> Result<PurgeReport, StoreError> {
        Ok(self.lock().purge(&purge))
    }

    async fn pause_queue(&self, pause: PauseQueue) -> Result<QueueStats, StoreError> {
        let mut inner = self.lock();
        let lane = inner.queues.entry(pause.queue.clone()).or_default();
        lane.pause = pause.paused.then_some(Pause { since: pause.now, by: pause.by, reason: pause.reason });
        inner.forget_unused(&pause.queue);
        let stats = inner.queue_stats(&pause.queue, pause.now);
        if !pause.paused {
            let count = u32::try_from(stats.queued).unwrap_or(u32::MAX);
            self.doorbell.ring(Ready { queue: pause.queue, task_type: None, count, run_after: pause.now });
        }
        Ok(stats)
    }

    async fn order_queue(&self, order: OrderQueue) -> Result<(QueueOrder, QueueOrder), StoreError> {
        let mut inner = self.lock();
        let lane = inner.queues.entry(order.queue.clone()).or_default();
        let from = std::mem::replace(&mut lane.order, order.order);
        inner.forget_unused(&order.queue);
        Ok((from, order.order))
    }

    async fn set_defaults(&self, set: SetDefaults) -> Result<(QueueDefaults, QueueDefaults), StoreError> {
        let mut inner = self.lock();
        let lane = inner.queues.entry(set.queue.clone()).or_default();
        let from = lane.defaults;
        lane.defaults = set.change.onto(from);
        let to = lane.defaults;
        inner.forget_unused(&set.queue);
        Ok((from, to))
    }

    async fn direct_worker(&self, direct: Direct) -> Result<WorkerDetail, StoreError> {
        let mut inner = self.lock();
        match inner.workers.get_mut(&direct.worker) {
            Some(worker) => {
                direct.of(worker);
            }
            None => return Err(StoreError::WorkerNotFound(direct.worker)),
        }
        inner.worker_detail(&direct.worker)
    }

    async fn history(&self, id: TaskId, page: PageRequest) -> Result<Page<Event>, StoreError> {
        let after = events_after(&page)?;
        let inner = self.lock();
        let history = &inner.kept(id)?.history;
        let items = history.iter().skip(after as usize).take(page.limit as usize).cloned().collect();
        Ok(page_of_events(items, u32::try_from(history.len()).unwrap_or(u32::MAX)))
    }

    async fn task(&self, id: TaskId) -> Result<TaskDetail, StoreError> {
        let inner = self.lock();
        let Kept { task, history, .. } = inner.kept(id)?;
        let generation = match &task.head.state {
            TaskState::Completed { generation, .. } => Some(inner.generations[generation].clone()),
            _ => None,
        };
        let progress = match &task.head.state {
            TaskState::Running(lease) => inner.workers.get(&lease.worker).and_then(|worker| {
                let mut running = worker.running.iter().flatten();
                running.find(|one| one.task == id && one.attempt == task.head.attempt).cloned()
            }),
            _ => None,
        };
        let shown = history.len().saturating_sub(TaskDetail::EVENTS as usize);
        let history = history[shown..].to_vec();
        Ok(TaskDetail { task: task.clone(), history, generation, progress })
    }

    async fn tasks(&self, filter: TaskFilter, asked: PageRequest) -> Result<Page<Task>, StoreError> {
        let inner = self.lock();
        let wanted = |task: &&Task| {
            let last = match &task.head.state {
                TaskState::Running(lease) => Some(&lease.worker),
                _ => task.head.ended.as_ref().map(|end| &end.worker),
            };
            (filter.statuses.is_empty() || filter.statuses.contains(&task.status(filter.now)))
                && fits(&filter.task_type, Some(&task.task_type))
                && fits(&filter.queue, Some(&task.queue))
                && fits(&filter.project, Some(&task.project))
                && fits(&filter.domain, task.domain.as_ref())
                && fits(&filter.assigned_by, task.assigned_by.as_ref())
                && fits(&filter.worker, last)
                && within(task.created_at, filter.created_from, filter.created_before)
        };
        let tasks = inner.tasks.values().map(|kept| &kept.task).filter(wanted);
        let items = tasks.map(|task| (sortable(task.created_at, task.head.id), task.clone())).collect();
        page("t:", items, true, &asked)
    }

    async fn task_ids_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        let inner = self.lock();
        let ids = inner.tasks.keys().filter(|id| id.to_string().starts_with(prefix));
        Ok(ids.take(limit as usize).copied().collect())
    }

    async fn generation(&self, id: GenerationId) -> Result<Generation, StoreError> {
        self.lock().generations.get(&id).cloned().ok_or(StoreError::GenerationNotFound(id))
    }

    async fn generations(
        &self,
        filter: GenerationFilter,
        asked: PageRequest,
    ) -> Result<Page<Generation>, StoreError> {
        let inner = self.lock();
        let wanted = |one: &&Generation| {
            fits(&filter.task, Some(&one.task))
                && fits(&filter.task_type, Some(&one.task_type))
                && fits(&filter.queue, Some(&one.queue))
                && fits(&filter.project, Some(&one.project))
                && fits(&filter.worker, Some(&one.worker))
                && within(one.finished_at, filter.finished_from, filter.finished_before)
        };
        let found = inner.generations.values().filter(wanted);
        page("g:", found.map(|one| (sortable(one.finished_at, one.id), one.clone())).collect(), true, &asked)
    }

    async fn worker(&self, id: &WorkerId) -> Result<WorkerDetail, StoreError> {
        self.lock().worker_detail(id)
    }

    async fn workers(&self, asked: PageRequest) -> Result<Page<WorkerDetail>, StoreError> {
        let inner = self.lock();
        let details = inner.workers.keys().map(|id| Ok((id.to_string(), inner.worker_detail(id)?)));
        page("w:", details.collect::<Result<_, StoreError>>()?, false, &asked)
    }

    async fn queue(&self, name: &QueueName, now: Timestamp) -> Result<QueueStats, StoreError> {
        let inner = self.lock();
        if !inner.queues.contains_key(name) {
            return Err(StoreError::QueueNotFound(name.clone()));
        }
        Ok(inner.queue_stats(name, now))
    }

    async fn queues(&self, now: Timestamp, asked: PageRequest) -> Result<Page<QueueStats>, StoreError> {
        let inner = self.lock();
        let queues = inner.queues.keys().map(|name| (name.to_string(), inner.queue_stats(name, now)));
        page("q:", queues.collect(), false, &asked)
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        Ok(self.lock().stats(&self.policy, now))
    }

    async fn waiting(&self, now: Timestamp) -> Result<Waiting, StoreError> {
        let inner = self.lock();
        let ages = inner.queues.keys().filter_map(|name| {
            let age = inner.queue_stats(name, now).oldest_ready?;
            Some((name.clone(), age))
        });
        Ok(Waiting { longest: ages.max_by_key(|(_, age)| *age), unseen: 0 })
    }

    async fn why(&self, id: TaskId, now: Timestamp) -> Result<Why, StoreError> {
        self.lock().why(id, &self.policy, now)
    }

    async fn logs(&self, filter: LogFilter, asked: PageRequest) -> Result<Page<LogLine>, StoreError> {
        let inner = self.lock();
        let wanted = |line: &LogLine| {
            fits(&filter.task, line.task.as_ref())
                && fits(&filter.worker, Some(&line.worker))
                && filter.level.is_none_or(|least| line.level >= least)
                && within(line.received_at, filter.from, filter.before)
        };
        let lines = inner.logs.iter().enumerate().filter(|(_, line)| wanted(line));
        let keyed = lines.map(|(n, line)| (sortable(line.received_at, format_args!("{n:09}")), line.clone()));
        page("l:", keyed.collect(), true, &asked)
    }

    async fn health(&self) -> Health {
        Health { read: Ok(()), write: Some(Ok(())), sizes: None }
    }

    async fn sizes(&self) -> Result<Option<Sizes>, StoreError> {
        Ok(None)
    }
}
