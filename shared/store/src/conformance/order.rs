//! The order in which a queue gives out its ready tasks: whose turn it is in a fair queue, and priorities that rise as tasks wait.

use baton_model::{FairBy, IfDependencyFails, Priority, QueueOrder, Reason, Status, Task, TaskId, TaskSpec};

use super::kit::*;
use super::limits::{keyed, limit, most, stopped};
use crate::{Fail, Nothing, StoreError};

pub(super) fn fair(by: FairBy) -> QueueOrder {
    QueueOrder { fair: Some(by), ..QueueOrder::default() }
}

fn aging(seconds: u32) -> QueueOrder {
    QueueOrder { age_after_seconds: Some(seconds), ..QueueOrder::default() }
}

/// Tasks of projects, created a second apart in this order.
async fn of_projects(b: &Bench, projects: &[&str]) -> Vec<TaskId> {
    let specs = projects.iter().zip(0..).map(|(project, n)| b.spec("render").project(project).due(at(n)));
    let specs = specs.collect();
    b.create_all(at(0), specs).await
}

/// The projects of tasks, by their first letters.
fn whose(tasks: &[Task]) -> String {
    tasks.iter().map(|task| task.project.as_str().chars().next().unwrap()).collect()
}

/// What one claim of many is given.
async fn taken(b: &Bench, worker: &str, seconds: u64, count: u32) -> Vec<Task> {
    b.claim(claim(worker, at(seconds)).max(count).cap(1_000)).await
}

/// A task counts as of the next higher priority once it has waited for so long since it could be claimed, and stands among those of
/// that priority by how long it has waited.
pub async fn what_has_waited_counts_as_of_a_higher_priority(b: Bench) {
    b.order(at(0), "default", aging(60)).await;
    let low = b.create(at(0), b.spec("render").priority(Priority::Low)).await;
    let normal = b.create(at(30), b.spec("render").due(at(30))).await;
    let later = b.create(at(61), b.spec("render").due(at(61))).await;
    let high = b.create(at(62), b.spec("render").priority(Priority::High).due(at(62))).await;
    assert_eq!(b.claim_one(claim("w", at(59))).await.head.id, normal, "a minute is not over");
    assert_eq!(ids_of(&b.claim(claim("w", at(62)).max(9)).await), [high, low, later]);
    b.check(at(63)).await;
}

/// It rises by one level for each such time, up to the highest; what is for later does not, nor does a task that waits for its retry.
pub async fn priorities_rise_level_by_level_from_when_a_task_is_due(b: Bench) {
    b.order(at(0), "default", aging(10)).await;
    let spec = |priority, due| b.spec("render").priority(priority).due(at(due));
    let due = [
        (Priority::Low, 0),
        (Priority::Normal, 15),
        (Priority::Low, 21),
        (Priority::Critical, 29),
        (Priority::High, 31),
    ];
    let ids = b.create_all(at(0), due.into_iter().map(|(priority, due)| spec(priority, due)).collect()).await;
    // At 31 s: critical since 30, high since 25, normal since 31, critical, high.
    let order = [ids[0], ids[3], ids[1], ids[4], ids[2]];
    assert_eq!(ids_of(&b.claim(claim("w", at(31)).max(9)).await), order);
    let old = b.create(at(100), spec(Priority::Low, 100)).await;
    let held = b.claim_one(claim("w", at(200))).await;
    assert_eq!(held.head.id, old);
    let retry_after = Some(secs(5));
    b.store().fail(Fail { retry_after, ..failing(at(200), &held) }).await.expect("the failure is taken");
    let fresh = b.create(at(205), spec(Priority::Normal, 205)).await;
    assert_eq!(ids_of(&b.claim(claim("w", at(206)).max(2)).await), [fresh, old], "it waits since 205 s");
    b.check(at(207)).await;
}

