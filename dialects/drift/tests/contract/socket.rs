//! A client's WebSocket by hand (RFC 6455).

use std::time::Duration;

use baton_tests::site::Site;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Client, result};

/// What a socket is told.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// A message.
    Message(Value),
    /// The end, with its code and reason.
    Close(u16, String),
}

/// An open socket.
pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(crate) async fn of(site: &Site, client: &Client) -> Self {
        Self::connect(site, &client.id).await
    }

    pub(crate) async fn connect(site: &Site, id: &str) -> Self {
        let url = site.url("");
        let addr = url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let head = format!(
            "GET /ws/client/{id} HTTP/1.1\r\nhost: {addr}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(stream.read_u8().await.unwrap());
        }
        assert!(read.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&read));
        Self(stream)
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        let text = message.to_string();
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        let mut frame = vec![0x81, 0x80 | 126, length[0], length[1], 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next message or the end; the protocol's own pings are passed over.
    pub(crate) async fn hear(&mut self) -> Heard {
        let heard = async {
            loop {
                let (kind, length) = (self.0.read_u8().await.unwrap(), self.0.read_u8().await.unwrap());
                let length = match length {
                    126 => usize::from(self.0.read_u16().await.unwrap()),
                    short => usize::from(short),
                };
                let mut payload = vec![0; length];
                self.0.read_exact(&mut payload).await.unwrap();
                match kind & 0x0f {
                    1 => return Heard::Message(serde_json::from_slice(&payload).unwrap()),
                    8 if length < 2 => return Heard::Close(1005, String::new()),
                    8 => {
                        let code = u16::from_be_bytes([payload[0], payload[1]]);
                        return Heard::Close(code, String::from_utf8_lossy(&payload[2..]).into_owned());
                    }
                    _ => {}
                }
            }
        };
        timeout(Duration::from_secs(60), heard).await.expect("a message")
    }

    /// The next message of a type.
    pub(crate) async fn hear_of(&mut self, kind: &str) -> Value {
        loop {
            match self.hear().await {
                Heard::Message(told) if told["type"] == kind => return told,
                Heard::Message(_) => {}
                end @ Heard::Close(..) => panic!("{kind} was to come, not {end:?}"),
            }
        }
    }

    /// Asks for a task, which there is, and gives its id.
    pub(crate) async fn take(&mut self) -> String {
        self.say(&json!({"type": "task_request"})).await;
        let told = self.hear_of("task_assignment").await;
        told["task"]["task_id"].as_str().unwrap().to_owned()
    }

    /// Tells that a task is done; gives what is acknowledged.
    pub(crate) async fn complete(&mut self, task: &str) -> Value {
        let told = json!({"type": "task_completed", "task_id": task, "result_data": result(), "execution_time": 1.5});
        self.say(&told).await;
        self.hear_of("task_completion_ack").await
    }
}
