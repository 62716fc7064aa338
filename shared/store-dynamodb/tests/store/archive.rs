//! Archiving over a connection that fails.

use std::collections::BTreeSet;

use baton_model::{Payload, TaskId, TaskSpec};
use baton_store::conformance::history::seeds;
use baton_store::{ArchiveStore, Cancel, Create, ErrorKind, Past, StoreError, TaskStore};
use baton_store_dynamodb::Options;

use crate::engine::{Engine, at, letter, timed};

const TASKS: u64 = 24;

/// Sends a command as its archiver does: again, while it fails.
async fn sent<T, A: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> A) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Whatever is lost, throttled, repeated or old: no task is removed that was not read out whole before, in the end all are, and nothing
/// is left of them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_unwritten_over_a_connection_that_fails() {
    for seed in seeds(1) {
        println!("BATON_SEED={seed}");
        let engine = Engine::start().await;
        let options = Options { archived: true, ..Options::seeded(seed) };
        let (store, faults) = engine.failing(seed, 6, options).await;
        let ids: Vec<TaskId> = (1..=TASKS).map(|number| TaskId::from_bytes(timed(number))).collect();
        for (n, id) in ids.iter().enumerate() {
            let params = Payload::parse(&format!("\"{}\"", "x".repeat(n * 200))).unwrap();
            let spec = TaskSpec { id_chosen: true, params, ..TaskSpec::new(*id, "render".parse().unwrap()) };
            let create = Create { now: at(0), tasks: vec![spec], atomic: true, idempotency: None, by: None };
            store.create(create).await.unwrap();
            let cancel = Cancel { now: at(1), task: *id, by: None, reason: None, with_dependants: false };
            store.cancel(cancel).await.unwrap();
        }
        faults.switch(true);
        let now = at(86_400);
        let past = Past { all: now, own: now };
        let mut written = BTreeSet::new();
        for _ in 0..40 {
            let found = sent(|| store.ended(past, 10)).await;
            written.extend(found.iter().map(|record| (record.task.head.id, record.history.len())));
            let named: Vec<_> = found.iter().map(|one| (one.task.head.id, one.task.head.events)).collect();
            sent(|| store.remove_archived(named.clone(), now)).await;
            for id in &ids {
                let there = sent(async || match store.task(*id).await {
                    Err(StoreError::TaskNotFound(_)) => Ok(false),
                    other => other.map(|_| true),
                })
                .await;
                assert!(there || written.contains(&(*id, 2)), "{id} is gone, and was not written");
            }
        }
        faults.switch(false);
        for _ in 0..4 {
            let left = store.ended(past, 100).await.unwrap();
            written.extend(left.iter().map(|record| (record.task.head.id, record.history.len())));
            let left = left.iter().map(|one| (one.task.head.id, one.task.head.events)).collect();
            store.remove_archived(left, now).await.unwrap();
        }
        assert_eq!(written.len() as u64, TASKS);
        let left: Vec<_> =
            engine.items().await.into_iter().filter(|item| "TXGPE".contains(letter(item))).collect();
        assert_eq!(left, [], "nothing is left of them");
    }
}
