//! Items that cannot be read: whoever reads many passes them over, whoever reads one or copies all fails.

use std::sync::Arc;
use std::time::Duration;

use baton_model::schedule::Said;
use baton_model::{
    BatchId, LimitRules, NewBatch, Payload, Running, ScheduleChange, Status, SupplyChange, SupplyPlan, Task,
    TaskId, TaskSpec, Template, Then, ThenOn, Watch,
};
use baton_store::conformance::schedules::{key, minutely};
use baton_store::transfer::{Migration, MigrationError};
use baton_store::{
    AddToBatch, BatchStore, Beat, Cancel, Claim, ClaimAnswer, Create, ErrorKind, LimitStore, NoDoorbell,
    PageRequest, Purge, Reap, ScheduleFilter, ScheduleStore, SetLimit, SetSchedule, SetSupply, SupplyStore,
    TaskFilter, TaskStore, TendBatches,
};
use baton_store_dynamodb::aws_sdk_dynamodb::types::AttributeValue;
use baton_store_dynamodb::{DynamoStore, Options};

use crate::engine::{Engine, at};

fn id(number: u8) -> TaskId {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&1_800_000_000_000_u64.to_be_bytes()[2..]);
    (id[6], id[8], id[15]) = (0x70, 0x80, number);
    TaskId::from_bytes(id)
}

struct Bench {
    engine: Engine,
    store: Arc<DynamoStore>,
}

impl Bench {
    async fn open() -> Self {
        let engine = Engine::start().await;
        let store = store(&engine, engine.table.clone()).await;
        Self { engine, store }
    }

    async fn create(&self, queue: &str, numbers: std::ops::Range<u8>, params: &str) {
        let tasks = numbers.map(|number| spec(queue, number, params)).collect();
        let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
        assert!(self.store.create(create).await.unwrap().items.iter().all(Result::is_ok));
    }

    async fn claim(&self, worker: &str, queue: &str, most: u32) -> Vec<Task> {
        match self.store.claim(claim(worker, &[queue], most)).await.unwrap() {
            ClaimAnswer::Leased(tasks) => tasks,
            ClaimAnswer::Nothing(_) => Vec::new(),
        }
    }

    /// Spoils an attribute of an item: its key is told by the table itself.
    async fn spoil(&self, sort: &str, attribute: &str) {
        let scan = self.engine.client.scan().table_name(&self.engine.table).into_paginator().items().send();
        let items: Vec<_> = scan.collect::<Result<_, _>>().await.unwrap();
        let mut spoilt = 0;
        for item in items.iter().filter(|item| item["sk"].as_s().unwrap() == sort) {
            if item.contains_key(attribute) {
                let update = self.engine.client.update_item().table_name(&self.engine.table);
                let update = update.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
                let update =
                    update.update_expression("SET #a = :v").expression_attribute_names("#a", attribute);
                let update = update.expression_attribute_values(":v", AttributeValue::Bool(true));
                update.send().await.unwrap();
                spoilt += 1;
            }
        }
        assert_eq!(spoilt, 1, "{sort}");
    }

    /// Sets a schedule of the project `film` that is due each minute.
    async fn schedule(&self, name: &str) {
        let plan = Box::new(minutely(spec("a", 1, "{}")));
        let change = ScheduleChange::Set { plan, seed: [7; 16], replace: false };
        let said = Said { now: at(0), by: None, reason: None };
        self.store.set_schedule(SetSchedule { key: key("film", name), change, said }).await.unwrap();
    }

    fn damaged(&self) -> u64 {
        self.store.take_passed_over().damaged
    }

    async fn listed(&self, statuses: Vec<Status>) -> Vec<TaskId> {
        let filter = TaskFilter { now: at(1), statuses, ..TaskFilter::default() };
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = PageRequest { after, limit: 2, in_parts: false };
            let page = self.store.tasks(filter.clone(), page).await.unwrap();
            all.extend(page.items.iter().map(|task| task.head.id));
            after = page.next;
            if after.is_none() {
                all.sort();
                return all;
            }
        }
    }
}

async fn store(engine: &Engine, table: String) -> Arc<DynamoStore> {
    let options = Options { flush_every: None, ..Options::seeded(1) };
    Arc::new(DynamoStore::open(engine.client.clone(), table, options, Arc::new(NoDoorbell)).await.unwrap())
}

fn spec(queue: &str, number: u8, params: &str) -> TaskSpec {
    TaskSpec {
        queue: queue.parse().unwrap(),
        params: Payload::parse(params).unwrap(),
        max_attempts: 2,
        ..TaskSpec::new(id(number), "render".parse().unwrap())
    }
}

