//! Tasks that are to be started by a time.

use baton_model::expiry::EXPIRED;
use baton_model::transition::Refusal;
use baton_model::{EventKind, Expiry, LimitRules, Reason, State, TaskId, TaskSpec, Timestamp};

use super::kit::*;
use crate::{ClaimAnswer, Expire, Nothing, SetLimit, StoreError};

/// Has a store fail all that has expired, and gives how many.
async fn expire_all(b: &Bench, now: Timestamp) -> u64 {
    b.settle().await;
    let mut tasks = 0;
    loop {
        let expired = b.store().expire(Expire { now, limit: 100 }).await.expect("an expiry is taken");
        tasks += expired.tasks;
        if !expired.more {
            return tasks;
        }
    }
}

/// Asserts that a task has failed as one that was not started in time.
async fn assert_expired(b: &Bench, id: TaskId, at: Timestamp) {
    let detail = b.task(id).await;
    let error = detail.task.error.as_ref().expect("it says why");
    assert_eq!((detail.task.head.state.state(), error.code.as_deref()), (State::Failed, Some(EXPIRED)));
    let event = detail.history.last().expect("it has a history");
    assert_eq!((event.kind, event.at, event.to), (EventKind::Expired, at, State::Failed));
    assert_eq!(detail.task.finished_at, Some(at));
}

/// A task that no attempt has begun of by its time fails then, and says so; before that time it is given out as any other.
pub async fn a_task_that_is_not_started_in_time_fails(b: Bench) {
    let within = |span| TaskSpec { expiry: Some(Expiry::In(span)), ..b.spec("render") };
    let ids = b.create_all(at(5), vec![within(secs(10)), b.spec("render").until(at(15))]).await;
    assert_eq!(b.task(ids[0]).await.task.head.expires_at, Some(at(15)));
    assert_eq!(expire_all(&b, at(15).minus(millis(1))).await, 0);
    let held = b.claim_one(claim("w1", at(15).minus(millis(1)))).await;
    assert_eq!(expire_all(&b, at(15)).await, 1);
    let other = ids.into_iter().find(|id| *id != held.head.id).unwrap();
    assert_expired(&b, other, at(15)).await;
    assert_eq!(expire_all(&b, at(16)).await, 0, "once is enough");
    b.complete(at(20), &held).await;
    b.check(at(20)).await;
}

/// A claim gives out nothing that has expired, fails it, and gives out what comes behind it.
pub async fn a_claim_passes_over_what_has_expired(b: Bench) {
    let mut late = Vec::new();
    for n in 0..3 {
        late.push(b.create(at(n), b.spec("render").until(at(10))).await);
    }
    let next = b.create(at(4), b.spec("render")).await;
    let held = b.claim_one(claim("w1", at(10)).max(2)).await;
    assert_eq!(held.head.id, next);
    for id in &late {
        assert_expired(&b, *id, at(10)).await;
    }
    let alone = b.create(at(11), b.spec("render").until(at(12))).await;
    assert_eq!(b.nothing(claim("w1", at(12))).await, Nothing::NoneQueued);
    assert_expired(&b, alone, at(12)).await;
    b.check(at(13)).await;
}

/// However many tasks have expired before it, a task is given out after a few claims.
pub async fn a_crowd_of_expired_tasks_hides_nothing(b: Bench) {
    for n in 0..2 {
        b.create_all(at(n), (0..150).map(|_| b.spec("render").until(at(10))).collect()).await;
    }
    let fresh = b.create(at(5), b.spec("render")).await;
    for tries in 0.. {
        assert!(tries < 40, "the task is hidden");
        match b.store().claim(claim("w1", at(10))).await.expect("the claim is taken") {
            ClaimAnswer::Leased(tasks) => {
                assert_eq!(ids_of(&tasks), [fresh]);
                break;
            }
            ClaimAnswer::Nothing(why) => assert_eq!(why, Nothing::Scheduled { next_at: at(10) }),
        }
    }
    expire_all(&b, at(10)).await;
    b.check(at(10)).await;
}

/// Once an attempt that counts has begun, the task goes on, however late it becomes.
pub async fn a_task_that_was_started_in_time_goes_on(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").until(at(10))).await;
    assert_eq!(expire_all(&b, at(20)).await, 0);
    b.fail(failing(at(20), &held)).await;
    assert_eq!(expire_all(&b, at(60)).await, 0);
    let again = b.claim_one(claim("w1", at(60))).await;
    assert_eq!((again.head.id, again.head.attempt), (held.head.id, 2));
    b.complete(at(61), &again).await;
    b.check(at(62)).await;
}

/// An attempt that was given back is no start: the task expires at its time.
pub async fn an_attempt_that_was_given_back_is_no_start(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").until(at(10))).await;
    b.release(releasing(at(5), &held)).await;
    assert_eq!(b.nothing(claim("w1", at(10))).await, Nothing::NoneQueued);
    expire_all(&b, at(10)).await;
    assert_expired(&b, held.head.id, at(10)).await;
    b.check(at(11)).await;
}

