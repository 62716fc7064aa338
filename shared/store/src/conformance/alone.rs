//! Tasks that were lost with their workers twice in a row: each is given out alone, so that the one that ends its workers
//! costs no other task an attempt, and none of them waits for ever.

use std::collections::BTreeSet;

use baton_model::alone::{PATIENCE, ROOM};
use baton_model::{
    Alone, LossReason, Priority, RunAfter, State, Task, TaskChange, TaskId, TaskSpec, Timestamp,
};

use super::change::changing;
use super::kit::*;
use super::limits::{keyed, limit, most};
use crate::{Claim, ClaimAnswer, Nothing, Waits};

/// Tasks that are given out alone from now on: a worker that took all of them fell silent, twice. They are ready from
/// 200 s on.
async fn lost_twice(b: &Bench, specs: Vec<TaskSpec>) -> Vec<TaskId> {
    let queues: BTreeSet<_> = specs.iter().map(|spec| spec.queue.clone()).collect();
    let count = u32::try_from(specs.len()).unwrap();
    let ids = b.create_all(at(0), specs).await;
    for now in [0, 100] {
        let all = Claim { queues: queues.iter().cloned().collect(), ..claim("gone", at(now)).max(count) };
        assert_eq!(b.claim(all.cap(1_000)).await.len(), ids.len());
        assert_eq!(b.reap(at(now + 100)).await.len(), ids.len());
    }
    ids
}

async fn one_lost_twice(b: &Bench) -> TaskId {
    lost_twice(b, vec![b.spec("poison")]).await[0]
}

/// A worker that holds a task for long.
async fn busy(b: &Bench, worker: &str) -> Task {
    let fixed = claim(worker, at(0)).fixed(secs(90_000));
    b.running_by(at(0), fixed, b.spec("render").queue("other")).await
}

fn soon(after: u64) -> Timestamp {
    at(200 + after)
}

/// When a task that is ready from 200 s on has waited for longer than it is to.
fn overdue() -> Timestamp {
    at(200).plus(PATIENCE)
}

async fn tie(b: &Bench, worker: &str) -> Option<Alone> {
    b.worker(worker).await.worker.alone
}

/// A task that was lost with its worker twice in a row is given out alone, whatever a claim asks for; and its worker is
/// given nothing else until the attempt has ended. A claim says so.
pub async fn a_task_lost_with_its_worker_twice_is_given_out_alone(b: Bench) {
    let ids = lost_twice(&b, vec![b.spec("render"), b.spec("render"), b.spec("render")]).await;
    b.create_plain(soon(0), 3).await;
    let held = b.claim_one(claim("w1", soon(1)).max(10)).await;
    assert_eq!((held.head.id, held.head.worker_losses), (ids[0], 2));
    let runs = Some(Alone::Runs { task: ids[0], attempt: 3 });
    assert_eq!(tie(&b, "w1").await, runs);
    assert_eq!(b.nothing(claim("w1", soon(2)).max(10)).await, Nothing::RunsAlone);
    assert_eq!(b.nothing(claim("w1", soon(2)).queues(&["other"])).await, Nothing::RunsAlone);
    b.beat(beat("w1", soon(3)).running(&[&held])).await;
    assert_eq!(tie(&b, "w1").await, runs, "a heartbeat says nothing of it");
    assert_eq!(b.claim_one(claim("w2", soon(4)).max(10)).await.head.id, ids[1]);
    b.complete(soon(5), &held).await;
    assert_eq!(b.claim_one(claim("w1", soon(6)).max(10)).await.head.id, ids[2]);
    b.fail(failing(soon(7), &b.task(ids[2]).await.task)).await;
    assert_eq!(b.claim(claim("w1", soon(8)).max(10)).await.len(), 3, "the plain ones together");
    b.check(soon(9)).await;
}

