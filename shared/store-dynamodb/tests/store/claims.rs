//! What claims cost behind many tasks that they do not take, and among many processes that claim at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use baton_model::{
    Bounds, Fence, GenerationId, LimitRules, Output, Owner, Priority, QueueName, Task, TaskId, TaskSpec,
    TaskState,
};
use baton_store::{
    Claim, ClaimAnswer, Complete, Create, LimitStore, Nothing, SetLimit, StoreError, TaskStore,
};
use baton_store_dynamodb::{Meter, Options};

use crate::bench::{Bench, claim};
use crate::engine::heard::{Cost, Heard};
use crate::engine::{Engine, at};

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_costs_the_same_however_many_tasks_wait() {
    let few = waiting_claim(1_000).await;
    // A debug build of the engine takes minutes to store more: BATON_TEST_WAITING=20000 took three.
    let many = std::env::var("BATON_TEST_WAITING").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let cost = waiting_claim(many).await;
    println!("claim with 1,000 waiting: {few:?}\nclaim with {many} waiting: {cost:?}");
    assert_eq!(cost, few);
}

/// What a claim costs while so many tasks wait.
async fn waiting_claim(waiting: usize) -> Cost {
    let mut b = Bench::open().await;
    b.create(9, 200).await;
    let spec = b.spec(200);
    let last = b.task(spec).await;
    let last = b.items_of(&[last]).await.remove(0);
    b.copies(&last, waiting - 10, None).await;
    b.claim(claim("worker-1")).await;
    b.heard.take();
    b.claim(claim("worker-1")).await;
    b.heard.take()
}

/// Whatever waits before them, due or for tomorrow.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_by_type_or_for_a_project_costs_what_it_takes() {
    let mut b = Bench::open().await;
    let mut others = Vec::new();
    for n in 0..6 {
        let spec = TaskSpec { task_type: format!("other-{n}").parse().unwrap(), ..b.spec(200) };
        let other = TaskSpec { project: ["default", "game"][n / 3].parse().unwrap(), ..spec };
        others.push(b.task(other).await);
    }
    for (n, other) in b.items_of(&others).await.iter().enumerate() {
        let tomorrow = (n % 2 == 1).then(|| at(86_400));
        b.copies(other, 2_000, tomorrow).await;
    }
    let rare: Vec<_> = ["rare", "rare", "render", "render"]
        .into_iter()
        .zip(["default", "default", "film", "film"])
        .collect();
    for (task_type, project) in rare {
        let (task_type, project) = (task_type.parse().unwrap(), project.parse().unwrap());
        let spec = TaskSpec { task_type, project, ..b.spec(200) };
        b.task(spec).await;
    }
    let typed = Claim { types: vec!["rare".parse().unwrap()], ..claim("worker-1") };
    let bound = Claim { caller: Owner::Project("film".parse().unwrap()), ..claim("worker-2") };
    // Workers are known by their first claims.
    b.claim(typed.clone()).await;
    b.claim(bound.clone()).await;
    b.heard.take();
    assert_eq!(b.claim(typed.clone()).await.task_type.as_str(), "rare");
    let costs = [b.note("claim by type, behind 12,000 others")];
    assert_eq!(b.claim(bound.clone()).await.project.as_str(), "film");
    let costs = costs.into_iter().chain([b.note("claim for a project, behind 12,000 others")]);
    let nothing = b.store.claim(typed.clone()).await.unwrap();
    assert_eq!(nothing, ClaimAnswer::Nothing(Nothing::NoneQueued));
    let costs = costs.chain([b.note("claim by type that finds nothing, behind 12,000 others")]);
    for cost in costs {
        let queries = cost.times("Query");
        assert!(queries <= 3 && cost.read <= 3.5, "{cost:?}");
    }
    b.print();
    b.documented();
}

/// A queue of few types: each further one costs a claim of all of them one query.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_all_types_asks_for_each_type() {
    let mut b = Bench::open().await;
    b.create(1, 200).await;
    b.claim(claim("worker-1")).await;
    for n in 0..30 {
        let spec = TaskSpec { task_type: format!("type-{}", n % 3).parse().unwrap(), ..b.spec(200) };
        b.task(spec).await;
    }
    b.heard.take();
    b.claim(claim("worker-1")).await;
    b.note("claim of all types, in a queue of 4 types");
    b.print();
    b.documented();
}

