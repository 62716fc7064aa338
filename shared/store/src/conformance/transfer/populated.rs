//! A store with a bit of everything.

use baton_model::{
    BatchId, BulkAction, DefaultsChange, Directive, Grant, Happened, IfDependencyFails, Level, LimitRules,
    LogLine, NewBatch, Output, OutputFile, Plan, Priority, Running, ScheduleChange, Scope, Task, TaskId,
    TaskSpec, ThenOn, UniqueWhile, Unsaid,
};

use super::super::kit::*;
use super::super::trace::trace;
use super::super::{audit, batches, bulk, config, schedules, supply, token};
use crate::{
    AuditEntry, Beat, Create, DocumentChanges, Fail, PauseQueue, Release, SetDefaults, SetLimit, SetOwner,
    Settled, StoredToken,
};

/// How many attempts of the task in the queue `worn` have failed.
pub(super) const WORN: u32 = 16;

/// What a populated store's rules need to know of it.
pub(super) struct Populated {
    pub(super) running: Task,
    pub(super) keyed: Vec<Task>,
    pub(super) tokens: Vec<StoredToken>,
    /// The latest is not settled.
    pub(super) audited: Vec<AuditEntry>,
}

/// Fills the bench's store with a bit of everything.
pub(super) async fn populate(b: &Bench) -> Populated {
    let large = format!(r#"{{ "b": 1.50, "text": "{}" }}"#, "x".repeat(420 * 1024));
    let middle = format!(r#"["{}"]"#, "☂".repeat(700));
    let running =
        TaskSpec { description: Some("a picture".to_owned()), ..b.spec("render").timeout(secs(7_000)) };
    let running = running.params(&large).priority(Priority::High);
    let running = b.running_by(at(0), claim("w1", at(0)).session(session(2)), running).await;
    b.running_by(at(1), claim("w2", at(1)).fixed(secs(900)), b.spec("render").queue("gpu").params(&middle))
        .await;

    let done = b.running(at(1), "w1", b.spec("render").params(&middle)).await;
    let file = OutputFile {
        path: "tasks/1/a.png".to_owned(),
        size: 7,
        sha256: "ab".repeat(32),
        content_type: "image/png".to_owned(),
    };
    let output = Output {
        result: Some(json(&large)),
        metadata: Some(json(&middle)),
        files: vec![file],
        ..output("a.png")
    };
    let complete = crate::Complete { output, ..b.completion(at(3), &done) };
    b.store().complete(complete, None).await.expect("the completion is taken");
    let done = b.running(at(2), "w2", b.spec("thumb").queue("gpu")).await;
    b.complete(at(4), &done).await;

    let failed = b.running(at(2), "w1", b.spec("render")).await;
    let mut failing_for_good = Fail { retryable: false, ..failing(at(3), &failed) };
    failing_for_good.failure.details = Some(json(&middle));
    b.fail(failing_for_good).await;
    let waiting = b.running(at(3), "w1", b.spec("render")).await;
    b.fail(Fail { retry_after: Some(secs(3_000)), ..failing(at(4), &waiting) }).await;
    let released = b.running(at(4), "w1", b.spec("render").queue("released")).await;
    b.release(Release { delay: secs(9_000), reason: Some("full".to_owned()), ..releasing(at(5), &released) })
        .await;
    let cancelled = b.running(at(5), "w2", b.spec("render")).await;
    b.cancel(at(6), cancelled.head.id).await;
    let spec = TaskSpec { drift_score: Some(0.1 + 0.2), domain: Some(name("eu")), ..b.spec("render") };
    let again = b.create(at(6), TaskSpec { assigned_by: Some(name("ada")), ..spec.chosen() }).await;
    b.cancel(at(7), again).await;
    b.retry(at(8), again).await;
    let waited = b.create(at(8), b.spec("render").queue("waited").due(at(4_000))).await;
    let waits =
        b.create(at(8), b.spec("stitch").after(&[again, waited]).if_fails(IfDependencyFails::Fail)).await;
    b.create(at(8), b.spec("stitch").after(&[waits])).await;
    let failed_with = b.create(at(8), b.spec("stitch").after(&[failed.head.id])).await;
    b.create(at(8), b.spec("stitch").after(&[failed_with, waiting.head.id]).if_fails(IfDependencyFails::Run))
        .await;
    b.follow(at(8)).await;
    // An id that names no day.
    let odd = TaskId::from_bytes([0x4b, 1, 2, 3, 4, 5, 0x40, 7, 0x80, 9, 10, 11, 12, 13, 14, 15]);
    b.create(at(8), TaskSpec { id: odd, ..b.spec("render").chosen().due(at(4_000)) }).await;

    // A history that no store keeps in one piece.
    let worn = b.create(at(10), b.spec("render").queue("worn").attempts(100)).await;
    for round in 0..16 {
        let held = b.claim_one(claim("w3", at(10 + round)).queues(&["worn"])).await;
        assert_eq!(held.head.id, worn);
        let mut fail = Fail { retry_after: Some(secs(0)), ..failing(at(10 + round), &held) };
        fail.failure.message = format!("round {round}: {}", "no ".repeat(60 * round as usize));
        b.fail(fail).await;
    }

    let keyed = (0..3).map(|_| b.spec("render").queue("keyed")).collect();
    b.create_all(at(60), keyed).await;
    let keyed = b.claim(claim("w4", at(60)).queues(&["keyed"]).key("c1").max(2)).await;
    let spent = b.claim_one(claim("w4", at(60)).queues(&["keyed"]).key("c2")).await;
    b.complete(at(61), &spent).await;
    let send =
        Create { idempotency: idempotency("k", "request"), ..creation(at(62), vec![b.spec("render")]) };
    b.send(send).await.expect("the creation is taken");

    limited(b).await;
    batched(b).await;
    config::set(&*b.store(), 63, "log.level", Some("debug")).await;
    config::set(&*b.store(), 64, "a-newer.key", Some("x")).await;
    config::set(&*b.store(), 65, "log.level", None).await;
    scheduled(b).await;
    supplied(b).await;
    let (by, reason) = (Some(name("ada")), Some("new drivers".to_owned()));
    let pause = PauseQueue { now: at(63), queue: name("gpu"), paused: true, by, reason };
    b.store().pause_queue(pause).await.expect("the pause is taken");
    b.pause(at(64), "empty", true).await;
    let line = |task, message: &str| LogLine {
        at: at(70),
        received_at: at(70),
        worker: name("w1"),
        task,
        level: Level::Warn,
        source: "stderr".to_owned(),
        message: message.to_owned(),
        metadata: Some(json("{}")),
    };
    let logs = vec![line(None, "same"), line(Some(running.head.id), "other"), line(None, "same")];
    let progress = Running { progress: Some(0.5), message: Some("half".to_owned()), ..listed(&running) };
    let saying = Beat {
        running: Some(vec![progress]),
        logs,
        capacity: Some(4),
        ..beat("w1", at(70)).session(session(2))
    };
    b.beat(Beat { labels: [("host".to_owned(), "a".to_owned())].into(), ..saying }).await;
    b.beat(beat("w4", at(70)).running(&keyed.iter().collect::<Vec<_>>())).await;
    let reason = Some("a new card".to_owned());
    let drain = crate::Direct {
        now: at(71),
        worker: name("w2"),
        directive: Directive::Drain,
        by: Some(name("ada")),
        reason,
        only_if: None,
    };
    b.store().direct_worker(drain).await.unwrap();
    // A second start of one worker: the first is remembered.
    b.beat(beat("w5", at(70)).session(session(5))).await;
    b.beat(beat("w5", at(72)).session(session(6))).await;
    let tokens = populate_tokens(b).await;
    let audited = populate_audit(b, &tokens[0]).await;
    populate_bulks(b).await;
    populate_documents(b).await;
    b.settle().await;
    Populated { running, keyed, tokens, audited }
}

/// Bulk commands: one that has ended, and one that is under way with a page begun.
async fn populate_bulks(b: &Bench) {
    let of_queue = |number, queue| {
        let cancel = BulkAction::Cancel;
        bulk::of_queue(number, at(70), cancel, queue)
    };
    b.create_all(at(63), (0..5).map(|_| b.spec("render").queue("in-bulk")).collect()).await;
    b.settle().await;
    let ended = of_queue(1, "in-bulk");
    b.store().create_bulk(ended.clone()).await.expect("the command is kept");
    bulk::finish(&*b.store(), ended.id, 2, at(70)).await;
    let open = of_queue(2, "no-such-queue");
    b.store().create_bulk(open.clone()).await.expect("the command is kept");
    let begun = open.begun(b.created()[..3].to_vec(), None, false, at(71));
    assert!(b.store().put_bulk(begun).await.expect("the page is begun"));
}

/// Documents of several kinds, and what was told with them where the store keeps that.
async fn populate_documents(b: &Bench) {
    let mut changes = DocumentChanges::default();
    for (kind, name, value) in [
        ("alert", "deep", r#"{"firing":{}}"#),
        ("alert-rule", "deep", "{}"),
        ("waiting/ops", "msg_1", "☂"),
        ("waiting/ops", "msg_2", ""),
    ] {
        changes.put(kind, name, value.to_owned());
    }
    let message = "12 tasks wait in queue gpu".to_owned();
    let (subject, queue) = ("gpu".to_owned(), Some(name("gpu")));
    let fired = Happened::AlertFired { alert: name("deep"), subject, queue, message };
    changes.happened.push((at(70), fired));
    b.store().change_documents(changes).await.expect("the documents are kept");
}

/// Tokens of every kind, as the store has them: one that was used, a revoked one, one that has expired, one that is
/// bound and was never used, and one that was used and then revoked.
async fn populate_tokens(b: &Bench) -> Vec<StoredToken> {
    let (store, mut made) = (b.store(), Vec::new());
    for text in ["used", "revoked", "expired", "bound", "used and revoked"] {
        let mut stored = token::token(b, text);
        match text {
            "expired" => stored.token.expires_at = Some(at(100)),
            "bound" => {
                stored.token.expires_at = Some(at(90_000));
                stored.token.requests_per_second = Some(250);
                stored.token.created_by = Some(name("the first operator"));
                stored.token.grant = Grant {
                    scopes: [Scope::Producer, Scope::Worker].into(),
                    queues: [name("gpu"), name("cpu")].into(),
                    project: Some(name("film")),
                };
            }
            _ => {}
        }
        store.create_token(stored.clone()).await.unwrap();
        if text.starts_with("used") {
            store.token_used(stored.token.id, at(73)).await.unwrap();
        }
        if text.ends_with("revoked") {
            store.revoke_token(stored.token.id, at(74)).await.unwrap();
        }
        made.push(store.token(stored.token.id).await.unwrap().expect("it was made"));
    }
    made
}

/// Limits of some kinds, an owner, and tasks of one key of which one runs and others wait at its limit.
async fn limited(b: &Bench) {
    for on in ["queue/limited/key/*", "owner/acme"] {
        let rules =
            LimitRules { max_running: Some(1), exempt_types: vec![name("waits")], ..LimitRules::default() };
        let (by, reason) = (Some(name("ada")), Some("a test".to_owned()));
        let set = SetLimit { now: at(62), on: name(on), rules: Some(rules), by, reason };
        b.store().set_limit(set).await.expect("the limit is taken");
    }
    let owner = Some(name("acme"));
    let set = SetOwner { now: at(62), project: name("film"), owner, by: None, reason: None };
    b.store().set_owner(set).await.expect("the owner is taken");
    let key = Some(name("x"));
    let spec = || TaskSpec { concurrency_key: key.clone(), ..b.spec("render").queue("limited") };
    let mut specs = vec![spec(), spec(), spec()];
    let last = specs.pop().map(|spec| spec.until(at(100_000)).unique("last", UniqueWhile::Unfinished));
    specs.extend(last);
    b.create_all(at(62), specs).await;
    let timed =
        b.create(at(62), b.spec("render").queue("timed").unique("t", UniqueWhile::For(secs(86_400)))).await;
    b.cancel(at(62), timed).await;
    b.claim_one(claim("w4", at(62)).queues(&["limited"])).await;
}

/// Schedules: one that has created a task, one that is paused, one that has ended.
async fn scheduled(b: &Bench) {
    let nightly = schedules::key("film", "nightly");
    let plan = schedules::minutely(TaskSpec { drift_score: Some(0.1 + 0.2), ..b.spec("nightly") });
    let ended = Plan { ends_at: Some(at(1)), ..plan.clone() };
    for (key, plan) in [(&nightly, plan.clone()), (&schedules::key("book", "paused"), plan)] {
        schedules::change(&*b.store(), at(2), key, schedules::set(plan))
            .await
            .expect("the schedule is taken");
    }
    let key = schedules::key("game", "ended");
    schedules::change(&*b.store(), at(0), &key, schedules::set(ended)).await.expect("the schedule is taken");
    let key = schedules::key("book", "paused");
    let paused = schedules::change(&*b.store(), at(3), &key, ScheduleChange::Pause).await;
    paused.expect("the schedule is paused");
    schedules::run(b, at(62)).await;
}

/// A supply that has refilled, and one of a queue that no task has named.
async fn supplied(b: &Bench) {
    for (queue, wanted) in [("supplied", 1), ("unsupplied", 3)] {
        let task =
            TaskSpec { drift_score: Some(0.1 + 0.2), params: json(r#"{"n":"{{index}}"}"#), ..b.spec("more") };
        supply::change(&*b.store(), at(2), queue, supply::set(supply::plan(1, wanted, task))).await;
    }
    let made = supply::refill(b, at(63), "supplied").await;
    assert_eq!(made, crate::Refilled::Created { tasks: 1, more: false });
}

/// A queue's defaults, a task that is kept for a time of its own, and a batch of which some have ended.
async fn batched(b: &Bench) {
    let change = DefaultsChange { max_attempts: Some(Some(7)), ..DefaultsChange::default() };
    let set = SetDefaults { now: at(62), queue: name("batched"), change };
    b.store().set_defaults(set).await.expect("the defaults are taken");
    let spec = || TaskSpec { unsaid: Unsaid::BOTH, ..b.spec("render").queue("batched") };
    let first = TaskSpec { retention: Some(secs(86_400)), trace: Some(trace(7, Some("a=b c"))), ..spec() };
    // In the order of their ids, as lists of some stores are.
    let (second, third) = (spec(), spec());
    let waits = spec().after(&[first.id]);
    let batch = BatchId::from_bytes(counted_id(8_500_000));
    let then = batches::then(ThenOn::Ended, TaskSpec { drift_score: Some(0.1 + 0.2), ..b.spec("report") });
    let asked = NewBatch { name: Some(name("frames")), then, ..batches::plain(batch, "default") };
    let create = creation(at(62), vec![first, second, third, waits]);
    let add = batches::adding(asked, true, Create { atomic: true, ..create });
    let ids: Vec<_> = add.create.tasks.iter().map(|spec| spec.id).collect();
    b.store().add_to_batch(add).await.expect("the batch is taken");
    b.note_created(ids.iter().copied());
    b.cancel(at(62), ids[1]).await;
    b.claim_one(claim("w4", at(62)).queues(&["batched"])).await;
}

/// Entries of two days, of which the last is not settled.
async fn populate_audit(b: &Bench, by: &StoredToken) -> Vec<AuditEntry> {
    let mut recorded = Vec::new();
    for (second, outcome) in [(1, Some(200)), (1, Some(409)), (90_000, Some(404)), (90_001, None)] {
        let mut entry = audit::entry(b, at(second));
        if outcome == Some(409) {
            entry.target = "/v1/tasks/ü/cancel".to_owned();
            entry.token = Some(by.token.id);
            entry.token_name = Some(by.token.name.clone());
            entry.request_id = Some("r-1".to_owned());
        }
        audit::recorded(b, entry.clone()).await;
        if let Some(outcome) = outcome {
            let (by, reason) = (Some(name("ada")), Some("a test".to_owned()));
            b.store().settle(entry.id, Settled { outcome, by, reason, change: None }).await.unwrap();
        }
        recorded.push(match outcome {
            None => entry,
            Some(_) => {
                AuditEntry { outcome, by: Some(name("ada")), reason: Some("a test".to_owned()), ..entry }
            }
        });
    }
    recorded
}
