//! Tasks in every state, and every command, for the tests of the state machine.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::time::Duration;

use baton_model::change::{Ask, Standing};
use baton_model::transition::{Change, Command, Decision, Refusal, decide};
use baton_model::{
    Backoff, Digest, Ended, Failure, Fence, FirstFailure, GenerationId, Head, Lease, LeaseTerms, Loss,
    LossReason, Outlook, Priority, QueueName, State, TaskChange, TaskId, TaskState, Timestamp, WorkerId,
};

/// Whole seconds after the beginning of the test's time.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).plus(secs(seconds))
}

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn worker(name: &str) -> WorkerId {
    name.parse().unwrap()
}

pub(crate) fn fence(name: &str, attempt: u32) -> Fence {
    Fence { attempt, worker: worker(name) }
}

pub(crate) fn generation(n: u8) -> GenerationId {
    GenerationId::from_bytes([n; 16])
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

/// A task just created, ready at 0 s, with three attempts and a backoff of 10 s, 20 s, ….
pub(crate) fn queued() -> Head {
    Head {
        id: TaskId::from_bytes([7; 16]),
        state: TaskState::Queued,
        attempt: 0,
        forgiven: 0,
        worker_losses: 0,
        max_attempts: 3,
        run_after: at(0),
        expires_at: None,
        timeout: None,
        backoff: Backoff { base: secs(10), factor: 2.0, max: secs(1_000), jitter: 0.0 },
        ended: None,
        events: 1,
    }
}

pub(crate) fn claim() -> Command {
    claim_by("w1")
}

pub(crate) fn claim_by(name: &str) -> Command {
    Command::Claim {
        worker: worker(name),
        session: None,
        terms: LeaseTerms::Heartbeats,
        request: None,
        beats: Some(0),
    }
}

pub(crate) fn complete(name: &str, attempt: u32, output: &str) -> Command {
    Command::Complete {
        fence: fence(name, attempt),
        generation: generation(1),
        output: digest(output).into(),
    }
}

pub(crate) fn failure() -> Failure {
    Failure { message: "out of memory".to_owned(), code: None, details: None }
}

pub(crate) fn fail(name: &str, attempt: u32, retryable: bool) -> Command {
    Command::Fail { fence: fence(name, attempt), failure: failure(), retryable, retry_after: None }
}

pub(crate) fn release(name: &str, attempt: u32) -> Command {
    Command::Release { fence: fence(name, attempt), delay: secs(5), reason: None }
}

/// A loss with the worker, where the reason allows it.
pub(crate) fn lose(attempt: u32, reason: LossReason) -> Command {
    lose_with(attempt, reason, reason != LossReason::LeaseExpired)
}

pub(crate) fn lose_with(attempt: u32, reason: LossReason, with_worker: bool) -> Command {
    Command::LoseLease { attempt, loss: Loss { reason, with_worker } }
}

pub(crate) fn cancel() -> Command {
    Command::Cancel { by: None, reason: None, with: None }
}

pub(crate) fn retry() -> Command {
    retry_where(Outlook::Met)
}

/// A change of a task of normal priority in the default queue.
pub(crate) fn change_of(to: TaskChange) -> Command {
    change_where(to, None)
}

/// The same, where this task holds its key in the queue that it is to wait in.
pub(crate) fn change_where(to: TaskChange, holder: Option<TaskId>) -> Command {
    let standing = Standing { priority: Priority::Normal, queue: QueueName::default(), holder };
    Command::Change(Ask { by: None, reason: None, to, standing })
}

/// That a task is to wait in a queue.
pub(crate) fn to_queue(queue: &str) -> TaskChange {
    TaskChange { queue: Some(queue.parse().unwrap()), ..TaskChange::default() }
}

/// A retry of a task whose dependencies stand so.
pub(crate) fn retry_where(outlook: Outlook) -> Command {
    Command::Retry { by: None, reason: None, delay: secs(0), outlook, holder: None, with: None }
}

/// A failure of another task.
pub(crate) fn first_failure() -> FirstFailure {
    FirstFailure { task: TaskId::from_bytes([8; 16]), state: Some(State::Failed) }
}

pub(crate) fn dependency_failed(fails: bool) -> Command {
    Command::DependencyFailed { first: first_failure(), fails }
}

/// A task just created that waits for another one.
pub(crate) fn blocked() -> Head {
    Head { state: TaskState::Blocked, ..queued() }
}

/// The command's name in `docs/state-machine.md`.
pub(crate) fn name_of(command: &Command) -> &'static str {
    match command {
        Command::Claim { .. } => "claim",
        Command::Complete { .. } => "complete",
        Command::Fail { .. } => "fail",
        Command::Release { .. } => "release",
        Command::LoseLease { .. } => "reap",
        Command::Cancel { .. } => "cancel",
        Command::Retry { .. } => "retry",
        Command::Unblock => "unblock",
        Command::DependencyFailed { .. } => "dependency fails",
        Command::Expire => "expire",
        Command::Change(_) => "change",
    }
}

