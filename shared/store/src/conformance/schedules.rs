//! Schedules: what is kept of them, what is due, and that each occurrence comes once.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_model::schedule::{STEP_TASKS, Said};
use baton_model::{
    IfMissed, IfRunning, Plan, Rhythm, RunAfter, Schedule, ScheduleChange, ScheduleKey, State, TaskId,
    TaskSpec, Timestamp, Unique, UniqueWhile,
};

use super::kit::*;
use crate::faulty::Faulty;
use crate::{
    Changed, Occur, Occurred, PageRequest, RunReport, ScheduleFilter, SetSchedule, Store, StoreError, run_due,
};

/// A plan that creates a task each minute and makes up for nothing.
pub fn minutely(task: TaskSpec) -> Plan {
    Plan {
        rhythm: Rhythm::Every(Duration::from_secs(60)),
        if_missed: IfMissed::Skip,
        late_after: Duration::from_secs(300),
        if_running: IfRunning::Allow,
        starts_at: None,
        ends_at: None,
        paused: false,
        task: TaskSpec { id: TaskId::unset(), ..task },
    }
}

/// The key of a schedule.
pub fn key(project: &str, schedule: &str) -> ScheduleKey {
    ScheduleKey { project: name(project), name: name(schedule) }
}

/// Changes a schedule.
pub(super) async fn change(
    store: &dyn Store,
    now: Timestamp,
    key: &ScheduleKey,
    change: ScheduleChange,
) -> Result<Changed<Schedule>, StoreError> {
    let said = Said { now, by: Some(name("ada")), reason: None };
    store.set_schedule(SetSchedule { key: key.clone(), change, said }).await
}

/// Sets a schedule.
pub(super) fn set(plan: Plan) -> ScheduleChange {
    ScheduleChange::Set { plan: Box::new(plan), seed: [7; 16], replace: false }
}

async fn made(b: &Bench, now: Timestamp, key: &ScheduleKey, plan: Plan) -> Schedule {
    change(&*b.store(), now, key, set(plan)).await.expect("the schedule is taken").to.expect("it stands")
}

/// Has all happen that is due.
pub(super) async fn run(b: &Bench, now: Timestamp) -> RunReport {
    b.settle().await;
    let fails = |key: &ScheduleKey, error: &StoreError| panic!("{key}: {error}");
    let mut all = RunReport::default();
    loop {
        all = all.and_then(run_due(&*b.store(), now, || false, fails).await.expect("what is due is found"));
        if !all.more {
            return all;
        }
        b.settle().await;
    }
}

async fn due(b: &Bench, now: Timestamp) -> Vec<ScheduleKey> {
    b.settle().await;
    let page = b.store().due_schedules(now, PageRequest::first(10)).await.expect("what is due is found");
    page.items.into_iter().map(|schedule| schedule.key).collect()
}

fn occurrence(schedule: &Schedule, now: Timestamp) -> Occur {
    let due = schedule.due(now, false).expect("it is due");
    Occur { now, tasks: due.tasks, after: due.after }
}

/// A schedule comes back as it was set, alone and in lists, and is gone once it is removed; to remove it again changes nothing.
pub async fn a_schedule_is_kept_as_it_was_set(b: Bench) {
    let nightly = key("film", "nightly");
    let cron = Rhythm::Cron { cron: "30 2 * * MON-FRI".parse().unwrap(), zone: name("Europe/Berlin") };
    let task = TaskSpec {
        queue: name("gpu"),
        max_attempts: 7,
        concurrency_key: Some(name("a key")),
        description: Some("each night".to_owned()),
        ..b.spec("render")
    };
    let plan = Plan {
        rhythm: cron,
        if_missed: IfMissed::All(3),
        if_running: IfRunning::Cancel,
        starts_at: Some(at(50)),
        ends_at: Some(at(90_000_000)),
        ..minutely(task)
    };
    let schedule = made(&b, at(5), &nightly, plan.clone()).await;
    assert_eq!((schedule.plan.clone(), schedule.changed_by.clone()), (plan, Some(name("ada"))));
    assert_eq!(b.store().schedule(&nightly).await.unwrap(), schedule);
    b.settle().await;
    let listed = b.store().schedules(ScheduleFilter::default(), PageRequest::first(10)).await.unwrap();
    assert_eq!(listed.items, std::slice::from_ref(&schedule));
    let gone = change(&*b.store(), at(6), &nightly, ScheduleChange::Remove).await.unwrap();
    assert_eq!(gone, Changed { from: Some(schedule), to: None });
    assert!(
        matches!(b.store().schedule(&nightly).await, Err(StoreError::ScheduleNotFound(key)) if key == nightly)
    );
    let again = change(&*b.store(), at(6), &nightly, ScheduleChange::Remove).await.unwrap();
    assert_eq!(again, Changed { from: None, to: None });
    b.settle().await;
    let listed = b.store().schedules(ScheduleFilter::default(), PageRequest::first(10)).await.unwrap();
    assert_eq!(listed.items, []);
}

