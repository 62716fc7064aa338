//! Archives finished tasks that are past their keeping, and removes them, beside the reaper: an archive that is slow or out of reach
//! holds up nothing else.

use std::time::Duration;

use baton_http::App;
use baton_model::Timestamp;
use baton_runtime::Shutdown;
use baton_store::{Archived, Archiver, ArchivingError, Past};
use tokio::time::Instant;

/// How many tasks a step archives at most: so many that the parts of a day are few.
const STEP: u32 = 4_096;

/// How often it is looked for more, in intervals of the reaper, once all is archived: each look that finds some makes a part of its own.
const SELDOM: u32 = 12;

/// How often parts of days that are over are gathered.
const GATHER_EVERY: Duration = Duration::from_secs(3_600);

/// For how long after a day's keeping is over more of it may come.
const LATE: Duration = Duration::from_secs(3_600);

/// Archives until `shutdown` begins. What cannot be archived is kept, and tried again. While the time is in doubt, only what
/// is removed by hand goes.
pub async fn run_archiver(app: App, archiver: Archiver, shutdown: Shutdown) {
    let (mut intervals, mut gathered) = (1, None::<Instant>);
    let mut settings = app.in_force.changes();
    loop {
        let looked = Instant::now();
        // A shorter interval need not wait for the end of a longer one.
        while let Some(left) = (app.reaper_interval() * intervals).checked_sub(looked.elapsed()) {
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                () = tokio::time::sleep(left) => break,
                Ok(()) = settings.changed() => {}
            }
        }
        let work = async {
            let archived = archive(&app, &archiver).await;
            if archived && gathered.is_none_or(|at| at.elapsed() >= GATHER_EVERY) {
                gathered = Some(Instant::now());
                gather(&app, &archiver).await;
            }
        };
        // What is cut off in between is written once more, and read once.
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = work => {}
        }
        intervals = SELDOM;
    }
}

/// Archives all that is past its keeping; says whether it could.
async fn archive(app: &App, archiver: &Archiver) -> bool {
    let (Archived { written, removed }, stopped) =
        archiver.archive(past(app), || app.now(), STEP, tokio::time::sleep).await;
    if removed > 0 {
        tracing::info!(archived = written, removed, "finished tasks were archived and removed");
    }
    match stopped {
        None => return true,
        Some(ArchivingError::Archive(error)) => tracing::error!(
            error = error.report(),
            "finished tasks cannot be archived; they are kept, and it is tried again"
        ),
        Some(ArchivingError::Store(error)) => tracing::warn!(
            error = error.report(),
            "the tasks to be archived could not be read or removed, and it is tried again"
        ),
    }
    false
}

/// Which tasks are past their keeping. While the time is in doubt, or if tasks are kept for ever, those are alone that are removed by
/// hand: they are dated to the beginning of all time.
fn past(app: &App) -> Past {
    let now = app.timekeeper.removes_at();
    let all = now.zip(app.retention().finished).map(|(now, keep)| now.minus(keep));
    Past { all: all.unwrap_or_default().max(Timestamp::from_millis(1)), own: now.unwrap_or_default() }
}

async fn gather(app: &App, archiver: &Archiver) {
    let Some(now) = app.timekeeper.removes_at() else { return };
    let keep = app.retention().finished.unwrap_or_default();
    match archiver.archive.gather(now.minus(keep).minus(LATE)).await {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "the archive's parts of days that are over were gathered"),
        Err(error) => tracing::error!(
            error = error.report(),
            "the archive's parts could not be gathered; they are read as they are, and it is tried again in an hour"
        ),
    }
}
