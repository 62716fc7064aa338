//! The queue `ready`: rings from function to function.

use std::sync::Arc;
use std::time::Instant;

use baton_lambda::queues::Outgoing;
use baton_lambda::stub::MemoryQueues;
use baton_lambda::{QueueDoorbell, Queues};
use baton_model::Timestamp;
use baton_runtime::ManualClock;
use serde_json::{Value, json};

use crate::world::{READY, World, seconds, send};

#[tokio::test]
async fn a_waiting_claim_is_woken_by_what_another_function_creates() {
    let world = World::new().await;
    let (create, claim) = (world.function("create-task"), world.function("claim-task"));
    let began = Instant::now();
    let request = json!({"worker_id": "w", "wait_seconds": 20});
    let claimed = async { send(&claim, "POST", "/v1/claims", request).await };
    let created = async {
        // The ring comes after the claim has looked, which it has when it hears the queue.
        while !claim.open().await.unwrap().waits() {
            tokio::task::yield_now().await;
        }
        send(&create, "POST", "/v1/tasks", json!({"type": "render"})).await
    };
    let ((_, answer), (status, _)) = tokio::join!(claimed, created);
    assert_eq!((status, answer["tasks"].as_array().unwrap().len()), (201, 1), "{answer}");
    // It looks by itself every 5 s: it was woken.
    assert!(began.elapsed() < seconds(4), "{:?}", began.elapsed());
    assert_eq!((world.queues.visible(READY).len(), world.queues.hidden(READY)), (0, 0), "the ring is used");
}

#[tokio::test]
async fn rings_that_concern_others_are_given_back_and_rings_for_many_are_passed_on() {
    let queues: Arc<MemoryQueues> = Arc::default();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_770_000_000_000)));
    let bell = QueueDoorbell::new(clock, Some(Arc::clone(&queues) as _), Some(READY.to_owned()));
    let ring = |queue: &str, count: u32| {
        let body = json!({"queue": queue, "task_type": "render", "count": count, "run_after": "2026-01-01T00:00:00Z"});
        Outgoing { body: body.to_string(), ..Outgoing::default() }
    };
    let rings =
        [ring("gpu", 1), ring("default", 3), Outgoing { body: "no ring".into(), ..Outgoing::default() }];
    queues.send(READY, &rings).await;
    let waiting = bell.local().wait(&"w".parse().unwrap(), &["default".parse().unwrap()], &[]);
    waiting.listen();
    tokio::select! {
        () = waiting.rung() => {}
        () = bell.hear() => {}
    }
    bell.settle().await;
    let mut left: Vec<Value> =
        queues.visible(READY).iter().map(|ring| serde_json::from_str(&ring.body).unwrap()).collect();
    left.sort_by_key(|ring| ring["queue"].to_string());
    let left: Vec<_> =
        left.iter().map(|ring| (ring["queue"].as_str().unwrap(), ring["count"].as_u64().unwrap())).collect();
    assert_eq!(left, [("default", 1), ("default", 1), ("gpu", 1)], "one has heard a ring for three");
    assert_eq!(queues.hidden(READY), 0);
}

#[tokio::test]
async fn a_ring_for_later_is_held_back_until_then_and_one_for_much_later_is_not_sent() {
    let world = World::new().await;
    let create = world.function("create-task");
    for delay in [0, 90, 3_600] {
        let (status, _) =
            send(&create, "POST", "/v1/tasks", json!({"type": "a", "delay_seconds": delay})).await;
        assert_eq!(status, 201);
    }
    let delays: Vec<_> = world.queues.visible(READY).iter().map(|ring| ring.delay).collect();
    assert_eq!(delays, [seconds(0), seconds(90)]);
}

#[tokio::test]
async fn rings_of_one_batch_are_few_and_a_queue_that_refuses_them_harms_nobody() {
    let world = World::new().await;
    let create = world.function("create-task");
    let tasks: Vec<_> = (0..40).map(|_| json!({"type": "a"})).collect();
    send(&create, "POST", "/v1/tasks/batch", json!({"tasks": tasks})).await;
    let rings = world.queues.visible(READY);
    let counts: Vec<u64> = rings
        .iter()
        .map(|ring| serde_json::from_str::<serde_json::Value>(&ring.body).unwrap()["count"].as_u64().unwrap())
        .collect();
    assert_eq!((rings.len(), counts.iter().sum::<u64>()), (10, 40));
    world.queues.refuse(READY, true);
    assert_eq!(send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await.0, 201);
}
