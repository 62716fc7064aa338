//! Traces over HTTP: what a producer says of its trace is kept with the task, as its header or as a field, and told to whoever has it.

use std::time::Duration;

use axum::body::Body;
use baton_reap_stale_workers::scheduled;
use http::Request;
use serde_json::{Value, json};

use crate::world::{Answer, World};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// A request with these headers.
async fn post(world: &World, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
    let request = Request::post(path).header("content-type", "application/json");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, value.as_bytes()));
    world.send(request.body(Body::from(body.to_string())).unwrap()).await
}

/// A created task's trace, as it is shown.
async fn traced(world: &World, headers: &[(&str, &str)], mut task: Value) -> (Value, Value) {
    task["type"] = json!("render");
    let created = post(world, "/v1/tasks", headers, task).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let task = world.task(created.json()["id"].as_str().unwrap()).await["task"].clone();
    (task["traceparent"].clone(), task["tracestate"].clone())
}

#[tokio::test]
async fn a_task_has_the_trace_of_the_request_that_created_it() {
    let world = World::new();
    let headers = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")];
    let told = (json!(PARENT), json!("a=1,b=2"));
    assert_eq!(traced(&world, &headers, json!({})).await, told);
    assert_eq!(traced(&world, &headers[..1], json!({})).await, (json!(PARENT), Value::Null));
    assert_eq!(
        traced(&world, &headers[1..], json!({})).await,
        (Value::Null, Value::Null),
        "a state alone says nothing"
    );
    assert_eq!(traced(&world, &[], json!({})).await, (Value::Null, Value::Null));
    let claimed = world.post("/v1/claims", json!({"worker_id": "w", "max_tasks": 9})).await.json();
    let tasks = claimed["tasks"].as_array().unwrap();
    assert_eq!((&tasks[0]["traceparent"], &tasks[0]["tracestate"]), (&told.0, &told.1));
    assert!(
        tasks[3].get("traceparent").is_none() && tasks[0]["lease"].get("traceparent").is_none(),
        "{tasks:?}"
    );
    let listed = world.get("/v1/tasks").await.json();
    assert_eq!(
        listed["items"].as_array().unwrap().iter().filter(|task| task["traceparent"] == PARENT).count(),
        2
    );
}

#[tokio::test]
async fn a_field_wins_over_the_header() {
    let world = World::new();
    let headers = [("traceparent", PARENT), ("tracestate", "a=1")];
    let field = json!({"traceparent": OTHER});
    assert_eq!(
        traced(&world, &headers, field).await,
        (json!(OTHER), Value::Null),
        "and takes no state from another"
    );
    let both = json!({"traceparent": OTHER, "tracestate": "c=3"});
    assert_eq!(traced(&world, &headers, both).await, (json!(OTHER), json!("c=3")));
    let none = json!({"traceparent": null});
    assert_eq!(traced(&world, &headers, none).await, (json!(PARENT), json!("a=1")));
}

#[tokio::test]
async fn a_malformed_header_is_passed_over_and_a_malformed_field_is_refused() {
    let world = World::new();
    let bytes = "\u{fc}".repeat(20);
    for wrong in
        ["", "00", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &PARENT.to_uppercase(), &bytes]
    {
        let told = traced(&world, &[("traceparent", wrong), ("tracestate", "a=1")], json!({})).await;
        assert_eq!(told, (Value::Null, Value::Null), "{wrong}");
        if wrong != bytes {
            let refused = world.post("/v1/tasks", json!({"type": "render", "traceparent": wrong})).await;
            assert_eq!(refused.wrong_fields(), ["traceparent"]);
            let expected = refused.json()["errors"][0]["expected"].to_string();
            assert!(expected.starts_with("\"a traceparent such as 00-0af7"), "{expected}");
        }
    }
    let twice = [("traceparent", PARENT), ("traceparent", OTHER)];
    assert_eq!(traced(&world, &twice, json!({})).await, (Value::Null, Value::Null));
    let states = [("traceparent", PARENT), ("tracestate", "a=1,a=2")];
    assert_eq!(traced(&world, &states, json!({})).await, (json!(PARENT), Value::Null));
    for (fields, told) in [
        (json!({"tracestate": "a=1"}), "tracestate: expected traceparent with it, got tracestate alone"),
        (
            json!({"traceparent": PARENT, "tracestate": "A=1"}),
            "tracestate: expected a tracestate of 1 to 32 members",
        ),
        (json!({"traceparent": PARENT, "tracestate": ""}), "tracestate: expected a tracestate"),
        (
            json!({"traceparent": PARENT, "tracestate": format!("a={}", "x".repeat(600))}),
            "tracestate: expected",
        ),
        (json!({"traceparent": 7}), "traceparent: expected text: a traceparent such as"),
    ] {
        let mut task = fields.clone();
        task["type"] = json!("render");
        let refused = world.post("/v1/tasks", task).await;
        let error = &refused.json()["errors"][0];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let refused = format!("{}: expected {}, got {}", text("field"), text("expected"), text("got"));
        assert!(refused.starts_with(told), "{fields}: {refused}");
    }
}

