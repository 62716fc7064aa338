//! `claim-next-task`: who is given what, and what becomes of answers and workers that are lost.

use std::time::Duration;

use serde_json::json;

use super::world::{
    PROJECT, beat, call, called, claim, claim_as, claim_this, create, id, reap, set, site, site_with, status,
};

#[tokio::test]
async fn the_oldest_task_of_the_run_type_is_given_with_its_attempts() {
    let site = site().await;
    for (number, task_type) in [(1, "travel_segment"), (2, "image_edit"), (3, "travel_segment")] {
        create(&site, &id(number), task_type, json!({"n": number})).await;
        site.clock.advance(Duration::from_secs(1));
    }
    let task = claim_as(&site, "api-worker-main", "api").await.unwrap();
    assert_eq!(
        task,
        json!({"task_id": id(2), "params": {"n": 2}, "task_type": "image_edit", "project_id": PROJECT, "attempts": 0})
    );
    assert!(claim_as(&site, "api-worker-main", "api").await.is_none());
    claim_this(&site, "w1", &id(1)).await;
    claim_this(&site, "w2", &id(3)).await;
    assert!(claim(&site, "w3").await.is_none());
}

#[tokio::test]
async fn one_worker_holds_as_many_tasks_as_it_asks_for() {
    let site = site_with(&[("dialects.edge-functions.running_per_owner", "0")]).await;
    for number in 0..20 {
        create(&site, &id(number), "image_edit", json!({})).await;
    }
    let mut given = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let task = claim_as(&site, "api-worker-main", "api").await.unwrap();
        given.insert(task["task_id"].as_str().unwrap().to_owned());
        // It runs them beside each other and asks every ten seconds: none is handed to it twice.
        site.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(given.len(), 20);
}

