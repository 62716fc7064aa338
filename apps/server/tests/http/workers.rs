//! What workers do: claim, beat, complete, fail, release.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

const SESSION: &str = "01980a6e-0000-7000-8000-000000000001";
const NEWER: &str = "01980a6e-0000-7000-8000-000000000002";

fn ids(answer: &Value) -> Vec<String> {
    let tasks = answer["tasks"].as_array().unwrap();
    tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_claim_takes_by_priority_and_then_by_age() {
    let world = World::new();
    let low = world.create(json!({"type": "a", "priority": "low"})).await;
    let first = world.create(json!({"type": "a"})).await;
    world.advance(Duration::from_millis(1));
    let second = world.create(json!({"type": "a"})).await;
    let critical = world.create(json!({"type": "a", "priority": "critical"})).await;
    let elsewhere = world.create(json!({"type": "a", "queue": "gpu"})).await;
    let answer = world.post("/v1/claims", json!({"worker_id": "w", "max_tasks": 10})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(ids(&answer.json()), [critical, first, second, low]);
    let claim = json!({"worker_id": "w", "queues": ["gpu", "default", "gpu"], "types": ["a", "b"]});
    let task = world.post("/v1/claims", claim).await.json();
    assert_eq!(ids(&task), [elsewhere]);
    let task = &task["tasks"][0];
    assert_eq!((&task["attempt"], &task["status"]), (&json!(1), &json!("running")));
    assert_eq!(task["lease"]["worker_id"], "w");
    assert!(task["lease"].get("expires_at").is_none());
}

#[tokio::test]
async fn a_claim_that_finds_nothing_says_why() {
    let world = World::new();
    let claim = |capacity: u32| json!({"worker_id": "w", "capacity": capacity});
    let why = async |body| {
        let answer = world.post("/v1/claims", body).await.json();
        assert_eq!(answer["tasks"], json!([]));
        let message = answer["nothing"]["message"].as_str().unwrap();
        assert!(message.len() > 10, "{message}");
        answer["nothing"].clone()
    };
    assert_eq!(why(claim(5)).await["reason"], "none_queued");
    world.create(json!({"type": "a", "delay_seconds": 60})).await;
    let scheduled = why(claim(5)).await;
    assert_eq!(scheduled["reason"], "scheduled");
    assert!(scheduled["next_at"].is_string());
    world.create(json!({"type": "a"})).await;
    world.create(json!({"type": "a"})).await;
    assert_eq!(ids(&world.post("/v1/claims", claim(1)).await.json()).len(), 1);
    assert_eq!(why(claim(1)).await["reason"], "at_cap");
    world.act("/v1/queues/default/pause").await;
    assert_eq!(why(claim(5)).await["reason"], "paused");
    world.act("/v1/queues/default/resume").await;
    world.act("/v1/workers/w/drain").await;
    let directed = why(claim(5)).await;
    assert_eq!((&directed["reason"], &directed["directive"]), (&json!("directed"), &json!("drain")));
}

/// What the answer of an empty claim says for people is true also where tasks wait that no claim could be given.
#[tokio::test]
async fn a_claim_that_finds_nothing_says_nothing_untrue() {
    let world = World::new();
    let first = world.create(json!({"type": "a"})).await;
    world.create(json!({"type": "b", "depends_on": [first]})).await;
    world.create(json!({"type": "a", "queue": "gpu"})).await;
    world.claim("w").await;
    let why = async |queues: &[&str]| {
        let claim = json!({"worker_id": "v", "queues": queues});
        world.post("/v1/claims", claim).await.json()["nothing"].clone()
    };
    let blocked = why(&["default"]).await;
    assert_eq!(blocked["reason"], "none_queued");
    let message = "no task in queue default is ready or for later; what waits for other tasks does not count";
    assert_eq!(blocked["message"], message);
    world.act("/v1/queues/gpu/pause").await;
    let paused = why(&["default", "gpu"]).await;
    assert_eq!(
        (&paused["reason"], &paused["message"]),
        (&json!("paused"), &json!("paused: gpu; resume to go on"))
    );
}

#[tokio::test]
async fn a_worker_that_states_no_capacity_gets_the_servers() {
    let world = World::with(&[("leases.worker_cap", "2")]);
    for _ in 0..4 {
        world.create(json!({"type": "a"})).await;
    }
    let claim = json!({"worker_id": "w", "max_tasks": 4});
    assert_eq!(ids(&world.post("/v1/claims", claim).await.json()).len(), 2);
    let claim = json!({"worker_id": "v", "max_tasks": 4, "capacity": 4});
    assert_eq!(ids(&world.post("/v1/claims", claim).await.json()).len(), 2, "its own word goes beyond");
}

#[tokio::test]
async fn a_repeated_claim_gets_the_same_leases() {
    let world = World::new();
    for _ in 0..4 {
        world.create(json!({"type": "a"})).await;
    }
    let claim = json!({"worker_id": "w", "max_tasks": 2, "request_id": "r-1"});
    let first = world.post("/v1/claims", claim.clone()).await.json();
    let again = world.post("/v1/claims", claim).await.json();
    assert_eq!(ids(&first), ids(&again));
    let fewer = json!({"worker_id": "w", "max_tasks": 1, "request_id": "r-1"});
    let fewer = world.post("/v1/claims", fewer).await.json();
    assert_eq!(ids(&fewer), ids(&first)[..1], "it is told of no more than it asks for");
    assert_eq!(world.get("/v1/workers/w").await.json()["active"], 2);
}

#[tokio::test]
async fn a_task_is_completed_with_its_generation_and_the_next_comes_along() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    let next = world.create(json!({"type": "a"})).await;
    assert_eq!(world.claim("w").await["id"], id);
    world.advance(Duration::from_secs(2));
    let body = json!({
        "worker_id": "w", "attempt": 1, "location": "/out/1.png", "kind": "image/png", "metadata": {"a": 1},
        "result": [1, 2], "claim": {"worker_id": "w"},
    });
    let answer = world.post(&format!("/v1/tasks/{id}/complete"), body.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["status"], "completed");
    assert_eq!(ids(&answer["next"]), [next]);
    let shown = world.task(&id).await;
    assert_eq!(shown["task"]["generation_id"], answer["generation_id"]);
    let generation = &shown["generation"];
    assert_eq!((&generation["location"], &generation["run_seconds"]), (&json!("/out/1.png"), &json!(2.0)));
    assert_eq!((&generation["result"], &generation["metadata"]), (&json!([1, 2]), &json!({"a": 1})));

    // The same completion again answers as the first time; another is refused.
    let again = world.post(&format!("/v1/tasks/{id}/complete"), body.clone()).await;
    assert_eq!(again.json()["generation_id"], answer["generation_id"]);
    let other = json!({"worker_id": "w", "attempt": 1, "result": 3});
    world.post(&format!("/v1/tasks/{id}/complete"), other).await.problem(409, "completed_differently");
    let other = json!({"worker_id": "v", "attempt": 1, "result": 3});
    world.post(&format!("/v1/tasks/{id}/complete"), other).await.problem(409, "wrong_worker");
    let other = json!({"worker_id": "w", "attempt": 2});
    world.post(&format!("/v1/tasks/{id}/complete"), other).await.problem(409, "stale_attempt");
}

#[tokio::test]
async fn a_failed_attempt_is_retried_until_none_is_left() {
    let world = World::new();
    let task = json!({"type": "a", "max_attempts": 2, "backoff": {"base_seconds": 10, "jitter": 0}});
    let id = world.create(task).await;
    world.claim("w").await;
    let fail = |attempt: u32| json!({"worker_id": "w", "attempt": attempt, "error": {"message": "no", "code": "E1"}});
    let path = format!("/v1/tasks/{id}/fail");
    let answer = world.post(&path, fail(1)).await.json();
    assert_eq!((&answer["status"], &answer["attempts_used"]), (&json!("retry"), &json!(1)));
    assert!(answer["run_after"].is_string());
    assert_eq!(world.post(&path, fail(1)).await.json(), answer, "the same request answers the same");
    world.advance(Duration::from_secs(11));
    world.claim("w").await;
    let answer = world.post(&path, fail(2)).await.json();
    assert_eq!(answer["status"], "failed");
    assert!(answer.get("run_after").is_none());
    let shown = world.task(&id).await["task"].clone();
    assert_eq!((&shown["error"]["message"], &shown["error"]["code"]), (&json!("no"), &json!("E1")));
}

#[tokio::test]
async fn a_failure_may_end_the_task_or_name_its_own_delay() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    let body = json!({"worker_id": "w", "attempt": 1, "error": {"message": "no"}, "retry_after_seconds": 0});
    let answer = world.post(&format!("/v1/tasks/{id}/fail"), body).await.json();
    assert_eq!(answer["status"], "queued");
    world.claim("w").await;
    let body = json!({"worker_id": "w", "attempt": 2, "error": {"message": "no"}, "retryable": false});
    assert_eq!(world.post(&format!("/v1/tasks/{id}/fail"), body).await.json()["status"], "failed");
}

