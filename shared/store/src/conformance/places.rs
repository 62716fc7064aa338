//! The places of a limit: who waits for one, and who is given one that becomes free.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use baton_model::{Bounds, EventKind, LimitRules, Priority, State, Status, Task, TaskId, TaskSpec};

use super::kit::*;
use super::limits::{keyed, limit, most, no_limit, owner, rate, stopped};
use crate::{ClaimAnswer, Complete, Fail, Nothing, Release, Retry, StoreError, TaskFilter};

/// The tasks that a claim is given, if any.
fn given(answer: Result<ClaimAnswer, StoreError>) -> Vec<Task> {
    match answer.expect("the claim is taken") {
        ClaimAnswer::Leased(tasks) => tasks,
        ClaimAnswer::Nothing(_) => Vec::new(),
    }
}

/// A task over a limit costs no attempt, stays where it is, and holds up nobody behind it, however many there are.
pub async fn a_task_over_a_limit_holds_up_nobody_behind_it(b: Bench) {
    limit(&*b.store(), at(0), "queue/a/key/*", most(1)).await;
    let over = (0..200).map(|_| keyed(b.spec("render").queue("a").priority(Priority::High), "x")).collect();
    let over = b.create_all(at(0), over).await;
    let free = b.create(at(0), keyed(b.spec("render").queue("a").priority(Priority::Low), "y")).await;
    let held = b.claim(claim("w1", at(1)).queues(&["a"]).max(2)).await;
    assert_eq!(ids_of(&held), [over[0], free]);
    for id in &over[1..] {
        let detail = b.task(*id).await;
        assert_eq!((detail.task.head.attempt, detail.task.status(at(1))), (0, Status::Queued));
        assert_eq!(detail.history.len(), 1);
    }
    let mut last = held[0].clone();
    for id in &over[1..5] {
        b.complete(at(2), &last).await;
        last = b.claim_one(claim("w1", at(2)).queues(&["a"])).await;
        assert_eq!(last.head.id, *id);
    }
    b.check(at(3)).await;
}

/// What a limit has let go of, and what did not start because its place went to another, holds up nobody behind it either, however
/// many kinds of such tasks there are; and all of it gets its turn.
pub async fn what_a_limit_has_let_go_of_holds_up_nobody_behind_it(b: Bench) {
    const KINDS: usize = 80;
    limit(&*b.store(), at(0), "project/film", most(1)).await;
    let kind = |n: usize| format!("kind-{}", n % KINDS);
    let over = (0..2 * KINDS).map(|n| b.spec(&kind(n)).queue("a").project("film").priority(Priority::High));
    let over = b.create_all(at(0), over.collect()).await;
    let mut held = b.claim_one(claim("w1", at(1)).queues(&["a"])).await;
    for next in &over[1..4] {
        stopped(&b, claim("w2", at(1)).queues(&["a"]), "project/film").await;
        let free = b.spec("render").queue("a").project("game").priority(Priority::Low);
        let free = b.create(at(0), free).await;
        let given = b.claim_one(claim("w2", at(1)).queues(&["a"])).await;
        assert_eq!(given.head.id, free);
        b.complete(at(1), &given).await;
        b.complete(at(1), &held).await;
        held = b.claim_one(claim("w1", at(1)).queues(&["a"])).await;
        assert_eq!(held.head.id, *next);
    }
    // A claim of few kinds finds its task among them, too.
    let asked = KINDS + 3;
    b.complete(at(2), &held).await;
    let given = b.claim_one(claim("w1", at(2)).queues(&["a"]).types(&[&kind(asked)])).await;
    assert_eq!(given.head.id, over[asked]);
    b.check(at(3)).await;
}

