//! Files on AWS: small ones through the functions, as API Gateway sends them, and large ones past these, by addresses of the bucket.

use std::path::Path;

use baton_files::sha256;
use baton_model::{Scope, TokenId};
use serde_json::{Value, json};

use crate::bucket::{AT, object, put_at};
use crate::edge_functions::{called, claim, create, id};
use crate::world::{World, invoke, request, seconds, send, token, vouched};

/// What has more bytes goes past the functions.
const THROUGH: u64 = 1_000;

/// A world whose functions keep files, and the folder that stands for their bucket.
async fn world() -> (World, tempfile::TempDir) {
    let (world, folder) = (World::new().await, tempfile::tempdir().unwrap());
    world.keeps_files_in(folder.path(), THROUGH);
    (world, folder)
}

/// A request for a file, with these headers.
fn asked(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Value {
    let mut event = request(method, path, &Value::Null);
    event["body"] = json!(body);
    for (name, value) in headers {
        event["headers"][*name] = json!(value);
    }
    event
}

/// What a fresh copy of the function answers.
async fn files(world: &World, event: &Value) -> Value {
    let host = world.function("manage-files");
    Box::pin(invoke(&host, event)).await
}

async fn put(world: &World, path: &str, body: &str) -> Value {
    let answer = files(world, &asked("PUT", path, &[("content-type", "text/plain")], body)).await;
    assert_eq!(answer["statusCode"], 201, "{answer}");
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

async fn get(world: &World, path: &str, headers: &[(&str, &str)]) -> Value {
    files(world, &asked("GET", path, headers, "")).await
}

/// What is kept of a file; the status, if there is none.
async fn about(world: &World, path: &str) -> Result<Value, Value> {
    let answer = get(world, &format!("{path}?about=true"), &[]).await;
    let told: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    if answer["statusCode"] == 200 { Ok(told) } else { Err(told) }
}

/// An address where a file may be put.
async fn link(world: &World, name: &str) -> String {
    let host = world.function("manage-files");
    let path = format!("/v1/file-links?name={name}&method=put");
    let (status, told) = Box::pin(send(&host, "POST", &path, Value::Null)).await;
    assert_eq!((status, &told["method"]), (201, &json!("PUT")), "{told}");
    told["url"].as_str().unwrap().to_owned()
}

/// A round of the function's schedule.
async fn round(world: &World) -> Value {
    files(world, &json!({"source": "aws.scheduler"})).await
}

fn large(letter: &str) -> String {
    letter.repeat(THROUGH as usize + 1)
}

/// All objects below a folder of the bucket.
fn objects(folder: &Path) -> usize {
    let Ok(listed) = std::fs::read_dir(folder) else { return 0 };
    let each = listed.map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() { objects(&path) } else { 1 }
    });
    each.sum()
}

#[tokio::test]
async fn a_small_file_comes_and_goes_through_the_function_whole_or_in_parts() {
    let (world, _folder) = world().await;
    let stored = put(&world, "/v1/files/film/a%20b.txt", "hello").await;
    assert_eq!((&stored["size"], &stored["sha256"]), (&json!(5), &json!(sha256(b"hello"))));
    // An HTTP API hands the path on decoded.
    let whole = get(&world, "/v1/files/film/a b.txt", &[]).await;
    assert_eq!((&whole["statusCode"], &whole["body"]), (&json!(200), &json!("hello")));
    assert_eq!(whole["headers"]["x-content-type-options"], "nosniff");
    let part = get(&world, "/v1/files/film/a%20b.txt", &[("range", "bytes=1-2")]).await;
    assert_eq!((&part["statusCode"], &part["body"]), (&json!(206), &json!("el")));
    let tag = whole["headers"]["etag"].as_str().unwrap();
    assert_eq!(get(&world, "/v1/files/film/a%20b.txt", &[("if-none-match", tag)]).await["statusCode"], 304);
    let (_, page) = send(&world.function("manage-files"), "GET", "/v1/files?project=film", Value::Null).await;
    assert_eq!(page["items"][0]["path"], "a b.txt", "{page}");
    let removed = files(&world, &asked("DELETE", "/v1/files/film/a%20b.txt", &[], "")).await;
    assert_eq!(removed["statusCode"], 204, "{removed}");
    assert_eq!(about(&world, "/v1/files/film/a%20b.txt").await.unwrap_err()["status"], 404);
}

