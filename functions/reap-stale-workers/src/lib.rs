//! Takes tasks back whose lease is lost, and removes what is past its keeping.
//!
//! The reaper acts on what the store holds alone. It may run anywhere, any number of times, and several times at once:
//! each task is taken back by one conditional write.

mod archive_rounds;
mod archiving;
mod asked;
mod batches;
mod bulk;
mod readings;
mod removal;
mod round;
mod rounds;
mod schedules;
mod supplies;
mod untaken;

use axum::extract::State;
use baton_api::reap::ReapRequest;
use baton_api::reap::{ReapView, TakenView};
use baton_http::{ApiResult, App, Caller, OptionalBody, ok, routes};
use baton_model::limits;
use baton_store::{Reap, Taken};
use utoipa_axum::router::OpenApiRouter;

pub use archive_rounds::ArchiveRounds;
pub use archiving::run_archiver;
pub use bulk::run_bulk;
pub use readings::{look_at_readings, run_readings};
pub use round::Round;
pub use rounds::{begin, reap_within, run_reaper, scheduled};
pub use schedules::run_schedules;
pub use supplies::run_supplies;
pub use untaken::run_untaken;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(reap)).routes(routes!(asked::show_reaper))
}

/// Take back lost leases now
///
/// Does what the reaper does by itself every few seconds, at once, for all or for one worker or queue. It takes back only
/// what is lost.
#[utoipa::path(
    post,
    path = "/v1/reap",
    tag = "operations",
    request_body = Option<ReapRequest>,
    responses(
        (status = 200, description = "What was taken back", body = ReapView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn reap(
    State(app): State<App>,
    caller: Caller,
    OptionalBody(request): OptionalBody<ReapRequest>,
) -> ApiResult {
    caller.reach_everything()?;
    let last = rounds::last_round(&app).await?;
    let reap = Reap {
        watch: app.timekeeper.watch(last.as_ref()),
        limit: request.limit.unwrap_or(limits::PAGE),
        worker: request.worker_id,
        queue: request.queue,
    };
    let report = app.store.reap(reap).await?;
    report.taken.iter().for_each(|taken| log(&app, taken));
    ok(&ReapView { taken: report.taken.into_iter().map(view).collect(), more: report.more })
}

fn log(app: &App, taken: &Taken) {
    app.meters.lost(taken, app.now());
    tracing::warn!(
        task_id = %taken.task,
        task_type = %taken.task_type,
        queue = %taken.queue,
        domain = taken.domain.as_ref().map(tracing::field::display),
        attempt = taken.attempt,
        worker_id = %taken.worker,
        reason = taken.reason.as_str(),
        status = taken.to.as_str(),
        "task taken back"
    );
}

fn view(taken: Taken) -> TakenView {
    TakenView {
        task_id: taken.task,
        attempt: taken.attempt,
        worker_id: taken.worker,
        reason: taken.reason,
        to: taken.to,
    }
}