/// Whatever ends an attempt frees its place: completing, failing, giving back, cancelling, and the reaper.
pub async fn every_end_of_an_attempt_frees_its_place(b: Bench) {
    limit(&*b.store(), at(0), "project/film", most(1)).await;
    let specs = (0..7).map(|_| b.spec("render").project("film")).collect();
    let ids = b.create_all(at(0), specs).await;
    for (round, id) in ids[..6].iter().enumerate() {
        let now = at(1 + 200 * round as u64);
        let held = b.claim_one(claim("w1", now)).await;
        assert_eq!(held.head.id, *id);
        stopped(&b, claim("w2", now), "project/film").await;
        match round {
            0 => drop(b.complete(now, &held).await),
            1 => drop(b.fail(Fail { retry_after: Some(secs(9_000)), ..failing(now, &held) }).await),
            2 => drop(b.release(Release { delay: secs(9_000), ..releasing(now, &held) }).await),
            3 => drop(b.cancel(now, held.head.id).await),
            4 => {
                assert_eq!(b.reap(now.plus(secs(100))).await.len(), 1);
                b.cancel(now.plus(secs(101)), held.head.id).await;
            }
            _ => {}
        }
    }
    b.check(at(2_000)).await;
}

/// A key whose limit is one gives its tasks strictly in their order, over several workers and batches.
pub async fn a_key_with_a_limit_of_one_is_strictly_in_order(b: Bench) {
    limit(&*b.store(), at(0), "queue/a/key/*", most(1)).await;
    let mut ids = Vec::new();
    for batch in 0..4 {
        let specs = (0..5).map(|_| keyed(b.spec("render").queue("a"), "x")).collect();
        ids.extend(b.create_all(at(batch), specs).await);
    }
    for (round, id) in ids.iter().enumerate() {
        let now = at(10 + round as u64);
        let held = b.claim(claim(&format!("w{}", round % 3), now).queues(&["a"]).max(5)).await;
        assert_eq!(ids_of(&held), [*id]);
        if round + 1 < ids.len() {
            stopped(&b, claim("other", now).queues(&["a"]), "queue/a/key/x").await;
        }
        b.complete(now, &held[0]).await;
    }
    b.check(at(100)).await;
}

/// A task of a key that waits for its next attempt holds its successors back if the limit says so, else lets them pass.
pub async fn a_retry_holds_its_successors_back_or_lets_them_pass(b: Bench) {
    for holds_retries in [true, false] {
        let queue = if holds_retries { "strict" } else { "loose" };
        limit(&*b.store(), at(0), &format!("queue/{queue}/key/*"), LimitRules { holds_retries, ..most(1) })
            .await;
        let specs = (0..3).map(|_| keyed(b.spec("render").queue(queue), "x")).collect();
        let ids = b.create_all(at(0), specs).await;
        let ask = |seconds: u64| claim("w1", at(seconds)).queues(&[queue]);
        let first = b.claim_one(ask(1)).await;
        b.fail(Fail { retry_after: Some(secs(50)), ..failing(at(2), &first) }).await;
        if !holds_retries {
            let second = b.claim_one(ask(3)).await;
            assert_eq!(second.head.id, ids[1]);
            b.complete(at(4), &second).await;
            continue;
        }
        stopped(&b, ask(3), "queue/strict/key/x").await;
        let again = b.claim_one(ask(52)).await;
        assert_eq!((again.head.id, again.head.attempt), (ids[0], 2));
        stopped(&b, ask(53), "queue/strict/key/x").await;
        b.release(Release { delay: secs(20), ..releasing(at(54), &again) }).await;
        stopped(&b, ask(60), "queue/strict/key/x").await;
        let third = b.claim_one(ask(74)).await;
        assert_eq!(third.head.id, ids[0]);
        // Its end lets the next one pass, whatever it is.
        b.fail(Fail { retryable: false, ..failing(at(75), &third) }).await;
        let second = b.claim_one(ask(76)).await;
        assert_eq!(second.head.id, ids[1]);
        b.fail(Fail { retry_after: Some(secs(1_000)), ..failing(at(77), &second) }).await;
        stopped(&b, ask(78), "queue/strict/key/x").await;
        b.cancel(at(79), ids[1]).await;
        assert_eq!(b.claim_one(ask(80)).await.head.id, ids[2]);
    }
    b.check(at(2_000)).await;
}

