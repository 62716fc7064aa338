//! How a command can fail, and the exit code of each. What is said then is in `report.rs`.

use std::path::{Path, PathBuf};

use baton_client::ClientError;

use crate::words;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something is wrong that is not told apart further: 1.
    Failed(String),
    /// The command line or a setting is wrong: 2.
    Usage(String),
    /// The command has found something wrong, and has said so: 1.
    Found,
    /// What was named does not exist: 3.
    NotFound(String),
    /// The state of things does not allow it: 4.
    Conflict(String),
    /// The watched task ended failed or cancelled: 6. The watching has said so.
    TaskFailed,
    /// A request failed: by its problem, 1, 3, 4 or 7; without an answer, 5.
    Request(Box<ClientError>),
    /// A request to a server that the program itself had started failed; its log is in this file.
    Own(Box<ClientError>, PathBuf),
    /// Nobody reads the output any more: 0, as a pipe into `head` is no mistake.
    Unread,
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Says of a failed request that it went to a server of the program's own, whose log is in this file.
    pub(crate) fn of_own_server(self, log: &Path) -> Self {
        match self {
            Self::Request(error) => Self::Own(error, log.to_owned()),
            other => other,
        }
    }

    /// Names the fields of a refused request by the flags (`(field, flag)`) that they came from.
    pub(crate) fn by_flags(mut self, flags: &[(&str, &str)]) -> Self {
        if let Self::Request(error) = &mut self
            && let ClientError::Problem(problem) = &mut **error
        {
            words::by_flags(problem, flags);
        }
        self
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Failed(_) | Self::Found => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Conflict(_) => 4,
            Self::TaskFailed => 6,
            Self::Request(error) | Self::Own(error, _) => match &**error {
                error if error.is_denied() => 7,
                ClientError::Problem(problem) => match problem.status {
                    404 => 3,
                    409 => 4,
                    _ => 1,
                },
                ClientError::Unreachable { .. } => 5,
                ClientError::Address { .. } => 2,
                _ => 1,
            },
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Request(Box::new(error))
    }
}
