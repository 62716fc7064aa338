//! Archiving: in a store that is opened for it, what has ended is removed by its archiver alone, once it is written, and can be put back.

use std::sync::Arc;
use std::time::Duration;

use baton_model::{Status, Task, TaskId, TaskSpec, Timestamp};

use super::batches::{adding, plain};
use super::kit::*;
use crate::transfer::{TaskRecord, Verdict};
use crate::{ArchiveStore, Fail, Past, Purge, Remove, StoreError, TaskFilter};

const DAY: u64 = 86_400;

fn day(n: u64) -> Timestamp {
    at(n * DAY)
}

/// What is past its keeping if that began before a day, with what is past a keeping of its own.
async fn ended(archive: &Arc<dyn ArchiveStore>, n: u64) -> Vec<TaskRecord> {
    let past = Past { all: day(n), own: day(n) };
    archive.ended(past, 1_000).await.expect("what has ended is read")
}

fn named(records: &[TaskRecord]) -> Vec<(TaskId, u32)> {
    records.iter().map(|record| (record.task.head.id, record.task.head.events)).collect()
}

async fn removed(archive: &Arc<dyn ArchiveStore>, records: &[TaskRecord], n: u64) -> u64 {
    archive.remove_archived(named(records), day(n)).await.expect("what is written is removed")
}

async fn completed(b: &Bench, n: u64, spec: TaskSpec) -> Task {
    let held = b.running(day(n), "w", spec).await;
    b.complete(day(n), &held).await;
    held
}

