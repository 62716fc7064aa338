//! The named events of `events/` that are requests: each is taken by its route. The others are tested with the functions
//! that take them.

use std::collections::BTreeSet;
use std::path::Path;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::world::{Answer, World};

/// The task that the events speak of.
const TASK: &str = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";

fn events() -> Vec<(String, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
    let mut events: Vec<(String, Value)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let event = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), event)
        })
        .collect();
    events.sort_by(|a, b| a.0.cmp(&b.0));
    events
}

/// A world in which the events make sense: the task is there, and its worker holds it unless it is to be retried or changed.
async fn world(name: &str) -> World {
    let world = World::new();
    world.create(json!({"id": TASK, "type": "render", "queue": "gpu"})).await;
    let claim = json!({"worker_id": "gpu-7", "queues": ["gpu"], "max_tasks": 1});
    assert_eq!(world.post("/v1/claims", claim).await.json()["tasks"][0]["id"], TASK);
    match name {
        "http-retry-task" => drop(world.act(&format!("/v1/tasks/{TASK}/cancel")).await),
        "http-change-task" => {
            let attempt = json!({"worker_id": "gpu-7", "attempt": 1});
            world.post(&format!("/v1/tasks/{TASK}/release"), attempt).await;
        }
        _ => {}
    }
    if matches!(name, "http-get-supply" | "http-unset-supply") {
        let supply = json!({"min": 1, "target": 2, "templates": [{"task": {"type": "a"}}]});
        assert_eq!(world.post("/v1/queues/gpu/supply", supply).await.status, 201);
    }
    if name.ends_with("-schedule") && name != "http-set-schedule" {
        let schedule = json!({"name": "nightly", "cron": "@daily", "task": {"type": "backup"}});
        assert_eq!(world.post("/v1/schedules", schedule).await.status, 201);
    }
    world
}

/// Sends an API Gateway HTTP event (payload format 2.0) as a Lambda runtime would hand it to the router.
async fn send(world: &World, event: &Value) -> Answer {
    assert_eq!((&event["version"], &event["isBase64Encoded"]), (&json!("2.0"), &json!(false)));
    let (path, query) = (event["rawPath"].as_str().unwrap(), event["rawQueryString"].as_str().unwrap());
    let method = event["requestContext"]["http"]["method"].as_str().unwrap();
    let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in event["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    let body = event["body"].as_str().unwrap_or_default().to_owned();
    world.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn each_http_event_is_taken_by_its_handler() {
    let mut routes = BTreeSet::new();
    for (name, event) in events() {
        if !name.starts_with("http-") {
            continue;
        }
        let world = world(&name).await;
        let answer = send(&world, &event).await;
        match name.as_str() {
            "http-get-generation" => _ = answer.problem(404, "generation_not_found"),
            "http-revoke-token" => _ = answer.problem(404, "token_not_found"),
            "http-get-batch" | "http-seal-batch" => _ = answer.problem(404, "batch_not_found"),
            "http-get-bulk" | "http-abort-bulk" => _ = answer.problem(404, "bulk_not_found"),
            _ => assert!(answer.status.is_success(), "{name}: {} {}", answer.status, answer.text()),
        }
        routes.insert(event["routeKey"].as_str().unwrap().to_owned());
    }
    let document: Value = serde_json::from_str(baton_server::openapi()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let route = format!("{} {path}", method.to_uppercase());
            assert!(!path.starts_with("/v1/") || routes.contains(&route), "no event for {route}");
        }
    }
}
