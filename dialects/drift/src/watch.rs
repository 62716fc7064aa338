//! The patience that the old server had with a client that says nothing: five minutes.
//!
//! A client whose sockets failed speaks over HTTP alone, and asks for nothing while it runs two tasks. Workers of Baton lose what they
//! hold after `leases.heartbeat_timeout_seconds`. So while a client holds tasks, this server speaks for it, until what is left of the
//! five minutes is one such timeout.

use std::time::Duration;

use baton_api::heartbeat::HeartbeatRequest;
use baton_heartbeat_worker::beat;

use crate::client::Client;
use crate::drift::Drift;

/// How long a client may say nothing before it loses what it holds.
const PATIENCE: Duration = Duration::from_secs(300);

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
