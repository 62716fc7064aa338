//! What a queue gives to tasks that do not say, and tasks that are kept for a time of their own.

use std::time::Duration;

use baton_model::{
    Backoff, DefaultsChange, Priority, QueueDefaults, RunAfter, ScheduleChange, TaskSpec, Unsaid, limits,
};

use super::kit::*;
use super::schedules::{key, minutely};
use crate::{Purge, SetDefaults, SetSchedule, StoreError, run_due};

const DAY: u64 = 86_400;

fn all() -> DefaultsChange {
    DefaultsChange {
        max_attempts: Some(Some(7)),
        timeout: Some(Some(secs(90))),
        backoff: Some(Some(Backoff { base: secs(1), factor: 3.0, max: secs(9), jitter: 0.0 })),
        priority: Some(Some(Priority::High)),
        retention: Some(Some(secs(DAY))),
    }
}

async fn set(b: &Bench, seconds: u64, queue: &str, change: DefaultsChange) -> (QueueDefaults, QueueDefaults) {
    let set = SetDefaults { now: at(seconds), queue: name(queue), change };
    b.store().set_defaults(set).await.expect("the defaults are taken")
}

/// A task that says nothing of what its queue may give.
fn silent(b: &Bench) -> TaskSpec {
    TaskSpec { backoff: None, unsaid: Unsaid::BOTH, ..b.spec("render") }
}

/// A task that leaves out how it is to be run has its queue's attempts, timeout, backoff, priority and retention from its creation
/// on, as it is shown and as it is given out; one in another queue has the usual ones.
pub async fn a_task_has_what_its_queue_gives_where_it_does_not_say(b: Bench) {
    set(&b, 0, "default", all()).await;
    let id = b.create(at(1), silent(&b)).await;
    let other = b.create(at(1), silent(&b).queue("other")).await;
    let given = all().onto(QueueDefaults::default());
    let check = |task: &baton_model::Task, given: QueueDefaults| {
        assert_eq!(Some(task.head.max_attempts), given.max_attempts.or(Some(limits::DEFAULT_ATTEMPTS)));
        assert_eq!(Some(task.priority), given.priority.or(Some(Priority::Normal)));
        assert_eq!(task.head.backoff, given.backoff.unwrap_or_default());
        assert_eq!((task.head.timeout, task.retention), (given.timeout, given.retention));
    };
    check(&b.task(id).await.task, given);
    check(&b.task(other).await.task, QueueDefaults::default());
    let held = b.claim_one(claim("w", at(2))).await;
    check(&held, given);
    assert_eq!(lease(&held).timeout_at, Some(at(92)), "it runs under the timeout that it was given");
    b.check(at(3)).await;
}

/// What a task says stands, whatever its queue gives; also the usual value, if it says it.
pub async fn what_a_task_says_stands(b: Bench) {
    set(&b, 0, "default", all()).await;
    let said = TaskSpec {
        max_attempts: 2,
        priority: Priority::Normal,
        timeout: Some(secs(5)),
        backoff: Some(Backoff::default()),
        retention: Some(secs(60)),
        ..b.spec("render")
    };
    let task = b.task(b.create(at(1), said).await).await.task;
    assert_eq!((task.head.max_attempts, task.priority), (2, Priority::Normal));
    assert_eq!((task.head.timeout, task.head.backoff), (Some(secs(5)), Backoff::default()));
    assert_eq!(task.retention, Some(secs(60)));
    // Each stands by itself.
    let half = TaskSpec { unsaid: Unsaid { priority: false, ..Unsaid::BOTH }, ..silent(&b) };
    let task = b.task(b.create(at(1), half).await).await.task;
    assert_eq!((task.head.max_attempts, task.priority), (7, Priority::Normal));
}

