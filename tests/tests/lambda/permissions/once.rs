//! Tasks with unique keys, and tasks that expire: what their creation, their ends and their retries ask for.

use serde_json::{Value, json};

use super::{TABLE, claim, created, done, ended, ended_by_one_that_dies, large, took};
use crate::world::{World, invoke, seconds, send};

/// A task of its own key that expires in a minute, in a queue of its own.
fn task(queue: &str, more: Value) -> Value {
    let mut task = json!({
        "type": "a", "queue": queue, "unique": {"key": queue}, "expires_after_seconds": 60, "params": {"blob": large()},
    });
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    task
}

async fn claimed(world: &World, queue: &str) {
    claim(world, json!({"worker_id": "w", "queues": [queue], "capacity": 100})).await;
}

pub(super) async fn once(world: &World) {
    world.calls.latest();
    let first = created(world, task("once", json!({}))).await;
    let wanted = [(TABLE, &["BatchGetItem", "PutItem", "UpdateItem"][..])];
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
        &[(TABLE, &["BatchGetItem", "PutItem", "UpdateItem"])],
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

    // One that has begun is looked at once more.
    created(world, task("begun", json!({}))).await;
    claimed(world, "begun").await;
    world.clock.advance(seconds(60));
    world.calls.latest();
    invoke(&world.function("reap-stale-workers"), &json!({"source": "aws.scheduler"})).await;
    took(world, "reap-stale-workers", "a note of a second look", &[(TABLE, &["PutItem", "DeleteItem"])]);

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
    let failure = json!({"error": {"message": "no"}, "retryable": false});
    let told = ended_by_one_that_dies(world, &base, "fail", failure).await;
    world.calls.latest();
    invoke(&world.function("relay-events"), &told).await;
    took(world, "relay-events", "a task with a key ends by the stream", &[(TABLE, &["DeleteItem"])]);
}
