//! A worker whose way to the server is cut: what it has done arrives by the detour, once.

use std::sync::atomic::Ordering;

use baton_http::Message;
use baton_model::EventKind::{AttemptFailed, Claimed, Completed, Released};
use baton_model::Status;

use crate::support::{Road, UNLISTED, World, ended, until};

#[tokio::test]
async fn the_outcomes_of_an_outage_and_no_others_go_by_the_detour_and_each_is_applied_once() {
    let world = World::new().await;
    let (stop, worker) = world.worker(3);
    let before = world.create("echo 1").await;
    world.becomes(before, Status::Completed).await;
    let done = world.create(&world.waiting("done", r#"echo 2"#)).await;
    let failed = world.create(&world.waiting("failed", "echo no page >&2; exit 65")).await;
    let released = world.create(&world.waiting("released", "exit 75")).await;
    for name in ["done", "failed", "released"] {
        world.started(name).await;
    }

    world.road(Road::Cut);
    world.go_on();
    world.messages(3).await;
    world.read_queue().await;
    let completed = world.task(done).await;
    assert_eq!(completed.generation.unwrap().result.unwrap().as_str(), "2");
    assert_eq!(world.task(failed).await.task.error.unwrap().code.as_deref(), Some("exit_65"));
    assert_eq!(world.task(released).await.task.status, Status::Retry);
    // The queue may bring each a second time.
    world.read_queue().await;

    world.road(Road::Open);
    let after = world.create("echo 3").await;
    world.becomes(after, Status::Completed).await;
    // Each outcome is told to the server too, which knows it.
    world.gate.listed.store(UNLISTED, Ordering::SeqCst);
    until("the worker has settled all three", async || {
        (world.gate.listed.load(Ordering::SeqCst) == 0).then_some(())
    })
    .await;
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.claimed, summary.completed, summary.failed, summary.released), (5, 3, 1, 1));
    assert_eq!((summary.detoured, summary.unconfirmed), (3, 0));
    assert_eq!((summary.lost, summary.undelivered), (0, 0));
    assert_eq!(world.sent().len(), 3, "nothing but the outage went by the detour");
    assert_eq!(world.history(done).await, [Claimed, Completed]);
    assert_eq!(world.history(failed).await, [Claimed, AttemptFailed]);
    assert_eq!(world.history(released).await, [Claimed, Released]);
}

#[tokio::test]
async fn an_outcome_that_the_server_heard_too_is_one_and_the_task_that_its_answer_brought_is_run() {
    let world = World::new().await;
    let first = world.create(&world.waiting("first", "echo 1")).await;
    let (stop, worker) = world.worker(1);
    world.started("first").await;
    let second = world.create("echo 2").await;

    // The completion arrives and claims the second task; the worker hears of neither.
    world.road(Road::Deaf);
    world.go_on();
    world.becomes(second, Status::Running).await;
    world.messages(1).await;
    world.read_queue().await;
    world.road(Road::Open);
    world.becomes(second, Status::Completed).await;
    assert_eq!(world.history(first).await, [Claimed, Completed]);
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.completed, summary.detoured, summary.unconfirmed), (2, 1, 0));
    // It was run or given back, but never taken for forgotten, which would cost it an attempt.
    let history = world.history(second).await;
    assert!(history.iter().all(|kind| matches!(kind, Claimed | Released | Completed)), "{history:?}");
}

#[tokio::test]
async fn a_server_that_is_back_before_the_queue_is_read_does_not_take_the_task_for_forgotten() {
    let world = World::new().await;
    let id = world.create(&world.waiting("task", "echo 1")).await;
    let (stop, worker) = world.worker(1);
    world.started("task").await;
    world.road(Road::EndsCut);
    world.go_on();
    world.messages(1).await;
    // Far more beats than the grace for what a beat does not list, and rounds of the reaper meanwhile.
    world.beaten(21).await;
    assert_eq!(world.history(id).await, [Claimed], "the lease lives while the outcome is under way");
    assert_eq!(world.gate.listed.load(Ordering::SeqCst), 1);
    world.read_queue().await;
    assert_eq!(world.history(id).await, [Claimed, Completed]);
    // The beats say that the attempt has ended, and the slot has been free all the time.
    let next = world.create(&world.waiting("next", "true")).await;
    world.becomes(next, Status::Running).await;
    stop.stop();
    assert_eq!(ended(worker).await.detoured, 2, "the next task was given back by the detour");
}

#[tokio::test]
async fn while_the_queue_is_down_too_both_ways_are_tried_until_one_takes_the_outcome() {
    let world = World::new().await;
    let id = world.create(&world.waiting("task", "echo 1")).await;
    let (stop, worker) = world.worker(1);
    world.started("task").await;
    world.queue.down.store(true, Ordering::SeqCst);
    world.road(Road::Cut);
    world.go_on();
    until("the queue was tried", async || (world.queue.refused.load(Ordering::SeqCst) >= 1).then_some(()))
        .await;
    world.queue.down.store(false, Ordering::SeqCst);
    world.messages(1).await;
    world.read_queue().await;
    assert_eq!(world.history(id).await, [Claimed, Completed]);
    // It ends without the server: the outcome is safe.
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.detoured, summary.unconfirmed, summary.undelivered), (1, 1, 0));
    assert!(summary.to_string().ends_with("1 by the detour (1 not confirmed yet)"), "{summary}");
}

#[tokio::test]
async fn a_worker_that_is_to_stop_in_an_outage_gives_its_task_back_by_the_detour_at_once() {
    let world = World::new().await;
    let id = world.create(&world.waiting("task", "echo 1")).await;
    let (stop, worker) = world.worker(1);
    world.started("task").await;
    world.road(Road::Cut);
    stop.stop();
    let summary = ended(worker).await;
    assert_eq!((summary.detoured, summary.undelivered), (1, 0));
    world.read_queue().await;
    assert_eq!(world.history(id).await, [Claimed, Released]);
}

#[tokio::test]
async fn what_is_refused_takes_no_detour() {
    let world = World::new().await;
    let forbidden = world.create(&world.waiting("forbidden", "echo 1")).await;
    let (stop, worker) = world.worker(1);
    world.started("forbidden").await;
    world.road(Road::Forbidden);
    world.go_on();
    // The pauses before the sixth try sum up to 3.1 s at least: more than the patience with a server that is out of reach.
    until("the worker has asked again", async || {
        (world.gate.forbidden.load(Ordering::SeqCst) >= 6).then_some(())
    })
    .await;
    assert_eq!(world.sent(), Vec::<String>::new());
    world.road(Road::Open);
    world.becomes(forbidden, Status::Completed).await;

    // A refusal by the server itself: it has taken the worker's failure by another way meanwhile.
    std::fs::remove_file(world.path("go-on")).unwrap();
    let late = world.create(&world.waiting("late", "echo 1")).await;
    world.started("late").await;
    let message = format!(
        r#"{{"task_id":"{late}","failure":{{"worker_id":"w","attempt":1,"retryable":false,"error":{{"message":"no"}}}}}}"#
    );
    world.road(Road::Cut);
    baton_complete_task::end(&world.app, &Message { id: "1".into(), body: message }).await.unwrap();
    world.road(Road::Open);
    world.go_on();
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.completed, summary.lost, summary.detoured), (1, 1, 0));
    assert_eq!(world.history(late).await, [Claimed, AttemptFailed]);
}