/// A task whose last attempt was lost gives its place to its successors when it fails for good, and holds one again when it is put back.
pub async fn a_lost_task_that_is_put_back_holds_its_place(b: Bench) {
    limit(&*b.store(), at(0), "queue/a/key/*", LimitRules { holds_retries: true, ..most(1) }).await;
    let ask = |seconds: u64| claim("w1", at(seconds)).queues(&["a"]);
    let specs = (0..3).map(|_| keyed(b.spec("render").queue("a").attempts(1), "x")).collect();
    let ids = b.create_all(at(0), specs).await;
    b.claim_one(ask(1).fixed(secs(5))).await;
    assert_eq!(b.reap(at(20)).await.len(), 1);
    assert_eq!(b.task(ids[0]).await.task.status(at(20)), Status::Failed);
    let second = b.claim_one(ask(21)).await;
    assert_eq!(second.head.id, ids[1]);
    b.complete(at(22), &second).await;
    let again = Retry { delay: secs(50), ..retry(at(23), ids[0]) };
    b.store().retry(again).await.expect("it is put back");
    stopped(&b, ask(24), "queue/a/key/x").await;
    let first = b.claim_one(ask(73)).await;
    assert_eq!((first.head.id, first.head.attempt), (ids[0], 2));
    b.complete(at(74), &first).await;
    assert_eq!(b.claim_one(ask(75)).await.head.id, ids[2]);
    b.check(at(76)).await;
}

/// What waits at a limit is queued to everybody: it is listed and counted so, can be cancelled and retried, and its queue paused.
pub async fn what_waits_at_a_limit_is_queued_to_everybody(b: Bench) {
    limit(&*b.store(), at(0), "queue/a/key/*", most(1)).await;
    let specs = (0..5).map(|_| keyed(b.spec("render").queue("a"), "x")).collect();
    let ids = b.create_all(at(0), specs).await;
    let ask = |seconds: u64| claim("w1", at(seconds)).queues(&["a"]);
    let held = b.claim_one(ask(1)).await;
    stopped(&b, ask(1), "queue/a/key/x").await;
    b.check(at(1)).await;
    let queued = TaskFilter { now: at(1), statuses: vec![Status::Queued], ..TaskFilter::default() };
    let mut listed = b.ids_by(queued.clone()).await;
    listed.sort();
    assert_eq!(listed, ids[1..]);
    let stats = b.store().queue(&name("a"), at(5)).await.unwrap();
    b.settle().await;
    assert_eq!((stats.queued, stats.running), (4, 1));
    assert_eq!(stats.oldest_ready, Some(secs(5)));
    // The first of those that wait is cancelled and put back: it comes behind them then.
    assert_eq!(b.cancel(at(5), ids[1]).await.head.state.state(), State::Cancelled);
    assert_eq!(b.retry(at(6), ids[1]).await.status(at(6)), Status::Queued);
    b.pause(at(6), "a", true).await;
    b.complete(at(6), &held).await;
    assert!(matches!(b.nothing(ask(7)).await, Nothing::Paused { .. }));
    b.pause(at(7), "a", false).await;
    for id in [ids[2], ids[3], ids[4], ids[1]] {
        let next = b.claim_one(ask(8)).await;
        assert_eq!(next.head.id, id);
        b.complete(at(8), &next).await;
    }
    b.check(at(9)).await;
}

/// Of those that wait at a limit, a higher priority goes first, also one that came later.
pub async fn a_higher_priority_goes_first_at_a_limit(b: Bench) {
    limit(&*b.store(), at(0), "project/default", most(1)).await;
    let mut held = b.running(at(0), "w1", b.spec("render")).await;
    let low = b.create(at(0), b.spec("render").priority(Priority::Low)).await;
    let normal = b.create(at(1), b.spec("render")).await;
    stopped(&b, claim("w1", at(2)), "project/default").await;
    let critical = b.create(at(2), b.spec("bake").priority(Priority::Critical)).await;
    let earlier = b.create(at(2), b.spec("bake").due(at(1).minus(millis(1)))).await;
    for id in [critical, earlier, normal, low] {
        b.complete(at(3), &held).await;
        held = b.claim_one(claim("w1", at(3))).await;
        assert_eq!(held.head.id, id);
    }
    b.check(at(4)).await;
}

