//! Files of earlier versions of the schema: each is brought up to date when it is opened, and loses nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_model::queue::Pause;
use baton_model::schedule::Said;
use baton_model::why::word;
use baton_model::{
    BatchId, Bulk, BulkAction, BulkFilter, BulkId, BulkTasks, DefaultsChange, Expiry, FairBy, Fence,
    GenerationId, IfMissed, IfRunning, LimitRules, LossReason, NewBatch, Output, OutputFile, Owner, Plan,
    QueueName, QueueOrder, Reason, Rhythm, ScheduleChange, ScheduleKey, SessionId, SupplyChange, SupplyPlan,
    TaskId, TaskSpec, TaskState, Template, TimelineFilter, Timestamp, TokenId, Unique, UniqueWhile, Watch,
    Why,
};
use baton_store::{
    AddToBatch, AuditFilter, AuditStore, BatchStore, Beat, BulkStore, Cancel, Claim, ClaimAnswer, Complete,
    ConfigStore, Create, Expire, LimitStore, LogFilter, NoDoorbell, Nothing, OrderQueue, PageRequest,
    PauseQueue, Purge, Reap, Refill, Refilled, ScheduleStore, SetDefaults, SetLimit, SetSchedule, SetSetting,
    SetSupply, StoreError, SupplyStore, TaskStore, TimelineStore, TokenStore, run_due,
};
use baton_store_sqlite::{Options, SqliteStore};
use rusqlite::{Connection, params};

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

/// A file as the first version of the schema left it, with a waiting task and a worker.
fn of_version_one(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../src/schema.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 1; PRAGMA application_id = 0x4261746e").unwrap();
    db.execute(
        "INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, \
         max_attempts, events, created_at, updated_at, params) \
         VALUES (1, ?1, 0, 2, 'default', 'render', 'film', 1, 0, 0, 3, 1, 1, 1, '{}')",
        [id(1).as_bytes()],
    )
    .unwrap();
    db.execute_batch(
        "INSERT INTO event (k, at, kind, to_state, attempt) VALUES (65537, 1, 0, 0, 0); \
         INSERT INTO tally VALUES ('default', 'render', 0, 1); \
         INSERT INTO queue VALUES ('default', 0, NULL, 1); \
         INSERT INTO worker VALUES ('w1', NULL, '[]', 1, 1, 1, 2, NULL, '{}', '{}', 0)",
    )
    .unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    of_version_one(&at(&folder));
    for _ in 0..2 {
        let store = open(&at(&folder));
        let worker = store.worker(&"w1".parse().unwrap()).await.unwrap().worker;
        assert_eq!((worker.capacity, worker.owner), (Some(2), None));
        assert_eq!(store.task(id(1)).await.unwrap().history.len(), 1);
        assert_eq!(store.token(TokenId::from_bytes([1; 16])).await.unwrap(), None);
    }
    let store = open(&at(&folder));
    let claim = Claim {
        caller: Owner::Project("film".parse().unwrap()),
        cap: 1,
        ..Claim::new("w2".parse().unwrap(), Timestamp::from_millis(2_000))
    };
    let answer = store.claim(claim).await.unwrap();
    assert!(matches!(&answer, ClaimAnswer::Leased(tasks) if tasks[0].head.id == id(1)), "{answer:?}");
    let version = |sql: &str| {
        let db = Connection::open(at(&folder)).unwrap();
        db.query_row(sql, [], |row| row.get::<_, i32>(0)).unwrap()
    };
    assert_eq!(version("PRAGMA user_version"), 15);
}

