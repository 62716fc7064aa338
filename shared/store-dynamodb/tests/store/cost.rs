//! What each command costs in requests and units, held to its bars and printed as a table.
//!
//! Run with `--nocapture` to see the table; `docs/dynamodb.md` has it with the reasons. The engines disagree on what a
//! transaction consumes, so that its units are counted here by the published rule: twice the table's, and the
//! index's once.

mod endings;
mod shared;
mod standing;

use std::sync::Arc;

use baton_model::{
    AuditId, Bounds, Expiry, Fence, Grant, Level, LimitRules, LogLine, Owner, ProjectId, QueueName,
    RequestKey, RoundNote, Scope, Status, TaskSpec, Token, TokenId, TokenSecret, Unique, UniqueWhile, Watch,
};
use baton_store::{
    AuditEntry, AuditFilter, AuditStore, Beat, Cancel, Claim, ClaimAnswer, Create, Expire, Fail, Idempotency,
    LimitStore, Mend, Nothing, PageRequest, Purge, Reap, SetLimit, StoredToken, TaskFilter, TaskStore,
    TokenStore,
};
use baton_store_dynamodb::table::KeptBy;
use baton_store_dynamodb::{Meter, Options};

use crate::bench::{Bench, beat, claim, listed};
use crate::engine::heard::Cost;
use crate::engine::{Engine, at};

