//! Random histories over a connection that fails: whatever is lost, throttled, repeated or old, no acknowledged task is
//! lost, none is completed twice, and a generation exists if and only if its task is completed.
//!
//! A failure names its seed; `BATON_SEED=<number>` draws the same commands and faults again (how they overlap is the
//! machine's choice), and `BATON_SEEDS=<count>` runs more of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where it is surprised, and tells its figures"
)]

mod engine;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_model::{
    Failure, Fence, Generation, GenerationId, Grant, LeaseTerms, Output, Payload, Priority, ProjectId,
    QueueName, Running, Schedule, Scope, State, Task, TaskId, TaskSpec, Timestamp, Token, TokenId,
    TokenSecret,
};
use baton_store::{
    Beat, Claim, ClaimAnswer, Complete, Create, ErrorKind, Fail, Idempotency, NoDoorbell, PageRequest, Purge,
    Reap, Release, StoreError, StoredToken, TaskFilter, TaskStore, TokenStore,
};
use baton_store_dynamodb::client::http_client;
use baton_store_dynamodb::faults::{Fault, Faults};
use baton_store_dynamodb::{DynamoStore, Options};
use engine::Engine;

const WORKERS: u64 = 4;

/// How many tokens there may be.
const ROOM: usize = 12;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What all of a history share.
struct Shared {
    store: DynamoStore,
    ids: AtomicU64,
    clock: AtomicU64,
    /// Tasks that were acknowledged.
    created: Mutex<Vec<TaskId>>,
    /// Completions that were acknowledged.
    completed: Mutex<HashMap<TaskId, Generation>>,
    /// Claims that were acknowledged, by task and attempt.
    claimed: Mutex<BTreeMap<(TaskId, u32), String>>,
}

