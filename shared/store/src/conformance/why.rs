//! Why a task waits: each reason by itself, all of them in their order, and that a claim is given a task exactly if nothing keeps
//! it.

use baton_model::why::{Ahead, FullLimit, Holder, Waited, word};
use baton_model::{Directive, Priority, Reason, Status, TaskId, Timestamp, Why, WorkerStatus};

use super::kit::*;
use super::limits::{limit, most, no_limit, rate};
use crate::{Beat, ClaimAnswer, PauseQueue, StoreError};

impl Bench {
    /// Why a task waits.
    async fn why(&self, now: Timestamp, id: TaskId) -> Why {
        self.settle().await;
        self.store().why(id, now).await.expect("the task exists")
    }

    /// The words of its reasons, in their order.
    async fn words(&self, now: Timestamp, id: TaskId) -> Vec<&'static str> {
        self.why(now, id).await.reasons.iter().map(Reason::word).collect()
    }

    /// A worker that lives at `now` and takes what this queue has.
    async fn takes(&self, now: Timestamp, worker: &str, queue: &str) {
        let claimed = self.store().claim(claim(worker, now).queues(&[queue])).await;
        assert!(matches!(claimed, Ok(ClaimAnswer::Nothing(_))), "{claimed:?}");
        self.beat(beat(worker, now)).await;
    }
}

fn waited(why: &Why) -> Vec<(TaskId, Option<Status>)> {
    match why.reasons.first() {
        Some(Reason::Blocked { by }) => {
            let status = |one: &Waited| one.standing.as_ref().map(|standing| standing.status);
            by.iter().map(|one| (one.task, status(one))).collect()
        }
        other => panic!("expected it to be blocked, got {other:?}"),
    }
}

fn full_limits(why: &Why) -> Vec<&FullLimit> {
    let mut full = Vec::new();
    for reason in &why.reasons {
        if let Reason::AtLimit(limit) = reason {
            full.push(limit);
        }
    }
    full
}

fn no_worker(why: &Why) -> Option<Option<(&str, WorkerStatus)>> {
    why.reasons.iter().find_map(|reason| match reason {
        Reason::NoWorker { last, unseen: false } => {
            Some(last.as_ref().map(|last| (last.worker.as_str(), last.status)))
        }
        _ => None,
    })
}

fn ahead(why: &Why) -> Option<Ahead> {
    why.reasons.iter().find_map(|reason| match reason {
        Reason::Behind(ahead) => Some(*ahead),
        _ => None,
    })
}

/// A task that only a claim is missing for has no reason to wait.
pub async fn a_task_that_is_next_has_no_reason(b: Bench) {
    b.takes(at(0), "w1", "default").await;
    let id = b.create(at(1), b.spec("render").project("film")).await;
    let why = b.why(at(1), id).await;
    let told = (why.task, why.queue.as_str(), why.project.as_str(), why.task_type.as_str());
    assert_eq!(told, (id, "default", "film", "render"));
    assert_eq!((why.status, why.attempt, why.waits()), (Status::Queued, 0, true));
    assert_eq!(why.reasons, []);
    assert_eq!(b.claim_one(claim("w1", at(1))).await.head.id, id);
    b.check(at(2)).await;
}

/// A task that runs does not wait, and it is said who runs it; nor does one that has ended. One that does not exist is not found.
pub async fn a_task_that_runs_or_has_ended_does_not_wait(b: Bench) {
    limit(&*b.store(), at(0), "queue/default", most(1)).await;
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let id = held.head.id;
    let why = b.why(at(1), id).await;
    let told = (why.status, why.attempt, why.worker.as_ref().map(|worker| worker.as_str()));
    assert_eq!(told, (Status::Running, 1, Some("w1")));
    assert_eq!((why.waits(), why.reasons), (false, Vec::new()));
    b.complete(at(2), &held).await;
    let why = b.why(at(3), id).await;
    assert_eq!((why.status, why.worker, why.reasons), (Status::Completed, None, Vec::new()));
    let unknown = b.task_id();
    assert_err!(b.store().why(unknown, at(3)).await, StoreError::TaskNotFound(id) if id == unknown);
    b.check(at(4)).await;
}