/// A change says what it changes: the rest stays, and what is said to be none is given no longer. The answer is what was and what
/// is; the queue shows it.
pub async fn a_change_leaves_what_it_does_not_name(b: Bench) {
    let first = all().onto(QueueDefaults::default());
    assert_eq!(set(&b, 0, "default", all()).await, (QueueDefaults::default(), first));
    let change =
        DefaultsChange { timeout: Some(None), max_attempts: Some(Some(9)), ..DefaultsChange::default() };
    let second = QueueDefaults { timeout: None, max_attempts: Some(9), ..first };
    assert_eq!(set(&b, 1, "default", change).await, (first, second));
    assert_eq!(set(&b, 2, "default", change).await, (second, second), "the same again");
    let shown =
        b.store().queue(&name("default"), at(3)).await.expect("it is known as long as it has defaults");
    assert_eq!((shown.defaults, shown.used), (second, false));
    let task = b.task(b.create(at(3), silent(&b)).await).await.task;
    assert_eq!((task.head.timeout, task.head.max_attempts), (None, 9));
}

/// The defaults of the time of a task's creation count: those that exist are left as they are.
pub async fn tasks_that_exist_are_left_as_they_are(b: Bench) {
    let before = b.create(at(0), silent(&b)).await;
    set(&b, 1, "default", all()).await;
    let between = b.create(at(1), silent(&b)).await;
    let none = DefaultsChange {
        max_attempts: Some(None),
        timeout: Some(None),
        backoff: Some(None),
        priority: Some(None),
        retention: Some(None),
    };
    assert_eq!(set(&b, 2, "default", none).await.1, QueueDefaults::default());
    let after = b.create(at(2), silent(&b)).await;
    let mut attempts = Vec::new();
    for id in [before, between, after] {
        attempts.push(b.task(id).await.task.head.max_attempts);
    }
    assert_eq!(attempts, [limits::DEFAULT_ATTEMPTS, 7, limits::DEFAULT_ATTEMPTS]);
}

/// The same request for a chosen id is the same task, also if the queue gives something else by then; and so is one that says the
/// usual value in words.
pub async fn the_same_request_is_the_same_task_whatever_its_queue_gives(b: Bench) {
    let spec = silent(&b).chosen();
    b.create(at(0), spec.clone()).await;
    set(&b, 1, "default", all()).await;
    for again in [spec.clone(), TaskSpec { unsaid: Unsaid::default(), ..spec.clone() }] {
        let answer = b.send(creation(at(2), vec![again])).await.expect("it is taken");
        assert!(answer.items[0].as_ref().is_ok_and(|accepted| !accepted.new));
    }
    let fresh = silent(&b).chosen();
    b.create(at(3), fresh.clone()).await;
    set(&b, 4, "default", DefaultsChange { priority: Some(None), ..DefaultsChange::default() }).await;
    let answer = b.send(creation(at(5), vec![fresh])).await.expect("it is taken");
    assert!(answer.items[0].as_ref().is_ok_and(|accepted| !accepted.new));
}

/// Tasks of a batch, tasks that wait for others, and those that a schedule creates are given the same.
pub async fn whoever_creates_a_task_it_is_given_the_same(b: Bench) {
    set(&b, 0, "default", all()).await;
    let first = silent(&b);
    let waits = silent(&b).after(&[first.id]);
    let mut ids = b.create_all(at(0), vec![first, waits]).await;
    let plan = Box::new(minutely(TaskSpec { run_after: RunAfter::Now, ..silent(&b) }));
    let change = ScheduleChange::Set { plan, seed: [3; 16], replace: false };
    let said = baton_model::schedule::Said { now: at(0), by: None, reason: None };
    b.store().set_schedule(SetSchedule { key: key("default", "s"), change, said }).await.expect("it is set");
    run_due(&*b.store(), at(61), || false, |_, error| panic!("{error}")).await.expect("it occurs");
    let last = b.store().schedule(&key("default", "s")).await.expect("it is there").last;
    ids.extend(last.map(|last| last.task));
    assert_eq!(ids.len(), 3);
    for id in ids {
        let task = b.task(id).await.task;
        assert_eq!(
            (task.head.max_attempts, task.priority, task.retention),
            (7, Priority::High, Some(secs(DAY)))
        );
    }
}

