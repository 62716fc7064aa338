//! Shows and directs the workers that a server supervises: groups of them, started with it; and tells how many machines should run
//! workers.
//!
//! It serves where a server supervises workers, and is no function on AWS: there, no machine of Baton's own runs any. Its routes
//! are in `docs/fleet.md` and `docs/scaling.md`.

mod scaling;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use baton_api::ProblemCode;
use baton_api::manage::ActionRequest;
use baton_api::supervised::{GroupsView, RestartRequest, ScaleRequest};
use baton_http::fleet::{Asked, Fleet};
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, OptionalBody, PathId, ok};
use baton_model::{GroupName, Label};
use utoipa_axum::router::OpenApiRouter;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .route("/v1/fleet", get(list))
        .route("/v1/fleet/{group}/start", post(start))
        .route("/v1/fleet/{group}/stop", post(stop))
        .route("/v1/fleet/{group}/restart", post(restart))
        .route("/v1/fleet/{group}/scale", post(scale))
        .route("/v1/scaling", get(scaling::show))
}

/// The workers that the server supervises; a server without any has no such routes.
fn fleet(app: &App) -> Result<&Arc<dyn Fleet>, ApiError> {
    app.fleet.as_ref().ok_or_else(|| {
        ApiError::new(
            ProblemCode::RouteNotFound,
            "this server supervises no workers; name some in its settings as [[workers]], and start it again",
        )
    })
}

async fn list(State(app): State<App>, caller: Caller) -> ApiResult {
    caller.reach_everything()?;
    ok(&GroupsView { items: fleet(&app)?.groups().await })
}

async fn start(
    State(app): State<App>,
    caller: Caller,
    PathId(group): PathId<GroupName>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    ask(&app, &caller, group, Asked::Start, (request.by, request.reason)).await
}

async fn stop(
    State(app): State<App>,
    caller: Caller,
    PathId(group): PathId<GroupName>,
    OptionalBody(request): OptionalBody<ActionRequest>,
) -> ApiResult {
    ask(&app, &caller, group, Asked::Stop, (request.by, request.reason)).await
}

async fn restart(
    State(app): State<App>,
    caller: Caller,
    PathId(group): PathId<GroupName>,
    OptionalBody(request): OptionalBody<RestartRequest>,
) -> ApiResult {
    let asked = Asked::Restart { rolling: request.rolling };
    ask(&app, &caller, group, asked, (request.by, request.reason)).await
}

async fn scale(
    State(app): State<App>,
    caller: Caller,
    PathId(group): PathId<GroupName>,
    JsonBody(request): JsonBody<ScaleRequest>,
) -> ApiResult {
    caller.reach_everything()?;
    let before = fleet(&app)?.groups().await.into_iter().find(|known| known.name == group);
    caller.has_changed(
        before.map(|group| format!("{} workers", group.count)),
        Some(format!("{} workers", request.count)),
    );
    ask(&app, &caller, group, Asked::Scale(request.count), (request.by, request.reason)).await
}

async fn ask(
    app: &App,
    caller: &Caller,
    group: GroupName,
    asked: Asked,
    (by, reason): (Option<Label>, Option<String>),
) -> ApiResult {
    caller.reach_everything()?;
    let by = caller.asks(by, reason.as_deref());
    let Some(view) = fleet(app)?.ask(&group, asked).await else {
        return Err(ApiError::new(
            ProblemCode::GroupNotFound,
            format!(
                "this server supervises no group {:?}; GET /v1/fleet lists those that it does",
                group.as_str()
            ),
        ));
    };
    tracing::info!(%group, ?asked, by = by.as_ref().map(tracing::field::display), reason, "group of workers directed");
    ok(&view)
}
