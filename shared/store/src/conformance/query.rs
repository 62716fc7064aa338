//! Queries: filters, pages, and numbers.

use std::collections::BTreeSet;

use baton_model::queue::Pause;
use baton_model::{LeasePolicy, Priority, Schedule, State, Status, Task, TaskId, TaskSpec, Timestamp};

use super::kit::*;
use crate::{
    Beat, Complete, Cursor, ErrorKind, Fail, GenerationFilter, LogFilter, PageRequest, PauseQueue, Purge,
    Release, StoreError, TaskFilter, WorkerCounts,
};

/// Tasks of every status, in several queues and so on, so that every filter keeps some and drops some. All at 1,000 s.
async fn motley(b: &Bench) -> Vec<Task> {
    let mut ids = Vec::new();
    for n in 0..56_u64 {
        let pick = |of: &[&str], by: u64| of[(n / by) as usize % of.len()].to_owned();
        let spec = TaskSpec {
            project: name(&pick(&["atlas", "borea"], 1)),
            domain: (n % 3 > 0).then(|| name(&pick(&["größe", "north face"], 3))),
            assigned_by: (n % 5 > 0).then(|| name(&pick(&["ada", "bob"], 2))),
            ..b.spec(&pick(&["render", "bake", "index"], 1))
        };
        let spec = spec.queue(&pick(&["a", "b"], 4)).attempts(2);
        let later = Schedule::At(at(5_000));
        let created = at(n * 10);
        let worker = pick(&["w1", "w2"], 1);
        let status = Status::ALL[n as usize % 7];
        if status == Status::Created {
            ids.push(b.create(created, TaskSpec { schedule: later, ..spec }).await);
            continue;
        }
        let held = if matches!(status, Status::Queued) {
            ids.push(b.create(created, TaskSpec { schedule: Schedule::At(at(900)), ..spec }).await);
            continue;
        } else {
            b.running(created, &worker, spec).await
        };
        ids.push(held.head.id);
        let now = created.plus(secs(1));
        match status {
            Status::Retry => {
                b.release(Release { delay: secs(9_000), ..releasing(now, &held) }).await;
            }
            Status::Completed => drop(b.complete(now, &held).await),
            Status::Failed => drop(b.fail(Fail { retryable: false, ..failing(now, &held) }).await),
            Status::Cancelled => drop(b.cancel(now, held.head.id).await),
            Status::Created | Status::Queued | Status::Running => {}
        }
    }
    let mut tasks = Vec::new();
    for id in ids.into_iter().rev() {
        tasks.push(b.task(id).await.task);
    }
    tasks
}

fn last_worker(task: &Task) -> Option<&str> {
    match &task.head.state {
        baton_model::TaskState::Running(lease) => Some(lease.worker.as_str()),
        _ => task.head.ended.as_ref().map(|end| end.worker.as_str()),
    }
}

fn fits(task: &Task, filter: &TaskFilter) -> bool {
    (filter.statuses.is_empty() || filter.statuses.contains(&task.status(filter.now)))
        && filter.task_type.as_ref().is_none_or(|of| task.task_type == *of)
        && filter.queue.as_ref().is_none_or(|of| task.queue == *of)
        && filter.project.as_ref().is_none_or(|of| task.project == *of)
        && filter.domain.as_ref().is_none_or(|of| task.domain.as_ref() == Some(of))
        && filter.assigned_by.as_ref().is_none_or(|of| task.assigned_by.as_ref() == Some(of))
        && filter.worker.as_ref().is_none_or(|of| last_worker(task) == Some(of.as_str()))
        && filter.created_from.is_none_or(|from| task.created_at >= from)
        && filter.created_before.is_none_or(|before| task.created_at < before)
}

/// Asserts that a list is what was wanted, in the order that the store promises.
fn assert_list(b: &Bench, filter: &TaskFilter, listed: Vec<TaskId>, mut wanted: Vec<TaskId>) {
    let mut listed = listed;
    if !filter.statuses.is_empty() && !b.store().capabilities().lists_by_creation {
        listed.sort();
        wanted.sort();
    }
    assert_eq!(listed, wanted, "{filter:?}");
}

