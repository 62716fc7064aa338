//! A store that fails as stores far away do, for tests: a decorator that any whole [`Store`] can wear.
//!
//! What goes wrong is drawn from a seed, so that a run whose commands come in the same order fails in the same places.
//! Nothing sleeps: a delay gives other tasks a turn and goes on.

mod config;
mod documents;
mod idempotency;

use std::any::Any;
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use baton_model::{
    AuditId, Batch, BatchId, Bulk, BulkId, Event, Generation, GenerationId, Happened, Limit, LogLine,
    QueueDefaults, QueueName, QueueOrder, RoundNote, Schedule, ScheduleKey, Supply, Task, TaskId,
    TimelineEntry, TimelineFilter, Timestamp, Token, TokenId, Why, WorkerId,
};

use crate::{
    AddToBatch, AuditEntry, AuditFilter, AuditStore, BatchDetail, BatchFilter, BatchStore, Beat, BeatAnswer,
    BulkStore, Cancel, Capabilities, ChangeTask, Changed, Claim, ClaimAnswer, Complete, CompleteAnswer,
    Create, CreateAnswer, Direct, EndAnswer, Ending, Expire, Expired, Fail, FailAnswer, FeedPage,
    GenerationFilter, Health, Input, LimitStatus, LimitStore, Linked, LogFilter, Mend, Mended, Occur,
    Occurred, OrderQueue, OwnedProject, Page, PageRequest, PauseQueue, Purge, PurgeReport, QueueStats, Reap,
    ReapReport, Redate, Redated, Refill, Refilled, Release, Remove, Retry, ScheduleFilter, ScheduleStore,
    SealBatch, SetDefaults, SetLimit, SetOwner, SetSchedule, SetSupply, Settled, Sizes, Stats, Store,
    StoreError, StoredToken, SupplyStore, TaskDetail, TaskFilter, TaskStore, TendBatches, TendedBatches,
    TimelineStore, TokenStore, Waiting, WorkerDetail,
};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The store is out of reach: nothing is done.
    Unavailable,
    /// The command is carried out, and its answer is lost.
    Unknown,
    /// The command arrives twice, and the second answer is the one that comes back.
    Twice,
    /// Others are faster.
    Delay,
    /// A list, or what is derived from one, is answered as it was to the same question before.
    Stale,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 5] = [Self::Unavailable, Self::Unknown, Self::Twice, Self::Delay, Self::Stale];
}

/// What a call allows to go wrong.
#[derive(Clone, Copy)]
enum Call {
    /// A command that may be carried out twice.
    Repeatable,
    /// A command that may not.
    Once,
    /// The reading of one thing as it is.
    Point,
    /// A list or number, which may trail.
    List,
}

/// The most questions whose answers are remembered.
const REMEMBERED: usize = 1_024;

/// The most turns that a delay gives to others.
const TURNS: u64 = 24;

/// A store that wears faults.
pub struct Faulty {
    inner: Arc<dyn Store>,
    seed: u64,
    one_in: u64,
    on: AtomicBool,
    state: Mutex<State>,
}

struct State {
    random: u64,
    /// What was met, in order: the method and the fault.
    met: Vec<(&'static str, Fault)>,
    /// Answers by their questions.
    answers: HashMap<String, Box<dyn Any + Send>>,
}

impl State {
    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

impl Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("seed", &self.seed)
            .field("one_in", &self.one_in)
            .finish_non_exhaustive()
    }
}

impl Faulty {
    /// Has a store meet a fault in one call of `one_in`; 0 for none.
    pub fn new(inner: Arc<dyn Store>, seed: u64, one_in: u64) -> Self {
        let state = State { random: seed, met: Vec::new(), answers: HashMap::new() };
        Self { inner, seed, one_in, on: AtomicBool::new(true), state: Mutex::new(state) }
    }

