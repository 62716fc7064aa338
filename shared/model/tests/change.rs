//! What a change of a task that waits may change, and what it says of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::time::Duration;

use baton_model::transition::{Decision, Refusal, decide};
use baton_model::{
    Changes, EventKind, FromTo, Head, Priority, QueueName, RunAfter, State, TaskChange, TaskId, TaskState,
    Timeout, limits,
};
use rstest::rstest;
use support::*;

fn due(schedule: RunAfter) -> TaskChange {
    TaskChange { run_after: Some(schedule), ..TaskChange::default() }
}

fn attempts(max_attempts: u32) -> TaskChange {
    TaskChange { max_attempts: Some(max_attempts), ..TaskChange::default() }
}

#[test]
fn a_change_says_what_each_thing_was_and_is() {
    let to = TaskChange {
        priority: Some(Priority::Critical),
        queue: Some("gpu".parse().unwrap()),
        run_after: Some(RunAfter::In(secs(50))),
        timeout: Some(Timeout::After(Duration::from_secs(9))),
        max_attempts: Some(8),
    };
    let head = Head { timeout: None, max_attempts: 3, run_after: at(0), ..queued() };
    let change = change(&head, &change_of(to));
    assert_eq!(
        (change.kind, change.from, change.head.state.state()),
        (EventKind::Changed, State::Queued, State::Queued)
    );
    assert_eq!(change.priority, Some(Priority::Critical));
    assert_eq!(change.queue, Some("gpu".parse().unwrap()));
    let expected = Changes {
        priority: Some(FromTo { from: Priority::Normal, to: Priority::Critical }),
        queue: Some(FromTo { from: QueueName::default(), to: "gpu".parse().unwrap() }),
        run_after: Some(FromTo { from: at(0), to: at(150) }),
        timeout_ms: Some(FromTo { from: None, to: Some(9_000) }),
        max_attempts: Some(FromTo { from: 3, to: 8 }),
    };
    assert_eq!(change.detail.changes.as_deref(), Some(&expected));
    assert_eq!(change.detail.run_after, Some(at(150)));
    let head = change.head;
    assert_eq!((head.run_after, head.timeout, head.max_attempts), (at(150), Some(secs(9)), 8));
}

#[rstest]
// A time that has come means now, and never a turn before those that wait for longer.
#[case::later_to_past(200, RunAfter::At(at(5)), Some(100))]
#[case::later_to_now(200, RunAfter::Now, Some(100))]
#[case::later_to_later(200, RunAfter::In(secs(300)), Some(400))]
#[case::due_to_later(50, RunAfter::At(at(120)), Some(120))]
// What is due keeps its turn.
#[case::due_to_now(50, RunAfter::Now, None)]
#[case::due_to_past(50, RunAfter::At(at(5)), None)]
#[case::as_it_is(200, RunAfter::At(at(200)), None)]
fn a_task_is_due_as_it_is_said(#[case] from: u64, #[case] schedule: RunAfter, #[case] expected: Option<u64>) {
    for state in [TaskState::Queued, TaskState::Blocked] {
        let head = Head { run_after: at(from), state, ..queued() };
        match (decide(&head, &change_of(due(schedule)), at(100)).unwrap(), expected) {
            (Decision::Apply(change), Some(expected)) => assert_eq!(change.head.run_after, at(expected)),
            (Decision::Repeat, None) => {}
            (other, _) => panic!("expected {expected:?}, got {other:?}"),
        }
    }
}

#[test]
fn attempts_are_more_than_were_counted() {
    let used = Head { attempt: 3, forgiven: 1, max_attempts: 5, ..after(&running(), &fail("w1", 1, true)) };
    assert_eq!(refused(&used, &change_of(attempts(2))), Refusal::AttemptsUsed { used: 2 });
    assert_eq!(after(&used, &change_of(attempts(3))).max_attempts, 3);
}

#[test]
fn a_task_takes_all_that_it_is_along_to_another_queue() {
    let tried = after(&running(), &release("w1", 1));
    for head in [queued(), blocked(), tried] {
        let change = change(&head, &change_of(to_queue("gpu")));
        let FromTo { from, to } = change.detail.changes.unwrap().queue.unwrap();
        assert_eq!((from.as_str(), to.as_str()), ("default", "gpu"));
        assert_eq!(change.head, Head { events: head.events + 1, ..head });
    }
    // It waits there already.
    assert_eq!(decide(&queued(), &change_of(to_queue("default")), at(100)), Ok(Decision::Repeat));
}

#[test]
fn a_task_comes_into_no_queue_where_another_holds_its_key() {
    let by = TaskId::from_bytes([8; 16]);
    assert_eq!(refused(&queued(), &change_where(to_queue("gpu"), Some(by))), Refusal::KeyHeld { by });
    // One that is refused for what it is, and not for a key, is told so.
    let state = State::Running;
    assert_eq!(refused(&running(), &change_where(to_queue("gpu"), Some(by))), Refusal::NotWaiting { state });
    // It stays where it is.
    let again = decide(&queued(), &change_where(to_queue("default"), Some(by)), at(100));
    assert_eq!(again, Ok(Decision::Repeat));
}

#[test]
fn a_task_is_not_put_off_until_it_has_expired() {
    let head = Head { expires_at: Some(at(200)), ..queued() };
    let late = refused(&head, &change_of(due(RunAfter::At(at(200)))));
    assert_eq!(late, Refusal::DueTooLate { run_after: at(200), expires_at: at(200) });
    assert_eq!(after(&head, &change_of(due(RunAfter::At(at(199))))).run_after, at(199));
    let expired = Head { expires_at: Some(at(100)), ..queued() };
    assert_eq!(refused(&expired, &change_of(attempts(9))), Refusal::Expired { at: at(100) });
}

#[test]
fn what_does_not_wait_is_not_changed() {
    for (head, state) in
        [(running(), State::Running), (completed(), State::Completed), (failed(), State::Failed)]
    {
        assert_eq!(refused(&head, &change_of(attempts(9))), Refusal::NotWaiting { state });
    }
}

#[test]
fn changes_leave_half_of_a_history_to_what_runs_the_task() {
    let full = Head { events: limits::EVENTS / 2 + 2, ..queued() };
    assert_eq!(refused(&full, &change_of(attempts(9))), Refusal::HistoryFull);
    after(&full, &claim());
}
