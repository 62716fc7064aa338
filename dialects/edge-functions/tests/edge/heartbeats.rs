//! Heartbeats with log lines, and log lines alone.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::world::{beat, claim, claim_this, create, id, reap, site, status};

#[tokio::test]
async fn a_beat_keeps_readings_and_lines_and_answers_an_object() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let logs = json!([
        {"timestamp": "2026-02-02T02:40:00.250000+00:00", "level": "WARNING", "message": "warm", "task_id": id(1), "metadata": {"k": 1}},
        {"timestamp": "2026-02-02T02:40:01", "level": "CRITICAL", "message": "hot", "task_id": null, "metadata": {}},
        {"level": 7, "message": ["no text"]},
    ]);
    let told = beat(&site, "gpu-1", "active", logs).await;
    assert_eq!((&told["success"], &told["heartbeat_updated"]), (&json!(true), &json!(true)));
    assert_eq!((&told["logs_inserted"], &told["log_errors"]), (&json!(2), &json!(1)));
    assert!(told.get("message").is_none(), "the Python client takes that for an error");
    let worker = site.own_get("/v1/workers/gpu-1").await;
    assert_eq!(worker["readings"]["vram_total_mb"], 24_576.0);
    let lines = site.own_get("/v1/logs?worker=gpu-1").await["items"].clone();
    let texts: Vec<&str> =
        lines.as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert!(texts.contains(&"warm") && texts.contains(&"hot"), "{lines}");
    // A beat without readings leaves those that stand.
    let body = json!({"worker_id_param": "gpu-1", "vram_total_mb_param": 0, "logs_param": [], "status_param": "active"});
    site.post("/rest/v1/rpc/func_worker_heartbeat_with_logs", &body).await;
    assert_eq!(site.own_get("/v1/workers/gpu-1").await["readings"]["vram_total_mb"], 24_576.0);
}

#[tokio::test]
async fn the_key_is_read_from_the_header_that_the_watcher_sends_it_in() {
    let site = super::world::site_with(&[("tokens.required", "always")]).await;
    let key = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZSJ9.c2VjcmV0";
    site.make_token(json!({"name": "service", "scopes": ["operator"], "secret": key})).await;
    let body = json!({"worker_id_param": "gpu-1", "logs_param": [], "status_param": "active"});
    let url = site.url("/rest/v1/rpc/func_worker_heartbeat_with_logs");
    let request = site.request(Method::POST, url.clone()).header("apikey", key).json(&body);
    assert_eq!(site.send(request).await.json()["success"], true);
    let answer = site.send(site.request(Method::POST, url).json(&body)).await;
    assert_eq!(answer.status, 401);
    let told = answer.json();
    assert!(
        told["code"].is_string() && told.get("details").is_some() && told.get("hint").is_some(),
        "{told}"
    );
}

#[tokio::test]
async fn the_last_word_of_a_dying_worker_gives_its_tasks_back_at_once() {
    let site = site().await;
    for number in 1..3 {
        create(&site, &id(number), "t", json!({})).await;
    }
    for attempt in 0..3 {
        let worker = format!("gpu-{attempt}");
        beat(&site, &worker, "active", json!([])).await;
        claim_this(&site, &worker, &id(1)).await;
        let told = beat(&site, &worker, "crashed", json!([])).await;
        let gone = if attempt < 2 { (1, 0) } else { (0, 1) };
        assert_eq!(
            (&told["crash_requeued_tasks"], &told["crash_failed_tasks"]),
            (&json!(gone.0), &json!(gone.1))
        );
    }
    assert_eq!(status(&site, &id(1)).await, "Failed", "no endless loop of crashes");
    claim_this(&site, "gpu-9", &id(2)).await;
}

#[tokio::test]
async fn a_crash_takes_nothing_from_who_has_the_task_since() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    beat(&site, "gpu-1", "active", json!([])).await;
    claim_this(&site, "gpu-1", &id(1)).await;
    site.clock.advance(Duration::from_secs(70));
    reap(&site).await;
    site.clock.advance(Duration::from_secs(600));
    beat(&site, "gpu-2", "active", json!([])).await;
    claim_this(&site, "gpu-2", &id(1)).await;
    let told = beat(&site, "gpu-1", "crashed", json!([])).await;
    assert_eq!((&told["crash_requeued_tasks"], &told["crash_failed_tasks"]), (&json!(0), &json!(0)));
    assert_eq!(status(&site, &id(1)).await, "In Progress");
}

