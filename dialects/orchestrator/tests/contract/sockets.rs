//! The dashboard's WebSocket, as a client by hand (RFC 6455).

use std::time::Duration;

use baton_tests::site::Site;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{site, submit, task};

struct Socket(TcpStream);

impl Socket {
    async fn connect(site: &Site) -> Self {
        let answer = Self::try_with(site, "").await;
        answer.unwrap_or_else(|head| panic!("{head}"))
    }

    /// Connects with these lines in the head; gives the answer's head if it is no socket.
    async fn try_with(site: &Site, lines: &str) -> Result<Self, String> {
        let url = site.url("/ws");
        let addr = url.strip_prefix("http://").unwrap().strip_suffix("/ws").unwrap().to_owned();
        let mut stream = TcpStream::connect(&addr).await.unwrap();
        let head = format!(
            "GET /ws HTTP/1.1\r\nhost: {addr}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            read.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&read).into_owned();
        if head.starts_with("HTTP/1.1 101 ") { Ok(Self(stream)) } else { Err(head) }
    }

    async fn send(&mut self, text: &str) {
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next text; pings are passed over. None if the server closes.
    async fn hear(&mut self) -> Option<String> {
        timeout(Duration::from_secs(30), async {
            loop {
                let mut head = [0; 2];
                self.0.read_exact(&mut head).await.unwrap();
                let length = match head[1] {
                    126 => usize::from(self.0.read_u16().await.unwrap()),
                    short => usize::from(short),
                };
                let mut text = vec![0; length];
                self.0.read_exact(&mut text).await.unwrap();
                match head[0] & 0x0f {
                    1 => return Some(String::from_utf8(text).unwrap()),
                    8 => return None,
                    _ => {}
                }
            }
        })
        .await
        .expect("a message")
    }

    /// The next message of a type.
    async fn hear_of(&mut self, kind: &str) -> Value {
        loop {
            let told: Value = serde_json::from_str(&self.hear().await.expect("it is open")).unwrap();
            if told["type"] == kind {
                return told;
            }
        }
    }
}

#[tokio::test]
async fn a_dashboard_hears_of_each_submission_and_of_changes() {
    let site = site(&[]).await;
    let (mut one, mut other) = (Socket::connect(&site).await, Socket::connect(&site).await);
    one.send("ping").await;
    assert_eq!(one.hear().await.unwrap(), "Echo: ping");
    submit(&site, &task("a")).await;
    for socket in [&mut one, &mut other] {
        let told = socket.hear_of("task_submitted").await;
        for field in ["id", "role", "branch", "state", "last_error", "provider", "model", "title", "status"] {
            assert!(told["task"].get(field).is_some(), "{field}: {told}");
        }
        assert_eq!((&told["task"]["id"], &told["task"]["state"]), (&json!("a"), &json!("queued")));
        socket.hear_of("tasks_changed").await;
    }
    // What a worker does is heard of, too, though it passes by this dialect.
    site.work("autodev", &json!({})).await;
    one.hear_of("tasks_changed").await;
    drop(one);
    // A submission that is repeated is none.
    submit(&site, &task("a")).await;
    assert!(site.stopped().await);
    while let Some(told) = other.hear().await {
        assert!(told.contains("tasks_changed"), "{told}");
    }
}

#[tokio::test]
async fn a_plain_request_is_told_that_it_is_a_socket() {
    let site = site(&[]).await;
    let answer = site.get("/ws").await;
    assert_eq!(answer.status, 426);
    assert!(answer.json()["detail"].is_string());
}

#[tokio::test]
async fn a_message_of_many_bytes_is_not_waited_for() {
    let site = site(&[]).await;
    let Socket(mut stream) = Socket::connect(&site).await;
    // The head of a text of 8 MiB, of which nothing comes.
    let mut head = vec![0x81, 0x80 | 127];
    head.extend_from_slice(&(8_u64 << 20).to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    stream.write_all(&head).await.unwrap();
    let mut rest = Vec::new();
    // Whether it ends by a reset or in order does not matter.
    let _ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.expect("it ends");
}

#[tokio::test]
async fn a_dashboard_that_was_opened_from_a_file_is_let_in_where_that_is_set() {
    let strict = site(&[]).await;
    assert!(Socket::try_with(&strict, "origin: null\r\n").await.is_err_and(|head| head.contains(" 403 ")));
    let open = site(&[("dialects.orchestrator.origins", "null,http://localhost:3000")]).await;
    let mut socket =
        Socket::try_with(&open, "origin: null\r\n").await.unwrap_or_else(|head| panic!("{head}"));
    socket.send("ping").await;
    assert_eq!(socket.hear().await.unwrap(), "Echo: ping");
    let ask = async |site: &Site, method: Method, url: String, origin: &str| {
        let request = site.request(method, url).header("origin", origin);
        let answer = site.send(request.header("access-control-request-method", "POST")).await;
        let told =
            answer.headers.get("access-control-allow-origin").map(|told| told.to_str().unwrap().to_owned());
        (answer.status, told)
    };
    for origin in ["null", "http://localhost:3000"] {
        let told = Some(origin.to_owned());
        assert_eq!(ask(&open, Method::GET, open.url("/tasks"), origin).await, (200, told.clone()));
        assert_eq!(ask(&open, Method::OPTIONS, open.url("/tasks"), origin).await, (204, told.clone()));
        // An error may be read, too.
        assert_eq!(ask(&open, Method::GET, open.url("/tasks/nobody"), origin).await, (404, told));
    }
    let request = open.request(Method::OPTIONS, open.url("/tasks")).header("origin", "null");
    let request = request.header("access-control-request-method", "POST");
    let answer = open.send(request.header("access-control-request-headers", "content-type")).await;
    assert_eq!(answer.headers["access-control-allow-headers"], "content-type");
    assert!(answer.headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    // Pages of other sites are not, nor is any by Baton's own routes; a local page of another port may not read.
    assert_eq!(ask(&open, Method::GET, open.url("/tasks"), "https://example.org").await, (403, None));
    assert_eq!(ask(&open, Method::GET, open.own_url("/v1/tasks"), "null").await, (403, None));
    assert_eq!(ask(&open, Method::GET, open.url("/tasks"), "http://localhost:4000").await, (200, None));
    assert_eq!(ask(&strict, Method::GET, strict.url("/tasks"), "http://localhost:3000").await, (200, None));
    assert_eq!(ask(&strict, Method::GET, strict.url("/tasks"), "null").await, (403, None));
}
