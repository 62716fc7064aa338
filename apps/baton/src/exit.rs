//! How a command can fail, what is said then, and the exit code.

use std::process::ExitCode;

use baton_client::ClientError;

use crate::context::Context;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something is wrong that is not told apart further: 1.
    Failed(String),
    /// The command line or a setting is wrong: 2.
    Usage(String),
    /// What was named does not exist: 3.
    NotFound(String),
    /// The watched task ended failed or cancelled: 6. The watching has said so.
    TaskFailed,
    /// A request failed: by its problem, 1, 3 or 4; without an answer, 5.
    Request(Box<ClientError>),
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

    fn code(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::TaskFailed => 6,
            Self::Request(error) => match &**error {
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

    /// Says on stderr what went wrong and what to do next.
    pub(crate) fn tell(&self, context: &Context) -> ExitCode {
        let out = &context.out;
        match self {
            Self::Unread | Self::TaskFailed => {}
            Self::Failed(message) | Self::Usage(message) | Self::NotFound(message) => out.error(message),
            Self::Request(error) => match &**error {
                ClientError::Problem(problem) => {
                    out.error(&format!("{} ({}): {}", problem.title, problem.code, problem.detail));
                    for field in &problem.errors {
                        out.note(&format!("  {field}"));
                    }
                    let id = problem.request_id.as_deref().map(|id| format!(", request {id}"));
                    out.note(&format!(
                        "about this error: {}{}{}",
                        context.server.trim_end_matches('/'),
                        problem.page,
                        id.unwrap_or_default()
                    ));
                }
                ClientError::Unreachable { url, cause, .. } => {
                    out.error(&format!("no answer from {url}: {cause}"));
                    out.note("start a server with `baton serve`, or name another with --server or BATON_URL");
                }
                other => out.error(&other.to_string()),
            },
        }
        ExitCode::from(self.code())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Request(Box::new(error))
    }
}
