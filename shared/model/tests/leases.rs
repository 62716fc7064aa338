//! When a lease is lost, and what is shown of workers and tasks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::BTreeMap;

use baton_model::{
    Directive, Lease, LeasePolicy, LossReason, Running, SessionId, State, Status, TaskId, Timestamp, Worker,
    WorkerStatus,
};
use rstest::rstest;
use support::{at, secs, worker};

const TASK: TaskId = TaskId::from_bytes([7; 16]);

fn session(n: u8) -> Option<SessionId> {
    Some(SessionId::from_bytes([n; 16]))
}

/// Claimed at 0 s by session 1, kept by heartbeats.
fn lease() -> Lease {
    Lease {
        worker: worker("w1"),
        session: session(1),
        claimed_at: at(0),
        expires_at: None,
        timeout_at: None,
        request: None,
    }
}

/// Session 1, which has last beaten at `beat`.
fn beaten(beat: Option<Timestamp>) -> Worker {
    Worker {
        id: worker("w1"),
        project: None,
        session: session(1),
        started_at: at(0),
        last_beat_at: beat,
        capacity: None,
        running: None,
        readings: BTreeMap::new(),
        labels: BTreeMap::new(),
        directive: Directive::Run,
    }
}

fn listing(beat: u64, entries: &[(TaskId, u32)]) -> Worker {
    let entry = |(task, attempt): &(TaskId, u32)| Running {
        task: *task,
        attempt: *attempt,
        progress: None,
        message: None,
    };
    Worker { running: Some(entries.iter().map(entry).collect()), ..beaten(Some(at(beat))) }
}

fn timed(lease: Lease) -> Lease {
    Lease { timeout_at: Some(at(30)), ..lease }
}

fn fixed() -> Lease {
    Lease { expires_at: Some(at(300)), ..lease() }
}

/// A millisecond before `seconds`.
fn before(seconds: u64) -> Timestamp {
    Timestamp::from_millis(at(seconds).as_millis() - 1)
}

/// A millisecond after `seconds`.
fn past(seconds: u64) -> Timestamp {
    Timestamp::from_millis(at(seconds).as_millis() + 1)
}

const OTHER: TaskId = TaskId::from_bytes([8; 16]);

#[rstest]
// The task's own timeout comes first, whatever else holds.
#[case::before_its_timeout(timed(lease()), Some(beaten(Some(at(29)))), before(30), None)]
#[case::at_its_timeout(timed(lease()), Some(beaten(Some(at(30)))), at(30), Some(LossReason::TimedOut))]
#[case::timeout_of_a_fixed_lease(timed(fixed()), None, at(30), Some(LossReason::TimedOut))]
#[case::timeout_before_all(timed(lease()), Some(Worker { session: session(2), ..beaten(None) }), at(900), Some(LossReason::TimedOut))]
// A fixed lease knows nothing of its worker.
#[case::fixed_not_over(fixed(), Some(beaten(None)), before(300), None)]
#[case::fixed_over(fixed(), Some(beaten(Some(at(300)))), at(300), Some(LossReason::LeaseExpired))]
#[case::fixed_under_another_session(fixed(), Some(Worker { session: session(2), ..beaten(None) }), at(200), None)]
#[case::fixed_and_unlisted(fixed(), Some(listing(100, &[])), at(101), None)]
#[case::fixed_of_nobody(fixed(), None, at(299), None)]
// Nothing is known of the worker.
#[case::of_nobody_fresh(lease(), None, at(60), None)]
#[case::of_nobody_old(lease(), None, past(60), Some(LossReason::HeartbeatMissed))]
// Sessions.
#[case::same_session(lease(), Some(beaten(Some(at(50)))), at(60), None)]
#[case::another_session(lease(), Some(Worker { session: session(2), ..beaten(Some(at(1))) }), at(2), Some(LossReason::SessionEnded))]
#[case::session_before_silence(lease(), Some(Worker { session: session(2), ..beaten(None) }), at(900), Some(LossReason::SessionEnded))]
#[case::claimed_without_session(Lease { session: None, ..lease() }, Some(Worker { session: session(2), ..beaten(Some(at(1))) }), at(2), None)]
// Heartbeats: the claim itself is a sign of life.
#[case::never_beaten_fresh(lease(), Some(beaten(None)), at(60), None)]
#[case::never_beaten_old(lease(), Some(beaten(None)), past(60), Some(LossReason::HeartbeatMissed))]
#[case::beats(lease(), Some(beaten(Some(at(100)))), at(160), None)]
#[case::no_longer_beats(lease(), Some(beaten(Some(at(100)))), past(160), Some(LossReason::HeartbeatMissed))]
#[case::claimed_after_the_last_beat(Lease { claimed_at: at(500), ..lease() }, Some(beaten(Some(at(1)))), at(560), None)]
// What the heartbeat lists.
#[case::lists_nothing_said(lease(), Some(beaten(Some(at(50)))), at(51), None)]
#[case::listed(lease(), Some(listing(50, &[(OTHER, 1), (TASK, 1)])), at(51), None)]
#[case::left_out(lease(), Some(listing(50, &[(OTHER, 1)])), at(51), Some(LossReason::Forgotten))]
#[case::another_attempt_listed(lease(), Some(listing(50, &[(TASK, 2)])), at(51), Some(LossReason::Forgotten))]
#[case::left_out_within_the_grace(lease(), Some(listing(10, &[])), at(20), None)]
#[case::left_out_after_the_grace(lease(), Some(Worker { last_beat_at: Some(past(10)), ..listing(0, &[]) }), at(20), Some(LossReason::Forgotten))]
#[case::list_without_beat(lease(), Some(Worker { last_beat_at: None, ..listing(0, &[]) }), at(20), None)]
#[case::silence_before_forgetting(lease(), Some(listing(50, &[])), past(110), Some(LossReason::HeartbeatMissed))]
fn a_lease_is_lost_by_the_first_reason_that_holds(
    #[case] lease: Lease,
    #[case] worker: Option<Worker>,
    #[case] now: Timestamp,
    #[case] expected: Option<LossReason>,
) {
    let policy = LeasePolicy::default();
    assert_eq!(lease.lost(TASK, 1, worker.as_ref(), &policy, now), expected);
}

