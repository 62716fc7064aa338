//! How attempts end: the commands that the platform's words become, each about the attempt that the task is found to run.
//!
//! The platform's clients need name no attempt and no worker when they end one. Both are taken from the task as it stands, and the
//! command holds for that attempt alone: what comes in between is not undone. Who does name them is held to it.

use std::time::Duration;

use baton_api::ProblemCode;
use baton_files::StoredFile;
use baton_http::{ApiError, Caller};
use baton_model::{
    EventKind, Failure, Fence, Generation, Lease, Output, OutputFile, Payload, Task, TaskState, limits,
};
use baton_store::{Cancel, Complete, Fail, StoreError, TaskDetail};
use serde_json::{Value, json};

use crate::edge::Edge;
use crate::generation::{self, TOLD, output_of};
use crate::storage;
use crate::words::{Said, Word, coded};

/// The attempt that runs; the store judges whether the caller may end it.
fn running(task: &Task) -> Result<&Lease, Said> {
    let TaskState::Running(lease) = &task.head.state else { return Err(too_late(task)) };
    Ok(lease)
}

fn fence(task: &Task, lease: &Lease) -> Fence {
    Fence { attempt: task.head.attempt, worker: lease.worker.clone() }
}

/// Lets files be taken for the end of the attempt that runs: of whoever may not end it, none are.
pub(crate) async fn reach(edge: &Edge, caller: &Caller, task: &Task) -> Result<(), Said> {
    let lease = running(task)?;
    Ok(caller.reach_attempt(&*edge.app.store, task.head.id, &fence(task, lease)).await?)
}

/// The code of a failure by which another than the attempt's own worker has ended it, and that worker may not know.
pub(crate) const RESET: &str = "reset";

/// Whether a worker may be about that takes the task for its own, though its attempt was given up: it was lost, or another one has
/// put the task back.
pub(crate) fn has_zombie(detail: &TaskDetail) -> bool {
    detail.history.iter().any(|event| match event.kind {
        EventKind::LeaseLost => true,
        EventKind::AttemptFailed => {
            event.detail.error.as_ref().is_some_and(|error| error.code.as_deref() == Some(RESET))
        }
        _ => false,
    })
}

/// Why the word of who names this attempt, as it is counted when a task is put back, or this worker counts for nothing.
pub(crate) fn stale(task: &Task, attempt: Option<u64>, worker: Option<&str>) -> Option<String> {
    let TaskState::Running(lease) = &task.head.state else { return None };
    let runs = task.head.attempt;
    match (attempt, worker) {
        (Some(attempt), _) if attempt < u64::from(runs) => {
            Some(format!("attempt {attempt} of the task was given up, and attempt {runs} runs"))
        }
        (_, Some(worker)) if worker != lease.worker.as_str() => {
            Some(format!("the task is not {worker}'s: attempt {runs} runs with {}", lease.worker))
        }
        _ => None,
    }
}

/// That the attempt has ended, and how the task stands: the word of a worker that was given up counts for nothing.
pub(crate) fn too_late(task: &Task) -> Said {
    let word = Word::of(task.head.state.state()).as_str();
    let message = format!("the task is {word} and no longer In Progress; its output was not taken");
    coded(409, "task_not_in_progress", &message).into()
}

/// That the task was completed with another output, which stands.
pub(crate) fn completed_otherwise() -> Said {
    let message = "the task is Complete with another output, which stands; this one was not taken";
    coded(409, "task_not_in_progress", message).into()
}

/// What an attempt hands over.
#[derive(Default)]
pub(crate) struct Handed {
    /// Where it lies.
    pub(crate) location: Option<String>,
    /// Where a small picture of it lies.
    pub(crate) thumbnail: Option<String>,
    /// What the task has as its output instead of the location: some workers tell more about a file.
    pub(crate) told: Option<String>,
    /// The files among these that lie here.
    pub(crate) files: Vec<StoredFile>,
}