/// Nothing is written while a task waits: its own priority and its history stay as they are, and it is back where it was once the
/// queue does not age any more.
pub async fn a_risen_priority_is_derived_and_not_written(b: Bench) {
    b.order(at(0), "default", aging(10)).await;
    let low = b.create(at(0), b.spec("render").priority(Priority::Low)).await;
    let high = b.create(at(40), b.spec("render").priority(Priority::High).due(at(40))).await;
    let detail = b.task(low).await;
    assert_eq!((detail.task.priority, detail.history.len()), (Priority::Low, 1));
    b.order(at(40), "default", QueueOrder::default()).await;
    assert_eq!(ids_of(&b.claim(claim("w", at(41)).max(2)).await), [high, low]);
    assert_eq!(b.task(low).await.task.priority, Priority::Low);
    b.check(at(42)).await;
}

/// In a fair queue the project goes first of which the fewest tasks run, then the one that has waited longest; what one claim takes
/// counts within it.
pub async fn the_project_with_the_fewest_running_goes_first(b: Bench) {
    b.order(at(0), "default", fair(FairBy::Project)).await;
    of_projects(&b, &["a", "a", "a", "a", "b", "b", "c"]).await;
    assert_eq!(whose(&taken(&b, "w1", 100, 1).await), "a");
    assert_eq!(whose(&taken(&b, "w2", 100, 1).await), "b");
    assert_eq!(whose(&taken(&b, "w3", 100, 5).await), "cabaa");
    b.check(at(101)).await;
}

/// A tenant with many tasks delays another one's by no more than a task for each worker.
pub async fn a_large_tenant_delays_nobody(b: Bench) {
    const WORKERS: u64 = 8;
    b.order(at(0), "default", fair(FairBy::Project)).await;
    let mut all = b.create_all(at(0), (0..200).map(|_| b.spec("render").project("large")).collect()).await;
    let mut held: Vec<Task> = Vec::new();
    for n in 0..WORKERS {
        held.push(b.claim_one(claim(&format!("w{n}"), at(1))).await);
    }
    assert_eq!(whose(&held), "llllllll");
    let small =
        b.create_all(at(2), (0..10).map(|_| b.spec("render").project("small").due(at(2))).collect()).await;
    let mut ended = Vec::new();
    for round in 0..4 {
        for task in &mut held {
            let now = at(3 + round);
            b.complete(now, task).await;
            ended.push(task.head.id);
            let worker = lease(task).worker.to_string();
            *task = b.claim_one(claim(&worker, now)).await;
        }
    }
    let large = ended
        .iter()
        .position(|id| *id == small[9])
        .map(|last| last - 9)
        .expect("all of the small one's are done");
    assert!(large < 30, "{large} of the large tenant's were done before the last of the small one's");
    all.extend(small);
    b.check(at(10)).await;
}

/// Whose turn it is counts among tasks of one priority only.
pub async fn fairness_goes_behind_priority(b: Bench) {
    b.order(at(0), "default", fair(FairBy::Project)).await;
    let spec = |project: &str, priority| b.spec("render").project(project).priority(priority);
    let specs = vec![
        spec("a", Priority::Normal),
        spec("b", Priority::Low),
        spec("a", Priority::High),
        spec("a", Priority::High),
        spec("b", Priority::Normal),
    ];
    let ids = b.create_all(at(0), specs).await;
    assert_eq!(ids_of(&taken(&b, "w", 1, 5).await), [ids[2], ids[3], ids[4], ids[0], ids[1]]);
    b.check(at(2)).await;
}

/// A queue may be fair between keys; tasks without one count as their project's.
pub async fn a_queue_is_fair_between_keys(b: Bench) {
    b.order(at(0), "default", fair(FairBy::Key)).await;
    let of_key = |key: &str| keyed(b.spec("render").project("film"), key);
    let plain = |project: &str| b.spec("render").project(project);
    let specs =
        vec![of_key("x"), of_key("x"), of_key("x"), of_key("y"), plain("film"), plain("film"), plain("game")];
    let ids = b.create_all(at(0), specs).await;
    let order = [ids[0], ids[3], ids[4], ids[6], ids[1], ids[5], ids[2]];
    assert_eq!(ids_of(&taken(&b, "w", 1, 7).await), order);
    b.check(at(2)).await;
}

