//! The archive in a folder: nothing is removed that is not written, and each task is read once, whatever was cut off.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use baton_archive::{Filter, ObjectArchive};
use baton_files::Objects;
use baton_model::{Payload, Place, ProjectId, TaskId, TaskSpec, Timestamp};
use baton_store::transfer::{Refusal, TaskRecord, Verdict};
use baton_store::{
    Archive, ArchiveStore, Archived, Archiver, ArchivingError, Cancel, Create, NoDoorbell, Past, Retry,
    StoreError, TaskStore,
};
use baton_store_sqlite::{Options, SqliteStore};
use futures::TryStreamExt;

const DAY: i64 = 86_400_000;

fn days(n: i64) -> Timestamp {
    Timestamp::from_millis(n * DAY)
}

fn id(n: u128) -> TaskId {
    TaskId::from_bytes(n.to_be_bytes())
}

struct World {
    folder: tempfile::TempDir,
    store: Arc<Cut>,
    archive: Arc<ObjectArchive>,
}

/// A store whose process dies when it is to remove something, if that is wished.
struct Cut {
    store: SqliteStore,
    dies: AtomicBool,
    /// How often it was asked for what is past its keeping.
    looks: AtomicU64,
}

#[async_trait]
impl ArchiveStore for Cut {
    async fn ended(&self, past: Past, limit: u32) -> Result<Vec<TaskRecord>, StoreError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.store.ended(past, limit).await
    }

    async fn remove_archived(&self, tasks: Vec<(TaskId, u32)>, now: Timestamp) -> Result<u64, StoreError> {
        if self.dies.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("cut off".into()));
        }
        self.store.remove_archived(tasks, now).await
    }

    async fn restore(
        &self,
        tasks: Vec<TaskRecord>,
        now: Timestamp,
    ) -> Result<Vec<Result<Verdict, Refusal>>, StoreError> {
        self.store.restore(tasks, now).await
    }
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { archived: true, ..Options::default() };
        let store =
            SqliteStore::open(&folder.path().join("baton.db"), options, Arc::new(NoDoorbell)).unwrap();
        let place = Place::Folder(folder.path().join("archive"));
        let archive = Arc::new(ObjectArchive::new(Objects::open(&place).unwrap()));
        let store = Arc::new(Cut { store, dies: AtomicBool::new(false), looks: AtomicU64::new(0) });
        Self { folder, store, archive }
    }

    /// A task of a project that was cancelled at a time.
    async fn cancelled(&self, n: u128, project: &str, at: Timestamp) {
        self.cancelled_and_kept(n, project, at, None).await;
    }

    /// The same, that is kept for a time of its own.
    async fn cancelled_and_kept(&self, n: u128, project: &str, at: Timestamp, retention: Option<Duration>) {
        let spec = TaskSpec {
            project: project.parse().unwrap(),
            retention,
            params: Payload::from_value(&serde_json::json!({ "n": 1.5, "text": "ü\n" })),
            ..TaskSpec::new(id(n), "render".parse().unwrap())
        };
        let create = Create { now: at, tasks: vec![spec], atomic: true, idempotency: None, by: None };
        self.store.store.create(create).await.unwrap();
        self.cancel(n, at).await;
    }

    async fn cancel(&self, n: u128, now: Timestamp) {
        let cancel = Cancel { now, task: id(n), by: None, reason: None, with_dependants: false };
        self.store.store.cancel(cancel).await.unwrap();
    }

    async fn step(&self, before: Timestamp, now: Timestamp) -> Result<Archived, ArchivingError> {
        self.archiver().step(Past { all: before, own: now }, now, 100, |_: Duration| async {}).await
    }

    fn archiver(&self) -> Archiver {
        Archiver { store: Arc::clone(&self.store) as _, archive: Arc::clone(&self.archive) as _ }
    }

    async fn read(&self, filter: &Filter) -> Vec<TaskRecord> {
        let found = self.archive.find(filter).await.unwrap();
        let tasks = found.tasks();
        let read: Vec<_> = self.archive.read(filter, found).try_collect().await.unwrap();
        assert_eq!(read.len(), tasks);
        read
    }

    async fn read_ids(&self, filter: &Filter) -> Vec<TaskId> {
        let mut ids: Vec<_> = self.read(filter).await.iter().map(|record| record.task.head.id).collect();
        ids.sort();
        ids
    }

    /// The archive's files, in their order.
    fn files(&self) -> Vec<String> {
        fn below(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { below(&path, found) } else { found.push(path) }
            }
        }
        let (root, mut found) = (self.folder.path().join("archive"), Vec::new());
        below(&root, &mut found);
        found.sort();
        found.iter().map(|path| path.strip_prefix(&root).unwrap().display().to_string()).collect()
    }

    async fn is_there(&self, n: u128) -> bool {
        self.store.store.task(id(n)).await.is_ok()
    }
}

