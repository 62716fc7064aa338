//! What is paid for what changes tasks on somebody's behalf: schedules, changes and bulk commands.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_model::bulk::{BulkAction, BulkTasks};
use baton_model::schedule::{Said, ScheduleChange};
use baton_model::{Bulk, BulkId, Priority, TaskChange, TaskId, TaskSpec, Unique, UniqueWhile};
use baton_store::conformance::schedules::{key, minutely};
use baton_store::{
    ArchiveStore, BulkStore, ChangeTask, PageRequest, Past, Remove, ScheduleStore, SetSchedule, TaskStore,
    run_due,
};
use baton_store_dynamodb::Options;

use crate::bench::{Bench, claim};
use crate::engine::{Engine, at};

#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_a_schedule_costs_its_task_and_what_moves_the_schedule_on() {
    let mut b = Bench::open().await;
    b.create(1, 200).await;
    let key = key("default", "poll");
    let plan = minutely(b.spec(200));
    let said = Said { now: at(0), by: None, reason: None };
    let change = ScheduleChange::Set { plan: Box::new(plan), seed: b.id(), replace: false };
    b.store.set_schedule(SetSchedule { key, change, said }).await.unwrap();
    b.note("(once: a schedule is set)");

    b.store.due_schedules(at(1), PageRequest::first(100)).await.unwrap();
    let looked = b.note("look for schedules that are due, with none");
    assert!(looked.requests == 1 && looked.read <= 1.0, "{looked:?}");

    for time in 1..=3 {
        b.heard.take();
        let report = run_due(&b.store, at(60 * time), || false, |_, error| panic!("{error}")).await.unwrap();
        assert_eq!(report.created, 1);
    }
    let cost = b.note("a time of a schedule, with its task of 200 B of params");
    assert!(cost.write <= 8.0, "{cost:?}");
    b.print();
    b.documented();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_task_that_waits_costs_what_its_item_costs() {
    let mut b = Bench::open().await;
    b.create(1, 200).await;
    let spec = b.spec(200);
    let task = b.task(spec).await;
    b.heard.take();
    let to = TaskChange { priority: Some(Priority::Low), ..TaskChange::default() };
    let changing =
        |task, to| ChangeTask { now: at(1), task, by: None, reason: None, to, within: BTreeSet::new() };
    b.store.change(changing(task, to)).await.unwrap();
    let cost = b.note("change the priority of a task that waits");
    assert!(cost.write <= 4.0 && cost.requests <= 3, "{cost:?}");
    let to = TaskChange { queue: Some("other".parse().unwrap()), ..TaskChange::default() };
    for what in ["(once: a queue is made known)", "put a task that waits into another queue"] {
        let spec = b.spec(200);
        let task = b.task(spec).await;
        b.heard.take();
        b.store.change(changing(task, to.clone())).await.unwrap();
        b.note(what);
    }
    let unique = Some(Unique { key: "k".parse().unwrap(), held: UniqueWhile::Unfinished });
    let spec = TaskSpec { unique, ..b.spec(200) };
    let task = b.task(spec).await;
    b.heard.take();
    b.store.change(changing(task, to)).await.unwrap();
    b.note("put a task with a unique key into another queue");
    b.print();
    b.documented();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_bulk_command_costs_little_beside_its_tasks() {
    let mut b = Bench::open().await;
    b.create(1, 200).await;
    let ids: Vec<TaskId> = (0..100).map(|_| TaskId::from_bytes(b.id())).collect();
    let id = BulkId::from_bytes(b.id());
    let bulk = Bulk::new(id, at(0), BulkAction::Cancel, BulkTasks::Ids(ids));
    b.heard.take();
    b.store.create_bulk(bulk).await.unwrap();
    let made = b.note("the record of a bulk command for 100 ids");
    assert!(made.requests == 1, "{made:?}");
    b.store.open_bulks().await.unwrap();
    let looked = b.note("look for bulk commands that go on, with one");
    assert!(looked.requests == 1 && looked.read <= 1.0, "{looked:?}");
    b.print();
    b.documented();
}

/// Where tasks are archived, they end at the price of elsewhere, and a look at none that is old enough costs the same however many there are.
#[tokio::test(flavor = "multi_thread")]
async fn archiving_costs_what_it_reads_and_three_writes_a_task() {
    let mut b = Bench::by(Engine::start().await, Options { archived: true, ..Options::seeded(1) }).await;
    b.create(2, 200).await;
    let mut ended = Vec::new();
    for what in ["(once: a day of generations is made known)", "(complete, where tasks are archived)"] {
        let held = b.claim(claim("worker-1")).await;
        let complete = b.completion(&held, 200);
        b.heard.take();
        b.store.complete(complete, None).await.unwrap();
        ended.push((held.head.id, b.note(what)));
    }
    let (task, cost) = &ended[1];
    assert_eq!(cost.write, 5.0, "expected 5 write units, as elsewhere, got {cost:?}");

    // As of two days before the tasks, with a first look that notes that it begins, and one over all days.
    let before = at(0).minus(Duration::from_secs(2 * 86_400));
    let young = Past { all: before, own: at(3) };
    for what in ["(a first look)", "(a look over all days, once a day in the first time)"] {
        assert_eq!(b.store.ended(young, 10).await.unwrap().len(), 0);
        b.note(what);
    }
    assert_eq!(b.store.ended(young, 10).await.unwrap().len(), 0);
    b.note("look for tasks to be archived, with none that is old enough");

    let after = at(2 * 86_400);
    let found = b.store.ended(Past { all: after, own: after }, 10).await.unwrap();
    let read = b.note("(a look at an old day with two completed tasks)");
    assert_eq!(found.len(), 2);
    // What it knows, half a unit for each of 8 partitions, and the generation of each task; and the note of how far it is.
    let most = 3.0 + 8.0 * 0.5 + 2.0;
    assert!(
        read.read <= most && read.write <= 1.0,
        "expected at most {most} read units and 1 write unit, got {read:?}"
    );
    let events =
        |id: &TaskId| found.iter().find(|record| record.task.head.id == *id).unwrap().task.head.events;
    assert_eq!(b.store.remove_archived(vec![(*task, events(task))], after).await.unwrap(), 1);
    b.note("remove a completed task that is archived");
    let (other, _) = &ended[0];
    b.store.remove(Remove { now: at(3), task: *other }).await.unwrap();
    b.note("remove a task by hand, where tasks are archived");
    b.print();
    b.documented();
}
