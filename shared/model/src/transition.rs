//! The state machine: what each command does to a task in each state, as one pure function, [`decide`].
//!
//! A store reads a task's [`Head`], asks [`decide`], and writes the [`Change`] on the condition that the head is still
//! as it was. The picture in `docs/state-machine.md` shows the same machine, and a test holds the two together.

use std::time::Duration;

use crate::change;
use crate::dependency::{FirstFailure, Outlook};
use crate::digest::Fingerprint;
use crate::event::{EventDetail, EventKind};
use crate::expiry;
use crate::id::{GenerationId, Label, QueueName, RequestKey, SessionId, TaskId, WorkerId};
use crate::lease::{Fence, Lease, LeaseTerms, Loss, LossReason};
use crate::limits;
use crate::task::{AttemptEnd, Ended, Failure, Head, Priority, State, TaskState};
use crate::time::Timestamp;

pub use crate::refusal::Refusal;

/// What is asked of one task.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A worker takes it.
    Claim {
        /// The worker.
        worker: WorkerId,
        /// The worker's start.
        session: Option<SessionId>,
        /// How the lease is kept alive.
        terms: LeaseTerms,
        /// The claim's own name.
        request: Option<RequestKey>,
        /// How many heartbeats of the worker were recorded before.
        beats: Option<u64>,
    },
    /// Its worker hands over the output.
    Complete {
        /// The worker's right to do so.
        fence: Fence,
        /// The id that the generation is to have.
        generation: GenerationId,
        /// What the output is.
        output: Fingerprint,
    },
    /// Its worker could not do it.
    Fail {
        /// The worker's right to say so.
        fence: Fence,
        /// What went wrong.
        failure: Failure,
        /// Whether another attempt may help.
        retryable: bool,
        /// How long to wait before it, instead of the backoff.
        retry_after: Option<Duration>,
    },
    /// Its worker gives it back unharmed.
    Release {
        /// The worker's right to do so.
        fence: Fence,
        /// How long it is to rest.
        delay: Duration,
        /// Why, if it said.
        reason: Option<String>,
    },
    /// The reaper takes it back.
    LoseLease {
        /// The attempt that was judged.
        attempt: u32,
        /// What was found.
        loss: Loss,
    },
    /// Someone calls it off.
    Cancel {
        /// Who, if they said.
        by: Option<Label>,
        /// Why, if they said.
        reason: Option<String>,
        /// The task that it is cancelled with, if it is one that this one depends on.
        with: Option<TaskId>,
    },
    /// An operator puts it back into its queue, or has it wait for its dependencies again.
    Retry {
        /// Who, if they said.
        by: Option<Label>,
        /// Why, if they said.
        reason: Option<String>,
        /// How long it is to rest.
        delay: Duration,
        /// What its dependencies mean to it.
        outlook: Outlook,
        /// Another task that holds its key now, if it is the only one of a key ([`crate::unique`]).
        holder: Option<TaskId>,
        /// The task that it is retried with, if it is one that this one depends on.
        with: Option<TaskId>,
    },
    /// All that it waited for has ended.
    Unblock,
    /// One of those that it waits for did not complete.
    DependencyFailed {
        /// The failure that this one follows from.
        first: FirstFailure,
        /// Whether it fails, too; else it is cancelled.
        fails: bool,
    },
    /// No attempt had begun by the time until which it was to be started.
    Expire,
    /// Someone changes how it is to be run, while it waits.
    Change(change::Ask),
}

/// What a command changes: the head as it is to be, and the event that tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The head after the change; its `events` counts the new event.
    pub head: Head,
    /// What happened.
    pub kind: EventKind,
    /// The state before.
    pub from: State,
    /// The particulars.
    pub detail: EventDetail,
    /// The failure to show with the task from now on: `None` leaves the present one, `Some(None)` clears it.
    pub error: Option<Option<Failure>>,
    /// How soon the task is claimed from now on: `None` leaves that as it is.
    pub priority: Option<Priority>,
    /// The queue that the task waits in from now on: `None` leaves it where it is.
    pub queue: Option<QueueName>,
}

