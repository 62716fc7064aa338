//! What the rules are written with: a bench with one empty store, short builders for commands, and the invariants
//! that hold whatever has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use baton_model::transition::Refusal;
use baton_model::{
    AuditId, Backoff, Digest, Expected, Failure, Fence, Generation, GenerationId, LeasePolicy, LeaseTerms,
    LogLine, Output, Owner, Payload, Priority, ProjectId, QueueName, Running, Schedule, SessionId, State,
    Status, Task, TaskId, TaskSpec, TaskState, Timestamp, Token, TokenId, Watch,
};
use tokio::sync::{Barrier, mpsc};

use crate::{
    AuditEntry, AuditFilter, Beat, BeatAnswer, Cancel, Claim, ClaimAnswer, Complete, Create, CreateAnswer,
    Direct, Doorbell, Fail, GenerationFilter, Idempotency, Nothing, Page, PageRequest, PauseQueue, Purge,
    Ready, Reap, Release, Retry, Store, StoreError, TaskDetail, TaskFilter, TaskStore, Tasks, Transfer,
    Waits, WorkerDetail,
};

/// A place for one store: empty at first, and shared with no other world.
///
/// Each rule is given a world of its own and opens the store in it, one handle at a time.
#[async_trait]
pub trait World: Send + Sync {
    /// Opens the store that lies in this world, with what has been stored in it before.
    async fn open(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Arc<dyn Store>;

    /// Closes a store so that [`World::open`] can open it again. The handle is the last one, but for those that the
    /// world keeps itself.
    async fn close(&self, store: Arc<dyn Store>) {
        drop(store);
    }

    /// Returns when lists and statistics show every write that was answered before. Asked only of stores without
    /// [`crate::Capabilities::fresh_lists`].
    async fn settle(&self) {}

    /// The open store as one that can be moved, and another, empty one of its kind each time; none if stores of this
    /// kind cannot be moved, which then are not held to the rules of moving.
    async fn movable(&self, _policy: LeasePolicy) -> Option<Movable> {
        None
    }
}

/// A store that can be moved, and an empty one to move it into.
pub struct Movable {
    /// The world's own store.
    pub source: Arc<dyn Transfer>,
    /// An empty store beside it.
    pub target: Arc<dyn Transfer>,
    /// The same.
    pub store: Arc<dyn Store>,
}

/// One open, empty store, with ids to use in it.
pub struct Bench {
    world: Box<dyn World>,
    store: Option<Arc<dyn Store>>,
    rings: Rings,
    ids: AtomicU64,
    created: Mutex<BTreeSet<TaskId>>,
}

impl Bench {
    /// Opens the store of `world`.
    pub async fn open(world: impl World + 'static) -> Self {
        let (bell, heard) = mpsc::unbounded_channel();
        let doorbell = Arc::new(Recorder(bell));
        let store = world.open(LeasePolicy::default(), doorbell).await;
        Self {
            world: Box::new(world),
            store: Some(store),
            rings: Rings(heard),
            ids: AtomicU64::new(1),
            created: Mutex::default(),
        }
    }

    /// Closes the store and opens it again.
    pub(super) async fn reopen(&mut self) {
        let (bell, heard) = mpsc::unbounded_channel();
        if let Some(store) = self.store.take() {
            self.world.close(store).await;
        }
        self.store = Some(self.world.open(LeasePolicy::default(), Arc::new(Recorder(bell))).await);
        self.rings = Rings(heard);
    }

    /// A handle of the store, for tasks that run at the same time.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.open_store())
    }

