//! Histories under faults: producers, workers, an operator and a reaper at the same time, over a store that fails.
//! Whatever is lost, repeated, late or old, no acknowledged task is lost, none is completed twice, a generation exists
//! if and only if its task is completed, and no limit that was set before is exceeded at any moment.
//!
//! A failure names its seed; `BATON_SEED=<number>` draws the same commands and faults again (how they overlap is the
//! machine's choice), and `BATON_SEEDS=<count>` runs more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_model::{
    Bounds, EventKind, FairBy, GenerationId, IfDependencyFails, LeasePolicy, LeaseTerms, LimitRules, Output,
    Priority, QueueName, QueueOrder, State, Status, Task, TaskId, TaskSpec, Timestamp, Unique, UniqueWhile,
    Wants, Warm, Watch,
};

mod batches;
mod endings;
mod limits;

use super::World;
use super::change::{changing, to_priority};
use super::kit::*;
use super::limits::{limit, most};
use super::split_mix::SplitMix;
use crate::faulty::{Fault, Faulty};
use crate::{
    Beat, Claim, ClaimAnswer, Complete, Create, ErrorKind, Fail, Generation, GenerationFilter, Mend,
    NoDoorbell, OrderQueue, Page, PageRequest, Reap, Store, StoreError, TaskFilter, Tasks, WorkerDetail,
};

/// How hard a history is.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many creations each of the two producers sends.
    pub creations: usize,
    /// How many claims each of the four workers sends.
    pub claims: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self { creations: 12, claims: 15 }
    }
}

/// The seeds to run: the one of `BATON_SEED`, or as many as `BATON_SEEDS` says, or this many.
pub fn seeds(count: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("BATON_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("BATON_SEEDS").unwrap_or(count)).collect(),
    }
}

/// Runs a history over the store of a world that wears faults, and gives the faults that were met.
pub async fn over_faults(world: impl World, seed: u64) -> Vec<(&'static str, Fault)> {
    let store = world.open(LeasePolicy::default(), Arc::new(NoDoorbell)).await;
    for (on, places, holds_retries) in [("queue/default/key/*", 1, true), ("project/default", 4, false)] {
        limit(&*store, at(0), on, LimitRules { holds_retries, ..most(places) }).await;
    }
    let faulty = Arc::new(Faulty::new(store, seed, 5));
    let calm = || faulty.switch(false);
    run(Arc::clone(&faulty) as Arc<dyn Store>, seed, Load::default(), calm).await;
    batches::batches(Arc::clone(&faulty), seed).await;
    faulty.met()
}

/// Runs a history over a store that fails until `calm` is called, and checks what is left then. It keeps to the limits that are set
/// before.
pub async fn run(store: Arc<dyn Store>, seed: u64, load: Load, calm: impl FnOnce()) {
    let _named = Named(seed);
    let shared =
        Arc::new(Shared { store, ids: AtomicU64::new(1), clock: AtomicU64::new(0), told: Mutex::default() });
    let random = |actor: u64| SplitMix(seed.wrapping_mul(1_000).wrapping_add(actor));
    shared.order(&mut random(30)).await;
    let mut running = Vec::new();
    for n in 0..2 {
        let (shared, random) = (Arc::clone(&shared), random(n));
        running.push(tokio::spawn(async move { shared.produce(random, load.creations).await }));
    }
    for n in 0..4 {
        let (shared, random) = (Arc::clone(&shared), random(10 + n));
        running.push(tokio::spawn(async move { shared.work(n, random, load.claims).await }));
    }
    let (operator, random) = (Arc::clone(&shared), random(20));
    running.push(tokio::spawn(async move { operator.operate(random, load.creations).await }));
    let reaper = Arc::clone(&shared);
    running.push(tokio::spawn(async move { reaper.reap(10).await }));
    for one in running {
        one.await.expect("no actor panics");
    }
    calm();
    shared.finish().await;
    shared.check().await;
}

/// How many rounds of the reaper in which nothing is left to be claimed are the end of a history.
const ROUNDS: u32 = 3;

/// Prints the seed of a history that fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A test that cannot write has failed all the same.
            let _ = writeln!(std::io::stderr(), "BATON_SEED={}", self.0);
        }
    }
}

/// What the actors were told.
#[derive(Default)]
struct Told {
    created: BTreeSet<TaskId>,
    completed: BTreeMap<TaskId, Generation>,
    cancelled: BTreeSet<TaskId>,
    /// Who was given an attempt, and by when.
    given: BTreeMap<(TaskId, u32), (String, Timestamp)>,
}

/// What all actors share.
struct Shared {
    store: Arc<dyn Store>,
    ids: AtomicU64,
    clock: AtomicU64,
    told: Mutex<Told>,
}

