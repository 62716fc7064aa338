//! How the bucket's files are kept: among Baton's own, so that their digests, their kinds and their time are one mechanism.

use std::sync::Arc;
use std::time::Duration;

use baton_files::{Bounds, ByteStream, Cause, FileError, FileName, Files, Put, StoredFile, Upload};
use baton_http::arrivals::{self, LookError, open_attempt};
use baton_model::{TaskId, Timestamp};
use baton_store::{Linked, StoreError};
use futures::{StreamExt as _, stream};

use crate::edge::Edge;
use crate::old_shelf::OldFile;
use crate::path::{BUCKET, Path};
use crate::types::RunType;
use crate::words::task_id;

/// Why something could not be done with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    /// There is no place for files.
    #[error(
        "no files are kept here: there is no place for them (files.url); hand over an output_location, or send files to a server that has one"
    )]
    NoPlace,
    /// The path is no name of a file.
    #[error("Invalid key: {0}")]
    Name(#[from] baton_model::Expected),
    /// As Baton's files say it.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The task of a file cannot be looked up.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The attempt that it was for is over.
    #[error("the attempt that the upload was for has ended; nothing was stored")]
    Ended,
    /// The folder of an earlier version failed.
    #[error("the files of an earlier version cannot be read")]
    Old(#[source] std::io::Error),
}

impl From<LookError> for KeepError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::Files(error) => error.into(),
            LookError::Store(error) => error.into(),
        }
    }
}

/// A file to be kept.
pub(crate) struct Came {
    /// Its bytes.
    pub(crate) bytes: ByteStream,
    /// What its sender says that it is.
    pub(crate) content_type: Option<String>,
    /// Whether it may take another one's place.
    pub(crate) replace: bool,
}

/// What a path is called among Baton's files.
struct Names {
    /// In the folder of its task, if that is there.
    own: Option<(Linked, FileName)>,
    /// Where it is, or was put before there was the task.
    loose: FileName,
}

impl Names {
    fn all(&self) -> impl Iterator<Item = &FileName> {
        self.own.iter().map(|(_, name)| name).chain([&self.loose])
    }

    /// Where it is to lie: with its task, or loose until then.
    fn place(self, until: Timestamp) -> Place {
        match self.own {
            Some((task, name)) => Place { name, task: Some(task.id), until: None },
            None => Place { name: self.loose, task: None, until: Some(until) },
        }
    }
}

/// Where a file is to lie.
struct Place {
    name: FileName,
    /// The task that it belongs to.
    task: Option<TaskId>,
    /// Until when it is kept in any case.
    until: Option<Timestamp>,
}

/// A file as it is found.
pub(crate) enum Found {
    /// Among Baton's.
    Here(StoredFile),
    /// In the folder of an earlier version.
    Old(OldFile),
}

/// The files of the server.
pub(crate) fn files(edge: &Edge) -> Result<&Arc<dyn Files>, KeepError> {
    edge.app.files.as_ref().ok_or(KeepError::NoPlace)
}

/// The task that a path names, whoever it is said to belong to.
pub(crate) async fn task_of(edge: &Edge, path: &Path) -> Result<Option<Linked>, KeepError> {
    let Some((name, _)) = path.in_task() else { return Ok(None) };
    Ok(edge.app.store.linked(vec![task_id(name)]).await?.into_iter().next())
}

async fn names(edge: &Edge, path: &Path) -> Result<Names, KeepError> {
    let mut own = None;
    if let Some((_, rest)) = path.in_task()
        && let Some(task) = task_of(edge, path).await?
        && is_folder_of(edge, path, &task).await?
    {
        let name = Path::name_in(rest, task.id, task.project.clone())?;
        own = Some((task, name));
    }
    Ok(Names { own, loose: path.loose_name()? })
}

/// Whether a path means the folder of a task: only of the platform's own tasks, under the name of its user. Anybody may read what paths
/// lead to, and the files of Baton's other tasks are not for anybody.
async fn is_folder_of(edge: &Edge, path: &Path, task: &Linked) -> Result<bool, KeepError> {
    let is_platforms = RunType::ALL.into_iter().any(|run_type| run_type.queue() == task.queue);
    if !is_platforms || task.project.as_str() == BUCKET {
        return Ok(false);
    }
    Ok(edge.is_folder_of(path.user(), &task.project).await?)
}

