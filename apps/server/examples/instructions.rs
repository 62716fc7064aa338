//! What is counted: a server in this process, and one client that creates, claims, beats for and completes tasks, one request at a
//! time over one connection. Run beneath callgrind, which writes what was executed since before at each call of [`baton_phase`];
//! `tests/instructions.py` does so, and holds the figures against those in `tests/instructions.json`. With `bound` behind the folder, the
//! client presents a token that is bound to a project.
//!
//! Without callgrind it does the same, and says how many requests it has sent.

use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use baton_model::{Grant, Label, ProjectId, Scope, Timestamp, Token, TokenId, TokenSecret};
use baton_runtime::{Clock, LocalDoorbell, RandomIds, Settings, Sources, WatchedClock, telemetry};
use baton_server::Server;
use baton_store::{Doorbell, Store, StoredToken};
use baton_store_sqlite::{Options, SqliteStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// In how many parts each kind is counted, and how many requests a part has: with those before so few that the write-ahead log is
/// not folded into the file meanwhile, which would come now to one kind and now to another.
const PARTS: usize = 5;
const COUNTED: usize = 10;

/// And how many are sent before, so that caches are filled and statements compiled.
const BEFORE: usize = 30;

/// Where one part ends and the next begins.
#[inline(never)]
fn baton_phase() {
    black_box(());
}

/// The worker whose turn it is: each of 25 holds few tasks at a time.
fn worker(turn: usize) -> String {
    format!("w-{}", turn % 25)
}

/// One client.
struct Client {
    stream: TcpStream,
    /// The header that presents its token, if it has one.
    token: String,
    answer: Vec<u8>,
    sent: usize,
}

impl Client {
    /// Sends a request and gives the body of its answer, which must be a success.
    async fn send(&mut self, path: &str, body: &str) -> Result<&str, Box<dyn Error>> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.sent += 1;
        self.answer.clear();
        let (head, length) = loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            let Some(end) = self.answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.answer[..end])?;
            if !head.starts_with("HTTP/1.1 2") {
                return Err(
                    format!("{path} was answered with {}", String::from_utf8_lossy(&self.answer)).into()
                );
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            break (end + 4, length.map_or(Ok(0), str::parse::<usize>)?);
        };
        while self.answer.len() < head + length {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the server closed the connection".into());
            }
        }
        Ok(std::str::from_utf8(&self.answer[head..])?)
    }

    async fn create(&mut self, count: usize) -> Result<(), Box<dyn Error>> {
        for _ in 0..count {
            let task = r#"{"type":"render","queue":"frames","params":{"scene":"shot-010","frame":1}}"#;
            self.send("/v1/tasks", task).await?;
        }
        Ok(())
    }

    /// Claims a task by the worker of each turn, and gives their ids.
    async fn claim(&mut self, turns: Range<usize>) -> Result<Vec<String>, Box<dyn Error>> {
        let mut claimed = Vec::with_capacity(turns.len());
        for turn in turns {
            let claim = format!(r#"{{"worker_id":"{}","queues":["frames"],"capacity":100}}"#, worker(turn));
            let answer = self.send("/v1/claims", &claim).await?;
            let id = answer.split_once(r#""id":""#).and_then(|(_, rest)| rest.split_once('"'));
            claimed.push(id.ok_or("nothing was claimed")?.0.to_owned());
        }
        Ok(claimed)
    }

    async fn beat(&mut self, turns: Range<usize>) -> Result<(), Box<dyn Error>> {
        for turn in turns {
            let beat = r#"{"readings":{"vram_free_mib":8000},"capacity":100}"#;
            self.send(&format!("/v1/workers/{}/heartbeat", worker(turn)), beat).await?;
        }
        Ok(())
    }

    /// Completes the tasks that were claimed from a turn on.
    async fn complete(&mut self, first: usize, tasks: &[String]) -> Result<(), Box<dyn Error>> {
        for (turn, id) in (first..).zip(tasks) {
            let done = format!(
                r#"{{"worker_id":"{}","attempt":1,"result":{{"path":"/out/0001.exr","samples":256}}}}"#,
                worker(turn)
            );
            self.send(&format!("/v1/tasks/{id}/complete"), &done).await?;
        }
        Ok(())
    }
}

/// A token that is bound to a project.
fn bound(now: Timestamp) -> Result<(StoredToken, TokenSecret), Box<dyn Error>> {
    let id = TokenId::from_bytes([7; 16]);
    let secret = TokenSecret::new(id, [7; TokenSecret::BYTES]);
    let token = Token {
        id,
        name: "film".parse::<Label>()?,
        grant: Grant {
            scopes: [Scope::Producer, Scope::Worker].into(),
            queues: [].into(),
            project: Some("film".parse::<ProjectId>()?),
        },
        requests_per_second: None,
        created_at: now,
        created_by: None,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    Ok((StoredToken { token, digest: secret.digest() }, secret))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("expected the folder for the database, got nothing")?;
    // A round of the reaper among what is counted would be counted, too: on a slow machine there was one, 28,000 instructions a request.
    let seldom = ("--reaper", "reaper.interval_seconds", "3600");
    let flags = vec![(seldom.0.to_owned(), seldom.1.to_owned(), seldom.2.to_owned())];
    let mut settings = Settings::load(&Sources { flags, ..Sources::default() })?;
    settings.server.listen = "127.0.0.1:0".parse()?;
    let _logs = telemetry::start(&settings.log)?;
    let clock = Arc::new(WatchedClock::new());
    let doorbell = LocalDoorbell::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let options = Options { policy: settings.leases, ..Options::default() };
    let rung = Arc::clone(&doorbell) as Arc<dyn Doorbell>;
    let file = std::path::Path::new(&folder).join("baton.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&file, options, rung)?);
    let token = match std::env::args().nth(2).as_deref() {
        None => String::new(),
        Some("bound") => {
            let (stored, secret) = bound(clock.now())?;
            store.create_token(stored).await?;
            format!("authorization: Bearer {}\r\n", secret.reveal())
        }
        Some(other) => return Err(format!("expected nothing or bound, got {other}").into()),
    };
    let server = Server::start(&settings, store, doorbell, clock, Arc::new(RandomIds)).await?;
    let stream = TcpStream::connect(server.addr()).await?;
    stream.set_nodelay(true)?;
    let mut client = Client { stream, token, answer: Vec::new(), sent: 0 };

    client.create(BEFORE).await?;
    let before = client.claim(0..BEFORE).await?;
    client.beat(0..BEFORE).await?;
    client.complete(0, &before).await?;
    baton_phase();
    for _ in 0..PARTS {
        client.create(COUNTED).await?;
        baton_phase();
    }
    let mut claimed = Vec::new();
    for part in 0..PARTS {
        claimed.push(client.claim(part * COUNTED..(part + 1) * COUNTED).await?);
        baton_phase();
    }
    for (part, tasks) in claimed.iter().enumerate() {
        client.complete(part * COUNTED, tasks).await?;
        baton_phase();
    }
    for part in 0..PARTS {
        client.beat(part * COUNTED..(part + 1) * COUNTED).await?;
        baton_phase();
    }

    writeln!(std::io::stdout(), "{} requests", client.sent)?;
    server.shutdown().await;
    Ok(())
}
