//! Queries: filters, pages, and what a store says of itself.

use std::collections::BTreeSet;

use baton_model::queue::Pause;
use baton_model::{RunAfter, State, Status, Task, TaskId, TaskSpec, Timestamp};

use super::kit::*;
use crate::{
    Cursor, ErrorKind, Fail, GenerationFilter, LogFilter, PageRequest, PauseQueue, Release, StoreError,
    TaskFilter,
};

/// Tasks of every status, in several queues and so on, so that every filter keeps some and drops some. All at 1,000 s.
pub(super) async fn motley(b: &Bench) -> Vec<Task> {
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
        let later = RunAfter::At(at(5_000));
        let created = at(n * 10);
        let worker = pick(&["w1", "w2"], 1);
        let status = Status::ALL[n as usize % Status::ALL.len()];
        if status == Status::Created {
            ids.push(b.create(created, TaskSpec { run_after: later, ..spec }).await);
            continue;
        }
        if status == Status::Blocked {
            // It waits for the one that comes next: of one batch, so that each is where the list expects it.
            let waited = b.task_id();
            let first = TaskSpec { id: waited, run_after: RunAfter::At(at(900)), ..spec.clone() };
            let spec = TaskSpec { depends_on: vec![waited], ..spec };
            ids.extend(b.create_all(created, vec![first, TaskSpec { id: b.task_id(), ..spec }]).await);
            continue;
        }
        let held = if matches!(status, Status::Queued) {
            ids.push(b.create(created, TaskSpec { run_after: RunAfter::At(at(900)), ..spec }).await);
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
            Status::Blocked | Status::Created | Status::Queued | Status::Running => {}
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
    let mut random = super::split_mix::SplitMix(7);
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
            filter.statuses.push(Status::ALL[random.below(Status::ALL.len() as u64) as usize]);
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

/// An open store says that it can be read and written, and changes nothing by that.
pub async fn an_open_store_can_be_read_and_written(b: Bench) {
    b.store().health().await.all().unwrap();
    let id = b.create(at(0), b.spec("render")).await;
    let health = b.store().health().await;
    assert!(health.read.is_ok() && health.write.as_ref().is_some_and(Result::is_ok), "{health:?}");
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

/// A history of any length is read by pages; a task is shown with the latest of it.
pub async fn a_long_history_is_read_by_pages(b: Bench) {
    let id = b.create(at(0), b.spec("render").attempts(1_000)).await;
    for round in 0..70 {
        let held = b.claim_one(claim("w1", at(round))).await;
        // Some are large enough to be kept apart, where there is such a thing.
        let mut failing = failing(at(round), &held);
        failing.failure.message = "x".repeat(if round % 7 == 0 { 700 } else { 10 });
        failing.retry_after = Some(std::time::Duration::ZERO);
        b.fail(failing).await;
    }
    let read = async |after: Option<&str>, limit| {
        let after = after.map(|text| Cursor(text.to_owned()));
        b.store().history(id, PageRequest { after, limit, in_parts: false }).await
    };
    let (mut whole, mut after, mut looks) = (Vec::new(), None, 0);
    loop {
        let page = read(after.as_deref(), 9).await.unwrap();
        assert!(page.items.len() <= 9);
        whole.extend(page.items);
        looks += 1;
        match page.next {
            Some(next) => after = Some(next.0),
            None => break,
        }
    }
    assert!(looks >= 16, "{looks} pages");
    let seqs: Vec<_> = whole.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=141).collect::<Vec<_>>());
    assert!(whole.windows(2).all(|pair| pair[1].from == Some(pair[0].to)), "states go on over pages");
    assert_eq!(read(None, 1_000).await.unwrap().items, whole, "pages of any size give the same");
    let detail = b.task(id).await;
    assert_eq!(detail.task.head.events, 141);
    assert_eq!(detail.history, whole[41..], "the latest hundred are shown with it");

    let last = read(Some("140"), 9).await.unwrap();
    assert_eq!((last.items.as_slice(), last.next), (&whole[140..], None));
    for behind in ["141", "65535", "4294967295"] {
        let page = read(Some(behind), 9).await.unwrap();
        assert_eq!((page.items, page.next), (Vec::new(), None), "{behind}");
    }
    for wrong in ["", "x", "-1", "4294967296"] {
        assert!(matches!(read(Some(wrong), 9).await, Err(StoreError::BadCursor)), "{wrong}");
    }
    let unknown = b.task_id();
    let read = b.store().history(unknown, PageRequest::first(9)).await;
    assert!(matches!(read, Err(StoreError::TaskNotFound(id)) if id == unknown));
    b.check(at(100)).await;
}
