//! Names of workers, each held by one process at once: by a lock of a file, which the system takes back when the process ends,
//! however it ends.
//!
//! A worker holds its own name's lock, and not its supervisor: so a worker that outlives a killed supervisor keeps its name until it
//! has ended, and the next supervisor waits for that.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use baton_model::WorkerId;

/// The lock that keeps two supervisors from one folder.
const OWN: &str = "supervisor.lock";
/// The most bytes that are read of what a lock's file says.
const NOTE_BYTES: u64 = 32;

/// The folder of the locks, held by this supervisor.
#[derive(Debug)]
pub(crate) struct Names {
    folder: PathBuf,
    /// Held as long as this lives.
    _own: File,
}

/// Why the folder could not be had.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Another supervisor has it: what is known of its process.
    By(String),
    Failed(io::Error),
}

impl Names {
    /// Takes the folder, and makes it if it is not there.
    pub(crate) fn take(folder: &Path) -> Result<Self, Taken> {
        let prepare = || {
            if !folder.exists() {
                fs::create_dir_all(folder)?;
                fs::set_permissions(folder, Permissions::from_mode(0o755))?;
            }
            let folder = folder.canonicalize()?;
            open(&folder.join(OWN)).map(|own| (folder, own))
        };
        let (folder, mut own) = prepare().map_err(Taken::Failed)?;
        match own.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Taken::By(note_of(&mut own))),
            Err(TryLockError::Error(error)) => return Err(Taken::Failed(error)),
        }
        write_note(&mut own, std::process::id()).map_err(Taken::Failed)?;
        Ok(Self { folder, _own: own })
    }

    /// The file of a name's lock.
    pub(crate) fn path(&self, worker: &WorkerId) -> PathBuf {
        self.folder.join(format!("{worker}.lock"))
    }

    /// What is known of the process that has a name, if one has it.
    pub(crate) fn holder(&self, worker: &WorkerId) -> io::Result<Option<String>> {
        let mut file = open(&self.path(worker))?;
        match file.try_lock() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(note_of(&mut file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Notes in a name's file which process is to have it, to be told to people.
    pub(crate) fn note(&self, worker: &WorkerId, process: u32) {
        let noted = open(&self.path(worker)).and_then(|mut file| write_note(&mut file, process));
        if let Err(error) = noted {
            tracing::debug!(worker_id = %worker, %error, "a worker's process could not be noted beside its name");
        }
    }
}

/// A name, held by this process as long as this lives.
#[derive(Debug)]
pub(crate) struct Name {
    _file: File,
}

impl Name {
    /// Takes the name whose lock is this file, which there is.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let holder = note_of(&mut file);
                let told = format!("expected a name that no other process has, got one of process {holder}");
                Err(io::Error::new(io::ErrorKind::AlreadyExists, told))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let made = !path.exists();
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    if made {
        // Workers may run as another user, and lock what they can read.
        file.set_permissions(Permissions::from_mode(0o644))?;
    }
    Ok(file)
}

fn note_of(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(NOTE_BYTES).read_to_string(&mut text));
    let text = text.trim();
    if read.is_ok() && !text.is_empty() { text.to_owned() } else { "unknown".to_owned() }
}

fn write_note(file: &mut File, process: u32) -> io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(process.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_process_alone_and_a_folder_one_supervisors() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("fleet");
        let names = Names::take(&place).unwrap();
        let Err(Taken::By(holder)) = Names::take(&place) else { panic!("taken twice") };
        assert_eq!(holder, std::process::id().to_string());
        let worker: WorkerId = "host-g-1".parse().unwrap();
        assert_eq!(names.holder(&worker).unwrap(), None);
        let name = Name::take(&names.path(&worker)).unwrap();
        names.note(&worker, 77);
        assert_eq!(names.holder(&worker).unwrap().as_deref(), Some("77"));
        let error = Name::take(&names.path(&worker)).unwrap_err();
        assert!(error.to_string().contains("got one of process 77"), "{error}");
        drop(name);
        assert_eq!(names.holder(&worker).unwrap(), None);
        drop(names);
        Names::take(&place).unwrap();
    }
}
