//! Time is not a transition: what is for later becomes claimable by the clock alone.

use baton_model::{RunAfter, State, Status, TaskSpec};

use super::kit::*;
use crate::{Nothing, Release, TaskFilter};

/// A task whose run_after lies ahead is not given out.
pub async fn a_task_for_later_is_not_given_out(b: Bench) {
    b.create(at(0), b.spec("render").due(at(100))).await;
    assert_eq!(b.nothing(claim("w1", at(0))).await, Nothing::Scheduled { next_at: at(100) });
    assert_eq!(b.nothing(claim("w1", at(99))).await, Nothing::Scheduled { next_at: at(100) });
}

/// A task is claimable from its run_after on, to the millisecond, by the clock passing and nothing else.
pub async fn a_task_becomes_claimable_by_the_clock_alone(b: Bench) {
    let id = b.create(at(0), b.spec("render").due(at(100))).await;
    let before = b.task(id).await;
    let just_before = at(100).minus(millis(1));
    assert_eq!(b.nothing(claim("w1", just_before)).await, Nothing::Scheduled { next_at: at(100) });
    assert_eq!(b.task(id).await, before, "asking changed nothing");
    assert_eq!(b.claim_one(claim("w1", at(100))).await.head.id, id);
    b.check(at(101)).await;
}

/// A delay counts from the task's creation.
pub async fn a_delay_counts_from_creation(b: Bench) {
    let spec = TaskSpec { run_after: RunAfter::In(millis(1_500)), ..b.spec("render") };
    let id = b.create(at(10), spec).await;
    assert_eq!(b.task(id).await.task.head.run_after, at(10).plus(millis(1_500)));
}

/// A task created for a time that has passed is ready at once.
pub async fn a_task_for_the_past_is_ready(b: Bench) {
    let id = b.create(at(100), b.spec("render").due(at(5))).await;
    let task = b.claim_one(claim("w1", at(100))).await;
    assert_eq!((task.head.id, task.head.run_after), (id, at(5)));
}

/// A task that is created after the clock was set back is ready at once by that clock: times of other tasks do not
/// delay it.
pub async fn a_clock_that_was_set_back_delays_no_task(b: Bench) {
    b.create(at(5_000), b.spec("render").queue("other")).await;
    let id = b.create(at(10), b.spec("render")).await;
    assert_eq!(b.claim_one(claim("w1", at(10))).await.head.id, id);
}

/// A queued task shows as created before its first time, as retry before a later one, and as queued when it is due.
pub async fn the_status_of_a_queued_task_follows_the_clock(b: Bench) {
    let fresh = b.create(at(0), b.spec("render").due(at(100))).await;
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let tried = held.head.id;
    b.release(Release { delay: secs(100), ..releasing(at(0), &held) }).await;

    let by = async |status, now| {
        b.ids_by(TaskFilter { statuses: vec![status], now, ..TaskFilter::default() }).await
    };
    assert_eq!(by(Status::Created, at(99)).await, [fresh]);
    assert_eq!(by(Status::Retry, at(99)).await, [tried]);
    assert_eq!(by(Status::Queued, at(99)).await, []);
    assert_eq!(by(Status::Created, at(100)).await, []);
    assert_eq!(by(Status::Retry, at(100)).await, []);
    assert_eq!(by(Status::Queued, at(100)).await, [tried, fresh]);
    let task = b.task(fresh).await.task;
    assert_eq!((task.head.state.state(), task.status(at(99))), (State::Queued, Status::Created));
    b.check(at(50)).await;
}
