//! An archive of finished tasks on AWS: the reaper's rounds write there before anything is removed, within their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use baton_archive::{Filter, ObjectArchive};
use baton_lambda::{Host, Invocation};
use baton_model::Timestamp;
use baton_runtime::Clock as _;
use baton_store::transfer::TaskRecord;
use baton_store::{Archive, ArchiveError, DocumentStore as _};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::world::{World, invocation, invoke, seconds, send};

async fn round(reaper: &Host) -> Value {
    invoke(reaper, &json!({"source": "aws.scheduler"})).await
}

/// Completes a task of a queue of its own; gives its id.
async fn completed(world: &World, queue: &str) -> String {
    let task = json!({"type": "a", "queue": queue});
    let (_, created) = send(&world.function("create-task"), "POST", "/v1/tasks", task).await;
    let claim = json!({"worker_id": "w", "queues": [queue]});
    send(&world.function("claim-task"), "POST", "/v1/claims", claim).await;
    let id = created["id"].as_str().unwrap().to_owned();
    let completion = json!({"worker_id": "w", "attempt": 1, "result": {"of": queue}});
    let path = format!("/v1/tasks/{id}/complete");
    assert_eq!(send(&world.function("complete-task"), "POST", &path, completion).await.0, 200);
    id
}

/// What a task shows: its status, none if it is gone.
async fn status(world: &World, id: &str) -> Option<String> {
    let (status, shown) =
        send(&world.function("query-tasks"), "GET", &format!("/v1/tasks/{id}"), Value::Null).await;
    (status == 200).then(|| shown["task"]["status"].as_str().unwrap().to_owned())
}

/// Has a time that has jumped be believed.
async fn believed(world: &World, reaper: &Host) {
    for _ in 0..3 {
        round(reaper).await;
        world.clock.advance(seconds(1_800));
    }
}

/// What the last round told alarms.
fn failures(world: &World) -> Option<f64> {
    let told = world.metrics.lock().unwrap();
    told.iter()
        .rev()
        .find(|line| line["Route"] == "schedule")
        .and_then(|line| line["ArchiveFailures"].as_f64())
}

async fn archived(archive: &ObjectArchive) -> Vec<String> {
    let filter = Filter::default();
    let found = archive.find(&filter).await.unwrap();
    let records: Vec<TaskRecord> = archive.read(&filter, found).try_collect().await.unwrap();
    records.into_iter().map(|record| record.task.head.id.to_string()).collect()
}

#[tokio::test]
async fn the_reapers_rounds_archive_what_is_past_its_keeping_and_remove_it() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let archive = world.archives_in(folder.path());
    let reaper = world.function("reap-stale-workers");
    assert_eq!(round(&reaper).await["archived"], 0);
    let old = completed(&world, "old").await;
    world.clock.advance(seconds(20 * 86_400));
    let young = completed(&world, "young").await;
    // Whoever opens the table leaves it to the archiver.
    let items = world.items().await;
    let dated = items.iter().filter(|((kind, _), item)| kind.starts_with("T#") && !item["xp"].is_null());
    assert_eq!(dated.count(), 0);
    world.clock.advance(seconds(11 * 86_400));
    believed(&world, &reaper).await;
    for _ in 0..3 {
        round(&reaper).await;
    }
    assert_eq!(archived(&archive).await, std::slice::from_ref(&old));
    assert_eq!(status(&world, &old).await, None);
    assert_eq!(status(&world, &young).await.as_deref(), Some("completed"));
    assert_eq!(failures(&world), Some(0.0));
    world.clock.advance(seconds(20 * 86_400));
    believed(&world, &reaper).await;
    round(&reaper).await;
    assert_eq!(archived(&archive).await.len(), 2);
    assert_eq!(status(&world, &young).await, None);
    // Once a day is over and its keeping, its parts are one file.
    world.clock.advance(seconds(2 * 86_400));
    for _ in 0..2 {
        believed(&world, &reaper).await;
    }
    let parts = std::fs::read_dir(folder.path().join("parts/default"))
        .map_or(0, |days| days.flat_map(|day| std::fs::read_dir(day.unwrap().path()).unwrap()).count());
    assert_eq!(parts, 0);
    assert_eq!(archived(&archive).await.len(), 2);
}

#[tokio::test]
async fn without_an_archive_nothing_is_told_of_one() {
    let world = World::new().await;
    let reaper = world.function("reap-stale-workers");
    assert_eq!(round(&reaper).await["archived"], Value::Null);
    assert_eq!(failures(&world), None);
}

/// An archive that is of no use: it fails, or never answers.
struct Broken {
    hangs: bool,
}

