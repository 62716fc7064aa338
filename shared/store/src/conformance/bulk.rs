//! Bulk commands: each task of a filter is changed once, and counted once, wherever and however often a step is cut off.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_model::transition::Refusal;
use baton_model::{
    Bulk, BulkAction, BulkFilter, BulkId, BulkState, BulkTasks, EventKind, Priority, RunAfter, State, Status,
    TaskChange, TaskId, Timestamp,
};

use super::change::to_priority;
use super::kit::*;
use crate::bulk::{abort, step, work};
use crate::faulty::Faulty;
use crate::{PageRequest, Remove, Store, StoreError};

pub(super) fn bulk_id(number: u64) -> BulkId {
    BulkId::from_bytes(counted_id(9_000_000 + number))
}

/// A command for all tasks of a queue.
pub(super) fn of_queue(number: u64, now: Timestamp, action: BulkAction, queue: &str) -> Bulk {
    let filter = BulkFilter { queue: Some(name(queue)), ..BulkFilter::default() };
    let bulk = Bulk::new(bulk_id(number), now, action, BulkTasks::Filter(filter));
    Bulk { by: Some(name("ada")), reason: Some("wrong scene".to_owned()), ..bulk }
}

/// Carries a command out to its end, in pages of so many.
async fn run(b: &Bench, bulk: Bulk, size: u32) -> Bulk {
    let (id, now) = (bulk.id, bulk.created_at);
    b.settle().await;
    b.store().create_bulk(bulk).await.expect("the command is kept");
    finish(&*b.store(), id, size, now).await
}

pub(super) async fn finish(store: &dyn Store, id: BulkId, size: u32, now: Timestamp) -> Bulk {
    for _ in 0..1_000 {
        let bulk = step(store, id, size, now).await.expect("the step is done");
        if bulk.state != BulkState::Running {
            return bulk;
        }
    }
    panic!("the command comes to no end");
}

fn skipped<const N: usize>(of: [(&str, u64); N]) -> BTreeMap<String, u64> {
    of.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
}

/// How many events of a bulk command a task's history has.
pub(super) async fn marks(b: &Bench, id: TaskId, bulk: &Bulk) -> usize {
    let mark = bulk.mark();
    let history = b.task(id).await.history;
    let is_its = |reason: &Option<String>| reason.as_ref().is_some_and(|reason| reason.starts_with(&mark));
    history.iter().filter(|event| is_its(&event.detail.reason)).count()
}

/// All tasks of a filter that were there are cancelled, page by page, and no others; each history names the command, and who asked.
pub async fn a_bulk_command_is_done_to_all_tasks_of_its_filter(b: Bench) {
    let ids = b.create_all(at(0), (0..25).map(|_| b.spec("render").queue("a")).collect()).await;
    let other = b.create(at(0), b.spec("render").queue("b")).await;
    let held = b.claim_one(claim("w1", at(1)).queues(&["a"])).await;
    b.complete(at(2), &held).await;
    let later = b.create(at(9), b.spec("render").queue("a")).await;
    let bulk = run(&b, of_queue(1, at(5), BulkAction::Cancel, "a"), 10).await;
    assert_eq!((bulk.state, bulk.looked_at, bulk.changed), (BulkState::Done, 24, 24));
    assert_eq!((bulk.skipped.clone(), bulk.ended_at), (BTreeMap::new(), Some(at(5))));
    assert_eq!(b.store().bulk(bulk.id).await.unwrap(), Some(bulk.clone()));
    for id in &ids {
        let detail = b.task(*id).await;
        if *id == held.head.id {
            assert_eq!(detail.task.head.state.state(), State::Completed);
            continue;
        }
        assert_eq!(detail.task.head.state.state(), State::Cancelled);
        let event = detail.history.last().unwrap();
        assert_eq!((event.kind, &event.detail.by), (EventKind::Cancelled, &Some(name("ada"))));
        assert_eq!(event.detail.reason, Some(format!("bulk command {}: wrong scene", bulk.id)));
    }
    for id in [other, later] {
        assert_eq!(b.state(id).await, State::Queued, "it is of another queue, or was made later");
    }
    b.check(at(10)).await;
}

