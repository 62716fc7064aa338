//! Cancelling and retrying.

use baton_model::transition::Refusal;
use baton_model::{EventKind, Failure, Fence, State};

use super::kit::*;
use crate::{Cancel, Complete, Fail, Nothing, Retry, StoreError};

/// A queued task that is cancelled is given out no more; its history says by whom and why.
pub async fn a_cancelled_task_is_given_out_no_more(b: Bench) {
    for due in [at(0), at(500)] {
        let id = b.create(at(0), b.spec("render").due(due)).await;
        let by = Some(name("ada"));
        let reason = Some("wrong scene ☂".to_owned());
        let asked = Cancel { by: by.clone(), reason: reason.clone(), ..cancel(at(1), id) };
        let task = b.store().cancel(asked).await.unwrap();
        assert_eq!((task.head.state.state(), task.finished_at), (State::Cancelled, Some(at(1))));
        let detail = b.task(id).await;
        assert_eq!(detail.task, task);
        let event = &detail.history[1];
        assert_eq!((event.kind, event.to), (EventKind::Cancelled, State::Cancelled));
        assert_eq!((&event.detail.by, &event.detail.reason), (&by, &reason));
        assert_eq!(b.nothing(claim("w1", at(1_000))).await, Nothing::NoneQueued);
    }
    b.check(at(1_001)).await;
}

/// A running task that is cancelled is taken from its worker.
pub async fn a_running_task_is_cancelled_under_its_worker(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.cancel(at(1), held.head.id).await;
    let detail = b.task(held.head.id).await;
    assert_eq!(detail.history[2].detail.worker, Some(name("w1")));
    assert_eq!(b.worker("w1").await.active, 0);
    let late = refusal(b.store().complete(b.completion(at(2), &held), None).await);
    assert!(matches!(late, Refusal::LeaseLost { state: State::Cancelled, .. }));
    assert_eq!(b.reap(at(1_000)).await, []);
    assert_eq!(b.task(held.head.id).await, detail);
    b.check(at(1_001)).await;
}

/// A cancelled task that is cancelled again stays as it is and answers as then.
pub async fn a_cancellation_again_changes_nothing(b: Bench) {
    let id = b.create(at(0), b.spec("render")).await;
    let first = b.cancel(at(1), id).await;
    let again = Cancel { reason: Some("again".to_owned()), ..cancel(at(2), id) };
    assert_eq!(b.store().cancel(again).await.unwrap(), first);
    assert_eq!(b.task(id).await.history.len(), 2);
}

/// A completed or failed task cannot be cancelled; an unknown one is not found.
pub async fn a_finished_task_cannot_be_cancelled(b: Bench) {
    let done = b.running(at(0), "w1", b.spec("render")).await;
    b.complete(at(1), &done).await;
    let failed = b.running(at(0), "w1", b.spec("render")).await;
    b.fail(Fail { retryable: false, ..failing(at(1), &failed) }).await;
    for (held, state) in [(done, State::Completed), (failed, State::Failed)] {
        let before = b.task(held.head.id).await;
        let refused = refusal(b.store().cancel(cancel(at(2), held.head.id)).await);
        assert_eq!(refused, Refusal::Finished { state });
        assert_eq!(b.task(held.head.id).await, before);
    }
    let id = b.task_id();
    assert_err!(b.store().cancel(cancel(at(2), id)).await, StoreError::TaskNotFound(missing) if missing == id);
    b.check(at(3)).await;
}

/// A failed task that is retried has all of its attempts again, and its attempt number goes on rising.
pub async fn a_retried_task_has_fresh_attempts_and_rising_numbers(b: Bench) {
    let mut held = b.running(at(0), "w1", b.spec("render").attempts(2)).await;
    let old = held.clone();
    let mut now = 0;
    for round in 1..=3_u32 {
        for used in 1..=2 {
            assert_eq!(held.head.attempt, (round - 1) * 2 + used);
            let task = b.fail(failing(at(now), &held)).await;
            assert_eq!(task.head.attempts_used(), used);
            now += 100;
            if used < 2 {
                held = b.claim_one(claim("w1", at(now))).await;
            }
        }
        assert_eq!(b.state(held.head.id).await, State::Failed);
        let task = b.retry(at(now), held.head.id).await;
        assert_eq!((task.head.state.state(), task.head.run_after), (State::Queued, at(now)));
        assert_eq!((task.head.attempts_used(), task.finished_at), (0, None));
        held = b.claim_one(claim("w1", at(now))).await;
    }
    let late = Complete { fence: fence(&old), ..b.completion(at(now), &held) };
    assert!(matches!(
        refusal(b.store().complete(late, None).await),
        Refusal::StaleAttempt { presented: 1, .. }
    ));
    b.complete(at(now), &held).await;
    b.check(at(now + 1)).await;
}

