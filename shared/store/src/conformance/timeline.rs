//! The time line: what happened is told once, in its order, by whichever filter and in pages of whichever size.

use std::sync::Arc;

use baton_model::{
    EventKind, Happened, Level, LogLine, Particulars, Source, Task, TaskId, TimelineEntry, TimelineFilter,
    Timestamp,
};

use super::audit::{entry, recorded};
use super::kit::*;
use super::schedules;
use crate::{Beat, Create, Remove, Settled, Store, StoreError};

fn line(worker: &str, about: Option<TaskId>, level: Level, message: &str) -> LogLine {
    LogLine {
        at: at(0),
        received_at: at(0),
        worker: name(worker),
        task: about,
        level,
        source: "stderr".to_owned(),
        message: message.to_owned(),
        metadata: None,
    }
}

#[expect(clippy::print_stdout, reason = "what was measured is asked for")]
fn say(what: &str) {
    println!("{what}");
}

fn of_task(id: TaskId) -> TimelineFilter {
    TimelineFilter { task: Some(id), ..TimelineFilter::default() }
}

/// Every entry of a filter, by pages of `limit`.
async fn told(b: &Bench, filter: &TimelineFilter, limit: u32) -> Vec<TimelineEntry> {
    b.settle().await;
    pages(limit, |page| async { b.store().timeline(filter.clone(), page).await }).await
}

/// What entries say, the oldest first: seconds, source and the first words.
fn words(entries: &[TimelineEntry]) -> Vec<(i64, Source, String)> {
    let say = |entry: &TimelineEntry| {
        let words: Vec<_> = entry.message.split(' ').take(2).collect();
        ((entry.at.as_millis() - at(0).as_millis()) / 1_000, entry.source, words.join(" "))
    };
    entries.iter().rev().map(say).collect()
}

fn said<const N: usize>(of: [(i64, Source, &str); N]) -> Vec<(i64, Source, String)> {
    of.into_iter().map(|(at, source, words)| (at, source, words.to_owned())).collect()
}

/// A task that failed once and was completed by another worker, with lines about it and about nothing.
async fn story(b: &Bench) -> Task {
    let held = b.running(at(1), "w1", b.spec("a").queue("gpu").project("film")).await;
    let id = held.head.id;
    let logs = vec![
        line("w1", Some(id), Level::Info, "begins"),
        line("w1", Some(id), Level::Error, "breaks down"),
        line("w1", None, Level::Debug, "idle now"),
    ];
    b.beat(Beat { logs, ..beat("w1", at(2)) }).await;
    b.fail(failing(at(3), &held)).await;
    let held = b.claim_one(crate::Claim { queues: vec![name("gpu")], ..claim("w2", at(20)) }).await;
    b.beat(Beat { logs: vec![line("w2", Some(id), Level::Info, "again")], ..beat("w2", at(20)) }).await;
    b.complete(at(21), &held).await;
    b.task(id).await.task
}

/// The history of a task and the lines about it come as one list, whatever the size of pages; an event of the moment of a line
/// is before it.
pub async fn a_task_s_events_and_lines_are_one_time_line(b: Bench) {
    let other = b.running(at(1), "w3", b.spec("b")).await;
    b.beat(Beat { logs: vec![line("w3", Some(other.head.id), Level::Info, "x")], ..beat("w3", at(2)) }).await;
    let id = story(&b).await.head.id;
    for limit in [1, 2, 3, 100] {
        let entries = told(&b, &of_task(id), limit).await;
        let wanted = said([
            (1, Source::Event, "created"),
            (1, Source::Event, "claimed by"),
            (2, Source::Log, "begins"),
            (2, Source::Log, "breaks down"),
            (3, Source::Event, "attempt 1"),
            (20, Source::Event, "claimed by"),
            (20, Source::Log, "again"),
            (21, Source::Event, "completed by"),
        ]);
        assert_eq!(words(&entries), wanted, "pages of {limit}");
        assert!(
            entries.iter().all(
                |entry| entry.task == Some(id) && entry.worker.is_some() || entry.source == Source::Event
            )
        );
        assert!(entries.iter().all(|entry| entry.project == Some(name("film"))));
    }
    let history = b.task(id).await.history;
    let entries = told(&b, &of_task(id), 100).await;
    let told = entries.into_iter().rev().filter_map(|entry| match entry.particulars {
        Particulars::Event(event) => Some(*event),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), history);
}