/// Who has little time leaves a large day as it lies: it is read as well, and gathered by whoever has more.
#[tokio::test]
async fn a_day_that_is_too_large_to_be_gathered_stays_in_parts_and_holds_up_none() {
    let world = World::new();
    for (n, project) in [(1, "a"), (2, "a"), (3, "b")] {
        world.cancelled(n, project, days(1)).await;
    }
    world.step(days(2), days(40)).await.unwrap();
    let size = |name: &str| std::fs::metadata(world.folder.path().join("archive").join(name)).unwrap().len();
    let parts = world.files();
    let (large, small) = (size(&parts[0]), size(&parts[1]));
    assert!(parts[0].starts_with("parts/a/") && large > small, "{parts:?}");
    assert_eq!(world.archive.gather(days(3), Some(large - 1)).await.unwrap(), 1);
    assert_eq!(world.files(), [parts[0].as_str(), "tasks/b/1970-01-02.jsonl"]);
    // What comes to a day late is copied behind what is there: both count.
    world.cancelled(4, "b", days(1)).await;
    world.step(days(3), days(41)).await.unwrap();
    assert_eq!(world.archive.gather(days(3), Some(small)).await.unwrap(), 0);
    assert_eq!(world.read_ids(&Filter::default()).await, [id(1), id(2), id(3), id(4)]);
    assert_eq!(world.archive.gather(days(3), None).await.unwrap(), 2);
    assert_eq!(world.files(), ["tasks/a/1970-01-02.jsonl", "tasks/b/1970-01-02.jsonl"]);
    assert_eq!(world.read_ids(&Filter::default()).await, [id(1), id(2), id(3), id(4)]);
}

#[tokio::test]
async fn each_day_and_project_has_one_file_once_the_day_is_over() {
    let world = World::new();
    for (n, project, day) in [(1, "a", 1), (2, "a", 1), (3, "b", 1), (4, "a", 2)] {
        world.cancelled(n, project, days(day)).await;
    }
    let record = world.store.ended(Past { all: days(2), own: days(2) }, 1).await.unwrap().remove(0);
    assert_eq!(world.step(days(2), days(40)).await.unwrap(), Archived { written: 3, removed: 3 });
    assert_eq!(world.files().len(), 2, "a part of each project: {:?}", world.files());
    assert_eq!(world.step(days(3), days(41)).await.unwrap(), Archived { written: 1, removed: 1 });
    assert_eq!(world.step(days(3), days(42)).await.unwrap(), Archived::default());
    let all = Filter::default();
    let expected = [id(1), id(2), id(3), id(4)];
    assert_eq!(world.read_ids(&all).await, expected);
    assert_eq!(world.archive.gather(days(2), None).await.unwrap(), 2);
    let files = world.files();
    assert_eq!(files.len(), 3);
    assert!(files[0].starts_with("parts/a/1970-01-03/") && files[0].ends_with(".jsonl"), "{files:?}");
    assert_eq!(files[1..], ["tasks/a/1970-01-02.jsonl", "tasks/b/1970-01-02.jsonl"]);
    assert_eq!(world.read_ids(&all).await, expected);
    // What comes late is gathered, too, behind what is there.
    world.cancelled(5, "a", days(1)).await;
    world.step(days(3), days(43)).await.unwrap();
    assert_eq!(world.archive.gather(days(3), None).await.unwrap(), 2);
    assert_eq!(world.archive.gather(days(3), None).await.unwrap(), 0);
    assert_eq!(
        world.files(),
        ["tasks/a/1970-01-02.jsonl", "tasks/a/1970-01-03.jsonl", "tasks/b/1970-01-02.jsonl"]
    );
    let found = world.read(&all).await;
    assert_eq!(found.len(), 5);
    let first = found.iter().find(|found| found.task.head.id == id(1)).unwrap();
    assert_eq!((first, first.checksum()), (&record, record.checksum()), "a line holds all that a task has");
    let project = |name: &str| Some(name.parse::<ProjectId>().unwrap());
    assert_eq!(world.read_ids(&Filter { project: project("b"), ..Filter::default() }).await, [id(3)]);
    assert_eq!(world.read_ids(&Filter { project: project("none"), ..Filter::default() }).await, []);
    let from = Filter { from: Some("1970-01-03".to_owned()), ..Filter::default() };
    assert_eq!(world.read_ids(&from).await, [id(4)]);
    let until = Filter { until: Some("1970-01-02".to_owned()), project: project("a"), ..Filter::default() };
    assert_eq!(world.read_ids(&until).await, [id(1), id(2), id(5)]);
    let some = Filter { tasks: vec![id(2), id(9)], ..Filter::default() };
    assert_eq!(world.read_ids(&some).await, [id(2)]);
}