/// A queue that is claimed from without a choice gets no further lanes, however many types its tasks have.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_claimed_whole_keeps_its_tasks_together() {
    let mut b = Bench::open().await;
    let mut costs = Vec::new();
    for round in 0..3 {
        for n in 0..8 {
            let spec = TaskSpec { task_type: format!("type-{round}-{n}").parse().unwrap(), ..b.spec(200) };
            let now = at(round * 1_000);
            let create = Create { now, tasks: vec![spec], atomic: false, idempotency: None, by: None };
            b.store.create(create).await.unwrap();
        }
        let now = at(round * 1_000 + 1);
        for n in 0..8 {
            b.heard.take();
            let held = b.claim(Claim { now, ..claim("worker-1") }).await;
            assert_eq!(held.task_type.as_str(), format!("type-{round}-{n}"), "in their order");
            costs.push(b.heard.take());
        }
    }
    let queries = |cost: &Cost| cost.times("Query");
    assert_eq!(queries(&costs[7]), 9, "one of what it holds, and one for each type");
    assert_eq!(queries(&costs[15]), 10, "and one for all further types: {:?}", costs[15]);
    assert_eq!(queries(&costs[23]), 10);
    // A claim by type has them apart again, and finds what lies together.
    let spec = TaskSpec { task_type: "late".parse().unwrap(), ..b.spec(200) };
    b.store
        .create(Create { now: at(3_000), tasks: vec![spec], atomic: false, idempotency: None, by: None })
        .await
        .unwrap();
    let late = Claim { now: at(3_001), types: vec!["late".parse().unwrap()], ..claim("worker-1") };
    b.claim(late.clone()).await;
    let spec = TaskSpec { task_type: "late".parse().unwrap(), ..b.spec(200) };
    b.store
        .create(Create { now: at(4_000), tasks: vec![spec], atomic: false, idempotency: None, by: None })
        .await
        .unwrap();
    b.heard.take();
    b.claim(Claim { now: at(4_001), ..late }).await;
    let cost = b.heard.take();
    assert_eq!(queries(&cost), 3, "its own lane, and the common one: {cost:?}");
}

impl Bench {
    /// Creates a task of a type at a time.
    async fn create_of(&mut self, task_type: &str, now: u64) -> TaskId {
        let spec = TaskSpec { task_type: task_type.parse().unwrap(), ..self.spec(200) };
        let id = spec.id;
        let create = Create { now: at(now), tasks: vec![spec], atomic: false, idempotency: None, by: None };
        self.store.create(create).await.unwrap();
        id
    }

    /// Claims all that waits, and then so often again that some claim has tidied; how many queries the last one made.
    async fn claims_at(&self, now: u64) -> usize {
        let all = || Claim { now: at(now), max_tasks: 100, cap: 1_000, ..claim("worker-1") };
        for _ in 0..60 {
            self.heard.take();
            self.store.claim(all()).await.unwrap();
        }
        self.heard.take().times("Query")
    }
}

/// Types that nobody creates any more cost claims of all nothing, after some hours.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_that_stay_empty_are_struck_off_and_come_back_with_a_task() {
    const HOUR: u64 = 3_600;
    let mut b = Bench::open().await;
    for n in 0..12 {
        b.create_of(&format!("type-{n}"), 0).await;
    }
    assert_eq!(
        b.claims_at(1).await,
        13,
        "one of what it holds, and one for each type; they are watched from now on"
    );
    // So that further tasks wait apart again.
    let typed = |now| Claim { now: at(now), types: vec!["type-2".parse().unwrap()], ..claim("worker-1") };
    b.store.claim(typed(2)).await.unwrap();
    // These two are in use: one is done by the time that the others are struck off, one is not.
    b.create_of("type-0", 2 * HOUR).await;
    assert_eq!(b.claims_at(2 * HOUR + 1).await, 13);
    let waits = b.create_of("type-1", 3 * HOUR - 1).await;
    b.store.claim(typed(3 * HOUR + 2)).await.unwrap();
    assert_eq!(b.claims_at(3 * HOUR + 3).await, 3, "the lanes that nobody has used since were struck off");
    assert_eq!(b.store.task(waits).await.unwrap().task.head.attempt, 1, "what waited was given out");
    // By a process that knew the lane, and has to make it known again.
    let again = b.create_of("type-7", 3 * HOUR + 4).await;
    assert_eq!(b.claims_at(3 * HOUR + 5).await, 4);
    assert_eq!(b.store.task(again).await.unwrap().task.head.attempt, 1);
}

