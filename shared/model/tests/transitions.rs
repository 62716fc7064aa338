//! What `decide` does to a task in each state for each command, and the laws that hold for any history.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::time::Duration;

use baton_model::change::{Ask, Standing};
use baton_model::limits;
use baton_model::transition::{Command, Decision, Refusal, decide};
use baton_model::{
    Ended, EventKind, Head, LeaseTerms, LossReason, Priority, RunAfter, SessionId, State, TaskChange,
    TaskState, Timeout,
};
use proptest::prelude::*;
use rstest::rstest;
use support::*;

/// What is expected of a command: a change, a repetition, or a refusal.
#[derive(Debug, PartialEq)]
enum Outcome {
    Change(State, EventKind),
    Repeat,
    Refused(Refusal),
}

use Outcome::{Change, Refused, Repeat};

fn outcome(head: &Head, command: &Command) -> Outcome {
    match decide(head, command, at(100)) {
        Ok(Decision::Apply(change)) => Change(change.head.state.state(), change.kind),
        Ok(Decision::Repeat) => Repeat,
        Err(refusal) => Refused(refusal),
    }
}

fn not_claimable(state: State) -> Outcome {
    Refused(Refusal::NotClaimable { state })
}

fn not_running(state: State) -> Outcome {
    Refused(Refusal::NotRunning { state })
}

fn stale(presented: u32, current: u32, state: State) -> Outcome {
    Refused(Refusal::StaleAttempt { presented, current, state })
}

fn lost(state: State, how: Ended) -> Outcome {
    Refused(Refusal::LeaseLost { state, how })
}

fn wrong() -> Outcome {
    Refused(Refusal::WrongWorker { attempt: 1 })
}

fn missed() -> Command {
    lose(1, LossReason::HeartbeatMissed)
}

fn failed_once() -> Head {
    after(&running(), &fail("w1", 1, true))
}

fn released() -> Head {
    after(&running(), &release("w1", 1))
}

fn reaped() -> Head {
    after(&running(), &missed())
}

fn later() -> Head {
    Head { run_after: at(101), ..queued() }
}

fn cancelled_under_worker() -> Head {
    after(&running(), &cancel())
}

const REAPED: Ended = Ended::Lost(LossReason::HeartbeatMissed);