#[tokio::test(flavor = "multi_thread")]
async fn a_lifecycle_keeps_to_its_bars() {
    let mut b = Bench::open().await;
    // What a process or a worker writes once.
    b.create(1, 200).await;
    b.claim(claim("worker-1")).await;
    b.store.heartbeat(beat("worker-1", vec![])).await.unwrap();
    b.create(20, 200).await;
    let warm = b.claim(claim("worker-1")).await;
    let warm = b.completion(&warm, 200);
    b.store.complete(warm, None).await.unwrap();
    b.store.flush().await.unwrap();
    b.note("(once: what a process and a worker make known)");

    b.create(1, 200).await;
    let create = b.note("create, 200 B of params");
    assert!(create.write <= 2.0 && create.requests == 1, "{create:?}");

    let held = b.claim(claim("worker-1")).await;
    let claimed = b.note("claim, without request key");
    assert!(claimed.write <= 3.0 && claimed.read <= 3.0 && claimed.requests <= 4, "{claimed:?}");

    let complete = b.completion(&held, 200);
    let generation = complete.generation.to_string();
    b.store.complete(complete, None).await.unwrap();
    // A write unit is a kilobyte, of the larger of the item before and after.
    for id in [held.head.id.to_string(), generation] {
        let size = b.size_of(&id).await;
        println!("the item of {id} has {size} bytes");
        assert!(size <= 1_024, "{size} bytes");
    }
    let completed = b.note("complete, 200 B of result, with generation");
    assert!(completed.write <= 6.0 && completed.requests <= 1, "{completed:?}");

    let whole = [&create, &claimed, &completed];
    let write: f64 = whole.iter().map(|cost| cost.write).sum();
    let read: f64 = whole.iter().map(|cost| cost.read).sum();
    let requests: usize = whole.iter().map(|cost| cost.requests).sum();
    b.rows.push(("whole lifecycle".to_owned(), Cost { requests, read, write, ..Cost::default() }));
    assert!(write <= 11.0 && requests <= 6, "{write} write units, {requests} requests");

    let keyed = Claim { request: Some("0198-aaaa-request-1".parse().unwrap()), ..claim("worker-1") };
    let held = b.claim(keyed.clone()).await;
    let claimed = b.note("claim, with request key");
    assert!(claimed.write <= 4.0 && claimed.requests <= 5, "{claimed:?}");
    b.claim(keyed).await;
    let cost = b.note("claim repeated with its key");
    // Its plan, which is refused by the one that stands.
    assert!(cost.write <= 1.0, "{cost:?}");
    let whole = [&create, &claimed, &completed];
    let write: f64 = whole.iter().map(|cost| cost.write).sum();
    let read: f64 = whole.iter().map(|cost| cost.read).sum();
    let requests: usize = whole.iter().map(|cost| cost.requests).sum();
    let cost = Cost { requests, read, write, ..Cost::default() };
    b.rows.push(("whole lifecycle, with request key".to_owned(), cost));
    assert!(write <= 11.0 && requests <= 7, "{write} write units, {requests} requests");

    // Another process has nothing to remember.
    let meter: Arc<dyn Meter> = b.heard.clone();
    let other = b.engine.store(Options { meter: Some(meter), ..Options::seeded(2) }).await;
    let warm = b.claim(claim("worker-1")).await;
    let warm = b.completion(&warm, 200);
    other.complete(warm, None).await.unwrap();
    b.heard.take();
    let complete = b.completion(&held, 200);
    other.complete(complete, None).await.unwrap();
    let cost = b.note("complete, of a task that another process gave out");
    assert!(cost.write <= 6.0 && cost.requests <= 2, "{cost:?}");

    let held = b.claim(claim("worker-1")).await;
    b.heard.take();
    let failure = baton_model::Failure { message: "out of memory".to_owned(), code: None, details: None };
    let fence = Fence { attempt: 1, worker: "worker-1".parse().unwrap() };
    let fail = Fail {
        now: at(2),
        task: held.head.id,
        fence,
        caller: Bounds::default(),
        failure,
        retryable: true,
        retry_after: None,
    };
    b.store.fail(fail).await.unwrap();
    let cost = b.note("fail, to be tried again");
    assert!(cost.write <= 4.0 && cost.requests <= 1, "{cost:?}");

    let held = b.claim(claim("worker-1")).await;
    b.heard.take();
    let complete = b.completion(&held, 200);
    b.store.complete(complete, Some(claim("worker-1"))).await.unwrap();
    b.note("complete, with a claim for the next");

    let spec = b.spec(200);
    let idempotency = Some(Idempotency { key: "k".to_owned(), fingerprint: spec.fingerprint() });
    let create = Create { now: at(0), tasks: vec![spec], atomic: false, idempotency, by: None };
    b.store.create(create).await.unwrap();
    let cost = b.note("create, with an idempotency key");
    assert!(cost.write <= 6.0, "{cost:?}");

    let spec = b.spec(10_000);
    let task = spec.id;
    let create = Create { now: at(0), tasks: vec![spec], atomic: false, idempotency: None, by: None };
    b.store.create(create).await.unwrap();
    b.note("create, 10 kB of params");
    b.store
        .cancel(Cancel { now: at(1), task, by: None, reason: None, with_dependants: false })
        .await
        .unwrap();
    b.note("cancel, of a task with 10 kB of params");
    let filter = TaskFilter { now: at(1), ..TaskFilter::default() };
    b.store.tasks(filter, PageRequest::first(50)).await.unwrap();
    b.note("list of 50 tasks");
    b.store.reap(Reap { watch: Watch::at(at(3)), limit: 100, worker: None, queue: None }).await.unwrap();
    b.note("reap, with nothing lost, one worker");
    b.store.purge(Purge::at(at(3))).await.unwrap();
    b.note("purge, the first of an hour");
    b.store.purge(Purge::at(at(63))).await.unwrap();
    b.note("purge, each minute");
    b.store.mend(Mend { now: at(63), limit: 500, after: None }).await.unwrap();
    b.note("look at blocked tasks, where there are none");
    let (note, _) = RoundNote::after(None, at(3));
    b.store.note_round(note).await.unwrap();
    b.note("keep the note of the reaper's round");
    b.store.last_round().await.unwrap();
    b.note("read the note of the reaper's last round");
    b.store.waiting(at(3)).await.unwrap();
    b.note("how long tasks wait, one queue");
    let empty = Claim { queues: vec!["empty".parse().unwrap()], ..claim("worker-1") };
    b.store.claim(empty.clone()).await.unwrap();
    b.note("claim that finds nothing, of a queue that is new to its worker");
    b.store.claim(empty).await.unwrap();
    b.note("claim that finds nothing in an unknown queue");
    b.store.flush().await.unwrap();
    b.note("counts written, about once a second a queue");
    b.store.stats(at(3)).await.unwrap();
    b.note("statistics, one queue, one worker");

    let held = b.claim(claim("worker-1")).await;
    let complete = b.completion(&held, 200);
    b.heard.take();
    let own = RequestKey::of_completion(held.head.id, held.head.attempt);
    let next = Claim { request: Some(own), ..claim("worker-1") };
    b.store.complete(complete, Some(next)).await.unwrap();
    let cost = b.note("complete, with a claim for the next that it names");
    assert!(cost.write <= 8.0 && cost.requests <= 5, "{cost:?}");
    b.print();
    b.documented();
}

