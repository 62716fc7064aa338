//! Ending an attempt or a task: complete, fail, release, cancel, retry.

use baton_model::transition::Command;
use baton_model::{
    Bounds, Fence, Fingerprint, Generation, Payload, State, Task, TaskId, TaskState, Timestamp,
};
use baton_store::{
    Cancel, Claim, Complete, CompleteAnswer, Completion, Fail, FailAnswer, Reach, Release, Retry, StoreError,
};
use rusqlite::params;

use crate::dependency;
use crate::ending::claim_after;
use crate::error::Failure;
use crate::rows::{MOMENT_BITS, Stored, first_key, free_key, generation_of, to_json};
use crate::transaction::Transaction;
use crate::unique;
use crate::worker;
use baton_store::histogram::What;

/// Completes a task, and claims after it. The output's fingerprint was taken before, off the writing thread.
pub(crate) fn complete(
    transaction: &mut Transaction<'_>,
    (complete, output, next): &(Complete, Fingerprint, Option<Claim>),
) -> Result<CompleteAnswer, Failure> {
    let Completion { generation, domain, repeated } = completion(transaction, complete, output)?;
    let next = claim_after(transaction, next.as_ref())?;
    Ok(CompleteAnswer { generation, domain, repeated, next })
}

/// Completes a task; its status and its generation are one commit.
pub(crate) fn completion(
    transaction: &mut Transaction<'_>,
    complete: &Complete,
    output: &Fingerprint,
) -> Result<Completion, Failure> {
    let before = reached(transaction, complete.task, &complete.caller, &complete.fence)?;
    let command = Command::Complete {
        fence: complete.fence.clone(),
        generation: complete.generation,
        output: output.clone(),
    };
    let (generation, repeated) = match transaction.transition(&before, &command, complete.now)? {
        Some(after) => {
            let generation = write_generation(transaction, &before, complete, after.updated_at)?;
            dependency::follow(transaction, &after, complete.now)?;
            (generation, false)
        }
        None => {
            let standing = generation_of(transaction.db, before.n)?.ok_or_else(|| StoreError::Corrupt {
                what: format!("task {} is completed without a generation", complete.task),
                cause: None,
            })?;
            (standing, true)
        }
    };
    Ok(Completion { generation, domain: before.domain, repeated })
}

/// The task of an attempt that is to be ended, if its caller may end it.
fn reached(
    transaction: &mut Transaction<'_>,
    task: TaskId,
    caller: &Bounds,
    fence: &Fence,
) -> Result<Stored, Failure> {
    let before = Stored::held(transaction, task)?;
    let refusal = match Reach::of(caller, fence, (&before.head, &before.queue, &before.project)) {
        Reach::Beyond => Some(StoreError::TaskNotFound(task)),
        Reach::ByName => {
            let known = worker::look_up(transaction, &fence.worker)?;
            Reach::by_name(caller, fence, known.map(|known| &known.worker)).err()
        }
        Reach::Within => None,
    };
    refusal.map_or(Ok(before), |refusal| Err(refusal.into()))
}

fn write_generation(
    transaction: &mut Transaction<'_>,
    before: &Stored,
    complete: &Complete,
    finished_at: Timestamp,
) -> Result<Generation, Failure> {
    let TaskState::Running(lease) = &before.head.state else {
        return Err(Failure::Broken(StoreError::Internal {
            what: format!("task {} was completed while it did not run", complete.task),
            cause: None,
        }));
    };
    let generation = Generation {
        id: complete.generation,
        task: complete.task,
        project: before.project.clone(),
        queue: before.queue.clone(),
        task_type: before.task_type.clone(),
        attempt: complete.fence.attempt,
        worker: complete.fence.worker.clone(),
        output: complete.output.clone(),
        created_at: before.created_at,
        // The claim was by a clock that was right, the creation perhaps was not.
        started_at: lease.claimed_at.max(before.created_at),
        finished_at,
        ran: complete.ran,
    };
    insert_generation(transaction, before.n, &generation)?;
    transaction.duration(&before.queue, What::Run, complete.now, generation.run_time());
    Ok(generation)
}

