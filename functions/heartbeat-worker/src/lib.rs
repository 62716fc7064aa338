//! Hears from workers what they run and how they fare, and tells them what is no longer theirs and what is asked of
//! them.

use std::collections::HashMap;

use axum::extract::State;
use baton_api::ProblemCode;
use baton_api::heartbeat::{HeartbeatRequest, LogFields};
use baton_api::heartbeat::{HeartbeatView, LostView};
use baton_http::{ApiError, ApiResult, App, Caller, JsonBody, PathId, ok, routes};
use baton_model::{Level, LogLine, Running, TaskId, Timestamp, WorkerId};
use baton_store::{Beat, LeaseProblem, LostLease, Store};
use utoipa_axum::router::OpenApiRouter;

/// The function's routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(heartbeat))
}

/// Beat
///
/// Keeps the worker's leases alive. `running` lists all that it runs: what is missing there is taken back as forgotten.
/// The answer names the listed attempts that are no longer the worker's, and what an operator asks of it.
#[utoipa::path(
    post,
    path = "/v1/workers/{worker}/heartbeat",
    tag = "workers",
    params(("worker" = String, Path, description = "The worker")),
    request_body = HeartbeatRequest,
    responses(
        (status = 200, description = "What the worker is to know", body = HeartbeatView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
async fn heartbeat(
    State(app): State<App>,
    caller: Caller,
    PathId(worker): PathId<WorkerId>,
    JsonBody(request): JsonBody<HeartbeatRequest>,
) -> ApiResult {
    ok(&beat(&app, &caller, worker, request).await?)
}

/// Hears a worker's heartbeat, as the route does.
///
/// # Errors
/// Those of the route.
pub async fn beat(
    app: &App,
    caller: &Caller,
    worker: WorkerId,
    request: HeartbeatRequest,
) -> Result<HeartbeatView, ApiError> {
    let now = app.now();
    let running = request.running.map(|running| {
        let said = running.into_iter().map(|said| Running {
            task: said.task_id,
            attempt: said.attempt,
            progress: said.progress,
            message: said.message,
        });
        said.collect()
    });
    let lines = request.logs.into_iter().map(|line| log_line(line, &worker, now)).collect();
    let owner = caller.owner();
    let shipment = app.log_shares.take(&worker, &owner, lines, request.ending, now);
    let (logs, logs_dropped, counted) = shipment.parts();
    let logs = match about_tasks_seen(caller, &*app.store, logs).await {
        Ok(logs) => logs,
        Err(error) => {
            app.log_shares.refused(counted);
            return Err(error);
        }
    };
    let beat = Beat {
        now,
        session: request.session_id,
        caller: owner,
        running,
        capacity: request.capacity,
        readings: request.readings,
        labels: request.labels,
        ending: request.ending,
        logs,
        worker,
    };
    let (told, readings) = (beat.worker.clone(), beat.readings.clone());
    let ends = beat.ending.then(|| beat.worker.clone());
    let answer = match app.store.heartbeat(beat).await {
        Ok(answer) => answer,
        Err(error) => {
            app.log_shares.refused(counted);
            return Err(error.into());
        }
    };
    app.log_shares.heard(&counted, answer.shipped);
    app.courses.hear(&told, now, &readings);
    if let Some(worker) = ends {
        tracing::info!(worker_id = %worker, "worker ends");
    }
    let mut lost = Vec::with_capacity(answer.lost.len());
    for LostLease { task, attempt, problem } in answer.lost {
        let problem = as_seen_by(caller, &*app.store, task, problem).await?;
        lost.push(LostView { task_id: task, attempt, reason: reason(problem).to_owned() });
    }
    Ok(HeartbeatView {
        lost,
        directive: answer.directive,
        beat_every_seconds: app.leases.heartbeat_interval.as_secs_f64(),
        result_bytes: app.limits().result_bytes,
        logs_dropped,
    })
}

/// What a caller is told of a listed attempt: a task beyond its bounds is unknown to it.
async fn as_seen_by(
    caller: &Caller,
    store: &dyn Store,
    task: TaskId,
    problem: LeaseProblem,
) -> Result<LeaseProblem, ApiError> {
    if problem == LeaseProblem::Unknown {
        return Ok(problem);
    }
    match caller.reach(store, task).await {
        Ok(()) => Ok(problem),
        Err(error) if error.code() == ProblemCode::TaskNotFound => Ok(LeaseProblem::Unknown),
        Err(error) => Err(error),
    }
}

/// The lines, each of which names a task only if the caller sees that one: the log of a task is no place for the words of
/// who only knows its id. Such a line stays the worker's own, as a beat is not to fail for it.
async fn about_tasks_seen(
    caller: &Caller,
    store: &dyn Store,
    mut lines: Vec<LogLine>,
) -> Result<Vec<LogLine>, ApiError> {
    if !caller.is_bound() {
        return Ok(lines);
    }
    let mut seen = HashMap::new();
    for line in &mut lines {
        let Some(task) = line.task else { continue };
        let sees = match seen.get(&task) {
            Some(sees) => *sees,
            None => match caller.reach(store, task).await {
                Ok(()) => true,
                Err(error) if error.code() == ProblemCode::TaskNotFound => false,
                Err(error) => return Err(error),
            },
        };
        seen.insert(task, sees);
        line.task = line.task.filter(|_| sees);
    }
    Ok(lines)
}

fn log_line(line: LogFields, worker: &WorkerId, now: Timestamp) -> LogLine {
    LogLine {
        at: line.at.unwrap_or(now),
        received_at: now,
        worker: worker.clone(),
        task: line.task_id,
        level: line.level.unwrap_or(Level::Info),
        source: line.source.unwrap_or_else(|| "worker".to_owned()),
        message: line.message,
        metadata: line.metadata,
    }
}

fn reason(problem: LeaseProblem) -> &'static str {
    match problem {
        LeaseProblem::Cancelled => "cancelled",
        LeaseProblem::Ended(_) => "ended",
        LeaseProblem::Superseded => "superseded",
        LeaseProblem::NotHeld => "not_held",
        LeaseProblem::Unknown => "unknown_task",
    }
}
