//! What a store says of itself when its file is full, damaged, or no longer there.

use std::fs::{File, copy, create_dir, remove_file, rename};
use std::os::unix::fs::FileExt as _;

use baton_store::{Health, Sizes};
use proptest::prelude::*;

use super::*;

/// What cannot be done, by its kind; empty for nothing.
fn in_the_way(health: &Health) -> [&'static str; 2] {
    [&health.read, health.write.as_ref().expect("a file is written to")].map(|side| match side {
        Ok(()) => "",
        Err(StoreError::StorageFull(_)) => "full",
        Err(StoreError::Unavailable(_)) => "unavailable",
        Err(StoreError::Corrupt { .. }) => "damaged",
        Err(StoreError::Gone { .. }) => "gone",
        Err(other) => panic!("{other:?}"),
    })
}

async fn sizes(store: &SqliteStore) -> Sizes {
    store.sizes().await.unwrap().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever fills it: once a small task is refused, the store says that it cannot be written, and can be read.
    #[test]
    fn a_store_that_refuses_a_small_task_says_that_it_is_full(bytes in 1_usize..60_000) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let options = Options { max_bytes: Some(768 * 1024), ..Options::default() };
            let store = open(&at(&folder), options).unwrap();
            let mut n = 0;
            let mut last = u64::MAX;
            loop {
                n += 1;
                let health = store.health().await;
                let room = health.sizes.unwrap().room_bytes.unwrap();
                assert!(room <= last, "{room} bytes are left after {last}");
                last = room;
                assert!(in_the_way(&health) == if room < 128 * 1024 { ["", "full"] } else { ["", ""] }, "{health:?}");
                let created = store.create(task(n, bytes)).await;
                let refused = created.is_err() || store.create(task(1_000_000 + n, 1)).await.is_err();
                if refused && room < 60_000 + 128 * 1024 {
                    break;
                }
                assert!(!refused, "{room} bytes were left");
            }
            assert_eq!(in_the_way(&store.health().await), ["", "full"]);
        });
    }
}

#[tokio::test]
async fn how_much_room_is_left_follows_what_is_stored_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let most = 4 * 1024 * 1024;
    let store = open(&at(&folder), Options { max_bytes: Some(most), ..Options::default() }).unwrap();
    let empty = sizes(&store).await;
    assert_eq!(empty.file_bytes - empty.free_bytes + empty.room_bytes.unwrap(), most);
    for n in 1..=10 {
        store.create(task(n, 100_000)).await.unwrap();
    }
    let full = sizes(&store).await;
    assert_eq!(full.tasks, 10);
    assert!(full.file_bytes >= empty.file_bytes + 1_000_000 && full.log_bytes > 1_000_000, "{full:?}");
    assert!(full.room_bytes.unwrap() <= empty.room_bytes.unwrap() - 1_000_000, "{full:?}");
    for n in 1..=10 {
        let cancel = baton_store::Cancel {
            now: Timestamp::from_millis(2_000),
            task: id(n),
            by: None,
            reason: None,
            with_dependants: false,
        };
        store.cancel(cancel).await.unwrap();
    }
    let purge = baton_store::Purge { limit: 100, ..baton_store::Purge::at(Timestamp::from_millis(1 << 40)) };
    store.purge(purge).await.unwrap();
    let freed = sizes(&store).await;
    assert_eq!((freed.tasks, freed.file_bytes), (0, full.file_bytes));
    assert!(freed.free_bytes > 1_000_000, "{freed:?}");
    assert_eq!(freed.file_bytes - freed.free_bytes + freed.room_bytes.unwrap(), most);
    assert_eq!(store.health().await.sizes.unwrap().room_bytes, freed.room_bytes);
}

/// Overwrites the pages of a file that is not open, all but the first ones, which name its tables.
fn damage(path: &Path, from_page: u64) {
    let file = File::options().write(true).open(path).unwrap();
    let pages = file.metadata().unwrap().len() / 4_096;
    for page in from_page..pages {
        file.write_all_at(&[0xA5; 4_096], page * 4_096).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_file_is_told_before_a_request_meets_the_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&at(&folder), Options::default()).unwrap();
    for n in 1..=200 {
        store.create(task(n, 2_000)).await.unwrap();
    }
    drop(store);
    let pages = std::fs::metadata(at(&folder)).unwrap().len() / 4_096;
    damage(&at(&folder), pages / 2);
    let store = open(&at(&folder), Options::default()).unwrap();
    assert_eq!(in_the_way(&store.health().await)[0], "damaged");
}

