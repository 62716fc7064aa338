//! A bulk command over many tasks in a file leaves room for others. `BATON_TEST_TASKS=1000000` measures it with more tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton_model::{Bulk, BulkAction, BulkFilter, BulkId, BulkState, BulkTasks, Task, TaskSpec};
use baton_store::bulk::step;
use baton_store::{BulkStore, Claim, ClaimAnswer, Create, TaskStore};

use crate::{Site, at, id};

/// How long a claim takes beside a command, at the slowest of a hundred.
const P99: Duration = Duration::from_millis(25);

impl Site {
    /// Tasks of another queue, with numbers behind one.
    async fn create_small(&self, from: u128) {
        for batch in (from..from + 5_000).collect::<Vec<_>>().chunks(1_000) {
            let spec = |n: &u128| TaskSpec {
                queue: "small".parse().unwrap(),
                ..TaskSpec::new(id(*n), "render".parse().unwrap())
            };
            let tasks = batch.iter().map(spec).collect();
            let create = Create { now: at(0), tasks, atomic: true, idempotency: None, by: None };
            self.store.create(create).await.unwrap();
        }
    }

    /// One of them.
    async fn given_small(&self) -> Task {
        let queues = vec!["small".parse().unwrap()];
        let claim = Claim { queues, cap: u32::MAX, ..Claim::new("w".parse().unwrap(), at(2)) };
        match self.store.claim(claim).await.unwrap() {
            ClaimAnswer::Leased(mut tasks) => tasks.remove(0),
            ClaimAnswer::Nothing(why) => panic!("expected a task, got {why:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_go_on_while_all_that_waits_is_cancelled() {
    let tasks = std::env::var("BATON_TEST_TASKS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let site = Arc::new(Site::new());
    site.create(0..tasks, |_| "large".to_owned()).await;
    site.create_small(tasks).await;
    let filter = BulkFilter { project: Some("large".parse().unwrap()), ..BulkFilter::default() };
    let command = BulkId::from_bytes([1; 16]);
    let bulk = Bulk::new(command, at(2), BulkAction::Cancel, BulkTasks::Filter(filter));
    site.store.create_bulk(bulk).await.unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let (other, over) = (Arc::clone(&site), Arc::clone(&ended));
    let claims = tokio::spawn(async move {
        let mut took = Vec::new();
        while !over.load(Ordering::SeqCst) && took.len() < 4_000 {
            let begun = Instant::now();
            let task = other.given_small().await;
            took.push(begun.elapsed());
            other.complete(&task).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        took.sort();
        took
    });
    let begun = Instant::now();
    let mut pages = 0;
    let done = loop {
        let bulk = step(&site.store, command, Bulk::PAGE, at(3)).await.unwrap();
        if bulk.state != BulkState::Running {
            break bulk;
        }
        assert!(bulk.page > pages, "a step has not gone on from page {pages}");
        pages = bulk.page;
    };
    let took = begun.elapsed();
    ended.store(true, Ordering::SeqCst);
    let claims = claims.await.unwrap();
    assert_eq!(u128::from(done.changed), tasks);
    let part = |share: usize| claims[(claims.len() * share / 100).min(claims.len() - 1)];
    let (half, slow) = (part(50), part(99));
    let rate = tasks as f64 / took.as_secs_f64();
    println!(
        "{tasks} tasks cancelled in {took:?} ({rate:.0}/s); {} claims beside it: p50 {half:?}, p99 {slow:?}",
        claims.len()
    );
    assert!(slow < P99 || cfg!(debug_assertions), "a claim took {slow:?}");
}