    fn open_store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().expect("a bench is open between its methods")
    }

    /// Waits until lists are fresh, if they are not always.
    pub(super) async fn settle(&self) {
        if !self.open_store().capabilities().fresh_lists {
            self.world.settle().await;
        }
    }

    /// The bench's store and an empty one beside it, if stores of this kind can be moved.
    pub(super) async fn movable(&self) -> Option<Movable> {
        self.world.movable(LeasePolicy::default()).await
    }

    /// The ids of all tasks created through the bench.
    pub(super) fn created(&self) -> Vec<TaskId> {
        self.created.lock().unwrap().iter().copied().collect()
    }

    fn next_id(&self) -> [u8; 16] {
        counted_id(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn task_id(&self) -> TaskId {
        TaskId::from_bytes(self.next_id())
    }

    pub(super) fn token_id(&self) -> TokenId {
        TokenId::from_bytes(self.next_id())
    }

    /// A fresh id of an entry that is made at `at`.
    pub(super) fn audit_id(&self, at: Timestamp) -> AuditId {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        AuditId::from_bytes(timed_id(u64::try_from(at.as_millis()).unwrap(), number))
    }

    pub(super) fn generation_id(&self) -> GenerationId {
        GenerationId::from_bytes(self.next_id())
    }

    /// A plain task of `task_type` in the default queue, with a fresh id and a backoff of 10 s without jitter.
    pub(super) fn spec(&self, task_type: &str) -> TaskSpec {
        plain_spec(self.task_id(), task_type)
    }

    pub(super) fn note_created(&self, ids: impl IntoIterator<Item = TaskId>) {
        self.created.lock().unwrap().extend(ids);
    }

    /// Sends a creation and remembers the ids, so that [`Bench::check`] looks at the tasks.
    pub(super) async fn send(&self, create: Create) -> Result<CreateAnswer, StoreError> {
        let answer = self.open_store().create(create).await;
        if let Ok(answer) = &answer {
            self.note_created(answer.items.iter().flatten().map(|accepted| accepted.id));
        }
        answer
    }

    pub(super) async fn create(&self, now: Timestamp, spec: TaskSpec) -> TaskId {
        self.create_all(now, vec![spec]).await[0]
    }

    pub(super) async fn create_all(&self, now: Timestamp, specs: Vec<TaskSpec>) -> Vec<TaskId> {
        let wanted: Vec<_> = specs.iter().map(|spec| spec.id).collect();
        let answer = self.send(creation(now, specs)).await.expect("the creation is taken");
        let accepted: Vec<_> =
            answer.items.into_iter().map(|item| item.expect("the task is taken")).collect();
        assert!(accepted.iter().all(|one| one.new), "the tasks are new");
        assert_eq!(
            accepted.iter().map(|one| one.id).collect::<Vec<_>>(),
            wanted,
            "one answer a task, in order"
        );
        wanted
    }

    /// `n` plain tasks of type `render`.
    pub(super) async fn create_plain(&self, now: Timestamp, n: usize) -> Vec<TaskId> {
        self.create_all(now, (0..n).map(|_| self.spec("render")).collect()).await
    }

    /// The tasks that a claim is given; it must be given some.
    pub(super) async fn claim(&self, claim: Claim) -> Vec<Task> {
        leased(self.open_store().claim(claim).await)
    }

    /// The one task that a claim is given.
    pub(super) async fn claim_one(&self, claim: Claim) -> Task {
        let mut tasks = self.claim(claim).await;
        assert_eq!(tasks.len(), 1, "expected one lease");
        tasks.remove(0)
    }

    /// Why a claim is given nothing; it must be given none.
    pub(super) async fn nothing(&self, claim: Claim) -> Nothing {
        match self.open_store().claim(claim).await.expect("the claim is taken") {
            ClaimAnswer::Nothing(why) => why,
            ClaimAnswer::Leased(tasks) => panic!("expected no lease, got {tasks:?}"),
        }
    }

    /// Creates a task and has `worker` claim it.
    pub(super) async fn running(&self, now: Timestamp, worker: &str, spec: TaskSpec) -> Task {
        self.running_by(now, claim(worker, now), spec).await
    }

    /// Creates a task and has it claimed by `claim`, whose queues are replaced by the task's own.
    pub(super) async fn running_by(&self, now: Timestamp, claim: Claim, spec: TaskSpec) -> Task {
        let queues = vec![spec.queue.clone()];
        let id = self.create(now, spec).await;
        let task = self.claim_one(Claim { queues, ..claim }).await;
        assert_eq!(task.head.id, id, "expected the task just created");
        task
    }

    /// A completion of a task as its claim gave it.
    pub(super) fn completion(&self, now: Timestamp, held: &Task) -> Complete {
        Complete {
            now,
            task: held.head.id,
            fence: fence(held),
            generation: self.generation_id(),
            output: output("out.png"),
            ran: None,
        }
    }

    pub(super) async fn complete(&self, now: Timestamp, held: &Task) -> Generation {
        let answer = self.open_store().complete(self.completion(now, held), None).await;
        answer.expect("the completion is taken").generation
    }

    pub(super) async fn fail(&self, fail: Fail) -> Task {
        self.open_store().fail(fail).await.expect("the failure is taken").task
    }

    pub(super) async fn release(&self, release: Release) -> Task {
        self.open_store().release(release).await.expect("the release is taken").task
    }

    pub(super) async fn beat(&self, beat: Beat) -> BeatAnswer {
        self.open_store().heartbeat(beat).await.expect("the heartbeat is taken")
    }

    pub(super) async fn cancel(&self, now: Timestamp, task: TaskId) -> Task {
        self.open_store().cancel(cancel(now, task)).await.expect("the cancellation is taken")
    }

    pub(super) async fn retry(&self, now: Timestamp, task: TaskId) -> Task {
        self.open_store().retry(retry(now, task)).await.expect("the retry is taken")
    }

    /// What the reaper takes back, by task id.
    pub(super) async fn reap(&self, now: Timestamp) -> Vec<crate::Taken> {
        self.settle().await;
        let report = self.open_store().reap(reap(now)).await.expect("the reaping is taken");
        let mut taken = report.taken;
        taken.sort_by_key(|one| one.task);
        taken
    }

    pub(super) async fn pause(&self, now: Timestamp, queue: &str, paused: bool) -> crate::QueueStats {
        let pause = PauseQueue { now, queue: name(queue), paused, by: None, reason: None };
        self.open_store().pause_queue(pause).await.expect("the pause is taken")
    }

    pub(super) async fn direct(
        &self,
        now: Timestamp,
        worker: &str,
        directive: baton_model::Directive,
    ) -> WorkerDetail {
        let direct = Direct { now, worker: name(worker), directive };
        self.open_store().direct_worker(direct).await.expect("the directive is taken")
    }

    pub(super) async fn purge(&self, purge: Purge) -> crate::PurgeReport {
        self.settle().await;
        self.open_store().purge(purge).await.expect("the purge is taken")
    }

    pub(super) async fn task(&self, id: TaskId) -> TaskDetail {
        self.open_store().task(id).await.expect("the task exists")
    }

    pub(super) async fn state(&self, id: TaskId) -> State {
        self.task(id).await.task.head.state.state()
    }

    pub(super) async fn worker(&self, id: &str) -> WorkerDetail {
        self.settle().await;
        self.open_store().worker(&name(id)).await.expect("the worker is known")
    }

    /// Every task of a filter, by pages of `limit`.
    pub(super) async fn tasks_by(&self, filter: TaskFilter, limit: u32) -> Vec<Task> {
        self.settle().await;
        pages(limit, |page| self.open_store().tasks(filter.clone(), page)).await
    }

    /// The ids of the tasks of a filter, the newest first.
    pub(super) async fn ids_by(&self, filter: TaskFilter) -> Vec<TaskId> {
        self.tasks_by(filter, 100).await.iter().map(|task| task.head.id).collect()
    }

    /// Every generation of a filter.
    pub(super) async fn generations_by(&self, filter: GenerationFilter) -> Vec<Generation> {
        self.settle().await;
        pages(3, |page| self.open_store().generations(filter.clone(), page)).await
    }

    /// Every log line of a filter.
    pub(super) async fn logs_by(&self, filter: crate::LogFilter) -> Vec<LogLine> {
        self.settle().await;
        pages(2, |page| self.open_store().logs(filter.clone(), page)).await
    }

    /// Every token, by pages of two.
    pub(super) async fn tokens(&self) -> Vec<Token> {
        self.settle().await;
        pages(2, |page| self.open_store().tokens(page)).await
    }

    /// Every entry of the audit log that fits, by pages of two.
    pub(super) async fn audit_by(&self, filter: AuditFilter) -> Vec<AuditEntry> {
        self.settle().await;
        pages(2, |page| self.open_store().audit(filter.clone(), page)).await
    }

    /// The next ring that fits; panics if none comes within ten seconds.
    pub(super) async fn hear(&mut self, what: &str, fits: impl Fn(&Ready) -> bool) -> Ready {
        self.rings.hear(what, fits).await
    }

    /// Forgets the rings so far.
    pub(super) fn hush(&mut self) {
        while self.rings.0.try_recv().is_ok() {}
    }

    /// Checks what always holds, for every task created through this bench and for the lists and counts of the store.
    pub(super) async fn check(&self, now: Timestamp) {
        self.settle().await;
        let ids: Vec<_> = self.created.lock().unwrap().iter().copied().collect();
        check_invariants(&**self.open_store(), &ids, now).await;
    }
}

/// A plain task of the default queue, with a backoff of 10 s without jitter.
pub(super) fn plain_spec(id: TaskId, task_type: &str) -> TaskSpec {
    TaskSpec {
        id,
        id_chosen: false,
        project: ProjectId::default(),
        queue: QueueName::default(),
        task_type: name(task_type),
        priority: Priority::Normal,
        params: Payload::default(),
        description: None,
        domain: None,
        drift_score: None,
        assigned_by: None,
        schedule: Schedule::Now,
        max_attempts: 3,
        timeout: None,
        backoff: Some(Backoff { base: secs(10), factor: 2.0, max: secs(1_000), jitter: 0.0 }),
    }
}

/// A doorbell that writes down what it hears.
struct Recorder(mpsc::UnboundedSender<Ready>);

impl Doorbell for Recorder {
    fn ring(&self, ready: Ready) {
        // Nobody listens any more once the rule has ended.
        let _ = self.0.send(ready);
    }
}

struct Rings(mpsc::UnboundedReceiver<Ready>);

impl Rings {
    /// A store may ring after it has answered, so that a ring is awaited; the limit only ends a broken store's test.
    async fn hear(&mut self, what: &str, fits: impl Fn(&Ready) -> bool) -> Ready {
        let mut others = Vec::new();
        let ring = tokio::time::timeout(secs(10), async {
            loop {
                let ready = self.0.recv().await.expect("the store keeps its doorbell");
                if fits(&ready) {
                    return ready;
                }
                others.push(ready);
            }
        });
        match ring.await {
            Ok(ready) => ready,
            Err(_) => panic!("expected a ring {what}, heard {others:?}"),
        }
    }
}

/// A UUIDv7 whose time and tail are made of a number, so that ids sort by it.
pub(super) fn counted_id(number: u64) -> [u8; 16] {
    timed_id(1_790_000_000_000 + number, number)
}

/// A UUIDv7 of a time in milliseconds, with a number as its tail.
fn timed_id(time: u64, number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&time.to_be_bytes()[2..]);
    bytes[6] = 0x70;
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes[8] = 0x80;
    bytes
}