/// Completes the attempt that runs: its record is written and its status set in one commit. A task that is completed already is
/// answered as it stands.
pub(crate) async fn complete(
    edge: &Edge,
    caller: &Caller,
    task: &Task,
    handed: Handed,
) -> Result<Generation, Said> {
    let lease = running(task)?;
    let Handed { location, thumbnail, told, files } = handed;
    if location.as_ref().is_some_and(|location| location.len() > limits::LOCATION_BYTES) {
        let message = format!("output_location has more than {} bytes", limits::LOCATION_BYTES);
        return Err(coded(400, "validation_error", &message).into());
    }
    let params = task.params.to_value();
    let mut fields =
        generation::fields(&task.task_type, &params, &edge.types, location.as_deref(), thumbnail.as_deref());
    if let Some(told) = &told {
        fields[TOLD] = told.as_str().into();
    }
    // A record names files by their paths in its task's project; those of others are told besides.
    let (own, others): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| *file.name.project() == task.project);
    if !others.is_empty() {
        fields["files"] = others.iter().map(beside).collect();
    }
    let metadata = Payload::from_value(&fields);
    let most = edge.app.limits().result_bytes;
    if metadata.size() > most {
        let message = format!("output_location and the files have more than {most} bytes");
        return Err(coded(400, "validation_error", &message).into());
    }
    let kind = location.as_deref().and_then(generation::kind_of).map(str::to_owned);
    let complete = Complete {
        now: edge.app.now(),
        task: task.head.id,
        fence: fence(task, lease),
        caller: caller.bounds(),
        generation: edge.app.ids.generation(),
        output: Output {
            location: location.clone(),
            kind,
            metadata: Some(metadata),
            result: edge.said(task).and_then(|words| words.result),
            files: own.into_iter().map(named).collect(),
        },
        ran: None,
    };
    match edge.app.store.complete(complete, None).await {
        Ok(answer) => {
            if !answer.repeated {
                edge.app.meters.completed(&answer.generation);
            }
            ended(edge, task, lease, "task completed", answer.repeated);
            storage::adopt(edge, task.head.id, &answer.generation).await?;
            Ok(answer.generation)
        }
        // Another one has ended it since it was looked at: what stands is told, whatever that is.
        Err(error @ StoreError::Refused { .. }) => {
            let standing = edge.app.store.task(task.head.id).await?;
            match standing.generation {
                Some(generation)
                    if (location.is_none() || location == generation.output.location)
                        && (told.is_none() || told == output_of(&generation)) =>
                {
                    Ok(generation)
                }
                Some(_) => Err(completed_otherwise()),
                None if matches!(standing.task.head.state, TaskState::Running(_)) => Err(error.into()),
                None => Err(too_late(&standing.task)),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn named(file: StoredFile) -> OutputFile {
    let path = file.name.path().to_owned();
    OutputFile { path, size: file.size, sha256: file.sha256, content_type: file.content_type }
}

fn beside(file: &StoredFile) -> Value {
    json!({
        "name": file.name.to_string(),
        "size": file.size,
        "sha256": file.sha256,
        "content_type": file.content_type,
    })
}

fn ended(edge: &Edge, task: &Task, lease: &Lease, what: &str, repeated: bool) {
    edge.hush(task.head.id);
    edge.app.doorbell.ring_worker(&lease.worker);
    if !repeated {
        tracing::info!(
            task_id = %task.head.id,
            task_type = %task.task_type,
            queue = %task.queue,
            attempt = task.head.attempt,
            worker_id = %lease.worker,
            "{what}"
        );
    }
}

/// Fails the attempt that runs; with `again`, the task waits for another one at once, if it has any left. Gives the task as it is now.
pub(crate) async fn fail(
    edge: &Edge,
    caller: &Caller,
    task: &Task,
    (message, code): (&str, Option<&str>),
    again: bool,
) -> Result<Task, Said> {
    let lease = running(task)?;
    let fence = fence(task, lease);
    let fail = Fail {
        now: edge.app.now(),
        task: task.head.id,
        fence: fence.clone(),
        caller: caller.bounds(),
        failure: Failure { message: cut(message), code: code.map(str::to_owned), details: None },
        retryable: again,
        retry_after: again.then_some(Duration::ZERO),
    };
    let answer = edge.app.store.fail(fail).await?;
    if !answer.repeated {
        edge.app.meters.failed(&answer, &fence);
    }
    ended(edge, task, lease, "attempt failed", answer.repeated);
    Ok(answer.task)
}

/// Calls a task off.
pub(crate) async fn cancel(edge: &Edge, caller: &Caller, task: &Task, reason: &str) -> Result<Task, Said> {
    caller.reach(&*edge.app.store, task.head.id).await?;
    let cancel = Cancel {
        now: edge.app.now(),
        task: task.head.id,
        by: caller.name(),
        reason: Some(cut(reason)).filter(|reason| !reason.is_empty()),
        with_dependants: false,
    };
    let cancelled = edge.app.store.cancel(cancel).await?;
    edge.app.meters.cancelled(&cancelled);
    if let TaskState::Running(lease) = &task.head.state {
        ended(edge, task, lease, "task cancelled", false);
    }
    Ok(cancelled)
}

/// The end of a message that is too long: it tells the cause.
fn cut(message: &str) -> String {
    let mut from = message.len().saturating_sub(limits::ERROR_BYTES);
    while !message.is_char_boundary(from) {
        from += 1;
    }
    message[from..].to_owned()
}

/// Whether something is refused as the task has changed since it was looked at.
pub(crate) fn has_changed(error: &ApiError) -> bool {
    matches!(
        error.code(),
        ProblemCode::LeaseLost
            | ProblemCode::StaleAttempt
            | ProblemCode::WrongWorker
            | ProblemCode::CompletedDifferently
            | ProblemCode::TransitionRefused
            | ProblemCode::TaskNotFound
    )
}