/// A queue's record stays small, and each type is found, however many there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_a_thousand_types_is_read_for_one_unit() {
    let mut b = Bench::open().await;
    for priority in [Priority::Normal, Priority::Low] {
        let mut specs = Vec::new();
        for n in 0..500 {
            let task_type = format!("a-type-with-a-long-name-as-programs-make-them-{n}").parse().unwrap();
            specs.push(TaskSpec { task_type, priority, ..b.spec(200) });
        }
        for specs in specs.chunks(100) {
            let tasks = specs.to_vec();
            let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
            b.store.create(create).await.unwrap();
        }
    }
    let typed = |n: usize| {
        let task_type = format!("a-type-with-a-long-name-as-programs-make-them-{n}").parse().unwrap();
        Claim { types: vec![task_type], ..claim("worker-1") }
    };
    for n in [0, 99, 100, 499] {
        b.heard.take();
        let held = b.claim(typed(n)).await;
        assert_eq!(held.task_type, typed(n).types[0]);
        let cost = b.heard.take();
        // Two units for the records; the rest for what the type's lanes hold, which further types share by sixteen.
        assert!(cost.read <= 2.0 + 0.5 + 4.0, "{n}: {cost:?}");
    }
    let queue = QueueName::default();
    assert!(b.store.queue(&queue, at(2)).await.unwrap().used);
    b.heard.take();
    b.claim(claim("worker-1")).await;
    let cost = b.heard.take();
    println!("a claim of all of a thousand types: {cost:?}");
    assert!(cost.read <= 2.0 + 0.5 * 100.0 + 32.0, "no more than all lanes of one priority: {cost:?}");
}

/// Processes that know nothing of each other, each of which claims as often as all can together.
async fn at_once(claimers: u64, rounds: usize, waiting: usize, shards: u16) -> f64 {
    let shards = BTreeMap::from([(QueueName::default(), shards)]);
    let heard = Arc::new(Heard::default());
    let engine = Engine::start().await;
    let mut stores = Vec::new();
    for seed in 0..claimers {
        let meter: Arc<dyn Meter> = heard.clone();
        let (meter, shards) = (Some(meter), shards.clone());
        let options = Options { meter, shards, ..Options::seeded(seed * 7_919 + 1) };
        stores.push(Arc::new(engine.store(options).await));
    }
    let mut specs = Bench::open().await;
    for part in (0..waiting).collect::<Vec<_>>().chunks(500) {
        let tasks = part.iter().map(|_| specs.spec(200)).collect();
        let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
        stores[0].create(create).await.unwrap();
    }
    heard.take();
    let start = Arc::new(tokio::sync::Barrier::new(stores.len()));
    let mut running = Vec::new();
    for (n, store) in stores.into_iter().enumerate() {
        let start = Arc::clone(&start);
        running.push(tokio::spawn(async move {
            let mut given = Vec::new();
            for _ in 0..rounds {
                // All together, as often as they can.
                start.wait().await;
                match store.claim(claim(&format!("worker-{n}"))).await.unwrap() {
                    ClaimAnswer::Leased(tasks) => given.extend(tasks.into_iter().map(|task| task.head.id)),
                    ClaimAnswer::Nothing(why) => panic!("tasks wait for all, and a claim was told {why:?}"),
                }
            }
            given
        }));
    }
    let mut given = Vec::new();
    for one in running {
        given.extend(one.await.unwrap());
    }
    let cost = heard.take();
    let writes = cost.times("UpdateItem");
    let each = writes as f64 / given.len() as f64;
    println!(
        "{claimers} claimers took {} tasks with {writes} conditional writes: {each:.3} for each, and {:.1} read units",
        given.len(),
        cost.read / given.len() as f64
    );
    given.sort();
    given.dedup();
    assert_eq!(given.len(), rounds * claimers as usize, "each claim got a task of its own");
    each
}