/// A task that waits for others, or for later, expires, too; what waits for it ends with it.
pub async fn a_blocked_task_expires_and_its_dependants_hear_of_it(b: Bench) {
    let first = b.create(at(0), b.spec("render")).await;
    let late = b.create(at(0), b.spec("stitch").after(&[first]).until(at(10))).await;
    let last = b.create(at(0), b.spec("stitch").after(&[late])).await;
    let later = b.create(at(0), b.spec("render").due(at(50)).until(at(20))).await;
    let why = b.store().why(late, at(20)).await.unwrap();
    assert_eq!(why.reasons.first(), Some(&Reason::Expired { at: at(10) }), "it is about to fail");
    assert_eq!(expire_all(&b, at(20)).await, 2);
    b.follow(at(20)).await;
    assert_expired(&b, late, at(20)).await;
    assert_expired(&b, later, at(20)).await;
    let followed = b.task(last).await.task;
    assert_eq!(followed.head.state.state(), State::Cancelled);
    assert!(followed.error.unwrap().message.contains(&late.to_string()));
    assert_eq!(b.state(first).await, State::Queued);
    b.check(at(21)).await;
}

/// Who retries an expired task wants it started however late it is.
pub async fn a_retried_task_expires_no_longer(b: Bench) {
    let id = b.create(at(0), b.spec("render").until(at(10))).await;
    assert_eq!(expire_all(&b, at(10)).await, 1);
    let task = b.retry(at(11), id).await;
    assert_eq!((task.head.state.state(), task.head.expires_at), (State::Queued, None));
    assert_eq!(expire_all(&b, at(12)).await, 0);
    assert_eq!(b.claim_one(claim("w1", at(13))).await.head.id, id);
    b.check(at(14)).await;
}

/// What waits at a limit expires as any other task, and leaves no place behind.
pub async fn what_waits_at_a_limit_expires(b: Bench) {
    let limit = |max_running, now| SetLimit {
        now,
        on: name("queue/default/key/*"),
        rules: Some(LimitRules { max_running: Some(max_running), ..LimitRules::default() }),
        by: None,
        reason: None,
    };
    b.store().set_limit(limit(1, at(0))).await.unwrap();
    let spec = || TaskSpec { concurrency_key: Some(name("k")), ..b.spec("render") };
    let held = b.running(at(0), "w1", spec()).await;
    let late = b.create(at(1), spec().until(at(10))).await;
    let next = b.create(at(2), spec()).await;
    assert!(matches!(b.nothing(claim("w2", at(3))).await, Nothing::AtLimit { .. }));
    expire_all(&b, at(10)).await;
    assert_expired(&b, late, at(10)).await;
    b.complete(at(11), &held).await;
    let second = b.claim_one(claim("w2", at(12))).await;
    assert_eq!(second.head.id, next);
    b.complete(at(13), &second).await;
    b.check(at(14)).await;
}

/// A claim just before the time races the expiry at it: the task is either started or expired, and never both.
pub async fn a_claim_races_the_expiry(b: Bench) {
    for turn in 0..20 {
        let id = b.create(at(0), b.spec("render").until(at(10))).await;
        b.settle().await;
        let (one, other) = (b.store(), b.store());
        let (claimed, expired) = race(
            turn,
            async move { one.claim(claim("w1", at(10).minus(millis(1))).cap(100)).await },
            async move { other.expire(Expire { now: at(10), limit: 10 }).await },
        )
        .await;
        let claimed = match claimed.expect("the claim is taken") {
            ClaimAnswer::Leased(tasks) => ids_of(&tasks) == [id],
            ClaimAnswer::Nothing(_) => false,
        };
        assert_eq!(expired.expect("the expiry is taken").tasks, u64::from(!claimed));
        let state = if claimed { State::Running } else { State::Failed };
        assert_eq!(b.state(id).await, state);
    }
    b.check(at(11)).await;
}

/// Until when a task is to be started is known after a restart.
pub async fn expiries_outlive_a_restart(mut b: Bench) {
    let id = b.create(at(0), b.spec("render").until(at(10))).await;
    let done = b.create(at(0), b.spec("render").until(at(500))).await;
    b.reopen().await;
    assert_eq!(b.claim_one(claim("w1", at(10))).await.head.id, done);
    expire_all(&b, at(10)).await;
    assert_expired(&b, id, at(10)).await;
    let late = b.store().cancel(cancel(at(11), id)).await;
    assert!(matches!(refusal(late), Refusal::Finished { state: State::Failed }));
    assert_err!(b.store().task(b.task_id()).await, StoreError::TaskNotFound(_));
    b.check(at(12)).await;
}
