//! Tasks that arrive by themselves, at a given rate and at random times, while workers wait for them.
//!
//! Clients that send their next request once the last one is answered send less while the server is slow, and so measure little of it. Here
//! the times of the arrivals are drawn before (gaps are exponential: a Poisson process), and what is told is how long after its time each
//! create was answered, and how long after that answer a waiting worker had the task.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::bench::Until;
use crate::bench::client::{Client, Operation};
use crate::bench::phases::{Setup, check};
use crate::bench::report::PhaseReport;
use crate::exit::Failure;

/// The queue of tasks that arrive.
const ARRIVING: &str = "arriving";
/// How long a worker's claim waits for work.
const WAIT_SECONDS: u32 = 2;
/// How many arrivals may be ahead of those who send them: none is left out, the times stay as they were drawn.
const AHEAD: usize = 100_000;

/// Of each client: the task, and when the answer that names it was there.
type Seen = Vec<(String, Instant)>;

/// Has tasks arrive for `length`, `rate` a second, half of the connections sending them and half claiming.
pub(crate) async fn arrivals(
    setup: &Setup,
    name: &str,
    rate: f64,
    length: Duration,
) -> Result<PhaseReport, Failure> {
    let senders = (setup.clients / 2).max(1);
    let workers = (setup.clients - setup.clients / 2).max(1);
    let (times, due) = mpsc::channel(AHEAD);
    let due = Arc::new(Mutex::new(due));
    let (created, claimed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let sending = Arc::new(Until::told());
    let mut sides: JoinSet<Result<(Client, Seen, bool), Failure>> = JoinSet::new();
    for number in 0..workers {
        let client = setup.client(number, ARRIVING).await?;
        sides.spawn(work(client, Arc::clone(&sending), Arc::clone(&created), Arc::clone(&claimed)));
    }
    for number in 0..senders {
        let client = setup.client(workers + number, ARRIVING).await?;
        sides.spawn(send(client, Arc::clone(&due), Arc::clone(&created)));
    }
    let begun = Instant::now();
    // The runtime's own clock goes by whole milliseconds.
    let clock = tokio::task::spawn_blocking(move || arrive(&times, rate, begun, length));
    let (mut clients, mut created, mut claims) = (Vec::new(), HashMap::new(), Vec::new());
    let (mut left, mut elapsed) = (senders, length);
    while let Some(side) = sides.join_next().await {
        let (client, seen, sent) = side.map_err(|error| Failure::failed(error.to_string()))??;
        clients.push(client);
        if sent {
            created.extend(seen);
            left -= 1;
            // The workers wait for more than that.
            elapsed = begun.elapsed();
        } else {
            claims.extend(seen);
        }
        if left == 0 {
            sending.end();
        }
    }
    clock.await.map_err(|error| Failure::failed(error.to_string()))?;
    check(&clients)?;
    if claims.len() != created.len() {
        return Err(Failure::failed(format!(
            "{} tasks arrived, and {} were claimed",
            created.len(),
            claims.len()
        )));
    }
    if let Some(client) = clients.first_mut() {
        for (task, at) in claims {
            let answered =
                created.get(&task).ok_or_else(|| Failure::failed(format!("task {task} was not created")))?;
            // A worker may have it before its producer is told that it is there.
            client.note(Operation::Start, at.saturating_duration_since(*answered));
        }
    }
    Ok(PhaseReport::new(name, elapsed, &clients))
}

/// Says when each task arrives, at that time.
fn arrive(times: &mpsc::Sender<Instant>, rate: f64, begun: Instant, length: Duration) {
    let mut next = begun;
    loop {
        // The gap of a Poisson process by inversion: -ln(u) / rate, u in (0, 1].
        let uniform = 1.0 - rand::random::<f64>();
        next += Duration::from_secs_f64(-uniform.ln() / rate);
        if next.saturating_duration_since(begun) >= length {
            return;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        if times.blocking_send(next).is_err() {
            return;
        }
    }
}

/// Creates the task of each arrival, as soon as it may.
async fn send(
    mut client: Client,
    due: Arc<Mutex<mpsc::Receiver<Instant>>>,
    created: Arc<AtomicU64>,
) -> Result<(Client, Seen, bool), Failure> {
    let mut seen = Vec::new();
    loop {
        let next = due.lock().await.recv().await;
        let Some(intended) = next else { return Ok((client, seen, true)) };
        // Before it is sent: a worker that has it must not believe that it has all.
        created.fetch_add(1, Ordering::SeqCst);
        let task = client.create_known().await?;
        let answered = Instant::now();
        client.note(Operation::FromItsTime, answered.saturating_duration_since(intended));
        seen.push((task, answered));
    }
}

/// Claims and completes until all that arrived is done.
async fn work(
    mut client: Client,
    sending: Arc<Until>,
    created: Arc<AtomicU64>,
    claimed: Arc<AtomicU64>,
) -> Result<(Client, Seen, bool), Failure> {
    let mut seen = Vec::new();
    loop {
        let is_over = !sending.go_on();
        if is_over && claimed.load(Ordering::SeqCst) >= created.load(Ordering::SeqCst) {
            return Ok((client, seen, false));
        }
        let wait = if is_over { 0 } else { WAIT_SECONDS };
        if let Some(held) = client.claim_waiting(wait).await? {
            seen.push((held.id.clone(), Instant::now()));
            claimed.fetch_add(1, Ordering::SeqCst);
            client.complete(&held).await?;
        }
    }
}
