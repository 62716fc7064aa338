//! Ways that few requests go, and that ask for keys of their own: what a role lacks there fails in production first.

use serde_json::{Value, json};

use super::{INDEX, TABLE, claim, created, done, took};
use crate::world::{World, invoke, seconds, send};

/// A task that ends its workers is given out alone: a worker makes room for it, says so again, and leaves its place; by
/// claims, and by completions that bring a claim along.
pub(super) async fn given_out_alone(world: &World) {
    let poison = json!({"type": "a", "queue": "poison", "max_attempts": 100});
    let round = json!({"source": "aws.scheduler"});
    // One that has made a round before: a process that has just begun gives workers time to be heard.
    let reaper = world.function("reap-stale-workers");
    invoke(&reaper, &round).await;
    for _ in 0..2 {
        created(world, poison.clone()).await;
    }
    let mut held = Vec::new();
    for worker in ["busy", "busier"] {
        for _ in 0..2 {
            created(world, json!({"type": "a", "queue": worker})).await;
        }
        let both = json!({"worker_id": worker, "queues": [worker], "max_tasks": 2, "lease_seconds": 86_000});
        held.push(done(world, "claim-task", "/v1/claims", both).await["tasks"].clone());
    }
    for _ in 0..2 {
        done(
            world,
            "claim-task",
            "/v1/claims",
            json!({"worker_id": "dies", "queues": ["poison"], "max_tasks": 2}),
        )
        .await;
        world.clock.advance(seconds(61));
        assert_eq!(invoke(&reaper, &round).await["taken"], 2);
    }
    world.clock.advance(seconds(11));
    let asks = |worker: &str| json!({"worker_id": worker, "queues": ["poison"], "capacity": 10});
    let ends = |worker: &str, place: usize, attempt: u32| {
        let n = usize::from(worker == "busier");
        let id = held[n][place]["id"].as_str().unwrap();
        let mut body = json!({"worker_id": worker, "attempt": attempt, "claim": asks(worker)});
        body["claim"]["max_tasks"] = json!(1);
        (format!("/v1/tasks/{id}/complete"), body)
    };
    let nothing = |answer: &Value| answer["tasks"].as_array().is_some_and(Vec::is_empty);

    // By claims.
    world.calls.latest();
    assert!(nothing(&done(world, "claim-task", "/v1/claims", asks("busy")).await));
    let wanted = [(TABLE, &["BatchGetItem", "PutItem", "UpdateItem"][..]), (INDEX, &["Query"])];
    took(world, "claim-task", "a worker makes room", &wanted);
    world.clock.advance(seconds(100));
    assert!(nothing(&done(world, "claim-task", "/v1/claims", asks("busy")).await));
    took(world, "claim-task", "it says so again", &[(TABLE, &["GetItem", "PutItem"])]);

    // By completions.
    let (path, body) = ends("busier", 0, 1);
    assert!(nothing(&done(world, "complete-task", &path, body).await["next"]));
    took(
        world,
        "complete-task",
        "a worker makes room for the other",
        &[(TABLE, &["BatchGetItem", "PutItem"])],
    );
    world.clock.advance(seconds(100));
    let (path, body) = ends("busier", 1, 1);
    let answer = done(world, "complete-task", &path, body).await;
    assert_eq!(answer["next"]["tasks"].as_array().map(Vec::len), Some(1), "{answer}");
    took(world, "complete-task", "it leaves its place", &[(TABLE, &["DeleteItem", "UpdateItem"])]);

    for task in held[0].as_array().unwrap() {
        let id = task["id"].as_str().unwrap();
        let release = json!({"worker_id": "busy", "attempt": 1, "delay_seconds": 3_600});
        done(world, "complete-task", &format!("/v1/tasks/{id}/release"), release).await;
    }
    world.calls.latest();
    claim(world, asks("busy")).await;
    took(world, "claim-task", "it leaves its place", &[(TABLE, &["DeleteItem", "UpdateItem"])]);
}

/// A worker's record is written anew by whatever is heard of it first: after hours, or by two functions at once; and an
/// earlier start of it is noted.
pub(super) async fn heard_anew(world: &World) {
    let session = |n: u8| format!("01980a6e-5b7c-7cc3-98c4-dc0c0c07390{n}");
    for _ in 0..3 {
        created(world, json!({"type": "a"})).await;
    }
    let first = json!({"worker_id": "w", "session_id": session(1), "lease_seconds": 86_000});
    let held = claim(world, first).await["tasks"][0].clone();
    world.clock.advance(seconds(2 * 3_600));
    world.calls.latest();
    let next = json!({"worker_id": "w", "session_id": session(1)});
    let path = format!("/v1/tasks/{}/complete", held["id"].as_str().unwrap());
    let answer =
        done(world, "complete-task", &path, json!({"worker_id": "w", "attempt": 1, "claim": next})).await;
    took(world, "complete-task", "a worker that was last heard of hours ago", &[(TABLE, &["PutItem"])]);
    let held = answer["next"]["tasks"][0].clone();

    // Another start takes the name; the first one is late from then on.
    claim(world, json!({"worker_id": "w", "session_id": session(2)})).await;
    world.calls.latest();
    let late = json!({"worker_id": "w", "session_id": session(1)});
    let (status, _) = send(&world.function("claim-task"), "POST", "/v1/claims", late.clone()).await;
    assert_eq!(status, 409);
    took(world, "claim-task", "a start that is late", &[(TABLE, &["UpdateItem"])]);
    let path = format!("/v1/tasks/{}/complete", held["id"].as_str().unwrap());
    send(
        &world.function("complete-task"),
        "POST",
        &path,
        json!({"worker_id": "w", "attempt": 1, "claim": late}),
    )
    .await;
    let beat = json!({"session_id": session(1)});
    send(&world.function("heartbeat-worker"), "POST", "/v1/workers/w/heartbeat", beat).await;
}
