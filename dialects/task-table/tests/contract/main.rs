//! The HTTP API of the task table, as its shell speaks it over a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers may fail the test"
)]

mod failures;
mod requests;

use baton_tests::site::Site;
use serde_json::{Value, json};

const TASKS: &str = "/api/v1/tasks";
const QUEUE: &str = "task-table";

/// A server that speaks the dialect.
async fn site(settings: &[(&str, &str)]) -> Site {
    Site::speaking(QUEUE, settings).await
}

/// Creates a task as the shell does, and gives what it reads.
async fn create(site: &Site, run: bool) -> Value {
    let body = json!({"type": "dspy.plan", "description": "why?", "run_immediately": run,
        "params": {"task_description": "why?"}, "drift_score": 0.2});
    let answer = site.post(TASKS, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn id(task: &Value) -> &str {
    task["id"].as_str().unwrap()
}

async fn show(site: &Site, id: &str) -> Value {
    let answer = site.get(&format!("{TASKS}/{id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}
