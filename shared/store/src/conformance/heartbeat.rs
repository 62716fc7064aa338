//! Heartbeats: what they keep alive, what they tell, and what they are told.

use baton_model::{
    Directed, Directive, LeasePolicy, Level, LogLine, Running, Stands, State, Timestamp, WorkerStatus,
};

use super::kit::*;
use crate::{Beat, Fail, LeaseProblem, LogFilter, LostLease, StoreError};

/// A worker that beats keeps its leases for as long as it does.
pub async fn a_beating_worker_keeps_its_leases(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    for now in (20..600).step_by(20) {
        let answer = b.beat(beat("w1", at(now)).running(&[&held])).await;
        assert_eq!(answer.lost, []);
        assert_eq!(b.reap(at(now + 15)).await, []);
    }
    assert_eq!(b.state(held.head.id).await, State::Running);
    b.check(at(600)).await;
}

/// A heartbeat is told, for each attempt that it lists and no longer holds, what became of it.
pub async fn a_heartbeat_is_told_what_became_of_lost_attempts(b: Bench) {
    let start = async || b.running(at(0), "w1", b.spec("render")).await;
    let mut expected = Vec::new();
    let mut lost = |task: &baton_model::Task, attempt, problem| {
        expected.push(LostLease { task: task.head.id, attempt, problem });
    };

    let kept = start().await;
    let completed = start().await;
    b.complete(at(1), &completed).await;
    lost(&completed, 1, LeaseProblem::Ended(State::Completed));
    let failed = start().await;
    b.fail(Fail { retryable: false, ..failing(at(1), &failed) }).await;
    lost(&failed, 1, LeaseProblem::Ended(State::Failed));
    let retried = start().await;
    b.fail(failing(at(1), &retried)).await;
    lost(&retried, 1, LeaseProblem::Ended(State::Queued));
    let cancelled = start().await;
    b.cancel(at(1), cancelled.head.id).await;
    lost(&cancelled, 1, LeaseProblem::Cancelled);
    let again = start().await;
    b.release(releasing(at(1), &again)).await;
    let again = b.claim_one(claim("w1", at(1))).await;
    lost(&again, 1, LeaseProblem::Superseded);
    let foreign = b.running(at(0), "w2", b.spec("render")).await;
    lost(&foreign, 1, LeaseProblem::NotHeld);
    lost(&kept, 2, LeaseProblem::NotHeld);
    let reaped = b.running_by(at(0), claim("w1", at(0)).fixed(secs(1)), b.spec("render")).await;
    assert_eq!(b.reap(at(1)).await.len(), 1);
    lost(&reaped, 1, LeaseProblem::Ended(State::Queued));
    let unknown = Running { task: b.task_id(), ..listed(&kept) };
    expected.push(LostLease { task: unknown.task, attempt: 1, problem: LeaseProblem::Unknown });

    let entry = |lost: &LostLease| Running { task: lost.task, attempt: lost.attempt, ..listed(&kept) };
    let mut running: Vec<_> = expected.iter().map(entry).collect();
    running.extend([listed(&kept), listed(&again)]);
    let answer = b.beat(Beat { running: Some(running), ..beat("w1", at(2)) }).await;
    let sorted = |mut list: Vec<LostLease>| {
        list.sort_by_key(|lost| (lost.task, lost.attempt));
        list
    };
    assert_eq!(sorted(answer.lost), sorted(expected));
    b.check(at(3)).await;
}

/// A lease that is lost by the clock stays the worker's until the reaper takes it: the heartbeat is told nothing of it
/// before.
pub async fn a_lease_is_told_lost_only_once_it_was_taken_back(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render").timeout(secs(5))).await;
    assert_eq!(b.beat(beat("w1", at(10)).running(&[&held])).await.lost, []);
    assert_eq!(b.reap(at(11)).await.len(), 1);
    let lost = b.beat(beat("w1", at(12)).running(&[&held])).await.lost;
    let ended = LeaseProblem::Ended(State::Queued);
    assert_eq!(lost, [LostLease { task: held.head.id, attempt: 1, problem: ended }]);
}

