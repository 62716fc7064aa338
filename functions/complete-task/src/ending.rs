//! Ends of attempts that come through the queue `completions`: each message completes, fails or releases one task.

use axum::extract::State;
use baton_api::fields::parsed;
use baton_api::request::{CompleteRequest, FailRequest, ReleaseRequest};
use baton_api::{Fields, ReadFields};
use baton_http::{ApiError, App, Caller, JsonBody, Message, PathId};
use baton_model::{Expected, Limits, TaskId};

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
    let (app, caller, task) = (State(app.clone()), Caller::unrestricted(), PathId(task));
    let answer = match end {
        End::Completion(request) => crate::complete(app, caller, task, JsonBody(*request)).await,
        End::Failure(request) => crate::ended::fail(app, caller, task, JsonBody(*request)).await,
        End::Release(request) => crate::ended::release(app, caller, task, JsonBody(*request)).await,
    };
    answer.map(drop)
}
