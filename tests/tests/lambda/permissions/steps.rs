//! What the ways through the functions have in common: what was asked for, and the requests that they are made of.

use super::*;

/// What was done since the last word took these permissions of a function, and maybe others.
pub(super) fn took(world: &World, function: &'static str, what: &str, wanted: &[(&str, &[&str])]) {
    let seen = world.calls.latest();
    for (place, actions) in wanted {
        let (service, resource) = place.split_once(' ').unwrap();
        for action in *actions {
            let call = (function, resource.to_owned(), format!("{service}:{action}"));
            assert!(seen.contains(&call), "{what}: expected {call:?}, got {seen:#?}");
        }
    }
}

/// More than is kept with a task.
pub(super) fn large() -> String {
    "x".repeat(10_000)
}

/// More than one item holds.
pub(super) fn huge() -> String {
    "x".repeat(400_000)
}

pub(super) async fn created(world: &World, task: Value) -> String {
    let (status, answer) = send(&world.function("create-task"), "POST", "/v1/tasks", task).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

/// Creates a task, which `w` claims.
pub(super) async fn claimed(world: &World, task: Value) -> String {
    let id = created(world, task).await;
    claim(world, json!({"worker_id": "w"})).await;
    id
}

pub(super) async fn claim(world: &World, body: Value) -> Value {
    let (status, answer) = send(&world.function("claim-task"), "POST", "/v1/claims", body).await;
    assert_eq!((status, answer["tasks"].as_array().unwrap().len()), (200, 1), "{answer}");
    answer
}

/// Has somebody wait for tasks, whatever waits for others.
pub(super) async fn waits(world: &World, queue: &str) {
    let claim = json!({"worker_id": "idle", "queues": [queue], "types": ["nothing"]});
    let (_, answer) = send(&world.function("claim-task"), "POST", "/v1/claims", claim).await;
    assert_eq!(answer["tasks"], json!([]), "{answer}");
}

pub(super) async fn done(world: &World, function: &'static str, path: &str, body: Value) -> Value {
    let (status, answer) = send(&world.function(function), "POST", path, body).await;
    assert!((200..300).contains(&status), "{path}: {answer}");
    answer
}

/// What worker `w` sends that ends an attempt.
pub(super) fn end(attempt: &Value, more: Value) -> Value {
    let mut body = json!({"worker_id": "w", "attempt": attempt});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

pub(super) async fn ended(world: &World, id: &str, how: &str, attempt: u32, more: Value) {
    world.calls.latest();
    done(world, "complete-task", &format!("/v1/tasks/{id}/{how}"), end(&json!(attempt), more)).await;
}

/// Ends a first attempt in a process that does not live to see to what waits for the task; gives the event that the stream tells
/// of it by.
pub(super) async fn ended_by_one_that_dies(world: &World, id: &str, how: &str, more: Value) -> Value {
    let mut stream = Stream::default();
    stream.records(world);
    let faults = Faults::new(http_client(), 1, 6);
    faults.switch(false);
    let dying = world.function_over("complete-task", faults.client());
    for _ in 0..6 {
        faults.order("Query", Fault::LostRequest);
    }
    let path = format!("/v1/tasks/{id}/{how}");
    let (status, answer) = send(&dying, "POST", &path, end(&json!(1), more)).await;
    assert_eq!(status, 200, "{answer}");
    json!({ "Records": stream.records(world) })
}

pub(super) async fn got(world: &World, function: &'static str, path: &str) -> Value {
    let (status, answer) = send(&world.function(function), "GET", path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// A request of a caller that is bound to a project.
pub(super) async fn bound(
    world: &World,
    function: &'static str,
    scope: Scope,
    path: &str,
    body: &Value,
) -> Value {
    let (mut token, _) = token(TokenId::from_bytes([9; 16]), "bound", scope);
    token.grant.project = Some("film".parse::<ProjectId>().unwrap());
    let mut event = request("POST", path, body);
    event["requestContext"]["authorizer"]["lambda"] = vouched(&token);
    invoke(&world.function(function), &event).await
}
