//! Why the file cannot be used, and what to do about it.

use std::io::ErrorKind;
use std::path::Path;

use baton_store::StoreError;
use baton_store::error::Cause;
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};
use nix::unistd::{AccessFlags, access};
use rusqlite::ffi;

use crate::error::store_error;

pub(crate) const NOT_BATONS: &str = "it is not a Baton database; name another file";

/// Less room than this on its disk is too little to open a database: SQLite makes an index of 32 KiB beside it, and the
/// log's first pages.
pub(crate) const LEAST_BYTES: u64 = 128 * 1_024;

/// An error that says why a store cannot be opened.
pub(crate) fn cannot_open(path: &Path, why: impl Into<String>, cause: Option<Cause>) -> StoreError {
    StoreError::CannotOpen { place: path.display().to_string(), why: why.into(), cause }
}

/// What it means that the system would not have a file or its lock opened.
pub(crate) fn forbidden(path: &Path, error: std::io::Error) -> StoreError {
    let why = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => full(path),
        ErrorKind::ReadOnlyFilesystem => read_only(path),
        _ => obstacle(path)
            .unwrap_or_else(|| "it or its folder cannot be opened; name another file".to_owned()),
    };
    cannot_open(path, why, Some(error.into()))
}

/// What an error of SQLite at opening means.
pub(crate) fn opening(path: &Path, error: rusqlite::Error) -> StoreError {
    match store_error(error) {
        StoreError::Corrupt { cause, .. } => cannot_open(path, NOT_BATONS, cause),
        StoreError::StorageFull(cause) => cannot_open(path, full(path), Some(cause)),
        // Nothing has been answered yet, so that it does not matter whether it was written.
        StoreError::Unavailable(cause) | StoreError::Unknown(cause) => {
            let why = obstacle(path).unwrap_or_else(|| {
                "it is locked by another program, or its disk fails; see to that, or name another file"
                    .to_owned()
            });
            cannot_open(path, why, Some(cause))
        }
        other => other,
    }
}

/// What an error of SQLite means where a file of an earlier schema is brought up to date: what is sorted on the way lies elsewhere.
pub(crate) fn upgrading(path: &Path, error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error().map(|error| error.extended_code);
    match (code, opening(path, error)) {
        (Some(ffi::SQLITE_IOERR_GETTEMPPATH), StoreError::CannotOpen { cause, .. }) => {
            let why = "its schema is of an earlier version, and to bring it up to date a folder for temporary files is needed, of \
                       which none may be written; name one with SQLITE_TMPDIR";
            cannot_open(path, why, cause)
        }
        (Some(ffi::SQLITE_FULL), StoreError::CannotOpen { why, cause, .. }) => {
            let why = format!(
                "{why}; or the folder for temporary files is full, where what is sorted lies while it is brought up to date: name \
                 another one with SQLITE_TMPDIR"
            );
            cannot_open(path, why, cause)
        }
        (_, other) => other,
    }
}

/// What keeps this process from writing the file, as far as the system tells.
pub(crate) fn obstacle(path: &Path) -> Option<String> {
    let disk = disk(path);
    if disk.is_some_and(|disk| disk.flags().contains(FsFlags::ST_RDONLY)) {
        return Some(read_only(path));
    }
    if disk.is_some_and(|disk| free_bytes(&disk) < LEAST_BYTES) {
        return Some(full(path));
    }
    let user = nix::unistd::geteuid();
    if path.exists() && access(path, AccessFlags::R_OK | AccessFlags::W_OK).is_err() {
        return Some(format!(
            "it may not be read and written by user {user}; give it that right (`chown` or `chmod u+rw`), or name another file"
        ));
    }
    let folder = path.parent()?;
    if access(folder, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        return Some(format!(
            "its folder {} may not be written by user {user}, and the log is kept in it; give it that right (`chown` or \
             `chmod u+rwx`), or name a file elsewhere",
            folder.display()
        ));
    }
    None
}

/// What is known of the disk that a file lies on, or is to lie on.
pub(crate) fn disk(path: &Path) -> Option<Statvfs> {
    statvfs(path).or_else(|_| statvfs(path.parent().unwrap_or(path))).ok()
}

/// The bytes of a disk that a program may still write which is not the system's own.
#[expect(clippy::useless_conversion, reason = "these numbers are of other types on other systems")]
pub(crate) fn free_bytes(disk: &Statvfs) -> u64 {
    u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()))
}

fn read_only(path: &Path) -> String {
    let folder = path.parent().unwrap_or(path).display();
    format!("the file system of {folder} is read-only; mount it for writing, or name a file elsewhere")
}

fn full(path: &Path) -> String {
    match disk(path).map(|disk| free_bytes(&disk)) {
        Some(free) if free < LEAST_BYTES => {
            format!("its disk is full ({free} bytes are free); free space on it, or name a file on another disk")
        }
        _ => "it has no room left: its disk, a quota or store.max_mebibytes is used up; free space, raise it, or name a \
              file on another disk"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upgrade_lacks_of_a_folder_for_temporary_files_is_said() {
        let said = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            upgrading(Path::new("/no/such/folder/baton.db"), error).to_string()
        };
        for code in [ffi::SQLITE_IOERR_GETTEMPPATH, ffi::SQLITE_FULL] {
            let said = said(code);
            assert!(said.contains("temporary files") && said.contains("SQLITE_TMPDIR"), "{said}");
        }
        assert!(!said(ffi::SQLITE_IOERR_WRITE).contains("temporary files"));
    }
}
