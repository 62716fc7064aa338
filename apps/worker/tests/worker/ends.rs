//! Attempts that end close together are told to the server by few requests, and none of them is lost by that.

use std::sync::atomic::Ordering;
use std::time::Duration;

use baton_model::EventKind::{Claimed, Completed};
use baton_model::{EventKind, Status, TaskId};

use crate::support::{Road, World, ended, until};

/// How many programs end at the same time.
const TOGETHER: u32 = 24;

/// Tasks whose programs wait for each other, all of them running.
async fn running(world: &World) -> Vec<TaskId> {
    let mut tasks = Vec::new();
    for number in 0..TOGETHER {
        tasks.push(world.create(&world.waiting(&format!("t{number}"), &format!("echo {number}"))).await);
    }
    tasks
}

async fn started(world: &World) {
    for number in 0..TOGETHER {
        world.started(&format!("t{number}")).await;
    }
}

/// Each task is completed by its first attempt, with the output of its own program.
async fn completed(world: &World, tasks: &[TaskId]) {
    for (number, id) in tasks.iter().enumerate() {
        let task = world.becomes(*id, Status::Completed).await;
        let result = task.generation.unwrap().result.unwrap();
        assert_eq!(result.as_str(), number.to_string());
        assert_eq!(world.history(*id).await, [Claimed, Completed]);
    }
}

#[tokio::test]
async fn what_ends_while_an_end_is_under_way_goes_together() {
    let world = World::new().await;
    world.road(Road::EndsSlow);
    let tasks = running(&world).await;
    let (stop, worker) = world.worker(TOGETHER);
    started(&world).await;
    world.go_on();
    completed(&world, &tasks).await;
    let (alone, together) =
        (world.gate.ends.load(Ordering::SeqCst), world.gate.endings.load(Ordering::SeqCst));
    assert!(together > 0 && alone + together <= TOGETHER / 2, "{alone} alone and {together} together");
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.completed, summary.lost), (u64::from(TOGETHER), 0));
}

#[tokio::test]
async fn failures_and_releases_go_together_with_completions() {
    let world = World::new().await;
    world.road(Road::EndsSlow);
    let mut tasks = Vec::new();
    for number in 0..TOGETHER {
        let (then, kind) = match number % 3 {
            0 => ("echo 1", Completed),
            1 => ("exit 65", EventKind::AttemptFailed),
            _ => ("exit 75", EventKind::Released),
        };
        tasks.push((world.create(&world.waiting(&format!("t{number}"), then)).await, kind));
    }
    // What is given back rests, so that no other attempt begins.
    let rests = Duration::from_secs(600);
    let (stop, worker) = world.worker_with(TOGETHER, |options| options.release_delay = rests);
    started(&world).await;
    world.go_on();
    for (id, kind) in tasks {
        until("the attempt has ended", async || (world.history(id).await.len() > 1).then_some(())).await;
        assert_eq!(world.history(id).await, [Claimed, kind]);
    }
    let (alone, together) =
        (world.gate.ends.load(Ordering::SeqCst), world.gate.endings.load(Ordering::SeqCst));
    // Two thirds of them are no completions.
    assert!(together > 0 && alone + together <= TOGETHER / 2, "{alone} alone and {together} together");
    stop.drain();
    let summary = ended(worker).await;
    let third = u64::from(TOGETHER / 3);
    assert_eq!((summary.completed, summary.failed, summary.released), (third, third, third));
    assert_eq!((summary.lost, summary.undelivered), (0, 0));
}

#[tokio::test]
async fn a_server_that_does_not_know_the_route_is_sent_each_end_alone() {
    let world = World::new().await;
    world.road(Road::Older);
    let tasks = running(&world).await;
    let (stop, worker) = world.worker(TOGETHER);
    started(&world).await;
    world.go_on();
    completed(&world, &tasks).await;
    assert_eq!(world.gate.ends.load(Ordering::SeqCst), TOGETHER);
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.completed, summary.lost), (u64::from(TOGETHER), 0));
}

#[tokio::test]
async fn an_answer_that_is_lost_loses_no_end_and_no_task_that_was_claimed_along() {
    let world = World::new().await;
    world.road(Road::FirstEndingsLost);
    let tasks = running(&world).await;
    let (stop, worker) = world.worker(TOGETHER);
    started(&world).await;
    let mut more = Vec::new();
    for _ in 0..TOGETHER {
        more.push(world.create("sleep 0.05; echo 1").await);
    }
    world.go_on();
    completed(&world, &tasks).await;
    for id in more {
        world.becomes(id, Status::Completed).await;
        // What there was no slot for is given back unharmed; no lease was lost.
        let history = world.history(id).await;
        let fine = |kind: &EventKind| matches!(kind, Claimed | EventKind::Released | Completed);
        assert!(history.iter().all(fine), "{history:?}");
    }
    assert!(world.gate.endings.load(Ordering::SeqCst) > 1);
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.completed, summary.lost, summary.undelivered), (2 * u64::from(TOGETHER), 0, 0));
}

#[tokio::test]
async fn ends_that_are_gathered_outlive_an_outage() {
    let world = World::new().await;
    let tasks = running(&world).await;
    let (stop, worker) = world.worker_with(TOGETHER, |options| options.detour = None);
    started(&world).await;
    world.road(Road::EndsCut);
    world.go_on();
    until("ends were tried", async || (world.gate.ends.load(Ordering::SeqCst) > 0).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.road(Road::Open);
    completed(&world, &tasks).await;
    stop.drain();
    assert_eq!(ended(worker).await.completed, u64::from(TOGETHER));
}