/// How often a task was lost with its workers is kept by the claims that follow, under limits too, and whatever their clocks say.
pub async fn a_claim_keeps_how_often_the_task_was_lost(b: Bench) {
    limit(&*b.store(), at(0), "queue/limited", most(9)).await;
    for queue in ["free", "limited"] {
        let id = b.create(at(0), b.spec("poison").queue(queue)).await;
        for (claimed, lost) in [(0, 100), (60, 300)] {
            let held = b.claim_one(claim("gone", at(claimed)).queues(&[queue])).await;
            assert_eq!((held.head.id, held.head.worker_losses), (id, u32::from(claimed > 0)));
            assert_eq!(b.reap(at(lost)).await.len(), 1);
            let soon = TaskChange { run_after: Some(RunAfter::Now), ..TaskChange::default() };
            b.store().change(changing(at(50), id, soon)).await.expect("it is changed");
        }
        assert_eq!(b.task(id).await.task.head.worker_losses, 2);
    }
    b.check(at(300)).await;
}

/// A queue that is full with what a claim has picked is not full once the claim looks anew, as it does where one is stopped while another waits
/// that is given out alone.
pub async fn a_claim_that_looks_anew_picks_anew(b: Bench) {
    lost_twice(&b, vec![b.spec("poison").queue("a").priority(Priority::Low)]).await;
    limit(&*b.store(), soon(0), "queue/a", most(2)).await;
    limit(&*b.store(), soon(0), "queue/a/key/*", most(1)).await;
    let of_key = || keyed(b.spec("render").queue("a"), "x");
    b.create(soon(0), of_key()).await;
    b.claim_one(claim("w1", soon(0)).queues(&["a"])).await;
    let plain = || b.spec("render").queue("a");
    let ids = b.create_all(soon(1), vec![plain(), plain(), of_key()]).await;
    assert_eq!(b.claim_one(claim("w2", soon(2)).queues(&["a"]).max(3)).await.head.id, ids[0]);
    b.check(soon(3)).await;
}

/// A claim that passes over what a limit stops is given others in its place, also where one waits that is given out alone.
pub async fn what_is_passed_over_leaves_room_for_others(b: Bench) {
    lost_twice(&b, vec![b.spec("poison").queue("a").priority(Priority::Low)]).await;
    limit(&*b.store(), soon(0), "queue/a/key/*", most(1)).await;
    let of_key = |kind: &str| keyed(b.spec(kind).queue("a"), "x");
    b.create(soon(0), of_key("render")).await;
    let held = b.claim_one(claim("w1", soon(0)).queues(&["a"])).await;
    let ids = b.create_all(soon(1), vec![of_key("render"), of_key("bake")]).await;
    // Both are put aside, and let go of once the place is free.
    b.nothing(claim("w1", soon(2)).queues(&["a"])).await;
    b.complete(soon(3), &held).await;
    let plain = b.create(soon(4), b.spec("render").queue("a")).await;
    let given = b.claim(claim("w2", soon(5)).queues(&["a"]).max(2)).await;
    assert_eq!(ids_of(&given), [ids[0], plain]);
    b.check(soon(6)).await;
}

/// A claim of several is given what its limits let start, also where one waits behind that is given out alone.
pub async fn a_limit_that_fills_within_a_claim_leaves_what_was_picked(b: Bench) {
    let alone = lost_twice(&b, vec![b.spec("render").priority(Priority::Low)]).await[0];
    let plain = b.create_plain(soon(0), 3).await;
    limit(&*b.store(), soon(0), "queue/default", most(1)).await;
    let held = b.claim_one(claim("w1", soon(1)).max(10)).await;
    assert_eq!(held.head.id, plain[0]);
    b.complete(soon(2), &held).await;
    limit(&*b.store(), soon(2), "queue/default", most(2)).await;
    assert_eq!(ids_of(&b.claim(claim("w1", soon(3)).max(10)).await), plain[1..]);
    limit(&*b.store(), soon(3), "queue/default", most(3)).await;
    assert_eq!(b.claim_one(claim("w2", soon(4)).max(10)).await.head.id, alone);
    b.check(soon(5)).await;
}

