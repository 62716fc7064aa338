//! Programs that kill their worker, and the tasks that run beside them.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Running, World, events};

/// A worker is given up after 3 s.
const BRIEF: &[(&str, &str)] = &[
    ("BATON_LEASES_HEARTBEAT_TIMEOUT_SECONDS", "3"),
    ("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS", "0.2"),
    ("BATON_REAPER_INTERVAL_SECONDS", "0.2"),
];

/// Kills its worker if its params say so, once those beside it run.
const PROGRAM: &str =
    r#"case "$BATON_PARAMS" in *poison*) sleep 0.5; kill -9 $PPID; sleep 60;; *) sleep 1;; esac"#;

/// Starts a worker anew whenever it has ended, as a supervisor does, until all tasks have ended. `name` is the worker's name
/// at each start.
fn supervise(world: &World, tasks: &[String], name: impl Fn(usize) -> String) {
    let begun = Instant::now();
    let ended = || {
        let statuses = tasks.iter().map(|id| world.task(id)["task"]["status"].as_str().unwrap().to_owned());
        statuses.into_iter().all(|status| status == "completed" || status == "failed")
    };
    let mut starts = 0;
    let mut worker: Option<Running> = None;
    while !ended() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "not all tasks have ended:\n{}",
            world.worker_log()
        );
        if worker.as_mut().is_none_or(|worker| worker.0.try_wait().unwrap().is_some()) {
            worker = Some(world.worker_named(&name(starts), &["--concurrency", "4"], PROGRAM));
            starts += 1;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    if let Some(mut worker) = worker {
        worker.signal(Signal::SIGTERM);
        worker.wait();
    }
}

/// One task that kills its worker and three that do nothing wrong, each with 3 attempts.
fn only_the_poison_fails(name: impl Fn(usize) -> String) {
    let world = World::new(BRIEF);
    let poison = world.create(&["--params", r#"{"do": "poison"}"#]);
    let innocent: Vec<_> = (0..3).map(|_| world.create(&["--params", r#"{"do": "work"}"#])).collect();
    let all: Vec<_> = std::iter::once(&poison).chain(&innocent).cloned().collect();
    supervise(&world, &all, name);

    for id in &innocent {
        let detail = world.task(id);
        assert_eq!(detail["task"]["status"], "completed", "{detail:#}");
    }
    let detail = world.task(&poison);
    assert_eq!(detail["task"]["status"], "failed", "{detail:#}");
    assert_eq!(events(&detail).iter().filter(|kind| **kind == "claimed").count(), attempts(&detail));
    assert!(detail["task"]["worker_losses"].as_u64().unwrap() >= 3, "{detail:#}");
}

fn attempts(detail: &serde_json::Value) -> usize {
    usize::try_from(detail["task"]["attempt"].as_u64().unwrap()).unwrap()
}

#[test]
fn a_task_that_kills_its_worker_under_one_name_costs_no_other_its_attempts() {
    only_the_poison_fails(|_| "w1".to_owned());
}

#[test]
fn a_task_that_kills_workers_of_many_names_costs_no_other_its_attempts() {
    only_the_poison_fails(|start| format!("w{start}"));
}