/// Every end of an attempt counts, whoever ends it: completed, failed, given back, cancelled, or lost with its worker.
pub async fn what_has_ended_does_not_run_any_more(b: Bench) {
    b.order(at(0), "default", fair(FairBy::Project)).await;
    let projects: Vec<&str> = ["a"; 8].into_iter().chain(["b"; 4]).collect();
    of_projects(&b, &projects).await;
    let a = b.claim(claim("w1", at(100)).project("a").max(5).fixed(secs(30))).await;
    let held = taken(&b, "w2", 100, 3).await;
    assert_eq!(whose(&held), "bbb");
    b.complete(at(101), &a[0]).await;
    b.store().fail(Fail { retryable: false, ..failing(at(101), &a[1]) }).await.expect("the failure is taken");
    b.store().cancel(cancel(at(101), a[2].head.id)).await.expect("the cancellation is taken");
    b.store()
        .release(crate::Release { delay: secs(900), ..releasing(at(101), &a[3]) })
        .await
        .expect("it is taken back");
    // One of a runs, and three of b.
    assert_eq!(whose(&taken(&b, "w3", 102, 1).await), "a");
    assert_eq!(b.reap(at(131)).await.len(), 1);
    assert_eq!(whose(&taken(&b, "w3", 132, 3).await), "aab");
    b.check(at(133)).await;
}

/// A queue that is made fair while tasks wait and run is fair from then on, by what runs already; and is as it was once it is not.
pub async fn a_queue_becomes_fair_while_everything_runs(b: Bench) {
    of_projects(&b, &["a", "a", "a", "a", "a", "a", "b", "b", "b"]).await;
    assert_eq!(whose(&taken(&b, "w1", 100, 2).await), "aa");
    b.order(at(100), "default", fair(FairBy::Project)).await;
    assert_eq!(whose(&taken(&b, "w2", 101, 3).await), "bba");
    b.order(at(101), "default", QueueOrder::default()).await;
    assert_eq!(whose(&taken(&b, "w3", 102, 2).await), "aa");
    b.order(at(102), "default", fair(FairBy::Key)).await;
    assert_eq!(whose(&taken(&b, "w4", 103, 9).await), "ba");
    b.check(at(104)).await;
}

/// What lies there from before a queue was fair, or fair between others, hides none of another tenant.
pub async fn a_queue_that_becomes_fair_hides_none_of_a_tenant(b: Bench) {
    b.order(at(0), "default", fair(FairBy::Key)).await;
    b.running(at(0), "w0", keyed(b.spec("render").project("film"), "x")).await;
    b.order(at(1), "default", QueueOrder::default()).await;
    let of = |project: &str, key: &str| keyed(b.spec("render").project(project), key);
    let (first, other) = (b.create(at(2), of("film", "x")).await, b.create(at(3), of("film", "y")).await);
    b.order(at(4), "default", fair(FairBy::Key)).await;
    for expected in [other, first] {
        assert_eq!(b.claim_one(claim("w1", at(5))).await.head.id, expected);
    }
    let (first, other) = (b.create(at(6), of("film", "z")).await, b.create(at(7), of("game", "z")).await);
    b.order(at(8), "default", fair(FairBy::Project)).await;
    for expected in [other, first] {
        assert_eq!(b.claim_one(claim("w1", at(9))).await.head.id, expected);
    }
    b.check(at(10)).await;
}

