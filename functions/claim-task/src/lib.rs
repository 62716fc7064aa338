//! Gives workers tasks, at once or as soon as there are some.

mod supply;

use std::time::Duration;

use axum::extract::State;
use baton_api::claim::ClaimRequest;
use baton_api::claim::ClaimView;
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, inputs, ok, routes, wire};
use baton_model::{Timestamp, Wants, limits};
use baton_store::{Claim, ClaimAnswer, Nothing};
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;

/// The route's path, and how much longer than other requests it may take, for [`baton_http::Envelope::new`].
pub const SLOW: (&str, Duration) = ("/v1/claims", limits::CLAIM_WAIT);

/// How long a waiting claim goes without looking. Rings wake it; this is for what no ring of this process tells: another
/// process on the same store, a task that was due while the clock stepped.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(claim))
}

/// Claim tasks
///
/// Gives the worker up to `max_tasks` tasks that are ready: by priority, then by the time from which they were due,
/// unless a queue has an order of its own. With `affinity`, what the worker has `warm` says which tasks of one priority go
/// first, or which it is given at all. If there is none, waits up to `wait_seconds` for one, and then says why there is
/// none. A claim that repeats the `request_id` of an earlier one gets the same leases again, of which it is told no more than its own
/// `max_tasks`.
#[utoipa::path(
    post,
    path = "/v1/claims",
    tag = "workers",
    request_body = ClaimRequest,
    responses(
        (status = 200, description = "Tasks, or why there are none", body = ClaimView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn claim(
    State(app): State<App>,
    caller: Caller,
    JsonBody(request): JsonBody<ClaimRequest>,
) -> ApiResult {
    ok(&claim_tasks(&app, &caller, request).await?)
}

/// Claims tasks for a caller, as the route does. Who waits longer than other requests may says so with [`SLOW`].
///
/// # Errors
/// Those of the route.
pub async fn claim_tasks(app: &App, caller: &Caller, request: ClaimRequest) -> Result<ClaimView, ApiError> {
    let wait = request.wait_seconds.unwrap_or_default();
    let claim = wire::claim(app, caller, request, app.now())?;
    let (queues, types, most) = (claim.queues.clone(), claim.types.clone(), claim.max_tasks);
    let answer = if wait.is_zero() {
        look(app, caller, claim).await?
    } else {
        wait_for_tasks(app, caller, claim, wait).await?
    };
    let mut view = wire::claim_view(&app.meters, caller.sift(answer, most), &queues, &types, app.now());
    inputs::fill(app, &mut view.tasks).await?;
    Ok(view)
}

/// Claims what there is now. What is given out is told at length: room for it is kept before, and not while a claim waits.
async fn look(app: &App, caller: &Caller, claim: Claim) -> Result<ClaimAnswer, ApiError> {
    caller.keep_room_for_tasks(app, claim.max_tasks).await?;
    let answer = supply::claim(app, claim).await?;
    if let ClaimAnswer::Nothing(_) = &answer {
        caller.give_room_back();
    }
    Ok(answer)
}

async fn wait_for_tasks(
    app: &App,
    caller: &Caller,
    mut claim: Claim,
    wait: Duration,
) -> Result<ClaimAnswer, ApiError> {
    let deadline = Instant::now() + wait;
    let place = app.doorbell.wait(&claim.worker, &claim.queues, &claim.types);
    // A claim that is bound to a project, or wants only what is warm, sees such tasks alone: what it does not find may be there for
    // another.
    let sees_all = claim.caller.project().is_none() && claim.warm.wants != Wants::Only;
    let found_none = || if sees_all { place.settle() } else { place.pass_by() };
    loop {
        // The line is joined before the look: what is committed after the look rings.
        place.listen();
        let nothing = match look(app, caller, claim.clone()).await? {
            leased @ ClaimAnswer::Leased(_) => {
                place.settle();
                return Ok(leased);
            }
            ClaimAnswer::Nothing(nothing) => nothing,
        };
        let next_at = match nothing {
            Nothing::NoneQueued | Nothing::Paused { .. } => {
                found_none();
                None
            }
            Nothing::Scheduled { next_at } => {
                found_none();
                Some(next_at)
            }
            // Others may be given what this one is not.
            Nothing::NotWarm => {
                place.pass_by();
                None
            }
            // So here, by their types; and a place that becomes free rings.
            Nothing::AtLimit { next_at, .. } => {
                place.pass_by();
                next_at
            }
            // There may well be tasks, but not for this worker: others must not miss them for it.
            Nothing::AtCap { .. } | Nothing::RunsAlone | Nothing::MakesRoom | Nothing::OnlyAlone => {
                place.stand_aside();
                None
            }
            // No waiting helps.
            Nothing::Directed { .. } | Nothing::RequestSpent => return Ok(ClaimAnswer::Nothing(nothing)),
        };
        let look_at = look_at(app, deadline, next_at);
        tokio::select! {
            biased;
            () = app.shutdown.wait() => return Ok(ClaimAnswer::Nothing(nothing)),
            () = place.rung() => {}
            () = tokio::time::sleep_until(look_at) => {
                if look_at >= deadline {
                    return Ok(ClaimAnswer::Nothing(nothing));
                }
            }
        }
        caller.still_stands(app).await?;
        claim.now = app.now();
    }
}

/// When to look again if nothing rings: when the next task is due, but not after the deadline.
fn look_at(app: &App, deadline: Instant, next_at: Option<Timestamp>) -> Instant {
    let until_due = next_at.map_or(LOOK_EVERY, |at| at.since(app.now()) + Duration::from_millis(1));
    deadline.min(Instant::now() + until_due.min(LOOK_EVERY))
}