/// Each filter alone keeps exactly what fits, the newest first; a value that nothing has keeps nothing.
pub async fn each_filter_keeps_what_fits(b: Bench) {
    let tasks = motley(&b).await;
    let now = at(1_000);
    let none = || TaskFilter { now, ..TaskFilter::default() };
    let mut filters = vec![
        none(),
        TaskFilter { task_type: Some(name("bake")), ..none() },
        TaskFilter { queue: Some(name("b")), ..none() },
        TaskFilter { project: Some(name("atlas")), ..none() },
        TaskFilter { domain: Some(name("größe")), ..none() },
        TaskFilter { assigned_by: Some(name("bob")), ..none() },
        TaskFilter { worker: Some(name("w2")), ..none() },
        TaskFilter { created_from: Some(at(200)), ..none() },
        TaskFilter { created_before: Some(at(200)), ..none() },
    ];
    filters.extend(Status::ALL.map(|status| TaskFilter { statuses: vec![status], ..none() }));
    for filter in filters {
        let wanted: Vec<_> = tasks.iter().filter(|task| fits(task, &filter)).map(|t| t.head.id).collect();
        assert!(!wanted.is_empty(), "the rule's own tasks fit {filter:?}");
        assert_list(&b, &filter, b.ids_by(filter.clone()).await, wanted);
    }
    let strangers = [
        TaskFilter { task_type: Some(name("x")), ..none() },
        TaskFilter { queue: Some(name("x")), ..none() },
        TaskFilter { project: Some(name("x")), ..none() },
        TaskFilter { domain: Some(name("x")), ..none() },
        TaskFilter { assigned_by: Some(name("x")), ..none() },
        TaskFilter { worker: Some(name("x")), ..none() },
        TaskFilter { created_from: Some(at(100_000)), ..none() },
        TaskFilter { created_before: Some(Timestamp::default()), ..none() },
    ];
    for filter in strangers {
        assert_eq!(b.ids_by(filter.clone()).await, [], "{filter:?}");
    }
    b.check(now).await;
}

/// Filters together keep what fits all of them.
pub async fn filters_together_keep_what_fits_all(b: Bench) {
    let tasks = motley(&b).await;
    let mut random = super::random::SplitMix(7);
    for _ in 0..150 {
        let mut sometimes = |of: &[&str]| {
            (random.below(3) == 0).then(|| of[random.below(of.len() as u64) as usize].to_owned())
        };
        let mut filter = TaskFilter {
            task_type: sometimes(&["render", "bake", "index"]).map(|text| name(&text)),
            queue: sometimes(&["a", "b"]).map(|text| name(&text)),
            project: sometimes(&["atlas", "borea"]).map(|text| name(&text)),
            domain: sometimes(&["größe", "north face"]).map(|text| name(&text)),
            assigned_by: sometimes(&["ada", "bob"]).map(|text| name(&text)),
            worker: sometimes(&["w1", "w2"]).map(|text| name(&text)),
            now: at(if random.below(2) == 0 { 1_000 } else { 6_000 }),
            ..TaskFilter::default()
        };
        if random.below(3) == 0 {
            filter.created_from = Some(at(random.below(400)));
        }
        if random.below(3) == 0 {
            filter.created_before = Some(at(200 + random.below(400)));
        }
        for _ in 0..random.below(4) {
            filter.statuses.push(Status::ALL[random.below(7) as usize]);
        }
        let wanted: Vec<_> = tasks.iter().filter(|task| fits(task, &filter)).map(|t| t.head.id).collect();
        assert_list(&b, &filter, b.ids_by(filter.clone()).await, wanted);
    }
}

/// Pages of any size, put together, show every task exactly once.
pub async fn pages_cover_a_list_exactly_once(b: Bench) {
    let mut tasks = motley(&b).await;
    // Some that share one time of creation: a page may end amidst them.
    let same = b.create_plain(at(2_000), 12).await;
    for id in same {
        tasks.insert(0, b.task(id).await.task);
    }
    let by_status = |statuses: &[Status]| TaskFilter {
        now: at(2_001),
        statuses: statuses.to_vec(),
        ..TaskFilter::default()
    };
    let by_creation = b.store().capabilities().lists_by_creation;
    for limit in [1, 2, 5, 17, 1_000] {
        for filter in [
            TaskFilter { now: at(2_001), ..TaskFilter::default() },
            TaskFilter { now: at(2_001), queue: Some(name("a")), ..TaskFilter::default() },
            by_status(&[Status::Queued]),
            by_status(&[Status::Completed]),
            by_status(&[Status::Failed, Status::Cancelled]),
            by_status(&[Status::Queued, Status::Failed]),
            by_status(&[Status::Running, Status::Completed]),
            by_status(&[Status::Created, Status::Retry, Status::Running]),
        ] {
            let listed = b.tasks_by(filter.clone(), limit).await;
            let ids: BTreeSet<_> = listed.iter().map(|task| task.head.id).collect();
            let wanted: BTreeSet<_> =
                tasks.iter().filter(|task| fits(task, &filter)).map(|task| task.head.id).collect();
            assert_eq!(ids.len(), listed.len(), "none twice");
            assert_eq!(ids, wanted);
            if by_creation || filter.statuses.is_empty() {
                assert!(listed.is_sorted_by(|a, b| a.created_at >= b.created_at), "the newest first");
            }
        }
    }
}

