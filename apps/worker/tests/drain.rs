//! A worker that drains while a claim of it is on its way.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but does not know their helpers")]

mod support;

use baton_model::EventKind::{Claimed, Released};
use baton_model::Status;
use support::{Road, World, ended, until};

#[tokio::test]
async fn a_claim_that_is_heard_after_the_drain_leaves_no_task_with_a_worker_that_has_ended() {
    let world = World::new().await;
    world.road(Road::FirstClaimLate);
    let (stop, worker) = world.worker(1);
    let held = until("a claim is on its way", async || world.gate.held.lock().unwrap().take()).await;
    // So that no other is held up.
    world.road(Road::Open);
    let id = world.create("exit 1").await;
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.claimed, summary.released), (0, 1));
    world.gate.hear_claim.notify_one();
    held.await.unwrap();
    let task = world.becomes(id, Status::Queued).await;
    assert_eq!((task.task.attempts_used, world.history(id).await), (0, vec![Claimed, Released]));
}
