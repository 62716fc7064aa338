//! Removes files that nobody can want any more: those that belong to no task a day after they came, and those of tasks that are gone.

use std::collections::HashSet;
use std::time::Duration;

use baton_files::{FileError, Files, StoredFile, Swept};
use baton_http::App;
use baton_model::{TaskId, Timestamp};
use baton_runtime::Shutdown;
use baton_store::StoreError;

/// How long a file stays that belongs to no task, or to one that is not there: it may be created yet, or a completion may name the file.
const KEPT: Duration = Duration::from_secs(86_400);

/// How often it is looked for such files.
const EVERY: Duration = Duration::from_secs(3_600);

/// How many files are looked at at once.
const PAGE: usize = 256;

/// Why a sweep stopped.
#[derive(Debug)]
enum Stopped {
    Files(FileError),
    Store(StoreError),
}

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
    match sweep(app, &**files, now.minus(KEPT)).await {
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

/// Removes what came before `before` and belongs to nobody.
async fn sweep(app: &App, files: &dyn Files, before: Timestamp) -> Result<Swept, Stopped> {
    let (mut swept, mut after) = (Swept::default(), None);
    loop {
        let (old, next) = files.older(before, after, PAGE).await.map_err(Stopped::Files)?;
        let tasks: HashSet<TaskId> = old.iter().filter_map(|file| file.task).collect();
        let there = app.store.linked(tasks.into_iter().collect()).await.map_err(Stopped::Store)?;
        let there: HashSet<TaskId> = there.iter().map(|linked| linked.id).collect();
        let is_kept = |file: &StoredFile| file.task.is_some_and(|task| there.contains(&task));
        for file in old.iter().filter(|file| !is_kept(file)) {
            // It may have been put anew, or a completion may name it, since it was looked at.
            if files.remove_unchanged(file).await.map_err(Stopped::Files)? {
                swept.files += 1;
            }
        }
        after = next;
        if after.is_none() {
            swept.nameless = files.sweep_nameless(before).await.map_err(Stopped::Files)?;
            return Ok(swept);
        }
    }
}