/// Whole seconds after the beginning of the test's time.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).plus(secs(seconds))
}

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Any of the model's names, from text.
pub(super) fn name<T: FromStr<Err = Expected>>(text: &str) -> T {
    text.parse().unwrap()
}

pub(super) fn json(text: &str) -> Payload {
    Payload::parse(text).unwrap()
}

/// The n-th session of some worker.
pub(super) fn session(n: u64) -> SessionId {
    SessionId::from_bytes(counted_id(9_000_000 + n))
}

pub(super) fn creation(now: Timestamp, tasks: Vec<TaskSpec>) -> Create {
    Create { now, tasks, atomic: false, idempotency: None, by: None }
}

pub(super) fn idempotency(key: &str, request: &str) -> Option<Idempotency> {
    Some(Idempotency { key: key.to_owned(), fingerprint: Digest::of_bytes(request.as_bytes()).into() })
}

/// A claim of one task of the default queue, for a worker that may hold a hundred.
pub(super) fn claim(worker: &str, now: Timestamp) -> Claim {
    Claim {
        now,
        worker: name(worker),
        session: None,
        caller: Owner::Unbound,
        queues: vec![QueueName::default()],
        types: Vec::new(),
        max_tasks: 1,
        cap: 100,
        capacity: None,
        terms: LeaseTerms::Heartbeats,
        request: None,
    }
}

