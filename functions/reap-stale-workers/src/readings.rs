//! Workers whose readings leave their bounds are asked to drain, as the settings' rules say.

use std::time::Duration;

use baton_http::App;
use baton_model::{Directive, Happened, ReadingWatch, Reads, Timestamp, WorkerStatus};
use baton_runtime::Shutdown;
use baton_store::{Direct, Page, StoreError, WorkerDetail};

/// How often workers are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Looks at what workers read, until `shutdown` begins. Without a rule it does nothing.
pub async fn run_readings(app: App, shutdown: Shutdown) {
    if app.readings.is_empty() {
        return;
    }
    let mut watch = ReadingWatch::default();
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if let Err(error) = look_at_readings(&app, &mut watch).await {
            tracing::warn!(error = error.report(), "what workers read could not be looked at");
        }
    }
}

/// Looks once, and asks of workers what the rules say.
///
/// # Errors
/// The store's own failures; what was found before stays.
pub async fn look_at_readings(app: &App, watch: &mut ReadingWatch) -> Result<(), StoreError> {
    let now = app.now();
    let workers = Page::all(|page| app.store.workers(page)).await?;
    let lives = |detail: &&WorkerDetail| {
        let status = detail.worker.status(&app.leases, now);
        matches!(status, WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Stopping)
    };
    let reads: Vec<Reads<'_>> = (workers.iter().filter(lives))
        .map(|WorkerDetail { worker, .. }| Reads {
            worker: &worker.id,
            session: worker.session,
            directive: worker.directive,
            directed: worker.directed.as_ref(),
            readings: &worker.readings,
        })
        .collect();
    for ordered in watch.turn(&app.readings, &reads, now) {
        let (worker, directive) = (ordered.worker, ordered.directive);
        let reason = Some(ordered.why.clone());
        let only_if = Some(ordered.stands);
        let direct = Direct { now, worker: worker.clone(), directive, by: None, reason, only_if };
        let asked = direct.directed();
        match app.store.direct_worker(direct).await {
            Ok(told) if directive == Directive::Run && told.worker.directive == Directive::Run => {
                tracing::info!(%worker, why = ordered.why, "a worker goes on");
                note(app, now, Happened::WorkerResumed { worker, why: ordered.why }).await;
            }
            Ok(told) if directive == Directive::Drain && told.worker.directed.as_ref() == Some(&asked) => {
                tracing::warn!(%worker, why = ordered.why, "a worker drains");
                note(app, now, Happened::WorkerDrained { worker, why: ordered.why }).await;
            }
            Ok(told) => tracing::info!(
                %worker,
                why = ordered.why,
                directive = told.worker.directive.as_str(),
                "a rule for readings asks nothing of a worker: somebody was first"
            ),
            // The next look finds it anew.
            Err(error) => tracing::warn!(%worker, error = error.report(), "a rule could not ask a worker"),
        }
    }
    Ok(())
}

/// Notes for the time line what a rule has asked of a worker. That it cannot be noted changes nothing of that.
async fn note(app: &App, at: Timestamp, happened: Happened) {
    if let Err(error) = app.store.note_happened(at, happened).await {
        tracing::warn!(error = error.report(), "what a rule has asked of a worker could not be noted");
    }
}