impl Shared {
    fn id(&self) -> [u8; 16] {
        let number = self.ids.fetch_add(1, Ordering::SeqCst);
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&(1_800_000_000_000_u64 + number).to_be_bytes()[2..]);
        bytes[6] = 0x70;
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        bytes[8] = 0x80;
        bytes
    }

    fn now(&self) -> Timestamp {
        let millis = self.clock.fetch_add(3, Ordering::SeqCst);
        Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_millis(millis))
    }

    /// Sends a command as a client does: again, while the store says that it may not have been carried out.
    async fn sent<T, A: Future<Output = Result<T, StoreError>>>(
        &self,
        ask: impl Fn() -> A,
    ) -> Result<T, StoreError> {
        loop {
            match ask().await {
                Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) => {}
                Err(error) if error.kind() == ErrorKind::Internal => panic!("the store failed: {error:?}"),
                other => return other,
            }
        }
    }

    async fn produce(&self, mut dice: Dice, rounds: usize) {
        for _ in 0..rounds {
            let count = 1 + dice.below(3);
            let chosen = dice.below(2) == 0;
            let tasks: Vec<_> = (0..count).map(|_| self.spec(chosen, dice.below(4) == 0)).collect();
            // What is neither chosen nor named cannot be told from another when it is sent again.
            let idempotency = (!chosen).then(|| {
                let key = format!("k{}", self.ids.fetch_add(1, Ordering::SeqCst));
                Idempotency { digest: tasks[0].digest(), key }
            });
            let create = Create { now: self.now(), tasks, atomic: dice.below(2) == 0, idempotency, by: None };
            let answer = self.sent(|| self.store.create(create.clone())).await.unwrap();
            let ids = answer.items.into_iter().map(|item| item.unwrap().id);
            self.created.lock().unwrap().extend(ids);
        }
    }

    fn spec(&self, id_chosen: bool, large: bool) -> TaskSpec {
        let params = if large { format!("\"{}\"", "p".repeat(3_000)) } else { "{}".to_owned() };
        TaskSpec {
            id: TaskId::from_bytes(self.id()),
            id_chosen,
            project: ProjectId::default(),
            queue: QueueName::default(),
            task_type: "render".parse().unwrap(),
            priority: Priority::Normal,
            params: Payload::parse(&params).unwrap(),
            description: None,
            domain: None,
            drift_score: None,
            assigned_by: None,
            schedule: Schedule::Now,
            max_attempts: 1_000,
            timeout: None,
            backoff: None,
        }
    }

    fn claim(&self, worker: &str, most: u32, keyed: bool) -> Claim {
        let key = format!("r{}", self.ids.fetch_add(1, Ordering::SeqCst));
        Claim {
            now: self.now(),
            worker: worker.parse().unwrap(),
            session: None,
            project: None,
            queues: vec![QueueName::default()],
            types: Vec::new(),
            max_tasks: most,
            cap: 1_000,
            capacity: None,
            terms: LeaseTerms::Fixed(Duration::from_millis(2_000)),
            request: keyed.then(|| key.parse().unwrap()),
        }
    }

    async fn claimed(&self, worker: &str, claim: Claim) -> Vec<Task> {
        match self.sent(|| self.store.claim(claim.clone())).await.unwrap() {
            ClaimAnswer::Nothing(_) => Vec::new(),
            ClaimAnswer::Leased(tasks) => {
                let mut claimed = self.claimed.lock().unwrap();
                for task in &tasks {
                    let before = claimed.insert((task.head.id, task.head.attempt), worker.to_owned());
                    assert!(
                        before.is_none(),
                        "attempt {} of {} was given twice",
                        task.head.attempt,
                        task.head.id
                    );
                }
                tasks
            }
        }
    }

    async fn finish(&self, worker: &str, task: &Task, dice: &mut Dice) {
        let now = self.now();
        let fence = Fence { attempt: task.head.attempt, worker: worker.parse().unwrap() };
        let id = task.head.id;
        match dice.below(8) {
            0 => {
                let failure =
                    Failure { message: "no".repeat(1 + dice.below(400) as usize), code: None, details: None };
                let retry_after = Some(Duration::ZERO);
                let fail = Fail { now, task: id, fence, failure, retryable: true, retry_after };
                let _ = self.sent(|| self.store.fail(fail.clone())).await;
            }
            1 => {
                let release = Release { now, task: id, fence, delay: Duration::ZERO, reason: None };
                let _ = self.sent(|| self.store.release(release.clone())).await;
            }
            // Forgotten: the reaper takes it back.
            2 => {}
            _ => {
                let result = format!("\"{}\"", "r".repeat(dice.below(3_000) as usize));
                let output = Output { result: Some(Payload::parse(&result).unwrap()), ..Output::default() };
                let generation = GenerationId::from_bytes(self.id());
                let complete = Complete { now, task: id, fence, generation, output };
                if let Ok(answer) = self.sent(|| self.store.complete(complete.clone(), None)).await {
                    assert_eq!(answer.generation.id, generation, "the completion's own generation stands");
                    let before = self.completed.lock().unwrap().insert(id, answer.generation);
                    assert!(before.is_none(), "{id} was completed twice");
                }
            }
        }
    }

    async fn work(&self, n: u64, mut dice: Dice, rounds: usize) {
        let worker = format!("w{n}");
        for _ in 0..rounds {
            let claim = self.claim(&worker, 1 + dice.below(3) as u32, dice.below(2) == 0);
            let tasks = self.claimed(&worker, claim).await;
            let running = tasks.iter().map(|task| Running {
                task: task.head.id,
                attempt: task.head.attempt,
                progress: None,
                message: None,
            });
            let beat = Beat {
                now: self.now(),
                worker: worker.parse().unwrap(),
                session: None,
                project: None,
                running: Some(running.collect()),
                capacity: None,
                readings: BTreeMap::new(),
                labels: BTreeMap::new(),
                logs: Vec::new(),
            };
            let _ = self.sent(|| self.store.heartbeat(beat.clone())).await.unwrap();
            for task in &tasks {
                self.finish(&worker, task, &mut dice).await;
            }
        }
    }

    async fn reap(&self, rounds: usize) {
        for _ in 0..rounds {
            let reap = Reap { now: self.now(), limit: 100, worker: None, queue: None };
            let _ = self.sent(|| self.store.reap(reap.clone())).await.unwrap();
            self.clock.fetch_add(300, Ordering::SeqCst);
        }
    }

    /// Works off what is left, and checks that nothing is lost or doubled.
    async fn check(&self) {
        self.clock.fetch_add(1_000_000, Ordering::SeqCst);
        let reap = Reap { now: self.now(), limit: 10_000, worker: None, queue: None };
        self.store.reap(reap).await.unwrap();
        loop {
            let tasks = self
                .claimed("last", Claim { terms: LeaseTerms::Heartbeats, ..self.claim("last", 50, false) })
                .await;
            if tasks.is_empty() {
                break;
            }
            for task in tasks {
                let complete = Complete {
                    now: self.now(),
                    task: task.head.id,
                    fence: Fence { attempt: task.head.attempt, worker: "last".parse().unwrap() },
                    generation: GenerationId::from_bytes(self.id()),
                    output: Output::default(),
                };
                let answer = self.store.complete(complete, None).await.unwrap();
                let before = self.completed.lock().unwrap().insert(task.head.id, answer.generation);
                assert!(before.is_none(), "{} was completed twice", task.head.id);
            }
        }
        let created = self.created.lock().unwrap().clone();
        let completed = self.completed.lock().unwrap().clone();
        for id in &created {
            let detail = self.store.task(*id).await.unwrap();
            let numbers: Vec<_> = detail.history.iter().map(|event| event.seq).collect();
            assert_eq!(numbers, (1..=detail.task.head.events).collect::<Vec<_>>(), "{id}");
            let claims =
                detail.history.iter().filter(|event| event.kind == baton_model::EventKind::Claimed).count();
            assert_eq!(claims, detail.task.head.attempt as usize, "{id}");
            assert_eq!(detail.task.head.state.state(), State::Completed, "{id} is stranded");
            let generation = detail.generation.unwrap();
            if let Some(acknowledged) = completed.get(id) {
                assert_eq!(*acknowledged, generation, "{id}");
            }
        }
        let filter = TaskFilter { now: self.now(), ..TaskFilter::default() };
        let listed = self.pages(|page| self.store.tasks(filter.clone(), page)).await;
        let ids: std::collections::BTreeSet<_> = listed.iter().map(|task| task.head.id).collect();
        assert!(created.iter().all(|id| ids.contains(id)), "the list lacks a task");
        assert_eq!(ids.len(), listed.len(), "the list has a task twice");
        let generations = self.pages(|page| self.store.generations(Default::default(), page)).await;
        let of: std::collections::BTreeSet<_> = generations.iter().map(|one| one.task).collect();
        assert_eq!(of.len(), generations.len(), "a task has two generations");
        assert_eq!(of, ids, "a generation for each completed task, and no other");
    }

    async fn pages<T>(
        &self,
        ask: impl AsyncFn(PageRequest) -> Result<baton_store::Page<T>, StoreError>,
    ) -> Vec<T> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = ask(PageRequest { after, limit: 100 }).await.unwrap();
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }
}