#[rstest]
// A queued task that was never claimed: nobody can speak for it.
#[case(queued(), claim(), Change(State::Running, EventKind::Claimed))]
#[case(queued(), complete("w1", 0, "out"), stale(0, 0, State::Queued))]
#[case(queued(), complete("w1", 1, "out"), stale(1, 0, State::Queued))]
#[case(queued(), fail("w1", 0, true), stale(0, 0, State::Queued))]
#[case(queued(), fail("w1", 1, true), stale(1, 0, State::Queued))]
#[case(queued(), release("w1", 0), stale(0, 0, State::Queued))]
#[case(queued(), lose(0, LossReason::TimedOut), not_running(State::Queued))]
#[case(queued(), missed(), stale(1, 0, State::Queued))]
#[case(queued(), cancel(), Change(State::Cancelled, EventKind::Cancelled))]
#[case(queued(), retry(), Refused(Refusal::NotFinished { state: State::Queued }))]
// For later: only the claim differs.
#[case(later(), claim(), not_claimable(State::Queued))]
#[case(Head { run_after: at(100), ..queued() }, claim(), Change(State::Running, EventKind::Claimed))]
#[case(later(), cancel(), Change(State::Cancelled, EventKind::Cancelled))]
#[case(later(), retry(), Refused(Refusal::NotFinished { state: State::Queued }))]
// Queued again after an attempt failed, was given back, or was reaped.
#[case(failed_once(), complete("w1", 1, "out"), lost(State::Queued, Ended::Failed))]
#[case(failed_once(), fail("w1", 1, true), Repeat)]
#[case(failed_once(), fail("w1", 1, false), Repeat)]
#[case(failed_once(), fail("w2", 1, true), wrong())]
#[case(failed_once(), release("w1", 1), lost(State::Queued, Ended::Failed))]
#[case(failed_once(), missed(), not_running(State::Queued))]
#[case(released(), complete("w1", 1, "out"), lost(State::Queued, Ended::Released))]
#[case(released(), fail("w1", 1, true), lost(State::Queued, Ended::Released))]
#[case(released(), release("w1", 1), Repeat)]
#[case(released(), release("w2", 1), wrong())]
#[case(reaped(), complete("w1", 1, "out"), lost(State::Queued, REAPED))]
#[case(reaped(), complete("w2", 1, "out"), wrong())]
#[case(reaped(), fail("w1", 1, true), lost(State::Queued, REAPED))]
#[case(reaped(), release("w1", 1), lost(State::Queued, REAPED))]
#[case(reaped(), missed(), not_running(State::Queued))]
#[case(reaped(), claim(), Change(State::Running, EventKind::Claimed))]
// Running.
#[case(running(), claim(), not_claimable(State::Running))]
#[case(running(), complete("w1", 1, "out"), Change(State::Completed, EventKind::Completed))]
#[case(running(), complete("w2", 1, "out"), wrong())]
#[case(running(), complete("w1", 0, "out"), stale(0, 1, State::Running))]
#[case(running(), complete("w1", 2, "out"), stale(2, 1, State::Running))]
#[case(running(), fail("w1", 1, true), Change(State::Queued, EventKind::AttemptFailed))]
#[case(running(), fail("w1", 1, false), Change(State::Failed, EventKind::AttemptFailed))]
#[case(running(), fail("w2", 1, true), wrong())]
#[case(running(), fail("w1", 2, true), stale(2, 1, State::Running))]
#[case(running_last(), fail("w1", 1, true), Change(State::Failed, EventKind::AttemptFailed))]
#[case(running(), release("w1", 1), Change(State::Queued, EventKind::Released))]
#[case(running_last(), release("w1", 1), Change(State::Queued, EventKind::Released))]
#[case(running(), release("w2", 1), wrong())]
#[case(running(), release("w1", 0), stale(0, 1, State::Running))]
#[case(running(), missed(), Change(State::Queued, EventKind::LeaseLost))]
#[case(running_last(), missed(), Change(State::Failed, EventKind::LeaseLost))]
#[case(running(), lose(2, LossReason::Forgotten), stale(2, 1, State::Running))]
#[case(running(), cancel(), Change(State::Cancelled, EventKind::Cancelled))]
#[case(running(), retry(), Refused(Refusal::NotFinished { state: State::Running }))]
// Completed.
#[case(completed(), claim(), not_claimable(State::Completed))]
#[case(completed(), complete("w1", 1, "out"), Repeat)]
#[case(completed(), complete("w1", 1, "other"), Refused(Refusal::CompletedDifferently { generation: generation(1) }))]
#[case(completed(), complete("w2", 1, "out"), wrong())]
#[case(completed(), complete("w1", 0, "out"), stale(0, 1, State::Completed))]
#[case(completed(), fail("w1", 1, true), lost(State::Completed, Ended::Completed))]
#[case(completed(), release("w1", 1), lost(State::Completed, Ended::Completed))]
#[case(completed(), missed(), not_running(State::Completed))]
#[case(completed(), cancel(), Refused(Refusal::Finished { state: State::Completed }))]
#[case(completed(), retry(), Refused(Refusal::CompletedIsFinal))]
// Failed.
#[case(failed(), claim(), not_claimable(State::Failed))]
#[case(failed(), complete("w1", 1, "out"), lost(State::Failed, Ended::Failed))]
#[case(failed(), fail("w1", 1, false), Repeat)]
#[case(failed(), release("w1", 1), lost(State::Failed, Ended::Failed))]
#[case(failed(), missed(), not_running(State::Failed))]
#[case(failed(), cancel(), Refused(Refusal::Finished { state: State::Failed }))]
#[case(failed(), retry(), Change(State::Queued, EventKind::Retried))]
// Cancelled, while it waited and under its worker.
#[case(cancelled(), claim(), not_claimable(State::Cancelled))]
#[case(cancelled(), complete("w1", 0, "out"), stale(0, 0, State::Cancelled))]
#[case(cancelled(), missed(), stale(1, 0, State::Cancelled))]
#[case(cancelled(), cancel(), Repeat)]
#[case(cancelled(), retry(), Change(State::Queued, EventKind::Retried))]
#[case(cancelled_under_worker(), complete("w1", 1, "out"), lost(State::Cancelled, Ended::Cancelled))]
#[case(cancelled_under_worker(), fail("w1", 1, true), lost(State::Cancelled, Ended::Cancelled))]
#[case(cancelled_under_worker(), release("w1", 1), lost(State::Cancelled, Ended::Cancelled))]
#[case(cancelled_under_worker(), missed(), not_running(State::Cancelled))]
#[case(cancelled_under_worker(), retry(), Change(State::Queued, EventKind::Retried))]
fn each_state_answers_each_command(#[case] head: Head, #[case] command: Command, #[case] expected: Outcome) {
    assert_eq!(outcome(&head, &command), expected);
}