impl Change {
    /// When it is dated, by a clock that tells `now`, as the change before it was dated `before`: no earlier than that. So a
    /// history does not run backwards, though its changes are written by processes whose clocks differ, or were set back.
    ///
    /// What a change makes of the clock (a lease, a backoff) counts from `now`: counted from a time that lies ahead, a worker
    /// whose store's clock was set back by an hour would wait for that hour.
    pub fn dated(now: Timestamp, before: Timestamp) -> Timestamp {
        now.max(before)
    }
}

/// What is to be done about a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Write this.
    Apply(Box<Change>),
    /// It was done before by the same request: write nothing, answer as then.
    Repeat,
}

/// Decides what `command` does to a task whose head is `head`, at `now`.
///
/// # Errors
/// [`Refusal`], which says why the command does not apply; the task stays as it is.
pub fn decide(head: &Head, command: &Command, now: Timestamp) -> Result<Decision, Refusal> {
    let change = match command {
        Command::Claim { worker, session, terms, request, beats } => {
            if head.state != TaskState::Queued || head.run_after > now {
                return Err(Refusal::NotClaimable { state: head.state.state() });
            }
            if let Some(at) = head.expired(now) {
                return Err(Refusal::Expired { at });
            }
            claim(head, worker, *session, *terms, request.clone(), *beats, now)
        }
        Command::Complete { fence, generation, output } => match held(head, fence) {
            Ok(_) => complete(head, fence, *generation, output),
            Err(refusal) => return repeated_completion(head, fence, output).unwrap_or(Err(refusal)),
        },
        Command::Fail { fence, failure, retryable, retry_after } => match held(head, fence) {
            Ok(_) => fail(head, fence, failure, *retryable, *retry_after, now),
            Err(refusal) => return repeated(head, fence, Ended::Failed, refusal),
        },
        Command::Release { fence, delay, reason } => match held(head, fence) {
            Ok(_) => release(head, fence, *delay, reason.clone(), now),
            Err(refusal) => return repeated(head, fence, Ended::Released, refusal),
        },
        Command::LoseLease { attempt, loss } => {
            if head.attempt != *attempt {
                return Err(stale(head, *attempt));
            }
            let TaskState::Running(lease) = &head.state else {
                return Err(Refusal::NotRunning { state: head.state.state() });
            };
            lose(head, lease, *loss, now)
        }
        Command::Cancel { by, reason, with } => match head.state.state() {
            State::Blocked | State::Queued | State::Running => {
                cancel(head, by.clone(), reason.clone(), *with)
            }
            State::Cancelled => return Ok(Decision::Repeat),
            state @ (State::Completed | State::Failed) => return Err(Refusal::Finished { state }),
        },
        Command::Retry { by, reason, delay, outlook, holder, with } => {
            let state = match (head.state.state(), outlook) {
                (State::Failed | State::Cancelled, Outlook::Failed(first)) => {
                    return Err(Refusal::DependencyFailed { first: *first });
                }
                (State::Failed | State::Cancelled, Outlook::Met) => TaskState::Queued,
                (State::Failed | State::Cancelled, Outlook::Unmet) => TaskState::Blocked,
                (State::Completed, _) => return Err(Refusal::CompletedIsFinal),
                (state @ (State::Blocked | State::Queued | State::Running), _) => {
                    return Err(Refusal::NotFinished { state });
                }
            };
            if let Some(by) = holder {
                return Err(Refusal::KeyHeld { by: *by });
            }
            let detail = EventDetail {
                by: by.clone(),
                reason: reason.clone(),
                dependency: *with,
                ..EventDetail::default()
            };
            retry(head, state, now.plus(*delay), detail)
        }
        Command::Unblock | Command::DependencyFailed { .. } if head.state != TaskState::Blocked => {
            return Err(Refusal::NotBlocked { state: head.state.state() });
        }
        Command::Unblock => unblock(head, now),
        Command::DependencyFailed { first, fails } => dependency_failed(head, *first, *fails),
        Command::Expire => match head.expired(now) {
            Some(at) => expire(head, at),
            None => return Err(Refusal::NotExpired { state: head.state.state() }),
        },
        Command::Change(ask) => match change::decide(head, ask, now)? {
            Some(change) => change,
            None => return Ok(Decision::Repeat),
        },
    };
    // A claim and a retry open up further events; they stop while there is room left for those that end the task. Changes
    // stop at half, so that none of them is what keeps the task from being run.
    let room = match change.kind {
        EventKind::Claimed | EventKind::Retried => 4,
        EventKind::Changed => limits::EVENTS / 2,
        _ => 0,
    };
    if head.events + room > limits::EVENTS {
        return Err(Refusal::HistoryFull);
    }
    Ok(Decision::Apply(Box::new(change)))
}