/// A task that waits for others names those that have not ended, each with its status.
pub async fn a_blocked_task_names_what_it_waits_for(b: Bench) {
    b.takes(at(0), "w1", "default").await;
    let first = b.running(at(1), "w1", b.spec("render")).await;
    let done = b.running(at(1), "w1", b.spec("render")).await;
    b.complete(at(1), &done).await;
    let later = b.create(at(1), b.spec("render").due(at(90))).await;
    let needs = [first.head.id, done.head.id, later];
    let id = b.create(at(1), b.spec("bake").after(&needs)).await;
    b.follow(at(1)).await;
    let why = b.why(at(2), id).await;
    assert_eq!(why.status, Status::Blocked);
    let expected = [(first.head.id, Some(Status::Running)), (later, Some(Status::Created))];
    assert_eq!(waited(&why), expected);
    b.complete(at(3), &first).await;
    assert_eq!(waited(&b.why(at(90), id).await), [(later, Some(Status::Queued))]);
    let last = b.claim_one(claim("w1", at(90))).await;
    b.complete(at(91), &last).await;
    b.follow(at(91)).await;
    b.beat(beat("w1", at(91))).await;
    assert_eq!(b.words(at(91), id).await, [""; 0]);
    assert_eq!(b.claim_one(claim("w1", at(91))).await.head.id, id);
    b.check(at(92)).await;
}

/// A task for later says when it is due, until it is.
pub async fn a_task_for_later_says_when_it_is_due(b: Bench) {
    b.takes(at(0), "w1", "default").await;
    let id = b.create(at(0), b.spec("render").due(at(50))).await;
    let why = b.why(at(49), id).await;
    assert_eq!((why.status, why.reasons), (Status::Created, vec![Reason::Scheduled { at: at(50) }]));
    assert_eq!(b.nothing(claim("w1", at(49))).await.word(), word::SCHEDULED);
    assert_eq!(b.words(at(50), id).await, [""; 0]);
    assert_eq!(b.claim_one(claim("w1", at(50))).await.head.id, id);
    b.check(at(51)).await;
}

/// A task of a paused queue says since when, by whom and why, until it is resumed.
pub async fn a_paused_queue_is_told_with_who_paused_it(b: Bench) {
    b.takes(at(0), "w1", "default").await;
    let id = b.create(at(0), b.spec("render")).await;
    let (by, reason) = (Some(name("ada")), Some("maintenance".to_owned()));
    let pause = PauseQueue { now: at(5), queue: name("default"), paused: true, by, reason };
    let pause = b.store().pause_queue(pause).await.unwrap().pause.unwrap();
    assert_eq!(b.why(at(9), id).await.reasons, [Reason::Paused(pause)]);
    assert_eq!(b.nothing(claim("w1", at(9))).await.word(), word::PAUSED);
    b.pause(at(10), "default", false).await;
    assert_eq!(b.words(at(10), id).await, [""; 0]);
    assert_eq!(b.claim_one(claim("w1", at(10))).await.head.id, id);
    b.check(at(11)).await;
}

/// A task that limits keep names each that is full, how many it lets run, and who holds it.
pub async fn a_full_limit_is_told_with_who_holds_it(b: Bench) {
    b.takes(at(0), "w1", "a").await;
    limit(&*b.store(), at(0), "project/film", most(1)).await;
    limit(&*b.store(), at(0), "queue/a", most(2)).await;
    let held = b.running(at(1), "w1", b.spec("render").queue("a").project("film")).await;
    let other = b.running(at(1), "w2", b.spec("render").queue("a").project("game")).await;
    let id = b.create(at(2), b.spec("render").queue("a").project("film")).await;
    b.beat(beat("w1", at(2))).await;
    let holder = |task: &baton_model::Task, worker: &str| Holder {
        task: task.head.id,
        queue: name("a"),
        project: task.project.clone(),
        worker: Some(name(worker)),
    };
    let [held_by, other_by] = [holder(&held, "w1"), holder(&other, "w2")];
    let full = |on: &str, taken, holders: Vec<Holder>| FullLimit {
        on: name(on),
        max_running: Some(taken),
        taken,
        next_at: None,
        holders,
    };
    // The narrowest first.
    let both = [full("queue/a", 2, vec![held_by.clone(), other_by]), full("project/film", 1, vec![held_by])];
    for met_by_a_claim in [false, true] {
        let why = b.why(at(3), id).await;
        assert_eq!(full_limits(&why), both.iter().collect::<Vec<_>>(), "{met_by_a_claim}");
        assert_eq!(b.nothing(claim("w3", at(3)).queues(&["a"])).await.word(), word::AT_LIMIT);
    }
    b.complete(at(4), &other).await;
    assert_eq!(full_limits(&b.why(at(4), id).await), [&both[1]]);
    b.complete(at(5), &held).await;
    assert!(full_limits(&b.why(at(5), id).await).is_empty());
    assert_eq!(b.claim_one(claim("w3", at(5)).queues(&["a"])).await.head.id, id);
    b.check(at(6)).await;
}

