//! Changing tasks that wait.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::world::{Answer, World};

async fn patch(world: &World, id: &str, body: Value) -> Answer {
    let request = Request::patch(format!("/v1/tasks/{id}")).header("content-type", "application/json");
    world.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_task_that_waits_is_changed_and_its_history_says_what() {
    let world = World::new();
    let first = world.create(json!({"type": "a"})).await;
    let id = world.create(json!({"type": "a", "delay_seconds": 600})).await;
    let body = json!({"priority": "high", "delay_seconds": 0, "timeout_seconds": 60, "max_attempts": 5, "by": "ana", "reason": "now"});
    let task = patch(&world, &id, body).await.json();
    assert_eq!((&task["priority"], &task["status"]), (&json!("high"), &json!("queued")));
    assert_eq!((&task["timeout_seconds"], &task["max_attempts"]), (&json!(60.0), &json!(5)));
    let shown = world.task(&id).await;
    let event = &shown["history"][1];
    assert_eq!(
        (&event["kind"], &event["by"], &event["reason"]),
        (&json!("changed"), &json!("ana"), &json!("now"))
    );
    let changes = json!({
        "priority": {"from": "normal", "to": "high"},
        "run_after": {"from": "2026-02-02T02:50:00.000Z", "to": "2026-02-02T02:40:00.000Z"},
        "timeout_seconds": {"from": null, "to": 60.0},
        "max_attempts": {"from": 3, "to": 5},
    });
    assert_eq!(event["changes"], changes);
    // The same again is no change; null takes the timeout away.
    assert_eq!(patch(&world, &id, json!({"priority": "high", "max_attempts": 5})).await.status, 200);
    patch(&world, &id, json!({"timeout_seconds": null})).await;
    let shown = world.task(&id).await;
    assert_eq!(shown["history"].as_array().unwrap().len(), 3);
    assert!(shown["task"].get("timeout_seconds").is_none());
    // It goes before the one that was there before it.
    assert_eq!(world.claim("w").await["id"], id);
    patch(&world, &first, json!({"priority": "low"})).await;
    assert_eq!(world.task(&first).await["task"]["priority"], "low");
}

#[tokio::test]
async fn what_runs_and_what_does_not_fit_is_refused_with_what_to_do() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    let problem = patch(&world, &id, json!({"priority": "low"})).await.problem(409, "transition_refused");
    assert!(problem["detail"].as_str().unwrap().contains("got one that is running"), "{problem}");
    let late = world.create(json!({"type": "a", "expires_after_seconds": 60})).await;
    let problem = patch(&world, &late, json!({"delay_seconds": 60})).await.problem(409, "transition_refused");
    assert!(problem["detail"].as_str().unwrap().contains("when the task expires"), "{problem}");
    assert_eq!(patch(&world, &late, json!({})).await.wrong_fields(), ["priority"]);
    assert_eq!(
        patch(&world, &late, json!({"queue": "b c", "type": "b", "max_attempts": 0})).await.wrong_fields(),
        ["queue", "max_attempts", "type"]
    );
    let unknown = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    patch(&world, unknown, json!({"priority": "low"})).await.problem(404, "task_not_found");
}

#[tokio::test]
async fn a_change_is_audited_and_only_operators_of_the_project_make_one() {
    let world = World::with(&[("tokens.required", "always")]);
    let operator = world.with_token(json!({"scopes": ["operator"], "project": "film"})).await;
    let root = world.with_token(json!({"scopes": ["operator"], "name": "root"})).await;
    let producer = world.with_token(json!({"scopes": ["producer"]})).await;
    let other = root.create(json!({"type": "a", "project": "game"})).await;
    let own = root.create(json!({"type": "a", "project": "film"})).await;
    let low = json!({"priority": "low", "reason": "later"});
    patch(&producer, &own, low.clone()).await.problem(403, "scope_missing");
    patch(&operator, &other, low.clone()).await.problem(404, "task_not_found");
    assert_eq!(patch(&operator, &own, low).await.status, 200);
    let audit = root.get("/v1/audit?action=change_task").await.json();
    let told: Vec<_> =
        audit["items"].as_array().unwrap().iter().map(|entry| entry["outcome"].clone()).collect();
    assert_eq!(told, [200, 404]);
    assert_eq!(audit["items"][0]["reason"], "later");
}