/// The lease that `fence` speaks for, if the task is running that very attempt of that worker.
fn held<'a>(head: &'a Head, fence: &Fence) -> Result<&'a Lease, Refusal> {
    if fence.attempt != head.attempt {
        return Err(stale(head, fence.attempt));
    }
    if let TaskState::Running(lease) = &head.state {
        return if lease.worker == fence.worker {
            Ok(lease)
        } else {
            Err(Refusal::WrongWorker { attempt: fence.attempt })
        };
    }
    match &head.ended {
        Some(end) if end.worker != fence.worker => Err(Refusal::WrongWorker { attempt: fence.attempt }),
        Some(end) => Err(Refusal::LeaseLost { state: head.state.state(), how: end.how }),
        // Attempt 0: never claimed, so that nobody can speak for it.
        None => Err(stale(head, fence.attempt)),
    }
}

fn stale(head: &Head, presented: u32) -> Refusal {
    Refusal::StaleAttempt { presented, current: head.attempt, state: head.state.state() }
}

fn repeated(head: &Head, fence: &Fence, as_before: Ended, refusal: Refusal) -> Result<Decision, Refusal> {
    let same = head.attempt == fence.attempt
        && head.ended.as_ref().is_some_and(|end| end.worker == fence.worker && end.how == as_before);
    if same { Ok(Decision::Repeat) } else { Err(refusal) }
}

fn repeated_completion(
    head: &Head,
    fence: &Fence,
    output: &Fingerprint,
) -> Option<Result<Decision, Refusal>> {
    let TaskState::Completed { generation, output: standing } = &head.state else { return None };
    let same_attempt =
        head.attempt == fence.attempt && head.ended.as_ref().is_some_and(|end| end.worker == fence.worker);
    same_attempt.then(|| {
        if output.matches(*standing) {
            Ok(Decision::Repeat)
        } else {
            Err(Refusal::CompletedDifferently { generation: *generation })
        }
    })
}

/// The head after an event that moves it to `state`; what else changes is up to the caller.
pub(crate) fn next(head: &Head, state: TaskState) -> Head {
    Head { state, events: head.events + 1, ..head.clone() }
}

pub(crate) fn change(head: &Head, next: Head, kind: EventKind, detail: EventDetail) -> Change {
    Change { head: next, kind, from: head.state.state(), detail, error: None, priority: None, queue: None }
}

fn claim(
    head: &Head,
    worker: &WorkerId,
    session: Option<SessionId>,
    terms: LeaseTerms,
    request: Option<RequestKey>,
    beats: Option<u64>,
    now: Timestamp,
) -> Change {
    let expires_at = match terms {
        LeaseTerms::Heartbeats => None,
        LeaseTerms::Fixed(length) => Some(now.plus(length)),
    };
    let lease = Lease {
        worker: worker.clone(),
        session,
        claimed_at: now,
        expires_at,
        timeout_at: head.timeout.map(|timeout| now.plus(timeout)),
        request,
        beats,
    };
    let mut claimed = next(head, TaskState::Running(lease));
    claimed.attempt += 1;
    claimed.ended = None;
    let detail = EventDetail { worker: Some(worker.clone()), session, ..EventDetail::default() };
    change(head, claimed, EventKind::Claimed, detail)
}