/// A free place of a limit that several queues, types or projects share goes to those that somebody asks for: a task that no worker
/// takes stands in nobody's way.
pub async fn a_free_place_waits_for_no_worker_that_never_comes(b: Bench) {
    limit(&*b.store(), at(0), "owner/acme", most(1)).await;
    for project in ["film", "game"] {
        owner(&*b.store(), at(0), project, Some("acme")).await;
    }
    // The first in every order, and nobody claims it.
    for (queue, task_type, project) in
        [("never", "render", "film"), ("a", "never", "film"), ("a", "render", "film")]
    {
        let spec = b.spec(task_type).queue(queue).project(project).priority(Priority::Critical);
        b.create_all(at(0), vec![spec.clone(), TaskSpec { id: b.task_id(), ..spec }]).await;
    }
    let wanted: Vec<_> = (0..4).map(|_| b.spec("render").queue("a").project("game")).collect();
    let wanted = b.create_all(at(0), wanted).await;
    let mut held = b.running(at(0), "w0", b.spec("render").queue("first").project("film")).await;
    let mut ask = claim("w1", at(1)).queues(&["a"]).types(&["render"]).project("game");
    for id in wanted {
        stopped(&b, ask.clone(), "owner/acme").await;
        b.complete(at(2), &held).await;
        ask.now = at(2);
        held = b.claim_one(ask.clone()).await;
        assert_eq!(held.head.id, id);
    }
    b.check(at(3)).await;
}

/// A place that becomes free rings for those that wait at the limit.
pub async fn a_free_place_rings(mut b: Bench) {
    for on in ["queue/a", "queue/a/key/*", "project/*"] {
        limit(&*b.store(), at(0), on, most(1)).await;
        b.create_all(at(0), (0..2).map(|_| keyed(b.spec("render").queue("a"), "x")).collect()).await;
        let held = b.claim_one(claim("w1", at(1)).queues(&["a"])).await;
        assert!(matches!(b.nothing(claim("w2", at(1)).queues(&["a"])).await, Nothing::AtLimit { .. }));
        b.hush();
        b.complete(at(2), &held).await;
        let ring = b.hear("for the place that is free", |ready| ready.queue == name("a")).await;
        assert!(ring.run_after <= at(2));
        let held = b.claim_one(claim("w2", at(2)).queues(&["a"])).await;
        b.complete(at(3), &held).await;
        no_limit(&*b.store(), at(3), on).await;
    }
}

/// It also rings for those whose place went to another before: in their own queue, where a claim waits that has seen them.
pub async fn a_free_place_rings_for_those_that_missed_one(mut b: Bench) {
    limit(&*b.store(), at(0), "project/default", most(1)).await;
    b.create_all(at(0), (0..2).map(|_| b.spec("render").queue("a")).collect()).await;
    let missed = b.create(at(0), b.spec("render").queue("b")).await;
    let mut held = b.claim_one(claim("w1", at(1)).queues(&["a"])).await;
    for queue in ["a", "b"] {
        stopped(&b, claim("w2", at(1)).queues(&[queue]), "project/default").await;
    }
    b.complete(at(2), &held).await;
    held = b.claim_one(claim("w1", at(2)).queues(&["a"])).await;
    stopped(&b, claim("w2", at(2)).queues(&["b"]), "project/default").await;
    b.hush();
    b.complete(at(3), &held).await;
    let ring = b.hear("for the place that is free", |ready| ready.queue == name("b")).await;
    assert!(ring.run_after <= at(3));
    assert_eq!(b.claim_one(claim("w2", at(3)).queues(&["b"])).await.head.id, missed);
    b.check(at(4)).await;
}

