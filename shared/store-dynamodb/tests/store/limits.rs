//! What is large, what goes wrong once, and what the table must be like.

use std::sync::Arc;
use std::time::Duration;

use baton_model::{
    Bounds, Digest, Failure, Fence, GenerationId, LeaseTerms, LimitRules, Output, Payload, Priority, State,
    Task, TaskId, TaskSpec, Watch,
};
use baton_store::{
    Cancel, Claim, ClaimAnswer, Complete, Create, ErrorKind, Fail, Idempotency, LimitStore, NoDoorbell,
    Nothing, PageRequest, Purge, Reap, SetLimit, StoreError, TaskFilter, TaskStore,
};
use baton_store_dynamodb::faults::{Fault, Faults};
use baton_store_dynamodb::{DynamoStore, Options, table};

use crate::engine::{Engine, at, timed};

struct Bench {
    engine: Engine,
    store: DynamoStore,
    faults: Faults,
}

fn text(count: usize) -> Payload {
    Payload::parse(&format!("\"{}\"", "☂".repeat(count / 3))).unwrap()
}

fn spec(number: u64, params: Payload) -> TaskSpec {
    TaskSpec {
        params,
        max_attempts: 1_000,
        ..TaskSpec::new(TaskId::from_bytes(timed(number)), "render".parse().unwrap())
    }
}

fn creation(tasks: Vec<TaskSpec>) -> Create {
    Create { now: at(0), tasks, atomic: false, idempotency: None, by: None }
}

fn claim(seconds: u64) -> Claim {
    Claim::new("w1".parse().unwrap(), at(seconds))
}

fn fence(task: &Task) -> Fence {
    Fence { attempt: task.head.attempt, worker: "w1".parse().unwrap() }
}

impl Bench {
    async fn open() -> Self {
        let engine = Engine::start().await;
        let (store, faults) = engine.failing(1, 0, Options::seeded(1)).await;
        Self { engine, store, faults }
    }

    async fn claimed(&self, seconds: u64) -> Task {
        match self.store.claim(claim(seconds)).await.unwrap() {
            ClaimAnswer::Leased(mut tasks) => tasks.remove(0),
            ClaimAnswer::Nothing(why) => panic!("expected a task, got {why:?}"),
        }
    }

    /// Lets one task run at once.
    async fn one_at_once(&self, on: &str) {
        let rules = Some(LimitRules { max_running: Some(1), ..LimitRules::default() });
        let set = SetLimit { now: at(0), on: on.parse().unwrap(), rules, by: None, reason: None };
        self.store.set_limit(set).await.unwrap();
    }

    /// How many items the table has.
    async fn items(&self) -> usize {
        self.engine.items().await.len()
    }
}

fn completion(task: &Task, seconds: u64, number: u64, output: Output) -> Complete {
    let generation = GenerationId::from_bytes(timed(number));
    Complete {
        now: at(seconds),
        task: task.head.id,
        fence: fence(task),
        caller: Bounds::default(),
        generation,
        output,
        ran: None,
    }
}

