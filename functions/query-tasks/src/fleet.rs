//! Workers, queues, statistics and log lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use baton_api::ProblemCode;
use baton_api::fleet::{
    CountView, HourView, LogView, OtherCountsView, OtherQueuesView, QueueView, StatsView, WorkerCountsView,
    WorkerView,
};
use baton_api::supervised::SupervisedView;
use baton_api::task::Page;
use baton_http::{ApiError, ApiResult, App, Caller, PathId, QueryFields, list, ok, wire};
use baton_model::{QueueName, State as TaskState, TaskId, TaskType, WorkerId};
use baton_store::{HourCounts, LogFilter, Stats, StoreError};

/// List workers
///
/// By name.
#[utoipa::path(
    get,
    path = "/v1/workers",
    tag = "workers",
    params(
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
        ("lately" = Option<String>, Query, description = "With whatever value: tells `lately` of each, too"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<WorkerView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list_workers(
    State(app): State<App>,
    caller: Caller,
    mut query: QueryFields,
) -> ApiResult {
    caller.reach_everything()?;
    let page = query.page();
    let lately = query.text("lately").is_some();
    query.finish()?;
    let now = app.now();
    let page = app.store.workers(page).await?;
    let supervised = supervised(&app).await;
    ok(&wire::page(page, |detail| {
        let told = supervised.get(&detail.worker.id);
        let view = wire::worker_view(detail, told, &app.leases, now);
        WorkerView { lately: lately.then(|| app.courses.of(&view.id)).flatten(), ..view }
    }))
}

/// Show a worker
///
/// A token that is bound is shown the workers whose names it may use: those of its project, else of its queues.
#[utoipa::path(
    get,
    path = "/v1/workers/{worker}",
    tag = "workers",
    params(
        ("worker" = String, Path, description = "The worker"),
        ("lately" = Option<String>, Query, description = "With whatever value: tells `lately`, too"),
    ),
    responses(
        (status = 200, description = "The worker", body = WorkerView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get_worker(
    State(app): State<App>,
    caller: Caller,
    PathId(worker): PathId<WorkerId>,
    mut query: QueryFields,
) -> ApiResult {
    let lately = query.text("lately").is_some();
    query.finish()?;
    let mut detail = app.store.worker(&worker).await?;
    if caller.is_bound() {
        if !caller.owner().may_use(detail.worker.owner.as_ref()) {
            return Err(StoreError::WorkerNotFound(worker).into());
        }
        detail.leases = leases_seen(&app, &caller, detail.leases).await?;
    }
    let supervised = supervised(&app).await;
    let told = supervised.get(&worker);
    let view = wire::worker_view(detail, told, &app.leases, app.now());
    ok(&WorkerView { lately: lately.then(|| app.courses.of(&worker)).flatten(), ..view })
}

/// What the supervisor beside the server tells of its workers.
async fn supervised(app: &App) -> BTreeMap<WorkerId, SupervisedView> {
    let Some(fleet) = &app.fleet else { return BTreeMap::new() };
    let workers = fleet.groups().await.into_iter().flat_map(|group| group.workers);
    workers.map(|worker| (worker.id.clone(), worker)).collect()
}

/// The leases on tasks that the caller sees.
async fn leases_seen(
    app: &App,
    caller: &Caller,
    leases: Vec<(TaskId, u32)>,
) -> Result<Vec<(TaskId, u32)>, ApiError> {
    let mut seen = Vec::with_capacity(leases.len());
    for (task, attempt) in leases {
        match caller.reach(&*app.store, task).await {
            Ok(()) => seen.push((task, attempt)),
            Err(error) if error.code() == ProblemCode::TaskNotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(seen)
}

/// List queues
///
/// By name.
#[utoipa::path(
    get,
    path = "/v1/queues",
    tag = "queues",
    params(
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<QueueView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list_queues(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    caller.reach_whole_queues()?;
    let page = query.page();
    query.finish()?;
    let mut page = app.store.queues(app.now(), page).await?;
    page.items.retain(|stats| caller.covers_queue(&stats.queue));
    ok(&wire::page(page, wire::queue_view))
}

/// Show a queue
#[utoipa::path(
    get,
    path = "/v1/queues/{queue}",
    tag = "queues",
    params(("queue" = String, Path, description = "The queue")),
    responses(
        (status = 200, description = "The queue", body = QueueView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get_queue(
    State(app): State<App>,
    caller: Caller,
    PathId(queue): PathId<QueueName>,
    query: QueryFields,
) -> ApiResult {
    caller.reach_queue(&queue)?;
    query.finish()?;
    ok(&wire::queue_view(app.store.queue(&queue, app.now()).await?))
}

/// Show statistics
///
/// Counts, ages and percentiles over everything. The lists are bounded; what they leave out is told as a count and a sum.
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "operations",
    params(("minutes" = Option<String>, Query, description = "With whatever value: tells `minutes`, too")),
    responses(
        (status = 200, description = "The statistics", body = StatsView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get_stats(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    caller.reach_everything()?;
    let minutes = query.text("minutes").is_some();
    query.finish()?;
    let now = app.now();
    let view = stats_view(app.store.stats(now).await?);
    ok(&StatsView { minutes: minutes.then(|| app.minutes.until(now)).flatten(), ..view })
}

/// What tasks of a state do. Whether one that waits is `queued`, `created` or `retry` is a matter of the clock, which counts
/// by state do not follow; so they have a word of their own and not the name of one of the three.
const fn told(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "waiting",
        other => other.as_str(),
    }
}

fn states_view(states: &BTreeMap<TaskState, u64>) -> BTreeMap<String, u64> {
    let count = |state: &TaskState| states.get(state).copied().unwrap_or_default();
    TaskState::ALL.iter().map(|state| (told(*state).to_owned(), count(state))).collect()
}

fn hour_view(hour: HourCounts) -> HourView {
    HourView { from: hour.from, claimed: hour.claims, completed: hour.completions, failed: hour.failures }
}

fn stats_view(stats: Stats) -> StatsView {
    let (other_rows, other_tasks) = stats.other_counts;
    let counts = stats.counts.into_iter().map(|count| CountView {
        queue: count.queue,
        beyond: count.task_type.is_none().then_some(Stats::TYPES as u32),
        task_type: count.task_type.unwrap_or_else(|| TaskType::from_stored("other")),
        state: told(count.state).to_owned(),
        tasks: count.tasks,
    });
    StatsView {
        at: stats.at,
        counted_at: stats.counted_at,
        states: states_view(&stats.states),
        counts: counts.collect(),
        other_counts: (other_rows > 0).then_some(OtherCountsView { rows: other_rows, tasks: other_tasks }),
        queues: stats.queues.into_iter().map(wire::queue_view).collect(),
        other_queues: (stats.other_queues > 0).then(|| OtherQueuesView {
            queues: stats.other_queues,
            states: states_view(&stats.other_states),
        }),
        workers: WorkerCountsView {
            alive: stats.workers.alive,
            busy: stats.workers.busy,
            idle: stats.workers.alive.saturating_sub(stats.workers.busy),
            silent: stats.workers.silent,
            lost: stats.workers.lost,
            gone: stats.workers.gone,
        },
        hours: stats.hours.into_iter().map(hour_view).collect(),
        minutes: None,
    }
}

/// List log lines
///
/// Those that workers sent with their heartbeats, the latest received first.
#[utoipa::path(
    get,
    path = "/v1/logs",
    tag = "operations",
    params(
        ("task_id" = Option<String>, Query, description = "About this task"),
        ("worker" = Option<String>, Query, description = "From this worker"),
        ("level" = Option<String>, Query, description = "At least this grave: debug, info, warn or error"),
        ("from" = Option<String>, Query, description = "Received at this time (RFC 3339) or later"),
        ("before" = Option<String>, Query, description = "Received before this time (RFC 3339)"),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 50 if left out"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<LogView>),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list_logs(State(app): State<App>, caller: Caller, mut query: QueryFields) -> ApiResult {
    caller.reach_everything()?;
    let mut filter = LogFilter {
        task: query.one("task_id"),
        worker: query.one("worker"),
        level: query.one("level"),
        from: query.one("from"),
        before: query.one("before"),
    };
    if app.store.capabilities().removes_by_itself {
        // What is past its keeping may lie there for days.
        filter.from = filter.from.max(Some(app.now().minus(app.retention().logs)));
    }
    let page = query.page();
    query.finish()?;
    let in_parts = app.store.capabilities().lists_in_parts;
    let read = move |page| {
        let (store, filter) = (Arc::clone(&app.store), filter.clone());
        async move { store.logs(filter, page).await }
    };
    list(page, in_parts, read, |line| Some(LogView::from(line))).await
}
