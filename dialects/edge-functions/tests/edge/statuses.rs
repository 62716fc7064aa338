//! `update-task-status`: the transitions, what comes back from the dead, and what is put back.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{beat, call, called, claim, claim_this, create, id, reap, set, site, status};

#[tokio::test]
async fn each_transition_of_the_table_is_allowed_and_no_other() {
    let site = site().await;
    let words = ["Queued", "In Progress", "Complete", "Failed", "Cancelled"];
    let allowed = |from: &str| -> &[&str] {
        match from {
            "In Progress" => &["Queued", "In Progress", "Complete", "Failed", "Cancelled"],
            // A status that it has is an update; a task is given to a worker by a claim alone.
            "Queued" => &["Queued", "Failed", "Cancelled"],
            "Complete" => &["Complete"],
            "Failed" => &["Failed"],
            _ => &["Cancelled"],
        }
    };
    let mut number = 0;
    for from in words {
        for to in words {
            number += 1;
            let task = id(number);
            create(&site, &task, "t", json!({})).await;
            if from != "Queued" {
                claim_this(&site, "w1", &task).await;
                assert_eq!(set(&site, &task, from, json!({})).await.status, 200, "to {from}");
            }
            let answer = set(&site, &task, to, json!({})).await;
            if allowed(from).contains(&to) {
                assert_eq!(answer.status, 200, "{from} to {to}: {answer:?}");
                let told = answer.json();
                assert_eq!((&told["success"], &told["task_id"]), (&json!(true), &json!(task)));
            } else {
                assert_eq!(answer.status, 409, "{from} to {to}: {answer:?}");
                let told = answer.json();
                assert_eq!(told["success"], false);
                assert_eq!((&told["current_status"], &told["requested_status"]), (&json!(from), &json!(to)));
                assert!(told["allowed_transitions"].is_array() && told["message"].is_string());
            }
            // None is left for the next one's claim.
            set(&site, &task, "Cancelled", json!({})).await;
        }
    }
}

#[tokio::test]
async fn what_runs_may_tell_of_its_output_again_and_again() {
    let site = site().await;
    create(&site, &id(1), "travel_orchestrator", json!({})).await;
    claim_this(&site, "w1", &id(1)).await;
    for text in ["2 of 5", "3 of 5"] {
        assert_eq!(set(&site, &id(1), "In Progress", json!({"output_location": text})).await.status, 200);
        let told = called(&site, "get-task-output", json!({"task_id": id(1)})).await;
        assert_eq!((&told["status"], &told["output_location"]), (&json!("In Progress"), &json!(text)));
    }
    let alone = json!({"reset_generation_started_at": true});
    assert_eq!(set(&site, &id(1), "In Progress", alone).await.status, 200);
}

#[tokio::test]
async fn a_failure_is_read_where_clients_look_for_it() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    claim_this(&site, "w1", &id(1)).await;
    let message = "Upload failed: [EDGE_FAIL:complete_task:HTTP_500] x";
    assert_eq!(set(&site, &id(1), "Failed", json!({"output_location": message})).await.status, 200);
    let told = called(&site, "get-task-output", json!({"task_id": id(1)})).await;
    assert_eq!((&told["status"], &told["output_location"]), (&json!("Failed"), &json!(message)));
    let found = site.own_get(&format!("/v1/tasks/{}", id(1))).await;
    assert_eq!(found["task"]["error"]["message"], message);
}

#[tokio::test]
async fn the_name_that_was_only_written_down_fails_a_task_too() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    claim_this(&site, "w1", &id(1)).await;
    called(&site, "mark-task-failed", json!({"task_id": id(1), "error_message": "no"})).await;
    assert_eq!(status(&site, &id(1)).await, "Failed");
}

#[tokio::test]
async fn what_is_put_back_is_given_out_at_once_with_its_attempts_counted() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    for attempt in 0..2 {
        let task = claim(&site, "w1").await.unwrap();
        assert_eq!(task["attempts"], attempt);
        let back =
            json!({"attempts": attempt + 1, "error_details": "[EDGE_FAIL:x:TIMEOUT]", "clear_worker": true});
        let answer = set(&site, &id(1), "Queued", back).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("Queued")), "{answer:?}");
    }
    assert_eq!(claim(&site, "w1").await.unwrap()["attempts"], 2);
    let back = json!({"attempts": 3, "error_details": "again", "clear_worker": true});
    let answer = set(&site, &id(1), "Queued", back).await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (200, &json!("Failed")),
        "its attempts are used up"
    );
}

