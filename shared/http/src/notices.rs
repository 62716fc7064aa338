//! Alerts and webhooks as a process has them: those of its settings with those that requests have set; and who is to hear when there
//! is something new. What is kept of them are documents of the store ([`baton_store::DocumentStore`]).

pub mod tasks;

use std::sync::{MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use baton_alerts::{Delivery, HookStanding, Kind, Rule, Standing, Webhook};
use baton_model::{GroupName, Timestamp};
use baton_runtime::Settings;
use baton_store::{Document, DocumentChanges, Hold, Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, watch};

use crate::App;

/// Documents of rules that requests have set.
pub const RULE: &str = "alert-rule";
/// Documents of how rules stand.
pub const STANDING: &str = "alert";
/// Documents of webhooks that requests have set.
pub const WEBHOOK: &str = "webhook";
/// Documents of how webhooks stand.
pub const HOOK: &str = "webhook-standing";

/// How many messages of a webhook that came or were given up are kept.
pub const KEPT: usize = 100;
/// How many messages may wait for a webhook; of what happens to tasks, no more is read then.
pub const WAITING: u32 = 1_000;
/// How many messages of alerts may wait for it. More are not kept.
pub const WAITING_ALERTS: u32 = 2_000;

/// The name of the rule that a server with supervised workers has by itself.
const GROUP_FAILED: &str = "group-failed";

/// By which name the looking and sending are held.
const NOTICES: &str = "notices";

/// For how long a process holds the looking and sending: both ask once a minute at least.
const HELD: Duration = Duration::from_secs(180);

/// How often it is tried to write how a webhook stands, where others go on writing it.
const TRIES: u32 = 8;

/// What this process alone may do of several, and since when without a break.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// Counts up when it begins anew: what was read before may be old.
    term: u64,
    /// Until when nobody else may, as was told last.
    until: Option<Timestamp>,
}

impl Turn {
    /// Whether it lasts. A time further ahead than any that is told was told before the clock was set back.
    fn lasts(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until && until.since(now) <= HELD)
    }

    /// Goes by what the store has answered at a time; gives the term, if this process may.
    fn told(
        &mut self,
        asked: Result<Hold, StoreError>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        match asked {
            Ok(Hold::Others) => self.until = None,
            Ok(hold) => {
                if hold == Hold::Begun || self.until.is_none() {
                    self.term += 1;
                }
                self.until = Some(until);
            }
            // Nobody else may before the time that was told, whether or not the store answers now.
            Err(_) if self.lasts(now) => {}
            Err(error) => {
                self.until = None;
                return Err(error);
            }
        }
        Ok(self.until.map(|_| self.term))
    }
}

/// Where something is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the settings.
    Settings,
    /// By a request.
    Api,
}

impl Origin {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Api => "api",
        }
    }
}

/// The rules and webhooks of the settings, and who is to hear when there is something new.
#[derive(Debug)]
pub struct Notices {
    rules: Vec<Rule>,
    webhooks: Vec<Webhook>,
    /// Counts up when webhooks were changed.
    changed: watch::Sender<u64>,
    /// Counts up when there are messages to be sent.
    due: watch::Sender<u64>,
    /// Who reads how a webhook stands to write it anew.
    turn: Mutex<()>,
    /// By which name this process holds what one alone may do.
    holder: OnceLock<String>,
    /// Whether it does.
    held: std::sync::Mutex<Turn>,
}

impl Notices {
    /// As settings say. Who has workers supervised and no rule about those that fail gets one: they are started no more until somebody
    /// sees to it.
    pub fn configured(settings: &Settings) -> Self {
        let mut rules = settings.alerts.clone();
        let supervises = settings.fleet.with_server && !settings.workers.is_empty();
        if supervises && rules.iter().all(|rule| rule.kind != Kind::GroupFailed) {
            rules.push(Rule::of(GroupName::from_stored(GROUP_FAILED), Kind::GroupFailed));
        }
        Self::new(rules, settings.webhooks.clone())
    }

    /// Those of the settings.
    pub fn new(rules: Vec<Rule>, webhooks: Vec<Webhook>) -> Self {
        Self {
            rules,
            webhooks,
            changed: watch::Sender::new(0),
            due: watch::Sender::new(0),
            turn: Mutex::default(),
            holder: OnceLock::new(),
            held: std::sync::Mutex::default(),
        }
    }

