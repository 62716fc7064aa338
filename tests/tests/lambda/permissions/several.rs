//! Attempts that end by one request: it asks for nothing that the end of one, with a claim for the next, does not ask for.

use serde_json::json;

use super::{INDEX, TABLE, claim, created, done, took};
use crate::world::World;

pub(super) async fn end_together(world: &World) {
    let own = |more: &str| json!({"type": "a", "queue": "together", "params": {"more": more}});
    let mut held = Vec::new();
    for number in 0..3 {
        held.push(created(world, own(&number.to_string())).await);
        claim(world, json!({"worker_id": "w", "queues": ["together"]})).await;
    }
    let next = created(world, own("next")).await;
    world.calls.latest();
    let end = |place: usize| json!({"worker_id": "w", "attempt": 1, "reason": place.to_string()});
    let mut failure = json!({"worker_id": "w", "attempt": 1});
    failure["error"] = json!({"message": "no", "details": {"blob": super::large()}});
    let endings = json!([
        {"task_id": held[0], "completion": {"worker_id": "w", "attempt": 1, "result": {"blob": super::large()}}},
        {"task_id": held[1], "failure": failure},
        {"task_id": held[2], "release": end(2)},
    ]);
    let claim = json!({"worker_id": "w", "queues": ["together"], "request_id": "together"});
    let answer =
        done(world, "complete-task", "/v1/endings", json!({"endings": endings, "claim": claim})).await;
    assert_eq!(answer["accepted"], 3, "{answer}");
    assert!(answer["next"]["tasks"][0]["id"].is_string(), "{answer} {next}");
    let wanted = [(TABLE, &["BatchGetItem", "PutItem", "UpdateItem"][..]), (INDEX, &["Query"])];
    took(world, "complete-task", "ends of several attempts with a claim for the next", &wanted);
}
