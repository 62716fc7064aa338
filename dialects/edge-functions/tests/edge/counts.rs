//! `task-counts`.

use std::time::Duration;

use baton_tests::site::Kept;
use reqwest::Method;
use serde_json::{Value, json};

use super::world::{PROJECT, call, called, claim_this, create, id, set, site, site_with};

#[tokio::test]
async fn each_total_counts_what_it_says() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    create(&site, &id(2), "image_edit", json!({})).await;
    create(&site, &id(3), "travel_orchestrator", json!({})).await;
    let waits = json!({"task_id": id(4), "task_type": "t", "params": {}, "project_id": PROJECT, "dependant_on": [id(2)]});
    called(&site, "create-task", waits).await;
    let body = json!({"run_type": "gpu", "include_active": true, "worker_pool": "unknown to this server"});
    let told = called(&site, "task-counts", body.clone()).await;
    assert_eq!(told["mode"], "count");
    assert_eq!(
        told["totals"],
        json!({"queued_only": 2, "active_only": 0, "queued_plus_active": 2, "blocked_by_capacity": 0,
            "blocked_by_deps": 1, "blocked_by_settings": 0, "potentially_claimable": 2})
    );
    assert_eq!(told["queued_tasks"][0]["task_id"], id(1));
    claim_this(&site, "w1", &id(1)).await;
    claim_this(&site, "w1", &id(3)).await;
    let told = called(&site, "task-counts", body).await;
    let totals = &told["totals"];
    assert_eq!((&totals["queued_only"], &totals["active_only"]), (&json!(0), &json!(1)), "no orchestrator");
    let active = &told["active_tasks"][0];
    assert_eq!((&active["task_id"], &active["worker_id"]), (&json!(id(1)), &json!("w1")));
    assert!(active["started_at"].as_str().unwrap().ends_with("+00:00"));
    let told = called(&site, "task-counts", json!({"run_type": "api", "include_active": false})).await;
    assert_eq!(told["totals"]["queued_only"], 1);
    let told = called(&site, "task-counts", json!({})).await;
    assert_eq!((&told["run_type_filter"], &told["totals"]["queued_plus_active"]), (&json!(null), &json!(2)));
}

#[tokio::test]
async fn a_queue_of_nothing_but_an_orchestrator_is_told_of_so_that_it_is_claimed() {
    let site = site().await;
    create(&site, &id(1), "travel_orchestrator", json!({})).await;
    let told = called(&site, "task-counts", json!({"run_type": "gpu"})).await;
    assert_eq!(told["totals"]["queued_only"], 1);
}

#[tokio::test]
async fn a_persons_own_key_counts_its_project_alone() {
    let mut site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let other = "51c00000-0000-4000-8000-000000000002";
    for number in 2..4 {
        let body = json!({"task_id": id(number), "task_type": "t", "params": {}, "project_id": other});
        called(&site, "create-task", body).await;
    }
    let key = site.make_token(json!({"scopes": ["producer", "worker"], "project": other})).await;
    site.present(Some(&key));
    let totals = called(&site, "task-counts", json!({"run_type": "api"})).await["totals"].clone();
    assert_eq!((&totals["queued_only"], &totals["eligible_queued"]), (&json!(2), &json!(2)));
    assert!(totals.get("blocked_by_deps").is_none());
    let task = called(&site, "claim-next-task", json!({})).await;
    assert_eq!(task["project_id"], other);
    // It is no other's business.
    for (name, more) in
        [("get-task-status", json!({})), ("get-task-output", json!({})), ("complete_task", json!({}))]
    {
        let mut body = json!({"task_id": id(1)});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(call(&site, name, body).await.status, 404, "{name}");
    }
    assert_eq!(set(&site, &id(1), "Failed", json!({})).await.status, 404);
    let body = json!({"task_type": "t", "params": {}, "project_id": PROJECT});
    let answer = call(&site, "create-task", body).await;
    assert_eq!((answer.status, &answer.json()["errorCode"]), (403, &json!("project_forbidden")));
}

#[tokio::test]
async fn the_oldest_tasks_are_listed_and_all_are_counted_however_many_wait() {
    // A file has more than are looked through. A table's counts trail behind it, and its lists go by other times than creation.
    let (batches, each): (u32, u32) = if super::KEPT == Kept::InFile { (26, 400) } else { (8, 100) };
    let site = site_with(&[("dialects.edge-functions.running_per_owner", "0")]).await;
    for batch in 0..batches {
        let task = |n| json!({"id": id(batch * each + n), "type": "t", "queue": "gpu", "project": PROJECT, "params": {}});
        let tasks: Vec<Value> = (0..each).map(task).collect();
        site.own_post("/v1/tasks/batch", &json!({"tasks": tasks})).await;
        site.clock.advance(Duration::from_secs(60));
    }
    let all = batches * each;
    let told = called(&site, "task-counts", json!({"run_type": "gpu"})).await;
    assert_eq!(told["totals"]["queued_only"], all, "{}", told["totals"]);
    let queued = told["queued_tasks"].as_array().unwrap();
    assert_eq!((queued.len(), &queued[0]["task_id"]), (100, &json!(id(0))));
    for query in [
        "select=id&status=eq.Queued",
        "select=count&status=in.(Queued,Failed)&task_type=eq.t",
        "select=id&status=neq.Failed",
        "select=id",
    ] {
        let request = site.request(Method::GET, site.url(&format!("/rest/v1/tasks?{query}&limit=1")));
        let answer = site.send(request.header("prefer", "count=exact")).await;
        let range = answer.headers["content-range"].to_str().unwrap();
        assert_eq!(range, format!("0-0/{all}"), "{query}");
    }
}