#[tokio::test(flavor = "multi_thread")]
async fn claimers_at_once_hardly_get_in_each_others_way() {
    let each = at_once(100, 5, 1_000, 32).await;
    assert!(each <= 1.3, "{each}");
}

/// Every function is a process of its own, and a queue has one shard unless somebody says otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_processes_at_one_shard_write_little_more_than_once_a_task() {
    let each = at_once(100, 10, 1_100, 1).await;
    assert!(each <= 1.5, "{each}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dozen_processes_at_one_shard_write_little_more_than_once_a_task() {
    let each = at_once(24, 12, 400, 1).await;
    assert!(each <= 1.5, "{each}");
}

/// Nobody is told that nothing waits before everything is taken: the last tasks go to whoever is still there.
#[tokio::test(flavor = "multi_thread")]
async fn claimers_at_once_take_all_to_the_last_task() {
    let each = at_once(24, 10, 240, 1).await;
    println!("{each:.3} writes a task where none is left over");
}

/// One claim that reaches several processes takes one set of tasks, also while others take and free the places of a limit that
/// each process finds free.
#[tokio::test(flavor = "multi_thread")]
async fn one_claim_at_several_processes_takes_one_set_of_tasks_under_a_limit() {
    let engine = Engine::start().await;
    let mut stores = Vec::new();
    for seed in 0..4 {
        stores.push(Arc::new(engine.store(Options::seeded(seed + 1)).await));
    }
    let mut b = Bench::on(engine).await;
    let on = "queue/default/key/*".parse().unwrap();
    let rules = Some(LimitRules { max_running: Some(1), ..LimitRules::default() });
    b.store.set_limit(SetLimit { now: at(0), on, rules, by: None, reason: None }).await.unwrap();
    for round in 0..10 {
        for key in ["x", "y", "z"] {
            for _ in 0..4 {
                let spec = TaskSpec { concurrency_key: Some(key.parse().unwrap()), ..b.spec(20) };
                b.task(spec).await;
            }
        }
        let (worker, request) = (format!("worker-{round}"), format!("request-{round}"));
        let sent = Claim { request: Some(request.parse().unwrap()), max_tasks: 2, ..claim(&worker) };
        let mut running = Vec::new();
        for (n, store) in stores.iter().enumerate() {
            let (store, sent) = (Arc::clone(store), sent.clone());
            let completions: Vec<_> = (0..8).map(|_| b.id()).collect();
            running.push(tokio::spawn(async move {
                let mut sets = Vec::new();
                for id in completions {
                    if n < 2 {
                        sets.push(taken(store.claim(sent.clone()).await));
                        continue;
                    }
                    for task in taken(store.claim(claim(&format!("rival-{n}"))).await) {
                        store.complete(completion(&task, id), None).await.unwrap();
                    }
                }
                sets
            }));
        }
        let mut sets = Vec::new();
        for one in running {
            sets.extend(one.await.unwrap());
        }
        let all: BTreeSet<_> = sets.iter().flatten().map(|task| task.head.id).collect();
        let largest = sets.into_iter().max_by_key(Vec::len).unwrap();
        assert_eq!(
            all,
            largest.iter().map(|task| task.head.id).collect(),
            "one claim was given several sets"
        );
        let mut left = largest;
        while !left.is_empty() {
            for task in &left {
                let id = b.id();
                b.store.complete(completion(task, id), None).await.unwrap();
            }
            left = taken(b.store.claim(Claim { max_tasks: 100, ..claim("rest") }).await);
        }
    }
}