#[tokio::test]
async fn a_released_attempt_does_not_count() {
    let world = World::new();
    let id = world.create(json!({"type": "a", "max_attempts": 1})).await;
    world.claim("w").await;
    let body = json!({"worker_id": "w", "attempt": 1, "delay_seconds": 5, "reason": "going home"});
    let answer = world.post(&format!("/v1/tasks/{id}/release"), body).await.json();
    assert_eq!((&answer["status"], &answer["attempts_used"]), (&json!("retry"), &json!(0)));
    world.advance(Duration::from_secs(6));
    assert_eq!(world.claim("w").await["attempt"], 2);
}

#[tokio::test]
async fn a_heartbeat_tells_what_is_lost_and_what_is_asked() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    world.act(&format!("/v1/tasks/{id}/cancel")).await;
    world.act("/v1/workers/w/stop").await;
    let unknown = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    let beat = json!({
        "running": [{"task_id": id, "attempt": 1, "progress": 0.5}, {"task_id": unknown, "attempt": 1}],
        "capacity": 4, "readings": {"vram_used_mb": 12.5}, "labels": {"host": "h"},
        "logs": [{"message": "hello", "level": "warn", "task_id": id}, {"message": "world"}],
    });
    let answer = world.post("/v1/workers/w/heartbeat", beat).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["directive"], "stop");
    assert_eq!(answer["beat_every_seconds"], 20.0);
    let lost: Vec<_> = answer["lost"].as_array().unwrap().iter().map(|lost| lost["reason"].clone()).collect();
    assert_eq!(lost, ["cancelled", "unknown_task"]);
    let worker = world.get("/v1/workers/w").await.json();
    assert_eq!((&worker["status"], &worker["capacity"]), (&json!("stopping"), &json!(4)));
    assert_eq!((&worker["readings"]["vram_used_mb"], &worker["labels"]["host"]), (&json!(12.5), &json!("h")));
    let logs = world.get(&format!("/v1/logs?worker=w&level=warn&task_id={id}")).await.json();
    assert_eq!(logs["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&logs["items"][0]["message"], &logs["items"][0]["source"]),
        (&json!("hello"), &json!("worker"))
    );
}

