//! Files of the first two versions, and what they are brought up to.

use super::*;

/// A file as the first version of the schema left it, with a waiting task and a worker.
pub(super) fn of_version_one(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema.sql")).unwrap();
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
    assert_eq!(version("PRAGMA user_version"), 18);
}

/// A file as the second version of the schema left it.
pub(super) fn of_version_two(path: &Path) {
    of_version_one(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../../src/schema-2.sql")).unwrap();
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
