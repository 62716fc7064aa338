//! A round on a schedule, where nothing lives between the rounds: rules are looked at, and messages that are due are sent. Each round
//! begins the hold and gives it up, as the next one may be another process's.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_alerts::{Kind, Rule};
use baton_http::App;
use baton_http::notices::STANDING;
use baton_http::untaken::look_for_untaken;
use baton_store::StoreError;
use baton_webhooks::{Sender, send_within};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::watch::Watch;

/// How much longer than its own end a round holds the looking and sending: it is ended by then, if it has not given that up.
const MARGIN: Duration = Duration::from_secs(3);

/// What a process keeps from round to round.
#[derive(Debug, Default)]
pub struct AlertRounds {
    /// Whether webhooks may lead to this machine and to private networks.
    private: bool,
    /// What sends; none before there was somebody to send to, as the roots of TLS are read for it.
    sender: Mutex<Option<Sender>>,
}

/// What a round tells a function's host: what it did, and nothing that alarms or machines go by.
type Told = (Value, BTreeMap<&'static str, f64>, BTreeMap<String, f64>);

impl AlertRounds {
    /// Rounds whose webhooks may lead to this machine and to private networks, if `private`.
    pub fn new(private: bool) -> Self {
        Self { private, sender: Mutex::default() }
    }

    fn sender(&self) -> Result<Sender, StoreError> {
        let mut known = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*known {
            return Ok(sender.clone());
        }
        let sender = Sender::new(self.private).map_err(|why| StoreError::Internal {
            what: "no webhook can be sent to".to_owned(),
            cause: Some(why.into()),
        })?;
        Ok(known.insert(sender).clone())
    }
}

/// One round: looks at all rules once, and sends what is due within `budget`; what is left is the next round's. While another process
/// looks and sends, it does nothing.
///
/// # Errors
/// The store's own failures; the next round finds the same.
pub async fn scheduled(app: &App, budget: Duration, rounds: &AlertRounds) -> Result<Told, StoreError> {
    let end = Instant::now() + budget;
    let told =
        |held: bool, more: bool| (json!({ "held": held, "more": more }), BTreeMap::new(), BTreeMap::new());
    let rules: Vec<Rule> = app.notices.rules(&*app.store).await?.into_iter().map(|(rule, _)| rule).collect();
    let has_webhooks = !app.notices.webhooks(&*app.store).await?.is_empty();
    if rules.is_empty() && !has_webhooks && app.store.documents(STANDING, None, 1).await?.is_empty() {
        return Ok(told(false, false));
    }
    // The host keeps a fifth of a function's time for what was begun (`shared/lambda`). One that is ended before it gives the hold up
    // must not stop the next rounds for longer than it could have looked itself.
    let longest = budget + budget / 4 + MARGIN;
    let Some(term) = app.notices.holds_for(app, longest).await? else {
        tracing::debug!("another process looks after alerts");
        return Ok(told(false, false));
    };
    let looked = look(app, term, &rules).await;
    // What was told before is sent also if it could not be looked.
    let sent = match has_webhooks {
        true => send(app, term, rounds, end).await,
        false => Ok(false),
    };
    if let Err(error) = app.notices.end_hold(app).await {
        tracing::warn!(
            error = error.report(),
            "the next round looks after alerts only in a while, as this one could not end its turn"
        );
    }
    looked?;
    let more = sent?;
    if more {
        tracing::info!("messages to webhooks are left to the next round");
    }
    Ok(told(true, more))
}

async fn look(app: &App, term: u64, rules: &[Rule]) -> Result<(), StoreError> {
    if rules.iter().any(|rule| rule.kind == Kind::NoWorker) {
        look_for_untaken(app, true).await?;
    }
    Watch::look_in_round(app, term, rules).await
}

async fn send(app: &App, term: u64, rounds: &AlertRounds, end: Instant) -> Result<bool, StoreError> {
    send_within(app, &rounds.sender()?, term, end).await
}
