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
        ["method", "expires_in_seconds", "name"]
    );
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
    let audit: Value = operator.get("/v1/audit?action=delete_file").await.json();
    assert!(
        audit["items"].as_array().unwrap().iter().any(|entry| entry["action"] == "delete_file"),
        "{audit}"
    );
}