#[test]
fn a_claim_begins_an_attempt_under_a_lease() {
    let session = Some(SessionId::from_bytes([3; 16]));
    let command = Command::Claim {
        worker: worker("w1"),
        session,
        terms: LeaseTerms::Fixed(secs(30)),
        request: "r1".parse().ok(),
        beats: Some(3),
    };
    let head = Head { timeout: Some(secs(20)), run_after: at(100), ..failed_once() };
    let change = change(&head, &command);
    let lease = running_lease(&change.head);
    assert_eq!((&lease.worker, lease.session), (&worker("w1"), session));
    assert_eq!(
        (lease.claimed_at, lease.expires_at, lease.timeout_at),
        (at(100), Some(at(130)), Some(at(120)))
    );
    assert_eq!(lease.request, "r1".parse().ok());
    assert_eq!((change.head.attempt, &change.head.ended, change.error), (2, &None, None));
    assert_eq!((change.detail.worker, change.detail.session), (Some(worker("w1")), session));
    assert_eq!(running_lease(&running()).expires_at, None);
}

#[test]
fn a_completion_names_its_generation_and_clears_the_error() {
    let change = change(&running(), &complete("w1", 1, "out"));
    let state = TaskState::Completed { generation: generation(1), output: digest("out") };
    assert_eq!((change.head.state, change.error), (state, Some(None)));
}

#[rstest]
#[case(fail("w1", 1, true), Duration::from_secs(10))]
#[case(release("w1", 1), Duration::from_secs(5))]
#[case(lose(1, LossReason::TimedOut), Duration::from_secs(10))]
#[case(lose(1, LossReason::HeartbeatMissed), Duration::ZERO)]
#[case(lose(1, LossReason::LeaseExpired), Duration::ZERO)]
#[case(lose(1, LossReason::SessionEnded), Duration::ZERO)]
#[case(lose(1, LossReason::Forgotten), Duration::ZERO)]
#[case(Command::Fail { fence: fence("w1", 1), failure: failure(), retryable: true, retry_after: Some(secs(77)) }, Duration::from_secs(77))]
fn a_task_that_goes_back_waits_as_its_end_says(#[case] command: Command, #[case] wait: Duration) {
    let change = change(&running(), &command);
    assert_eq!(change.head.run_after, at(100).plus(wait));
    assert_eq!(change.detail.run_after, Some(at(100).plus(wait)));
}

#[test]
fn a_lost_attempt_leaves_its_reason_as_error() {
    for reason in LossReason::ALL {
        let change = change(&Head { worker_losses: 1, ..running_last() }, &lose(1, reason));
        let error = change.error.flatten().unwrap();
        assert_eq!(error.code.as_deref(), Some(reason.as_str()));
        assert_eq!((change.detail.loss, change.detail.error), (Some(reason), Some(error)));
        assert_eq!(ended_how(&change.head), Some(Ended::Lost(reason)));
        assert_eq!(change.detail.run_after, None);
    }
}

