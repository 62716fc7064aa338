//! Refilling the queues that a claim has come to, where nothing else looks after them: between two requests, a function on AWS does
//! nothing.

use baton_http::App;
use baton_store::{Claim, ClaimAnswer, StoreError, refill_some};

/// Claims. Where nobody looks after queues with a supply, those are refilled that the claim came to; and if it was given nothing, it
/// looks again.
pub(crate) async fn claim(app: &App, claim: Claim) -> Result<ClaimAnswer, StoreError> {
    if app.doorbell.supplied().is_attended() {
        return app.store.claim(claim).await;
    }
    let answer = app.store.claim(claim.clone()).await?;
    let given = match &answer {
        ClaimAnswer::Leased(tasks) => tasks.len(),
        ClaimAnswer::Nothing(_) => 0,
    };
    let is_refilled = refill(app, given < claim.max_tasks as usize).await;
    if given > 0 || !is_refilled {
        return Ok(answer);
    }
    app.store.claim(claim).await
}

/// Refills what was heard of; says whether tasks were created. `short`: a claim was given less than it asked for.
async fn refill(app: &App, short: bool) -> bool {
    let queues = app.doorbell.supplied().unattended(short);
    if queues.is_empty() {
        return false;
    }
    let report = refill_some(
        &*app.store,
        queues,
        || app.now(),
        |queue, error| {
            tracing::warn!(%queue, error = error.report(), "a queue could not be refilled; the reaper's round will");
        },
    );
    report.await.created > 0
}