#[tokio::test]
async fn a_zombie_that_puts_back_its_own_attempt_does_not_touch_anothers() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    beat(&site, "zombie", "active", json!([])).await;
    claim_this(&site, "zombie", &id(1)).await;
    site.clock.advance(Duration::from_secs(70));
    reap(&site).await;
    assert_eq!(status(&site, &id(1)).await, "Queued");
    // While it waits for another one, the zombie's word counts for nothing.
    for (word, more) in
        [("Failed", json!({"output_location": "x"})), ("Complete", json!({"output_location": "x"}))]
    {
        assert_eq!(set(&site, &id(1), word, more).await.status, 409, "{word}");
    }
    site.clock.advance(Duration::from_secs(600));
    beat(&site, "w2", "active", json!([])).await;
    let task = claim(&site, "w2").await.unwrap();
    assert_eq!((&task["task_id"], &task["attempts"]), (&json!(id(1)), &json!(1)));
    let late = json!({"attempts": 1, "error_details": "late", "clear_worker": true});
    assert_eq!(set(&site, &id(1), "Queued", late).await.status, 409);
    assert_eq!(status(&site, &id(1)).await, "In Progress");
    let own = json!({"attempts": 2, "error_details": "own", "clear_worker": true});
    assert_eq!(set(&site, &id(1), "Queued", own).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let site = site().await;
    create(&site, &id(1), "t", json!({})).await;
    let text = async |body: Value, status: u16| {
        let answer = call(&site, "update-task-status", body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"), "{body}");
    };
    text(json!({"status": "Failed"}), 400).await;
    text(json!({"task_id": id(1), "status": "queued"}), 400).await;
    text(json!({"task_id": id(9), "status": "Failed"}), 404).await;
    for wrong in [json!({"attempts": "1"}), json!({"error_details": 1}), json!({"clear_worker": "yes"})] {
        let answer = set(&site, &id(1), "Failed", wrong.clone()).await;
        assert_eq!((answer.status, &answer.json()["success"]), (400, &json!(false)), "{wrong}");
    }
}

#[tokio::test]
async fn a_late_failure_of_a_lost_worker_ends_neither_the_task_nor_its_siblings() {
    let site = site().await;
    create(&site, &id(1), "travel_orchestrator", json!({})).await;
    claim_this(&site, "w0", &id(1)).await;
    let child = json!({"orchestrator_task_id_ref": id(1)});
    create(&site, &id(2), "travel_segment", child.clone()).await;
    beat(&site, "zombie", "active", json!([])).await;
    claim_this(&site, "zombie", &id(2)).await;
    site.clock.advance(Duration::from_secs(70));
    beat(&site, "w0", "active", json!([])).await;
    reap(&site).await;
    for _ in 0..20 {
        site.clock.advance(Duration::from_secs(30));
        beat(&site, "w0", "active", json!([])).await;
    }
    beat(&site, "w2", "active", json!([])).await;
    claim_this(&site, "w2", &id(2)).await;
    create(&site, &id(3), "travel_segment", child).await;
    site.clock.advance(Duration::from_secs(1));
    // It names no attempt, as workers do when they fail a task.
    let answer = set(&site, &id(2), "Failed", json!({"output_location": "late"})).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("Queued")), "{answer:?}");
    for (number, word) in [(1, "In Progress"), (2, "Queued"), (3, "Queued")] {
        assert_eq!(status(&site, &id(number)).await, word, "{number}");
    }
    claim_this(&site, "w3", &id(3)).await;
    // Who names its attempt fails the task for good.
    claim_this(&site, "w2", &id(2)).await;
    let answer = set(&site, &id(2), "Failed", json!({"output_location": "own", "attempts": 3})).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("Failed")), "{answer:?}");
    assert_eq!(status(&site, &id(1)).await, "Failed");
}
