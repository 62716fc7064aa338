//! Affinity: what a worker has warm, and which tasks it is given for that.

use std::time::Duration;

use baton_model::{FairBy, Label, Priority, QueueOrder, Reason, TaskId, TaskSpec, Wants, Warm};

use super::kit::*;
use super::limits::{limit, most};
use super::order::fair;
use crate::{Claim, Nothing};

/// A task that wants this to be warm.
fn wanting(spec: TaskSpec, affinity: &str) -> TaskSpec {
    TaskSpec { affinity: Some(name(affinity)), ..spec }
}

fn with(claim: Claim, names: &[&str], wants: Wants) -> Claim {
    let names: Vec<Label> = names.iter().map(|one| name(one)).collect();
    Claim { warm: Warm { names, wants }, ..claim }
}

fn prefers(claim: Claim, names: &[&str], seconds: u64) -> Claim {
    with(claim, names, Wants::Prefer { pass_over: secs(seconds) })
}

fn wants_only(claim: Claim, names: &[&str]) -> Claim {
    with(claim, names, Wants::Only)
}

/// Tasks created a second apart in this order; those of an empty affinity have none.
async fn of(b: &Bench, affinities: &[&str]) -> Vec<TaskId> {
    let spec = |(affinity, n): (&&str, u64)| {
        let spec = b.spec("render").due(at(n));
        if affinity.is_empty() { spec } else { wanting(spec, affinity) }
    };
    let specs = affinities.iter().zip(0..).map(spec).collect();
    b.create_all(at(0), specs).await
}

/// A worker that wants only what it has warm is given nothing else, and is told that others wait, or when the next of its own is due.
pub async fn who_wants_only_what_is_warm_is_given_nothing_else(b: Bench) {
    let ids = of(&b, &["", "flux", "sdxl", "", "sdxl", "llama"]).await;
    let claim = |seconds| claim("w", at(seconds)).max(9);
    assert_eq!(ids_of(&b.claim(wants_only(claim(100), &["sdxl", "llama"])).await), [ids[2], ids[4], ids[5]]);
    assert_eq!(b.nothing(wants_only(claim(100), &["sdxl"])).await, Nothing::NotWarm);
    assert_eq!(b.nothing(wants_only(claim(100), &[])).await, Nothing::NotWarm);
    let later = b.create(at(100), wanting(b.spec("render").due(at(200)), "sdxl")).await;
    assert_eq!(b.nothing(wants_only(claim(100), &["sdxl"])).await, Nothing::Scheduled { next_at: at(200) });
    assert_eq!(b.claim(claim(100)).await.len(), 3, "who does not care takes the rest");
    assert_eq!(b.nothing(wants_only(claim(150), &["flux"])).await, Nothing::NotWarm);
    assert_eq!(ids_of(&b.claim(wants_only(claim(200), &["sdxl"])).await), [later]);
    assert_eq!(b.nothing(wants_only(claim(200), &["sdxl"])).await, Nothing::NoneQueued);
    b.check(at(201)).await;
}

/// A worker that prefers what it has warm is given that first, then the others in their order.
pub async fn who_prefers_what_is_warm_is_given_that_first(b: Bench) {
    let ids = of(&b, &["", "flux", "sdxl", "", "sdxl", "flux"]).await;
    assert_eq!(b.claim_one(prefers(claim("w1", at(100)), &["sdxl"], 900)).await.head.id, ids[2]);
    let rest = prefers(claim("w2", at(100)).max(9), &["sdxl", "flux"], 900);
    assert_eq!(ids_of(&b.claim(rest).await), [ids[1], ids[4], ids[5], ids[0], ids[3]]);
    b.check(at(101)).await;
}

/// A task that has waited for as long as the worker may pass it over is passed over no longer.
pub async fn nobody_is_passed_over_for_longer_than_is_said(b: Bench) {
    let ids = of(&b, &["", "flux", "sdxl", "sdxl"]).await;
    // At 60 s the first has waited for a minute, and nobody else has.
    let claim = |seconds| prefers(claim("w", at(seconds)), &["sdxl"], 60);
    assert_eq!(b.claim_one(claim(60)).await.head.id, ids[0]);
    assert_eq!(b.claim_one(claim(60)).await.head.id, ids[2]);
    assert_eq!(b.claim_one(claim(61)).await.head.id, ids[1]);
    assert_eq!(b.claim_one(claim(61)).await.head.id, ids[3]);
    let ids = b
        .create_all(at(70), vec![b.spec("render").due(at(70)), wanting(b.spec("render").due(at(71)), "sdxl")])
        .await;
    let never = with(claim(500), &["sdxl"], Wants::Prefer { pass_over: Duration::ZERO });
    assert_eq!(ids_of(&b.claim(Claim { max_tasks: 2, ..never }).await), ids, "not at all");
    b.check(at(501)).await;
}