/// What a claim is to take is looked for before its completion once; where that was in vain, the next pay for no look but their own.
#[tokio::test]
async fn a_claim_that_its_completion_names_pays_for_no_look_that_is_in_vain() {
    let mut b = Bench::open().await;
    b.create(4, 200).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(b.claim(claim("worker-1")).await);
    }
    let mut costs = Vec::new();
    for (task, named) in held.iter().zip([false, true, true, false]) {
        let complete = b.completion(task, 200);
        let own = RequestKey::of_completion(task.head.id, task.head.attempt);
        let other = format!("by-hand-{}", costs.len()).parse().unwrap();
        let next = Claim { request: Some(if named { own } else { other }), ..claim("worker-1") };
        b.heard.take();
        let answer = b.store.complete(complete, Some(next)).await.unwrap();
        assert_eq!(answer.next.unwrap().unwrap(), ClaimAnswer::Nothing(Nothing::NoneQueued));
        let cost = b.heard.take();
        costs.push((cost.requests, cost.write));
    }
    // The first pays for what its process makes known.
    assert_eq!(costs[1..], [costs[3]; 3]);
}

/// What tasks pay that depend on others, and those that others depend on.
#[tokio::test]
async fn tasks_that_wait_for_others_cost_what_is_told() {
    let mut b = Bench::open().await;
    b.create(2, 200).await;
    let first = b.claim(claim("worker-1")).await;
    let waits = TaskSpec { depends_on: vec![first.head.id], ..b.spec(200) };
    b.heard.take();
    let create = Create { now: at(1), tasks: vec![waits], atomic: false, idempotency: None, by: None };
    b.store.create(create).await.unwrap();
    b.note("create, of a task that waits for one other");
    let complete = b.completion(&first, 200);
    b.store.complete(complete, None).await.unwrap();
    b.note("complete, of a task that one other waits for, with letting go of that");
    b.store.inputs(vec![first.head.id]).await.unwrap();
    b.note("inputs of a claimed task that waited for one other");
    let ids: Vec<_> = (0..3).map(|_| b.spec(200)).collect();
    let mut tasks = ids.clone();
    tasks[1].depends_on = vec![ids[0].id];
    tasks[2].depends_on = vec![ids[0].id, ids[1].id];
    let create = Create { now: at(2), tasks, atomic: true, idempotency: None, by: None };
    b.store.create(create).await.unwrap();
    b.note("create, of three tasks in a row with three edges");
    b.documented();
}

/// What tasks pay that have a unique key, or expire.
#[tokio::test]
async fn unique_tasks_and_such_as_expire_cost_what_is_told() {
    let mut b = Bench::open().await;
    b.create(1, 200).await;
    let warm = b.claim(claim("worker-1")).await;
    let warm = b.completion(&warm, 200);
    b.store.complete(warm, None).await.unwrap();
    let create = |spec| Create { now: at(1), tasks: vec![spec], atomic: false, idempotency: None, by: None };
    let unique = || Some(Unique { key: "k".parse().unwrap(), held: UniqueWhile::Unfinished });
    let spec = TaskSpec { unique: unique(), ..b.spec(200) };
    let again = TaskSpec { unique: unique(), ..b.spec(200) };
    b.heard.take();
    b.store.create(create(spec)).await.unwrap();
    b.note("create, with a unique key");
    let answer = b.store.create(create(again)).await.unwrap();
    assert!(answer.items[0].as_ref().unwrap().deduplicated.is_some());
    b.note("create, whose unique key another task holds");
    let held = b.claim(claim("worker-1")).await;
    let complete = b.completion(&held, 200);
    b.heard.take();
    b.store.complete(complete, None).await.unwrap();
    b.note("complete, of a task with a unique key");
    let late = |b: &mut Bench| TaskSpec { expiry: Some(Expiry::At(at(100))), ..b.spec(200) };
    let spec = late(&mut b);
    b.heard.take();
    b.store.create(create(spec)).await.unwrap();
    b.note("create, of a task that expires");
    let held = b.claim(claim("worker-1")).await;
    let complete = b.completion(&held, 200);
    b.heard.take();
    b.store.complete(complete, None).await.unwrap();
    b.note("complete, of a task that expires");
    b.store.expire(Expire { now: at(1), limit: 100 }).await.unwrap();
    b.note("look for expired tasks, where there are none");
    let spec = late(&mut b);
    b.store.create(create(spec)).await.unwrap();
    b.heard.take();
    assert_eq!(b.store.expire(Expire { now: at(100), limit: 100 }).await.unwrap().tasks, 1);
    b.note("look for expired tasks, and fail one");
    b.print();
    b.documented();
}

