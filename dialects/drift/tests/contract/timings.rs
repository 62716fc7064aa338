//! Times: how long a client may say nothing, a task may run, and a token is good. The test moves the clock.

use std::time::Duration;

use baton_model::{Watch, WorkerId};
use baton_runtime::Clock as _;
use baton_store::Reap;
use baton_tests::site::Site;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Client, active, result, status};

/// A server whose watch over silent clients looks often, so that a test need not wait for it.
async fn quick() -> Site {
    Site::speaking("drift", &[("leases.heartbeat_interval_seconds", "0.05")]).await
}

/// Lets the time pass in steps; `meanwhile` is done after each.
async fn pass(site: &Site, seconds: u64, mut meanwhile: impl AsyncFnMut()) {
    for _ in 0..seconds / 10 {
        site.clock.advance(Duration::from_secs(10));
        meanwhile().await;
    }
}

/// Takes back what is lost by now. The server's own rounds would first hear workers anew, as the test's clock leaps.
async fn reap(site: &Site) {
    let watch = Watch::at(site.clock.now());
    site.store.reap(Reap { watch, limit: 100, worker: None, queue: None }).await.unwrap();
}

/// Waits until the server has spoken for a client as of now.
async fn spoken_for(site: &Site, client: &Client) {
    let id: WorkerId = client.id.parse().unwrap();
    let spoken = async {
        while site.store.worker(&id).await.unwrap().worker.last_beat_at != Some(site.clock.now()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), spoken).await.expect("it is spoken for");
}

/// How a task stands, read past its client, for whom it would be a sign of life.
async fn stands(site: &Site, task: &str) -> Value {
    site.own_get(&format!("/v1/tasks/{task}")).await["task"]["status"].clone()
}

#[tokio::test]
async fn a_client_that_is_silent_for_four_minutes_keeps_its_task_and_loses_it_after_five() {
    let site = quick().await;
    let client = Client::register(&site).await;
    // There is the one task that the old server began with, and no other.
    site.own_post("/v1/queues/drift/supply/unset", &json!({})).await;
    let task = client.take(&site).await;
    pass(&site, 230, async || spoken_for(&site, &client).await).await;
    // From now on nobody speaks for it, and the usual timeout is left.
    for (seconds, word) in [(50, "running"), (30, "queued")] {
        site.clock.advance(Duration::from_secs(seconds));
        reap(&site).await;
        assert_eq!(stands(&site, &task).await, word);
    }
    // It comes back, still runs its task, and is not given it once more: it only has its lease again.
    assert_eq!(client.ask(&site).await, Value::Null);
    let body = json!({"task_id": task, "result_data": result(), "execution_time": 1.0, "metadata": {}});
    assert_eq!(client.post(&site, "/tasks/complete", &body).await.status, 200);
}

#[tokio::test]
async fn any_request_is_a_sign_of_life() {
    let site = quick().await;
    let client = Client::register(&site).await;
    let task = client.take(&site).await;
    pass(&site, 900, async || {
        assert_eq!(client.post(&site, "/admin/tasks/clear-stuck", &json!({})).await.status, 200);
        reap(&site).await;
    })
    .await;
    assert_eq!(status(&client, &site, &task).await["status"], "assigned");
}

#[tokio::test]
async fn what_has_expired_is_cleared_on_request() {
    // The server's own rounds come too late for it.
    let settings = [("leases.heartbeat_timeout_seconds", "300"), ("reaper.interval_seconds", "3600")];
    let site = Site::speaking("drift", &settings).await;
    let (gone, here) = (Client::register(&site).await, Client::register(&site).await);
    let (lost, held) = (gone.take(&site).await, here.take(&site).await);
    let mut cleared = 0;
    for _ in 0..70 {
        site.clock.advance(Duration::from_secs(10));
        let told = here.post(&site, "/admin/tasks/clear-stuck", &json!({})).await.json();
        cleared += told["cleared_count"].as_u64().unwrap();
    }
    assert_eq!(cleared, 1);
    assert_eq!(status(&here, &site, &lost).await["status"], "pending");
    assert_eq!(status(&here, &site, &held).await["status"], "assigned");
}

#[tokio::test]
async fn an_attempt_past_its_deadline_has_failed_and_three_retries_follow() {
    let site = quick().await;
    let client = Client::register(&site).await;
    let task = client.ask(&site).await;
    let id = task["task_id"].as_str().unwrap().to_owned();
    let told = status(&client, &site, &id).await;
    assert_eq!((&told["deadline"], &told["retry_count"]), (&task["deadline"], &json!(0)));
    let beat = async || {
        client.send(&site, Method::PUT, "/clients/heartbeat", None).await;
    };
    pass(&site, 3_590, &beat).await;
    reap(&site).await;
    assert_eq!(status(&client, &site, &id).await["status"], "assigned");
    pass(&site, 10, &beat).await;
    reap(&site).await;
    let told = status(&client, &site, &id).await;
    assert_eq!((&told["status"], &told["retry_count"]), (&json!("pending"), &json!(1)));
}

