//! What is wrong: the facts, asked of the routes, and the findings of [`baton_verdict`], which `baton debug health` tells, too.

use baton_api::ProblemCode;
use baton_api::alert::{AlertView, AlertsView};
use baton_api::fleet::{QueueView, StatsView, WorkerView};
use baton_api::health::{ReadinessView, StoreView};
use baton_api::limit::LimitView;
use baton_api::schedule::ScheduleView;
use baton_api::task::{Page, TaskView};
use baton_api::token::TokenView;
use baton_api::why::WhyView;
use baton_http::ApiError;
use baton_model::Timestamp;
use baton_verdict::{Facts, Finding, Late, NAMED, PATIENCE, Weight, at_limit, failures_from, findings, late};

use crate::visit::Visit;
use crate::words::{LINES, plain};

/// How many workers and schedules are looked at.
const LISTED: &str = "1000";
/// How many hours back failures are told of.
const HOURS: u32 = 1;

/// Something that is wrong, with where to look and what to do.
pub(crate) struct Wrong {
    /// `bad` or `odd`.
    pub(crate) weight: &'static str,
    pub(crate) text: String,
    pub(crate) href: Option<&'static str>,
    pub(crate) next: Option<String>,
}

impl From<Finding> for Wrong {
    fn from(finding: Finding) -> Self {
        let href = match finding.what {
            "no_worker" | "at_limit" | "only_alone" | "behind" | "waiting" | "paused" => Some("/ui/queues"),
            "worker_lost" | "worker_contested" | "reaper" | "cannot_start" => Some("/ui/workers"),
            "too_many_requests" => Some("/ui/tokens"),
            "failures" => Some("/ui/tasks?status=failed"),
            "schedule_missed" => Some("/ui/schedules"),
            "alert" | "webhook" => Some("/ui/alerts"),
            _ => None,
        };
        Self {
            weight: match finding.weight {
                Weight::Error => "bad",
                Weight::Warning => "odd",
            },
            text: plain(&finding.message, LINES),
            href,
            next: Some(plain(&finding.next, LINES)),
        }
    }
}

/// What the store can do. A server that cannot work says so by a problem that holds it.
pub(crate) async fn store(visit: &Visit) -> Result<(StoreView, Option<String>), ApiError> {
    match visit.get::<ReadinessView>(&["readyz"], &[]).await {
        Ok(ready) => Ok((ready.store, Some(ready.version))),
        Err(error) => match error.problem().store.clone() {
            Some(store) => Ok((*store, None)),
            None => Err(error),
        },
    }
}

/// What is wrong, of a caller who may see everything.
pub(crate) async fn wrong(
    visit: &Visit,
    store: &StoreView,
    stats: &StatsView,
) -> Result<Vec<Wrong>, ApiError> {
    let limit = [("limit", LISTED)];
    let workers: Page<WorkerView> = visit.get(&["v1", "workers"], &limit).await?;
    let schedules: Page<ScheduleView> = visit.get(&["v1", "schedules"], &limit).await?;
    let from = failures_from(stats.at, HOURS);
    let tokens: Option<Page<TokenView>> =
        visit.get_if_allowed("list_tokens", &["v1", "tokens"], &limit).await?;
    let waiting = waiting(visit, stats).await?;
    let limits: Option<Page<LimitView>> = match at_limit(&waiting) {
        true => visit.get_if_allowed("list_limits", &["v1", "limits"], &limit).await?,
        false => None,
    };
    let facts = Facts {
        store: store.clone(),
        stats: stats.clone(),
        // It is the very clock of the server.
        asked: (stats.at, stats.at),
        workers: workers.items,
        waiting,
        patience: PATIENCE,
        from,
        failed: failed(visit, from).await?,
        limits: limits.map(|page| page.items).unwrap_or_default(),
        schedules: schedules.items,
        alerts: alerts(visit).await?,
        reaper: visit.get_if_allowed("show_reaper", &["v1", "reaper"], &[]).await?,
        tokens: tokens.map(|page| page.items).unwrap_or_default(),
    };
    Ok(findings(&facts).into_iter().map(Wrong::from).collect())
}

/// The tasks that have failed since, of the newest failed ones.
async fn failed(visit: &Visit, from: Timestamp) -> Result<Vec<TaskView>, ApiError> {
    let (mut failed, mut cursor) = (Vec::new(), None::<String>);
    while failed.len() < NAMED as usize {
        let most = (NAMED as usize - failed.len()).to_string();
        let of = [("status", "failed"), ("limit", most.as_str())];
        let behind = cursor.as_deref().map(|cursor| ("cursor", cursor));
        let query: Vec<_> = of.into_iter().chain(behind).collect();
        let page: Page<TaskView> = visit.get(&["v1", "tasks"], &query).await?;
        failed.extend(page.items);
        // A page may be short, as of large tasks, while there is a next one.
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    failed.retain(|task| task.finished_at.unwrap_or(task.updated_at) >= from);
    Ok(failed)
}

/// The rules of alerts; none of a store that keeps none, or of functions that look after none.
async fn alerts(visit: &Visit) -> Result<Vec<AlertView>, ApiError> {
    match visit.get::<AlertsView>(&["v1", "alerts"], &[]).await {
        Ok(alerts) => Ok(alerts.items),
        Err(error) if matches!(error.code(), ProblemCode::NotSupported | ProblemCode::RouteNotFound) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// The queues whose ready tasks wait for longest, each with the reasons of one of its oldest.
async fn waiting(visit: &Visit, stats: &StatsView) -> Result<Vec<(QueueView, WhyView)>, ApiError> {
    let mut told = Vec::new();
    for Late { queue, created_before } in late(stats, PATIENCE) {
        let Some(task) = oldest(visit, queue, created_before).await? else { continue };
        match visit.get::<WhyView>(&["v1", "tasks", &task.id.to_string(), "why"], &[]).await {
            Ok(why) if why.waits => told.push((queue.clone(), why)),
            // It was taken meanwhile, or is gone.
            Ok(_) => {}
            Err(error) if error.problem().status == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

/// A ready task of a queue: one of the oldest, if it can be told by when it was created.
async fn oldest(
    visit: &Visit,
    queue: &QueueView,
    created_before: Timestamp,
) -> Result<Option<TaskView>, ApiError> {
    let before = created_before.to_string();
    let of_queue = [("status", "queued"), ("queue", queue.name.as_str()), ("limit", "1")];
    let old = [&of_queue[..], &[("created_before", before.as_str())]].concat();
    for query in [&old[..], &of_queue] {
        let page: Page<TaskView> = visit.get(&["v1", "tasks"], query).await?;
        if let Some(task) = page.items.into_iter().next() {
            return Ok(Some(task));
        }
    }
    Ok(None)
}
