//! Schedules: tasks that the clock creates.

use axum::extract::State;
use baton_api::schedule::{
    MOST_NEXT, ScheduleAction, ScheduleView, SetSchedule as SetScheduleRequest, USUAL_NEXT,
};
use baton_api::task::Page;
use baton_http::spec::template_spec;
use baton_http::{
    ApiError, ApiResult, App, Caller, JsonBody, OptionalBody, PathId, QueryFields, created, ok, wire,
};
use baton_model::schedule::Said;
use baton_model::{Digest, Expected, Label, ProjectId, Schedule, ScheduleChange, ScheduleKey, ScheduleName};
use baton_store::{Changed, ScheduleFilter, SetSchedule, StoreError};

/// The most entries of a page, whatever is asked for: each may have the params of a task.
const MOST_LISTED: u32 = 100;

/// Set a schedule
///
/// Has a task created at each time that it names, once, however many servers run. The same request again changes nothing; another
/// schedule of the name is in the way, unless the request says `replace`: then what is due already stays due, unless the new one
/// recurs otherwise. The answer tells the next five times.
#[utoipa::path(
    post,
    path = "/v1/schedules",
    operation_id = "set_schedule",
    tag = "schedules",
    request_body = SetScheduleRequest,
    responses(
        (status = 201, description = "The schedule is new", body = ScheduleView),
        (status = 200, description = "The schedule was there, and says this now", body = ScheduleView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn set(
    State(app): State<App>,
    caller: Caller,
    JsonBody(mut request): JsonBody<SetScheduleRequest>,
) -> ApiResult {
    request.task.project = request.project.take();
    let task = template_spec(&app, &caller, "task.", request.task.clone());
    let task = task.map_err(|errors| {
        let named = |mut error: baton_api::FieldError| {
            if error.field == "task.project" {
                error.field = "project".to_owned();
            }
            error
        };
        caller.beyond(errors.into_iter().map(named).collect())
    })?;
    let key = ScheduleKey { project: task.project.clone(), name: request.name.clone() };
    let plan = request.plan(task);
    let now = app.now();
    if plan.never_occurs(now) {
        let field = if plan.ends_at.is_some() { "ends_at" } else { "cron" };
        return Err(ApiError::field(field, Expected::new("a schedule with a time ahead", "one without any")));
    }
    // What stands may be for queues that the caller does not reach.
    if caller.is_bound() {
        match app.store.schedule(&key).await {
            Ok(standing) if !reaches(&caller, &standing) => {
                return Err(StoreError::ScheduleExists(key).into());
            }
            Ok(_) | Err(StoreError::ScheduleNotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let change = ScheduleChange::Set { plan: Box::new(plan), seed: seed(&app), replace: request.replace };
    let (is_new, schedule) = change_to(&app, &caller, key, change, request.by, request.reason).await?;
    let view = ScheduleView::new(&schedule, now, USUAL_NEXT);
    if is_new { created(&view) } else { ok(&view) }
}

/// What the ids of a schedule's tasks derive from, or those of a supply's.
pub(crate) fn seed(app: &App) -> [u8; 16] {
    let (first, second) = (app.ids.task(), app.ids.task());
    *Digest::of_bytes(&[*first.as_bytes(), *second.as_bytes()].concat()).as_bytes()
}

/// Pause a schedule
///
/// It creates nothing until it is resumed.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}/pause",
    operation_id = "pause_schedule",
    tag = "schedules",
    params(("name" = String, Path, description = "The schedule")),
    request_body = Option<ScheduleAction>,
    responses(
        (status = 200, description = "The schedule is paused", body = ScheduleView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<ScheduleName>,
    OptionalBody(request): OptionalBody<ScheduleAction>,
) -> ApiResult {
    act(&app, &caller, name, ScheduleChange::Pause, request).await
}

/// Resume a schedule
///
/// It goes on with the first time from now on: those that passed while it was paused are left out.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}/resume",
    operation_id = "resume_schedule",
    tag = "schedules",
    params(("name" = String, Path, description = "The schedule")),
    request_body = Option<ScheduleAction>,
    responses(
        (status = 200, description = "The schedule goes on", body = ScheduleView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<ScheduleName>,
    OptionalBody(request): OptionalBody<ScheduleAction>,
) -> ApiResult {
    act(&app, &caller, name, ScheduleChange::Resume, request).await
}

/// Delete a schedule
///
/// The tasks that it has created stay as they are. The answer is the schedule as it was.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}/delete",
    operation_id = "delete_schedule",
    tag = "schedules",
    params(("name" = String, Path, description = "The schedule")),
    request_body = Option<ScheduleAction>,
    responses(
        (status = 200, description = "The schedule is gone", body = ScheduleView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<ScheduleName>,
    OptionalBody(request): OptionalBody<ScheduleAction>,
) -> ApiResult {
    act(&app, &caller, name, ScheduleChange::Remove, request).await
}

/// Get a schedule
///
/// With its next times: five, or as many as `next` says.
#[utoipa::path(
    get,
    path = "/v1/schedules/{name}",
    operation_id = "get_schedule",
    tag = "schedules",
    params(
        ("name" = String, Path, description = "The schedule"),
        ("project" = Option<String>, Query, description = "Its project; `default` if left out"),
        ("next" = Option<u32>, Query, description = "How many times to tell ahead: 1 to 100; 5 if left out"),
    ),
    responses(
        (status = 200, description = "The schedule", body = ScheduleView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    PathId(name): PathId<ScheduleName>,
    mut query: QueryFields,
) -> ApiResult {
    let project = query.one::<ProjectId>("project");
    let next = query.text("next").map(|text| {
        let number = text.parse().ok().filter(|number| (1..=MOST_NEXT).contains(number));
        number.unwrap_or_else(|| {
            query.refuse("next", Expected::text(format!("a whole number from 1 to {MOST_NEXT}"), &text));
            USUAL_NEXT
        })
    });
    query.finish()?;
    let key = key_of(&caller, project, name)?;
    let schedule = reached(&app, &caller, &key).await?;
    ok(&ScheduleView::new(&schedule, app.now(), next.unwrap_or(USUAL_NEXT)))
}

/// List schedules
///
/// By project and name. A token sees those of its project whose tasks go to its queues.
#[utoipa::path(
    get,
    path = "/v1/schedules",
    operation_id = "list_schedules",
    tag = "schedules",
    params(
        ("project" = Option<String>, Query, description = "Only those of this project"),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out. A page has 100 at most"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<ScheduleView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    let mut project = query.one::<ProjectId>("project");
    let mut page = query.page();
    query.finish()?;
    caller.narrow(&mut project, &mut None)?;
    page.limit = page.limit.min(MOST_LISTED);
    let mut found = app.store.schedules(ScheduleFilter { project }, page).await?;
    found.items.retain(|schedule| reaches(&caller, schedule));
    let now = app.now();
    ok(&wire::page(found, |schedule| ScheduleView::new(&schedule, now, USUAL_NEXT)))
}

/// The schedule that is meant, within the caller's bounds.
fn key_of(caller: &Caller, project: Option<ProjectId>, name: ScheduleName) -> Result<ScheduleKey, ApiError> {
    let project = project.or_else(|| caller.project().cloned()).unwrap_or_default();
    match caller.project() {
        Some(own) if *own != project => {
            // Whether another project has one of the name, nobody is told.
            Err(StoreError::ScheduleNotFound(ScheduleKey { project, name }).into())
        }
        _ => Ok(ScheduleKey { project, name }),
    }
}

fn reaches(caller: &Caller, schedule: &Schedule) -> bool {
    caller.covers(&schedule.plan.task.queue, &schedule.key.project)
}

async fn reached(app: &App, caller: &Caller, key: &ScheduleKey) -> Result<Schedule, ApiError> {
    let schedule = app.store.schedule(key).await?;
    if reaches(caller, &schedule) {
        Ok(schedule)
    } else {
        Err(StoreError::ScheduleNotFound(key.clone()).into())
    }
}

async fn act(
    app: &App,
    caller: &Caller,
    name: ScheduleName,
    change: ScheduleChange,
    request: ScheduleAction,
) -> ApiResult {
    let key = key_of(caller, request.project, name)?;
    reached(app, caller, &key).await?;
    let (_, schedule) = change_to(app, caller, key, change, request.by, request.reason).await?;
    ok(&ScheduleView::new(&schedule, app.now(), USUAL_NEXT))
}

/// Changes a schedule. Says whether there was none before, and gives what stands since; of one that is gone, what stood before.
async fn change_to(
    app: &App,
    caller: &Caller,
    key: ScheduleKey,
    change: ScheduleChange,
    by: Option<Label>,
    reason: Option<String>,
) -> Result<(bool, Schedule), ApiError> {
    let by = caller.asks(by, reason.as_deref());
    let said = Said { now: app.now(), by: by.clone(), reason: reason.clone() };
    let Changed { from, to } = app.store.set_schedule(SetSchedule { key: key.clone(), change, said }).await?;
    let (was, is) = (from.as_ref().map(in_words), to.as_ref().map(in_words));
    caller.has_changed(was.clone(), is.clone());
    let by = by.as_ref().map(tracing::field::display);
    tracing::info!(schedule = %key, by, reason, from = was, to = is, "schedule changed");
    let is_new = from.is_none();
    // Another has removed it meanwhile.
    let schedule = to.or(from).ok_or(StoreError::ScheduleNotFound(key))?;
    Ok((is_new, schedule))
}

/// What a schedule says, for the audit log.
fn in_words(schedule: &Schedule) -> String {
    let plan = &schedule.plan;
    let paused = if plan.paused { ", paused" } else { "" };
    format!("{}: {} in queue {}{paused}", plan.rhythm, plan.task.task_type, plan.task.queue)
}
