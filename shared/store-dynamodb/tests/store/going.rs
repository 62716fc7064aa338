//! Tasks that go to another queue: by the stream, under faults, and cut off in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_model::{
    Bounds, EventKind, Failure, Fence, GenerationId, Grant, LimitRules, Output, Scope, State, TaskChange,
    TaskId, TaskSpec, Timestamp, Unique, UniqueWhile,
};
use baton_store::{
    ChangeTask, Claim, ClaimAnswer, Complete, Create, Fail, LimitStore, Nothing, Release, SetLimit,
    StoreError, TaskStore,
};
use baton_store_dynamodb::faults::Fault;
use baton_store_dynamodb::table::KeptBy;
use baton_store_dynamodb::{DynamoStore, Options};

use crate::engine::{Engine, at, timed};
use crate::relays::{Relays, exact};

fn spec(number: u64, queue: &str) -> TaskSpec {
    let id = TaskId::from_bytes(timed(number));
    TaskSpec { queue: queue.parse().unwrap(), ..TaskSpec::new(id, "render".parse().unwrap()) }
}

fn keyed(spec: TaskSpec) -> TaskSpec {
    TaskSpec { concurrency_key: Some("x".parse().unwrap()), ..spec }
}

fn unique(spec: TaskSpec) -> TaskSpec {
    let unique = Unique { key: "k".parse().unwrap(), held: UniqueWhile::Unfinished };
    TaskSpec { unique: Some(unique), ..spec }
}

async fn create(store: &DynamoStore, now: Timestamp, spec: TaskSpec) -> (TaskId, bool) {
    let create = Create { now, tasks: vec![spec], atomic: false, idempotency: None, by: None };
    let accepted = store.create(create).await.unwrap().items.remove(0).unwrap();
    (accepted.id, accepted.new)
}

fn to(queue: &str, task: TaskId, now: Timestamp) -> ChangeTask {
    let to = TaskChange { queue: Some(queue.parse().unwrap()), ..TaskChange::default() };
    ChangeTask { now, task, by: None, reason: None, to, within: BTreeSet::new() }
}

