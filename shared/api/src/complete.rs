//! What `complete-task` is asked and answers: the three ways in which a worker ends its attempt.

use std::time::Duration;

use baton_model::limits::Limits;
use baton_model::{Expected, GenerationId, Payload, Status, TaskId, Timestamp, WorkerId, limits};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::claim::{ClaimRequest, ClaimView};
use crate::fields::{Fields, ReadFields, as_seconds, boolean, integer, list, parsed, payload, span, text};
use crate::problem::Problem;
use crate::text::{NOTE_CHARS, keep_end};

/// The most characters of a file's name: a project, and a path of 512 bytes at most.
const FILE_NAME_CHARS: usize = 640;

/// Completes a task: its status and its generation in one commit.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CompleteRequest {
    /// The worker that holds the attempt.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// The attempt, as the claim answered.
    pub attempt: u32,
    /// Where the output lies, up to 4,096 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What kind of output it is, such as `image/png`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// More about the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
    /// The output itself, where it is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<Payload>,
    /// Files of the task's project that belong to the output, each by its path, up to 100. The task is completed only if all of them are
    /// there; what they are is kept with its generation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// How long the work took, by the worker's own clock: then the time that the completion waited for a server is no part of
    /// the run time. It counts for no more than from claim to completion; that is the run time if this is left out.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_seconds")]
    #[schema(value_type = Option<f64>)]
    pub run_seconds: Option<Duration>,
    /// A claim for the next task, answered along with this completion. It does not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimRequest>,
}

impl ReadFields for CompleteRequest {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let worker_id = f.required("worker_id", parsed);
        let attempt = f.required("attempt", integer(1..=u32::MAX));
        let location = f.optional("location", text(1..=limits::LOCATION_BYTES));
        let kind = f.optional("kind", text(1..=255));
        let metadata = f.optional("metadata", payload(limits.result_bytes));
        let result = f.optional("result", payload(limits.result_bytes));
        let files = f.optional("files", list(0..=limits::OUTPUT_FILES, text(1..=FILE_NAME_CHARS)));
        let files = files.map(Option::unwrap_or_default);
        // Any span that a clock may have told: what is longer than the attempt lasted counts for no more than that.
        let run_seconds = f.optional("run_seconds", span(Duration::ZERO, limits::LONGEST_DELAY));
        let claim = f.optional_object::<ClaimRequest>("claim", &());
        if let (Some(worker_id), Some(Some(claim))) = (&worker_id, &claim) {
            if claim.worker_id != *worker_id {
                f.refuse(
                    "claim.worker_id",
                    Expected::text(format!("{worker_id}, who completes"), claim.worker_id.as_str()),
                );
            }
            if claim.wait_seconds.is_some_and(|wait| !wait.is_zero()) {
                f.refuse("claim.wait_seconds", Expected::new("no waiting along with a completion", "a wait"));
            }
        }
        Some(Self {
            worker_id: worker_id?,
            attempt: attempt?,
            location: location?,
            kind: kind?,
            metadata: metadata?,
            result: result?,
            files: files?,
            run_seconds: run_seconds?,
            claim: claim?,
        })
    }
}

/// Fails an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FailRequest {
    /// The worker that holds the attempt.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// The attempt, as the claim answered.
    pub attempt: u32,
    /// What went wrong.
    pub error: ErrorFields,
    /// Whether another attempt may help; `true` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// How long to wait before it, instead of the backoff.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_seconds")]
    #[schema(value_type = Option<f64>)]
    pub retry_after_seconds: Option<Duration>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = TaskError)]
pub struct ErrorFields {
    /// For people; its last 16 KiB are kept.
    pub message: String,
    /// For programs, by the worker's own naming.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub details: Option<Payload>,
}

impl ReadFields for ErrorFields {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let message = f.required("message", text(1..=limits.params_bytes));
        let code = f.optional("code", text(1..=128));
        let details = f.optional("details", payload(limits.params_bytes));
        Some(Self { message: keep_end(message?, limits::ERROR_BYTES), code: code?, details: details? })
    }
}

impl ReadFields for FailRequest {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let worker_id = f.required("worker_id", parsed);
        let attempt = f.required("attempt", integer(1..=u32::MAX));
        let error = f.optional_object::<ErrorFields>("error", limits);
        if error == Some(None) {
            f.refuse("error", Expected::new("an object with a message (the field is required)", "nothing"));
        }
        let retryable = f.optional("retryable", boolean);
        let retry_after_seconds =
            f.optional("retry_after_seconds", span(Duration::ZERO, limits::LONGEST_DELAY));
        Some(Self {
            worker_id: worker_id?,
            attempt: attempt?,
            error: error??,
            retryable: retryable?,
            retry_after_seconds: retry_after_seconds?,
        })
    }
}

/// Gives a task back unharmed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ReleaseRequest {
    /// The worker that holds the attempt.
    #[schema(value_type = String)]
    pub worker_id: WorkerId,
    /// The attempt, as the claim answered.
    pub attempt: u32,
    /// How long the task is to rest; not at all if left out.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_seconds")]
    #[schema(value_type = Option<f64>)]
    pub delay_seconds: Option<Duration>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadFields for ReleaseRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let worker_id = f.required("worker_id", parsed);
        let attempt = f.required("attempt", integer(1..=u32::MAX));
        let delay_seconds = f.optional("delay_seconds", span(Duration::ZERO, limits::LONGEST_DELAY));
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self {
            worker_id: worker_id?,
            attempt: attempt?,
            delay_seconds: delay_seconds?,
            reason: reason?,
        })
    }
}

/// A completion that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CompleteAnswer)]
pub struct CompletedView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// `completed`.
    #[schema(value_type = String)]
    pub status: Status,
    /// Its output record.
    #[schema(value_type = String, format = "uuid")]
    pub generation_id: GenerationId,
    /// When it was completed.
    #[schema(value_type = String, format = "date-time")]
    pub finished_at: Timestamp,
    /// What the claim found that came along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ClaimView>,
    /// Why the claim that came along failed; the completion stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_problem: Option<Problem>,
}

/// A failure or a release that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FailAnswer)]
pub struct EndedView {
    /// The task.
    #[schema(value_type = String, format = "uuid")]
    pub task_id: TaskId,
    /// What it is now: `queued` or `retry` if it will be tried again, else `failed`.
    #[schema(value_type = String)]
    pub status: Status,
    /// How many attempts count so far.
    pub attempts_used: u32,
    /// How many it is given.
    pub max_attempts: u32,
    /// When it may be claimed again, if it will be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub run_after: Option<Timestamp>,
}
