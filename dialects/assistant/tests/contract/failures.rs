//! The failures of the old server that are not to come back.

use std::time::Duration;

use serde_json::json;

use crate::{active, create, site};

#[tokio::test]
async fn a_restart_loses_no_task() {
    let site = site(&[]).await;
    let waiting = create(&site, json!({"action": "a"})).await;
    let finished = create(&site, json!({"action": "b"})).await;
    let thought = json!({"task_id": waiting, "reflection": "still here"});
    assert_eq!(site.post("/task/reflect", &thought).await.status, 200);
    assert_eq!(site.work("assistant", &json!({})).await, waiting);
    let site = site.restarted().await;
    assert_eq!(active(&site).await, 1);
    assert_eq!(site.get(&format!("/task/{finished}")).await.json()["task"]["status"], "received");
    let one = site.get(&format!("/task/{waiting}")).await.json();
    assert_eq!(one["task"]["status"], "completed");
    assert_eq!(one["task"]["reflections"][0]["reflection"], "still here");
}

#[tokio::test]
async fn a_finished_task_is_found_and_listed() {
    let site = site(&[]).await;
    let id = create(&site, json!({"action": "a"})).await;
    site.work("assistant", &json!({"ok": true})).await;
    assert_eq!(active(&site).await, 0);
    let one = site.get(&format!("/task/{id}")).await;
    assert_eq!((one.status, &one.json()["task"]["status"]), (200, &json!("completed")));
    let finished = site.get("/task/list?finished=true").await.json();
    assert_eq!(
        (&finished["finished_tasks_count"], &finished["finished_tasks"][0]["task_id"]),
        (&json!(1), &json!(id))
    );
    let own = site.own_get("/v1/tasks?queue=assistant&status=completed").await;
    assert_eq!(own["items"][0]["id"], id);
}

#[tokio::test]
async fn the_status_is_never_taken_for_a_tasks_id() {
    let site = site(&[]).await;
    for path in ["/task/status", "/tasks/status", "/task/list", "/tasks/list"] {
        assert_eq!(site.get(path).await.status, 200, "{path}");
    }
    let status = site.get("/task/status").await.json();
    assert_eq!(status["task_manager"]["active_tasks_count"], 0);
}

#[tokio::test]
async fn nothing_of_a_finished_task_is_kept_beyond_its_retention() {
    let site = site(&[("retention.finished_days", "1"), ("reaper.interval_seconds", "0.05")]).await;
    for n in 0..50 {
        let id = create(&site, json!({"n": n})).await;
        let thought = json!({"task_id": id, "reflection": format!("of {n}")});
        assert_eq!(site.post("/task/reflect", &thought).await.status, 200);
        site.work("assistant", &json!({})).await;
    }
    assert_eq!(site.get("/task/list?finished=true").await.json()["finished_tasks_count"], 50);
    // The time goes on as clocks do, an hour at a look, so that it is believed.
    let gone = async {
        loop {
            site.clock.advance(Duration::from_secs(3_600));
            let all = site.own_get("/v1/tasks?queue=assistant&limit=1000").await;
            if all["items"].as_array().unwrap().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("tasks and thoughts are removed");
    let status = site.get("/task/status").await.json();
    assert_eq!(status["task_manager"]["total_tasks_processed"], 0);
}

#[tokio::test]
async fn two_tenants_see_their_own_tasks_and_counts_alone() {
    let mut site = site(&[("tokens.required", "always")]).await;
    let key = "an-old-key-of-the-assistant";
    site.make_token(json!({"name": "film", "project": "film", "secret": key})).await;
    let game = site.make_token(json!({"name": "game", "project": "game"})).await;
    site.present(Some(key));
    let id = create(&site, json!({"action": "a"})).await;
    let thought = json!({"task_id": id, "reflection": "mine"});
    assert_eq!(site.post("/task/reflect", &thought).await.status, 200);
    site.present(Some(&game));
    create(&site, json!({"action": "b"})).await;
    assert_eq!(site.get(&format!("/task/{id}")).await.status, 404);
    assert_eq!(site.post("/task/reflect", &thought).await.status, 404);
    assert_eq!(active(&site).await, 1);
    let status = site.get("/task/status").await.json();
    assert_eq!(status["task_manager"]["active_tasks_count"], 1);
    site.present(None);
    let answer = site.get("/task/list").await;
    assert_eq!(answer.status, 401);
    assert!(answer.json()["detail"].is_string(), "{answer:?}");
}