/// A heartbeat changes no task, whatever it lists and leaves out.
pub async fn a_heartbeat_changes_no_task(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let foreign = b.running(at(0), "w2", b.spec("render")).await;
    let waiting = b.create(at(0), b.spec("render").due(at(50))).await;
    let ids = [held.head.id, foreign.head.id, waiting];
    let mut before = Vec::new();
    for id in ids {
        before.push(b.task(id).await);
    }
    b.beat(beat("w1", at(100)).running(&[])).await;
    b.beat(beat("w1", at(101)).running(&[&foreign])).await;
    b.beat(beat("w1", at(102)).session(session(1))).await;
    for (id, before) in ids.into_iter().zip(before) {
        assert_eq!(b.task(id).await, before);
    }
    b.check(at(103)).await;
}

/// A heartbeat is told what an operator asks of its worker.
pub async fn a_heartbeat_is_told_the_directive(b: Bench) {
    assert_eq!(b.beat(beat("w1", at(0))).await.directive, Directive::Run);
    for directive in [Directive::Drain, Directive::Stop, Directive::Run] {
        let detail = b.direct(at(1), "w1", directive).await;
        assert_eq!(detail.worker.directive, directive);
        assert_eq!(b.beat(beat("w1", at(2))).await.directive, directive);
    }
    assert_eq!(b.beat(beat("w2", at(2))).await.directive, Directive::Run);
}

/// What is asked of a worker is kept with since when, who and why: of the same asked again the first stands, and heartbeats and claims
/// leave it. It goes when the worker may run again, and with a new start.
pub async fn a_directive_is_kept_with_since_when_who_and_why(b: Bench) {
    let direct = async |seconds, directive, by: Option<&str>, reason: Option<&str>| {
        let (by, reason) = (by.map(name), reason.map(str::to_owned));
        let direct =
            crate::Direct { now: at(seconds), worker: name("w1"), directive, by, reason, only_if: None };
        b.store().direct_worker(direct).await.unwrap().worker.directed
    };
    let kept = |since, by: Option<&str>, reason: Option<&str>| {
        Some(Directed { since: at(since), by: by.map(name), reason: reason.map(str::to_owned) })
    };
    b.beat(beat("w1", at(0)).session(session(1))).await;
    assert_eq!(b.worker("w1").await.worker.directed, None);
    let drained = kept(1, Some("ada"), Some("a new card"));
    assert_eq!(direct(1, Directive::Drain, Some("ada"), Some("a new card")).await, drained);
    assert_eq!(direct(2, Directive::Drain, Some("bob"), None).await, drained);
    b.beat(beat("w1", at(3)).session(session(1))).await;
    b.nothing(claim("w1", at(4)).session(session(1))).await;
    assert_eq!(b.worker("w1").await.worker.directed, drained);
    assert_eq!(direct(5, Directive::Stop, None, Some("now")).await, kept(5, None, Some("now")));
    assert_eq!(direct(6, Directive::Run, Some("ada"), Some("all is well")).await, None);
    assert_eq!(direct(7, Directive::Drain, None, None).await, kept(7, None, None));
    b.beat(beat("w1", at(8)).session(session(2))).await;
    assert_eq!(b.worker("w1").await.worker.directed, None, "it was asked of another start");
}

/// Of a worker of which nobody in particular has asked something, such as a rule for readings, somebody who asks for the same is kept as
/// the one who has; nobody takes that place back.
pub async fn somebody_takes_the_place_of_nobody_who_asked_for_the_same(b: Bench) {
    let direct = async |seconds, directive, by: Option<&str>, reason: Option<&str>| {
        let (by, reason) = (by.map(name), reason.map(str::to_owned));
        let direct =
            crate::Direct { now: at(seconds), worker: name("w1"), directive, by, reason, only_if: None };
        b.store().direct_worker(direct).await.unwrap().worker.directed
    };
    let kept = |since, by: Option<&str>, reason: Option<&str>| {
        Some(Directed { since: at(since), by: by.map(name), reason: reason.map(str::to_owned) })
    };
    b.beat(beat("w1", at(0))).await;
    for (directive, since) in [(Directive::Drain, 1), (Directive::Stop, 11)] {
        // Whatever the words are.
        let rule = kept(since, None, Some("\"by\":\"ada\" it is not"));
        assert_eq!(direct(since, directive, None, Some("\"by\":\"ada\" it is not")).await, rule);
        assert_eq!(direct(since + 1, directive, None, Some("another rule")).await, rule);
        let ada = kept(since + 2, Some("ada"), None);
        assert_eq!(direct(since + 2, directive, Some("ada"), None).await, ada);
        assert_eq!(direct(since + 3, directive, None, Some("a rule")).await, ada);
        assert_eq!(b.worker("w1").await.worker.directed, ada);
    }
}

