//! Attempts that end because their worker did, or seems to have: which of them count.

use baton_model::{LossReason, SessionId, State, Task, TaskId};

use super::kit::*;
use crate::StoreError;

/// A start of a worker that does nothing but claim `id`.
async fn taken_by(b: &Bench, now: u64, worker: &str, start: SessionId, id: TaskId) -> Task {
    let held = b.claim_one(claim(worker, at(now)).session(start)).await;
    assert_eq!(held.head.id, id);
    held
}

/// A superseded start that speaks again, by a claim or by a heartbeat, makes its name contested; it is shown, and the
/// present start goes on.
pub async fn a_superseded_start_that_speaks_makes_its_name_contested(b: Bench) {
    for (n, by_claim) in [(1, false), (2, true)] {
        let worker = format!("w{n}");
        b.beat(beat(&worker, at(0)).session(session(1))).await;
        b.beat(beat(&worker, at(1)).session(session(2))).await;
        assert_eq!(b.worker(&worker).await.worker.contested_at, None);
        // Only the first word is news.
        for now in [5, 6] {
            let refused = if by_claim {
                b.store().claim(claim(&worker, at(now)).session(session(1))).await.map(drop)
            } else {
                b.store().heartbeat(beat(&worker, at(now)).session(session(1))).await.map(drop)
            };
            assert_err!(refused, StoreError::SessionSuperseded { .. });
        }
        let known = b.worker(&worker).await.worker;
        assert_eq!((known.contested_at, known.session), (Some(at(5)), Some(session(2))));
        b.beat(beat(&worker, at(7)).session(session(2))).await;
    }
}

/// The first loss of a task to a new start of its worker does not count as an attempt; it says so, and the task is
/// ready at once.
pub async fn the_first_loss_to_a_new_start_does_not_count(b: Bench) {
    let id = b.create(at(0), b.spec("render").attempts(1)).await;
    taken_by(&b, 0, "w1", session(1), id).await;
    b.beat(beat("w1", at(1)).session(session(2))).await;
    let taken = b.reap(at(2)).await;
    assert_eq!((taken[0].reason, taken[0].to), (LossReason::SessionEnded, State::Queued));
    let detail = b.task(id).await;
    let head = &detail.task.head;
    assert_eq!((head.attempt, head.attempts_used(), head.worker_losses, head.run_after), (1, 0, 1, at(2)));
    let lost = &detail.history[2].detail;
    assert_eq!((lost.uncounted, lost.worker_losses), (true, Some(1)));
    let message = detail.task.error.unwrap().message;
    assert!(message.ends_with("the attempt does not count"), "{message}");
    b.complete(at(3), &taken_by(&b, 3, "w1", session(2), id).await).await;
    assert_eq!(b.task(id).await.task.head.worker_losses, 0, "its worker has told its end");
    b.check(at(4)).await;
}

/// Two workers under one name, each of which is started anew as soon as it hears that the other has taken its place:
/// that ends no attempt of a task that counts, however often.
pub async fn starts_that_take_a_name_from_each_other_never_fail_a_task(b: Bench) {
    let id = b.create(at(0), b.spec("render").attempts(1)).await;
    for n in 0..20 {
        let now = 10 * n;
        taken_by(&b, now, "w1", session(n), id).await;
        b.beat(beat("w1", at(now + 1)).session(session(n + 1))).await;
        // The earlier start hears of it.
        let late = beat("w1", at(now + 2)).session(session(n));
        assert_err!(b.store().heartbeat(late).await, StoreError::SessionSuperseded { .. });
        let taken = b.reap(at(now + 3)).await;
        assert_eq!((taken.len(), taken[0].reason), (1, LossReason::SessionEnded));
    }
    let head = b.task(id).await.task.head;
    assert_eq!((head.attempts_used(), head.worker_losses), (0, 0), "no worker died");
    b.complete(at(500), &taken_by(&b, 500, "w1", session(20), id).await).await;
    b.check(at(501)).await;
}

