//! Tasks that are archived before they are removed: what a store that is opened so removes, and when.

use std::time::Duration;

use baton_model::{Fence, GenerationId, IfDependencyFails, Output, State};
use baton_store::transfer::Verdict;
use baton_store::{
    ArchiveStore, Cancel, Claim, ClaimAnswer, Complete, Past, Purge, Remove, Retry, TaskDetail, TaskFilter,
};

use super::*;

const DAY: i64 = 86_400_000;

fn days(n: i64) -> Timestamp {
    Timestamp::from_millis(n * DAY)
}

fn archived(folder: &tempfile::TempDir) -> SqliteStore {
    open(&at(folder), Options { archived: true, ..Options::default() }).unwrap()
}

async fn complete(store: &SqliteStore, n: u128, now: Timestamp) -> TaskDetail {
    store.create(Create { now, ..task(n, 100) }).await.unwrap();
    let claim = Claim { cap: 10, ..Claim::new("w1".parse().unwrap(), now) };
    let ClaimAnswer::Leased(leased) = store.claim(claim).await.unwrap() else { panic!("nothing to claim") };
    let complete = Complete {
        now,
        task: id(n),
        fence: Fence { attempt: leased[0].head.attempt, worker: "w1".parse().unwrap() },
        generation: GenerationId::from_bytes(n.to_be_bytes()),
        output: Output::default(),
        ran: None,
    };
    store.complete(complete, None).await.unwrap();
    store.task(id(n)).await.unwrap()
}

async fn cancel(store: &SqliteStore, n: u128, now: Timestamp) {
    let cancel = Cancel { now, task: id(n), by: None, reason: None, with_dependants: false };
    store.cancel(cancel).await.unwrap();
}

async fn purge(store: &SqliteStore, now: Timestamp) -> u64 {
    let report = store.purge(Purge { keep_finished: Some(Duration::ZERO), ..Purge::at(now) }).await.unwrap();
    assert!(!report.more, "what is to be archived is not the purge's work");
    report.tasks
}

async fn is_there(store: &SqliteStore, n: u128) -> bool {
    store.task(id(n)).await.is_ok()
}

#[tokio::test]
async fn nothing_that_ended_is_removed_but_by_its_archiver() {
    let folder = tempfile::tempdir().unwrap();
    let store = archived(&folder);
    for n in 1..=3 {
        complete(&store, n, days(n as i64)).await;
    }
    assert_eq!(purge(&store, days(1_000)).await, 0);
    let ended = store.ended(Past { all: days(3), own: days(3) }, 10).await.unwrap();
    let ids: Vec<_> = ended.iter().map(|record| record.task.head.id).collect();
    assert_eq!(ids, [id(1), id(2)], "the oldest first, and none within its keeping");
    assert_eq!((ended[0].history.len(), ended[0].generation.is_some()), (3, true));
    assert_eq!(store.ended(Past { all: days(3), own: days(3) }, 1).await.unwrap().len(), 1);
    let named: Vec<_> = ended.iter().map(|record| (record.task.head.id, record.task.head.events)).collect();
    assert_eq!(store.remove_archived(named.clone()).await.unwrap(), 2);
    assert_eq!(store.remove_archived(named).await.unwrap(), 0, "again, nothing is left to do");
    assert!(!is_there(&store, 1).await && !is_there(&store, 2).await && is_there(&store, 3).await);
    let states = store.stats(days(4)).await.unwrap().states;
    assert_eq!(states.get(&State::Completed), Some(&1), "counts follow");
}

#[tokio::test]
async fn what_has_lived_again_since_it_was_written_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = archived(&folder);
    store.create(Create { now: days(1), ..task(1, 100) }).await.unwrap();
    cancel(&store, 1, days(1)).await;
    let written = store.ended(Past { all: days(2), own: days(2) }, 10).await.unwrap();
    let named = vec![(id(1), written[0].task.head.events)];
    let retry = Retry {
        now: days(2),
        task: id(1),
        by: None,
        reason: None,
        delay: Duration::ZERO,
        with_dependants: false,
    };
    store.retry(retry).await.unwrap();
    assert_eq!(store.remove_archived(named.clone()).await.unwrap(), 0, "it waits");
    cancel(&store, 1, days(3)).await;
    assert_eq!(
        store.remove_archived(named).await.unwrap(),
        0,
        "it has another history than the one that was written"
    );
    let written = store.ended(Past { all: days(4), own: days(4) }, 10).await.unwrap();
    assert_eq!(store.remove_archived(vec![(id(1), written[0].task.head.events)]).await.unwrap(), 1);
}