/// Callers that are bound to these queues alone.
pub(super) fn of_queues(queues: &[&str]) -> Owner {
    Owner::of_queues(&queues.iter().map(|one| name(one)).collect())
}

/// A heartbeat that says nothing but that the worker lives.
pub(super) fn beat(worker: &str, now: Timestamp) -> Beat {
    Beat {
        now,
        worker: name(worker),
        session: None,
        caller: Owner::Unbound,
        running: None,
        capacity: None,
        readings: BTreeMap::new(),
        labels: BTreeMap::new(),
        ending: false,
        logs: Vec::new(),
    }
}

pub(super) fn output(location: &str) -> Output {
    Output { location: Some(location.to_owned()), ..Output::default() }
}

pub(super) fn failing(now: Timestamp, held: &Task) -> Fail {
    let failure = Failure { message: "out of memory".to_owned(), code: None, details: None };
    Fail { now, task: held.head.id, fence: fence(held), failure, retryable: true, retry_after: None }
}

pub(super) fn releasing(now: Timestamp, held: &Task) -> Release {
    Release { now, task: held.head.id, fence: fence(held), delay: Duration::ZERO, reason: None }
}

pub(super) fn cancel(now: Timestamp, task: TaskId) -> Cancel {
    Cancel { now, task, by: None, reason: None }
}

