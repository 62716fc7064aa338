//! Ends of attempts that come through the queue `completions`: each message completes, fails or releases one task.

use axum::extract::State;
use baton_api::ProblemCode;
use baton_api::ending::{EndRequest, EndingRequest};
use baton_http::{ApiError, App, Caller, JsonBody, Message, PathId};
use baton_model::{EventKind, Fence, TaskId, limits};
use baton_store::{Page, PageRequest};

/// Ends an attempt as a message asks. The same message again, or the same end by HTTP, changes nothing more.
///
/// # Errors
/// As the HTTP routes; [`ApiError::may_pass`] tells whether the message may succeed later.
pub async fn end(app: &App, message: &Message) -> Result<(), ApiError> {
    let EndingRequest { task_id: task, end } = message.read::<EndingRequest>(&app.limits())?;
    // Who may write to the queue may end any attempt.
    let (state, caller, id) = (State(app.clone()), Caller::unrestricted(), PathId(task));
    let (answer, kind, fence) = match end {
        EndRequest::Completion(request) => {
            return crate::complete(state, caller, id, JsonBody(*request)).await.map(drop);
        }
        EndRequest::Failure(request) => {
            let fence = Fence { attempt: request.attempt, worker: request.worker_id.clone() };
            let answer = crate::ended::fail(state, caller, id, JsonBody(*request)).await;
            (answer, EventKind::AttemptFailed, fence)
        }
        EndRequest::Release(request) => {
            let fence = Fence { attempt: request.attempt, worker: request.worker_id.clone() };
            let answer = crate::ended::release(state, caller, id, JsonBody(*request)).await;
            (answer, EventKind::Released, fence)
        }
    };
    match answer {
        Err(error) if error.code() == ProblemCode::StaleAttempt => {
            if has_ended_so(app, task, kind, &fence).await? { Ok(()) } else { Err(error) }
        }
        answer => answer.map(drop),
    }
}

/// Whether an attempt has ended in this way, though a later one has begun. A message may come long after the same end by
/// HTTP or after itself; that is a repetition, and no letter that somebody should look at.
async fn has_ended_so(app: &App, task: TaskId, kind: EventKind, fence: &Fence) -> Result<bool, ApiError> {
    let mut page = PageRequest::first(limits::PAGE);
    loop {
        let Page { items, next } = app.store.history(task, page).await?;
        let has_ended = items.iter().any(|event| {
            event.kind == kind
                && event.attempt == fence.attempt
                && event.detail.worker.as_ref() == Some(&fence.worker)
        });
        // What comes behind the attempt is of later ones.
        let is_past = items.last().is_none_or(|last| last.attempt > fence.attempt);
        match next {
            Some(next) if !has_ended && !is_past => {
                page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) }
            }
            _ => return Ok(has_ended),
        }
    }
}