    /// The rule of the settings with this name.
    pub fn rule_of_settings(&self, name: &GroupName) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == *name)
    }

    /// The webhook of the settings with this name.
    pub fn webhook_of_settings(&self, name: &GroupName) -> Option<&Webhook> {
        self.webhooks.iter().find(|webhook| webhook.name == *name)
    }

    /// Whether the settings have any of either.
    pub fn has_any(&self) -> bool {
        !self.rules.is_empty() || !self.webhooks.is_empty()
    }

    /// All rules by name; the settings' before another of the name.
    ///
    /// # Errors
    /// The store's own failures.
    pub async fn rules(&self, store: &dyn Store) -> Result<Vec<(Rule, Origin)>, StoreError> {
        let mut all: Vec<_> = self.rules.iter().map(|rule| (rule.clone(), Origin::Settings)).collect();
        for document in store.documents(RULE, None, Rule::MOST as u32).await? {
            let rule: Rule = read("a rule of alerts", &document.value)?;
            if self.rule_of_settings(&rule.name).is_none() {
                all.push((rule, Origin::Api));
            }
        }
        all.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        Ok(all)
    }

    /// All webhooks by name; the settings' before another of the name.
    ///
    /// # Errors
    /// The store's own failures.
    pub async fn webhooks(&self, store: &dyn Store) -> Result<Vec<(Webhook, Origin)>, StoreError> {
        let mut all: Vec<_> = self.webhooks.iter().map(|hook| (hook.clone(), Origin::Settings)).collect();
        for document in store.documents(WEBHOOK, None, Webhook::MOST as u32).await? {
            let webhook: Webhook = read("a webhook", &document.value)?;
            if self.webhook_of_settings(&webhook.name).is_none() {
                all.push((webhook, Origin::Api));
            }
        }
        all.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        Ok(all)
    }

    fn held(&self) -> MutexGuard<'_, Turn> {
        // It is no worse for a thread that panicked while it held it.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is this process that looks at rules and sends messages: of several on one table, one does. The number is another one
    /// once somebody else may have done it in between: what was read by then is to be read anew.
    ///
    /// # Errors
    /// The store's own failures, unless this process was told that nobody else does it before a time that is still to come.
    pub async fn holds(&self, app: &App) -> Result<Option<u64>, StoreError> {
        self.holds_for(app, HELD).await
    }

    /// The same, of who may be ended before it can give the hold up, and does not need it for as long: the next one need not wait.
    ///
    /// # Errors
    /// As [`Notices::holds`].
    pub async fn holds_for(&self, app: &App, longest: Duration) -> Result<Option<u64>, StoreError> {
        let now = app.now();
        let until = now.plus(longest.min(HELD));
        let holder = self.holder.get_or_init(|| app.ids.uuid().to_string());
        let asked = app.store.hold(NOTICES, holder, now, until).await;
        self.held().told(asked, now, until)
    }

    /// Whether it still is this process, as it was told in a term.
    pub fn still_holds(&self, term: u64, now: Timestamp) -> bool {
        let held = *self.held();
        held.term == term && held.lasts(now)
    }

    /// Lets another process look and send at once, as this one ends.
    ///
    /// # Errors
    /// The store's own failures: another one does after a while, then.
    pub async fn end_hold(&self, app: &App) -> Result<(), StoreError> {
        let was_held = self.held().until.take().is_some();
        match self.holder.get() {
            Some(holder) if was_held => app.store.end_hold(NOTICES, holder).await,
            _ => Ok(()),
        }
    }

    /// Has a webhook stand as `change` makes it, with the changes that this gives: in one commit, and only if nobody has written meanwhile
    /// what it was made of, as requests may be other processes than what sends; else it is asked anew. What changes nothing is not written.
    /// None if there is no such webhook: of one that is gone nothing is kept. Nobody may call it who has the [turn](Notices::turn).
    ///
    /// # Errors
    /// The store's own failures, and those of `change`; and if others go on writing it.
    pub async fn stand(
        &self,
        app: &App,
        webhook: &GroupName,
        mut change: impl FnMut(&mut HookStanding) -> Result<DocumentChanges, StoreError> + Send,
    ) -> Result<Option<HookStanding>, StoreError> {
        const WHAT: &str = "how a webhook stands";
        let _turn = self.turn().await;
        let is_of_settings = self.webhook_of_settings(webhook).is_some();
        for _ in 0..TRIES {
            let was = app.store.document(HOOK, webhook.as_str()).await?;
            if !is_of_settings && app.store.document(WEBHOOK, webhook.as_str()).await?.is_none() {
                return Ok(None);
            }
            if was.is_none() && !is_of_settings {
                // Set by an earlier version. If it is taken away from now on, this is what is seen.
                let born = HookStanding::born(app.ids.uuid().to_string());
                let mut changes = DocumentChanges::default();
                changes.replace(HOOK, webhook.as_str(), None, write(WHAT, &born)?);
                app.store.change_documents(changes).await?;
                continue;
            }
            let standing = was.as_deref().map(|text| read::<HookStanding>(WHAT, text)).transpose()?;
            let before = standing.unwrap_or_default();
            let mut standing = before.clone();
            let mut changes = change(&mut standing)?;
            if standing == before && changes.is_empty() {
                return Ok(Some(standing));
            }
            standing.written = Some(app.ids.uuid().to_string());
            changes.replace(HOOK, webhook.as_str(), was, write(WHAT, &standing)?);
            if app.store.change_documents(changes).await? {
                return Ok(Some(standing));
            }
        }
        Err(StoreError::Unavailable(format!("{WHAT} was changed by others at every try").into()))
    }

    /// Waits for its turn to read how a webhook stands and to write it anew.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Says that webhooks were changed.
    pub fn changed(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Says that there are messages to be sent.
    pub fn due(&self) {
        self.due.send_modify(|count| *count += 1);
    }

    /// Hears when webhooks are changed.
    pub fn hear_changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Hears when there are messages to be sent.
    pub fn hear_due(&self) -> watch::Receiver<u64> {
        self.due.subscribe()
    }
}

