//! The look at all rules, every ten seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_alerts::{Delivery, Event, EventName, Rule, Standing, Turn, Webhook, message_id};
use baton_api::alert::FiringView;
use baton_http::App;
use baton_http::notices::{self, HOOK, STANDING, WAITING_ALERTS};
use baton_model::{GroupName, Happened, Timestamp};
use baton_runtime::Shutdown;
use baton_store::{DocumentChanges, StoreError};
use serde::Serialize;

use crate::command::Commands;
use crate::figures::{self, Rate};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(10);

/// How many standings are read at the start.
const STANDINGS: u32 = 1_000;

/// Looks until `shutdown` begins.
pub async fn run_alerts(app: App, shutdown: Shutdown) {
    if !app.store.capabilities().feed {
        if app.notices.has_any() {
            tracing::warn!(
                "this store keeps no alerts and no webhooks: [[alerts]] and [[webhooks]] do nothing; the template's alarms and the \
                 queue task-events tell of the same (docs/alerts.md)"
            );
        }
        return;
    }
    let mut watch = Watch::default();
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if let Err(error) = watch.look(&app).await {
            tracing::warn!(error = error.report(), "alerts could not be looked at");
        }
    }
}

/// Who looks.
#[derive(Default)]
pub struct Watch {
    /// How each rule stands; nothing is known before the first look.
    standings: Option<BTreeMap<GroupName, Standing>>,
    rate: Rate,
    commands: Commands,
}

/// What a message or a command is told of an alert.
#[derive(Serialize)]
struct Told<'a> {
    alert: &'a GroupName,
    kind: &'static str,
    rule: String,
    #[serde(flatten)]
    firing: FiringView,
}

impl Watch {
    /// Looks once: writes what has changed, in one commit with what is told of it.
    ///
    /// # Errors
    /// The store's own failures; the next look finds the same.
    pub async fn look(&mut self, app: &App) -> Result<(), StoreError> {
        let now = app.now();
        let rules: Vec<Rule> =
            app.notices.rules(&*app.store).await?.into_iter().map(|(rule, _)| rule).collect();
        let known = match &mut self.standings {
            Some(known) => known,
            none => none.insert(kept(app).await?),
        };
        let found = figures::look(app, &rules, &mut self.rate, now).await?;
        let mut turns: Vec<(Rule, Turn)> = Vec::new();
        let mut next = BTreeMap::new();
        for rule in &rules {
            let mut standing = known.get(&rule.name).cloned().unwrap_or_default();
            if let Some(figures) = figures::of_rule(rule, &found) {
                turns.extend(standing.look(rule, &figures, now).into_iter().map(|turn| (rule.clone(), turn)));
            }
            next.insert(rule.name.clone(), standing);
        }
        let names: BTreeSet<&GroupName> = rules.iter().map(|rule| &rule.name).collect();
        let mut changes = DocumentChanges::default();
        for (name, standing) in known.iter().filter(|(name, _)| !names.contains(name)) {
            let mut standing = standing.clone();
            let usual = || Rule::of(name.clone(), baton_alerts::Kind::QueueDepth);
            let gone = standing.rule.clone().map_or_else(usual, |rule| *rule);
            turns.extend(standing.end_all(now).into_iter().map(|turn| (gone.clone(), turn)));
            changes.remove(STANDING, name.as_str());
        }
        let changed: BTreeSet<&GroupName> = turns.iter().map(|(rule, _)| &rule.name).collect();
        for name in changed.into_iter().filter(|name| names.contains(name)) {
            if let Some(standing) = next.get(name) {
                changes.put(STANDING, name.as_str(), notices::write("how an alert stands", standing)?);
            }
        }
        let told = tell(app, &turns, now, &mut changes).await?;
        if !changes.is_empty() {
            app.store.change_documents(changes).await?;
        }
        self.standings = Some(next);
        if !turns.is_empty() {
            app.notices.due();
        }
        for ((rule, turn), (event, line)) in turns.into_iter().zip(told) {
            log(&rule, &turn);
            if let Some(command) = rule.command {
                self.commands.run(&rule.name, command, event, line);
            }
        }
        Ok(())
    }
}

