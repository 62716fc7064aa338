//! Has happen what schedules say is due: in each round on AWS, and at its time in a server.

use std::time::Duration;

use baton_http::App;
use baton_model::{Schedule, ScheduleKey, Timestamp};
use baton_runtime::Shutdown;
use baton_store::{PageRequest, RunReport, StoreError, run_due};
use tokio::time::Instant;

/// How long a server waits before it looks again what is due, if it knows of nothing: another may have set a schedule.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How short it waits at least.
const LEAST: Duration = Duration::from_millis(20);

/// Has all happen that is due at `now`, until `deadline`.
///
/// # Errors
/// What the store fails with when it is asked what is due.
pub(crate) async fn run(app: &App, now: Timestamp, deadline: Instant) -> Result<RunReport, StoreError> {
    let mut all = RunReport::default();
    loop {
        all = all.and_then(run_due(&*app.store, now, || Instant::now() >= deadline, tell).await?);
        if !all.more || all.failed > 0 || Instant::now() >= deadline {
            log(&all);
            return Ok(all);
        }
    }
}

fn tell(key: &ScheduleKey, error: &StoreError) {
    tracing::warn!(schedule = %key, error = error.report(), "a schedule could not be moved on and will be tried again");
}

fn log(report: &RunReport) {
    if report.created + report.skipped + report.missed > 0 {
        tracing::info!(
            created = report.created,
            skipped = report.skipped,
            missed = report.missed,
            "schedules were due"
        );
    }
    if report.missed > 0 {
        tracing::warn!(schedules = report.missed, "schedules missed times, which nothing makes up for");
    }
}

/// Creates tasks at the times that schedules name, until `shutdown` begins. Any number of servers may do so.
pub async fn run_schedules(app: App, shutdown: Shutdown) {
    let mut pause = LEAST;
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = tokio::select! {
            biased;
            () = shutdown.wait() => return,
            pause = run_and_look(&app) => pause.unwrap_or_else(|error| {
                tracing::warn!(error = error.report(), "schedules could not be run and will be tried again");
                LOOK_EVERY
            }),
        };
    }
}

/// Has happen what is due now, and says how long until something is due again, as far as is known.
async fn run_and_look(app: &App) -> Result<Duration, StoreError> {
    let ran = run(app, app.now(), Instant::now() + LOOK_EVERY).await?;
    // What could not be moved on is still due: it is not to be tried all the time.
    if ran.failed > 0 {
        return Ok(LOOK_EVERY);
    }
    let now = app.now();
    let page = app.store.due_schedules(now.plus(LOOK_EVERY), PageRequest::first(1)).await?;
    let next = page.items.first().and_then(Schedule::due_at);
    Ok(next.map_or(LOOK_EVERY, |at| at.since(now)).max(LEAST))
}
