//! Claims: asks for as many tasks as there are free slots, and puts each into one.

use std::sync::Arc;
use std::time::Duration;

use baton_api::ProblemCode;
use baton_api::claim::ClaimRequest;
use baton_api::claim::ClaimView;
use baton_client::Listener;
use baton_model::limits;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ends::Ends;
use crate::options::WorkerError;
use crate::reach::Judgement;
use crate::retry::{jittered, worth_another_try};
use crate::shared::Shared;
use crate::slot;
use crate::stop::Phase;

/// The longest pause between two tries while the server is out of reach.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The pause after a claim that found nothing and did not wait, as when the queue is paused.
const NOTHING_PAUSE: Duration = Duration::from_secs(1);

/// Claims until the worker is to end.
///
/// # Errors
/// [`WorkerError::Refused`], if the server would refuse every further claim too; [`WorkerError::Superseded`].
pub(crate) async fn claims(shared: &Arc<Shared>, ends: &Arc<Ends>) -> Result<(), WorkerError> {
    let mut known = shared.known.subscribe();
    tokio::select! {
        _ = known.wait_for(|known| *known) => {}
        () = shared.stop.reached(Phase::Drain) => return Ok(()),
    }
    let mut listener = shared.options.ready.clone().map(Listener::new);
    loop {
        let permits = tokio::select! {
            permits = slots(shared) => permits,
            () = shared.stop.reached(Phase::Drain) => return Ok(()),
        };
        let request = ClaimRequest {
            wait_seconds: Some(shared.options.wait.min(limits::CLAIM_WAIT)),
            ..shared.claim_request(u32::try_from(permits.len()).unwrap_or(limits::CLAIM_TASKS))
        };
        let begun = Instant::now();
        let answer = tokio::select! {
            answer = answered(shared, listener.as_mut(), &request) => answer,
            () = shared.stop.reached(Phase::Drain) => {
                shared.give_back_claimed(request).await;
                return Ok(());
            }
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // What runs is not brought down by it: it is finished and delivered.
                shared.stop.drain();
                return Err(error);
            }
        };
        let empty = answer.tasks.is_empty();
        take_up(shared, ends, answer, permits);
        if empty && begun.elapsed() < shared.options.wait / 2 {
            tokio::select! {
                () = sleep(NOTHING_PAUSE.min(shared.options.wait)) => {}
                () = shared.stop.reached(Phase::Drain) => {}
            }
        }
    }
}

/// Waits until a task can be run. Takes all free slots, or as many as are to be tried after programs could not be started.
async fn slots(shared: &Shared) -> Vec<OwnedSemaphorePermit> {
    loop {
        let permits = free_slots(shared).await;
        // Of the slot's last program, perhaps: so this is looked at when the slot is free.
        let Some(until) = shared.starts.paused_until(Instant::now()) else { return permits };
        // A claim that waits for nothing but the pause must not hold slots that a late answer may bring tasks for.
        drop(permits);
        sleep_until(until).await;
    }
}

async fn free_slots(shared: &Shared) -> Vec<OwnedSemaphorePermit> {
    let Ok(first) = Arc::clone(&shared.slots).acquire_owned().await else {
        // The semaphore is never closed.
        return std::future::pending().await;
    };
    let most = shared.starts.most().unwrap_or(limits::CLAIM_TASKS).min(limits::CLAIM_TASKS);
    let mut permits = vec![first];
    while permits.len() < most as usize
        && let Ok(permit) = Arc::clone(&shared.slots).try_acquire_owned()
    {
        permits.push(permit);
    }
    permits
}

/// Sends one claim until it is answered: under its own name, so that leases of an answer that was lost are not.
async fn answered(
    shared: &Shared,
    mut listener: Option<&mut Listener>,
    request: &ClaimRequest,
) -> Result<ClaimView, WorkerError> {
    let mut pause = Duration::from_millis(500);
    loop {
        let answer = match &mut listener {
            Some(listener) => listener.claim(&shared.client, request).await,
            None => shared.client.claim(request).await,
        };
        let error = match answer {
            Ok(answer) => {
                shared.claims.taken(Instant::now());
                return Ok(answer);
            }
            Err(error) => error,
        };
        if error.code() == Some(ProblemCode::SessionSuperseded) {
            return Err(shared.superseded());
        }
        if !worth_another_try(&error) {
            return Err(WorkerError::Refused(error));
        }
        // Where heartbeats are not taken either, they say so: one voice for one outage.
        if (error.is_denied() || !shared.beats.waits())
            && shared.claims.failed(&error, shared.options.denied_patience, Instant::now()) == Judgement::End
        {
            return Err(WorkerError::Refused(error));
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Starts what a claim has brought, each task in a slot.
fn take_up(shared: &Arc<Shared>, ends: &Arc<Ends>, answer: ClaimView, permits: Vec<OwnedSemaphorePermit>) {
    if let Some(directive) = answer.nothing.as_ref().and_then(|nothing| nothing.directive) {
        shared.obey(directive);
    }
    let mut permits = permits.into_iter();
    for task in answer.tasks {
        // The server gives no more tasks than it was asked for; if it did, the surplus would run all the same.
        shared.count(|counts| counts.claimed += 1);
        slot::run(shared, ends, task, permits.next());
    }
}
