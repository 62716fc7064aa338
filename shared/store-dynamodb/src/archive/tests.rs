use baton_model::{Bounds, Fence, GenerationId, Output, RunAfter, TaskSpec};
use baton_store::{Cancel, Claim, ClaimAnswer, Complete, Create, NoDoorbell, Purge, Remove, TaskStore};

use super::*;
use crate::Options;
use crate::ends::ENDS;
use crate::testing::{created_large, store, task as spec};

const DAY: Duration = Duration::from_secs(86_400);

fn days(n: u32) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).plus(DAY * n)
}

async fn cancel(store: &DynamoStore, task: TaskId, now: Timestamp) {
    store.cancel(Cancel { now, task, by: None, reason: None, with_dependants: false }).await.unwrap();
}

async fn reopened(store: &DynamoStore, options: Options) -> DynamoStore {
    let db = &store.inner.db;
    let options = Options { flush_every: None, ..options };
    DynamoStore::open(db.client.clone(), db.table.clone(), options, std::sync::Arc::new(NoDoorbell))
        .await
        .unwrap()
}

async fn create(store: &DynamoStore, spec: TaskSpec, now: Timestamp) -> TaskId {
    let id = spec.id;
    let create = Create { now, tasks: vec![spec], atomic: false, idempotency: None, by: None };
    store.create(create).await.unwrap();
    id
}

async fn cancelled(store: &DynamoStore, spec: TaskSpec, now: Timestamp) -> TaskId {
    let id = create(store, spec, now).await;
    cancel(store, id, now).await;
    id
}

async fn completed(store: &DynamoStore, number: u8, now: Timestamp) -> (TaskId, GenerationId) {
    let task = create(store, spec(number, RunAfter::Now), now).await;
    let claim = Claim { queues: vec!["a".parse().unwrap()], ..Claim::new("w".parse().unwrap(), now) };
    let ClaimAnswer::Leased(held) = store.claim(claim).await.unwrap() else { panic!("expected a task") };
    assert_eq!(held[0].head.id, task);
    let (caller, generation) = (Bounds::default(), GenerationId::from_bytes([number; 16]));
    let fence = Fence { attempt: held[0].head.attempt, worker: "w".parse().unwrap() };
    let complete = Complete { caller, now, task, fence, generation, output: Output::default(), ran: None };
    store.complete(complete, None).await.unwrap();
    (task, generation)
}

async fn has_end(store: &DynamoStore, task: TaskId) -> bool {
    store.inner.known(task).await.unwrap().ends.is_some()
}

/// A task that is marked as removed, and no more.
async fn marked(store: &DynamoStore, task: TaskId) -> Stored {
    let mark = Expression::new().set("pg", n(1)).remove("ip").remove("is");
    Stored::read(&store.inner.db.update(store.inner.task_key(task), &mark).await.unwrap()).unwrap()
}

/// A removal may be cut off behind its mark: nobody sees the task any more, and the walk deletes what is left of it.
#[tokio::test]
async fn a_removal_that_was_cut_off_is_done_by_the_walk() {
    let store = store(Options { archived: true, ..Options::seeded(1) }).await;
    let (inner, id) = (&store.inner, created_large(&store, days(0)).await);
    cancel(&store, id, days(0)).await;
    marked(&store, id).await;
    assert!(store.task(id).await.is_err());
    let past = Past { all: days(1), own: days(1) };
    assert_eq!(store.ended(past, 10).await.unwrap().len(), 0);
    assert!(inner.db.get(inner.task_key(id)).await.unwrap().is_none());
    assert!(inner.db.query_whole(Query::table(keys::apart(&id))).await.unwrap().items.is_empty());
    // The same command sent again finds nothing to do.
    assert_eq!(store.remove_archived(vec![(id, 2)], days(1)).await.unwrap(), 0);
}

/// Where a limit or a page cuts a look off, the next one goes on there, and none is left out, though nothing is written.
#[tokio::test]
async fn looks_go_on_where_they_ended() {
    let store = store(Options { archived: true, ..Options::seeded(1) }).await;
    for number in 1..=20 {
        cancelled(&store, spec(number, RunAfter::Now), days(0)).await;
    }
    let past = Past { all: days(1), own: days(1) };
    let mut seen = BTreeSet::new();
    for look in 0..10 {
        let found = store.ended(past, 3).await.unwrap();
        assert!(found.len() <= 3 && (look == 0 || !found.is_empty() || seen.len() == 20), "look {look}");
        seen.extend(found.iter().map(|record| record.task.head.id));
    }
    assert_eq!(seen.len(), 20);
    // What is still there is told by each, wherever the walk is.
    for look in 0..10 {
        assert!(!store.ended(past, 3).await.unwrap().is_empty(), "look {look}");
    }
}