/// Who acts on what was asked of a worker changes nothing if something else is asked by then, and is told what.
pub async fn what_is_asked_on_a_condition_is_asked_while_that_holds(b: Bench) {
    let direct = async |seconds, directive, only_if: Option<Stands>| {
        let reason = Some("a rule".to_owned());
        let worker = name("w1");
        let direct = crate::Direct { now: at(seconds), worker, directive, by: None, reason, only_if };
        b.store().direct_worker(direct).await.unwrap().worker.stands()
    };
    let runs = Stands { directive: Directive::Run, directed: None };
    let asked = |since, directive| {
        let directed = Directed { since: at(since), by: None, reason: Some("a rule".to_owned()) };
        Stands { directive, directed: Some(directed) }
    };
    b.beat(beat("w1", at(0))).await;
    let drains = direct(1, Directive::Drain, Some(runs.clone())).await;
    assert_eq!(drains, asked(1, Directive::Drain));
    // Asked to stop between the look and the write.
    let stops = direct(2, Directive::Stop, None).await;
    assert_eq!(stops, asked(2, Directive::Stop));
    for late in [Directive::Run, Directive::Drain, Directive::Stop] {
        assert_eq!(direct(3, late, Some(drains.clone())).await, stops);
        assert_eq!(direct(3, late, Some(runs.clone())).await, stops);
    }
    assert_eq!(b.worker("w1").await.worker.stands(), stops);
    // Called off and asked for again: another request, though it says the same.
    direct(4, Directive::Run, None).await;
    let again = direct(5, Directive::Drain, None).await;
    assert_eq!(direct(6, Directive::Run, Some(drains)).await, again);
    assert_eq!(direct(7, Directive::Run, Some(again)).await, runs);
    let (now, worker) = (at(8), name("nobody"));
    let (directive, only_if) = (Directive::Drain, Some(runs));
    let unknown = crate::Direct { now, worker, directive, by: None, reason: None, only_if };
    assert_err!(b.store().direct_worker(unknown).await, StoreError::WorkerNotFound(_));
}

/// Whether a worker ends that was asked to drain and then to run is decided by which came first: its word that it ends is answered with
/// what is asked of it by then, and who asks it to run is told whether it has ended. A heartbeat of it takes the end back.
pub async fn the_end_of_a_drain_and_its_calling_off_have_an_order(b: Bench) {
    b.beat(beat("w1", at(0)).session(session(1))).await;
    b.direct(at(1), "w1", Directive::Drain).await;
    let ends = |seconds| crate::Beat { ending: true, ..beat("w1", at(seconds)).session(session(1)) };
    b.direct(at(2), "w1", Directive::Run).await;
    assert_eq!(b.beat(ends(3)).await.directive, Directive::Run, "it was called off before");
    b.beat(beat("w1", at(4)).session(session(1))).await;
    assert_eq!(b.worker("w1").await.worker.ended_at, None, "it goes on");
    b.direct(at(5), "w1", Directive::Drain).await;
    assert_eq!(b.beat(ends(6)).await.directive, Directive::Drain);
    let late = b.direct(at(7), "w1", Directive::Run).await;
    assert_eq!(
        (late.worker.ended_at, late.worker.directive),
        (Some(at(6)), Directive::Run),
        "it has ended before"
    );
}

/// A directive for a worker that was never heard of is refused.
pub async fn an_unknown_worker_is_not_found(b: Bench) {
    let directive = Directive::Stop;
    let (now, worker) = (at(0), name("nobody"));
    let direct = crate::Direct { now, worker, directive, by: None, reason: None, only_if: None };
    let error = b.store().direct_worker(direct).await;
    assert_err!(error, StoreError::WorkerNotFound(worker) if worker == name("nobody"));
    assert_err!(b.store().worker(&name("nobody")).await, StoreError::WorkerNotFound(_));
}

