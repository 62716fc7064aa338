//! The failures of the old task table that are not to come back.

use std::time::Duration;

use baton_tests::site::Site;
use serde_json::json;

use crate::{QUEUE, TASKS, create, id, show, site};

#[tokio::test]
async fn an_attempt_counts_once_though_its_worker_is_lost() {
    let site = site(&[("reaper.interval_seconds", "0.05"), ("leases.heartbeat_timeout_seconds", "60")]).await;
    let task = create(&site, true).await;
    let id = id(&task);
    assert!(site.claim(QUEUE).await.is_some());
    // Time goes on in steps, so that it is believed.
    let back = async {
        while show(&site, id).await["status"] == "running" {
            site.clock.advance(Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("it is taken back");
    let own = site.own_get(&format!("/v1/tasks/{id}")).await;
    assert_eq!((&own["task"]["attempt"], &own["task"]["attempts_used"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn an_attempt_that_fails_counts_once_so_that_three_are_three_runs() {
    let site = site(&[]).await;
    let task = create(&site, true).await;
    let id = id(&task);
    for attempt in 1..=3 {
        let given = site.claim(QUEUE).await.expect("it is tried three times");
        assert_eq!(given["attempt"], attempt);
        let failed = json!({"worker_id": "w1", "attempt": attempt, "error": {"message": "no"}});
        site.own_post(&format!("/v1/tasks/{id}/fail"), &failed).await;
        let status = if attempt < 3 { "retry" } else { "failed" };
        assert_eq!(show(&site, id).await["status"], status);
        let own = site.own_get(&format!("/v1/tasks/{id}")).await;
        assert_eq!(own["task"]["attempts_used"], attempt, "not once more by its failure");
        site.clock.advance(Duration::from_secs(3_600));
    }
    assert!(site.claim(QUEUE).await.is_none());
}

#[tokio::test]
async fn an_earlier_attempt_of_the_same_worker_cannot_finish_the_later_one() {
    let site = site(&[]).await;
    let task = create(&site, true).await;
    let id = id(&task);
    let first = site.claim(QUEUE).await.unwrap();
    let back = json!({"worker_id": "w1", "attempt": first["attempt"]});
    site.own_post(&format!("/v1/tasks/{id}/release"), &back).await;
    let second = site.claim(QUEUE).await.unwrap();
    assert_eq!((&first["attempt"], &second["attempt"]), (&json!(1), &json!(2)));
    let late = json!({"worker_id": "w1", "attempt": 1, "result": {"from": "the first"}});
    let url = site.own_url(&format!("/v1/tasks/{id}/complete"));
    let refused = site.send(site.request(reqwest::Method::POST, url).json(&late)).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(show(&site, id).await["status"], "running");
}

#[tokio::test]
async fn a_long_task_keeps_its_lease_by_heartbeats() {
    let site = site(&[("reaper.interval_seconds", "0.05")]).await;
    let task = create(&site, true).await;
    let id = id(&task);
    assert!(site.claim(QUEUE).await.is_some());
    // Five minutes, of which the old watchdog left 90 s.
    for _ in 0..30 {
        site.clock.advance(Duration::from_secs(10));
        let beat = json!({"running": [{"task_id": id, "attempt": 1}]});
        site.own_post("/v1/workers/w1/heartbeat", &beat).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(show(&site, id).await["status"], "running");
    }
    let done = json!({"worker_id": "w1", "attempt": 1, "result": {}});
    site.own_post(&format!("/v1/tasks/{id}/complete"), &done).await;
    assert_eq!(show(&site, id).await["status"], "completed");
}

#[tokio::test]
async fn who_runs_and_cancels_is_held_to_batons_scopes_and_recorded() {
    let mut site = site(&[("tokens.required", "always")]).await;
    let producer = site.make_token(json!({"name": "shell", "secret": "the-key-of-the-old-shell"})).await;
    let operator = site.make_token(json!({"name": "admin", "scopes": ["operator"]})).await;
    site.present(Some(&producer));
    let task = create(&site, false).await;
    let path = format!("{TASKS}/{}", id(&task));
    // To start what waits is an operator's, as in Baton's own API.
    assert_eq!(site.post(&format!("{path}/run"), &json!({})).await.status, 403);
    site.present(Some(&operator));
    assert_eq!(site.post(&format!("{path}/run"), &json!({})).await.status, 200);
    site.present(Some(&producer));
    assert_eq!(site.post(&format!("{path}/cancel"), &json!({})).await.status, 200);
    site.present(Some(&operator));
    let audit = site.own_get("/v1/audit").await;
    let actions: Vec<&str> =
        audit["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["task_table.cancel_task", "task_table.run_task"]);
}

#[tokio::test]
async fn a_restart_keeps_every_task_as_it_was() {
    let site = site(&[]).await;
    let (waiting, done) = (create(&site, false).await, create(&site, true).await);
    site.work(QUEUE, &json!({"n": 1})).await;
    let site = site.restarted().await;
    assert_eq!(show(&site, id(&waiting)).await["status"], "created");
    assert_eq!(show(&site, id(&done)).await["result"], json!({"n": 1}));
}

/// Creates tasks of another queue, whose ids begin as those of the same minute do.
async fn create_others(site: &Site, many: usize) {
    let tasks = vec![json!({"type": "t", "queue": "other", "params": {}}); many];
    site.own_post("/v1/tasks/batch", &json!({"tasks": tasks})).await;
    site.clock.advance(Duration::from_millis(1));
}

#[tokio::test]
async fn the_beginning_of_an_id_means_one_task_however_many_of_other_queues_share_it() {
    let site = site(&[]).await;
    create_others(&site, 250).await;
    let task = create(&site, true).await;
    let prefix = id(&task)[..8].to_owned();
    assert_eq!(show(&site, &prefix).await["id"], task["id"]);
    create_others(&site, 250).await;
    let other = create(&site, true).await;
    assert_eq!(id(&other)[..8], prefix);
    let answer = site.post(&format!("{TASKS}/{prefix}/cancel"), &json!({})).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert_eq!(show(&site, id(&task)).await["status"], "queued");
}

#[tokio::test]
async fn the_beginning_of_more_ids_than_are_looked_at_is_ambiguous() {
    let site = site(&[]).await;
    let task = create(&site, true).await;
    site.clock.advance(Duration::from_millis(1));
    for _ in 0..2 {
        create_others(&site, 1_000).await;
    }
    let answer = site.post(&format!("{TASKS}/{}/cancel", &id(&task)[..8]), &json!({})).await;
    assert_eq!(answer.status, 409, "{answer:?}");
}
