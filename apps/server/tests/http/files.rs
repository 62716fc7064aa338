//! Files over HTTP: whole, in parts, inert, within bounds, and by signed addresses.

use axum::body::Body;
use baton_http::auth::{Access, FILE_RULES};
use baton_model::Scope;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::world::{Answer, World};

async fn put(world: &World, path: &str, bytes: impl Into<Body>) -> Answer {
    world.send(Request::put(path).body(bytes.into()).unwrap()).await
}

async fn get_with(world: &World, path: &str, header: (&str, &str)) -> Answer {
    world.send(Request::get(path).header(header.0, header.1).body(Body::empty()).unwrap()).await
}

async fn delete(world: &World, path: &str) -> Answer {
    world.send(Request::delete(path).body(Body::empty()).unwrap()).await
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n0123456789";

#[tokio::test]
async fn a_file_comes_back_as_it_was_sent() {
    let world = World::new();
    let path = "/v1/files/film/out%20put/%C3%BC.png";
    let stored = put(&world, path, PNG).await;
    assert_eq!(stored.status, 201, "{}", stored.text());
    let told = stored.json();
    assert_eq!(
        (&told["project"], &told["path"], &told["size"]),
        (&json!("film"), &json!("out put/ü.png"), &json!(18))
    );
    assert_eq!(told["content_type"], "image/png");
    let answer = world.get(path).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, PNG));
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("etag"), format!("\"{}\"", told["sha256"].as_str().unwrap()));
    assert_eq!(header("content-length"), "18");
    assert_eq!(header("content-disposition"), "inline; filename*=UTF-8''%C3%BC.png");
    let head = world.send(Request::head(path).body(Body::empty()).unwrap()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], "18");
    let list = world.get("/v1/files?project=film&prefix=out").await.json();
    assert_eq!(list, json!({"items": [told]}));
    assert_eq!(delete(&world, path).await.status, 204);
    world.get(path).await.problem(404, "file_not_found");
    assert_eq!(world.get("/v1/files?project=film").await.json(), json!({"items": []}));
}

#[tokio::test]
async fn parts_and_tags_spare_what_the_caller_has() {
    let world = World::new();
    let path = "/v1/files/film/a.txt";
    let tag = format!("\"{}\"", put(&world, path, "0123456789").await.json()["sha256"].as_str().unwrap());
    let part = get_with(&world, path, ("range", "bytes=2-4")).await;
    assert_eq!((part.status.as_u16(), part.text().as_str()), (206, "234"));
    assert_eq!(part.headers["content-range"], "bytes 2-4/10");
    let behind = get_with(&world, path, ("range", "bytes=10-")).await;
    behind.problem(416, "range_refused");
    assert_eq!(behind.headers["content-range"], "bytes */10");
    let known = get_with(&world, path, ("if-none-match", &tag)).await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    put(&world, path, "another").await;
    assert_eq!(get_with(&world, path, ("if-none-match", &tag)).await.text(), "another");
}

