//! Archives finished tasks that are past their keeping, and removes them: beside the reaper in a server, and with what its rounds leave of
//! their time on AWS (`archive_rounds.rs`). An archive that is slow or out of reach holds up nothing else.

use std::time::Duration;

use baton_http::App;
use baton_model::Timestamp;
use baton_runtime::Shutdown;
use baton_store::{Archived, Archiver, ArchivingError, Hold, Past};
use tokio::time::{Instant, timeout_at};

/// How many tasks a step archives at most: so many that the parts of a day are few.
const STEP: u32 = 4_096;

/// How often it is looked for more, in intervals of the reaper, once all is archived: each look that finds some makes a part of its own.
const SELDOM: u32 = 12;

/// How often parts of days that are over are gathered.
pub(crate) const GATHER_EVERY: Duration = Duration::from_secs(3_600);

/// By which name the gathering is held.
const GATHERING: &str = "archive";

/// How long is gathered at most before it begins anew: a day that is gathered stays so.
const GATHERS_FOR: Duration = Duration::from_secs(3_600);

/// For how long a process holds the gathering: longer than any round, and than it gathers. All ask for as long, as a hold that lies much
/// further ahead than what is asked for is one of a clock that was wrong.
const HELD: Duration = Duration::from_secs(3_600 + 300);

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
                gather(&app, &archiver, None, None).await;
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
    tell(written, removed);
    match stopped {
        None => true,
        Some(error) => {
            tell_stopped(&error);
            false
        }
    }
}

/// Tells the log what was archived.
pub(crate) fn tell(archived: u64, removed: u64) {
    if removed > 0 {
        tracing::info!(archived, removed, "finished tasks were archived and removed");
    }
}

/// Tells the log why archiving has stopped.
pub(crate) fn tell_stopped(error: &ArchivingError) {
    match error {
        ArchivingError::Archive(error) => tracing::error!(
            error = error.report(),
            "finished tasks cannot be archived; they are kept, and it is tried again"
        ),
        ArchivingError::Store(error) => tracing::warn!(
            error = error.report(),
            "the tasks to be archived could not be read or removed, and it is tried again"
        ),
    }
}

/// Which tasks are past their keeping. While the time is in doubt, or if tasks are kept for ever, those are alone that are removed by
/// hand: they are dated to the beginning of all time.
pub(crate) fn past(app: &App) -> Past {
    let now = app.timekeeper.removes_at();
    let all = now.zip(app.retention().finished).map(|(now, keep)| now.minus(keep));
    Past { all: all.unwrap_or_default().max(Timestamp::from_millis(1)), own: now.unwrap_or_default() }
}

/// What came of a wish to gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gathered {
    /// All that may be is gathered.
    Whole,
    /// Another process gathers.
    Elsewhere,
    /// Some of it could not be.
    Failed,
}

/// Gathers parts of days that are over, if no more bytes than `most` are a day's, until `end` at most, which a round has. Of all processes on
/// the store one does at a time, as each removes what it has copied: a folder of several servers needs that, and in a bucket a late one is
/// refused besides (`shared/archive`).
pub(crate) async fn gather(
    app: &App,
    archiver: &Archiver,
    most: Option<u64>,
    end: Option<Instant>,
) -> Gathered {
    let until = end.unwrap_or_else(|| Instant::now() + GATHERS_FOR);
    let (holder, now) = (app.ids.uuid().to_string(), app.now());
    match app.store.hold(GATHERING, &holder, now, now.plus(HELD)).await {
        Ok(Hold::Begun | Hold::Continued) => {}
        Ok(Hold::Others) => {
            tracing::debug!("another process gathers the archive's parts");
            return Gathered::Elsewhere;
        }
        Err(error) => {
            tracing::warn!(
                error = error.report(),
                "it is not known which process gathers the archive's parts; they are read as they are"
            );
            return Gathered::Failed;
        }
    }
    let done = timeout_at(until, gather_alone(app, archiver, most)).await;
    if done.is_err() {
        tracing::warn!(
            "the archive's parts could not be gathered in time; they are read as they are, and it is tried again"
        );
        if end.is_none() {
            // In a folder, the last write of what was cut off may come after this: nobody else gathers until the hold is over.
            return Gathered::Failed;
        }
    }
    if let Err(error) = app.store.end_hold(GATHERING, &holder).await {
        tracing::warn!(
            error = error.report(),
            "the archive's parts are gathered again only in a while, as this process could not end its turn"
        );
    }
    done.unwrap_or(Gathered::Failed)
}

async fn gather_alone(app: &App, archiver: &Archiver, most: Option<u64>) -> Gathered {
    // While the time is in doubt, nobody knows which days are over.
    let Some(now) = app.timekeeper.removes_at() else { return Gathered::Whole };
    let keep = app.retention().finished.unwrap_or_default();
    match archiver.archive.gather(now.minus(keep).minus(LATE), most).await {
        Ok(files) => {
            if files > 0 {
                tracing::info!(files, "the archive's parts of days that are over were gathered");
            }
            Gathered::Whole
        }
        Err(error) => {
            tracing::error!(
                error = error.report(),
                "the archive's parts could not be gathered; they are read as they are, and it is tried again"
            );
            Gathered::Failed
        }
    }
}
