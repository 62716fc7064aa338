//! Changing tasks that wait: what is changed holds from then on, wherever the task waits.

use std::collections::BTreeSet;

use baton_model::transition::Refusal;
use baton_model::{
    Changes, EventKind, FairBy, FromTo, Priority, QueueOrder, RunAfter, State, Status, TaskChange, TaskId,
    Timeout, Timestamp,
};

use super::kit::*;
use super::limits::{keyed, limit, most, stopped};
use crate::{ChangeTask, Fail, Nothing, StoreError, TaskDetail};

/// A change of a task.
pub(super) fn changing(now: Timestamp, task: TaskId, to: TaskChange) -> ChangeTask {
    ChangeTask { now, task, by: None, reason: None, to, within: BTreeSet::new() }
}

/// A change of the priority.
pub(super) const fn to_priority(priority: Priority) -> TaskChange {
    TaskChange { priority: Some(priority), queue: None, run_after: None, timeout: None, max_attempts: None }
}

/// A change of when a task may be claimed.
pub(super) const fn to_due(schedule: RunAfter) -> TaskChange {
    TaskChange { priority: None, queue: None, run_after: Some(schedule), timeout: None, max_attempts: None }
}

pub(super) async fn changed(b: &Bench, now: Timestamp, task: TaskId, to: TaskChange) -> TaskDetail {
    let after = b.store().change(changing(now, task, to)).await.expect("the change is taken");
    let detail = b.task(task).await;
    assert_eq!(detail.task, after, "the answer is the task");
    detail
}

/// A change writes what it is asked for in one commit with an event that says what each thing was and what it is.
pub async fn a_change_tells_what_was_and_what_is(b: Bench) {
    let id = b.create(at(0), b.spec("render").attempts(3)).await;
    let to = TaskChange {
        priority: Some(Priority::High),
        queue: None,
        run_after: Some(RunAfter::At(at(500))),
        timeout: Some(Timeout::After(secs(60))),
        max_attempts: Some(7),
    };
    let (by, reason) = (Some(name("ada")), Some("wrong scene ☂".to_owned()));
    let asked = ChangeTask { by: by.clone(), reason: reason.clone(), ..changing(at(10), id, to) };
    let task = b.store().change(asked).await.unwrap();
    assert_eq!((task.priority, task.head.run_after), (Priority::High, at(500)));
    assert_eq!((task.head.timeout, task.head.max_attempts), (Some(secs(60)), 7));
    assert_eq!((task.head.state.state(), task.updated_at, task.head.events), (State::Queued, at(10), 2));
    let detail = b.task(id).await;
    assert_eq!(detail.task, task);
    let event = &detail.history[1];
    assert_eq!((event.kind, event.from, event.to), (EventKind::Changed, Some(State::Queued), State::Queued));
    assert_eq!((event.at, event.status()), (at(10), Status::Created));
    assert_eq!((&event.detail.by, &event.detail.reason), (&by, &reason));
    let changes = Changes {
        priority: Some(FromTo { from: Priority::Normal, to: Priority::High }),
        queue: None,
        run_after: Some(FromTo { from: at(0), to: at(500) }),
        timeout_ms: Some(FromTo { from: None, to: Some(60_000) }),
        max_attempts: Some(FromTo { from: 3, to: 7 }),
    };
    assert_eq!(event.detail.changes.as_deref(), Some(&changes));
    // What is not named stays.
    let detail =
        changed(&b, at(11), id, TaskChange { timeout: Some(Timeout::Never), ..TaskChange::default() }).await;
    assert_eq!((detail.task.head.timeout, detail.task.priority), (None, Priority::High));
    assert_eq!((detail.task.head.run_after, detail.task.head.max_attempts), (at(500), 7));
    b.check(at(12)).await;
}

/// Asked for what is so already, a change adds no event and answers with the task; so does one that comes twice.
pub async fn the_same_change_again_adds_no_event(b: Bench) {
    let id = b.create(at(0), b.spec("render").due(at(100))).await;
    let asked = changing(at(1), id, TaskChange { max_attempts: Some(5), ..to_priority(Priority::Low) });
    let first = b.store().change(asked.clone()).await.unwrap();
    assert_eq!(b.store().change(asked.clone()).await.unwrap(), first);
    let later = ChangeTask { now: at(9), reason: Some("again".to_owned()), ..asked };
    assert_eq!(b.store().change(later).await.unwrap(), first);
    assert_eq!(b.store().change(changing(at(9), id, to_due(RunAfter::At(at(100))))).await.unwrap(), first);
    assert_eq!(b.store().change(changing(at(9), id, TaskChange::default())).await.unwrap(), first);
    assert_eq!(b.task(id).await.history.len(), 2);
    b.check(at(10)).await;
}