/// Claims by type or by project are given what they may take, by the same order.
pub async fn a_fair_queue_is_claimed_by_choice(b: Bench) {
    b.order(at(0), "default", fair(FairBy::Project)).await;
    let spec = |task_type: &str, project: &str| b.spec(task_type).project(project);
    let mut specs: Vec<TaskSpec> = (0..6).map(|_| spec("bake", "a")).collect();
    specs.extend([spec("render", "a"), spec("render", "a"), spec("render", "b"), spec("bake", "b")]);
    let ids = b.create_all(at(0), specs).await;
    let renders = b.claim(claim("w1", at(1)).types(&["render"]).max(9)).await;
    assert_eq!(ids_of(&renders), [ids[6], ids[8], ids[7]]);
    assert_eq!(ids_of(&b.claim(claim("w2", at(1)).project("b").max(9)).await), [ids[9]]);
    assert_eq!(b.nothing(claim("w2", at(1)).project("b")).await, Nothing::NoneQueued);
    assert_eq!(b.nothing(claim("w1", at(1)).types(&["render"])).await, Nothing::NoneQueued);
    assert_eq!(b.claim(claim("w3", at(1)).max(9)).await.len(), 6);
    b.check(at(2)).await;
}

/// A tenant at its limit is passed over, and the others go on by turns.
pub async fn a_limit_passes_a_tenant_over(b: Bench) {
    b.order(at(0), "default", fair(FairBy::Project)).await;
    limit(&*b.store(), at(0), "queue/default/project/a", most(1)).await;
    of_projects(&b, &["a", "a", "a", "b", "b", "c", "c"]).await;
    assert_eq!(whose(&taken(&b, "w", 100, 9).await), "abcbc");
    let stopped = b.nothing(claim("w", at(100))).await;
    assert!(
        matches!(&stopped, Nothing::AtLimit { limit, .. } if *limit == name("queue/default/project/a")),
        "{stopped:?}"
    );
    b.check(at(101)).await;
}

/// A fair queue may age, too: whose turn it is counts among tasks that have risen to one priority.
pub async fn a_fair_queue_ages(b: Bench) {
    b.order(at(0), "default", QueueOrder { age_after_seconds: Some(60), ..fair(FairBy::Project) }).await;
    let spec =
        |project: &str, priority, due| b.spec("render").project(project).priority(priority).due(at(due));
    let specs = vec![
        spec("a", Priority::Normal, 0),
        spec("a", Priority::Normal, 70),
        spec("b", Priority::High, 100),
        spec("b", Priority::High, 110),
        spec("a", Priority::Normal, 50),
    ];
    let ids = b.create_all(at(0), specs).await;
    // At 119 s those of 0 and 50 s are high as well.
    assert_eq!(ids_of(&taken(&b, "w", 119, 9).await), [ids[0], ids[2], ids[4], ids[3], ids[1]]);
    b.check(at(120)).await;
}

/// A claim of several queues takes from each by its own order; between them, priority and waiting decide.
pub async fn queues_of_different_orders_are_claimed_together(b: Bench) {
    b.order(at(0), "f", fair(FairBy::Project)).await;
    b.order(at(0), "g", aging(10)).await;
    let spec = |queue: &str, project: &str, due| b.spec("render").queue(queue).project(project).due(at(due));
    let specs = vec![
        spec("f", "a", 1),
        spec("f", "a", 3),
        spec("f", "b", 6),
        spec("usual", "a", 2),
        spec("usual", "a", 5),
        spec("g", "a", 4).priority(Priority::Low),
        spec("g", "a", 13),
    ];
    let ids = b.create_all(at(0), specs).await;
    let claim = claim("w", at(14)).queues(&["f", "usual", "g"]).max(9);
    let order = [ids[0], ids[3], ids[5], ids[4], ids[2], ids[1], ids[6]];
    assert_eq!(ids_of(&b.claim(claim).await), order);
    b.check(at(15)).await;
}

