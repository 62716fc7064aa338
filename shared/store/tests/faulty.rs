//! The decorator that has a store fail: its faults come from the seed alone, and mean what they say.

#![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use baton_model::{LeasePolicy, Timestamp};
use baton_store::conformance::history::{Load, over_faults, run, seeds};
use baton_store::conformance::{Oracle, World};
use baton_store::faulty::{Fault, Faulty};
use baton_store::{
    Doorbell, ErrorKind, NoDoorbell, PageRequest, PauseQueue, Store, StoreError, TaskFilter, TaskStore,
};

#[derive(Default)]
struct Memory(OnceLock<Arc<Oracle>>);

#[async_trait]
impl World for Memory {
    async fn open(&self, policy: LeasePolicy, doorbell: Arc<dyn Doorbell>) -> Arc<dyn Store> {
        Arc::clone(self.0.get_or_init(|| Arc::new(Oracle::new(policy, doorbell)))) as Arc<dyn Store>
    }
}

fn oracle() -> Arc<dyn Store> {
    Arc::new(Oracle::new(LeasePolicy::default(), Arc::new(NoDoorbell)))
}

/// A history on one thread: the faults that were met, and every task with its history.
async fn traced(seed: u64) -> (Vec<(&'static str, Fault)>, String) {
    let faulty = Arc::new(Faulty::new(oracle(), seed, 4));
    let store = Arc::clone(&faulty) as Arc<dyn Store>;
    run(Arc::clone(&store), seed, Load::default(), || faulty.switch(false)).await;
    let filter = TaskFilter { now: Timestamp::default(), ..TaskFilter::default() };
    let tasks = store.tasks(filter, PageRequest::first(1_000)).await.unwrap();
    let mut trace = String::new();
    for task in tasks.items {
        trace += &format!("{:?}\n", store.task(task.head.id).await.unwrap());
    }
    (faulty.met(), trace)
}

#[tokio::test(flavor = "current_thread")]
async fn the_same_seed_gives_the_same_run() {
    let (met, trace) = traced(42).await;
    assert!(met.len() > 50, "{}", met.len());
    assert_eq!(traced(42).await, (met.clone(), trace.clone()));
    let other = traced(43).await;
    assert!(other.0 != met && other.1 != trace, "another seed gives another run");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_met() {
    let mut met = BTreeSet::new();
    for seed in seeds(20) {
        met.extend(over_faults(Memory::default(), seed).await.into_iter().map(|(_, fault)| fault));
    }
    assert_eq!(met, BTreeSet::from(Fault::ALL));
}

/// Whether the default queue is paused.
async fn paused(store: &dyn TaskStore) -> bool {
    store.queue(&Default::default(), Timestamp::default()).await.is_ok_and(|queue| queue.pause.is_some())
}

#[tokio::test]
async fn what_is_unavailable_was_not_done_and_what_is_unknown_was() {
    let pause = PauseQueue {
        now: Timestamp::default(),
        queue: Default::default(),
        paused: true,
        by: None,
        reason: None,
    };
    let mut kinds = BTreeSet::new();
    for seed in 0..40 {
        let inner = oracle();
        let faulty = Faulty::new(Arc::clone(&inner), seed, 1);
        let answer = faulty.pause_queue(pause.clone()).await;
        let kind = answer.as_ref().err().map(StoreError::kind);
        assert_eq!(paused(&*inner).await, kind != Some(ErrorKind::Unavailable), "{answer:?}");
        kinds.insert(format!("{kind:?}"));
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

#[tokio::test]
async fn an_old_list_is_one_that_was_given_before() {
    let inner = oracle();
    let faulty = Faulty::new(Arc::clone(&inner), 7, 2);
    let mut seen = BTreeSet::new();
    for why in ["one reason", "another"].repeat(20) {
        let now = Timestamp::default();
        let reason = Some(why.to_owned());
        let pause = PauseQueue { now, queue: Default::default(), paused: true, by: None, reason };
        inner.pause_queue(pause).await.unwrap();
        if let Ok(queue) = faulty.queue(&Default::default(), now).await {
            seen.insert((why, queue.pause.and_then(|pause| pause.reason)));
        }
    }
    let before = ("another", Some("one reason".to_owned()));
    assert!(seen.contains(&before), "an answer of before: {seen:?}");
    faulty.switch(false);
    assert!(paused(&faulty).await, "as it is, once faults are off");
}
