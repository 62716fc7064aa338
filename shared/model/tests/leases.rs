//! When a lease is lost, and what is shown of workers and tasks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use baton_model::{
    Directive, Late, Lease, LeasePolicy, Loss, LossReason, Running, SessionId, State, Status, Step, TaskId,
    Timestamp, Watch, Worker, WorkerStatus,
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
        beats: None,
    }
}

/// Session 1, which has last beaten at `beat`.
fn beaten(beat: Option<Timestamp>) -> Worker {
    Worker { last_beat_at: beat, ..Worker::new(worker("w1"), baton_model::Owner::Unbound, session(1), at(0)) }
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

/// Why a lease is lost.
fn reason(lease: &Lease, worker: Option<&Worker>, watch: &Watch) -> Option<LossReason> {
    lease.lost(TASK, 1, worker, &LeasePolicy::default(), watch).map(|loss| loss.reason)
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
    assert_eq!(reason(&lease, worker.as_ref(), &Watch::at(now)), expected);
}

/// The time at `now`, to one who hears since `since`.
fn hearing(since: u64, now: Timestamp) -> Watch {
    Watch { heard_since: at(since), ..Watch::at(now) }
}

/// The time at `now`, by a clock that was set from one second to another.
fn set(before: u64, after: u64, now: Timestamp) -> Watch {
    Watch { steps: vec![Step { before: at(before), after: at(after) }], ..Watch::at(now) }
}

#[rstest]
// Nothing is lost by time before workers could speak for a whole timeout.
#[case::silent_for_hours(lease(), beaten(Some(at(20))), hearing(9_000, at(9_060)), None)]
#[case::silent_since(
    lease(),
    beaten(Some(at(20))),
    hearing(9_000, past(9_060)),
    Some(LossReason::HeartbeatMissed)
)]
#[case::timeout_long_over(timed(lease()), beaten(Some(at(20))), hearing(9_000, before(9_060)), None)]
#[case::timeout_when_all_could_speak(
    timed(lease()),
    beaten(Some(at(9_050))),
    hearing(9_000, at(9_060)),
    Some(LossReason::TimedOut)
)]
#[case::fixed_long_over(fixed(), beaten(None), hearing(9_000, before(9_060)), None)]
#[case::fixed_when_all_could_speak(
    fixed(),
    beaten(None),
    hearing(9_000, at(9_060)),
    Some(LossReason::LeaseExpired)
)]
#[case::another_session_needs_no_time(lease(), Worker { session: session(2), ..beaten(None) }, hearing(9_000, at(9_000)), Some(LossReason::SessionEnded))]
// The clock was set an hour ahead, when 20 s had passed.
#[case::ahead_and_lively(lease(), beaten(Some(at(10))), set(20, 3_620, at(3_625)), None)]
#[case::ahead_and_silent(
    lease(),
    beaten(Some(at(10))),
    set(20, 3_620, past(3_670)),
    Some(LossReason::HeartbeatMissed)
)]
#[case::ahead_within_the_timeout(timed(lease()), beaten(Some(at(10))), set(20, 3_620, before(3_630)), None)]
#[case::ahead_over_the_timeout(
    timed(lease()),
    beaten(Some(at(10))),
    set(20, 3_620, at(3_630)),
    Some(LossReason::TimedOut)
)]
#[case::ahead_within_the_fixed_lease(fixed(), beaten(None), set(20, 3_620, before(3_900)), None)]
#[case::ahead_over_the_fixed_lease(
    fixed(),
    beaten(None),
    set(20, 3_620, at(3_900)),
    Some(LossReason::LeaseExpired)
)]
// An hour back, when 20 s had passed: the claim and the beat lie ahead.
#[case::back_and_lively(ahead(lease()), beaten(Some(at(3_620))), set(3_640, 40, at(60)), None)]
#[case::back_and_silent(
    ahead(lease()),
    beaten(Some(at(3_620))),
    set(3_640, 40, past(80)),
    Some(LossReason::HeartbeatMissed)
)]
#[case::back_within_the_timeout(
    ahead(timed(lease())),
    beaten(Some(at(3_620))),
    set(3_640, 40, before(50)),
    None
)]
#[case::back_over_the_timeout(
    ahead(timed(lease())),
    beaten(Some(at(3_620))),
    set(3_640, 40, at(50)),
    Some(LossReason::TimedOut)
)]
fn a_lease_is_judged_by_what_could_be_heard_and_by_spans_that_no_setting_of_the_clock_changes(
    #[case] lease: Lease,
    #[case] worker: Worker,
    #[case] watch: Watch,
    #[case] expected: Option<LossReason>,
) {
    assert_eq!(reason(&lease, Some(&worker), &watch), expected);
}

/// The same lease, an hour and 20 s later.
fn ahead(lease: Lease) -> Lease {
    let later = |at: Timestamp| at.plus(secs(3_620));
    Lease {
        claimed_at: later(lease.claimed_at),
        expires_at: lease.expires_at.map(later),
        timeout_at: lease.timeout_at.map(later),
        ..lease
    }
}

#[rstest]
#[case::beaten_since(Some(7), Some(LossReason::HeartbeatMissed))]
#[case::not_beaten_since(Some(8), None)]
#[case::not_noted(None, None)]
fn a_claim_that_seems_to_lie_ahead_is_no_sign_of_life_once_the_worker_has_beaten_since(
    #[case] noted: Option<u64>,
    #[case] expected: Option<LossReason>,
) {
    let worker = Worker { beats: 8, ..beaten(Some(at(10))) };
    // The claim was heard by a clock that is half an hour ahead.
    let lease = Lease { claimed_at: at(1_800), beats: noted, ..lease() };
    let watch = Watch::at(past(70));
    assert_eq!(reason(&lease, Some(&worker), &watch), expected);
}