#[async_trait]
impl Archive for Broken {
    async fn keep(&self, _: &[TaskRecord], _: Timestamp) -> Result<(), ArchiveError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(ArchiveError { place: "s3://nowhere".to_owned(), cause: "no way through".into() })
    }

    async fn gather(&self, _: Timestamp, _: Option<u64>) -> Result<u64, ArchiveError> {
        Ok(0)
    }
}

#[tokio::test]
async fn what_cannot_be_archived_is_kept_and_told_and_holds_up_no_lost_task() {
    for hangs in [false, true] {
        let world = World::new().await;
        *world.archive.lock().unwrap() = Some(Arc::new(Broken { hangs }));
        let reaper = world.function("reap-stale-workers");
        round(&reaper).await;
        let old = completed(&world, "old").await;
        world.clock.advance(seconds(31 * 86_400));
        let scheduled = async |within: u64| {
            let deadline = Some(world.clock.now().plus(seconds(within)));
            let event = json!({"source": "aws.scheduler"}).to_string();
            let invocation = Invocation { deadline, ..invocation("lambda-1") };
            serde_json::to_value(reaper.handle(&event, &invocation).await.unwrap()).unwrap()
        };
        for _ in 0..3 {
            scheduled(4).await;
            world.clock.advance(seconds(1_800));
        }
        let task = json!({"type": "a", "queue": "lost"});
        send(&world.function("create-task"), "POST", "/v1/tasks", task).await;
        let claim = json!({"worker_id": "dies", "queues": ["lost"]});
        send(&world.function("claim-task"), "POST", "/v1/claims", claim).await;
        scheduled(4).await;
        world.clock.advance(seconds(61));
        let began = Instant::now();
        let told = scheduled(4).await;
        assert!(began.elapsed() < seconds(20), "{:?}", began.elapsed());
        assert_eq!((&told["taken"], &told["archived"], &told["more"]), (&json!(1), &json!(0), &json!(true)));
        assert_eq!((failures(&world), status(&world, &old).await.as_deref()), (Some(1.0), Some("completed")));

        // Once there is a way through, nothing is lost.
        let folder = tempfile::tempdir().unwrap();
        let archive = world.archives_in(folder.path());
        let reaper = world.function("reap-stale-workers");
        world.clock.advance(seconds(60));
        believed(&world, &reaper).await;
        for _ in 0..3 {
            round(&reaper).await;
        }
        assert_eq!((archived(&archive).await, status(&world, &old).await), (vec![old], None));
    }
}

/// An archive that takes tasks, and whose parts cannot be gathered.
#[derive(Default)]
struct Ungathered {
    /// How often that was tried.
    tried: AtomicU64,
}

#[async_trait]
impl Archive for Ungathered {
    async fn keep(&self, _: &[TaskRecord], _: Timestamp) -> Result<(), ArchiveError> {
        Ok(())
    }

    async fn gather(&self, _: Timestamp, _: Option<u64>) -> Result<u64, ArchiveError> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        Err(ArchiveError { place: "s3://nowhere".to_owned(), cause: "no way through".into() })
    }
}

/// Alarms hear of it, and go on hearing: it is tried again before their next period is over. Of several processes one gathers at a time,
/// and that is nobody's failure.
#[tokio::test]
async fn parts_that_cannot_be_gathered_are_told_and_one_process_gathers_at_a_time() {
    let world = World::new().await;
    let archive = Arc::new(Ungathered::default());
    *world.archive.lock().unwrap() = Some(archive.clone());
    let reaper = world.function("reap-stale-workers");
    for _ in 0..2 {
        believed(&world, &reaper).await;
    }
    let tried = || archive.tried.swap(0, Ordering::Relaxed);
    tried();
    // After so many seconds, how often it was tried and what alarms heard.
    for (passed, expected) in [(1, (1, 1.0)), (60, (0, 0.0)), (180, (1, 1.0)), (239, (0, 0.0)), (1, (1, 1.0))]
    {
        world.clock.advance(seconds(passed));
        round(&reaper).await;
        assert_eq!((tried(), failures(&world)), (expected.0, Some(expected.1)), "after {passed} s more");
    }
    let (store, now) = (world.store().await, world.clock.now());
    store.hold("archive", "another", now, now.plus(seconds(3_900))).await.unwrap();
    world.clock.advance(seconds(240));
    round(&reaper).await;
    assert_eq!((tried(), failures(&world)), (0, Some(0.0)), "another process gathers");
    store.end_hold("archive", "another").await.unwrap();
    world.clock.advance(seconds(240));
    round(&reaper).await;
    assert_eq!((tried(), failures(&world)), (1, Some(1.0)));
}
