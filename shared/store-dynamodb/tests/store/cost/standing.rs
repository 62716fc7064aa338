//! What is paid for what changes tasks on somebody's behalf: schedules, changes and bulk commands.

use std::collections::BTreeSet;

use baton_model::bulk::{BulkAction, BulkTasks};
use baton_model::schedule::{Said, ScheduleChange};
use baton_model::{Bulk, BulkId, Priority, TaskChange, TaskId, TaskSpec, Unique, UniqueWhile};
use baton_store::conformance::schedules::{key, minutely};
use baton_store::{BulkStore, ChangeTask, PageRequest, ScheduleStore, SetSchedule, TaskStore, run_due};

use crate::bench::Bench;
use crate::engine::at;

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