/// A claim gives out tasks in the order of their new priorities.
pub async fn a_changed_priority_is_claimed_by(b: Bench) {
    let ids = b.create_plain(at(0), 4).await;
    changed(&b, at(1), ids[3], to_priority(Priority::Critical)).await;
    changed(&b, at(1), ids[0], to_priority(Priority::Low)).await;
    changed(&b, at(1), ids[2], to_priority(Priority::High)).await;
    changed(&b, at(2), ids[2], to_priority(Priority::Normal)).await;
    b.settle().await;
    let given = b.claim(claim("w1", at(3)).max(9)).await;
    assert_eq!(ids_of(&given), [ids[3], ids[1], ids[2], ids[0]]);
    assert_eq!(given[0].priority, Priority::Critical);
    b.check(at(4)).await;
}

/// A task that is put off is given to nobody before its new time, and one whose time is brought forward is given out then; a task that
/// is due keeps its turn when it is to run now.
pub async fn a_changed_time_is_claimed_by(b: Bench) {
    let soon = b.create(at(0), b.spec("render")).await;
    let late = b.create(at(0), b.spec("render").due(at(900))).await;
    let first = b.create(at(0), b.spec("render").queue("a")).await;
    let second = b.create(at(0), b.spec("render").queue("a")).await;
    let detail = changed(&b, at(1), soon, to_due(RunAfter::In(secs(99)))).await;
    assert_eq!((detail.task.head.run_after, detail.task.status(at(1))), (at(100), Status::Created));
    b.settle().await;
    assert_eq!(b.nothing(claim("w1", at(99))).await, Nothing::Scheduled { next_at: at(100) });
    // A time that has come means now: it does not come before those that wait for longer.
    let detail = changed(&b, at(50), late, to_due(RunAfter::At(at(2)))).await;
    assert_eq!((detail.task.head.run_after, detail.history[1].status()), (at(50), Status::Queued));
    changed(&b, at(50), first, to_due(RunAfter::Now)).await;
    b.settle().await;
    assert_eq!(b.claim_one(claim("w1", at(50))).await.head.id, late);
    assert_eq!(b.claim_one(claim("w1", at(100))).await.head.id, soon);
    assert_eq!(ids_of(&b.claim(claim("w2", at(60)).queues(&["a"]).max(2)).await), [first, second]);
    b.check(at(101)).await;
}

/// A task that becomes ready sooner rings the doorbell.
pub async fn a_task_that_is_ready_sooner_rings(mut b: Bench) {
    let id = b.create(at(0), b.spec("render").due(at(900))).await;
    b.hush();
    changed(&b, at(1), id, to_due(RunAfter::Now)).await;
    let ring = b.hear("for what is ready now", |ready| ready.run_after == at(1)).await;
    assert_eq!((ring.queue.as_str(), ring.count), ("default", 1));
    changed(&b, at(2), id, to_due(RunAfter::At(at(70)))).await;
    b.hear("for what is for later", |ready| ready.run_after == at(70)).await;
}

/// What runs or has ended is not changed, nor one that has expired, nor a task that does not exist.
pub async fn what_does_not_wait_is_not_changed(b: Bench) {
    let running = b.running(at(0), "w1", b.spec("render")).await;
    let done = b.running(at(0), "w1", b.spec("render")).await;
    b.complete(at(1), &done).await;
    let failed = b.running(at(0), "w1", b.spec("render")).await;
    b.fail(Fail { retryable: false, ..failing(at(1), &failed) }).await;
    let cancelled = b.create(at(0), b.spec("render")).await;
    b.cancel(at(1), cancelled).await;
    for (id, state) in [
        (running.head.id, State::Running),
        (done.head.id, State::Completed),
        (failed.head.id, State::Failed),
        (cancelled, State::Cancelled),
    ] {
        let before = b.task(id).await;
        let refused = b.store().change(changing(at(2), id, to_priority(Priority::Low))).await;
        assert_eq!(refusal(refused), Refusal::NotWaiting { state });
        assert_eq!(b.task(id).await, before);
    }
    let late = b.create(at(0), b.spec("render").until(at(50))).await;
    let refused = b.store().change(changing(at(50), late, to_priority(Priority::Low))).await;
    assert_eq!(refusal(refused), Refusal::Expired { at: at(50) });
    let refused = b.store().change(changing(at(3), late, to_due(RunAfter::At(at(60))))).await;
    assert_eq!(refusal(refused), Refusal::DueTooLate { run_after: at(60), expires_at: at(50) });
    let unknown = b.task_id();
    let missing = b.store().change(changing(at(2), unknown, to_priority(Priority::Low))).await;
    assert_err!(missing, StoreError::TaskNotFound(id) if id == unknown);
    b.check(at(4)).await;
}

