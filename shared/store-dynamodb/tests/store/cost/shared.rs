//! What tasks cost that share something: limits, and the turns of a fair queue.

use baton_model::{FairBy, LimitRules, QueueOrder, TaskSpec};
use baton_store::{Claim, ClaimAnswer, LimitStore, Nothing, OrderQueue, SetLimit, TaskStore};

use crate::bench::{Bench, claim};
use crate::engine::at;

#[tokio::test]
async fn tasks_under_a_limit_cost_what_is_told() {
    let mut b = Bench::open().await;
    b.create(1, 200).await;
    let held = b.claim(claim("worker-1")).await;
    let complete = b.completion(&held, 200);
    b.store.complete(complete, None).await.unwrap();
    let rules = Some(LimitRules { max_running: Some(1), ..LimitRules::default() });
    let on = "project/default".parse().unwrap();
    b.store.set_limit(SetLimit { now: at(1), on, rules, by: None, reason: None }).await.unwrap();
    b.create(1, 200).await;
    b.heard.take();
    let held = b.claim(claim("worker-1")).await;
    b.note("claim, under one limit");
    let complete = b.completion(&held, 200);
    b.store.complete(complete, None).await.unwrap();
    b.note("complete, under one limit");
    b.create(1, 200).await;
    b.heard.take();
    let keyed = Claim { request: Some("0198-aaaa-request-2".parse().unwrap()), ..claim("worker-1") };
    let held = b.claim(keyed).await;
    b.note("claim, with request key, under one limit");
    let complete = b.completion(&held, 200);
    b.store.complete(complete, None).await.unwrap();
    b.create(1, 200).await;
    let held = b.claim(claim("worker-1")).await;
    b.create(1, 200).await;
    b.heard.take();
    b.store.claim(claim("worker-1")).await.unwrap();
    b.note("claim that puts one task aside");
    b.store.claim(claim("worker-1")).await.unwrap();
    b.note("claim that finds one task put aside");
    let complete = b.completion(&held, 200);
    b.store.complete(complete, None).await.unwrap();
    b.note("complete, under one limit, with letting one go that waits at it");
    b.claim(claim("worker-1")).await;
    b.note("claim of a task that waited at a limit");
    b.print();
    b.documented();
}

/// Tasks of a key whose limit is one: that they are given out in their order costs a read of the limit's list, where somebody waits.
#[tokio::test]
async fn tasks_of_a_sequence_cost_what_is_told() {
    let mut b = Bench::open().await;
    b.create(1, 200).await;
    let held = b.claim(claim("worker-1")).await;
    let complete = b.completion(&held, 200);
    b.store.complete(complete, None).await.unwrap();
    let rules = Some(LimitRules { max_running: Some(1), ..LimitRules::default() });
    let on = "queue/default/key/*".parse().unwrap();
    b.store.set_limit(SetLimit { now: at(1), on, rules, by: None, reason: None }).await.unwrap();
    for _ in 0..3 {
        let spec = TaskSpec { concurrency_key: Some("account-17".parse().unwrap()), ..b.spec(200) };
        b.task(spec).await;
    }
    b.heard.take();
    let held = b.claim(claim("worker-1")).await;
    b.note("claim, of a key whose limit is one");
    // Puts the others aside.
    b.store.claim(claim("worker-1")).await.unwrap();
    let complete = b.completion(&held, 200);
    b.store.complete(complete, None).await.unwrap();
    b.heard.take();
    b.claim(claim("worker-1")).await;
    b.note("claim, of a key whose limit is one, where its tasks wait");
    b.print();
    b.documented();
}

#[tokio::test]
async fn tasks_of_ordered_queues_cost_what_is_told() {
    let mut b = Bench::open().await;
    let set = |order| OrderQueue { now: at(1), queue: "default".parse().unwrap(), order };
    b.store.order_queue(set(QueueOrder { fair: None, age_after_seconds: Some(600) })).await.unwrap();
    b.create(2, 200).await;
    b.heard.take();
    b.claim(claim("worker-1")).await;
    b.note("claim, where priorities rise");
    let fair = QueueOrder { fair: Some(FairBy::Project), age_after_seconds: None };
    b.store.order_queue(set(fair)).await.unwrap();
    for n in 0..10 {
        let one = TaskSpec { project: format!("p{n}").parse().unwrap(), ..b.spec(200) };
        b.task(one).await;
    }
    b.heard.take();
    let held = b.claim(claim("worker-1")).await;
    b.note("claim, of a fair queue with 11 tenants");
    let complete = b.completion(&held, 200);
    b.store.complete(complete, None).await.unwrap();
    b.note("complete, of a fair queue");
    for n in 0..300 {
        let one = TaskSpec { project: format!("p{}", n % 10).parse().unwrap(), ..b.spec(200) };
        b.task(one).await;
    }
    b.heard.take();
    b.claim(claim("worker-1")).await;
    b.note("claim, of a fair queue with 11 tenants and 310 tasks");
    b.print();
    b.documented();
}

/// The write units of a lifecycle of tasks of so many types that wait at a limit of one place: creating one, claiming one, a claim
/// that finds the limit full, and completing.
async fn writes_of_a_lifecycle_at(on: &str, types: usize) -> f64 {
    const LIFECYCLES: usize = 12;
    let mut b = Bench::open().await;
    let spec = |b: &mut Bench, n: usize| TaskSpec {
        task_type: format!("kind-{}", n % types).parse().unwrap(),
        ..b.spec(200)
    };
    for n in 0..36 {
        let one = spec(&mut b, n);
        b.task(one).await;
    }
    let rules = Some(LimitRules { max_running: Some(1), ..LimitRules::default() });
    let on = on.parse().unwrap();
    b.store.set_limit(SetLimit { now: at(1), on, rules, by: None, reason: None }).await.unwrap();
    let mut held = b.claim(claim("worker-1")).await;
    let full = |answer: ClaimAnswer| assert!(matches!(answer, ClaimAnswer::Nothing(Nothing::AtLimit { .. })));
    full(b.store.claim(claim("worker-2")).await.unwrap());
    let mut writes = 0.0;
    // The first ones have each type have its task where claims look.
    for n in 0..2 * LIFECYCLES {
        b.heard.take();
        let one = spec(&mut b, n);
        b.task(one).await;
        let complete = b.completion(&held, 200);
        b.store.complete(complete, None).await.unwrap();
        held = b.claim(claim("worker-1")).await;
        full(b.store.claim(claim("worker-2")).await.unwrap());
        let cost = b.heard.take();
        if n >= LIFECYCLES {
            writes += cost.write;
        }
    }
    writes / LIFECYCLES as f64
}

/// What a limit has let go of stays where claims look: neither the end of a lease nor a claim writes anything for those that may
/// not start yet, however many kinds of tasks there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_many_kinds_of_tasks_wait_at_costs_no_more_writes() {
    // How many write units more twelve types may cost than one.
    const MARGIN: f64 = 1.0;
    for on in ["queue/default", "project/default"] {
        let one = writes_of_a_lifecycle_at(on, 1).await;
        let many = writes_of_a_lifecycle_at(on, 12).await;
        println!("{on}: {one} write units a lifecycle with one type, {many} with twelve");
        assert!(many <= one + MARGIN, "{on}: {one} write units with one type, {many} with twelve");
    }
}
