//! What became of an outcome that went by the detour: it is told to the server too, once that can be reached.
//!
//! Until then heartbeats go on listing the attempt, so that a server which is back before it has read the queue does not
//! take the task for a forgotten one. The slot is free meanwhile.

use std::time::Duration;

use baton_api::task::TaskView;
use tokio::time::{Instant, sleep};

use crate::deliver::answered;
use crate::retry::{is_refusal, jittered, worth_another_try};
use crate::shared::{Listed, Shared};
use crate::told::Told;

/// The pause before the server is tried again at first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Tells the server an outcome that went by the detour until it says what became of it. The answer is the task that
/// the completion brought along, if its first answer was lost.
pub(crate) async fn follow(
    shared: &Shared,
    task: &TaskView,
    mut told: Told,
    listed: &Listed,
) -> Option<TaskView> {
    let mut pause = FIRST_PAUSE;
    let mut ended = None;
    let mut denied: Option<Instant> = None;
    loop {
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            // By what the queue brought, most likely: the answer to the same again tells.
            why = listed.lost(), if ended.is_none() => ended = Some(why),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        let error = match told.send(&shared.client, task.id).await.answer {
            Ok(answer) => {
                shared.count(|counts| counts.unconfirmed -= 1);
                tracing::info!(outcome = told.name(), "the server has the outcome that went by the detour");
                return answered(shared, answer, &told);
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
            return None;
        }
        if error.is_denied()
            && denied.get_or_insert_with(Instant::now).elapsed() >= shared.options.denied_patience
        {
            tracing::error!(%error, outcome = told.name(), "the server does not take this outcome from this worker; it went by the detour");
            return None;
        }
        if !worth_another_try(&error) {
            match told.instead(shared, task, &error) {
                Some(smaller) => {
                    tracing::warn!(%error, outcome = told.name(), "the server does not take this outcome; the attempt is failed instead");
                    told = smaller;
                    continue;
                }
                None => {
                    tracing::error!(%error, outcome = told.name(), "the server does not take this outcome; it went by the detour");
                    return None;
                }
            }
        }
        if let Some(reason) = ended {
            tracing::info!(%error, reason, outcome = told.name(), "the attempt has ended; the task's history says how");
            return None;
        }
    }
}