/// However many lines there are about a task, its first page is its newest entries, and comes at once.
///
/// `BATON_TEST_LINES=10000` has so many, and tells and bounds the time; without it, a few hundred are to be told rightly.
pub async fn the_first_page_of_a_task_with_many_lines_is_its_newest(b: Bench) {
    /// How long it may take.
    const BAR: std::time::Duration = std::time::Duration::from_millis(50);
    let measured: Option<usize> = std::env::var("BATON_TEST_LINES").ok().and_then(|text| text.parse().ok());
    let lines = measured.unwrap_or(600);
    let id = b.running(at(1), "w1", b.spec("a")).await.head.id;
    // Of lines that two heartbeats of one millisecond bring, either may be told as the newer one.
    for (second, first) in (2..).zip((0..lines).step_by(200)) {
        let logs =
            (first..lines.min(first + 200)).map(|n| line("w1", Some(id), Level::Info, &format!("line {n}")));
        b.beat(Beat { logs: logs.collect(), ..beat("w1", at(second)) }).await;
    }
    b.settle().await;
    let page = || crate::PageRequest::first(50);
    let newest = b.store().timeline(of_task(id), page()).await.unwrap();
    let told: Vec<_> = newest.items.iter().map(|entry| entry.message.clone()).collect();
    let wanted: Vec<_> = (0..50).map(|n| format!("line {}", lines - 1 - n)).collect();
    assert_eq!(told, wanted);
    assert!(newest.next.is_some());
    if measured.is_some() {
        // The shortest of a few: others have the machine, too.
        let mut best = std::time::Duration::MAX;
        for _ in 0..9 {
            let begun = std::time::Instant::now();
            b.store().timeline(of_task(id), page()).await.unwrap();
            best = best.min(begun.elapsed());
        }
        say(&format!("the first page of {lines} lines: {best:?}"));
        assert!(best < BAR, "{best:?}");
    }
}

/// Of a task, each filter keeps what fits.
pub async fn the_time_line_of_a_task_is_filtered(b: Bench) {
    let id = story(&b).await.head.id;
    let all = told(&b, &of_task(id), 100).await;
    let filters = [
        TimelineFilter { level: Some(Level::Warn), ..of_task(id) },
        TimelineFilter { level: Some(Level::Error), ..of_task(id) },
        TimelineFilter { worker: Some(name("w1")), ..of_task(id) },
        TimelineFilter { from: Some(at(3)), ..of_task(id) },
        TimelineFilter { before: Some(at(3)), ..of_task(id) },
        TimelineFilter { from: Some(at(2)), before: Some(at(20)), ..of_task(id) },
        TimelineFilter { events_only: true, ..of_task(id) },
        TimelineFilter { queue: Some(name("gpu")), ..of_task(id) },
        TimelineFilter { queue: Some(name("cpu")), ..of_task(id) },
        TimelineFilter { project: Some(name("game")), ..of_task(id) },
    ];
    for filter in filters {
        let wanted: Vec<_> = all.iter().filter(|entry| filter.fits(entry)).cloned().collect();
        for limit in [1, 3, 100] {
            assert_eq!(told(&b, &filter, limit).await, wanted, "{filter:?} by {limit}");
        }
    }
}