/// A cancelled task can be retried, whether it was ever claimed or not.
pub async fn a_cancelled_task_can_be_retried(b: Bench) {
    let waiting = b.create(at(0), b.spec("render").queue("w").due(at(500))).await;
    let held = b.running(at(0), "w1", b.spec("render").queue("h")).await;
    for (id, queue, attempt) in [(waiting, "w", 1), (held.head.id, "h", 2)] {
        b.cancel(at(1), id).await;
        let by = Some(name("ada"));
        let reason = Some("after all".to_owned());
        let asked = Retry { by: by.clone(), reason: reason.clone(), delay: secs(20), ..retry(at(2), id) };
        let task = b.store().retry(asked).await.unwrap();
        assert_eq!((task.head.state.state(), task.head.run_after), (State::Queued, at(22)));
        let event = b.task(id).await.history.pop().unwrap();
        assert_eq!((event.kind, event.from), (EventKind::Retried, Some(State::Cancelled)));
        assert_eq!((event.detail.by, event.detail.reason), (by, reason));
        let claimed = claim("w2", at(22)).queues(&[queue]);
        assert_eq!(
            b.nothing(crate::Claim { now: at(21), ..claimed.clone() }).await,
            Nothing::Scheduled { next_at: at(22) }
        );
        assert_eq!(b.claim_one(claimed).await.head.attempt, attempt);
    }
    b.check(at(23)).await;
}

/// The attempt that ran when a task was cancelled cannot be finished after its retry.
pub async fn an_attempt_before_the_retry_is_over(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.cancel(at(1), held.head.id).await;
    b.retry(at(2), held.head.id).await;
    let before = b.task(held.head.id).await;
    assert!(matches!(
        refusal(b.store().complete(b.completion(at(3), &held), None).await),
        Refusal::LeaseLost { state: State::Queued, .. }
    ));
    assert_eq!(b.task(held.head.id).await, before);
    b.check(at(4)).await;
}

/// A completed task cannot be retried: its generation stands.
pub async fn a_completed_task_cannot_be_retried(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.complete(at(1), &held).await;
    let before = b.task(held.head.id).await;
    assert_eq!(refusal(b.store().retry(retry(at(2), held.head.id)).await), Refusal::CompletedIsFinal);
    assert_eq!(b.task(held.head.id).await, before);
    b.check(at(3)).await;
}

/// A task that is not finished cannot be retried; an unknown one is not found.
pub async fn an_unfinished_task_cannot_be_retried(b: Bench) {
    let id = b.create(at(0), b.spec("render")).await;
    let refused = refusal(b.store().retry(retry(at(1), id)).await);
    assert_eq!(refused, Refusal::NotFinished { state: State::Queued });
    b.claim_one(claim("w1", at(1))).await;
    let refused = refusal(b.store().retry(retry(at(2), id)).await);
    assert_eq!(refused, Refusal::NotFinished { state: State::Running });
    assert_err!(b.store().retry(retry(at(2), b.task_id())).await, StoreError::TaskNotFound(_));
    b.check(at(3)).await;
}

/// A task keeps its own length of history apart from its neighbours': what is done to one shows on no other.
pub async fn commands_to_one_task_leave_the_others(b: Bench) {
    let (one, two) = (b.spec("render"), b.spec("render"));
    let one = b.running(at(0), "w1", one).await;
    let two = b.running(at(0), "w1", two).await;
    let before = b.task(two.head.id).await;
    let failure = Failure { message: "x".to_owned(), code: None, details: None };
    b.fail(Fail { failure, retryable: false, ..failing(at(1), &one) }).await;
    b.retry(at(2), one.head.id).await;
    b.cancel(at(3), one.head.id).await;
    let foreign = Fence { attempt: 1, worker: name("w1") };
    let wrong = Complete { task: one.head.id, fence: foreign, ..b.completion(at(4), &two) };
    refusal(b.store().complete(wrong, None).await);
    assert_eq!(b.task(two.head.id).await, before);
    b.check(at(5)).await;
}
