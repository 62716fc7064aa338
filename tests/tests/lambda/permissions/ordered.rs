//! Tasks of queues with an order of their own: what starts and ends in a fair queue asks for, and what operators change.

use serde_json::{Value, json};

use super::limited::{ends, given, round, task};
use super::{INDEX, TABLE, done, got, took};
use crate::world::{World, seconds};

async fn order(world: &World, queue: &str, order: Value) {
    done(world, "manage-tasks", &format!("/v1/queues/{queue}/order"), order).await;
}

pub(super) async fn ordered(world: &World) {
    let film = json!({"project": "film"});
    let keyed = json!({"project": "film", "concurrency_key": "k"});
    let first = task(world, "turns", film.clone()).await;
    let second = task(world, "turns", keyed.clone()).await;
    given(world, "w", "turns").await;
    world.calls.latest();
    order(world, "turns", json!({"fair": "project", "age_after_seconds": 60})).await;
    took(
        world,
        "manage-tasks",
        "an order, and what runs by whose it is",
        &[(TABLE, &["GetItem", "PutItem", "UpdateItem", "Query"]), (INDEX, &["Query"])],
    );
    let mut waiting = Vec::new();
    for whose in [&film, &keyed, &json!({"project": "game"})] {
        waiting.push(task(world, "turns", whose.clone()).await);
    }
    for id in &waiting {
        got(world, "query-tasks", &format!("/v1/tasks/{id}/why")).await;
    }
    got(world, "query-tasks", "/v1/queues/turns").await;
    world.calls.latest();
    let one = json!({"worker_id": "w2", "queues": ["turns"]});
    let answer = done(world, "claim-task", "/v1/claims", one).await;
    assert_eq!(answer["tasks"][0]["project"], "game", "of film two run: {answer}");
    took(
        world,
        "claim-task",
        "whose turn it is",
        &[(TABLE, &["BatchGetItem", "UpdateItem"]), (INDEX, &["Query"])],
    );
    let next = json!({"claim": {"worker_id": "w", "queues": ["turns"]}});
    let answer = ends(world, &first, "complete", next).await;
    assert_eq!(answer["next"]["tasks"].as_array().map(Vec::len), Some(1), "{answer}");
    took(world, "complete-task", "a turn is over, and the next one's", &[(TABLE, &["UpdateItem"])]);
    ends(world, &second, "fail", json!({"error": {"message": "once more"}})).await;

    world.calls.latest();
    order(world, "turns", json!({"fair": "key"})).await;
    took(world, "manage-tasks", "other turns", &[(TABLE, &["PutItem", "UpdateItem"])]);
    let keyed = task(world, "turns", keyed).await;
    world.clock.advance(seconds(30));
    assert_eq!(given(world, "w", "turns").await.len(), 3, "two that waited, and one that is tried again");
    done(world, "manage-tasks", &format!("/v1/tasks/{keyed}/cancel"), json!({})).await;
    // Workers are lost, and what they ran with them.
    world.clock.advance(seconds(120));
    round(world).await;
    given(world, "w", "turns").await;

    world.calls.latest();
    order(world, "turns", json!({})).await;
    took(world, "manage-tasks", "the usual order again", &[(TABLE, &["DeleteItem", "UpdateItem"])]);
    order(world, "typo", json!({"age_after_seconds": 60})).await;
    world.calls.latest();
    order(world, "typo", json!({})).await;
    took(world, "manage-tasks", "a queue that no task has named", &[(TABLE, &["DeleteItem"])]);
    given(world, "w", "turns").await;
    for _ in 0..4 {
        world.clock.advance(seconds(300));
        round(world).await;
    }
    given(world, "w", "turns").await;
}
