//! The patience that the old server had with a client that says nothing: five minutes.
//!
//! A client whose sockets failed speaks over HTTP alone, and asks for nothing while it runs two tasks. Workers of Baton lose what they
//! hold after `leases.heartbeat_timeout_seconds`. So while a client holds tasks, this server speaks for it, until what is left of the
//! five minutes is one such timeout.

use std::time::Duration;

use baton_api::heartbeat::HeartbeatRequest;
use baton_heartbeat_worker::beat;
use baton_http::ApiError;
use baton_model::{Directive, Timestamp};

use crate::client::{self, Client};
use crate::drift::Drift;

/// How long a client may say nothing before it loses what it holds.
const PATIENCE: Duration = Duration::from_secs(300);

/// Hears a client: whatever it asks is a sign of life.
pub(crate) async fn hear(drift: &Drift, client: &Client) -> Result<Directive, ApiError> {
    let answer = beat(&drift.app, &client.caller, client.id.clone(), HeartbeatRequest::default()).await?;
    let before = drift.present.speaks(&client.id, drift.app.now());
    resume(drift, client, before).await;
    Ok(answer.directive)
}

/// Watches over a client that was given a task, until it holds none or has been silent for too long.
pub(crate) fn begin(drift: &Drift, client: &Client) {
    let timeout = drift.app.leases.heartbeat_timeout;
    if timeout >= PATIENCE || !drift.present.watch(&client.id) {
        return;
    }
    let (drift, client) = (drift.clone(), client.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = drift.app.shutdown.wait() => {}
            () = watch(&drift, &client, PATIENCE - timeout) => {}
        }
        drift.present.unwatch(&client.id);
    });
}

/// Watches over a client that speaks if it holds tasks and nobody may do so: it has been silent for so long that the watch has ended,
/// or this process has not heard it before.
async fn resume(drift: &Drift, client: &Client, spoke_before: Option<Timestamp>) {
    let app = &drift.app;
    let watched_for = PATIENCE.saturating_sub(app.leases.heartbeat_timeout);
    if watched_for.is_zero() || spoke_before.is_some_and(|at| app.now().since(at) < watched_for) {
        return;
    }
    match app.store.worker(&client.id).await {
        Ok(detail) if detail.active > 0 => begin(drift, client),
        Ok(_) => {}
        // Its own word counts all the same.
        Err(error) => {
            tracing::warn!(error = error.report(), "it is not known whether a client that speaks holds tasks")
        }
    }
}

/// Watches over all clients that hold tasks: those of a process before this one may be silent yet.
pub(crate) fn begin_all(drift: &Drift) {
    let (timeout, drift) = (drift.app.leases.heartbeat_timeout, drift.clone());
    // A document is made of the routes where nothing runs.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if timeout >= PATIENCE {
        return;
    }
    runtime.spawn(async move {
        loop {
            match client::all(&drift).await {
                Ok(all) => {
                    for found in all.iter().filter(|found| found.detail().active > 0) {
                        let client = found.client();
                        let spoke_at = found.detail().worker.last_beat_at;
                        drift.present.spoke(&client.id, spoke_at.unwrap_or_else(|| drift.app.now()));
                        begin(&drift, &client);
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = error.report(), "clients that hold tasks could not be looked up");
                }
            }
            tokio::select! {
                () = drift.app.shutdown.wait() => return,
                () = tokio::time::sleep(drift.app.leases.heartbeat_interval) => {}
            }
        }
    });
}

async fn watch(drift: &Drift, client: &Client, patience: Duration) {
    let app = &drift.app;
    loop {
        tokio::time::sleep(app.leases.heartbeat_interval).await;
        let holds = match app.store.worker(&client.id).await {
            Ok(detail) => detail.active > 0,
            Err(error) => {
                tracing::warn!(
                    error = error.report(),
                    "a client that is watched over could not be looked up"
                );
                continue;
            }
        };
        let silent_for = drift.present.spoke_at(&client.id).map(|at| app.now().since(at));
        if !holds || silent_for.is_none_or(|silent| silent >= patience) {
            return;
        }
        let request = HeartbeatRequest::default();
        if let Err(error) = beat(app, &client.caller, client.id.clone(), request).await {
            tracing::warn!(
                detail = error.problem().detail,
                "a client that is watched over could not be spoken for"
            );
        }
    }
}