#[tokio::test]
async fn a_large_file_comes_and_goes_by_addresses_of_the_bucket() {
    let (world, folder) = world().await;
    let bytes = large("x");
    let url = link(&world, "film/big.txt").await;
    assert!(url.starts_with(&format!("{AT}uploads/film/big.txt~/")), "{url}");
    assert_eq!(about(&world, "/v1/files/film/big.txt").await.unwrap_err()["code"], "file_not_found");
    put_at(folder.path(), &url, bytes.as_bytes());
    let kept = about(&world, "/v1/files/film/big.txt").await.unwrap();
    assert_eq!((&kept["size"], &kept["sha256"]), (&json!(bytes.len()), &json!(sha256(bytes.as_bytes()))));
    assert_eq!(objects(&folder.path().join("uploads")), 0, "it was taken in");

    let answer = get(&world, "/v1/files/film/big.txt", &[]).await;
    let at = answer["headers"]["location"].as_str().unwrap();
    assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(307), &json!("")));
    assert!(at.contains("type=text/plain&as=attachment; filename*=UTF-8''big.txt"), "{at}");
    assert_eq!(std::fs::read(folder.path().join(object(at))).unwrap(), bytes.as_bytes());
    // A part that is small enough is given out here, and whoever has it all is told so.
    let part = get(&world, "/v1/files/film/big.txt", &[("range", "bytes=0-4")]).await;
    assert_eq!((&part["statusCode"], &part["body"]), (&json!(206), &json!("xxxxx")));
    let tag = format!("\"{}\"", sha256(bytes.as_bytes()));
    let known = get(&world, "/v1/files/film/big.txt", &[("if-none-match", &tag)]).await;
    assert_eq!(known["statusCode"], 304);
}

#[tokio::test]
async fn what_was_put_last_stands_whichever_way_it_came() {
    let (world, folder) = world().await;
    let name = "/v1/files/film/a.txt";
    let (first, second) = (link(&world, "film/a.txt").await, link(&world, "film/a.txt").await);
    put_at(folder.path(), &first, b"first");
    put(&world, name, "through the function").await;
    assert_eq!(get(&world, name, &[]).await["body"], "through the function", "it came later");
    assert_eq!(objects(&folder.path().join("uploads")), 0);
    put_at(folder.path(), &second, b"second");
    assert_eq!(get(&world, name, &[]).await["body"], "second");
    // The address holds still: what is put there again is another upload.
    put_at(folder.path(), &second, b"third");
    assert_eq!(round(&world).await["arrived"], 1);
    assert_eq!(get(&world, name, &[]).await["body"], "third");
    put_at(folder.path(), &first, b"never");
    assert_eq!(files(&world, &asked("DELETE", name, &[], "")).await["statusCode"], 204);
    assert_eq!(get(&world, name, &[]).await["statusCode"], 404, "what had arrived for it went along");
    assert_eq!((objects(&folder.path().join("bytes")), objects(&folder.path().join("uploads"))), (0, 0));
}

#[tokio::test]
async fn a_file_that_many_copies_take_in_at_once_is_taken_in_once() {
    let (world, folder) = world().await;
    let url = link(&world, "film/a.txt").await;
    put_at(folder.path(), &url, b"one");
    let looks = futures::future::join_all((0..8).map(|_| about(&world, "/v1/files/film/a.txt"))).await;
    for look in looks {
        assert_eq!(look.unwrap()["sha256"], sha256(b"one"));
    }
    assert_eq!((objects(&folder.path().join("bytes")), objects(&folder.path().join("uploads"))), (1, 0));
}