/// Of claims at once by 64 workers, as many are given a task as a limit has places, for limits of 1, 5 and 50; and while they work
/// through all tasks, it is at no moment exceeded.
pub async fn claims_at_once_use_a_limit_to_the_full_and_never_exceed_it(b: Bench) {
    const WORKERS: u64 = 64;
    // Of few places, each is taken again and again.
    for (place, (places, count)) in [(1_u32, 20), (5, 30), (50, 64)].into_iter().enumerate() {
        let queue = format!("q{places}");
        let on = ["key/*", "project/*"][place % 2];
        limit(&*b.store(), at(0), &format!("queue/{queue}/{on}"), most(places)).await;
        let specs = (0..count).map(|_| keyed(b.spec("render").queue(&queue), "x")).collect();
        b.create_all(at(0), specs).await;
        let clock = Arc::new(AtomicU64::new(1));
        let (running, left) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(count)));
        let full = Arc::new(tokio::sync::Barrier::new(WORKERS as usize));
        // Who is given nothing asks again once a place is free.
        let free = Arc::new(tokio::sync::Notify::new());
        let workers = (0..WORKERS).map(|n| {
            let (store, worker, queue) = (b.store(), format!("{queue}-w{n}"), queue.clone());
            let (clock, running, left) = (Arc::clone(&clock), Arc::clone(&running), Arc::clone(&left));
            let (full, free) = (Arc::clone(&full), Arc::clone(&free));
            let tick = move || at(1).plus(millis(clock.fetch_add(1, Ordering::SeqCst)));
            let mut serial = 1_000_000 * (n + 1) + 100_000_000 * u64::from(places);
            async move {
                let mut first = true;
                while left.load(Ordering::SeqCst) > 0 {
                    let claim = claim(&worker, tick()).queues(&[&queue]).max(3);
                    let tasks = given(store.claim(claim).await);
                    let count = tasks.len() as u32;
                    let now_running = running.fetch_add(count, Ordering::SeqCst) + count;
                    assert!(now_running <= places, "{now_running} run under a limit of {places}");
                    if std::mem::take(&mut first) {
                        full.wait().await;
                        assert_eq!(running.load(Ordering::SeqCst), places, "all places are taken");
                        full.wait().await;
                    }
                    if tasks.is_empty() && running.load(Ordering::SeqCst) > 0 {
                        free.notified().await;
                    }
                    for task in tasks {
                        tokio::task::yield_now().await;
                        running.fetch_sub(1, Ordering::SeqCst);
                        serial += 1;
                        let complete = Complete {
                            now: tick(),
                            task: task.head.id,
                            fence: fence(&task),
                            caller: Bounds::default(),
                            generation: baton_model::GenerationId::from_bytes(counted_id(serial)),
                            output: output("out"),
                            ran: None,
                        };
                        store.complete(complete, None).await.expect("the completion is taken");
                        left.fetch_sub(1, Ordering::SeqCst);
                        free.notify_one();
                    }
                    tokio::task::yield_now().await;
                }
                free.notify_one();
            }
        });
        at_once(workers).await;
    }
    b.check(at(100_000)).await;
}

