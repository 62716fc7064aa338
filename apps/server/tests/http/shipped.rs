//! Log lines that workers ship: how much of them is kept, and what is said of the rest.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

/// 1 KB of a heartbeat, 4 KB a minute of a worker, 6 KB a minute of a project.
fn narrow() -> World {
    World::with(&[
        ("limits.log_beat_bytes", "1000"),
        ("limits.log_worker_bytes_per_minute", "4000"),
        ("limits.log_project_bytes_per_minute", "6000"),
    ])
}

/// A line that counts 500 bytes: its message, its source and what is around them.
fn line(task: Option<&str>) -> Value {
    json!({"message": "x".repeat(394), "source": "stderr", "task_id": task})
}

async fn beat(world: &World, worker: &str, running: Value, logs: Vec<Value>) -> Value {
    let logs: Vec<Value> = logs.into_iter().map(without_nulls).collect();
    let body = json!({"running": running, "logs": logs});
    let answer = world.post(&format!("/v1/workers/{worker}/heartbeat"), body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn without_nulls(mut line: Value) -> Value {
    line.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    line
}

async fn logs(world: &World, filter: &str) -> Vec<Value> {
    world.get(&format!("/v1/logs?limit=1000&{filter}")).await.json()["items"].as_array().unwrap().clone()
}

fn kept(lines: &[Value]) -> usize {
    lines.iter().filter(|line| line["source"] == "stderr").count()
}

#[tokio::test]
async fn log_lines_over_a_heartbeats_share_are_counted_in_its_answer_and_in_the_log_of_their_task() {
    let world = narrow();
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    let lines = vec![line(Some(&id)), line(None), line(Some(&id)), line(Some(&id))];
    let answer = beat(&world, "w", json!([{"task_id": id, "attempt": 1}]), lines).await;
    assert_eq!(answer["logs_dropped"], json!({"lines": 2, "bytes": 1000}));
    let of_task = logs(&world, &format!("task_id={id}")).await;
    assert_eq!((of_task.len(), kept(&of_task)), (2, 1), "{of_task:?}");
    let said = of_task.iter().find(|line| line["source"] == "baton").unwrap();
    assert_eq!((&said["level"], &said["worker_id"]), (&json!("warn"), &json!("w")));
    let message = said["message"].as_str().unwrap();
    assert!(message.starts_with("2 log lines of this task, 1000 bytes, were dropped"), "{message}");
    assert!(message.contains("limits.log_worker_bytes_per_minute"), "{message}");
    let within = beat(&world, "w", json!([{"task_id": id, "attempt": 1}]), vec![line(None)]).await;
    assert!(within.get("logs_dropped").is_none(), "{within}");
}

#[tokio::test]
async fn a_full_share_of_log_lines_stops_no_task() {
    let world = narrow();
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    for _ in 0..12 {
        let running = json!([{"task_id": id, "attempt": 1}]);
        let answer = beat(&world, "w", running, (0..20).map(|_| line(Some(&id))).collect()).await;
        assert_eq!((&answer["lost"], &answer["directive"]), (&json!([]), &json!("run")));
        assert!(answer["logs_dropped"]["lines"].as_u64() >= Some(18), "{answer}");
        world.advance(Duration::from_secs(20));
        let reaped = world.post("/v1/reap", json!({})).await.json();
        assert_eq!(world.task(&id).await["task"]["status"], "running", "{reaped}");
    }
    let done = json!({"worker_id": "w", "attempt": 1, "result": 1});
    assert_eq!(world.post(&format!("/v1/tasks/{id}/complete"), done).await.status, 200);
    // Four minutes at 4,000 bytes, and a minute's worth that was there at first.
    let kept = kept(&logs(&world, &format!("task_id={id}")).await);
    assert!((8..=40).contains(&kept), "{kept}");
}

#[tokio::test]
async fn however_many_heartbeats_a_worker_sends_a_minute_keeps_its_share_and_new_names_open_no_more() {
    let world = narrow();
    for _ in 0..50 {
        beat(&world, "w", json!([]), vec![line(None), line(None)]).await;
    }
    assert_eq!(kept(&logs(&world, "worker=w").await), 8, "4,000 bytes");
    for n in 0..50 {
        beat(&world, &format!("new-{n}"), json!([]), vec![line(None), line(None)]).await;
    }
    let kept = kept(&logs(&world, "").await);
    assert!(kept <= 12, "{kept} lines of 500 bytes in a project's 6,000");
}

#[tokio::test]
async fn one_project_cannot_use_up_the_share_of_another_nor_of_its_workers() {
    let world = narrow();
    let of = async |project: &str| {
        world.with_token(json!({"scopes": ["worker"], "queues": ["default"], "project": project})).await
    };
    let (film, music) = (of("film").await, of("music").await);
    beat(&music, "m", json!([]), vec![line(None)]).await;
    for n in 0..20 {
        beat(&film, &format!("f-{n}"), json!([]), vec![line(None), line(None)]).await;
    }
    // Refused for the name, and without a trace in its share.
    for _ in 0..20 {
        let body = json!({"logs": [{"message": "x".repeat(394), "source": "stderr"}]});
        film.post("/v1/workers/m/heartbeat", body).await.problem(409, "worker_of_other");
    }
    for _ in 0..20 {
        beat(&music, "m", json!([]), vec![line(None), line(None)]).await;
    }
    assert_eq!(kept(&logs(&world, "worker=m").await), 8, "its whole 4,000 bytes");
}