fn claim(worker: &str, queues: &[&str], most: u32) -> Claim {
    Claim {
        queues: queues.iter().map(|queue| queue.parse().unwrap()).collect(),
        max_tasks: most,
        ..Claim::new(worker.parse().unwrap(), at(1))
    }
}

fn ids(tasks: &[Task]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.head.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_lists_pass_over_a_task_that_is_damaged() {
    let b = Bench::open().await;
    b.create("a", 0..4, "{}").await;
    b.spoil(&id(0).to_string(), "st").await;
    assert_eq!(b.damaged(), 0);
    assert_eq!(ids(&b.claim("w1", "a", 1).await), [id(1)]);
    assert!(b.damaged() > 0, "it is told of");
    let rest = [id(1), id(2), id(3)];
    assert_eq!(b.listed(Vec::new()).await, rest);
    assert_eq!(b.listed(vec![Status::Queued]).await, rest[1..]);
    assert!(b.damaged() > 0);
    b.store.stats(at(1)).await.unwrap();
    assert_eq!(b.store.queues(at(1), PageRequest::first(10)).await.unwrap().items.len(), 1);
    // Whoever asks for that very task is told.
    let error = b.store.task(id(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    assert_eq!(ids(&b.claim("w1", "a", 9).await), rest[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_passes_over_a_task_whose_params_are_gone() {
    let b = Bench::open().await;
    let large = format!("\"{}\"", "x".repeat(9_000));
    b.create("a", 0..2, &large).await;
    let scan = b.engine.client.scan().table_name(&b.engine.table).into_paginator().items().send();
    let items: Vec<_> = scan.collect::<Result<_, _>>().await.unwrap();
    for item in items.iter().filter(|item| {
        let key = (item["pk"].as_s().unwrap(), item["sk"].as_s().unwrap());
        key.0.contains(&id(0).to_string()) && key.1 != "?"
    }) {
        let delete = b.engine.client.delete_item().table_name(&b.engine.table);
        delete.key("pk", item["pk"].clone()).key("sk", item["sk"].clone()).send().await.unwrap();
    }
    assert_eq!(ids(&b.claim("w1", "a", 2).await), [id(1)]);
    assert!(b.damaged() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_the_reaper_passes_over_what_is_damaged() {
    let b = Bench::open().await;
    b.create("a", 0..4, "{}").await;
    assert_eq!(b.claim("w1", "a", 2).await.len(), 2);
    assert_eq!(b.claim("w2", "a", 1).await.len(), 1);
    assert_eq!(b.claim("w3", "a", 1).await.len(), 1);
    b.spoil(&id(0).to_string(), "st").await;
    b.spoil("w3", "sa").await;
    let reap = Reap { watch: Watch::at(at(1_000)), limit: 100, worker: None, queue: None };
    let mut taken: Vec<_> =
        b.store.reap(reap.clone()).await.unwrap().taken.iter().map(|taken| taken.task).collect();
    taken.sort();
    assert_eq!(taken, [id(1), id(2)]);
    assert!(b.damaged() > 0);
    assert_eq!(b.store.reap(reap).await.unwrap().taken, []);
    let workers = b.store.workers(PageRequest::first(1)).await.unwrap();
    assert_eq!((workers.items.len(), workers.next.is_some()), (1, true));
    let mut after = workers.next;
    let mut rest = Vec::new();
    while after.is_some() {
        let page = b.store.workers(PageRequest { after, limit: 1, in_parts: false }).await.unwrap();
        rest.extend(page.items.into_iter().map(|worker| worker.worker.id.to_string()));
        after = page.next;
    }
    assert_eq!(rest, ["w2"], "pages go on behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_passes_over_what_is_damaged() {
    const DAY: u64 = 86_400;
    let b = Bench::open().await;
    b.create("a", 0..4, "{}").await;
    for number in 0..4 {
        let cancel = Cancel { now: at(1), task: id(number), by: None, reason: None, with_dependants: false };
        b.store.cancel(cancel).await.unwrap();
    }
    b.store.stats(at(1)).await.unwrap();
    b.store.purge(Purge::at(at(2))).await.unwrap();
    b.store.take_passed_over();
    // A task, how far purges are, how many tasks go on a day, and what tells how far removing is behind.
    b.spoil(&id(0).to_string(), "ca").await;
    b.spoil("purge", "tx").await;
    let items = b.engine.items().await;
    let sort = |first: &str| {
        let sorts = items.iter().map(|item| item["sk"].as_s().unwrap());
        sorts.filter(|sort| sort.starts_with(first)).max().unwrap().clone()
    };
    b.spoil(&sort("E0"), "4:render").await;
    b.spoil(&sort("probe#"), "xp").await;

    let purge = async |days: u64| b.store.purge(Purge::at(at(days * DAY))).await.unwrap();
    for task in items.iter().filter(|item| crate::engine::letter(item) == 'T') {
        let update = b.engine.client.update_item().table_name(&b.engine.table);
        let update = update.key("pk", task["pk"].clone()).key("sk", task["sk"].clone());
        update.update_expression("REMOVE xp").send().await.unwrap();
    }
    purge(40).await;
    let passed = b.store.take_passed_over();
    assert!(passed.damaged > 0 && passed.uncounted > 0, "{passed:?}");
    purge(41).await;
    assert!(b.store.take_passed_over().damaged > 0);
    let items = b.engine.items().await;
    let mut dated: Vec<_> = items
        .iter()
        .filter(|item| crate::engine::letter(item) == 'T' && crate::engine::ends(item).is_some())
        .map(|item| item["sk"].as_s().unwrap().clone())
        .collect();
    dated.sort();
    assert_eq!(dated, [1, 2, 3].map(|number| id(number).to_string()), "all others have their end");
    purge(42).await;
    assert_eq!(b.store.take_passed_over().uncounted, 1, "once a day");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_says_nothing_of_a_task_that_is_damaged() {
    let b = Bench::open().await;
    b.create("a", 0..2, "{}").await;
    let held = b.claim("w1", "a", 2).await;
    b.spoil(&id(0).to_string(), "st").await;
    let running =
        held.iter().map(|task| Running { task: task.head.id, attempt: 1, progress: None, message: None });
    let beat = Beat { running: Some(running.collect()), ..Beat::new("w1".parse().unwrap(), at(2)) };
    assert_eq!(b.store.heartbeat(beat).await.unwrap().lost, [], "its worker goes on with it");
    assert!(b.damaged() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_passes_over_a_queue_whose_record_is_damaged() {
    let b = Bench::open().await;
    b.create("a", 0..1, "{}").await;
    b.create("b", 1..2, "{}").await;
    b.spoil("a", "sh").await;
    let ClaimAnswer::Leased(tasks) = b.store.claim(claim("w1", &["a", "b"], 2)).await.unwrap() else {
        panic!()
    };
    assert_eq!(ids(&tasks), [id(1)]);
    assert_eq!(b.store.queues(at(1), PageRequest::first(10)).await.unwrap().items.len(), 1);
    assert!(b.damaged() > 0);
}

/// Moves it all into another table, and gives that one's store.
async fn moved(b: &Bench, page: u32) -> Result<Arc<DynamoStore>, MigrationError> {
    let target = store(&b.engine, b.engine.another().await).await;
    let now = || at(5);
    let migration = Migration {
        source: &*b.store,
        target: &*target,
        name: "the source",
        page,
        keep_logs: Duration::ZERO,
        clock: &now,
    };
    migration.run(|_| {}).await?;
    Ok(target)
}

async fn is_not_moved(b: &Bench) {
    let failed = moved(b, 10).await.map(drop).unwrap_err();
    assert!(matches!(failed, MigrationError::Source(_)), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_a_task_that_is_damaged_is_not_moved() {
    let b = Bench::open().await;
    b.create("a", 0..3, "{}").await;
    b.spoil(&id(1).to_string(), "st").await;
    is_not_moved(&b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_a_setting_that_is_damaged_is_not_moved() {
    for kind in ["schedule", "supply", "limit"] {
        let b = Bench::open().await;
        match kind {
            "schedule" => {
                b.schedule("a").await;
                b.spoil("film#a", "st").await;
            }
            "supply" => {
                let template = Template { weight: 1, task: spec("a", 1, "{}") };
                let plan = SupplyPlan {
                    min: 1,
                    target: 2,
                    templates: vec![template],
                    while_asked: false,
                    paused: false,
                };
                let change = SupplyChange::Set { plan: Box::new(plan), seed: [7; 16] };
                let said = Said { now: at(0), by: None, reason: None };
                let queue = "a".parse().unwrap();
                b.store.set_supply(SetSupply { queue, change, said }).await.unwrap();
                b.spoil("a", "pl").await;
            }
            _ => {
                let on = "queue/a".parse().unwrap();
                let rules = Some(LimitRules { max_running: Some(1), ..LimitRules::default() });
                b.store.set_limit(SetLimit { now: at(0), on, rules, by: None, reason: None }).await.unwrap();
                b.spoil("L#queue/a", "ru").await;
            }
        }
        is_not_moved(&b).await;
    }
}

/// Of two halves one was lost: those of other names go on, and who asks for that one hears that it is damaged.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_whose_plan_is_gone_holds_up_no_other() {
    let b = Bench::open().await;
    for name in ["a", "b", "c"] {
        b.schedule(name).await;
    }
    for item in b.engine.items().await {
        if item["sk"].as_s().unwrap() == "film#b" && item.contains_key("pl") {
            let delete = b.engine.client.delete_item().table_name(&b.engine.table);
            delete.key("pk", item["pk"].clone()).key("sk", item["sk"].clone()).send().await.unwrap();
        }
    }
    let others = [key("film", "a"), key("film", "c")];
    let listed = b.store.schedules(ScheduleFilter::default(), PageRequest::first(10)).await.unwrap();
    assert_eq!(listed.items.into_iter().map(|one| one.key).collect::<Vec<_>>(), others);
    let due = b.store.due_schedules(at(60), PageRequest::first(10)).await.unwrap();
    assert_eq!(due.items.into_iter().map(|one| one.key).collect::<Vec<_>>(), others);
    assert!(b.damaged() > 0);
    let error = b.store.schedule(&key("film", "b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

/// A batch with a task that cannot be read holds up none of those behind it, and that task is not taken for one that never was.
#[tokio::test(flavor = "multi_thread")]
async fn a_walk_over_batches_passes_by_what_is_damaged() {
    let b = Bench::open().await;
    let batches = [1, 2].map(|number| BatchId::from_bytes([number; 16]));
    for (batch, number) in batches.into_iter().zip([1, 2]) {
        let task =
            TaskSpec { batch: Some(batch), project: "film".parse().unwrap(), ..spec("a", number, "{}") };
        let create = Create { now: at(0), tasks: vec![task], atomic: true, idempotency: None, by: None };
        let new = NewBatch { id: batch, project: "film".parse().unwrap(), name: None, then: None };
        b.store.add_to_batch(AddToBatch { batch: new, seal: true, create }).await.unwrap();
    }
    b.spoil(&id(1).to_string(), "ca").await;
    let (mut after, mut steps) = (None, 0);
    loop {
        let tend = TendBatches { now: at(90_000), limit: 10, after };
        after = b.store.tend_batches(tend).await.unwrap().next;
        steps += 1;
        if after.is_none() {
            break;
        }
    }
    assert!(steps > 8, "both batches were looked at: {steps}");
    assert!(b.damaged() > 0);
    assert_eq!(b.store.batch(batches[0]).await.unwrap().batch.counts.tasks, 1, "its task is there");
}

/// A page of what is read out may end by its bytes, long before it is full.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_fill_more_than_a_page_are_all_moved() {
    let b = Bench::open().await;
    let large = format!("\"{}\"", "x".repeat(60_000));
    for number in 1..=40 {
        let batch = BatchId::from_bytes([number; 16]);
        let report =
            TaskSpec { id: TaskId::unset(), project: "film".parse().unwrap(), ..spec("a", 99, &large) };
        let then = Some(Then { on: ThenOn::Ended, task: report });
        let new = NewBatch { id: batch, project: "film".parse().unwrap(), name: None, then };
        let task =
            TaskSpec { batch: Some(batch), project: "film".parse().unwrap(), ..spec("a", number, "{}") };
        let create = Create { now: at(0), tasks: vec![task], atomic: true, idempotency: None, by: None };
        b.store.add_to_batch(AddToBatch { batch: new, seal: true, create }).await.unwrap();
    }
    let target = moved(&b, 500).await.unwrap();
    for number in 1..=40 {
        let told = target.batch(BatchId::from_bytes([number; 16])).await.unwrap();
        assert_eq!(told.batch.counts.tasks, 1, "{number}");
    }
}

/// A schedule that cannot be read holds no other one up: neither the list nor what is due.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_schedule_holds_up_no_other() {
    let b = Bench::open().await;
    for name in ["a", "b", "c"] {
        b.schedule(name).await;
    }
    let others = [key("film", "a"), key("film", "c")];
    for attribute in ["pl", "st"] {
        b.spoil("film#b", attribute).await;
        let listed = b.store.schedules(ScheduleFilter::default(), PageRequest::first(10)).await.unwrap();
        assert_eq!(listed.items.into_iter().map(|one| one.key).collect::<Vec<_>>(), others);
        let due = b.store.due_schedules(at(60), PageRequest::first(10)).await.unwrap();
        assert_eq!(due.items.into_iter().map(|one| one.key).collect::<Vec<_>>(), others);
        assert!(b.damaged() > 0);
        let error = b.store.schedule(&key("film", "b")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