#[tokio::test]
async fn a_beat_does_not_bring_back_a_worker_that_is_asked_to_stop() {
    let site = site().await;
    beat(&site, "gpu-1", "active", json!([])).await;
    site.own_post("/v1/workers/gpu-1/stop", &json!({})).await;
    beat(&site, "gpu-1", "active", json!([])).await;
    create(&site, &id(1), "t", json!({})).await;
    assert!(claim(&site, "gpu-1").await.is_none());
    assert_eq!(site.own_get("/v1/workers/gpu-1").await["status"], "stopping");
}

#[tokio::test]
async fn lines_of_orchestrators_come_in_batches() {
    let site = site().await;
    let logs = json!({"logs": [
        {"timestamp": "2026-02-02T02:40:00+00:00", "source_type": "orchestrator_gpu", "source_id": "host-1", "log_level": "INFO",
            "message": "Starting orchestrator cycle", "metadata": {}, "cycle_number": 7},
        {"source_type": "orchestrator_gpu", "source_id": "host-1", "log_level": "ERROR", "message": "no pods"},
        {"source_type": "orchestrator_gpu", "source_id": "host-1", "log_level": "LOUD", "message": "x"},
    ]});
    let answer = site.post("/rest/v1/rpc/func_insert_logs_batch", &logs).await;
    assert_eq!(answer.json(), json!({"success": true, "inserted": 2, "errors": 1}));
    let lines = site.own_get("/v1/logs?worker=host-1").await["items"].clone();
    assert_eq!(lines.as_array().unwrap().len(), 2);
    let answer =
        site.post("/rest/v1/rpc/func_update_worker_heartbeat", &json!({"worker_id_param": "gpu-1"})).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    let answer = site.post("/rest/v1/rpc/func_cleanup_old_logs", &json!({"retention_hours": 48})).await;
    assert_eq!(answer.status, 200);
    let answer = site.post("/rest/v1/rpc/func_claim_available_task", &json!({})).await;
    assert_eq!((answer.status, &answer.json()["code"]), (404, &Value::from("PGRST202")));
}

#[tokio::test]
async fn log_lines_alone_are_no_sign_of_a_workers_life() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    beat(&site, "gpu-1", "active", json!([])).await;
    claim_this(&site, "gpu-1", &id(1)).await;
    for _ in 0..5 {
        site.clock.advance(Duration::from_secs(20));
        let logs = json!({"logs": [
            {"source_type": "orchestrator_gpu", "source_id": "host-1", "log_level": "INFO", "message": "a", "worker_id": "gpu-1"},
            {"source_type": "worker", "log_level": "INFO", "message": "b", "worker_id": "gpu-1"},
            {"source_type": "worker", "source_id": "gpu-1", "log_level": "INFO", "message": "c"},
        ]});
        let answer = site.post("/rest/v1/rpc/func_insert_logs_batch", &logs).await;
        assert_eq!(answer.json(), json!({"success": true, "inserted": 3, "errors": 0}));
    }
    reap(&site).await;
    assert_eq!(status(&site, &id(1)).await, "Queued", "nobody has heard of its worker");
    for (table, names) in [("workers", vec!["gpu-1"]), ("active_workers_health", vec!["gpu-1"])] {
        let rows = site.get(&format!("/rest/v1/{table}?select=id")).await.json();
        let found: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{table}");
    }
    let counts = site.get("/rest/v1/orchestrator_status?select=*").await.json();
    assert_eq!(counts[0]["active_workers"], 1);
    let lines = site.get("/rest/v1/system_logs?select=*&source_id=eq.host-1").await.json();
    assert_eq!((lines.as_array().unwrap().len(), &lines[0]["worker_id"]), (5, &json!("gpu-1")));
}