/// Tasks are retried and changed in bulk, and what does not fit is counted by its reason.
pub async fn what_does_not_fit_is_counted_by_its_reason(b: Bench) {
    let ids = b.create_all(at(0), (0..6).map(|_| b.spec("render").queue("a")).collect()).await;
    for id in &ids[..3] {
        b.cancel(at(1), *id).await;
    }
    let held = b.claim_one(claim("w1", at(1)).queues(&["a"])).await;
    assert_eq!(held.head.id, ids[3]);
    let high = BulkAction::Change(to_priority(Priority::High));
    let all = |number, action, statuses: &[Status]| {
        let filter =
            BulkFilter { queue: Some(name("a")), statuses: statuses.to_vec(), ..BulkFilter::default() };
        Bulk::new(bulk_id(number), at(2), action, BulkTasks::Filter(filter))
    };
    let bulk = run(&b, all(1, high.clone(), &Status::ALL), 4).await;
    assert_eq!((bulk.looked_at, bulk.changed), (6, 2));
    assert_eq!(bulk.skipped, skipped([("cancelled", 3), ("running", 1)]));
    assert_eq!(b.task(ids[4]).await.task.priority, Priority::High);
    // Without statuses only those are looked at that it may be done to.
    let bulk = run(&b, all(2, high, &[]), 4).await;
    assert_eq!((bulk.looked_at, bulk.changed, bulk.skipped), (2, 0, skipped([("already", 2)])));
    let bulk = run(&b, all(3, BulkAction::Retry, &[]), 2).await;
    assert_eq!((bulk.looked_at, bulk.changed), (3, 3));
    assert_eq!(b.state(ids[0]).await, State::Queued);
    let bulk = run(&b, all(4, BulkAction::Retry, &Status::ALL), 4).await;
    assert_eq!((bulk.changed, bulk.skipped), (0, skipped([("queued", 5), ("running", 1)])));
    b.check(at(3)).await;
}

/// A delay counts from the command's making, however late a task's turn comes; so a task that is done twice is changed once.
pub async fn a_delay_counts_from_the_making_of_the_command(b: Bench) {
    let ids = b.create_all(at(0), (0..5).map(|_| b.spec("render").queue("a")).collect()).await;
    let put_off = TaskChange { run_after: Some(RunAfter::In(secs(100))), ..TaskChange::default() };
    let bulk = of_queue(1, at(1), BulkAction::Change(put_off), "a");
    b.settle().await;
    b.store().create_bulk(bulk.clone()).await.unwrap();
    step(&*b.store(), bulk.id, 2, at(1)).await.unwrap();
    let done = finish(&*b.store(), bulk.id, 2, at(60)).await;
    assert_eq!((done.changed, done.looked_at), (5, 5));
    for id in ids {
        assert_eq!(b.task(id).await.task.head.run_after, at(101));
    }
    b.check(at(61)).await;
}

/// A command for ids is done to these; those that are not there are counted as gone.
pub async fn a_bulk_command_for_ids_is_done_to_these(b: Bench) {
    let ids = b.create_all(at(0), (0..5).map(|_| b.spec("render")).collect()).await;
    let named = vec![ids[0], b.task_id(), ids[3]];
    let bulk = Bulk::new(bulk_id(1), at(1), BulkAction::Cancel, BulkTasks::Ids(named));
    let bulk = run(&b, bulk, 2).await;
    assert_eq!((bulk.looked_at, bulk.changed, bulk.skipped), (3, 2, skipped([("gone", 1)])));
    for (place, id) in ids.iter().enumerate() {
        let expected = if [0, 3].contains(&place) { State::Cancelled } else { State::Queued };
        assert_eq!(b.state(*id).await, expected);
    }
    b.check(at(2)).await;
}