#[tokio::test]
async fn damage_that_a_request_has_met_is_told_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&at(&folder), Options::default()).unwrap();
    for n in 1..=3 {
        store.create(task(n, 10)).await.unwrap();
    }
    let other = Connection::open(at(&folder)).unwrap();
    // In the middle, where no look into the ends of the tables meets it.
    other.execute_batch("UPDATE task SET state = 2 WHERE n = 2").unwrap();
    store.health().await.all().unwrap();
    store.task(id(2)).await.unwrap_err();
    assert_eq!(in_the_way(&store.health().await), ["damaged", ""]);
    store.task(id(1)).await.unwrap();
    assert_eq!(in_the_way(&store.health().await), ["damaged", ""]);
    let cancel = baton_store::Cancel {
        now: Timestamp::from_millis(2_000),
        task: id(2),
        by: None,
        reason: None,
        with_dependants: false,
    };
    store.cancel(cancel).await.unwrap_err();
    assert_eq!(in_the_way(&store.health().await), ["damaged", "damaged"]);
}

/// Does something to the files of the database at this path.
type Loss = fn(&Path);

/// All that may become of the files of an open store, so that what it writes is lost.
const LOSSES: [(&str, Loss); 6] = [
    ("removed", |path| remove_file(path).unwrap()),
    ("renamed", |path| rename(path, path.with_extension("old")).unwrap()),
    ("replaced", |path| {
        copy(path, path.with_extension("copy")).unwrap();
        rename(path.with_extension("copy"), path).unwrap();
    }),
    ("its folder was renamed", |path| {
        let folder = path.parent().unwrap();
        rename(folder, folder.with_extension("old")).unwrap();
    }),
    ("its log was removed", |path| remove_file(path.with_extension("db-wal")).unwrap()),
    ("all were removed", |path| {
        for ending in ["db", "db-wal", "db-shm"] {
            remove_file(path.with_extension(ending)).unwrap();
        }
    }),
];

#[tokio::test]
async fn no_task_is_confirmed_once_the_file_is_gone() {
    for (how, lose) in LOSSES {
        let world = tempfile::tempdir().unwrap();
        let folder = world.path().join("data");
        create_dir(&folder).unwrap();
        let store = Arc::new(open(&folder.join("baton.db"), Options::default()).unwrap());
        store.create(task(1, 10)).await.unwrap();
        lose(&folder.join("baton.db"));
        let refused = store.create(task(2, 10)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Gone { .. }), "{how}: {refused}");
        assert_eq!(refused.kind(), ErrorKind::Unknown);
        // Nor is anything else answered, and whoever has the store hears of it.
        assert!(matches!(store.task(id(1)).await, Err(StoreError::Gone { .. })), "{how}");
        assert!(matches!(store.create(task(3, 10)).await, Err(StoreError::Gone { .. })), "{how}");
        assert_eq!(in_the_way(&store.health().await), ["gone", "gone"], "{how}");
        let gone = store.gone().await.to_string();
        assert!(gone.contains("put it back and start again"), "{how}: {gone}");
    }
}

#[tokio::test]
async fn a_file_that_is_gone_is_noticed_by_a_look_at_its_health_without_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&at(&folder), Options::default()).unwrap();
    store.health().await.all().unwrap();
    remove_file(at(&folder)).unwrap();
    assert_eq!(in_the_way(&store.health().await), ["gone", "gone"]);
}

#[tokio::test]
async fn a_file_that_was_renamed_and_is_put_back_holds_what_was_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&at(&folder), Options::default()).unwrap();
    store.create(task(1, 10)).await.unwrap();
    rename(at(&folder), folder.path().join("moved.db")).unwrap();
    let mut second = task(2, 10);
    second.tasks[0].id_chosen = true;
    store.create(second.clone()).await.unwrap_err();
    drop(store);
    rename(folder.path().join("moved.db"), at(&folder)).unwrap();
    let store = open(&at(&folder), Options::default()).unwrap();
    store.task(id(1)).await.unwrap();
    // It was told that its outcome is not known: sent again, it is done once.
    store.create(second).await.unwrap();
    store.task(id(2)).await.unwrap();
    store.health().await.all().unwrap();
}
