//! Counts, as JSON and for Prometheus, and the bars of the old document.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{fail, site, submit, task};

/// A metric's value.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} is in {text}")).parse().unwrap()
}

#[tokio::test]
async fn counts_are_told_to_programs_and_to_prometheus() {
    let site = site(&[
        ("dialects.orchestrator.repository", "/srv/code/app/"),
        ("dialects.orchestrator.branch", "dev"),
    ])
    .await;
    for id in ["a", "b", "c", "d"] {
        submit(&site, &task(id)).await;
    }
    site.work("autodev", &json!({})).await;
    fail(&site, json!({"message": "red"}), false).await;
    site.claim("autodev").await.unwrap();
    let commit = json!({"output_type": "commit", "content": "c", "commit_hash": "abc"});
    assert_eq!(site.post("/api/tasks/outputs/a", &commit).await.status, 200);
    let told = site.get("/api/metrics").await.json();
    assert_eq!(
        told,
        json!({
            "repository": {"name": "app", "path": "/srv/code/app/", "branch": "dev"},
            "tasks_enqueued": 4, "tasks_started": 3, "tasks_succeeded": 1, "tasks_failed": 1,
            "commits_made": 1, "prs_opened": 0,
        })
    );
    for path in ["/metrics", "/metrics/"] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 200);
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
        for (name, number) in [
            ("autodev_tasks_enqueued_total", 4.0),
            ("autodev_tasks_started_total", 3.0),
            ("autodev_tasks_succeeded_total", 1.0),
            ("autodev_tasks_failed_total", 1.0),
            ("autodev_commits_total", 1.0),
            ("autodev_prs_opened_total", 0.0),
            ("workers_active", 1.0),
            ("workers_idle", 0.0),
            ("workers_busy", 1.0),
            ("worker_restarts", 0.0),
            ("tasks_in_queue", 1.0),
            ("tasks_running", 1.0),
        ] {
            assert_eq!(value(&answer.text, name), number, "{name}: {}", answer.text);
            assert!(answer.text.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }
    let repositories = site.get("/api/repositories").await.json();
    assert_eq!(repositories[0]["name"], "app");
    assert_eq!(site.get("/merge/status").await.json()["queue_length"], 0);
}

#[tokio::test]
async fn a_hundred_tasks_at_once_are_all_taken() {
    let site = site(&[]).await;
    let tasks: Vec<_> = (0..100).map(|n| task(&format!("t{n}"))).collect();
    let here = &site;
    let answers = tasks.iter().map(|task| async move {
        let begun = Instant::now();
        submit(here, task).await;
        begun.elapsed()
    });
    let mut taken: Vec<Duration> = futures::future::join_all(answers).await;
    taken.sort();
    // The bar is 100 ms for one by itself; these come all at once, to a build that is not optimised.
    assert!(taken[99] < Duration::from_secs(10), "{taken:?}");
    assert_eq!(site.get("/tasks").await.json().as_array().unwrap().len(), 100);
    assert_eq!(site.get("/api/metrics").await.json()["tasks_enqueued"], 100);
}

#[tokio::test]
async fn a_history_of_a_thousand_entries_is_read_at_once() {
    let site = site(&[]).await;
    submit(&site, &task("a")).await;
    for _ in 0..500 {
        let given = site.claim("autodev").await.unwrap();
        let body = json!({"worker_id": "w1", "attempt": given["attempt"]});
        site.own_post(&format!("/v1/tasks/{}/release", given["id"].as_str().unwrap()), &body).await;
    }
    let begun = Instant::now();
    let told = site.get("/api/tasks/history/a").await.json();
    let taken = begun.elapsed();
    let history = told["history"].as_array().unwrap();
    assert_eq!((history.len(), &told["total_entries"]), (1_001, &json!(1_001)));
    for pair in history.windows(2) {
        assert_eq!(pair[0]["state_to"], pair[1]["state_from"]);
    }
    // The bar is half a second; this build is not optimised.
    assert!(taken < Duration::from_secs(2), "{taken:?}");
}