/// A queue that no task has named is known as long as it has defaults.
pub async fn an_unused_queue_is_known_while_it_has_defaults(b: Bench) {
    let priority = |priority| DefaultsChange { priority: Some(priority), ..DefaultsChange::default() };
    set(&b, 0, "new", priority(Some(Priority::Low))).await;
    b.pause(at(1), "new", true).await;
    b.pause(at(2), "new", false).await;
    assert!(b.store().queue(&name("new"), at(3)).await.is_ok_and(|queue| !queue.used));
    set(&b, 4, "new", priority(None)).await;
    assert_err!(b.store().queue(&name("new"), at(5)).await, StoreError::QueueNotFound(_));
    set(&b, 6, "never", DefaultsChange::default()).await;
    assert_err!(b.store().queue(&name("never"), at(7)).await, StoreError::QueueNotFound(_));
}

/// A task that says how long it is to be kept goes after that time, counted from its end, and not after the store's own; whether
/// it has completed, failed or was cancelled, and whether it was retried or others depended on it meanwhile.
pub async fn a_task_is_kept_for_its_own_time(mut b: Bench) {
    b.keeping(Some(secs(30 * DAY))).await;
    let kept = |days: u64| TaskSpec { retention: Some(secs(days * DAY)), ..b.spec("render") };
    let (short, long) = (b.running(at(0), "w1", kept(1)).await, b.running(at(0), "w1", kept(90)).await);
    let plain = b.running(at(0), "w1", b.spec("render")).await;
    for held in [&short, &long, &plain] {
        b.complete(at(1), held).await;
    }
    let failed = b.running(at(1), "w1", kept(2)).await;
    b.fail(crate::Fail { retryable: false, ..failing(at(1), &failed) }).await;
    let retried = b.create(at(1), kept(2)).await;
    b.cancel(at(1), retried).await;
    b.retry(at(DAY), retried).await;
    let of = async |day: u64| {
        b.purge(Purge { keep_finished: Some(secs(30 * DAY)), ..Purge::at(at(day * DAY + 10)) }).await;
        let mut there = Vec::new();
        for id in [short.head.id, failed.head.id, retried, plain.head.id, long.head.id] {
            there.push(b.store().task(id).await.is_ok());
        }
        there
    };
    assert_eq!(of(0).await, [true; 5]);
    assert_eq!(of(1).await, [false, true, true, true, true]);
    assert_eq!(of(3).await, [false, false, true, true, true], "what lives again does not go");
    b.cancel(at(4 * DAY), retried).await;
    assert_eq!(of(5).await, [false, false, true, true, true]);
    assert_eq!(of(7).await, [false, false, false, true, true]);
    assert_eq!(of(31).await, [false, false, false, false, true]);
    assert_eq!(of(91).await, [false; 5]);
    b.check(at(92 * DAY)).await;
}

/// So it does where finished tasks are kept for ever; and one that an unfinished task depends on is kept for it first.
pub async fn its_own_time_holds_beside_the_other_reasons_to_keep_a_task(mut b: Bench) {
    b.keeping(None).await;
    let spec = || TaskSpec { retention: Some(secs(DAY)), ..b.spec("render") };
    let first = b.running(at(0), "w1", spec()).await;
    let waits = b.create(at(0), b.spec("render").after(&[first.head.id]).due(at(20 * DAY))).await;
    b.complete(at(1), &first).await;
    let alone = b.running(at(1), "w1", spec()).await;
    b.complete(at(2), &alone).await;
    let purge = |day: u64| Purge { keep_finished: None::<Duration>, ..Purge::at(at(day * DAY)) };
    b.purge(purge(3)).await;
    assert!(b.store().task(first.head.id).await.is_ok(), "an unfinished one depends on it");
    assert_err!(b.store().task(alone.head.id).await, StoreError::TaskNotFound(_));
    b.cancel(at(4 * DAY), waits).await;
    b.purge(purge(6)).await;
    b.purge(purge(7)).await;
    assert_err!(b.store().task(first.head.id).await, StoreError::TaskNotFound(_));
    assert!(b.store().task(waits).await.is_ok(), "kept for ever");
}