#[rstest]
// The first loss by a new start of the worker does not count, a further one does.
#[case::first_new_start(0, LossReason::SessionEnded, true, (1, 1), State::Queued)]
#[case::further_new_start(1, LossReason::SessionEnded, true, (0, 2), State::Failed)]
// One by a start that took the name of a living one never does.
#[case::taken_over(0, LossReason::SessionEnded, false, (1, 0), State::Queued)]
#[case::taken_over_again(1, LossReason::SessionEnded, false, (1, 1), State::Queued)]
#[case::silent(0, LossReason::HeartbeatMissed, true, (0, 1), State::Failed)]
#[case::forgotten(1, LossReason::Forgotten, false, (0, 1), State::Failed)]
#[case::forgotten_by_another_start(1, LossReason::Forgotten, true, (0, 2), State::Failed)]
#[case::timed_out(3, LossReason::TimedOut, false, (0, 0), State::Failed)]
#[case::timed_out_with_its_worker(3, LossReason::TimedOut, true, (0, 4), State::Failed)]
#[case::expired(3, LossReason::LeaseExpired, false, (0, 0), State::Failed)]
fn a_lost_attempt_counts_unless_another_start_took_the_name(
    #[case] before: u32,
    #[case] reason: LossReason,
    #[case] with_worker: bool,
    #[case] (forgiven, worker_losses): (u32, u32),
    #[case] state: State,
) {
    let head = Head { worker_losses: before, ..running_last() };
    let change = change(&head, &lose_with(1, reason, with_worker));
    assert_eq!((change.head.forgiven, change.head.worker_losses), (forgiven, worker_losses));
    assert_eq!(change.head.state.state(), state);
    assert_eq!(change.detail.uncounted, forgiven == 1);
    assert_eq!(change.detail.worker_losses, with_worker.then_some(worker_losses));
    let message = change.error.flatten().unwrap().message;
    assert_eq!(message.contains("does not count"), forgiven == 1, "{message}");
    assert_eq!(message.contains("may be what ends it"), with_worker && worker_losses > 1, "{message}");
}

#[test]
fn an_end_that_the_worker_tells_and_a_retry_begin_the_count_of_lost_workers_anew() {
    let lost = Head { worker_losses: 2, ..running() };
    for end in [complete("w1", 1, "out"), fail("w1", 1, true), fail("w1", 1, false), release("w1", 1)] {
        assert_eq!(after(&lost, &end).worker_losses, 0);
    }
    let cancelled = after(&lost, &cancel());
    assert_eq!((cancelled.worker_losses, after(&cancelled, &retry()).worker_losses), (2, 0));
    let claimed = after(&Head { worker_losses: 2, ..queued() }, &claim());
    assert_eq!(claimed.worker_losses, 2);
}

#[test]
fn released_and_retried_attempts_are_forgiven() {
    let head = released();
    assert_eq!((head.attempt, head.forgiven, head.attempts_used()), (1, 1, 0));
    let head = after(&failed(), &retry());
    assert_eq!((head.attempt, head.forgiven, head.attempts_used()), (1, 1, 0));
}

#[test]
fn a_nearly_full_history_takes_ends_but_no_beginnings() {
    let full = |head: Head| Head { events: limits::EVENTS - 3, ..head };
    assert_eq!(refused(&full(queued()), &claim()), Refusal::HistoryFull);
    assert_eq!(refused(&full(failed()), &retry()), Refusal::HistoryFull);
    for end in [complete("w1", 1, "out"), fail("w1", 1, true), release("w1", 1), missed(), cancel()] {
        assert!(after(&full(running()), &end).events <= limits::EVENTS);
    }
    let room = Head { events: limits::EVENTS - 4, ..queued() };
    assert_eq!(after(&room, &claim()).events, limits::EVENTS - 3);
}