#[rstest]
#[case(None, Directive::Run, WorkerStatus::Silent)]
#[case(None, Directive::Stop, WorkerStatus::Silent)]
#[case(Some(at(40)), Directive::Run, WorkerStatus::Active)]
#[case(Some(at(40)), Directive::Drain, WorkerStatus::Draining)]
#[case(Some(at(40)), Directive::Stop, WorkerStatus::Stopping)]
#[case(Some(before(40)), Directive::Run, WorkerStatus::Lost)]
#[case(Some(before(40)), Directive::Drain, WorkerStatus::Lost)]
fn a_worker_shows_its_beats_then_what_is_asked_of_it(
    #[case] beat: Option<Timestamp>,
    #[case] directive: Directive,
    #[case] expected: WorkerStatus,
) {
    let worker = Worker { directive, ..beaten(beat) };
    assert_eq!(worker.status(&LeasePolicy::default(), at(100)), expected);
}

#[rstest]
#[case(State::Queued, 0, at(10), Status::Queued)]
#[case(State::Queued, 4, at(10), Status::Queued)]
#[case(State::Queued, 0, past(10), Status::Created)]
#[case(State::Queued, 1, past(10), Status::Retry)]
#[case(State::Running, 1, at(900), Status::Running)]
#[case(State::Completed, 1, at(900), Status::Completed)]
#[case(State::Failed, 1, at(900), Status::Failed)]
#[case(State::Cancelled, 0, at(900), Status::Cancelled)]
fn a_status_derives_from_state_attempt_and_clock(
    #[case] state: State,
    #[case] attempt: u32,
    #[case] run_after: Timestamp,
    #[case] expected: Status,
) {
    assert_eq!(Status::derive(state, attempt, run_after, at(10)), expected);
    assert_eq!(expected.state(), state, "a status belongs to its state");
    assert_eq!(expected.as_str().parse(), Ok(expected));
}

#[test]
fn the_default_policy_asks_for_three_beats_a_timeout() {
    let policy = LeasePolicy::default();
    assert_eq!(policy.heartbeat_interval * 3, policy.heartbeat_timeout);
    assert_eq!((policy.heartbeat_timeout, policy.forget_grace), (secs(60), secs(10)));
}
