//! Statistics: counts, ages and durations of queues, and counts of workers.

use std::collections::BTreeSet;

use baton_model::{LeasePolicy, Priority, State};

use super::kit::*;
use super::query::motley;
use crate::{Beat, Complete, Purge, Release, WorkerCounts};

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
pub async fn statistics_follow_every_transition(mut b: Bench) {
    b.keeping(Some(secs(1))).await;
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
    if !b.store().capabilities().counts_removals {
        return;
    }
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

/// Statistics tell how many tasks were claimed and completed in each of the last 24 hours.
pub async fn statistics_tell_what_was_done_by_the_hour(b: Bench) {
    const HOUR: u64 = 3_600;
    let done = async |second, queue: &str, completes| {
        let held = b.running(at(second), "w1", b.spec("render").queue(queue)).await;
        if completes {
            b.complete(at(second + 1), &held).await;
        }
    };
    let told = async |now| {
        b.settle().await;
        let hours = b.store().stats(now).await.unwrap().hours;
        assert!(hours.iter().all(|hour| hour.from.as_millis() % 3_600_000 == 0), "{hours:?}");
        hours.iter().map(|hour| (hour.claims, hour.completions)).collect::<Vec<_>>()
    };
    assert_eq!(told(at(5)).await, []);
    done(10, "q", true).await;
    done(20, "r", false).await;
    done(HOUR + 10, "q", true).await;
    assert_eq!(told(at(2 * HOUR)).await, [(2, 1), (1, 1)], "the first hour and the second");
    assert_eq!(told(at(24 * HOUR)).await, [(1, 1)], "the first is a day ago");
    done(24 * HOUR + 10, "q", true).await;
    assert_eq!(told(at(24 * HOUR + 60)).await, [(1, 1), (1, 1)]);
    assert_eq!(told(at(60 * HOUR)).await, []);
}

/// Statistics tell how many attempts failed in each of the last 24 hours: by their workers, by a timeout, or with a worker that was lost.
/// What was given back or cancelled did not fail, and a task that completes counts nothing of it.
pub async fn statistics_tell_what_failed_by_the_hour(b: Bench) {
    const HOUR: u64 = 3_600;
    let told = async |now| {
        b.settle().await;
        let hours = b.store().stats(now).await.unwrap().hours;
        hours.iter().map(|hour| (hour.claims, hour.completions, hour.failures)).collect::<Vec<_>>()
    };
    let run = async |second, spec| b.running(at(second), "w1", spec).await;
    let held = run(10, b.spec("render")).await;
    b.complete(at(11), &held).await;
    assert_eq!(told(at(12)).await, [(1, 1, 0)]);
    let held = run(20, b.spec("render").attempts(1)).await;
    let fail = failing(at(21), &held);
    b.fail(fail.clone()).await;
    b.fail(fail).await;
    assert_eq!(told(at(22)).await, [(2, 1, 1)], "the same failure again is the same");
    let held = run(30, b.spec("render").queue("q")).await;
    b.fail(failing(at(31), &held)).await;
    let held = run(40, b.spec("render").queue("r")).await;
    b.release(Release { delay: secs(90_000), ..releasing(at(41), &held) }).await;
    let held = run(50, b.spec("render").queue("s")).await;
    b.cancel(at(51), held.head.id).await;
    assert_eq!(told(at(52)).await, [(5, 1, 2)]);
    run(HOUR + 10, b.spec("render").queue("t").attempts(1).timeout(secs(5))).await;
    b.reap(at(HOUR + 20)).await;
    assert_eq!(told(at(HOUR + 30)).await, [(5, 1, 2), (1, 0, 1)]);
    assert_eq!(told(at(24 * HOUR)).await, [(1, 0, 1)], "the first is a day ago");
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