/// By a worker, the lines are told that it wrote.
pub async fn a_worker_s_lines_are_told(b: Bench) {
    let id = story(&b).await.head.id;
    let filter = TimelineFilter { worker: Some(name("w1")), ..TimelineFilter::default() };
    for limit in [1, 2, 100] {
        let lines = told(&b, &filter, limit).await;
        let lines: Vec<_> = lines.into_iter().filter(|entry| entry.source == Source::Log).collect();
        let wanted =
            [(2, Source::Log, "begins"), (2, Source::Log, "breaks down"), (2, Source::Log, "idle now")];
        assert_eq!(words(&lines), said(wanted));
        assert_eq!(lines[2].task, Some(id));
        assert_eq!((lines[2].queue.clone(), lines[0].queue.clone()), (Some(name("gpu")), None));
    }
}

/// Of a task that was removed, the lines about it are left, and of one that there never was, nothing.
pub async fn a_task_that_is_gone_leaves_its_lines(b: Bench) {
    let id = story(&b).await.head.id;
    b.store().remove(Remove { now: at(30), task: id }).await.unwrap();
    let entries = told(&b, &of_task(id), 2).await;
    assert_eq!(entries.len(), 3);
    assert!(entries.iter().all(|entry| entry.source == Source::Log && entry.queue.is_none()));
    assert_eq!(told(&b, &of_task(b.task_id()), 2).await, []);
}

/// A store without an order of all events says so, and by what it can tell; one with it tells all.
pub async fn what_has_no_order_is_refused(b: Bench) {
    let all = b.store().timeline(TimelineFilter::default(), crate::PageRequest::first(5)).await;
    if b.store().capabilities().feed {
        assert!(all.is_ok());
        assert_eq!(b.store().feed_head().await.unwrap(), 0);
        return;
    }
    assert_err!(all, StoreError::NotTold { .. });
    let queue = TimelineFilter { queue: Some(name("gpu")), ..TimelineFilter::default() };
    assert_err!(b.store().timeline(queue, crate::PageRequest::first(5)).await, StoreError::NotTold { .. });
    let events = TimelineFilter { worker: Some(name("w")), events_only: true, ..TimelineFilter::default() };
    assert_err!(b.store().timeline(events, crate::PageRequest::first(5)).await, StoreError::NotTold { .. });
    assert_err!(b.store().feed(0, 5).await, StoreError::NotTold { .. });
    assert_err!(b.store().feed_head().await, StoreError::NotTold { .. });
    assert_err!(b.store().feed_beyond(0).await, StoreError::NotTold { .. });
}

/// All events behind a position, by parts of `limit`.
async fn fed(store: &dyn Store, mut after: u64, limit: u32) -> Vec<(u64, TimelineEntry)> {
    let head = store.feed_head().await.unwrap();
    let mut all = Vec::new();
    while after < head {
        let part = store.feed(after, limit).await.unwrap();
        assert!(part.items.len() <= limit as usize && part.up_to > after);
        assert!(part.items.iter().all(|(position, _)| (after + 1..=part.up_to).contains(position)));
        after = part.up_to;
        all.extend(part.items);
    }
    // Others may write meanwhile.
    assert!(after >= head);
    all
}

fn positions(fed: &[(u64, TimelineEntry)]) -> Vec<u64> {
    fed.iter().map(|(position, _)| *position).collect()
}

fn kinds(fed: &[(u64, TimelineEntry)]) -> Vec<(TaskId, EventKind)> {
    let kind = |entry: &TimelineEntry| match &entry.particulars {
        Particulars::Event(event) => Some((entry.task?, event.kind)),
        _ => None,
    };
    fed.iter().filter_map(|(_, entry)| kind(entry)).collect()
}