/// A table of tasks becomes one that is archived: what has an end loses it at once, and nothing gets one, whoever opens it; and
/// becomes one again that removes by itself.
#[tokio::test]
async fn archiving_is_switched_on_and_off() {
    let store = store(Options::seeded(1)).await;
    let id = created_large(&store, days(0)).await;
    cancel(&store, id, days(0)).await;
    let ends = async || {
        let task = store.inner.db.get(store.inner.task_key(id)).await.unwrap().unwrap();
        let apart = store.inner.db.query_whole(Query::table(keys::apart(&id))).await.unwrap();
        (task.contains_key(ENDS), apart.items.iter().any(|item| item.contains_key(ENDS)))
    };
    store.purge(Purge::at(days(0))).await.unwrap();
    assert_eq!(ends().await, (true, true));
    store.begin_archiving().await.unwrap();
    let archived = reopened(&store, Options::seeded(2)).await;
    archived.purge(Purge::at(days(1))).await.unwrap();
    assert_eq!(ends().await, (false, false));
    let other = reopened(&store, Options::seeded(3)).await;
    assert!(other.is_archived(), "the table says so");
    other.end_archiving().await.unwrap();
    let plain = reopened(&store, Options::seeded(4)).await;
    assert!(!plain.is_archived());
    plain.purge(Purge::at(days(2))).await.unwrap();
    assert_eq!(ends().await, (false, false), "others may still be open");
    plain.purge(Purge::at(days(4))).await.unwrap();
    assert_eq!(ends().await, (true, true));
}

/// DynamoDB removes items in no order: a task whose generation has gone, or may have, keeps the end by which it goes itself.
#[tokio::test]
async fn what_may_be_going_keeps_its_end() {
    let store = store(Options::seeded(1)).await;
    let inner = &store.inner;
    let (early, _) = completed(&store, 1, days(0)).await;
    let (halved, lost) = completed(&store, 2, days(20)).await;
    let (late, _) = completed(&store, 3, days(20)).await;
    inner.db.delete(inner.generation_key(lost), &Expression::new()).await.unwrap();
    store.begin_archiving().await.unwrap();
    // Of the first, the end has come.
    store.purge(Purge::at(days(31))).await.unwrap();
    let found = [has_end(&store, early).await, has_end(&store, halved).await, has_end(&store, late).await];
    assert_eq!(found, [true, true, false]);
}

/// A process that was opened before the mark goes by it from its next purge on, and does not have ends set again.
#[tokio::test]
async fn who_was_opened_before_the_mark_does_not_stop_the_undating() {
    let before = store(Options::seeded(1)).await;
    let first = cancelled(&before, spec(1, RunAfter::Now), days(0)).await;
    before.purge(Purge::at(days(0))).await.unwrap();
    let archived = reopened(&before, Options::seeded(2)).await;
    archived.begin_archiving().await.unwrap();
    assert!(archived.is_archived() && !before.is_archived());
    archived.purge(Purge::at(days(1))).await.unwrap();
    let second = cancelled(&before, spec(2, RunAfter::Now), days(1)).await;
    assert_eq!((has_end(&before, first).await, has_end(&before, second).await), (false, true));
    before.purge(Purge::at(days(1))).await.unwrap();
    assert!(before.is_archived());
    let third = cancelled(&before, spec(3, RunAfter::Now), days(1)).await;
    assert!(!has_end(&before, third).await);
    // The walk that comes a day after the first one takes off what was dated behind that.
    before.purge(Purge::at(days(2))).await.unwrap();
    assert_eq!((has_end(&before, first).await, has_end(&before, second).await), (false, false));
}

/// Where all are kept for ever, there are ends of a keeping of their own, and they are taken off, too.
#[tokio::test]
async fn ends_of_a_keeping_of_their_own_are_taken_off() {
    let store = store(Options { keep_finished: None, ..Options::seeded(1) }).await;
    let own = TaskSpec { retention: Some(DAY * 10), ..spec(1, RunAfter::Now) };
    let id = cancelled(&store, own, days(0)).await;
    store.purge(Purge::at(days(0))).await.unwrap();
    assert!(has_end(&store, id).await);
    store.begin_archiving().await.unwrap();
    store.purge(Purge::at(days(1))).await.unwrap();
    assert!(!has_end(&store, id).await);
}

/// A read may be a moment old: what it shows as removed may be gone, and its id another's.
#[tokio::test]
async fn what_a_late_read_shows_as_removed_is_looked_at_anew() {
    let store = store(Options { archived: true, ..Options::seeded(1) }).await;
    let (inner, id) = (&store.inner, created_large(&store, days(0)).await);
    cancel(&store, id, days(0)).await;
    let seen = marked(&store, id).await;
    inner.clear(&seen).await.unwrap();
    assert!(inner.db.get(inner.task_key(id)).await.unwrap().is_none());
    assert_eq!(created_large(&store, days(1)).await, id);
    inner.clear_left(&seen).await.unwrap();
    assert!(store.task(id).await.unwrap().task.params.size() > 5_000);
}

