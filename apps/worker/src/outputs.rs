//! Folders for what programs leave: one for each attempt, made before its program starts and removed when its outcome is known.
//!
//! All folders of a start of a worker lie in one folder that it holds by a lock, which ends with it however it ends. So each start knows
//! what others have left that were killed, whatever their names, and removes it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use baton_api::task::TaskView;
use baton_model::limits;
use uuid::Uuid;

use crate::options::WorkerError;

/// What the folders of starts are called, before a name by chance.
const PREFIX: &str = "baton-worker-";
/// Held for a moment by who starts: nobody else then takes what it makes for left over.
const STARTS: &str = "baton-worker.lock";
/// Held in a start's own folder for as long as the worker lives.
const LIVES: &str = "lock";

/// The folder of this start; none if programs are not asked for files.
#[derive(Debug, Default)]
pub(crate) struct Outputs(Option<Own>);

#[derive(Debug)]
struct Own {
    folder: PathBuf,
    _lives: File,
}

impl Outputs {
    /// Makes the folder of this start in `folder`, and removes what starts have left that are over.
    pub(crate) fn open(folder: Option<&Path>, name: impl FnOnce() -> Uuid) -> Result<Self, WorkerError> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let wrong = |cause: io::Error| WorkerError::Outputs { folder: folder.display().to_string(), cause };
        Self::make(folder, name()).map(|own| Self(Some(own))).map_err(wrong)
    }

    fn make(folder: &Path, name: Uuid) -> io::Result<Own> {
        fs::create_dir_all(folder)?;
        let folder = fs::canonicalize(folder)?;
        let starts = File::create(folder.join(STARTS))?;
        starts.lock()?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir() {
                remove_left_over(&entry.path());
            }
        }
        let own = folder.join(format!("{PREFIX}{}", name.simple()));
        fs::create_dir(&own)?;
        let lives = File::create(own.join(LIVES))?;
        lives.lock()?;
        Ok(Own { folder: own, _lives: lives })
    }

    /// An empty folder for an attempt; none if programs are not asked for files.
    pub(crate) fn fresh(&self, task: &TaskView) -> io::Result<Option<Folder>> {
        let Some(own) = &self.0 else { return Ok(None) };
        let path = own.folder.join(format!("{}-{}", task.id, task.attempt));
        let made = fs::create_dir(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("its folder {} could not be made: {error}", path.display()))
        });
        made.map(|()| Some(Folder { path }))
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        if let Some(own) = &self.0 {
            tell_left(&own.folder, fs::remove_dir_all(&own.folder));
        }
    }
}

/// Removes the folder of a start that is over.
fn remove_left_over(folder: &Path) {
    let lives = match File::open(folder.join(LIVES)) {
        Ok(lives) => lives,
        // It was killed before it had one, or while it removed the folder: who starts now holds the lock of starts.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return tell_left(folder, fs::remove_dir_all(folder));
        }
        Err(error) => return tell_left(folder, Err(error)),
    };
    match lives.try_lock() {
        Ok(()) => {
            tracing::info!(folder = %folder.display(), "what a worker has left that was killed is removed");
            tell_left(folder, fs::remove_dir_all(folder));
        }
        // Its worker lives.
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => tell_left(folder, Err(error)),
    }
}

/// A folder that cannot be removed is in nobody's way but takes room.
fn tell_left(folder: &Path, removed: io::Result<()>) {
    match removed {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "a folder for outputs could not be removed; remove it by hand");
        }
    }
}

/// The folder of one attempt.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// A file that a program has left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its path in the folder, with `/` between its parts.
    pub(crate) name: String,
}

impl Folder {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The regular files in it, by name, hidden ones too; and what is left out: what is neither file nor folder. Links are not followed:
    /// they may lead to what the task is not to hand out.
    pub(crate) fn files(&self) -> Result<(Vec<Left>, Vec<String>), String> {
        let (mut files, mut others) = (Vec::new(), Vec::new());
        let mut folders = vec![(self.path.clone(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            let cannot = |error: io::Error| format!("cannot read {}: {error}", folder.display());
            for entry in fs::read_dir(&folder).map_err(cannot)? {
                let entry = entry.map_err(cannot)?;
                let kind = entry.file_type().map_err(cannot)?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else {
                    return Err(format!("expected names in UTF-8, got {}", entry.path().display()));
                };
                let name = format!("{prefix}{name}");
                if kind.is_dir() {
                    folders.push((entry.path(), format!("{name}/")));
                } else if kind.is_file() {
                    files.push(Left { path: entry.path(), name });
                } else {
                    others.push(name);
                }
                if files.len() > limits::OUTPUT_FILES {
                    return Err(format!("expected at most {} files, got more", limits::OUTPUT_FILES));
                }
            }
        }
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok((files, others))
    }

    /// Removes it with all that is in it.
    pub(crate) async fn remove(self) {
        // Large folders take a while.
        let removed =
            tokio::task::spawn_blocking(move || tell_left(&self.path, fs::remove_dir_all(&self.path)));
        // A panic there has been printed.
        let _ = removed.await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_killed_is_removed_and_what_lives_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("outputs");
        let open = |n: u128| Outputs::open(Some(&dir), || Uuid::from_u128(n)).unwrap();
        let first = open(1);
        // As a worker leaves it that was killed, before and after it had its lock; and what is none of Baton's.
        for (folder, file) in [("baton-worker-2", "a"), ("baton-worker-3", LIVES), ("mine", "a")] {
            fs::create_dir_all(dir.join(folder).join("x")).unwrap();
            fs::write(dir.join(folder).join(file), "").unwrap();
        }
        fs::write(dir.join("baton-worker-notes"), "").unwrap();
        let own = |n: u128| format!("baton-worker-{:032x}", n);
        let _second = open(4);
        let expected =
            [own(1), own(4), "baton-worker-notes".to_owned(), STARTS.to_owned(), "mine".to_owned()];
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(names(&dir), expected);
        drop(first);
        assert!(!dir.join(own(1)).exists());
        assert!(Outputs::open(None, || Uuid::from_u128(5)).unwrap().0.is_none());
        let refused =
            Outputs::open(Some(&dir.join("baton-worker-notes/x")), || Uuid::from_u128(6)).unwrap_err();
        assert!(refused.to_string().starts_with("expected a folder that can be written"), "{refused}");
    }

    #[test]
    fn regular_files_are_found_by_name_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("outputs");
        let folder = Folder { path: path.clone() };
        fs::create_dir_all(path.join("b/c")).unwrap();
        for name in ["z", ".hidden", "b/c/ü 1", "b/a"] {
            fs::write(path.join(name), name).unwrap();
        }
        symlink("/etc/passwd", path.join("link")).unwrap();
        symlink("/etc", path.join("b/etc")).unwrap();
        let (files, mut others) = folder.files().unwrap();
        others.sort();
        let found: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(found, [".hidden", "b/a", "b/c/ü 1", "z"]);
        assert_eq!(others, ["b/etc", "link"]);
        for n in 0..limits::OUTPUT_FILES {
            fs::write(path.join(format!("n{n}")), "").unwrap();
        }
        assert!(folder.files().unwrap_err().contains("at most 100 files"));
    }
}
