//! Queues with an order of their own, where it matters how their tasks lie in the table.

use std::collections::VecDeque;

use baton_model::{
    Bounds, FairBy, Fence, GenerationId, Output, QueueOrder, Task, TaskId, TaskSpec, TaskState, Watch,
};
use baton_store::{Claim, ClaimAnswer, Complete, Create, OrderQueue, Reap, TaskStore};
use baton_store_dynamodb::faults::{Fault, Faults};
use baton_store_dynamodb::{DynamoStore, Options};

use crate::engine::{Engine, at, timed};

struct Bench {
    engine: Engine,
    store: DynamoStore,
    faults: Faults,
}

impl Bench {
    async fn open() -> Self {
        let engine = Engine::start().await;
        let (store, faults) = engine.failing(1, 0, Options::seeded(1)).await;
        Self { engine, store, faults }
    }

    async fn order(&self, fair: Option<FairBy>) {
        let order = QueueOrder { fair, age_after_seconds: None };
        let set = OrderQueue { now: at(0), queue: "default".parse().unwrap(), order };
        self.store.order_queue(set).await.unwrap();
    }

    /// Creates tasks of these projects and types, of which `first` is the number of the first one.
    async fn create(&self, first: u64, kinds: &[(String, String)]) {
        for (batch, kinds) in kinds.chunks(100).enumerate() {
            let spec = |(n, (project, task_type)): (usize, &(String, String))| TaskSpec {
                project: project.parse().unwrap(),
                ..TaskSpec::new(
                    TaskId::from_bytes(timed(first + (batch * 100 + n) as u64)),
                    task_type.parse().unwrap(),
                )
            };
            let tasks = kinds.iter().enumerate().map(spec).collect();
            let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
            self.store.create(create).await.unwrap();
        }
    }

    async fn of_projects(&self, first: u64, projects: impl IntoIterator<Item = &str>) {
        let kinds: Vec<_> =
            projects.into_iter().map(|project| (project.to_owned(), "render".to_owned())).collect();
        self.create(first, &kinds).await;
    }

    async fn claim(&self, worker: &str, max_tasks: u32) -> Vec<Task> {
        let claim = Claim { max_tasks, ..Claim::new(worker.parse().unwrap(), at(1)) };
        match self.store.claim(claim).await.unwrap() {
            ClaimAnswer::Leased(tasks) => tasks,
            ClaimAnswer::Nothing(why) => panic!("expected a task, got {why:?}"),
        }
    }

    async fn complete(&self, task: &Task) {
        let complete = Complete {
            now: at(2),
            task: task.head.id,
            fence: Fence { attempt: task.head.attempt, worker: worker_of(task).parse().unwrap() },
            caller: Bounds::default(),
            generation: GenerationId::from_bytes(*task.head.id.as_bytes()),
            output: Output::default(),
            ran: None,
        };
        self.store.complete(complete, None).await.unwrap();
    }
}

fn worker_of(task: &Task) -> String {
    match &task.head.state {
        TaskState::Running(lease) => lease.worker.to_string(),
        other => panic!("expected a lease, got {other:?}"),
    }
}

fn projects(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.project.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_tasks_beside_many_are_done_before_the_large_tenants_thirtieth() {
    let b = Bench::open().await;
    b.of_projects(1, ["large"; 1_000]).await;
    b.of_projects(2_000, ["small"; 10]).await;
    b.order(Some(FairBy::Project)).await;
    let mut held = VecDeque::new();
    for n in 0..8 {
        held.extend(b.claim(&format!("w{n}"), 1).await);
    }
    let (mut large, mut small) = (0, 0);
    while small < 10 {
        let task = held.pop_front().unwrap();
        b.complete(&task).await;
        if task.project.as_str() == "small" {
            small += 1
        } else {
            large += 1
        }
        held.extend(b.claim(&worker_of(&task), 1).await);
    }
    println!("the small tenant's ten were done before the large one's {}", large + 1);
    assert!(large < 30, "{large} of the large tenant's came first");
}

/// A process that ends a task may die before it takes it out of what stands for its tenant. Nothing else would notice, as that stops
/// nobody: the reaper's round does.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dying_process_has_left_standing_for_a_tenant_is_taken_away() {
    let b = Bench::open().await;
    b.order(Some(FairBy::Project)).await;
    b.of_projects(1, ["a", "a"]).await;
    // By which the day of the generations is known.
    b.complete(&b.claim("w1", 1).await[0]).await;
    let held = b.claim("w1", 1).await.remove(0);
    b.of_projects(3, ["a", "b", "a", "b"]).await;
    for _ in 0..6 {
        b.faults.order("UpdateItem", Fault::Throttled);
    }
    b.complete(&held).await;
    assert_eq!(b.faults.injected().values().sum::<u64>(), 6, "the lease still stands");
    assert_eq!(projects(&b.claim("w1", 1).await), ["b"], "as if one of a ran");
    let reap = Reap { watch: Watch::at(at(30)), limit: 10, worker: None, queue: None };
    b.store.reap(reap).await.unwrap();
    // None of a runs, and one of b.
    assert_eq!(projects(&b.claim("w1", 3).await), ["a", "a", "b"]);
}

