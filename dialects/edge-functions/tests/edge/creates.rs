//! `create-task`: both shapes, repeated and refused.

use std::time::Duration;

use baton_tests::site::Site;
use serde_json::{Value, json};

use super::world::{PROJECT, call, called, claim, create, id, site, site_with};

#[tokio::test]
async fn the_old_shape_makes_a_task_under_the_clients_id() {
    let site = site().await;
    create(&site, &id(1), "travel_segment", json!({"segment_index": 2})).await;
    let told = called(&site, "get-task-output", json!({"task_id": id(1)})).await;
    assert_eq!(
        told,
        json!({"status": "Queued", "output_location": null, "params": {"segment_index": 2}, "dependant_on": []})
    );
    let body = json!({"task_id": id(2), "task_type": "t", "params": "{\"a\":1}", "project_id": PROJECT,
        "dependant_on": id(1)});
    called(&site, "create_task", body).await;
    let told = called(&site, "get_task_output", json!({"task_id": id(2)})).await;
    assert_eq!((&told["params"], &told["dependant_on"]), (&json!({"a": 1}), &json!([id(1)])));
}

#[tokio::test]
async fn the_new_shape_keeps_its_input_as_the_params() {
    let site = site().await;
    let input = json!({"task_id": id(1), "dependant_on": null, "prompt": "a cat"});
    let told =
        called(&site, "create-task", json!({"family": "wan_2_2", "project_id": PROJECT, "input": input}))
            .await;
    assert_eq!(told, json!({"task_id": id(1), "status": "Task queued"}));
    let input = json!({"dependant_on": [id(1)]});
    let told =
        called(&site, "create-task", json!({"family": "wan_2_2", "project_id": PROJECT, "input": input}))
            .await;
    let second = told["task_id"].as_str().unwrap();
    let told = called(&site, "get-task-output", json!({"task_id": second})).await;
    assert_eq!(told["dependant_on"], json!([id(1)]));
    let first = claim(&site, "w1").await.unwrap();
    assert_eq!((&first["task_id"], &first["params"]["prompt"]), (&json!(id(1)), &json!("a cat")));
    assert!(claim(&site, "w2").await.is_none(), "the other waits for it");
}

#[tokio::test]
async fn a_key_makes_one_task_whatever_became_of_it() {
    let site = site().await;
    let body = |task: Option<String>| json!({"family": "t", "project_id": PROJECT, "input": {"task_id": task}, "idempotency_key": "generate-7"});
    let first = called(&site, "create-task", body(None)).await;
    assert!(first.get("deduplicated").is_none());
    for task in [None, Some(id(9))] {
        let again = called(&site, "create-task", body(task)).await;
        assert_eq!((&again["task_id"], &again["deduplicated"]), (&first["task_id"], &json!(true)));
    }
    claim(&site, "w1").await.unwrap();
    called(&site, "complete_task", json!({"task_id": first["task_id"], "output_location": "http://x/a.png"}))
        .await;
    let again = called(&site, "create-task", body(None)).await;
    assert_eq!(again["deduplicated"], true);
    assert!(claim(&site, "w2").await.is_none());
    let rows = site.get("/rest/v1/tasks?select=id,idempotency_key").await.json();
    assert_eq!(rows, json!([{"id": first["task_id"], "idempotency_key": "generate-7"}]));
}

#[tokio::test]
async fn a_persons_own_key_creates_and_completes_so_many_tasks_in_a_minute() {
    let mut site = site().await;
    let key = site.make_token(json!({"scopes": ["producer", "worker"], "project": PROJECT})).await;
    let ask = async |site: &Site, name: &str, number: u32| {
        let body = json!({"task_id": id(number), "task_type": "t", "params": {}, "project_id": PROJECT});
        call(site, name, body).await
    };
    // A service key's are as many as it likes.
    for number in 0..121 {
        assert_eq!(ask(&site, "create-task", number).await.status, 200);
    }
    site.present(Some(&key));
    for (name, most) in [("create_task", 120), ("complete_task", 60)] {
        for number in 0..most {
            assert_ne!(ask(&site, name, number).await.status, 429, "{name} {number}");
        }
        let answer = ask(&site, name, 0).await;
        let told = answer.json();
        assert_eq!((answer.status, &told["errorCode"], &told["retryAfter"]), (429, &json!("rate_limited"), &json!(60)));
        assert_eq!((&told["recoverable"], answer.headers["retry-after"].to_str().unwrap()), (&json!(true), "60"));
    }
    site.clock.advance(Duration::from_secs(60));
    assert_eq!(ask(&site, "create-task", 0).await.status, 200);
}

