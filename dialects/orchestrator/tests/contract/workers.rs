//! Workers, and what is asked of them.

use serde_json::json;

use crate::{site, submit, task};

#[tokio::test]
async fn workers_are_shown_with_what_they_do() {
    let site = site(&[]).await;
    submit(&site, &task("a")).await;
    site.own_post("/v1/workers/idle/heartbeat", &json!({})).await;
    site.claim("autodev").await.unwrap();
    for path in ["/api/workers", "/api/workers/status"] {
        let told = site.get(path).await.json();
        assert_eq!((&told["workers_active"], &told["workers_busy"]), (&json!(2), &json!(1)), "{told}");
        assert_eq!((&told["workers_idle"], &told["worker_restarts"]), (&json!(1), &json!(0)));
        let workers = told["workers"].as_array().unwrap();
        assert_eq!((&workers[0]["id"], &workers[0]["state"]), (&json!("idle"), &json!("idle")));
        assert_eq!((&workers[1]["id"], &workers[1]["state"]), (&json!("w1"), &json!("busy")));
        assert_eq!(workers[1]["current_tasks"], json!(["a"]));
    }
    let one = site.get("/api/workers/w1").await.json();
    assert_eq!((&one["worker_id"], &one["active_tasks"]), (&json!("w1"), &json!(1)));
    let agents = site.get("/agents/status").await.json();
    assert_eq!((&agents["total_agents"], &agents["active_agents"]), (&json!(2), &json!(1)));
    assert_eq!(agents["agents"][1]["current_task"], "a");
    for path in ["/api/workers/nobody", "/api/workers/a%20b"] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Worker not found"})), "{path}");
    }
}

#[tokio::test]
async fn a_worker_is_asked_to_drain_to_stop_and_to_run() {
    let site = site(&[]).await;
    site.own_post("/v1/workers/w1/heartbeat", &json!({})).await;
    for (action, status) in [("drain", "draining"), ("stop", "stopping"), ("run", "active")] {
        let told = site.post(&format!("/api/workers/w1/{action}"), &json!({"reason": "tests"})).await;
        assert_eq!((told.status, &told.json()["status"]), (200, &json!(status)), "{told:?}");
        let beat = site.own_post("/v1/workers/w1/heartbeat", &json!({})).await;
        assert_eq!(beat["directive"], action);
    }
    let answer = site.post("/api/workers/nobody/stop", &json!({})).await;
    assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Worker not found"})));
    // It is in the audit log.
    let audit = site.own_get("/v1/audit?action=orchestrator.drain").await;
    assert_eq!(audit["items"][0]["target"], "/api/workers/w1/drain");
}

#[tokio::test]
async fn a_start_that_takes_anothers_place_is_a_restart() {
    let site = site(&[]).await;
    for n in 1..=3 {
        let session = format!("00000000-0000-4000-8000-00000000000{n}");
        site.own_post("/v1/workers/w1/heartbeat", &json!({"session_id": session})).await;
    }
    assert_eq!(site.get("/api/workers/status").await.json()["worker_restarts"], 2);
    assert!(site.get("/metrics").await.text.contains("\nworker_restarts 2\n"));
}