/// The suite asks whether something is there at all by its refusal.
async fn is_there(b: &Bench, id: TaskId) -> bool {
    match b.store().task(id).await {
        Ok(_) => true,
        Err(StoreError::TaskNotFound(_)) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// A purge removes nothing that has ended, however old. The archiver is given it whole, and what it names is removed, once.
pub async fn nothing_that_ended_is_removed_but_by_its_archiver(mut b: Bench) {
    b.keeping(Some(secs(DAY))).await;
    let Some(archive) = b.archiving().await else { return };
    let mut ids = Vec::new();
    for n in 1..=3 {
        ids.push(completed(&b, n, b.spec("render")).await.head.id);
    }
    let waits = b.create(day(1), b.spec("render")).await;
    let purge = Purge { keep_finished: Some(secs(DAY)), ..Purge::at(day(1_000)) };
    assert_eq!(b.purge(purge).await.tasks, 0);
    let detail = b.task(ids[0]).await;
    let found = ended(&archive, 3).await;
    let mut theirs: Vec<_> = found.iter().map(|record| record.task.head.id).collect();
    theirs.sort_unstable();
    assert_eq!(theirs, ids[..2], "none within its keeping, and none that waits");
    let first = found.iter().find(|record| record.task.head.id == ids[0]).expect("it is among them");
    assert_eq!((&first.task, &first.history), (&detail.task, &detail.history));
    assert_eq!(first.generation, detail.generation);
    assert_eq!(ended(&archive, 3).await.len(), 2, "read again, as nothing was removed");
    assert_eq!(removed(&archive, &found, 4).await, 2);
    assert_eq!(removed(&archive, &found, 4).await, 0, "again, nothing is left to do");
    assert_eq!(named(&ended(&archive, 3).await), []);
    for (id, there) in ids.iter().zip([false, false, true]) {
        assert_eq!(is_there(&b, *id).await, there, "{id}");
    }
    assert!(is_there(&b, waits).await);
    b.settle().await;
    let generations = b.generations_by(crate::GenerationFilter::default()).await;
    assert_eq!(generations.iter().map(|one| one.task).collect::<Vec<_>>(), [ids[2]]);
}

/// What lives again is left as it is, also once it has ended anew: that is another history than the one that was written.
pub async fn what_has_lived_again_since_it_was_written_stays(mut b: Bench) {
    let Some(archive) = b.archiving().await else { return };
    let id = b.create(day(1), b.spec("render")).await;
    b.cancel(day(1), id).await;
    let written = ended(&archive, 2).await;
    b.retry(day(2), id).await;
    assert_eq!(removed(&archive, &written, 2).await, 0, "it waits");
    b.cancel(day(3), id).await;
    assert_eq!(removed(&archive, &written, 3).await, 0, "it is not the one that was written");
    assert_eq!(named(&ended(&archive, 3).await), [], "its keeping began anew");
    let written = ended(&archive, 4).await;
    assert_eq!(removed(&archive, &written, 4).await, 1);
    assert!(!is_there(&b, id).await);
}

/// What an unfinished task depends on is neither read out nor removed, also if it was written before.
pub async fn what_others_wait_for_is_not_archived(mut b: Bench) {
    let Some(archive) = b.archiving().await else { return };
    let first = completed(&b, 1, b.spec("render")).await.head.id;
    let written = ended(&archive, 2).await;
    assert_eq!(written.len(), 1);
    let waits = b.create(day(2), b.spec("render").after(&[first]).due(day(1_000))).await;
    assert_eq!(removed(&archive, &written, 2).await, 0);
    b.purge(Purge::at(day(3))).await;
    assert_eq!(named(&ended(&archive, 3).await), []);
    b.cancel(day(4), waits).await;
    b.follow(day(4)).await;
    b.purge(Purge::at(day(5))).await;
    assert_eq!(ended(&archive, 6).await.len(), 2, "nobody waits for it any more");
}

/// What is removed by hand stays as it was until it is written, which is next, whatever its keeping.
pub async fn what_is_removed_by_hand_is_archived_next(mut b: Bench) {
    let Some(archive) = b.archiving().await else { return };
    let id = completed(&b, 1, b.spec("render")).await.head.id;
    let other = completed(&b, 1, b.spec("render")).await.head.id;
    let detail = b.task(id).await;
    for _ in 0..2 {
        b.store().remove(Remove { now: day(1), task: id }).await.expect("the removal is taken");
    }
    assert_eq!(b.task(id).await, detail, "it is there as it was until it is written");
    b.settle().await;
    let past = Past { all: Timestamp::from_millis(1), own: Timestamp::from_millis(1) };
    let found = archive.ended(past, 10).await.expect("what has ended is read");
    assert_eq!(found.iter().map(|record| &record.task).collect::<Vec<_>>(), [&detail.task]);
    assert_eq!(removed(&archive, &found, 1).await, 1);
    assert!(!is_there(&b, id).await && is_there(&b, other).await);
}

/// Until it is written, lists have what is removed by hand as before, by its state, too.
pub async fn what_is_removed_by_hand_is_listed_until_it_is_written(mut b: Bench) {
    let Some(archive) = b.archiving().await else { return };
    let id = b.create(day(1), b.spec("render")).await;
    b.cancel(day(1), id).await;
    b.store().remove(Remove { now: day(1), task: id }).await.expect("the removal is taken");
    b.settle().await;
    let listed = async || {
        let statuses = vec![Status::Cancelled];
        let filter = TaskFilter { now: day(1), statuses, ..TaskFilter::default() };
        b.tasks_by(filter, 9).await.iter().map(|task| task.head.id).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [id]);
    let past = Past { all: Timestamp::from_millis(1), own: Timestamp::from_millis(1) };
    let found = archive.ended(past, 10).await.expect("what has ended is read");
    assert_eq!(removed(&archive, &found, 1).await, 1);
    b.settle().await;
    assert_eq!(listed().await, []);
}

/// A task with a keeping of its own is past it when that is over, be it shorter or longer than that of all.
pub async fn what_is_kept_for_a_time_of_its_own_is_archived_after_it(mut b: Bench) {
    let Some(archive) = b.archiving().await else { return };
    let kept = |days: u64| TaskSpec { retention: Some(secs(days * DAY)), ..b.spec("render") };
    let short = completed(&b, 1, kept(2)).await.head.id;
    let long = completed(&b, 1, kept(90)).await.head.id;
    let failing_one = b.running(day(1), "w", kept(2)).await;
    b.fail(Fail { retryable: false, ..failing(day(1), &failing_one) }).await;
    let plain = completed(&b, 1, b.spec("render")).await.head.id;
    // All are kept for 30 days.
    let at_day = async |n: u64| {
        let past = Past { all: day(n.saturating_sub(30)), own: day(n) };
        let found = archive.ended(past, 10).await.expect("what has ended is read");
        let mut ids: Vec<_> = found.iter().map(|record| record.task.head.id).collect();
        ids.sort_unstable();
        assert_eq!(removed(&archive, &found, n).await, ids.len() as u64);
        ids
    };
    assert_eq!(at_day(2).await, []);
    assert_eq!(at_day(4).await, [short, failing_one.head.id]);
    assert_eq!(at_day(30).await, []);
    assert_eq!(at_day(32).await, [plain]);
    assert_eq!(at_day(92).await, [long]);
}

/// What is restored is as it was, and kept anew from then on; restored again, it is there already. One that lives is left as it is.
pub async fn what_is_restored_is_as_it_was_and_kept_anew(mut b: Bench) {
    let Some(archive) = b.archiving().await else { return };
    // What is completed cannot live again; what was cancelled can.
    let id = b.create(day(1), b.spec("render")).await;
    b.cancel(day(1), id).await;
    let detail = b.task(id).await;
    let written = ended(&archive, 2).await;
    assert_eq!(removed(&archive, &written, 2).await, 1);
    let restore = async |n: u64| archive.restore(written.clone(), day(n)).await.expect("it is taken in");
    assert_eq!(restore(100).await, [Ok(Verdict::New)]);
    assert_eq!(restore(200).await, [Ok(Verdict::Same)], "again, it is there");
    b.settle().await;
    let counts = b.store().stats(day(200)).await.expect("statistics are told").counts;
    assert_eq!(counts.iter().map(|row| row.tasks).sum::<u64>(), 1, "counted once: {counts:?}");
    assert_eq!(b.task(id).await, detail);
    assert_eq!(named(&ended(&archive, 100).await), [], "its keeping began when it was restored");
    let listed = b.tasks_by(TaskFilter { now: day(100), ..TaskFilter::default() }, 9).await;
    assert_eq!(listed.iter().map(|task| task.finished_at).collect::<Vec<_>>(), [Some(day(1))]);
    let again = ended(&archive, 101).await;
    assert_eq!(again.iter().map(TaskRecord::checksum).collect::<Vec<_>>(), [written[0].checksum()]);
    b.retry(day(102), id).await;
    let refused = restore(103).await;
    assert!(matches!(&refused[..], [Err(_)]), "{refused:?}");
    b.check(day(104)).await;
}

/// Tasks whose params, results and histories are long, and tasks of a batch, come whole, and leave nothing that keeps their ids from
/// being used anew.
pub async fn large_tasks_of_batches_are_archived_whole(mut b: Bench) {
    let Some(archive) = b.archiving().await else { return };
    let long = format!("\"{}\"", "x".repeat(5_000));
    let specs = vec![b.spec("render").params(&long).chosen(), b.spec("render").chosen()];
    let batch = baton_model::BatchId::from_bytes(counted_id(7_900_000));
    let add = adding(plain(batch, "default"), true, creation(day(1), specs.clone()));
    b.store().add_to_batch(add).await.expect("the batch is taken");
    b.note_created(specs.iter().map(|spec| spec.id));
    for _ in 0..2 {
        for held in b.claim(claim("w", day(1)).max(9).cap(9)).await {
            let failure = baton_model::Failure { message: "no".repeat(300), code: None, details: None };
            b.fail(Fail { failure, retry_after: Some(Duration::ZERO), ..failing(day(1), &held) }).await;
        }
    }
    for held in b.claim(claim("w", day(1)).max(9).cap(9)).await {
        let mut complete = b.completion(day(1), &held);
        complete.output.result = Some(json(&long));
        b.store().complete(complete, None).await.expect("it is completed");
    }
    let mut details = Vec::new();
    for spec in &specs {
        details.push(b.task(spec.id).await);
    }
    let found = ended(&archive, 2).await;
    assert_eq!(found.len(), 2);
    for detail in &details {
        let record =
            found.iter().find(|record| record.task.head.id == detail.task.head.id).expect("it is read");
        assert_eq!((&record.task, &record.generation), (&detail.task, &detail.generation));
        assert_eq!(record.history.len(), record.task.head.events as usize);
    }
    assert_eq!(removed(&archive, &found, 2).await, 2);
    // The same ids are others' now.
    let other = b.spec("other").params(&long);
    for spec in &specs {
        let anew = TaskSpec { id: spec.id, ..other.clone().chosen() };
        b.create_all(day(3), vec![anew]).await;
        assert_eq!(b.task(spec.id).await.task.task_type, name("other"));
    }
    b.check(day(4)).await;
}