#[tokio::test]
async fn what_others_wait_for_is_not_archived() {
    let folder = tempfile::tempdir().unwrap();
    let store = archived(&folder);
    complete(&store, 1, days(1)).await;
    let written = store.ended(Past { all: days(2), own: days(2) }, 10).await.unwrap();
    let mut create = Create { now: days(2), ..task(2, 100) };
    create.tasks[0].depends_on = vec![id(1)];
    create.tasks[0].if_dependency_fails = IfDependencyFails::Run;
    create.tasks[0].run_after = RunAfter::At(days(1_000));
    store.create(create).await.unwrap();
    assert_eq!(store.remove_archived(vec![(id(1), written[0].task.head.events)]).await.unwrap(), 0);
    purge(&store, days(3)).await;
    assert!(store.ended(Past { all: days(3), own: days(3) }, 10).await.unwrap().is_empty());
    cancel(&store, 2, days(4)).await;
    purge(&store, days(5)).await;
    assert_eq!(
        store.ended(Past { all: days(5), own: days(5) }, 10).await.unwrap().len(),
        2,
        "nobody waits for it any more"
    );
}

#[tokio::test]
async fn what_is_removed_by_hand_is_archived_next_whatever_its_keeping() {
    let folder = tempfile::tempdir().unwrap();
    let store = archived(&folder);
    let detail = complete(&store, 1, days(1)).await;
    complete(&store, 2, days(1)).await;
    for _ in 0..2 {
        store.remove(Remove { now: days(1), task: id(1) }).await.unwrap();
    }
    assert_eq!(store.task(id(1)).await.unwrap(), detail, "it is there as it was until it is written");
    let ended = store
        .ended(Past { all: Timestamp::from_millis(1), own: Timestamp::from_millis(1) }, 10)
        .await
        .unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].task, detail.task, "and written as it was");
    assert_eq!(store.remove_archived(vec![(id(1), detail.task.head.events)]).await.unwrap(), 1);
    assert!(!is_there(&store, 1).await && is_there(&store, 2).await);
}

#[tokio::test]
async fn what_is_restored_is_as_it_was_and_kept_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = archived(&folder);
    let detail = complete(&store, 1, days(1)).await;
    let ended = store.ended(Past { all: days(2), own: days(2) }, 10).await.unwrap();
    store.remove_archived(vec![(id(1), detail.task.head.events)]).await.unwrap();
    assert_eq!(store.restore(ended.clone(), days(100)).await.unwrap(), [Ok(Verdict::New)]);
    assert_eq!(
        store.restore(ended.clone(), days(200)).await.unwrap(),
        [Ok(Verdict::Same)],
        "again, it is there"
    );
    let restored = store.task(id(1)).await.unwrap();
    assert_eq!((&restored.task, &restored.generation), (&detail.task, &detail.generation));
    assert_eq!(restored.history, detail.history);
    assert!(
        store.ended(Past { all: days(100), own: days(100) }, 10).await.unwrap().is_empty(),
        "its keeping began when it was restored"
    );
    let again = store.ended(Past { all: days(101), own: days(101) }, 10).await.unwrap();
    assert_eq!(again[0].checksum(), ended[0].checksum());
    let listed = store
        .tasks(TaskFilter { now: days(100), ..TaskFilter::default() }, baton_store::PageRequest::first(9));
    assert_eq!(listed.await.unwrap().items[0].finished_at, Some(days(1)));
    let states = store.stats(days(100)).await.unwrap().states;
    assert_eq!(states.get(&State::Completed), Some(&1));
}

/// As a purge of a store without an archive does, also to what was removed by hand before the archive was switched off.
#[tokio::test]
async fn a_file_whose_archive_is_switched_off_is_purged_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = archived(&folder);
    complete(&store, 1, days(1)).await;
    store.remove(Remove { now: days(1), task: id(1) }).await.unwrap();
    drop(store);
    let store = open(&at(&folder), Options::default()).unwrap();
    let report = store.purge(Purge::at(days(100))).await.unwrap();
    assert_eq!(report.tasks, 1);
}
