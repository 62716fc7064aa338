//! Archives finished tasks that are past their keeping, and removes them, beside the reaper: an archive that is slow or out of reach
//! holds up nothing else.

use std::time::Duration;

use baton_http::App;
use baton_model::Timestamp;
use baton_runtime::Shutdown;
use baton_store::{Archived, Archiver, ArchivingError};
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
pub async fn run_archiver(app: App, archiver: Archiver, interval: Duration, shutdown: Shutdown) {
    let (mut pause, mut gathered) = (interval, None::<Instant>);
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(pause) => {}
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
        pause = interval * SELDOM;
    }
}

/// Archives all that is past its keeping; says whether it could.
async fn archive(app: &App, archiver: &Archiver) -> bool {
    let mut all = Archived::default();
    let done = loop {
        match archiver.step(before(app), app.now(), STEP, tokio::time::sleep).await {
            // All of these have come to be needed since they were read: they are looked at again later.
            Ok(Archived { removed: 0, .. }) => break Ok(()),
            Ok(Archived { written, removed }) => {
                all = Archived { written: all.written + written, removed: all.removed + removed };
            }
            Err(error) => break Err(error),
        }
    };
    if all.removed > 0 {
        tracing::info!(
            archived = all.written,
            removed = all.removed,
            "finished tasks were archived and removed"
        );
    }
    match done {
        Ok(()) => return true,
        Err(ArchivingError::Archive(error)) => tracing::error!(
            error = error.report(),
            "finished tasks cannot be archived; they are kept, and it is tried again"
        ),
        Err(ArchivingError::Store(error)) => tracing::warn!(
            error = error.report(),
            "the tasks to be archived could not be read or removed, and it is tried again"
        ),
    }
    false
}

/// Before when tasks are past their keeping. While the time is in doubt, or if they are kept for ever, that is the beginning of all time, to
/// which those are dated that are removed by hand.
fn before(app: &App) -> Timestamp {
    let now = app.timekeeper.removes_at();
    let before = now.zip(app.retention.finished).map(|(now, keep)| now.minus(keep));
    before.unwrap_or_default().max(Timestamp::from_millis(1))
}

async fn gather(app: &App, archiver: &Archiver) {
    let Some(now) = app.timekeeper.removes_at() else { return };
    let keep = app.retention.finished.unwrap_or_default();
    match archiver.archive.gather(now.minus(keep).minus(LATE)).await {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "the archive's parts of days that are over were gathered"),
        Err(error) => tracing::error!(
            error = error.report(),
            "the archive's parts could not be gathered; they are read as they are, and it is tried again in an hour"
        ),
    }
}