/// A store over a connection that fails, once its faults are switched on.
async fn failing(seed: u64) -> (Engine, Faults, Arc<Shared>) {
    let engine = Engine::start().await;
    let faults = Faults::new(http_client(), seed, 6);
    faults.switch(false);
    let client = baton_store_dynamodb::client::local(&engine.endpoint, faults.client());
    let options = Options { flush_every: None, max_tokens: ROOM, ..Options::seeded(seed) };
    let store = DynamoStore::open(client, engine.table.clone(), options, Arc::new(NoDoorbell)).await.unwrap();
    let shared = Arc::new(Shared {
        store,
        ids: AtomicU64::new(1),
        clock: AtomicU64::new(0),
        created: Mutex::default(),
        completed: Mutex::default(),
        claimed: Mutex::default(),
    });
    (engine, faults, shared)
}

async fn history(seed: u64) -> HashMap<Fault, u64> {
    let (_engine, faults, shared) = failing(seed).await;
    faults.switch(true);
    let mut running = Vec::new();
    for n in 0..2 {
        let shared = Arc::clone(&shared);
        running.push(tokio::spawn(async move { shared.produce(Dice(seed ^ (n + 100)), 12).await }));
    }
    for n in 0..WORKERS {
        let shared = Arc::clone(&shared);
        running.push(tokio::spawn(async move { shared.work(n, Dice(seed ^ (n + 1)), 15).await }));
    }
    let reaper = Arc::clone(&shared);
    running.push(tokio::spawn(async move { reaper.reap(10).await }));
    for one in running {
        one.await.unwrap();
    }
    faults.switch(false);
    shared.check().await;
    faults.injected()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_over_a_connection_that_fails() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<_> = match number("BATON_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("BATON_SEEDS").unwrap_or(10)).collect(),
    };
    let mut all: HashMap<Fault, u64> = HashMap::new();
    for seed in seeds {
        println!("BATON_SEED={seed}");
        for (fault, count) in history(seed).await {
            *all.entry(fault).or_default() += count;
        }
    }
    println!("{all:?}");
    assert_eq!(all.len(), Fault::ALL.len(), "every fault was met");
}