#[tokio::test]
async fn a_completion_that_names_files_completes_only_if_they_are_there() {
    let (world, folder) = world().await;
    let task = json!({"type": "a", "project": "film"});
    let (_, created) = send(&world.function("create-task"), "POST", "/v1/tasks", task).await;
    let task = created["id"].as_str().unwrap().to_owned();
    send(&world.function("claim-task"), "POST", "/v1/claims", json!({"worker_id": "w"})).await;
    let (small, big) = (format!("tasks/{task}/a.txt"), format!("tasks/{task}/big.bin"));
    put(&world, &format!("/v1/files/film/{small}"), "small").await;
    let url = link(&world, &format!("film/{big}")).await;
    let done = json!({"worker_id": "w", "attempt": 1, "files": [small, big]});
    let complete = async || {
        let path = format!("/v1/tasks/{task}/complete");
        Box::pin(send(&world.function("complete-task"), "POST", &path, done.clone())).await
    };
    let (status, told) = complete().await;
    assert_eq!((status, &told["errors"][0]["field"]), (422, &json!("files[1]")), "{told}");
    let bytes = large("y");
    put_at(folder.path(), &url, bytes.as_bytes());
    assert_eq!(complete().await.0, 200);
    let path = format!("/v1/tasks/{task}");
    let (_, shown) = send(&world.function("query-tasks"), "GET", &path, Value::Null).await;
    let told = &shown["generation"]["files"];
    assert_eq!(
        (&told[1]["size"], &told[1]["sha256"]),
        (&json!(bytes.len()), &json!(sha256(bytes.as_bytes())))
    );
    assert_eq!(complete().await.0, 200, "it is the same");
}

#[tokio::test]
async fn what_is_over_the_bounds_is_not_kept_and_its_name_stays_free() {
    let (world, folder) = world().await;
    let set = json!({"value": 1});
    let path = "/v1/config/files.file_mebibytes";
    assert_eq!(send(&world.function("manage-tasks"), "PUT", path, set).await.0, 200);
    let url = link(&world, "film/a.bin").await;
    put_at(folder.path(), &url, &vec![b'x'; (1 << 20) + 1]);
    let refused = about(&world, "/v1/files/film/a.bin").await.unwrap_err();
    assert_eq!(refused["code"], "payload_too_large", "{refused}");
    assert_eq!(about(&world, "/v1/files/film/a.bin").await.unwrap_err()["code"], "file_not_found");
    put_at(folder.path(), &url, &vec![b'x'; (1 << 20) + 1]);
    let done = round(&world).await;
    assert_eq!((&done["arrived"], &done["refused"]), (&json!(0), &json!(1)), "{done}");
    assert_eq!((objects(&folder.path().join("bytes")), objects(&folder.path().join("uploads"))), (0, 0));
}

#[tokio::test]
async fn a_newer_upload_that_is_refused_takes_no_older_one_along_and_is_no_concern_of_who_reads() {
    let (world, folder) = world().await;
    let set = json!({"value": 1});
    let setting = "/v1/config/files.file_mebibytes";
    assert_eq!(send(&world.function("manage-tasks"), "PUT", setting, set).await.0, 200);
    let name = "/v1/files/film/a.bin";
    for asks_about in [false, true] {
        let (good, over) = (link(&world, "film/a.bin").await, link(&world, "film/a.bin").await);
        put_at(folder.path(), &good, b"good");
        // Which is newer is known by when they came.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        put_at(folder.path(), &over, &vec![b'x'; (1 << 20) + 1]);
        if asks_about {
            assert_eq!(about(&world, name).await.unwrap_err()["code"], "payload_too_large");
            assert_eq!(about(&world, name).await.unwrap()["size"], 4, "it is told once");
        }
        assert_eq!(get(&world, name, &[]).await["body"], "good");
        assert_eq!((objects(&folder.path().join("bytes")), objects(&folder.path().join("uploads"))), (1, 0));
        // What stands is read, whatever becomes of another upload.
        put_at(folder.path(), &over, &vec![b'x'; (1 << 20) + 1]);
        assert_eq!(get(&world, name, &[]).await["body"], "good");
        assert_eq!(files(&world, &asked("DELETE", name, &[], "")).await["statusCode"], 204);
    }
}

