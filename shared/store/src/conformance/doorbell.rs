//! The doorbell rings for whatever may have become claimable.

use baton_model::{Task, Timestamp};

use super::kit::*;
use crate::{Create, Ready, Release};

/// Whether a ring would wake a claim that waits for this task.
fn calls(ready: &Ready, queue: &str, task_type: &str, run_after: Timestamp) -> bool {
    ready.queue == name(queue)
        && ready.task_type.as_ref().is_none_or(|of| *of == name(task_type))
        && ready.count > 0
        && ready.run_after == run_after
}

async fn hear_task(b: &mut Bench, task: &Task) {
    let (queue, task_type) = (task.queue.clone(), task.task_type.clone());
    let run_after = task.head.run_after;
    b.hear(&format!("for {}", task.head.id), |ready| {
        calls(ready, queue.as_str(), task_type.as_str(), run_after)
    })
    .await;
}

/// A created task rings, by its queue, its type and its time, also when that lies ahead.
pub async fn a_created_task_rings(mut b: Bench) {
    b.create(at(0), b.spec("render").queue("q")).await;
    b.hear("for the task at once", |ready| calls(ready, "q", "render", at(0))).await;
    b.create(at(1), b.spec("bake").queue("q").due(at(50))).await;
    b.hear("for the task to come", |ready| calls(ready, "q", "bake", at(50))).await;
}

/// A batch rings for each of its queues and types.
pub async fn a_batch_rings_for_each_queue_and_type(mut b: Bench) {
    let kinds = [("a", "render"), ("a", "bake"), ("b", "render")];
    for (queue, task_type) in kinds {
        let specs = kinds.iter().map(|(queue, task_type)| b.spec(task_type).queue(queue)).collect();
        b.hush();
        b.send(Create { atomic: true, ..creation(at(0), specs) }).await.unwrap();
        b.hear(&format!("for {queue} and {task_type}"), |ready| calls(ready, queue, task_type, at(0))).await;
    }
}

/// A failed attempt that is to be tried again rings for its next time.
pub async fn a_failed_attempt_rings_for_its_next(mut b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").queue("q")).await;
    b.hush();
    let task = b.fail(failing(at(1), &held)).await;
    assert_eq!(task.head.run_after, at(11));
    hear_task(&mut b, &task).await;
}

/// A released task rings.
pub async fn a_released_task_rings(mut b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").queue("q")).await;
    b.hush();
    let task = b.release(Release { delay: secs(3), ..releasing(at(1), &held) }).await;
    hear_task(&mut b, &task).await;
}

/// A task that the reaper takes back rings.
pub async fn a_reaped_task_rings(mut b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").queue("q")).await;
    b.hush();
    assert_eq!(b.reap(at(100)).await.len(), 1);
    let task = b.task(held.head.id).await.task;
    hear_task(&mut b, &task).await;
}

/// A retried task rings.
pub async fn a_retried_task_rings(mut b: Bench) {
    let id = b.create(at(0), b.spec("render").queue("q")).await;
    b.cancel(at(1), id).await;
    b.hush();
    let task = b.retry(at(2), id).await;
    hear_task(&mut b, &task).await;
}

/// A queue that is resumed rings for all types.
pub async fn a_resumed_queue_rings_for_all_types(mut b: Bench) {
    b.create(at(0), b.spec("render").queue("q")).await;
    b.pause(at(1), "q", true).await;
    b.hush();
    b.pause(at(2), "q", false).await;
    let ring = b.hear("for the queue", |ready| ready.queue == name("q") && ready.task_type.is_none()).await;
    assert!(ring.run_after <= at(2), "claims may come at once");
}
