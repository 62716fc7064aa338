//! Tasks with unique keys, and tasks that expire: what their creation, their ends and their retries ask for.

use baton_store_dynamodb::client::http_client;
use baton_store_dynamodb::faults::{Fault, Faults};
use serde_json::{Value, json};

use super::{TABLE, created, done, large, took};
use crate::world::{Stream, World, invoke, seconds, send};

/// A task of its own key that expires in a minute, in a queue of its own.
fn task(queue: &str, more: Value) -> Value {
    let mut task = json!({
        "type": "a", "queue": queue, "unique": {"key": queue}, "expires_after_seconds": 60, "params": {"blob": large()},
    });
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    task
}

async fn claimed(world: &World, queue: &str) {
    let body = json!({"worker_id": "w", "queues": [queue], "capacity": 100});
    let answer = done(world, "claim-task", "/v1/claims", body).await;
    assert_eq!(answer["tasks"].as_array().unwrap().len(), 1, "{answer}");
}

async fn ended(world: &World, id: &str, how: &str, attempt: u32, more: Value) {
    let mut body = json!({"worker_id": "w", "attempt": attempt});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.calls.latest();
    done(world, "complete-task", &format!("/v1/tasks/{id}/{how}"), body).await;
}

pub(super) async fn once(world: &World) {
    world.calls.latest();
    let first = created(world, task("once", json!({}))).await;
    let wanted = [(TABLE, &["GetItem", "PutItem", "UpdateItem"][..])];
    took(world, "create-task", "a key and a note of when the task expires", &wanted);
    let (status, again) =
        send(&world.function("create-task"), "POST", "/v1/tasks", task("once", json!({}))).await;
    assert_eq!((status, &again["id"]), (200, &json!(first)), "{again}");

    claimed(world, "once").await;
    ended(world, &first, "release", 1, json!({})).await;
    took(
        world,
        "complete-task",
        "a note of a task that was given back",
        &[(TABLE, &["PutItem", "UpdateItem"])],
    );
    claimed(world, "once").await;
    ended(world, &first, "complete", 2, json!({})).await;
    took(world, "complete-task", "a key that is free", &[(TABLE, &["DeleteItem"])]);
    for how in ["fail", "complete"] {
        let chosen = json!({"id": format!("6f1c1b3a-5b7c-4cc3-98c4-dc0c0c07{}", if how == "fail" { 4001 } else { 4002 })});
        let id = created(world, task("once", chosen)).await;
        claimed(world, "once").await;
        let failure = json!({"error": {"message": "no"}, "retryable": false});
        ended(world, &id, how, 1, if how == "fail" { failure } else { json!({}) }).await;
    }

    let id = created(world, task("once", json!({}))).await;
    world.calls.latest();
    done(world, "manage-tasks", &format!("/v1/tasks/{id}/cancel"), json!({})).await;
    took(world, "manage-tasks", "a key and a note that go", &[(TABLE, &["DeleteItem"])]);
    done(world, "manage-tasks", &format!("/v1/tasks/{id}/retry"), json!({})).await;
    took(
        world,
        "manage-tasks",
        "a key that is held again",
        &[(TABLE, &["GetItem", "PutItem", "UpdateItem"])],
    );

    // Found by a claim, and by the reaper; of both kinds of ids.
    for (n, finder) in ["claim-task", "reap-stale-workers"].into_iter().enumerate() {
        for kind in ["", "x"] {
            let chosen = json!({"id": format!("6f1c1b3a-5b7c-4cc3-98c4-dc0c0c0750{n}{}", kind.len())});
            let queue = format!("late{n}{kind}");
            let late = created(world, task(&queue, if kind.is_empty() { json!({}) } else { chosen })).await;
            created(world, task(&format!("after{n}{kind}"), json!({"depends_on": [late]}))).await;
            world.clock.advance(seconds(59));
            world.calls.latest();
            world.clock.advance(seconds(1));
            if finder == "claim-task" {
                let body = json!({"worker_id": "idle", "queues": [queue]});
                let answer = done(world, finder, "/v1/claims", body).await;
                assert_eq!(answer["tasks"], json!([]), "{answer}");
            } else {
                let round = invoke(&world.function(finder), &json!({"source": "aws.scheduler"})).await;
                assert!(round["expired"].as_u64().unwrap() >= 1, "{round}");
            }
            took(world, finder, "a task that expires", &[(TABLE, &["GetItem", "UpdateItem", "DeleteItem"])]);
        }
    }

    // A task with a key that ends because another has ended: by whoever hears of it first.
    let base = created(world, json!({"type": "a", "queue": "base"})).await;
    created(world, task("waits", json!({"depends_on": [base]}))).await;
    claimed(world, "base").await;
    ended(world, &base, "fail", 1, json!({"error": {"message": "no"}, "retryable": false})).await;
    took(world, "complete-task", "a dependant with a key ends", &[(TABLE, &["DeleteItem", "Query"])]);
    world.calls.latest();
    created(world, task("waits", json!({"depends_on": [base]}))).await;
    took(world, "create-task", "a task with a key that ends at once", &[(TABLE, &["DeleteItem"])]);

    by_the_stream(world).await;
}

/// The process that ends a task does not live to end what waits for it, which has a key.
async fn by_the_stream(world: &World) {
    let base = created(world, json!({"type": "a", "queue": "base"})).await;
    created(world, task("told", json!({"depends_on": [base]}))).await;
    claimed(world, "base").await;
    let mut stream = Stream::default();
    stream.records(world).await;
    let faults = Faults::new(http_client(), 1, 6);
    faults.switch(false);
    let dying = world.function_over("complete-task", faults.client());
    for _ in 0..6 {
        faults.order("Query", Fault::LostRequest);
    }
    let body = json!({"worker_id": "w", "attempt": 1, "error": {"message": "no"}, "retryable": false});
    let (status, answer) = send(&dying, "POST", &format!("/v1/tasks/{base}/fail"), body).await;
    assert_eq!(status, 200, "{answer}");
    let records = stream.records(world).await;
    world.calls.latest();
    invoke(&world.function("relay-events"), &json!({ "Records": records })).await;
    took(world, "relay-events", "a task with a key ends by the stream", &[(TABLE, &["DeleteItem"])]);
}