/// Tasks that are added while a list is read neither repeat nor hide those that were there.
pub async fn paging_is_steady_while_tasks_are_added(b: Bench) {
    let mut first = Vec::new();
    for n in 0..30 {
        first.push(b.create(at(n), b.spec("render")).await);
    }
    b.settle().await;
    let filter = TaskFilter { now: at(100), ..TaskFilter::default() };
    let (mut seen, mut after, mut added) = (Vec::new(), None, 0);
    for _ in 0..1_000 {
        let page =
            b.store().tasks(filter.clone(), PageRequest { after, limit: 4, in_parts: false }).await.unwrap();
        seen.extend(ids_of(&page.items));
        added += 1;
        b.create(at(100 + added), b.spec("render")).await;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    first.reverse();
    assert_eq!(seen, first);
}

/// A page has no next one when the list has ended, and an empty list has one empty page.
pub async fn a_list_ends(b: Bench) {
    let filter = TaskFilter { now: at(0), ..TaskFilter::default() };
    assert_eq!(b.tasks_by(filter.clone(), 10).await, []);
    b.create_plain(at(0), 4).await;
    assert_eq!(b.tasks_by(filter, 4).await.len(), 4);
}

/// What is no cursor of the store is refused as such by every list.
pub async fn a_bad_cursor_is_refused(b: Bench) {
    b.create_plain(at(0), 3).await;
    for text in ["not a cursor", "☂", "{\"a\":", "../../etc/passwd"] {
        let page = || PageRequest { after: Some(Cursor(text.to_owned())), limit: 2, in_parts: false };
        let store = b.store();
        let errors = [
            store.tasks(TaskFilter::default(), page()).await.unwrap_err(),
            store.generations(GenerationFilter::default(), page()).await.unwrap_err(),
            store.workers(page()).await.unwrap_err(),
            store.queues(at(0), page()).await.unwrap_err(),
            store.logs(LogFilter::default(), page()).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, StoreError::BadCursor), "{text:?}: {error:?}");
            assert_eq!(error.kind(), ErrorKind::Request);
        }
    }
}

/// Ids are found by their beginning, as many as asked for at most.
pub async fn ids_are_found_by_their_beginning(b: Bench) {
    let id = |text: &str| text.parse::<TaskId>().unwrap();
    let all = [
        id("01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"),
        id("01980a6e-5b7c-7cc3-98c4-dc0c0c073990"),
        id("01980a6e-5b7d-7000-8000-000000000001"),
        id("ff980a6e-5b7c-4cc3-98c4-dc0c0c07398f"),
    ];
    let specs = all.iter().map(|id| TaskSpec { id: *id, ..b.spec("render").chosen() }).collect();
    b.create_all(at(0), specs).await;
    b.settle().await;
    for prefix in [
        "0",
        "01",
        "f",
        "01980a6e",
        "01980a6e-",
        "01980a6e-5b7c",
        "01980a6e-5b7c-7cc3-98c4-dc0c0c0739",
        "01980a6e-5b7d-7000-8000-000000000001",
        "ff980a6e-5b7c-4cc3-98c4-dc0c0c07398f",
        "02",
        "ffff",
        "01980a6e-5b7c-7cc3-98c4-dc0c0c073991",
    ] {
        let wanted: BTreeSet<_> =
            all.iter().copied().filter(|id| id.to_string().starts_with(prefix)).collect();
        let found = b.store().task_ids_by_prefix(prefix, 10).await.unwrap();
        assert_eq!(found.len(), wanted.len(), "{prefix}: none twice");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted, "{prefix}");
    }
    assert_eq!(b.store().task_ids_by_prefix("01980a6e-5b7", 2).await.unwrap().len(), 2);
}

/// What does not exist is not found, by kind.
pub async fn what_does_not_exist_is_not_found(b: Bench) {
    let (task, generation) = (b.task_id(), b.generation_id());
    let store = b.store();
    assert_err!(store.task(task).await, StoreError::TaskNotFound(id) if id == task);
    assert_err!(store.generation(generation).await, StoreError::GenerationNotFound(id) if id == generation);
    assert_err!(store.worker(&name("x")).await, StoreError::WorkerNotFound(_));
    assert_err!(store.queue(&name("x"), at(0)).await, StoreError::QueueNotFound(_));
}