pub(super) fn retry(now: Timestamp, task: TaskId) -> Retry {
    Retry { now, task, by: None, reason: None, delay: Duration::ZERO }
}

pub(super) fn reap(now: Timestamp) -> Reap {
    Reap { watch: Watch::at(now), limit: 1_000, worker: None, queue: None }
}

/// The right to act on a task, as its claim gave it.
pub(super) fn fence(held: &Task) -> Fence {
    Fence { attempt: held.head.attempt, worker: lease(held).worker.clone() }
}

pub(super) fn lease(held: &Task) -> &baton_model::Lease {
    match &held.head.state {
        TaskState::Running(lease) => lease,
        other => panic!("expected a running task, got {other:?}"),
    }
}

pub(super) fn listed(held: &Task) -> Running {
    Running { task: held.head.id, attempt: held.head.attempt, progress: None, message: None }
}

pub(super) fn leased(answer: Result<ClaimAnswer, StoreError>) -> Vec<Task> {
    match answer.expect("the claim is taken") {
        ClaimAnswer::Leased(tasks) => {
            assert!(!tasks.is_empty(), "a claim that leases nothing says why");
            tasks
        }
        ClaimAnswer::Nothing(why) => panic!("expected a lease, got nothing: {why:?}"),
    }
}

/// The ids and attempts of leases, sorted.
pub(super) fn held_set(tasks: &[Task]) -> BTreeSet<(TaskId, u32)> {
    tasks.iter().map(|task| (task.head.id, task.head.attempt)).collect()
}

pub(super) fn ids_of(tasks: &[Task]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.head.id).collect()
}