/// Among tasks that share a worker with one that ends it each time, only that one fails: the others complete within
/// their three attempts.
pub async fn only_the_task_that_ends_its_workers_fails(b: Bench) {
    let poison = b.create(at(0), b.spec("poison").attempts(3)).await;
    let innocent = b.create_plain(at(0), 3).await;
    let mut now = 0;
    for n in 0.. {
        let worker = format!("w{n}");
        let ClaimAnswer::Leased(held) = b.store().claim(claim(&worker, at(now)).max(4)).await.unwrap() else {
            break;
        };
        if held.iter().any(|task| task.head.id == poison) {
            // The worker is gone, and all that it held with it.
            b.reap(at(now + 100)).await;
        } else {
            for task in &held {
                b.complete(at(now + 1), task).await;
            }
        }
        now += 100;
        assert!(n < 20);
    }
    for id in innocent {
        assert_eq!(b.state(id).await, State::Completed);
    }
    let task = b.task(poison).await.task;
    assert_eq!((task.head.state.state(), task.head.worker_losses), (State::Failed, 3));
    let error = task.error.unwrap();
    assert_eq!(error.code.as_deref(), Some("heartbeat_missed"));
    assert!(error.message.contains("3 times in a row, and may be what ends it"), "{}", error.message);
    b.check(at(now)).await;
}

/// A worker that takes one task at a time gets such a task as any other, in its turn.
pub async fn a_worker_that_takes_one_task_at_a_time_gets_it_in_its_turn(b: Bench) {
    let id = one_lost_twice(&b).await;
    let (low, urgent) = (b.spec("render").priority(Priority::Low), b.spec("render").priority(Priority::High));
    let ids = b.create_all(soon(0), vec![low, urgent, b.spec("render")]).await;
    let one = || claim("w1", soon(1)).cap(1);
    for expected in [ids[1], id, ids[2], ids[0]] {
        let held = b.claim_one(one().max(5)).await;
        assert_eq!(held.head.id, expected);
        assert_eq!(b.nothing(one()).await, Nothing::AtCap { active: 1, cap: 1 });
        b.complete(soon(2), &held).await;
    }
    assert_eq!(b.nothing(one()).await, Nothing::NoneQueued);
    b.check(soon(3)).await;
}

/// A worker that holds something is not given such a task; it goes on with others while there are some, and is told if
/// there are none.
pub async fn a_worker_that_holds_something_is_not_given_it(b: Bench) {
    let held = busy(&b, "w1").await;
    let id = one_lost_twice(&b).await;
    assert_eq!(b.nothing(claim("w1", soon(1))).await, Nothing::OnlyAlone);
    let plain = b.create(soon(1), b.spec("render")).await;
    assert_eq!(b.claim_one(claim("w1", soon(2)).max(5)).await.head.id, plain);
    assert_eq!(b.nothing(claim("w1", soon(3))).await, Nothing::OnlyAlone);
    assert_eq!(tie(&b, "w1").await, None);
    b.complete(soon(3), &held).await;
    b.complete(soon(3), &b.task(plain).await.task).await;
    assert_eq!(b.claim_one(claim("w1", soon(4)).max(5)).await.head.id, id);
    b.check(soon(5)).await;
}

