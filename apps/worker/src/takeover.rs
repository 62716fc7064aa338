//! Two starts of one name: says in the log of both what happened, and what to set.

use std::time::Duration;

use baton_api::fleet::WorkerView;
use baton_client::ClientError;
use baton_model::WorkerStatus;
use tokio::time::timeout;

use crate::shared::Shared;

/// How long the first heartbeat waits for the look.
const PATIENCE: Duration = Duration::from_secs(2);
/// What to set, in the words of the log.
const ADVICE: &str = "give each worker a name of its own (--id), or leave --id out";

/// Looks, before the first heartbeat, whether another start of this worker's name was at work just now. The answer is
/// whether the server has said so or not.
pub(crate) async fn look_before(shared: &Shared) -> bool {
    let earlier = match timeout(PATIENCE, known(shared)).await {
        Ok(Ok(earlier)) => earlier,
        // Nobody knows the name yet.
        Ok(Err(error)) if error.problem().is_some_and(|problem| problem.status == 404) => return true,
        // What is wrong is said by the heartbeat that follows.
        Ok(Err(_)) | Err(_) => return false,
    };
    let speaks =
        matches!(earlier.status, WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Stopping);
    if speaks && earlier.session_id.is_some_and(|session| session != shared.session) {
        tell(
            shared,
            &earlier,
            "this start takes the place of an earlier one that beat a moment ago, and what it holds is \
             taken back; if the earlier one still runs, it ends now",
        );
    }
    true
}

/// Says who has taken this start's place.
pub(crate) async fn tell_successor(shared: &Shared) {
    match known(shared).await {
        Ok(later) => {
            tell(shared, &later, "another start has taken the place of this one, which has ended what it ran")
        }
        Err(error) => {
            tracing::warn!(worker_id = %shared.options.id, %error, "it could not be asked who has taken this start's place");
        }
    }
}

async fn known(shared: &Shared) -> Result<WorkerView, ClientError> {
    shared.client.with_deadline(Duration::ZERO).worker(&shared.options.id).await
}

fn tell(shared: &Shared, other: &WorkerView, what: &str) {
    let label = |name: &str| other.labels.get(name).cloned().unwrap_or_default();
    tracing::warn!(
        worker_id = %shared.options.id,
        session_id = %shared.session,
        other_session = other.session_id.map(|session| session.to_string()),
        other_host = label("host"),
        other_pid = label("pid"),
        other_started_at = %other.started_at,
        other_holds = other.active,
        "two starts of one name: {what}; {ADVICE}"
    );
}