/// What waits for others, for later or at a limit has its turn like any other once it is ready.
pub async fn what_becomes_ready_later_has_its_turn(b: Bench) {
    b.order(at(0), "default", fair(FairBy::Project)).await;
    let first = b.create(at(0), b.spec("render").project("a")).await;
    let specs = vec![
        b.spec("render").project("a").due(at(1)),
        b.spec("render").project("a").due(at(2)),
        b.spec("render").project("b").due(at(50)),
        b.spec("render").project("a").after(&[first]).if_fails(IfDependencyFails::Run),
    ];
    let ids = b.create_all(at(0), specs).await;
    let held = b.claim_one(claim("w1", at(3))).await;
    assert_eq!(held.head.id, first);
    assert_eq!(b.claim_one(claim("w2", at(3))).await.head.id, ids[0]);
    b.complete(at(4), &held).await;
    b.follow(at(4)).await;
    assert_eq!(ids_of(&taken(&b, "w3", 51, 9).await), [ids[2], ids[1], ids[3]]);
    b.check(at(52)).await;
}

/// The order of a queue is told with it, is kept, and makes a queue known that no task has named until it is the usual one again.
pub async fn an_order_is_told_and_kept(mut b: Bench) {
    let order = QueueOrder { age_after_seconds: Some(600), ..fair(FairBy::Key) };
    b.order(at(0), "default", order).await;
    let told = b.store().queue(&name("default"), at(1)).await.expect("the queue is known");
    assert_eq!((told.order, told.used, told.pause), (order, false, None));
    b.pause(at(1), "default", true).await;
    b.pause(at(2), "default", false).await;
    b.reopen().await;
    assert_eq!(b.store().queue(&name("default"), at(2)).await.expect("it is known").order, order);
    let change = crate::OrderQueue { now: at(3), queue: name("default"), order: QueueOrder::default() };
    assert_eq!(b.store().order_queue(change.clone()).await.unwrap(), (order, QueueOrder::default()));
    assert_eq!(b.store().order_queue(change).await.unwrap(), Default::default());
    let gone = b.store().queue(&name("default"), at(3)).await;
    assert!(matches!(gone, Err(StoreError::QueueNotFound(_))), "{gone:?}");
    let task = b.create(at(4), b.spec("render")).await;
    b.order(at(5), "default", order).await;
    b.order(at(5), "default", QueueOrder::default()).await;
    assert!(b.store().queue(&name("default"), at(5)).await.expect("a task has named it").used);
    assert_eq!(b.task(task).await.task.status(at(5)), Status::Queued);
    b.check(at(6)).await;
}

/// How many come before a task follows the order of its queue: what has risen comes before it, and in a fair queue only tasks of its
/// own tenant do.
pub async fn what_comes_before_a_task_follows_the_order(b: Bench) {
    let spec = |queue: &str, project: &str, priority, due| {
        b.spec("render").queue(queue).project(project).priority(priority).due(at(due))
    };
    b.order(at(0), "aging", aging(60)).await;
    let specs = vec![
        spec("aging", "a", Priority::Low, 0),
        spec("aging", "a", Priority::Low, 100),
        spec("aging", "a", Priority::Normal, 90),
        spec("aging", "a", Priority::High, 149),
    ];
    let ids = b.create_all(at(0), specs).await;
    b.settle().await;
    // At 150 s: the first is high, the second low, the third high, and the fourth high.
    for (id, before) in [(ids[0], 0), (ids[2], 1), (ids[3], 2), (ids[1], 3)] {
        assert_eq!(ahead(&b, id, 150).await, before, "{id}");
    }
    b.order(at(0), "fair", fair(FairBy::Project)).await;
    let large = (0..50).map(|n| spec("fair", "large", Priority::Normal, n)).collect();
    let large = b.create_all(at(0), large).await;
    let small = b.create(at(60), spec("fair", "small", Priority::Normal, 60)).await;
    let high = b.create(at(60), spec("fair", "small", Priority::High, 61)).await;
    b.settle().await;
    for (id, before) in [(large[0], 0), (large[49], 49), (small, 1), (high, 0)] {
        assert_eq!(ahead(&b, id, 70).await, before, "{id}");
    }
    b.check(at(160)).await;
}