/// Schedules are listed by project and name, of one project or of all, page by page.
pub async fn schedules_are_listed_by_project_and_name(b: Bench) {
    let keys = [("book", "b"), ("film", "a"), ("film", "b"), ("film", "c"), ("film-2", "a"), ("game", "a")];
    for (project, schedule) in keys.iter().rev() {
        made(&b, at(0), &key(project, schedule), minutely(b.spec("render"))).await;
    }
    b.settle().await;
    for (project, expected) in [(None, &keys[..]), (Some("film"), &keys[1..4]), (Some("none"), &[])] {
        let filter = ScheduleFilter { project: project.map(name) };
        let (mut page, mut found) = (PageRequest::first(2), Vec::new());
        loop {
            let part = b.store().schedules(filter.clone(), page).await.unwrap();
            assert!(part.items.len() <= 2);
            found.extend(part.items.into_iter().map(|schedule| schedule.key));
            match part.next {
                Some(after) => page = PageRequest { after: Some(after), ..PageRequest::first(2) },
                None => break,
            }
        }
        let expected: Vec<_> = expected.iter().map(|(project, schedule)| key(project, schedule)).collect();
        assert_eq!(found, expected);
    }
}

/// The same schedule again changes nothing; another of its name is in the way unless it is to be replaced, which keeps what its
/// tasks' ids derive from. What is not there cannot be paused.
pub async fn another_schedule_of_the_name_is_in_the_way(b: Bench) {
    let nightly = key("film", "nightly");
    let plan = minutely(b.spec("render"));
    let first = made(&b, at(0), &nightly, plan.clone()).await;
    let again = change(&*b.store(), at(9), &nightly, set(plan.clone())).await.unwrap();
    assert_eq!(again, Changed { from: Some(first.clone()), to: Some(first.clone()) });
    let other = Plan { if_running: IfRunning::Skip, ..plan };
    let refused = change(&*b.store(), at(9), &nightly, set(other.clone())).await;
    assert!(matches!(refused, Err(StoreError::ScheduleExists(key)) if key == nightly));
    assert_eq!(b.store().schedule(&nightly).await.unwrap(), first);
    let replace = ScheduleChange::Set { plan: Box::new(other.clone()), seed: [9; 16], replace: true };
    let replaced = change(&*b.store(), at(9), &nightly, replace).await.unwrap().to.unwrap();
    assert_eq!((replaced.plan, replaced.seed, replaced.revision), (other, [7; 16], 2));
    for wanted in [ScheduleChange::Pause, ScheduleChange::Resume] {
        let refused = change(&*b.store(), at(9), &key("game", "nightly"), wanted).await;
        assert!(matches!(refused, Err(StoreError::ScheduleNotFound(_))));
    }
}

/// Due is what has an occurrence by now, longest due first: not what is paused, has ended or is removed.
pub async fn what_is_due_is_found_and_nothing_else(b: Bench) {
    let plan =
        |seconds| Plan { rhythm: Rhythm::Every(Duration::from_secs(seconds)), ..minutely(b.spec("render")) };
    let (slow, quick) = (key("film", "a-slow"), key("film", "b-quick"));
    let (paused, ended, removed) = (key("film", "paused"), key("film", "ended"), key("film", "removed"));
    made(&b, at(0), &slow, plan(50)).await;
    made(&b, at(0), &quick, plan(10)).await;
    made(&b, at(0), &paused, plan(10)).await;
    made(&b, at(0), &removed, plan(10)).await;
    made(&b, at(0), &ended, Plan { ends_at: Some(at(5)), ..plan(10) }).await;
    change(&*b.store(), at(1), &paused, ScheduleChange::Pause).await.unwrap();
    change(&*b.store(), at(1), &removed, ScheduleChange::Remove).await.unwrap();
    assert_eq!(due(&b, at(9).plus(millis(999))).await, []);
    assert_eq!(due(&b, at(10)).await, std::slice::from_ref(&quick));
    assert_eq!(due(&b, at(50)).await, [quick.clone(), slow]);
    let first = b.store().due_schedules(at(50), PageRequest::first(1)).await.unwrap();
    assert_eq!((first.items.len(), first.items[0].key.clone(), first.next.is_some()), (1, quick, true));
    // What passed meanwhile is no occurrence.
    change(&*b.store(), at(55), &paused, ScheduleChange::Resume).await.unwrap();
    assert!(!due(&b, at(59)).await.contains(&paused));
    assert!(due(&b, at(60)).await.contains(&paused));
}

