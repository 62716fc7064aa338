//! Statistics kept by the table's stream: each record counts once, whatever becomes of batches, and a rebuild makes them
//! exact while everything runs.
//!
//! A failure names its seed; `BATON_SEED=<number>` draws the same commands, faults and batches again (how they overlap is
//! the machine's choice), and `BATON_SEEDS=<count>` runs more of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_model::{
    Bounds, Digest, Failure, Fence, GenerationId, Output, Payload, TaskId, TaskSpec, Timestamp, Watch,
};
use baton_store::conformance::history::{Load, run, seeds};
use baton_store::transfer::Migration;
use baton_store::{
    Cancel, Claim, ClaimAnswer, Complete, Create, Fail, Idempotency, Reap, Retry, Stats, TaskStore,
};
use baton_store_dynamodb::aws_sdk_dynamodb::types::AttributeValue;
use baton_store_dynamodb::faults::Fault;
use baton_store_dynamodb::table::{self, KeptBy};
use baton_store_dynamodb::{DynamoStore, Options, Rebuild, RebuildError, RebuildProgress};
use futures::StreamExt;

use crate::engine::Engine;
use crate::relays::{Random, Relays, claims_and_completions, exact, tasks, told_and_true};

/// How long finished tasks are kept.
const KEPT: Duration = Duration::from_millis(200);

async fn open(engine: &Engine, seed: u64) -> Arc<DynamoStore> {
    Arc::new(engine.store(Options { keep_finished: Some(KEPT), ..Options::seeded(seed) }).await)
}

