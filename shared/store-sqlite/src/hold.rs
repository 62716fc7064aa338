//! Holding the database: one store for one file, whatever names lead to it, and for as long as the store is open.
//!
//! Two locks, as there are two things that two stores must not share. The *file* is locked itself, so that no other name,
//! and no renaming, opens it a second time. Its *name* is locked by a file beside it, as SQLite keeps the log and its index
//! by name: a second file that is put under the name of an open one would be given the first one's log. The system lets go
//! of both when the process ends, however it ends.
//!
//! SQLite's own locks are of the kind that a process loses as soon as it closes *any* descriptor of the file. So the
//! descriptor that holds the lock is closed after the last connection, and a file that this process has open already is
//! recognised before it is opened again ([`OPEN`]). What was rejected: `docs/decisions/0003-one-store-for-one-file.md`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, Metadata, TryLockError};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_store::StoreError;

use crate::refusal::{cannot_open, forbidden};

/// Whether a lock of the whole file (`flock`) and SQLite's locks of byte ranges (`fcntl`) leave each other alone. On other
/// systems than Linux each is in the other's way: there the name alone is locked.
const LOCKS_APART: bool = cfg!(target_os = "linux");

/// What a new file's permissions are, before the umask: as SQLite makes them.
const PERMISSIONS: u32 = 0o644;

/// How many symbolic links are followed from a name to its file; as many as Linux follows.
const LINKS: usize = 40;

/// The files that this process has open.
static OPEN: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

fn open_files() -> MutexGuard<'static, BTreeSet<Identity>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which file it is, whatever its name: the device that it lies on, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }

    /// The file that has a name now.
    fn named(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|file| Self::of(&file))
    }
}

/// The database file of an open store, held against all others. Dropped after all connections to it.
#[derive(Debug)]
pub(crate) struct Hold {
    path: PathBuf,
    /// Where SQLite keeps the log.
    log: PathBuf,
    identity: Identity,
    /// The database, locked. `None` only while it is dropped.
    file: Option<File>,
    /// Whether this opening made the file and has not come to its end.
    unfinished: AtomicBool,
    /// Declared last, so that the name is let go of last.
    _name: NameLock,
}

impl Hold {
    /// Takes a file, and makes an empty one if there is none.
    ///
    /// # Errors
    /// [`StoreError::CannotOpen`] if another store has it, if it is nothing that can be a database, or if it or its folder
    /// may not be used. Nothing that was made is left behind.
    pub(crate) fn take(given: &Path) -> Result<Self, StoreError> {
        if given.is_dir() {
            return Err(cannot_open(given, "it is a folder; name a file", None));
        }
        let path = resolve(given)?;
        let name = NameLock::take(&path)?;
        // Between the look whether this process has the file open already and the end, no other thread opens one.
        let mut open = open_files();
        let (file, identity, made) = loop {
            if let Some(taken) = take_file(&path, &open)? {
                break taken;
            }
        };
        open.insert(identity);
        let log = beside(&path, "-wal");
        Ok(Self { path, log, identity, file: Some(file), unfinished: AtomicBool::new(made), _name: name })
    }

    /// The file's one name: absolute and without symbolic links, so that SQLite, which keeps its log beside the file that a
    /// link leads to, sees no other.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's first bytes, as they are on the disk; fewer if it is shorter.
    pub(crate) fn header(&self) -> std::io::Result<Vec<u8>> {
        let mut header = vec![0; HEADER_BYTES];
        let mut read = 0;
        while let Some(file) = &self.file {
            match file.read_at(&mut header[read..], read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        header.truncate(read);
        Ok(header)
    }

    /// What is no longer there of the file or its log, or is another one now; none if both are as they were opened. What is
    /// written to a file without its name is gone once it is closed, and what is written to a log without its name as soon as
    /// this process ends otherwise than in order.
    pub(crate) fn gone(&self, log: Option<Identity>) -> Option<String> {
        let look = |path: &Path, was: Identity| match path.metadata() {
            Ok(found) if Identity::of(&found) == was => None,
            Ok(_) => Some(format!("{} was replaced by another file", path.display())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Some(format!("{} was removed or renamed", path.display()))
            }
            // It cannot be seen: that says nothing of whether it is there.
            Err(_) => None,
        };
        look(&self.path, self.identity).or_else(|| look(&self.log, log?))
    }

    /// Which file the log is now; none if there is none.
    pub(crate) fn log_identity(&self) -> Option<Identity> {
        Identity::named(&self.log)
    }

    /// The bytes of the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log.metadata().map_or(0, |log| log.len())
    }

    /// Says that the store is open: a file that was made for it stays.
    pub(crate) fn finished(&self) {
        self.unfinished.store(false, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut open = open_files();
        if *self.unfinished.get_mut() && Identity::named(&self.path) == Some(self.identity) {
            for ending in ["", "-wal", "-shm", "-journal"] {
                remove(&beside(&self.path, ending));
            }
        }
        drop(self.file.take());
        open.remove(&self.identity);
    }
}

/// How many bytes SQLite's header has at the beginning of a database.
const HEADER_BYTES: usize = 100;

/// Opens and locks the file of a name, or makes it. `None` if the name was given to another file meanwhile.
fn take_file(path: &Path, open: &BTreeSet<Identity>) -> Result<Option<(File, Identity, bool)>, StoreError> {
    let made = match path.metadata() {
        Ok(found) => {
            usable(path, &found)?;
            if open.contains(&Identity::of(&found)) {
                return Err(taken(path));
            }
            false
        }
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(forbidden(path, error)),
    };
    let mut options = File::options();
    options.read(true).write(made).create_new(made).mode(PERMISSIONS);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
            return Ok(None);
        }
        Err(error) => return Err(forbidden(path, error)),
    };
    let identity = Identity::of(&file.metadata().map_err(|error| forbidden(path, error))?);
    if open.contains(&identity) {
        // It got this name after the look. Closing it would take its locks away from the connections that are open.
        std::mem::forget(file);
        return Err(taken(path));
    }
    match file.try_lock() {
        _ if !LOCKS_APART => {}
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(taken(path)),
        Err(TryLockError::Error(error)) => {
            if made {
                remove(path);
            }
            return Err(no_locks(path, error));
        }
    }
    // Where the name was given to another file before this one was locked, that one is looked at.
    Ok((Identity::named(path) == Some(identity)).then_some((file, identity, made)))
}

