//! Requests whose head is not as it should be, over a raw socket.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::sockets::{Connection, SOON, Site, site};

/// Sends bytes over a new connection, and gives the answer.
async fn answer(site: &Site, bytes: impl AsRef<[u8]>) -> (String, Value) {
    let mut connection = site.connect().await;
    // The server may have refused it before all is sent.
    let _ = connection.0.write_all(bytes.as_ref()).await;
    timeout(SOON, connection.answer()).await.expect("an answer in time").expect("an answer")
}

/// Expects a whole problem document.
#[track_caller]
fn expect_problem((head, problem): &(String, Value), status: u16, code: &str, about: &str) {
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{about}: {head}");
    assert!(head.contains("\r\ncontent-type: application/problem+json\r\n"), "{about}: {head}");
    assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{about}");
    let id = problem["request_id"].as_str().unwrap();
    assert!(head.contains(&format!("\r\nx-request-id: {id}\r\n")), "{about}: {head}");
    assert!(head.contains("\r\ndate: "), "{about}: {head}");
    assert!(problem["detail"].as_str().unwrap().starts_with("expected "), "{about}: {problem}");
}

#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_is_refused() {
    let site = site(&[]).await;
    for (head, status, code) in [
        ("GET /livez HTTP/1.1\r\n", 400, "malformed_request"),
        ("GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n", 400, "malformed_request"),
        ("GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: example.org\r\n", 400, "malformed_request"),
        ("GET /livez HTTP/1.1\r\nhost: 127.0.0.1:evil\r\n", 400, "malformed_request"),
        ("GET /livez HTTP/1.1\r\nhost: \r\n", 400, "malformed_request"),
        ("GET /livez HTTP/1.1\r\nhost: user@localhost\r\n", 400, "malformed_request"),
        ("GET http://example.org/livez HTTP/1.1\r\nhost: localhost\r\n", 400, "malformed_request"),
        ("GET http://example.org/livez HTTP/1.1\r\nhost: example.org\r\n", 403, "foreign_origin"),
        ("GET ftp://localhost/livez HTTP/1.1\r\nhost: localhost\r\n", 400, "malformed_request"),
        (
            "GET /livez HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost\r\norigin: https://example.org\r\n",
            403,
            "foreign_origin",
        ),
        (
            "GET /livez HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost\r\norigin: http://localhost\r\n",
            403,
            "foreign_origin",
        ),
        (
            "POST /v1/reap HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip, chunked\r\n",
            501,
            "transfer_coding_unsupported",
        ),
    ] {
        let body = if head.contains("chunked") { "0\r\n\r\n" } else { "" };
        let told = answer(&site, format!("{head}\r\n{body}")).await;
        expect_problem(&told, status, code, head);
    }
    for head in [
        "GET /livez HTTP/1.0\r\n",
        "GET http://localhost/livez HTTP/1.1\r\nhost: localhost\r\n",
        "GET /livez HTTP/1.1\r\nhost: localhost:1\r\norigin: http://localhost\r\n",
    ] {
        let (told, _) = answer(&site, format!("{head}\r\n")).await;
        assert!(told.contains(" 200 OK\r\n"), "{head}: {told}");
    }
}

#[tokio::test]
async fn what_the_http_library_refuses_by_itself_is_a_problem_document() {
    let site = site(&[]).await;
    let many = "x: y\r\n".repeat(150);
    let large = format!("x: {}\r\n", "y".repeat(100_000));
    for (bytes, status, code) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET /livez HTTP/3.7\r\nhost: localhost\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET /livez HTTP/1.1\r\nhost: localhost\r\na b: c\r\n\r\n".to_owned(), 400, "malformed_request"),
        (
            "POST /v1/reap HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n".to_owned(),
            400,
            "malformed_request",
        ),
        (
            "POST /v1/reap HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(),
            400,
            "malformed_request",
        ),
        (format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(20_000)), 414, "uri_too_long"),
        (format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(200_000)), 414, "uri_too_long"),
        (format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), 431, "headers_too_large"),
        (format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{large}\r\n"), 431, "headers_too_large"),
    ] {
        let about = &bytes[..bytes.len().min(60)];
        expect_problem(&answer(&site, &bytes).await, status, code, about);
    }
    // Also where a good request came before on the connection; a good answer stays as it is.
    let mut connection = site.connect().await;
    let (head, _) = connection.ask("GET", "/livez", "").await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    connection.0.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let told = timeout(SOON, connection.answer()).await.unwrap().unwrap();
    expect_problem(&told, 400, "malformed_request", "the second request");
    assert_eq!(timeout(SOON, connection.answer()).await.unwrap(), None, "and the connection is closed");
}

