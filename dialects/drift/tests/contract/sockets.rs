//! What clients say and hear over their sockets.

use std::time::Duration;

use baton_tests::site::Site;
use serde_json::{Value, json};

use crate::socket::{Heard, Socket};
use crate::{Client, site, status};

/// Waits until a task stands so.
async fn becomes(client: &Client, site: &Site, task: &str, word: &str) {
    let stands = async {
        while status(client, site, task).await["status"] != word {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), stands).await.expect(word);
}

#[tokio::test]
async fn an_unknown_client_is_closed_with_its_code() {
    let site = site().await;
    for id in ["nobody", "00000000-0000-4000-8000-000000000001"] {
        let heard = Socket::connect(&site, id).await.hear().await;
        assert_eq!(heard, Heard::Close(4004, "Client not registered".to_owned()), "{id}");
    }
}

#[tokio::test]
async fn each_message_has_its_answer() {
    let site = site().await;
    let client = Client::register(&site).await;
    let mut socket = Socket::of(&site, &client).await;
    socket.say(&json!({"type": "heartbeat", "timestamp": "now"})).await;
    assert!(socket.hear_of("heartbeat_ack").await["timestamp"].is_string());
    // What is not known ends nothing.
    socket.say(&json!({"type": "pong", "timestamp": "now"})).await;
    socket.say(&json!(["what"])).await;
    let task = socket.take().await;
    let told = socket.complete(&task).await;
    assert_eq!(told, json!({"type": "task_completion_ack", "task_id": task, "success": true}));
    assert_eq!(status(&client, &site, &task).await["status"], "completed");
    let task = socket.take().await;
    socket.say(&json!({"type": "task_failed", "task_id": task, "error": "Task cancelled: timeout"})).await;
    assert_eq!(
        socket.hear_of("task_failure_ack").await,
        json!({"type": "task_failure_ack", "task_id": task})
    );
    assert_eq!(status(&client, &site, &task).await["retry_count"], 1);
}

#[tokio::test]
async fn a_client_is_asked_each_half_a_minute_and_goes_on_when_it_has_answered() {
    let site = site().await;
    let client = Client::register(&site).await;
    let mut socket = Socket::of(&site, &client).await;
    socket.say(&json!({"type": "heartbeat", "timestamp": "now"})).await;
    socket.hear_of("heartbeat_ack").await;
    for _ in 0..2 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
        let ping = socket.hear_of("ping").await;
        assert_eq!(ping, json!({"type": "ping", "timestamp": ping["timestamp"].as_str().unwrap()}));
        socket.say(&json!({"type": "pong", "timestamp": ping["timestamp"]})).await;
    }
    let task = socket.take().await;
    assert_eq!(socket.complete(&task).await["success"], true);
}

#[tokio::test]
async fn a_client_at_its_cap_is_told_so_and_is_given_the_next_when_one_ends() {
    let site = site().await;
    let client = Client::register(&site).await;
    let mut socket = Socket::of(&site, &client).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(socket.take().await);
    }
    socket.say(&json!({"type": "task_request"})).await;
    socket.hear_of("no_tasks_available").await;
    assert_eq!(socket.complete(&held[0]).await["success"], true);
    let next = socket.hear_of("task_assignment").await;
    assert!(!held.iter().any(|id| next["task"]["task_id"] == json!(id)), "{next}");
}

#[tokio::test]
async fn a_completion_by_the_wrong_client_is_acknowledged_without_success() {
    let site = site().await;
    let (one, other) = (Client::register(&site).await, Client::register(&site).await);
    let task = one.take(&site).await;
    let mut socket = Socket::of(&site, &other).await;
    assert_eq!(socket.complete(&task).await["success"], false);
    assert_eq!(status(&one, &site, &task).await["status"], "assigned");
}

#[tokio::test]
async fn a_closing_socket_gives_back_only_what_it_holds_and_has_not_told() {
    let site = site().await;
    let client = Client::register(&site).await;
    let by_http = client.take(&site).await;
    let (mut one, mut other) = (Socket::of(&site, &client).await, Socket::of(&site, &client).await);
    let (ended, left, others) = (one.take().await, one.take().await, other.take().await);
    one.complete(&ended).await;
    drop(one);
    becomes(&client, &site, &left, "pending").await;
    assert_eq!(status(&client, &site, &ended).await["status"], "completed");
    for id in [&by_http, &others] {
        assert_eq!(status(&client, &site, id).await["status"], "assigned");
    }
    // The other goes on, and the client is not given what it still runs.
    assert_eq!(other.complete(&others).await["success"], true);
    assert_ne!(client.ask(&site).await["task_id"], json!(left));
}

#[tokio::test]
async fn what_was_given_over_a_closed_socket_is_told_over_the_other() {
    let site = site().await;
    let client = Client::register(&site).await;
    let (mut one, mut other) = (Socket::of(&site, &client).await, Socket::of(&site, &client).await);
    let task = one.take().await;
    assert_eq!(other.complete(&task).await["success"], true);
    drop(one);
    assert_eq!(status(&client, &site, &task).await["status"], "completed");
}

#[tokio::test]
async fn a_stop_of_the_server_is_announced() {
    let site = site().await;
    let client = Client::register(&site).await;
    let mut socket = Socket::of(&site, &client).await;
    socket.say(&json!({"type": "heartbeat"})).await;
    socket.hear_of("heartbeat_ack").await;
    let (stopped, heard) = tokio::join!(site.stopped(), async {
        let told: Value = socket.hear_of("system_announcement").await;
        assert!(told["message"].is_string());
        socket.hear().await
    });
    assert!(stopped);
    assert!(matches!(heard, Heard::Close(1001, _)), "{heard:?}");
}

#[tokio::test]
async fn a_plain_request_is_told_that_it_is_a_socket() {
    let site = site().await;
    assert_eq!(site.get("/ws/client/nobody").await.status, 426);
}