/// Refuses what cannot be the one name of a database.
fn usable(path: &Path, found: &Metadata) -> Result<(), StoreError> {
    if !found.is_file() {
        return Err(cannot_open(path, "it is no regular file; name another", None));
    }
    if found.nlink() > 1 {
        let why = format!(
            "expected a file with one name, got one with {} (hard links): changes are logged beside one of its names, and \
             whoever opens another misses them; remove the other names (`find DIR -samefile {}` finds them), or name a copy",
            found.nlink(),
            path.display()
        );
        return Err(cannot_open(path, why, None));
    }
    // Where there is no such list, nothing is mounted that could be told.
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    if is_mount_point(path, &mounts) {
        let why = "it is mounted by itself, so that its log, which lies beside it, is not kept with it; mount its folder";
        return Err(cannot_open(path, why, None));
    }
    Ok(())
}

/// Whether something is mounted at exactly this path, by the system's list (`proc_pid_mountinfo(5)`): the fifth field of a
/// line, in which blanks and backslashes are written in octal.
fn is_mount_point(path: &Path, mounts: &[u8]) -> bool {
    let mut written = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => written.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            _ => written.push(byte),
        }
    }
    let mount_point = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4) == Some(&written);
    mounts.split(|byte| *byte == b'\n').any(mount_point)
}

/// The one name of a file, which need not be there: absolute, and without symbolic links.
fn resolve(given: &Path) -> Result<PathBuf, StoreError> {
    let mut path = given.to_owned();
    for _ in 0..LINKS {
        match path.read_link() {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => break,
        }
    }
    let folder = folder_of(&path);
    let folder = match folder.canonicalize() {
        Ok(folder) if folder.is_dir() => folder,
        Ok(_) => return Err(no_folder(given, folder)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(no_folder(given, folder));
        }
        Err(error) => return Err(forbidden(given, error)),
    };
    match path.file_name() {
        Some(name) => Ok(folder.join(name)),
        None => Err(cannot_open(given, "expected the path of a file, got none", None)),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn no_folder(given: &Path, folder: &Path) -> StoreError {
    let why = format!("the folder {} does not exist; make it, or name another file", folder.display());
    cannot_open(given, why, None)
}

fn taken(path: &Path) -> StoreError {
    cannot_open(path, "another baton has it open; stop that one, or name another file", None)
}

fn no_locks(path: &Path, error: std::io::Error) -> StoreError {
    cannot_open(path, "it cannot be locked; put it on a file system that has locks", Some(error.into()))
}

/// The path of a file that belongs to another, by what its name has besides.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Removes a file that nobody needs. That it cannot be is no reason to fail.
fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "could not remove a file that nobody needs");
        }
        Ok(()) | Err(_) => {}
    }
}

/// The lock of a name: a file beside the one that is named. Whoever holds it removes it as the last thing.
#[derive(Debug)]
struct NameLock {
    path: PathBuf,
    file: File,
}

impl NameLock {
    fn take(path: &Path) -> Result<Self, StoreError> {
        let name = beside(path, "-lock");
        loop {
            let mut options = File::options();
            options.create(true).truncate(false).write(true).mode(PERMISSIONS);
            let file = options.open(&name).map_err(|error| forbidden(path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(taken(path)),
                Err(TryLockError::Error(error)) => return Err(no_locks(path, error)),
            }
            let identity = Identity::of(&file.metadata().map_err(|error| forbidden(path, error))?);
            // Whoever held it before may have removed it since it was opened: then the next one is no longer kept out by it.
            if Identity::named(&name) == Some(identity) {
                return Ok(Self { path: name, file });
            }
        }
    }
}

impl Drop for NameLock {
    fn drop(&mut self) {
        let held = self.file.metadata().map(|file| Identity::of(&file)).ok();
        if held.is_some() && Identity::named(&self.path) == held {
            remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_mounted_by_itself_is_told_from_one_in_a_mounted_folder() {
        let mounts =
            b"36 35 98:0 /data/baton.db /srv/my\\040farm/baton.db rw,noatime master:1 - ext4 /dev/root rw\n\
            37 35 98:0 /data /data rw - ext4 /dev/root rw\n";
        assert!(is_mount_point(Path::new("/srv/my farm/baton.db"), mounts));
        assert!(is_mount_point(Path::new("/data"), mounts));
        for other in ["/srv/my farm", "/data/baton.db", "/srv/my farm/baton.db-wal", "98:0", ""] {
            assert!(!is_mount_point(Path::new(other), mounts), "{other}");
        }
        assert!(!is_mount_point(Path::new("/data"), b""));
    }
}
