//! Files of earlier versions of the schema: each is brought up to date when it is opened, and loses nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

mod earlier;
mod files;
mod first;
mod later;
mod steps;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_model::queue::Pause;
use baton_model::schedule::Said;
use baton_model::why::word;
use baton_model::{
    BatchId, Bulk, BulkAction, BulkFilter, BulkId, BulkTasks, DefaultsChange, Directed, Directive, Expiry,
    FairBy, Fence, GenerationId, IfMissed, IfRunning, LimitRules, LossReason, NewBatch, Output, OutputFile,
    Owner, Plan, QueueName, QueueOrder, Reason, Rhythm, ScheduleChange, ScheduleKey, SessionId, SupplyChange,
    SupplyPlan, TaskId, TaskSpec, TaskState, Template, TimelineFilter, Timestamp, TokenId, Unique,
    UniqueWhile, Watch, Why,
};
use baton_store::{
    AddToBatch, AuditFilter, AuditStore, BatchStore, Beat, BulkStore, Cancel, Claim, ClaimAnswer, Complete,
    ConfigStore, Create, Direct, Expire, LimitStore, LogFilter, NoDoorbell, Nothing, OrderQueue, PageRequest,
    PauseQueue, Purge, Reap, Refill, Refilled, ScheduleStore, SetDefaults, SetLimit, SetSchedule, SetSetting,
    SetSupply, StoreError, SupplyStore, TaskStore, TimelineStore, TokenStore, run_due,
};
use baton_store_sqlite::{Options, SqliteStore};
use rusqlite::{Connection, params};

use first::of_version_two;

fn at(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("baton.db")
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Options::default(), Arc::new(NoDoorbell)).unwrap()
}

fn id(n: u128) -> TaskId {
    TaskId::from_bytes(n.to_be_bytes())
}

fn millis(at: i64) -> Timestamp {
    Timestamp::from_millis(at)
}