/// Of many that hold a limit, the first are named, and all are counted.
pub async fn many_that_hold_a_limit_are_counted(b: Bench) {
    limit(&*b.store(), at(0), "queue/default", most(25)).await;
    let ids = b.create_plain(at(0), 26).await;
    b.claim(claim("w1", at(1)).max(25).cap(25)).await;
    let left = b.why(at(1), ids[25]).await;
    let full = full_limits(&left)[0];
    assert_eq!((full.taken, full.max_running, full.holders.len()), (25, Some(25), FullLimit::HOLDERS));
    assert!(full.holders.iter().all(|one| ids[..25].contains(&one.task)));
    b.check(at(2)).await;
}

/// A task that a rate keeps says when it lets the task start; one that holds a place of a limit while it waits for its retry is
/// named as its holder.
pub async fn a_rate_and_a_held_place_are_told(b: Bench) {
    limit(&*b.store(), at(0), "queue/a", rate(1, 60, 1)).await;
    let ids = b.create_all(at(0), (0..2).map(|_| b.spec("render").queue("a")).collect()).await;
    let started = b.claim_one(claim("w1", at(1)).queues(&["a"])).await.head.id;
    let left = ids.into_iter().find(|id| *id != started).unwrap();
    let told = |why: &Why| -> Vec<_> { full_limits(why).iter().map(|full| full.next_at).collect() };
    assert_eq!(told(&b.why(at(2), left).await), [Some(at(61))]);
    assert_eq!(told(&b.why(at(61), left).await), []);
    assert_eq!(b.claim_one(claim("w1", at(61)).queues(&["a"])).await.head.id, left);

    let rules = baton_model::LimitRules { holds_retries: true, ..most(1) };
    limit(&*b.store(), at(100), "queue/b/key/*", rules).await;
    let keyed = || super::limits::keyed(b.spec("render").queue("b"), "x");
    let first = b.running(at(100), "w1", keyed()).await;
    let next = b.create(at(100), keyed()).await;
    b.fail(failing(at(101), &first)).await;
    let why = b.why(at(102), next).await;
    let full = full_limits(&why);
    let holders: Vec<_> = full[0].holders.iter().map(|one| (one.task, one.worker.clone())).collect();
    assert_eq!((full.len(), full[0].taken, holders), (1, 1, vec![(first.head.id, None)]));
    assert!(full_limits(&b.why(at(500), first.head.id).await).is_empty(), "it has its place");
    b.check(at(503)).await;
}

/// A task that is given out alone says so, and which worker makes room for it. It is given to a worker that holds nothing.
pub async fn a_task_that_is_given_out_alone_says_so(b: Bench) {
    let id = b.create(at(0), b.spec("render")).await;
    for now in [0, 100] {
        b.claim_one(claim("gone", at(now))).await;
        assert_eq!(b.reap(at(now + 100)).await.len(), 1);
    }
    let alone = |makes_room: Option<&str>| Reason::OnlyAlone { makes_room: makes_room.map(name) };
    let held = b.running(at(201), "w1", b.spec("render").queue("other")).await;
    b.beat(beat("w1", at(201))).await;
    assert!(b.why(at(201), id).await.reasons.contains(&alone(None)));
    assert_eq!(b.nothing(claim("w1", at(201))).await.word(), word::ONLY_ALONE);
    assert_eq!(b.nothing(claim("w1", at(230))).await.word(), "makes_room");
    let why = b.why(at(230), id).await;
    assert_eq!((why.is_kept(), &why.reasons[..]), (false, &[alone(Some("w1"))][..]));
    b.complete(at(231), &held).await;
    assert_eq!(b.claim_one(claim("w1", at(231))).await.head.id, id);
    b.check(at(232)).await;
}

