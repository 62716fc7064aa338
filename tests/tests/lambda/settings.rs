//! Settings that change while functions run.

use baton_runtime::Clock;
use serde_json::json;

use crate::world::{World, seconds, send};

#[tokio::test]
async fn a_function_goes_by_what_another_one_has_set_and_keeps_it_while_the_table_is_out_of_reach() {
    let world = World::new().await;
    let (create, manage) = (world.function("create-task"), world.function("manage-tasks"));
    let large = json!({"type": "a", "params": {"text": "x".repeat(2_000)}});
    let created = async || send(&create, "POST", "/v1/tasks", large.clone()).await.0;
    assert_eq!(created().await, 201);
    let set = json!({"value": 1_024, "by": "ada"});
    let (status, set) = send(&manage, "PUT", "/v1/config/limits.params_bytes", set).await;
    assert_eq!(
        (status, &set["setting"]["value"], &set["setting"]["layer"]),
        (200, &json!("1024"), &json!("store"))
    );
    assert_eq!(created().await, 201, "its last look is not older than four seconds");
    world.clock.advance(seconds(5));
    assert_eq!(created().await, 422);
    // Another one begins with it.
    let (status, _) = send(&world.function("create-task"), "POST", "/v1/tasks", large.clone()).await;
    assert_eq!(status, 422);
    let (status, _) = send(&manage, "DELETE", "/v1/config/limits.params_bytes", json!({})).await;
    assert_eq!(status, 200);
    world.end_engine();
    world.clock.advance(seconds(5));
    assert_eq!(created().await, 422, "what was in force stays so");
}

#[tokio::test]
async fn a_shorter_retention_dates_what_ends_from_then_on() {
    let world = World::new().await;
    let manage = world.function("manage-tasks");
    let [create, claim, complete] =
        ["create-task", "claim-task", "complete-task"].map(|name| world.function(name));
    let end = async |queue: &str| {
        let task = json!({"type": "a", "queue": queue});
        let (_, created) = send(&create, "POST", "/v1/tasks", task).await;
        let asked = json!({"worker_id": "w", "queues": [queue]});
        send(&claim, "POST", "/v1/claims", asked).await;
        let id = created["id"].as_str().unwrap().to_owned();
        let done = json!({"worker_id": "w", "attempt": 1});
        assert_eq!(send(&complete, "POST", &format!("/v1/tasks/{id}/complete"), done).await.0, 200);
        let items = world.items().await;
        let (_, item) = items.iter().find(|((pk, sk), _)| *sk == id && pk.starts_with("T#")).unwrap();
        item.to_string()
    };
    let day = |days: i64| ((world.clock.now().as_millis() + days * 86_400_000) / 1_000).to_string();
    let (long, before) = (day(30), end("a").await);
    assert!(before.contains(&long), "{before}");
    send(&manage, "PUT", "/v1/config/retention.finished_days", json!({"value": 2})).await;
    world.clock.advance(seconds(5));
    let (short, after) = (day(2), end("b").await);
    assert!(after.contains(&short), "{after}");
}