/// Events of all tasks have one order, that of their commits, and positions without gaps.
pub async fn all_events_have_one_order(b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    let ids = b.create_plain(at(1), 3).await;
    let held = b.claim_one(claim("w1", at(2))).await;
    // A clock that was set back changes no order.
    b.cancel(at(0), ids[2]).await;
    b.complete(at(3), &held).await;
    let wanted = vec![
        (ids[0], EventKind::Created),
        (ids[1], EventKind::Created),
        (ids[2], EventKind::Created),
        (ids[0], EventKind::Claimed),
        (ids[2], EventKind::Cancelled),
        (ids[0], EventKind::Completed),
    ];
    for limit in [1, 2, 5, 100] {
        let fed = fed(&*b.store(), 0, limit).await;
        assert_eq!(kinds(&fed), wanted);
        assert_eq!(positions(&fed), [1, 2, 3, 4, 5, 6]);
    }
    assert_eq!(kinds(&fed(&*b.store(), 4, 1).await), wanted[4..]);
    // What changes nothing has no place.
    b.cancel(at(5), ids[2]).await;
    assert_eq!(b.store().feed_head().await.unwrap(), 6);
    assert_eq!(b.store().feed(6, 5).await.unwrap().items, []);
    assert_eq!(b.store().feed(900, 5).await.unwrap().items, []);
}

/// Positions go on after a restart where they were.
pub async fn the_order_of_events_goes_on_after_a_restart(mut b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    b.create_plain(at(1), 3).await;
    let before = fed(&*b.store(), 0, 100).await;
    b.reopen().await;
    assert_eq!(b.store().feed_head().await.unwrap(), 3);
    assert_eq!(fed(&*b.store(), 0, 2).await, before);
    b.claim_one(claim("w1", at(2))).await;
    assert_eq!(positions(&fed(&*b.store(), 2, 100).await), [3, 4]);
}

/// Events of tasks that were removed are passed over; no position is used again, also if all is gone.
pub async fn removed_tasks_are_passed_over_and_positions_stay(mut b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    let mut ids = Vec::new();
    for seconds in 0..20 {
        let held = b.running(at(seconds), "w1", b.spec("a")).await;
        b.complete(at(seconds), &held).await;
        ids.push(held.head.id);
    }
    for id in &ids[..19] {
        b.store().remove(Remove { now: at(100), task: *id }).await.unwrap();
    }
    let left = fed(&*b.store(), 0, 7).await;
    assert_eq!(positions(&left), [58, 59, 60]);
    for _ in 0..5 {
        b.purge(crate::Purge::at(at(100))).await;
    }
    assert_eq!(fed(&*b.store(), 0, 7).await, left);
    b.store().remove(Remove { now: at(100), task: ids[19] }).await.unwrap();
    for _ in 0..5 {
        b.purge(crate::Purge::at(at(100))).await;
    }
    b.reopen().await;
    let new = b.create(at(200), b.spec("a")).await;
    let fed = fed(&*b.store(), 0, 7).await;
    assert_eq!((positions(&fed), kinds(&fed)), (vec![61], vec![(new, EventKind::Created)]));
    assert_eq!(
        words(&told(&b, &TimelineFilter { events_only: true, ..TimelineFilter::default() }, 3).await).len(),
        1
    );
}

/// Whoever waits for the next event is woken by its commit.
pub async fn an_event_wakes_who_waits_for_it(b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    b.create_plain(at(1), 1).await;
    assert_eq!(b.store().feed_beyond(0).await.unwrap(), 1);
    let store = b.store();
    let waits = tokio::spawn(async move { store.feed_beyond(1).await.unwrap() });
    b.create_plain(at(2), 1).await;
    assert!(waits.await.unwrap() >= 2);
}

