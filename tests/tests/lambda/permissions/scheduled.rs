//! Schedules: what operators change of them, and the rounds that create what is due.

use serde_json::{Value, json};

use super::limited::{given, round};
use super::{INDEX, TABLE, done, got, large, took};
use crate::world::{World, seconds};

async fn set(world: &World, name: &str, more: Value) -> Value {
    let task = json!({"type": "render", "queue": "timed", "params": {"text": large()}});
    let mut schedule = json!({"name": name, "every_seconds": 60, "if_running": "cancel", "task": task});
    schedule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    done(world, "manage-tasks", "/v1/schedules", schedule).await
}

pub(super) async fn scheduled(world: &World) {
    world.calls.latest();
    set(world, "often", json!({})).await;
    took(world, "manage-tasks", "a new schedule", &[(TABLE, &["BatchGetItem", "PutItem", "UpdateItem"])]);
    set(world, "often", json!({"replace": true, "if_missed": "all", "missed_at_most": 3})).await;
    let task = json!({"type": "render", "queue": "timed", "unique": {"key": "one"}, "concurrency_key": "k",
        "affinity": "sdxl", "expires_after_seconds": 600});
    set(world, "unique", json!({"task": task, "if_running": "allow"})).await;
    got(world, "manage-tasks", "/v1/schedules").await;
    got(world, "manage-tasks", "/v1/schedules/often?next=10").await;
    world.clock.advance(seconds(61));
    world.calls.latest();
    round(world).await;
    took(
        world,
        "reap-stale-workers",
        "what schedules say is due",
        &[(TABLE, &["BatchGetItem", "GetItem", "PutItem", "UpdateItem"]), (INDEX, &["Query"])],
    );
    assert_eq!(given(world, "w9", "timed").await.len(), 2);
    // The last one runs, and is cancelled.
    world.clock.advance(seconds(60));
    round(world).await;
    let schedule = got(world, "manage-tasks", "/v1/schedules/often").await;
    assert_eq!(schedule["created"], 2, "{schedule}");
    for action in ["pause", "resume", "delete"] {
        done(world, "manage-tasks", &format!("/v1/schedules/often/{action}"), json!({})).await;
    }
    took(world, "manage-tasks", "a schedule is gone", &[(TABLE, &["DeleteItem", "UpdateItem"])]);
    done(world, "manage-tasks", "/v1/schedules/unique/delete", json!({})).await;
}
