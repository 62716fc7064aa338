//! A proxy between clients and a server, which cuts connections at random bytes: in the middle of a request, before its answer, or within
//! it. What a client knows of a request whose connection was cut is nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One connection in so many is cut.
const CUT_ONE_IN: u32 = 4;

/// A proxy, until it is dropped.
pub(super) struct Proxy {
    url: String,
    serving: tokio::task::JoinHandle<()>,
    cuts: Arc<AtomicU64>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    /// Before whatever serves at an address, which may be nothing for a while. `calm`: nothing is cut any more.
    pub(super) async fn start(
        target: watch::Receiver<Option<String>>,
        seed: u64,
        calm: Arc<AtomicBool>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&cuts);
        let serving = tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            while let Ok((client, _)) = listener.accept().await {
                let is_cut = !calm.load(Ordering::Relaxed) && random.random_range(0..CUT_ONE_IN) == 0;
                // A request has some hundreds of bytes, an answer as well; a connection serves many of both.
                let after = is_cut.then(|| (random.random_bool(0.5), random.random_range(1..6_000)));
                let (target, cuts) = (target.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    if pass(client, target, after).await {
                        cuts.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { url, serving, cuts }
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How many connections it has cut.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

/// Passes on what comes from both sides until one of them ends, or until so many bytes went one way: the client's, or the server's. Says
/// whether it was cut.
async fn pass(
    mut client: TcpStream,
    mut target: watch::Receiver<Option<String>>,
    after: Option<(bool, usize)>,
) -> bool {
    let address = tokio::time::timeout(Duration::from_secs(10), target.wait_for(Option::is_some)).await;
    let Ok(Ok(address)) = address.map(|found| found.map(|url| url.clone().unwrap_or_default())) else {
        return false;
    };
    let address = address.trim_start_matches("http://").to_owned();
    // Nobody is there while the server starts anew.
    let Ok(mut server) = TcpStream::connect(address).await else { return false };
    let (mut from_client, mut from_server) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    let (mut sent, mut answered) = (0, 0);
    let cut = |of_client: bool, bytes: usize| {
        after.is_some_and(|(which, most)| which == of_client && bytes >= most)
    };
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return false };
                sent += length;
                if cut(true, sent) {
                    // The server has a part of a request, or all of it, and nobody hears its answer.
                    let _sent = server.write_all(&from_client[..length / 2]).await;
                    return true;
                }
                if server.write_all(&from_client[..length]).await.is_err() {
                    return false;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return false };
                answered += length;
                if cut(false, answered) {
                    let _sent = client.write_all(&from_server[..length / 2]).await;
                    return true;
                }
                if client.write_all(&from_server[..length]).await.is_err() {
                    return false;
                }
            }
        }
    }
}
