//! What is past its keeping goes by itself, with all that belongs to it, and nothing that lives does.

mod goes;
mod needed;
mod rounds;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use baton_model::{
    Bounds, Failure, Fence, GenerationId, Output, Payload, Priority, Task, TaskId, TaskSpec, Watch,
};
use baton_store::conformance::history::{Load, run, seeds};
use baton_store::transfer::Record;
use baton_store::{
    Cancel, Claim, ClaimAnswer, Complete, Create, ErrorKind, Fail, GenerationFilter, Idempotency,
    PageRequest, Purge, Reap, Retry, StoreError, TaskFilter, TaskStore, Transfer,
};
use baton_store_dynamodb::aws_sdk_dynamodb;
use baton_store_dynamodb::table::KeptBy;
use baton_store_dynamodb::{DynamoStore, Meter, Options};

use crate::engine::heard::{Cost, Heard};
use crate::engine::{Engine, Item, at, ends, letter, timed};

const DAY: u64 = 86_400;

struct Bench {
    engine: Engine,
    store: DynamoStore,
    heard: Arc<Heard>,
}

/// A UUIDv4: its first digits say nothing.
fn random(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    (bytes[6], bytes[8]) = (0x40, 0x80);
    bytes
}

fn text(bytes: usize) -> Payload {
    Payload::parse(&format!("\"{}\"", "x".repeat(bytes - 2))).unwrap()
}

fn spec(id: [u8; 16], params: usize) -> TaskSpec {
    TaskSpec {
        id_chosen: true,
        params: text(params),
        max_attempts: 1_000,
        ..TaskSpec::new(TaskId::from_bytes(id), "render".parse().unwrap())
    }
}

fn creation(seconds: u64, tasks: Vec<TaskSpec>) -> Create {
    Create { now: at(seconds), tasks, atomic: false, idempotency: None, by: None }
}

impl Bench {
    async fn open() -> Self {
        Self::on(Engine::start().await, Some(Duration::from_secs(30 * DAY))).await
    }

    async fn on(engine: Engine, keep_finished: Option<Duration>) -> Self {
        let heard = Arc::new(Heard::default());
        let meter: Arc<dyn Meter> = heard.clone();
        let store = engine.store(Options { meter: Some(meter), keep_finished, ..Options::seeded(1) }).await;
        Self { engine, store, heard }
    }

    async fn create(&self, seconds: u64, id: [u8; 16], params: usize) -> TaskId {
        let answer = self.store.create(creation(seconds, vec![spec(id, params)])).await.unwrap();
        answer.items[0].as_ref().unwrap().id
    }

    async fn claimed(&self, seconds: u64) -> Task {
        let claim = Claim::new("w1".parse().unwrap(), at(seconds));
        match self.store.claim(claim).await.unwrap() {
            ClaimAnswer::Leased(mut tasks) => tasks.remove(0),
            ClaimAnswer::Nothing(why) => panic!("expected a task, got {why:?}"),
        }
    }

    async fn fail(&self, seconds: u64, task: &Task, message: usize, retryable: bool) {
        let fence = Fence { attempt: task.head.attempt, worker: "w1".parse().unwrap() };
        let failure = Failure { message: "x".repeat(message), code: None, details: None };
        let (now, retry_after) = (at(seconds), Some(Duration::ZERO));
        let fail = Fail {
            now,
            task: task.head.id,
            fence,
            caller: Bounds::default(),
            failure,
            retryable,
            retry_after,
        };
        self.store.fail(fail).await.unwrap();
    }

    async fn complete(&self, seconds: u64, task: &Task, result: usize) -> GenerationId {
        let generation = GenerationId::from_bytes(timed(1_000_000 + task.head.id.as_bytes()[15] as u64));
        let complete = Complete {
            caller: baton_model::Bounds::default(),
            now: at(seconds),
            task: task.head.id,
            fence: Fence { attempt: task.head.attempt, worker: "w1".parse().unwrap() },
            generation,
            output: Output { result: Some(text(result)), ..Output::default() },
            ran: None,
        };
        self.store.complete(complete, None).await.unwrap();
        generation
    }

    async fn cancel(&self, seconds: u64, task: TaskId) {
        self.store
            .cancel(Cancel { now: at(seconds), task, by: None, reason: None, with_dependants: false })
            .await
            .unwrap();
    }

    async fn retry(&self, seconds: u64, task: TaskId) {
        let (by, reason, delay) = (None, None, Duration::ZERO);
        self.store
            .retry(Retry { now: at(seconds), task, by, reason, delay, with_dependants: false })
            .await
            .unwrap();
    }

    /// The items of tasks, generations and what they keep apart.
    async fn lying(&self) -> Vec<Item> {
        let items = self.engine.items().await.into_iter();
        items.filter(|item| "TXGYP".contains(letter(item))).collect()
    }

    async fn purge(&self, seconds: u64) -> baton_store::PurgeReport {
        self.store.purge(Purge::at(at(seconds))).await.unwrap()
    }

    /// Takes an attribute off an item.
    async fn strip(&self, item: &Item, attribute: &str) {
        let update = self.engine.client.update_item().table_name(&self.engine.table);
        let update = update.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
        let update = update.update_expression("REMOVE #a").expression_attribute_names("#a", attribute);
        update.send().await.unwrap();
    }

    /// Makes the table one of before tasks were dated as they end.
    async fn undated(&self) {
        for item in self.engine.items().await {
            let settings = letter(&item) == 'M' && item["sk"].as_s().unwrap() == "table";
            if "TXGYP".contains(letter(&item)) && ends(&item).is_some() {
                self.strip(&item, "xp").await;
            } else if settings {
                self.strip(&item, "xt").await;
            }
        }
    }
}

/// A task with a history that was archived, large failures, params and result.
async fn large(b: &Bench, number: u64) -> (TaskId, GenerationId) {
    let id = b.create(0, timed(number), 5_000).await;
    for round in 0..12 {
        let task = b.claimed(round).await;
        b.fail(round, &task, if round % 3 == 0 { 2_000 } else { 100 }, true).await;
    }
    let task = b.claimed(20).await;
    (id, b.complete(20, &task, 700_000).await)
}

impl Bench {
    /// What purges have noted.
    async fn note(&self) -> String {
        let get = self.engine.client.get_item().table_name(&self.engine.table);
        let get =
            get.key("pk", AttributeValue::S("M".to_owned())).key("sk", AttributeValue::S("purge".to_owned()));
        let item = get.send().await.unwrap().item;
        item.map_or_else(String::new, |item| item["tx"].as_s().unwrap().clone())
    }
}
