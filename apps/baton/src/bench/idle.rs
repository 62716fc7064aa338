//! What a server takes that has little to do: workers that wait for work, and workers that only beat.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::bench::client::Client;
use crate::bench::phases::Setup;
use crate::bench::report::PhaseReport;
use crate::exit::Failure;
use crate::process::Processor;

/// Where nothing waits.
const EMPTY: &str = "empty";
/// How long a claim waits, as that of `baton worker run`.
const WAIT_SECONDS: u32 = 20;
/// How often a worker beats, as `baton worker run` does by the server's default timeout.
const BEAT_EVERY: Duration = Duration::from_secs(20);
/// How many connect at once: more than a listening socket lets wait would be turned away.
const AT_ONCE: u32 = 100;
/// How long a server comes to rest before it is measured.
const REST: Duration = Duration::from_secs(2);

/// Has `workers` workers wait, each with a connection of its own, for a queue that stays empty.
pub(crate) async fn waiting(
    setup: &Setup,
    workers: u32,
    length: Duration,
    processor: impl Fn() -> Option<Processor>,
) -> Result<PhaseReport, Failure> {
    let mut waiting: JoinSet<Result<(), Failure>> = JoinSet::new();
    for number in 0..workers {
        let mut client = setup.client(number, EMPTY).await?;
        waiting.spawn(async move {
            loop {
                if client.claim_waiting(WAIT_SECONDS).await?.is_some() {
                    return Err(Failure::failed("a claim of an empty queue has a task"));
                }
            }
        });
        if number % AT_ONCE == AT_ONCE - 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    tokio::time::sleep(REST.min(length)).await;
    let (before, begun) = (processor(), Instant::now());
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        Some(ended) = waiting.join_next() => ended.map_err(|error| Failure::failed(error.to_string()))??,
    }
    let elapsed = begun.elapsed();
    let took = Processor::between(before, processor());
    waiting.shutdown().await;
    Ok(PhaseReport::new(&format!("waiting {workers}"), elapsed, &[]).with_processor(took))
}

/// Has `workers` workers beat, each every 20 s, evenly spread, over the connections of the run.
pub(crate) async fn beating(
    setup: &Setup,
    workers: u32,
    length: Duration,
    processor: impl Fn() -> Option<Processor>,
) -> Result<PhaseReport, Failure> {
    let connections = setup.clients.min(workers);
    let share = move |number: u32| workers / connections + u32::from(number < workers % connections);
    let mut entering = JoinSet::new();
    for number in 0..connections {
        let mut client = setup.client(number, EMPTY).await?;
        entering.spawn(async move {
            for worker in 0..share(number) {
                client.beat(worker).await?;
            }
            // Their first heartbeats are not measured.
            client.times.clear();
            Ok::<_, Failure>((client, share(number)))
        });
    }
    let mut beating = Vec::new();
    while let Some(entered) = entering.join_next().await {
        beating.push(entered.map_err(|error| Failure::failed(error.to_string()))??);
    }
    tokio::time::sleep(REST.min(length)).await;
    let (before, begun) = (processor(), Instant::now());
    let mut playing: JoinSet<Result<Client, Failure>> = JoinSet::new();
    for (mut client, workers) in beating {
        playing.spawn(async move {
            // The times are set out before: a heartbeat that took long delays none.
            let pause = BEAT_EVERY / workers;
            let mut due = begun + pause.mul_f64(rand::random());
            let mut worker = 0;
            while due.saturating_duration_since(begun) < length {
                tokio::time::sleep_until(due.into()).await;
                client.beat(worker).await?;
                worker = (worker + 1) % workers;
                due += pause;
            }
            Ok(client)
        });
    }
    let mut clients = Vec::new();
    while let Some(played) = playing.join_next().await {
        clients.push(played.map_err(|error| Failure::failed(error.to_string()))??);
    }
    tokio::time::sleep_until((begun + length).into()).await;
    let elapsed = begun.elapsed();
    let took = Processor::between(before, processor());
    Ok(PhaseReport::new(&format!("beating {workers}"), elapsed, &clients).with_processor(took))
}
