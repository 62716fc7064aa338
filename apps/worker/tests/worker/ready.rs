//! A worker that waits at a queue of rings.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use baton_client::{Heard, ReadyError, ReadyQueue};
use baton_model::Status;
use tokio::sync::Notify;

use crate::support::{World, ended, until};

/// A queue whose one message is a test's.
#[derive(Default)]
struct Rings {
    held: Mutex<Held>,
    rung: Notify,
}

#[derive(Default)]
struct Held {
    visible: Vec<Heard>,
    listens: u32,
    deleted: u32,
}

impl Rings {
    fn ring(&self) {
        let body = r#"{"queue":"default","task_type":"test","count":1,"run_after":"2026-02-02T02:40:00Z"}"#;
        let ring = Heard { receipt: "r".to_owned(), body: body.to_owned(), times: 1 };
        self.held.lock().unwrap().visible.push(ring);
        self.rung.notify_one();
    }

    fn listens(&self) -> u32 {
        self.held.lock().unwrap().listens
    }
}

#[async_trait]
impl ReadyQueue for Rings {
    async fn receive(&self, _: u32, wait: Duration) -> Result<Vec<Heard>, ReadyError> {
        self.held.lock().unwrap().listens += 1;
        let _ = tokio::time::timeout(wait, self.rung.notified()).await;
        Ok(std::mem::take(&mut self.held.lock().unwrap().visible))
    }

    async fn delete(&self, receipts: &[String]) -> Result<(), ReadyError> {
        self.held.lock().unwrap().deleted += u32::try_from(receipts.len()).unwrap();
        Ok(())
    }

    async fn release(&self, receipts: &[String]) -> Result<(), ReadyError> {
        panic!("nothing of this is for others: {receipts:?}")
    }

    async fn send(&self, messages: &[String]) -> Result<(), ReadyError> {
        panic!("nothing is left of one task's ring: {messages:?}")
    }
}

#[tokio::test]
async fn a_worker_at_a_queue_of_rings_claims_when_it_is_rung_and_not_before() {
    let world = World::new().await;
    let rings = Arc::new(Rings::default());
    let (stop, worker) = world.worker_with(2, |options| {
        options.wait = Duration::from_secs(20);
        options.queues = vec!["default".parse().unwrap()];
        options.ready = Some(Arc::clone(&rings) as Arc<dyn ReadyQueue>);
    });
    until("the worker listens", async || (rings.listens() == 1).then_some(())).await;
    assert_eq!(world.gate.claims.load(Ordering::SeqCst), 1, "it looks once before it listens");
    let id = world.create("echo 1").await;
    rings.ring();
    world.becomes(id, Status::Completed).await;
    until("the ring is used", async || (rings.held.lock().unwrap().deleted == 1).then_some(())).await;
    assert!(rings.listens() <= 3, "{}", rings.listens());
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.claimed, summary.completed), (1, 1));
}

#[tokio::test]
async fn a_worker_whose_ring_was_lost_finds_the_task_at_its_next_look() {
    let world = World::new().await;
    let rings = Arc::new(Rings::default());
    let (stop, worker) = world.worker_with(1, |options| {
        options.wait = Duration::from_millis(500);
        options.ready = Some(Arc::clone(&rings) as Arc<dyn ReadyQueue>);
    });
    until("the worker listens", async || (rings.listens() == 1).then_some(())).await;
    let id = world.create("echo 1").await;
    world.becomes(id, Status::Completed).await;
    assert!(rings.listens() > 0 && rings.held.lock().unwrap().deleted == 0);
    stop.drain();
    assert_eq!(ended(worker).await.completed, 1);
}