/// What it costs to ask why a task waits: no more where more tasks wait.
#[tokio::test]
async fn why_a_task_waits_costs_what_is_told() {
    let mut b = Bench::open().await;
    b.create(1, 200).await;
    let first = b.claim(claim("worker-1")).await;
    b.store.heartbeat(beat("worker-1", vec![])).await.unwrap();
    let next = b.spec(200);
    let waits = TaskSpec { depends_on: vec![first.head.id], ..b.spec(200) };
    let [next_id, waits_id] = [next.id, waits.id];
    let create = |tasks| Create { now: at(1), tasks, atomic: false, idempotency: None, by: None };
    b.store.create(create(vec![next, waits])).await.unwrap();
    b.heard.take();
    assert_eq!(b.store.why(next_id, at(1)).await.unwrap().reasons, []);
    b.note("why, of a task that is next, one worker");
    assert_eq!(b.store.why(waits_id, at(1)).await.unwrap().reasons.len(), 1);
    b.note("why, of a task that waits for one other");
    let rules = LimitRules { max_running: Some(1), ..LimitRules::default() };
    let on: baton_model::LimitOn = "project/default".parse().unwrap();
    let limit = |rules| SetLimit { now: at(1), on: on.clone(), rules, by: None, reason: None };
    b.store.set_limit(limit(Some(rules))).await.unwrap();
    b.heard.take();
    assert!(b.store.why(next_id, at(1)).await.unwrap().is_kept());
    b.note("why, of a task at a full limit with one that holds it");
    b.store.set_limit(limit(None)).await.unwrap();
    let last = TaskSpec { priority: baton_model::Priority::Low, ..b.spec(200) };
    let last_id = last.id;
    b.store.create(create(vec![last])).await.unwrap();
    for _ in 0..2 {
        b.create(1_000, 200).await;
        b.heard.take();
        let reasons = b.store.why(last_id, at(1)).await.unwrap().reasons;
        let many = baton_model::why::Ahead { tasks: 1_000, at_least: true };
        assert_eq!(reasons, [baton_model::Reason::Behind(many)]);
        b.note("why, of a task with 1,000 and more before it");
    }
    b.print();
    b.documented();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_is_one_write_unit_whatever_it_lists() {
    let mut b = Bench::open().await;
    b.create(100, 200).await;
    let claim = Claim { max_tasks: 100, ..claim("worker-1") };
    let ClaimAnswer::Leased(tasks) = b.store.claim(claim).await.unwrap() else { panic!("expected tasks") };
    b.store.heartbeat(beat("worker-1", vec![])).await.unwrap();
    for count in [0, 1, 10, 100] {
        b.heard.take();
        let running: Vec<_> = tasks[..count].iter().map(listed).collect();
        let answer = b.store.heartbeat(beat("worker-1", running)).await.unwrap();
        assert_eq!(answer.lost, []);
        let cost = b.note(&format!("heartbeat that lists {count} tasks"));
        assert!(cost.write <= 1.0, "{cost:?}");
    }
    b.print();
    b.documented();
}

/// How much a worker has shipped in all is counted by the write that the heartbeat is anyway.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_ships_is_counted_for_no_unit_but_those_of_its_lines() {
    let b = Bench::open().await;
    let line = |n: u64| LogLine {
        at: at(n),
        received_at: at(3),
        worker: "worker-1".parse().unwrap(),
        task: None,
        level: Level::Info,
        source: "stderr".to_owned(),
        message: "x".repeat(94),
        metadata: None,
    };
    let lines = |count: u64| Beat { logs: (0..count).map(line).collect(), ..beat("worker-1", vec![]) };
    let mut shipped = 0;
    for count in [0, 2, 0, 3] {
        b.heard.take();
        let answer = b.store.heartbeat(lines(count)).await.unwrap();
        let cost = b.heard.take();
        shipped += count * 200;
        assert_eq!(answer.shipped, Some(shipped));
        assert!(
            cost.write <= 1.0 + count as f64 + 1.0,
            "{cost:?}: the beat, its lines, and the day's note once"
        );
    }
    // A new start keeps the count, which is of the name.
    let session = Some("01980a6e-5b7c-7cc3-98c4-dc0c0c073990".parse().unwrap());
    let answer = b.store.heartbeat(Beat { session, ..lines(1) }).await.unwrap();
    assert_eq!(answer.shipped, Some(shipped + 200));
    b.heard.take();
    b.store.heartbeat(Beat { session, ..lines(0) }).await.unwrap();
    assert!(b.heard.take().write <= 1.0);
}