/// A task shows what its worker last said of the attempt that runs, and nothing once that has ended.
pub async fn progress_is_shown_while_the_attempt_runs(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let id = held.head.id;
    assert_eq!(b.task(id).await.progress, None);
    let say = |now, progress, attempt| {
        let message = Some("denoising ☂".to_owned());
        let said = Running { progress: Some(progress), message, attempt, ..listed(&held) };
        (said.clone(), Beat { running: Some(vec![said]), ..beat("w1", now) })
    };
    for (now, progress) in [(at(5), 0.25), (at(6), 0.75)] {
        let (said, heard) = say(now, progress, 1);
        b.beat(heard).await;
        assert_eq!(b.task(id).await.progress, Some(said));
    }
    b.release(releasing(at(7), &held)).await;
    assert_eq!(b.task(id).await.progress, None);
    b.claim_one(claim("w1", at(8))).await;
    assert_eq!(b.task(id).await.progress, None, "what was said of attempt 1 is not said of attempt 2");
    b.beat(say(at(9), 0.5, 2).1).await;
    assert_eq!(b.task(id).await.progress, Some(say(at(9), 0.5, 2).0));
    b.check(at(10)).await;
}

/// Readings replace the earlier ones; words about the worker do, unless none are given.
pub async fn readings_and_labels_are_the_latest(b: Bench) {
    let first = Beat {
        readings: [("vram_used_mb".to_owned(), 1_024.5), ("temp".to_owned(), 70.0)].into(),
        labels: [("host".to_owned(), "größe-7".to_owned())].into(),
        capacity: Some(4),
        ..beat("w1", at(1)).session(session(1))
    };
    b.beat(first.clone()).await;
    let worker = b.worker("w1").await.worker;
    assert_eq!((&worker.readings, &worker.labels), (&first.readings, &first.labels));
    assert_eq!((worker.capacity, worker.session), (Some(4), Some(session(1))));
    assert_eq!((worker.started_at, worker.last_beat_at, worker.running), (at(1), Some(at(1)), None));

    let second = Beat {
        readings: [("temp".to_owned(), -1.0)].into(),
        capacity: Some(2),
        ..beat("w1", at(2)).session(session(1)).running(&[])
    };
    b.beat(second.clone()).await;
    let worker = b.worker("w1").await.worker;
    assert_eq!((&worker.readings, &worker.labels), (&second.readings, &first.labels));
    assert_eq!((worker.capacity, worker.last_beat_at), (Some(2), Some(at(2))));
    assert_eq!((worker.started_at, worker.running), (at(1), Some(vec![])));

    let labels = [("version".to_owned(), "2".to_owned())].into();
    b.beat(Beat { labels, ..second.clone() }).await;
    assert_eq!(b.worker("w1").await.worker.labels, [("version".to_owned(), "2".to_owned())].into());
}

/// A worker shows the leases that name it, the oldest claim first.
pub async fn a_worker_shows_its_leases(b: Bench) {
    b.beat(beat("w1", at(0))).await;
    let detail = b.worker("w1").await;
    assert_eq!((detail.active, detail.leases), (0, vec![]));
    // Ids against the order of claims, so that the one is not taken for the other.
    let (two, one) = (b.spec("render").queue("two"), b.spec("render").queue("one"));
    let one = b.running(at(1), "w1", one).await;
    let two = b.running(at(2), "w1", two).await;
    b.running(at(2), "w2", b.spec("render")).await;
    let detail = b.worker("w1").await;
    assert_eq!((detail.active, detail.leases), (2, vec![(one.head.id, 1), (two.head.id, 1)]));
    b.complete(at(3), &one).await;
    assert_eq!(b.worker("w1").await.leases, [(two.head.id, 1)]);
    b.check(at(4)).await;
}

/// A worker with more leases than are listed still tells how many there are.
pub async fn a_worker_counts_more_leases_than_it_lists(b: Bench) {
    b.create_plain(at(0), 130).await;
    b.claim(claim("w1", at(1)).max(100).cap(1_000)).await;
    b.claim(claim("w1", at(2)).max(100).cap(1_000)).await;
    let detail = b.worker("w1").await;
    assert_eq!((detail.active, detail.leases.len()), (130, crate::WorkerDetail::LEASES));
    b.check(at(3)).await;
}

