//! Tasks that are archived before they are removed, as far as a file goes beyond what the conformance suite says of them.

use baton_model::{Bounds, Fence, GenerationId, Output, State};
use baton_store::{ArchiveStore, Claim, ClaimAnswer, Complete, Past, Purge, Remove};

use super::*;

const DAY: i64 = 86_400_000;

fn days(n: i64) -> Timestamp {
    Timestamp::from_millis(n * DAY)
}

fn archived(folder: &tempfile::TempDir) -> SqliteStore {
    open(&at(folder), Options { archived: true, ..Options::default() }).unwrap()
}

async fn complete(store: &SqliteStore, n: u128, now: Timestamp) {
    store.create(Create { now, ..task(n, 100) }).await.unwrap();
    let claim = Claim { cap: 10, ..Claim::new("w1".parse().unwrap(), now) };
    let ClaimAnswer::Leased(leased) = store.claim(claim).await.unwrap() else { panic!("nothing to claim") };
    let complete = Complete {
        now,
        task: id(n),
        fence: Fence { attempt: leased[0].head.attempt, worker: "w1".parse().unwrap() },
        caller: Bounds::default(),
        generation: GenerationId::from_bytes(n.to_be_bytes()),
        output: Output::default(),
        ran: None,
    };
    store.complete(complete, None).await.unwrap();
}

#[tokio::test]
async fn what_is_past_its_keeping_for_longest_is_archived_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = archived(&folder);
    for n in [2, 1, 3] {
        complete(&store, n, days(n as i64)).await;
    }
    let ids = async |limit| {
        let ended = store.ended(Past { all: days(3), own: days(3) }, limit).await.unwrap();
        ended.iter().map(|record| record.task.head.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(10).await, [id(1), id(2)]);
    assert_eq!(ids(1).await, [id(1)]);
    let written = vec![(id(1), 3)];
    assert_eq!(store.remove_archived(written, days(3)).await.unwrap(), 1);
    let states = store.stats(days(4)).await.unwrap().states;
    assert_eq!(states.get(&State::Completed), Some(&2), "counts follow");
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