/// About how many are told to come before a task.
async fn ahead(b: &Bench, id: TaskId, seconds: u64) -> u64 {
    let why = b.store().why(id, at(seconds)).await.expect("the task is known");
    let ahead = why.reasons.into_iter().find_map(|reason| match reason {
        Reason::Behind(ahead) => Some(ahead.tasks),
        _ => None,
    });
    ahead.unwrap_or(0)
}

/// At a limit over several tenants of a fair queue whose turn it is may be passed over, and nobody is: each gets its place as places
/// become free, and never more run than the limit says.
pub async fn a_limit_over_several_tenants_strands_none(b: Bench) {
    b.order(at(0), "default", fair(FairBy::Key)).await;
    limit(&*b.store(), at(0), "project/film", most(2)).await;
    let keys = ["k1", "k1", "k1", "k1", "k2", "k3"];
    let spec = |key: &&str| keyed(b.spec("render").project("film"), key);
    let mut left: std::collections::BTreeSet<_> =
        b.create_all(at(0), keys.iter().map(spec).collect()).await.into_iter().collect();
    for round in 1..=3 {
        let held = taken(&b, "w", 10 * round, 9).await;
        assert_eq!(held.len(), 2, "as many as the limit lets start");
        for task in held {
            assert!(left.remove(&task.head.id));
            b.complete(at(10 * round + 1), &task).await;
        }
        b.follow(at(10 * round + 1)).await;
    }
    assert!(left.is_empty(), "{left:?}");
    b.check(at(60)).await;
}

/// A tenant that its limit stops hides no other of its queue, also where a claim names other queues: it is passed over before the first
/// ones of the queues are compared.
pub async fn a_tenant_at_its_limit_hides_none_of_its_queue(b: Bench) {
    b.order(at(0), "a", fair(FairBy::Project)).await;
    let spec = |project: &str, queue: &str, due| b.spec("render").project(project).queue(queue).due(at(due));
    b.running(at(0), "w0", spec("game", "a", 0)).await;
    let first = b.create(at(1), spec("game", "a", 10)).await;
    // It is its turn, as none of its project runs; and it comes behind the one in the other queue.
    b.create(at(1), spec("film", "a", 30)).await;
    let other = b.create(at(1), spec("game", "b", 20)).await;
    limit(&*b.store(), at(2), "project/film", most(0)).await;
    for (second, expected) in [(100, first), (101, other)] {
        let claim = claim("w", at(second)).queues(&["a", "b"]);
        assert_eq!(b.claim_one(claim).await.head.id, expected);
    }
    b.nothing(claim("w", at(102)).queues(&["a", "b"])).await;
    b.check(at(103)).await;
}

/// What a limit has let go of, and stops again, hides no other of its queue either, where a claim names a fair queue besides.
pub async fn what_was_let_go_hides_none_of_its_queue(b: Bench) {
    b.order(at(0), "a", fair(FairBy::Project)).await;
    limit(&*b.store(), at(0), "queue/b/key/*", most(1)).await;
    let of_key = |kind: &str| keyed(b.spec(kind).queue("b"), "x");
    let held = b.running(at(0), "w0", of_key("render")).await;
    b.create(at(1), of_key("render").priority(Priority::Critical)).await;
    let other = b.create(at(1), of_key("bake")).await;
    stopped(&b, claim("w1", at(2)).queues(&["b"]), "queue/b/key/x").await;
    b.complete(at(3), &held).await;
    assert_eq!(b.claim_one(claim("w1", at(4)).queues(&["b"]).types(&["bake"])).await.head.id, other);
    let behind = b.create(at(5), b.spec("render").queue("a").priority(Priority::High)).await;
    let hidden = b.create(at(5), b.spec("render").queue("b").priority(Priority::Critical)).await;
    for expected in [hidden, behind] {
        assert_eq!(b.claim_one(claim("w2", at(6)).queues(&["a", "b"])).await.head.id, expected);
    }
    b.check(at(7)).await;
}