/// Until when a file stays that is no task's.
fn kept_until(edge: &Edge) -> Timestamp {
    match edge.settings.uploads_kept {
        Some(time) => edge.app.now().plus(time),
        None => Timestamp::MAX,
    }
}

/// Keeps a file. When this returns, it is there, whole; it is not seen before. What lies in the folder of a task whose attempt has ended
/// is no other's place any more: its record may tell of it.
pub(crate) async fn put(edge: &Edge, path: &Path, came: Came) -> Result<StoredFile, KeepError> {
    files(edge)?;
    let names = names(edge, path).await?;
    let open = names.own.as_ref().map(|(task, _)| (task.id, open_attempt(task.state, task.attempt)));
    let (replace, watched) = match open {
        Some((task, Some(attempt))) => (came.replace, came.replace.then_some((task, attempt))),
        Some((_, None)) => (false, None),
        None => (came.replace, None),
    };
    // What an earlier version kept is there as well.
    if !replace && find_named(edge, path, &names, For::Reading).await?.is_some() {
        return Err(FileError::Exists(names.loose).into());
    }
    let bytes = match watched {
        Some((task, attempt)) => while_open(edge, task, attempt, came.bytes),
        None => came.bytes,
    };
    let mut bounds = edge.app.file_bounds();
    bounds.file_bytes = bounds.file_bytes.min(edge.settings.file_bytes);
    match take(edge, names.place(kept_until(edge)), Came { bytes, replace, ..came }, bounds).await {
        Err(KeepError::Files(FileError::CutOff(cause))) => Err(match cause.downcast::<KeepError>() {
            Ok(own) => *own,
            Err(cause) => FileError::CutOff(cause).into(),
        }),
        taken => taken,
    }
}

/// Bytes that are whole only if the attempt that they are for goes on when the last of them has come: an upload may take minutes, and a
/// completion may have handed over meanwhile what it would take the place of.
fn while_open(edge: &Edge, task: TaskId, attempt: u32, bytes: ByteStream) -> ByteStream {
    let edge = edge.clone();
    let end = async move {
        let found = match edge.app.store.linked(vec![task]).await {
            Ok(found) => found,
            Err(error) => return Some(Err(Box::new(KeepError::Store(error)) as Cause)),
        };
        match found.first().and_then(|task| open_attempt(task.state, task.attempt)) {
            Some(open) if open == attempt => None,
            _ => Some(Err(Box::new(KeepError::Ended) as Cause)),
        }
    };
    bytes.chain(stream::once(end).filter_map(std::future::ready)).boxed()
}

/// Where a file may be put past the server for so long, while the task is in this attempt; none if it is to come through the server.
pub(crate) async fn put_at(
    edge: &Edge,
    path: &Path,
    attempt: (TaskId, u32),
    time: Duration,
) -> Result<Option<String>, KeepError> {
    let place = names(edge, path).await?.place(kept_until(edge));
    let id = edge.app.ids.uuid().as_u128();
    let upload = Upload { name: place.name, id, attempt: Some(attempt), kept_until: place.until };
    Ok(files(edge)?.put_at(&upload, time).await?)
}

async fn take(edge: &Edge, place: Place, came: Came, bounds: Bounds) -> Result<StoredFile, KeepError> {
    let put = Put {
        name: place.name,
        now: edge.app.now(),
        id: edge.app.ids.uuid().as_u128(),
        content_type: came.content_type,
        task: place.task,
        kept_until: place.until,
        only_new: !came.replace,
        bounds,
    };
    Ok(files(edge)?.put(put, came.bytes).await?)
}

/// A file; none if it is not there.
pub(crate) async fn find(edge: &Edge, path: &Path) -> Result<Option<Found>, KeepError> {
    find_named(edge, path, &names(edge, path).await?, For::Reading).await
}

/// What a file is looked for.
#[derive(Clone, Copy)]
enum For {
    /// To read what stands.
    Reading,
    /// To hand it over, which is told if an upload was not kept.
    HandingOver,
}

