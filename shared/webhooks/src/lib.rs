//! Sends messages to webhooks, beside a server or in rounds of a function.
//!
//! Each webhook has a task of its own, so that a slow receiver holds nobody else up. What happened to tasks it reads from the order
//! of all events, behind a position that is kept with what was read: over a restart nothing is lost, and what was under way is
//! sent again, with the same id. What waits is kept in the store and not in memory. `docs/alerts.md` is for users.

mod hook;
mod http;
mod round;

use std::collections::BTreeMap;
use std::time::Duration;

use baton_alerts::Webhook;
use baton_http::App;
use baton_model::GroupName;
use baton_runtime::Shutdown;
use tokio::task::JoinHandle;

use hook::Hook;
pub use http::Sender;
pub use round::send_within;

/// How often it is looked whether webhooks have changed, besides being told.
const LOOK: Duration = Duration::from_secs(60);

/// Sends until `shutdown` begins. `private`: also to this machine and to private networks.
pub async fn run_webhooks(app: App, private: bool, shutdown: Shutdown) {
    // The roots of TLS are read once there is somebody to send to.
    let mut sender: Option<Sender> = None;
    let mut changes = app.notices.hear_changes();
    let mut tasks: BTreeMap<GroupName, (Webhook, JoinHandle<()>)> = BTreeMap::new();
    loop {
        changes.mark_unchanged();
        let all = app.notices.webhooks(&*app.store).await;
        let needed = all.as_ref().is_ok_and(|all| !all.is_empty() || !tasks.is_empty());
        let sends = needed && holds(&app).await;
        match all {
            // Another server does, or there are none.
            Ok(_) if !sends => std::mem::take(&mut tasks).into_values().for_each(|(_, task)| task.abort()),
            Ok(all) => {
                if sender.is_none() {
                    let opened = Sender::new(private);
                    sender = opened.map_err(|why| tracing::error!(why, "no webhook can be sent to")).ok();
                }
                if let Some(sender) = &sender {
                    renew(&app, sender, &mut tasks, all.into_iter().map(|(webhook, _)| webhook).collect());
                }
            }
            Err(error) => tracing::warn!(error = error.report(), "webhooks could not be read"),
        }
        tokio::select! {
            biased;
            () = shutdown.wait() => break,
            _ = changes.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    // What is under way is sent again by the next start.
    tasks.into_values().for_each(|(_, task)| task.abort());
}

/// Whether it is this process that sends; not if that is not known for longer than it was told to, as another may.
async fn holds(app: &App) -> bool {
    match app.notices.holds(app).await {
        Ok(term) => term.is_some(),
        Err(error) => {
            tracing::warn!(error = error.report(), "it is not known which server sends to webhooks");
            false
        }
    }
}

/// Has a task for each webhook as it is now.
fn renew(
    app: &App,
    sender: &Sender,
    tasks: &mut BTreeMap<GroupName, (Webhook, JoinHandle<()>)>,
    webhooks: Vec<Webhook>,
) {
    let stands = |known: &Webhook| webhooks.contains(known);
    tasks.retain(|_, (known, task)| {
        let stays = stands(known) && !task.is_finished();
        if !stays {
            task.abort();
        }
        stays
    });
    for webhook in webhooks {
        if !tasks.contains_key(&webhook.name) {
            let hook = Hook::new(app.clone(), webhook.clone(), sender.clone());
            tasks.insert(webhook.name.clone(), (webhook, tokio::spawn(hook.run())));
        }
    }
}