/// A task whose turn has been for long is not kept waiting by workers that always hold something: one of them, and no
/// other, is given nothing more until it holds nothing, and then is given the task.
pub async fn one_worker_makes_room_for_a_task_that_has_waited(b: Bench) {
    let mut held = Vec::new();
    for worker in ["w1", "w2"] {
        held.push(busy(&b, worker).await);
    }
    let id = one_lost_twice(&b).await;
    let later = overdue();
    b.create_plain(soon(1), 4).await;
    assert_eq!(b.claim(claim("w1", later.minus(millis(1)))).await.len(), 1, "it has not waited for long");
    assert_eq!(b.nothing(claim("w1", later).max(4)).await, Nothing::MakesRoom);
    assert_eq!(tie(&b, "w1").await, Some(Alone::MakesRoom { task: id, until: later.plus(ROOM) }));
    assert_eq!(b.nothing(claim("w1", later).queues(&["other"])).await, Nothing::MakesRoom);
    assert_eq!(b.claim(claim("w2", later).max(2)).await.len(), 2, "another worker goes on");
    // Half of what it holds ends: it still makes room.
    b.complete(later, &held[0]).await;
    assert_eq!(b.nothing(claim("w1", later)).await, Nothing::MakesRoom);
    let plain = b.tasks_by(filter_running("w1"), 10).await;
    b.complete(later, &plain[0]).await;
    assert_eq!(b.claim_one(claim("w1", later).max(4)).await.head.id, id);
    assert_eq!(tie(&b, "w1").await, Some(Alone::Runs { task: id, attempt: 3 }));
    b.check(later).await;
}

fn filter_running(worker: &str) -> crate::TaskFilter {
    let statuses = vec![baton_model::Status::Running];
    crate::TaskFilter { statuses, worker: Some(name(worker)), ..crate::TaskFilter::default() }
}

/// A worker that makes room goes on as before once the task is gone: taken by one that was empty, or cancelled.
pub async fn a_worker_makes_room_no_longer_than_the_task_waits(b: Bench) {
    busy(&b, "w1").await;
    let ids = lost_twice(&b, vec![b.spec("poison"), b.spec("poison")]).await;
    b.create_plain(soon(1), 2).await;
    let later = overdue();
    assert_eq!(b.nothing(claim("w1", later)).await, Nothing::MakesRoom);
    assert_eq!(b.claim_one(claim("empty", later)).await.head.id, ids[0]);
    // The next one has waited as long.
    assert_eq!(b.nothing(claim("w1", later)).await, Nothing::MakesRoom);
    assert_eq!(tie(&b, "w1").await.map(Alone::task), Some(ids[1]));
    b.cancel(later, ids[1]).await;
    assert_eq!(b.claim(claim("w1", later).max(5)).await.len(), 2);
    assert_eq!(tie(&b, "w1").await, None);
    b.check(later).await;
}

/// A worker that makes room and is not heard of any more does so no longer: another one makes room instead. One that
/// goes on claiming makes room for as long as it takes.
pub async fn a_silent_worker_makes_room_for_nobody(b: Bench) {
    for worker in ["w1", "w2"] {
        busy(&b, worker).await;
    }
    let id = one_lost_twice(&b).await;
    let later = overdue();
    assert_eq!(b.nothing(claim("w1", later)).await, Nothing::MakesRoom);
    assert_eq!(b.nothing(claim("w2", later)).await, Nothing::OnlyAlone);
    let mut now = later;
    for _ in 0..8 {
        now = now.plus(ROOM / 4);
        assert_eq!(b.nothing(claim("w1", now)).await, Nothing::MakesRoom);
        assert_eq!(b.nothing(claim("w2", now)).await, Nothing::OnlyAlone);
    }
    let Some(Alone::MakesRoom { until, .. }) = tie(&b, "w1").await else { panic!("w1 makes room") };
    assert!(until > now && until <= now.plus(ROOM));
    assert_eq!(b.nothing(claim("w2", until.minus(millis(1)))).await, Nothing::OnlyAlone);
    assert_eq!(b.nothing(claim("w2", until)).await, Nothing::MakesRoom);
    assert_eq!(tie(&b, "w2").await.map(Alone::task), Some(id));
    assert_eq!(b.nothing(claim("w1", until)).await, Nothing::OnlyAlone);
    assert_eq!(tie(&b, "w1").await, None);
}

