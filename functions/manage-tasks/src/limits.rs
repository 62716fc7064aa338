//! Limits that tasks share, and projects' owners.

use axum::extract::State;
use baton_api::limit::{
    ClearLimit, LimitChangeView, LimitView, ProjectView, SetLimit as SetLimitRequest,
    SetOwner as SetOwnerRequest,
};
use baton_api::task::Page;
use baton_http::{ApiResult, App, Caller, JsonBody, OptionalBody, PathId, QueryFields, ok, wire};
use baton_model::{Limit, LimitRules, ProjectId};
use baton_store::{Changed, LimitStatus, OwnedProject, SetLimit, SetOwner};

/// Set a limit
///
/// How many tasks of a queue, a project, an owner or a key run at once, and how many of a queue or a key start in a while. It
/// takes the place of the limit that holds for the same. The next claim goes by it; what runs goes on. A task over a limit
/// stays queued, costs no attempt, and holds up nobody behind it.
#[utoipa::path(
    post,
    path = "/v1/limits",
    operation_id = "set_limit",
    tag = "limits",
    request_body = SetLimitRequest,
    responses(
        (status = 200, description = "The limit is set", body = LimitChangeView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn set(
    State(app): State<App>,
    caller: Caller,
    JsonBody(request): JsonBody<SetLimitRequest>,
) -> ApiResult {
    caller.reach_everything()?;
    let rules = Some(request.rules());
    let by = caller.asks(request.by, request.reason.as_deref());
    let set = SetLimit { now: app.now(), on: request.on, rules, by, reason: request.reason };
    change(app, caller, set).await
}

/// Take a limit away
///
/// The next claim goes by it. To take away what is not there changes nothing.
#[utoipa::path(
    post,
    path = "/v1/limits/clear",
    operation_id = "clear_limit",
    tag = "limits",
    request_body = ClearLimit,
    responses(
        (status = 200, description = "The limit is gone", body = LimitChangeView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn clear(
    State(app): State<App>,
    caller: Caller,
    JsonBody(request): JsonBody<ClearLimit>,
) -> ApiResult {
    caller.reach_everything()?;
    let by = caller.asks(request.by, request.reason.as_deref());
    let set = SetLimit { now: app.now(), on: request.on, rules: None, by, reason: request.reason };
    change(app, caller, set).await
}

async fn change(app: App, caller: Caller, set: SetLimit) -> ApiResult {
    let on = set.on.clone();
    let Changed { from, to } = app.store.set_limit(set).await?;
    let words = |limit: &Option<Limit>| limit.as_ref().map(|limit| in_words(&limit.rules));
    let (was, is) = (words(&from), words(&to));
    caller.has_changed(
        was.clone().map(|was| format!("{on}: {was}")),
        is.clone().map(|is| format!("{on}: {is}")),
    );
    tracing::info!(limit = %on, from = was, to = is, "limit changed");
    let view = |limit: Limit| view(LimitStatus { limit, running: None, held: None });
    ok(&LimitChangeView { from: from.map(view), to: to.map(view) })
}

/// List the limits
///
/// By what they hold for, with how many leases are under each.
#[utoipa::path(
    get,
    path = "/v1/limits",
    operation_id = "list_limits",
    tag = "limits",
    params(
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<LimitView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    caller.reach_everything()?;
    let page = query.page();
    query.finish()?;
    ok(&wire::page(app.store.limits(page).await?, view))
}

/// Say whose a project is
///
/// An owner's limit holds over all of its projects. The next claim goes by it.
#[utoipa::path(
    post,
    path = "/v1/projects/{project}/owner",
    operation_id = "set_owner",
    tag = "limits",
    params(("project" = String, Path, description = "The project")),
    request_body = Option<SetOwnerRequest>,
    responses(
        (status = 200, description = "The project", body = ProjectView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn set_owner(
    State(app): State<App>,
    caller: Caller,
    PathId(project): PathId<ProjectId>,
    OptionalBody(request): OptionalBody<SetOwnerRequest>,
) -> ApiResult {
    caller.reach_everything()?;
    let by = caller.asks(request.by, request.reason.as_deref());
    let set = SetOwner {
        now: app.now(),
        project: project.clone(),
        owner: request.owner,
        by,
        reason: request.reason,
    };
    let Changed { from, to } = app.store.set_owner(set).await?;
    let owner = |owned: &Option<OwnedProject>| owned.as_ref().map(|owned| owned.owner.to_string());
    let (was, is) = (owner(&from), owner(&to));
    caller.has_changed(was.clone(), is.clone());
    tracing::info!(%project, from = was, to = is, "project's owner changed");
    let nobodys =
        ProjectView { name: project, owner: None, changed_by: None, reason: None, changed_at: None };
    ok(&to.map_or(nobodys, project_view))
}

/// List projects with an owner
///
/// By name.
#[utoipa::path(
    get,
    path = "/v1/projects",
    operation_id = "list_projects",
    tag = "limits",
    params(
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<ProjectView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list_projects(
    State(app): State<App>,
    caller: Caller,
    mut query: QueryFields,
) -> ApiResult {
    caller.reach_everything()?;
    let page = query.page();
    query.finish()?;
    ok(&wire::page(app.store.owned_projects(page).await?, project_view))
}

fn view(status: LimitStatus) -> LimitView {
    let LimitStatus { limit, running, held } = status;
    let LimitRules { max_running, rate, exempt_types, holds_retries } = limit.rules;
    LimitView {
        on: limit.on,
        max_running,
        rate: rate.map(Into::into),
        exempt_types,
        holds_retries,
        running,
        held,
        changed_by: limit.changed_by,
        reason: limit.reason,
        changed_at: limit.changed_at,
    }
}

fn project_view(owned: OwnedProject) -> ProjectView {
    ProjectView {
        name: owned.project,
        owner: Some(owned.owner),
        changed_by: owned.changed_by,
        reason: owned.reason,
        changed_at: Some(owned.changed_at),
    }
}

/// What a limit says, for the audit log.
fn in_words(rules: &LimitRules) -> String {
    let mut words = Vec::new();
    if let Some(most) = rules.max_running {
        words.push(format!("at most {most} run"));
    }
    if let Some(rate) = rules.rate {
        words.push(format!("{} start in {} s, {} at once", rate.starts, rate.seconds, rate.burst));
    }
    if !rules.exempt_types.is_empty() {
        let types: Vec<&str> = rules.exempt_types.iter().map(|one| one.as_str()).collect();
        words.push(format!("not {}", types.join(" nor ")));
    }
    if rules.holds_retries {
        words.push("retries keep their places".to_owned());
    }
    words.join("; ")
}
