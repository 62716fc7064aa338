//! Orchestrators with their children: together to the end, and together down.

use baton_tests::site::Site;
use serde_json::{Value, json};

use super::world::{called, claim_this, create, generations, id, set, site, status};

async fn child(site: &Site, number: u32, task_type: &str) {
    let params = json!({"orchestrator_task_id_ref": id(1), "segment_index": number});
    create(site, &id(number), task_type, params).await;
}

async fn journey(site: &Site, segments: u32) {
    let details = json!({"orchestrator_details": {"num_new_segments_to_generate": segments}});
    create(site, &id(1), "travel_orchestrator", details).await;
    claim_this(site, "w1", &id(1)).await;
    for number in 2..2 + segments {
        child(site, number, "travel_segment").await;
    }
}

async fn children(site: &Site) -> Vec<Value> {
    let told = called(site, "get-orchestrator-children", json!({"orchestrator_task_id": id(1)})).await;
    told["tasks"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_orchestrator_ends_with_its_last_child_and_its_output() {
    let site = site().await;
    journey(&site, 2).await;
    let found = children(&site).await;
    assert_eq!(found.len(), 2);
    assert_eq!((&found[0]["id"], &found[1]["id"]), (&json!(id(2)), &json!(id(3))));
    assert_eq!(found[0]["task_type"], "travel_segment");
    for number in 2..4 {
        assert_eq!(status(&site, &id(1)).await, "In Progress");
        claim_this(&site, "w2", &id(number)).await;
        let location = format!("https://x/{number}.mp4");
        called(&site, "complete_task", json!({"task_id": id(number), "output_location": location})).await;
    }
    let told = called(&site, "get-task-output", json!({"task_id": id(1)})).await;
    assert_eq!((&told["status"], &told["output_location"]), (&json!("Complete"), &json!("https://x/3.mp4")));
    assert_eq!(generations(&site, &id(1)).await.len(), 1);
}

#[tokio::test]
async fn the_failure_of_one_reaches_its_orchestrator_and_siblings() {
    let site = site().await;
    journey(&site, 3).await;
    claim_this(&site, "w2", &id(2)).await;
    claim_this(&site, "w3", &id(3)).await;
    set(&site, &id(2), "Failed", json!({"output_location": "out of memory"})).await;
    assert_eq!(status(&site, &id(1)).await, "Failed");
    assert_eq!(status(&site, &id(3)).await, "Failed");
    // Nobody had begun it.
    assert_eq!(status(&site, &id(4)).await, "Cancelled");
    let told = called(&site, "get-task-output", json!({"task_id": id(1)})).await;
    let message = told["output_location"].as_str().unwrap();
    assert!(message.contains("Cascaded") && message.contains(&id(2)), "{message}");
    let rows = site.get("/rest/v1/tasks?select=id,error_message,output_location&order=id.asc").await.json();
    for row in rows.as_array().unwrap().iter().filter(|row| row["id"] != json!(id(2))) {
        let message = row["error_message"].as_str().unwrap_or_else(|| panic!("{row}"));
        assert!(message.contains("Cascaded") && message.contains(&id(2)), "{row}");
        assert_eq!(row["output_location"], row["error_message"], "{row}");
    }
    let fourth = children(&site).await.into_iter().find(|child| child["id"] == json!(id(4))).unwrap();
    assert!(fourth["output_location"].as_str().unwrap().contains("out of memory"), "{fourth}");
}

#[tokio::test]
async fn why_a_task_was_called_off_is_read_where_clients_look_for_it() {
    let site = site().await;
    for (number, word, more) in [
        (1, "Cancelled", json!({"error_details": "no longer wanted"})),
        (2, "Failed", json!({"output_location": "no longer wanted"})),
        (3, "Cancelled", json!({})),
    ] {
        create(&site, &id(number), "t", json!({})).await;
        assert_eq!(set(&site, &id(number), word, more).await.status, 200, "{number}");
        let row = site.get(&format!("/rest/v1/tasks?select=*&id=eq.{}", id(number))).await.json()[0].clone();
        let why = if number == 3 { Value::Null } else { json!("no longer wanted") };
        assert_eq!((&row["status"], &row["error_message"]), (&json!("Cancelled"), &why), "{row}");
        assert_eq!(row["output_location"], why, "{row}");
    }
}

#[tokio::test]
async fn a_cancelled_orchestrator_takes_its_children_along() {
    let site = site().await;
    journey(&site, 2).await;
    claim_this(&site, "w2", &id(2)).await;
    set(&site, &id(1), "Cancelled", json!({})).await;
    for number in 1..4 {
        assert_eq!(status(&site, &id(number)).await, "Cancelled", "{number}");
    }
}

#[tokio::test]
async fn clips_are_joined_once_they_are_stitched() {
    let site = site().await;
    let details = json!({"orchestrator_details": {"clip_list": ["a", "b"]}});
    create(&site, &id(1), "join_clips_orchestrator", details).await;
    claim_this(&site, "w1", &id(1)).await;
    for (number, task_type) in [(2, "join_clips_segment"), (3, "join_final_stitch")] {
        child(&site, number, task_type).await;
    }
    for number in 2..4 {
        assert_eq!(status(&site, &id(1)).await, "In Progress");
        claim_this(&site, "w2", &id(number)).await;
        called(&site, "complete_task", json!({"task_id": id(number), "output_location": "https://x/a.mp4"}))
            .await;
    }
    assert_eq!(status(&site, &id(1)).await, "Complete");
}

#[tokio::test]
async fn who_polls_finds_what_no_request_has_told() {
    let site = site().await;
    journey(&site, 2).await;
    // It is called off by Baton's own command, of which the dialect does not hear.
    site.own_post(&format!("/v1/tasks/{}/cancel", id(2)), &json!({})).await;
    assert_eq!(status(&site, &id(1)).await, "In Progress");
    children(&site).await;
    assert_eq!(status(&site, &id(1)).await, "Failed");
    assert_eq!(status(&site, &id(3)).await, "Cancelled");
}

#[tokio::test]
async fn what_waits_for_a_failed_one_fails_with_it() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let body = json!({"task_id": id(2), "task_type": "t", "params": {}, "project_id": super::world::PROJECT,
        "dependant_on": [id(1)]});
    called(&site, "create-task", body).await;
    claim_this(&site, "w1", &id(1)).await;
    set(&site, &id(1), "Failed", json!({"output_location": "no"})).await;
    assert_eq!(status(&site, &id(2)).await, "Failed");
}

#[tokio::test]
async fn a_child_that_is_being_removed_ends_nobody() {
    let site = site().await;
    journey(&site, 2).await;
    // As far as a removal has come between its two steps.
    site.own_post(&format!("/v1/tasks/{}/cancel", id(2)), &json!({"reason": "removed"})).await;
    assert_eq!(children(&site).await.len(), 1);
    claim_this(&site, "w2", &id(3)).await;
    called(&site, "complete_task", json!({"task_id": id(3), "output_location": "https://x/3.mp4"})).await;
    assert_eq!(status(&site, &id(1)).await, "In Progress", "another child is to come");
}