/// Each filter on generations keeps what fits, alone and with others, the newest first and by pages.
pub async fn generations_are_filtered_and_paged(b: Bench) {
    let mut all = Vec::new();
    for n in 0..24_u64 {
        let pick = |of: &[&'static str], by: u64| of[(n / by) as usize % of.len()];
        let spec =
            TaskSpec { project: name(pick(&["atlas", "borea"], 2)), ..b.spec(pick(&["render", "bake"], 1)) };
        let spec = spec.queue(pick(&["a", "b", "c"], 1));
        let held = b.running(at(n * 10), pick(&["w1", "w2"], 4), spec).await;
        all.push(b.complete(at(n * 10 + 5), &held).await);
        // Tasks without generation are in no such list.
        b.running(at(n * 10), "w1", b.spec("render").queue("other")).await;
    }
    all.reverse();
    let none = GenerationFilter::default;
    let filters = [
        none(),
        GenerationFilter { task: Some(all[3].task), ..none() },
        GenerationFilter { task_type: Some(name("bake")), ..none() },
        GenerationFilter { queue: Some(name("c")), ..none() },
        GenerationFilter { project: Some(name("atlas")), ..none() },
        GenerationFilter { worker: Some(name("w2")), ..none() },
        GenerationFilter { finished_from: Some(at(105)), ..none() },
        GenerationFilter { finished_before: Some(at(105)), ..none() },
        GenerationFilter { queue: Some(name("a")), worker: Some(name("w1")), ..none() },
        GenerationFilter {
            project: Some(name("borea")),
            finished_from: Some(at(50)),
            finished_before: Some(at(200)),
            ..none()
        },
        GenerationFilter { task: Some(all[3].task), queue: Some(name("nowhere")), ..none() },
    ];
    for filter in filters {
        let fits = |one: &&baton_model::Generation| {
            filter.task.is_none_or(|of| one.task == of)
                && filter.task_type.as_ref().is_none_or(|of| one.task_type == *of)
                && filter.queue.as_ref().is_none_or(|of| one.queue == *of)
                && filter.project.as_ref().is_none_or(|of| one.project == *of)
                && filter.worker.as_ref().is_none_or(|of| one.worker == *of)
                && filter.finished_from.is_none_or(|from| one.finished_at >= from)
                && filter.finished_before.is_none_or(|before| one.finished_at < before)
        };
        let wanted: Vec<_> = all.iter().filter(fits).cloned().collect();
        assert_eq!(b.generations_by(filter.clone()).await, wanted, "{filter:?}");
    }
    b.check(at(300)).await;
}

/// Workers are listed by name, each once, with the leases that name them.
pub async fn workers_are_listed_by_name(b: Bench) {
    let names = ["w10", "w2", "a", "Z", "w1"];
    for worker in names {
        b.beat(beat(worker, at(0))).await;
    }
    b.running(at(1), "w2", b.spec("render")).await;
    b.settle().await;
    let mut sorted = names;
    sorted.sort();
    for limit in [1, 2, 100] {
        let listed = pages(limit, |page| async { b.store().workers(page).await }).await;
        let listed: Vec<_> = listed.iter().map(|one| (one.worker.id.as_str(), one.active)).collect();
        assert_eq!(listed, sorted.map(|name| (name, u32::from(name == "w2"))));
    }
}

/// A queue is known once a task has named it, and while it is paused; queues are listed by name, with pause and counts.
pub async fn queues_are_listed_by_name(b: Bench) {
    b.create(at(0), b.spec("render").queue("b")).await;
    b.create(at(0), b.spec("render").queue("a").due(at(50))).await;
    let paused = b.pause(at(1), "c", true).await;
    assert_eq!((paused.queue, paused.pause.is_some(), paused.queued), (name("c"), true, 0));
    b.pause(at(1), "d", false).await;
    b.settle().await;
    for limit in [1, 3, 100] {
        let listed = pages(limit, |page| async { b.store().queues(at(2), page).await }).await;
        let listed: Vec<_> = listed
            .iter()
            .map(|one| (one.queue.as_str(), one.used, one.queued, one.waits.later().tasks))
            .collect();
        let wanted = [("a", true, 1, 1), ("b", true, 1, 0), ("c", false, 0, 0)];
        assert_eq!(listed, wanted);
    }
    b.check(at(2)).await;
}

/// A paused queue tells since when, by whom and why, by the last pause; one that was resumed tells nothing of it.
pub async fn a_paused_queue_tells_by_whom_and_why(b: Bench) {
    b.create(at(0), b.spec("render").queue("q")).await;
    let store = b.store();
    let pause = |now, queue: &str, paused, by: Option<&str>, reason: Option<&str>| {
        let (by, reason) = (by.map(name), reason.map(str::to_owned));
        store.pause_queue(PauseQueue { now, queue: name(queue), paused, by, reason })
    };
    for queue in ["q", "never-used"] {
        let said = Pause {
            since: at(1),
            by: Some(name("Büro ☂")),
            reason: Some("the disk is full:\nsee #7".to_owned()),
        };
        let answer =
            pause(at(1), queue, true, Some("Büro ☂"), Some("the disk is full:\nsee #7")).await.unwrap();
        assert_eq!((answer.pause.as_ref(), answer.used), (Some(&said), queue == "q"));
        b.settle().await;
        assert_eq!(store.queue(&name(queue), at(2)).await.unwrap().pause, Some(said.clone()));
        let listed = pages(1, |page| store.queues(at(2), page)).await;
        let listed = listed.into_iter().find(|one| one.queue == name(queue)).expect("it is listed");
        assert_eq!(listed.pause, Some(said));

        let silent = Pause { since: at(3), by: None, reason: None };
        assert_eq!(pause(at(3), queue, true, None, None).await.unwrap().pause, Some(silent));
        assert_eq!(pause(at(4), queue, false, Some("bob"), Some("mended")).await.unwrap().pause, None);
    }
    assert_eq!(store.queue(&name("q"), at(5)).await.unwrap().pause, None);
}

/// A queue that no task has ever named is gone from every list once it is resumed; one that a task has named stays.
pub async fn a_queue_that_no_task_named_is_gone_once_resumed(b: Bench) {
    let names = async || {
        b.settle().await;
        let listed = pages(10, |page| async { b.store().queues(at(9), page).await }).await;
        listed.iter().map(|one| one.queue.to_string()).collect::<Vec<_>>()
    };
    for queue in ["typo", "early", "used"] {
        b.pause(at(0), queue, true).await;
    }
    b.create(at(1), b.spec("render").queue("early")).await;
    let id = b.create(at(1), b.spec("render").queue("used")).await;
    b.cancel(at(1), id).await;
    assert_eq!(names().await, ["early", "typo", "used"]);
    for queue in ["typo", "early", "used"] {
        let answer = b.pause(at(2), queue, false).await;
        assert_eq!((answer.queue, answer.pause, answer.used), (name(queue), None, queue != "typo"));
    }
    assert_eq!(names().await, ["early", "used"]);
    assert_err!(b.store().queue(&name("typo"), at(3)).await, StoreError::QueueNotFound(_));
    assert_eq!(b.claim(claim("w1", at(3)).queues(&["early", "typo"])).await.len(), 1);

    // Resumed again, or without ever having been paused, it is as unknown; and a task makes it known as any other.
    for _ in 0..2 {
        b.pause(at(4), "typo", false).await;
    }
    assert_eq!(names().await, ["early", "used"]);
    b.create(at(5), b.spec("render").queue("typo")).await;
    assert_eq!(names().await, ["early", "typo", "used"]);
    assert_eq!(b.claim(claim("w1", at(5)).queues(&["typo"])).await.len(), 1);
    b.pause(at(6), "typo", true).await;
    b.pause(at(7), "typo", false).await;
    assert_eq!(names().await, ["early", "typo", "used"]);
    b.check(at(8)).await;
}

/// A queue tells how many tasks wait, are for later and run, and how long the oldest have.
pub async fn a_queue_tells_its_numbers(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").queue("q")).await;
    b.running(at(20), "w1", b.spec("render").queue("q")).await;
    b.create(at(30), b.spec("render").queue("q").due(at(90))).await;
    b.create(at(30), b.spec("bake").queue("q").priority(Priority::Low).due(at(40))).await;
    b.create(at(50), b.spec("render").queue("q")).await;
    b.settle().await;
    let store = b.store();
    let numbers = async |now| {
        let queue = store.queue(&name("q"), now).await.unwrap();
        (queue.queued, queue.waits.later().tasks, queue.running, queue.oldest_ready, queue.oldest_running)
    };
    assert_eq!(numbers(at(60)).await, (3, 1, 2, Some(secs(20)), Some(secs(60))));
    assert_eq!(numbers(at(100)).await, (3, 0, 2, Some(secs(60)), Some(secs(100))));
    b.complete(at(100), &held).await;
    b.settle().await;
    assert_eq!(numbers(at(100)).await.4, Some(secs(80)));
    let empty = b.pause(at(100), "empty", false).await;
    assert_eq!((empty.oldest_ready, empty.oldest_running), (None, None));
    b.check(at(101)).await;
}

/// Statistics say as of when their counts are, which is never later than when they were asked for, and never goes back.
pub async fn statistics_say_as_of_when_they_are(b: Bench) {
    motley(&b).await;
    b.settle().await;
    let mut before = None;
    for now in [at(1_000), at(1_060)] {
        let stats = b.store().stats(now).await.unwrap();
        let counted_at = stats.counted_at.expect("something was counted");
        assert!(counted_at <= now && Some(counted_at) >= before, "{counted_at} at {now}");
        for queue in &stats.queues {
            assert_eq!(queue.counted_at, Some(counted_at), "{}", queue.queue);
        }
        let queue = b.store().queue(&stats.queues[0].queue, now).await.unwrap();
        assert!(queue.counted_at.expect("something was counted") <= now);
        before = Some(counted_at);
    }
}

/// Statistics count tasks by queue, type and state, and follow each transition and each purge.
pub async fn statistics_follow_every_transition(b: Bench) {
    let tasks = motley(&b).await;
    b.check(at(1_000)).await;
    let stats = b.store().stats(at(1_000)).await.unwrap();
    assert_eq!(stats.at, at(1_000));
    assert_eq!(stats.counts.iter().map(|row| row.tasks).sum::<u64>(), tasks.len() as u64);
    let names: Vec<_> = stats.queues.iter().map(|queue| queue.queue.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let rows: Vec<_> =
        stats.counts.iter().map(|row| (row.queue.clone(), row.task_type.clone(), row.state)).collect();
    assert_eq!(rows.iter().cloned().collect::<BTreeSet<_>>().len(), rows.len(), "one row for each kind");
    assert!(stats.counts.is_sorted_by_key(|row| row.queue.clone()), "the queues by name");

    let ended = tasks.iter().filter(|task| task.head.state.state().is_final()).count() as u64;
    let purge = Purge { keep_finished: Some(secs(1)), ..Purge::at(at(2_000)) };
    assert_eq!(b.purge(purge).await.tasks, ended);
    b.check(at(2_000)).await;
    let stats = b.store().stats(at(2_000)).await.unwrap();
    let left: u64 = stats.counts.iter().map(|row| row.tasks).sum();
    assert_eq!(left, tasks.len() as u64 - ended);
    assert!(stats.counts.iter().all(|row| row.tasks == 0 || !row.state.is_final()));
}

/// What waits in a queue is counted by the status that a list shows, which the clock changes.
pub async fn what_waits_is_counted_by_its_status(b: Bench) {
    let task = || b.spec("render").queue("q");
    b.create(at(0), task()).await;
    b.create(at(0), task().due(at(50))).await;
    b.create(at(0), task().due(at(80)).priority(Priority::Low)).await;
    let held = b.running(at(1), "w1", task().priority(Priority::Critical)).await;
    b.release(Release { delay: secs(58), ..releasing(at(2), &held) }).await;
    let counts = async |now| {
        b.check(now).await;
        let waits = b.store().queue(&name("q"), now).await.unwrap().waits;
        assert!(!waits.ready.at_least && !waits.later().at_least, "they are few");
        [waits.ready, waits.created, waits.retry].map(|tasks| tasks.tasks)
    };
    assert_eq!(counts(at(3)).await, [1, 2, 1]);
    assert_eq!(counts(at(50)).await, [2, 1, 1]);
    assert_eq!(counts(at(60)).await, [3, 1, 0]);
    assert_eq!(counts(at(80)).await, [4, 0, 0]);
}

/// Statistics list only so many queues, those with the most tasks that wait or run, by name. Their totals are of all, and
/// what is not listed is told as a count and a sum.
pub async fn totals_are_right_whatever_the_bounds_of_the_lists(b: Bench) {
    let most = crate::Stats::QUEUES;
    // One queue has a single task, one that runs; its name is the last, and that of a queue with no open task the first.
    let specs = (0..most + 5)
        .flat_map(|n| [b.spec("render"), b.spec("bake")].map(|spec| spec.queue(&format!("q{n:03}"))));
    b.create_all(at(0), specs.collect()).await;
    b.running(at(1), "w1", b.spec("render").queue("zz")).await;
    let ended = b.running(at(1), "w2", b.spec("render").queue("aa")).await;
    b.complete(at(2), &ended).await;
    b.settle().await;
    let stats = b.store().stats(at(3)).await.unwrap();
    let two = 2 * (most as u64 + 5);
    assert_eq!(stats.states, [(State::Queued, two), (State::Running, 1), (State::Completed, 1)].into());
    let listed: Vec<_> = stats.queues.iter().map(|queue| queue.queue.to_string()).collect();
    assert_eq!(listed, (0..most).map(|n| format!("q{n:03}")).collect::<Vec<_>>());
    assert_eq!(stats.other_queues, 7);
    assert_eq!(stats.other_states, [(State::Queued, 10), (State::Running, 1), (State::Completed, 1)].into());
    assert_eq!((stats.counts.len(), stats.other_counts), (2 * most, (12, 12)));
    let shown: u64 = stats.counts.iter().map(|count| count.tasks).sum();
    assert_eq!(shown + stats.other_counts.1, stats.states.values().sum::<u64>(), "nothing is left untold");
}

/// Each worker is counted once, by its status: as alive while it beats, and as busy if it holds a task too; as silent if
/// it has claimed and not beaten yet; as lost when it no longer beats; as gone once it has said that it ends.
pub async fn statistics_count_every_worker_by_its_status(b: Bench) {
    for worker in ["busy", "dead", "quiet"] {
        b.running(at(0), worker, b.spec("render")).await;
    }
    b.nothing(claim("also-quiet", at(0)).queues(&["empty"])).await;
    for worker in ["busy", "idle", "dead", "ended"] {
        b.beat(beat(worker, at(0))).await;
    }
    let counts = async |now| {
        b.settle().await;
        let counts = b.store().stats(now).await.unwrap().workers;
        let mut recount = WorkerCounts::default();
        for detail in pages(2, |page| async { b.store().workers(page).await }).await {
            recount.add(detail.worker.status(&LeasePolicy::default(), now), detail.active > 0);
        }
        assert_eq!(counts, recount, "the counts and the list agree");
        [counts.alive, counts.busy, counts.silent, counts.lost, counts.gone]
    };
    assert_eq!(counts(at(60)).await, [4, 2, 2, 0, 0]);
    b.beat(beat("busy", at(50))).await;
    b.beat(beat("idle", at(50))).await;
    b.beat(Beat { ending: true, ..beat("ended", at(50)) }).await;
    assert_eq!(counts(at(61)).await, [2, 1, 2, 1, 1]);
    b.beat(beat("quiet", at(61))).await;
    assert_eq!(counts(at(61)).await, [3, 2, 1, 1, 1]);
    assert_eq!(counts(at(200)).await, [0, 0, 1, 4, 1]);
}

/// The longest wait is that of the task that is first due, in whatever queue and of whatever priority; tasks for later,
/// and those that run or have ended, wait for nobody.
pub async fn the_longest_wait_is_told_over_all_queues(b: Bench) {
    let longest = async |now| {
        b.settle().await;
        let waiting = b.store().waiting(now).await.unwrap();
        assert_eq!(waiting.unseen, 0);
        waiting.longest.map(|(queue, age)| (queue.to_string(), age))
    };
    assert_eq!(longest(at(0)).await, None);
    b.create(at(0), b.spec("render").queue("later").due(at(500))).await;
    assert_eq!(longest(at(10)).await, None);
    b.create(at(10), b.spec("render").queue("b")).await;
    b.create(at(20), b.spec("render").queue("a").priority(Priority::High)).await;
    b.pause(at(20), "b", true).await;
    assert_eq!(longest(at(30)).await, Some(("b".to_owned(), secs(20))), "also in a paused queue");
    b.pause(at(30), "b", false).await;
    b.claim_one(claim("w1", at(40)).queues(&["b"])).await;
    assert_eq!(longest(at(40)).await, Some(("a".to_owned(), secs(20))));
    b.claim_one(claim("w1", at(40)).queues(&["a"])).await;
    assert_eq!(longest(at(40)).await, None);
    assert_eq!(longest(at(501)).await, Some(("later".to_owned(), secs(1))));
}

/// Percentiles of waiting and running times lie within the bucket width of the true ones, and leave out what is older
/// than a day.
pub async fn percentiles_tell_waiting_and_running_times(b: Bench) {
    // The n-th of a hundred waits n seconds and then runs for 10·n seconds.
    b.create_plain(at(0), 100).await;
    for n in 1..=100 {
        let held = b.claim_one(claim("w1", at(n))).await;
        b.complete(at(n + 10 * n), &held).await;
    }
    let failed = b.running(at(2_000), "w1", b.spec("other").queue("other")).await;
    b.fail(failing(at(2_001), &failed)).await;
    b.settle().await;
    let near = |told: std::time::Duration, low: f64, high: f64| {
        let told = told.as_secs_f64();
        // Half a rank either way, and 5% of bucket width.
        assert!((low * 0.95..=high * 1.05).contains(&told), "{told} s between {low} and {high}");
    };
    let queue = b.store().queue(&name("default"), at(2_000)).await.unwrap();
    assert_eq!((queue.wait.count, queue.run.count), (100, 100));
    for (times, scale) in [(queue.wait, 1.0), (queue.run, 10.0)] {
        near(times.p50, 49.0 * scale, 51.0 * scale);
        near(times.p95, 94.0 * scale, 96.0 * scale);
        near(times.p99, 98.0 * scale, 100.0 * scale);
    }
    let other = b.store().queue(&name("other"), at(2_001)).await.unwrap();
    assert_eq!((other.wait.count, other.run.count), (1, 0), "only completions count as run");
    let stats = b.store().stats(at(2_000)).await.unwrap();
    let same = stats.queues.iter().find(|one| one.queue == name("default")).unwrap();
    assert_eq!((same.wait, same.run), (queue.wait, queue.run));

    let later = b.store().queue(&name("default"), at(2_000 + 26 * 3_600)).await.unwrap();
    assert_eq!((later.wait, later.run), Default::default());
}

/// How long a task ran is what its worker says, so that what the completion waited for a server is no part of it; but never
/// more than from its claim to its completion. What is said makes no two completions differ.
pub async fn a_run_lasts_as_long_as_its_worker_says_and_no_longer_than_it_can(b: Bench) {
    let mut completed = Vec::new();
    for (ran, lasted) in [(Some(secs(2)), 2), (Some(secs(500)), 100), (None, 100)] {
        let held = b.running(at(0), "w1", b.spec("render").queue("q")).await;
        let complete = Complete { ran, ..b.completion(at(100), &held) };
        let generation = b.store().complete(complete.clone(), None).await.unwrap().generation;
        assert_eq!((generation.ran, generation.run_time()), (ran, secs(lasted)));
        let again = Complete { now: at(200), ran: Some(secs(7)), ..complete };
        let again = b.store().complete(again, None).await.unwrap();
        assert_eq!((again.repeated, &again.generation), (true, &generation));
        completed.push(generation);
    }
    completed.reverse();
    b.settle().await;
    for generation in &completed {
        assert_eq!(b.task(generation.task).await.generation.as_ref(), Some(generation));
    }
    let run = b.store().queue(&name("q"), at(300)).await.unwrap().run;
    let near = |told: std::time::Duration, wanted: f64| (told.as_secs_f64() / wanted - 1.0).abs() < 0.06;
    assert!(run.count == 3 && near(run.p50, 100.0) && near(run.p99, 100.0), "{run:?}");
    let held = b.running(at(0), "w1", b.spec("render").queue("quick")).await;
    b.store().complete(Complete { ran: Some(secs(2)), ..b.completion(at(100), &held) }, None).await.unwrap();
    b.settle().await;
    let run = b.store().queue(&name("quick"), at(300)).await.unwrap().run;
    assert!(run.count == 1 && near(run.p50, 2.0), "{run:?}");
    b.check(at(300)).await;
}

/// The waiting time counts from when the task was ready, not from its creation, and for each attempt anew.
pub async fn waiting_counts_from_when_the_task_was_ready(b: Bench) {
    b.create(at(0), b.spec("render").due(at(1_000))).await;
    let held = b.claim_one(claim("w1", at(1_010))).await;
    b.release(Release { delay: secs(500), ..releasing(at(1_010), &held) }).await;
    b.claim_one(claim("w1", at(1_520))).await;
    b.settle().await;
    let wait = b.store().queue(&name("default"), at(1_600)).await.unwrap().wait;
    assert_eq!(wait.count, 2);
    let told = wait.p99.as_secs_f64();
    assert!((9.5..=10.5).contains(&told), "{told} s, expected about 10");

    // Before its creation a task was not ready, whatever time it was made for.
    b.create(at(2_000), b.spec("render").queue("past").due(at(5))).await;
    b.claim_one(claim("w1", at(2_010)).queues(&["past"])).await;
    b.settle().await;
    let told = b.store().queue(&name("past"), at(2_011)).await.unwrap().wait.p99.as_secs_f64();
    assert!((9.5..=10.5).contains(&told), "{told} s, expected about 10");
}

/// An open store says that it can be read and written, and changes nothing by that.
pub async fn an_open_store_can_be_read_and_written(b: Bench) {
    b.store().health().await.all().unwrap();
    let id = b.create(at(0), b.spec("render")).await;
    let health = b.store().health().await;
    assert!(health.read.is_ok() && health.write.is_ok(), "{health:?}");
    assert_eq!(b.state(id).await, State::Queued);
}

/// A store that tells its sizes tells the same ones with its health, counts every task once, and has room.
pub async fn the_sizes_of_a_store_follow_what_it_holds(b: Bench) {
    let Some(empty) = b.store().sizes().await.unwrap() else { return };
    assert_eq!(empty.tasks, 0);
    for _ in 0..3 {
        b.create(at(0), b.spec("render")).await;
    }
    let held = b.claim_one(claim("w1", at(1))).await;
    b.complete(at(2), &held).await;
    let sizes = b.store().sizes().await.unwrap().unwrap();
    assert_eq!(sizes.tasks, 3);
    assert!(sizes.free_bytes <= sizes.file_bytes && sizes.room_bytes != Some(0), "{sizes:?}");
    let told = b.store().health().await.sizes.unwrap();
    assert_eq!((told.tasks, told.file_bytes), (sizes.tasks, sizes.file_bytes));
}
