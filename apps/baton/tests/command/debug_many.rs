//! `baton debug` over many tasks: within a second, however many there are, and with the numbers that the dashboard tells.
//!
//! `BATON_TEST_TASKS=1000000 cargo test --release -p baton --test command debug_many -- --nocapture` measures it on a million.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_model::{Bounds, TaskId, TaskSpec, Timestamp};
use baton_store::{Claim, ClaimAnswer, Complete, Create, Fail, NoDoorbell, TaskStore as _};
use baton_store_sqlite::{Durability, Options, SqliteStore};
use tokio::runtime::Runtime;

use crate::support::{World, run, stdout};

/// How long it may take.
const BAR: Duration = Duration::from_secs(1);

/// A file with so many tasks, of 100 queues; a few hundred of them are done.
async fn fill(file: &std::path::Path, tasks: usize, now: Timestamp) {
    let options = Options { durability: Durability::Normal, ..Options::default() };
    let store = SqliteStore::open(file, options, Arc::new(NoDoorbell)).unwrap();
    for first in (0..tasks).step_by(1_000) {
        let specs = (first..tasks.min(first + 1_000)).map(|n| {
            let id = TaskId::from_bytes((n as u128 + 1).to_be_bytes());
            let queue = format!("q{}", n % 100).parse().unwrap();
            TaskSpec { queue, ..TaskSpec::new(id, "render".parse().unwrap()) }
        });
        let create = Create { now, tasks: specs.collect(), atomic: true, idempotency: None, by: None };
        store.create(create).await.unwrap();
    }
    let worker = || "w1".parse().unwrap();
    let queues = vec!["q1".parse().unwrap()];
    let claim = Claim { queues, max_tasks: 100, cap: 100, ..Claim::new(worker(), now) };
    let ClaimAnswer::Leased(leased) = store.claim(claim).await.unwrap() else { panic!("expected tasks") };
    for (n, task) in leased.iter().enumerate() {
        let generation = baton_model::GenerationId::from_bytes((n as u128 + 1).to_be_bytes());
        let fence = baton_model::Fence { attempt: task.head.attempt, worker: worker() };
        let complete = Complete {
            now,
            task: task.head.id,
            fence,
            caller: Bounds::default(),
            generation,
            ran: None,
            output: baton_model::Output::default(),
        };
        store.complete(complete, None).await.unwrap();
    }
}

#[test]
fn among_many_tasks_health_comes_within_a_second() {
    let measured: Option<usize> = std::env::var("BATON_TEST_TASKS").ok().and_then(|text| text.parse().ok());
    let tasks = measured.unwrap_or(2_000);
    let folder = tempfile::tempdir().unwrap();
    let now = baton_runtime::Clock::now(&baton_runtime::SystemClock).minus(Duration::from_secs(60));
    Runtime::new().unwrap().block_on(fill(&folder.path().join("baton.db"), tasks, now));
    let world = World::on(folder, &[]);
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let output = world.command(&["debug", "health", "--json"]).output().unwrap();
        best = best.min(begun.elapsed());
        // Nobody takes them.
        assert_eq!(output.status.code(), Some(1));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["findings"][0]["what"], "no_worker", "{told:#}");
    }
    if measured.is_some() {
        println!("health of {tasks} tasks: {best:?}");
        assert!(best < BAR, "{best:?}");
    }
}

/// A file with so many tasks of one type that failed at worker w1, and then so many that it completed.
async fn end(file: &std::path::Path, failed: usize, completed: usize, now: Timestamp) {
    let options = Options { durability: Durability::Normal, ..Options::default() };
    let store = SqliteStore::open(file, options, Arc::new(NoDoorbell)).unwrap();
    let mut ended = 0;
    while ended < failed + completed {
        let next = ended..(failed + completed).min(ended + 100);
        let specs = next.map(|n| {
            let id = TaskId::from_bytes((n as u128 + 1).to_be_bytes());
            TaskSpec::new(id, "render".parse().unwrap())
        });
        let create = Create { now, tasks: specs.collect(), atomic: true, idempotency: None, by: None };
        store.create(create).await.unwrap();
        let claim = Claim { max_tasks: 100, ..Claim::new("w1".parse().unwrap(), now) };
        let ClaimAnswer::Leased(leased) = store.claim(claim).await.unwrap() else { panic!("expected tasks") };
        for task in leased {
            let fence = baton_model::Fence { attempt: task.head.attempt, worker: "w1".parse().unwrap() };
            let (task, caller) = (task.head.id, Bounds::default());
            if ended < failed {
                let message = format!("no page {ended}");
                let failure = baton_model::Failure { message, code: None, details: None };
                let fail = Fail { now, task, fence, caller, failure, retryable: false, retry_after: None };
                store.fail(fail).await.unwrap();
            } else {
                let generation = baton_model::GenerationId::from_bytes((ended as u128 + 1).to_be_bytes());
                let output = baton_model::Output::default();
                let complete = Complete { now, task, fence, caller, generation, ran: None, output };
                store.complete(complete, None).await.unwrap();
            }
            ended += 1;
        }
    }
}

/// More of both than anybody lists.
#[test]
fn however_many_ended_all_tell_the_same_number_and_the_same_verdict() {
    for (failed, completed, code) in [(640, 520, 1), (520, 640, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let now = baton_runtime::Clock::now(&baton_runtime::SystemClock);
        Runtime::new().unwrap().block_on(end(&folder.path().join("baton.db"), failed, completed, now));
        let world = World::on(folder, &[]);
        let told = stdout(&run(world.command(&["debug", "health", "--json"]), code));
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let weight = if code == 1 { "error" } else { "warning" };
        assert_eq!(
            (&told["verdict"], &told["findings"][0]["what"]),
            (&weight.into(), &"failures".into()),
            "{told:#}"
        );
        let numbers = format!("{failed} of {} attempts that ended since ", failed + completed);
        let message = told["findings"][0]["message"].as_str().unwrap();
        assert!(message.starts_with(&numbers) && message.contains("mostly with: no page #"), "{message}");
        let (status, page) = world.ask_text("", "GET", "/ui", "");
        assert_eq!(status, 200, "{page}");
        let mark = if code == 1 { "<li class=\"bad\">" } else { "<li class=\"odd\">" };
        let line = page.lines().find(|line| line.contains(&numbers)).unwrap_or_else(|| panic!("{page}"));
        assert!(line.contains(mark) && line.contains("mostly with: no page #"), "{line}");
        // The type and its worker are judged by the same tasks.
        for (what, word) in [("tasks", "type_fails"), ("workers", "worker_fails")] {
            let arguments = ["debug", what, "--limit", "2000", "--json"];
            let told = stdout(&run(world.command(&arguments), code));
            let told: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert_eq!(told["verdict"], if code == 1 { "error" } else { "ok" }, "{told:#}");
            assert_eq!(told["findings"].as_array().unwrap().len(), usize::from(code == 1), "{told:#}");
            if code == 1 {
                assert_eq!(told["findings"][0]["what"], word, "{told:#}");
                let message = told["findings"][0]["message"].as_str().unwrap();
                assert!(
                    message.contains("640 of its newest 1160 tasks that ended in the last hour"),
                    "{message}"
                );
            }
        }
    }
}