#[tokio::test]
async fn nothing_that_a_browser_would_run_is_served_as_such() {
    let world = World::new();
    for (name, said, bytes) in [
        ("a.html", "text/html", "<!DOCTYPE html><script>alert(1)</script>"),
        ("a.svg", "image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        ("a.js", "text/javascript", "alert(1)"),
        ("a.pdf", "application/pdf", "%PDF-1.7 /JavaScript"),
        ("a.json", "application/json", "{}"),
    ] {
        let path = format!("/v1/files/film/{name}");
        let request = Request::put(&path).header("content-type", said).body(Body::from(bytes)).unwrap();
        assert_eq!(world.send(request).await.status, 201);
        let answer = world.get(&path).await;
        let header = |name: &str| answer.headers[name].to_str().unwrap();
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("content-security-policy"), "default-src 'none'; sandbox");
        let shown = (header("content-type"), header("content-disposition").split(';').next().unwrap());
        let expected = match name {
            "a.pdf" => ("application/pdf", "attachment"),
            "a.json" => ("application/json", "attachment"),
            _ => ("text/plain", "inline"),
        };
        assert_eq!(shown, expected, "{name}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_leaves_no_trace() {
    let world = World::with(&[("files.file_mebibytes", "1"), ("files.project_mebibytes", "2")]);
    let mebibyte = vec![b'x'; 1 << 20];
    let large = [&mebibyte[..], b"x"].concat();
    put(&world, "/v1/files/film/a", large.clone()).await.problem(413, "payload_too_large");
    // Its length is not told before it comes.
    let stream = futures::stream::iter([Ok::<_, std::io::Error>(mebibyte.clone()), Ok(b"x".to_vec())]);
    put(&world, "/v1/files/film/a", Body::from_stream(stream)).await.problem(413, "payload_too_large");
    let broken = futures::stream::iter([Ok(b"x".to_vec()), Err(std::io::Error::other("cut"))]);
    put(&world, "/v1/files/film/a", Body::from_stream(broken)).await.problem(400, "malformed_request");
    world.get("/v1/files/film/a").await.problem(404, "file_not_found");
    for name in ["a", "b"] {
        assert_eq!(put(&world, &format!("/v1/files/film/{name}"), mebibyte.clone()).await.status, 201);
    }
    let full = put(&world, "/v1/files/film/c", "x").await.problem(413, "payload_too_large");
    assert!(full["detail"].as_str().unwrap().contains("project film may hold 2097152 bytes"), "{full}");
    assert_eq!(put(&world, "/v1/files/game/c", "x").await.status, 201);
}

#[tokio::test]
async fn names_that_are_none_are_refused_by_their_field() {
    let world = World::new();
    for (path, field) in [
        ("/v1/files/film/a%2F..%2Fb", "path"),
        ("/v1/files/film/a//b", "path"),
        ("/v1/files/film/%0A", "path"),
        ("/v1/files/fi%20lm/a", "project"),
    ] {
        assert_eq!(put(&world, path, "x").await.wrong_fields(), [field], "{path}");
        assert_eq!(world.get(path).await.wrong_fields(), [field], "{path}");
    }
    assert_eq!(world.get("/v1/files?project=a&odd=1").await.wrong_fields(), ["odd"]);
    assert_eq!(
        world.act("/v1/file-links?method=post&expires_in_seconds=0").await.wrong_fields(),
        ["name", "method", "expires_in_seconds"]
    );
    for wrong in ["", "?name=", "?name=film", "?name=film/a//b", "?name=fi%20lm/a"] {
        assert_eq!(world.act(&format!("/v1/file-links{wrong}")).await.wrong_fields(), ["name"], "{wrong}");
    }
}

#[tokio::test]
async fn a_signed_address_opens_one_file_for_a_while_without_a_token() {
    let site = World::with(&[("tokens.required", "always")]);
    let worker = site.with_token(json!({"scopes": ["worker"], "project": "film"})).await;
    let link = async |method: &str, seconds: u32| {
        let path = format!("/v1/file-links?name=film/a%20b.txt&method={method}&expires_in_seconds={seconds}");
        let answer = worker.act(&path).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["url"].as_str().unwrap().to_owned()
    };
    let (to_put, to_get) = (link("put", 60).await, link("get", 120).await);
    assert_eq!(put(&site, &to_put, "signed").await.status, 201);
    assert_eq!(site.get(&to_get).await.text(), "signed");
    site.get(&to_put).await.problem(403, "signature_refused");
    put(&site, &to_get, "x").await.problem(403, "signature_refused");
    site.get(&to_get.replace("a%20b", "b")).await.problem(403, "signature_refused");
    site.get(&to_get.replace("expires=1", "expires=2")).await.problem(403, "signature_refused");
    site.get("/v1/signed-files/film/a%20b.txt").await.problem(403, "signature_refused");
    site.advance(std::time::Duration::from_secs(61));
    put(&site, &to_put, "late").await.problem(403, "signature_refused");
    assert_eq!(site.get(&to_get).await.text(), "signed");
    let other = site.with_token(json!({"scopes": ["worker"], "project": "game"})).await;
    other.act("/v1/file-links?name=film/a%20b.txt").await.problem(403, "outside_grant");
}

/// A request of each rule, about a file of this name.
fn requests(name: &str) -> Vec<(Method, String)> {
    let project = name.split('/').next().unwrap();
    let guarded = FILE_RULES.iter().filter(|rule| rule.access != Access::Open);
    guarded
        .map(|rule| {
            let path = match rule.path {
                "/v1/files" => format!("/v1/files?project={project}"),
                "/v1/file-links" => format!("/v1/file-links?name={name}"),
                _ => format!("/v1/files/{name}"),
            };
            (rule.method.parse().unwrap(), path)
        })
        .collect()
}

async fn statuses(caller: &World, name: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for (method, path) in requests(name) {
        let request = Request::builder().method(method).uri(path).body(Body::from("x")).unwrap();
        statuses.push(caller.send(request).await.status.as_u16());
    }
    statuses
}

#[tokio::test]
async fn files_are_reached_by_callers_of_their_project_and_their_tasks_queue() {
    let site = World::with(&[("tokens.required", "always")]);
    let operator = site.with_token(json!({})).await;
    let task = operator.create(json!({"type": "a", "queue": "gpu", "project": "film"})).await;
    let (own, free) = (format!("film/tasks/{task}/a"), "film/a".to_owned());
    for name in [&own, &free] {
        assert_eq!(put(&operator, &format!("/v1/files/{name}"), "x").await.status, 201);
    }
    let all = [200, 200, 201, 204, 201];
    for scope in Scope::ALL {
        let caller = site.with_token(json!({"scopes": [scope], "project": "film"})).await;
        let allowed = [Scope::Operator, Scope::Producer, Scope::Worker].contains(&scope);
        put(&operator, &format!("/v1/files/{free}"), "x").await;
        assert_eq!(statuses(&caller, &free).await, if allowed { all } else { [403; 5] }, "{scope}");
    }
    assert_eq!(statuses(&site, &own).await, [401; 5]);
    let other = site.with_token(json!({"scopes": ["worker"], "project": "game"})).await;
    assert_eq!(statuses(&other, &own).await, [403; 5]);
    let cpu = site.with_token(json!({"scopes": ["worker"], "queues": ["cpu"]})).await;
    assert_eq!(statuses(&cpu, &own).await, [403, 404, 404, 404, 404]);
    let gpu = site.with_token(json!({"scopes": ["worker"], "queues": ["gpu"]})).await;
    assert_eq!(statuses(&gpu, &free).await, [403; 5]);
    put(&operator, &format!("/v1/files/{own}"), "x").await;
    assert_eq!(statuses(&gpu, &own).await, [403, 200, 201, 204, 201]);
    // Another project's file whose path names a task of theirs.
    let foreign = format!("game/tasks/{task}/a");
    put(&operator, &format!("/v1/files/{foreign}"), "x").await;
    assert_eq!(statuses(&gpu, &foreign).await, [403, 404, 404, 404, 404]);
    assert_eq!(operator.get(&format!("/v1/files/{foreign}")).await.status, 200);
    let audit: Value = operator.get("/v1/audit?action=delete_file").await.json();
    assert!(
        audit["items"].as_array().unwrap().iter().any(|entry| entry["action"] == "delete_file"),
        "{audit}"
    );
}

/// A running task of project film, and the body that completes it with these files.
async fn running(world: &World, files: &[&str]) -> (String, Value) {
    let task = world.create(json!({"type": "a", "queue": "gpu", "project": "film"})).await;
    let claimed = world.post("/v1/claims", json!({"worker_id": "w1", "queues": ["gpu"]})).await;
    assert_eq!(claimed.json()["tasks"][0]["id"], json!(task), "{}", claimed.text());
    (task.to_string(), json!({"worker_id": "w1", "attempt": 1, "kind": "image/png", "files": files}))
}

#[tokio::test]
async fn a_completion_names_files_that_are_there_and_its_generation_keeps_what_they_were() {
    let world = World::new();
    let (task, mut body) = running(&world, &[]).await;
    let own = format!("tasks/{task}/a.png");
    body["files"] = json!([own, "film/out/b.txt", "film/c"]);
    let complete = format!("/v1/tasks/{task}/complete");
    put(&world, &format!("/v1/files/film/{own}"), PNG).await;
    let refused = world.post(&complete, body.clone()).await;
    assert_eq!(refused.wrong_fields(), ["files[1]", "files[2]"]);
    assert!(refused.text().contains("a file of project film that is there"), "{}", refused.text());
    assert_eq!(world.get(&format!("/v1/tasks/{task}")).await.json()["task"]["status"], "running");

    let text = put(&world, "/v1/files/film/out/b.txt", "0123456789").await.json();
    // A path goes before a project and a path.
    put(&world, "/v1/files/film/film/c", "as it stands").await;
    put(&world, "/v1/files/film/c", "of the project").await;
    put(&world, "/v1/files/game/c", "of another").await;
    let done = world.post(&complete, body.clone()).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let detail = world.get(&format!("/v1/tasks/{task}")).await.json();
    let files = &detail["generation"]["files"];
    assert_eq!(
        (files[0]["path"].as_str().unwrap(), &files[0]["content_type"]),
        (own.as_str(), &json!("image/png"))
    );
    assert_eq!(
        files[1],
        json!({"path": "out/b.txt", "size": 10, "sha256": text["sha256"], "content_type": "text/plain"})
    );
    assert_eq!((&files[2]["path"], &files[2]["size"]), (&json!("film/c"), &json!(12)));
    let generation = detail["generation"]["id"].as_str().unwrap();
    assert_eq!(&world.get(&format!("/v1/generations/{generation}")).await.json()["files"], files);
    // They are kept as long as the task.
    let list = world.get("/v1/files?project=film&prefix=out").await.json();
    assert_eq!(list["items"][0]["task_id"], json!(task));

    // The same again is the same, though the files are others or gone; other files are another completion.
    put(&world, "/v1/files/film/out/b.txt", "another").await;
    delete(&world, &format!("/v1/files/film/{own}")).await;
    let again = world.post(&complete, body.clone()).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, done.json()));
    body["files"] = json!([own]);
    world.post(&complete, body).await.problem(409, "completed_differently");
    assert_eq!(&world.get(&format!("/v1/tasks/{task}")).await.json()["generation"]["files"], files);
}

