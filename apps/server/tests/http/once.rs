//! Tasks of which there is one at a time, and tasks that expire, over HTTP.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_second_task_of_a_key_is_answered_with_the_first() {
    let world = World::new();
    let task = |params: u32| json!({"type": "a", "params": params, "unique": {"key": "k"}});
    let first = world.post("/v1/tasks", task(1)).await;
    assert_eq!(first.status, StatusCode::CREATED);
    let first = first.json();
    assert_eq!(first.get("deduplicated"), None);
    world.claim("w").await;
    let second = world.post("/v1/tasks", task(2)).await;
    assert_eq!(second.status, StatusCode::OK);
    let second = second.json();
    assert_eq!((&second["id"], &second["deduplicated"]), (&first["id"], &json!(true)));
    assert_eq!((&second["status"], &second["created_at"]), (&json!("running"), &first["created_at"]));
    let shown = world.task(first["id"].as_str().unwrap()).await["task"].clone();
    assert_eq!(
        (&shown["params"], &shown["unique"]),
        (&json!(1), &json!({"key": "k", "while": "unfinished"}))
    );
    let batch =
        json!({"tasks": [task(3), {"type": "b"}, {"type": "a", "unique": {"key": "t", "while": 2.5}}]});
    let answer = world.post("/v1/tasks/batch", batch).await.json();
    assert_eq!(answer["accepted"], 3);
    assert_eq!(answer["items"][0]["task"]["deduplicated"], true);
    let timed = world.task(answer["items"][2]["task"]["id"].as_str().unwrap()).await["task"].clone();
    assert_eq!(timed["unique"], json!({"key": "t", "while": 2.5}));
}

#[tokio::test]
async fn a_retry_names_the_task_that_holds_the_key() {
    let world = World::new();
    let task = json!({"type": "a", "unique": {"key": "k"}});
    let first = world.create(task.clone()).await;
    world.act(&format!("/v1/tasks/{first}/cancel")).await;
    let second = world.create(task).await;
    let refused = world.act(&format!("/v1/tasks/{first}/retry")).await.problem(409, "transition_refused");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains(&second) && detail.contains("unique key"), "{detail}");
    world.act(&format!("/v1/tasks/{second}/cancel")).await;
    assert_eq!(world.act(&format!("/v1/tasks/{first}/retry")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_of_another_project_learns_nothing_of_a_key() {
    let world = World::new();
    world.create(json!({"type": "a", "project": "film", "unique": {"key": "k"}})).await;
    let game = world.with_token(json!({"scopes": ["producer"], "project": "game"})).await;
    let own = game.post("/v1/tasks", json!({"type": "a", "unique": {"key": "k"}})).await;
    assert_eq!(own.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_task_that_is_not_started_in_time_fails_with_a_code() {
    let world = World::new();
    let id = world.create(json!({"type": "a", "expires_after_seconds": 10})).await;
    let shown = world.task(&id).await["task"].clone();
    assert!(shown["expires_at"].is_string());
    world.advance(Duration::from_secs(10));
    let claim = json!({"worker_id": "w"});
    assert_eq!(world.post("/v1/claims", claim).await.json()["nothing"]["reason"], "none_queued");
    let detail = world.task(&id).await;
    assert_eq!(
        (&detail["task"]["status"], &detail["task"]["error"]["code"]),
        (&json!("failed"), &json!("expired"))
    );
    assert_eq!(detail["history"][1]["kind"], "expired");
    let retried = world.act(&format!("/v1/tasks/{id}/retry")).await.json();
    assert_eq!((&retried["status"], retried.get("expires_at")), (&json!("queued"), None));
}

#[tokio::test]
async fn what_a_key_or_an_expiry_cannot_be_is_refused_by_its_field() {
    let world = World::new();
    let wrong: [(Value, &[&str]); 8] = [
        (json!({"unique": "k"}), &["unique"]),
        (json!({"unique": {"while": "queued"}}), &["unique.key"]),
        (json!({"unique": {"key": "k", "while": "always"}}), &["unique.while"]),
        (json!({"unique": {"key": "", "while": -1}}), &["unique.key", "unique.while"]),
        (json!({"unique": {"key": "k", "for": 1}}), &["unique.for"]),
        (json!({"expires_at": "soon"}), &["expires_at"]),
        (json!({"expires_after_seconds": 5, "delay_seconds": 5}), &["expires_after_seconds"]),
        (
            json!({"expires_after_seconds": 5, "expires_at": "2030-01-01T00:00:00Z"}),
            &["expires_after_seconds"],
        ),
    ];
    for (mut task, fields) in wrong {
        task["type"] = json!("a");
        assert_eq!(world.post("/v1/tasks", task.clone()).await.wrong_fields(), fields, "{task}");
    }
}