/// Of keys whose limit is one, tasks start in their order and one at a time, also where several processes claim them that know nothing of
/// each other, as far as the index shows what waits: here it does at once.
#[tokio::test(flavor = "multi_thread")]
async fn several_processes_keep_the_order_of_keys_whose_limit_is_one() {
    const PROCESSES: u64 = 4;
    const KEYS: [&str; 4] = ["w", "x", "y", "z"];
    const TASKS: usize = 7;
    for shards in [1, 3] {
        let engine = Engine::start().await;
        let mut stores = Vec::new();
        for seed in 0..PROCESSES {
            let shards = BTreeMap::from([(QueueName::default(), shards)]);
            stores.push(Arc::new(engine.store(Options { shards, ..Options::seeded(seed + 1) }).await));
        }
        let mut b = Bench::on(engine).await;
        let on = "queue/default/key/*".parse().unwrap();
        let rules = Some(LimitRules { max_running: Some(1), ..LimitRules::default() });
        stores[0].set_limit(SetLimit { now: at(0), on, rules, by: None, reason: None }).await.unwrap();
        let mut tasks = Vec::new();
        for n in 0..TASKS * KEYS.len() {
            // A key's tasks of two types wait in two lanes, and come by turns.
            let task_type = ["render", "bake"][n / KEYS.len() % 2].parse().unwrap();
            let key = Some(KEYS[n % KEYS.len()].parse().unwrap());
            tasks.push(TaskSpec { task_type, concurrency_key: key, ..b.spec(20) });
        }
        let ids: Vec<TaskId> = tasks.iter().map(|spec| spec.id).collect();
        let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
        stores[0].create(create).await.unwrap();
        let running: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let started: Arc<Mutex<BTreeMap<String, Vec<TaskId>>>> = Arc::default();
        let left = Arc::new(AtomicUsize::new(ids.len()));
        let mut claimers = Vec::new();
        for (n, store) in stores.iter().cycle().take(3 * stores.len()).enumerate() {
            let (store, worker) = (Arc::clone(store), format!("worker-{n}"));
            let (running, started, left) = (Arc::clone(&running), Arc::clone(&started), Arc::clone(&left));
            let completions: Vec<_> = ids.iter().map(|_| b.id()).collect();
            claimers.push(tokio::spawn(async move {
                let mut completions = completions.into_iter();
                while left.load(Ordering::SeqCst) > 0 {
                    for task in taken(store.claim(claim(&worker)).await) {
                        let key = task.concurrency_key.clone().unwrap().to_string();
                        assert!(running.lock().unwrap().insert(key.clone()), "two of {key} run at once");
                        started.lock().unwrap().entry(key.clone()).or_default().push(task.head.id);
                        tokio::task::yield_now().await;
                        running.lock().unwrap().remove(&key);
                        let id = completions.next().unwrap();
                        store.complete(completion(&task, id), None).await.unwrap();
                        left.fetch_sub(1, Ordering::SeqCst);
                    }
                    tokio::task::yield_now().await;
                }
            }));
        }
        for claimer in claimers {
            claimer.await.unwrap();
        }
        let started = started.lock().unwrap();
        for (place, key) in KEYS.into_iter().enumerate() {
            let arrived: Vec<TaskId> = ids.iter().skip(place).step_by(KEYS.len()).copied().collect();
            assert_eq!(started[key], arrived, "the tasks of {key}, over {shards} shards");
        }
    }
}

fn taken(answer: Result<ClaimAnswer, StoreError>) -> Vec<Task> {
    match answer.unwrap() {
        ClaimAnswer::Leased(tasks) => tasks,
        ClaimAnswer::Nothing(_) => Vec::new(),
    }
}

/// The completion of a task by whoever runs it.
fn completion(task: &Task, id: [u8; 16]) -> Complete {
    let TaskState::Running(lease) = &task.head.state else { panic!("{task:?} does not run") };
    Complete {
        now: at(1),
        task: task.head.id,
        fence: Fence { attempt: task.head.attempt, worker: lease.worker.clone() },
        caller: Bounds::default(),
        generation: GenerationId::from_bytes(id),
        output: Output::default(),
        ran: None,
    }
}
