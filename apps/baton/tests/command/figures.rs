//! The page, the command line and the metrics never tell different figures: also while others create, claim and end tasks.

use std::collections::BTreeMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{PATIENT, World, stdout, until};

/// How often all are asked.
const ROUNDS: u64 = 5;

/// How many tasks end between two times.
const ENDS: u64 = 30;

/// How often one works at most: should a look hang, they end by themselves.
const MOST: u64 = 5_000;

/// For how long the metrics that one asks for are told to others, too (docs/metrics.md).
const FRESH: Duration = Duration::from_millis(1_050);

const STATES: [&str; 6] = ["waiting", "blocked", "running", "completed", "failed", "cancelled"];

/// What stands between two texts, behind the first of the one.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

/// The values of `/metrics`, by series.
fn metrics(world: &World) -> BTreeMap<String, f64> {
    let (status, text) = world.ask_text("", "GET", "/metrics", "");
    assert_eq!(status, 200, "{text}");
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let values = series.filter_map(|line| line.rsplit_once(' '));
    values.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// One of a few kinds of work, under the lock that lets many work and one look.
fn work(world: &World, worker: &str, gate: &RwLock<()>, ended: &AtomicU64, turn: u64) {
    let ask = |path: &str, body: Value| {
        let _works = gate.read().unwrap();
        let (status, answer) = world.ask("POST", path, &body.to_string());
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    };
    let queue = ["a", "b"][(turn % 2) as usize];
    ask("/v1/tasks", json!({"type": "t", "queue": queue, "max_attempts": 1}));
    if turn.is_multiple_of(4) {
        ask("/v1/tasks", json!({"type": "t", "queue": "untaken"}));
    }
    let claim = json!({"worker_id": worker, "queues": ["a", "b"], "max_tasks": 2});
    for (place, task) in ask("/v1/claims", claim)["tasks"].as_array().unwrap().iter().enumerate() {
        let path = |end: &str| format!("/v1/tasks/{}/{end}", task["id"].as_str().unwrap());
        let mut end = json!({"worker_id": worker, "attempt": task["attempt"]});
        match (turn + place as u64) % 5 {
            // It runs on.
            0 => continue,
            1 => {
                end["error"] = json!({"message": "no"});
                ask(&path("fail"), end);
            }
            2 => drop(ask(&path("cancel"), json!({}))),
            _ => drop(ask(&path("complete"), end)),
        }
        ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// All that tell figures, asked between two requests of the others.
fn agree(world: &World) {
    std::thread::sleep(FRESH);
    let stats = world.json(&["stats"]);
    let metrics = metrics(world);
    let (_, page) = world.ask_text("", "GET", "/ui", "");
    let health = stdout(&world.command(&["debug", "health"]).output().unwrap());
    let of = |state: &str| stats["states"][state].as_u64().unwrap_or_default();
    for state in STATES {
        let series = format!("baton_tasks{{state=\"{state}\"}}");
        assert_eq!(metrics[&series], of(state) as f64, "{series}: {stats}");
        if let Some(shown) =
            between(&page, &format!("<span class=\"label\">{state}</span> <strong>"), "</strong>")
        {
            assert_eq!(shown, of(state).to_string(), "the page: {state}");
        }
    }
    assert!(page.contains("<span class=\"label\">waiting</span>"), "{page}");
    for queue in stats["queues"].as_array().unwrap() {
        let name = queue["name"].as_str().unwrap();
        for state in ["waiting", "running"] {
            let series = format!("baton_queue_tasks{{queue=\"{name}\",state=\"{state}\"}}");
            assert_eq!(metrics[&series], queue[state].as_f64().unwrap(), "{series}: {stats}");
        }
    }
    let workers = &stats["workers"];
    for (series, what) in [("workers_active", "alive"), ("workers_busy", "busy"), ("workers_idle", "idle")] {
        assert_eq!(metrics[series], workers[what].as_f64().unwrap(), "{series}: {stats}");
    }
    let standing = format!(
        "; {} waiting, {} running, {} workers alive ({} busy)",
        of("waiting"),
        of("running"),
        workers["alive"],
        workers["busy"]
    );
    assert!(health.lines().next().is_some_and(|line| line.ends_with(&standing)), "{standing}: {health}");
    // Attempts that failed are told by the hour.
    let failed: u64 =
        stats["hours"].as_array().unwrap().iter().filter_map(|hour| hour["failed"].as_u64()).sum();
    assert_eq!(failed, of("failed"), "one attempt each: {stats}");
}

#[test]
fn page_statistics_metrics_and_verdict_tell_the_same_figures_while_others_work() {
    let world = World::new(PATIENT);
    let (gate, ended, done) = (RwLock::new(()), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for worker in ["w1", "w2", "w3"] {
            let (world, gate, ended, done) = (&world, &gate, &ended, &done);
            scope.spawn(move || {
                let mut turn = 0;
                while !done.load(Ordering::Relaxed) && turn < MOST {
                    if turn % 16 == 0 {
                        let _works = gate.read().unwrap();
                        let path = format!("/v1/workers/{worker}/heartbeat");
                        assert_eq!(world.ask("POST", &path, r#"{"capacity": 4}"#).0, 200);
                    }
                    work(world, worker, gate, ended, turn);
                    turn += 1;
                }
            });
        }
        for round in 1..=ROUNDS {
            until("tasks end", || (ended.load(Ordering::Relaxed) >= round * ENDS).then_some(()));
            let _alone = gate.write().unwrap();
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| agree(&world)));
            if let Err(differs) = looked {
                done.store(true, Ordering::Relaxed);
                std::panic::resume_unwind(differs);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}