/// A task that no live worker takes says so, and which one did last: a worker takes what its claims name, if it lives and was not
/// asked to end.
pub async fn a_task_that_no_live_worker_takes_says_who_did(b: Bench) {
    let id = b.create(at(0), b.spec("render").queue("a").project("film")).await;
    let told = async |now| no_worker(&b.why(now, id).await).map(|last| last.map(|(w, s)| (w.to_owned(), s)));
    assert_eq!(told(at(1)).await, Some(None));
    b.pause(at(1), "a", true).await;
    // Others: of another queue, another type, another project; and one that beats, and has not claimed.
    b.takes(at(2), "w1", "b").await;
    let others = [claim("w2", at(2)).types(&["bake"]), claim("w3", at(2)).project("game")];
    for other in others {
        let caller = other.caller.clone();
        let worker = other.worker.clone();
        b.nothing(other.queues(&["a"])).await;
        b.beat(Beat { caller, ..beat(worker.as_str(), at(2)) }).await;
    }
    b.beat(beat("w4", at(2))).await;
    assert_eq!(told(at(3)).await, Some(None));
    let taking = claim("w5", at(4)).project("film").queues(&["b", "a"]).types(&["bake", "render"]);
    b.nothing(taking).await;
    assert_eq!(told(at(4)).await, None, "it has claimed, and may not have beaten yet");
    b.beat(beat("w5", at(5)).project("film")).await;
    assert_eq!(told(at(65)).await, None);
    let last = |status| Some(Some(("w5".to_owned(), status)));
    assert_eq!(told(at(66)).await, last(WorkerStatus::Lost));
    b.beat(beat("w5", at(70)).project("film")).await;
    assert_eq!(told(at(70)).await, None);
    b.direct(at(71), "w5", Directive::Drain).await;
    assert_eq!(told(at(71)).await, last(WorkerStatus::Draining));
    b.direct(at(72), "w5", Directive::Run).await;
    b.beat(Beat { ending: true, ..beat("w5", at(73)).project("film") }).await;
    assert_eq!(told(at(73)).await, last(WorkerStatus::Gone));
    // A new start takes what it claims, and not what the one before it did.
    b.beat(beat("w5", at(74)).project("film").session(session(1))).await;
    assert_eq!(told(at(74)).await, last(WorkerStatus::Gone).map(|_| None));
    b.check(at(75)).await;
}

/// What a worker takes is known as of its latest claims, also of one that claims by turns; and it outlives a restart.
pub async fn what_workers_take_outlives_a_restart(mut b: Bench) {
    let ids = [b.create(at(0), b.spec("render").queue("a").due(at(900_000))).await];
    for now in [1, 2, 3, 4] {
        b.takes(at(now), "w1", ["a", "b"][now as usize % 2]).await;
    }
    b.reopen().await;
    assert_eq!(b.words(at(5), ids[0]).await, [word::SCHEDULED]);
    b.takes(at(7_000), "w1", "b").await;
    assert_eq!(b.words(at(7_000), ids[0]).await, [word::SCHEDULED]);
    // It has taken the other for long now.
    b.takes(at(14_000), "w1", "b").await;
    assert_eq!(b.words(at(14_000), ids[0]).await, [word::SCHEDULED, word::NO_WORKER]);
    b.check(at(14_001)).await;
}

/// How many come before a task is told by their places in its queue, up to a bound.
pub async fn those_before_a_task_are_counted(b: Bench) {
    b.takes(at(0), "w1", "a").await;
    let spec = || b.spec("render").queue("a");
    let first = b.create(at(1), spec().due(at(10))).await;
    b.create(at(1), spec().priority(Priority::Low)).await;
    b.create(at(1), b.spec("render").queue("b").priority(Priority::Critical)).await;
    b.create(at(1), spec().priority(Priority::High).due(at(5_000))).await;
    b.create_all(at(1), (0..3).map(|_| spec().due(at(20))).collect()).await;
    b.create(at(1), spec().priority(Priority::High).due(at(30))).await;
    let last = b.create(at(1), spec().due(at(40))).await;
    b.beat(beat("w1", at(50))).await;
    let exactly = |tasks| Some(Ahead { tasks, at_least: false });
    assert_eq!(ahead(&b.why(at(50), first).await), exactly(1));
    assert_eq!(ahead(&b.why(at(50), last).await), exactly(5));
    assert_eq!(ahead(&b.why(at(5_000), last).await), exactly(6));
    assert_eq!(ahead(&b.why(at(2), last).await), exactly(5), "as it will be when it is due");
    b.cancel(at(51), first).await;
    assert_eq!(ahead(&b.why(at(51), last).await), exactly(4));
    b.create_all(at(52), (0..600).map(|_| spec().due(at(35))).collect()).await;
    b.create_all(at(52), (0..600).map(|_| spec().due(at(36))).collect()).await;
    let many = ahead(&b.why(at(53), last).await).unwrap();
    assert!(many.at_least && many.tasks <= Ahead::COUNTED && many.tasks > 100, "{many:?}");
}

