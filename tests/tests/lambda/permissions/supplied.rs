//! Queues with a supply: what operators change of it, and the claims and rounds that refill.

use serde_json::{Value, json};

use super::limited::{given, round};
use super::{INDEX, TABLE, done, got, large, took};
use crate::world::{World, seconds};

async fn set(world: &World, queue: &str, target: u32, task: Value) -> Value {
    let supply = json!({"min": 1, "target": target, "while_asked": true, "templates": [{"task": task}]});
    done(world, "manage-tasks", &format!("/v1/queues/{queue}/supply"), supply).await
}

pub(super) async fn supplied(world: &World) {
    world.calls.latest();
    set(world, "supplied", 2, json!({"type": "render"})).await;
    took(world, "manage-tasks", "a new supply", &[(TABLE, &["BatchGetItem", "PutItem", "UpdateItem"])]);
    let task = json!({"type": "render", "params": {"text": large()}, "concurrency_key": "k", "affinity": "sdxl",
        "expires_after_seconds": 600});
    set(world, "supplied", 3, task.clone()).await;
    set(world, "supplied-too", 1, task).await;
    got(world, "manage-tasks", "/v1/supplies").await;
    got(world, "manage-tasks", "/v1/queues/supplied/supply").await;
    world.calls.latest();
    assert_eq!(given(world, "w7", "supplied").await.len(), 3, "the claim refills, and looks again");
    took(
        world,
        "claim-task",
        "a claim refills",
        &[(TABLE, &["BatchGetItem", "PutItem", "UpdateItem", "Query"]), (INDEX, &["Query"])],
    );
    world.clock.advance(seconds(2));
    world.calls.latest();
    round(world).await;
    took(
        world,
        "reap-stale-workers",
        "a round refills",
        &[(TABLE, &["BatchGetItem", "PutItem", "Query"]), (INDEX, &["Query"])],
    );
    let supply = got(world, "manage-tasks", "/v1/queues/supplied/supply").await;
    assert_eq!(supply["created"], 6, "{supply}");
    world.calls.latest();
    for queue in ["supplied", "supplied-too"] {
        done(world, "manage-tasks", &format!("/v1/queues/{queue}/supply/unset"), json!({})).await;
    }
    took(world, "manage-tasks", "a supply is gone", &[(TABLE, &["DeleteItem", "UpdateItem"])]);
    // What is left is nobody else's business.
    done(world, "manage-tasks", "/v1/tasks/bulk", json!({"do": "cancel", "filter": {"queue": "supplied"}}))
        .await;
}