#[tokio::test]
async fn no_two_workers_are_given_one_task() {
    let site = site_with(&[("dialects.edge-functions.running_per_owner", "0")]).await;
    for number in 0..10 {
        create(&site, &id(number), "t", json!({})).await;
    }
    let claims = (0..25).map(|number| {
        let site = &site;
        async move { claim(site, &format!("w{number}")).await }
    });
    let given: Vec<_> = futures::future::join_all(claims).await.into_iter().flatten().collect();
    let distinct: std::collections::BTreeSet<_> =
        given.iter().map(|task| task["task_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((given.len(), distinct.len()), (10, 10));
}

#[tokio::test]
async fn five_tasks_of_an_owner_run_at_once_over_all_projects_and_orchestrators_do_not_count() {
    let site = site().await;
    let other = "51c00000-0000-4000-8000-000000000002";
    for project in [PROJECT, other] {
        site.own_post(&format!("/v1/projects/{project}/owner"), &json!({"owner": "ann"})).await;
    }
    for number in 0..8 {
        let project = if number % 2 == 0 { PROJECT } else { other };
        let body = json!({"task_id": id(number), "task_type": "t", "params": {}, "project_id": project});
        called(&site, "create-task", body).await;
    }
    create(&site, &id(50), "travel_orchestrator", json!({})).await;
    create(&site, &id(51), "a_new_orchestrator", json!({})).await;
    let mut given = Vec::new();
    for number in 0..10 {
        given.extend(claim(&site, &format!("w{number}")).await);
    }
    let orchestrators = given.iter().filter(|task| task["task_type"] != "t").count();
    assert_eq!((given.len(), orchestrators), (7, 2));
    let told = called(&site, "task-counts", json!({"run_type": "gpu", "include_active": true})).await;
    assert_eq!((&told["active_tasks"][0]["user_id"], &told["users"][0]["user_id"]), (&json!("ann"), &json!("ann")));
    let totals = &told["totals"];
    assert_eq!((&totals["queued_only"], &totals["blocked_by_capacity"]), (&json!(0), &json!(3)));
    let first = given.iter().find(|task| task["task_type"] == "t").unwrap()["task_id"].clone();
    called(&site, "complete_task", json!({"task_id": first})).await;
    assert!(claim(&site, "w20").await.is_some(), "a place is free");
    assert!(claim(&site, "w21").await.is_none());
}

#[tokio::test]
async fn a_worker_is_given_what_its_model_is_for_until_another_has_waited_too_long() {
    let site = site().await;
    let told = called(&site, "update-worker-model", json!({"worker_id": "w1", "current_model": "wan"})).await;
    assert_eq!((&told["success"], &told["current_model"]), (&json!(true), &json!("wan")));
    create(&site, &id(1), "t", json!({"model": "flux"})).await;
    site.clock.advance(Duration::from_secs(60));
    create(&site, &id(2), "t", json!({"orchestrator_details": {"model_name": "wan"}})).await;
    create(&site, &id(3), "t", json!({"model_name": "wan"})).await;
    let body =
        json!({"worker_id": "w1", "run_type": "gpu", "same_model_only": true, "max_task_wait_minutes": 5});
    let task = called(&site, "claim-next-task", body.clone()).await;
    assert_eq!(task["task_id"], id(2));
    called(&site, "complete_task", json!({"task_id": id(2)})).await;
    site.clock.advance(Duration::from_secs(300));
    let task = called(&site, "claim-next-task", body).await;
    assert_eq!(task["task_id"], id(1), "it has waited for six minutes");
    assert_eq!(
        call(&site, "update-worker-model", json!({"worker_id": "w1", "model": "x"})).await.status,
        400
    );
}

#[tokio::test]
async fn a_lost_answer_strands_no_task() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    create(&site, &id(2), "t", json!({})).await;
    beat(&site, "w1", "active", json!([])).await;
    claim_this(&site, "w1", &id(1)).await;
    // The answer never came. The worker asks again when it has given up waiting, and holds nothing as far as it knows.
    site.clock.advance(Duration::from_secs(15));
    claim_this(&site, "w1", &id(1)).await;
    claim_this(&site, "w2", &id(2)).await;
}

#[tokio::test]
async fn an_orchestrator_that_waits_for_its_children_is_not_given_to_its_worker_again() {
    let site = site().await;
    create(&site, &id(1), "travel_orchestrator", json!({})).await;
    claim_this(&site, "w1", &id(1)).await;
    site.clock.advance(Duration::from_secs(30));
    beat(&site, "w1", "active", json!([])).await;
    create(&site, &id(2), "travel_segment", json!({"orchestrator_task_id_ref": id(1)})).await;
    claim_this(&site, "w1", &id(2)).await;
}

#[tokio::test]
async fn a_rehearsal_claims_nothing() {
    let site = site().await;
    let body = json!({"worker_id": "w1", "run_type": "gpu", "dry_run": true});
    assert_eq!(call(&site, "claim-next-task", body.clone()).await.status, 204);
    create(&site, &id(1), "t", json!({})).await;
    assert_eq!(called(&site, "claim-next-task", body).await["dry_run"], true);
    assert_eq!(status(&site, &id(1)).await, "Queued");
}

#[tokio::test]
async fn what_is_wrong_with_a_claim_is_said_in_plain_text() {
    let site = site().await;
    for body in [
        json!({"run_type": "gpu"}),
        json!({"worker_id": "w", "run_type": "tpu"}),
        json!({"worker_id": "a b"}),
    ] {
        let answer = call(&site, "claim-next-task", body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    }
}

#[tokio::test]
async fn a_worker_that_beats_keeps_its_task_though_its_row_is_not_touched() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    beat(&site, "w1", "active", json!([])).await;
    claim_this(&site, "w1", &id(1)).await;
    for _ in 0..90 {
        site.clock.advance(Duration::from_secs(20));
        beat(&site, "w1", "active", json!([])).await;
    }
    reap(&site).await;
    assert_eq!(status(&site, &id(1)).await, "In Progress");
}

#[tokio::test]
async fn a_hung_worker_whose_watcher_goes_on_beating_loses_its_task() {
    let site = site_with(&[("dialects.edge-functions.task_minutes", "20")]).await;
    create(&site, &id(1), "t", json!({})).await;
    beat(&site, "w1", "active", json!([])).await;
    claim_this(&site, "w1", &id(1)).await;
    for _ in 0..61 {
        site.clock.advance(Duration::from_secs(20));
        beat(&site, "w1", "active", json!([])).await;
    }
    reap(&site).await;
    assert_eq!(status(&site, &id(1)).await, "Queued");
}

#[tokio::test]
async fn a_worker_that_never_beats_holds_its_task_for_its_lease() {
    let site = site_with(&[("dialects.edge-functions.silent_lease_minutes", "30")]).await;
    create(&site, &id(1), "image_edit", json!({})).await;
    assert!(claim_as(&site, "api-worker-main", "api").await.is_some());
    site.clock.advance(Duration::from_secs(29 * 60));
    reap(&site).await;
    assert_eq!(status(&site, &id(1)).await, "In Progress");
    site.clock.advance(Duration::from_secs(2 * 60));
    reap(&site).await;
    assert_eq!(status(&site, &id(1)).await, "Queued");
}

#[tokio::test]
async fn a_task_whose_workers_die_one_after_the_other_fails_and_loops_no_longer() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    for attempt in 0..3 {
        let worker = format!("w{attempt}");
        beat(&site, &worker, "active", json!([])).await;
        let task = claim(&site, &worker).await.unwrap();
        assert_eq!(task["attempts"], attempt);
        site.clock.advance(Duration::from_secs(70));
        reap(&site).await;
        site.clock.advance(Duration::from_secs(600));
    }
    assert_eq!(status(&site, &id(1)).await, "Failed");
    assert!(claim(&site, "w9").await.is_none());
    assert_eq!(set(&site, &id(1), "Queued", json!({})).await.status, 409);
}

#[tokio::test]
async fn a_worker_that_dies_without_a_word_and_comes_back_each_time_uses_up_its_tasks_attempts() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let mut given = Vec::new();
    for _ in 0..20 {
        beat(&site, "w1", "active", json!([])).await;
        given.extend(claim(&site, "w1").await.map(|task| task["attempts"].as_u64().unwrap()));
        site.clock.advance(Duration::from_secs(20));
    }
    assert_eq!(given, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    assert_eq!(status(&site, &id(1)).await, "Failed");
}

#[tokio::test]
async fn a_worker_that_asks_long_after_its_claim_has_begun_anew() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    beat(&site, "w1", "active", json!([])).await;
    claim_this(&site, "w1", &id(1)).await;
    for _ in 0..31 {
        site.clock.advance(Duration::from_secs(20));
        beat(&site, "w1", "active", json!([])).await;
    }
    assert_eq!(claim(&site, "w1").await.unwrap()["attempts"], 1);
}