/// Who does not care is given tasks in their order, whatever it has warm.
pub async fn who_does_not_care_takes_tasks_in_their_order(b: Bench) {
    let ids = of(&b, &["flux", "", "sdxl", "flux"]).await;
    let claim = with(claim("w", at(100)).max(9), &["sdxl"], Wants::Any);
    assert_eq!(ids_of(&b.claim(claim).await), ids);
    b.check(at(101)).await;
}

/// Priority goes before affinity, also a priority that has risen.
pub async fn priority_goes_before_affinity(b: Bench) {
    let low = b.create(at(0), b.spec("render").priority(Priority::Low)).await;
    let high = b.create(at(50), b.spec("render").priority(Priority::High).due(at(50))).await;
    let warm = b.create(at(50), wanting(b.spec("render").due(at(50)), "sdxl")).await;
    let normal = b.create(at(51), b.spec("render").due(at(51))).await;
    let all = |seconds| prefers(claim("w", at(seconds)).max(9), &["sdxl"], 900);
    b.order(at(0), "default", QueueOrder { fair: None, age_after_seconds: Some(60) }).await;
    // At 61 s the low one counts as normal, and is no warmer for it.
    assert_eq!(ids_of(&b.claim(all(61)).await), [high, warm, low, normal]);
    b.check(at(62)).await;
}

/// Claims by type and by project are given what is warm of what they may take.
pub async fn affinity_goes_with_types_and_projects(b: Bench) {
    let spec = |task_type: &str, project: &str| b.spec(task_type).project(project);
    let mut specs: Vec<TaskSpec> = (0..30).map(|_| wanting(spec("bake", "a"), "sdxl")).collect();
    specs.extend([
        spec("render", "a"),
        wanting(spec("render", "b"), "sdxl"),
        wanting(spec("render", "a"), "sdxl"),
        wanting(spec("bake", "b"), "sdxl"),
    ]);
    let ids = b.create_all(at(0), specs).await;
    let of_type = |worker: &str| claim(worker, at(1)).types(&["render"]).max(9);
    let of_project = |worker: &str| claim(worker, at(1)).project("b").max(9);
    assert_eq!(ids_of(&b.claim(wants_only(of_project("w1").types(&["render"]), &["sdxl"])).await), [ids[31]]);
    assert_eq!(ids_of(&b.claim(prefers(of_type("w2"), &["sdxl"], 900)).await), [ids[32], ids[30]]);
    assert_eq!(b.nothing(wants_only(of_type("w2"), &["sdxl"])).await, Nothing::NoneQueued);
    assert_eq!(ids_of(&b.claim(wants_only(of_project("w1"), &["sdxl"])).await), [ids[33]]);
    assert_eq!(b.claim(wants_only(claim("w3", at(1)).max(50), &["sdxl"])).await.len(), 30);
    b.check(at(2)).await;
}

/// What is warm is found behind many others of any affinity, and none of them.
pub async fn what_is_warm_is_found_past_all_others(b: Bench) {
    let names = ["", "flux", "llama"];
    let all: Vec<&str> = (0..150).map(|n| names[n % 3]).chain(["sdxl"]).collect();
    let ids = of(&b, &all).await;
    assert_eq!(b.claim_one(prefers(claim("w1", at(500)), &["sdxl"], 900)).await.head.id, ids[150]);
    assert_eq!(b.nothing(wants_only(claim("w1", at(500)), &["sdxl"])).await, Nothing::NotWarm);
    assert_eq!(b.claim_one(wants_only(claim("w2", at(500)), &["llama"])).await.head.id, ids[2]);
    b.check(at(501)).await;
}

/// In a fair queue what is warm goes first, and whose turn it is counts among that and among the rest.
pub async fn affinity_goes_with_fairness(b: Bench) {
    b.order(at(0), "default", fair(FairBy::Project)).await;
    let spec = |project: &str, due| b.spec("render").project(project).due(at(due));
    let mut specs: Vec<TaskSpec> = (0..5).map(|n| wanting(spec("a", n), "sdxl")).collect();
    specs.extend([spec("a", 5), spec("b", 6), wanting(spec("b", 7), "sdxl"), spec("c", 8)]);
    let ids = b.create_all(at(0), specs).await;
    let claim = prefers(claim("w", at(100)).max(5), &["sdxl"], 900);
    assert_eq!(ids_of(&b.claim(claim.clone()).await), [ids[0], ids[7], ids[1], ids[2], ids[3]]);
    assert_eq!(ids_of(&b.claim(claim).await), [ids[4], ids[8], ids[6], ids[5]]);
    b.check(at(101)).await;
}