/// Why a command was refused; it must have been.
#[track_caller]
pub(super) fn refusal<T: Debug>(answer: Result<T, StoreError>) -> Refusal {
    match answer {
        Err(StoreError::Refused { refusal, .. }) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Asserts that an answer is an error of a certain shape.
macro_rules! assert_err {
    ($answer:expr, $shape:pat $(if $guard:expr)?) => {
        match $answer {
            Err($shape) $(if $guard)? => {}
            other => panic!("expected {}, got {other:?}", stringify!(Err($shape) $(if $guard)?)),
        }
    };
}
pub(super) use assert_err;

/// Short words for what a task is to be.
pub(super) trait SpecWords: Sized {
    fn chosen(self) -> Self;
    fn queue(self, queue: &str) -> Self;
    fn project(self, project: &str) -> Self;
    fn priority(self, priority: Priority) -> Self;
    fn params(self, json: &str) -> Self;
    fn due(self, at: Timestamp) -> Self;
    fn attempts(self, n: u32) -> Self;
    fn timeout(self, timeout: Duration) -> Self;
}

impl SpecWords for TaskSpec {
    fn chosen(self) -> Self {
        Self { id_chosen: true, ..self }
    }
    fn queue(self, queue: &str) -> Self {
        Self { queue: name(queue), ..self }
    }
    fn project(self, project: &str) -> Self {
        Self { project: name(project), ..self }
    }
    fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }
    fn params(self, text: &str) -> Self {
        Self { params: json(text), ..self }
    }
    fn due(self, at: Timestamp) -> Self {
        Self { schedule: Schedule::At(at), ..self }
    }
    fn attempts(self, n: u32) -> Self {
        Self { max_attempts: n, ..self }
    }
    fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
}

/// Short words for what a claim asks.
pub(super) trait ClaimWords: Sized {
    fn max(self, n: u32) -> Self;
    fn cap(self, n: u32) -> Self;
    fn queues(self, queues: &[&str]) -> Self;
    fn types(self, types: &[&str]) -> Self;
    fn project(self, project: &str) -> Self;
    fn of_queues(self, queues: &[&str]) -> Self;
    fn session(self, session: SessionId) -> Self;
    fn fixed(self, length: Duration) -> Self;
    fn key(self, key: &str) -> Self;
}

impl ClaimWords for Claim {
    fn max(self, n: u32) -> Self {
        Self { max_tasks: n, ..self }
    }
    fn cap(self, n: u32) -> Self {
        Self { cap: n, ..self }
    }
    fn queues(self, queues: &[&str]) -> Self {
        Self { queues: queues.iter().map(|one| name(one)).collect(), ..self }
    }
    fn types(self, types: &[&str]) -> Self {
        Self { types: types.iter().map(|one| name(one)).collect(), ..self }
    }
    fn project(self, project: &str) -> Self {
        Self { caller: Owner::Project(name(project)), ..self }
    }
    fn of_queues(self, queues: &[&str]) -> Self {
        Self { caller: of_queues(queues), ..self }
    }
    fn session(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }
    fn fixed(self, length: Duration) -> Self {
        Self { terms: LeaseTerms::Fixed(length), ..self }
    }
    fn key(self, key: &str) -> Self {
        Self { request: Some(name(key)), ..self }
    }
}

/// Short words for what a heartbeat tells.
pub(super) trait BeatWords: Sized {
    fn project(self, project: &str) -> Self;
    fn of_queues(self, queues: &[&str]) -> Self;
    fn session(self, session: SessionId) -> Self;
    fn running(self, tasks: &[&Task]) -> Self;
}

impl BeatWords for Beat {
    fn project(self, project: &str) -> Self {
        Self { caller: Owner::Project(name(project)), ..self }
    }
    fn of_queues(self, queues: &[&str]) -> Self {
        Self { caller: of_queues(queues), ..self }
    }
    fn session(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }
    fn running(self, tasks: &[&Task]) -> Self {
        Self { running: Some(tasks.iter().map(|task| listed(task)).collect()), ..self }
    }
}

/// Reads a list to its end by pages of `limit`.
pub(super) async fn pages<T, F, A>(limit: u32, ask: F) -> Vec<T>
where
    F: Fn(PageRequest) -> A,
    A: Future<Output = Result<Page<T>, StoreError>>,
{
    let mut items = Vec::new();
    let mut after = None;
    // Far more pages than any rule's list has: a list that never ends must not hang the suite.
    for _ in 0..10_000 {
        let page = ask(PageRequest { after, limit, in_parts: false }).await.expect("the page is given");
        assert!(page.items.len() <= limit as usize, "a page keeps to its limit");
        items.extend(page.items);
        match page.next {
            None => return items,
            next => after = next,
        }
    }
    panic!("the list does not end");
}

/// Runs all of these at the same time, each in a task of its own that waits for the others to be there.
pub(super) async fn at_once<T, F>(futures: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let futures: Vec<_> = futures.into_iter().collect();
    let gate = Arc::new(Barrier::new(futures.len()));
    let started: Vec<_> = futures
        .into_iter()
        .map(|future| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                gate.wait().await;
                future.await
            })
        })
        .collect();
    futures::future::join_all(started).await.into_iter().map(|end| end.expect("no panic")).collect()
}

