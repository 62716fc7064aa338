//! The dashboard's WebSocket, as a client by hand (RFC 6455).

use std::time::Duration;

use baton_tests::site::Site;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{site, submit, task};

struct Socket(TcpStream);

impl Socket {
    async fn connect(site: &Site) -> Self {
        let url = site.url("/ws");
        let addr = url.strip_prefix("http://").unwrap().strip_suffix("/ws").unwrap().to_owned();
        let mut stream = TcpStream::connect(&addr).await.unwrap();
        let head = format!(
            "GET /ws HTTP/1.1\r\nhost: {addr}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            read.push(byte[0]);
        }
        assert!(read.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&read));
        Self(stream)
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