/// The counts tell of every change, also of a claim under a limit whose task is cancelled before the claim hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_cancelled_while_its_claim_is_under_way_is_counted_right() {
    let b = Bench::open().await;
    b.one_at_once("project/*").await;
    let task = spec(1, Payload::default());
    let id = task.id;
    b.store.create(creation(vec![task])).await.unwrap();

    let held = b.faults.hold("TransactWriteItems");
    let cancelled = async {
        let held = held.carried_out().await;
        let cancel = Cancel { now: at(2), task: id, by: None, reason: None, with_dependants: false };
        b.store.cancel(cancel).await.unwrap();
        drop(held);
    };
    let (answer, ()) = tokio::join!(b.store.claim(claim(1)), cancelled);
    assert!(matches!(answer.unwrap(), ClaimAnswer::Nothing(_)), "it is given to nobody");

    let stats = b.store.stats(at(3)).await.unwrap();
    let counts: Vec<_> = stats.counts.iter().map(|row| (row.state, row.tasks)).collect();
    assert_eq!(counts, [(State::Cancelled, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_larger_than_an_item_come_back_whole_and_go_with_their_task() {
    let b = Bench::open().await;
    let params = text(900_000);
    b.store.create(creation(vec![spec(1, params.clone())])).await.unwrap();
    let task = b.claimed(1).await;
    assert_eq!(task.params, params);
    let output = Output { result: Some(text(1_000_000)), metadata: Some(text(5_000)), ..Output::default() };
    b.store.complete(completion(&task, 2, 2, output.clone()), None).await.unwrap();
    let detail = b.store.task(task.head.id).await.unwrap();
    assert_eq!(detail.task.params, params);
    assert_eq!(detail.generation.unwrap().output, output);

    let before = b.items().await;
    b.engine.pass(at(31 * 86_400)).await;
    // The task and its generation, three or four parts of each payload, and one of metadata.
    assert!(before - b.items().await >= 9);
    assert!(matches!(b.store.task(task.head.id).await, Err(StoreError::TaskNotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_with_large_failures_reads_back_whole() {
    let b = Bench::open().await;
    b.store.create(creation(vec![spec(1, Payload::default())])).await.unwrap();
    let mut messages = Vec::new();
    for n in 0..60_u64 {
        let task = b.claimed(n * 10).await;
        let size = [20, 900, 16_000][n as usize % 3];
        let message = format!("{n} {}", "x".repeat(size));
        messages.push(message.clone());
        let details = (n == 30).then(|| text(500_000));
        let failure = Failure { message, code: None, details };
        let retry_after = Some(Duration::ZERO);
        let fail = Fail {
            now: at(n * 10),
            task: task.head.id,
            fence: fence(&task),
            caller: Bounds::default(),
            failure,
            retryable: true,
            retry_after,
        };
        let answer = b.store.fail(fail).await.unwrap();
        assert_eq!(answer.task.error.unwrap().message, messages[n as usize]);
    }
    let task = TaskId::from_bytes(timed(1));
    let detail = b.store.task(task).await.unwrap();
    let (mut history, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { after, limit: 50, in_parts: false };
        let page = b.store.history(task, page).await.unwrap();
        history.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(history.len(), 121);
    assert_eq!(detail.history, history[21..], "the latest are shown with it");
    assert!(history.iter().enumerate().all(|(place, event)| event.seq as usize == place + 1));
    let told: Vec<_> = history.iter().filter_map(|event| event.detail.error.clone()).collect();
    assert_eq!(told.iter().map(|failure| failure.message.clone()).collect::<Vec<_>>(), messages);
    assert_eq!(told[30].details, Some(text(500_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_must_stand_as_one_has_a_limit_and_is_told_it() {
    let b = Bench::open().await;
    let tasks: Vec<_> = (0..101).map(|n| spec(n, Payload::default())).collect();
    let refused = b.store.create(Create { atomic: true, ..creation(tasks.clone()) }).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Request);
    assert!(matches!(refused, StoreError::TooLarge { got: 101, most: 100, .. }), "{refused}");
    b.store.create(Create { atomic: true, ..creation(tasks[..100].to_vec()) }).await.unwrap();
    assert!(b.store.task(tasks[99].id).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_with_a_key_is_created_once_however_often_it_is_cut_off() {
    let b = Bench::open().await;
    let create = |first: u64| {
        let tasks: Vec<_> = (first..first + 300).map(|n| spec(n, Payload::default())).collect();
        let fingerprint = Digest::of_bytes(b"request").into();
        Create { idempotency: Some(Idempotency { key: "k".to_owned(), fingerprint }), ..creation(tasks) }
    };
    let mut first = 1_000;
    for _ in 0..3 {
        // The key is written; of the 32 tasks that are written at once, some are throttled six times.
        b.faults.order("PutItem", Fault::Twice);
        (0..170).for_each(|_| b.faults.order("PutItem", Fault::Throttled));
        let error = b.store.create(create(first)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
        // The repetition comes with ids of its own.
        first += 1_000;
    }
    let answer = b.store.create(create(first)).await.unwrap();
    assert!(answer.items.iter().all(|item| item.as_ref().unwrap().new));
    let ids: std::collections::BTreeSet<_> =
        answer.items.iter().map(|item| item.as_ref().unwrap().id).collect();
    assert_eq!(ids.len(), 300);
    let again = b.store.create(create(first + 1_000)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.items, answer.items);
    let filter = baton_store::TaskFilter { now: at(1), ..Default::default() };
    let page = b.store.tasks(filter, baton_store::PageRequest::first(1_000)).await.unwrap();
    let listed: std::collections::BTreeSet<_> = page.items.iter().map(|task| task.head.id).collect();
    assert_eq!(listed, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_known_again() {
    let b = Bench::open().await;
    for (number, fault) in [Fault::LostAnswer, Fault::ServerError, Fault::Twice].into_iter().enumerate() {
        let number = number as u64 * 10;
        b.faults.order("PutItem", fault);
        let answer = b.store.create(creation(vec![spec(number, Payload::default())])).await.unwrap();
        assert!(answer.items[0].as_ref().unwrap().new, "{fault:?}");

        b.faults.order("UpdateItem", fault);
        let task = b.claimed(1).await;
        assert_eq!((task.head.id, task.head.attempt), (TaskId::from_bytes(timed(number)), 1));

        b.faults.order("TransactWriteItems", fault);
        let completion = completion(&task, 2, number + 1, Output::default());
        assert!(!b.store.complete(completion, None).await.unwrap().repeated, "{fault:?}");
        assert_eq!(b.store.task(task.head.id).await.unwrap().history.len(), 3);
    }
    assert_eq!(b.faults.injected().values().sum::<u64>(), 9, "each fault was met where it was ordered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_cut_off_strands_no_task() {
    let b = Bench::open().await;
    b.store.create(creation((0..20).map(|n| spec(n, Payload::default())).collect())).await.unwrap();
    let fixed =
        |seconds| Claim { terms: LeaseTerms::Fixed(Duration::from_secs(1)), max_tasks: 5, ..claim(seconds) };
    for step in 0..40 {
        let cut = tokio::time::timeout(Duration::from_micros(250 * step), b.store.claim(fixed(1))).await;
        drop(cut);
    }
    let reap = Reap { watch: Watch::at(at(100)), limit: 1_000, worker: None, queue: None };
    b.store.reap(reap).await.unwrap();
    let mut left = 20;
    while left > 0 {
        match b.store.claim(fixed(100)).await.unwrap() {
            ClaimAnswer::Leased(tasks) => left -= tasks.len(),
            ClaimAnswer::Nothing(why) => panic!("{left} tasks are stranded: {why:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_told_as_what_it_is() {
    let b = Bench::open().await;
    b.store.create(creation(vec![spec(1, Payload::default())])).await.unwrap();
    for _ in 0..6 {
        b.faults.order("PutItem", Fault::Throttled);
    }
    let error = b.store.create(creation(vec![spec(2, Payload::default())])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(matches!(b.store.task(TaskId::from_bytes(timed(2))).await, Err(StoreError::TaskNotFound(_))));
    for _ in 0..6 {
        b.faults.order("PutItem", Fault::LostRequest);
    }
    let error = b.store.create(creation(vec![spec(3, Payload::default())])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
    b.faults.order("TransactWriteItems", Fault::Conflict);
    let task = b.claimed(1).await;
    assert!(!b.store.complete(completion(&task, 2, 4, Output::default()), None).await.unwrap().repeated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_checked_against_what_the_store_needs() {
    let engine = Engine::with_stream(table::KeptBy::Processes).await.0;
    // An engine need not have backups; nothing else may be missing.
    let findings = table::check(&engine.client, &engine.table).await.unwrap().unwrap();
    assert!(findings.iter().all(|one| !one.fatal && one.what.contains("point-in-time")), "{findings:?}");
    table::create(&engine.client, &engine.table, table::TableOptions::default()).await.unwrap();

    assert_eq!(table::check(&engine.client, "no-such-table").await.unwrap(), None);
    let missing =
        DynamoStore::open(engine.client.clone(), "no-such-table", Options::seeded(1), Arc::new(NoDoorbell))
            .await;
    let error = missing.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("baton table create"), "{error}");
}

impl Bench {
    /// The days that lists of tasks go down.
    async fn days(&self) -> Vec<String> {
        use baton_store_dynamodb::aws_sdk_dynamodb::types::AttributeValue;
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let get = self.engine.client.get_item().table_name(&self.engine.table);
        let item = get.key("pk", text("D")).key("sk", text("T")).send().await.unwrap().item.unwrap();
        item.get("d").map_or(Vec::new(), |days| days.as_ns().unwrap().clone())
    }

    /// Creates a task with a chosen id of the first day, and has it cancelled.
    async fn cancelled(&self, number: u64, seconds: u64) {
        let spec = TaskSpec { id_chosen: true, ..spec(number, text(30)) };
        self.store.create(Create { now: at(seconds), ..creation(vec![spec]) }).await.unwrap();
        let task = TaskId::from_bytes(timed(number));
        self.store
            .cancel(Cancel { now: at(seconds), task, by: None, reason: None, with_dependants: false })
            .await
            .unwrap();
    }

    async fn listed(&self, seconds: u64) -> usize {
        let filter = TaskFilter { now: at(seconds), ..TaskFilter::default() };
        self.store.tasks(filter, PageRequest::first(10)).await.unwrap().items.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_day_is_struck_off_and_comes_back_with_a_late_id() {
    const MONTH: u64 = 40 * 86_400;
    let b = Bench::open().await;
    b.cancelled(1, 0).await;
    let purge = |seconds| b.store.purge(Purge::at(at(seconds)));
    b.engine.pass(at(MONTH)).await;
    purge(MONTH).await.unwrap();
    assert_eq!(b.days().await.len(), 1, "seen empty for the first time");
    purge(MONTH + 60).await.unwrap();
    assert_eq!(b.days().await.len(), 1, "somebody may be about to add to it");
    purge(MONTH + 3_600).await.unwrap();
    assert_eq!(b.days().await, [""; 0]);

    b.cancelled(2, MONTH + 4_000).await;
    assert_eq!(b.listed(MONTH + 4_000).await, 1, "the day is known again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_somebody_adds_to_is_not_struck_off() {
    const MONTH: u64 = 40 * 86_400;
    let b = Bench::open().await;
    b.cancelled(1, 0).await;
    b.engine.pass(at(MONTH)).await;
    b.store.purge(Purge::at(at(MONTH))).await.unwrap();
    b.cancelled(2, MONTH + 60).await;
    b.store.purge(Purge::at(at(MONTH + 3_600))).await.unwrap();
    assert_eq!(b.listed(MONTH + 3_600).await, 1, "the day has a task");

    // Empty again, it is not struck off by what was seen before the task came.
    b.engine.pass(at(2 * MONTH)).await;
    b.store.purge(Purge::at(at(2 * MONTH))).await.unwrap();
    assert_eq!(b.days().await.len(), 1);
    b.store.purge(Purge::at(at(2 * MONTH + 3_600))).await.unwrap();
    assert_eq!(b.days().await, [""; 0]);
}

/// A task that was forgotten at one limit, as the process died that had made room for it, is found by a claim although it meets
/// tasks first that stand at another limit, which is full.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_forgotten_at_a_limit_is_found_past_what_stands_at_another() {
    let b = Bench::open().await;
    let task = |number: u64, project: &str, task_type: &str, priority| TaskSpec {
        project: project.parse().unwrap(),
        task_type: task_type.parse().unwrap(),
        priority,
        ..spec(number, Payload::default())
    };
    let tasks = vec![
        task(1, "game", "render", Priority::Critical),
        task(2, "game", "render", Priority::Critical),
        task(3, "film", "render", Priority::Normal),
        task(4, "film", "render", Priority::Normal),
        task(5, "film", "bake", Priority::Normal),
    ];
    let id = |number| TaskId::from_bytes(timed(number));
    b.store.create(creation(tasks)).await.unwrap();
    b.one_at_once("project/game").await;
    b.one_at_once("project/film").await;
    let game = b.claimed(1).await;
    let film = b.claimed(1).await;
    assert_eq!((game.head.id, film.head.id), (id(1), id(3)));
    let full = async |seconds| {
        let answer = b.store.claim(claim(seconds)).await.unwrap();
        assert!(matches!(answer, ClaimAnswer::Nothing(Nothing::AtLimit { .. })), "{answer:?}");
    };
    full(1).await;
    // Both kinds are let go, and one of them takes the place.
    b.store.complete(completion(&film, 2, 11, Output::default()), None).await.unwrap();
    let held = b.claimed(2).await;
    full(2).await;
    for _ in 0..6 {
        b.faults.order("UpdateItem", Fault::Throttled);
    }
    b.store.complete(completion(&game, 3, 12, Output::default()), None).await.unwrap();
    assert_eq!(b.faults.injected().values().sum::<u64>(), 6, "the place was not given back");
    assert_eq!(b.claimed(10).await.head.id, id(2));
    full(10).await;
    b.store.complete(completion(&held, 11, 13, Output::default()), None).await.unwrap();
    assert_ne!(b.claimed(11).await.head.id, held.head.id);
}

/// A task that is cancelled before the claim has heard that it was taken is not in its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_gives_out_no_task_that_was_cancelled_meanwhile() {
    let b = Bench::open().await;
    let id = TaskId::from_bytes(timed(1));
    b.store.create(creation(vec![spec(1, Payload::default())])).await.unwrap();
    b.one_at_once("project/default").await;
    let other = b.engine.store(Options::seeded(2)).await;
    let cancelled = async {
        while other.task(id).await.unwrap().task.head.attempt == 0 {
            tokio::task::yield_now().await;
        }
        let cancel = Cancel { now: at(1), task: id, by: None, reason: None, with_dependants: false };
        other.cancel(cancel).await.unwrap();
    };
    // Three answers that are lost: long enough to be cancelled in.
    for _ in 0..3 {
        b.faults.order("TransactWriteItems", Fault::LostAnswer);
    }
    let (answer, ()) = tokio::join!(b.store.claim(claim(1)), cancelled);
    assert!(matches!(answer.unwrap(), ClaimAnswer::Nothing(_)));
    let task = other.task(id).await.unwrap().task;
    assert_eq!((task.head.attempt, task.head.state.state()), (1, State::Cancelled));
}

/// A task of a key.
fn keyed(number: u64) -> TaskSpec {
    TaskSpec { concurrency_key: Some("x".parse().unwrap()), ..spec(number, Payload::default()) }
}

/// That a claim is given nothing, as a limit is full or about to be.
fn is_stopped(answer: &ClaimAnswer) -> bool {
    matches!(answer, ClaimAnswer::Nothing(Nothing::AtLimit { .. }))
}

/// While a claim has the first task of a key in hand and has not written yet, the place of the key is free: the next one does not pass
/// for all that.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_a_task_in_another_claims_hands_does_not_pass_it() {
    let b = Bench::open().await;
    b.store.create(creation((1..=3).map(keyed).collect())).await.unwrap();
    b.one_at_once("queue/default/key/*").await;
    let records = b.faults.hold("BatchGetItem");
    let second = async {
        let records = records.carried_out().await;
        // The next one is that of the tasks that the claim has found.
        let found = b.faults.hold("BatchGetItem");
        drop(records);
        let found = found.carried_out().await;
        let other = Claim { worker: "w2".parse().unwrap(), ..claim(1) };
        let answer = b.store.claim(other).await.unwrap();
        drop(found);
        answer
    };
    let (first, second) = tokio::join!(b.claimed(1), second);
    assert!(is_stopped(&second), "{second:?}");
    assert_eq!(first.head.id, TaskId::from_bytes(timed(1)));
    b.store.complete(completion(&first, 2, 11, Output::default()), None).await.unwrap();
    let next = b.claimed(2).await;
    assert_eq!(next.head.id, TaskId::from_bytes(timed(2)));
    b.store.complete(completion(&next, 3, 12, Output::default()), None).await.unwrap();
    assert_eq!(b.claimed(3).await.head.id, TaskId::from_bytes(timed(3)));
}

/// Between the end of a task and the letting go of the next one of its key, one that has come later finds the place free: the claim is
/// given the one that was put aside before.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_later_does_not_pass_what_is_put_aside() {
    let b = Bench::open().await;
    // What a process writes with the first completion of a day is written by then.
    b.store.create(creation(vec![spec(9, Payload::default())])).await.unwrap();
    let held = b.claimed(1).await;
    b.store.complete(completion(&held, 1, 10, Output::default()), None).await.unwrap();
    b.store.create(creation((1..=2).map(keyed).collect())).await.unwrap();
    b.one_at_once("queue/default/key/*").await;
    let held = b.claimed(1).await;
    assert!(is_stopped(&b.store.claim(claim(1)).await.unwrap()), "the second is put aside");
    b.store.create(creation(vec![keyed(3)])).await.unwrap();
    // That of the place that becomes free.
    let freed = b.faults.hold("UpdateItem");
    let claimed = async {
        let freed = freed.carried_out().await;
        let claimed = b.claimed(2).await;
        drop(freed);
        claimed
    };
    let complete = b.store.complete(completion(&held, 2, 11, Output::default()), None);
    let (completed, second) = tokio::join!(complete, claimed);
    completed.unwrap();
    assert_eq!(second.head.id, TaskId::from_bytes(timed(2)));
    assert!(is_stopped(&b.store.claim(claim(2)).await.unwrap()), "and holds the place");
    b.store.complete(completion(&second, 3, 12, Output::default()), None).await.unwrap();
    assert_eq!(b.claimed(3).await.head.id, TaskId::from_bytes(timed(3)));
}

/// A task that has failed keeps its place for its retry also where a claim finds, before its process has said so, that its lease is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_keeps_its_place_for_its_retry_before_its_process_has_said_so() {
    let b = Bench::open().await;
    b.store.create(creation((1..=2).map(keyed).collect())).await.unwrap();
    let rules = LimitRules { max_running: Some(1), holds_retries: true, ..LimitRules::default() };
    let on = "queue/default/key/*".parse().unwrap();
    let set = SetLimit { now: at(0), on, rules: Some(rules), by: None, reason: None };
    b.store.set_limit(set).await.unwrap();
    let held = b.claimed(1).await;
    let other = b.engine.store(Options::seeded(2)).await;
    let failed = b.faults.hold("UpdateItem");
    let stopped = async {
        let failed = failed.carried_out().await;
        let answer = other.claim(claim(2)).await.unwrap();
        drop(failed);
        answer
    };
    let fail = Fail {
        now: at(2),
        task: held.head.id,
        fence: fence(&held),
        caller: Bounds::default(),
        failure: Failure { message: "no".to_owned(), code: None, details: None },
        retryable: true,
        retry_after: Some(Duration::from_secs(60)),
    };
    let (failed, stopped) = tokio::join!(b.store.fail(fail), stopped);
    failed.unwrap();
    assert!(is_stopped(&stopped), "{stopped:?}");
    assert!(is_stopped(&other.claim(claim(30)).await.unwrap()), "until its retry is due");
    assert_eq!(b.claimed(62).await.head.id, held.head.id);
}
