//! The reaper's rounds: a loop for a server, and one round within a time for a schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_http::App;
use baton_model::LossReason;
use baton_runtime::Shutdown;
use baton_store::{Reap, StoreError, Waiting};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use crate::removal::Removal;

/// How many tasks are taken back in one command: few enough that other commands do not wait long behind it.
const BATCH: u32 = 256;

/// How long a round of a server may take tasks back; the next one goes on where it stopped.
const ROUND: Duration = Duration::from_secs(60);

/// How often a server tells how long tasks wait.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Tasks taken back.
    pub taken: u64,
    /// Workers that held some of these, no longer beat, and have not said that they end.
    pub workers_lost: u64,
    /// Finished tasks, log lines, workers and keys removed.
    pub removed: u64,
    /// Whether time or bounds ran out before the work did.
    pub more: bool,
}

/// Makes a round every `interval` until `shutdown` begins; what is left of the interval goes to removals. A round that fails
/// is logged, and the next one tried.
pub async fn run_reaper(app: App, interval: Duration, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = Instant::now();
    let mut removal = Removal::default();
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            _ = ticks.tick() => {}
        }
        let round = tokio::select! {
            biased;
            // A store commits a command whole or not at all, also one whose answer nobody waits for.
            () = shutdown.wait() => return,
            round = server_round(&app, interval, &mut removal) => round,
        };
        match round {
            Ok(round) if round.taken + round.removed > 0 => tracing::debug!(
                taken = round.taken,
                workers_lost = round.workers_lost,
                removed = round.removed,
                more = round.more,
                "the reaper made its round"
            ),
            Ok(_) => {}
            Err(error) => tracing::warn!(
                error = error.report(),
                "the reaper could not make its round and will try again"
            ),
        }
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            let found = tokio::select! {
                biased;
                () = shutdown.wait() => return,
                found = waiting(&app) => found,
            };
            if let Some(Waiting { longest: Some((queue, age)), .. }) = found {
                let oldest_ready_seconds = age.as_secs_f64();
                tracing::debug!(oldest_ready_seconds, oldest_ready_queue = %queue, "tasks wait");
            }
        }
    }
}

/// A server's round. The next one, which takes tasks back, does not wait for removals.
async fn server_round(app: &App, interval: Duration, removal: &mut Removal) -> Result<Round, StoreError> {
    let began = Instant::now();
    let mut round = Round::default();
    take_back(app, began + ROUND, &mut round).await?;
    removal.until(began + interval, app, &mut round).await?;
    Ok(round)
}

/// One round: takes back what is lost, then removes what is past its keeping. It begins no command after `budget`.
///
/// # Errors
/// The store's failures; what was done before them stays done.
pub async fn reap_within(app: &App, budget: Duration) -> Result<Round, StoreError> {
    let deadline = Instant::now() + budget;
    let mut round = Round::default();
    take_back(app, deadline, &mut round).await?;
    if Instant::now() >= deadline {
        return Ok(Round { more: true, ..round });
    }
    Removal::default().until(deadline, app, &mut round).await?;
    Ok(round)
}

/// Takes back what is lost, until all is or the time is over.
async fn take_back(app: &App, deadline: Instant, round: &mut Round) -> Result<(), StoreError> {
    let mut lost = BTreeSet::new();
    loop {
        let reap = Reap { watch: app.timekeeper.watch(None), limit: BATCH, worker: None, queue: None };
        let report = app.store.reap(reap).await?;
        report.taken.iter().for_each(crate::log);
        round.taken += report.taken.len() as u64;
        let silent = report
            .taken
            .into_iter()
            .filter(|taken| taken.reason == LossReason::HeartbeatMissed && !taken.worker_gone);
        lost.extend(silent.map(|taken| taken.worker));
        round.workers_lost = lost.len() as u64;
        round.more = report.more;
        if !report.more || Instant::now() >= deadline {
            return Ok(());
        }
    }
}

/// One round of a schedule: logs what it did and how long tasks wait, and that the next one goes on if it could not do
/// all. What it did is its answer; what alarms listen to comes with it, by the names of the metrics.
///
/// # Errors
/// As [`reap_within`].
pub async fn scheduled(
    app: &App,
    budget: Duration,
) -> Result<(Value, BTreeMap<&'static str, f64>), StoreError> {
    // Before the round: one that has much to do must not hide that tasks wait.
    let waiting = waiting(app).await;
    let round = reap_within(app, budget).await?;
    let Round { taken, workers_lost, removed, more } = round;
    let mut gauges = BTreeMap::from([("WorkersLost", workers_lost as f64)]);
    gauges.extend(waiting.as_ref().map(|waiting| ("OldestReadySeconds", seconds(waiting))));
    let queue = waiting.as_ref().and_then(|waiting| waiting.longest.as_ref()).map(|(queue, _)| queue);
    let oldest_ready_queue = queue.map(tracing::field::display);
    let oldest_ready_seconds = waiting.as_ref().map(seconds);
    // More places than one look has: they are looked at in turns.
    let places_unseen = waiting.as_ref().map(|waiting| waiting.unseen).filter(|unseen| *unseen > 0);
    tracing::info!(
        taken,
        workers_lost,
        removed,
        more,
        oldest_ready_seconds,
        oldest_ready_queue,
        places_unseen,
        "the reaper made its round"
    );
    if more {
        tracing::warn!("the reaper's time was over before its work; the next schedule goes on");
    }
    Ok((json!(round), gauges))
}

/// How long tasks wait. That it cannot be told spoils no round.
async fn waiting(app: &App) -> Option<Waiting> {
    match app.store.waiting(app.now()).await {
        Ok(waiting) => Some(waiting),
        Err(error) => {
            tracing::warn!(error = error.report(), "the reaper could not see how long tasks wait");
            None
        }
    }
}

/// The longest wait; nothing if no task is ready.
fn seconds(waiting: &Waiting) -> f64 {
    waiting.longest.as_ref().map_or(0.0, |(_, age)| age.as_secs_f64())
}