    /// Switches faults on or off.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    /// The faults that were met, in order, each with the method that met it.
    pub fn met(&self) -> Vec<(&'static str, Fault)> {
        self.lock().met.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in it is left half done by a thread that panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws what a call meets, and for how many turns if it is a delay.
    fn draw(&self, method: &'static str, call: Call) -> Option<(Fault, u64)> {
        if self.one_in == 0 || !self.on.load(Ordering::SeqCst) {
            return None;
        }
        let mut state = self.lock();
        if state.below(self.one_in) != 0 {
            return None;
        }
        let possible: &[Fault] = match call {
            Call::Repeatable => &[Fault::Unavailable, Fault::Unknown, Fault::Twice, Fault::Delay],
            Call::Once => &[Fault::Unavailable, Fault::Unknown, Fault::Delay],
            Call::Point => &[Fault::Unavailable, Fault::Delay],
            Call::List => &[Fault::Unavailable, Fault::Delay, Fault::Stale, Fault::Stale],
        };
        let place = usize::try_from(state.below(possible.len() as u64)).unwrap_or(0);
        let turns = 1 + state.below(TURNS);
        let fault = *possible.get(place)?;
        state.met.push((method, fault));
        Some((fault, turns))
    }

    /// Carries out a command, or reads one thing.
    async fn call<T, A>(&self, method: &'static str, call: Call, ask: impl Fn() -> A) -> Result<T, StoreError>
    where
        A: Future<Output = Result<T, StoreError>>,
    {
        match self.draw(method, call) {
            None | Some((Fault::Stale, _)) => ask().await,
            Some((Fault::Unavailable, _)) => {
                Err(StoreError::Unavailable("an injected fault: out of reach".into()))
            }
            Some((Fault::Unknown, _)) => {
                // Whatever it was, nobody hears of it.
                let _ = ask().await;
                Err(StoreError::Unknown("an injected fault: the answer was lost".into()))
            }
            Some((Fault::Twice, _)) => {
                // The first answer goes to nobody.
                let _ = ask().await;
                ask().await
            }
            Some((Fault::Delay, turns)) => {
                give_way(turns).await;
                ask().await
            }
        }
    }

    /// Answers a question about many things. `question` names it, whatever the time.
    async fn list<T, A>(
        &self,
        method: &'static str,
        question: impl Debug + Send,
        ask: impl Fn() -> A + Send,
    ) -> Result<T, StoreError>
    where
        T: Clone + Send + 'static,
        A: Future<Output = Result<T, StoreError>> + Send,
    {
        let name = format!("{method} {question:?}");
        let met = self.draw(method, Call::List);
        match met {
            Some((Fault::Unavailable, _)) => {
                return Err(StoreError::Unavailable("an injected fault: out of reach".into()));
            }
            Some((Fault::Stale, _)) => {
                let state = self.lock();
                if let Some(answer) = state.answers.get(&name).and_then(|old| old.downcast_ref::<T>()) {
                    return Ok(answer.clone());
                }
            }
            Some((Fault::Delay, turns)) => give_way(turns).await,
            Some((Fault::Unknown | Fault::Twice, _)) | None => {}
        }
        let answer = ask().await?;
        let mut state = self.lock();
        if state.answers.len() >= REMEMBERED {
            state.answers.clear();
        }
        // The first answer is kept for a while, so that what comes back is old.
        if !state.answers.contains_key(&name) || state.below(4) == 0 {
            state.answers.insert(name, Box::new(answer.clone()));
        }
        Ok(answer)
    }
}

/// Lets other tasks have their turns.
async fn give_way(turns: u64) {
    for _ in 0..turns {
        let mut given = false;
        poll_fn(|context| {
            if given {
                return Poll::Ready(());
            }
            given = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

#[async_trait]
impl TaskStore for Faulty {
    fn capabilities(&self) -> Capabilities {
        Capabilities { fresh_lists: false, ..self.inner.capabilities() }
    }

    async fn create(&self, create: Create) -> Result<CreateAnswer, StoreError> {
        // Without a name of its own, nothing tells a second sending from another request with the same ids.
        let named = create.idempotency.is_some() || create.tasks.iter().all(|spec| spec.id_chosen);
        let call = if named { Call::Repeatable } else { Call::Once };
        self.call("create", call, || self.inner.create(create.clone())).await
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        self.call("claim", Call::Repeatable, || self.inner.claim(claim.clone())).await
    }

    async fn complete(&self, complete: Complete, next: Option<Claim>) -> Result<CompleteAnswer, StoreError> {
        let ask = || self.inner.complete(complete.clone(), next.clone());
        self.call("complete", Call::Repeatable, ask).await
    }

    async fn fail(&self, fail: Fail) -> Result<FailAnswer, StoreError> {
        self.call("fail", Call::Repeatable, || self.inner.fail(fail.clone())).await
    }

    async fn release(&self, release: Release) -> Result<FailAnswer, StoreError> {
        self.call("release", Call::Repeatable, || self.inner.release(release.clone())).await
    }

    async fn end(&self, endings: Vec<Ending>, next: Option<Claim>) -> Result<EndAnswer, StoreError> {
        self.call("end", Call::Repeatable, || self.inner.end(endings.clone(), next.clone())).await
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatAnswer, StoreError> {
        self.call("heartbeat", Call::Repeatable, || self.inner.heartbeat(beat.clone())).await
    }

    async fn cancel(&self, cancel: Cancel) -> Result<Task, StoreError> {
        self.call("cancel", Call::Repeatable, || self.inner.cancel(cancel.clone())).await
    }

    async fn change(&self, change: ChangeTask) -> Result<Task, StoreError> {
        self.call("change", Call::Repeatable, || self.inner.change(change.clone())).await
    }

    async fn remove(&self, remove: Remove) -> Result<(), StoreError> {
        self.call("remove", Call::Repeatable, || self.inner.remove(remove)).await
    }

    async fn retry(&self, retry: Retry) -> Result<Task, StoreError> {
        self.call("retry", Call::Repeatable, || self.inner.retry(retry.clone())).await
    }

    async fn reap(&self, reap: Reap) -> Result<ReapReport, StoreError> {
        self.call("reap", Call::Repeatable, || self.inner.reap(reap.clone())).await
    }

    async fn mend(&self, mend: Mend) -> Result<Mended, StoreError> {
        self.call("mend", Call::Repeatable, || self.inner.mend(mend.clone())).await
    }

    async fn linked(&self, ids: Vec<TaskId>) -> Result<Vec<Linked>, StoreError> {
        self.call("linked", Call::Point, || self.inner.linked(ids.clone())).await
    }

    async fn inputs(&self, ids: Vec<TaskId>) -> Result<Vec<Input>, StoreError> {
        self.call("inputs", Call::Point, || self.inner.inputs(ids.clone())).await
    }

    async fn last_round(&self) -> Result<Option<RoundNote>, StoreError> {
        self.call("last_round", Call::Point, || self.inner.last_round()).await
    }

    async fn note_round(&self, note: RoundNote) -> Result<(), StoreError> {
        self.call("note_round", Call::Repeatable, || self.inner.note_round(note.clone())).await
    }

    async fn expire(&self, expire: Expire) -> Result<Expired, StoreError> {
        self.call("expire", Call::Repeatable, || self.inner.expire(expire)).await
    }

    async fn redate(&self, redate: Redate) -> Result<Redated, StoreError> {
        self.call("redate", Call::Repeatable, || self.inner.redate(redate.clone())).await
    }

    async fn purge(&self, purge: Purge) -> Result<PurgeReport, StoreError> {
        self.call("purge", Call::Repeatable, || self.inner.purge(purge)).await
    }

    async fn pause_queue(&self, pause: PauseQueue) -> Result<QueueStats, StoreError> {
        self.call("pause_queue", Call::Repeatable, || self.inner.pause_queue(pause.clone())).await
    }

    async fn set_defaults(&self, set: SetDefaults) -> Result<(QueueDefaults, QueueDefaults), StoreError> {
        self.call("set_defaults", Call::Repeatable, || self.inner.set_defaults(set.clone())).await
    }

    async fn order_queue(&self, order: OrderQueue) -> Result<(QueueOrder, QueueOrder), StoreError> {
        self.call("order_queue", Call::Repeatable, || self.inner.order_queue(order.clone())).await
    }

    async fn direct_worker(&self, direct: Direct) -> Result<WorkerDetail, StoreError> {
        self.call("direct_worker", Call::Repeatable, || self.inner.direct_worker(direct.clone())).await
    }

    async fn task(&self, id: TaskId) -> Result<TaskDetail, StoreError> {
        self.call("task", Call::Point, || self.inner.task(id)).await
    }

    async fn history(&self, id: TaskId, page: PageRequest) -> Result<Page<Event>, StoreError> {
        self.call("history", Call::Point, || self.inner.history(id, page.clone())).await
    }

    async fn tasks(&self, filter: TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError> {
        let question = (TaskFilter { now: Timestamp::default(), ..filter.clone() }, page.clone());
        self.list("tasks", question, || self.inner.tasks(filter.clone(), page.clone())).await
    }

    async fn task_ids_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.call("task_ids_by_prefix", Call::Point, || self.inner.task_ids_by_prefix(prefix, limit)).await
    }

    async fn generation(&self, id: GenerationId) -> Result<Generation, StoreError> {
        self.call("generation", Call::Point, || self.inner.generation(id)).await
    }

    async fn generations(
        &self,
        filter: GenerationFilter,
        page: PageRequest,
    ) -> Result<Page<Generation>, StoreError> {
        let question = (filter.clone(), page.clone());
        self.list("generations", question, || self.inner.generations(filter.clone(), page.clone())).await
    }

    async fn worker(&self, id: &WorkerId) -> Result<WorkerDetail, StoreError> {
        self.list("worker", id, || self.inner.worker(id)).await
    }

    async fn workers(&self, page: PageRequest) -> Result<Page<WorkerDetail>, StoreError> {
        self.list("workers", page.clone(), || self.inner.workers(page.clone())).await
    }

    async fn queue(&self, name: &QueueName, now: Timestamp) -> Result<QueueStats, StoreError> {
        self.list("queue", name, || self.inner.queue(name, now)).await
    }

    async fn queues(&self, now: Timestamp, page: PageRequest) -> Result<Page<QueueStats>, StoreError> {
        self.list("queues", page.clone(), || self.inner.queues(now, page.clone())).await
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        self.list("stats", (), || self.inner.stats(now)).await
    }

    async fn waiting(&self, now: Timestamp) -> Result<Waiting, StoreError> {
        self.list("waiting", (), || self.inner.waiting(now)).await
    }

    async fn why(&self, id: TaskId, now: Timestamp) -> Result<Why, StoreError> {
        self.list("why", id, || self.inner.why(id, now)).await
    }

    async fn logs(&self, filter: LogFilter, page: PageRequest) -> Result<Page<LogLine>, StoreError> {
        let question = (filter.clone(), page.clone());
        self.list("logs", question, || self.inner.logs(filter.clone(), page.clone())).await
    }

    async fn health(&self) -> Health {
        let unreachable = |cause: &StoreError| StoreError::Unavailable(cause.to_string().into());
        self.call("health", Call::Point, || async { Ok(self.inner.health().await) }).await.unwrap_or_else(
            |error| Health { read: Err(unreachable(&error)), write: Some(Err(error)), sizes: None },
        )
    }

    async fn sizes(&self) -> Result<Option<Sizes>, StoreError> {
        self.call("sizes", Call::Point, || self.inner.sizes()).await
    }
}

#[async_trait]
impl LimitStore for Faulty {
    async fn set_limit(&self, set: SetLimit) -> Result<Changed<Limit>, StoreError> {
        self.call("set_limit", Call::Repeatable, || self.inner.set_limit(set.clone())).await
    }

    async fn limits(&self, page: PageRequest) -> Result<Page<LimitStatus>, StoreError> {
        self.list("limits", page.clone(), || self.inner.limits(page.clone())).await
    }

    async fn set_owner(&self, set: SetOwner) -> Result<Changed<OwnedProject>, StoreError> {
        self.call("set_owner", Call::Repeatable, || self.inner.set_owner(set.clone())).await
    }

    async fn owned_projects(&self, page: PageRequest) -> Result<Page<OwnedProject>, StoreError> {
        self.list("owned_projects", page.clone(), || self.inner.owned_projects(page.clone())).await
    }
}

#[async_trait]
impl ScheduleStore for Faulty {
    async fn set_schedule(&self, set: SetSchedule) -> Result<Changed<Schedule>, StoreError> {
        self.call("set_schedule", Call::Repeatable, || self.inner.set_schedule(set.clone())).await
    }

    async fn schedule(&self, key: &ScheduleKey) -> Result<Schedule, StoreError> {
        self.call("schedule", Call::Point, || self.inner.schedule(key)).await
    }

    async fn schedules(
        &self,
        filter: ScheduleFilter,
        page: PageRequest,
    ) -> Result<Page<Schedule>, StoreError> {
        let question = (filter.clone(), page.clone());
        self.list("schedules", question, || self.inner.schedules(filter.clone(), page.clone())).await
    }

    async fn due_schedules(&self, now: Timestamp, page: PageRequest) -> Result<Page<Schedule>, StoreError> {
        self.list("due_schedules", page.clone(), || self.inner.due_schedules(now, page.clone())).await
    }

    async fn occur(&self, occur: Occur) -> Result<Occurred, StoreError> {
        self.call("occur", Call::Repeatable, || self.inner.occur(occur.clone())).await
    }
}

#[async_trait]
impl SupplyStore for Faulty {
    async fn set_supply(&self, set: SetSupply) -> Result<Changed<Supply>, StoreError> {
        self.call("set_supply", Call::Repeatable, || self.inner.set_supply(set.clone())).await
    }

    async fn supply(&self, queue: &QueueName) -> Result<Supply, StoreError> {
        self.call("supply", Call::Point, || self.inner.supply(queue)).await
    }

    async fn supplies(&self, page: PageRequest) -> Result<Page<Supply>, StoreError> {
        self.list("supplies", page.clone(), || self.inner.supplies(page.clone())).await
    }

    async fn refill(&self, refill: Refill) -> Result<Refilled, StoreError> {
        self.call("refill", Call::Repeatable, || self.inner.refill(refill.clone())).await
    }
}

#[async_trait]
impl BatchStore for Faulty {
    async fn add_to_batch(&self, add: AddToBatch) -> Result<CreateAnswer, StoreError> {
        let create = &add.create;
        let named = create.idempotency.is_some() || create.tasks.iter().all(|spec| spec.id_chosen);
        let call = if named { Call::Repeatable } else { Call::Once };
        self.call("add_to_batch", call, || self.inner.add_to_batch(add.clone())).await
    }

    async fn seal_batch(&self, seal: SealBatch) -> Result<Batch, StoreError> {
        self.call("seal_batch", Call::Repeatable, || self.inner.seal_batch(seal)).await
    }

    async fn batch(&self, id: BatchId) -> Result<BatchDetail, StoreError> {
        self.call("batch", Call::Point, || self.inner.batch(id)).await
    }

    async fn batches(&self, filter: BatchFilter, page: PageRequest) -> Result<Page<Batch>, StoreError> {
        let key = (filter.project.clone(), page.clone());
        self.list("batches", key, || self.inner.batches(filter.clone(), page.clone())).await
    }

    async fn tend_batches(&self, tend: TendBatches) -> Result<TendedBatches, StoreError> {
        self.call("tend_batches", Call::Repeatable, || self.inner.tend_batches(tend.clone())).await
    }
}

#[async_trait]
impl TimelineStore for Faulty {
    async fn timeline(
        &self,
        filter: TimelineFilter,
        page: PageRequest,
    ) -> Result<Page<TimelineEntry>, StoreError> {
        let question = (filter.clone(), page.clone());
        self.list("timeline", question, || self.inner.timeline(filter.clone(), page.clone())).await
    }

    async fn note_happened(&self, at: Timestamp, happened: Happened) -> Result<(), StoreError> {
        self.call("note_happened", Call::Once, || self.inner.note_happened(at, happened.clone())).await
    }

    async fn feed(&self, after: u64, limit: u32) -> Result<FeedPage, StoreError> {
        self.call("feed", Call::Point, || self.inner.feed(after, limit)).await
    }

    async fn feed_head(&self) -> Result<u64, StoreError> {
        self.call("feed_head", Call::Point, || self.inner.feed_head()).await
    }

    async fn feed_beyond(&self, position: u64) -> Result<u64, StoreError> {
        self.call("feed_beyond", Call::Point, || self.inner.feed_beyond(position)).await
    }
}

#[async_trait]
impl BulkStore for Faulty {
    async fn create_bulk(&self, bulk: Bulk) -> Result<(), StoreError> {
        self.call("create_bulk", Call::Repeatable, || self.inner.create_bulk(bulk.clone())).await
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError> {
        self.call("bulk", Call::Point, || self.inner.bulk(id)).await
    }

    async fn put_bulk(&self, bulk: Bulk) -> Result<bool, StoreError> {
        self.call("put_bulk", Call::Repeatable, || self.inner.put_bulk(bulk.clone())).await
    }

    async fn bulks(&self, page: PageRequest) -> Result<Page<Bulk>, StoreError> {
        self.list("bulks", page.clone(), || self.inner.bulks(page.clone())).await
    }

    async fn open_bulks(&self) -> Result<Vec<BulkId>, StoreError> {
        self.list("open_bulks", (), || self.inner.open_bulks()).await
    }
}

#[async_trait]
impl TokenStore for Faulty {
    async fn create_token(&self, token: StoredToken) -> Result<(), StoreError> {
        self.call("create_token", Call::Repeatable, || self.inner.create_token(token.clone())).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<StoredToken>, StoreError> {
        self.call("token", Call::Point, || self.inner.token(id)).await
    }

    async fn tokens(&self, page: PageRequest) -> Result<Page<Token>, StoreError> {
        // What is said of tokens is never old.
        self.call("tokens", Call::Point, || self.inner.tokens(page.clone())).await
    }

    async fn revoke_token(&self, id: TokenId, now: Timestamp) -> Result<Token, StoreError> {
        self.call("revoke_token", Call::Repeatable, || self.inner.revoke_token(id, now)).await
    }

    async fn token_used(&self, id: TokenId, at: Timestamp) -> Result<(), StoreError> {
        self.call("token_used", Call::Repeatable, || self.inner.token_used(id, at)).await
    }
}

#[async_trait]
impl AuditStore for Faulty {
    async fn record(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.call("record", Call::Repeatable, || self.inner.record(entry.clone())).await
    }

    async fn settle(&self, id: AuditId, settled: Settled) -> Result<(), StoreError> {
        self.call("settle", Call::Repeatable, || self.inner.settle(id, settled.clone())).await
    }

    async fn audit(&self, filter: AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError> {
        let question = (filter.clone(), page.clone());
        self.list("audit", question, || self.inner.audit(filter.clone(), page.clone())).await
    }
}