fn complete(head: &Head, fence: &Fence, generation: GenerationId, output: &Fingerprint) -> Change {
    let mut completed = next(head, TaskState::Completed { generation, output: output.digest() });
    completed.ended = Some(AttemptEnd { worker: fence.worker.clone(), how: Ended::Completed });
    completed.worker_losses = 0;
    let detail = EventDetail { worker: Some(fence.worker.clone()), ..EventDetail::default() };
    Change { error: Some(None), ..change(head, completed, EventKind::Completed, detail) }
}

/// Ends a counting attempt: back to the queue at `due` while attempts are left, else failed.
fn end_counting(
    head: &Head,
    worker: &WorkerId,
    how: Ended,
    due: Option<Timestamp>,
    failure: Failure,
) -> Change {
    let (state, kind) = match (how, due) {
        (Ended::Lost(_), Some(_)) => (TaskState::Queued, EventKind::LeaseLost),
        (Ended::Lost(_), None) => (TaskState::Failed, EventKind::LeaseLost),
        (_, Some(_)) => (TaskState::Queued, EventKind::AttemptFailed),
        (_, None) => (TaskState::Failed, EventKind::AttemptFailed),
    };
    let mut ended = next(head, state);
    ended.ended = Some(AttemptEnd { worker: worker.clone(), how });
    ended.run_after = due.unwrap_or(head.run_after);
    let detail = EventDetail {
        worker: Some(worker.clone()),
        loss: if let Ended::Lost(reason) = how { Some(reason) } else { None },
        error: Some(failure.clone()),
        run_after: due,
        ..EventDetail::default()
    };
    Change { error: Some(Some(failure)), ..change(head, ended, kind, detail) }
}

fn fail(
    head: &Head,
    fence: &Fence,
    failure: &Failure,
    retryable: bool,
    retry_after: Option<Duration>,
    now: Timestamp,
) -> Change {
    let used = head.attempts_used();
    let due = (retryable && used < head.max_attempts)
        .then(|| now.plus(retry_after.unwrap_or_else(|| head.backoff.delay(head.id, used))));
    let mut failed = end_counting(head, &fence.worker, Ended::Failed, due, failure.clone());
    failed.head.worker_losses = 0;
    failed
}

fn lose(head: &Head, lease: &Lease, loss: Loss, now: Timestamp) -> Change {
    let Loss { reason, with_worker } = loss;
    // That another start took the worker's name is no attempt of the task's. Whether the earlier one had died cannot be
    // told at once, so that the first such loss counts for nothing; further ones do, unless the earlier start is known to
    // live: a program that kills its worker again and again is not run for ever.
    let uncounted = reason == LossReason::SessionEnded && (!with_worker || head.worker_losses == 0);
    let worker_losses = match (with_worker, reason) {
        (true, _) => head.worker_losses.saturating_add(1),
        // Neither says how the program fared.
        (false, LossReason::SessionEnded | LossReason::Forgotten) => head.worker_losses,
        (false, LossReason::TimedOut | LossReason::LeaseExpired | LossReason::HeartbeatMissed) => 0,
    };
    let used = head.attempts_used();
    // A worker that died says nothing against the task, so that its next attempt need not wait. A task that ran past
    // its timeout does: it waits like a failed one.
    let delay = match reason {
        LossReason::TimedOut => head.backoff.delay(head.id, used),
        LossReason::HeartbeatMissed
        | LossReason::LeaseExpired
        | LossReason::SessionEnded
        | LossReason::Forgotten => Duration::ZERO,
    };
    let due = (uncounted || used < head.max_attempts).then(|| now.plus(delay));
    let mut message =
        format!("attempt {} on worker {} was lost: {}", head.attempt, lease.worker, loss.explain());
    if uncounted {
        message.push_str("; the attempt does not count");
    }
    if with_worker && worker_losses > 1 {
        message.push_str(&format!(
            "; the task was lost with its worker {worker_losses} times in a row, and may be what ends it"
        ));
    }
    let failure = Failure { message, code: Some(reason.as_str().to_owned()), details: None };
    let mut lost = end_counting(head, &lease.worker, Ended::Lost(reason), due, failure);
    lost.head.forgiven += u32::from(uncounted);
    lost.head.worker_losses = worker_losses;
    lost.detail.uncounted = uncounted;
    lost.detail.worker_losses = with_worker.then_some(worker_losses);
    lost
}