/// An occurrence creates its tasks and moves the schedule on in one commit; sent again it is answered as the first time and
/// creates nothing; by what was the schedule before, it does nothing.
pub async fn an_occurrence_comes_once(b: Bench) {
    let nightly = key("film", "nightly");
    let schedule = made(&b, at(0), &nightly, minutely(b.spec("render"))).await;
    let (first, other) = (occurrence(&schedule, at(60)), occurrence(&schedule, at(121)));
    assert_eq!(b.store().occur(first.clone()).await.unwrap(), Occurred::Now);
    assert_eq!(b.store().occur(first.clone()).await.unwrap(), Occurred::Before, "the very same");
    assert_eq!(b.store().occur(other.clone()).await.unwrap(), Occurred::Superseded, "another was faster");
    let standing = b.store().schedule(&nightly).await.unwrap();
    assert_eq!(standing, first.after);
    let id = first.tasks[0].id;
    let task = b.task(id).await;
    assert_eq!((task.task.project.as_str(), task.task.head.run_after), ("film", at(60)));
    assert_eq!((task.history.len(), task.task.created_at), (1, at(60)));
    assert_eq!(task.history[0].detail.by.as_ref().map(|by| by.as_str()), Some("schedule nightly"));
    let later = other.tasks.iter().find(|spec| spec.id != id).unwrap();
    assert!(matches!(b.store().task(later.id).await, Err(StoreError::TaskNotFound(_))));
    assert_eq!(b.store().occur(first.clone()).await.unwrap(), Occurred::Before, "it still stands so");
    assert_eq!(b.store().occur(occurrence(&standing, at(121))).await.unwrap(), Occurred::Now);
    assert_eq!(b.store().occur(first).await.unwrap(), Occurred::Superseded, "long past");
    b.note_created([id, later.id]);
    assert_eq!(b.claim(claim("w1", at(122)).max(10)).await.len(), 2);
    b.check(at(123)).await;
}

/// An occurrence that was prepared before the schedule was changed, paused or removed does nothing.
pub async fn a_change_meanwhile_has_an_occurrence_do_nothing(b: Bench) {
    let nightly = key("film", "nightly");
    let plan = minutely(b.spec("render"));
    let schedule = made(&b, at(0), &nightly, plan.clone()).await;
    let prepared = occurrence(&schedule, at(60));
    change(&*b.store(), at(60), &nightly, ScheduleChange::Pause).await.unwrap();
    assert_eq!(b.store().occur(prepared.clone()).await.unwrap(), Occurred::Superseded);
    change(&*b.store(), at(60), &nightly, ScheduleChange::Remove).await.unwrap();
    assert_eq!(b.store().occur(prepared.clone()).await.unwrap(), Occurred::Superseded);
    // One of the same name and revision is another.
    let anew = ScheduleChange::Set { plan: Box::new(plan), seed: [9; 16], replace: false };
    change(&*b.store(), at(61), &nightly, anew).await.unwrap();
    let stands = b.store().schedule(&nightly).await.unwrap();
    let occurred = b.store().occur(prepared.clone()).await.unwrap();
    assert_eq!(occurred, Occurred::Superseded, "it was made for another");
    assert_eq!(b.store().schedule(&nightly).await.unwrap(), stands);
    assert!(matches!(b.store().task(prepared.tasks[0].id).await, Err(StoreError::TaskNotFound(_))));
}

