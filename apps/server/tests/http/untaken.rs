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

/// A site with little room for answers and large tasks that wait, and workers that each hold a small one. Gives the small ones. `known`:
/// whether large ones were claimed there before.
async fn site_with_much_to_claim(known: bool) -> (Site, Vec<String>) {
    let site = site(&[("server.answer_timeout_seconds", "60"), ("server.answers_mebibytes", "4")]).await;
    let mut connection = site.connect().await;
    let params = "x".repeat(250_000);
    for _ in 0..60 {
        let task = json!({"type": "a", "queue": "large", "params": params}).to_string();
        let (head, _) = connection.ask("POST", "/v1/tasks", &task).await;
        assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    }
    let mut held = Vec::new();
    for worker in 0..WORKERS {
        connection.ask("POST", "/v1/tasks", r#"{"type": "a", "queue": "small"}"#).await;
        let claim = json!({"worker_id": format!("w{worker}"), "queues": ["small"]}).to_string();
        let (_, claimed) = connection.ask("POST", "/v1/claims", &claim).await;
        held.push(claimed["tasks"][0]["id"].as_str().unwrap().to_owned());
    }
    if known {
        let claim = r#"{"worker_id": "before", "queues": ["large"]}"#;
        let (_, claimed) = connection.ask("POST", "/v1/claims", claim).await;
        assert_eq!(claimed["tasks"].as_array().unwrap().len(), 1);
    }
    (site, held)
}

const WORKERS: usize = 20;

/// A request of a worker that ends its small task, or none, and claims ten large ones: 2.5 MB.
fn claiming(kind: &str, worker: usize, task: &str) -> (String, String) {
    let worker = format!("w{worker}");
    let claim = json!({"worker_id": worker, "queues": ["large"], "max_tasks": 10, "request_id": format!("r-{worker}")});
    let end = json!({"worker_id": worker, "attempt": 1});
    match kind {
        "claim" => ("/v1/claims".to_owned(), claim.to_string()),
        "completion" => {
            let mut body = end;
            body["claim"] = claim;
            (format!("/v1/tasks/{task}/complete"), body.to_string())
        }
        _ => {
            let body = json!({"endings": [{"task_id": task, "completion": end}], "claim": claim});
            ("/v1/endings".to_owned(), body.to_string())
        }
    }
}

/// The beginning of an answer of which nothing else is read.
async fn status(connection: &mut Connection) -> String {
    let mut status = [0; 12];
    timeout(SOON, connection.0.read_exact(&mut status)).await.expect("an answer in time").unwrap();
    String::from_utf8(status.to_vec()).unwrap()
}

/// All are asked for before one is answered: none of them finds the room full by what another holds.
async fn what_is_claimed_and_not_taken_stays_within_the_room(kind: &str) {
    let (site, held) = site_with_much_to_claim(true).await;
    let mut unread = Vec::new();
    for (worker, task) in held.iter().enumerate() {
        let mut connection = narrow(&site).await;
        let (path, body) = claiming(kind, worker, task);
        connection.send("POST", &path, &body).await;
        unread.push(connection);
    }
    let mut refused = Vec::new();
    for (worker, connection) in unread.iter_mut().enumerate() {
        match status(connection).await.as_str() {
            "HTTP/1.1 200" => {}
            "HTTP/1.1 503" => refused.push(worker),
            other => panic!("{other}"),
        }
    }
    // One of 2.4 MiB leaves less than the half that the next would keep.
    assert_eq!(refused.len(), WORKERS - 1, "{kind}: {refused:?}");
    // What is small is done.
    let mut other = site.connect().await;
    let (head, _) = other.ask("POST", "/v1/workers/other/heartbeat", "{}").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, _) = other.ask("POST", "/v1/tasks", r#"{"type": "a", "queue": "small"}"#).await;
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    let (_, claimed) =
        other.ask("POST", "/v1/claims", r#"{"worker_id": "other", "queues": ["small"]}"#).await;
    let path = format!("/v1/tasks/{}/complete", claimed["tasks"][0]["id"].as_str().unwrap());
    let (head, _) = other.ask("POST", &path, r#"{"worker_id": "other", "attempt": 1}"#).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // Of those that were refused nothing was done: each still holds its task and no other. Asked again, it has all of it.
    drop(unread);
    let worker = refused[0];
    let (_, shown) = other.ask("GET", &format!("/v1/workers/w{worker}"), "").await;
    assert_eq!(shown["active"], 1, "{kind}: {shown}");
    let (path, body) = claiming(kind, worker, &held[worker]);
    let again = async {
        loop {
            let (head, answer) = other.ask("POST", &path, &body).await;
            if head.starts_with("HTTP/1.1 200") {
                return answer;
            }
            assert!(head.starts_with("HTTP/1.1 503") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
            assert_eq!(answer["code"], "busy");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = timeout(SOON, again).await.expect("room again");
    let claimed = if kind == "claim" { &answer["tasks"] } else { &answer["next"]["tasks"] };
    assert_eq!(claimed.as_array().unwrap().len(), 10, "{kind}");
}

#[tokio::test]
async fn claims_that_are_not_taken_stay_within_the_room_also_if_all_come_at_once() {
    what_is_claimed_and_not_taken_stays_within_the_room("claim").await;
}

/// Where tasks were small, room is kept for ten of which one is large: two such claims find it at once. Then it is known.
#[tokio::test]
async fn claims_of_tasks_that_begin_to_be_large_bring_more_than_the_room_holds_once() {
    let (site, held) = site_with_much_to_claim(false).await;
    let mut unread = Vec::new();
    for (worker, task) in held.iter().enumerate() {
        let mut connection = narrow(&site).await;
        let (path, body) = claiming("claim", worker, task);
        connection.send("POST", &path, &body).await;
        unread.push(connection);
    }
    let mut given = 0;
    for connection in &mut unread {
        given += usize::from(status(connection).await == "HTTP/1.1 200");
    }
    assert!((1..=2).contains(&given), "{given} claims of 2.5 MB each, where there is room for 4");
}

#[tokio::test]
async fn completions_that_bring_tasks_along_and_are_not_taken_stay_within_the_room() {
    what_is_claimed_and_not_taken_stays_within_the_room("completion").await;
}

#[tokio::test]
async fn several_ends_that_bring_tasks_along_and_are_not_taken_stay_within_the_room() {
    what_is_claimed_and_not_taken_stays_within_the_room("endings").await;
}

#[tokio::test]
async fn where_the_room_is_full_a_change_that_answers_with_its_task_is_not_begun() {
    let (site, held) = site_with_much_to_claim(true).await;
    let mut unread = narrow(&site).await;
    let (path, body) = claiming("claim", 0, &held[0]);
    unread.send("POST", &path, &body.replace(r#""max_tasks":10"#, r#""max_tasks":15"#)).await;
    assert_eq!(status(&mut unread).await, "HTTP/1.1 200");
    let mut operator = site.connect().await;
    let cancel = format!("/v1/tasks/{}/cancel", held[1]);
    let (head, refused) = operator.ask("POST", &cancel, "{}").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(refused["code"], "busy");
    let (_, shown) = operator.ask("GET", &format!("/v1/tasks/{}", held[1]), "").await;
    assert_eq!(shown["task"]["status"], "running");
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