/// A worker that says that it ends is gone from then on, and never lost; its record tells when.
pub async fn a_worker_that_says_that_it_ends_is_gone(b: Bench) {
    b.beat(beat("w1", at(0)).session(session(1)).running(&[])).await;
    b.beat(Beat { ending: true, ..beat("w1", at(5)).session(session(1)).running(&[]) }).await;
    let worker = b.worker("w1").await.worker;
    assert_eq!((worker.ended_at, worker.last_beat_at), (Some(at(5)), Some(at(5))));
    for now in [at(5), at(3_600)] {
        assert_eq!(worker.status(&LeasePolicy::default(), now), WorkerStatus::Gone);
    }
}

/// A claim, a heartbeat or a new start of a worker that was gone takes back that it is.
pub async fn whoever_is_heard_of_again_is_not_gone(b: Bench) {
    let ends = |now| Beat { ending: true, ..beat("w1", now).session(session(1)) };
    let gone = async || b.worker("w1").await.worker.ended_at.is_some();
    b.beat(ends(at(0))).await;
    assert!(gone().await, "also by its first heartbeat");
    b.beat(beat("w1", at(1)).session(session(1))).await;
    assert!(!gone().await);
    b.beat(ends(at(2))).await;
    b.nothing(claim("w1", at(3)).session(session(1))).await;
    assert!(!gone().await);
    b.beat(ends(at(4))).await;
    b.nothing(claim("w1", at(5)).session(session(2))).await;
    assert!(!gone().await);
    b.beat(Beat { ending: true, ..beat("w1", at(6)).session(session(2)) }).await;
    b.beat(beat("w1", at(7)).session(session(3))).await;
    assert!(!gone().await);
    assert_err!(b.store().heartbeat(ends(at(8))).await, StoreError::SessionSuperseded { .. });
    assert!(!gone().await, "an earlier start has no say");
}

/// What a worker held that has said that it ends is its own until its lease is lost as any other; the reaper tells that
/// the worker was gone.
pub async fn a_worker_that_is_gone_leaves_its_tasks_to_the_reaper(b: Bench) {
    let held = b.running(at(0), "w1", b.spec("render")).await;
    let other = b.running(at(0), "w2", b.spec("render")).await;
    b.beat(Beat { ending: true, ..beat("w1", at(1)).running(&[&held]) }).await;
    b.beat(beat("w2", at(1)).running(&[&other])).await;
    assert_eq!(b.reap(at(60)).await, []);
    let taken = b.reap(at(62)).await;
    let told: Vec<_> = taken.iter().map(|one| (one.task, one.reason, one.worker_gone)).collect();
    let missed = baton_model::LossReason::HeartbeatMissed;
    assert_eq!(told, [(held.head.id, missed, true), (other.head.id, missed, false)]);
    b.check(at(63)).await;
}

fn line(seconds: u64, worker: &str, level: Level, message: &str) -> LogLine {
    LogLine {
        at: at(seconds),
        received_at: at(seconds),
        worker: name(worker),
        task: None,
        level,
        source: "stderr".to_owned(),
        message: message.to_owned(),
        metadata: None,
    }
}