/// New attempts and a new timeout hold for the next claim; attempts that were counted stay counted.
pub async fn changed_attempts_and_timeouts_hold_from_the_next_claim(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").attempts(3)).await;
    let id = held.head.id;
    b.fail(Fail { retry_after: Some(secs(0)), ..failing(at(1), &held) }).await;
    let held = b.claim_one(claim("w1", at(2))).await;
    b.fail(Fail { retry_after: Some(secs(0)), ..failing(at(3), &held) }).await;
    let attempts = |max_attempts| TaskChange { max_attempts: Some(max_attempts), ..TaskChange::default() };
    let refused = b.store().change(changing(at(4), id, attempts(2))).await;
    assert_eq!(refusal(refused), Refusal::AttemptsUsed { used: 2 });
    changed(&b, at(4), id, TaskChange { timeout: Some(Timeout::After(secs(7))), ..attempts(4) }).await;
    b.settle().await;
    let held = b.claim_one(claim("w1", at(5))).await;
    assert_eq!(lease(&held).timeout_at, Some(at(12)));
    let task = b.fail(Fail { retry_after: Some(secs(0)), ..failing(at(6), &held) }).await;
    assert_eq!(task.head.state.state(), State::Queued, "the fourth attempt is to come");
    let held = b.claim_one(claim("w1", at(7))).await;
    let task = b.fail(failing(at(8), &held)).await;
    assert_eq!((task.head.state.state(), task.head.attempts_used()), (State::Failed, 4));
    b.check(at(9)).await;
}

/// A blocked task that is changed stays blocked, and comes into its queue as it was changed.
pub async fn a_blocked_task_comes_in_as_it_was_changed(b: Bench) {
    let first = b.create(at(0), b.spec("bake").queue("ovens")).await;
    let plain = b.create(at(0), b.spec("render")).await;
    let waits = b.create(at(0), b.spec("render").after(&[first])).await;
    let late = b.create(at(0), b.spec("render").after(&[first])).await;
    let detail = changed(&b, at(1), waits, to_priority(Priority::High)).await;
    assert_eq!((detail.task.head.state.state(), detail.history[1].to), (State::Blocked, State::Blocked));
    changed(&b, at(1), late, to_due(RunAfter::At(at(300)))).await;
    b.check(at(2)).await;
    let held = b.claim_one(claim("w1", at(2)).queues(&["ovens"])).await;
    b.complete(at(3), &held).await;
    b.follow(at(3)).await;
    b.settle().await;
    assert_eq!(ids_of(&b.claim(claim("w1", at(4)).max(9)).await), [waits, plain]);
    assert_eq!(b.task(late).await.task.head.run_after, at(300));
    assert_eq!(b.claim_one(claim("w1", at(300))).await.head.id, late);
    b.check(at(301)).await;
}

/// A task that waits at a limit, or was let go by it, has its turn there by what it was changed to; nothing that the limit has room for is
/// left waiting, and nobody is given more than it has.
pub async fn a_task_at_a_limit_has_its_turn_as_it_was_changed(b: Bench) {
    limit(&*b.store(), at(0), "queue/a/key/*", most(1)).await;
    let spec = || keyed(b.spec("render").queue("a"), "x");
    let ids = b.create_all(at(0), (0..6).map(|_| spec()).collect()).await;
    let mut held = b.claim_one(claim("w1", at(1)).queues(&["a"])).await;
    assert_eq!(held.head.id, ids[0]);
    stopped(&b, claim("w2", at(1)).queues(&["a"]), "queue/a/key/x").await;
    changed(&b, at(2), ids[5], to_priority(Priority::Critical)).await;
    // The first one of the line goes behind it, and out of it for a while.
    changed(&b, at(2), ids[1], to_priority(Priority::Low)).await;
    changed(&b, at(2), ids[2], to_due(RunAfter::At(at(500)))).await;
    stopped(&b, claim("w2", at(3)).queues(&["a"]), "queue/a/key/x").await;
    for next in [ids[5], ids[3], ids[4], ids[1]] {
        b.complete(at(4), &held).await;
        b.settle().await;
        held = b.claim_one(claim("w1", at(4)).queues(&["a"]).max(5)).await;
        assert_eq!(held.head.id, next);
        changed(
            &b,
            at(4),
            ids[2],
            TaskChange { max_attempts: Some(held.head.events + 90), ..TaskChange::default() },
        )
        .await;
        if next != ids[1] {
            stopped(&b, claim("w2", at(4)).queues(&["a"]), "queue/a/key/x").await;
        }
    }
    b.complete(at(5), &held).await;
    assert_eq!(b.claim_one(claim("w1", at(500)).queues(&["a"])).await.head.id, ids[2]);
    b.check(at(501)).await;
}

