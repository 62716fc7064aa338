//! `GET /metrics`: the same figures as everywhere else, in OpenMetrics text, with labels that are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use baton_manage_alerts::Watch;
use baton_reap_stale_workers::run_reaper;
use baton_runtime::Shutdown;
use serde_json::json;

use crate::world::{Answer, World};

/// Each series with its value.
fn series(answer: &Answer) -> BTreeMap<String, f64> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Asked anew, once the answer before is no longer good.
async fn metrics(world: &World) -> BTreeMap<String, f64> {
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    series(&world.get("/metrics").await)
}

async fn complete(world: &World, claimed: &serde_json::Value) {
    let path = format!("/v1/tasks/{}/complete", claimed["id"].as_str().unwrap());
    let body = json!({"worker_id": "w1", "attempt": claimed["attempt"]});
    assert_eq!(world.post(&path, body).await.status, 200);
}

#[tokio::test]
async fn what_metrics_and_statistics_tell_is_the_same() {
    let world = World::new();
    let fresh = metrics(&world).await;
    assert_eq!(fresh[r#"baton_leases_lost_total{reason="heartbeat_missed"}"#], 0.0);
    for _ in 0..3 {
        world.create(json!({"type": "t"})).await;
    }
    world.create(json!({"type": "t", "queue": "other"})).await;
    let claimed = world.claim("w1").await;
    complete(&world, &claimed).await;
    let claimed = world.claim("w1").await;
    let id = claimed["id"].as_str().unwrap();
    let failed = json!({"worker_id": "w1", "attempt": 1, "error": {"message": "no"}, "retryable": false});
    assert_eq!(world.post(&format!("/v1/tasks/{id}/fail"), failed).await.status, 200);
    let beat = json!({"session_id": "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f", "capacity": 1});
    assert_eq!(world.post("/v1/workers/w1/heartbeat", beat).await.status, 200);
    world.get("/nothing/of/mine").await;

    let told = metrics(&world).await;
    let stats = world.get("/v1/stats").await.json();
    for (state, tasks) in stats["states"].as_object().unwrap() {
        assert_eq!(told[&format!("baton_tasks{{state=\"{state}\"}}")], tasks.as_f64().unwrap(), "{state}");
    }
    for queue in stats["queues"].as_array().unwrap() {
        let name = queue["name"].as_str().unwrap();
        for state in ["waiting", "blocked", "running", "completed", "failed", "cancelled"] {
            let series = format!("baton_queue_tasks{{queue=\"{name}\",state=\"{state}\"}}");
            let counts = stats["counts"].as_array().unwrap().iter();
            let of_state = counts.filter(|count| count["queue"] == name && count["state"] == state);
            let tasks: u64 = of_state.map(|count| count["tasks"].as_u64().unwrap()).sum();
            assert_eq!(told[&series], tasks as f64, "{series}");
        }
        for state in ["waiting", "running"] {
            let series = format!("baton_queue_tasks{{queue=\"{name}\",state=\"{state}\"}}");
            assert_eq!(told[&series], queue[state].as_f64().unwrap(), "{series}");
        }
        assert_eq!(told[&format!("tasks_in_queue{{queue=\"{name}\"}}")], queue["waiting"].as_f64().unwrap());
    }
    let workers = &stats["workers"];
    for (series, of) in [("workers_active", "alive"), ("workers_busy", "busy"), ("workers_idle", "idle")] {
        assert_eq!(told[series], workers[of].as_f64().unwrap(), "{series}");
    }
    for state in ["busy", "idle", "silent", "lost", "gone"] {
        assert_eq!(
            told[&format!("baton_workers{{state=\"{state}\"}}")],
            workers[state].as_f64().unwrap(),
            "{state}"
        );
    }
    for (series, value) in [
        ("baton_tasks_created_total", 4.0),
        ("baton_claims_total", 2.0),
        ("baton_completions_total", 1.0),
        (r#"baton_failures_total{outcome="failed"}"#, 1.0),
        (r#"baton_failures_total{outcome="retry"}"#, 0.0),
        (r#"baton_failures_by_reason_total{reason="error"}"#, 1.0),
        (r#"baton_queue_tasks{queue="default",state="completed"}"#, 1.0),
        (r#"baton_queue_tasks{queue="default",state="failed"}"#, 1.0),
        ("worker_restarts", 0.0),
        ("baton_task_wait_seconds_count", 2.0),
        ("baton_task_run_seconds_count", 1.0),
        (r#"baton_requests_total{route="/v1/tasks",method="POST",status="201"}"#, 4.0),
        (r#"baton_requests_total{route="other",method="GET",status="404"}"#, 1.0),
    ] {
        assert_eq!(told.get(series), Some(&value), "{series}: {told:#?}");
    }
    assert!(told["baton_store_file_bytes"] > 0.0);
    let (commands, commits) =
        (told["baton_store_commit_commands_sum"], told["baton_store_commit_commands_count"]);
    assert!(commands >= commits && commits >= 8.0, "{commands} commands in {commits} commits");
    assert_eq!(told["baton_store_commit_seconds_count"], commits);
    assert_eq!(told[r#"baton_store_commit_seconds_bucket{le="+Inf"}"#], commits);
    assert!(told["baton_store_commit_seconds_sum"] > 0.0);
}

/// These series have these values.
fn tells(told: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for (series, value) in expected {
        assert_eq!(told.get(*series), Some(value), "{series}: {told:#?}");
    }
}

#[tokio::test]
async fn what_waits_too_long_fails_or_is_lost_is_told_in_figures() {
    let world = World::with(&[("reaper.interval_seconds", "0.05")]);
    let limit = json!({"on": "queue/gpu", "max_running": 1});
    assert!(world.post("/v1/limits", limit).await.status.is_success());
    let rule = json!({"kind": "queue_depth", "queue": "gpu", "above": 0, "for_seconds": 0});
    assert!(world.put("/v1/alerts/deep", rule).await.status.is_success());
    for _ in 0..2 {
        world.create(json!({"type": "t", "queue": "gpu"})).await;
    }
    world.claim_of("w1", "gpu").await;
    assert_eq!(world.post("/v1/workers/w1/heartbeat", json!({"capacity": 1})).await.status, 200);
    world.create(json!({"type": "t", "queue": "lonely"})).await;
    world.create(json!({"type": "t", "queue": "late", "expires_after_seconds": 10})).await;
    for (queue, ending, more) in [
        ("a", "fail", json!({"error": {"message": "no", "code": "exit_3"}})),
        ("b", "fail", json!({"error": {"message": "past its timeout", "code": "timed_out"}})),
        ("c", "release", json!({})),
    ] {
        world.create(json!({"type": "t", "queue": queue})).await;
        let claimed = world.claim_of("w2", queue).await;
        let mut body = json!({"worker_id": "w2", "attempt": 1});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/v1/tasks/{}/{ending}", claimed["id"].as_str().unwrap());
        assert_eq!(world.post(&path, body).await.status, 200);
    }
    Watch::default().look(&world.app).await.unwrap();
    world.advance(Duration::from_secs(5));
    tells(
        &metrics(&world).await,
        &[
            (r#"baton_queue_oldest_ready_seconds{queue="lonely"}"#, 5.0),
            (r#"baton_queue_oldest_running_seconds{queue="gpu"}"#, 5.0),
            (r#"baton_failures_total{outcome="retry"}"#, 2.0),
            (r#"baton_failures_by_reason_total{reason="error"}"#, 1.0),
            (r#"baton_failures_by_reason_total{reason="timed_out"}"#, 1.0),
            (r#"baton_failures_by_reason_total{reason="given_back"}"#, 1.0),
            ("baton_releases_total", 1.0),
            ("baton_limits", 1.0),
            ("baton_limits_full", 1.0),
            (r#"baton_alerts_firing{rule="deep"}"#, 1.0),
            (r#"baton_workers{state="lost"}"#, 0.0),
            (r#"baton_reaper_rounds_total{outcome="ok"}"#, 0.0),
        ],
    );

    // The worker that has the place of the limit says nothing more.
    world.advance(Duration::from_secs(65));
    let shutdown = Shutdown::new();
    let reaper = tokio::spawn(run_reaper(world.app.clone(), shutdown.clone()));
    let rounds = async {
        loop {
            let told = metrics(&world).await;
            if told["baton_tasks_expired_total"] > 0.0 {
                return told;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), rounds).await.expect("a round is made in time");
    shutdown.begin();
    reaper.await.unwrap();
    assert!(told[r#"baton_reaper_rounds_total{outcome="ok"}"#] >= 1.0, "{told:#?}");
    tells(
        &told,
        &[
            (r#"baton_leases_lost_total{reason="heartbeat_missed"}"#, 1.0),
            (r#"baton_failures_by_reason_total{reason="heartbeat_missed"}"#, 1.0),
            (r#"baton_failures_by_reason_total{reason="expired"}"#, 1.0),
            ("baton_tasks_expired_total", 1.0),
            (r#"baton_workers{state="lost"}"#, 1.0),
            ("baton_limits_full", 0.0),
            (r#"baton_queue_oldest_ready_seconds{queue="lonely"}"#, 70.0),
        ],
    );
}

#[tokio::test]
async fn however_many_queues_there_are_the_series_are_few() {
    let world = World::new();
    let tasks: Vec<_> = (0..300).map(|n| json!({"type": "t", "queue": format!("q{n}")})).collect();
    assert_eq!(world.post("/v1/tasks/batch", json!({"tasks": tasks})).await.status, 201);
    let told = metrics(&world).await;
    let queues: BTreeSet<_> = told.keys().filter(|series| series.starts_with("baton_queue_tasks")).collect();
    assert_eq!(queues.len(), 606, "six states of a hundred queues, and of all others: {queues:?}");
    let sum: f64 =
        told.iter().filter(|(series, _)| series.starts_with("baton_queue_tasks")).map(|(_, n)| n).sum();
    assert_eq!(sum, 300.0);
}

#[tokio::test]
async fn who_may_not_see_everything_sees_no_metrics() {
    let world = World::with(&[("tokens.required", "always")]);
    assert_eq!(world.get("/metrics").await.status, 401);
    let reader = world.with_token(json!({"name": "prometheus", "scopes": ["producer"]})).await;
    series(&reader.get("/metrics").await);
    let bounded = world.with_token(json!({"name": "p", "scopes": ["producer"], "project": "film"})).await;
    bounded.get("/metrics").await.problem(403, "outside_grant");
    let worker = world.with_token(json!({"name": "w", "scopes": ["worker"]})).await;
    assert_eq!(worker.get("/metrics").await.status, 403);
    let told = metrics(&reader).await;
    assert_eq!(
        told["baton_tokens_refused_total"], 2.0,
        "without one, and one of a scope that does not allow it"
    );
}

/// Every name of a metric in a text: a word that begins as Baton's do, or one of those of before.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("baton_") && word.len() > 8).map(str::to_owned).collect()
}

#[tokio::test]
async fn dashboards_alerts_and_the_page_name_only_what_is_served() {
    let world = World::new();
    world.create(json!({"type": "t"})).await;
    let answer = world.get("/metrics").await;
    let mut served: BTreeSet<String> =
        series(&answer).into_keys().map(|series| series.split('{').next().unwrap().to_owned()).collect();
    // Those of supervised workers, of work that nobody takes and of rules of alerts, which this server has none of.
    served.extend(
        ["baton_worker_restarts_total", "baton_queue_untaken", "baton_alerts_firing"].map(str::to_owned),
    );
    // Those of pools, of which it has none either.
    served.extend(["wanted", "have", "claimable", "running"].map(|what| format!("baton_scaling_{what}")));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    for path in ["infra/observe/grafana.json", "infra/observe/alerts.yaml"] {
        let named = names(&read(path));
        assert!(named.len() > 5, "{path}: {named:?}");
        for name in named {
            assert!(served.contains(&name), "{path} names {name}, which is not served");
        }
    }
    let page = read("docs/metrics.md");
    for name in &served {
        let family = name
            .trim_end_matches("_total")
            .trim_end_matches("_bucket")
            .trim_end_matches("_count")
            .trim_end_matches("_sum");
        assert!(page.contains(family), "docs/metrics.md does not tell of {name}");
    }
    let _: serde_json::Value = serde_json::from_str(&read("infra/observe/grafana.json")).unwrap();
}

#[tokio::test]
async fn a_dialect_that_has_metrics_keeps_them_and_ours_are_beside() {
    // The other one, task-table, has paths of Baton's own, and needs a prefix.
    for name in ["assistant", "drift", "edge-functions", "orchestrator"] {
        let on = format!("dialects.{name}.on");
        let world = World::with(&[(on.as_str(), "true")]);
        let told = series(&world.get("/v1/metrics").await);
        assert!(told.contains_key("baton_claims_total"), "{name}");
        let ours = world.get("/metrics").await.text().contains("baton_claims_total");
        assert_eq!(ours, name != "orchestrator", "{name}");
    }
}

#[tokio::test]
async fn work_that_nobody_takes_is_told_and_no_longer_once_somebody_does() {
    let world = World::new();
    let look = async || baton_http::untaken::look_for_untaken(&world.app, true).await.unwrap();
    let told = async || {
        let ready = world.get("/readyz?verbose").await.json();
        (
            ready["queues_untaken"].clone(),
            metrics(&world).await.get(r#"baton_queue_untaken{queue="default"}"#).copied(),
        )
    };
    world.create(json!({"type": "t"})).await;
    world.advance(Duration::from_secs(14));
    look().await;
    assert_eq!(told().await, (json!(0), None), "it may be taken yet");
    world.advance(Duration::from_secs(2));
    look().await;
    assert_eq!(told().await, (json!(1), Some(1.0)));
    assert_eq!(world.get("/readyz").await.json().get("queues_untaken"), None);
    // A worker that takes such tasks is busy, so that a second one waits, and for it.
    world.claim("w1").await;
    world.create(json!({"type": "t"})).await;
    world.advance(Duration::from_secs(20));
    look().await;
    assert_eq!(told().await, (json!(0), None));
}
