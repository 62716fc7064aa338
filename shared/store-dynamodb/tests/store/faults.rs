//! Random histories over a connection that fails: whatever is lost, throttled, repeated or old, no acknowledged task is
//! lost, none is completed twice, a generation exists if and only if its task is completed, and no limit is exceeded.
//!
//! A failure names its seed; `BATON_SEED=<number>` draws the same commands and faults again (how they overlap is the
//! machine's choice), and `BATON_SEEDS=<count>` runs more of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use baton_model::{
    BatchId, Bounds, EventKind, Expiry, Fence, GenerationId, Grant, LimitRules, NewBatch, Output, Scope,
    State, TaskId, TaskSpec, Then, ThenOn, Token, TokenId, TokenSecret,
};
use baton_store::conformance::history::{Load, run, seeds};
use baton_store::{
    AddToBatch, BatchStore, Cancel, Claim, ClaimAnswer, Complete, Create, ErrorKind, Expire, Expired,
    LimitStore, Mend, PageRequest, Purge, SealBatch, SetLimit, SetOwner, StoreError, StoredToken, TaskStore,
    TendBatches, TokenStore,
};
use baton_store_dynamodb::faults::{Fault, Faults};
use baton_store_dynamodb::table::KeptBy;
use baton_store_dynamodb::{DynamoStore, Options};
use futures::StreamExt;

use crate::engine::{Engine, Item, at, timed};

/// How many tokens there may be.
const ROOM: usize = 12;

/// A store over a connection that fails once its faults are switched on.
async fn failing(seed: u64) -> (Engine, Faults, Arc<DynamoStore>) {
    let engine = Engine::start().await;
    let options = Options { max_tokens: ROOM, ..Options::seeded(seed) };
    let (store, faults) = engine.failing(seed, 6, options).await;
    (engine, faults, Arc::new(store))
}

/// Sets limits of every kind that the tasks of a history run into, each of a number that the seed draws: few enough that claims meet
/// them all the time.
async fn limit(store: &DynamoStore, seed: u64) {
    let (now, by, reason) = (at(0), None, None);
    let (project, owner) = ("default".parse().unwrap(), Some("acme".parse().unwrap()));
    store.set_owner(SetOwner { now, project, owner, by, reason }).await.unwrap();
    for (n, on) in (0_u32..).zip([
        "queue/default",
        "queue/default/key/*",
        "queue/default/project/*",
        "project/default",
        "owner/acme",
    ]) {
        let is_of_keys = on.ends_with("/key/*");
        let most = if is_of_keys { 1 } else { 2 + (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (8 * n)) % 4 };
        let max_running = Some(u32::try_from(most).unwrap());
        let rules = LimitRules { max_running, holds_retries: is_of_keys, ..LimitRules::default() };
        let set = SetLimit { now, on: on.parse().unwrap(), rules: Some(rules), by: None, reason: None };
        store.set_limit(set).await.unwrap();
    }
}

async fn history(seed: u64) -> HashMap<Fault, u64> {
    let (_engine, faults, store) = failing(seed).await;
    // One in four, as it takes longer.
    if seed % 4 == 1 {
        limit(&store, seed).await;
    }
    faults.switch(true);
    run(store, seed, Load::default(), || faults.switch(false)).await;
    faults.injected()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_over_a_connection_that_fails() {
    let mut all: HashMap<Fault, u64> = HashMap::new();
    // Most of their time they wait to try again.
    let mut histories = futures::stream::iter(seeds(4).into_iter().map(history)).buffer_unordered(4);
    while let Some(injected) = histories.next().await {
        for (fault, count) in injected {
            *all.entry(fault).or_default() += count;
        }
    }
    println!("{all:?}");
    assert_eq!(all.len(), Fault::ALL.len(), "every fault was met");
}

/// Sends a command as a client does: again, while the store says that it may not have been carried out.
async fn sent<T, A: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> A) -> Result<T, StoreError> {
    loop {
        match ask().await {
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) => {}
            other => return other,
        }
    }
}