/// Under a contested name an earlier start is given the heartbeat timeout to be heard of, and may end its attempts
/// meanwhile; what is heard of by then does not count, what is not was lost with its worker.
pub async fn a_contested_name_waits_for_the_word_of_the_earlier_start(b: Bench) {
    let contest = async |n: u64, now: u64| {
        b.beat(beat("w1", at(now)).session(session(n + 1))).await;
        let late = beat("w1", at(now)).session(session(n));
        assert_err!(b.store().heartbeat(late).await, StoreError::SessionSuperseded { .. });
    };
    b.beat(beat("w1", at(0)).session(session(0))).await;
    contest(0, 1).await;
    // Ends its attempt before it is heard of.
    let id = b.create(at(1), b.spec("render")).await;
    let held = taken_by(&b, 2, "w1", session(1), id).await;
    b.beat(beat("w1", at(3)).session(session(2))).await;
    assert_eq!(b.reap(at(4)).await, []);
    b.complete(at(5), &held).await;
    // Is heard of.
    let id = b.create(at(5), b.spec("render")).await;
    taken_by(&b, 6, "w1", session(2), id).await;
    contest(2, 7).await;
    assert_eq!(b.reap(at(8)).await.len(), 1);
    assert_eq!(b.task(id).await.task.head.worker_losses, 0);
    b.complete(at(9), &taken_by(&b, 9, "w1", session(3), id).await).await;
    // Is never heard of again.
    let id = b.create(at(9), b.spec("render")).await;
    taken_by(&b, 10, "w1", session(3), id).await;
    b.beat(beat("w1", at(11)).session(session(4))).await;
    assert_eq!(b.reap(at(71)).await, []);
    assert_eq!(b.reap(at(71).plus(millis(1))).await.len(), 1);
    let head = b.task(id).await.task.head;
    assert_eq!(head.worker_losses, 1, "it was lost with its worker");
    // The contest is over after an hour: a new start ends the leases of the one before at once.
    let later = 11 + 3_600;
    b.cancel(at(100), id).await;
    let plain = b.create(at(later), b.spec("render")).await;
    taken_by(&b, later, "w1", session(4), plain).await;
    b.beat(beat("w1", at(later)).session(session(5))).await;
    assert_eq!(b.reap(at(later)).await.len(), 1);
    b.check(at(later + 1)).await;
}

/// A task whose program ends its worker, which is started anew under the same name each time, fails after one more run
/// than it has attempts; and so it does under a contested name.
pub async fn a_task_that_ends_its_worker_fails_under_any_name(b: Bench) {
    let (mut starts, mut now) = (0, 0);
    let mut new_start = || {
        starts += 1;
        session(starts)
    };
    for contested in [false, true] {
        let id = b.create(at(now), b.spec("poison").attempts(3)).await;
        let mut runs = 0;
        while b.state(id).await != State::Failed {
            let other = new_start();
            if contested {
                b.beat(beat("w1", at(now)).session(other)).await;
            }
            taken_by(&b, now, "w1", new_start(), id).await;
            if contested {
                // Somebody else's start lives, and hears that its place was taken.
                let late = beat("w1", at(now)).session(other);
                assert_err!(b.store().heartbeat(late).await, StoreError::SessionSuperseded { .. });
            }
            b.beat(beat("w1", at(now + 1)).session(new_start())).await;
            assert_eq!(b.reap(at(now + 70)).await.len(), 1);
            runs += 1;
            now += 100;
            assert!(runs <= 4, "three attempts, and the first loss that does not count");
        }
        assert_eq!(runs, 4);
        let task = b.task(id).await.task;
        assert_eq!((task.head.attempts_used(), task.head.worker_losses), (3, 4));
        let error = task.error.unwrap();
        assert_eq!(error.code.as_deref(), Some("session_ended"));
        assert!(error.message.contains("4 times in a row, and may be what ends it"), "{}", error.message);
    }
    b.check(at(now)).await;
}