/// A reader that goes along with writers meets each event once, and those of a task in their order.
pub async fn a_reader_beside_writers_meets_each_event_once(b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    const WRITERS: u64 = 4;
    const TASKS: u64 = 25;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = b.store();
            tokio::spawn(async move {
                for n in 0..TASKS {
                    let id = TaskId::from_bytes(counted_id(1_000_000 + writer * 1_000 + n));
                    let spec = plain_spec(id, "a");
                    store.create(creation(at(n), vec![spec])).await.unwrap();
                    store.cancel(cancel(at(n), id)).await.unwrap();
                }
            })
        })
        .collect();
    let all = 2 * WRITERS * TASKS;
    let (mut met, mut after) = (Vec::new(), 0);
    while after < all {
        let head = b.store().feed_beyond(after).await.unwrap();
        met.extend(fed(&*b.store(), after, 7).await);
        after = met.last().map_or(after, |(position, _)| *position);
        assert!(after >= head);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(positions(&met), (1..=all).collect::<Vec<_>>());
    let mut per_task = std::collections::BTreeMap::<_, Vec<_>>::new();
    for (task, kind) in kinds(&met) {
        per_task.entry(task).or_default().push(kind);
    }
    assert_eq!(per_task.len() as u64, WRITERS * TASKS);
    assert!(per_task.values().all(|kinds| kinds == &[EventKind::Created, EventKind::Cancelled]));
}

/// Something of each source.
async fn all_of_it(b: &Bench) -> TaskId {
    let store = b.store();
    store.note_happened(at(0), Happened::ServerStarted { version: "1.2".to_owned() }).await.unwrap();
    let id = story(b).await.head.id;
    let asked = recorded(b, entry(b, at(22))).await;
    store.settle(asked, Settled::with(200)).await.unwrap();
    let schedule = schedules::key("film", "nightly");
    let by = Some(name(&format!("schedule {}", schedule.name)));
    b.send(Create { by, ..creation(at(30), vec![b.spec("c").project("film")]) }).await.unwrap();
    b.claim_one(claim("w3", at(31))).await;
    assert_eq!(b.reap(at(300)).await.len(), 1);
    b.beat(Beat { ending: true, ..beat("w2", at(301)) }).await;
    id
}

/// Events, lines, requests, what became of workers, rounds of the reaper and starts of servers come as one list.
pub async fn all_sources_are_one_time_line(b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    all_of_it(&b).await;
    let wanted = said([
        (0, Source::Server, "server 1.2"),
        (1, Source::Worker, "started"),
        (1, Source::Event, "created"),
        (1, Source::Event, "claimed by"),
        (2, Source::Log, "begins"),
        (2, Source::Log, "breaks down"),
        (2, Source::Log, "idle now"),
        (3, Source::Event, "attempt 1"),
        (20, Source::Worker, "started"),
        (20, Source::Event, "claimed by"),
        (20, Source::Log, "again"),
        (21, Source::Event, "completed by"),
        (22, Source::Audit, "pause_queue /v1/queues/default/pause"),
        (30, Source::Event, "created by"),
        (31, Source::Worker, "started"),
        (31, Source::Event, "claimed by"),
        (300, Source::Worker, "lost 1"),
        (300, Source::Worker, "fell silent:"),
        (300, Source::Worker, "fell silent:"),
        (300, Source::Reaper, "the reaper"),
        (300, Source::Event, "attempt 1"),
        (301, Source::Worker, "ended"),
    ]);
    for limit in [1, 4, 100] {
        let mut found = words(&told(&b, &TimelineFilter::default(), limit).await);
        // Both are of one source of the store, where the round is the later.
        found.sort_by_key(|(at, source, _)| {
            (*at, *source == Source::Event || *source == Source::Log, *source == Source::Reaper)
        });
        let mut wanted = wanted.clone();
        wanted.sort_by_key(|(at, source, _)| {
            (*at, *source == Source::Event || *source == Source::Log, *source == Source::Reaper)
        });
        assert_eq!(found, wanted, "pages of {limit}");
    }
}

/// Which workers were told to be lost, when and with how many tasks, the first one first.
async fn losses(b: &Bench) -> Vec<(i64, String, u64)> {
    let all = told(b, &TimelineFilter::default(), 100).await;
    let lost = |entry: &TimelineEntry| match &entry.particulars {
        Particulars::Happened(what) => match &**what {
            Happened::WorkerLost { worker, tasks, .. } => {
                Some(((entry.at.as_millis() - at(0).as_millis()) / 1_000, worker.to_string(), *tasks))
            }
            _ => None,
        },
        _ => None,
    };
    all.iter().rev().filter_map(lost).collect()
}

