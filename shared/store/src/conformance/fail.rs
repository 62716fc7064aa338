//! Attempts that fail.

use baton_model::transition::Refusal;
use baton_model::{AttemptEnd, Backoff, Ended, EventKind, Failure, Fence, State, TaskSpec};

use super::kit::*;
use crate::{Fail, Nothing, StoreError};

/// A failed attempt puts its task back into the queue, to be claimed after its backoff.
pub async fn a_failed_attempt_waits_for_its_backoff(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let answer = b.store().fail(failing(at(1), &held)).await.unwrap();
    assert!(!answer.repeated);
    let task = answer.task;
    assert_eq!((task.head.state.state(), task.head.run_after), (State::Queued, at(11)));
    assert_eq!((task.head.attempt, task.head.attempts_used()), (1, 1));
    assert_eq!(task.head.ended, Some(AttemptEnd { worker: name("w1"), how: Ended::Failed }));
    let detail = b.task(held.head.id).await;
    assert_eq!(detail.task, task);
    let event = &detail.history[2];
    assert_eq!((event.kind, event.to), (EventKind::AttemptFailed, State::Queued));
    assert_eq!(event.detail.run_after, Some(at(11)));
    assert_eq!(b.nothing(claim("w2", at(10))).await, Nothing::Scheduled { next_at: at(11) });
    let again = b.claim_one(claim("w2", at(11))).await;
    assert_eq!((again.head.id, again.head.attempt), (held.head.id, 2));
    b.check(at(12)).await;
}

/// The backoff grows with the attempts that were used, and follows the task's own jitter.
pub async fn the_backoff_grows_with_the_attempts(b: Bench) {
    let backoff = Backoff { base: secs(8), factor: 4.0, max: secs(100), jitter: 0.5 };
    let id = b.create(at(0), TaskSpec { backoff: Some(backoff), ..b.spec("render").attempts(5) }).await;
    let mut now = at(0);
    for used in 1..5 {
        let held = b.claim_one(claim("w1", now)).await;
        let task = b.fail(failing(now, &held)).await;
        assert_eq!(task.head.run_after, now.plus(backoff.delay(id, used)));
        now = task.head.run_after;
    }
}

/// A worker may say itself how long to wait before the next attempt.
pub async fn retry_after_takes_the_place_of_the_backoff(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let task = b.fail(Fail { retry_after: Some(secs(500)), ..failing(at(1), &held) }).await;
    assert_eq!(task.head.run_after, at(501));
    let held = b.claim_one(claim("w1", at(501))).await;
    let task = b.fail(Fail { retry_after: Some(secs(0)), ..failing(at(502), &held) }).await;
    assert_eq!(task.head.run_after, at(502));
    b.claim_one(claim("w1", at(502))).await;
}

/// A task whose attempts are used up is failed, and nothing claims it.
pub async fn a_task_fails_when_its_attempts_are_used_up(b: Bench) {
    let mut held = b.running(at(0), "w1", b.spec("render").attempts(2)).await;
    b.fail(failing(at(1), &held)).await;
    held = b.claim_one(claim("w1", at(100))).await;
    let task = b.fail(failing(at(101), &held)).await;
    assert_eq!((task.head.state.state(), task.finished_at), (State::Failed, Some(at(101))));
    assert_eq!(task.head.attempts_used(), 2);
    assert_eq!(b.nothing(claim("w1", at(10_000))).await, Nothing::NoneQueued);
    let event = b.task(held.head.id).await.history.pop().unwrap();
    assert_eq!((event.kind, event.to), (EventKind::AttemptFailed, State::Failed));
    assert_eq!(event.detail.run_after, None);
    b.check(at(10_001)).await;
}

/// A failure that no other attempt would help fails the task at once.
pub async fn a_failure_that_is_not_retryable_is_final(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let task = b.fail(Fail { retryable: false, retry_after: Some(secs(5)), ..failing(at(1), &held) }).await;
    assert_eq!(task.head.state.state(), State::Failed);
    assert_eq!(b.nothing(claim("w1", at(10_000))).await, Nothing::NoneQueued);
    b.check(at(10_001)).await;
}

/// The failure is shown with the task and kept in its history, details byte for byte.
pub async fn a_failure_is_shown_and_kept(b: Bench) {
    let failure = Failure {
        message: "CUDA error ☂\n  at line 3".to_owned(),
        code: Some("oom".to_owned()),
        details: Some(json(r#"{ "free":  12 }"#)),
    };
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let task = b.fail(Fail { failure: failure.clone(), ..failing(at(1), &held) }).await;
    assert_eq!(task.error, Some(failure.clone()));
    let held = b.claim_one(claim("w1", at(100))).await;
    assert_eq!(held.error, Some(failure.clone()), "until the next end");
    b.fail(failing(at(101), &held)).await;
    let detail = b.task(held.head.id).await;
    assert_eq!(detail.task.error.unwrap().message, "out of memory");
    assert_eq!(detail.history[2].detail.error, Some(failure));
    b.check(at(102)).await;
}

/// The same failure sent again answers with the task and changes nothing, in the queue as when it failed for good.
pub async fn a_repeated_failure_changes_nothing(b: Bench) {
    for retryable in [true, false] {
        let held = b.running(at(0), "w1", b.spec("render")).await;
        let fail = Fail { retryable, ..failing(at(1), &held) };
        let first = b.fail(fail.clone()).await;
        let before = b.task(held.head.id).await;
        let again = b.store().fail(Fail { now: at(2), ..fail }).await.unwrap();
        assert!(again.repeated);
        assert_eq!(again.task, first);
        assert_eq!(b.task(held.head.id).await, before);
    }
    b.check(at(3)).await;
}

/// A failure that comes after the next attempt began is refused.
pub async fn a_late_failure_is_refused(b: Bench) {
    let old = b.running(at(0), "w1", b.spec("render")).await;
    b.fail(failing(at(1), &old)).await;
    let new = b.claim_one(claim("w1", at(100))).await;
    let refused = refusal(b.store().fail(failing(at(101), &old)).await);
    assert_eq!(refused, Refusal::StaleAttempt { presented: 1, current: 2, state: State::Running });
    assert_eq!(b.task(old.head.id).await.task, new);
}

/// Only the worker that claimed the attempt may fail it.
pub async fn another_worker_may_not_fail(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let fence = Fence { worker: name("w2"), ..fence(&held) };
    let refused = refusal(b.store().fail(Fail { fence, ..failing(at(1), &held) }).await);
    assert_eq!(refused, Refusal::WrongWorker { attempt: 1 });
    let missing = b.store().fail(Fail { task: b.task_id(), ..failing(at(1), &held) }).await;
    assert_err!(missing, StoreError::TaskNotFound(_));
    assert_eq!(b.task(held.head.id).await.task, held);
}