/// A queue that was claimed whole has its tasks lie together. Those are looked through, and what comes once it is fair lies apart.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_together_from_before_has_its_turn_as_far_as_is_looked() {
    let b = Bench::open().await;
    // So many kinds that a claim of all has new ones lie together.
    let kinds: Vec<_> = (0..6).map(|n| ("large".to_owned(), format!("kind-{n}"))).collect();
    b.create(1, &kinds).await;
    b.claim("w1", 6).await;
    let other = b.engine.store(Options::seeded(2)).await;
    let spec = |n: u64, project: &str| TaskSpec {
        project: project.parse().unwrap(),
        ..TaskSpec::new(TaskId::from_bytes(timed(n)), "bake".parse().unwrap())
    };
    let create = |tasks| Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
    let large = (100..190).map(|n| spec(n, "large")).collect();
    other.create(create(large)).await.unwrap();
    other.create(create(vec![spec(500, "small")])).await.unwrap();
    b.order(Some(FairBy::Project)).await;
    assert_eq!(projects(&b.claim("w2", 1).await), ["small"], "past ninety that lie before it");
}

/// Of more pairs of tenant and type than have a place of their own, further ones share some, and take turns there, too.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_beyond_those_with_a_place_of_their_own_take_turns() {
    let b = Bench::open().await;
    b.order(Some(FairBy::Key)).await;
    let spec = |n: u64, key: String| TaskSpec {
        concurrency_key: Some(key.parse().unwrap()),
        ..TaskSpec::new(TaskId::from_bytes(timed(n)), "render".parse().unwrap())
    };
    for round in 0..2 {
        for part in 0..3 {
            let keys = part * 50..(part + 1) * 50;
            let tasks = keys.map(|key| spec(1_000 * round + key, format!("key-{key}"))).collect();
            let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
            b.store.create(create).await.unwrap();
        }
    }
    let mut keys = std::collections::BTreeSet::new();
    for n in 0..3 {
        for task in b.claim(&format!("w{n}"), 50).await {
            keys.insert(task.concurrency_key.unwrap().to_string());
        }
    }
    assert_eq!(keys.len(), 150, "each has had a turn before any has a second");
}

/// A key that has had no task for hours leaves its place of its own to another.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_gone_leaves_its_place_to_another() {
    let b = Bench::open().await;
    b.order(Some(FairBy::Key)).await;
    let spec = |n: u64| TaskSpec {
        concurrency_key: Some(format!("key-{n}").parse().unwrap()),
        ..TaskSpec::new(TaskId::from_bytes(timed(n)), "render".parse().unwrap())
    };
    let tasks = (0..20).map(spec).collect();
    let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
    b.store.create(create).await.unwrap();
    let claims = async |seconds: u64| {
        // One of some claims looks after the places.
        for _ in 0..60 {
            let claim = Claim { max_tasks: 50, ..Claim::new("w1".parse().unwrap(), at(seconds)) };
            b.store.claim(Claim { cap: 100, ..claim }).await.unwrap();
        }
    };
    let places = async || {
        let items = b.engine.items().await;
        let queue = items.iter().find(|item| item["pk"].as_s().unwrap().starts_with("Q#")).unwrap();
        queue.get("ln").map_or(0, |names| names.as_ss().unwrap().len())
    };
    claims(1).await;
    assert_eq!(
        places().await,
        21,
        "one of its project, from before this process knew that the queue is fair by key"
    );
    claims(3 * 3_600 + 60).await;
    assert_eq!(places().await, 0);
}