#[tokio::test]
async fn what_was_written_before_a_crash_is_written_again_and_read_once() {
    let world = World::new();
    world.cancelled(1, "a", days(1)).await;
    world.store.dies.store(true, Ordering::Relaxed);
    for now in [10, 11] {
        assert!(matches!(world.step(days(2), days(now)).await, Err(ArchivingError::Store(_))));
    }
    assert!(world.is_there(1).await);
    world.store.dies.store(false, Ordering::Relaxed);
    world.step(days(2), days(12)).await.unwrap();
    assert!(!world.is_there(1).await);
    assert_eq!(world.files().len(), 3);
    assert_eq!(world.read_ids(&Filter::default()).await, [id(1)]);
    world.archive.gather(days(9), None).await.unwrap();
    assert_eq!(world.read_ids(&Filter::default()).await, [id(1)]);
}

#[tokio::test]
async fn of_a_task_that_was_archived_more_than_once_the_last_counts() {
    let world = World::new();
    world.cancelled(1, "a", days(1)).await;
    world.step(days(2), days(40)).await.unwrap();
    world.archive.gather(days(9), None).await.unwrap();
    let read = world.read(&Filter::default()).await;
    assert_eq!(world.store.restore(read, days(50)).await.unwrap(), [Ok(Verdict::New)]);
    let retry = Retry {
        now: days(51),
        task: id(1),
        by: None,
        reason: None,
        delay: Duration::ZERO,
        with_dependants: false,
    };
    world.store.store.retry(retry).await.unwrap();
    world.cancel(1, days(52)).await;
    world.step(days(60), days(90)).await.unwrap();
    let read = world.read(&Filter::default()).await;
    assert_eq!((read.len(), read[0].task.head.events), (1, 4));
    let first = Filter { until: Some("1970-01-02".to_owned()), ..Filter::default() };
    assert_eq!(
        world.read(&first).await[0].task.head.events,
        2,
        "the day of its first end has it as it was then"
    );
}

#[tokio::test]
async fn nothing_is_removed_that_could_not_be_written() {
    let world = World::new();
    world.cancelled(1, "a", days(1)).await;
    world.cancelled(2, "b", days(1)).await;
    let parts = world.folder.path().join("archive/parts");
    std::fs::create_dir_all(parts.join("a")).unwrap();
    std::fs::write(parts.join("b"), "in the way").unwrap();
    let failed = world.step(days(2), days(10)).await.unwrap_err();
    assert!(matches!(failed, ArchivingError::Archive(_)));
    assert!(failed.to_string().starts_with("the archive file:///"), "{failed}");
    assert!(world.is_there(1).await && world.is_there(2).await);
    std::fs::remove_file(parts.join("b")).unwrap();
    assert_eq!(world.step(days(2), days(11)).await.unwrap(), Archived { written: 2, removed: 2 });
    assert_eq!(world.read_ids(&Filter::default()).await, [id(1), id(2)]);
}

