//! Which answers are worth another try, which are not, and how long to pause before it.

use std::time::Duration;

use baton_api::ProblemCode;
use baton_client::ClientError;

/// Whether the same request may be taken later: the server is out of reach or out of order, something else answers in its
/// place for now, or it does not take the token, which it may again: who asks has to see for how long that is so.
pub(crate) fn worth_another_try(error: &ClientError) -> bool {
    if error.is_denied() {
        return true;
    }
    let status = match error {
        ClientError::Problem(problem) => problem.status,
        ClientError::Unexpected { .. } => return true,
        _ => return error.is_passing(),
    };
    error.is_passing() || status >= 500
}

/// Whether the server is out of reach or out of order, so that an outcome may go another way. What it refuses, it refuses
/// on every way; a token that is not good any more least of all opens another.
pub(crate) fn out_of_reach(error: &ClientError) -> bool {
    let status = match error {
        ClientError::Problem(problem) => problem.status,
        ClientError::Unexpected { status, .. } => *status,
        _ => return error.is_passing(),
    };
    error.is_passing() || !(400..500).contains(&status)
}

/// A pause less up to half of itself, so that workers which failed together do not try again together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

/// Whether the server says that the attempt is no longer this worker's.
pub(crate) fn is_refusal(error: &ClientError) -> bool {
    error.problem().is_some_and(|problem| problem.status == 409)
        || error.code() == Some(ProblemCode::TaskNotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gateway_turns_away_in_its_own_words_is_tried_again_and_goes_another_way_if_it_may() {
        // API Gateway's throttle; Lambda's, for lack of concurrency; a function that could not be called, or was too slow.
        for status in [429, 500, 502, 503, 504] {
            let got = format!("{status}");
            let away =
                ClientError::Unexpected { url: "https://example.org/v1/claims".to_owned(), status, got };
            assert!(worth_another_try(&away) && !away.is_misfit() && !is_refusal(&away), "{status}");
            assert!(out_of_reach(&away), "{status}: an outcome need not wait for room");
        }
    }
}
