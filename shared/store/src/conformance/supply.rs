//! Supply: what is kept of it, when a queue is refilled, with what, and that the target is never exceeded.

use std::collections::{BTreeMap, BTreeSet};

use baton_model::schedule::Said;
use baton_model::supply::{STEP_TASKS, changed};
use baton_model::{
    Directive, LimitRules, ProjectId, QueueName, Supply, SupplyChange, SupplyPlan, TaskId, TaskSpec,
    Template, Timestamp,
};

use super::kit::*;
use crate::faulty::Faulty;
use crate::{
    Beat, Changed, Claim, PageRequest, Refill, Refilled, Release, SetLimit, SetSupply, Store, StoreError,
    SupplyReport, TaskFilter, refill_all, refill_queue,
};

/// A plan that keeps so many tasks ready, of one template.
pub(super) fn plan(min: u32, target: u32, task: TaskSpec) -> SupplyPlan {
    let task = TaskSpec { id: TaskId::unset(), ..task };
    SupplyPlan {
        min,
        target,
        templates: vec![Template { weight: 1, task }],
        while_asked: false,
        paused: false,
    }
}

/// Changes the supply of a queue.
pub(super) async fn change(
    store: &dyn Store,
    now: Timestamp,
    queue: &str,
    change: SupplyChange,
) -> Changed<Supply> {
    let said = Said { now, by: Some(name("ada")), reason: Some("nights".to_owned()) };
    store.set_supply(SetSupply { queue: name(queue), change, said }).await.expect("the supply is taken")
}

/// Sets a supply.
pub(super) fn set(plan: SupplyPlan) -> SupplyChange {
    SupplyChange::Set { plan: Box::new(plan), seed: [7; 16] }
}

async fn made(b: &Bench, now: Timestamp, queue: &str, plan: SupplyPlan) -> Supply {
    change(&*b.store(), now, queue, set(plan)).await.to.expect("it stands")
}

/// Refills a queue once.
pub(super) async fn refill(b: &Bench, now: Timestamp, queue: &str) -> Refilled {
    b.settle().await;
    b.store().refill(Refill { now, queue: name(queue) }).await.expect("the queue is refilled")
}

/// Refills a queue up to its target.
async fn fill(b: &Bench, now: Timestamp, queue: &str) -> u64 {
    b.settle().await;
    let filled = refill_queue(&*b.store(), &name(queue), || now).await;
    filled.expect("the queue is refilled")
}

const fn created(tasks: u32) -> Refilled {
    Refilled::Created { tasks, more: false }
}

/// The tasks of a queue that wait, by id.
async fn waiting(b: &Bench, queue: &str) -> BTreeMap<TaskId, baton_model::Task> {
    let filter = TaskFilter { queue: Some(name(queue)), ..TaskFilter::default() };
    let all = b.tasks_by(filter, 2_000).await;
    let waits = |task: &baton_model::Task| task.head.state == baton_model::TaskState::Queued;
    all.into_iter().filter(waits).map(|task| (task.head.id, task)).collect()
}

async fn supplies(b: &Bench) -> Vec<Supply> {
    b.settle().await;
    b.store().supplies(PageRequest::first(100)).await.expect("supplies are listed").items
}