/// Makes more tokens than there is room for, at once. Their ids begin with `round`.
async fn fill(store: &Arc<DynamoStore>, round: u8) {
    let makings = (0..ROOM as u8 + 4).map(|n| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut id = [n; 16];
            id[0] = round;
            let id = TokenId::from_bytes(id);
            let token = Token {
                id,
                name: "farm".parse().unwrap(),
                grant: Grant { scopes: [Scope::Worker].into(), queues: [].into(), project: None },
                requests_per_second: None,
                created_at: at(0),
                created_by: None,
                expires_at: None,
                revoked_at: None,
                last_used_at: None,
            };
            let digest = TokenSecret::new(id, [1; TokenSecret::BYTES]).digest();
            let stored = StoredToken { token, digest };
            match sent(|| store.create_token(stored.clone())).await {
                Ok(()) | Err(StoreError::TooManyTokens { most: ROOM }) => {}
                Err(other) => panic!("{other:?}"),
            }
        })
    });
    for making in makings.collect::<Vec<_>>() {
        making.await.unwrap();
    }
}

/// Whatever is lost or repeated, the count of tokens stays right, and a revoked token is revoked at once.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_right_over_a_connection_that_fails() {
    for seed in seeds(5) {
        println!("BATON_SEED={seed}");
        let (_engine, faults, store) = failing(seed).await;
        for round in 0..2 {
            faults.switch(true);
            fill(&store, round).await;
            faults.switch(false);
            let listed = store.tokens(PageRequest::first(100)).await.unwrap().items;
            assert_eq!(listed.len(), ROOM, "all the room is used, and no more");
            faults.switch(true);
            for token in &listed[..5] {
                sent(|| store.revoke_token(token.id, at(1))).await.unwrap();
                let kept = sent(|| store.token(token.id)).await.unwrap().unwrap();
                assert_eq!(kept.token.revoked_at, Some(at(1)));
            }
            let mut left = ROOM;
            while left > ROOM - 5 {
                let purge = Purge { keep_tokens: Duration::from_secs(1), ..Purge::at(at(10)) };
                sent(|| store.purge(purge)).await.unwrap();
                left = sent(|| store.tokens(PageRequest::first(100))).await.unwrap().items.len();
            }
            assert_eq!(left, ROOM - 5, "those that were revoked are gone, and no others");
        }
    }
}

/// Whoever ends a task may not live to let go of what waits for it. The stream tells of the end again.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_lets_go_of_what_waits_for_a_task_that_a_dying_process_has_ended() {
    let (engine, mut stream) = Engine::with_stream(KeptBy::Processes).await;
    let (dying, faults) = engine.failing(1, 6, Options::seeded(1)).await;
    let [first, second, third] = [1, 2, 3].map(|number| TaskId::from_bytes(timed(number)));
    let spec = |id, depends_on| TaskSpec { depends_on, ..TaskSpec::new(id, "render".parse().unwrap()) };
    let tasks = vec![spec(first, vec![]), spec(second, vec![first]), spec(third, vec![second])];
    let create = Create { now: at(0), tasks, atomic: true, idempotency: None, by: None };
    dying.create(create).await.unwrap();
    for _ in 0..6 {
        faults.order("Query", Fault::LostRequest);
    }
    let (by, reason) = (None, None);
    let cancel = Cancel { now: at(1), task: first, by, reason, with_dependants: false };
    assert_eq!(dying.cancel(cancel).await.unwrap().head.state.state(), State::Cancelled);
    let states = async || {
        let mut states = Vec::new();
        for id in [first, second, third] {
            states.push(dying.task(id).await.unwrap().task.head.state.state());
        }
        states
    };
    assert_eq!(states().await, [State::Cancelled, State::Blocked, State::Blocked]);
    let records = stream.read();
    let relay = engine.store(Options::seeded(2)).await;
    for _ in 0..2 {
        for (_, record) in &records {
            relay.released_by(record, at(2)).await.unwrap();
        }
        assert_eq!(states().await, [State::Cancelled; 3]);
    }
    let told = dying.task(third).await.unwrap();
    assert_eq!(told.history.len(), 2, "each was ended once");
    assert!(told.task.error.unwrap().message.contains(&first.to_string()), "by the first failure");
}