#[tokio::test]
async fn one_round_runs_at_a_time_and_one_that_was_cut_off_holds_others_up_for_a_while() {
    let (world, folder) = world().await;
    put_at(folder.path(), &link(&world, "film/a.bin").await, b"late");
    let until = baton_runtime::Clock::now(&*world.clock).plus(seconds(900));
    std::fs::write(folder.path().join("round"), until.as_millis().to_string()).unwrap();
    assert_eq!(round(&world).await["under_way"], true);
    assert_eq!(objects(&folder.path().join("uploads")), 1);
    world.clock.advance(seconds(901));
    assert_eq!(round(&world).await["arrived"], 1);
    assert_eq!(round(&world).await["arrived"], 0, "the one before has ended");
}

#[tokio::test]
async fn a_round_takes_in_what_nobody_has_looked_for_and_removes_what_nobody_can_want() {
    let (world, folder) = world().await;
    let kept = json!({"type": "a", "project": "film"});
    let (_, created) = send(&world.function("create-task"), "POST", "/v1/tasks", kept).await;
    let task = created["id"].as_str().unwrap().to_owned();
    let of_task = link(&world, &format!("film/tasks/{task}/a.bin")).await;
    put_at(folder.path(), &of_task, large("z").as_bytes());
    put(&world, "/v1/files/film/loose.txt", "loose").await;
    let nameless = folder.path().join("bytes/film/gone.txt~/0123");
    std::fs::create_dir_all(nameless.parent().unwrap()).unwrap();
    std::fs::write(&nameless, "nameless").unwrap();
    let done = round(&world).await;
    assert_eq!((&done["arrived"], &done["removed"]), (&json!(1), &json!(0)), "{done}");
    let (_, page) = send(&world.function("manage-files"), "GET", "/v1/files?project=film", Value::Null).await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(2), "{page}");

    // What lies in a folder is as old as the machine says: the world's clock goes on past that.
    let now = std::fs::metadata(&nameless).unwrap().modified().unwrap();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let world_now = baton_runtime::Clock::now(&*world.clock).as_millis() / 1_000;
    let until = (i64::try_from(now).unwrap() - world_now).max(0);
    world.clock.advance(seconds(u64::try_from(until).unwrap() + 2 * 86_400));
    assert_eq!(round(&world).await["removed"], 0, "no round of the reaper has found the time to be right");
    let reaper = world.function("reap-stale-workers");
    for _ in 0..8 {
        invoke(&reaper, &json!({"source": "aws.scheduler"})).await;
        world.clock.advance(seconds(601));
    }
    let done = round(&world).await;
    assert_eq!((&done["removed"], &done["nameless"]), (&json!(1), &json!(1)), "{done}");
    let (_, page) = send(&world.function("manage-files"), "GET", "/v1/files?project=film", Value::Null).await;
    assert_eq!(page["items"][0]["path"], json!(format!("tasks/{task}/a.bin")), "{page}");
    assert_eq!(round(&world).await["removed"], 0, "the next walk begins in six hours");
}

