//! Requests that come as messages of a queue instead of over HTTP: the same bodies, read by the same rules, refused with
//! the same problems. Nobody waits for an answer, so that all there is to say is what is to become of the message.

use baton_api::ReadFields;

use crate::error::ApiError;

/// A message of a queue. Who may write to the queue is whom its messages are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The queue's own id of it: the same each time that the message comes.
    pub id: String,
    /// What was put into the queue.
    pub body: String,
}

impl Message {
    /// Reads the body as a request.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read<T: ReadFields>(&self, limits: &T::Limits) -> Result<T, ApiError> {
        Ok(T::from_json(&self.body, limits)?)
    }
}

impl ApiError {
    /// Whether the same request may succeed later, as what was in the way may pass; else it never will.
    pub fn may_pass(&self) -> bool {
        // 501 is said of the request's own form.
        matches!(self.code().status(), 408 | 429 | 500 | 502..)
    }
}

#[cfg(test)]
mod tests {
    use baton_api::ProblemCode;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_request_never_passes_and_what_is_wrong_with_the_server_may() {
        for code in ProblemCode::ALL {
            let passing = [
                ProblemCode::TooManyRequests,
                ProblemCode::Busy,
                ProblemCode::StorageFull,
                ProblemCode::StorageUnavailable,
                ProblemCode::OutcomeUnknown,
                ProblemCode::RequestTimeout,
                ProblemCode::Internal,
                ProblemCode::ServerUnreachable,
            ];
            assert_eq!(ApiError::new(*code, "x; y").may_pass(), passing.contains(code), "{code}");
        }
    }
}