/// A task that runs, by its completion, and the creation of another one that waits for it.
async fn about_to_wait(store: &DynamoStore) -> (Complete, Create) {
    let [first, second] = [1, 2].map(|number| TaskId::from_bytes(timed(number)));
    let spec = |id, depends_on| TaskSpec { depends_on, ..TaskSpec::new(id, "render".parse().unwrap()) };
    let create = |spec| Create { now: at(0), tasks: vec![spec], atomic: false, idempotency: None, by: None };
    store.create(create(spec(first, vec![]))).await.unwrap();
    let worker = || "w1".parse().unwrap();
    let ClaimAnswer::Leased(held) = store.claim(Claim::new(worker(), at(1))).await.unwrap() else {
        panic!("the task is ready")
    };
    assert_eq!(held[0].head.id, first);
    let complete = Complete {
        now: at(2),
        task: first,
        fence: Fence { worker: worker(), attempt: 1 },
        caller: Bounds::default(),
        generation: GenerationId::from_bytes(timed(3)),
        output: Output::default(),
        ran: None,
    };
    (complete, create(spec(second, vec![first])))
}

/// What has happened to the task that waits.
async fn told_of(store: &DynamoStore, create: &Create) -> Vec<EventKind> {
    let history = store.task(create.tasks[0].id).await.unwrap().history;
    history.iter().map(|event| event.kind).collect()
}

/// Has the reaper look at all blocked tasks; how many it lets go of.
async fn mended(store: &DynamoStore) -> u64 {
    let (mut unblocked, mut after) = (0, None);
    loop {
        let report = store.mend(Mend { now: at(10), limit: 100, after }).await.unwrap();
        unblocked += report.unblocked;
        after = report.next;
        if after.is_none() {
            return unblocked;
        }
    }
}

/// Whichever write of a dependant's creation its dependency completes behind: that it lies in the index of dependants, that the dependency is
/// listed as kept, that it is marked, and the task itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_completes_while_its_dependant_is_created_frees_it_once() {
    for write in ["BatchWriteItem", "PutItem", "UpdateItem", "TransactWriteItems"] {
        let engine = Engine::start().await;
        let (creator, faults) = engine.failing(1, 0, Options::seeded(1)).await;
        let completer = engine.store(Options::seeded(2)).await;
        let (complete, create) = about_to_wait(&completer).await;
        let held = faults.hold(write);
        let completed = async {
            let held = held.carried_out().await;
            let answer = completer.complete(complete.clone(), None).await;
            drop(held);
            answer
        };
        let (created, completed) = tokio::join!(creator.create(create.clone()), completed);
        assert!(created.unwrap().items[0].as_ref().unwrap().new, "{write}");
        assert!(!completed.unwrap().repeated, "{write}");
        assert_eq!(told_of(&creator, &create).await, [EventKind::Created, EventKind::Unblocked], "{write}");
        assert_eq!(mended(&completer).await, 0, "{write}: nothing is left over");
    }
}

/// Who ends the dependency has found the dependant blocked, and so has who creates it, once it stands: one of them frees it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dependant_that_both_sides_find_blocked_is_freed_once() {
    let engine = Engine::start().await;
    let (creator, of_creation) = engine.failing(1, 0, Options::seeded(1)).await;
    let (completer, of_completion) = engine.failing(2, 0, Options::seeded(2)).await;
    let (complete, create) = about_to_wait(&completer).await;
    let written = of_creation.hold("TransactWriteItems");
    // That of the dependants.
    let found = of_completion.hold("BatchGetItem");
    let creating = creator.create(create.clone());
    let completing = async {
        let written = written.carried_out().await;
        let complete = completer.complete(complete, None);
        let freed = async {
            let found = found.carried_out().await;
            drop(written);
            while told_of(&creator, &create).await.len() < 2 {
                tokio::task::yield_now().await;
            }
            drop(found);
        };
        tokio::join!(complete, freed).0
    };
    let (created, completed) = tokio::join!(creating, completing);
    created.unwrap();
    assert!(!completed.unwrap().repeated);
    assert_eq!(told_of(&creator, &create).await, [EventKind::Created, EventKind::Unblocked]);
    assert_eq!(mended(&creator).await, 0);
}

