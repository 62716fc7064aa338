//! The look at all rules: every ten seconds, every 40 on a table, and once a minute where it is a round of a function.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_alerts::{Delivery, Event, EventName, Kind, Rate, Rule, Standing, Turn, Webhook, message_id};
use baton_api::alert::FiringView;
use baton_http::App;
use baton_http::notices::{self, STANDING, WAITING_ALERTS};
use baton_model::{GroupName, Happened, LimitOn, QueueName, Timestamp};
use baton_runtime::Shutdown;
use baton_store::{DocumentChanges, StoreError};
use serde::Serialize;

use crate::command::Commands;
use crate::figures;

/// How often it is looked, and after how long without a look nobody knows what was in between.
#[derive(Clone, Copy)]
struct Pace {
    every: Duration,
    unseen: Duration,
}

/// Where a look costs nothing.
const OFTEN: Pace = Pace { every: Duration::from_secs(10), unseen: Duration::from_secs(60) };

/// Where each request to the store is paid for: a look costs what `GET /v1/stats` does. Two looks may fail before durations begin anew.
const SELDOM: Pace = Pace { every: Duration::from_secs(40), unseen: Duration::from_secs(150) };

/// Where each look is a round of its own, which a schedule begins. Two may fail before durations begin anew.
const ROUNDS: Pace = Pace { every: Duration::from_secs(60), unseen: Duration::from_secs(210) };

impl Pace {
    fn of(app: &App) -> Self {
        if app.store.capabilities().feed { OFTEN } else { SELDOM }
    }
}

/// How many standings are read at the start.
const STANDINGS: u32 = 1_000;

/// Looks until `shutdown` begins.
pub async fn run_alerts(app: App, shutdown: Shutdown) {
    let Pace { every, .. } = Pace::of(&app);
    let mut watch = Watch::default();
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(every) => {}
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
    /// In which term that was read.
    term: u64,
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
        let rules: Vec<Rule> =
            app.notices.rules(&*app.store).await?.into_iter().map(|(rule, _)| rule).collect();
        let knows_none = self.standings.as_ref().is_some_and(BTreeMap::is_empty);
        if rules.is_empty() && knows_none && !app.store.capabilities().feed {
            return Ok(());
        }
        let term = app.notices.holds(app).await?;
        if term != Some(self.term) {
            // Another process looks, or has looked: what that has come to has to be read, should this one follow it.
            self.standings = None;
        }
        let Some(term) = term else { return Ok(()) };
        self.term = term;
        self.look_as(app, &rules, Pace::of(app), false).await
    }

    /// Looks once, as the one who holds the looking in a term, in a process that ends with it: what is on its way to fire or to end is kept,
    /// too, for whoever looks next.
    ///
    /// # Errors
    /// As [`Watch::look`].
    pub(crate) async fn look_in_round(app: &App, term: u64, rules: &[Rule]) -> Result<(), StoreError> {
        let mut watch = Self { term, ..Self::default() };
        watch.look_as(app, rules, ROUNDS, true).await
    }

    async fn look_as(
        &mut self,
        app: &App,
        rules: &[Rule],
        pace: Pace,
        carried: bool,
    ) -> Result<(), StoreError> {
        let (term, now) = (self.term, app.now());
        let known = match &mut self.standings {
            Some(known) => known,
            none => none.insert(kept(app).await?),
        };
        if carried {
            self.rate = known.values().find_map(|standing| standing.rate.clone()).unwrap_or_default();
        }
        let found = figures::look(app, rules, &mut self.rate, now).await?;
        let mut turns: Vec<(Rule, Turn)> = Vec::new();
        let mut next = BTreeMap::new();
        for rule in rules {
            let mut standing = known.get(&rule.name).cloned().unwrap_or_default();
            if let Some(figures) = figures::of_rule(rule, &found) {
                let some = standing.look(rule, &figures, now, pace.unseen);
                turns.extend(some.into_iter().map(|turn| (rule.clone(), turn)));
            }
            standing.rate = (carried && rule.kind == Kind::FailureRate).then(|| self.rate.clone());
            next.insert(rule.name.clone(), standing);
        }
        let names: BTreeSet<&GroupName> = rules.iter().map(|rule| &rule.name).collect();
        let mut changes = DocumentChanges::default();
        for (name, standing) in known.iter().filter(|(name, _)| !names.contains(name)) {
            let mut standing = standing.clone();
            let usual = || Rule::of(name.clone(), Kind::QueueDepth);
            let gone = standing.rule.clone().map_or_else(usual, |rule| *rule);
            turns.extend(standing.end_all(now).into_iter().map(|turn| (gone.clone(), turn)));
            changes.remove(STANDING, name.as_str());
        }
        let mut changed: BTreeSet<&GroupName> = turns.iter().map(|(rule, _)| &rule.name).collect();
        if carried {
            let was_under_way = |name: &GroupName| known.get(name).is_some_and(Standing::is_under_way);
            let is_kept = |next: &Standing| next.is_under_way() || next.rate.is_some();
            let under_way = next.iter().filter(|(name, next)| is_kept(next) || was_under_way(name));
            changed.extend(under_way.map(|(name, _)| name));
        }
        for name in changed.into_iter().filter(|name| names.contains(name)) {
            if let Some(standing) = next.get(name) {
                changes.put(STANDING, name.as_str(), notices::write("how an alert stands", standing)?);
            }
        }
        let (told, dropped) = tell(app, &turns, now, &mut changes).await?;
        if !changes.is_empty() {
            if !app.notices.still_holds(term, app.now()) {
                // The look took so long that another one may look by now, and have written something else.
                self.standings = None;
                return Ok(());
            }
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
        for (webhook, messages) in dropped {
            count_dropped(app, &webhook, messages).await;
        }
        Ok(())
    }
}