#[rstest]
#[case::recorded_before_the_claim(Some(7), 7, None)]
#[case::recorded_after_the_claim(Some(7), 8, Some(LossReason::Forgotten))]
#[case::not_noted(None, 8, Some(LossReason::Forgotten))]
fn a_task_is_forgotten_by_a_beat_that_was_recorded_after_its_claim_only(
    #[case] noted: Option<u64>,
    #[case] beats: u64,
    #[case] expected: Option<LossReason>,
) {
    // The beat was heard by a clock that is half a minute ahead of the claim's.
    let worker = Worker { beats, ..listing(30, &[]) };
    let lease = Lease { beats: noted, ..lease() };
    assert_eq!(reason(&lease, Some(&worker), &Watch::at(at(40))), expected);
}

/// Session 2 took its place at `at`; the earlier one was heard of since, if `heard`.
fn taken_over(seconds: u64, heard: bool) -> Worker {
    let mut worker = beaten(None);
    worker.enter(session(2), at(seconds)).unwrap().unwrap();
    if heard {
        worker.enter(session(1), at(seconds)).unwrap_err();
    }
    worker
}

/// The same, and the name is contested for another reason.
fn contested(seconds: u64) -> Worker {
    Worker { contested_at: Some(at(seconds)), ..taken_over(seconds, false) }
}

fn without_session() -> Lease {
    Lease { session: None, ..lease() }
}

#[rstest]
// Silence, and a new start that nobody contests.
#[case::silent(lease(), Some(beaten(None)), past(60), Some(true))]
#[case::of_nobody(lease(), None, past(60), Some(true))]
#[case::started_anew(lease(), Some(taken_over(20, false)), at(20), Some(true))]
// Both live: the earlier start was heard of.
#[case::taken_over(lease(), Some(taken_over(20, true)), at(20), Some(false))]
#[case::taken_over_long_ago(lease(), Some(taken_over(20, true)), at(9_000), Some(false))]
// A contested name: the earlier start is given as long as a silent worker to speak.
#[case::contested(lease(), Some(contested(20)), at(80), None)]
#[case::contested_and_silent(lease(), Some(contested(20)), past(80), Some(true))]
#[case::contested_once(lease(), Some(Worker { contested_at: Some(at(0)), ..taken_over(3_600, false) }), at(3_600), Some(true))]
#[case::of_a_session_long_forgotten(lease(), Some(Worker { superseded: Vec::new(), ..contested(20) }), at(21), Some(true))]
// Past its timeout: a worker that lives says so itself.
#[case::timed_out_unheard(timed(lease()), Some(beaten(Some(before(30)))), at(31), Some(true))]
#[case::timed_out_and_beats(timed(lease()), Some(beaten(Some(at(30)))), at(31), Some(false))]
#[case::timed_out_under_another_start(timed(lease()), Some(Worker { session: session(2), ..beaten(Some(at(30))) }), at(31), Some(true))]
#[case::timed_out_of_nobody(timed(lease()), None, at(31), Some(true))]
#[case::timed_out_fixed(timed(fixed()), Some(beaten(None)), at(31), Some(false))]
// A fixed lease says nothing of its worker.
#[case::expired(fixed(), Some(beaten(None)), at(300), Some(false))]
// Forgotten by one that does not name its starts: it may be another start.
#[case::forgotten(lease(), Some(listing(50, &[])), at(51), Some(false))]
#[case::forgotten_without_session(without_session(), Some(listing(50, &[])), at(51), Some(true))]
fn a_loss_tells_whether_the_worker_went_with_it(
    #[case] lease: Lease,
    #[case] worker: Option<Worker>,
    #[case] now: Timestamp,
    #[case] expected: Option<bool>,
) {
    let policy = LeasePolicy::default();
    let loss = lease.lost(TASK, 1, worker.as_ref(), &policy, &Watch::at(now));
    assert_eq!(loss.map(|loss| loss.with_worker), expected);
    if let Some(loss @ Loss { reason: LossReason::SessionEnded, with_worker: false }) = loss {
        assert!(loss.explain().contains("still lived"), "{}", loss.explain());
    }
}

#[test]
fn the_first_word_of_a_superseded_start_makes_its_name_contested_for_an_hour() {
    let mut worker = beaten(None);
    assert_eq!(worker.enter(session(1), at(1)), Ok(None), "no new start");
    assert_eq!(worker.enter(None, at(1)), Ok(None));
    let takeover_by = session(2);
    let takeover = worker.enter(takeover_by, at(5)).unwrap().unwrap();
    assert_eq!((Some(takeover.earlier), takeover.last_heard), (session(1), at(0)));
    assert!(!worker.is_contested(&Watch::at(at(5))));
    for (now, first_word) in [(7, true), (8, false)] {
        let late = worker.enter(session(1), at(now)).unwrap_err();
        let session = session(1).unwrap();
        assert_eq!(late, Late { session, superseded_at: at(5), first_word });
        assert_eq!((worker.session, worker.contested_at), (takeover_by, Some(at(7))));
    }
    assert!(worker.is_contested(&Watch::at(before(3_607))) && !worker.is_contested(&Watch::at(at(3_607))));
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
#[case(Some(at(40)), Directive::Drain)]
#[case(Some(before(40)), Directive::Run)]
fn a_worker_that_has_said_that_it_ends_is_gone_and_never_lost(
    #[case] beat: Option<Timestamp>,
    #[case] directive: Directive,
) {
    let worker = Worker { directive, ended_at: beat, ..beaten(beat) };
    assert_eq!(worker.status(&LeasePolicy::default(), at(100)), WorkerStatus::Gone);
    assert_eq!(worker.status(&LeasePolicy::default(), at(90_000)), WorkerStatus::Gone);
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