/// Neither who has created the dependant nor who has completed the dependency lives to free it, and the stream is not read: the reaper
/// alone does, once.
#[tokio::test(flavor = "multi_thread")]
async fn the_reaper_alone_frees_what_was_created_while_its_dependency_completed() {
    // The creator dies once the task stands; the dependency has completed before, when nobody waited for it yet.
    let engine = Engine::start().await;
    let (dying, faults) = engine.failing(1, 0, Options::seeded(1)).await;
    let completer = engine.store(Options::seeded(2)).await;
    let (complete, create) = about_to_wait(&completer).await;
    let marked = faults.hold("UpdateItem");
    let creating = tokio::spawn({
        let create = create.clone();
        async move { dying.create(create).await }
    });
    let marked = marked.carried_out().await;
    completer.complete(complete, None).await.unwrap();
    let written = faults.hold("TransactWriteItems");
    drop(marked);
    let written = written.carried_out().await;
    creating.abort();
    assert!(creating.await.unwrap_err().is_cancelled());
    drop(written);
    assert_eq!(told_of(&completer, &create).await, [EventKind::Created]);
    assert_eq!((mended(&completer).await, mended(&completer).await), (1, 0));
    assert_eq!(told_of(&completer, &create).await, [EventKind::Created, EventKind::Unblocked]);

    // Who completes the dependency cannot ask who waits for it.
    let engine = Engine::start().await;
    let creator = engine.store(Options::seeded(1)).await;
    let (dying, faults) = engine.failing(2, 0, Options::seeded(2)).await;
    let (complete, create) = about_to_wait(&dying).await;
    creator.create(create.clone()).await.unwrap();
    for _ in 0..6 {
        faults.order("Query", Fault::LostRequest);
    }
    dying.complete(complete, None).await.unwrap();
    assert_eq!(faults.injected().values().sum::<u64>(), 6, "the hint was lost");
    assert_eq!(told_of(&creator, &create).await, [EventKind::Created]);
    assert_eq!((mended(&creator).await, mended(&creator).await), (1, 0));
    assert_eq!(told_of(&creator, &create).await, [EventKind::Created, EventKind::Unblocked]);
}

/// Whoever writes a task is slow: the note of when it expires is there long before it, and the reaper meets the note first. The task
/// is failed for all that, and nothing of it stays in the lists.
#[tokio::test(flavor = "multi_thread")]
async fn the_reaper_fails_what_is_written_after_the_time_by_which_it_was_to_be_started() {
    let engine = Engine::start().await;
    let store = engine.store(Options::seeded(1)).await;
    let [late, never] = [1, 2].map(|number| TaskId::from_bytes(timed(number)));
    let spec =
        |id| TaskSpec { expiry: Some(Expiry::At(at(10))), ..TaskSpec::new(id, "render".parse().unwrap()) };
    let create = Create {
        now: at(0),
        tasks: vec![spec(late), spec(never)],
        atomic: true,
        idempotency: None,
        by: None,
    };
    store.create(create).await.unwrap();
    let items = engine.items().await;
    let task_of = |id: TaskId| {
        let is_its = |item: &&Item| {
            item["sk"].as_s().unwrap() == &id.to_string() && item["pk"].as_s().unwrap().starts_with("T#")
        };
        items.iter().find(is_its).unwrap()
    };
    for id in [late, never] {
        let item = task_of(id);
        let delete = engine.client.delete_item().table_name(&engine.table);
        let delete = delete.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
        delete.send().await.unwrap();
    }
    let notes = async || {
        let items = engine.items().await;
        items.iter().filter(|item| item["pk"].as_s().unwrap().starts_with("EX#")).count()
    };
    let expire = async |now| store.expire(Expire { now, limit: 10 }).await.unwrap();
    assert_eq!((expire(at(11)).await.tasks, notes().await), (0, 2), "both are looked at once more");
    engine.put_all(vec![task_of(late).clone()]).await;
    assert_eq!(expire(at(15 * 60)).await.tasks, 0, "whoever was to write them may be at it");
    assert_eq!(expire(at(11 + 16 * 60)).await.tasks, 1);
    assert_eq!(store.task(late).await.unwrap().task.head.state.state(), State::Failed);
    assert_eq!((expire(at(20 * 60)).await, notes().await), (Expired::default(), 0));
}