async fn find_named(
    edge: &Edge,
    path: &Path,
    names: &Names,
    wanted: For,
) -> Result<Option<Found>, KeepError> {
    if let Some(files) = &edge.app.files {
        for name in names.all() {
            // What was put past the server is taken in for it.
            let found = match wanted {
                For::Reading => arrivals::standing(&edge.app, &**files, name).await,
                For::HandingOver => arrivals::head(&edge.app, &**files, name).await,
            };
            match found {
                Ok(file) => return Ok(Some(Found::Here(file))),
                Err(LookError::Files(FileError::NotFound(_))) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    match edge.old_shelf.get(path).await.map_err(KeepError::Old)? {
        Some(old) => Ok(Some(Found::Old(old))),
        None if edge.app.files.is_none() => Err(KeepError::NoPlace),
        None => Ok(None),
    }
}

/// A file that a task is to hand over; none if it is not there. What an earlier version kept is taken over for it.
pub(crate) async fn to_hand_over(edge: &Edge, path: &Path) -> Result<Option<StoredFile>, KeepError> {
    files(edge)?;
    let names = names(edge, path).await?;
    match find_named(edge, path, &names, For::HandingOver).await? {
        Some(Found::Here(file)) => Ok(Some(file)),
        Some(Found::Old(old)) => Ok(Some(take_over(edge, path, names.place(Timestamp::MAX), old).await?)),
        None => Ok(None),
    }
}

/// Has a file that no task has belong to this one, which has handed it over: it is kept as long as the task is.
pub(crate) async fn adopt(edge: &Edge, name: &FileName, task: TaskId) -> Result<(), KeepError> {
    match files(edge)?.adopt(name, task).await {
        Ok(_) => Ok(()),
        Err(FileError::NotFound(_)) => {
            tracing::warn!(file = %name, task_id = %task, "a file that a task has handed over is gone");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes a file of an earlier version over; one that has come in its place since stands.
async fn take_over(edge: &Edge, path: &Path, place: Place, old: OldFile) -> Result<StoredFile, KeepError> {
    // It was taken in before, whatever the bounds are now.
    let bounds = Bounds { file_bytes: u64::MAX, project_bytes: None };
    let came = Came { bytes: old.bytes, content_type: None, replace: false };
    let taken = match take(edge, place, came, bounds).await {
        Err(error @ KeepError::Files(FileError::Exists(_))) => match find(edge, path).await? {
            Some(Found::Here(file)) => file,
            _ => return Err(error),
        },
        taken => taken?,
    };
    edge.old_shelf.remove(path).await.map_err(KeepError::Old)?;
    Ok(taken)
}

/// Takes all files of an earlier version over, while they are read from where they lie.
pub(crate) fn begin_taking_over(edge: &Edge) {
    // A document is made of the routes where nothing runs.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let edge = edge.clone();
    runtime.spawn(async move {
        let place = edge.old_shelf.place();
        let there = if edge.app.files.is_some() { edge.old_shelf.is_there().await } else { Ok(false) };
        let found = match there {
            Ok(false) => return,
            Ok(true) => edge.old_shelf.paths().await,
            Err(error) => Err(error),
        };
        let (paths, strange) = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, place, "the files of an earlier version cannot be listed; they are read from where they lie");
                return;
            }
        };
        for path in &strange {
            tracing::warn!(path, "what lies in the folder of an earlier version is no file that it has put there; it stays where it is");
        }
        tracing::info!(
            place,
            files = paths.len(),
            "files of an earlier version are taken over; until then they are read from there"
        );
        let (mut taken, mut left) = (0_u64, strange.len() as u64);
        for path in paths {
            if edge.app.shutdown.begun() {
                tracing::info!(place, files = taken, "files were taken over; the next start goes on with the others");
                return;
            }
            match take_one(&edge, &path).await {
                Ok(()) => taken += 1,
                Err(error) => {
                    left += 1;
                    let why = baton_model::with_causes(&error);
                    tracing::warn!(path = path.as_str(), why, "a file of an earlier version stays where it is, and is read from there");
                }
            }
        }
        tracing::info!(place, files = taken, left, "the files of an earlier version were taken over");
    });
}

/// Takes one file over. It was to stay for ever when it came, and does, whatever becomes of its task.
async fn take_one(edge: &Edge, path: &Path) -> Result<(), KeepError> {
    let names = names(edge, path).await?;
    match find_named(edge, path, &names, For::Reading).await? {
        Some(Found::Old(old)) => {
            let task = names.own.as_ref().map(|(task, _)| task.id);
            let place = Place { name: names.loose, task, until: Some(Timestamp::MAX) };
            take_over(edge, path, place, old).await.map(drop)
        }
        // Another one has come in its place since.
        Some(Found::Here(_)) => edge.old_shelf.remove(path).await.map_err(KeepError::Old),
        // One that a completion has handed over meanwhile is gone.
        None => Ok(()),
    }
}