#[tokio::test]
async fn an_earlier_session_of_a_worker_is_refused() {
    let world = World::new();
    let beat = |session: &str| json!({"session_id": session, "running": []});
    assert_eq!(world.post("/v1/workers/w/heartbeat", beat(SESSION)).await.status, 200);
    assert_eq!(world.post("/v1/workers/w/heartbeat", beat(NEWER)).await.status, 200);
    world.post("/v1/workers/w/heartbeat", beat(SESSION)).await.problem(409, "session_superseded");
    let claim = json!({"worker_id": "w", "session_id": SESSION});
    world.post("/v1/claims", claim).await.problem(409, "session_superseded");
}

#[tokio::test]
async fn wrong_fields_of_workers_are_all_named() {
    let world = World::new();
    let claim = json!({
        "queues": [], "types": ["a", "b/c"], "max_tasks": 101, "capacity": 0, "lease_seconds": 0, "wait_seconds": 21,
        "session_id": "x", "request_id": "", "x": null,
    });
    assert_eq!(world.post("/v1/claims", claim).await.wrong_fields().len(), 10);
    let id = world.create(json!({"type": "a"})).await;
    let path = format!("/v1/tasks/{id}");
    let complete =
        json!({"worker_id": "w", "attempt": 0, "kind": "", "claim": {"worker_id": "v", "wait_seconds": 1}});
    let fields = world.post(&format!("{path}/complete"), complete).await.wrong_fields();
    assert_eq!(fields, ["attempt", "kind", "claim.worker_id", "claim.wait_seconds"]);
    let fields = world.post(&format!("{path}/fail"), json!({"error": {"code": 1}, "retryable": 1})).await;
    assert_eq!(fields.wrong_fields(), ["worker_id", "attempt", "error.message", "error.code", "retryable"]);
    let fields =
        world.post(&format!("{path}/fail"), json!({"worker_id": "w", "attempt": 1})).await.wrong_fields();
    assert_eq!(fields, ["error"]);
    let fields = world.post(&format!("{path}/release"), json!({"delay_seconds": -1})).await.wrong_fields();
    assert_eq!(fields, ["worker_id", "attempt", "delay_seconds"]);
    let beat =
        json!({"running": [{"task_id": "x", "attempt": 1}, 7], "logs": [{"level": "loud"}], "labels": 1});
    let fields = world.post("/v1/workers/w/heartbeat", beat).await.wrong_fields();
    assert_eq!(fields, ["running[0].task_id", "running[1]", "labels", "logs[0].level", "logs[0].message"]);
}