/// Whoever ends the last task of a batch may not live to count it. The reaper does, and creates what follows.
#[tokio::test(flavor = "multi_thread")]
async fn the_reaper_counts_what_a_dying_process_has_not_and_creates_what_follows() {
    let engine = Engine::start().await;
    let (dying, faults) = engine.failing(1, 6, Options::seeded(1)).await;
    let [first, second, gone] = [1, 2, 3].map(|number| TaskId::from_bytes(timed(number)));
    let batch = BatchId::from_bytes(timed(9));
    let spec = |id| TaskSpec { batch: Some(batch), ..TaskSpec::new(id, "render".parse().unwrap()) };
    let create = |ids: &[TaskId]| Create {
        now: at(0),
        tasks: ids.iter().map(|id| spec(*id)).collect(),
        atomic: false,
        idempotency: None,
        by: None,
    };
    let then = Then { on: ThenOn::Ended, task: TaskSpec::new(TaskId::unset(), "report".parse().unwrap()) };
    let asked = NewBatch { id: batch, project: "default".parse().unwrap(), name: None, then: Some(then) };
    let add = |seal, ids: &[TaskId]| AddToBatch { batch: asked.clone(), seal, create: create(ids) };
    dying.add_to_batch(add(false, &[first, second, gone])).await.unwrap();
    // As if the process had died between writing its member and the task.
    let items = engine.items().await;
    let is_its = |item: &&Item| {
        item["sk"].as_s().unwrap() == &gone.to_string() && item["pk"].as_s().unwrap().starts_with("T#")
    };
    let item = items.iter().find(is_its).unwrap();
    let delete = engine.client.delete_item().table_name(&engine.table);
    delete.key("pk", item["pk"].clone()).key("sk", item["sk"].clone()).send().await.unwrap();
    dying.seal_batch(SealBatch { now: at(0), batch }).await.unwrap();
    let cancel = |task| Cancel { now: at(1), task, by: None, reason: None, with_dependants: false };
    dying.cancel(cancel(first)).await.unwrap();
    for _ in 0..6 {
        faults.order("TransactWriteItems", Fault::LostRequest);
    }
    assert_eq!(dying.cancel(cancel(second)).await.unwrap().head.state.state(), State::Cancelled);
    let store = engine.store(Options::seeded(2)).await;
    let ended = async || {
        let told = store.batch(batch).await.unwrap().batch;
        (told.counts.tasks, told.counts.cancelled, told.made.is_some())
    };
    let before = ended().await;
    assert!(before.1 == 1 && !before.2, "{before:?}");
    for now in [at(10), at(2 * 3_600), at(2 * 3_600 + 60)] {
        let mut after = None;
        loop {
            let tended = store.tend_batches(TendBatches { now, limit: 10, after }).await.unwrap();
            after = tended.next;
            if after.is_none() {
                break;
            }
        }
    }
    assert_eq!(ended().await, (2, 2, true), "what never came to be does not count");
    let made = store.batch(batch).await.unwrap().batch.made.unwrap().task;
    assert_eq!(store.task(made).await.unwrap().task.params.to_value()["batch"]["cancelled"], 2);
}
