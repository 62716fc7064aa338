//! What queues give to tasks that do not say, over HTTP.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::world::{Answer, World};

const PATH: &str = "/v1/queues/images/defaults";

async fn set(world: &World, body: Value) -> Answer {
    let request =
        Request::patch(PATH).header("content-type", "application/json").body(Body::from(body.to_string()));
    world.send(request.unwrap()).await
}

#[tokio::test]
async fn a_task_shows_what_its_queue_has_given_it() {
    let world = World::new();
    let all = json!({
        "max_attempts": 5, "timeout_seconds": 600.0, "priority": "high", "retention_seconds": 86_400.0,
        "backoff": {"base_seconds": 1.0, "factor": 3.0, "max_seconds": 60.0, "jitter": 0.0}
    });
    let change = set(&world, all.clone()).await;
    assert_eq!(
        (change.status.as_u16(), change.json()),
        (200, json!({"queue": "images", "from": {}, "to": all}))
    );
    assert_eq!(world.get("/v1/queues/images").await.json()["defaults"], all);
    let silent = world.create(json!({"type": "render", "queue": "images"})).await;
    let told = json!({"type": "render", "queue": "images", "max_attempts": 2, "priority": "normal", "retention_seconds": 60});
    let told = world.create(told).await;
    let of = async |id: &str| {
        let task = world.task(id).await["task"].clone();
        ["max_attempts", "priority", "timeout_seconds", "retention_seconds"].map(|field| task[field].clone())
    };
    assert_eq!(of(&silent).await, [json!(5), json!("high"), json!(600.0), json!(86_400.0)]);
    assert_eq!(of(&told).await, [json!(2), json!("normal"), json!(600.0), json!(60.0)]);
    assert_eq!(world.task(&silent).await["task"]["backoff"], all["backoff"]);
    // What is left out stays, what is null goes.
    let change = set(&world, json!({"priority": null, "max_attempts": 7})).await.json();
    assert_eq!((change["to"].get("priority"), &change["to"]["max_attempts"]), (None, &json!(7)));
    assert_eq!(change["to"]["timeout_seconds"], 600.0);
    assert_eq!(of(&silent).await[0], 5, "tasks that exist are left as they are");
}

#[tokio::test]
async fn defaults_that_do_not_fit_are_refused_by_their_fields_and_changes_are_audited() {
    let world = World::new();
    for (body, field) in [
        (json!({}), "max_attempts"),
        (json!({"max_attempts": 0}), "max_attempts"),
        (json!({"timeout_seconds": "long"}), "timeout_seconds"),
        (json!({"backoff": {"factor": 0}}), "backoff.factor"),
        (json!({"priority": 1}), "priority"),
        (json!({"retention_seconds": -1}), "retention_seconds"),
        (json!({"max_attempts": 3, "color": "red"}), "color"),
    ] {
        let problem = set(&world, body.clone()).await.problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["field"], field, "{body}");
    }
    world.get("/v1/queues/images").await.problem(404, "queue_not_found");
    set(&world, json!({"max_attempts": 9, "by": "ada", "reason": "patience"})).await;
    set(&world, json!({"max_attempts": null})).await;
    let audit = world.get("/v1/audit?action=set_queue_defaults").await.json();
    let told: Vec<Value> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|entry| json!([entry["by"], entry["change"]["from"], entry["change"]["to"]]))
        .collect();
    assert_eq!(
        told[told.len() - 2..],
        [json!(["ada", null, "9 attempts"]), json!([null, "9 attempts", null])]
    );
    world.get("/v1/queues/images").await.problem(404, "queue_not_found");
}
