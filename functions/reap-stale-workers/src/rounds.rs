//! The reaper's rounds: a loop for a server, and one round within a time for a schedule.

use std::time::Duration;

use baton_http::App;
use baton_runtime::Shutdown;
use baton_store::{Purge, Reap, StoreError};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

/// How many tasks are taken back, and how many things of each kind removed, in one command: few enough that other
/// commands do not wait long behind it.
const BATCH: u32 = 256;

/// How many batches of removals one round makes, so that a mountain of old tasks is cleared away by and by.
const PURGES: u32 = 4;

/// How long a round of a server may last; the next one goes on where it stopped.
const ROUND: Duration = Duration::from_secs(60);

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Tasks taken back.
    pub taken: u64,
    /// Finished tasks, log lines, workers and keys removed.
    pub removed: u64,
    /// Whether time or bounds ran out before the work did.
    pub more: bool,
}

/// Makes a round every `interval` until `shutdown` begins. A round that fails is logged, and the next one tried.
pub async fn run_reaper(app: App, interval: Duration, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
            round = reap_within(&app, ROUND) => round,
        };
        match round {
            Ok(round) if round.taken + round.removed > 0 => tracing::debug!(
                taken = round.taken,
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
    }
}

/// One round: takes back what is lost, then removes a bounded number of things past their keeping. It begins no command
/// after `budget`.
///
/// # Errors
/// The store's failures; what was done before them stays done.
pub async fn reap_within(app: &App, budget: Duration) -> Result<Round, StoreError> {
    let deadline = Instant::now() + budget;
    let mut round = Round::default();
    loop {
        let reap = Reap { now: app.now(), limit: BATCH, worker: None, queue: None };
        let report = app.store.reap(reap).await?;
        report.taken.iter().for_each(crate::log);
        round.taken += report.taken.len() as u64;
        if !report.more {
            break;
        }
        if Instant::now() >= deadline {
            return Ok(Round { more: true, ..round });
        }
    }
    for _ in 0..PURGES {
        if Instant::now() >= deadline {
            return Ok(Round { more: true, ..round });
        }
        let report = app.store.purge(purge(app)).await?;
        round.removed += report.tasks
            + report.logs
            + report.workers
            + report.idempotency_keys
            + report.claim_requests
            + report.tokens
            + report.audit_entries;
        round.more = report.more;
        if !report.more {
            break;
        }
    }
    Ok(round)
}

/// One round of a schedule: logs what it did, and that the next one goes on if it could not do all. What it did is its
/// answer.
///
/// # Errors
/// As [`reap_within`].
pub async fn scheduled(app: &App, budget: Duration) -> Result<Value, StoreError> {
    let round = reap_within(app, budget).await?;
    let Round { taken, removed, more } = round;
    if more {
        tracing::warn!(
            taken,
            removed,
            more,
            "the reaper's time was over before its work; the next schedule goes on"
        );
    } else {
        tracing::info!(taken, removed, more, "the reaper made its round");
    }
    Ok(json!(round))
}

fn purge(app: &App) -> Purge {
    Purge {
        limit: BATCH,
        keep_finished: app.retention.finished,
        keep_logs: app.retention.logs,
        keep_workers: app.retention.workers,
        ..Purge::at(app.now())
    }
}
