//! The routes of the pages.

use std::sync::Arc;

use axum::extract::Path;
use axum::routing::{get, post};
use baton_api::ProblemCode;
use baton_http::auth::{Access, Rule};
use utoipa_axum::router::OpenApiRouter;

use crate::pages::{
    alerts, audit, groups, limits, one_setting, one_task, one_worker, overview, projects, queues, schedules,
    settings, tasks, tokens, workers,
};
use crate::{Dashboard, act, answer, bulk, events, files, sign};

const OVERVIEW: Rule = Rule::open("/ui", "ui");
const PAGE: Rule = Rule::open("/ui/{*path}", "ui_page");
const ACT: Rule = Rule::of("POST", "/ui/{*path}", "ui_act", Access::Open);

/// All below `/ui` is let through to the pages, which know those who come by their sessions ([`crate::visit`]).
pub(crate) const RULES: &[Rule] = &[OVERVIEW, PAGE, ACT];

/// The same of a dashboard by itself, which leads to its pages, and explains problems in the place of a server.
pub(crate) const ALONE: &[Rule] =
    &[OVERVIEW, PAGE, ACT, Rule::open("/", "ui_root"), Rule::open("/errors/{code}", "ui_explain")];

/// The routes of a dashboard by itself.
pub(crate) fn alone(explain: fn(ProblemCode) -> &'static str) -> OpenApiRouter<Arc<Dashboard>> {
    router().route("/", get(|| async { answer::see("/ui") })).route(
        "/errors/{code}",
        get(move |Path(code): Path<String>| async move { answer::explained(&code, explain) }),
    )
}

pub(crate) fn router() -> OpenApiRouter<Arc<Dashboard>> {
    OpenApiRouter::new()
        .route("/ui", get(overview::show))
        .route("/ui/sign-in", get(sign::show).post(sign::sign_in))
        .route("/ui/sign-out", post(sign::sign_out))
        .route("/ui/static/{name}", get(answer::file))
        .route("/ui/find", get(tasks::find))
        .route("/ui/queues", get(queues::show))
        .route("/ui/queues/{queue}/{action}", post(act::queue))
        .route("/ui/tasks", get(tasks::show))
        .route("/ui/tasks/{id}", get(one_task::show))
        .route("/ui/tasks/{id}/{action}", post(act::task))
        .route("/ui/bulk/confirm", post(bulk::confirm))
        .route("/ui/bulk", post(bulk::begin))
        .route("/ui/bulk/{id}", get(bulk::show))
        .route("/ui/bulk/{id}/abort", post(bulk::abort))
        .route("/ui/workers", get(workers::show))
        .route("/ui/workers/{worker}", get(one_worker::show))
        .route("/ui/workers/{worker}/{action}", post(act::worker))
        .route("/ui/schedules", get(schedules::show))
        .route("/ui/schedules/{project}/{name}/{action}", post(act::schedule))
        .route("/ui/limits", get(limits::show))
        .route("/ui/alerts", get(alerts::show))
        .route("/ui/projects", get(projects::show))
        .route("/ui/tokens", get(tokens::show))
        .route("/ui/tokens/{id}/revoke", post(act::revoke))
        .route("/ui/audit", get(audit::show))
        .route("/ui/settings", get(settings::show))
        .route("/ui/settings/{key}", get(one_setting::show))
        .route("/ui/settings/{key}/confirm", post(one_setting::confirm))
        .route("/ui/settings/{key}/change", post(one_setting::change))
        .route("/ui/groups", get(groups::show))
        .route("/ui/groups/{group}/{action}", post(act::group))
        .route("/ui/events", get(events::hear))
        .route("/ui/files/{project}/{*path}", get(files::show))
}
