//! Bulk commands go on beside the reaper: in a server all the time, on AWS with what its rounds have left of their time.

use std::time::Duration;

use baton_http::App;
use baton_runtime::Shutdown;
use baton_store::StoreError;
use baton_store::bulk::work;
use tokio::time::Instant;

/// How often a server looks for bulk commands. One is begun by its request, so that this only goes on with it.
const EVERY: Duration = Duration::from_secs(1);

/// Goes on with bulk commands until `shutdown` begins. One that stops in between loses nothing: whoever looks next goes on there.
pub async fn run_bulk(app: App, shutdown: Shutdown) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let done = tokio::select! {
            biased;
            () = shutdown.wait() => return,
            done = go_on(&app, None) => done,
        };
        told(done);
    }
}

/// Goes on with bulk commands until none is left, or the time is over; says whether some are. A failure is no reason for the reaper to
/// stop.
pub(crate) async fn within(app: &App, deadline: Instant) -> bool {
    told(go_on(app, Some(deadline)).await)
}

fn told(done: Result<bool, StoreError>) -> bool {
    done.unwrap_or_else(|error| {
        tracing::warn!(error = error.report(), "bulk commands could not go on; they will be tried again");
        false
    })
}

/// Goes on with bulk commands until none is left, or the time is over.
async fn go_on(app: &App, deadline: Option<Instant>) -> Result<bool, StoreError> {
    let now = || app.now();
    let is_time = || deadline.is_none_or(|deadline| Instant::now() < deadline);
    work(&*app.store, &now, &is_time).await
}
