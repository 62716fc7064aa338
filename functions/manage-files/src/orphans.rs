//! Which files nobody can want any more.

use std::collections::HashSet;
use std::time::Duration;

use baton_files::{FileError, Files, StoredFile};
use baton_http::App;
use baton_model::{TaskId, Timestamp};
use baton_store::StoreError;

/// How long a file stays that belongs to no task, or to one that is not there: it may be created yet, or a completion may name the file.
pub(crate) const KEPT: Duration = Duration::from_secs(86_400);

/// Why files could not be removed.
#[derive(Debug)]
pub(crate) enum Stopped {
    Files(FileError),
    Store(StoreError),
}

/// Removes those of these files, which came [`KEPT`] ago or earlier, that belong to no task that is there and are not to be kept in any
/// case. Says how many there were.
pub(crate) async fn remove(
    app: &App,
    files: &dyn Files,
    old: &[StoredFile],
    now: Timestamp,
) -> Result<u64, Stopped> {
    let tasks: HashSet<TaskId> = old.iter().filter_map(|file| file.task).collect();
    let there = app.store.linked(tasks.into_iter().collect()).await.map_err(Stopped::Store)?;
    let there: HashSet<TaskId> = there.iter().map(|linked| linked.id).collect();
    let is_kept = |file: &StoredFile| {
        file.kept_until.is_some_and(|until| now < until)
            || file.task.is_some_and(|task| there.contains(&task))
    };
    let mut removed = 0;
    for file in old.iter().filter(|file| !is_kept(file)) {
        // It may have been put anew, or a completion may name it, since it was looked at.
        if files.remove_unchanged(file).await.map_err(Stopped::Files)? {
            removed += 1;
        }
    }
    Ok(removed)
}