/// The kind of the documents of a webhook's messages that wait.
pub fn waiting(webhook: &GroupName) -> String {
    format!("waiting/{webhook}")
}

/// The kind of the documents of a webhook's messages that came or were given up.
pub fn over(webhook: &GroupName) -> String {
    format!("over/{webhook}")
}

/// How a rule stands, as it is kept.
///
/// # Errors
/// The store's own failures.
pub async fn standing(store: &dyn Store, rule: &GroupName) -> Result<Standing, StoreError> {
    let kept = store.document(STANDING, rule.as_str()).await?;
    kept.map_or_else(|| Ok(Standing::default()), |text| read("how an alert stands", &text))
}

/// How a webhook stands.
///
/// # Errors
/// The store's own failures.
pub async fn hook_standing(store: &dyn Store, webhook: &GroupName) -> Result<HookStanding, StoreError> {
    let kept = store.document(HOOK, webhook.as_str()).await?;
    kept.map_or_else(|| Ok(HookStanding::default()), |text| read("how a webhook stands", &text))
}

/// Messages of a kind of [`waiting`] or [`over`].
///
/// # Errors
/// The store's own failures.
pub async fn messages(store: &dyn Store, kind: &str, most: u32) -> Result<Vec<Delivery>, StoreError> {
    let documents: Vec<Document> = store.documents(kind, None, most).await?;
    documents.iter().map(|document| read("a message", &document.value)).collect()
}

/// Adds a message to its webhook's.
///
/// # Errors
/// If it does not serialise: a fault of the program.
pub fn put_message(
    changes: &mut DocumentChanges,
    webhook: &GroupName,
    message: &Delivery,
) -> Result<(), StoreError> {
    let kind = if message.next_at.is_some() { waiting(webhook) } else { over(webhook) };
    changes.put(&kind, &message.id, write("a message", message)?);
    Ok(())
}

/// Reads what a document says.
///
/// # Errors
/// If it does not say this.
pub fn read<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| damaged(what, error))
}

/// Writes what a document says.
///
/// # Errors
/// If it does not serialise: a fault of the program.
pub fn write(what: &str, value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| damaged(what, error))
}

fn damaged(what: &str, error: serde_json::Error) -> StoreError {
    StoreError::Internal {
        what: format!("{what} that is kept cannot be read or written"),
        cause: Some(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn failed() -> Result<Hold, StoreError> {
        Err(StoreError::Unavailable("it does not answer".into()))
    }

    /// A store that does not answer for a moment stops nobody who sends: what is under way would be sent twice.
    #[test]
    fn who_holds_it_goes_on_while_the_store_does_not_answer() {
        let mut turn = Turn::default();
        assert!(turn.told(failed(), at(0), at(0).plus(HELD)).is_err(), "nobody has said that it may");
        assert_eq!(turn.told(Ok(Hold::Begun), at(10), at(10).plus(HELD)).unwrap(), Some(1));
        assert_eq!(turn.told(failed(), at(100), at(100).plus(HELD)).unwrap(), Some(1));
        assert!(turn.lasts(at(189)) && !turn.lasts(at(190)));
        assert!(turn.told(failed(), at(190), at(190).plus(HELD)).is_err(), "another one may by now");
        assert!(!turn.lasts(at(20)), "also if the clock is set back");
    }

    /// The term is another one as soon as another process may have looked in between, whoever of this process has heard of it.
    #[test]
    fn a_term_ends_when_another_may_have_looked() {
        let mut turn = Turn::default();
        let mut told = |hold, seconds| turn.told(hold, at(seconds), at(seconds).plus(HELD)).ok().flatten();
        assert_eq!(told(Ok(Hold::Begun), 0), Some(1));
        assert_eq!(told(Ok(Hold::Continued), 60), Some(1));
        assert_eq!(told(Ok(Hold::Others), 300), None);
        assert_eq!(told(Ok(Hold::Begun), 400), Some(2));
        assert_eq!(told(Ok(Hold::Continued), 401), Some(2));
        // Begun anew, and the answer was lost.
        assert_eq!(told(failed(), 700), None);
        assert_eq!(told(Ok(Hold::Continued), 701), Some(3));
    }

    #[test]
    fn a_clock_that_was_far_ahead_promises_nothing() {
        let mut turn = Turn::default();
        assert_eq!(turn.told(Ok(Hold::Begun), at(100_000), at(100_000).plus(HELD)).unwrap(), Some(1));
        assert!(turn.told(failed(), at(0), at(0).plus(HELD)).is_err());
    }
}
