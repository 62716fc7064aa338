//! What SQLite's errors mean to a caller.

use baton_store::{ErrorKind, StoreError};
use rusqlite::{Error, ErrorCode};

/// Why a command did not go through.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command's own rules refused it. It has written nothing, so that its neighbours in the commit stand.
    Refused(StoreError),
    /// SQLite failed, or what it stores makes no sense. The command may have written something: the whole transaction
    /// is undone.
    Broken(StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broken(store_error(error))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            ErrorKind::Request | ErrorKind::NotFound | ErrorKind::Conflict => Self::Refused(error),
            ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Internal => Self::Broken(error),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) | Failure::Broken(error) => error,
        }
    }
}

/// Says what an error of SQLite means. The transaction that met it has been rolled back.
pub(crate) fn store_error(error: Error) -> StoreError {
    let code = match &error {
        Error::SqliteFailure(failure, _) => failure.code,
        _ => {
            return StoreError::Internal {
                what: "a database statement failed".to_owned(),
                cause: Some(error.into()),
            };
        }
    };
    match code {
        ErrorCode::DiskFull => StoreError::StorageFull(error.into()),
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::CannotOpen
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::OutOfMemory
        | ErrorCode::FileLockingProtocolFailed => StoreError::Unavailable(error.into()),
        // A failed sync may or may not have reached the disk.
        ErrorCode::SystemIoFailure => StoreError::Unknown(error.into()),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            StoreError::Corrupt { what: "the database file".to_owned(), cause: Some(error.into()) }
        }
        _ => {
            StoreError::Internal { what: "a database statement failed".to_owned(), cause: Some(error.into()) }
        }
    }
}

/// Says that something stored cannot be read.
pub(crate) fn corrupt(
    what: impl Into<String>,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Corrupt { what: what.into(), cause: Some(cause.into()) }
}