/// Counts what a webhook was not told. That it cannot be counted holds nothing up that was told.
async fn count_dropped(app: &App, webhook: &GroupName, messages: u64) {
    let counted = app.notices.stand(app, webhook, |standing| {
        standing.dropped += messages;
        Ok(DocumentChanges::default())
    });
    if let Err(error) = counted.await {
        let error = error.report();
        tracing::warn!(%webhook, messages, error, "messages that were not kept for a webhook could not be counted");
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

/// What commands are told, and how many messages were not kept for which webhooks.
type Passed = (Vec<(EventName, String)>, Vec<(GroupName, u64)>);

/// Adds what the time line and the webhooks are told of turns; gives what is passed on besides.
async fn tell(
    app: &App,
    turns: &[(Rule, Turn)],
    now: Timestamp,
    changes: &mut DocumentChanges,
) -> Result<Passed, StoreError> {
    let mut told = Vec::with_capacity(turns.len());
    if turns.is_empty() {
        return Ok((told, Vec::new()));
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
        let queue = queue_of(rule.kind, &subject);
        let happened = match name {
            EventName::AlertFired => Happened::AlertFired { alert, subject: subject.clone(), queue, message },
            _ => Happened::AlertEnded { alert, subject: subject.clone(), queue, message },
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
    let dropped = receivers.into_iter().filter(|receiver| receiver.dropped > 0);
    Ok((told, dropped.map(|receiver| (receiver.webhook.name, receiver.dropped)).collect()))
}

/// The queue that a subject is, or that the limit is of which it names.
fn queue_of(kind: Kind, subject: &str) -> Option<QueueName> {
    match kind {
        Kind::LimitFull => subject.parse::<LimitOn>().ok()?.queue().cloned(),
        kind if kind.is_of_queues() => subject.parse().ok(),
        _ => None,
    }
}

/// A webhook that may be told something.
struct Receiver {
    webhook: Webhook,
    is_disabled: bool,
    waiting: u64,
    /// How many messages were not kept for it.
    dropped: u64,
}

impl Receiver {
    async fn of(app: &App, webhook: Webhook) -> Result<Self, StoreError> {
        let standing = notices::hook_standing(&*app.store, &webhook.name).await?;
        let waiting = app.store.count_documents(&notices::waiting(&webhook.name)).await?;
        Ok(Self { webhook, is_disabled: standing.disabled_at.is_some(), waiting, dropped: 0 })
    }

    fn give(&mut self, message: &Delivery, changes: &mut DocumentChanges) -> Result<(), StoreError> {
        if self.is_disabled || self.waiting >= u64::from(WAITING_ALERTS) {
            self.dropped += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_fail_now_and_then_leave_no_gap() {
        for Pace { every, unseen } in [OFTEN, SELDOM, ROUNDS] {
            // Two fail, and each takes a moment.
            assert!(unseen > every * 3 + Duration::from_secs(10), "{every:?}");
        }
    }
}
