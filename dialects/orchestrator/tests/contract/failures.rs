//! The failures of the old system that are not to come back.

use std::time::Duration;

use serde_json::json;

use crate::{fail, show, site, state, submit, task};

#[tokio::test]
async fn tasks_that_no_worker_takes_are_told_of() {
    let site = site(&[]).await;
    let quiet = site.get("/api/workers/status").await.json();
    assert_eq!((&quiet["healthy"], &quiet["warnings"]), (&json!(true), &json!([])));
    submit(&site, &task("a")).await;
    let told = site.get("/api/workers/status").await.json();
    assert_eq!((&told["healthy"], &told["tasks_in_queue"]), (&json!(false), &json!(1)));
    assert!(told["warnings"][0].as_str().unwrap().contains("no live worker"), "{told}");
    assert!(site.get("/metrics").await.text.contains("\ntasks_without_worker 1\n"));
    let full = site.get("/api/tasks/full/a").await.json();
    assert_eq!(full["why"]["reasons"][0]["reason"], "no_worker", "{full}");
    // A worker comes.
    submit(&site, &task("b")).await;
    site.own_post("/v1/workers/w1/heartbeat", &json!({})).await;
    site.work("autodev", &json!({})).await;
    let told = site.get("/api/workers/status").await.json();
    assert_eq!((&told["healthy"], &told["tasks_in_queue"]), (&json!(true), &json!(1)), "{told}");
    // And is gone.
    site.clock.advance(Duration::from_secs(3_600));
    assert_eq!(site.get("/api/workers/status").await.json()["healthy"], false);
}

#[tokio::test]
async fn all_lists_tell_the_same_a_day_later_and_after_a_restart() {
    let site = site(&[("dialects.orchestrator.timeout_seconds", "0")]).await;
    for id in ["passed", "failed", "waits"] {
        submit(&site, &task(id)).await;
    }
    site.work("autodev", &json!({})).await;
    fail(&site, json!({"message": "red"}), false).await;
    // In the old system, what lay in Redis was gone after a day, and what lay in SQLite was not.
    site.clock.advance(Duration::from_secs(25 * 3_600));
    let site = site.restarted().await;
    for (id, word) in [("passed", "passed"), ("failed", "failed"), ("waits", "queued")] {
        assert_eq!(state(&site, id).await, word);
    }
    let stats = site.get("/api/persistence/stats").await.json();
    let metrics = site.get("/api/metrics").await.json();
    assert_eq!((&stats["total_tasks"], &metrics["tasks_enqueued"]), (&json!(3), &json!(3)));
    assert_eq!(stats["tasks_by_state"]["passed"], metrics["tasks_succeeded"]);
}

/// What becomes, over a restart, of a task that runs, one that waits and one that is over.
async fn after_a_restart(attempts: &str) -> (String, String, String) {
    let settings = [
        ("dialects.orchestrator.max_attempts", attempts),
        ("dialects.orchestrator.timeout_seconds", "0"),
        ("reaper.interval_seconds", "0.05"),
    ];
    let site = site(&settings).await;
    for id in ["over", "runs", "waits"] {
        submit(&site, &task(id)).await;
    }
    site.work("autodev", &json!({})).await;
    let given = site.claim("autodev").await.unwrap();
    assert_eq!(given["params"]["id"], "runs");
    let site = site.restarted().await;
    assert_eq!(state(&site, "runs").await, "running");
    // Its worker died with the server, and comes back having forgotten it.
    let session = json!({"session_id": "00000000-0000-4000-8000-000000000001", "running": []});
    site.own_post("/v1/workers/w1/heartbeat", &session).await;
    let taken_back = async {
        while show(&site, "runs").await["state"] == "running" {
            site.clock.advance(Duration::from_secs(5));
            site.own_post("/v1/workers/w1/heartbeat", &session).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), taken_back).await.expect("it is taken back");
    let one = show(&site, "runs").await;
    assert!(one["last_error"].is_string(), "{one}");
    let history = site.get("/api/tasks/history/runs").await.json()["history"].clone();
    assert_eq!((&history[2]["state_from"], &history[2]["state_to"]), (&json!("running"), &one["state"]));
    assert!(history[2]["error_message"].is_string(), "{history}");
    (state(&site, "runs").await, state(&site, "waits").await, state(&site, "over").await)
}

#[tokio::test]
async fn after_a_restart_what_ran_has_failed_what_waited_waits_and_what_was_over_is() {
    let told = after_a_restart("1").await;
    assert_eq!(told, ("failed".to_owned(), "queued".to_owned(), "passed".to_owned()));
}

#[tokio::test]
async fn after_a_restart_what_ran_is_tried_again_if_it_is_so_set() {
    let told = after_a_restart("3").await;
    assert_eq!(told, ("queued".to_owned(), "queued".to_owned(), "passed".to_owned()));
}

#[tokio::test]
async fn an_attempt_that_runs_too_long_is_a_timeout() {
    let site =
        site(&[("dialects.orchestrator.timeout_seconds", "60"), ("reaper.interval_seconds", "0.05")]).await;
    submit(&site, &task("a")).await;
    site.claim("autodev").await.unwrap();
    let over = async {
        while show(&site, "a").await["state"] != "timeout" {
            site.clock.advance(Duration::from_secs(10));
            site.own_post("/v1/workers/w1/heartbeat", &json!({})).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), over).await.expect("it times out");
    assert_eq!(state(&site, "a").await, "timeout");
    let history = site.get("/api/tasks/history/a").await.json()["history"].clone();
    assert_eq!(history[2]["state_to"], "timeout", "{history}");
    // It may be recovered as one that failed.
    let told = site.post("/api/tasks/a/recover", &json!({})).await.json();
    assert_eq!(told["restored_state"], "queued");
    let last = site.get("/api/tasks/history/a").await.json()["history"][3].clone();
    assert_eq!((&last["state_from"], &last["state_to"]), (&json!("timeout"), &json!("queued")));
}
