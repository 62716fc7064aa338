//! The failures of the old system that are not to come back.

use serde_json::{Value, json};

use crate::{Client, active, result, site, status};

#[tokio::test]
async fn what_a_client_has_ended_counts_against_it_no_more() {
    let site = site().await;
    let client = Client::register(&site).await;
    for round in 0..3 {
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(client.take(&site).await);
        }
        assert_eq!(client.ask(&site).await, Value::Null, "it is at its cap");
        for (number, id) in held.iter().enumerate() {
            // Also what is no result at all frees its place.
            let data = if number == 0 { "no digits".to_owned() } else { result() };
            let body = json!({"task_id": id, "result_data": data, "execution_time": 1.0, "metadata": {}});
            let answer = client.post(&site, "/tasks/complete", &body).await;
            assert_eq!(answer.status, if number == 0 { 400 } else { 200 }, "round {round}: {answer:?}");
        }
        assert_eq!(active(&site).await["total_active_tasks"], 0);
    }
}

#[tokio::test]
async fn a_completion_by_the_wrong_client_is_refused() {
    let site = site().await;
    let (one, other) = (Client::register(&site).await, Client::register(&site).await);
    let task = one.take(&site).await;
    let body = json!({"task_id": task, "result_data": result(), "execution_time": 1.0, "metadata": {}});
    let refused = other.post(&site, "/tasks/complete", &body).await;
    assert_eq!((refused.status, refused.json()), (400, json!({"detail": "Failed to complete task"})));
    assert_eq!(status(&one, &site, &task).await["status"], "assigned");
    assert_eq!(one.post(&site, "/tasks/complete", &body).await.status, 200);
}

#[tokio::test]
async fn a_result_is_stored_with_the_tasks_end_and_told_twice_is_one() {
    let site = site().await;
    let client = Client::register(&site).await;
    let task = client.take(&site).await;
    let body = json!({"task_id": task, "result_data": result(), "execution_time": 1.0, "metadata": {}});
    for _ in 0..2 {
        assert_eq!(client.post(&site, "/tasks/complete", &body).await.status, 200);
    }
    let site = site.restarted().await;
    let results = client.get(&site, "/tasks/results").await.json();
    assert_eq!((&results["total"], &results["results"][0]["result_data"]), (&json!(1), &json!(result())));
}

#[tokio::test]
async fn clearing_what_is_stuck_touches_no_live_work_however_often() {
    let site = site().await;
    let client = Client::register(&site).await;
    let task = client.take(&site).await;
    for _ in 0..20 {
        site.clock.advance(std::time::Duration::from_secs(10));
        let told = client.post(&site, "/admin/tasks/clear-stuck", &json!({})).await.json();
        assert_eq!((&told["status"], &told["cleared_count"]), (&json!("success"), &json!(0)), "{told}");
    }
    assert_eq!(status(&client, &site, &task).await["status"], "assigned");
}

#[tokio::test]
async fn a_client_that_starts_anew_holds_nothing_of_its_earlier_run() {
    let site = site().await;
    let client = Client::register(&site).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(client.take(&site).await);
    }
    assert_eq!(client.ask(&site).await, Value::Null, "it is at its cap");
    assert_eq!(client.get(&site, "/clients/me").await.status, 200);
    assert_eq!(active(&site).await["total_active_tasks"], 0);
    for id in &held {
        let told = status(&client, &site, id).await;
        assert_eq!((&told["status"], &told["retry_count"]), (&json!("pending"), &json!(0)), "{told}");
    }
    let next = client.take(&site).await;
    assert_eq!(status(&client, &site, &next).await["status"], "assigned");
}

#[tokio::test]
async fn the_id_that_opens_a_clients_socket_is_shown_to_itself_and_operators_alone() {
    let site = site().await;
    let (one, other) = (Client::register(&site).await, Client::register(&site).await);
    let task = one.take(&site).await;
    let body = json!({"task_id": task, "result_data": result(), "execution_time": 1.0, "metadata": {}});
    assert_eq!(one.post(&site, "/tasks/complete", &body).await.status, 200);
    let of = |results: Value| results["results"][0]["client_id"].as_str().unwrap().to_owned();
    assert_eq!(of(one.get(&site, "/tasks/results").await.json()), one.id);
    let answer = other.get(&site, "/tasks/results").await;
    assert!(!answer.text.contains(&one.id), "{answer:?}");
    assert_eq!(of(answer.json()).len(), 32);
    assert_eq!(of(site.get("/api/v1/tasks/results").await.json()), one.id, "an operator");
}
