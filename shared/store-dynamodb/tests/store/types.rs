//! Queues of many types: their counts have a bound, whoever counts, and an item that cannot be written holds up nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use baton_model::{State, TaskId, TaskSpec, Timestamp};
use baton_store::{Cancel, Create, Purge, Stats, TaskStore};
use baton_store_dynamodb::aws_sdk_dynamodb::types::AttributeValue;
use baton_store_dynamodb::table::KeptBy;
use baton_store_dynamodb::{DynamoStore, Options, PassedOver, Rebuild};

use crate::engine::{Engine, at, timed};
use crate::relays::{Relays, exact};

/// How many types a queue has here: more than are counted by name. `BATON_TEST_TYPES=3200` makes it more than an item of counts
/// could hold, with names of 128 bytes (400 KB); the engine takes minutes for these.
fn all_types() -> u64 {
    std::env::var("BATON_TEST_TYPES").map_or(700, |types| types.parse().unwrap())
}

fn beyond() -> u64 {
    all_types() - Stats::TYPES as u64
}

fn now() -> Timestamp {
    at(0)
}

async fn open(engine: &Engine, seed: u64) -> Arc<DynamoStore> {
    let keep_finished = Some(Duration::from_secs(1));
    Arc::new(engine.store(Options { keep_finished, ..Options::seeded(seed) }).await)
}

fn spec(queue: &str, number: u64, task_type: &str) -> TaskSpec {
    TaskSpec {
        queue: queue.parse().unwrap(),
        max_attempts: 2,
        ..TaskSpec::new(TaskId::from_bytes(timed(number)), task_type.parse().unwrap())
    }
}

async fn create(store: &DynamoStore, tasks: Vec<TaskSpec>) {
    let create = Create { now: now(), tasks, atomic: false, idempotency: None, by: None };
    assert!(store.create(create).await.unwrap().items.iter().all(Result::is_ok));
}

/// One task of each type, the names as long as names may be.
async fn create_many(store: &DynamoStore, queue: &str, first: u64) {
    let tasks: Vec<_> = (first..first + all_types())
        .map(|number| spec(queue, number, &format!("{number:05}{}", "x".repeat(123))))
        .collect();
    for tasks in tasks.chunks(400) {
        create(store, tasks.to_vec()).await;
    }
}

/// The tasks of a queue by state: in rows by type, how many such rows, and those beyond.
fn of_queue(stats: &Stats, queue: &str) -> BTreeMap<State, (u64, u64, u64)> {
    let mut sums: BTreeMap<State, (u64, u64, u64)> = BTreeMap::new();
    for count in stats.counts.iter().filter(|count| count.queue.as_str() == queue) {
        let sum = sums.entry(count.state).or_default();
        match count.task_type {
            Some(_) => (sum.0, sum.1) = (sum.0 + count.tasks, sum.1 + 1),
            None => sum.2 += count.tasks,
        }
    }
    sums
}

async fn items_of_counts(engine: &Engine) -> Vec<HashMap<String, AttributeValue>> {
    let mut items = engine.items().await;
    items.retain(|item| item["pk"].as_s().unwrap().starts_with("S#"));
    items
}

/// How many counts are kept, over all items.
async fn counts_kept(engine: &Engine) -> usize {
    let items = items_of_counts(engine).await;
    items.iter().flat_map(HashMap::keys).filter(|name| name.contains(':')).count()
}

fn named(number: u64) -> BTreeMap<State, (u64, u64, u64)> {
    let types = Stats::TYPES as u64;
    BTreeMap::from([(State::Queued, (types, types, number - types))])
}

async fn end_all(store: &DynamoStore, first: u64) {
    for number in first..first + all_types() {
        let task = spec("a", number, "x").id;
        store
            .cancel(Cancel { now: now(), task, by: None, reason: None, with_dependants: false })
            .await
            .unwrap();
    }
}