fn release(head: &Head, fence: &Fence, delay: Duration, reason: Option<String>, now: Timestamp) -> Change {
    let mut released = next(head, TaskState::Queued);
    released.forgiven += 1;
    released.worker_losses = 0;
    released.run_after = now.plus(delay);
    released.ended = Some(AttemptEnd { worker: fence.worker.clone(), how: Ended::Released });
    let detail = EventDetail {
        worker: Some(fence.worker.clone()),
        reason,
        run_after: Some(released.run_after),
        ..EventDetail::default()
    };
    change(head, released, EventKind::Released, detail)
}

fn cancel(head: &Head, by: Option<Label>, reason: Option<String>, with: Option<TaskId>) -> Change {
    let mut cancelled = next(head, TaskState::Cancelled);
    let mut detail = EventDetail { by, reason, dependency: with, ..EventDetail::default() };
    if let TaskState::Running(lease) = &head.state {
        cancelled.ended = Some(AttemptEnd { worker: lease.worker.clone(), how: Ended::Cancelled });
        detail.worker = Some(lease.worker.clone());
    }
    change(head, cancelled, EventKind::Cancelled, detail)
}

/// Puts a task back, in its queue or blocked.
fn retry(head: &Head, state: TaskState, run_after: Timestamp, detail: EventDetail) -> Change {
    let retried = Head {
        forgiven: head.attempt,
        worker_losses: 0,
        run_after,
        // Whoever puts it back wants it started, however late it is.
        expires_at: None,
        ..next(head, state)
    };
    // The failure of a task that was never claimed is its dependency's, which has been put right.
    let error = (head.attempt == 0).then_some(None);
    let detail = EventDetail { run_after: Some(run_after), ..detail };
    Change { error, ..change(head, retried, EventKind::Retried, detail) }
}

fn unblock(head: &Head, now: Timestamp) -> Change {
    let mut unblocked = next(head, TaskState::Queued);
    // It has not waited for a worker until now, so that its turn and the time of its waiting count from now.
    unblocked.run_after = head.run_after.max(now);
    let run_after = (unblocked.run_after > now).then_some(unblocked.run_after);
    change(head, unblocked, EventKind::Unblocked, EventDetail { run_after, ..EventDetail::default() })
}

fn dependency_failed(head: &Head, first: FirstFailure, fails: bool) -> Change {
    let state = if fails { TaskState::Failed } else { TaskState::Cancelled };
    let failure = first.failure();
    let detail =
        EventDetail { dependency: Some(first.task), error: Some(failure.clone()), ..EventDetail::default() };
    Change {
        error: Some(Some(failure)),
        ..change(head, next(head, state), EventKind::DependencyFailed, detail)
    }
}

fn expire(head: &Head, at: Timestamp) -> Change {
    let failure = expiry::failure(at);
    let detail = EventDetail { error: Some(failure.clone()), ..EventDetail::default() };
    Change {
        error: Some(Some(failure)),
        ..change(head, next(head, TaskState::Failed), EventKind::Expired, detail)
    }
}