/// Tasks of an occurrence that exist, or whose unique key another task holds, hold nothing up.
pub async fn what_exists_holds_up_no_occurrence(b: Bench) {
    let nightly = key("default", "nightly");
    let unique = Unique { key: name("one"), held: UniqueWhile::Unfinished };
    let plan = minutely(TaskSpec { unique: Some(unique.clone()), ..b.spec("render") });
    let schedule = made(&b, at(0), &nightly, plan).await;
    let holder = b.create(at(1), TaskSpec { unique: Some(unique), ..b.spec("render") }).await;
    assert_eq!(b.store().occur(occurrence(&schedule, at(60))).await.unwrap(), Occurred::Now);
    let standing = b.store().schedule(&nightly).await.unwrap();
    let next = occurrence(&standing, at(120));
    let id = next.tasks[0].id;
    assert!(matches!(b.store().task(id).await, Err(StoreError::TaskNotFound(_))));
    b.cancel(at(61), holder).await;
    // Somebody has taken its id.
    b.create(at(62), TaskSpec { id, id_chosen: true, ..b.spec("other") }).await;
    assert_eq!(b.store().occur(next).await.unwrap(), Occurred::Now);
    assert_eq!(b.task(id).await.task.task_type.as_str(), "other");
    assert_eq!(b.store().schedule(&nightly).await.unwrap().next_at, Some(at(180)));
    b.check(at(121)).await;
}

/// Whoever runs what is due, how often and at how many places at once: each occurrence comes once, and none before its time.
pub async fn many_that_run_what_is_due_create_each_once(b: Bench) {
    let keys: Vec<_> = (0..6).map(|n| key("film", &format!("s{n}"))).collect();
    for (n, key) in keys.iter().enumerate() {
        let rhythm = Rhythm::Every(Duration::from_secs(20 + 15 * n as u64));
        let plan = Box::new(Plan { rhythm, ..minutely(b.spec("render")) });
        let set = ScheduleChange::Set { plan, seed: [n as u8; 16], replace: false };
        change(&*b.store(), at(0), key, set).await.expect("the schedule is taken");
    }
    // The clock goes back at times.
    let times = [30, 65, 50, 100, 101, 240, 120, 300];
    let mut told = 0;
    for now in times {
        b.settle().await;
        let store = b.store();
        let one = || run_due(&*store, at(now), || false, |_, _| {});
        let (a, c, d) = tokio::join!(one(), one(), one());
        for report in [a, c, d] {
            let report = report.unwrap();
            assert_eq!(report.failed, 0);
            told += report.created;
        }
        told += run(&b, at(now)).await.created;
    }
    let mut expected: BTreeMap<TaskId, Timestamp> = BTreeMap::new();
    for (n, key) in keys.iter().enumerate() {
        let span = 20 + 15 * n as u64;
        let schedule = b.store().schedule(key).await.unwrap();
        let occurrences: Vec<_> = (1..=300 / span).map(|time| at(time * span)).collect();
        assert_eq!(schedule.created, occurrences.len() as u64, "{key}");
        expected.extend(occurrences.into_iter().map(|time| (schedule.task_id(time), time)));
    }
    b.settle().await;
    let listed = b.store().tasks(Default::default(), PageRequest::first(500)).await.unwrap().items;
    let found: BTreeMap<_, _> = listed.iter().map(|task| (task.head.id, task.head.run_after)).collect();
    assert_eq!((listed.len(), told, found), (expected.len(), expected.len() as u64, expected));
    assert!(listed.iter().all(|task| task.created_at >= task.head.run_after), "none before its time");
}

/// Over a store that fails, whose answers are lost, and that is asked twice, each occurrence comes once all the same.
pub async fn each_occurrence_comes_once_over_a_store_that_fails(b: Bench) {
    let keys: Vec<_> = (0..4).map(|n| key("film", &format!("s{n}"))).collect();
    for (n, key) in keys.iter().enumerate() {
        let rhythm = Rhythm::Every(Duration::from_secs(20 + 15 * n as u64));
        let if_running = if n == 3 { IfRunning::Cancel } else { IfRunning::Allow };
        let plan = Box::new(Plan { rhythm, if_running, ..minutely(b.spec("render")) });
        let set = ScheduleChange::Set { plan, seed: [n as u8; 16], replace: false };
        change(&*b.store(), at(0), key, set).await.expect("the schedule is taken");
    }
    let failing = |seed| Faulty::new(b.store(), seed, 4);
    let (first, second) = (failing(1), failing(2));
    for now in (10..=300).step_by(10) {
        let one = |store| async move { run_due(store, at(now), || false, |_, _| {}).await.map(drop) };
        // What fails is tried again by whoever comes next.
        let (_, _) = tokio::join!(one(&first), one(&second));
    }
    run(&b, at(300)).await;
    let mut expected = 0;
    for (n, key) in keys.iter().enumerate() {
        let span = 20 + 15 * n as u64;
        let schedule = b.store().schedule(key).await.unwrap();
        assert_eq!(schedule.created + schedule.skipped, 300 / span, "{key}");
        for time in (1..=300 / span).map(|time| at(time * span)) {
            match b.store().task(schedule.task_id(time)).await {
                Ok(task) => assert_eq!((task.task.head.run_after, task.history[0].attempt), (time, 0)),
                Err(StoreError::TaskNotFound(_)) => assert_eq!(n, 3, "{key} at {time}"),
                Err(error) => panic!("{error}"),
            }
        }
        expected += schedule.created;
    }
    b.settle().await;
    let listed = b.store().tasks(Default::default(), PageRequest::first(500)).await.unwrap().items;
    assert_eq!(listed.len() as u64, expected);
}