/// A worker does not make room for a task before whose turn others are.
pub async fn no_room_is_made_before_the_tasks_turn(b: Bench) {
    busy(&b, "w1").await;
    let id = one_lost_twice(&b).await;
    let urgent = b.spec("render").priority(Priority::High);
    let urgent = b.create(soon(5), urgent).await;
    assert_eq!(b.claim_one(claim("w1", overdue())).await.head.id, urgent);
    assert_eq!(b.nothing(claim("w1", overdue())).await, Nothing::MakesRoom);
    assert_eq!(tie(&b, "w1").await.map(Alone::task), Some(id));
    // Nor does an empty worker leave out what comes before it.
    let urgent = b.create(soon(5), b.spec("render").priority(Priority::Critical)).await;
    let given = b.claim(claim("w2", overdue()).max(5)).await;
    assert_eq!(ids_of(&given), [urgent]);
    assert_eq!(b.nothing(claim("w2", overdue())).await, Nothing::OnlyAlone);
}

/// A claim gets such tasks only of the queues, types and project that it names, and of no paused queue.
pub async fn claims_are_narrowed_for_it_as_for_others(b: Bench) {
    let spec = |kind: &str, queue: &str, project: &str| b.spec(kind).queue(queue).project(project);
    let specs =
        vec![spec("a", "one", "film"), spec("b", "one", "game"), spec("a", "two", "default"), b.spec("a")];
    let ids = lost_twice(&b, specs).await;
    let ask = |worker: &str| claim(worker, soon(1)).max(9);
    assert_eq!(b.claim_one(ask("w1").queues(&["one"]).types(&["b"])).await.head.id, ids[1]);
    assert_eq!(b.nothing(ask("w2").queues(&["one"]).types(&["b"])).await, Nothing::NoneQueued);
    let film = ask("w3").queues(&["one", "two"]).project("film");
    assert_eq!(b.claim_one(film).await.head.id, ids[0]);
    b.pause(soon(1), "two", true).await;
    assert_eq!(
        b.nothing(ask("w4").queues(&["two", "empty"])).await,
        Nothing::Paused { queues: vec![name("two")] }
    );
    b.pause(soon(1), "two", false).await;
    assert_eq!(b.claim_one(ask("w5").queues(&["two"]).project("default")).await.head.id, ids[2]);
    assert_eq!(b.claim_one(ask("w6")).await.head.id, ids[3]);
    b.check(soon(2)).await;
}

/// The count begins anew when a worker tells how its attempt ended, or an operator retries the task: then it is given
/// out with others.
pub async fn an_end_that_is_told_lets_it_run_with_others(b: Bench) {
    let specs = (0..4).map(|_| b.spec("render").attempts(4)).collect();
    let ids = lost_twice(&b, specs).await;
    let alone = async |n: u64| b.claim_one(claim(&format!("alone-{n}"), soon(1)).max(9)).await;
    let held = [alone(0).await, alone(1).await, alone(2).await];
    b.fail(failing(soon(2), &held[0])).await;
    b.release(releasing(soon(2), &held[1])).await;
    b.cancel(soon(2), held[2].head.id).await;
    b.retry(soon(3), held[2].head.id).await;
    let last = alone(3).await;
    b.reap(soon(100)).await;
    for id in &ids[..3] {
        assert_eq!(b.task(*id).await.task.head.worker_losses, 0);
    }
    let together: BTreeSet<_> = ids_of(&b.claim(claim("w1", soon(100)).max(9)).await).into_iter().collect();
    assert_eq!(together, ids[..3].iter().copied().collect());
    assert_eq!(b.claim_one(claim("w2", soon(101)).max(9)).await.head.id, last.head.id);
    b.check(soon(102)).await;
}