/// A command reaches only what its maker reached: tasks of its project and its queues.
pub async fn a_bulk_command_reaches_what_its_maker_reaches(b: Bench) {
    let own = b.create(at(0), b.spec("render").queue("a").project("film")).await;
    let elsewhere = b.create(at(0), b.spec("render").queue("b").project("film")).await;
    let foreign = b.create(at(0), b.spec("render").queue("a").project("game")).await;
    let filter = BulkFilter { task_type: Some(name("render")), ..BulkFilter::default() };
    for (number, tasks) in
        [BulkTasks::Filter(filter), BulkTasks::Ids(vec![own, elsewhere, foreign])].into_iter().enumerate()
    {
        let bulk = Bulk {
            project: Some(name("film")),
            queues: [name("a")].into(),
            ..Bulk::new(bulk_id(number as u64), at(1), BulkAction::Cancel, tasks)
        };
        run(&b, bulk, 10).await;
    }
    assert_eq!(b.state(own).await, State::Cancelled);
    assert_eq!((b.state(elsewhere).await, b.state(foreign).await), (State::Queued, State::Queued));
    b.check(at(2)).await;
}

/// A page that was cut off is gone on with: what was done of it is counted and not done again, and what was not is done.
pub async fn a_page_that_was_cut_off_is_gone_on_with(b: Bench) {
    let ids = b.create_all(at(0), (0..10).map(|_| b.spec("render").queue("a").attempts(1)).collect()).await;
    for held in b.claim(claim("w1", at(1)).queues(&["a"]).max(10).cap(10)).await {
        b.fail(failing(at(2), &held)).await;
    }
    let bulk = of_queue(1, at(3), BulkAction::Retry, "a");
    b.settle().await;
    b.store().create_bulk(bulk.clone()).await.unwrap();
    // Whoever began with the first page has retried two of it, of which one has failed since, and was killed.
    let begun = bulk.begun(ids.clone(), None, true, at(3));
    assert!(b.store().put_bulk(begun.clone()).await.unwrap());
    for id in &ids[..2] {
        let reason = Some(bulk.note());
        b.store().retry(crate::Retry { reason, ..retry(at(3), *id) }).await.unwrap();
    }
    let held = b.claim_one(claim("w1", at(4)).queues(&["a"])).await;
    b.fail(failing(at(4), &held)).await;
    // It is left alone with it for a while.
    assert_eq!(step(&*b.store(), bulk.id, 100, at(4)).await.unwrap(), begun);
    let done = finish(&*b.store(), bulk.id, 100, at(14)).await;
    assert_eq!((done.state, done.looked_at, done.changed), (BulkState::Done, 10, 10));
    assert_eq!(b.state(held.head.id).await, State::Failed, "it was retried once, and has failed since");
    for id in ids {
        assert_eq!(marks(&b, id, &bulk).await, 1, "{id}: once");
    }
    b.check(at(15)).await;
}

/// Several that carry out a command at once do each task once, and count it once.
pub async fn several_at_once_do_each_task_once(b: Bench) {
    let ids = b.create_all(at(0), (0..60).map(|_| b.spec("render").queue("a")).collect()).await;
    let bulk = of_queue(1, at(1), BulkAction::Change(to_priority(Priority::Low)), "a");
    b.settle().await;
    b.store().create_bulk(bulk.clone()).await.unwrap();
    let mut running = Vec::new();
    for n in 0..4_u64 {
        let (store, id) = (b.store(), bulk.id);
        running.push(tokio::spawn(async move {
            // Their clocks are so far apart that none leaves another alone.
            for round in 0..100 {
                let bulk = step(&*store, id, 7, at(20 * n + 100 * round)).await.expect("the step is done");
                if bulk.state != BulkState::Running {
                    return;
                }
            }
            panic!("the command comes to no end");
        }));
    }
    for one in running {
        one.await.unwrap();
    }
    let done = b.store().bulk(bulk.id).await.unwrap().unwrap();
    assert_eq!((done.state, done.looked_at, done.changed), (BulkState::Done, 60, 60));
    for id in ids {
        assert_eq!(marks(&b, id, &bulk).await, 1, "{id}: once");
    }
    b.check(at(50_000)).await;
}