/// `apart`: how many seconds lie between one record of the stream and the next; none for as they come.
async fn history(seed: u64, apart: Option<f64>) {
    println!("BATON_SEED={seed}, {apart:?} s apart");
    let (engine, stream) = Engine::with_stream(KeptBy::Stream).await;
    let store = open(&engine, seed).await;
    let mut relays = Relays::new(&engine, stream, seed, 16).await;
    relays.apart = apart;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let relays = tokio::spawn(relays.run(stopped));
    run(Arc::clone(&store) as _, seed, Load::default(), || {}).await;
    stop.send(true).unwrap();
    let mut relays = relays.await.unwrap();
    relays.drain().await;

    let last = tasks(&store, Timestamp::MAX).await.iter().map(|task| task.updated_at).max().unwrap();
    let now = last.plus(Duration::from_secs(1));
    let stats = exact(&store, now).await;
    let (claims, completions) = claims_and_completions(&store, now).await;
    assert!(claims > 30 && completions > 20, "{claims} {completions}");
    let counted = |of: fn(&baton_store::QueueStats) -> u64| stats.queues.iter().map(of).sum::<u64>();
    assert_eq!((counted(|queue| queue.wait.count), counted(|queue| queue.run.count)), (claims, completions));

    relays.replay().await;
    assert_eq!(exact(&store, now).await.queues, stats.queues, "what was counted is known for ever");

    // What nobody needs any more goes, too.
    store.let_go_of_all_kept(Timestamp::default()).await.unwrap();
    // A removal by the table itself counts as any other change does. The names of records are kept for longer than a record.
    let gone = engine
        .remove_ended(now.plus(Duration::from_secs(2)), |item| crate::engine::letter(item) != 'N')
        .await;
    assert!(gone[&'T'] > 0, "{gone:?}");
    relays.drain().await;
    assert_eq!(exact(&store, now).await.counts, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_counts_once_however_batches_are_cut_repeated_and_overlap() {
    // Most of their time they wait to try again.
    // At any rate: names of counted records lie in items of spans from 64 s down to one, as these get full.
    let rates = [Some(3.0), Some(0.2), None].into_iter().cycle();
    let histories = seeds(3).into_iter().zip(rates).map(|(seed, apart)| history(seed, apart));
    let mut histories = futures::stream::iter(histories).buffer_unordered(2);
    while histories.next().await.is_some() {}
}

/// Real time, from a begin of the test's own: what creations and rebuilds share.
#[derive(Clone, Copy)]
struct Clock(tokio::time::Instant);

impl Clock {
    fn new() -> Self {
        Self(tokio::time::Instant::now())
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus(self.0.elapsed())
    }
}

/// A rebuild where all have the same clock, and none takes long.
fn quick(clock: &(dyn Fn() -> Timestamp + Send + Sync)) -> Rebuild<'_> {
    let millis = Duration::from_millis;
    Rebuild {
        skew: millis(200),
        delay: millis(2_000),
        poll: millis(10),
        patience: Duration::from_secs(30),
        ..Rebuild::new(clock)
    }
}

/// Producers, workers, an operator and a purge, until they are told to stop.
#[derive(Clone)]
struct Traffic {
    store: Arc<DynamoStore>,
    clock: Clock,
    ids: Arc<AtomicU64>,
}

impl Traffic {
    fn new(store: Arc<DynamoStore>, clock: Clock) -> Self {
        Self { store, clock, ids: Arc::default() }
    }

    /// A UUIDv7 of now.
    fn id(&self) -> [u8; 16] {
        let mut bytes = [0x5a; 16];
        bytes[..6].copy_from_slice(&self.clock.now().as_millis().to_be_bytes()[2..]);
        bytes[6] = 0x70;
        bytes[8..].copy_from_slice(&self.ids.fetch_add(1, Ordering::SeqCst).to_be_bytes());
        bytes[8] = 0x80;
        bytes
    }

    fn spec(&self, number: usize) -> TaskSpec {
        let params = format!("\"{}\"", "x".repeat(number % 4 * 500));
        TaskSpec {
            queue: ["a", "b"][number % 2].parse().unwrap(),
            params: Payload::parse(&params).unwrap(),
            max_attempts: 2,
            ..TaskSpec::new(
                TaskId::from_bytes(self.id()),
                ["render", "encode", "upload"][number % 3].parse().unwrap(),
            )
        }
    }

    async fn create(&self, count: usize) -> Vec<TaskId> {
        let tasks: Vec<_> = (0..count).map(|number| self.spec(number)).collect();
        let ids = tasks.iter().map(|task| task.id).collect();
        let create = Create { now: self.clock.now(), tasks, atomic: false, idempotency: None, by: None };
        self.store.create(create).await.unwrap();
        ids
    }

    /// Takes tasks and ends each in some way.
    async fn work(&self, random: &mut Random, count: u32) {
        let claim = Claim {
            queues: vec!["a".parse().unwrap(), "b".parse().unwrap()],
            max_tasks: count,
            cap: 10_000,
            ..Claim::new("w".parse().unwrap(), self.clock.now())
        };
        let ClaimAnswer::Leased(held) = self.store.claim(claim).await.unwrap() else { return };
        for task in held {
            let (now, id) = (self.clock.now(), task.head.id);
            let fence = Fence { attempt: task.head.attempt, worker: "w".parse().unwrap() };
            match random.below(6) {
                0 => {
                    let fail = Fail {
                        now,
                        task: id,
                        fence,
                        caller: Bounds::default(),
                        failure: Failure { message: "no".to_owned(), code: None, details: None },
                        retryable: true,
                        retry_after: Some(Duration::ZERO),
                    };
                    self.store.fail(fail).await.unwrap();
                }
                1 => {
                    let cancel = Cancel { now, task: id, by: None, reason: None, with_dependants: false };
                    self.store.cancel(cancel).await.unwrap();
                    if random.below(2) == 0 {
                        let retry = Retry {
                            now,
                            task: id,
                            by: None,
                            reason: None,
                            delay: Duration::ZERO,
                            with_dependants: false,
                        };
                        self.store.retry(retry).await.unwrap();
                    }
                }
                // It goes on running.
                2 => {}
                _ => {
                    let generation = GenerationId::from_bytes(self.id());
                    let complete = Complete {
                        now,
                        task: id,
                        fence,
                        caller: Bounds::default(),
                        generation,
                        output: Output::default(),
                        ran: None,
                    };
                    self.store.complete(complete, None).await.unwrap();
                }
            }
        }
    }

    async fn run(self, seed: u64, stop: tokio::sync::watch::Receiver<bool>) {
        let mut random = Random(seed);
        while !*stop.borrow() {
            self.create(1 + random.below(5)).await;
            self.work(&mut random, 4).await;
        }
    }
}

/// Puts wrong numbers into all that is counted.
async fn drift(engine: &Engine, sort: &str) {
    let scan = engine.client.scan().table_name(&engine.table).into_paginator().items().send();
    let items: Vec<_> = scan.collect::<Result<_, _>>().await.unwrap();
    let mut found = 0;
    for item in items {
        let (pk, sk) = (item["pk"].as_s().unwrap(), item["sk"].as_s().unwrap());
        if pk.starts_with("S#") && sk.starts_with(sort) {
            found += 1;
            let update = engine.client.update_item().table_name(&engine.table);
            let update = update.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
            let update = update.update_expression("ADD #a :n").expression_attribute_names("#a", "0:render");
            update.expression_attribute_values(":n", AttributeValue::N("7".into())).send().await.unwrap();
        }
    }
    assert!(found > 0, "nothing is counted under {sort}");
}

async fn rebuilt_under_traffic(seed: u64) {
    println!("BATON_SEED={seed}");
    let (engine, stream) = Engine::with_stream(KeptBy::Processes).await;
    let clock = Clock::new();
    let before = Traffic::new(open(&engine, seed).await, clock);
    let mut random = Random(seed);
    before.create(60).await;
    before.work(&mut random, 30).await;
    exact(&before.store, clock.now()).await;
    drift(&engine, "C").await;
    let (told, counted) = told_and_true(&before.store, clock.now()).await;
    assert_ne!(told, counted, "what processes count may drift");

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let relays = tokio::spawn(Relays::new(&engine, stream, seed, 20).await.run(stopped.clone()));
    let mut actors = Vec::new();
    for number in 0..2 {
        let traffic = Traffic { store: open(&engine, seed * 10 + number).await, ..before.clone() };
        actors.push(tokio::spawn(traffic.run(seed * 10 + number, stopped.clone())));
    }
    // The table removes what has ended meanwhile: tasks, and not the names of records.
    let engine = Arc::new(engine);
    let (table, mut ended) = (Arc::clone(&engine), stopped.clone());
    actors.push(tokio::spawn(async move {
        while !*ended.borrow() {
            table.remove_ended(clock.now(), |item| crate::engine::letter(item) == 'T').await;
            let _ = tokio::time::timeout(Duration::from_millis(100), ended.changed()).await;
        }
    }));
    let operator = open(&engine, seed + 77).await;
    let now = move || clock.now();
    let mut epoch = 0;
    for _ in 0..2 {
        let mut told = Vec::new();
        let rebuilt =
            operator.rebuild_statistics(&quick(&now), |progress| told.push(progress)).await.unwrap();
        assert!(rebuilt.epoch > epoch, "{rebuilt:?}");
        epoch = rebuilt.epoch;
        assert!(rebuilt.touched > 0, "{rebuilt:?}");
        assert_eq!(told[0], RebuildProgress::Begun { took_over: false });
        assert_eq!(told[told.len() - 1], RebuildProgress::Replaced);
        // What is counted by the stream drifts as little as commits do, unless somebody writes into it.
        drift(&engine, "C#").await;
    }
    let rebuilt = operator.rebuild_statistics(&quick(&now), |_| {}).await.unwrap();
    stop.send(true).unwrap();
    for actor in actors {
        actor.await.unwrap();
    }
    let mut relays = relays.await.unwrap();
    relays.drain().await;
    let later = open(&engine, seed + 99).await;
    let stats = exact(&later, clock.now()).await;
    assert!(!stats.counts.is_empty());
    println!("{rebuilt:?}, {} tasks at the end", stats.counts.iter().map(|count| count.tasks).sum::<u64>());
    let scan = engine.client.scan().table_name(&engine.table).into_paginator().items().send();
    let items: Vec<_> = scan.collect::<Result<_, _>>().await.unwrap();
    let old = items.iter().filter(|item| item["pk"].as_s().unwrap().starts_with("S#")).filter(|item| {
        let sort = item["sk"].as_s().unwrap();
        sort == "C" || sort.starts_with("C#") && !sort.starts_with(&format!("C#{:010}#", rebuilt.epoch))
    });
    assert_eq!(old.count(), 0, "former counts are removed");

    // Touches are no events, and leave the history of each task as it was.
    for task in tasks(&later, clock.now()).await {
        let history = later.task(task.head.id).await.unwrap().history;
        assert_eq!(history.len(), task.head.events as usize);
    }
    let mut events = 0;
    for record in relays.records() {
        events += later.events_of(record).await.map_or(0, |events| events.len());
    }
    assert!(events > 100, "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_makes_statistics_exact_while_everything_runs() {
    let mut seeds =
        futures::stream::iter(seeds(1).into_iter().map(rebuilt_under_traffic)).buffer_unordered(2);
    while seeds.next().await.is_some() {}
}

/// Whatever has been counted, by whom, and for which epoch.
async fn counted_items(engine: &Engine) -> Vec<(String, String)> {
    let scan = engine.client.scan().table_name(&engine.table).into_paginator().items().send();
    let items: Vec<_> = scan.collect::<Result<_, _>>().await.unwrap();
    let key = |item: &HashMap<String, AttributeValue>| {
        (item["pk"].as_s().unwrap().clone(), item["sk"].as_s().unwrap().clone())
    };
    let mut keys: Vec<_> = items.iter().map(key).collect();
    keys.retain(|(pk, sk)| pk.starts_with("S#") || pk.starts_with("N#") || sk.starts_with("touched"));
    keys.sort();
    keys
}

#[tokio::test]
async fn a_rebuild_whose_stream_nobody_reads_says_so_and_changes_nothing() {
    let (engine, _stream) = Engine::with_stream(KeptBy::Processes).await;
    let clock = Clock::new();
    let traffic = Traffic::new(open(&engine, 1).await, clock);
    traffic.create(5).await;
    let before = exact(&traffic.store, clock.now()).await;
    let now = move || clock.now();
    let impatient = Rebuild { patience: Duration::from_millis(50), ..quick(&now) };
    let failed = traffic.store.rebuild_statistics(&impatient, |_| {}).await.unwrap_err();
    assert!(matches!(failed, RebuildError::Silent { counted: 0, touched: 0, .. }), "{failed:?}");
    assert!(failed.to_string().contains("see that relay-events is deployed"), "{failed}");
    let after = exact(&traffic.store, clock.now()).await;
    assert_eq!(after.counts, before.counts);
    assert_eq!(table::kept_by(&engine.client, &engine.table).await.unwrap(), Some(KeptBy::Processes));
    // Processes go on counting.
    traffic.create(3).await;
    exact(&traffic.store, clock.now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_takes_over_from_one_that_has_begun_before() {
    let (engine, stream) = Engine::with_stream(KeptBy::Processes).await;
    let clock = Clock::new();
    let traffic = Traffic::new(open(&engine, 1).await, clock);
    traffic.create(20).await;
    let now = move || clock.now();
    let (first, second) = (open(&engine, 2).await, open(&engine, 3).await);
    // The first waits for a stream that nobody reads.
    let (begun, beginning) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let first = async {
        let tell = |_| {
            begun.take().into_iter().for_each(|begun| begun.send(()).unwrap());
        };
        first.rebuild_statistics(&quick(&now), tell).await
    };
    let second = async {
        beginning.await.unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut told = Vec::new();
        let relays = Relays::new(&engine, stream, 1, 0).await;
        let rebuild = quick(&now);
        let rebuilding = async {
            let rebuilt = second.rebuild_statistics(&rebuild, |progress| told.push(progress)).await;
            stop.send(true).unwrap();
            rebuilt
        };
        let (rebuilt, _) = futures::join!(rebuilding, relays.run(stopped));
        assert_eq!(told[0], RebuildProgress::Begun { took_over: true });
        rebuilt
    };
    let (first, second) = futures::join!(first, second);
    assert!(matches!(first, Err(RebuildError::TakenOver)), "{first:?}");
    assert_eq!(second.unwrap().touched, 20);
    let later = open(&engine, 4).await;
    exact(&later, clock.now()).await;
}

#[tokio::test]
async fn counts_say_how_old_they_are_and_a_reaper_keeps_them_young_while_nothing_happens() {
    let (engine, stream) = Engine::with_stream(KeptBy::Stream).await;
    let mut relays = Relays::new(&engine, stream, 1, 0).await;
    let clock = Clock::new();
    let traffic = Traffic::new(open(&engine, 1).await, clock);
    assert_eq!(traffic.store.stats(Timestamp::MAX).await.unwrap().counted_at, None, "nothing is counted");
    traffic.create(3).await;
    assert_eq!(traffic.store.stats(Timestamp::MAX).await.unwrap().counted_at, None);
    relays.drain().await;
    let stats = exact(&traffic.store, Timestamp::MAX).await;
    let counted_at = stats.counted_at.unwrap();
    assert!(stats.queues.iter().all(|queue| queue.counted_at == Some(counted_at)));
    // The engine's clock is ahead of the test's.
    let early = counted_at.minus(Duration::from_secs(5));
    assert_eq!(traffic.store.stats(early).await.unwrap().counted_at, Some(early), "never later than asked");

    // The age is told to the second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let before = counted_items(&engine).await;
    let reap = Reap { watch: Watch::at(clock.now()), limit: 10, worker: None, queue: None };
    traffic.store.reap(reap.clone()).await.unwrap();
    relays.drain().await;
    let later = traffic.store.stats(Timestamp::MAX).await.unwrap();
    assert!(later.counted_at > Some(counted_at), "{:?}", later.counted_at);
    assert_eq!(later.counts, stats.counts);
    assert_eq!(counted_items(&engine).await, before, "a tick is no count");
    let ticks = |relays: &Relays| relays.records().filter(|record| record.contains("T#tick")).count();
    assert_eq!(ticks(&relays), 1);
    traffic.store.reap(reap.clone()).await.unwrap();
    traffic
        .store
        .reap(Reap { watch: Watch::at(reap.watch.now.plus(Duration::from_secs(30))), ..reap })
        .await
        .unwrap();
    relays.drain().await;
    assert_eq!(ticks(&relays), 2, "at most one in half a minute");
    for record in relays.records().filter(|record| record.contains("T#tick")) {
        assert_eq!(traffic.store.events_of(record).await.unwrap(), []);
    }
}

#[tokio::test]
async fn where_processes_count_the_stream_does_not_and_no_tick_is_written() {
    let (engine, stream) = Engine::with_stream(KeptBy::Processes).await;
    let mut relays = Relays::new(&engine, stream, 1, 0).await;
    let clock = Clock::new();
    let traffic = Traffic::new(open(&engine, 1).await, clock);
    traffic.create(4).await;
    let reap = Reap { watch: Watch::at(clock.now()), limit: 10, worker: None, queue: None };
    traffic.store.reap(reap).await.unwrap();
    let now = clock.now();
    assert_eq!(exact(&traffic.store, now).await.counted_at, Some(now));
    relays.drain().await;
    let counted = counted_items(&engine).await;
    // The second one names the types that the processes count.
    let by_processes = |sk: &str| matches!(sk, "C" | "T#0000000000");
    assert!(!counted.is_empty() && counted.iter().all(|(_, sk)| by_processes(sk)), "{counted:?}");
    assert!(!relays.records().any(|record| record.contains("T#tick")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_finished_long_after_it_was_begun_counts() {
    let (engine, stream) = Engine::with_stream(KeptBy::Processes).await;
    let clock = Clock::new();
    let traffic = Traffic::new(open(&engine, 1).await, clock);
    let batch = Create {
        now: clock.now(),
        tasks: (0..120).map(|number| traffic.spec(number)).collect(),
        atomic: false,
        idempotency: Some(Idempotency {
            key: "batch".to_owned(),
            fingerprint: Digest::of_bytes(b"batch").into(),
        }),
        by: None,
    };
    let (failing, faults) = engine.failing(1, 0, Options::seeded(2)).await;
    // The key is there, and nothing else.
    faults.order("PutItem", Fault::LostAnswer);
    (0..5).for_each(|_| faults.order("PutItem", Fault::LostRequest));
    failing.create(batch.clone()).await.unwrap_err();

    let relays = Relays::new(&engine, stream, 1, 0).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let relays = tokio::spawn(relays.run(stopped));
    let now = move || clock.now();
    traffic.store.rebuild_statistics(&quick(&now), |_| {}).await.unwrap();
    assert!(traffic.store.create(batch).await.unwrap().replayed);
    stop.send(true).unwrap();
    relays.await.unwrap().drain().await;
    let later = open(&engine, 3).await;
    let stats = exact(&later, clock.now()).await;
    assert_eq!(stats.counts.iter().map(|count| count.tasks).sum::<u64>(), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_moved_into_a_table_count_there_and_their_durations_once() {
    let (source, _stream) = Engine::with_stream(KeptBy::Processes).await;
    let clock = Clock::new();
    let from = Traffic::new(open(&source, 1).await, clock);
    from.create(40).await;
    from.work(&mut Random(1), 10).await;
    from.store.flush().await.unwrap();

    let (engine, stream) = Engine::with_stream(KeptBy::Processes).await;
    let now = move || clock.now();
    let relays = Relays::new(&engine, stream, 1, 0).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let relays = tokio::spawn(relays.run(stopped));
    open(&engine, 2).await.rebuild_statistics(&quick(&now), |_| {}).await.unwrap();
    let to = open(&engine, 3).await;
    let migration = Migration {
        source: &*from.store,
        target: &*to,
        name: "the source",
        page: 10,
        keep_logs: Duration::ZERO,
        clock: &now,
    };
    migration.run(|_| {}).await.unwrap();
    stop.send(true).unwrap();
    let mut relays = relays.await.unwrap();
    relays.drain().await;
    let last = clock.now();
    let stats = exact(&to, last).await;
    assert_eq!(stats.counts.iter().map(|count| count.tasks).sum::<u64>(), 40);
    let durations =
        |stats: &Stats| stats.queues.iter().map(|queue| (queue.wait, queue.run)).collect::<Vec<_>>();
    assert_eq!(durations(&stats), durations(&from.store.stats(last).await.unwrap()));
    assert!(stats.queues.iter().any(|queue| queue.run.count > 0));

    // They go on as all others do, and what the stream has counted of them moves on in its turn.
    let moved = Traffic { store: Arc::clone(&to), ..from };
    moved.work(&mut Random(2), 10).await;
    relays.drain().await;
    let last = clock.now();
    let stats = exact(&to, last).await;
    let (claims, _) = claims_and_completions(&to, last).await;
    assert_eq!(stats.queues.iter().map(|queue| queue.wait.count).sum::<u64>(), claims);
    let (third, _stream) = Engine::with_stream(KeptBy::Processes).await;
    let third = open(&third, 4).await;
    let migration = Migration { source: &*to, target: &*third, name: "the second", ..migration };
    migration.run(|_| {}).await.unwrap();
    assert_eq!(durations(&exact(&third, last).await), durations(&stats));
}