/// A claim sent again under its key gives the same one task; a completion brings it along as it does others, to a worker
/// that holds nothing else.
pub async fn repetitions_and_completions_bring_it_along(b: Bench) {
    let ids = lost_twice(&b, vec![b.spec("render"), b.spec("render")]).await;
    let first = b.claim_one(claim("w1", soon(1)).max(9).key("r1")).await;
    assert_eq!(b.claim_one(claim("w1", soon(2)).max(9).key("r1")).await, first);
    assert_eq!(b.nothing(claim("w1", soon(2)).key("r2")).await, Nothing::RunsAlone);
    let next = |now| Some(claim("w1", now).max(9));
    let answer = b.store().complete(b.completion(soon(3), &first), next(soon(3))).await.unwrap();
    let second = leased(answer.next.unwrap());
    assert_eq!(ids_of(&second), [ids[1]]);
    b.create_plain(soon(3), 2).await;
    let answer = b.store().complete(b.completion(soon(4), &second[0]), next(soon(4))).await.unwrap();
    assert_eq!(leased(answer.next.unwrap()).len(), 2);
    b.check(soon(5)).await;
}

/// A claim that is sent again has its answer, whatever waits by then: its worker makes room for nothing.
pub async fn a_claim_that_is_sent_again_makes_no_room(b: Bench) {
    busy(&b, "w1").await;
    let id = one_lost_twice(&b).await;
    b.create_plain(soon(1), 2).await;
    let before = b.claim_one(claim("w1", soon(1)).key("r1")).await;
    assert_eq!(b.claim_one(claim("w1", overdue()).key("r1")).await, before);
    assert_eq!(tie(&b, "w1").await, None);
    assert_eq!(b.nothing(claim("w1", overdue()).key("r2")).await, Nothing::MakesRoom);
    assert_eq!(tie(&b, "w1").await.map(Alone::task), Some(id));
    b.check(overdue()).await;
}

/// Such a task for later is told as the next that is due, is in lists and counts, and does not wait longer than others
/// once it is.
pub async fn it_waits_and_is_counted_as_others(b: Bench) {
    let spec = b.spec("render").timeout(secs(10));
    let id = b.create(at(0), spec).await;
    for now in [0, 100] {
        b.claim_one(claim("gone", at(now))).await;
        let taken = b.reap(at(now + 10)).await;
        assert_eq!(taken[0].reason, LossReason::TimedOut, "its worker was not heard of since");
    }
    // Its backoff of 20 s runs.
    assert_eq!(b.task(id).await.task.head.worker_losses, 2);
    assert_eq!(b.nothing(claim("w1", at(111))).await, Nothing::Scheduled { next_at: at(130) });
    b.check(at(111)).await;
    let queue = b.store().queue(&name("default"), at(111)).await.unwrap();
    assert_eq!((queue.queued, queue.waits, queue.oldest_ready), (1, Waits::of_all(1, 0, 1), None));
    b.settle().await;
    let queue = b.store().queue(&name("default"), at(140)).await.unwrap();
    assert_eq!((queue.queued, queue.waits, queue.oldest_ready), (1, Waits::of_all(1, 0, 0), Some(secs(10))));
    assert_eq!(b.store().waiting(at(140)).await.unwrap().longest, Some((name("default"), secs(10))));
    let queued = crate::TaskFilter {
        now: at(140),
        statuses: vec![baton_model::Status::Queued],
        ..crate::TaskFilter::default()
    };
    assert_eq!(b.ids_by(queued).await, [id]);
    assert_eq!(b.claim_one(claim("w1", at(140)).max(2)).await.head.id, id);
    b.check(at(141)).await;
}

/// A task that is given out alone, and the worker that it is tied to, are so over a restart, too.
pub async fn it_is_given_out_alone_over_a_restart(mut b: Bench) {
    let ids = lost_twice(&b, vec![b.spec("render"), b.spec("render")]).await;
    let held = b.claim_one(claim("w1", soon(1)).max(9)).await;
    b.reopen().await;
    assert_eq!(b.nothing(claim("w1", soon(2))).await, Nothing::RunsAlone);
    b.create_plain(soon(2), 2).await;
    let second: Vec<Task> = b.claim(claim("w2", soon(3)).max(9)).await;
    assert_eq!(ids_of(&second), [ids[1]]);
    b.complete(soon(4), &held).await;
    b.check(soon(5)).await;
}