/// Of keys whose limit is one, tasks start in the order of their arrival and one at a time, whoever claims them at the same time, while
/// some are put aside and let go of and others come.
pub async fn claims_at_once_keep_the_order_of_a_key(b: Bench) {
    const WORKERS: u64 = 12;
    const KEYS: [&str; 4] = ["w", "x", "y", "z"];
    const TASKS: usize = 6;
    limit(&*b.store(), at(0), "queue/a/key/*", most(1)).await;
    let specs = || -> Vec<TaskSpec> {
        (0..TASKS).flat_map(|_| KEYS).map(|key| keyed(b.spec("render").queue("a"), key)).collect()
    };
    let first = b.create_all(at(0), specs()).await;
    // They come while the others are worked through.
    let later = specs();
    let ids: Vec<TaskId> = first.into_iter().chain(later.iter().map(|spec| spec.id)).collect();
    b.note_created(later.iter().map(|spec| spec.id));
    let started: Arc<Mutex<BTreeMap<String, Vec<TaskId>>>> = Arc::default();
    let running: Arc<Mutex<BTreeMap<String, TaskId>>> = Arc::default();
    let left = Arc::new(AtomicU32::new(ids.len() as u32));
    let clock = Arc::new(AtomicU64::new(1));
    let creator = {
        let (store, clock) = (b.store(), Arc::clone(&clock));
        async move {
            for spec in later {
                let now = at(1).plus(millis(clock.fetch_add(1, Ordering::SeqCst)));
                store.create(creation(now, vec![spec])).await.expect("the creation is taken");
            }
        }
    };
    let workers = (0..WORKERS).map(|n| {
        let (store, worker, clock) = (b.store(), format!("w{n}"), Arc::clone(&clock));
        let (started, running, left) = (Arc::clone(&started), Arc::clone(&running), Arc::clone(&left));
        let tick = move || at(1).plus(millis(clock.fetch_add(1, Ordering::SeqCst)));
        let mut serial = 200_000_000 + 1_000_000 * n;
        async move {
            while left.load(Ordering::SeqCst) > 0 {
                for task in given(store.claim(claim(&worker, tick()).queues(&["a"])).await) {
                    let key = task.concurrency_key.clone().expect("each has a key").to_string();
                    // What has started has not ended yet, and the next of its key starts only then: so they are noted in their order.
                    let other = running.lock().unwrap().insert(key.clone(), task.head.id);
                    assert_eq!(other, None, "two of {key} run at once");
                    started.lock().unwrap().entry(key.clone()).or_default().push(task.head.id);
                    tokio::task::yield_now().await;
                    running.lock().unwrap().remove(&key);
                    serial += 1;
                    let complete = Complete {
                        now: tick(),
                        task: task.head.id,
                        fence: fence(&task),
                        caller: Bounds::default(),
                        generation: baton_model::GenerationId::from_bytes(counted_id(serial)),
                        output: output("out"),
                        ran: None,
                    };
                    store.complete(complete, None).await.expect("the completion is taken");
                    left.fetch_sub(1, Ordering::SeqCst);
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let workers = tokio::spawn(at_once(workers.collect::<Vec<_>>()));
    creator.await;
    workers.await.expect("every claim is right");
    let started = started.lock().unwrap().clone();
    for (place, key) in KEYS.into_iter().enumerate() {
        let arrived: Vec<TaskId> = ids.iter().skip(place).step_by(KEYS.len()).copied().collect();
        assert_eq!(started[key], arrived, "the tasks of {key} start as they have come");
    }
    for id in ids {
        let kinds: Vec<EventKind> = b.task(id).await.history.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Created, EventKind::Claimed, EventKind::Completed]);
    }
    b.check(at(100_000)).await;
}

/// Of claims at once by 16 workers no more tasks start than a rate lets start, and what it lets start is given out.
pub async fn claims_at_once_start_no_more_than_a_rate_allows(b: Bench) {
    const WORKERS: usize = 16;
    for (round, on) in ["queue/a", "queue/a/key/*"].into_iter().enumerate() {
        let begin = 10_000 * round as u64;
        limit(&*b.store(), at(begin), on, rate(6, 60, 3)).await;
        let specs = (0..2 * WORKERS).map(|_| keyed(b.spec("render").queue("a"), "x")).collect();
        b.create_all(at(begin), specs).await;
        // A burst after a rest, and then one each ten seconds; after 35 of them, three.
        for (seconds, starts) in [(100, 3), (100, 0), (110, 1), (119, 0), (120, 1), (155, 3), (156, 0)] {
            let now = at(begin + seconds);
            let ask = move |n: usize| claim(&format!("w{n}"), now).queues(&["a"]).max(4);
            let claims = (0..WORKERS).map(|n| {
                let store = b.store();
                async move { given(store.claim(ask(n)).await).len() }
            });
            let begun: usize = at_once(claims.collect::<Vec<_>>()).await.into_iter().sum();
            assert!(begun <= starts, "{begun} start by {on} where {starts} may, after {seconds} s");
            let rest = given(b.store().claim(ask(0)).await).len();
            assert_eq!(begun + rest, starts, "by {on} after {seconds} s");
        }
        no_limit(&*b.store(), at(begin + 200), on).await;
    }
    b.check(at(20_000)).await;
}

/// A claim gives out what its worker holds: of tasks that are cancelled while they are claimed under a limit, either the claim comes
/// first and its answer is a running task, or the task is not in the answer.
pub async fn what_is_cancelled_while_it_is_claimed_is_given_to_nobody(b: Bench) {
    const TASKS: usize = 60;
    limit(&*b.store(), at(0), "project/*", most(TASKS as u32)).await;
    let ids = b.create_all(at(0), (0..TASKS).map(|_| b.spec("render")).collect()).await;
    let left = Arc::new(AtomicU32::new(1));
    let workers = (0..3).map(|n| {
        let (store, left) = (b.store(), Arc::clone(&left));
        async move {
            while left.load(Ordering::SeqCst) > 0 {
                for task in given(store.claim(claim(&format!("w{n}"), at(1)).max(4).cap(200)).await) {
                    assert_eq!(task.head.state.state(), State::Running, "{}", task.head.id);
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let workers = tokio::spawn(at_once(workers.collect::<Vec<_>>()));
    for id in &ids {
        b.store().cancel(cancel(at(2), *id)).await.expect("the cancellation is taken");
    }
    left.store(0, Ordering::SeqCst);
    workers.await.expect("every claim is right");
    b.check(at(3)).await;
}