/// A page of tasks of one status costs the same however many others there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_by_status_costs_what_its_page_costs() {
    let few = lists_by_status(60).await;
    let many = lists_by_status(400).await;
    for ((what, cost), (_, other)) in few.rows.iter().zip(&many.rows) {
        assert!(other.read <= cost.read + 2.0, "{what}: {cost:?}, among more others {other:?}");
    }
    many.print();
    few.documented();
}

/// Lists of twenty tasks of each status, among others.
async fn lists_by_status(others: usize) -> Bench {
    let mut b = Bench::open().await;
    b.create(others + 60, 200).await;
    let most = |count: u32| Claim { max_tasks: count, cap: 1_000, ..claim("worker-1") };
    let mut finished = 0;
    for round in 0.. {
        let want = u32::try_from((others + 40 - finished).min(100)).unwrap();
        if want == 0 {
            break;
        }
        let ClaimAnswer::Leased(tasks) = b.store.claim(most(want)).await.unwrap() else { panic!("{round}") };
        for (place, task) in tasks.iter().enumerate() {
            // The failed ones lie among the completed.
            if (finished + place) % (others / 20 + 2) == 0 {
                let failure = baton_model::Failure { message: "no".to_owned(), code: None, details: None };
                let fence = Fence { attempt: 1, worker: "worker-1".parse().unwrap() };
                let task = task.head.id;
                let fail = Fail {
                    now: at(2),
                    task,
                    fence,
                    caller: Bounds::default(),
                    failure,
                    retryable: false,
                    retry_after: None,
                };
                b.store.fail(fail).await.unwrap();
            } else {
                let complete = b.completion(task, 200);
                b.store.complete(complete, None).await.unwrap();
            }
        }
        finished += tasks.len();
    }
    b.store.claim(most(20)).await.unwrap();
    b.create(others, 200).await;
    b.heard.take();
    for status in [Status::Failed, Status::Queued, Status::Running, Status::Completed] {
        let filter = TaskFilter { now: at(3), statuses: vec![status], ..TaskFilter::default() };
        let page = b.store.tasks(filter, PageRequest::first(20)).await.unwrap();
        assert!(page.items.len() >= 19, "{status:?}: {}", page.items.len());
        b.note(&format!("list of 20 {} tasks", status.as_str()));
    }
    b
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_worker_costs_what_others_do() {
    let mut b = Bench::open().await;
    let film: ProjectId = "film".parse().unwrap();
    let queue: QueueName = "film".parse().unwrap();
    let tasks = (0..300).map(|_| TaskSpec { project: film.clone(), queue: queue.clone(), ..b.spec(200) });
    let create = Create { now: at(0), tasks: tasks.collect(), atomic: false, idempotency: None, by: None };
    b.store.create(create).await.unwrap();
    let bound = Claim { caller: Owner::Project(film.clone()), queues: vec![queue], ..claim("worker-1") };
    let beat = Beat { caller: Owner::Project(film), ..beat("worker-1", vec![]) };
    b.claim(bound.clone()).await;
    b.store.heartbeat(beat.clone()).await.unwrap();
    b.heard.take();
    let held = b.claim(bound).await;
    b.note("claim for a project, in a queue of its own");
    assert_eq!(held.project.as_str(), "film");
    b.store.heartbeat(beat).await.unwrap();
    b.note("heartbeat of a worker that is bound to a project");
    b.print();
    b.documented();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_known_for_one_read() {
    let mut b = Bench::open().await;
    let stored = |id: [u8; 16]| {
        let id = TokenId::from_bytes(id);
        let token = Token {
            id,
            name: "render farm, second floor".parse().unwrap(),
            grant: Grant {
                scopes: [Scope::Worker].into(),
                queues: (0..10).map(|n| format!("queue-{n}").parse().unwrap()).collect(),
                project: Some("film".parse().unwrap()),
            },
            requests_per_second: Some(100),
            created_at: at(0),
            created_by: Some("the first operator".parse().unwrap()),
            expires_at: Some(at(1_000)),
            revoked_at: None,
            last_used_at: None,
        };
        StoredToken { token, digest: TokenSecret::new(id, [3; TokenSecret::BYTES]).digest() }
    };
    let token = stored(b.id());
    let id = token.token.id;
    b.heard.take();
    b.store.create_token(token.clone()).await.unwrap();
    b.note("make a token that expires");
    assert_eq!(b.store.token(id).await.unwrap(), Some(token));
    b.note("know a caller by its token");
    b.store.token_used(id, at(1)).await.unwrap();
    b.note("note a token's use");
    b.store.tokens(PageRequest::first(50)).await.unwrap();
    b.note("list of tokens, a few");
    b.store.revoke_token(id, at(2)).await.unwrap();
    b.note("revoke a token");
    let entry = AuditEntry {
        id: AuditId::from_bytes(b.id()),
        at: at(0),
        action: "cancel_task".to_owned(),
        target: "/v1/tasks/01980a6e-5b7c-7cc3-98c4-dc0c0c07398f/cancel".to_owned(),
        token: Some(id),
        token_name: Some("render farm, second floor".parse().unwrap()),
        request_id: Some("01980a6e-5b7c-7cc3-98c4-dc0c0c07398f".to_owned()),
        by: None,
        reason: None,
        outcome: None,
        change: None,
    };
    let entry_id = entry.id;
    b.store.record(entry).await.unwrap();
    b.note("record an audit entry");
    b.store.settle(entry_id, baton_store::Settled::with(200)).await.unwrap();
    b.note("settle an audit entry");
    b.store.audit(AuditFilter::default(), PageRequest::first(50)).await.unwrap();
    b.note("page of the audit log, a few entries");
    b.print();
    b.documented();
}

/// Records of the stream, all of the same second.
fn records(stream: &mut crate::engine::Stream) -> Vec<String> {
    let second = |(_, record): (String, String)| {
        let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
        record["dynamodb"]["ApproximateCreationDateTime"] = 1_800_000_000.into();
        record.to_string()
    };
    stream.read().into_iter().map(second).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_kept_by_the_stream_cost_little_beside_the_tasks() {
    let (engine, mut stream) = Engine::with_stream(KeptBy::Stream).await;
    let mut b = Bench::on(engine).await;
    b.create(1, 200).await;
    b.claim(claim("worker-1")).await;
    b.store.count(&records(&mut stream)).await;
    b.heard.take();

    b.create(1, 200).await;
    b.heard.take();
    b.store.count(&records(&mut stream)).await;
    b.note("counted by the stream: 1 record");

    let held = b.claim(claim("worker-1")).await;
    let complete = b.completion(&held, 200);
    b.store.complete(complete, None).await.unwrap();
    b.create(1, 200).await;
    b.heard.take();
    let lifecycle = records(&mut stream);
    b.store.count(&lifecycle).await;
    b.note("counted by the stream: a lifecycle's 3 records");
    b.store.count(&lifecycle).await;
    b.note("(counted by the stream: the same again)");

    b.create(100, 200).await;
    b.heard.take();
    let hundred: Vec<_> =
        records(&mut stream).into_iter().filter(|record| record.contains("NewImage")).collect();
    b.store.count(&hundred).await;
    let counted = b.note("counted by the stream: 100 records");
    assert!(counted.write <= 40.0, "{counted:?}");

    let reap = || Reap { watch: Watch::at(at(5)), limit: 100, worker: None, queue: None };
    b.heard.take();
    b.store.reap(reap()).await.unwrap();
    b.note("reap, with nothing lost, one worker, and the tick");
    b.store.count(&records(&mut stream)).await;
    b.note("counted by the stream: the tick");
    b.store.stats(at(6)).await.unwrap();
    b.note("statistics kept by the stream, one queue, one worker");
    b.print();
    b.documented();
}