#[tokio::test]
async fn several_ends_name_their_files_and_each_has_its_own_outcome() {
    let world = World::new();
    let (one, mut first) = running(&world, &["a"]).await;
    let (two, second) = running(&world, &["none"]).await;
    put(&world, "/v1/files/film/a", "x").await;
    let ends = |first: &Value| json!({"endings": [{"task_id": one, "completion": first}, {"task_id": two, "completion": second}]});
    let answer = world.post("/v1/endings", ends(&first)).await.json();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(1), &json!(1)), "{answer}");
    assert_eq!(answer["items"][1]["problem"]["errors"][0]["field"], "endings[1].completion.files[0]");
    assert_eq!(world.get(&format!("/v1/tasks/{one}")).await.json()["generation"]["files"][0]["path"], "a");
    assert_eq!(world.get(&format!("/v1/tasks/{two}")).await.json()["task"]["status"], "running");
    first["files"] = json!(vec!["a"; 101]);
    let answer = world.post("/v1/endings", ends(&first)).await.json();
    assert_eq!(
        answer["items"][0]["problem"]["errors"][0]["field"], "endings[0].completion.files",
        "{answer}"
    );
}

#[tokio::test]
async fn callers_of_queues_name_the_files_of_the_task_alone_and_old_attempts_are_told_that_they_are() {
    let site = World::with(&[("tokens.required", "always")]);
    let operator = site.with_token(json!({})).await;
    let gpu = site.with_token(json!({"scopes": ["worker"], "queues": ["gpu"]})).await;
    let task = operator.create(json!({"type": "a", "queue": "gpu", "project": "film"})).await;
    gpu.post("/v1/claims", json!({"worker_id": "w1", "queues": ["gpu"]})).await;
    let (complete, own) = (format!("/v1/tasks/{task}/complete"), format!("tasks/{task}/a"));
    put(&operator, "/v1/files/film/secret", "x").await;
    put(&operator, &format!("/v1/files/film/{own}"), "x").await;
    let body = |attempt: u32, file: &str| json!({"worker_id": "w1", "attempt": attempt, "files": [file]});
    assert_eq!(gpu.post(&complete, body(1, "secret")).await.wrong_fields(), ["files[0]"]);
    assert_eq!(gpu.post(&complete, body(1, "../secret")).await.wrong_fields(), ["files[0]"]);
    let other = json!({"worker_id": "w2", "attempt": 1, "files": ["none"]});
    operator.post(&complete, other).await.problem(409, "wrong_worker");
    assert_eq!(gpu.post(&complete, body(1, &format!("film/{own}"))).await.status, 200);
    operator.post(&complete, body(0, "none")).await.wrong_fields();
}

#[tokio::test]
async fn a_server_without_a_place_for_files_takes_no_completion_that_names_any() {
    let world = World::new().restarted().await;
    let (task, body) = running(&world, &["a"]).await;
    let refused = world.post(&format!("/v1/tasks/{task}/complete"), body).await;
    assert_eq!(refused.wrong_fields(), ["files"]);
    assert!(refused.text().contains("files.url"), "{}", refused.text());
    assert_eq!(world.get(&format!("/v1/tasks/{task}")).await.json()["task"]["status"], "running");
}
