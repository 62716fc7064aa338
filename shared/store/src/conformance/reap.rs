//! The reaper: what it takes back, and what not.

use baton_model::transition::Refusal;
use baton_model::{Ended, EventKind, LossReason, State, Task};

use super::kit::*;
use crate::{Nothing, Purge, Reap, Taken};

fn taken(held: &Task, reason: LossReason, to: State) -> Taken {
    Taken {
        task: held.head.id,
        queue: held.queue.clone(),
        task_type: held.task_type.clone(),
        domain: held.domain.clone(),
        attempt: held.head.attempt,
        worker: lease(held).worker.clone(),
        worker_gone: false,
        reason,
        to,
    }
}

/// A worker that has not beaten for longer than the heartbeat timeout has lost its leases, to the millisecond.
pub async fn a_silent_worker_loses_its_tasks(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.beat(beat("w1", at(20)).running(&[&held])).await;
    assert_eq!(b.reap(at(80)).await, []);
    let report = b.reap(at(80).plus(millis(1))).await;
    assert_eq!(report, [taken(&held, LossReason::HeartbeatMissed, State::Queued)]);
    b.check(at(81)).await;
}

/// A worker that claims and never beats loses its lease a heartbeat timeout after the claim.
pub async fn a_worker_that_never_beats_loses_its_tasks(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    assert_eq!(b.reap(at(60)).await, []);
    assert_eq!(b.reap(at(61)).await, [taken(&held, LossReason::HeartbeatMissed, State::Queued)]);
}

/// A claim is a sign of life for the tasks that it takes, though the last heartbeat is old.
pub async fn a_fresh_claim_of_a_long_silent_worker_holds(b: Bench) {
    b.beat(beat("w1", at(0))).await;
    let held = b.running(at(100), "w1", b.spec("render")).await;
    assert_eq!(b.reap(at(101)).await, []);
    assert_eq!(b.reap(at(161)).await, [taken(&held, LossReason::HeartbeatMissed, State::Queued)]);
}

/// A fixed lease is lost when it has run out, and not before.
pub async fn a_fixed_lease_is_lost_when_it_runs_out(b: Bench) {
    let held = b.running_by(at(0), claim("w1", at(0)).fixed(secs(300)), b.spec("render")).await;
    assert_eq!(b.reap(at(300).minus(millis(1))).await, [], "no heartbeat is asked of it");
    assert_eq!(b.reap(at(300)).await, [taken(&held, LossReason::LeaseExpired, State::Queued)]);
    b.check(at(301)).await;
}

/// Heartbeats neither prolong a fixed lease nor, by leaving it out, end it.
pub async fn a_fixed_lease_ignores_heartbeats(b: Bench) {
    let held = b.running_by(at(0), claim("w1", at(0)).fixed(secs(100)), b.spec("render")).await;
    b.beat(beat("w1", at(50)).running(&[])).await;
    assert_eq!(b.reap(at(51)).await, []);
    b.beat(beat("w1", at(99)).running(&[&held])).await;
    assert_eq!(b.reap(at(100)).await, [taken(&held, LossReason::LeaseExpired, State::Queued)]);
}

/// A task past its own timeout is taken back, however lively its worker is; it then waits as a failed one does.
pub async fn a_task_past_its_timeout_is_taken_from_a_lively_worker(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").timeout(secs(30))).await;
    b.beat(beat("w1", at(29)).running(&[&held])).await;
    assert_eq!(b.reap(at(30).minus(millis(1))).await, []);
    b.beat(beat("w1", at(30)).running(&[&held])).await;
    assert_eq!(b.reap(at(30)).await, [taken(&held, LossReason::TimedOut, State::Queued)]);
    assert_eq!(b.task(held.head.id).await.task.head.run_after, at(40), "after its backoff");
    b.check(at(31)).await;
}

/// A timeout ends a fixed lease too.
pub async fn a_timeout_ends_a_fixed_lease(b: Bench) {
    let spec = b.spec("render").timeout(secs(10));
    let held = b.running_by(at(0), claim("w1", at(0)).fixed(secs(300)), spec).await;
    assert_eq!(b.reap(at(10)).await, [taken(&held, LossReason::TimedOut, State::Queued)]);
}

/// The timeout counts for each attempt anew.
pub async fn a_timeout_counts_from_each_claim(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").timeout(secs(30))).await;
    b.release(releasing(at(25), &held)).await;
    let held = b.claim_one(claim("w1", at(26))).await;
    assert_eq!(b.reap(at(55)).await, []);
    assert_eq!(b.reap(at(56)).await, [taken(&held, LossReason::TimedOut, State::Queued)]);
}

