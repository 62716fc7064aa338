//! Queues with a supply are refilled with the reaper's round on AWS; in a server as soon as claims have come to them, and now and then.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_http::App;
use baton_model::QueueName;
use baton_runtime::Shutdown;
use baton_store::{StoreError, SupplyReport, refill_all, refill_some};
use tokio::time::Instant;

/// How long a server leaves queues alone that it has just looked at: on DynamoDB each look is paid for, and claims come thicker.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a server waits before it looks at all supplies, while claims come to such queues: what it hears of is claims alone.
const SOON: Duration = Duration::from_secs(1);

/// The same while none come: another server may have set a supply.
const LATER: Duration = Duration::from_secs(5);

/// For how long after a claim that is so.
const LATELY: Duration = Duration::from_secs(60);

/// Refills all queues that have a supply, until `deadline`. Says how many tasks were created, and whether something is left to be done.
///
/// # Errors
/// What the store fails with when it is asked for the supplies.
pub(crate) async fn run(app: &App, deadline: Instant) -> Result<SupplyReport, StoreError> {
    let report = refill_all(&*app.store, || app.now(), || Instant::now() >= deadline, tell).await?;
    log(&report);
    Ok(report)
}

async fn refill(app: &App, queues: BTreeSet<QueueName>) {
    log(&refill_some(&*app.store, queues, || app.now(), tell).await);
}

fn tell(queue: &QueueName, error: &StoreError) {
    tracing::warn!(%queue, error = error.report(), "a queue could not be refilled and will be tried again");
}

fn log(report: &SupplyReport) {
    if report.created > 0 {
        tracing::debug!(created = report.created, "queues were refilled");
    }
}

/// Refills queues that have a supply, until `shutdown` begins. Any number of servers may do so.
pub async fn run_supplies(app: App, shutdown: Shutdown) {
    let mut looked: Option<Instant> = None;
    let mut heard_at: Option<Instant> = None;
    loop {
        let is_busy = heard_at.is_some_and(|at| at.elapsed() < LATELY);
        let look_at = looked.map_or_else(Instant::now, |at| at + if is_busy { SOON } else { LATER });
        let heard = tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep_until(look_at) => None,
            heard = app.doorbell.supplied().heard() => Some(heard),
        };
        let work = async {
            match heard {
                Some(queues) => {
                    heard_at = Some(Instant::now());
                    // What fails is tried again with all others, soon.
                    refill(&app, queues).await;
                }
                None => {
                    looked = Some(Instant::now());
                    if let Err(error) = run(&app, Instant::now() + LATER).await {
                        tracing::warn!(
                            error = error.report(),
                            "supplies could not be looked at and will be tried again"
                        );
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        };
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = work => {}
        }
    }
}