async fn claim(store: &DynamoStore, queue: &str, now: Timestamp) -> Result<TaskId, Nothing> {
    let worker = format!("w-{queue}").parse().unwrap();
    let claim = Claim { queues: vec![queue.parse().unwrap()], ..Claim::new(worker, now) };
    match store.claim(claim).await.unwrap() {
        ClaimAnswer::Leased(tasks) => Ok(tasks[0].head.id),
        ClaimAnswer::Nothing(why) => Err(why),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_counts_a_task_where_it_is_and_tells_where_it_was() {
    let (engine, stream) = Engine::with_stream(KeptBy::Stream).await;
    let mut relays = Relays::new(&engine, stream, 1, 0).await;
    let store = engine.store(Options::seeded(1)).await;
    let (id, _) = create(&store, at(0), spec(1, "a")).await;
    create(&store, at(0), spec(2, "a")).await;
    relays.drain().await;
    store.change(to("b", id, at(1))).await.unwrap();
    store.change(to("c", id, at(2))).await.unwrap();
    relays.drain().await;
    exact(&store, at(3)).await;
    let mut told = Vec::new();
    for record in relays.records() {
        told.extend(store.events_of(record).await.unwrap().into_iter().filter(|one| one.task == id));
    }
    assert_eq!(store.history_of(id).await.unwrap(), told, "told again, it is the same");
    let told: Vec<_> = told.iter().map(|one| (one.queue.as_str(), one.event.kind)).collect();
    let changed = EventKind::Changed;
    assert_eq!(told, [("a", EventKind::Created), ("b", changed), ("c", changed)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_made_once_whatever_becomes_of_its_requests() {
    let engine = Engine::start().await;
    let (store, faults) = engine.failing(1, 0, Options::seeded(1)).await;
    let mut number = 0;
    for fault in [
        Fault::Throttled,
        Fault::Conflict,
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::ServerError,
        Fault::Twice,
    ] {
        for (operation, is_unique) in [("UpdateItem", false), ("TransactWriteItems", true)] {
            number += 1;
            let (from, there) = (format!("from-{number}"), format!("to-{number}"));
            let spec = spec(number, &from);
            let (id, _) = create(&store, at(0), if is_unique { unique(spec) } else { spec }).await;
            // The first update notes where the task is to lie.
            faults.order("UpdateItem", fault);
            faults.order(operation, fault);
            let task = store.change(to(&there, id, at(1))).await.unwrap();
            assert_eq!(task.queue.as_str(), there, "{fault:?}");
            let detail = store.task(id).await.unwrap();
            assert_eq!((detail.task, detail.history.len()), (task, 2), "{fault:?} at {operation}");
            let queued = |queue: &str| {
                let (store, queue) = (&store, queue.parse().unwrap());
                async move { store.queue(&queue, at(2)).await.unwrap().queued }
            };
            assert_eq!((queued(&from).await, queued(&there).await), (0, 1), "{fault:?} at {operation}");
            assert_eq!(claim(&store, &there, at(2)).await, Ok(id));
        }
    }
    assert!(faults.injected().values().sum::<u64>() >= 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_cut_off_leaves_nothing_held_where_the_task_was() {
    let engine = Engine::start().await;
    let (store, faults) = engine.failing(1, 0, Options::seeded(1)).await;
    let store = Arc::new(store);
    for queue in ["a", "b"] {
        let rules = LimitRules { max_running: Some(1), holds_retries: true, ..LimitRules::default() };
        let on = format!("queue/{queue}/key/*").parse().unwrap();
        let set = SetLimit { now: at(0), on, rules: Some(rules), by: None, reason: None };
        store.set_limit(set).await.unwrap();
    }
    let (id, _) = create(&store, at(0), unique(keyed(spec(1, "a")))).await;
    assert_eq!(claim(&store, "a", at(0)).await, Ok(id));
    let (behind, _) = create(&store, at(1), keyed(spec(2, "a"))).await;
    let (there, _) = create(&store, at(1), keyed(spec(3, "b"))).await;
    let failure = Failure { message: "out of memory".to_owned(), code: None, details: None };
    let fence = Fence { attempt: 1, worker: "w-a".parse().unwrap() };
    let retry_after = Some(Duration::from_secs(1_000));
    let fail = Fail {
        now: at(2),
        task: id,
        fence,
        caller: Bounds::default(),
        failure,
        retryable: true,
        retry_after,
    };
    store.fail(fail).await.unwrap();
    assert!(matches!(claim(&store, "a", at(3)).await, Err(Nothing::AtLimit { .. })), "it holds its place");

    // Its write is done, and nothing of what follows it is.
    let held = faults.hold("TransactWriteItems");
    let process = Arc::clone(&store);
    let moving = tokio::spawn(async move { process.change(to("b", id, at(4))).await });
    let held = held.carried_out().await;
    moving.abort();
    assert!(moving.await.unwrap_err().is_cancelled());
    drop(held);

    let other = engine.store(Options::seeded(2)).await;
    assert_eq!(other.task(id).await.unwrap().task.queue.as_str(), "b");
    assert_eq!(claim(&other, "a", at(100)).await, Ok(behind), "its place is free");
    assert!(create(&other, at(101), unique(spec(4, "a"))).await.1, "its key is free");
    assert_eq!(create(&other, at(101), unique(spec(5, "b"))).await, (id, false), "and is held there");
    assert!(matches!(claim(&other, "b", at(101)).await, Err(Nothing::AtLimit { .. })), "as is its place");
    assert_eq!(claim(&other, "b", at(1_003)).await, Ok(id));
    assert!(matches!(claim(&other, "b", at(1_003)).await, Err(Nothing::AtLimit { .. })));
    assert_ne!(there, id);
}

/// A claim that goes by what the index told a moment ago is refused by the task's own item.
#[tokio::test(flavor = "multi_thread")]
async fn a_trailing_index_gives_a_moved_task_to_nobody() {
    let engine = Engine::start().await;
    let (store, faults) = engine.failing(1, 0, Options::seeded(1)).await;
    let (id, _) = create(&store, at(0), spec(1, "a")).await;
    // What the index shows now is what it is to show again.
    let filter = baton_store::TaskFilter { queue: Some("a".parse().unwrap()), ..Default::default() };
    store.tasks(filter, baton_store::PageRequest::first(10)).await.unwrap();
    store.change(to("b", id, at(1))).await.unwrap();
    for _ in 0..4 {
        faults.order("Query", Fault::OldIndex);
    }
    assert!(claim(&store, "a", at(2)).await.is_err());
    assert_eq!(claim(&store, "b", at(3)).await, Ok(id));
    let gone = store.change(ChangeTask { within: ["a".parse().unwrap()].into(), ..to("a", id, at(4)) }).await;
    assert!(matches!(gone, Err(StoreError::TaskNotFound(_))));
}

/// What a process remembers of a task that it gave out is good for a write, and for no word on who may end its attempt: when that write is
/// refused, the task may be in a queue that its caller does not reach.
#[tokio::test(flavor = "multi_thread")]
async fn who_ends_an_attempt_is_judged_by_the_queue_that_the_task_has_gone_to() {
    let engine = Engine::start().await;
    let (here, there) = (engine.store(Options::seeded(1)).await, engine.store(Options::seeded(2)).await);
    let caller = Bounds::of(&Grant {
        scopes: [Scope::Worker].into(),
        queues: ["a".parse().unwrap()].into(),
        project: None,
    });
    for way in ["complete", "fail", "release"] {
        let number = way.len() as u64;
        let (task, _) = create(&here, at(0), spec(number, "a")).await;
        let claim = Claim {
            queues: vec!["a".parse().unwrap()],
            caller: caller.owner().clone(),
            ..Claim::new("w".parse().unwrap(), at(1))
        };
        let ClaimAnswer::Leased(held) = here.claim(claim).await.unwrap() else { panic!("expected a lease") };
        assert_eq!(held[0].head.id, task);
        let fence = Fence { attempt: 1, worker: "w".parse().unwrap() };
        let release = |caller: &Bounds| Release {
            now: at(2),
            task,
            fence: fence.clone(),
            caller: caller.clone(),
            delay: Duration::ZERO,
            reason: None,
        };
        there.release(release(&Bounds::default())).await.unwrap();
        there.change(to("b", task, at(3))).await.unwrap();
        let ended = match way {
            "complete" => {
                let generation = GenerationId::from_bytes(timed(100 + number));
                let (fence, caller, output) = (fence.clone(), caller.clone(), Output::default());
                let complete = Complete { now: at(4), task, fence, caller, generation, output, ran: None };
                here.complete(complete, None).await.map(drop)
            }
            "fail" => {
                let failure = Failure { message: "out of memory".to_owned(), code: None, details: None };
                let (fence, caller) = (fence.clone(), caller.clone());
                let fail =
                    Fail { now: at(4), task, fence, caller, failure, retryable: true, retry_after: None };
                here.fail(fail).await.map(drop)
            }
            _ => here.release(Release { now: at(4), ..release(&caller) }).await.map(drop),
        };
        assert!(matches!(ended, Err(StoreError::TaskNotFound(id)) if id == task), "{way}: {ended:?}");
        assert_eq!(there.task(task).await.unwrap().task.head.state.state(), State::Queued);
    }
}