/// A task that its worker's heartbeat no longer lists was forgotten and is taken back; those listed are not.
pub async fn a_forgotten_task_is_taken_back(b: Bench) {
    let forgotten = b.running(at(0), "w1", b.spec("render")).await;
    let kept = b.running(at(0), "w1", b.spec("render")).await;
    b.beat(beat("w1", at(20)).running(&[&forgotten, &kept])).await;
    assert_eq!(b.reap(at(21)).await, []);
    b.beat(beat("w1", at(40)).running(&[&kept])).await;
    assert_eq!(b.reap(at(41)).await, [taken(&forgotten, LossReason::Forgotten, State::Queued)]);
    b.check(at(42)).await;
}

/// A heartbeat that lists another attempt of the task has forgotten the one that runs.
pub async fn listing_an_old_attempt_does_not_keep_the_new_one(b: Bench) {
    let old = b.running(at(0), "w1", b.spec("render")).await;
    b.release(releasing(at(1), &old)).await;
    let new = b.claim_one(claim("w1", at(2))).await;
    b.beat(beat("w1", at(20)).running(&[&old])).await;
    assert_eq!(b.reap(at(21)).await, [taken(&new, LossReason::Forgotten, State::Queued)]);
}

/// A task claimed less than the grace before a heartbeat is not forgotten by it: the claim may still be on its way.
pub async fn a_fresh_claim_is_not_forgotten(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.beat(beat("w1", at(10)).running(&[])).await;
    assert_eq!(b.reap(at(15)).await, [], "the beat came within the grace, whenever it is judged");
    b.beat(beat("w1", at(10).plus(millis(1))).running(&[])).await;
    assert_eq!(b.reap(at(15)).await, [taken(&held, LossReason::Forgotten, State::Queued)]);
}

/// A heartbeat that does not say what its worker runs forgets nothing.
pub async fn a_heartbeat_without_list_forgets_nothing(b: Bench) {
    b.running(at(0), "w1", b.spec("render")).await;
    b.beat(beat("w1", at(50))).await;
    assert_eq!(b.reap(at(51)).await, []);
}

/// The reaper leaves live leases alone, and queued and finished tasks too.
pub async fn live_leases_are_left_alone(b: Bench) {
    let lost = b.running(at(0), "dead", b.spec("render")).await;
    let live = b.running(at(0), "w1", b.spec("render")).await;
    let fixed = b.running_by(at(0), claim("w2", at(0)).fixed(secs(500)), b.spec("render")).await;
    let done = b.running(at(0), "dead", b.spec("render")).await;
    b.complete(at(1), &done).await;
    let waiting = b.create(at(1), b.spec("render")).await;
    b.beat(beat("w1", at(90)).running(&[&live])).await;
    let untouched = [live.head.id, fixed.head.id, done.head.id, waiting];
    let mut before = Vec::new();
    for id in untouched {
        before.push(b.task(id).await);
    }
    assert_eq!(b.reap(at(100)).await, [taken(&lost, LossReason::HeartbeatMissed, State::Queued)]);
    for (id, before) in untouched.into_iter().zip(before) {
        assert_eq!(b.task(id).await, before);
    }
    assert_eq!(b.reap(at(100)).await, [], "and once is enough");
    b.check(at(101)).await;
}

/// The reaper takes back no more than asked, says that there may be more, and gets to all of them.
pub async fn the_limit_is_kept_and_the_rest_comes_later(b: Bench) {
    b.create_plain(at(0), 5).await;
    let held = b.claim(claim("w1", at(0)).max(5)).await;
    b.settle().await;
    let mut all = Vec::new();
    for (most, more) in [(2, true), (2, true), (1, false)] {
        let report = b.store().reap(Reap { limit: 2, ..reap(at(100)) }).await.unwrap();
        assert_eq!((report.taken.len(), report.more), (most, more));
        all.extend(report.taken.iter().map(|one| (one.task, one.attempt)));
        b.settle().await;
    }
    assert_eq!(all.into_iter().collect::<std::collections::BTreeSet<_>>(), held_set(&held));
    b.check(at(101)).await;
}

/// Lost leases are found behind any number of live ones.
pub async fn a_lost_lease_is_found_behind_many_live_ones(b: Bench) {
    b.create_plain(at(0), 150).await;
    b.claim(claim("w1", at(0)).max(100).cap(1_000).fixed(secs(900))).await;
    b.claim(claim("w1", at(0)).max(50).cap(1_000).fixed(secs(900))).await;
    let lost = b.running_by(at(1), claim("z9", at(1)).fixed(secs(5)), b.spec("render")).await;
    b.settle().await;
    let report = b.store().reap(Reap { limit: 1, ..reap(at(10)) }).await.unwrap();
    assert_eq!(report.taken, [taken(&lost, LossReason::LeaseExpired, State::Queued)]);
}