/// Of several commands at once for the same tasks, each task counts for the one that its history names, and for no other.
pub async fn of_commands_at_once_each_task_counts_for_one(b: Bench) {
    let ids = b.create_all(at(0), (0..60).map(|_| b.spec("render").queue("a")).collect()).await;
    b.settle().await;
    let commands: Vec<Bulk> = (1..=4).map(|n| of_queue(n, at(5), BulkAction::Cancel, "a")).collect();
    for bulk in &commands {
        b.store().create_bulk(bulk.clone()).await.expect("the command is kept");
    }
    let runs = commands.iter().map(|bulk| {
        let (store, id) = (b.store(), bulk.id);
        async move { finish(&*store, id, 20, at(6)).await }
    });
    let mut changed = 0;
    for bulk in at_once(runs.collect::<Vec<_>>()).await {
        let mut named = 0;
        for id in &ids {
            named += marks(&b, *id, &bulk).await as u64;
        }
        assert_eq!(bulk.changed, named, "{bulk:?}");
        changed += bulk.changed;
    }
    assert_eq!(changed, 60);
    b.check(at(7)).await;
}

/// However often the store fails in between, each task is changed once and counted once.
pub async fn a_store_that_fails_in_between_is_gone_on_with(b: Bench) {
    for (number, seed) in (0..3_u64).zip(70..) {
        let queue = format!("q{seed}");
        let specs = (0..30).map(|_| b.spec("render").queue(&queue)).collect();
        let ids = b.create_all(at(0), specs).await;
        b.settle().await;
        let bulk = of_queue(number, at(1), BulkAction::Cancel, &queue);
        let faulty = Faulty::new(b.store() as Arc<dyn Store>, seed, 8);
        b.store().create_bulk(bulk.clone()).await.unwrap();
        let mut now = 1;
        let done = loop {
            now += 20;
            assert!(now < 40_000, "the command comes to no end");
            match step(&faulty, bulk.id, 8, at(now)).await {
                Ok(done) if done.state != BulkState::Running => break done,
                Ok(_) | Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!((done.state, done.looked_at, done.changed), (BulkState::Done, 30, 30), "seed {seed}");
        for id in ids {
            assert_eq!(b.state(id).await, State::Cancelled);
            assert_eq!(marks(&b, id, &bulk).await, 1, "{id}: once");
        }
    }
    b.check(at(50_000)).await;
}

/// A command that is called off touches no further page; what it had done stands. One that has ended stays as it is.
pub async fn a_bulk_command_is_called_off(b: Bench) {
    let ids = b.create_all(at(0), (0..9).map(|_| b.spec("render").queue("a")).collect()).await;
    let bulk = of_queue(1, at(1), BulkAction::Cancel, "a");
    b.settle().await;
    b.store().create_bulk(bulk.clone()).await.unwrap();
    step(&*b.store(), bulk.id, 4, at(1)).await.unwrap();
    let aborted = abort(&*b.store(), bulk.id, at(2)).await.unwrap();
    assert_eq!((aborted.state, aborted.ended_at), (BulkState::Aborted, Some(at(2))));
    assert_eq!((aborted.looked_at, aborted.changed), (4, 4));
    assert_eq!(step(&*b.store(), bulk.id, 4, at(3)).await.unwrap(), aborted);
    assert_eq!(abort(&*b.store(), bulk.id, at(4)).await.unwrap(), aborted);
    let mut left = 0;
    for id in ids {
        left += usize::from(b.state(id).await == State::Queued);
    }
    assert_eq!(left, 5);
    let unknown = bulk_id(7);
    assert_err!(abort(&*b.store(), unknown, at(5)).await, StoreError::BulkNotFound(id) if id == unknown);
    assert_err!(step(&*b.store(), unknown, 4, at(5)).await, StoreError::BulkNotFound(id) if id == unknown);
    b.check(at(6)).await;
}

/// Commands are listed, the newest first, by pages; those that go on are found, and carried out in turn.
pub async fn bulk_commands_are_listed_and_carried_out_in_turn(b: Bench) {
    for queue in ["a", "b", "c"] {
        b.create_all(at(0), (0..3).map(|_| b.spec("render").queue(queue)).collect()).await;
    }
    b.settle().await;
    let made: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip(1..)
        .map(|(queue, n)| of_queue(n, at(n), BulkAction::Cancel, queue))
        .collect();
    for bulk in &made {
        b.store().create_bulk(bulk.clone()).await.unwrap();
        b.store().create_bulk(Bulk { reason: None, ..bulk.clone() }).await.unwrap();
    }
    b.settle().await;
    let store = b.store();
    let listed = pages(2, |page: PageRequest| store.bulks(page)).await;
    let newest: Vec<_> = made.iter().rev().cloned().collect();
    assert_eq!(listed, newest, "the first of an id stays");
    let mut open = store.open_bulks().await.unwrap();
    open.sort();
    assert_eq!(open, made.iter().map(|bulk| bulk.id).collect::<Vec<_>>());
    abort(&*store, made[1].id, at(4)).await.unwrap();
    let is_left = work(&*store, &|| at(5), &|| true).await.unwrap();
    assert!(!is_left);
    b.settle().await;
    assert_eq!(store.open_bulks().await.unwrap(), []);
    let states: Vec<_> =
        pages(2, |page: PageRequest| store.bulks(page)).await.iter().map(|bulk| bulk.state).collect();
    assert_eq!(states, [BulkState::Done, BulkState::Aborted, BulkState::Done]);
    b.check(at(6)).await;
}

/// A task that has ended is removed with its history and its output, and counted no longer; one that has not, or that an unfinished one
/// depends on, is refused and stays.
pub async fn only_ended_tasks_are_removed(b: Bench) {
    let done = b.running(at(0), "w1", b.spec("render")).await;
    b.complete(at(1), &done).await;
    let needed = b.running(at(0), "w1", b.spec("render").params("[1]")).await;
    b.cancel(at(1), needed.head.id).await;
    let waits = b.create(at(2), b.spec("render").queue("z")).await;
    let dependant = b
        .create(
            at(2),
            b.spec("render").after(&[needed.head.id, waits]).if_fails(baton_model::IfDependencyFails::Run),
        )
        .await;
    let held = b.running(at(3), "w1", b.spec("bake").queue("ovens")).await;
    let remove = |task| Remove { now: at(4), task };
    for (id, expected) in [
        (waits, Refusal::Unfinished { state: State::Queued }),
        (dependant, Refusal::Unfinished { state: State::Blocked }),
        (held.head.id, Refusal::Unfinished { state: State::Running }),
        (needed.head.id, Refusal::WaitedFor),
    ] {
        let before = b.task(id).await;
        assert_eq!(refusal(b.store().remove(remove(id)).await), expected);
        assert_eq!(b.task(id).await, before);
    }
    let generation = b.task(done.head.id).await.generation.unwrap().id;
    b.store().remove(remove(done.head.id)).await.unwrap();
    let gone = b.store().remove(remove(done.head.id)).await;
    assert_err!(gone, StoreError::TaskNotFound(id) if id == done.head.id);
    assert_err!(b.store().task(done.head.id).await, StoreError::TaskNotFound(_));
    assert_err!(b.store().generation(generation).await, StoreError::GenerationNotFound(_));
    b.cancel(at(5), dependant).await;
    b.store().remove(remove(needed.head.id)).await.unwrap();
    b.check(at(6)).await;
}

/// Ended tasks are removed in bulk, and what has not ended is counted by its state; a store that fails in between is gone on with.
pub async fn ended_tasks_are_removed_in_bulk(b: Bench) {
    let ids = b.create_all(at(0), (0..20).map(|_| b.spec("render").queue("a")).collect()).await;
    for id in &ids[..15] {
        b.cancel(at(1), *id).await;
    }
    b.settle().await;
    let filter =
        BulkFilter { queue: Some(name("a")), statuses: Status::ALL.to_vec(), ..BulkFilter::default() };
    let bulk = Bulk::new(bulk_id(1), at(2), BulkAction::Delete, BulkTasks::Filter(filter));
    b.store().create_bulk(bulk.clone()).await.unwrap();
    let faulty = Faulty::new(b.store(), 5, 6);
    let mut now = 2;
    let done = loop {
        now += 20;
        assert!(now < 40_000, "the command comes to no end");
        match step(&faulty, bulk.id, 6, at(now)).await {
            Ok(done) if done.state != BulkState::Running => break done,
            Ok(_) | Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!((done.looked_at, done.changed, done.skipped), (20, 15, skipped([("queued", 5)])));
    let left = b
        .ids_by(crate::TaskFilter { queue: Some(name("a")), now: at(now), ..crate::TaskFilter::default() })
        .await;
    assert_eq!(left.len(), 5);
    b.check(at(50_000)).await;
}
