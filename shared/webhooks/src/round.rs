//! Sending in rounds, where nothing lives between them: what is due is tried within a time, and the rest in the next round.

use std::time::Duration;

use baton_alerts::Webhook;
use baton_http::App;
use baton_store::StoreError;
use futures::StreamExt as _;
use futures::stream;
use tokio::time::Instant;

use crate::hook::Hook;
use crate::http::{LONGEST, Sender};

/// To how many webhooks it is sent at once.
const AT_ONCE: usize = 16;

/// What the store may take besides, before and after messages are under way.
const KEEPING: Duration = Duration::from_secs(3);

/// Sends to all webhooks what is due, until all of it was tried or what would be begun could not end before `end`; and as long as this
/// process is the one that sends, as it was told in a term. Says whether there may be more.
///
/// # Errors
/// If the webhooks cannot be read. What fails of one of them is told in the log, and holds up no other.
pub async fn send_within(app: &App, sender: &Sender, term: u64, end: Instant) -> Result<bool, StoreError> {
    let mut webhooks: Vec<Webhook> =
        app.notices.webhooks(&*app.store).await?.into_iter().map(|(webhook, _)| webhook).collect();
    // Others are the first the next time: slow ones must not hold up the same ones for ever.
    if let Some(turn) = (app.now().as_millis().unsigned_abs() / 60_000).checked_rem(webhooks.len() as u64) {
        webhooks.rotate_left(turn as usize);
    }
    let each = |webhook: Webhook| async move {
        let name = webhook.name.clone();
        let may_go_on =
            || Instant::now() + LONGEST + KEEPING <= end && app.notices.still_holds(term, app.now());
        let hook = Hook::of_round(app.clone(), webhook, sender.clone());
        hook.within(may_go_on).await.unwrap_or_else(|error| {
            tracing::warn!(webhook = %name, error = error.report(), "a webhook's messages cannot be read or kept");
            true
        })
    };
    let mut left = stream::iter(webhooks).map(each).buffer_unordered(AT_ONCE);
    let mut more = false;
    while let Some(is_left) = left.next().await {
        more |= is_left;
    }
    Ok(more)
}
