//! How a command can fail, what is said then, and the exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use baton_api::FieldError;
use baton_client::ClientError;

use crate::context::Context;
use crate::words;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something is wrong that is not told apart further: 1.
    Failed(String),
    /// The command line or a setting is wrong: 2.
    Usage(String),
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

    fn code(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Failed(_) => 1,
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

    /// Says on stderr what went wrong and what to do next.
    pub(crate) fn tell(&self, context: &Context) -> ExitCode {
        let out = &context.out;
        match self {
            Self::Unread | Self::TaskFailed => {}
            Self::Failed(message)
            | Self::Usage(message)
            | Self::NotFound(message)
            | Self::Conflict(message) => out.error(message),
            Self::Request(error) => {
                tell_request(context, error);
                match &**error {
                    ClientError::Problem(problem) => {
                        let id = problem.request_id.as_deref().map(|id| format!(", request {id}"));
                        let page = format!("{}{}", context.server.trim_end_matches('/'), problem.page);
                        out.note(&format!("about this error: {page}{}", id.unwrap_or_default()));
                    }
                    ClientError::Unreachable { .. } => out.note(
                        "start a server with `baton serve`, or name another with --server or BATON_URL",
                    ),
                    _ => {}
                }
            }
            // That server has ended with the program: it explains no error any more.
            Self::Own(error, log) => {
                tell_request(context, error);
                let id = error.problem().and_then(|problem| problem.request_id.as_deref());
                let id = id.map(|id| format!(" (request {id})")).unwrap_or_default();
                out.note(&format!(
                    "it came from a server started for this run{id}; see its log, {}",
                    log.display()
                ));
            }
        }
        ExitCode::from(self.code())
    }
}

/// Says what a server answered, or that none did.
fn tell_request(context: &Context, error: &ClientError) {
    let out = &context.out;
    match error {
        ClientError::Problem(problem) => {
            let detail = words::for_the_tool(&problem.detail);
            out.error(&format!("{} ({}): {detail}", problem.title, problem.code));
            // A single wrong field is told by the detail already.
            let told = |field: &&FieldError| !problem.detail.contains(&field.to_string());
            for field in problem.errors.iter().filter(told) {
                out.note(&format!("  {field}"));
            }
        }
        ClientError::Unreachable { url, cause, .. } => out.error(&format!("no answer from {url}: {cause}")),
        ClientError::Address { given, .. } if !given.contains("://") => {
            out.error(&format!("--server (or BATON_URL): expected http://HOST:PORT, got {given:?}"));
        }
        other => out.error(&other.to_string()),
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Request(Box::new(error))
    }
}
