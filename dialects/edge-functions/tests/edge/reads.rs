//! The functions that read.

use serde_json::{Value, json};

use super::world::{PROJECT, call, called, claim_this, create, id, site};

async fn complete(site: &baton_tests::site::Site, number: u32, location: &str) {
    claim_this(site, "w1", &id(number)).await;
    called(site, "complete_task", json!({"task_id": id(number), "output_location": location})).await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found_in_the_words_that_clients_look_for() {
    let site = site().await;
    for name in ["get-task-status", "get-task-output", "get-predecessor-output"] {
        let answer = call(&site, name, json!({"task_id": id(1)})).await;
        assert_eq!((answer.status, answer.json()), (404, json!({"error": "Task not found"})), "{name}");
        assert_eq!(call(&site, name, json!({})).await.status, 400);
    }
    assert_eq!(call(&site, "no-such-function", json!({})).await.status, 404);
}

#[tokio::test]
async fn predecessors_are_told_with_the_first_at_the_top() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    create(&site, &id(2), "t", json!({})).await;
    let body = json!({"task_id": id(3), "task_type": "t", "params": {}, "project_id": PROJECT,
        "dependant_on": [id(1), id(2)]});
    called(&site, "create-task", body).await;
    complete(&site, 1, "https://x/1.mp4").await;
    let told = called(&site, "get-predecessor-output", json!({"task_id": id(3)})).await;
    assert_eq!((&told["predecessor_id"], &told["output_location"]), (&json!(id(1)), &Value::Null));
    assert_eq!((&told["status"], &told["all_complete"]), (&json!("Complete"), &json!(false)));
    let second = json!({"predecessor_id": id(2), "output_location": null, "status": "Queued"});
    assert_eq!(told["predecessors"][1], second);
    complete(&site, 2, "https://x/2.mp4").await;
    let told = called(&site, "get-predecessor-output", json!({"task_id": id(3)})).await;
    assert_eq!((&told["output_location"], &told["all_complete"]), (&json!("https://x/1.mp4"), &json!(true)));
    assert_eq!(told["predecessors"][1]["output_location"], "https://x/2.mp4");
}

#[tokio::test]
async fn a_task_without_predecessors_finds_its_sibling() {
    let site = site().await;
    create(&site, &id(1), "t", json!({"parent_generation_id": "g", "child_order": 0})).await;
    complete(&site, 1, "https://x/0.mp4").await;
    create(&site, &id(2), "t", json!({})).await;
    let body = json!({"task_id": id(2), "parent_generation_id": "g", "child_order": 1});
    let told = called(&site, "get-predecessor-output", body).await;
    assert_eq!(
        (&told["output_location"], &told["lookup_method"]),
        (&json!("https://x/0.mp4"), &json!("generation_sibling"))
    );
    let told = called(&site, "get-predecessor-output", json!({"task_id": id(2)})).await;
    assert_eq!(told, json!({"predecessor_id": null, "output_location": null, "predecessors": []}));
}

#[tokio::test]
async fn the_segments_of_a_run_come_by_their_index() {
    let site = site().await;
    for (number, index, run) in [(1, 1, "run-a"), (2, 0, "run-a"), (3, 2, "run-b")] {
        let params = json!({"segment_index": index, "orchestrator_run_id": run});
        create(&site, &id(number), "travel_segment", params).await;
        complete(&site, number, &format!("https://x/{index}.mp4")).await;
    }
    let contract = json!({"segment_index": 5, "orchestration_contract": {"run_id": "run-a"}});
    create(&site, &id(4), "travel_segment", contract).await;
    complete(&site, 4, "https://x/5.mp4").await;
    create(&site, &id(5), "travel_segment", json!({"segment_index": 9, "orchestrator_run_id": "run-a"}))
        .await;
    let told = called(&site, "get-completed-segments", json!({"run_id": "run-a"})).await;
    assert_eq!(
        told,
        json!([
            {"segment_index": 0, "output_location": "https://x/0.mp4"},
            {"segment_index": 1, "output_location": "https://x/1.mp4"},
            {"segment_index": 5, "output_location": "https://x/5.mp4"},
        ])
    );
}

#[tokio::test]
async fn the_web_app_lists_a_projects_tasks_by_their_status() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    complete(&site, 1, "https://x/1.mp4").await;
    create(&site, &id(2), "t", json!({})).await;
    let told = called(&site, "tasks-list", json!({"projectId": PROJECT, "status": ["Complete"]})).await;
    assert_eq!(told.as_array().unwrap().len(), 1);
    let row = &told[0];
    assert_eq!((&row["id"], &row["output_location"]), (&json!(id(1)), &json!("https://x/1.mp4")));
    assert_eq!((&row["generation_created"], &row["worker_id"]), (&json!(true), &json!("w1")));
    let told = called(&site, "tasks-list", json!({"projectId": PROJECT, "status": []})).await;
    assert_eq!(told.as_array().unwrap().len(), 2);
}