/// Runs two of different kinds at the same time. `turn` says which is started first, so that iterations try both.
pub(super) async fn race<A, B>(
    turn: usize,
    a: impl Future<Output = A> + Send + 'static,
    b: impl Future<Output = B> + Send + 'static,
) -> (A, B)
where
    A: Send + 'static,
    B: Send + 'static,
{
    let gate = Arc::new(Barrier::new(2));
    let (gate_a, gate_b) = (Arc::clone(&gate), gate);
    let a = async move {
        gate_a.wait().await;
        a.await
    };
    let b = async move {
        gate_b.wait().await;
        b.await
    };
    let (a, b) = if turn.is_multiple_of(2) {
        let a = tokio::spawn(a);
        (a, tokio::spawn(b))
    } else {
        let b = tokio::spawn(b);
        (tokio::spawn(a), b)
    };
    (a.await.expect("no panic"), b.await.expect("no panic"))
}

/// Checks what holds at every time, whatever has happened: of each of the tasks `ids` that still exists, its history
/// and its generation; of the store, that lists, counts and workers tell the same.
pub async fn check_invariants(store: &dyn TaskStore, ids: &[TaskId], now: Timestamp) {
    let mut seen = BTreeMap::new();
    for &id in ids {
        match store.task(id).await {
            Ok(detail) => {
                check_task(store, &detail).await;
                seen.insert(id, detail.task);
            }
            Err(StoreError::TaskNotFound(missing)) if missing == id => {}
            Err(other) => panic!("task {id}: {other}"),
        }
    }

    let filter = TaskFilter { now, ..TaskFilter::default() };
    let list = pages(100, |page| store.tasks(filter.clone(), page)).await;
    for task in &list {
        if let Some(same) = seen.remove(&task.head.id) {
            assert_eq!(*task, same, "a list shows a task as its own page does");
        }
    }
    assert!(seen.is_empty(), "the list lacks {:?}", seen.keys());

    let stats = store.stats(now).await.expect("statistics are given");
    let mut counts = BTreeMap::new();
    for task in &list {
        let key = (task.queue.clone(), task.task_type.clone(), task.head.state.state());
        *counts.entry(key).or_insert(0_u64) += 1;
    }
    let told: BTreeMap<_, _> = stats
        .counts
        .iter()
        .filter(|row| row.tasks > 0)
        .map(|row| ((row.queue.clone(), row.task_type.clone(), row.state), row.tasks))
        .collect();
    assert_eq!(told, counts, "the counts equal a recount");

    let waiting = store.waiting(now).await.expect("the longest wait is given");
    let oldest = stats.queues.iter().filter_map(|queue| queue.oldest_ready).max();
    assert_eq!(waiting.longest.map(|(_, age)| age), oldest, "the longest wait is the queues' longest");

    for queue in &stats.queues {
        let mine = || list.iter().filter(|task| task.queue == queue.queue);
        let count = |state| mine().filter(|task| task.head.state.state() == state).count() as u64;
        assert_eq!(queue.queued, count(State::Queued), "queued in {}", queue.queue);
        assert_eq!(queue.running, count(State::Running), "running in {}", queue.queue);
        let of = |status| Tasks::exactly(mine().filter(|task| task.status(now) == status).count() as u64);
        let (ready, created, retry) = (of(Status::Queued), of(Status::Created), of(Status::Retry));
        assert_eq!(queue.waits, Waits { ready, created, retry }, "what waits in {}", queue.queue);
    }
    for task in &list {
        let known = stats.queues.iter().any(|queue| queue.queue == task.queue);
        assert!(known, "statistics know the queue {}", task.queue);
    }

    let workers = pages(100, |page| store.workers(page)).await;
    for detail in &workers {
        let mut held: Vec<_> = list
            .iter()
            .filter(
                |task| matches!(&task.head.state, TaskState::Running(lease) if lease.worker == detail.worker.id),
            )
            .map(|task| (task.head.id, task.head.attempt))
            .collect();
        assert_eq!(detail.active as usize, held.len(), "active tasks of {}", detail.worker.id);
        if held.len() <= WorkerDetail::LEASES {
            let mut told = detail.leases.clone();
            told.sort();
            held.sort();
            assert_eq!(told, held, "leases of {}", detail.worker.id);
        }
    }
    for task in &list {
        if let TaskState::Running(lease) = &task.head.state {
            let known = workers.iter().any(|detail| detail.worker.id == lease.worker);
            assert!(known, "the worker {} that holds {} is listed", lease.worker, task.head.id);
        }
    }
}