/// In a queue that is fair, or in which priorities rise with waiting, a changed task has the place that its new priority and time give
/// it.
pub async fn a_changed_task_keeps_to_the_order_of_its_queue(b: Bench) {
    let order = QueueOrder { fair: Some(FairBy::Project), age_after_seconds: Some(60) };
    b.order(at(0), "default", order).await;
    let spec = |project| b.spec("render").project(project);
    let ids = b.create_all(at(0), vec![spec("a"), spec("a"), spec("a"), spec("b")]).await;
    changed(&b, at(1), ids[2], to_priority(Priority::High)).await;
    b.settle().await;
    // A project's first task by its priority, then the other's, then the rest.
    let given = b.claim(claim("w1", at(2)).max(9)).await;
    assert_eq!(ids_of(&given), [ids[2], ids[3], ids[0], ids[1]]);
    let old = b.create(at(100), spec("c").due(at(100))).await;
    let high = b.create(at(220), spec("d").priority(Priority::High).due(at(220))).await;
    // It has risen twice since 100 s; put off, it begins anew.
    changed(&b, at(221), old, to_due(RunAfter::At(at(222)))).await;
    b.settle().await;
    assert_eq!(ids_of(&b.claim(claim("w1", at(223)).max(9)).await), [high, old]);
    b.check(at(224)).await;
}

/// A task that is to be started by a time expires as it would have, wherever a change has put it.
pub async fn a_changed_task_expires_as_before(b: Bench) {
    let id = b.create(at(0), b.spec("render").until(at(100))).await;
    let first = b.create(at(0), b.spec("bake").queue("ovens")).await;
    let blocked = b.create(at(0), b.spec("render").after(&[first]).until(at(90))).await;
    let detail =
        changed(&b, at(1), id, TaskChange { max_attempts: Some(9), ..to_priority(Priority::Low) }).await;
    assert_eq!(detail.task.head.expires_at, Some(at(100)));
    changed(&b, at(1), id, to_due(RunAfter::At(at(80)))).await;
    changed(&b, at(1), blocked, to_due(RunAfter::At(at(80)))).await;
    b.settle().await;
    let expire = crate::Expire { now: at(100), limit: 10 };
    assert_eq!(b.store().expire(expire).await.unwrap().tasks, 2);
    for id in [id, blocked] {
        assert_eq!(b.state(id).await, State::Failed);
    }
    b.check(at(101)).await;
}

/// Of changes, cancellations and claims that come at once each one that is taken has its event, and the task is what the last of them
/// made of it.
pub async fn changes_at_once_each_have_their_event(b: Bench) {
    let ids = b.create_plain(at(0), 3).await;
    let mut running = Vec::new();
    for n in 0..8_u32 {
        for &id in &ids {
            let store = b.store();
            running.push(tokio::spawn(async move {
                let to = TaskChange { max_attempts: Some(n + 10), ..TaskChange::default() };
                store.change(changing(at(1), id, to)).await
            }));
        }
    }
    let store = b.store();
    let claimer = tokio::spawn(async move { store.claim(claim("w1", at(1)).max(1)).await });
    let (store, cancelled) = (b.store(), ids[2]);
    let operator = tokio::spawn(async move { store.cancel(cancel(at(1), cancelled)).await });
    let mut taken = 0;
    for one in running {
        match one.await.unwrap() {
            Ok(_) => taken += 1,
            Err(StoreError::Refused { refusal: Refusal::NotWaiting { .. }, .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    claimer.await.unwrap().expect("the claim is taken");
    operator.await.unwrap().expect("the cancellation is taken");
    let mut told = 0;
    for id in ids {
        let detail = b.task(id).await;
        let changes = detail.history.iter().filter_map(|event| event.detail.changes.as_deref());
        let attempts: Vec<_> =
            changes.map(|changes| changes.max_attempts.expect("of the attempts")).collect();
        told += attempts.len();
        let mut before = 3;
        for FromTo { from, to } in attempts {
            assert_eq!(from, before, "{id}: each change begins where the one before ended");
            before = to;
        }
        assert_eq!(detail.task.head.max_attempts, before);
    }
    assert_eq!(told, taken);
    b.check(at(2)).await;
}
