//! A store whose requests are counted, and short words for what is done with it.

use std::collections::HashMap;
use std::sync::Arc;

use baton_model::{Fence, GenerationId, Output, Payload, Running, Task, TaskId, TaskSpec, Timestamp};
use baton_store::{Beat, Claim, ClaimAnswer, Complete, Create, TaskStore};
use baton_store_dynamodb::aws_sdk_dynamodb::types::AttributeValue;
use baton_store_dynamodb::{DynamoStore, Meter, Options};

use crate::engine::heard::{Cost, Heard};
use crate::engine::{Engine, at};

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) store: DynamoStore,
    pub(crate) heard: Arc<Heard>,
    pub(crate) ids: u64,
    pub(crate) rows: Vec<(String, Cost)>,
}

impl Bench {
    pub(crate) async fn open() -> Self {
        Self::on(Engine::start().await).await
    }

    pub(crate) async fn on(engine: Engine) -> Self {
        Self::by(engine, Options::seeded(1)).await
    }

    pub(crate) async fn by(engine: Engine, options: Options) -> Self {
        let heard = Arc::new(Heard::default());
        let meter: Arc<dyn Meter> = heard.clone();
        let store = engine.store(Options { meter: Some(meter), ..options }).await;
        Self { engine, store, heard, ids: 0, rows: Vec::new() }
    }

    /// A UUIDv7 of the test's time.
    pub(crate) fn id(&mut self) -> [u8; 16] {
        self.ids += 1;
        let mut bytes = [0x5a; 16];
        bytes[..6].copy_from_slice(&(at(0).as_millis() as u64 + self.ids).to_be_bytes()[2..]);
        bytes[6] = 0x70;
        bytes[8..].copy_from_slice(&self.ids.to_be_bytes());
        bytes[8] = 0x80;
        bytes
    }

    pub(crate) fn spec(&mut self, params: usize) -> TaskSpec {
        TaskSpec {
            params: bytes(params),
            ..TaskSpec::new(TaskId::from_bytes(self.id()), "render".parse().unwrap())
        }
    }

    /// Creates one task, due at its time or at once.
    pub(crate) async fn task(&mut self, spec: TaskSpec) -> TaskId {
        let id = spec.id;
        let create = Create { now: at(0), tasks: vec![spec], atomic: false, idempotency: None, by: None };
        self.store.create(create).await.unwrap();
        id
    }

    pub(crate) async fn create(&mut self, count: usize, params: usize) {
        let tasks = (0..count).map(|_| self.spec(params)).collect();
        let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
        self.store.create(create).await.unwrap();
    }

    pub(crate) fn note(&mut self, what: &str) -> Cost {
        let cost = self.heard.take();
        self.rows.push((what.to_owned(), cost.clone()));
        cost
    }

    pub(crate) async fn claim(&self, claim: Claim) -> Task {
        match self.store.claim(claim).await.unwrap() {
            ClaimAnswer::Leased(mut tasks) => tasks.remove(0),
            ClaimAnswer::Nothing(why) => panic!("expected a task, got {why:?}"),
        }
    }

    pub(crate) fn completion(&mut self, held: &Task, result: usize) -> Complete {
        Complete {
            caller: baton_model::Bounds::default(),
            now: at(2),
            task: held.head.id,
            fence: Fence { attempt: held.head.attempt, worker: "worker-1".parse().unwrap() },
            generation: GenerationId::from_bytes(self.id()),
            output: Output { result: Some(bytes(result)), ..Output::default() },
            ran: None,
        }
    }

    /// The size of the item whose sort key is an id, by the published rules.
    pub(crate) async fn size_of(&self, id: &str) -> usize {
        fn size(value: &AttributeValue) -> usize {
            match value {
                AttributeValue::S(text) => text.len(),
                AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
                AttributeValue::B(bytes) => bytes.as_ref().len(),
                AttributeValue::L(list) => 3 + list.iter().map(|one| 1 + size(one)).sum::<usize>(),
                other => panic!("expected no such attribute: {other:?}"),
            }
        }
        let scan = self.engine.client.scan().table_name(&self.engine.table).into_paginator().items().send();
        let items: Vec<_> = scan.collect::<Result<_, _>>().await.unwrap();
        let item = items.iter().find(|item| item["sk"].as_s().unwrap() == id).unwrap();
        item.iter().map(|(name, value)| name.len() + size(value)).sum()
    }

