//! What the log tells of a task's life. A process of its own: which events are wanted is known to the whole process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "a test's helpers may fail the test, and not all of them are used here"
)]

#[path = "http/world.rs"]
mod world;

use std::io;
use std::sync::{Arc, Mutex};

use baton_runtime::Settings;
use baton_runtime::telemetry::{LogWriter, subscriber};
use serde_json::{Value, json};

use world::World;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_change_of_a_task_is_a_line_with_all_that_names_it() {
    let sink = Sink::default();
    let (writer, guard) = LogWriter::start(sink.clone()).unwrap();
    let settings = Settings::defaults().unwrap();
    let logging = tracing::subscriber::set_default(subscriber(&settings.log, true, false, writer));

    let world = World::new();
    let id = world.create(json!({"type": "render", "queue": "gpu", "domain": "Größe"})).await;
    let claim = json!({"worker_id": "w", "queues": ["gpu"]});
    let fence = |attempt: u32| json!({"worker_id": "w", "attempt": attempt});
    world.post("/v1/claims", claim.clone()).await;
    world.post(&format!("/v1/tasks/{id}/release"), fence(1)).await;
    world.post("/v1/claims", claim.clone()).await;
    world.advance(std::time::Duration::from_secs(61));
    world.act("/v1/reap").await;
    world.advance(std::time::Duration::from_secs(61));
    world.post("/v1/claims", claim).await;
    world.post(&format!("/v1/tasks/{id}/complete"), fence(3)).await;
    // Neither a repetition nor a question is a change.
    world.post(&format!("/v1/tasks/{id}/complete"), fence(3)).await;
    world.get("/v1/stats").await;

    drop(logging);
    drop(guard);
    let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["message"].as_str().unwrap(), line["attempt"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("task created", 0),
            ("task claimed", 1),
            ("task released", 1),
            ("task claimed", 2),
            ("task taken back", 2),
            ("task claimed", 3),
            ("task completed", 3),
        ]
    );
    for line in &lines {
        assert_eq!(
            (&line["task_id"], &line["task_type"], &line["queue"]),
            (&json!(id), &json!("render"), &json!("gpu"))
        );
        assert!(line["request_id"].is_string(), "{line}");
        assert_eq!(line["domain"], "Größe", "{line}");
        assert_eq!(line.get("worker_id").is_some(), line["message"] != "task created", "{line}");
    }
}
