//! Ends of attempts that come through the queue `completions`: each message completes, fails or releases one task.

use axum::extract::State;
use baton_api::complete::{CompleteRequest, FailRequest, ReleaseRequest};
use baton_api::fields::parsed;
use baton_api::{Fields, ProblemCode, ReadFields};
use baton_http::{ApiError, App, Caller, JsonBody, Message, PathId};
use baton_model::{EventKind, Expected, Fence, Limits, TaskId, limits};
use baton_store::{Page, PageRequest};

/// What a message asks for: a task, and the body of the HTTP route that ends its attempt.
struct Ending {
    task: TaskId,
    end: End,
}

enum End {
    Completion(Box<CompleteRequest>),
    Failure(Box<FailRequest>),
    Release(Box<ReleaseRequest>),
}

impl ReadFields for Ending {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let task = f.required("task_id", parsed);
        let given = ["completion", "failure", "release"].map(|name| f.has(name));
        let completion = f.optional_object::<CompleteRequest>("completion", limits);
        let failure = f.optional_object::<FailRequest>("failure", limits);
        let release = f.optional_object::<ReleaseRequest>("release", &());
        if given.iter().filter(|given| **given).count() != 1 {
            f.refuse(
                "completion",
                Expected::new("one of completion, failure and release", "none or several"),
            );
            return None;
        }
        let completion = completion?;
        if completion.as_ref().is_some_and(|completion| completion.claim.is_some()) {
            f.refuse("completion.claim", Expected::new("no claim, as nobody hears its answer", "a claim"));
        }
        let completion = completion.map(|completion| End::Completion(Box::new(completion)));
        let failure = failure?.map(|failure| End::Failure(Box::new(failure)));
        let release = release?.map(|release| End::Release(Box::new(release)));
        Some(Self { task: task?, end: completion.or(failure).or(release)? })
    }
}

/// Ends an attempt as a message asks. The same message again, or the same end by HTTP, changes nothing more.
///
/// # Errors
/// As the HTTP routes; [`ApiError::may_pass`] tells whether the message may succeed later.
pub async fn end(app: &App, message: &Message) -> Result<(), ApiError> {
    let Ending { task, end } = message.read::<Ending>(&app.limits)?;
    // Who may write to the queue may end any attempt.
    let (state, caller, id) = (State(app.clone()), Caller::unrestricted(), PathId(task));
    let (answer, kind, fence) = match end {
        End::Completion(request) => {
            return crate::complete(state, caller, id, JsonBody(*request)).await.map(drop);
        }
        End::Failure(request) => {
            let fence = Fence { attempt: request.attempt, worker: request.worker_id.clone() };
            let answer = crate::ended::fail(state, caller, id, JsonBody(*request)).await;
            (answer, EventKind::AttemptFailed, fence)
        }
        End::Release(request) => {
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
