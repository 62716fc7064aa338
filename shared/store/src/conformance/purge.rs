//! Purging: what is past its keeping goes, with all that belongs to it, and nothing else.

use std::time::Duration;

use baton_model::{Level, LogLine, State};

use super::kit::*;
use super::{audit, token};
use crate::{AuditFilter, Beat, Fail, LogFilter, Purge, StoreError, TaskFilter};

const DAY: u64 = 86_400;

fn days(n: u64) -> baton_model::Timestamp {
    at(n * DAY)
}

/// Completed, failed and cancelled tasks past their keeping are removed, with history and generation.
pub async fn finished_tasks_are_removed_after_their_time(b: Bench) {
    let done = b.running(at(0), "w1", b.spec("render")).await;
    let generation = b.complete(at(1), &done).await;
    let failed = b.running(at(0), "w1", b.spec("render")).await;
    b.fail(Fail { retryable: false, ..failing(at(1), &failed) }).await;
    let cancelled = b.create(at(0), b.spec("render")).await;
    b.cancel(at(1), cancelled).await;

    assert_eq!(b.purge(Purge::at(days(29))).await.tasks, 0, "kept for thirty days");
    b.check(days(29)).await;
    let report = b.purge(Purge::at(days(31))).await;
    assert_eq!((report.tasks, report.more), (3, false));
    for id in [done.head.id, failed.head.id, cancelled] {
        assert_err!(b.store().task(id).await, StoreError::TaskNotFound(missing) if missing == id);
    }
    let record = b.store().generation(generation.id).await;
    assert_err!(record, StoreError::GenerationNotFound(id) if id == generation.id);
    assert_eq!(b.generations_by(crate::GenerationFilter::default()).await, []);
    assert_eq!(b.ids_by(TaskFilter { now: days(31), ..TaskFilter::default() }).await, []);
    b.check(days(31)).await;
}

/// The keeping counts from a task's end, not from its creation.
pub async fn the_keeping_counts_from_the_end(b: Bench) {
    let id = b.create(at(0), b.spec("render")).await;
    b.cancel(days(20), id).await;
    assert_eq!(b.purge(Purge::at(days(40))).await.tasks, 0);
    b.retry(days(40), id).await;
    b.cancel(days(45), id).await;
    assert_eq!(b.purge(Purge::at(days(60))).await.tasks, 0);
    assert_eq!(b.purge(Purge::at(days(76))).await.tasks, 1);
}

/// Queued and running tasks are never removed, however old.
pub async fn unfinished_tasks_are_never_removed(b: Bench) {
    let running = b.running(at(0), "w1", b.spec("render")).await.head.id;
    let waiting = b.create(at(0), b.spec("render")).await;
    let later = b.create(at(0), b.spec("render").due(days(3_000))).await;
    let purge = Purge { keep_finished: Some(Duration::ZERO), ..Purge::at(days(1_000)) };
    assert_eq!(b.purge(purge).await.tasks, 0);
    assert_eq!(b.state(running).await, State::Running);
    for id in [waiting, later] {
        assert_eq!(b.state(id).await, State::Queued);
    }
}

/// Finished tasks may be kept for ever.
pub async fn finished_tasks_can_be_kept_for_ever(mut b: Bench) {
    b.keeping(None).await;
    let held = b.running(at(0), "w1", b.spec("render")).await;
    b.complete(at(1), &held).await;
    let purge = Purge { keep_finished: None, ..Purge::at(days(3_000)) };
    assert_eq!(b.purge(purge).await.tasks, 0);
    b.check(days(3_000)).await;
}

/// A call removes no more of each kind than asked, says that there may be more, and further calls get to all. What goes by
/// itself has no bound.
pub async fn a_purge_is_bounded(b: Bench) {
    if b.store().capabilities().removes_by_itself {
        return;
    }
    for id in b.create_plain(at(0), 5).await {
        b.cancel(at(1), id).await;
    }
    let logs = (0..5).map(|n| line(n, "old")).collect();
    b.beat(Beat { logs, ..beat("w1", at(5)) }).await;
    let purge = Purge { limit: 2, keep_workers: secs(1_000 * DAY), ..Purge::at(days(40)) };
    let (mut tasks, mut logs) = (0, 0);
    for more in [true, true, false] {
        let report = b.purge(purge).await;
        assert!(report.tasks <= 2 && report.logs <= 2);
        assert_eq!(report.more, more);
        tasks += report.tasks;
        logs += report.logs;
        b.check(days(40)).await;
    }
    assert_eq!((tasks, logs), (5, 5));
}

/// Purges that end after a slice of time, however short, get to all of every kind; none but the last says that it is done.
/// Each says how far behind it is, if the store tells that: of everything that is left, and not of what is still kept.
pub async fn purges_in_slices_get_to_all(b: Bench) {
    let sliced = b.store().capabilities().sliced_purges;
    for id in b.create_plain(at(0), 30).await {
        b.cancel(at(1), id).await;
    }
    let logs = (0..30).map(|n| line(n, "old")).collect();
    b.beat(Beat { logs, ..beat("w1", at(5)) }).await;
    let kept = b.create(days(20), b.spec("render")).await;
    b.cancel(days(20), kept).await;
    let purge = Purge { slice: Some(Duration::ZERO), limit: 20, ..Purge::at(days(40)) };
    let (mut tasks, mut logs, mut workers) = (0, 0, 0);
    for call in 0.. {
        assert!(call < 1_000, "purges do not come to an end");
        let report = b.purge(purge).await;
        (tasks, logs, workers) = (tasks + report.tasks, logs + report.logs, workers + report.workers);
        if !report.more {
            break;
        }
        assert_eq!(report.overdue.is_some(), sliced);
        if let Some(overdue) = report.overdue {
            let of = |left: bool, seconds: u64| if left { secs(seconds) } else { Duration::ZERO };
            assert_eq!(overdue.tasks, of(tasks < 30, 10 * DAY - 1));
            assert_eq!(overdue.logs, of(logs < 30, 38 * DAY - 5));
            assert_eq!(overdue.workers, of(workers < 1, 33 * DAY - 5));
            assert_eq!(overdue.idempotency_keys, Duration::ZERO);
        }
    }
    assert_eq!((tasks, logs, workers), (30, 30, 1));
    b.task(kept).await;
    b.check(days(40)).await;
}