/// What is restored where tasks are archived has no purge go over all others, and is kept from then on by the very write that puts it there.
#[tokio::test]
async fn restoring_makes_no_work_for_purges() {
    let store = store(Options::seeded(1)).await;
    store.begin_archiving().await.unwrap();
    let (id, _) = completed(&store, 1, days(0)).await;
    store.purge(Purge::at(days(0))).await.unwrap();
    let written = store.ended(Past { all: days(1), own: days(1) }, 10).await.unwrap();
    assert_eq!(written.len(), 1);
    store.remove_archived(vec![(id, written[0].task.head.events)], days(1)).await.unwrap();
    let note = || store.inner.db.get(keys::meta("purge"));
    let before = note().await.unwrap();
    assert!(before.is_some());
    assert_eq!(store.restore(written, days(2)).await.unwrap(), [Ok(Verdict::New)]);
    assert_eq!(note().await.unwrap(), before);
    assert_eq!(store.inner.known(id).await.unwrap().kept_since(), days(2));
}

/// A removal that was cut off between its mark and its end is brought to its end by who puts the task back.
#[tokio::test]
async fn what_a_removal_has_left_does_not_stand_in_the_way_of_restoring() {
    let store = store(Options { archived: true, ..Options::seeded(1) }).await;
    let (inner, (id, output)) = (&store.inner, completed(&store, 1, days(0)).await);
    let written = store.ended(Past { all: days(1), own: days(1) }, 10).await.unwrap();
    marked(&store, id).await;
    assert!(inner.once_removed(id, Duration::ZERO, None).await.unwrap().is_none());
    assert!(inner.db.get(inner.task_key(id)).await.unwrap().is_none());
    assert_eq!(store.restore(written, days(2)).await.unwrap(), [Ok(Verdict::New)]);
    assert!(inner.once_removed(id, Duration::ZERO, None).await.unwrap().is_some());
    assert!(store.generation(output).await.is_ok());
}

/// What was removed by hand, and waits for DynamoDB alone, keeps nobody waiting who puts it back.
#[tokio::test]
async fn what_waits_for_dynamodb_alone_is_restored_at_once() {
    let store = store(Options::seeded(1)).await;
    let (inner, (id, output)) = (&store.inner, completed(&store, 1, days(0)).await);
    let stored = inner.known(id).await.unwrap();
    let written = inner.task_record(stored).await.unwrap().unwrap();
    store.remove(Remove { now: days(0), task: id }).await.unwrap();
    assert!(inner.db.get(inner.task_key(id)).await.unwrap().is_some());
    let begun = std::time::Instant::now();
    assert_eq!(store.restore(vec![written], days(1)).await.unwrap(), [Ok(Verdict::New)]);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(store.generation(output).await.is_ok());
}

/// All days are gone over, once a day, while a task may be there that has a keeping of its own and lies in a young day.
#[test]
fn young_days_are_gone_over_for_tasks_with_a_keeping_of_their_own() {
    let goes_over_all = |first: u32, own_at: Option<u32>, now: u32, all_at: Option<u32>| {
        let all_at = all_at.map_or(i64::MIN, |day| days(day).as_millis());
        let walk = Walk { first_at: Some(days(first).as_millis()), all_at, ..Walk::default() };
        let past = Past { all: days(now - 30), own: days(now) };
        Inner::begun_anew(&walk, past, own_at.map(days)).all
    };
    assert!(goes_over_all(40, None, 40, None), "nobody has noted what was there before");
    assert!(goes_over_all(40, None, 60, Some(59)));
    assert!(!goes_over_all(40, None, 60, Some(60)), "once a day");
    assert!(!goes_over_all(40, None, 80, Some(60)), "what is younger has no keeping of its own");
    assert!(goes_over_all(40, Some(75), 80, Some(60)));
    assert!(!goes_over_all(40, Some(75), 120, Some(60)), "it lies in days that are old enough anyway");
}

#[tokio::test]
async fn a_young_task_with_a_keeping_of_its_own_is_met() {
    let store = store(Options { archived: true, ..Options::seeded(1) }).await;
    let mut id = [0x70; 16];
    id[..6].copy_from_slice(&days(100).as_millis().to_be_bytes()[2..]);
    id[8] = 0x80;
    let own = TaskSpec { id: TaskId::from_bytes(id), retention: Some(DAY), ..spec(1, RunAfter::Now) };
    let id = cancelled(&store, own, days(100)).await;
    let list = store.inner.db.get(keys::days(Kind::Task)).await.unwrap().unwrap();
    assert_eq!(Fields(&list).maybe_time(OWN_AT).unwrap(), Some(days(100)), "it is noted that there is one");
    let past = Past { all: days(72), own: days(102) };
    let mut met = Vec::new();
    for _ in 0..2 {
        met.extend(store.ended(past, 10).await.unwrap().into_iter().map(|record| record.task.head.id));
    }
    assert_eq!(met, [id]);
}
