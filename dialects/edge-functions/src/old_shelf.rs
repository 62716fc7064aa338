//! The folder in which earlier versions of the dialect kept files: what lies there is read, and taken over at the start.

use std::fs;
use std::io;
use std::path::PathBuf;

use baton_files::{ByteStream, Cause};
use bytes::Bytes;
use futures::{StreamExt as _, stream};

use crate::path::Path;

/// Where the files were in it.
const FILES: &str = "files";
/// How much of a file is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// Such a folder, which may not be there.
#[derive(Clone, Debug)]
pub(crate) struct OldShelf {
    files: PathBuf,
}

/// A file in it.
pub(crate) struct OldFile {
    /// How many bytes it has.
    pub(crate) size: u64,
    /// These.
    pub(crate) bytes: ByteStream,
}

/// Runs what waits for a disk where that holds up nobody.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl OldShelf {
    /// That of this folder.
    pub(crate) fn new(root: &std::path::Path) -> Self {
        Self { files: root.join(FILES) }
    }

    /// Whether there is one.
    pub(crate) async fn is_there(&self) -> io::Result<bool> {
        let files = self.files.clone();
        apart(move || match fs::metadata(files) {
            Err(error) if is_absent(&error) => Ok(false),
            known => Ok(known?.is_dir()),
        })
        .await
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        self.files.display().to_string()
    }

    fn at(&self, path: &Path) -> PathBuf {
        let mut place = self.files.clone();
        place.extend(path.parts());
        place
    }

    /// A file; none if it is not there.
    pub(crate) async fn get(&self, path: &Path) -> io::Result<Option<OldFile>> {
        let place = self.at(path);
        let found = apart(move || {
            let file = match fs::File::open(place) {
                Err(error) if is_absent(&error) => return Ok(None),
                file => file?,
            };
            let known = file.metadata()?;
            Ok(known.is_file().then_some((file, known.len())))
        });
        let Some((file, size)) = found.await? else { return Ok(None) };
        let bytes = stream::try_unfold(file, |mut file| async move {
            let read = apart(move || {
                use io::Read as _;
                let mut piece = vec![0; READ_BYTES];
                let length = file.read(&mut piece)?;
                piece.truncate(length);
                Ok((piece, file))
            });
            let (piece, file) = read.await.map_err(|error| Box::new(error) as Cause)?;
            Ok((!piece.is_empty()).then(|| (Bytes::from(piece), file)))
        });
        Ok(Some(OldFile { size, bytes: bytes.boxed() }))
    }

    /// Removes a file, and the folders that are empty then.
    pub(crate) async fn remove(&self, path: &Path) -> io::Result<()> {
        let (root, place) = (self.files.clone(), self.at(path));
        apart(move || {
            match fs::remove_file(&place) {
                Err(error) if !is_absent(&error) => return Err(error),
                _ => {}
            }
            let mut folder = place.parent();
            // One that has something in it is not removed.
            while let Some(empty) = folder.filter(|folder| folder.starts_with(&root)) {
                if fs::remove_dir(empty).is_err() {
                    break;
                }
                folder = empty.parent();
            }
            Ok(())
        })
        .await
    }

    /// The paths of all files in it, and what else lies there.
    pub(crate) async fn paths(&self) -> io::Result<(Vec<Path>, Vec<String>)> {
        let root = self.files.clone();
        apart(move || {
            let (mut paths, mut strange, mut folders) = (Vec::new(), Vec::new(), vec![root.clone()]);
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(&folder)? {
                    let entry = entry?;
                    let (kind, place) = (entry.file_type()?, entry.path());
                    let path =
                        place.strip_prefix(&root).ok().and_then(|rest| rest.to_str()?.parse::<Path>().ok());
                    match path {
                        _ if kind.is_dir() => folders.push(place),
                        Some(path) if kind.is_file() => paths.push(path),
                        _ => strange.push(place.display().to_string()),
                    }
                }
            }
            Ok((paths, strange))
        })
        .await
    }
}