/// A file as the second version of the schema left it.
fn of_version_two(path: &Path) {
    of_version_one(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../src/schema-2.sql")).unwrap();
    db.execute_batch(
        "PRAGMA user_version = 2; \
         INSERT INTO queue VALUES ('gpu', 1, 'ada', 5), ('typo', 0, NULL, 6), ('typo-2', 1, 'bob', 7); \
         INSERT INTO audit (k, id, at, action, target, outcome) \
         VALUES (98304, x'00000000000370008000000000000001', 3, 'pause_queue', '/v1/queues/gpu/pause', 200);",
    )
    .unwrap();
    db.execute(
        "INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, \
         max_attempts, events, worker, claimed_at, created_at, updated_at, params) \
         VALUES (2, ?1, 1, 2, 'default', 'render', 'film', 1, 1, 0, 3, 2, 'w1', 2, 1, 2, '{}')",
        [id(3).as_bytes()],
    )
    .unwrap();
    db.execute_batch(
        "INSERT INTO event (k, at, kind, from_state, to_state, attempt) \
         VALUES (131073, 1, 0, NULL, 0, 0), (131074, 2, 1, 0, 1, 1); \
         INSERT INTO tally VALUES ('default', 'render', 1, 1);",
    )
    .unwrap();
}

#[tokio::test]
async fn a_lease_of_the_second_version_goes_on_and_ends_by_its_workers_silence() {
    let folder = tempfile::tempdir().unwrap();
    of_version_two(&at(&folder));
    let store = open(&at(&folder));
    let running = store.task(id(3)).await.unwrap().task;
    let TaskState::Running(lease) = &running.head.state else { panic!("expected it to run: {running:?}") };
    assert_eq!((lease.claimed_at, lease.beats), (millis(2), None));
    for (now, lost) in [(60_002, 0), (60_003, 1)] {
        let reap = Reap { watch: Watch::at(millis(now)), limit: 9, worker: None, queue: None };
        assert_eq!(store.reap(reap).await.unwrap().taken.len(), lost);
    }
}

#[tokio::test]
async fn a_file_of_the_second_version_keeps_its_pauses_and_sorts_out_unused_queues() {
    let folder = tempfile::tempdir().unwrap();
    of_version_two(&at(&folder));
    let store = open(&at(&folder));
    let queues = store.queues(millis(10), PageRequest::first(10)).await.unwrap().items;
    let told: Vec<_> = queues.iter().map(|queue| (queue.queue.as_str(), queue.used)).collect();
    assert_eq!(told, [("default", true), ("gpu", false), ("typo", false), ("typo-2", false)]);
    let by = |name: &str, since| {
        Some(Pause { since: millis(since), by: Some(name.parse().unwrap()), reason: None })
    };
    let pauses: Vec<_> = queues.into_iter().map(|queue| queue.pause).collect();
    assert_eq!(pauses, [None, by("ada", 5), None, by("bob", 7)]);
    for queue in ["typo", "typo-2", "default"] {
        let queue = queue.parse().unwrap();
        let resume = PauseQueue { now: millis(11), queue, paused: false, by: None, reason: None };
        store.pause_queue(resume).await.unwrap();
    }
    let left = store.queues(millis(12), PageRequest::first(10)).await.unwrap().items;
    assert_eq!(left.iter().map(|queue| queue.queue.as_str()).collect::<Vec<_>>(), ["default", "gpu"]);
    let audit = store.audit(AuditFilter::default(), PageRequest::first(10)).await.unwrap().items;
    assert_eq!((audit.len(), &audit[0].by, audit[0].outcome), (1, &None, Some(200)));
    assert!(matches!(store.task(id(2)).await, Err(StoreError::TaskNotFound(_))));
    assert_eq!(store.task(id(1)).await.unwrap().history.len(), 1);
}

#[tokio::test]
async fn a_file_of_the_second_version_keeps_its_superseded_starts_and_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    of_version_two(&at(&folder));
    let earlier: Vec<_> = [1, 2].map(|n| SessionId::from_bytes([n; 16])).to_vec();
    {
        let db = Connection::open(at(&folder)).unwrap();
        db.execute(
            "UPDATE task SET state = 1, attempt = 1, worker = 'w1', session = ?1, claimed_at = 1",
            [[1_u8; 16]],
        )
        .unwrap();
        let superseded = serde_json::to_string(&earlier).unwrap();
        db.execute("UPDATE worker SET session = ?1, superseded = ?2", params![[3_u8; 16], superseded])
            .unwrap();
    }
    for _ in 0..2 {
        let store = open(&at(&folder));
        let worker = store.worker(&"w1".parse().unwrap()).await.unwrap().worker;
        let kept: Vec<_> = worker.superseded.iter().map(|one| (one.session, one.heard)).collect();
        assert_eq!(kept, earlier.iter().map(|session| (*session, false)).collect::<Vec<_>>());
        assert_eq!(worker.contested_at, None);
        assert_eq!(store.task(id(1)).await.unwrap().task.head.worker_losses, 0);
    }
    let store = open(&at(&folder));
    let report = store
        .reap(Reap { watch: Watch::at(millis(2_000)), limit: 9, worker: None, queue: None })
        .await
        .unwrap();
    assert_eq!((report.taken[0].task, report.taken[0].reason), (id(1), LossReason::SessionEnded));
    assert_eq!(store.task(id(1)).await.unwrap().task.head.worker_losses, 1);
}

