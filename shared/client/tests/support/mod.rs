//! A server whose answers are written down beforehand.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What the server does with one connection.
pub(crate) enum Step {
    /// Reads the request and hangs up.
    HangUp,
    /// Reads the request and says nothing until the test ends.
    Silence,
    /// Answers with this status and body.
    Answer(u16, String),
    /// Says that the answer is there (307).
    Elsewhere(String),
}

pub(crate) struct Script {
    base: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// One connection for each step; after the last, every further one is refused.
    pub(crate) async fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut silent = Vec::new();
            for step in steps {
                let (mut socket, _) = listener.accept().await.unwrap();
                let request = read_request(&mut socket).await;
                log.lock().unwrap().push(request);
                if matches!(step, Step::Silence) {
                    silent.push(socket);
                } else if let Step::Answer(status, body) = step {
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                    );
                    socket.write_all(head.as_bytes()).await.unwrap();
                } else if let Step::Elsewhere(to) = step {
                    let head = format!(
                        "HTTP/1.1 307 X\r\nconnection: close\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
                    );
                    socket.write_all(head.as_bytes()).await.unwrap();
                }
            }
        });
        Self { base, heard }
    }

    pub(crate) fn base(&self) -> String {
        self.base.clone()
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder(&self.base).deadline(Duration::from_secs(10)).build().unwrap()
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn read_request(socket: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = socket.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..count]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]);
            let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            if bytes.len() - end - 4 >= length {
                return String::from_utf8_lossy(&bytes).into_owned();
            }
        }
        assert_ne!(count, 0, "the request breaks off: {}", String::from_utf8_lossy(&bytes));
    }
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)))
        .map(|(_, value)| value)
}
