//! What is told to the server of how an attempt ended, and what it answers.

use baton_api::claim::ClaimRequest;
use baton_api::complete::{CompleteRequest, ErrorFields, FailRequest, ReleaseRequest};
use baton_api::complete::{CompletedView, EndedView};
use baton_api::task::TaskView;
use baton_client::{Client, ClientError, Sent};
use baton_model::{RequestKey, TaskId, limits};
use serde_json::value::to_raw_value;

use crate::detour;
use crate::outcome::{Outcome, RESULT_REFUSED, TIMED_OUT};
use crate::shared::Shared;

/// The most characters of a failure's message that go into the log.
const LOGGED_CHARS: usize = 300;

/// An outcome in the words of the API.
#[derive(Clone)]
pub(crate) enum Told {
    Complete(Box<CompleteRequest>),
    Fail(Box<FailRequest>),
    Release(ReleaseRequest),
}

pub(crate) enum Answer {
    Completed(Box<CompletedView>),
    Failed(EndedView),
    Released(EndedView),
}

impl Told {
    pub(crate) fn new(shared: &Shared, task: &TaskView, outcome: Outcome) -> Result<Self, String> {
        let (worker_id, attempt) = (shared.options.id.clone(), task.attempt);
        if matches!(outcome, Outcome::Done(_)) {
            shared.has_run(task.affinity.as_ref());
        }
        Ok(match outcome {
            Outcome::Done(done) => Self::Complete(Box::new(CompleteRequest {
                worker_id,
                attempt,
                location: done.location,
                kind: done.kind,
                metadata: done.metadata,
                result: done.result,
                files: done.files,
                run_seconds: done.ran,
                // The slot that becomes free by this takes the next task.
                // Named by the completion, it costs a server on DynamoDB a write less.
                claim: (shared.claims_along() && !done.slot_taken).then(|| ClaimRequest {
                    request_id: Some(RequestKey::of_completion(task.id, attempt)),
                    ..shared.claim_request(1)
                }),
            })),
            Outcome::Failed(failed) => Self::Fail(Box::new(FailRequest {
                worker_id,
                attempt,
                error: failed.error,
                retryable: Some(failed.retryable),
                retry_after_seconds: failed.retry_after,
            })),
            Outcome::Released { delay, reason } => Self::Release(ReleaseRequest {
                worker_id,
                attempt,
                delay_seconds: Some(delay.min(limits::LONGEST_DELAY)),
                reason: Some(reason.chars().take(1_000).collect()),
            }),
            Outcome::Lost { reason } => return Err(reason),
        })
    }

    /// What to tell if the server does not take this; none if this is already the least that can be told.
    pub(crate) fn instead(&self, shared: &Shared, task: &TaskView, error: &ClientError) -> Option<Self> {
        let told = |message: String, code: &str, retryable| {
            let error = ErrorFields { message, code: Some(code.to_owned()), details: None };
            Self::Fail(Box::new(FailRequest {
                worker_id: shared.options.id.clone(),
                attempt: task.attempt,
                error,
                retryable: Some(retryable),
                retry_after_seconds: None,
            }))
        };
        let reasons = error
            .problem()
            .map(|problem| problem.errors.iter().map(|field| format!("; {field}")).collect::<String>());
        let reasons = reasons.unwrap_or_default();
        match self {
            Self::Complete(_) => Some(told(
                format!("the command's result was refused: {error}{reasons}"),
                RESULT_REFUSED,
                false,
            )),
            Self::Fail(fail) if fail.error.details.is_some() || fail.retry_after_seconds.is_some() => {
                Some(told(fail.error.message.clone(), "failed", fail.retryable.unwrap_or(true)))
            }
            Self::Fail(_) | Self::Release(_) => None,
        }
    }

    /// The code of a failure and its message, cut at its front for the log: the cause is most often told last.
    pub(crate) fn cause(&self) -> (&str, String) {
        let Self::Fail(fail) = self else { return ("", String::new()) };
        let message = fail.error.message.trim();
        let cut = match message.char_indices().rev().nth(LOGGED_CHARS - 1) {
            Some((at, _)) if at > 0 => format!("…{}", &message[at..]),
            _ => message.to_owned(),
        };
        (fail.error.code.as_deref().unwrap_or_default(), cut)
    }

    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Fail(fail) if fail.error.code.as_deref() == Some(TIMED_OUT))
    }

    pub(crate) fn claims(&self) -> bool {
        matches!(self, Self::Complete(request) if request.claim.is_some())
    }

    /// Leaves the claim for a next task out: the slot is free, and is filled by the claims.
    pub(crate) fn claim_nothing(&mut self) {
        if let Self::Complete(request) = self {
            request.claim = None;
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Complete(_) => "complete",
            Self::Fail(_) => "fail",
            Self::Release(_) => "release",
        }
    }

    /// What is told, for the log.
    pub(crate) fn content(&self) -> String {
        let json = match self {
            Self::Complete(request) => serde_json::to_string(request),
            Self::Fail(request) => serde_json::to_string(request),
            Self::Release(request) => serde_json::to_string(request),
        };
        json.unwrap_or_default()
    }

    /// The message that stands for this where the server cannot be told.
    pub(crate) fn message(&self, task: &TaskView) -> Result<String, serde_json::Error> {
        let outcome = match self {
            // A claim needs an answer.
            Self::Complete(request) => {
                let request = CompleteRequest { claim: None, ..(**request).clone() };
                detour::Sent::Completion(to_raw_value(&request)?)
            }
            Self::Fail(request) => detour::Sent::Failure(to_raw_value(request)?),
            Self::Release(request) => detour::Sent::Release(to_raw_value(request)?),
        };
        serde_json::to_string(&detour::Message { task_id: task.id, outcome })
    }

    /// Sends it once, alone or with others, as the client gathers them.
    pub(crate) async fn send(&self, client: &Client, task: TaskId) -> Sent<Answer> {
        match self {
            Self::Complete(request) => {
                client.end_once(task, &**request).await.map(|view| Answer::Completed(Box::new(view)))
            }
            Self::Fail(request) => client.end_once(task, &**request).await.map(Answer::Failed),
            Self::Release(request) => client.end_once(task, request).await.map(Answer::Released),
        }
    }
}
