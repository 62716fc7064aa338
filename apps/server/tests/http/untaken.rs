//! Answers that nobody takes, and a stop while requests hang.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::sockets::{Connection, SOON, Site, site};

/// A site that holds tasks of some MiB in all, so that a list of them does not fit into a socket.
async fn site_with_much(settings: &[(&str, &str)]) -> Site {
    let site = site(settings).await;
    let mut connection = site.connect().await;
    let params = "x".repeat(250_000);
    for _ in 0..12 {
        let task = json!({"type": "a", "params": params}).to_string();
        let (head, _) = connection.ask("POST", "/v1/tasks", &task).await;
        assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    }
    site
}

/// A connection that takes little at a time: its own side holds no more than a few KiB.
async fn narrow(site: &Site) -> Connection {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    Connection(socket.connect(site.addr()).await.unwrap())
}

/// Asks for so many large lists, without reading, that the socket cannot hold the answers.
async fn ask_and_read_nothing(connection: &mut Connection) {
    for _ in 0..20 {
        connection.send("GET", "/v1/tasks?limit=1000", "").await;
    }
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_broken_off_and_frees_its_connection() {
    let site =
        site_with_much(&[("server.answer_timeout_seconds", "1"), ("server.max_connections", "5")]).await;
    let mut unread = Vec::new();
    for _ in 0..5 {
        let mut connection = narrow(&site).await;
        ask_and_read_nothing(&mut connection).await;
        unread.push(connection);
    }
    let (head, _) = site.connect().await.ask("GET", "/livez", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // Without reading, which would make a taker of it again.
    let broken = async {
        while unread[0].0.take_error().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, broken).await.expect("a connection that is reset");
}

#[tokio::test]
async fn where_all_places_are_held_by_callers_that_neither_send_nor_take_others_are_served_before_their_time()
{
    let far = [("server.answer_timeout_seconds", "600"), ("server.head_timeout_seconds", "120")];
    let site = site_with_much(&[far[0], far[1], ("server.max_connections", "6")]).await;
    let mut holding = Vec::new();
    for place in 0..18 {
        let mut connection = narrow(&site).await;
        match place % 3 {
            0 => ask_and_read_nothing(&mut connection).await,
            1 => connection.0.write_all(b"POST /v1/ta").await.unwrap(),
            _ => {
                let head = "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                            content-length: 12\r\n\r\n{";
                connection.0.write_all(head.as_bytes()).await.unwrap();
            }
        }
        holding.push(connection);
    }
    let mut other = site.connect().await;
    let answer = timeout(Duration::from_secs(60), other.ask("GET", "/livez", "")).await;
    let (head, _) = answer.expect("served long before the holders' own time is over");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn who_takes_an_answer_steadily_has_as_long_as_it_needs() {
    let site = site_with_much(&[("server.answer_timeout_seconds", "3")]).await;
    let mut slow = site.connect().await;
    ask_and_read_nothing(&mut slow).await;
    let (mut read, began) = (0, Instant::now());
    let mut buffer = vec![0; 64 * 1024];
    // Twice as long as nothing may be taken.
    while began.elapsed() < Duration::from_secs(6) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let some = slow.0.read(&mut buffer).await.expect("the connection stands");
        assert_ne!(some, 0, "ended after {read} bytes");
        read += some;
    }
}

#[tokio::test]
async fn a_large_list_is_read_from_the_store_as_its_caller_takes_it() {
    let site = site_with_much(&[]).await;
    let mut connection = site.connect().await;
    let (head, page) = connection.ask("GET", "/v1/tasks?limit=1000", "").await;
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    let items = page["items"].as_array().expect("a whole document");
    assert_eq!((items.len(), &page["next_cursor"]), (12, &serde_json::Value::Null));
    // One answer behind the other on one connection, and a page that is full goes on behind its cursor.
    let (head, few) = connection.ask("GET", "/v1/tasks?limit=5", "").await;
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(few["items"].as_array().unwrap()[..], items[..5]);
    let path = format!("/v1/tasks?limit=100&cursor={}", few["next_cursor"].as_str().unwrap());
    let (_, rest) = connection.ask("GET", &path, "").await;
    assert_eq!(rest["items"].as_array().unwrap()[..], items[5..]);
    let (head, _) = connection.ask("GET", "/v1/tasks?limit=1", "").await;
    assert!(head.contains("\r\ncontent-length: "), "what is one part is sent whole: {head}");
}

#[tokio::test]
async fn large_answers_have_a_bound_together_and_small_ones_go_on() {
    let site =
        site_with_much(&[("server.answer_timeout_seconds", "60"), ("server.answers_mebibytes", "4")]).await;
    let mut unread = Vec::new();
    let refused = loop {
        let mut connection = narrow(&site).await;
        ask_and_read_nothing(&mut connection).await;
        unread.push(connection);
        let (head, answer) = site.connect().await.ask("GET", "/v1/tasks?limit=1000", "").await;
        if head.starts_with("HTTP/1.1 503") {
            break answer;
        }
        assert!(unread.len() < 100, "there is no bound");
    };
    assert_eq!(refused["code"], "busy");
    assert!(refused["detail"].as_str().unwrap().contains("nothing was done"), "{refused}");
    let mut worker = site.connect().await;
    let (head, _) = worker.ask("POST", "/v1/workers/w/heartbeat", "{}").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    drop(unread);
    // Once they are gone, there is room again.
    let room = async {
        loop {
            let (head, _) = site.connect().await.ask("GET", "/v1/tasks?limit=1000", "").await;
            if head.starts_with("HTTP/1.1 200") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), room).await.expect("room again");
}

#[tokio::test]
async fn a_stop_waits_for_half_a_request_no_longer_than_the_grace_and_calls_it_a_proper_end() {
    let site =
        site_with_much(&[("server.shutdown_grace_seconds", "0.3"), ("server.answer_timeout_seconds", "60")])
            .await;
    let mut half = site.connect().await;
    let head = "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{";
    half.0.write_all(head.as_bytes()).await.unwrap();
    let mut head = site.connect().await;
    head.0.write_all(b"POST /v1/ta").await.unwrap();
    let mut untaken = narrow(&site).await;
    ask_and_read_nothing(&mut untaken).await;
    // The server has them once it has answered one that was sent later.
    site.connect().await.ask("GET", "/livez", "").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(timeout(SOON, site.shutdown()).await.expect("stopped"), "all that had come whole was answered");
}