/// Asked for one worker or one queue, the reaper leaves the lost leases of others.
pub async fn reaping_can_be_narrowed(b: Bench) {
    let mut held = Vec::new();
    for (worker, queue) in [("w1", "a"), ("w1", "b"), ("w2", "a"), ("w2", "b")] {
        held.push(b.running(at(0), worker, b.spec("render").queue(queue)).await);
    }
    let lost = |n: usize| taken(&held[n], LossReason::HeartbeatMissed, State::Queued);
    b.settle().await;
    let narrow = async |worker: Option<&str>, queue: Option<&str>| {
        let asked = Reap { worker: worker.map(name), queue: queue.map(name), ..reap(at(100)) };
        b.store().reap(asked).await.unwrap().taken
    };
    assert_eq!(narrow(Some("nobody"), None).await, []);
    assert_eq!(narrow(Some("w1"), Some("b")).await, [lost(1)]);
    assert_eq!(narrow(Some("w1"), None).await, [lost(0)]);
    assert_eq!(narrow(None, Some("a")).await, [lost(2)]);
    assert_eq!(narrow(None, None).await, [lost(3)]);
    b.check(at(101)).await;
}

/// A reaped attempt counts, and its task is ready again at once; its history and its error say why.
pub async fn a_reaped_attempt_counts_and_its_task_is_ready_at_once(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.reap(at(100)).await;
    let detail = b.task(held.head.id).await;
    assert_eq!((detail.task.head.attempts_used(), detail.task.head.run_after), (1, at(100)));
    let error = detail.task.error.unwrap();
    assert_eq!(error.code.as_deref(), Some("heartbeat_missed"));
    let event = &detail.history[2];
    assert_eq!((event.kind, event.to), (EventKind::LeaseLost, State::Queued));
    assert_eq!(event.detail.loss, Some(LossReason::HeartbeatMissed));
    assert_eq!((&event.detail.worker, &event.detail.error), (&Some(name("w1")), &Some(error)));
    let again = b.claim_one(claim("w2", at(100))).await;
    assert_eq!((again.head.id, again.head.attempt), (held.head.id, 2));
    b.check(at(101)).await;
}

/// A task whose attempts are used up by dead workers fails with the reason, instead of looping.
pub async fn a_task_that_is_lost_too_often_fails_with_the_reason(b: Bench) {
    b.create(at(0), b.spec("render").attempts(2)).await;
    let one = b.claim_one(claim("w1", at(0))).await;
    assert_eq!(b.reap(at(100)).await, [taken(&one, LossReason::HeartbeatMissed, State::Queued)]);
    let two = b.claim_one(claim("w2", at(100))).await;
    assert_eq!(b.reap(at(200)).await, [taken(&two, LossReason::HeartbeatMissed, State::Failed)]);
    let task = b.task(two.head.id).await.task;
    assert_eq!((task.head.state.state(), task.finished_at), (State::Failed, Some(at(200))));
    assert_eq!(task.error.unwrap().code.as_deref(), Some("heartbeat_missed"));
    assert_eq!(b.nothing(claim("w1", at(300))).await, Nothing::NoneQueued);
    b.check(at(301)).await;
}

/// A completion that arrives after the lease is lost, but before the reaper, counts.
pub async fn a_completion_before_the_reaper_counts(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").timeout(secs(5))).await;
    b.complete(at(10_000), &held).await;
    assert_eq!(b.reap(at(10_001)).await, []);
    assert_eq!(b.state(held.head.id).await, State::Completed);
    b.check(at(10_002)).await;
}

/// A reaped attempt can be completed, failed or released no more, and the refusal says why.
pub async fn a_reaped_attempt_is_over(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.reap(at(100)).await;
    let before = b.task(held.head.id).await;
    let how = Ended::Lost(LossReason::HeartbeatMissed);
    let lost = Refusal::LeaseLost { state: State::Queued, how };
    assert_eq!(refusal(b.store().complete(b.completion(at(101), &held), None).await), lost);
    assert_eq!(refusal(b.store().fail(failing(at(101), &held)).await), lost);
    assert_eq!(refusal(b.store().release(releasing(at(101), &held)).await), lost);
    assert_eq!(b.task(held.head.id).await, before);
    b.check(at(102)).await;
}

/// A task is taken back also from a worker whose record is long gone.
pub async fn a_task_of_a_worker_long_gone_is_taken_back(b: Bench) {
    let day = 86_400;
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.beat(beat("w1", at(1)).running(&[&held])).await;
    b.purge(Purge::at(at(8 * day))).await;
    let report = b.reap(at(8 * day)).await;
    assert_eq!(report, [taken(&held, LossReason::HeartbeatMissed, State::Queued)]);
    b.check(at(8 * day + 1)).await;
}
