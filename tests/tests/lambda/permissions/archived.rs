//! An archive of finished tasks: what the reaper's rounds ask for that write there and remove, and those that remove by hand.

use baton_archive::Filter;
use baton_store::Archive;
use serde_json::json;

use super::{TABLE, claim, created, done, huge, large, took};
use crate::world::{World, invoke, seconds};

pub(super) async fn archived(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let archive = world.archives_in(folder.path());
    let round = json!({"source": "aws.scheduler"});
    let reaper = world.function("reap-stale-workers");
    invoke(&reaper, &round).await;
    took(world, "reap-stale-workers", "that the table's tasks are archived", &[(TABLE, &["UpdateItem"])]);

    // What may belong to a task: an odd id, what is kept apart, a batch, a key of its own, a time until which it is to be started.
    let unique = json!({"type": "a", "queue": "kept", "unique": {"key": "kept"}, "expires_after_seconds": 6_000,
        "params": {"blob": large()}});
    let batch = json!({"batch": {"name": "kept"}, "tasks": [unique, {"type": "a", "queue": "kept"}]});
    let answer = done(world, "create-task", "/v1/tasks/batch", batch).await;
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(2), "{answer}");
    let odd = json!({"id": "6f1c1b3a-5b7c-4cc3-98c4-dc0c0c074777", "type": "a", "queue": "kept"});
    created(world, odd).await;
    for _ in 0..3 {
        let task = claim(world, json!({"worker_id": "w", "queues": ["kept"]})).await["tasks"][0].clone();
        let path = format!("/v1/tasks/{}/complete", task["id"].as_str().unwrap());
        let completion = json!({"worker_id": "w", "attempt": 1, "result": {"blob": huge()}});
        done(world, "complete-task", &path, completion).await;
    }
    let by_hand = created(world, json!({"type": "a", "queue": "by-hand"})).await;
    done(world, "manage-tasks", &format!("/v1/tasks/{by_hand}/cancel"), json!({})).await;
    world.calls.latest();
    let delete = json!({"do": "delete", "ids": [by_hand]});
    done(world, "manage-tasks", "/v1/tasks/bulk", delete).await;
    took(world, "manage-tasks", "a removal by hand that waits to be archived", &[(TABLE, &["PutItem"])]);

    // A time that has jumped is believed after an hour.
    world.clock.advance(seconds(40 * 86_400));
    world.calls.latest();
    for _ in 0..6 {
        while invoke(&reaper, &round).await["more"] == true {}
        world.clock.advance(seconds(1_800));
    }
    let bucket = ["ListBucket", "GetObject", "PutObject", "AbortMultipartUpload", "DeleteObject"];
    let wanted = [
        (TABLE, &["GetItem", "Query", "UpdateItem", "BatchGetItem", "BatchWriteItem", "DeleteItem"][..]),
        ("s3 ArchiveBucket", &bucket),
    ];
    took(world, "reap-stale-workers", "tasks that are archived and removed", &wanted);
    assert_eq!(archive.find(&Filter::default()).await.unwrap().tasks(), 4);
    let later = archive.gather(baton_runtime::Clock::now(&*world.clock), None).await.unwrap();
    assert_eq!(later, 0, "the rounds have gathered them");
    let left: Vec<_> = world.items().await.into_keys().filter(|(kind, _)| kind.starts_with("T#")).collect();
    assert!(left.iter().all(|(kind, _)| kind == "T#tick"), "{left:?}");
    world.archive.lock().unwrap().take();
}