pub(super) async fn check_task(store: &dyn TaskStore, detail: &TaskDetail) {
    use baton_model::EventKind::{Claimed, Created};

    let head = &detail.task.head;
    let id = head.id;
    let history = &detail.history;
    let numbers: Vec<_> = history.iter().map(|event| event.seq).collect();
    assert_eq!(
        numbers,
        (1..=head.events).collect::<Vec<_>>(),
        "{id}: history is numbered from 1 without gaps"
    );

    let (mut state, mut attempt) = (None, 0);
    for event in history {
        assert_eq!(event.from, state, "{id}: event {} begins where the one before ended", event.seq);
        assert_eq!(event.kind == Created, event.seq == 1, "{id}: created once, at first");
        let raised = attempt + u32::from(event.kind == Claimed);
        assert_eq!(event.attempt, raised, "{id}: a claim, and only that, raises the attempt by one");
        (state, attempt) = (Some(event.to), event.attempt);
    }
    assert_eq!(state, Some(head.state.state()), "{id}: the last event tells the state");
    assert_eq!(attempt, head.attempt, "{id}: the last event tells the attempt");
    assert_eq!(history.first().map(|event| event.at), Some(detail.task.created_at), "{id}: created_at");
    assert_eq!(history.last().map(|event| event.at), Some(detail.task.updated_at), "{id}: updated_at");
    assert!(head.attempts_used() <= head.max_attempts, "{id}: no more attempts than given");

    let open = head.attempt == 0 || head.state.state() == State::Running;
    assert_eq!(head.ended.is_none(), open, "{id}: the latest attempt has ended unless it runs");
    let finished = head.state.state().is_final().then_some(detail.task.updated_at);
    assert_eq!(detail.task.finished_at, finished, "{id}: finished_at is there if and only if it is finished");

    let by_task = GenerationFilter { task: Some(id), ..GenerationFilter::default() };
    let generations = pages(10, |page| store.generations(by_task.clone(), page)).await;
    match (&head.state, &detail.generation) {
        (TaskState::Completed { generation, output }, Some(record)) => {
            assert_eq!(record.id, *generation, "{id}: the generation that the state names");
            assert_eq!(record.task, id);
            assert_eq!(record.attempt, head.attempt, "{id}: the completing attempt is the last");
            assert!(record.output.fingerprint().matches(*output), "{id}: the output that was digested");
            assert_eq!(generations, std::slice::from_ref(record), "{id}: exactly one generation");
            let by_id = store.generation(*generation).await.expect("the generation exists");
            assert_eq!(by_id, *record);
        }
        (TaskState::Completed { .. }, None) => panic!("{id}: completed without generation"),
        (_, Some(record)) => panic!("{id}: {} with generation {record:?}", head.state.state()),
        (_, None) => assert!(generations.is_empty(), "{id}: not completed, yet it has {generations:?}"),
    }
    if head.state.state() != State::Running {
        assert_eq!(detail.progress, None, "{id}: progress is told only while it runs");
    }
}
