//! Files, and what is done about them: through the functions, and past them.

use super::*;
use crate::bucket::put_at;
use crate::edge_functions::{called, id};

const FUNCTION: &str = "manage-files";
const BUCKET: &str = "s3 FilesBucket";

/// A request for a file, without JSON.
async fn file(world: &World, method: &str, path: &str, body: &str) -> Value {
    let mut event = request(method, path, &Value::Null);
    event["body"] = json!(body);
    Box::pin(invoke(&world.function(FUNCTION), &event)).await
}

async fn link(world: &World, name: &str) -> String {
    let path = format!("/v1/file-links?name={name}&method=put");
    done(world, FUNCTION, &path, Value::Null).await["url"].as_str().unwrap().to_owned()
}

pub(super) async fn files(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    world.keeps_files_in(folder.path(), 10);
    let running = claimed(world, json!({"type": "a", "project": "film", "params": {"blob": large()}})).await;
    world.calls.latest();
    assert_eq!(file(world, "PUT", "/v1/files/film/a.txt", "hello").await["statusCode"], 201);
    took(world, FUNCTION, "a small file", &[(BUCKET, &["PutObject", "ListBucket"]), (TABLE, &["GetItem"])]);
    let url = link(world, "film/big.txt").await;
    put_at(folder.path(), &url, b"more than ten bytes");
    assert_eq!(file(world, "GET", "/v1/files/film/big.txt", "").await["statusCode"], 307);
    got(world, FUNCTION, "/v1/files/film/big.txt?about=true").await;
    got(world, FUNCTION, "/v1/files?project=film").await;
    let told = done(world, FUNCTION, "/v1/file-links?name=film/a.txt", Value::Null).await;
    assert_eq!(file(world, "GET", told["url"].as_str().unwrap(), "").await["statusCode"], 200);
    world.calls.latest();
    assert_eq!(file(world, "DELETE", "/v1/files/film/a.txt", "").await["statusCode"], 204);
    took(
        world,
        FUNCTION,
        "a removal, recorded",
        &[(BUCKET, &["DeleteObject"]), (TABLE, &["PutItem", "UpdateItem"])],
    );
    in_queues(world, folder.path(), &running).await;
    on_heap(|| completed(world, folder.path())).await;
    on_heap(|| on_schedule(world, folder.path())).await;
    on_heap(|| of_the_platform(world, folder.path())).await;
}

/// A caller that is bound to queues: his tasks are looked up, one that runs, and one that is done, with all that is kept apart.
async fn in_queues(world: &World, folder: &std::path::Path, running: &str) {
    let (mut token, _) = token(TokenId::from_bytes([9; 16]), "bound", Scope::Worker);
    token.grant.queues = ["default".parse().unwrap()].into();
    let finished = claimed(world, json!({"type": "a", "project": "film", "params": {"blob": large()}})).await;
    let completion = json!({"worker_id": "w", "attempt": 1, "result": {"blob": large()}});
    done(world, "complete-task", &format!("/v1/tasks/{finished}/complete"), completion).await;
    world.calls.latest();
    for task in [running, finished.as_str()] {
        let path = format!("/v1/files/film/tasks/{task}/a.txt");
        put_at(folder, &link(world, &format!("film/tasks/{task}/a.txt")).await, b"small");
        let mut event = request("GET", &path, &Value::Null);
        event["requestContext"]["authorizer"]["lambda"] = vouched(&token);
        let answer = Box::pin(invoke(&world.function(FUNCTION), &event)).await;
        assert_eq!(answer["statusCode"], 200, "{answer}");
    }
    took(world, FUNCTION, "tasks that are looked up", &[(TABLE, &["GetItem", "Query"])]);
}

async fn completed(world: &World, folder: &std::path::Path) {
    let task = claimed(world, json!({"type": "a", "project": "film"})).await;
    let url = link(world, "film/loose.bin").await;
    put_at(folder, &url, b"more than ten bytes");
    world.calls.latest();
    let completion = json!({"worker_id": "w", "attempt": 1, "files": ["loose.bin"]});
    done(world, "complete-task", &format!("/v1/tasks/{task}/complete"), completion).await;
    let wanted = [(BUCKET, &["ListBucket", "GetObject", "PutObject", "DeleteObject"][..])];
    took(world, "complete-task", "a file that is taken in, and kept with the task", &wanted);
}

async fn on_schedule(world: &World, folder: &std::path::Path) {
    put_at(folder, &link(world, "film/late.bin").await, b"more than ten bytes");
    // What lies in a folder is as old as the machine says.
    let now = std::fs::metadata(folder).unwrap().modified().unwrap();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let then = u64::try_from(baton_runtime::Clock::now(&*world.clock).as_millis() / 1_000).unwrap();
    world.clock.advance(seconds(now.saturating_sub(then) + 2 * 86_400));
    let reaper = world.function("reap-stale-workers");
    for _ in 0..8 {
        invoke(&reaper, &json!({"source": "aws.scheduler"})).await;
        world.clock.advance(seconds(601));
    }
    world.calls.latest();
    let round = invoke(&world.function(FUNCTION), &json!({"source": "aws.scheduler"})).await;
    assert_eq!(round["arrived"], 1, "{round}");
    let wanted = [
        (BUCKET, &["ListBucket", "GetObject", "PutObject", "DeleteObject"][..]),
        (TABLE, &["GetItem", "BatchGetItem", "Query"]),
    ];
    took(world, FUNCTION, "a round, which looks whose files are whose", &wanted);
}

async fn of_the_platform(world: &World, folder: &std::path::Path) {
    let task = json!({"task_id": id(900), "task_type": "t", "params": {}, "project_id": "film"});
    called(world, "create-task", task).await;
    let given = called(world, "claim-next-task", json!({"worker_id": "gpu-1", "run_type": "gpu"})).await;
    assert_eq!(given["task_id"], id(900), "{given}");
    let asked = json!({"task_id": id(900), "filename": "out.mp4", "content_type": "video/mp4"});
    let prepared = called(world, "generate-upload-url", asked).await;
    put_at(folder, prepared["upload_url"].as_str().unwrap(), b"more than ten bytes");
    world.calls.latest();
    let body = json!({"task_id": id(900), "storage_path": prepared["storage_path"]});
    called(world, "complete_task", body).await;
    let wanted = [(BUCKET, &["ListBucket", "GetObject", "PutObject", "DeleteObject"][..])];
    took(world, "edge-functions", "an upload that is handed over", &wanted);
    let (status, told) = crate::edge_functions::ask(
        world,
        "POST",
        "/storage/v1/object/image_uploads/user/a.png",
        json!("bytes"),
    )
    .await;
    assert_eq!(status, 200, "{told}");
    took(world, "edge-functions", "a small file", &[(BUCKET, &["PutObject", "AbortMultipartUpload"])]);
}