/// While the task of the last occurrence has not ended, the next one is left out, created, or created in its place, as is said.
pub async fn while_the_last_one_runs_the_next_is_as_said(b: Bench) {
    for (n, if_running) in IfRunning::ALL.into_iter().enumerate() {
        let key = key("film", if_running.as_str());
        let plan = Plan { if_running, ..minutely(b.spec(if_running.as_str())) };
        let start = n as u64 * 10_000;
        made(&b, at(start), &key, plan).await;
        run(&b, at(start + 60)).await;
        let first = b.store().schedule(&key).await.unwrap().last.unwrap().task;
        let held = b.claim_one(claim("w1", at(start + 61)).types(&[if_running.as_str()])).await;
        assert_eq!(held.head.id, first);
        let report = run(&b, at(start + 120)).await;
        let second = b.store().schedule(&key).await.unwrap().last.unwrap().task;
        let expected = match if_running {
            IfRunning::Skip => (0, 1, false, State::Running),
            IfRunning::Allow => (1, 0, true, State::Running),
            IfRunning::Cancel => (1, 0, true, State::Cancelled),
        };
        let state = b.state(first).await;
        assert_eq!((report.created, report.skipped, second != first, state), expected);
        if if_running == IfRunning::Skip {
            b.complete(at(start + 121), &held).await;
            b.settle().await;
            assert_eq!(run(&b, at(start + 180)).await.created, 1);
        }
        change(&*b.store(), at(start + 200), &key, ScheduleChange::Remove).await.unwrap();
    }
    b.check(at(40_000)).await;
}

/// After a time in which nothing ran, what was missed is left out, made up for once, or up to so many times, in steps that are
/// bounded.
pub async fn what_was_missed_is_as_said(b: Bench) {
    for (if_missed, created) in [(IfMissed::Skip, 6), (IfMissed::Once, 7), (IfMissed::All(32), 38)] {
        let key = key("film", if_missed.as_str());
        // Six of a hundred are within the five minutes that count as in time.
        made(&b, at(0), &key, Plan { if_missed, ..minutely(b.spec(if_missed.as_str())) }).await;
        let report = run(&b, at(6_000)).await;
        assert_eq!((report.created, report.missed), (created, u64::from(if_missed == IfMissed::Skip)));
        change(&*b.store(), at(6_001), &key, ScheduleChange::Remove).await.unwrap();
    }
    let key = key("film", "dense");
    let late_after = Duration::from_secs(600);
    let plan =
        Plan { rhythm: Rhythm::Every(Duration::from_secs(2)), late_after, ..minutely(b.spec("dense")) };
    let schedule = made(&b, at(7_000), &key, plan).await;
    assert_eq!(occurrence(&schedule, at(7_300)).tasks.len(), STEP_TASKS);
    assert_eq!(run(&b, at(7_300)).await.created, 150);
    let standing = b.store().schedule(&key).await.unwrap();
    assert_eq!((standing.created, standing.next_at), (150, Some(at(7_302))));
}

/// A schedule is there after the store was closed and opened again.
pub async fn a_schedule_outlives_its_process(mut b: Bench) {
    let nightly = key("film", "nightly");
    made(&b, at(0), &nightly, minutely(b.spec("render"))).await;
    run(&b, at(60)).await;
    let before = b.store().schedule(&nightly).await.unwrap();
    b.reopen().await;
    assert_eq!(b.store().schedule(&nightly).await.unwrap(), before);
    assert_eq!(due(&b, at(120)).await, std::slice::from_ref(&nightly));
    assert_eq!(run(&b, at(120)).await.created, 1);
    let RunAfter::At(time) = occurrence(&before, at(120)).tasks[0].run_after else { panic!("a time") };
    assert_eq!(time, at(120));
}
