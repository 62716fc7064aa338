//! A client's WebSocket by hand (RFC 6455), as far as chaos needs one.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a message is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open socket. All of its methods answer nothing once it is cut, or nothing comes.
pub(super) struct Socket(TcpStream);

impl Socket {
    /// Opens one at a path of a server.
    pub(super) async fn open(url: &str, path: &str) -> Option<Self> {
        timeout(PATIENCE, async {
            let address = url.strip_prefix("http://")?;
            let mut stream = TcpStream::connect(address).await.ok()?;
            let head = format!(
                "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.ok()?;
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") {
                read.push(stream.read_u8().await.ok()?);
            }
            read.starts_with(b"HTTP/1.1 101 ").then_some(Self(stream))
        })
        .await
        .ok()
        .flatten()
    }

    /// Says a text.
    pub(super) async fn say(&mut self, text: &str) -> Option<()> {
        let length = u16::try_from(text.len()).ok()?.to_be_bytes();
        let mut frame = vec![0x81, 0x80 | 126, length[0], length[1], 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        timeout(PATIENCE, self.0.write_all(&frame)).await.ok()?.ok()
    }

    /// The next text; pings are passed over.
    pub(super) async fn hear(&mut self) -> Option<String> {
        let heard = async {
            loop {
                let (kind, length) = (self.0.read_u8().await.ok()?, self.0.read_u8().await.ok()?);
                let length = match length & 0x7f {
                    126 => u64::from(self.0.read_u16().await.ok()?),
                    127 => self.0.read_u64().await.ok()?,
                    short => u64::from(short),
                };
                let mut payload = vec![0; usize::try_from(length).ok()?];
                self.0.read_exact(&mut payload).await.ok()?;
                match kind & 0x0f {
                    1 => return String::from_utf8(payload).ok(),
                    8 => return None,
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, heard).await.ok().flatten()
    }

    /// The next message of one of these types.
    pub(super) async fn hear_of(&mut self, kinds: &[&str]) -> Option<Value> {
        loop {
            let told: Value = serde_json::from_str(&self.hear().await?).ok()?;
            if kinds.iter().any(|kind| told["type"] == *kind) {
                return Some(told);
            }
        }
    }
}
