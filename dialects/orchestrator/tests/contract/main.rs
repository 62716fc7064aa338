//! The contract of the multi-agent orchestrator, as its clients speak it over a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers may fail the test"
)]

mod failures;
mod numbers;
mod requests;
mod settings;
mod sockets;
mod tenants;
mod workers;

use std::time::Duration;

use baton_tests::site::{Answer, Site};
use serde_json::{Value, json};

/// A server that speaks the dialect.
async fn site(settings: &[(&str, &str)]) -> Site {
    Site::speaking("orchestrator", settings).await
}

/// A task as the old helper submits it.
fn task(id: &str) -> Value {
    json!({
        "id": id,
        "title": format!("Title of {id}"),
        "description": format!("What {id} is about"),
        "role": "generic",
        "full_access": true,
        "target_dir": ".",
    })
}

/// Submits a task, a moment after the one before.
async fn submit(site: &Site, task: &Value) -> Answer {
    site.clock.advance(Duration::from_millis(1));
    let answer = site.post("/tasks", task).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// One task as it is shown.
async fn show(site: &Site, id: &str) -> Value {
    let answer = site.get(&format!("/tasks/{id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The state of a task, which is the same wherever it is told.
async fn state(site: &Site, id: &str) -> String {
    let state = show(site, id).await["state"].as_str().unwrap().to_owned();
    let of = |tasks: &Value| {
        let found = tasks.as_array().unwrap().iter().find(|task| task["id"] == id).cloned();
        found.unwrap_or_else(|| panic!("{id} is listed in {tasks}"))
    };
    let listed = of(&site.get("/tasks").await.json());
    let persistent = of(&site.get("/api/tasks/persistent?limit=1000").await.json()["tasks"]);
    let full = of(&site.get("/api/tasks/full?limit=1000").await.json()["tasks"]);
    let one = site.get(&format!("/api/tasks/full/{id}")).await.json();
    for told in [&listed, &persistent, &full, &one] {
        assert_eq!((&told["state"], &told["status"]), (&json!(state), &json!(state)), "{told}");
    }
    state
}

/// Claims the next task, and ends its attempt with a failure.
async fn fail(site: &Site, error: Value, retry: bool) {
    let task = site.claim("autodev").await.expect("a task waits");
    let body = json!({"worker_id": "w1", "attempt": task["attempt"], "error": error, "retryable": retry});
    site.own_post(&format!("/v1/tasks/{}/fail", task["id"].as_str().unwrap()), &body).await;
}