    /// Holds the rows to those of the same name in the documentation: exactly, but for read units, which an engine
    /// may count lower.
    pub(crate) fn documented(&self) {
        let page = include_str!("../../../../../docs/dynamodb.md");
        for (what, cost) in self.rows.iter().filter(|(what, _)| !what.starts_with('(')) {
            let row = page.lines().find(|line| line.starts_with(&format!("| {what} |")));
            let row = row.unwrap_or_else(|| panic!("docs/dynamodb.md lacks a row for \"{what}\""));
            let told: Vec<f64> = row.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
            assert_eq!((told[0], told[2]), (cost.requests as f64, cost.write), "{what}: {cost:?}");
            assert!(
                cost.read <= told[1],
                "{what}: expected at most {} read units, got {}",
                told[1],
                cost.read
            );
        }
    }

    pub(crate) fn print(&self) {
        println!("{:<44} {:>8} {:>6} {:>6}  operations", "command", "requests", "RU", "WU");
        for (what, cost) in &self.rows {
            let operations: Vec<_> =
                cost.operations.iter().map(|(one, count)| format!("{count} {one}")).collect();
            println!(
                "{what:<44} {:>8} {:>6} {:>6}  {}",
                cost.requests,
                cost.read,
                cost.write,
                operations.join(", ")
            );
        }
    }
}

/// A JSON text of this many bytes.
pub(crate) fn bytes(count: usize) -> Payload {
    Payload::parse(&format!("\"{}\"", "x".repeat(count - 2))).unwrap()
}

pub(crate) fn claim(worker: &str) -> Claim {
    Claim {
        session: Some("01980a6e-5b7c-7cc3-98c4-dc0c0c07398f".parse().unwrap()),
        ..Claim::new(worker.parse().unwrap(), at(1))
    }
}

pub(crate) fn beat(worker: &str, running: Vec<Running>) -> Beat {
    Beat {
        session: claim(worker).session,
        running: Some(running),
        capacity: Some(4),
        readings: [("vram_used_mb".to_owned(), 7_000.0), ("temp".to_owned(), 71.5)].into(),
        labels: [("host".to_owned(), "render-node-07".to_owned())].into(),
        ..Beat::new(worker.parse().unwrap(), at(3))
    }
}

pub(crate) fn listed(task: &Task) -> Running {
    Running { task: task.head.id, attempt: task.head.attempt, progress: Some(0.5), message: None }
}

impl Bench {
    /// The items of tasks, to be copied. Asked for while the table is small, as it reads all of it.
    pub(crate) async fn items_of(&self, tasks: &[TaskId]) -> Vec<HashMap<String, AttributeValue>> {
        let scan = self.engine.client.scan().table_name(&self.engine.table).into_paginator().items().send();
        let items: Vec<_> = scan.collect::<Result<_, _>>().await.unwrap();
        let item = |id: &TaskId| {
            let id = id.to_string();
            items.iter().find(|item| item["sk"].as_s().unwrap() == &id).unwrap().clone()
        };
        tasks.iter().map(item).collect()
    }

    /// Puts copies of a task behind it, many at a time: to be looked at, and not to be claimed. Due when it is, or at a
    /// time of their own.
    pub(crate) async fn copies(
        &mut self,
        task: &HashMap<String, AttributeValue>,
        count: usize,
        due: Option<Timestamp>,
    ) {
        let due = due.map_or(task["ra"].as_n().unwrap().clone(), |due| due.as_millis().to_string());
        let ids: Vec<_> = (0..count).map(|_| TaskId::from_bytes(self.id())).collect();
        // The engine's puts slow down as a partition of the table grows.
        let copies = ids.iter().enumerate().map(|(n, id)| {
            let mut copy = task.clone();
            let mut put = |name: &str, value| copy.insert(name.to_owned(), value);
            put("pk", AttributeValue::S(format!("{}-{}", task["pk"].as_s().unwrap(), n / 25)));
            put("sk", AttributeValue::S(id.to_string()));
            put("ra", AttributeValue::N(due.clone()));
            put("is", AttributeValue::S(format!("{due:0>15}#{id}")));
            copy
        });
        self.engine.put_all(copies.collect()).await;
    }
}