impl Shared {
    fn number(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::SeqCst)
    }

    fn id(&self) -> [u8; 16] {
        counted_id(self.number())
    }

    fn now(&self) -> Timestamp {
        at(0).plus(millis(self.clock.fetch_add(3, Ordering::SeqCst)))
    }

    /// Sends a command as a client does: again, while the store says that it may not have been carried out.
    async fn sent<T, A: Future<Output = Result<T, StoreError>>>(
        &self,
        ask: impl Fn() -> A,
    ) -> Result<T, StoreError> {
        loop {
            match ask().await {
                Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) => {
                    tokio::task::yield_now().await;
                }
                Err(error) if error.kind() == ErrorKind::Internal => panic!("the store failed: {error:?}"),
                other => return other,
            }
        }
    }

    fn spec(&self, id_chosen: bool, large: bool, affinity: Option<&str>) -> TaskSpec {
        let params = if large { format!("\"{}\"", "p".repeat(3_000)) } else { "{}".to_owned() };
        TaskSpec {
            id_chosen,
            params: json(&params),
            max_attempts: 1_000,
            concurrency_key: large.then(|| name("large")),
            affinity: affinity.map(name),
            ..plain_spec(TaskId::from_bytes(self.id()), "render")
        }
    }

    fn drawn(&self, chosen: bool, random: &mut SplitMix) -> TaskSpec {
        let affinity = [None, None, Some("sdxl"), Some("flux")][random.below(4) as usize];
        self.spec(chosen, random.below(4) == 0, affinity)
    }

    async fn produce(&self, mut random: SplitMix, rounds: usize) {
        for _ in 0..rounds {
            let chosen = random.below(2) == 0;
            let mut tasks: Vec<_> =
                (0..1 + random.below(3)).map(|_| self.drawn(chosen, &mut random)).collect();
            if random.below(3) == 0 {
                self.link(&mut tasks, &mut random);
            }
            if random.below(4) == 0
                && let Some(first) = tasks.first_mut()
            {
                let held = [UniqueWhile::Queued, UniqueWhile::Unfinished][random.below(2) as usize];
                first.unique = Some(Unique { key: name("once"), held });
            }
            // What is neither chosen nor named cannot be told from another when it is sent again.
            let key = (!chosen).then(|| format!("k{}", self.number()));
            let idempotency = key.and_then(|key| idempotency(&key, &key));
            let atomic = random.below(2) == 0;
            let create = Create { atomic, idempotency, ..creation(self.now(), tasks) };
            let answer = self.sent(|| self.store.create(create.clone())).await.expect("a creation is taken");
            let ids = answer.items.into_iter().map(|item| item.expect("a task is taken").id);
            self.told.lock().unwrap().created.extend(ids);
        }
    }

    /// Has the last task of a batch wait for the others of it, and for one that was created before.
    fn link(&self, tasks: &mut [TaskSpec], random: &mut SplitMix) {
        let Some((last, others)) = tasks.split_last_mut() else { return };
        last.depends_on = others.iter().map(|spec| spec.id).collect();
        let told = self.told.lock().unwrap();
        let place = random.below(told.created.len().max(1) as u64) as usize;
        last.depends_on.extend(told.created.iter().nth(place));
        last.if_dependency_fails = IfDependencyFails::ALL[random.below(3) as usize];
    }

    fn claim(&self, worker: &str, most: u32, keyed: bool) -> Claim {
        let plain = claim(worker, self.now()).max(most).cap(1_000).fixed(secs(2));
        let key = format!("r{}", self.number());
        if keyed { plain.key(&key) } else { plain }
    }

    /// Sends a claim, and notes what it was given: no attempt is given twice.
    async fn claimed(&self, worker: &str, claim: Claim) -> Vec<Task> {
        match self.sent(|| self.store.claim(claim.clone())).await.expect("a claim is taken") {
            ClaimAnswer::Nothing(_) => Vec::new(),
            ClaimAnswer::Leased(tasks) => {
                self.given(worker, &tasks);
                tasks
            }
        }
    }

    fn given(&self, worker: &str, tasks: &[Task]) {
        let by = self.now();
        let mut told = self.told.lock().unwrap();
        for task in tasks {
            let before = told.given.insert((task.head.id, task.head.attempt), (worker.to_owned(), by));
            assert_eq!(before, None, "attempt {} of {} was given twice", task.head.attempt, task.head.id);
        }
    }

    async fn work(&self, n: u64, mut random: SplitMix, rounds: usize) {
        let worker = format!("w{n}");
        for _ in 0..rounds {
            let mut claim = self.claim(&worker, 1 + random.below(3) as u32, random.below(2) == 0);
            let wants = [Wants::Any, Wants::Only, Wants::Prefer { pass_over: secs(1) }];
            claim.warm = Warm { names: vec![name("sdxl")], wants: wants[random.below(3) as usize] };
            let mut held = self.claimed(&worker, claim).await;
            let running = held.iter().map(listed).collect();
            let beat = Beat { running: Some(running), ..beat(&worker, self.now()) };
            self.sent(|| self.store.heartbeat(beat.clone())).await.expect("a heartbeat is taken");
            if held.len() > 1 && random.below(2) == 0 {
                held = self.end_all(&worker, held, &mut random).await;
            }
            while let Some(task) = held.pop() {
                held.extend(self.end(&worker, &task, &mut random).await);
            }
        }
    }

    /// Ends an attempt in some way; gives what the worker was given besides.
    async fn end(&self, worker: &str, task: &Task, random: &mut SplitMix) -> Vec<Task> {
        let now = self.now();
        match random.below(8) {
            0 => {
                let retryable = random.below(8) > 0;
                let message = "no".repeat(1 + random.below(400) as usize);
                let failure = baton_model::Failure { message, code: None, details: None };
                let retry_after = Some(Duration::ZERO);
                let fail = Fail { failure, retryable, retry_after, ..failing(now, task) };
                // Its lease may have run out: then the refusal is the answer.
                let _ = self.sent(|| self.store.fail(fail.clone())).await;
                Vec::new()
            }
            1 => {
                let _ = self.sent(|| self.store.release(releasing(now, task))).await;
                Vec::new()
            }
            // Forgotten: the reaper takes it back.
            2 => Vec::new(),
            _ => {
                let result = json(&format!("\"{}\"", "r".repeat(random.below(3_000) as usize)));
                let output = Output { result: Some(result), ..Output::default() };
                let next = (random.below(4) == 0).then(|| self.claim(worker, 1, true));
                self.complete(worker, task, output, next).await
            }
        }
    }

    async fn complete(&self, worker: &str, task: &Task, output: Output, next: Option<Claim>) -> Vec<Task> {
        let id = task.head.id;
        let generation = GenerationId::from_bytes(self.id());
        let complete = Complete {
            now: self.now(),
            task: id,
            fence: fence(task),
            caller: Bounds::default(),
            generation,
            output,
            ran: None,
        };
        let ask = || self.store.complete(complete.clone(), next.clone());
        let Ok(answer) = self.sent(ask).await else { return Vec::new() };
        self.completed(generation, answer.generation);
        self.next(worker, answer.next)
    }

    /// Notes a completion that was taken.
    fn completed(&self, sent: GenerationId, standing: Generation) {
        assert_eq!(standing.id, sent, "the completion's own generation stands");
        let id = standing.task;
        let before = self.told.lock().unwrap().completed.insert(id, standing);
        assert_eq!(before, None, "{id} was completed twice");
    }

    /// Notes what a claim was given that came along.
    fn next(&self, worker: &str, next: Option<Result<ClaimAnswer, StoreError>>) -> Vec<Task> {
        match next {
            Some(Ok(ClaimAnswer::Leased(tasks))) => {
                self.given(worker, &tasks);
                tasks
            }
            _ => Vec::new(),
        }
    }

    /// Says in which order the queue gives out its tasks.
    async fn order(&self, random: &mut SplitMix) {
        let fair = (random.below(3) > 0).then(|| FairBy::ALL[random.below(2) as usize]);
        let age_after_seconds = (random.below(2) == 0).then_some(1);
        let order = QueueOrder { fair, age_after_seconds };
        let set = OrderQueue { now: self.now(), queue: QueueName::default(), order };
        self.sent(|| self.store.order_queue(set.clone())).await.expect("the order is taken");
    }

    /// Cancels tasks, retries some of them, changes their order, and looks around.
    async fn operate(&self, mut random: SplitMix, rounds: usize) {
        for _ in 0..rounds {
            tokio::task::yield_now().await;
            let id = {
                let told = self.told.lock().unwrap();
                let place = random.below(told.created.len().max(1) as u64) as usize;
                told.created.iter().nth(place).copied()
            };
            if let Some(id) = id {
                let now = self.now();
                if self.sent(|| self.store.cancel(cancel(now, id))).await.is_ok() {
                    self.told.lock().unwrap().cancelled.insert(id);
                    if random.below(2) == 0 {
                        let now = self.now();
                        let _ = self.sent(|| self.store.retry(retry(now, id))).await;
                    }
                }
            }
            if random.below(5) == 0 {
                self.order(&mut random).await;
            }
            if let Some(id) = id.filter(|_| random.below(2) == 0) {
                let to = to_priority(Priority::ALL[random.below(4) as usize]);
                let change = changing(self.now(), id, to);
                // What runs or has ended is left as it is.
                let _ = self.sent(|| self.store.change(change.clone())).await;
            }
            let filter = TaskFilter {
                statuses: vec![Status::ALL[random.below(Status::ALL.len() as u64) as usize]],
                now: self.now(),
                ..TaskFilter::default()
            };
            let page = self.sent(|| self.store.tasks(filter.clone(), PageRequest::first(20))).await;
            page.expect("a list is given");
            self.sent(|| self.store.stats(filter.now)).await.expect("statistics are given");
        }
    }

    async fn reap(&self, rounds: usize) {
        for _ in 0..rounds {
            let reap = Reap { watch: Watch::at(self.now()), limit: 100, worker: None, queue: None };
            self.sent(|| self.store.reap(reap.clone())).await.expect("reaping is taken");
            let mend = Mend { now: self.now(), limit: 10, after: None };
            self.sent(|| self.store.mend(mend.clone())).await.expect("mending is taken");
            self.clock.fetch_add(300, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    }

    /// Takes back all that is held, and has the store look after its limits.
    async fn take_back_all(&self) {
        let reap = Reap { watch: Watch::at(self.now()), limit: 10_000, worker: None, queue: None };
        self.store.reap(reap).await.expect("reaping is taken");
    }

    /// Works off what is left.
    async fn finish(&self) {
        self.clock.fetch_add(1_000_000, Ordering::SeqCst);
        self.take_back_all().await;
        let mut rounds = 0;
        loop {
            let claim = Claim { terms: LeaseTerms::Heartbeats, ..self.claim("last", 50, false) };
            let tasks = self.claimed("last", claim).await;
            if tasks.is_empty() && mend_all(&*self.store, self.now()).await == 0 {
                // Places of a limit that an end could not give back are found by rounds, no oftener than every five seconds.
                if rounds == ROUNDS {
                    return;
                }
                rounds += 1;
                self.clock.fetch_add(10_000, Ordering::SeqCst);
                self.take_back_all().await;
            }
            for task in tasks {
                self.complete("last", &task, Output::default(), None).await;
            }
        }
    }

    /// Checks that nothing is lost or doubled.
    async fn check(&self) {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        let mut completed = BTreeSet::new();
        let mut given_up = BTreeSet::new();
        let mut tasks = Vec::new();
        for id in &told.created {
            let detail = self.store.task(*id).await.expect("an acknowledged task is not lost");
            check_task(&*self.store, &detail).await;
            let had = |kind| detail.history.iter().filter(|event| event.kind == kind).count();
            assert_eq!(had(EventKind::Claimed), detail.task.head.attempt as usize, "{id}");
            assert!(had(EventKind::Completed) <= 1, "{id} was completed twice");
            // One that ended with a dependency is cancelled already.
            let cancelled = had(EventKind::Cancelled) + had(EventKind::DependencyFailed) > 0;
            assert!(!told.cancelled.contains(id) || cancelled, "{id} was cancelled");
            match detail.task.head.state.state() {
                State::Completed => completed.insert(*id),
                State::Failed | State::Cancelled => given_up.insert(*id),
                open => panic!("{id} is stranded: {open}"),
            };
            if let Some(acknowledged) = told.completed.get(id) {
                assert_eq!(detail.generation.as_ref(), Some(acknowledged), "{id}");
            }
            tasks.push(detail);
        }
        self.keeps_to_limits(&told, &tasks).await;
        let now = self.now();
        let listed = async |statuses: &[Status]| {
            let filter = TaskFilter { now, statuses: statuses.to_vec(), ..TaskFilter::default() };
            let list = all(async |page| self.store.tasks(filter.clone(), page).await).await;
            let ids: BTreeSet<_> = list.iter().map(|task| task.head.id).collect();
            assert_eq!(ids.len(), list.len(), "a list has a task twice");
            ids
        };
        assert_eq!(listed(&[]).await, told.created, "the list has every task");
        assert_eq!(listed(&[Status::Completed]).await, completed);
        assert_eq!(listed(&[Status::Failed, Status::Cancelled]).await, given_up);
        assert_eq!(listed(&[Status::Blocked, Status::Queued, Status::Running]).await, BTreeSet::new());
        let generations =
            all(async |page| self.store.generations(GenerationFilter::default(), page).await).await;
        let of: BTreeSet<_> = generations.iter().map(|one| one.task).collect();
        assert_eq!(of.len(), generations.len(), "a task has two generations");
        assert_eq!(of, completed, "a generation for each completed task, and no other");
        let workers: Vec<WorkerDetail> = all(async |page| self.store.workers(page).await).await;
        assert!(workers.iter().all(|worker| worker.active == 0), "{workers:?}");
        let queue = self.store.queue(&QueueName::default(), now).await.expect("the queue is known");
        assert_eq!(queue.waits.later(), Tasks::exactly(0));
    }
}

/// A list to its end.
async fn all<T>(ask: impl AsyncFn(PageRequest) -> Result<Page<T>, StoreError>) -> Vec<T> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = ask(PageRequest { after, limit: 100, in_parts: false }).await.expect("the page is given");
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}