#[test]
fn a_refusal_says_what_was_expected_and_what_came() {
    let texts: Vec<_> = every_head()
        .iter()
        .flat_map(|head| every_command().into_iter().map(move |command| decide(head, &command, at(100))))
        .filter_map(Result::err)
        .map(|refusal| refusal.to_string())
        .collect();
    assert!(texts.iter().any(|text| text == "expected attempt 1, got attempt 0; the task is running"));
    assert!(
        texts
            .iter()
            .any(|text| text == "the attempt has ended: was released by its worker; the task is queued")
    );
    assert!(texts.iter().all(|text| text.len() > 20));
}

/// A command by its kind, worker, distance from the present attempt, and a choice that each kind reads its own way.
fn any_step() -> impl Strategy<Value = (u8, bool, u32, u8, u64)> {
    // Mostly the right worker and the present attempt, so that histories get somewhere.
    (0..17_u8, prop::bool::weighted(0.85), prop_oneof![8 => Just(0_u32), 1 => 1..3_u32], 0..10_u8, 0..40_u64)
}

fn build(head: &Head, (kind, own, back, choice, _): (u8, bool, u32, u8, u64)) -> Command {
    let holder = match (&head.state, &head.ended) {
        (TaskState::Running(lease), _) => lease.worker.clone(),
        (_, Some(end)) => end.worker.clone(),
        _ => worker("w1"),
    };
    let name = if own { holder.as_str().to_owned() } else { "stranger".to_owned() };
    let attempt = if choice == 9 { head.attempt + back } else { head.attempt.saturating_sub(back) };
    match kind {
        0..4 => claim_by(if choice < 5 { "w1" } else { "w2" }),
        4..6 => complete(&name, attempt, if choice < 7 { "out" } else { "other" }),
        6..8 => fail(&name, attempt, choice < 8),
        8..9 => release(&name, attempt),
        9..11 => {
            let reason = LossReason::ALL[usize::from(choice) % 5];
            // A missed heartbeat is always the worker's.
            lose_with(attempt, reason, own || reason == LossReason::HeartbeatMissed)
        }
        11..12 => cancel(),
        12 => Command::Expire,
        13..15 => change_of(TaskChange {
            priority: (choice < 3).then_some(Priority::High),
            queue: (choice > 5).then(|| "gpu".parse().unwrap()),
            run_after: (choice > 4).then_some(RunAfter::At(at(u64::from(choice) * 20))),
            timeout: (choice == 7).then_some(Timeout::Never),
            max_attempts: (choice % 2 == 0).then_some(u32::from(choice) / 2),
        }),
        _ => retry(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_for_any_history(
        steps in prop::collection::vec(any_step(), 1..80),
        max_attempts in 1..4_u32,
        expires in prop::option::of(0..200_u64),
    ) {
        let mut head = Head { max_attempts, expires_at: expires.map(at), ..queued() };
        let mut now = at(0);
        for step in steps {
            now = now.plus(secs(step.4));
            let command = build(&head, step);
            match decide(&head, &command, now) {
                Ok(Decision::Apply(change)) => {
                    let next = change.head;
                    let (from, to) = (head.state.state(), next.state.state());
                    prop_assert_eq!(change.from, from, "the event begins where the one before ended");
                    prop_assert_eq!(next.events, head.events + 1, "one event a change");
                    let claimed = change.kind == EventKind::Claimed;
                    prop_assert_eq!(next.attempt, head.attempt + u32::from(claimed), "raised by claims alone");
                    prop_assert_eq!(claimed, to == State::Running);
                    prop_assert!(!claimed || head.expired(now).is_none(), "too late to be started");
                    let counted = change.kind == EventKind::Expired && head.attempts_used() > 0;
                    prop_assert!(!counted, "what was started in time goes on");
                    prop_assert_eq!(next.ended.is_none(), next.attempt == 0 || to == State::Running);
                    prop_assert!(!from.is_final() || change.kind == EventKind::Retried, "finished is final");
                    prop_assert!(from != State::Completed, "completed is final even to a retry");
                    prop_assert!(next.forgiven >= head.forgiven && next.forgiven <= next.attempt);
                    prop_assert!(next.attempts_used() <= next.max_attempts, "no more attempts than given");
                    let lost = change.detail.worker_losses.is_some();
                    prop_assert!(!lost || next.worker_losses == head.worker_losses + 1, "one more in a row");
                    prop_assert!(lost || next.worker_losses <= head.worker_losses);
                    let by_takeover = matches!(change.detail.loss, Some(LossReason::SessionEnded));
                    prop_assert!(!change.detail.uncounted || by_takeover);
                    prop_assert_eq!((next.id, next.backoff), (head.id, head.backoff));
                    let terms = (next.max_attempts, next.timeout);
                    let as_before = terms == (head.max_attempts, head.timeout);
                    prop_assert!(as_before || change.kind == EventKind::Changed, "only a change changes them");
                    let waits = matches!(from, State::Blocked | State::Queued) && from == to;
                    prop_assert_eq!(change.kind == EventKind::Changed, waits, "what waits is changed, and stays");

                    // What was just done is a repetition when it comes again, and never done twice.
                    let again = decide(&next, &command, now.plus(secs(1)));
                    match command {
                        Command::Complete { .. }
                        | Command::Fail { .. }
                        | Command::Release { .. }
                        | Command::Cancel { .. } => prop_assert_eq!(again, Ok(Decision::Repeat)),
                        // Its head does not tell its priority and its queue, which the next asking would.
                        Command::Change(ask) => {
                            let priority = ask.to.priority.unwrap_or(ask.standing.priority);
                            let queue = ask.to.queue.clone().unwrap_or(ask.standing.queue);
                            let standing = Standing { priority, queue, holder: None };
                            let again = decide(&next, &Command::Change(Ask { standing, ..ask }), now.plus(secs(1)));
                            let too_late = next.expired(now.plus(secs(1))).is_some();
                            prop_assert!(too_late || again == Ok(Decision::Repeat), "{again:?}");
                        }
                        Command::Claim { .. }
                        | Command::LoseLease { .. }
                        | Command::Retry { .. }
                        | Command::Unblock
                        | Command::DependencyFailed { .. }
                        | Command::Expire => {
                            prop_assert!(again.is_err());
                        }
                    }
                    head = next;
                }
                Ok(Decision::Repeat) => {
                    let running = head.state.state() == State::Running;
                    prop_assert!(!running, "what runs has not ended");
                }
                Err(_) => {}
            }
        }
    }

    /// A program that kills whatever worker runs it is not run for ever, however the losses of its workers show, as
    /// long as nobody takes it back for another reason.
    #[test]
    fn a_task_that_ends_its_workers_fails_in_the_end(
        reasons in prop::collection::vec(0..5_usize, 40),
        max_attempts in 1..10_u32,
    ) {
        let mut head = Head { max_attempts, ..queued() };
        let mut runs = 0;
        for reason in reasons {
            if head.state.state() != State::Queued {
                break;
            }
            head = after(&Head { run_after: at(0), ..head }, &claim());
            let reason = LossReason::ALL[reason];
            // A fixed lease says nothing of the worker, and counts.
            head = after(&head, &lose_with(head.attempt, reason, reason != LossReason::LeaseExpired));
            runs += 1;
        }
        prop_assert_eq!(head.state.state(), State::Failed);
        let fresh_starts = 1 + max_attempts;
        prop_assert!(runs <= max_attempts + fresh_starts, "{runs} runs of {max_attempts} attempts");
    }

    #[test]
    fn an_old_attempt_is_refused_for_ever(steps in prop::collection::vec(any_step(), 1..60), old in 1..4_u32) {
        let mut head = queued();
        let mut now = at(0);
        for step in steps {
            now = now.plus(secs(step.4));
            if let Ok(Decision::Apply(change)) = decide(&head, &build(&head, step), now) {
                head = change.head;
            }
            if head.attempt > old {
                for name in ["w1", "w2"] {
                    for command in [complete(name, old, "out"), fail(name, old, true), release(name, old)] {
                        let refusal = decide(&head, &command, now);
                        prop_assert!(matches!(refusal, Err(Refusal::StaleAttempt { .. })), "{refusal:?}");
                    }
                }
            }
        }
    }
}
