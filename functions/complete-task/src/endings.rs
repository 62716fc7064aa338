//! Ends of several attempts by one request: each has its own outcome, and one claim comes after them.

use std::collections::BTreeSet;

use axum::extract::State;
use baton_api::ending::{EndRequest, EndingRequest, EndingView, EndingsRead, EndingsRequest, EndingsView};
use baton_api::{FieldError, ProblemCode};
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, Meters, ok, room, wire};
use baton_model::{Timestamp, WorkerId};
use baton_store::{EndAnswer, EndedAs, Ending, StoreError};
use futures::StreamExt;

use crate::ended::{self, FAILED, RELEASED};
use crate::{completion, log, misnamed, named, told, untold, view};

/// How many ends are made ready at the same time: each that names files takes looks for them.
const JUDGED_AT_ONCE: usize = 32;

/// End up to 1,000 attempts
///
/// Each end is what its own route makes of it: one commit, fenced by its attempt, and answered as the first time when it is sent
/// again. `items` tells what became of each, in order; one that does not fit or is refused has its `problem` there, as its own
/// route would answer, and leaves the others alone. Of two ends of one task the second finds what the first has left. With
/// `claim`, the answer brings next tasks along, whatever became of the ends; why it failed stands in `next_problem`. So the whole
/// request may be sent again, if the claim has a `request_id`; not that of a completion, which is refused there, too.
#[utoipa::path(
    post,
    path = "/v1/endings",
    tag = "workers",
    request_body = EndingsRequest,
    responses(
        (status = 200, description = "What became of each end", body = EndingsView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn end_attempts(
    State(app): State<App>,
    caller: Caller,
    JsonBody(request): JsonBody<EndingsRead>,
) -> ApiResult {
    let now = app.now();
    let EndingsRead { endings, claim } = request;
    let claimed = claim.as_ref().map_or(0, |claim| claim.max_tasks.unwrap_or(1));
    let tasks = app.room.for_tasks(claimed as usize, &app.limits());
    let bytes = room::of_items(&endings).saturating_add(tasks);
    caller.keep_room(&app, bytes).await?;
    let (slots, endings) = judged(&app, &caller, endings, now).await;
    let along = |claim| match misnamed(&claim, None) {
        None => wire::claim(&app, &caller, claim, now),
        Some(misnamed) => Err(misnamed),
    };
    let (next, beyond) = match claim.map(along) {
        None => (None, None),
        Some(Ok(claim)) => (Some(claim), None),
        Some(Err(error)) => (None, Some(error)),
    };
    let named = named(next.as_ref());
    let asked: Vec<Asked> = endings.iter().map(Asked::of).collect();
    let EndAnswer { items, next } = if endings.is_empty() && next.is_none() {
        EndAnswer { items: Vec::new(), next: None }
    } else {
        app.store.end(endings, next).await?
    };
    let mut workers = BTreeSet::new();
    for (asked, item) in asked.iter().zip(&items) {
        if let Ok(taken) = item {
            asked.log(&app.meters, taken);
            workers.insert(&asked.fence.worker);
        }
    }
    workers.into_iter().for_each(|worker: &WorkerId| app.doorbell.ring_worker(worker));
    let mut answer = gather(slots, items, now);
    (answer.next, answer.next_problem) = match (next, beyond) {
        (Some(found), _) => told(&app, &caller, found, &named, now).await,
        (None, Some(beyond)) => untold(beyond),
        (None, None) => (None, None),
    };
    ok(&answer)
}

/// What is known of one end before the store is asked.
enum Slot {
    /// The store's next outcome is its own.
    Asked,
    /// It does not fit, or is not the caller's to make.
    Refused(ApiError),
}

/// What the log is told of an end.
struct Asked {
    what: &'static str,
    fence: baton_model::Fence,
}

impl Asked {
    fn of(ending: &Ending) -> Self {
        let what = match ending {
            Ending::Complete(_) => "",
            Ending::Fail(_) => FAILED,
            Ending::Release(_) => RELEASED,
        };
        Self { what, fence: ending.fence().clone() }
    }

    fn log(&self, meters: &Meters, taken: &EndedAs) {
        match taken {
            EndedAs::Completed(taken) => log(meters, taken),
            EndedAs::Back(answer) => ended::log(meters, self.what, answer, &self.fence),
        }
    }
}

/// The ends for the store, and of each end of the request whether it is among them.
async fn judged(
    app: &App,
    caller: &Caller,
    endings: Vec<Result<EndingRequest, Vec<FieldError>>>,
    now: Timestamp,
) -> (Vec<Slot>, Vec<Ending>) {
    let mut looks = Vec::with_capacity(endings.len());
    for (index, ending) in endings.into_iter().enumerate() {
        looks.push(async move {
            let ending = ending.map_err(ApiError::fields)?;
            command(app, caller, ending, (now, index)).await
        });
    }
    let judged: Vec<Result<Ending, ApiError>> =
        futures::stream::iter(looks).buffered(JUDGED_AT_ONCE).collect().await;
    let mut stored = Vec::with_capacity(judged.len());
    let slots = judged.into_iter().map(|judged| match judged {
        Ok(ending) => {
            stored.push(ending);
            Slot::Asked
        }
        Err(error) => Slot::Refused(error),
    });
    (slots.collect(), stored)
}

async fn command(
    app: &App,
    caller: &Caller,
    EndingRequest { task_id, end }: EndingRequest,
    (now, index): (Timestamp, usize),
) -> Result<Ending, ApiError> {
    Ok(match end {
        // A claim of its own was refused when it was read.
        EndRequest::Completion(request) => {
            let field = format!("endings[{index}].completion.files");
            Ending::Complete(completion(app, caller, task_id, *request, (now, &field)).await?.0)
        }
        EndRequest::Failure(request) => Ending::Fail(ended::failure(task_id, caller.bounds(), *request, now)),
        EndRequest::Release(request) => {
            Ending::Release(ended::release_of(task_id, caller.bounds(), *request, now))
        }
    })
}

/// The answer without what the claim has found.
fn gather(slots: Vec<Slot>, items: Vec<Result<EndedAs, StoreError>>, now: Timestamp) -> EndingsView {
    let mut items = items.into_iter();
    let mut answer = EndingsView {
        accepted: 0,
        refused: 0,
        items: Vec::with_capacity(slots.len()),
        next: None,
        next_problem: None,
    };
    for (index, slot) in (0..).zip(slots) {
        let mut item = EndingView { index, completed: None, ended: None, problem: None };
        let refused = match slot {
            Slot::Refused(error) => Some(error),
            Slot::Asked => match items.next() {
                Some(Ok(EndedAs::Completed(taken))) => {
                    item.completed = Some(view(&taken.generation));
                    None
                }
                Some(Ok(EndedAs::Back(taken))) => {
                    item.ended = Some(ended::view(&taken.task, now));
                    None
                }
                Some(Err(error)) => Some(error.into()),
                None => {
                    Some(ApiError::new(ProblemCode::Internal, "the store gave no answer; send the end again"))
                }
            },
        };
        match refused {
            None => answer.accepted += 1,
            Some(error) => {
                error.log();
                answer.refused += 1;
                item.problem = Some(error.into_problem());
            }
        }
        answer.items.push(item);
    }
    answer
}