/// Writes a generation of the task in row `n`.
pub(crate) fn insert_generation(
    transaction: &mut Transaction<'_>,
    n: i64,
    generation: &Generation,
) -> Result<(), Failure> {
    let k = key_of_generation(transaction, generation.finished_at)?;
    let files = &generation.output.files;
    let files = (!files.is_empty()).then(|| to_json("a generation's files", files)).transpose()?;
    transaction.held.execute(
        "INSERT INTO generation (k, n, id, task, project, queue, task_type, attempt, worker, created_at, started_at, \
         finished_at, location, kind, metadata, result, ran, files) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        params![
        k,
        n,
        generation.id.as_bytes(),
        generation.task.as_bytes(),
        generation.project.as_str(),
        generation.queue.as_str(),
        generation.task_type.as_str(),
        generation.attempt,
        generation.worker.as_str(),
        generation.created_at.as_millis(),
        generation.started_at.as_millis(),
        generation.finished_at.as_millis(),
        generation.output.location,
        generation.output.kind,
        generation.output.metadata.as_ref().map(Payload::as_str),
        generation.output.result.as_ref().map(Payload::as_str),
        generation.ran.map(|ran| i64::try_from(ran.as_millis()).unwrap_or(i64::MAX)),
        files,
    ])?;
    Ok(())
}

/// A free key for a generation that was made at `at`. It is looked for in the table only if the clock was set back: else it comes
/// behind the last one.
fn key_of_generation(transaction: &mut Transaction<'_>, at: Timestamp) -> Result<i64, Failure> {
    let last = match transaction.state.last_generation {
        Some(last) => last,
        None => transaction
            .held
            .first("SELECT max(k) FROM generation", [], |row| Ok(row.get::<_, Option<i64>>(0)?))?
            .flatten()
            .unwrap_or_default(),
    };
    let first = first_key(at);
    let key = match last.checked_sub(first) {
        Some(behind) if behind < 0 => first,
        Some(behind) if behind < (1 << MOMENT_BITS) - 1 => last + 1,
        _ => free_key(transaction.db, "generation", at)?,
    };
    transaction.state.last_generation = Some(last.max(key));
    Ok(key)
}

pub(crate) fn fail(transaction: &mut Transaction<'_>, fail: &Fail) -> Result<FailAnswer, Failure> {
    let command = Command::Fail {
        fence: fail.fence.clone(),
        failure: fail.failure.clone(),
        retryable: fail.retryable,
        retry_after: fail.retry_after,
    };
    let before = reached(transaction, fail.task, &fail.caller, &fail.fence)?;
    end(transaction, before, &command, fail.now)
}

pub(crate) fn release(transaction: &mut Transaction<'_>, release: &Release) -> Result<FailAnswer, Failure> {
    let command = Command::Release {
        fence: release.fence.clone(),
        delay: release.delay,
        reason: release.reason.clone(),
    };
    let before = reached(transaction, release.task, &release.caller, &release.fence)?;
    end(transaction, before, &command, release.now)
}

pub(crate) fn cancel(transaction: &mut Transaction<'_>, cancel: &Cancel) -> Result<Task, Failure> {
    if cancel.with_dependants {
        let before = Stored::known(transaction.db, cancel.task)?;
        if !matches!(before.head.state.state(), State::Completed | State::Failed) {
            dependency::cancel_dependants(transaction, cancel, &before)?;
        }
    }
    let before = Stored::held(transaction, cancel.task)?;
    end(transaction, before, &cancel.command(None), cancel.now).map(|answer| answer.task)
}

pub(crate) fn retry(transaction: &mut Transaction<'_>, retry: &Retry) -> Result<Task, Failure> {
    let before = Stored::known(transaction.db, retry.task)?;
    // With dependants it may be the second sending of what was done in part, or go on with what one without has left.
    if !retry.with_dependants || before.head.state.state().is_final() {
        let outlook = dependency::outlook_of(transaction.db, &before)?;
        let holder = unique::other_holder(transaction.db, &before, retry.now)?;
        transaction.transition(&before, &retry.command(outlook, holder, None), retry.now)?;
        unique::hold_again(transaction.db, &before)?;
    }
    if retry.with_dependants {
        dependency::retry_dependants(transaction, retry)?;
    }
    Stored::known(transaction.db, retry.task)?.into_task(transaction.db)
}

fn end(
    transaction: &mut Transaction<'_>,
    before: Stored,
    command: &Command,
    now: Timestamp,
) -> Result<FailAnswer, Failure> {
    let after = transaction.transition(&before, command, now)?;
    if let Some(after) = &after {
        dependency::follow(transaction, after, now)?;
    }
    let repeated = after.is_none();
    let task = after.unwrap_or(before).into_task(transaction.db)?;
    debug_assert!(task.head.state.state() != State::Completed, "only `complete` completes");
    Ok(FailAnswer { task, repeated })
}
