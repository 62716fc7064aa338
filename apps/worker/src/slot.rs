//! One slot: a task is run in it, its outcome delivered, and then the task that came along with that.

use std::sync::Arc;
use std::time::Duration;

use baton_api::task::TaskView;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use crate::attempt;
use crate::deliver::{Delivered, Detoured, deliver};
use crate::ends::{Ends, LeftOver};
use crate::follow::follow;
use crate::outcome::Outcome;
use crate::shared::{Listed, Shared};
use crate::spans::{self, Begun};
use crate::stop::Phase;

/// How long a task waits for a slot that a claim for several has brought and no slot has asked for.
const PLACING: Duration = Duration::from_secs(5);
/// Why a task is given back that there is no slot for.
const NO_SLOT: &str = "the worker has no free slot for it any more";

/// Runs a task that has been counted, and those that come along with its completion, in one slot.
pub(crate) fn run(
    shared: &Arc<Shared>,
    ends: &Arc<Ends>,
    task: TaskView,
    permit: Option<OwnedSemaphorePermit>,
) {
    let listed = shared.list(task.id, task.attempt);
    run_listed(shared, ends, task, listed, permit);
}

fn run_listed(
    shared: &Arc<Shared>,
    ends: &Arc<Ends>,
    task: TaskView,
    listed: Listed,
    permit: Option<OwnedSemaphorePermit>,
) {
    let (shared, ends) = (Arc::clone(shared), Arc::clone(ends));
    tokio::spawn(async move {
        let mut current = Some((task, listed));
        while let Some((task, listed)) = current {
            current = attempt(&shared, &ends, task, listed).await;
        }
        drop(permit);
    });
}

/// Runs a task's command and delivers its outcome. The answer is the next task, if the delivery brought one.
async fn attempt(
    shared: &Arc<Shared>,
    ends: &Arc<Ends>,
    mut task: TaskView,
    listed: Listed,
) -> Option<(TaskView, Listed)> {
    let span = tracing::info_span!(
        "attempt",
        task_id = %task.id,
        task_type = %task.task_type,
        queue = %task.queue,
        domain = task.domain.as_ref().map(|domain| domain.as_str()),
        attempt = task.attempt,
        worker_id = %shared.options.id,
    );
    async {
        tracing::info!("claimed");
        let listed = Arc::new(listed);
        let began = Instant::now();
        let spanned = Begun::run(shared, &mut task);
        let (mut outcome, rest) = attempt::run(shared, &task, &listed).await;
        if let Outcome::Done(done) = &mut outcome {
            // Told with the outcome: until that is delivered, it may have to wait for the server.
            done.ran.get_or_insert(began.elapsed());
        }
        let outcome_told = spanned.as_ref().map(|_| spans::Told::of(&outcome));
        let delivering = async {
            let delivery = spanned.as_ref().map(|run| run.delivery(shared));
            let delivered = deliver(shared, ends, &task, outcome, delivery.as_ref().map(Begun::at)).await;
            if let Some(delivery) = delivery {
                delivery.delivered(&delivered);
            }
            delivered
        };
        let (delivered, ()) = tokio::join!(delivering, rest.end());
        if let Some((spanned, told)) = spanned.zip(outcome_told) {
            spanned.has_run(shared, &task, told);
        }
        let next = match delivered {
            Delivered::Over(next) => *next?,
            Delivered::Nowhere(_) => return None,
            Delivered::Detoured(detoured) => {
                confirm_later(shared, ends, task, detoured, listed);
                return None;
            }
        };
        shared.count(|counts| counts.claimed += 1);
        if !shared.may_claim() {
            give_back(shared, ends, next, "the worker ends").await;
            return None;
        }
        let next_listed = shared.list(next.id, next.attempt);
        Some((next, next_listed))
    }
    .instrument(span)
    .await
}

/// Gives a task back that came along with a completion and cannot be run here.
async fn give_back(shared: &Arc<Shared>, ends: &Arc<Ends>, task: TaskView, reason: &str) {
    let listed = shared.list(task.id, task.attempt);
    give_back_listed(shared, ends, task, listed, reason).await;
}

async fn give_back_listed(
    shared: &Arc<Shared>,
    ends: &Arc<Ends>,
    task: TaskView,
    listed: Listed,
    reason: &str,
) {
    let listed = Arc::new(listed);
    let outcome = Outcome::Released { delay: Duration::ZERO, reason: reason.to_owned() };
    if let Delivered::Detoured(detoured) = deliver(shared, ends, &task, outcome, None).await {
        confirm_later(shared, ends, task, detoured, listed);
    }
}

/// Has the server confirm in the background what went by the detour.
fn confirm_later(
    shared: &Arc<Shared>,
    ends: &Arc<Ends>,
    task: TaskView,
    detoured: Detoured,
    listed: Arc<Listed>,
) {
    let Detoured { told, claim } = detoured;
    let follower = {
        let (shared, ends) = (Arc::clone(shared), Arc::clone(ends));
        async move {
            if let Some(next) = follow(&shared, &task, told, &listed).await {
                take_up(&shared, &ends, next).await;
            }
            // Whatever the claim has brought is on the list by now.
            drop(claim);
        }
    };
    shared.follow(follower.in_current_span());
}

/// Runs a task that came along with an answer which was lost at first, if there is a slot for it by now.
async fn take_up(shared: &Arc<Shared>, ends: &Arc<Ends>, next: TaskView) {
    shared.count(|counts| counts.claimed += 1);
    let permit = Arc::clone(&shared.slots).try_acquire_owned();
    match permit {
        Ok(permit) if shared.may_claim() => run(shared, ends, next, Some(permit)),
        Ok(_) => give_back(shared, ends, next, "the worker ends").await,
        Err(_) => give_back(shared, ends, next, NO_SLOT).await,
    }
}

/// Has each task that is left over wait for a slot.
pub(crate) async fn place_left_over(
    shared: Arc<Shared>,
    ends: Arc<Ends>,
    mut left_over: mpsc::UnboundedReceiver<LeftOver>,
) {
    while let Some(LeftOver { task, listed }) = left_over.recv().await {
        let (placing, ends) = (Arc::clone(&shared), Arc::clone(&ends));
        shared.follow(async move {
            place(&placing, &ends, task, listed).await;
            ends.placed();
        });
    }
}

/// Runs a task that a claim for several slots has brought, once a slot is free; or gives it back, if none is for a while.
async fn place(shared: &Arc<Shared>, ends: &Arc<Ends>, task: TaskView, listed: Listed) {
    shared.count(|counts| counts.claimed += 1);
    let free = timeout(PLACING, Arc::clone(&shared.slots).acquire_owned());
    let permit = tokio::select! {
        permit = free => permit.ok().and_then(Result::ok),
        () = shared.stop.reached(Phase::Drain) => None,
    };
    match permit {
        Some(permit) if shared.may_claim() => run_listed(shared, ends, task, listed, Some(permit)),
        _ if !shared.may_claim() => give_back_listed(shared, ends, task, listed, "the worker ends").await,
        _ => give_back_listed(shared, ends, task, listed, NO_SLOT).await,
    }
}
