//! Parts that are gathered in a bucket: of two who do so at once, neither writes over what the other has written.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it is surprised")]

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use baton_archive::{Filter, ObjectArchive};
use baton_files::Objects;
use baton_model::{Place, TaskId, TaskSpec, Timestamp};
use baton_store::transfer::TaskRecord;
use baton_store::{Archive, ArchiveStore, Cancel, Create, NoDoorbell, Past, TaskStore};
use baton_store_sqlite::{Options, SqliteStore};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

fn days(n: i64) -> Timestamp {
    Timestamp::from_millis(n * 86_400_000)
}

fn id(n: u128) -> TaskId {
    TaskId::from_bytes(n.to_be_bytes())
}

/// Cancelled tasks of the day 1970-01-02, as the archiver has them.
async fn records(count: u128) -> Vec<TaskRecord> {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { archived: true, ..Options::default() };
    let store = SqliteStore::open(&folder.path().join("baton.db"), options, Arc::new(NoDoorbell)).unwrap();
    for n in 1..=count {
        let spec =
            TaskSpec { project: "a".parse().unwrap(), ..TaskSpec::new(id(n), "render".parse().unwrap()) };
        let create = Create { now: days(1), tasks: vec![spec], atomic: true, idempotency: None, by: None };
        store.create(create).await.unwrap();
        let cancel = Cancel { now: days(1), task: id(n), by: None, reason: None, with_dependants: false };
        store.cancel(cancel).await.unwrap();
    }
    let mut records = store.ended(Past { all: days(2), own: days(2) }, 100).await.unwrap();
    records.sort_by_key(|record| record.task.head.id);
    records
}

fn archive(store: Arc<dyn ObjectStore>) -> ObjectArchive {
    let place = Place::Bucket { bucket: "archive".to_owned(), prefix: String::new() };
    ObjectArchive::new(Objects { store, place })
}

async fn read_ids(archive: &ObjectArchive) -> Vec<TaskId> {
    let filter = Filter::default();
    let found = archive.find(&filter).await.unwrap();
    let records: Vec<TaskRecord> = archive.read(&filter, found).try_collect().await.unwrap();
    let mut ids: Vec<_> = records.iter().map(|record| record.task.head.id).collect();
    ids.sort();
    ids
}

async fn names(store: &InMemory) -> Vec<String> {
    let found: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    let mut names: Vec<_> = found.into_iter().map(|object| object.location.to_string()).collect();
    names.sort();
    names
}

/// A bucket, and what another process does just before a day's file is written.
#[derive(Debug)]
struct Meanwhile {
    bucket: Arc<InMemory>,
    /// A task that it archives, before it gathers all.
    archives: Mutex<Option<TaskRecord>>,
}

impl fmt::Display for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bucket of two")
    }
}

#[async_trait]
impl ObjectStore for Meanwhile {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let task = self.archives.lock().unwrap().take_if(|_| location.as_ref().starts_with("tasks/"));
        if let Some(task) = task {
            let other = archive(self.bucket.clone());
            other.keep(&[task], days(41)).await.unwrap();
            assert_eq!(other.gather(days(3), None).await.unwrap(), 1);
        }
        self.bucket.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.bucket.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.bucket.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.bucket.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.bucket.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.bucket.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.bucket.copy_opts(from, to, options).await
    }
}

/// A process gathers, and is slow; another one archives one task more and gathers both meanwhile. The first one's file would lack the
/// second task, whose part is gone.
#[tokio::test]
async fn who_gathers_too_late_writes_over_nothing() {
    let mut records = records(4).await;
    let bucket = Arc::new(InMemory::new());
    // Where there was no file of the day, and where there was one.
    for round in [1, 3] {
        let (first, second) = (records.remove(0), records.remove(0));
        archive(bucket.clone()).keep(&[first], days(40)).await.unwrap();
        let slow = Meanwhile { bucket: bucket.clone(), archives: Mutex::new(Some(second)) };
        let refused = archive(Arc::new(slow)).gather(days(3), None).await.unwrap_err();
        assert!(refused.to_string().starts_with("the archive s3://archive"), "{}", refused.report());
        let all: Vec<_> = (1..=round + 1).map(id).collect();
        assert_eq!(read_ids(&archive(bucket.clone())).await, all);
        assert_eq!(names(&bucket).await, ["tasks/a/1970-01-02.jsonl"]);
    }
}

/// What is too large for one request goes beside the day's file, under a name that says of which parts it is.
#[tokio::test]
async fn a_day_that_is_too_large_for_one_request_is_written_over_nothing_either() {
    let records = records(2).await;
    let bucket = Arc::new(InMemory::new());
    let bucket_archive = archive(bucket.clone());
    // JSON may begin with as many spaces as it likes.
    let mut lines = vec![b' '; (64 << 20) + 1];
    serde_json::to_writer(&mut lines, &records[0]).unwrap();
    lines.push(b'\n');
    bucket.put(&Path::from("parts/a/1970-01-02/1.jsonl"), lines.into()).await.unwrap();
    assert_eq!(bucket_archive.gather(days(3), None).await.unwrap(), 1);
    let beside = names(&bucket).await;
    assert_eq!(beside.len(), 1);
    assert!(beside[0].starts_with("tasks/a/1970-01-02/") && beside[0].ends_with(".jsonl"), "{beside:?}");
    assert_eq!(read_ids(&bucket_archive).await, [id(1)]);
    // What comes late has room in the day's file.
    bucket_archive.keep(&records[1..], days(40)).await.unwrap();
    assert_eq!(bucket_archive.gather(days(3), None).await.unwrap(), 1);
    assert_eq!(names(&bucket).await, ["tasks/a/1970-01-02.jsonl", beside[0].as_str()]);
    assert_eq!(read_ids(&bucket_archive).await, [id(1), id(2)]);
    let other_day = Filter { until: Some("1970-01-01".to_owned()), ..Filter::default() };
    assert_eq!(bucket_archive.find(&other_day).await.unwrap().tasks(), 0);
}
