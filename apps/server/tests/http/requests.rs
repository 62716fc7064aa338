//! Requests that are not as they should be, and what is around every request.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::routing::get;
use baton_http::Envelope;
use http::Request;
use serde_json::json;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use crate::world::{Answer, World};

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let world = World::new();
    for path in
        ["/", "/v1", "/v1/task", "/v1/tasks/", "//v1/tasks", "/v1/tasks/a/b/c", "/errors/", "/V1/tasks"]
    {
        world.get(path).await.problem(404, "route_not_found");
    }
    for (method, path, allow) in [
        ("GET", "/v1/claims", "POST"),
        ("PUT", "/v1/tasks", "GET,HEAD,POST"),
        ("DELETE", "/v1/queues/q/pause", "POST"),
        ("OPTIONS", "/v1/stats", "GET,HEAD"),
        ("BREW", "/livez", "GET,HEAD"),
    ] {
        let answer =
            world.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await;
        let problem = answer.problem(405, "method_not_allowed");
        let named: BTreeSet<&str> = answer.headers["allow"].to_str().unwrap().split(',').collect();
        assert_eq!(named, allow.split(',').collect(), "{method} {path}");
        assert!(problem["detail"].as_str().unwrap().contains("; it takes "), "{problem}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_before_a_body_is_passed_over() {
    let world = World::new();
    let answer = world.post_text("/v1/tasks", b"\xef\xbb\xbf{\"type\": \"a\"}".to_vec()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_with_the_place() {
    let world = World::new();
    for (body, place) in [
        (&b"{\"type\": \"a\",}"[..], "line 1 column 14"),
        (b"{\"type\":", "line 1 column 8"),
        (b"{\"type\": \"a\"} x", "line 1 column 15"),
        (b"{\"type\": \"\xff\"}", "at byte 10"),
        (b"", "empty body"),
    ] {
        let problem = world.post_text("/v1/tasks", body.to_vec()).await.problem(400, "malformed_json");
        assert!(problem["detail"].as_str().unwrap().contains(place), "{place}: {problem}");
    }
    for body in ["[]", "null", "7", "\"x\""] {
        assert_eq!(world.post_text("/v1/tasks", body).await.wrong_fields(), ["(body)"], "{body}");
    }
    let deep = format!("{{\"type\":\"a\",\"params\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(world.post_text("/v1/tasks", deep).await.wrong_fields(), ["params"]);
}

#[tokio::test]
async fn a_body_must_be_said_to_be_json() {
    let world = World::new();
    let send = async |content_type: Option<&str>| {
        let mut request = Request::post("/v1/tasks");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        world.send(request.body(Body::from("{\"type\":\"a\"}")).unwrap()).await
    };
    for wrong in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/json; charset=latin1"),
    ] {
        send(wrong).await.problem(415, "unsupported_media_type");
    }
    for right in ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"] {
        assert_eq!(send(Some(right)).await.status, 201, "{right}");
    }
    // Without a body there is nothing to be said.
    assert_eq!(world.act("/v1/reap").await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_both_sizes() {
    let world = World::with(&[("limits.params_bytes", "1024"), ("limits.batch_bytes", "65536")]);
    let most = 1_024 + 64 * 1_024;
    let large = vec![b' '; most + 1];
    let problem = world.post_text("/v1/tasks", large.clone()).await.problem(413, "payload_too_large");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.starts_with(&format!("expected a body of at most {most} bytes, got {} bytes", most + 1)),
        "{detail}"
    );
    world.post_text("/v1/tasks/batch", large.clone()).await.problem(413, "payload_too_large");
    world.post_text("/v1/claims", large).await.problem(413, "payload_too_large");
    // The body fits, the params do not.
    let params = json!({"type": "a", "params": "x".repeat(1_023)});
    let problem = world.post("/v1/tasks", params).await.problem(422, "invalid_fields");
    assert_eq!(problem["errors"][0]["got"], "1025 bytes");
    assert_eq!(world.post("/v1/tasks", json!({"type": "a", "params": "x".repeat(1_022)})).await.status, 201);
}

#[tokio::test]
async fn an_object_with_very_many_fields_costs_no_long_answer() {
    let world = World::new();
    let many: String = (0..20_000).map(|n| format!("\"f{n}\":1,")).collect();
    let answer = world.post_text("/v1/tasks", format!("{{{many}\"type\":\"a\"}}")).await;
    assert_eq!(answer.wrong_fields(), ["(body)"]);
    let some: String = (0..500).map(|n| format!("\"f{n}\":1,")).collect();
    let answer = world.post_text("/v1/tasks", format!("{{{some}\"type\":\"a\"}}")).await;
    assert_eq!(answer.wrong_fields().len(), 20);
    let long = format!("{{\"type\":\"a\",\"{}\":1}}", "x".repeat(200_000));
    let answer = world.post_text("/v1/tasks", long).await;
    assert!(answer.body.len() < 2_000, "{}", answer.body.len());
}

#[tokio::test]
async fn each_request_has_an_id_and_a_sane_one_is_kept() {
    let world = World::new();
    let send = async |id: &[u8]| {
        let request = Request::get("/livez").header("x-request-id", id).body(Body::empty()).unwrap();
        world.send(request).await.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(send(b"trace-17:a@b").await, "trace-17:a@b");
    for odd in [&b"a b"[..], b"", b"\xff", b"<script>", &[b'x'; 200]] {
        let made = send(odd).await;
        assert!(made.len() == 16 && made.bytes().all(|c| c.is_ascii_hexdigit()), "{made}");
    }
    let mut made = BTreeSet::new();
    for _ in 0..100 {
        made.insert(world.get("/livez").await.headers["x-request-id"].clone().to_str().unwrap().to_owned());
    }
    assert_eq!(made.len(), 100);
}

#[tokio::test]
async fn a_handler_that_panics_is_a_problem_and_the_next_request_is_served() {
    async fn panics() {
        panic!("the secret cause");
    }

    let world = World::new();
    let router = OpenApiRouter::default().route("/boom", get(panics)).route("/fine", get(async || "fine"));
    let service = Envelope::new(router, world.app.clone(), Duration::from_secs(30), Vec::new());
    let send = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        Answer::of(service.clone().oneshot(request).await.unwrap()).await
    };
    let answer = send("/boom").await;
    answer.problem(500, "internal");
    assert!(!answer.text().contains("secret"), "{}", answer.text());
    assert_eq!(send("/fine").await.status, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let world = World::new();
    let router = OpenApiRouter::default()
        .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(60)).await))
        .route("/claims", get(async || tokio::time::sleep(Duration::from_millis(300)).await));
    let slow = vec![("/claims", Duration::from_secs(20))];
    let service = Envelope::new(router, world.app.clone(), Duration::from_millis(50), slow);
    let send = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        Answer::of(service.clone().oneshot(request).await.unwrap()).await
    };
    let began = Instant::now();
    send("/slow").await.problem(408, "request_timeout");
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(send("/claims").await.status, 200);
}