/// Log lines come back as they were shipped, the latest received first; of one heartbeat's, the last first.
pub async fn log_lines_come_back_the_latest_received_first(b: Bench) {
    let id = b.task_id();
    let about = LogLine {
        task: Some(id),
        metadata: Some(json(r#"{ "frame":  7 }"#)),
        source: "größe".to_owned(),
        ..line(3, "w1", Level::Warn, "hot ☂")
    };
    let (one, two) = (line(1, "w1", Level::Info, "one"), line(2, "w1", Level::Info, ""));
    b.beat(Beat { logs: vec![two.clone(), about.clone()], ..beat("w1", at(5)) }).await;
    b.beat(Beat { logs: vec![one.clone()], ..beat("w1", at(6)) }).await;
    let received = |line, seconds| LogLine { received_at: at(seconds), ..line };
    let wanted = [received(one, 6), received(about, 5), received(two, 5)];
    assert_eq!(b.logs_by(LogFilter::default()).await, wanted);
}

/// What time a line bears moves it nowhere: one of 2099 is below those that are received later, one of 1970 above those that
/// were received before; whatever the size of pages, and for lists that are bounded in time. Nor is it kept any longer.
pub async fn a_line_is_where_it_was_received_whatever_its_date(b: Bench) {
    let far = Timestamp::from_millis(4_070_908_800_000);
    let mut wanted = Vec::new();
    for (seconds, written) in [(1, at(1)), (2, far), (3, at(3)), (4, Timestamp::default()), (5, at(5))] {
        let line = LogLine { at: written, ..line(seconds, "w1", Level::Info, &seconds.to_string()) };
        b.beat(Beat { logs: vec![line.clone()], ..beat("w1", at(seconds)) }).await;
        wanted.insert(0, LogLine { received_at: at(seconds), ..line });
    }
    let listed = async |filter: LogFilter, limit| {
        b.settle().await;
        pages(limit, |page| async { b.store().logs(filter.clone(), page).await }).await
    };
    let of_worker = LogFilter { worker: Some(name("w1")), ..LogFilter::default() };
    for limit in [1, 2, 100] {
        for filter in [LogFilter::default(), of_worker.clone()] {
            assert_eq!(listed(filter, limit).await, wanted, "pages of {limit}");
        }
        let latest = LogFilter { from: Some(at(3)), ..LogFilter::default() };
        assert_eq!(listed(latest, limit).await, wanted[..3], "a line of 2099 is no younger for that");
        let before = LogFilter { before: Some(at(3)), ..LogFilter::default() };
        assert_eq!(listed(before, limit).await, wanted[3..]);
    }
    let purge = crate::Purge::at(at(4 + 48 * 3_600));
    assert_eq!(b.purge(purge).await.logs, 3);
    assert_eq!(listed(LogFilter::default(), 100).await, wanted[..2]);
}

/// Each filter on log lines keeps what fits, alone and together with others.
pub async fn log_lines_are_filtered(b: Bench) {
    let (task, other) = (b.task_id(), b.task_id());
    let mut lines = Vec::new();
    for n in 0..24_u64 {
        let worker = if n.is_multiple_of(2) { "w1" } else { "w2" };
        let about = [None, Some(task), Some(other)][n as usize % 3];
        lines.push(LogLine { task: about, ..line(n, worker, Level::ALL[n as usize % 4], &n.to_string()) });
    }
    for (n, line) in lines.iter().enumerate() {
        b.beat(Beat { logs: vec![line.clone()], ..beat(line.worker.as_str(), at(n as u64)) }).await;
    }
    lines.reverse();
    let none = LogFilter::default;
    let filters = [
        none(),
        LogFilter { task: Some(task), ..none() },
        LogFilter { worker: Some(name("w2")), ..none() },
        LogFilter { level: Some(Level::Debug), ..none() },
        LogFilter { level: Some(Level::Warn), ..none() },
        LogFilter { level: Some(Level::Error), ..none() },
        LogFilter { from: Some(at(10)), ..none() },
        LogFilter { before: Some(at(10)), ..none() },
        LogFilter { from: Some(at(5)), before: Some(at(15)), ..none() },
        LogFilter { worker: Some(name("w1")), level: Some(Level::Info), ..none() },
        LogFilter { task: Some(other), worker: Some(name("w1")), from: Some(at(3)), ..none() },
        LogFilter { worker: Some(name("nobody")), ..none() },
    ];
    for filter in filters {
        let fits = |line: &&LogLine| {
            filter.task.is_none_or(|task| line.task == Some(task))
                && filter.worker.as_ref().is_none_or(|worker| line.worker == *worker)
                && filter.level.is_none_or(|level| line.level >= level)
                && filter.from.is_none_or(|from| line.received_at >= from)
                && filter.before.is_none_or(|before| line.received_at < before)
        };
        let wanted: Vec<_> = lines.iter().filter(fits).cloned().collect();
        assert_eq!(b.logs_by(filter.clone()).await, wanted, "{filter:?}");
    }
}

/// A heartbeat ships as many log lines as are allowed.
pub async fn five_hundred_log_lines_are_taken(b: Bench) {
    let count = baton_model::limits::LOG_LINES;
    let logs = (0..count).map(|n| line(n as u64, "w1", Level::Info, "x")).collect();
    b.beat(Beat { logs, ..beat("w1", at(1_000)) }).await;
    assert_eq!(b.logs_by(LogFilter::default()).await.len(), count);
}