#[tokio::test]
async fn half_a_head_is_given_up_and_told_so() {
    let site = site(&[("server.head_timeout_seconds", "1")]).await;
    for half in
        ["G", "GET /livez", "GET /livez HTTP/1.1\r\nhos", "GET /livez HTTP/1.1\r\nhost: localhost\r\n"]
    {
        expect_problem(&answer(&site, half).await, 408, "request_timeout", half);
    }
    // Also behind a request that was answered.
    let mut connection = site.connect().await;
    connection.ask("GET", "/livez", "").await;
    connection.0.write_all(b"GET /li").await.unwrap();
    let told = timeout(SOON, connection.answer()).await.unwrap().unwrap();
    expect_problem(&told, 408, "request_timeout", "the second request");
    // A connection on which nothing comes is closed without a word.
    let mut silent = site.connect().await;
    assert_eq!(timeout(SOON, silent.answer()).await.expect("closed in time"), None);
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_has_no_more_time_than_another() {
    let site = site(&[("server.head_timeout_seconds", "1")]).await;
    let mut slow = site.connect().await;
    let began = Instant::now();
    for byte in "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: ".bytes().chain(std::iter::repeat(b'y')) {
        if slow.0.write_all(&[byte]).await.is_err() {
            break;
        }
        if let Ok(told) = timeout(Duration::from_millis(50), slow.answer()).await {
            expect_problem(&told.expect("an answer"), 408, "request_timeout", "slowly");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it goes on for ever");
    }
}

#[tokio::test]
async fn half_heads_on_all_connections_leave_room_for_others_within_seconds() {
    let site = site(&[("server.head_timeout_seconds", "1"), ("server.max_connections", "20")]).await;
    let mut held: Vec<Connection> = Vec::new();
    for _ in 0..20 {
        let mut connection = site.connect().await;
        connection.0.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        held.push(connection);
    }
    let (head, _) = site.connect().await.ask("GET", "/livez", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn silent_connections_make_room_for_others() {
    let site = site(&[("server.max_connections", "3")]).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        let mut connection = site.connect().await;
        connection.ask("GET", "/livez", "").await;
        silent.push(connection);
    }
    let (head, _) = site.connect().await.ask("GET", "/livez", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // The one that was silent for longest is gone, and the others are not.
    assert_eq!(timeout(SOON, silent[0].answer()).await.expect("closed"), None);
    silent[2].ask("GET", "/livez", "").await;
}

#[tokio::test]
async fn a_sender_that_waits_is_told_to_send_its_body_only_if_it_will_be_read() {
    let site = site(&[("tokens.required", "always")]).await;
    let token = site.token().await;
    let ask = async |path: &str, headers: &str| {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n{headers}\r\n");
        answer(&site, head).await
    };
    let json = "content-type: application/json\r\n";
    let good = format!("authorization: Bearer {token}\r\n");
    for (path, headers, status) in [
        ("/v1/nowhere", format!("{good}{json}content-length: 20\r\n"), 404),
        ("/v1/stats", format!("{good}{json}content-length: 20\r\n"), 405),
        ("/v1/tasks", format!("{json}content-length: 20\r\n"), 401),
        ("/v1/tasks", format!("{good}{json}content-length: 20000000\r\n"), 413),
        ("/v1/tasks", format!("{good}content-length: 20\r\n"), 415),
        ("/v1/tasks", format!("{good}{json}content-encoding: gzip\r\ntransfer-encoding: chunked\r\n"), 415),
        ("/v1/tasks", format!("{good}{json}host: again\r\ncontent-length: 20\r\n"), 400),
    ] {
        let (head, problem) = ask(path, &headers).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {headers}: {head}");
        assert!(head.contains("\r\nconnection: close\r\n"), "{path} {headers}: {head}");
        assert_eq!(problem["status"], status);
    }
    let body = r#"{"type":"a"}"#;
    let head = format!(
        "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n{good}{json}content-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = site.connect().await;
    connection.0.write_all(head.as_bytes()).await.unwrap();
    let go_on = timeout(SOON, connection.head()).await.unwrap().unwrap();
    assert_eq!(go_on, "HTTP/1.1 100 Continue\r\n\r\n");
    connection.0.write_all(body.as_bytes()).await.unwrap();
    let (head, _) = timeout(SOON, connection.answer()).await.unwrap().unwrap();
    assert!(head.starts_with("HTTP/1.1 201") && !head.contains("connection: close"), "{head}");
}

#[tokio::test]
async fn a_compressed_body_is_named_and_not_read() {
    let site = site(&[]).await;
    let gzip = [0x1f_u8, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    for header in ["content-encoding: gzip\r\n", "content-encoding: br\r\n", ""] {
        let head = format!(
            "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{header}content-length: {}\r\n\r\n",
            gzip.len()
        );
        let told = answer(&site, [head.as_bytes(), &gzip].concat()).await;
        expect_problem(&told, 415, "unsupported_media_type", header);
        assert!(told.0.contains("\r\naccept-encoding: identity\r\n"), "{}", told.0);
        assert!(told.1["detail"].as_str().unwrap().contains("without Content-Encoding, got "), "{}", told.1);
    }
}