/// Makes more tokens than there is room for, at once, and gives how many were taken.
async fn fill(shared: &Arc<Shared>) -> Vec<TokenId> {
    let makings = (0..ROOM + 4).map(|_| {
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let id = TokenId::from_bytes(shared.id());
            let token = Token {
                id,
                name: "farm".parse().unwrap(),
                grant: Grant { scopes: [Scope::Worker].into(), queues: [].into(), project: None },
                requests_per_second: None,
                created_at: shared.now(),
                created_by: None,
                expires_at: None,
                revoked_at: None,
                last_used_at: None,
            };
            let digest = TokenSecret::new(id, [1; TokenSecret::BYTES]).digest();
            let stored = StoredToken { token, digest };
            match shared.sent(|| shared.store.create_token(stored.clone())).await {
                Ok(()) => Some(id),
                Err(StoreError::TooManyTokens { .. }) => None,
                Err(other) => panic!("{other:?}"),
            }
        })
    });
    let mut made = Vec::new();
    for making in makings.collect::<Vec<_>>() {
        made.extend(making.await.unwrap());
    }
    made
}

/// Whatever is lost or repeated, the count of tokens stays right and a revoked token stays revoked.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_right_over_a_connection_that_fails() {
    for seed in 0..5 {
        println!("seed {seed}");
        let (_engine, faults, shared) = failing(seed).await;
        let store = &shared.store;
        for _ in 0..2 {
            faults.switch(true);
            fill(&shared).await;
            faults.switch(false);
            let listed = store.tokens(PageRequest::first(100)).await.unwrap().items;
            assert_eq!(listed.len(), ROOM, "all the room is used, and no more");
            faults.switch(true);
            for token in &listed[..5] {
                let now = shared.now();
                shared.sent(|| store.revoke_token(token.id, now)).await.unwrap();
                let kept = shared.sent(|| store.token(token.id)).await.unwrap().unwrap();
                assert!(kept.token.revoked_at.is_some());
            }
            shared.clock.fetch_add(10_000, Ordering::SeqCst);
            let mut left = ROOM;
            while left > ROOM - 5 {
                let purge = Purge { keep_tokens: Duration::from_secs(1), ..Purge::at(shared.now()) };
                shared.sent(|| store.purge(purge)).await.unwrap();
                let page = shared.sent(|| store.tokens(PageRequest::first(100))).await.unwrap();
                left = page.items.len();
            }
            faults.switch(false);
            assert_eq!(left, ROOM - 5, "those that were revoked are gone, and no others");
        }
    }
}
