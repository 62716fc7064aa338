//! Files that were put at addresses of the place where files lie, past this process: they are taken in by whoever looks for them, so that
//! what was put is there for whom it matters, as if it had come through the process.

use std::time::Instant;

use async_trait::async_trait;
use baton_files::{Arrived, Cause, FileError, FileName, Files, StoredFile, Wanted};
use baton_model::{State, TaskId};
use baton_store::StoreError;

use crate::app::App;

/// How many uploads of one name are looked at at once; more are met by the next look.
const OF_A_NAME: usize = 100;

/// How many uploads of all names one round looks at.
const OF_ALL: usize = 1_000;

/// Why it is not known whether a file is there.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The place where files lie says so.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The task that an upload was for cannot be looked up.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of uploads in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenIn {
    /// How many were taken in.
    pub files: u64,
    /// How many were not kept, as they are too large or the attempt that they were for is over, or were taken in by others meanwhile.
    pub refused: u64,
    /// Whether there may be more.
    pub more: bool,
}

/// The attempt of a task that files may be put for: that which runs, and 0 of one that nobody has begun. None of one that has ended, or whose
/// attempt was given up.
pub fn open_attempt(state: State, attempt: u32) -> Option<u32> {
    match (state, attempt) {
        (State::Running, attempt) => Some(attempt),
        (State::Queued | State::Blocked, 0) => Some(0),
        _ => None,
    }
}

/// What is kept of a file, after what has arrived under its name was taken in: for whoever has put it, or says that it is there.
///
/// # Errors
/// [`LookError`]; that of an upload which is not kept is told to whoever comes first.
pub async fn head(app: &App, files: &dyn Files, name: &FileName) -> Result<StoredFile, LookError> {
    match take_latest(app, files, name).await? {
        Latest { refused: Some(refused), .. } => Err(refused.into()),
        Latest { file: Some(file), .. } => Ok(file),
        Latest { file: None, refused: None } => Ok(files.head(name).await?),
    }
}

/// The same for whoever reads what stands, and knows of no upload: one that is not kept is no concern of his.
///
/// # Errors
/// [`LookError`].
pub async fn standing(app: &App, files: &dyn Files, name: &FileName) -> Result<StoredFile, LookError> {
    match take_latest(app, files, name).await?.file {
        Some(file) => Ok(file),
        None => Ok(files.head(name).await?),
    }
}

/// What became of all that has arrived under a name.
#[derive(Default)]
struct Latest {
    /// The latest that may be kept, and was taken in.
    file: Option<StoredFile>,
    /// Why a later one was not kept.
    refused: Option<FileError>,
}

/// Takes in the latest that has arrived under a name and may be kept.
async fn take_latest(app: &App, files: &dyn Files, name: &FileName) -> Result<Latest, LookError> {
    let mut latest = Latest::default();
    let mut arrived = files.arrived(Some(name), OF_A_NAME).await?;
    while let Some(newest) = arrived.pop() {
        if !is_open(app, &newest).await? {
            turned_away(files, &newest).await?;
            continue;
        }
        // One that is not kept takes the place of none.
        if let Err(error) = files.fits(&newest, app.file_bounds()).await {
            latest.refused.get_or_insert(refused(&newest, error)?);
            continue;
        }
        // Those before it go first: whoever takes one of them in meanwhile sees that another has its place.
        for older in arrived.drain(..) {
            files.turn_away(&older).await?;
        }
        match take_in(app, files, &newest).await {
            Ok(Some(file)) => {
                latest.file = Some(file);
                break;
            }
            Ok(None) => {}
            Err(LookError::Files(error)) => {
                latest.refused.get_or_insert(refused(&newest, error)?);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(latest)
}

/// Why an upload is not kept, which is logged; any other error is handed on.
fn refused(arrived: &Arrived, error: FileError) -> Result<FileError, LookError> {
    if !matches!(error, FileError::TooLarge { .. } | FileError::OverQuota { .. }) {
        return Err(error.into());
    }
    tracing::warn!(file = %arrived.upload.name, bytes = arrived.size, %error, "an upload was not kept");
    Ok(error)
}

/// Takes in what has arrived under any name, until then.
///
/// # Errors
/// If one could not be taken in, as the place or the store is out of reach; all were tried.
pub async fn round(app: &App, files: &dyn Files, until: Instant) -> Result<TakenIn, LookError> {
    let arrived = files.arrived(None, OF_ALL).await?;
    let mut taken = TakenIn { more: arrived.len() >= OF_ALL, ..TakenIn::default() };
    let mut names: Vec<FileName> = arrived.into_iter().map(|arrived| arrived.upload.name).collect();
    // They come in the order of their names.
    names.dedup();
    let mut failed = None;
    for name in names {
        if Instant::now() >= until {
            taken.more = true;
            break;
        }
        match take_latest(app, files, &name).await {
            Ok(latest) => {
                taken.files += u64::from(latest.file.is_some());
                taken.refused += u64::from(latest.file.is_none() || latest.refused.is_some());
            }
            // One that cannot be taken in is no reason for the others to wait.
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        None => Ok(taken),
        Some(error) => Err(error),
    }
}

async fn take_in(app: &App, files: &dyn Files, arrived: &Arrived) -> Result<Option<StoredFile>, LookError> {
    let id = app.ids.uuid().as_u128();
    let taken = files.take_in(arrived, id, app.file_bounds(), &OfAttempts(app)).await?;
    if let Some(file) = &taken {
        tracing::info!(file = %file.name, bytes = file.size, content_type = file.content_type, "file taken in");
    }
    Ok(taken)
}

/// Uploads are wanted while the attempt that they are for is under way.
struct OfAttempts<'a>(&'a App);

#[async_trait]
impl Wanted for OfAttempts<'_> {
    async fn is_wanted(&self, arrived: &Arrived) -> Result<bool, Cause> {
        Ok(is_open(self.0, arrived).await?)
    }
}

async fn turned_away(files: &dyn Files, arrived: &Arrived) -> Result<(), LookError> {
    tracing::warn!(file = %arrived.upload.name, bytes = arrived.size, "an upload was not kept, as the attempt that it was for has ended");
    Ok(files.turn_away(arrived).await?)
}

/// Whether what an upload was for goes on.
async fn is_open(app: &App, arrived: &Arrived) -> Result<bool, StoreError> {
    let Some((task, attempt)) = arrived.upload.attempt else { return Ok(true) };
    is_under_way(app, task, attempt).await
}

/// Whether files may be put for this attempt of a task.
///
/// # Errors
/// If the task cannot be looked up.
pub async fn is_under_way(app: &App, task: TaskId, attempt: u32) -> Result<bool, StoreError> {
    let found = app.store.linked(vec![task]).await?;
    Ok(found.first().and_then(|task| open_attempt(task.state, task.attempt)) == Some(attempt))
}