#[tokio::test]
async fn a_key_that_came_with_an_id_still_makes_one_task() {
    let site = site().await;
    let body = |task: u32| json!({"family": "t", "project_id": PROJECT, "input": {"task_id": id(task)}, "idempotency_key": "k"});
    let first = called(&site, "create-task", body(1)).await;
    let again = called(&site, "create-task", body(2)).await;
    assert_eq!((&first["task_id"], &again["task_id"]), (&json!(id(1)), &json!(id(1))));
    assert_eq!(call(&site, "get-task-status", json!({"task_id": id(2)})).await.status, 404);
}

#[tokio::test]
async fn an_id_that_is_sent_again_after_a_lost_answer_is_no_second_task_and_no_error() {
    let site = site().await;
    let body = json!({"task_id": id(1), "task_type": "t", "params": {"a": 1}, "project_id": PROJECT});
    let asked = || called(&site, "create-task", body.clone());
    let (first, second, third) = tokio::join!(asked(), asked(), asked());
    let made =
        [&first, &second, &third].into_iter().filter(|told| told.get("deduplicated").is_none()).count();
    assert_eq!(made, 1);
    assert!(
        [first, second, third].iter().all(|told| told["task_id"] == id(1) && told["status"] == "Task queued")
    );
    claim(&site, "w1").await.unwrap();
    assert!(claim(&site, "w2").await.is_none());
}

#[tokio::test]
async fn a_name_that_is_no_uuid_is_kept() {
    let site = site().await;
    create(&site, "segment-one", "t", json!({})).await;
    let task = claim(&site, "w1").await.unwrap();
    assert_eq!(task["task_id"], "segment-one");
    called(&site, "complete-task", json!({"task_id": "segment-one"})).await;
    assert_eq!(super::world::status(&site, "segment-one").await, "Complete");
}

#[tokio::test]
async fn what_cannot_be_created_is_refused_with_a_code() {
    let site = site_with(&[("dialects.edge-functions.known_types", "t,travel_segment")]).await;
    let refused = async |body: Value, status: u16, code: &str| {
        let answer = call(&site, "create-task", body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let told = answer.json();
        assert_eq!(told["errorCode"], code, "{told}");
        assert!(told["error"].is_string() && told["message"].is_string() && told["recoverable"].is_boolean());
    };
    let invalid = "invalid_request_body";
    refused(json!({"family": "", "project_id": PROJECT, "input": {}}), 400, invalid).await;
    refused(json!({"family": "t", "input": {}}), 400, invalid).await;
    refused(json!({"family": "t", "project_id": PROJECT, "input": []}), 400, invalid).await;
    refused(json!({"task_type": "t", "params": {}}), 400, invalid).await;
    refused(json!({"task_type": "t", "project_id": PROJECT}), 400, invalid).await;
    refused(json!([1]), 400, invalid).await;
    refused(json!({"task_type": "other", "params": {}, "project_id": PROJECT}), 400, "unknown_task_family")
        .await;
    // What workers of December send where a payload had no project.
    let nowhere = json!({"task_type": "t", "params": {}, "project_id": "default_project_id"});
    refused(nowhere, 404, "project_not_found").await;
    let waits = json!({"task_type": "t", "params": {}, "project_id": PROJECT, "dependant_on": [id(77)]});
    refused(waits, 400, "validation_error").await;
}

#[tokio::test]
async fn an_id_has_so_many_characters() {
    let site = site().await;
    let ask = async |length: usize| {
        let body = json!({"task_id": "x".repeat(length), "task_type": "t", "params": {}, "project_id": PROJECT});
        call(&site, "create-task", body).await
    };
    assert_eq!(ask(255).await.status, 200);
    let answer = ask(256).await;
    assert_eq!((answer.status, &answer.json()["errorCode"]), (400, &json!("validation_error")), "{answer:?}");
}
