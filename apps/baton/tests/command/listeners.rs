//! Many who listen to events at once: the server's memory stays bounded, those that keep up miss nothing, and a restart leaves no gap.
//!
//! `BATON_TEST_LISTENERS=1000 cargo test --release -p baton --test command listeners -- --nocapture` has a thousand of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::{World, until};

/// How many more megabytes the server may take for all of them.
const MORE_MEGABYTES: u64 = 150;

/// How long all of it may take; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(120);

const MANY: &[(&str, &str)] = &[("BATON_SERVER_MAX_LISTENERS", "2000")];

/// One who listens, and comes again from where it was when it is cut off.
struct Listener {
    address: String,
    /// The ids of the events that it has heard.
    heard: Vec<u64>,
    last: Option<u64>,
    began: Arc<AtomicUsize>,
}

impl Listener {
    /// Listens until it has heard so many events.
    async fn hear(mut self, wanted: usize) -> Vec<u64> {
        while self.heard.len() < wanted {
            if self.connection(wanted).await.is_none() {
                // The server is away.
                sleep(Duration::from_millis(50)).await;
            }
        }
        self.heard
    }

    /// One connection, to its end; none if it broke off.
    async fn connection(&mut self, wanted: usize) -> Option<()> {
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        let last = self.last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let head = format!("GET /v1/events HTTP/1.1\r\nhost: localhost\r\n{last}\r\n");
        stream.write_all(head.as_bytes()).await.ok()?;
        let mut reader = BufReader::with_capacity(2_048, stream);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut text = String::new();
        while self.heard.len() < wanted {
            text.push_str(&chunk(&mut reader).await?);
            while let Some((block, rest)) = text.split_once("\n\n") {
                self.take(block);
                text = rest.to_owned();
            }
        }
        Some(())
    }

    fn take(&mut self, block: &str) {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let id: Option<u64> = field("id:").and_then(|id| id.parse().ok());
        if field("event:").is_none()
            && let (Some(id), Some(_)) = (id, field("data:"))
        {
            self.heard.push(id);
        }
        if self.last.is_none() {
            self.began.fetch_add(1, Ordering::Relaxed);
        }
        self.last = id.or(self.last);
    }
}

/// The next chunk of a body; none at its end.
async fn chunk(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut size = String::new();
    reader.read_line(&mut size).await.ok()?;
    let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
    let mut bytes = vec![0; size + 2];
    reader.read_exact(&mut bytes).await.ok()?;
    bytes.truncate(size);
    String::from_utf8(bytes).ok()
}

/// How many megabytes of memory a process holds.
fn megabytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}

#[test]
fn all_that_listen_hear_everything_once_within_bounded_memory_and_over_a_restart() {
    let listeners = std::env::var("BATON_TEST_LISTENERS").map_or(40, |text| text.parse().unwrap());
    let mut world = World::new(MANY);
    let address = world.url.strip_prefix("http://").unwrap().to_owned();
    let create = |world: &World, tasks: usize| {
        let tasks: Vec<_> = (0..tasks).map(|n| json!({"type": "t", "params": {"n": n}})).collect();
        let (status, answer) = world.ask("POST", "/v1/tasks/batch", &json!({"tasks": tasks}).to_string());
        assert_eq!(status, 201, "{answer}");
    };
    // What the first requests take is not the listeners'.
    create(&world, 100);
    let before = megabytes(world.server_process());

    let runtime = Runtime::new().unwrap();
    let began = Arc::new(AtomicUsize::new(0));
    // More happens than the ring of the server holds.
    let (first, second) = (1_200, 300);
    let mut all = JoinSet::new();
    for _ in 0..listeners {
        let began = Arc::clone(&began);
        let listener = Listener { address: address.clone(), heard: Vec::new(), last: None, began };
        all.spawn_on(listener.hear(first + second), runtime.handle());
    }
    until("all listen", || (began.load(Ordering::Relaxed) == listeners).then_some(()));
    for _ in 0..first / 100 {
        create(&world, 100);
    }
    std::thread::sleep(Duration::from_millis(500));
    let more = megabytes(world.server_process()).saturating_sub(before);
    println!("{listeners} listeners: {more} MB more");
    assert!(more < MORE_MEGABYTES, "{more} MB more for {listeners} listeners");

    world.end_server();
    world.restart_server();
    create(&world, second);
    let heard =
        runtime.block_on(async { timeout(PATIENCE, all.join_all()).await }).expect("all have heard all");
    let ids: BTreeSet<u64> = heard[0].iter().copied().collect();
    assert_eq!(ids.len(), first + second, "one was told twice");
    assert!(heard[0].is_sorted());
    for (n, of_one) in heard.iter().enumerate() {
        assert!(*of_one == heard[0], "listener {n} has heard something else than the first");
    }
    let (_, page) = world.get("/v1/events?after=0&wait=0s&limit=100");
    let known: Vec<_> =
        page["items"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect();
    assert!(known.iter().all(|id| !ids.contains(id)), "they began after the first hundred");
}