/// A worker that falls silent and holds nothing is told of once, and once more each time that it comes back and falls silent anew; not one that
/// lost tasks, of which those tell, nor one that has said that it ends or never beat.
pub async fn a_worker_that_falls_silent_is_told_of_once(mut b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    let these = |of: &[(i64, &str, u64)]| -> Vec<(i64, String, u64)> {
        of.iter().map(|(at, worker, tasks)| (*at, (*worker).to_owned(), *tasks)).collect()
    };
    b.beat(beat("idle", at(0))).await;
    b.running(at(1), "busy", b.spec("a")).await;
    b.beat(beat("busy", at(1))).await;
    b.beat(Beat { ending: true, ..beat("ended", at(2)) }).await;
    assert_eq!(b.reap(at(3)).await, []);
    assert_eq!(losses(&b).await, these(&[]));
    assert_eq!(b.reap(at(300)).await.len(), 1);
    let mut wanted = vec![(300, "busy", 1), (300, "idle", 0)];
    assert_eq!(losses(&b).await, these(&wanted));
    for seconds in [301, 400] {
        assert_eq!(b.reap(at(seconds)).await, []);
        b.reopen().await;
    }
    assert_eq!(losses(&b).await, these(&wanted), "each once, over a restart, too");
    b.beat(beat("idle", at(500))).await;
    assert_eq!(b.reap(at(501)).await, []);
    assert_eq!(losses(&b).await, these(&wanted), "it is back");
    assert_eq!(b.reap(at(800)).await, []);
    wanted.push((800, "idle", 0));
    assert_eq!(losses(&b).await, these(&wanted));
    // What is asked of one worker or queue alone is no look at all of them.
    b.beat(beat("idle", at(900))).await;
    let of_one = crate::Reap { worker: Some(name("idle")), ..reap(at(1_200)) };
    b.store().reap(of_one).await.unwrap();
    assert_eq!(losses(&b).await, these(&wanted));
    // One that claims after its last beat lives by that, and is told of with what it loses.
    b.beat(beat("late", at(1_300))).await;
    b.running(at(1_350), "late", b.spec("a").queue("other")).await;
    assert_eq!(b.reap(at(1_365)).await, []);
    wanted.push((1_365, "idle", 0));
    assert_eq!(losses(&b).await, these(&wanted));
    assert_eq!(b.reap(at(1_500)).await.len(), 1);
    wanted.push((1_500, "late", 1));
    assert_eq!(losses(&b).await, these(&wanted));
}

/// Has a request of an operator be recorded that was about this path.
async fn asked(b: &Bench, seconds: u64, target: String) {
    let asked = crate::AuditEntry { target, ..entry(b, at(seconds)) };
    let asked = recorded(b, asked).await;
    b.store().settle(asked, Settled::with(200)).await.unwrap();
}

/// By a task, the requests of operators are told that were about it: those whose path names it, and no others.
pub async fn requests_about_a_task_are_told_by_it(b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    let ids = b.create_plain(at(1), 2).await;
    asked(&b, 2, format!("/v1/tasks/{}/retry", ids[0])).await;
    asked(&b, 3, format!("/v1/tasks/{}/cancel", ids[1])).await;
    asked(&b, 4, format!("/v1/tasks/{}", ids[0])).await;
    asked(&b, 5, "/v1/queues/default/pause".to_owned()).await;
    asked(&b, 6, format!("/v1/tasks/{}x/cancel", ids[0])).await;
    for limit in [1, 2, 100] {
        let entries = told(&b, &of_task(ids[0]), limit).await;
        let requests: Vec<_> = entries.iter().filter(|entry| entry.source == Source::Audit).collect();
        let seconds = requests.iter().map(|entry| (entry.at.as_millis() - at(0).as_millis()) / 1_000);
        assert_eq!(seconds.collect::<Vec<_>>(), [4, 2], "pages of {limit}");
        assert!(requests.iter().all(|entry| entry.task == Some(ids[0])));
        assert_eq!(entries.len(), 3, "with its creation");
    }
    let filter = TimelineFilter { from: Some(at(3)), before: Some(at(5)), ..of_task(ids[0]) };
    assert_eq!(told(&b, &filter, 2).await.len(), 1);
    let events = TimelineFilter { events_only: true, ..of_task(ids[0]) };
    assert!(told(&b, &events, 2).await.iter().all(|entry| entry.source == Source::Event));
    // Of a task that is gone, they are left.
    b.cancel(at(7), ids[0]).await;
    b.store().remove(Remove { now: at(8), task: ids[0] }).await.unwrap();
    assert_eq!(told(&b, &of_task(ids[0]), 1).await.len(), 2);
}