/// All reasons that hold are told, in the order in which they must be lifted; each goes when it is lifted, and then a claim is
/// given the task.
pub async fn reasons_come_in_the_order_in_which_they_are_lifted(b: Bench) {
    limit(&*b.store(), at(0), "queue/a", most(1)).await;
    let first = b.running(at(1), "w0", b.spec("render").queue("b")).await;
    let holder = b.running(at(1), "w0", b.spec("render").queue("a")).await;
    // It beats once and is silent then; the reaper takes its time.
    b.beat(beat("w0", at(1))).await;
    let id = b.create(at(2), b.spec("bake").queue("a").after(&[first.head.id]).due(at(500))).await;
    let before = b.create(at(2), b.spec("render").queue("a").due(at(400))).await;
    b.pause(at(3), "a", true).await;
    let mut expected = vec![word::BLOCKED, word::SCHEDULED, word::PAUSED, word::AT_LIMIT, word::NO_WORKER];
    assert_eq!(b.words(at(200), id).await, expected);
    b.complete(at(201), &first).await;
    b.follow(at(201)).await;
    expected.remove(0);
    expected.push(word::BEHIND);
    assert_eq!(b.words(at(202), id).await, expected);
    expected.remove(0);
    assert_eq!(b.words(at(500), id).await, expected);
    b.pause(at(501), "a", false).await;
    expected.remove(0);
    assert_eq!(b.words(at(501), id).await, expected);
    b.complete(at(502), &holder).await;
    expected.remove(0);
    assert_eq!(b.words(at(502), id).await, expected);
    no_limit(&*b.store(), at(502), "queue/a").await;
    b.cancel(at(502), before).await;
    expected.pop();
    assert_eq!(b.words(at(503), id).await, expected);
    assert_eq!(b.claim_one(claim("w1", at(504)).queues(&["a"])).await.head.id, id);
    b.check(at(505)).await;
}

/// Whatever is true of a task, a claim of a worker that holds nothing is given it if and only if no reason keeps it.
pub async fn a_claim_is_given_a_task_exactly_if_nothing_keeps_it(b: Bench) {
    let dependency = b.create(at(0), b.spec("render").queue("first")).await;
    let mut ids = Vec::new();
    for case in 0..32_u32 {
        let (has, queue) = (|bit: u32| case & (1 << bit) != 0, format!("q{case}"));
        let mut spec = b.spec("render").queue(&queue);
        if has(4) {
            ids.push((b.create(at(0), spec).await, queue.clone()));
            for now in [0, 100] {
                b.claim_one(claim("gone", at(now)).queues(&[&queue])).await;
                assert_eq!(b.reap(at(now + 100)).await.len(), 1);
            }
        } else {
            spec = if has(0) { spec.after(&[dependency]) } else { spec };
            spec = if has(1) { spec.due(at(900)) } else { spec };
            ids.push((b.create(at(0), spec).await, queue.clone()));
        }
        if has(2) {
            limit(&*b.store(), at(300), &format!("queue/{queue}/project/*"), most(0)).await;
        }
        if has(3) {
            b.pause(at(300), &queue, true).await;
        }
    }
    for (case, (id, queue)) in ids.into_iter().enumerate() {
        let why = b.why(at(301), id).await;
        let claim = claim(&format!("w{case}"), at(301)).queues(&[&queue]);
        match b.store().claim(claim).await.unwrap() {
            ClaimAnswer::Leased(tasks) => {
                assert_eq!((ids_of(&tasks), why.is_kept()), (vec![id], false), "{queue}: {why:?}");
            }
            ClaimAnswer::Nothing(nothing) => {
                let keep: Vec<_> = why.reasons.iter().filter(|one| one.keeps()).map(Reason::word).collect();
                assert!(!keep.is_empty(), "{queue}: {nothing:?}, {why:?}");
                // What is blocked waits for no worker, and so is not told of to claims.
                let is_told = keep.contains(&nothing.word());
                assert!(is_told || keep[0] == word::BLOCKED, "{queue}: {nothing:?}, {why:?}");
            }
        }
    }
    b.check(at(302)).await;
}
