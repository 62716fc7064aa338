//! Work that waits and that no live worker takes is looked for (`baton_http::untaken`), as long as a server runs.

use std::time::Duration;

use baton_http::App;
use baton_http::untaken::look_for_untaken;
use baton_runtime::Shutdown;

/// How often it is looked at, where asking costs nothing. What nobody takes is told within 30 seconds.
const LOOK: Duration = Duration::from_secs(10);

/// The same where each question is paid for.
const PAID_LOOK: Duration = Duration::from_secs(60);

/// Looks until `shutdown` begins.
pub async fn run_untaken(app: App, shutdown: Shutdown) {
    // Statistics that show each write at once are those of a file of this machine.
    let is_file = app.store.capabilities().fresh_lists;
    let pause = if is_file { LOOK } else { PAID_LOOK };
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(error) = look_for_untaken(&app, is_file).await {
            tracing::warn!(
                error = error.report(),
                "whether work waits that no worker takes could not be seen"
            );
        }
    }
}
