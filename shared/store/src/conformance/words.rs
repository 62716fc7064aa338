//! What the rules are said with: short builders for commands, names, times and ids, and calls that are made page by
//! page or at once.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use baton_model::transition::Refusal;
use baton_model::{
    Backoff, Bounds, Digest, Expected, Expiry, Failure, Fence, IfDependencyFails, LeaseTerms, Output, Owner,
    Payload, Priority, RunAfter, Running, SessionId, Task, TaskId, TaskSpec, TaskState, Timestamp, Unique,
    UniqueWhile, Watch,
};
use tokio::sync::Barrier;

use crate::{
    Beat, Cancel, Claim, ClaimAnswer, Create, Fail, Idempotency, Mend, Page, PageRequest, Reap, Release,
    Retry, StoreError, TaskStore,
};

/// A plain task of the default queue, with a backoff of 10 s without jitter.
pub(super) fn plain_spec(id: TaskId, task_type: &str) -> TaskSpec {
    TaskSpec {
        backoff: Some(Backoff { base: secs(10), factor: 2.0, max: secs(1_000), jitter: 0.0 }),
        ..TaskSpec::new(id, name(task_type))
    }
}

/// A UUIDv7 whose time and tail are made of a number, so that ids sort by it.
pub(super) fn counted_id(number: u64) -> [u8; 16] {
    timed_id(1_790_000_000_000 + number, number)
}

/// A UUIDv7 of a time in milliseconds, with a number as its tail.
pub(super) fn timed_id(time: u64, number: u64) -> [u8; 16] {
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
    Claim::new(name(worker), now)
}

/// Callers that are bound to these queues alone.
pub(super) fn of_queues(queues: &[&str]) -> Owner {
    Owner::of_queues(&queues.iter().map(|one| name(one)).collect())
}

/// A heartbeat that says nothing but that the worker lives.
pub(super) fn beat(worker: &str, now: Timestamp) -> Beat {
    Beat::new(name(worker), now)
}

pub(super) fn output(location: &str) -> Output {
    Output { location: Some(location.to_owned()), ..Output::default() }
}

pub(super) fn failing(now: Timestamp, held: &Task) -> Fail {
    let failure = Failure { message: "out of memory".to_owned(), code: None, details: None };
    Fail {
        now,
        task: held.head.id,
        fence: fence(held),
        caller: Bounds::default(),
        failure,
        retryable: true,
        retry_after: None,
    }
}

pub(super) fn releasing(now: Timestamp, held: &Task) -> Release {
    Release {
        now,
        task: held.head.id,
        fence: fence(held),
        caller: Bounds::default(),
        delay: Duration::ZERO,
        reason: None,
    }
}

pub(super) fn cancel(now: Timestamp, task: TaskId) -> Cancel {
    Cancel { now, task, by: None, reason: None, with_dependants: false }
}

pub(super) fn retry(now: Timestamp, task: TaskId) -> Retry {
    Retry { now, task, by: None, reason: None, delay: Duration::ZERO, with_dependants: false }
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
    fn after(self, dependencies: &[TaskId]) -> Self;
    fn if_fails(self, choice: IfDependencyFails) -> Self;
    fn until(self, at: Timestamp) -> Self;
    fn unique(self, key: &str, held: UniqueWhile) -> Self;
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
        Self { run_after: RunAfter::At(at), ..self }
    }
    fn attempts(self, n: u32) -> Self {
        Self { max_attempts: n, ..self }
    }
    fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
    fn after(self, dependencies: &[TaskId]) -> Self {
        Self { depends_on: dependencies.to_vec(), ..self }
    }
    fn if_fails(self, choice: IfDependencyFails) -> Self {
        Self { if_dependency_fails: choice, ..self }
    }
    fn until(self, at: Timestamp) -> Self {
        Self { expiry: Some(Expiry::At(at)), ..self }
    }
    fn unique(self, key: &str, held: UniqueWhile) -> Self {
        Self { unique: Some(Unique { key: name(key), held }), ..self }
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

/// Has a store look at all of its blocked tasks, and gives how many it has let go of or ended.
pub(super) async fn mend_all(store: &dyn TaskStore, now: Timestamp) -> u64 {
    let (mut done, mut after) = (0, None);
    loop {
        let report = store.mend(Mend { now, limit: 100, after }).await.expect("mending is taken");
        done += report.unblocked + report.ended;
        after = report.next;
        if after.is_none() {
            return done;
        }
    }
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