/// A file as the third version of the schema left it.
fn of_version_three(path: &Path) {
    of_version_two(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema-3.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 3").unwrap();
}

#[tokio::test]
async fn a_file_of_the_third_version_loses_nothing_and_takes_tasks_that_depend_on_its_own() {
    let folder = tempfile::tempdir().unwrap();
    of_version_three(&at(&folder));
    for _ in 0..2 {
        let store = open(&at(&folder));
        let waiting = store.task(id(1)).await.unwrap().task;
        assert_eq!((waiting.head.max_attempts, waiting.depends_on.len()), (3, 0));
        assert!(matches!(store.task(id(3)).await.unwrap().task.head.state, TaskState::Running(_)));
    }
    let store = open(&at(&folder));
    let spec = TaskSpec {
        project: "film".parse().unwrap(),
        depends_on: vec![id(1), id(3)],
        ..TaskSpec::new(id(9), "stitch".parse().unwrap())
    };
    let create = Create { now: millis(10), tasks: vec![spec], atomic: true, idempotency: None, by: None };
    store.create(create).await.unwrap();
    let cancel = |n| Cancel { now: millis(20), task: id(n), by: None, reason: None, with_dependants: false };
    assert_eq!(store.task(id(9)).await.unwrap().task.head.state, TaskState::Blocked);
    store.cancel(cancel(1)).await.unwrap();
    let ended = store.task(id(9)).await.unwrap();
    assert_eq!((ended.task.head.state, ended.history.len()), (TaskState::Cancelled, 2));
    assert_eq!(store.task(id(1)).await.unwrap().task.head.max_attempts, 3);
}

/// A file as the fourth version of the schema left it.
fn of_version_four(path: &Path) {
    of_version_three(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema-4.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 4").unwrap();
}

#[tokio::test]
async fn tasks_of_the_fourth_version_fall_under_limits_that_are_set_since() {
    let folder = tempfile::tempdir().unwrap();
    of_version_four(&at(&folder));
    let store = open(&at(&folder));
    let rules = LimitRules { max_running: Some(1), ..LimitRules::default() };
    for now in [1_900, 1_901] {
        let set = SetLimit {
            now: millis(now),
            on: "project/film".parse().unwrap(),
            rules: (now == 1_900).then(|| rules.clone()),
            by: None,
            reason: None,
        };
        store.set_limit(set).await.unwrap();
        // What ran before the file was brought up to date holds the only place.
        let claim = Claim { cap: 9, ..Claim::new("w2".parse().unwrap(), millis(2_000)) };
        let answer = store.claim(claim).await.unwrap();
        match answer {
            ClaimAnswer::Nothing(Nothing::AtLimit { .. }) => assert_eq!(now, 1_900),
            ClaimAnswer::Leased(tasks) => assert_eq!((now, tasks[0].head.id), (1_901, id(1))),
            other => panic!("expected one of the two, got {other:?}"),
        }
    }
}

/// A file as the fifth version of the schema left it.
fn of_version_five(path: &Path) {
    of_version_four(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema-5.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 5").unwrap();
}

#[tokio::test]
async fn a_file_of_the_fifth_version_takes_unique_tasks_and_its_own_never_expire() {
    let folder = tempfile::tempdir().unwrap();
    of_version_five(&at(&folder));
    let store = open(&at(&folder));
    let task = store.task(id(1)).await.unwrap().task;
    assert_eq!((task.head.expires_at, task.unique), (None, None));
    let create = |n, now| {
        let spec = TaskSpec {
            unique: Some(Unique { key: "k".parse().unwrap(), held: UniqueWhile::Unfinished }),
            expiry: Some(Expiry::At(millis(50))),
            ..TaskSpec::new(id(n), "stitch".parse().unwrap())
        };
        Create { now: millis(now), tasks: vec![spec], atomic: true, idempotency: None, by: None }
    };
    store.create(create(8, 10)).await.unwrap();
    let second = store.create(create(9, 20)).await.unwrap().items.remove(0).unwrap();
    assert_eq!((second.id, second.new), (id(8), false));
    drop(store);
    let store = open(&at(&folder));
    let expired = store.expire(Expire { now: millis(2_000), limit: 10 }).await.unwrap();
    assert_eq!(expired.tasks, 1);
    assert_eq!(store.task(id(8)).await.unwrap().task.head.state, TaskState::Failed);
    assert_eq!(store.task(id(1)).await.unwrap().task.head.state, TaskState::Queued);
    assert!(store.create(create(9, 60)).await.unwrap().items.remove(0).unwrap().new);
}

#[tokio::test]
async fn what_a_worker_of_the_fifth_version_takes_is_known_once_it_claims() {
    let folder = tempfile::tempdir().unwrap();
    of_version_five(&at(&folder));
    let store = open(&at(&folder));
    let worker: baton_model::WorkerId = "w1".parse().unwrap();
    let now = millis(30_000);
    store.heartbeat(Beat::new(worker.clone(), now)).await.unwrap();
    assert_eq!(store.worker(&worker).await.unwrap().worker.takes, []);
    let words = |why: Why| why.reasons.iter().map(Reason::word).collect::<Vec<_>>();
    assert_eq!(words(store.why(id(1), now).await.unwrap()), [word::NO_WORKER]);
    let claim = Claim { types: vec!["render".parse().unwrap()], cap: 1, ..Claim::new(worker.clone(), now) };
    store.claim(claim.clone()).await.unwrap();
    assert_eq!(store.worker(&worker).await.unwrap().worker.takes, [claim.takes()]);
}

/// A file as the sixth version of the schema left it.
fn of_version_six(path: &Path) {
    of_version_five(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema-6.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 6").unwrap();
}

#[tokio::test]
async fn tasks_of_the_sixth_version_have_their_turns_once_their_queue_is_fair() {
    let folder = tempfile::tempdir().unwrap();
    of_version_six(&at(&folder));
    let store = open(&at(&folder));
    let queue: baton_model::QueueName = "default".parse().unwrap();
    assert_eq!(store.queue(&queue, millis(10)).await.unwrap().order, QueueOrder::default());
    let specs = [(8, "film"), (9, "game")].map(|(n, project)| TaskSpec {
        project: project.parse().unwrap(),
        ..TaskSpec::new(id(n), "stitch".parse().unwrap())
    });
    let create = Create { now: millis(10), tasks: specs.into(), atomic: true, idempotency: None, by: None };
    store.create(create).await.unwrap();
    let order = QueueOrder { fair: Some(FairBy::Project), age_after_seconds: Some(3_600) };
    store.order_queue(OrderQueue { now: millis(1_900), queue, order }).await.unwrap();
    drop(store);
    let store = open(&at(&folder));
    // One of film's runs already, since before.
    let claim = Claim { max_tasks: 9, cap: 9, ..Claim::new("w2".parse().unwrap(), millis(2_000)) };
    let ClaimAnswer::Leased(tasks) = store.claim(claim).await.unwrap() else { panic!("expected leases") };
    let ids: Vec<_> = tasks.iter().map(|task| task.head.id).collect();
    assert_eq!(ids, [id(9), id(1), id(8)]);
}

/// A file as the seventh version of the schema left it.
fn of_version_seven(path: &Path) {
    of_version_six(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema-7.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 7").unwrap();
}

#[tokio::test]
async fn a_file_of_the_seventh_version_takes_schedules() {
    let folder = tempfile::tempdir().unwrap();
    of_version_seven(&at(&folder));
    let store = open(&at(&folder));
    let key = ScheduleKey { project: "film".parse().unwrap(), name: "often".parse().unwrap() };
    let plan = Plan {
        rhythm: Rhythm::Every(std::time::Duration::from_secs(60)),
        if_missed: IfMissed::Once,
        late_after: std::time::Duration::from_secs(300),
        if_running: IfRunning::Allow,
        starts_at: None,
        ends_at: None,
        paused: false,
        task: TaskSpec::new(TaskId::unset(), "render".parse().unwrap()),
    };
    let change = ScheduleChange::Set { plan: Box::new(plan), seed: [7; 16], replace: false };
    let said = Said { now: millis(10), by: None, reason: None };
    store.set_schedule(SetSchedule { key: key.clone(), change, said }).await.unwrap();
    drop(store);
    let store = open(&at(&folder));
    let report =
        run_due(&store, millis(60_010), || false, |key, error| panic!("{key}: {error}")).await.unwrap();
    let schedule = store.schedule(&key).await.unwrap();
    assert_eq!((report.created, schedule.created, schedule.next_at), (1, 1, Some(millis(120_010))));
}

/// A file as the eighth version of the schema left it.
fn of_version_eight(path: &Path) {
    of_version_seven(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema-8.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 8").unwrap();
}

#[tokio::test]
async fn a_file_of_the_eighth_version_takes_bulk_commands() {
    let folder = tempfile::tempdir().unwrap();
    of_version_eight(&at(&folder));
    let store = open(&at(&folder));
    let filter = BulkFilter { queue: Some("default".parse().unwrap()), ..BulkFilter::default() };
    let id = BulkId::from_bytes([1; 16]);
    let bulk = Bulk::new(id, millis(10), BulkAction::Cancel, BulkTasks::Filter(filter));
    store.create_bulk(bulk.clone()).await.unwrap();
    drop(store);
    let store = open(&at(&folder));
    assert_eq!(store.bulk(id).await.unwrap(), Some(bulk));
    assert_eq!(store.open_bulks().await.unwrap(), [id]);
}

/// A file as the ninth version of the schema left it.
fn of_version_nine(path: &Path) {
    of_version_eight(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema-9.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 9").unwrap();
}

#[tokio::test]
async fn a_file_of_the_ninth_version_takes_supplies() {
    let folder = tempfile::tempdir().unwrap();
    of_version_nine(&at(&folder));
    let store = open(&at(&folder));
    let queue: QueueName = "default".parse().unwrap();
    let task = TaskSpec::new(TaskId::unset(), "render".parse().unwrap());
    let templates = vec![Template { weight: 1, task }];
    let plan = SupplyPlan { min: 2, target: 3, templates, while_asked: false, paused: false };
    let change = SupplyChange::Set { plan: Box::new(plan), seed: [1; 16] };
    let said = Said { now: millis(10), by: None, reason: None };
    store.set_supply(SetSupply { queue: queue.clone(), change, said }).await.unwrap();
    drop(store);
    let store = open(&at(&folder));
    // A task of the earlier version is ready, too.
    let refilled = store.refill(Refill { now: millis(10), queue: queue.clone() }).await.unwrap();
    assert_eq!(refilled, Refilled::Created { tasks: 2, more: false });
    let supply = store.supply(&queue).await.unwrap();
    assert_eq!((supply.next_index, supply.refilled_at), (2, Some(millis(10))));
}

/// A file as the tenth version of the schema left it.
fn of_version_ten(path: &Path) {
    of_version_nine(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema-10.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 10").unwrap();
}

#[tokio::test]
async fn a_file_of_the_tenth_version_takes_defaults_and_batches_and_keeps_its_tasks_as_long_as_before() {
    let folder = tempfile::tempdir().unwrap();
    of_version_ten(&at(&folder));
    let store = open(&at(&folder));
    let change = DefaultsChange { max_attempts: Some(Some(7)), ..DefaultsChange::default() };
    let queue = "default".parse().unwrap();
    store.set_defaults(SetDefaults { now: millis(10), queue, change }).await.unwrap();
    let batch = BatchId::from_bytes([1; 16]);
    let new = TaskSpec {
        batch: Some(batch),
        unsaid: baton_model::Unsaid::BOTH,
        ..TaskSpec::new(id(9), "bake".parse().unwrap())
    };
    let create = Create { now: millis(10), tasks: vec![new], atomic: true, idempotency: None, by: None };
    let asked = NewBatch { id: batch, project: "default".parse().unwrap(), name: None, then: None };
    store.add_to_batch(AddToBatch { batch: asked, seal: true, create }).await.unwrap();
    let cancel = |task, now| Cancel { now, task, by: None, reason: None, with_dependants: false };
    for task in [id(1), id(9)] {
        store.cancel(cancel(task, millis(20))).await.unwrap();
    }
    drop(store);
    let store = open(&at(&folder));
    assert_eq!(store.task(id(1)).await.unwrap().task.head.max_attempts, 3, "it was there before");
    assert_eq!(store.task(id(9)).await.unwrap().task.head.max_attempts, 7);
    let told = store.batch(batch).await.unwrap();
    assert_eq!((told.batch.counts.cancelled, told.batch.has_ended()), (1, true));
    let day = std::time::Duration::from_secs(86_400);
    let report = store.purge(Purge::at(millis(20).plus(day * 31))).await.unwrap();
    assert_eq!(report.tasks, 2);
}

/// A file as the eleventh version of the schema left it.
fn of_version_eleven(path: &Path) {
    of_version_ten(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema-11.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 11").unwrap();
}

#[tokio::test]
async fn generations_of_the_eleventh_version_name_no_files_and_later_ones_may() {
    let folder = tempfile::tempdir().unwrap();
    of_version_eleven(&at(&folder));
    let earlier = GenerationId::from_bytes([1; 16]);
    Connection::open(at(&folder))
        .unwrap()
        .execute(
            "INSERT INTO generation (k, n, id, task, project, queue, task_type, attempt, worker, created_at, started_at, \
             finished_at, location, result) \
             VALUES (98304, 2, ?1, ?2, 'film', 'default', 'render', 1, 'w1', 1, 2, 3, 'a.png', '[1]')",
            params![earlier.as_bytes(), id(3).as_bytes()],
        )
        .unwrap();
    let store = open(&at(&folder));
    let output = store.generation(earlier).await.unwrap().output;
    assert_eq!(
        (output.location.as_deref(), output.result.is_some(), output.files),
        (Some("a.png"), true, vec![])
    );
    store.claim(Claim { cap: 9, ..Claim::new("w2".parse().unwrap(), millis(10)) }).await.unwrap();
    let file = OutputFile {
        path: "tasks/1/a".to_owned(),
        size: 1,
        sha256: "00".repeat(32),
        content_type: "image/png".to_owned(),
    };
    let complete = Complete {
        caller: baton_model::Bounds::default(),
        now: millis(20),
        task: id(1),
        fence: Fence { attempt: 1, worker: "w2".parse().unwrap() },
        generation: GenerationId::from_bytes([2; 16]),
        output: Output { files: vec![file.clone()], ..Output::default() },
        ran: None,
    };
    store.complete(complete, None).await.unwrap();
    drop(store);
    let kept = open(&at(&folder)).task(id(1)).await.unwrap().generation.unwrap().output.files;
    assert_eq!(kept, [file]);
}