/// The process dies after the day's file is whole, and before its parts are removed.
#[tokio::test]
async fn parts_that_were_gathered_and_not_removed_are_read_once() {
    let world = World::new();
    world.cancelled(1, "a", days(1)).await;
    world.step(days(2), days(10)).await.unwrap();
    let part = world.folder.path().join("archive").join(&world.files()[0]);
    let text = std::fs::read(&part).unwrap();
    world.archive.gather(days(9), None).await.unwrap();
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(&part, text).unwrap();
    assert_eq!(world.files().len(), 2);
    assert_eq!(world.read_ids(&Filter::default()).await, [id(1)]);
    world.archive.gather(days(9), None).await.unwrap();
    assert_eq!(world.read_ids(&Filter::default()).await, [id(1)]);
}

#[tokio::test]
async fn a_line_that_is_no_task_is_told_and_not_passed_over() {
    let world = World::new();
    world.cancelled(1, "a", days(1)).await;
    world.step(days(2), days(10)).await.unwrap();
    let folder = world.folder.path().join("archive/tasks/a");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("1970-01-05.jsonl"), "{\"half\":").unwrap();
    let failed = world.archive.find(&Filter::default()).await.unwrap_err();
    assert!(failed.to_string().contains("the archive file:///"), "{}", failed.report());
    let other = Filter { until: Some("1970-01-04".to_owned()), ..Filter::default() };
    assert_eq!(world.read_ids(&other).await, [id(1)]);
}

#[tokio::test]
async fn a_task_that_is_kept_for_a_time_of_its_own_is_archived_when_that_is_over() {
    let world = World::new();
    let day = Duration::from_millis(DAY as u64);
    world.cancelled_and_kept(1, "a", days(1), Some(3 * day)).await;
    world.cancelled(2, "a", days(1)).await;
    // As all are kept it would have gone.
    assert_eq!(world.step(days(2), days(3)).await.unwrap(), Archived { written: 1, removed: 1 });
    let purge = baton_store::Purge::at(days(90));
    assert_eq!(world.store.store.purge(purge).await.unwrap().tasks, 0, "it goes once it is archived");
    assert!(world.is_there(1).await && !world.is_there(2).await);
    assert_eq!(world.step(days(2), days(5)).await.unwrap(), Archived { written: 1, removed: 1 });
    assert!(!world.is_there(1).await);
    let read = world.read(&Filter { tasks: vec![id(1)], ..Filter::default() }).await;
    assert_eq!(world.store.restore(read, days(10)).await.unwrap(), [Ok(Verdict::New)]);
    assert_eq!(world.step(days(9), days(12)).await.unwrap(), Archived::default(), "its time begins anew");
    assert_eq!(world.step(days(9), days(14)).await.unwrap(), Archived { written: 1, removed: 1 });
}

/// Tasks go on ending: what comes to be past its keeping while it is archived waits for the next time.
#[tokio::test]
async fn archiving_comes_to_its_end_while_more_comes() {
    let world = World::new();
    for n in 0..10 {
        world.cancelled(n, "a", days(1)).await;
    }
    let next = AtomicU64::new(100);
    let comes = |_: Duration| {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let world = &world;
        // At a time that was not past its keeping when it began.
        async move { world.cancelled(u128::from(n), "a", days(2)).await }
    };
    let past = Past { all: days(2), own: days(2) };
    let (archived, failed) = world.archiver().archive(past, || days(40), 4, comes).await;
    assert!(failed.is_none());
    assert_eq!(archived, Archived { written: 10, removed: 10 });
    assert_eq!(world.store.looks.load(Ordering::Relaxed), 4, "three steps, and one that finds nothing");
    assert!(world.is_there(100).await);
}

#[tokio::test]
async fn while_the_time_is_in_doubt_no_time_of_its_own_is_over() {
    let world = World::new();
    let day = Duration::from_millis(DAY as u64);
    world.cancelled_and_kept(1, "a", days(1), Some(3 * day)).await;
    let in_doubt = Past { all: Timestamp::from_millis(1), own: Timestamp::default() };
    let (archived, failed) =
        world.archiver().archive(in_doubt, || days(90), 100, |_: Duration| async {}).await;
    assert!(failed.is_none() && archived == Archived::default());
    assert!(world.is_there(1).await);
}
