//! Batches over a store that fails: whatever is lost, repeated or late, each task counts once, and what follows is created once.

use std::future::Future;
use std::sync::Arc;

use baton_model::{BatchId, Bounds, NewBatch, TaskId, TaskSpec, Then, ThenOn};

use super::Faulty;
use crate::conformance::batches::adding;
use crate::conformance::kit::*;
use crate::conformance::split_mix::SplitMix;
use crate::{BatchStore, Cursor, ErrorKind, Fail, SealBatch, StoreError, TaskStore, TendBatches};

/// Hands in batches, each by two requests, and ends their tasks in every way, all at the same time; then looks at what is left.
pub(super) async fn batches(store: Arc<Faulty>, seed: u64) {
    store.switch(true);
    let mut running = Vec::new();
    for n in 0..4 {
        let (store, random) = (Arc::clone(&store), SplitMix(seed.wrapping_mul(1_000).wrapping_add(500 + n)));
        running.push(tokio::spawn(async move { batch(&store, n, random).await }));
    }
    let mut whole = Vec::new();
    for one in running {
        whole.push(one.await.expect("no actor panics"));
    }
    store.switch(false);
    let mut after: Option<Cursor> = None;
    loop {
        let tend = TendBatches { now: at(5_000), limit: 100, after };
        after = store.tend_batches(tend).await.expect("batches are tended").next;
        if after.is_none() {
            break;
        }
    }
    for (id, tasks) in whole {
        let told = store.batch(id).await.expect("the batch is there");
        let mut ends = [0_u64; 3];
        for task in &tasks {
            match store.task(*task).await.expect("the task is there").task.head.state.state() {
                baton_model::State::Completed => ends[0] += 1,
                baton_model::State::Failed => ends[1] += 1,
                baton_model::State::Cancelled => ends[2] += 1,
                open => panic!("{task} is stranded: {open}"),
            }
        }
        let counts = told.batch.counts;
        assert_eq!([counts.completed, counts.failed, counts.cancelled], ends, "{id}");
        assert_eq!(counts.tasks, tasks.len() as u64, "{id}: each counts once");
        let made = told.batch.made.expect("what follows is created");
        let follows = store.task(made.task).await.expect("what follows is there");
        assert_eq!(follows.task.params.to_value()["batch"]["unfinished"], 0, "{id}");
    }
}

/// Sends until there is an answer that tells.
async fn sent<T, F: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> F) -> Result<T, StoreError> {
    loop {
        match ask().await {
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) => {
                tokio::task::yield_now().await;
            }
            other => return other,
        }
    }
}

async fn batch(store: &Faulty, n: u64, mut random: SplitMix) -> (BatchId, Vec<TaskId>) {
    let id = BatchId::from_bytes(counted_id(6_500_000 + n));
    let queue = format!("batch-{n}");
    let task = |number: u64| {
        let spec = plain_spec(TaskId::from_bytes(counted_id(6_000_000 + n * 100 + number)), "render");
        TaskSpec { id_chosen: true, ..spec.queue(&queue).attempts(1) }
    };
    let follows = TaskSpec::new(TaskId::unset(), name("report")).queue("after");
    let asked = NewBatch {
        id,
        // No limit is set for it.
        project: name("batches"),
        name: Some(name("a batch")),
        then: Some(Then { on: ThenOn::Ended, task: follows }),
    };
    let ids: Vec<TaskId> = (0..8).map(|number| task(number).id).collect();
    for (first, last) in [(0, 5), (5, 8)] {
        let create = creation(at(2_000), (first..last).map(task).collect());
        let add = adding(asked.clone(), false, create);
        let answer = sent(|| store.add_to_batch(add.clone())).await.expect("the batch is taken");
        assert!(answer.items.iter().all(Result::is_ok), "{answer:?}");
    }
    let seals_first = random.once_in(2);
    let seal = SealBatch { now: at(2_001), batch: id };
    if seals_first {
        sent(|| store.seal_batch(seal)).await.expect("the batch is sealed");
    }
    for task in &ids[..2] {
        let _ = sent(|| store.cancel(cancel(at(2_002), *task))).await;
        if random.once_in(2) {
            let _ = sent(|| store.retry(retry(at(2_003), *task))).await;
        }
    }
    let worker = format!("batch-{n}");
    loop {
        let claim = claim(&worker, at(2_010)).queues(&[&queue]).max(3).cap(100).fixed(secs(1_000));
        let claim = claim.key(&format!("r{}", random.next()));
        let held = match sent(|| store.claim(claim.clone())).await.expect("the claim is taken") {
            crate::ClaimAnswer::Leased(tasks) => tasks,
            crate::ClaimAnswer::Nothing(_) => break,
        };
        for task in held {
            if random.once_in(3) {
                let fail = Fail { retryable: false, ..failing(at(2_020), &task) };
                sent(|| store.fail(fail.clone())).await.expect("the failure is taken");
            } else {
                let complete = crate::Complete {
                    now: at(2_020),
                    task: task.head.id,
                    fence: fence(&task),
                    caller: Bounds::default(),
                    generation: baton_model::GenerationId::from_bytes(*task.head.id.as_bytes()),
                    output: output("out.png"),
                    ran: None,
                };
                sent(|| store.complete(complete.clone(), None)).await.expect("the completion is taken");
            }
        }
    }
    if !seals_first {
        sent(|| store.seal_batch(seal)).await.expect("the batch is sealed");
    }
    (id, ids)
}
