//! Has happen what schedules say is due: in each round on AWS, and at its time in a server.

use std::time::Duration;

use baton_http::App;
use baton_model::{ScheduleKey, Timestamp};
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
        let report = run_due(&*app.store, now, || Instant::now() >= deadline, tell).await?;
        all.created += report.created;
        all.skipped += report.skipped;
        all.missed += report.missed;
        all.failed = report.failed;
        all.more = report.more;
        if !report.more || report.failed > 0 || Instant::now() >= deadline {
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
    loop {
        let pause = match until_next(&app).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(error = error.report(), "what is due by schedules could not be seen");
                LOOK_EVERY
            }
        };
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let now = app.now();
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            ran = run(&app, now, Instant::now() + LOOK_EVERY) => if let Err(error) = ran {
                tracing::warn!(error = error.report(), "schedules could not be run and will be tried again");
            }
        }
    }
}

/// How long until a schedule is due, as far as is known now.
async fn until_next(app: &App) -> Result<Duration, StoreError> {
    let now = app.now();
    let soon = now.plus(LOOK_EVERY);
    let page = app.store.due_schedules(soon, PageRequest::first(1)).await?;
    let next = page.items.first().and_then(|schedule| schedule.due_at());
    Ok(next.map_or(LOOK_EVERY, |at| at.since(now)).max(LEAST))
}