/// What rules for readings ask of workers, and alerts about queues, are found by the worker and by the queue.
pub async fn what_is_noted_of_workers_and_queues_is_found_by_them(b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    let why = || "temp is 91, over 85 for 60 s (rule hot)".to_owned();
    let (alert, subject, message) = (name("deep"), "gpu".to_owned(), "12 tasks wait in queue gpu".to_owned());
    for (seconds, happened) in [
        (1, Happened::WorkerDrained { worker: name("w1"), why: why() }),
        (2, Happened::AlertFired { alert, subject, queue: Some(name("gpu")), message }),
        (3, Happened::WorkerResumed { worker: name("w1"), why: why() }),
    ] {
        b.store().note_happened(at(seconds), happened).await.unwrap();
    }
    let of_worker = TimelineFilter { worker: Some(name("w1")), ..TimelineFilter::default() };
    let wanted = said([(1, Source::Worker, "is to"), (3, Source::Worker, "goes on:")]);
    assert_eq!(words(&told(&b, &of_worker, 1).await), wanted);
    let of_queue = TimelineFilter { queue: Some(name("gpu")), ..TimelineFilter::default() };
    assert_eq!(words(&told(&b, &of_queue, 1).await), said([(2, Source::Alert, "alert deep")]));
}

/// Each filter on the whole time line keeps what fits.
pub async fn the_whole_time_line_is_filtered(b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    let id = all_of_it(&b).await;
    let all = Arc::new(told(&b, &TimelineFilter::default(), 100).await);
    let none = TimelineFilter::default;
    let of = |from: u64, before: u64| (Some(at(from)), Some(at(before)));
    let within =
        |(from, before): (Option<Timestamp>, Option<Timestamp>)| TimelineFilter { from, before, ..none() };
    let filters = [
        TimelineFilter { worker: Some(name("w1")), ..none() },
        TimelineFilter { worker: Some(name("nobody")), ..none() },
        TimelineFilter { queue: Some(name("gpu")), ..none() },
        TimelineFilter { queue: Some(name("default")), ..none() },
        TimelineFilter { project: Some(name("film")), ..none() },
        TimelineFilter { schedule: Some(name("nightly")), ..none() },
        TimelineFilter { level: Some(Level::Warn), ..none() },
        TimelineFilter { events_only: true, ..none() },
        TimelineFilter { project: Some(name("film")), level: Some(Level::Error), ..none() },
        within(of(2, 21)),
        within(of(300, 301)),
        within(of(302, 900)),
        within((None, Some(at(20)))),
    ];
    for filter in filters {
        let wanted: Vec<_> = all.iter().filter(|entry| filter.fits(entry)).cloned().collect();
        for limit in [1, 3, 100] {
            assert_eq!(told(&b, &filter, limit).await, wanted, "{filter:?} by {limit}");
        }
    }
    let of_schedule = told(&b, &TimelineFilter { schedule: Some(name("nightly")), ..none() }, 2).await;
    assert_eq!(of_schedule.len(), 3, "created, claimed and lost");
    assert!(of_schedule.iter().all(|entry| entry.task != Some(id)));
}