#[tokio::test]
async fn a_signed_address_needs_no_token_and_a_large_file_is_fetched_from_the_bucket() {
    let (world, folder) = world().await;
    put_at(folder.path(), &link(&world, "film/big.txt").await, large("x").as_bytes());
    put(&world, "/v1/files/film/a.txt", "hello").await;
    for (name, status) in [("film/a.txt", 200), ("film/big.txt", 307)] {
        let host = world.function("manage-files");
        let path = format!("/v1/file-links?name={name}&expires_in_seconds=604800");
        let (_, told) = send(&host, "POST", &path, Value::Null).await;
        let mut event = asked("GET", told["url"].as_str().unwrap(), &[], "");
        event["requestContext"].as_object_mut().unwrap().remove("authorizer");
        assert_eq!(files(&world, &event).await["statusCode"], status, "{name}");
        world.clock.advance(seconds(604_801));
        assert_eq!(files(&world, &event).await["statusCode"], 403, "its time is over");
    }
}

#[tokio::test]
async fn a_token_of_another_project_reaches_no_file_and_gets_no_address() {
    let (world, _folder) = world().await;
    put(&world, "/v1/files/film/a.txt", "hello").await;
    let (mut bound, _) = token(TokenId::from_bytes([9; 16]), "bound", Scope::Worker);
    bound.grant.project = Some("game".parse().unwrap());
    for (method, path) in [
        ("GET", "/v1/files/film/a.txt"),
        ("GET", "/v1/files/film/a.txt?about=true"),
        ("PUT", "/v1/files/film/a.txt"),
        ("DELETE", "/v1/files/film/a.txt"),
        ("GET", "/v1/files?project=film"),
        ("POST", "/v1/file-links?name=film/a.txt&method=put"),
    ] {
        let mut event = asked(method, path, &[], "");
        event["requestContext"]["authorizer"]["lambda"] = vouched(&bound);
        assert_eq!(files(&world, &event).await["statusCode"], 403, "{method} {path}");
    }
    assert_eq!(get(&world, "/v1/files/film/a.txt", &[]).await["body"], "hello");
}

#[tokio::test]
async fn the_platforms_uploads_go_to_the_bucket_and_count_while_their_attempt_runs() {
    let (world, folder) = world().await;
    create(&world, 1, json!({})).await;
    claim(&world, "w1", 1).await;
    let prepared = json!({"task_id": id(1), "filename": "out.mp4", "content_type": "video/mp4"});
    let prepared = called(&world, "generate-upload-url", prepared).await;
    let url = prepared["upload_url"].as_str().unwrap();
    assert!(url.starts_with(AT), "{prepared}");
    let complete = json!({"task_id": id(1), "storage_path": prepared["storage_path"]});
    let (status, told) =
        crate::edge_functions::ask(&world, "POST", "/functions/v1/complete_task", complete.clone()).await;
    assert_eq!(status, 404, "it is not there yet: {told}");
    put_at(folder.path(), url, large("v").as_bytes());
    let told = called(&world, "complete_task", complete.clone()).await;
    let public = told["public_url"].as_str().unwrap();
    assert_eq!(called(&world, "complete_task", complete).await["public_url"], public);
    let (_, public) = public.split_once("tasks.example").unwrap();
    let read = async || {
        let mut event = asked("GET", public, &[("host", "tasks.example")], "");
        event["requestContext"].as_object_mut().unwrap().remove("authorizer");
        Box::pin(invoke(&world.function("edge-functions"), &event)).await
    };
    let answer = read().await;
    let at = answer["headers"]["location"].as_str().unwrap();
    assert_eq!(std::fs::read(folder.path().join(object(at))).unwrap(), large("v").as_bytes());
    // Its record tells of it: what comes late takes its place no more.
    put_at(folder.path(), url, large("w").as_bytes());
    let done = round(&world).await;
    assert_eq!((&done["refused"], &done["arrived"]), (&json!(1), &json!(0)), "{done}");
    let answer = read().await;
    let at = answer["headers"]["location"].as_str().unwrap();
    assert_eq!(std::fs::read(folder.path().join(object(at))).unwrap(), large("v").as_bytes());
    assert_eq!(objects(&folder.path().join("uploads")), 0);
}