fn line(seconds: u64, message: &str) -> LogLine {
    LogLine {
        at: at(seconds),
        received_at: at(seconds),
        worker: name("w1"),
        task: None,
        level: Level::Info,
        source: "stderr".to_owned(),
        message: message.to_owned(),
        metadata: None,
    }
}

/// Log lines past their keeping are removed, younger ones stay.
pub async fn old_log_lines_are_removed(b: Bench) {
    b.beat(Beat { logs: vec![line(0, "old")], ..beat("w1", at(0)) }).await;
    b.beat(Beat { logs: vec![line(DAY, "young")], ..beat("w1", days(1)) }).await;
    assert_eq!(b.purge(Purge::at(at(47 * 3_600))).await.logs, 0);
    assert_eq!(b.purge(Purge::at(at(49 * 3_600))).await.logs, 1);
    assert_eq!(b.logs_by(LogFilter::default()).await, [line(DAY, "young")]);
}

/// The record of a worker that no longer beats is removed after its keeping; one that beats stays.
pub async fn workers_long_gone_are_removed(b: Bench) {
    b.beat(beat("gone", at(0))).await;
    b.beat(beat("here", at(0))).await;
    b.beat(beat("here", days(5))).await;
    assert_eq!(b.purge(Purge::at(days(6))).await.workers, 0);
    assert_eq!(b.purge(Purge::at(days(8))).await.workers, 1);
    assert_err!(b.store().worker(&name("gone")).await, StoreError::WorkerNotFound(_));
    b.worker("here").await;
    let workers = b.store().workers(crate::PageRequest::first(10)).await.unwrap();
    assert_eq!(workers.items.len(), 1);
}

/// A queue stays known when all of its tasks are gone, and its pause stays too.
pub async fn a_queue_outlives_its_tasks(b: Bench) {
    let id = b.create(at(0), b.spec("render").queue("q")).await;
    b.cancel(at(1), id).await;
    b.pause(at(2), "q", true).await;
    assert_eq!(b.purge(Purge::at(days(40))).await.tasks, 1);
    b.settle().await;
    let queue = b.store().queue(&name("q"), days(40)).await.unwrap();
    assert_eq!((queue.pause.is_some(), queue.used, queue.queued, queue.running), (true, true, 0, 0));
    b.check(days(40)).await;
}

/// A purged task's chosen id may be created again.
pub async fn a_purged_id_can_be_created_again(b: Bench) {
    let spec = b.spec("render").chosen();
    let held = b.running(at(0), "w1", spec.clone()).await;
    b.complete(at(1), &held).await;
    assert_eq!(b.purge(Purge::at(days(31))).await.tasks, 1);
    let held = b.running(days(32), "w1", spec.attempts(9)).await;
    assert_eq!((held.head.attempt, held.head.max_attempts), (1, 9));
    b.check(days(33)).await;
}

/// Tokens that were revoked or have expired are removed after their keeping, which counts from their end; others stay
/// for ever.
pub async fn ended_tokens_are_removed_after_their_time(b: Bench) {
    let lasting = token::made(&b, "lasting").await;
    let revoked = token::made(&b, "revoked").await.token.id;
    b.store().revoke_token(revoked, days(1)).await.unwrap();
    let mut expiring = token::token(&b, "expiring");
    expiring.token.expires_at = Some(days(2));
    b.store().create_token(expiring.clone()).await.unwrap();
    let mut both = token::token(&b, "expired, and revoked later");
    both.token.expires_at = Some(at(1));
    b.store().create_token(both.clone()).await.unwrap();
    b.store().revoke_token(both.token.id, days(50)).await.unwrap();

    let removed = async |day| b.purge(Purge::at(days(day))).await.tokens;
    assert_eq!(removed(29).await, 0);
    assert_eq!(removed(31).await, 1, "what expired first, though it was revoked last");
    assert_eq!(b.store().token(both.token.id).await.unwrap(), None);
    assert!(b.store().token(revoked).await.unwrap().is_some());
    assert_eq!(removed(33).await, 2);
    for gone in [revoked, expiring.token.id] {
        assert_eq!(b.store().token(gone).await.unwrap(), None);
    }
    assert_eq!(removed(3_000).await, 0);
    assert_eq!(b.tokens().await, [lasting.token]);
}

/// Entries of the audit log are removed after their keeping, younger ones stay.
pub async fn old_audit_entries_are_removed(b: Bench) {
    for day in 0..4 {
        audit::recorded(&b, audit::entry(&b, days(day))).await;
    }
    let later = at(401 * DAY + DAY / 2);
    assert_eq!(b.purge(Purge::at(days(400))).await.audit_entries, 0);
    let by_itself = b.store().capabilities().removes_by_itself;
    let report = b.purge(Purge { limit: 1, ..Purge::at(later) }).await;
    assert_eq!((report.audit_entries, report.more), if by_itself { (2, false) } else { (1, true) });
    assert_eq!(b.purge(Purge::at(later)).await.audit_entries, u64::from(!by_itself));
    let left = b.audit_by(AuditFilter::default()).await;
    assert_eq!(left.iter().map(|entry| entry.at).collect::<Vec<_>>(), [days(3), days(2)]);
}