/// The change that a command makes at 100 s; it must make one.
#[track_caller]
pub(crate) fn change(head: &Head, command: &Command) -> Change {
    match decide(head, command, at(100)) {
        Ok(Decision::Apply(change)) => *change,
        other => panic!("expected a change, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn refused(head: &Head, command: &Command) -> Refusal {
    decide(head, command, at(100)).unwrap_err()
}

#[track_caller]
pub(crate) fn after(head: &Head, command: &Command) -> Head {
    change(head, command).head
}

/// Claimed at 100 s by `w1`, attempt 1.
pub(crate) fn running() -> Head {
    after(&queued(), &claim())
}

pub(crate) fn running_lease(head: &Head) -> &Lease {
    match &head.state {
        TaskState::Running(lease) => lease,
        other => panic!("expected a running task, got {other:?}"),
    }
}

/// Claimed as often as it may be: the next counting end is the last.
pub(crate) fn running_last() -> Head {
    Head { max_attempts: 1, ..running() }
}

pub(crate) fn completed() -> Head {
    after(&running(), &complete("w1", 1, "out"))
}

pub(crate) fn failed() -> Head {
    after(&running(), &fail("w1", 1, false))
}

pub(crate) fn cancelled() -> Head {
    after(&queued(), &cancel())
}

/// Every kind of task that `decide` tells apart.
pub(crate) fn every_head() -> Vec<Head> {
    let ready = |head: Head| Head { run_after: at(0), ..head };
    vec![
        queued(),
        Head { run_after: at(1_000), ..queued() },
        ready(after(&running(), &fail("w1", 1, true))),
        ready(after(&running(), &release("w1", 1))),
        ready(after(&running(), &lose(1, LossReason::HeartbeatMissed))),
        after(&cancelled(), &retry()),
        running(),
        running_last(),
        completed(),
        failed(),
        after(&running_last(), &lose(1, LossReason::TimedOut)),
        cancelled(),
        after(&running(), &cancel()),
        blocked(),
        Head { run_after: at(1_000), ..blocked() },
        after(&blocked(), &dependency_failed(false)),
        after(&blocked(), &dependency_failed(true)),
        Head { expires_at: Some(at(50)), ..queued() },
        Head { expires_at: Some(at(50)), ..blocked() },
    ]
}

/// Every command, in every variation that `decide` tells apart, by the right worker, a wrong one, and for each attempt
/// around the first.
pub(crate) fn every_command() -> Vec<Command> {
    let mut commands = vec![
        Command::Expire,
        change_of(TaskChange { priority: Some(Priority::High), ..TaskChange::default() }),
        change_of(TaskChange { max_attempts: Some(1), ..TaskChange::default() }),
        change_of(to_queue("gpu")),
        change_where(to_queue("gpu"), Some(TaskId::from_bytes([8; 16]))),
        claim(),
        Command::Claim {
            worker: worker("w2"),
            session: None,
            terms: LeaseTerms::Fixed(secs(30)),
            request: "r1".parse().ok(),
            beats: None,
        },
        cancel(),
        retry(),
        retry_where(Outlook::Unmet),
        retry_where(Outlook::Failed(first_failure())),
        Command::Unblock,
        dependency_failed(false),
        dependency_failed(true),
    ];
    for name in ["w1", "w2"] {
        for attempt in 0..3 {
            commands.extend([
                complete(name, attempt, "out"),
                complete(name, attempt, "other"),
                fail(name, attempt, true),
                fail(name, attempt, false),
                release(name, attempt),
            ]);
        }
    }
    for attempt in 0..3 {
        commands.extend(LossReason::ALL.map(|reason| lose(attempt, reason)));
        commands.extend(LossReason::ALL.map(|reason| lose_with(attempt, reason, false)));
    }
    commands
}

pub(crate) fn ended_how(head: &Head) -> Option<Ended> {
    head.ended.as_ref().map(|end| end.how)
}