#[tokio::test]
async fn a_task_that_waits_is_put_into_another_queue() {
    let world = World::new();
    let unique = json!({"key": "k"});
    let id = world.create(json!({"type": "a", "queue": "gpu", "priority": "high", "unique": unique})).await;
    let body = json!({"queue": "cpu", "by": "ana", "reason": "the last GPU is gone"});
    let task = patch(&world, &id, body.clone()).await.json();
    assert_eq!((&task["id"], &task["queue"], &task["priority"]), (&json!(id), &json!("cpu"), &json!("high")));
    assert_eq!(patch(&world, &id, body).await.json(), task, "it is there already");
    let history = world.task(&id).await["history"].clone();
    assert_eq!(history.as_array().unwrap().len(), 2);
    assert_eq!(history[1]["changes"], json!({"queue": {"from": "gpu", "to": "cpu"}}));
    let listed = world.get("/v1/tasks?queue=gpu").await.json();
    assert_eq!(listed["items"], json!([]));
    assert_eq!(world.get("/v1/tasks?queue=cpu").await.json()["items"][0]["id"], id);
    // Its key has gone along.
    let other = world.create(json!({"type": "a", "queue": "gpu", "unique": unique})).await;
    assert_ne!(other, id);
    let problem = patch(&world, &other, json!({"queue": "cpu"})).await.problem(409, "transition_refused");
    assert!(problem["detail"].as_str().unwrap().contains(&id), "{problem}");
    let claim = |queue: &str| json!({"worker_id": format!("w-{queue}"), "queues": [queue]});
    assert_eq!(world.post("/v1/claims", claim("gpu")).await.json()["tasks"][0]["id"], other);
    assert_eq!(world.post("/v1/claims", claim("cpu")).await.json()["tasks"][0]["id"], id);
    let problem = patch(&world, &id, json!({"queue": "gpu"})).await.problem(409, "transition_refused");
    assert!(problem["detail"].as_str().unwrap().contains("got one that is running"), "{problem}");
}

#[tokio::test]
async fn who_is_bound_to_queues_moves_tasks_between_these_alone() {
    let world = World::with(&[("tokens.required", "always")]);
    let root = world.with_token(json!({"scopes": ["operator"]})).await;
    let bound = world.with_token(json!({"scopes": ["operator"], "queues": ["cpu", "gpu"]})).await;
    let film = world.with_token(json!({"scopes": ["operator"], "project": "film"})).await;
    let own = root.create(json!({"type": "a", "queue": "gpu", "project": "film"})).await;
    let other = root.create(json!({"type": "a", "queue": "tape"})).await;
    let to = |queue: &str| json!({"queue": queue});
    // The old queue is out of reach, and the new one.
    patch(&bound, &other, to("gpu")).await.problem(404, "task_not_found");
    let problem = patch(&bound, &own, to("tape")).await.problem(403, "outside_grant");
    assert_eq!(problem["errors"][0]["field"], "queue");
    assert_eq!(problem["errors"][0]["expected"], "one of cpu, gpu");
    assert_eq!(root.task(&own).await["history"].as_array().unwrap().len(), 1, "nothing is half done");
    assert_eq!(patch(&bound, &own, to("cpu")).await.json()["queue"], "cpu");
    // A project has tasks in any queue.
    assert_eq!(patch(&film, &own, to("tape")).await.json()["queue"], "tape");
    patch(&film, &other, to("gpu")).await.problem(404, "task_not_found");
    patch(&bound, &own, json!({"priority": "low"})).await.problem(404, "task_not_found");
    let bulk = |queue: &str| json!({"do": "change", "with": {"queue": queue}, "filter": {"type": "a"}});
    let problem = bound.post("/v1/tasks/bulk", bulk("tape")).await.problem(403, "outside_grant");
    assert_eq!(problem["errors"][0]["field"], "with.queue");
    assert_eq!(root.get("/v1/bulk").await.json()["items"], json!([]), "nothing was made");
    let mine = root.create(json!({"type": "a", "queue": "cpu"})).await;
    let done = bound.post("/v1/tasks/bulk", bulk("gpu")).await.json();
    assert_eq!((&done["changed"], &done["with"]), (&json!(1), &json!({"queue": "gpu"})));
    assert_eq!(root.task(&mine).await["task"]["queue"], "gpu");
    assert_eq!(root.task(&other).await["task"]["queue"], "tape");
}
