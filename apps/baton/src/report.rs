//! What is said on stderr when a command fails.

use std::process::ExitCode;

use baton_api::FieldError;
use baton_client::ClientError;

use crate::context::Context;
use crate::exit::Failure;
use crate::words;

/// Says on stderr what went wrong and what to do next.
pub(crate) fn tell(failure: &Failure, context: &Context) -> ExitCode {
    let out = &context.out;
    match failure {
        Failure::Unread | Failure::TaskFailed | Failure::Found => {}
        Failure::Failed(message)
        | Failure::Usage(message)
        | Failure::NotFound(message)
        | Failure::Conflict(message) => out.error(message),
        Failure::Request(error) => {
            tell_request(context, error);
            match &**error {
                ClientError::Problem(problem) => {
                    let id = problem.request_id.as_deref().map(|id| format!(", request {id}"));
                    let page = format!("{}{}", context.server.trim_end_matches('/'), problem.page);
                    out.note(&format!("about this error: {page}{}", id.unwrap_or_default()));
                }
                ClientError::Unreachable { .. } => {
                    out.note("start a server with `baton serve`, or name another with --server or BATON_URL")
                }
                _ => {}
            }
        }
        // That server has ended with the program: it explains no error any more.
        Failure::Own(error, log) => {
            tell_request(context, error);
            let id = error.problem().and_then(|problem| problem.request_id.as_deref());
            let id = id.map(|id| format!(" (request {id})")).unwrap_or_default();
            out.note(&format!(
                "it came from a server started for this run{id}; see its log, {}",
                log.display()
            ));
        }
    }
    ExitCode::from(failure.code())
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