#[tokio::test]
async fn who_speaks_of_an_unknown_task_is_told_so() {
    let world = World::new();
    let path = "/v1/tasks/01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    let fence = json!({"worker_id": "w", "attempt": 1});
    world.post(&format!("{path}/complete"), fence.clone()).await.problem(404, "task_not_found");
    world.post(&format!("{path}/release"), fence).await.problem(404, "task_not_found");
    let fail = json!({"worker_id": "w", "attempt": 1, "error": {"message": "no"}});
    world.post(&format!("{path}/fail"), fail).await.problem(404, "task_not_found");
    for action in ["complete", "fail", "release"] {
        let answer = world.post(&format!("/v1/tasks/17/{action}"), json!({})).await;
        assert_eq!(answer.wrong_fields(), ["id"], "{action}");
    }
    assert_eq!(world.post("/v1/workers/a%20b/heartbeat", json!({})).await.wrong_fields(), ["worker"]);
}

#[tokio::test]
async fn the_run_time_of_a_completion_is_what_the_worker_says_as_far_as_that_can_be() {
    let world = World::new();
    for (said, told) in [(json!(0.25), 0.25), (json!(90.0), 2.0), (json!(null), 2.0)] {
        let id = world.create(json!({"type": "a"})).await;
        world.claim("w").await;
        world.advance(Duration::from_secs(2));
        let body = json!({"worker_id": "w", "attempt": 1, "run_seconds": said});
        let answer = world.post(&format!("/v1/tasks/{id}/complete"), body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(world.task(&id).await["generation"]["run_seconds"], told);
    }
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    let body = json!({"worker_id": "w", "attempt": 1, "run_seconds": -1});
    assert_eq!(world.post(&format!("/v1/tasks/{id}/complete"), body).await.wrong_fields(), ["run_seconds"]);
}
