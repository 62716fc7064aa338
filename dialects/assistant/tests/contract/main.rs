//! The contract of the old assistant server, as its clients speak it over a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers may fail the test"
)]

mod failures;
mod logs;
mod requests;

use baton_tests::site::Site;
use serde_json::{Value, json};

/// A server that speaks the dialect.
async fn site(settings: &[(&str, &str)]) -> Site {
    Site::speaking("assistant", settings).await
}

/// Creates one task, and gives its id.
async fn create(site: &Site, task: Value) -> String {
    let answer = site.post("/task", &json!({"task": task, "assigned_by": "ray"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["task_id"].as_str().unwrap().to_owned()
}

async fn active(site: &Site) -> u64 {
    site.get("/task/list").await.json()["active_tasks_count"].as_u64().unwrap()
}
