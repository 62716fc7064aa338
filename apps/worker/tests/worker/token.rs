//! A worker whose token is not taken, by the server itself or by a gateway before it: the same becomes of both.

use std::time::Duration;

use baton_model::EventKind::{Claimed, Completed};
use baton_model::Status;
use baton_worker::{Summary, WorkerError};
use tokio::task::JoinHandle;

use crate::support::{PATIENCE, Road, World, ended, until};

/// The ways in which a token is refused.
const REFUSALS: [Road; 3] = [Road::Ended, Road::Unauthorized, Road::Forbidden];

/// Waits until the worker ends because its token is not taken.
async fn denied(worker: JoinHandle<Result<Summary, WorkerError>>) {
    match tokio::time::timeout(PATIENCE, worker).await.unwrap().unwrap() {
        Err(WorkerError::Refused(error)) => assert!(error.is_denied(), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_that_was_never_taken_ends_the_worker_at_once() {
    let world = World::new().await;
    for refusal in REFUSALS {
        world.road(refusal);
        // With the patience of a default worker, which is longer than this test's.
        let (_, worker) = world.worker(1);
        denied(worker).await;
    }
}

#[tokio::test]
async fn a_token_that_is_not_taken_any_more_ends_the_worker_after_a_while() {
    for refusal in REFUSALS {
        let world = World::new().await;
        let patience = Duration::from_millis(500);
        let (_, worker) = world.worker_with(1, |options| options.denied_patience = patience);
        let before = world.create("echo 1").await;
        world.becomes(before, Status::Completed).await;
        world.road(refusal);
        denied(worker).await;
    }
}

#[tokio::test]
async fn a_token_that_is_taken_again_in_time_costs_nothing() {
    for refusal in REFUSALS {
        let world = World::new().await;
        let id = world.create(&world.waiting("task", "echo 1")).await;
        let (stop, worker) = world.worker(1);
        world.started("task").await;
        let refused = world.refused();
        world.road(refusal);
        world.go_on();
        // Its heartbeats, its outcome: all of it is refused more than once.
        until("the worker has asked again", async || (world.refused() >= refused + 5).then_some(())).await;
        assert!(!worker.is_finished(), "the worker goes on");
        world.road(Road::Open);
        world.becomes(id, Status::Completed).await;
        assert_eq!(world.history(id).await, [Claimed, Completed]);
        let next = world.create("echo 2").await;
        world.becomes(next, Status::Completed).await;
        stop.drain();
        let summary = ended(worker).await;
        assert_eq!((summary.completed, summary.lost, summary.undelivered), (2, 0, 0));
    }
}

#[tokio::test]
async fn an_outcome_that_the_token_does_not_reach_is_told_as_undelivered_after_a_while() {
    let world = World::new().await;
    let id = world.create(&world.waiting("task", "echo 1")).await;
    let patience = Duration::from_millis(500);
    let (stop, worker) = world.worker_with(1, |options| options.denied_patience = patience);
    world.started("task").await;
    // Heartbeats and claims are taken, so that nothing but the outcome decides.
    world.road(Road::EndsForbidden);
    world.go_on();
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.claimed, summary.completed, summary.undelivered), (1, 0, 1));
    assert!(!world.history(id).await.contains(&Completed));
}