#[tokio::test]
async fn a_task_is_dropped_after_three_retries() {
    let site = quick().await;
    let client = Client::register(&site).await;
    let task = client.take(&site).await;
    // A simulation that failed is told as a completion.
    let failed: String =
        r#"{"success": false, "error": "no wind"}"#.bytes().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({"task_id": task, "result_data": failed, "execution_time": 1.0, "metadata": {}});
    for retry in 1..=3 {
        assert_eq!(client.post(&site, "/tasks/complete", &body).await.status, 200);
        let told = status(&client, &site, &task).await;
        assert_eq!((&told["status"], &told["retry_count"]), (&json!("pending"), &json!(retry)), "{told}");
        // The queue is first in, first out: it comes once those before it are done.
        site.clock.advance(Duration::from_secs(1));
        while client.take(&site).await != task {
            let held = active(&site).await["all_tasks"].as_array().unwrap().clone();
            for other in held.iter().filter(|other| other["task_id"] != json!(task)) {
                let body = json!({"task_id": other["task_id"], "result_data": "", "execution_time": 0.1, "metadata": {}});
                assert_eq!(client.post(&site, "/tasks/complete", &body).await.status, 200);
            }
        }
    }
    assert_eq!(client.post(&site, "/tasks/complete", &body).await.status, 200);
    assert_eq!(status(&client, &site, &task).await["status"], "failed");
}

#[tokio::test]
async fn what_a_client_cannot_be_running_any_more_frees_its_place_at_the_cap() {
    let site = quick().await;
    let client = Client::register(&site).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(client.take(&site).await);
    }
    // It goes on asking; its words of these tasks were lost on a socket that was closing.
    pass(&site, 1_850, async || assert_eq!(client.ask(&site).await, Value::Null)).await;
    site.clock.advance(Duration::from_secs(60));
    let next = client.take(&site).await;
    assert_eq!(status(&client, &site, &next).await["status"], "assigned");
    assert_eq!(active(&site).await["total_active_tasks"], 1);
}

#[tokio::test]
async fn a_task_whose_answer_was_lost_is_given_once_more_after_the_time_that_a_client_runs_one() {
    let site = quick().await;
    let client = Client::register(&site).await;
    site.own_post("/v1/queues/drift/supply/unset", &json!({})).await;
    // The client hears nothing of it, and goes on asking, by which the lease lives.
    let lost = client.take(&site).await;
    pass(&site, 1_850, async || assert_eq!(client.ask(&site).await, Value::Null)).await;
    site.clock.advance(Duration::from_secs(10));
    assert_eq!(client.take(&site).await, lost);
    assert_eq!(status(&client, &site, &lost).await["retry_count"], 0);
}

#[tokio::test]
async fn a_restart_of_the_server_takes_nothing_of_a_silent_clients_five_minutes() {
    let site = quick().await;
    let client = Client::register(&site).await;
    site.own_post("/v1/queues/drift/supply/unset", &json!({})).await;
    let task = client.take(&site).await;
    let site = site.restarted().await;
    pass(&site, 230, async || spoken_for(&site, &client).await).await;
    for (seconds, word) in [(50, "running"), (30, "queued")] {
        site.clock.advance(Duration::from_secs(seconds));
        reap(&site).await;
        assert_eq!(stands(&site, &task).await, word);
    }
}

#[tokio::test]
async fn who_speaks_after_a_silence_has_five_minutes_again() {
    let site = quick().await;
    let client = Client::register(&site).await;
    client.take(&site).await;
    pass(&site, 230, async || spoken_for(&site, &client).await).await;
    // Nobody speaks for it any more, until it does itself.
    site.clock.advance(Duration::from_secs(30));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(client.send(&site, Method::PUT, "/clients/heartbeat", None).await.status, 200);
    pass(&site, 230, async || spoken_for(&site, &client).await).await;
}

#[tokio::test]
async fn a_token_is_good_for_a_day() {
    let site = quick().await;
    let client = Client::register(&site).await;
    site.clock.advance(Duration::from_secs(86_399));
    assert_eq!(client.get(&site, "/clients/me").await.status, 200);
    site.clock.advance(Duration::from_secs(1));
    let answer = client.get(&site, "/tasks/available").await;
    assert_eq!((answer.status, answer.headers["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
}
