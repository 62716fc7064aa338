//! What the rules are run with: a bench with one empty store. What they are said with, and what always holds, come along.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use baton_model::{
    AuditId, Bounds, Generation, GenerationId, LeasePolicy, LogLine, QueueName, QueueOrder, State, Task,
    TaskId, TaskSpec, Timestamp, Token, TokenId,
};
use tokio::sync::mpsc;

use crate::{
    ArchiveStore, AuditEntry, AuditFilter, Beat, BeatAnswer, Claim, ClaimAnswer, Complete, Create,
    CreateAnswer, Direct, Doorbell, Fail, GenerationFilter, Nothing, OrderQueue, PauseQueue, Purge,
    PurgeReport, Ready, Release, Store, StoreError, TaskDetail, TaskFilter, Transfer, WorkerDetail,
};

pub(super) use super::invariants::*;
pub(super) use super::words::*;

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

    /// Has finished tasks be kept for so long by the stores that are opened from now on. Asked only of stores with
    /// [`crate::Capabilities::removes_by_itself`], which must know it when a task ends; they keep them for 30 days before.
    async fn keep_finished(&self, _keep: Option<Duration>) {}

    /// Lets the time come to `now` for what goes by itself, and says how many of each kind have gone. Asked only of stores
    /// with [`crate::Capabilities::removes_by_itself`].
    async fn pass(&self, _now: Timestamp) -> PurgeReport {
        PurgeReport::default()
    }

    /// The open store as one that can be moved, and another, empty one of its kind each time; none if stores of this
    /// kind cannot be moved, which then are not held to the rules of moving.
    async fn movable(&self, _policy: LeasePolicy) -> Option<Movable> {
        None
    }

    /// How many steps of a random history are taken of those that it may have: fewer where each command takes long.
    fn steps(&self, of: usize) -> usize {
        of
    }

    /// As [`World::open`], as a store whose finished tasks are archived before they are removed; none if stores of this kind cannot be
    /// archived, which then are not held to the rules of archiving.
    async fn archiving(&self, _policy: LeasePolicy, _doorbell: Arc<dyn Doorbell>) -> Option<Archiving> {
        None
    }
}

/// A store whose finished tasks are archived before they are removed.
pub struct Archiving {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The same, as its archiver has it.
    pub archive: Arc<dyn ArchiveStore>,
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
    asked: Asked,
    ids: AtomicU64,
    created: Mutex<BTreeSet<TaskId>>,
}

impl Bench {
    /// Opens the store of `world`.
    pub async fn open(world: impl World + 'static) -> Self {
        let (bell, heard) = mpsc::unbounded_channel();
        let asked = Asked::default();
        let doorbell = Arc::new(Recorder { bell, asked: Arc::clone(&asked) });
        let store = world.open(LeasePolicy::default(), doorbell).await;
        Self {
            world: Box::new(world),
            store: Some(store),
            rings: Rings(heard),
            asked,
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
        let doorbell = Arc::new(Recorder { bell, asked: Arc::clone(&self.asked) });
        self.store = Some(self.world.open(LeasePolicy::default(), doorbell).await);
        self.rings = Rings(heard);
    }

    /// Opens the store anew, as one whose finished tasks are archived; none if it cannot be one.
    pub(super) async fn archiving(&mut self) -> Option<Arc<dyn ArchiveStore>> {
        let (bell, heard) = mpsc::unbounded_channel();
        if let Some(store) = self.store.take() {
            self.world.close(store).await;
        }
        let doorbell = Arc::new(Recorder { bell, asked: Arc::clone(&self.asked) });
        let opened = self.world.archiving(LeasePolicy::default(), doorbell).await;
        let Some(Archiving { store, archive }) = opened else {
            self.store = Some(self.world.open(LeasePolicy::default(), Arc::new(crate::NoDoorbell)).await);
            return None;
        };
        self.store = Some(store);
        self.rings = Rings(heard);
        Some(archive)
    }

    /// Has finished tasks be kept for so long, as all purges of the rule say.
    pub(super) async fn keeping(&mut self, keep: Option<Duration>) {
        if self.open_store().capabilities().removes_by_itself {
            self.world.keep_finished(keep).await;
            self.reopen().await;
        }
    }

    /// A handle of the store, for tasks that run at the same time.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.open_store())
    }

    fn open_store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().expect("a bench is open between its methods")
    }

    /// How many of a random history's steps are taken in this world.
    pub(super) fn steps(&self, of: usize) -> usize {
        self.world.steps(of)
    }

    /// Has those follow that wait for tasks which have ended, if they do not at once.
    pub(super) async fn follow(&self, now: Timestamp) {
        if !self.open_store().capabilities().releases_at_once {
            while mend_all(&**self.open_store(), now).await > 0 {}
        }
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
            caller: Bounds::default(),
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

    /// Says in which order a queue gives out its tasks.
    pub(super) async fn order(&self, now: Timestamp, queue: &str, order: QueueOrder) {
        let order = OrderQueue { now, queue: name(queue), order };
        self.open_store().order_queue(order).await.expect("the order is taken");
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
        let direct = Direct { now, worker: name(worker), directive, by: None, reason: None, only_if: None };
        self.open_store().direct_worker(direct).await.expect("the directive is taken")
    }

    /// A purge, and what has gone by itself up to its time.
    pub(super) async fn purge(&self, purge: Purge) -> PurgeReport {
        self.settle().await;
        let report = self.open_store().purge(purge).await.expect("the purge is taken");
        if !self.open_store().capabilities().removes_by_itself {
            return report;
        }
        let gone = self.world.pass(purge.now).await;
        let PurgeReport { tasks, logs, idempotency_keys, claim_requests, audit_entries, .. } = gone;
        let of_purge = [report.tasks, report.logs, report.idempotency_keys, report.claim_requests];
        assert_eq!((of_purge, report.audit_entries), ([0; 4], 0), "what goes by itself is not reported");
        PurgeReport { tasks, logs, idempotency_keys, claim_requests, audit_entries, ..report }
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

    /// The queues with a supply that claims have come to since this was asked last.
    pub(super) fn asked(&self) -> BTreeSet<QueueName> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// Forgets the rings so far.
    pub(super) fn hush(&mut self) {
        while self.rings.0.try_recv().is_ok() {}
    }

    /// Checks what always holds, for every task created through this bench and for the lists and counts of the store.
    pub(super) async fn check(&self, now: Timestamp) {
        self.follow(now).await;
        self.settle().await;
        let ids: Vec<_> = self.created.lock().unwrap().iter().copied().collect();
        check_invariants(&**self.open_store(), &ids, now).await;
    }
}

/// A doorbell that writes down what it hears.
struct Recorder {
    bell: mpsc::UnboundedSender<Ready>,
    asked: Asked,
}

/// The queues with a supply that claims have come to.
type Asked = Arc<Mutex<BTreeSet<QueueName>>>;

impl Doorbell for Recorder {
    fn ring(&self, ready: Ready) {
        // Nobody listens any more once the rule has ended.
        let _ = self.bell.send(ready);
    }

    fn asked(&self, queue: &QueueName) {
        self.asked.lock().unwrap().insert(queue.clone());
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
