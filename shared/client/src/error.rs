//! What can go wrong with a request.

use std::sync::Arc;

use baton_api::{Problem, ProblemCode};

/// Why a request brought no answer that was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server refused, and said why.
    #[error("{} ({}): {}", .0.title, .0.code, .0.detail)]
    Problem(Box<Problem>),
    /// No answer came.
    #[error("no answer from {url}: {cause}; {}", advice(source))]
    Unreachable {
        /// The server's address.
        url: String,
        /// What happened, in short.
        cause: String,
        /// Whether the request may have reached the server.
        untouched: Untouched,
        /// The whole of it.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Something answered, but not as Baton does.
    #[error("{}", unexpected(url, *status, got))]
    Unexpected {
        /// The address asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What came.
        got: String,
    },
    /// The server's address is none.
    #[error("expected a server's address such as http://127.0.0.1:7410, got {given:?}: {reason}")]
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that was put elsewhere is not what stands under its name.
    #[error("the file {name} was not kept; another stands under its name")]
    NotKept {
        /// The name.
        name: String,
    },
    /// The request could not be written as JSON.
    #[error("the request cannot be written as JSON")]
    Request(#[source] Arc<serde_json::Error>),
}

/// Whether a request without an answer may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untouched {
    /// It never reached the server.
    Yes,
    /// It may have reached it.
    Unknown,
}

const TOO_LONG: &str = "it took too long";

/// What to do about a request without an answer.
fn advice(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let code = std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<std::io::Error>()?.raw_os_error());
    match code {
        // ENFILE and EMFILE, which have no `ErrorKind` of their own.
        Some(23 | 24) => {
            "there is no open file left for the connection: raise the limit (ulimit -n), or do less at once"
        }
        _ => "check that the server runs there, or name another",
    }
}

/// What an answer that is not Baton's means: most often that no Baton is there. A refusal of the token is what a gateway
/// says on Baton's behalf, such as API Gateway where the authorizer lets nobody through.
fn unexpected(url: &str, status: u16, got: &str) -> String {
    if denies(status) {
        return format!(
            "a gateway before {url} answers {got}: expected a token that it takes; check that BATON_TOKEN, or the file of \
             BATON_TOKEN_FILE, holds one that has not ended and was not revoked, and that its scope allows this request"
        );
    }
    format!(
        "expected an answer of Baton from {url}, got {got}; check that a Baton server of this version is there"
    )
}

impl ClientError {
    /// The problem, if the server told one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The problem's code, if the server told one that is known here.
    pub fn code(&self) -> Option<ProblemCode> {
        self.problem().and_then(|problem| ProblemCode::by_name(&problem.code))
    }

    /// Whether the same request may well succeed later: no answer, or a server that is busy or out of order.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem(problem) => passing_status(problem.status),
            Self::Unexpected { status, .. } => passing_status(*status),
            Self::Address { .. } | Self::NotKept { .. } | Self::Request(_) => false,
        }
    }

    /// Whether the token that was presented, or that none was, is in the way: the same request with the same token will not
    /// succeed later either.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Problem(problem) => denies(problem.status),
            Self::Unexpected { status, .. } => denies(*status),
            _ => false,
        }
    }

    /// Whether the server does not know the route: it is older than this client. A gateway before it may answer in its place.
    pub fn is_unknown_route(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.code == ProblemCode::RouteNotFound.as_str(),
            Self::Unexpected { status, .. } => *status == 404,
            _ => false,
        }
    }

    /// Whether the request itself is not taken, by the server or by a gateway before it, so that a smaller one may be.
    pub fn is_misfit(&self) -> bool {
        match self.status() {
            Some(status) => {
                (400..500).contains(&status) && status != 404 && !self.is_passing() && !self.is_denied()
            }
            None => !self.is_passing(),
        }
    }

    /// The HTTP status, if something answered.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Unexpected { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether it is certain that the server has changed nothing.
    pub fn is_untouched(&self) -> bool {
        match self {
            Self::Unreachable { untouched, .. } => *untouched == Untouched::Yes,
            Self::Problem(problem) => matches!(
                ProblemCode::by_name(&problem.code),
                Some(
                    ProblemCode::Busy
                        | ProblemCode::StorageFull
                        | ProblemCode::StorageUnavailable
                        | ProblemCode::TooManyRequests
                )
            ),
            Self::Unexpected { .. } | Self::Address { .. } | Self::NotKept { .. } | Self::Request(_) => false,
        }
    }

    /// What a request that got no answer means, of the server at `base`.
    pub fn unreachable(base: &str, error: reqwest::Error) -> Self {
        let untouched = if error.is_connect() { Untouched::Yes } else { Untouched::Unknown };
        let cause = if error.is_timeout() {
            TOO_LONG.to_owned()
        } else {
            // reqwest's own text is only "error sending request"; the reason lies at the end of the chain.
            let mut deepest: &dyn std::error::Error = &error;
            while let Some(source) = deepest.source() {
                deepest = source;
            }
            deepest.to_string()
        };
        let source = Arc::new(error.without_url());
        Self::Unreachable { url: base.to_owned(), cause, untouched, source }
    }

    /// No answer of the server at `base` came in time.
    pub fn too_late(base: &str, elapsed: tokio::time::error::Elapsed) -> Self {
        let (url, cause) = (base.to_owned(), TOO_LONG.to_owned());
        Self::Unreachable { url, cause, untouched: Untouched::Unknown, source: Arc::new(elapsed) }
    }
}

fn denies(status: u16) -> bool {
    matches!(status, 401 | 403)
}

/// 408, 429 and 503 are Baton's own; 502 and 504 come from gateways before it.
fn passing_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_open_files_is_not_taken_for_a_server_that_is_away() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect")]
        struct Connect(#[source] std::io::Error);

        let without = Connect(std::io::Error::from_raw_os_error(24));
        assert!(advice(&without).contains("ulimit -n"), "{}", advice(&without));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(advice(&refused).starts_with("check that the server runs there"));
    }
}
