//! Removes files that nobody can want any more: those that belong to no task a day after they came, and those of tasks that are gone.

use std::time::Duration;

use baton_files::{Files, Swept};
use baton_http::App;
use baton_model::Timestamp;
use baton_runtime::Shutdown;

use crate::orphans::{self, KEPT, Stopped};

/// How often it is looked for such files.
const EVERY: Duration = Duration::from_secs(3_600);

/// How many files are looked at at once.
const PAGE: usize = 256;

/// Sweeps every hour until `shutdown` begins. Nothing is removed while the time is in doubt, as by the reaper's rounds.
pub async fn run_sweep(app: App, shutdown: Shutdown) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = sweep_and_tell(&app) => {}
        }
    }
}

async fn sweep_and_tell(app: &App) {
    let (Some(files), Some(now)) = (&app.files, app.timekeeper.removes_at()) else { return };
    match sweep(app, &**files, now).await {
        Ok(Swept { files: 0, nameless: 0 }) => {}
        Ok(Swept { files, nameless }) => {
            tracing::info!(files, nameless, "files were removed that belong to no task")
        }
        Err(Stopped::Files(error)) => tracing::error!(
            error = baton_model::with_causes(&error),
            "files that belong to no task could not be removed; it is tried again in an hour"
        ),
        Err(Stopped::Store(error)) => tracing::warn!(
            error = error.report(),
            "the tasks of files could not be looked up; it is tried again in an hour"
        ),
    }
}

/// Removes what came [`KEPT`] ago or earlier, belongs to nobody, and is not to be kept in any case.
async fn sweep(app: &App, files: &dyn Files, now: Timestamp) -> Result<Swept, Stopped> {
    let before = now.minus(KEPT);
    let (mut swept, mut after) = (Swept::default(), None);
    loop {
        let (old, next) = files.older(before, after, PAGE).await.map_err(Stopped::Files)?;
        swept.files += orphans::remove(app, files, &old, now).await?;
        after = next;
        if after.is_none() {
            swept.nameless = files.sweep_nameless(before).await.map_err(Stopped::Files)?;
            return Ok(swept);
        }
    }
}