#[tokio::test]
async fn a_batch_stands_in_the_trace_of_its_request_but_for_tasks_that_name_their_own() {
    let world = World::new();
    for atomic in [true, false] {
        let tasks = json!([{"type": "a"}, {"type": "b", "traceparent": OTHER}]);
        let body = json!({"atomic": atomic, "tasks": tasks});
        let answer = post(&world, "/v1/tasks/batch", &[("traceparent", PARENT)], body).await.json();
        for (item, wanted) in answer["items"].as_array().unwrap().iter().zip([PARENT, OTHER]) {
            let task = world.task(item["task"]["id"].as_str().unwrap()).await;
            assert_eq!(task["task"]["traceparent"], wanted);
        }
    }
    let wrong = json!({"tasks": [{"type": "a"}, {"type": "b", "traceparent": "x"}]});
    let refused = world.post("/v1/tasks/batch", wrong).await.wrong_fields();
    assert_eq!(refused, ["tasks[1].traceparent"]);
}

#[tokio::test]
async fn a_request_sent_again_is_the_same_in_whatever_span_it_is_sent() {
    let world = World::new();
    let id = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    let mut made = Vec::new();
    for (header, field) in [(PARENT, None), (OTHER, None), (OTHER, Some(PARENT)), (PARENT, Some(OTHER))] {
        let with = |mut task: Value| {
            if let Some(field) = field {
                task["traceparent"] = json!(field);
                task["tracestate"] = json!("z=9");
            }
            task
        };
        let key = [("traceparent", header), ("idempotency-key", "k")];
        let keyed = post(&world, "/v1/tasks", &key, with(json!({"type": "render"}))).await;
        let chosen = post(&world, "/v1/tasks", &key[..1], with(json!({"type": "render", "id": id}))).await;
        let batch =
            json!({"tasks": [with(json!({"type": "render", "params": {"traceparent": 1.0, "tasks": [1]}}))]});
        let batch = post(&world, "/v1/tasks/batch", &key, batch).await;
        assert_eq!((keyed.status.as_u16(), chosen.status.as_u16(), batch.status.as_u16()), (201, 201, 201));
        let batched = batch.json()["items"][0]["task"]["id"].clone();
        made.push((keyed.json()["id"].clone(), batched));
    }
    assert!(made.iter().all(|ids| *ids == made[0]), "{made:?}");
    assert_eq!(world.task(id).await["task"]["traceparent"], PARENT, "the first stays");
    let other = json!({"tasks": [{"type": "render", "traceparent": PARENT, "params": {"traceparent": 2, "tasks": [1]}}]});
    let other = post(&world, "/v1/tasks/batch", &[("idempotency-key", "k")], other).await;
    assert_eq!(other.status, 409, "what is in params counts: {}", other.text());
}

#[tokio::test]
async fn what_makes_tasks_again_and_again_has_no_trace_for_them() {
    let world = World::new();
    let header = [("traceparent", PARENT)];
    let supply = json!({"min": 1, "target": 1, "templates": [{"task": {"type": "more"}}]});
    assert_eq!(post(&world, "/v1/queues/deep/supply", &header, supply).await.status, 201);
    scheduled(&world.app, Duration::from_secs(10), None).await.unwrap();
    let made = world.get("/v1/tasks?queue=deep").await.json()["items"].clone();
    assert!(made[0]["type"] == "more" && made[0].get("traceparent").is_none(), "{made}");
    for (path, body, field) in [
        (
            "/v1/queues/deep/supply",
            json!({"min": 1, "target": 1, "templates": [{"task": {"type": "m", "traceparent": PARENT}}]}),
            "templates[0].task.traceparent",
        ),
        (
            "/v1/schedules",
            json!({"name": "n", "cron": "* * * * *", "task": {"type": "m", "traceparent": PARENT}}),
            "task.traceparent",
        ),
        (
            "/v1/tasks/batch",
            json!({"batch": {"then": {"task": {"type": "m", "traceparent": PARENT}}}, "tasks": [{"type": "a"}]}),
            "batch.then.task.traceparent",
        ),
    ] {
        let refused = post(&world, path, &header, body).await;
        assert_eq!(refused.wrong_fields(), [field]);
        let expected = refused.json()["errors"][0]["expected"].to_string();
        assert!(expected.starts_with("\"no such field"), "{expected}");
    }
    let batch = json!({"batch": {"then": {"task": {"type": "after"}}}, "tasks": [{"type": "first"}]});
    assert_eq!(post(&world, "/v1/tasks/batch", &header, batch).await.status, 201);
    let claim = || world.post("/v1/claims", json!({"worker_id": "w", "types": ["first", "after"]}));
    let first = claim().await.json()["tasks"][0].clone();
    assert_eq!(first["traceparent"], PARENT);
    let done = format!("/v1/tasks/{}/complete", first["id"].as_str().unwrap());
    assert_eq!(world.post(&done, json!({"worker_id": "w", "attempt": 1})).await.status, 200);
    let after = claim().await.json()["tasks"][0].clone();
    assert_eq!((&after["type"], after.get("traceparent")), (&json!("after"), None));
}