/// Time goes by until all finished tasks have gone, as the table removes them by itself.
async fn remove_all(engine: &Engine) {
    let gone =
        engine.remove_ended(now().plus(Duration::from_secs(2)), |item| crate::engine::letter(item) != 'N');
    let gone = gone.await;
    assert_eq!(gone.get(&'T').copied().unwrap_or(0) as u64, all_types(), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_beyond_five_hundred_are_counted_together_by_the_stream_and_zeros_are_removed() {
    let (engine, stream) = Engine::with_stream(KeptBy::Stream).await;
    let store = open(&engine, 1).await;
    let mut relays = Relays::new(&engine, stream, 1, 0).await;
    create_many(&store, "a", 0).await;
    relays.drain().await;
    let stats = store.stats(now()).await.unwrap();
    assert_eq!(of_queue(&stats, "a"), named(all_types()));
    assert_eq!(stats.states, BTreeMap::from([(State::Queued, all_types())]));

    end_all(&store, 0).await;
    relays.drain().await;
    let stats = store.stats(now()).await.unwrap();
    let types = Stats::TYPES as u64;
    assert_eq!(of_queue(&stats, "a"), BTreeMap::from([(State::Cancelled, (types, types, beyond()))]));

    remove_all(&engine).await;
    relays.drain().await;
    assert_eq!(store.stats(now()).await.unwrap().counts, []);
    // What is left was zeroed since each function has looked for zeros last, or is too little for a write.

    let kept = counts_kept(&engine).await;
    assert!(kept < 4 * Stats::TYPES, "{kept} counts are kept of what is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_beyond_five_hundred_are_counted_together_by_processes_and_a_rebuild_names_anew() {
    let (engine, stream) = Engine::with_stream(KeptBy::Processes).await;
    let store = open(&engine, 1).await;
    create_many(&store, "a", 0).await;
    store.flush().await.unwrap();
    let other = open(&engine, 2).await;
    create(&other, vec![spec("a", all_types(), "late")]).await;
    let stats = other.stats(now()).await.unwrap();
    assert_eq!(of_queue(&stats, "a"), named(all_types() + 1), "another process names no further type");
    assert_eq!(stats.states, BTreeMap::from([(State::Queued, all_types() + 1)]));
    end_all(&store, 0).await;
    store.flush().await.unwrap();
    remove_all(&engine).await;
    // Nobody hears of a removal: what is to go on a day is taken off the counts when the day is over.
    while store.purge(Purge::at(now().plus(Duration::from_secs(2 * 86_400)))).await.unwrap().more {}
    let stats = store.stats(now()).await.unwrap();
    assert_eq!(of_queue(&stats, "a"), BTreeMap::from([(State::Queued, (0, 0, 1))]));
    let kept = counts_kept(&engine).await;
    assert!(kept < 200, "{kept} counts are kept of what is gone");

    // The types that there are now are named.
    let began = tokio::time::Instant::now();
    let clock = move || now().plus(began.elapsed());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let relays = tokio::spawn(Relays::new(&engine, stream, 1, 0).await.run(stopped));
    let millis = Duration::from_millis;
    let rebuild = Rebuild {
        skew: millis(50),
        delay: millis(200),
        poll: millis(10),
        patience: Duration::from_secs(60),
        ..Rebuild::new(&clock)
    };
    store.rebuild_statistics(&rebuild, |_| {}).await.unwrap();
    stop.send(true).unwrap();
    relays.await.unwrap().drain().await;
    let later = open(&engine, 3).await;
    let stats = exact(&later, now().plus(Duration::from_secs(3_600))).await;
    assert_eq!(of_queue(&stats, "a"), BTreeMap::from([(State::Queued, (1, 1, 0))]));
    let sorts: Vec<_> =
        items_of_counts(&engine).await.iter().map(|item| item["sk"].as_s().unwrap().clone()).collect();
    assert_eq!(sorts.iter().filter(|sort| sort.starts_with("T#")).count(), 1, "{sorts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_of_counts_that_cannot_be_written_is_left_out_and_holds_up_no_other() {
    let (engine, stream) = Engine::with_stream(KeptBy::Stream).await;
    let store = open(&engine, 1).await;
    let mut relays = Relays::new(&engine, stream, 1, 0).await;
    create(&store, vec![spec("full", 1, "render"), spec("b", 2, "render")]).await;
    relays.drain().await;
    assert_eq!(relays.passed_over(), PassedOver::default());
    // All parts of one queue's counts are as large as items may be.
    let some = items_of_counts(&engine).await;
    let some = some.iter().find(|item| item["sk"].as_s().unwrap().starts_with("C#")).unwrap();
    let epoch = some["sk"].as_s().unwrap().rsplit_once('#').unwrap().0.to_owned();
    for part in 0..4 {
        let put = engine.client.put_item().table_name(&engine.table);
        let put = put.item("pk", AttributeValue::S("S#full".into()));
        let put = put.item("sk", AttributeValue::S(format!("{epoch}#{part}")));
        put.item("junk", AttributeValue::S("x".repeat(409_570))).send().await.unwrap();
    }
    let both = (10..40).map(|number| spec(["full", "b"][number as usize % 2], number, "encode"));
    create(&store, both.collect()).await;
    relays.drain().await;
    let stats = store.stats(now()).await.unwrap();
    assert_eq!(of_queue(&stats, "b"), BTreeMap::from([(State::Queued, (16, 2, 0))]), "its neighbours count");
    assert_eq!(of_queue(&stats, "full"), BTreeMap::new());
    assert!(relays.passed_over().uncounted >= 1);
    assert!(store.take_passed_over().damaged >= 1, "who reads it passes it over, too");

    // Processes go on, too.
    let (engine, _stream) = Engine::with_stream(KeptBy::Processes).await;
    let store = open(&engine, 1).await;
    let put = engine.client.put_item().table_name(&engine.table);
    let put = put.item("pk", AttributeValue::S("S#full".into())).item("sk", AttributeValue::S("C".into()));
    put.item("junk", AttributeValue::S("x".repeat(409_580))).send().await.unwrap();
    create(&store, vec![spec("full", 1, "render"), spec("b", 2, "render")]).await;
    let stats = store.stats(now()).await.unwrap();
    assert_eq!(of_queue(&stats, "b"), BTreeMap::from([(State::Queued, (1, 1, 0))]));
    assert_eq!(store.take_passed_over(), PassedOver { damaged: 1, uncounted: 1 });
}