#[tokio::test]
async fn log_lines_of_the_second_version_are_put_in_the_order_in_which_they_were_received() {
    let folder = tempfile::tempdir().unwrap();
    of_version_two(&at(&folder));
    {
        let db = Connection::open(at(&folder)).unwrap();
        // Numbered by the times that they bear, as then: one is of 2099.
        for (written, received, message) in
            [(4_070_908_800_000_i64, 10, "far"), (20, 20, "b"), (20, 20, "c"), (30, 30, "d")]
        {
            db.execute(
                "INSERT INTO log (k, at, taken_at, worker, level, source, message) VALUES \
                 ((SELECT coalesce(max(k) + 1, ?1 << 15) FROM log WHERE k >> 15 = ?1), ?1, ?2, 'w1', 1, 'stderr', ?3)",
                params![written, received, message],
            )
            .unwrap();
        }
    }
    for _ in 0..2 {
        let store = open(&at(&folder));
        let lines = store.logs(LogFilter::default(), PageRequest::first(10)).await.unwrap().items;
        let told: Vec<_> = lines.iter().map(|line| (line.message.as_str(), line.received_at)).collect();
        assert_eq!(told, [("d", millis(30)), ("c", millis(20)), ("b", millis(20)), ("far", millis(10))]);
        assert_eq!(lines[3].at, millis(4_070_908_800_000));
    }
}

/// A file as the third version of the schema left it.
fn of_version_three(path: &Path) {
    of_version_two(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../src/schema-3.sql")).unwrap();
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
    db.execute_batch(include_str!("../src/schema-4.sql")).unwrap();
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
    db.execute_batch(include_str!("../src/schema-5.sql")).unwrap();
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
    db.execute_batch(include_str!("../src/schema-6.sql")).unwrap();
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
    db.execute_batch(include_str!("../src/schema-7.sql")).unwrap();
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
    db.execute_batch(include_str!("../src/schema-8.sql")).unwrap();
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
    db.execute_batch(include_str!("../src/schema-9.sql")).unwrap();
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
    db.execute_batch(include_str!("../src/schema-10.sql")).unwrap();
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
    db.execute_batch(include_str!("../src/schema-11.sql")).unwrap();
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

/// A file as the twelfth version of the schema left it.
fn of_version_twelve(path: &Path) {
    let db = Connection::open(path).unwrap();
    of_version_fourteen(path);
    db.execute_batch("DROP TABLE feed; DROP TABLE happened; DROP TABLE document; PRAGMA user_version = 12;")
        .unwrap();
}

#[tokio::test]
async fn events_of_before_have_no_place_in_the_order_of_all_and_are_told_by_task() {
    let folder = tempfile::tempdir().unwrap();
    of_version_one(&at(&folder));
    drop(open(&at(&folder)));
    of_version_twelve(&at(&folder));
    let store = open(&at(&folder));
    assert_eq!((store.feed_head().await.unwrap(), store.feed(0, 9).await.unwrap().items.len()), (0, 0));
    store
        .claim(Claim { cap: 1, ..Claim::new("w2".parse().unwrap(), Timestamp::from_millis(2_000)) })
        .await
        .unwrap();
    assert_eq!(store.feed_head().await.unwrap(), 1);
    let told = async |filter| store.timeline(filter, PageRequest::first(9)).await.unwrap().items;
    let all = told(TimelineFilter { events_only: true, ..TimelineFilter::default() }).await;
    assert_eq!(all.iter().map(|entry| entry.task).collect::<Vec<_>>(), [Some(id(1))]);
    let of_task = told(TimelineFilter { task: Some(id(1)), ..TimelineFilter::default() }).await;
    assert_eq!(of_task.len(), 2, "created before, and claimed since");
}

/// A file as it was before settings were kept in it.
fn of_version_fourteen(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch("DROP TABLE setting; PRAGMA user_version = 14;").unwrap();
}

#[tokio::test]
async fn a_file_of_before_takes_settings() {
    let folder = tempfile::tempdir().unwrap();
    of_version_one(&at(&folder));
    drop(open(&at(&folder)));
    of_version_fourteen(&at(&folder));
    let store = open(&at(&folder));
    assert!(store.settings().await.unwrap().is_none());
    let said = Said { now: millis(3), by: None, reason: None };
    let set = SetSetting { key: "log.level".to_owned(), to: Some("debug".to_owned()), said };
    let set = store.set_setting(set).await.unwrap().to;
    drop(store);
    assert_eq!(open(&at(&folder)).settings().await.unwrap(), set);
}