/// How all rules stand, as it is kept.
async fn kept(app: &App) -> Result<BTreeMap<GroupName, Standing>, StoreError> {
    let mut known = BTreeMap::new();
    for document in app.store.documents(STANDING, None, STANDINGS).await? {
        if let Ok(name) = document.name.parse() {
            known.insert(name, notices::read("how an alert stands", &document.value)?);
        }
    }
    Ok(known)
}

/// Adds what the time line and the webhooks are told of turns; gives what commands are told.
async fn tell(
    app: &App,
    turns: &[(Rule, Turn)],
    now: Timestamp,
    changes: &mut DocumentChanges,
) -> Result<Vec<(EventName, String)>, StoreError> {
    let mut told = Vec::with_capacity(turns.len());
    if turns.is_empty() {
        return Ok(told);
    }
    let webhooks = app.notices.webhooks(&*app.store).await?;
    let _turn = app.notices.turn().await;
    let mut receivers = Vec::with_capacity(webhooks.len());
    for (webhook, _) in webhooks {
        receivers.push(Receiver::of(app, webhook).await?);
    }
    for (rule, turn) in turns {
        let (name, subject, firing) = match turn {
            Turn::Fired { subject, firing } => {
                (EventName::AlertFired, subject, FiringView::of(subject, firing, None))
            }
            Turn::Ended(ended) => {
                let firing = FiringView::of(&ended.subject, &ended.firing, Some(ended.ended_at));
                (EventName::AlertEnded, &ended.subject, firing)
            }
        };
        let (alert, subject, message) = (rule.name.clone(), subject.clone(), firing.message.clone());
        let happened = match name {
            EventName::AlertFired => Happened::AlertFired { alert, subject: subject.clone(), message },
            _ => Happened::AlertEnded { alert, subject: subject.clone(), message },
        };
        changes.happened.push((now, happened));
        let fired_at = firing.fired_at.as_millis().to_string();
        let data = Told { alert: &rule.name, kind: rule.kind.as_str(), rule: rule.words(), firing };
        let body = notices::write("a message", &Event { name, timestamp: now, data })?;
        for receiver in &mut receivers {
            if receiver.webhook.hears(name) || rule.webhooks.contains(&receiver.webhook.name) {
                let parts =
                    [receiver.webhook.name.as_str(), name.as_str(), rule.name.as_str(), &subject, &fired_at];
                let id = message_id(now, &parts);
                receiver.give(&Delivery::new(id, name, body.clone(), now), changes)?;
            }
        }
        told.push((name, body));
    }
    for receiver in receivers.iter().filter(|receiver| receiver.has_dropped) {
        let standing = notices::write("how a webhook stands", &receiver.standing)?;
        changes.put(HOOK, receiver.webhook.name.as_str(), standing);
    }
    Ok(told)
}

/// A webhook that may be told something.
struct Receiver {
    webhook: Webhook,
    standing: baton_alerts::HookStanding,
    waiting: u64,
    has_dropped: bool,
}

impl Receiver {
    async fn of(app: &App, webhook: Webhook) -> Result<Self, StoreError> {
        let standing = notices::hook_standing(&*app.store, &webhook.name).await?;
        let waiting = app.store.count_documents(&notices::waiting(&webhook.name)).await?;
        Ok(Self { webhook, standing, waiting, has_dropped: false })
    }

    fn give(&mut self, message: &Delivery, changes: &mut DocumentChanges) -> Result<(), StoreError> {
        if self.standing.disabled_at.is_some() || self.waiting >= u64::from(WAITING_ALERTS) {
            self.standing.dropped += 1;
            self.has_dropped = true;
            return Ok(());
        }
        self.waiting += 1;
        notices::put_message(changes, &self.webhook.name, message)
    }
}

fn log(rule: &Rule, turn: &Turn) {
    match turn {
        Turn::Fired { firing, .. } => tracing::warn!(alert = %rule.name, why = firing.why, "alert fires"),
        Turn::Ended(ended) => tracing::info!(alert = %rule.name, why = ended.firing.why, "alert has ended"),
    }
}
