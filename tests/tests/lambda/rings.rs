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

/// A claim that finds nothing, and so tells that somebody waits.
async fn find_nothing(world: &World) {
    let (_, answer) =
        send(&world.function("claim-task"), "POST", "/v1/claims", json!({"worker_id": "w"})).await;
    assert_eq!(answer["tasks"], json!([]));
}

#[tokio::test]
async fn nobody_is_rung_for_where_nobody_waits() {
    let world = World::new().await;
    let (create, claim) = (world.function("create-task"), world.function("claim-task"));
    let rings = || world.queues.visible(READY).len();
    let task = || json!({"type": "a"});
    send(&create, "POST", "/v1/tasks", task()).await;
    // A claim that has what it wants does not wait.
    let (_, answer) = send(&claim, "POST", "/v1/claims", json!({"worker_id": "w"})).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 1);
    world.clock.advance(seconds(2));
    send(&create, "POST", "/v1/tasks", task()).await;
    assert_eq!(rings(), 0);

    send(&claim, "POST", "/v1/claims", json!({"worker_id": "w"})).await;
    find_nothing(&world).await;
    world.clock.advance(seconds(2));
    send(&create, "POST", "/v1/tasks", task()).await;
    send(&create, "POST", "/v1/tasks", json!({"type": "a", "queue": "gpu"})).await;
    assert_eq!(rings(), 1, "for the queue that is waited for, and for no other");
    // It is believed for five minutes, and no longer.
    world.clock.advance(seconds(290));
    send(&create, "POST", "/v1/tasks", task()).await;
    assert_eq!(rings(), 2);
    world.clock.advance(seconds(10));
    send(&create, "POST", "/v1/tasks", task()).await;
    assert_eq!(rings(), 2);
}

#[tokio::test]
async fn where_it_cannot_be_read_whether_somebody_waits_rings_are_sent() {
    let world = World::new().await;
    let create = world.function("create-task");
    find_nothing(&world).await;
    let (pk, sk) = world.items().await.into_keys().find(|(pk, _)| pk.starts_with("Q#w")).unwrap();
    world.put(&[("pk", &pk), ("sk", &sk), ("un", "soon")], &[]).await;
    send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    assert_eq!(world.queues.visible(READY).len(), 1);
}

#[tokio::test]
async fn a_ring_for_later_is_held_back_until_then_and_one_for_much_later_is_not_sent() {
    let world = World::new().await;
    find_nothing(&world).await;
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
    find_nothing(&world).await;
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
