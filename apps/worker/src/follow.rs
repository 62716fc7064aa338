//! What became of an outcome that went by the detour: it is told to the server too, once that can be reached.
//!
//! Until then heartbeats go on listing the attempt, so that a server which is back before it has read the queue does not
//! take the task for a forgotten one. The slot is free meanwhile.

use std::sync::Arc;
use std::time::Duration;

use baton_api::task::TaskView;
use tokio::time::sleep;
use tracing::Instrument as _;

use crate::claim::{jittered, run_in, worth_another_try};
use crate::deliver::{LONGEST_PAUSE, Told, answered, give_back, is_refusal};
use crate::shared::{Listed, Shared, UnheardClaim};

/// The pause before the server is tried again at first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Follows an outcome in the background. `claim` is the one in it, if it may have been granted.
pub(crate) fn follow(
    shared: &Arc<Shared>,
    task: TaskView,
    told: Told,
    listed: Arc<Listed>,
    claim: Option<UnheardClaim>,
) {
    let follower = until_confirmed(Arc::clone(shared), task, told, listed);
    let follower = async move {
        follower.await;
        // Whatever the claim has brought is on the list by now.
        drop(claim);
    };
    shared.follow(follower.in_current_span());
}

async fn until_confirmed(shared: Arc<Shared>, task: TaskView, mut told: Told, listed: Arc<Listed>) {
    let client = shared.client.with_deadline(Duration::ZERO);
    let mut pause = FIRST_PAUSE;
    let mut ended = None;
    loop {
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            // By what the queue brought, most likely: the answer to the same again tells.
            why = listed.lost(), if ended.is_none() => ended = Some(why),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        let error = match told.send(&client, &task).await {
            Ok(answer) => {
                shared.count(|counts| counts.unconfirmed -= 1);
                tracing::info!(outcome = told.name(), "the server has the outcome that went by the detour");
                if let Some(next) = answered(&shared, answer, &told).await {
                    take_up(&shared, next).await;
                }
                return;
            }
            Err(error) => error,
        };
        if is_refusal(&error) {
            if let Told::Complete(_) = told {
                shared.count(|counts| {
                    counts.unconfirmed -= 1;
                    counts.lost += 1;
                });
                tracing::warn!(%error, outcome = told.name(), "the outcome came too late: the attempt was no longer this worker's");
            } else {
                // Another attempt may have begun since the detour brought it.
                tracing::info!(%error, outcome = told.name(), "the attempt has ended; the task's history says how");
            }
            return;
        }
        if !worth_another_try(&error) {
            match told.instead(&shared, &task, &error) {
                Some(smaller) => {
                    tracing::warn!(%error, outcome = told.name(), "the server does not take this outcome; the attempt is failed instead");
                    told = smaller;
                    continue;
                }
                None => {
                    tracing::error!(%error, outcome = told.name(), "the server does not take this outcome from this worker; it went by the detour");
                    return;
                }
            }
        }
        if let Some(reason) = ended {
            tracing::info!(%error, reason, outcome = told.name(), "the attempt has ended; the task's history says how");
            return;
        }
    }
}

/// Runs a task that came along with an answer which was lost at first, if there is a slot for it by now.
async fn take_up(shared: &Arc<Shared>, next: TaskView) {
    match Arc::clone(&shared.slots).try_acquire_owned() {
        Ok(permit) => run_in(shared, next, Some(permit)),
        Err(_) => give_back(shared, &next, "the worker has no free slot for it any more").await,
    }
}