/// What is warm and over its limit is passed over like anything else.
pub async fn affinity_goes_with_limits(b: Bench) {
    limit(&*b.store(), at(0), "project/a", most(1)).await;
    let specs = vec![
        wanting(b.spec("render").project("a"), "sdxl"),
        wanting(b.spec("render").project("a"), "sdxl"),
        wanting(b.spec("render").project("b"), "sdxl"),
        b.spec("render").project("b"),
    ];
    let ids = b.create_all(at(0), specs).await;
    let held = b.claim(wants_only(claim("w", at(1)).max(9), &["sdxl"])).await;
    assert_eq!(ids_of(&held), [ids[0], ids[2]]);
    let nothing = b.nothing(wants_only(claim("w", at(1)), &["sdxl"])).await;
    assert!(matches!(nothing, Nothing::AtLimit { .. } | Nothing::NotWarm), "{nothing:?}");
    b.complete(at(2), &held[0]).await;
    assert_eq!(ids_of(&b.claim(wants_only(claim("w", at(2)).max(9), &["sdxl"])).await), [ids[1]]);
    assert_eq!(b.nothing(wants_only(claim("w", at(2)), &["sdxl"])).await, Nothing::NotWarm);
    b.check(at(3)).await;
}

/// What waits at a limit for one thing to be warm holds up nothing that waits for another.
pub async fn what_waits_at_a_limit_for_one_affinity_holds_up_no_other(b: Bench) {
    limit(&*b.store(), at(0), "project/a", most(1)).await;
    let spec = |affinity: &str| wanting(b.spec("render").project("a"), affinity);
    let mut specs: Vec<TaskSpec> = (0..6).map(|_| spec("flux")).collect();
    specs.push(spec("sdxl"));
    let ids = b.create_all(at(0), specs).await;
    let held = b.claim(claim("w1", at(1)).max(9)).await;
    assert_eq!(ids_of(&held), [ids[0]]);
    b.complete(at(2), &held[0]).await;
    let warm = b.claim_one(wants_only(claim("w2", at(3)), &["sdxl"])).await;
    assert_eq!(warm.head.id, ids[6]);
    b.complete(at(4), &warm).await;
    assert_eq!(b.claim_one(claim("w1", at(5))).await.head.id, ids[1]);
    b.check(at(6)).await;
}

/// An affinity is told with its task and goes with it through its attempts; it is part of what makes two tasks the same.
pub async fn an_affinity_is_told_and_stays(mut b: Bench) {
    let spec = wanting(b.spec("render"), "sdxl/fp16 ☂").chosen();
    let id = b.create(at(0), spec.clone()).await;
    let held = b.claim_one(wants_only(claim("w", at(1)), &["sdxl/fp16 ☂"])).await;
    assert_eq!(held.affinity, Some(name("sdxl/fp16 ☂")));
    let retry_after = Some(Duration::ZERO);
    b.store().fail(crate::Fail { retry_after, ..failing(at(2), &held) }).await.expect("the failure is taken");
    b.reopen().await;
    assert_eq!(b.nothing(wants_only(claim("w", at(3)), &["flux"])).await, Nothing::NotWarm);
    let again = b.claim_one(wants_only(claim("w", at(3)), &["sdxl/fp16 ☂"])).await;
    assert_eq!((again.head.id, again.head.attempt), (id, 2));
    let other =
        b.send(creation(at(4), vec![TaskSpec { affinity: None, ..spec }])).await.expect("it is answered");
    assert!(matches!(other.items[..], [Err(crate::ItemRefusal::IdConflict { .. })]), "{other:?}");
    b.check(at(5)).await;
}

/// A task that only workers with other things warm take waits for want of a worker.
pub async fn a_task_that_nobody_is_warm_for_says_so(b: Bench) {
    let id = b.create(at(0), wanting(b.spec("render"), "sdxl")).await;
    b.nothing(wants_only(claim("w1", at(1)), &["flux"])).await;
    b.beat(beat("w1", at(1))).await;
    let reasons = |seconds| {
        let store = b.store();
        async move { store.why(id, at(seconds)).await.expect("the task is known").reasons }
    };
    assert!(matches!(reasons(2).await[..], [Reason::NoWorker { last: None, .. }]));
    let claim = prefers(claim("w2", at(2)).types(&["bake"]), &["flux"], 60).queues(&["other", "default"]);
    b.nothing(claim).await;
    assert!(matches!(reasons(3).await[..], [Reason::NoWorker { .. }]), "of another type");
    b.beat(beat("w3", at(3))).await;
    b.store()
        .claim(prefers(super::kit::claim("w3", at(3)).cap(0), &["flux"], 60))
        .await
        .expect("it is answered");
    assert_eq!(reasons(4).await, [], "who prefers others takes it, too");
    b.check(at(5)).await;
}