/// A supply comes back as it was set, alone and in lists; the same again changes nothing, and it is gone once it is unset.
pub async fn a_supply_is_kept_as_it_was_set(b: Bench) {
    let render = TaskSpec {
        project: name("film"),
        max_attempts: 7,
        concurrency_key: Some(name("a key")),
        affinity: Some(name("sdxl")),
        description: Some("more of it".to_owned()),
        params: json(r#"{"n":"{{index}}"}"#),
        ..b.spec("render")
    };
    let mut wanted = plan(10, 40, render);
    wanted.templates.push(Template { weight: 3, task: TaskSpec { id: TaskId::unset(), ..b.spec("bake") } });
    wanted.while_asked = true;
    let supply = made(&b, at(5), "gpu", wanted.clone()).await;
    assert_eq!((supply.plan.clone(), supply.changed_by.clone()), (wanted.clone(), Some(name("ada"))));
    assert_eq!((supply.next_index, supply.revision, supply.seed), (0, 1, [7; 16]));
    assert_eq!(b.store().supply(&name("gpu")).await.unwrap(), supply);
    assert_eq!(supplies(&b).await, std::slice::from_ref(&supply));
    let again = change(&*b.store(), at(9), "gpu", set(wanted)).await;
    assert_eq!(again, Changed { from: Some(supply.clone()), to: Some(supply.clone()) });
    let gone = change(&*b.store(), at(9), "gpu", SupplyChange::Unset).await;
    assert_eq!(gone, Changed { from: Some(supply), to: None });
    let unknown = b.store().supply(&name("gpu")).await;
    assert!(matches!(unknown, Err(StoreError::SupplyNotFound(queue)) if queue == name::<QueueName>("gpu")));
    let again = change(&*b.store(), at(9), "gpu", SupplyChange::Unset).await;
    assert_eq!(again, Changed { from: None, to: None });
    assert_eq!(supplies(&b).await, []);
    assert_eq!(refill(&b, at(10), "gpu").await, Refilled::NoSupply);
}

/// Supplies are listed by queue, page by page.
pub async fn supplies_are_listed_by_queue(b: Bench) {
    let queues = ["a", "b", "gpu", "gpu-2", "z"];
    for queue in queues.iter().rev() {
        made(&b, at(0), queue, plan(1, 2, b.spec("render"))).await;
    }
    b.settle().await;
    let (mut page, mut found) = (PageRequest::first(2), Vec::new());
    loop {
        let part = b.store().supplies(page).await.unwrap();
        assert!(part.items.len() <= 2);
        found.extend(part.items.into_iter().map(|supply| supply.queue.to_string()));
        match part.next {
            Some(after) => page = PageRequest { after: Some(after), ..PageRequest::first(2) },
            None => break,
        }
    }
    assert_eq!(found, queues);
}

/// A queue that no task has named is known as long as it has a supply, whatever becomes of its pause.
pub async fn a_queue_is_known_as_long_as_it_has_a_supply(b: Bench) {
    let known = async || {
        b.settle().await;
        let page = b.store().queues(at(9), PageRequest::first(10)).await.unwrap();
        page.items.into_iter().map(|queue| (queue.queue.to_string(), queue.used)).collect::<Vec<_>>()
    };
    made(&b, at(0), "gpu", plan(1, 2, b.spec("render"))).await;
    assert_eq!(known().await, [("gpu".to_owned(), false)]);
    b.pause(at(1), "gpu", true).await;
    b.pause(at(2), "gpu", false).await;
    assert_eq!(known().await, [("gpu".to_owned(), false)]);
    b.pause(at(3), "gpu", true).await;
    change(&*b.store(), at(4), "gpu", SupplyChange::Unset).await;
    assert_eq!(known().await, [("gpu".to_owned(), false)], "it is paused");
    made(&b, at(5), "cpu", plan(1, 2, b.spec("render"))).await;
    change(&*b.store(), at(5), "cpu", SupplyChange::Unset).await;
    b.pause(at(6), "gpu", false).await;
    assert_eq!(known().await, []);
    made(&b, at(7), "gpu", plan(1, 2, b.spec("render"))).await;
    refill(&b, at(7), "gpu").await;
    change(&*b.store(), at(8), "gpu", SupplyChange::Unset).await;
    assert_eq!(known().await, [("gpu".to_owned(), true)], "a task has named it");
}

/// A queue with fewer ready tasks than the least is filled up to the target, and not before; whoever created what is ready.
pub async fn fewer_than_the_least_are_filled_up_to_the_target(b: Bench) {
    b.create(at(0), b.spec("other").queue("gpu")).await;
    b.create(at(0), b.spec("other").queue("cpu")).await;
    made(&b, at(0), "gpu", plan(3, 5, TaskSpec { project: name("film"), ..b.spec("render") })).await;
    assert_eq!(refill(&b, at(1), "gpu").await, created(4));
    assert_eq!(refill(&b, at(1), "gpu").await, Refilled::Enough);
    let made: Vec<_> =
        waiting(&b, "gpu").await.into_values().filter(|task| task.project == name("film")).collect();
    assert_eq!(made.len(), 4);
    for task in &made {
        assert_eq!((task.queue.as_str(), task.head.run_after, task.created_at), ("gpu", at(1), at(1)));
        let by = b.task(task.head.id).await.history[0].detail.by.clone();
        assert_eq!(by.as_ref().map(|by| by.as_str()), Some("supply gpu"));
    }
    b.note_created(made.iter().map(|task| task.head.id));
    let of_gpu = |worker, now| claim(worker, now).queues(&["gpu"]);
    assert_eq!(b.claim(of_gpu("w1", at(2)).max(2)).await.len(), 2);
    assert_eq!(refill(&b, at(2), "gpu").await, Refilled::Enough, "three are ready");
    assert_eq!(b.claim(of_gpu("w1", at(2)).max(1)).await.len(), 1);
    assert_eq!(refill(&b, at(3), "gpu").await, created(3));
    let supply = b.store().supply(&name("gpu")).await.unwrap();
    assert_eq!((supply.next_index, supply.refilled_at), (7, Some(at(3))));
    let ids = waiting(&b, "gpu").await;
    b.note_created(ids.keys().copied());
    assert_eq!(ids.len(), 5);
    b.check(at(4)).await;
}

/// A task that waits for a later time is not ready until then; one that waits at a limit is.
pub async fn what_waits_for_later_is_not_ready_and_what_waits_at_a_limit_is(b: Bench) {
    b.create(at(0), b.spec("render").queue("gpu").due(at(60))).await;
    made(&b, at(0), "gpu", plan(2, 2, b.spec("render"))).await;
    assert_eq!(refill(&b, at(1), "gpu").await, created(2));
    let rules = Some(LimitRules { max_running: Some(0), ..LimitRules::default() });
    let limit = SetLimit { now: at(2), on: name("queue/gpu"), rules, by: None, reason: None };
    b.store().set_limit(limit).await.unwrap();
    b.nothing(claim("w1", at(3)).queues(&["gpu"]).max(5)).await;
    assert_eq!(refill(&b, at(3), "gpu").await, Refilled::Enough, "they wait at the limit");
    assert_eq!(waiting(&b, "gpu").await.len(), 3);
    // What has come to be ready by itself is not taken away.
    assert_eq!(refill(&b, at(61), "gpu").await, Refilled::Enough);
}

/// One refill creates a bounded number; the next goes on up to the target, although more than the least are ready.
pub async fn a_refill_is_bounded_and_the_next_goes_on(b: Bench) {
    made(&b, at(0), "gpu", plan(1, 2 * STEP_TASKS + 5, b.spec("render"))).await;
    let step = Refilled::Created { tasks: STEP_TASKS, more: true };
    assert_eq!(refill(&b, at(1), "gpu").await, step);
    assert_eq!(refill(&b, at(1), "gpu").await, step);
    assert_eq!(refill(&b, at(1), "gpu").await, created(5));
    assert_eq!(refill(&b, at(1), "gpu").await, Refilled::Enough);
    assert_eq!(b.claim(claim("w1", at(2)).queues(&["gpu"]).max(100)).await.len(), 100);
    assert_eq!(refill(&b, at(2), "gpu").await, Refilled::Enough, "nothing goes on");
}

/// Templates come by their weights, whichever refill creates them; index, date and time stand in their params.
pub async fn templates_come_by_their_weights_with_index_and_date(b: Bench) {
    let params = json(r#"{"seed":"{{index}}","day":["{{date}}","at {{time}}"],"n":1}"#);
    let mut wanted = plan(20, 20, TaskSpec { params, ..b.spec("render") });
    wanted.templates[0].weight = 3;
    wanted.templates.push(Template { weight: 1, task: TaskSpec { id: TaskId::unset(), ..b.spec("bake") } });
    let supply = made(&b, at(0), "gpu", wanted).await;
    assert_eq!(refill(&b, at(1), "gpu").await, created(20));
    let found = waiting(&b, "gpu").await;
    let of = |task_type: &str| found.values().filter(|task| task.task_type == name(task_type)).count();
    assert_eq!((of("render"), of("bake")), (15, 5));
    for index in 0..20 {
        let task = &found[&supply.task_id(index, at(1))];
        let template = supply.plan.choose(index).unwrap();
        assert_eq!(task.task_type, template.task.task_type);
        if task.task_type == name("render") {
            let day = at(1).to_string();
            let expected = format!(r#"{{"day":["{}","at {day}"],"n":1,"seed":"{index}"}}"#, &day[..10]);
            assert_eq!(task.params, json(&expected));
        }
    }
}

/// A supply that is paused creates nothing; resumed, it goes on with the index where it was.
pub async fn a_paused_supply_creates_nothing_and_goes_on_where_it_was(b: Bench) {
    let wanted = plan(2, 3, b.spec("render"));
    made(&b, at(0), "gpu", wanted.clone()).await;
    assert_eq!(refill(&b, at(1), "gpu").await, created(3));
    b.claim(claim("w1", at(2)).queues(&["gpu"]).max(5)).await;
    made(&b, at(3), "gpu", SupplyPlan { paused: true, ..wanted.clone() }).await;
    assert_eq!(refill(&b, at(3), "gpu").await, Refilled::Enough);
    let resumed = made(&b, at(4), "gpu", wanted).await;
    assert_eq!((resumed.next_index, resumed.revision), (3, 4));
    assert_eq!(refill(&b, at(4), "gpu").await, created(3));
    // A queue that gives out nothing is filled once.
    b.pause(at(5), "gpu", true).await;
    assert_eq!(refill(&b, at(5), "gpu").await, Refilled::Enough);
}

/// Another plan takes effect at once and goes on with the index, so that no id comes twice; after it was unset, one is new.
pub async fn another_plan_goes_on_with_the_index(b: Bench) {
    made(&b, at(0), "gpu", plan(2, 2, b.spec("render"))).await;
    assert_eq!(refill(&b, at(1), "gpu").await, created(2));
    let other = SupplyChange::Set { plan: Box::new(plan(4, 6, b.spec("bake"))), seed: [9; 16] };
    let other = change(&*b.store(), at(2), "gpu", other).await.to.unwrap();
    assert_eq!((other.seed, other.next_index, other.created_at), ([7; 16], 2, at(0)));
    assert_eq!(refill(&b, at(2), "gpu").await, created(4));
    // A target that is lower than what is ready takes nothing away.
    made(&b, at(3), "gpu", plan(1, 1, b.spec("bake"))).await;
    assert_eq!(refill(&b, at(3), "gpu").await, Refilled::Enough);
    assert_eq!(waiting(&b, "gpu").await.len(), 6);
    change(&*b.store(), at(4), "gpu", SupplyChange::Unset).await;
    assert_eq!(refill(&b, at(4), "gpu").await, Refilled::NoSupply);
    let anew = SupplyChange::Set { plan: Box::new(plan(7, 7, b.spec("bake"))), seed: [9; 16] };
    let anew = change(&*b.store(), at(5), "gpu", anew).await.to.unwrap();
    assert_eq!((anew.seed, anew.next_index, anew.revision, anew.created_at), ([9; 16], 0, 1, at(5)));
    assert_eq!(refill(&b, at(5), "gpu").await, created(1));
    assert_eq!(waiting(&b, "gpu").await.len(), 7);
}

/// A supply that refills while it is asked does so while a live worker takes such tasks: of its queue, and of a type and a project
/// that a template has; not for one that is lost, drains or takes others.
pub async fn a_queue_is_refilled_while_a_live_worker_takes_such_tasks(b: Bench) {
    let film = TaskSpec { project: name("film"), ..b.spec("render") };
    made(&b, at(0), "gpu", SupplyPlan { while_asked: true, ..plan(1, 1, film) }).await;
    assert_eq!(refill(&b, at(1), "gpu").await, Refilled::NotAsked, "there is no worker");
    let other = claim("w1", at(2)).queues(&["cpu"]);
    let bake = claim("w2", at(2)).queues(&["gpu"]).types(&["bake"]);
    let caller = baton_model::Owner::Project(name::<ProjectId>("game"));
    let game = Claim { caller, ..claim("w3", at(2)).queues(&["gpu"]) };
    for asks in [other, bake, game] {
        b.beat(Beat { caller: asks.caller.clone(), ..beat(asks.worker.as_str(), at(2)) }).await;
        b.nothing(asks).await;
    }
    b.beat(beat("w4", at(3))).await;
    b.nothing(claim("w4", at(3)).queues(&["gpu"])).await;
    b.direct(at(3), "w4", Directive::Drain).await;
    assert_eq!(refill(&b, at(4), "gpu").await, Refilled::NotAsked);
    b.direct(at(4), "w4", Directive::Run).await;
    assert_eq!(refill(&b, at(4), "gpu").await, created(1));
    assert_eq!(b.claim(claim("w4", at(5)).queues(&["gpu"])).await.len(), 1);
    assert_eq!(refill(&b, at(70), "gpu").await, Refilled::NotAsked, "its heartbeats have ended");
    b.beat(beat("w4", at(71))).await;
    assert_eq!(refill(&b, at(71), "gpu").await, created(1));
}

/// However many refill at once, no more tasks are ready than the target; claims meanwhile only make room.
pub async fn refills_at_once_never_exceed_the_target(b: Bench) {
    made(&b, at(0), "gpu", plan(8, 20, b.spec("render"))).await;
    let mut ever = BTreeSet::new();
    for round in 1..=12 {
        b.settle().await;
        let (store, queue) = (b.store(), name("gpu"));
        let one = || refill_queue(&*store, &queue, move || at(round));
        let all = || refill_all(&*store, move || at(round), || false, |_, error| panic!("{error}"));
        let (first, second, third, fourth) = tokio::join!(one(), all(), one(), all());
        let made = first.unwrap() + third.unwrap() + second.unwrap().created + fourth.unwrap().created;
        let ready = waiting(&b, "gpu").await;
        assert_eq!(ready.len(), 20, "in round {round}");
        let new = ready.keys().filter(|id| ever.insert(**id)).count();
        assert_eq!(new as u64, made, "each is told of once");
        let worker = format!("w{round}");
        assert_eq!(b.claim(claim(&worker, at(round)).queues(&["gpu"]).max(13)).await.len(), 13);
    }
    let supply = b.store().supply(&name("gpu")).await.unwrap();
    assert_eq!(supply.next_index as usize, ever.len());
}

/// Whoever refills by a clock that is behind counts what was created by one that is ahead.
pub async fn a_clock_that_is_behind_does_not_fill_a_queue_again(b: Bench) {
    made(&b, at(0), "gpu", plan(3, 5, b.spec("render"))).await;
    assert_eq!(refill(&b, at(10), "gpu").await, created(5));
    for now in [at(10).minus(millis(1)), at(7), at(10)] {
        assert_eq!(refill(&b, now, "gpu").await, Refilled::Enough);
    }
    assert_eq!(b.claim(claim("w1", at(10)).queues(&["gpu"]).max(3)).await.len(), 3);
    assert_eq!(refill(&b, at(8), "gpu").await, created(3));
    assert_eq!(b.store().supply(&name("gpu")).await.unwrap().refilled_at, Some(at(10)));
    assert_eq!(refill(&b, at(9), "gpu").await, Refilled::Enough);
    assert_eq!(waiting(&b, "gpu").await.len(), 5);
}

/// Over a store that fails, whose answers are lost, and that is asked twice, the target holds all the same, and is reached.
pub async fn the_target_holds_over_a_store_that_fails(b: Bench) {
    made(&b, at(0), "gpu", plan(8, 20, b.spec("render"))).await;
    let (first, second) = (Faulty::new(b.store(), 1, 3), Faulty::new(b.store(), 2, 3));
    for round in 1..=20 {
        b.settle().await;
        let one = |store| async move {
            // What fails is tried again by whoever comes next.
            let filled: Result<SupplyReport, StoreError> =
                refill_all(store, move || at(round), || false, |_, _| {}).await;
            drop(filled);
        };
        tokio::join!(one(&first), one(&second));
        assert!(waiting(&b, "gpu").await.len() <= 20, "in round {round}");
        let worker = format!("w{round}");
        b.store().claim(claim(&worker, at(round)).queues(&["gpu"]).max(13)).await.unwrap();
    }
    fill(&b, at(30), "gpu").await;
    let ready = waiting(&b, "gpu").await.len();
    assert!((8..=20).contains(&ready), "{ready} are ready");
}

/// A task whose id is taken is not created, and holds nothing up: the index goes past it.
pub async fn what_has_an_id_already_holds_up_no_refill(b: Bench) {
    let supply = made(&b, at(0), "gpu", plan(2, 3, b.spec("render"))).await;
    let id = supply.task_id(1, at(5));
    b.create(at(1), TaskSpec { id, id_chosen: true, ..b.spec("other") }).await;
    assert_eq!(refill(&b, at(5), "gpu").await, created(2));
    assert_eq!(b.task(id).await.task.task_type.as_str(), "other");
    // A task that is given back is ready again.
    let held = b.claim(claim("w1", at(6)).queues(&["gpu"])).await;
    assert_eq!(refill(&b, at(6), "gpu").await, created(2));
    b.release(Release { delay: secs(0), ..releasing(at(7), &held[0]) }).await;
    assert_eq!(refill(&b, at(8), "gpu").await, Refilled::Enough);
    assert_eq!(waiting(&b, "gpu").await.len(), 4, "what is given back comes on top");
}

/// A claim that comes to a queue with a supply is told of, also as a part of a completion, and others are not; so is a supply that is
/// set.
pub async fn a_claim_tells_of_a_queue_with_a_supply(b: Bench) {
    let gpu = || BTreeSet::from([name::<QueueName>("gpu")]);
    b.create(at(0), b.spec("other").queue("cpu")).await;
    b.claim(claim("w1", at(0)).queues(&["cpu"])).await;
    assert_eq!(b.asked(), BTreeSet::new());
    made(&b, at(0), "gpu", plan(1, 2, b.spec("render"))).await;
    assert_eq!(b.asked(), gpu());
    b.nothing(claim("w1", at(1)).queues(&["cpu", "gpu"])).await;
    assert_eq!(b.asked(), gpu(), "it found nothing");
    refill(&b, at(1), "gpu").await;
    let held = b.claim_one(claim("w1", at(2)).queues(&["gpu"])).await;
    assert_eq!(b.asked(), gpu(), "it was given what it asked for");
    b.nothing(claim("w1", at(2)).queues(&["cpu"])).await;
    assert_eq!(b.asked(), BTreeSet::new());
    let next = Some(claim("w1", at(3)).queues(&["gpu"]));
    b.store().complete(b.completion(at(3), &held), next).await.unwrap();
    assert_eq!(b.asked(), gpu());
    change(&*b.store(), at(4), "gpu", SupplyChange::Unset).await;
    b.nothing(claim("w2", at(5)).queues(&["gpu"])).await;
    assert_eq!(b.asked(), BTreeSet::new());
}

/// A supply is there after the store was closed and opened again, and goes on with its index.
pub async fn a_supply_outlives_its_process(mut b: Bench) {
    made(&b, at(0), "gpu", plan(2, 2, b.spec("render"))).await;
    assert_eq!(refill(&b, at(1), "gpu").await, created(2));
    let before = b.store().supply(&name("gpu")).await.unwrap();
    b.reopen().await;
    assert_eq!(b.store().supply(&name("gpu")).await.unwrap(), before);
    assert_eq!(refill(&b, at(1), "gpu").await, Refilled::Enough);
    assert_eq!(b.claim(claim("w1", at(2)).queues(&["gpu"]).max(5)).await.len(), 2);
    assert_eq!(b.asked(), BTreeSet::from([name::<QueueName>("gpu")]));
    assert_eq!(refill(&b, at(2), "gpu").await, created(2));
    let same = changed(
        &name("gpu"),
        Some(&before),
        &set(before.plan.clone()),
        &Said { now: at(3), by: None, reason: None },
    );
    assert_eq!(same, Some(before));
}
