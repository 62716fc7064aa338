//! Attempts that are given back.

use baton_model::transition::Refusal;
use baton_model::{Ended, EventKind, Fence, State};

use super::kit::*;
use crate::{Nothing, Release, StoreError};

/// A released attempt does not count, and yet its number is spent: the next claim has a higher one.
pub async fn a_released_attempt_does_not_count_but_its_number_is_spent(b: Bench) {
    let mut held = b.running(at(0), "w1", b.spec("render").attempts(1)).await;
    for attempt in 1..=5 {
        assert_eq!(held.head.attempt, attempt);
        let task = b.release(releasing(at(1), &held)).await;
        assert_eq!((task.head.state.state(), task.head.attempts_used()), (State::Queued, 0));
        assert_eq!(task.error, None);
        held = b.claim_one(claim("w1", at(1))).await;
    }
    let task = b.fail(failing(at(2), &held)).await;
    assert_eq!(task.head.state.state(), State::Failed, "the one counting attempt");
    b.check(at(3)).await;
}

/// A released task rests for the delay asked for, and its history says why it was given back.
pub async fn a_released_task_rests_for_its_delay(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let reason = Some("no room on the card".to_owned());
    let release = Release { delay: secs(30), reason: reason.clone(), ..releasing(at(1), &held) };
    let answer = b.store().release(release).await.unwrap();
    assert!(!answer.repeated);
    assert_eq!(answer.task.head.run_after, at(31));
    assert_eq!(b.nothing(claim("w2", at(30))).await, Nothing::Scheduled { next_at: at(31) });
    let event = &b.task(held.head.id).await.history[2];
    assert_eq!((event.kind, event.to), (EventKind::Released, State::Queued));
    assert_eq!((&event.detail.reason, event.detail.run_after), (&reason, Some(at(31))));
    b.claim_one(claim("w2", at(31))).await;
    b.check(at(32)).await;
}

/// The same release sent again answers with the task and changes nothing.
pub async fn a_repeated_release_changes_nothing(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let first = b.release(releasing(at(1), &held)).await;
    let before = b.task(held.head.id).await;
    let again = b.store().release(releasing(at(2), &held)).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.task, first);
    assert_eq!(b.task(held.head.id).await, before);
}

/// An attempt that ended otherwise, is older, or is another worker's cannot be released.
pub async fn only_ones_own_running_attempt_can_be_released(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let fence = Fence { worker: name("w2"), ..fence(&held) };
    let refused = refusal(b.store().release(Release { fence, ..releasing(at(1), &held) }).await);
    assert_eq!(refused, Refusal::WrongWorker { attempt: 1 });
    b.fail(failing(at(1), &held)).await;
    let refused = refusal(b.store().release(releasing(at(2), &held)).await);
    assert_eq!(refused, Refusal::LeaseLost { state: State::Queued, how: Ended::Failed });
    b.claim_one(claim("w1", at(100))).await;
    let refused = refusal(b.store().release(releasing(at(101), &held)).await);
    assert_eq!(refused, Refusal::StaleAttempt { presented: 1, current: 2, state: State::Running });
    let missing = b.store().release(Release { task: b.task_id(), ..releasing(at(1), &held) }).await;
    assert_err!(missing, StoreError::TaskNotFound(_));
    b.check(at(102)).await;
}
