//! The failures of the old server that are not to come back.

use std::time::Duration;

use baton_tests::site::Site;
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

/// Has the store's file fail, past the server.
fn harm(site: &Site, how: &str) {
    let db = rusqlite::Connection::open(site.dir().join("baton.db")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch(how).unwrap();
}

#[tokio::test]
async fn what_was_created_before_the_store_failed_is_told() {
    let site = site(&[]).await;
    harm(
        &site,
        "CREATE TRIGGER full BEFORE INSERT ON task WHEN (SELECT count(*) FROM task) >= 1000
         BEGIN SELECT RAISE(ABORT, 'no room'); END",
    );
    let tasks: Vec<_> = (0..1_500).map(|n| json!({"n": n})).collect();
    let answer = site.post("/task", &json!({"task": tasks, "assigned_by": "ray"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    assert_eq!((&told["created_count"], &told["failed_count"]), (&json!(1_000), &json!(500)));
    assert_eq!(told["created_tasks"].as_array().unwrap().len(), 1_000);
    let failed = told["failed_tasks"].as_array().unwrap();
    assert_eq!((&failed[0]["task_index"], &failed[499]["task_index"]), (&json!(1_000), &json!(1_499)));
    assert!(failed.iter().all(|one| one["error"].is_string()), "{}", failed[0]);
    assert_eq!(active(&site).await, 1_000);
    // Of a list of which nothing is created it is said as before.
    let answer = site.post("/task", &json!({"task": [{"n": 1}], "assigned_by": "ray"})).await;
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(answer.status == 500 && detail.starts_with("Failed to create batch tasks: "), "{answer:?}");
}

#[tokio::test]
async fn a_look_that_fails_and_a_task_that_cannot_be_called_off_take_no_ids_from_the_answer() {
    let site = site(&[("dialects.assistant.execute_seconds", "2")]).await;
    let body = json!({"task": [{"action": ["a", "b"]}], "assigned_by": "ray", "execute_immediately": true,
        "self_destruct": true});
    let (answer, ()) = tokio::join!(site.post("/task", &body), async {
        while active(&site).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        harm(&site, "ALTER TABLE task RENAME TO gone");
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    let created = &told["created_tasks"][0];
    assert!(created["task_id"].is_string(), "{told}");
    let result = &created["task"]["execution_result"];
    assert_eq!((&result["executed"], &result["total_actions"]), (&json!(false), &json!(2)), "{told}");
    let log = std::fs::read_to_string(site.dir().join("logs/heartbeat_detailed.jsonl")).unwrap();
    assert!(log.contains("\"task_created\""), "{log}");
}

#[tokio::test]
async fn what_the_store_does_not_tell_is_said_in_the_old_words() {
    let site = site(&[]).await;
    let id = create(&site, json!({"action": "a"})).await;
    harm(&site, "ALTER TABLE task RENAME TO gone");
    for (path, beginning) in [
        ("/task/list".to_owned(), "Failed to get task list: "),
        (format!("/task/{id}"), "Failed to get task: "),
    ] {
        let answer = site.get(&path).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(answer.status == 500 && detail.starts_with(beginning), "{path}: {answer:?}");
    }
    let errors = std::fs::read_to_string(site.dir().join("logs/heartbeat_errors.log")).unwrap();
    assert!(errors.contains(" ERROR: Failed to get task list: "), "{errors}");
}
