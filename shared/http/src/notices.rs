//! Alerts and webhooks as a process has them: those of its settings with those that requests have set; and who is to hear when there
//! is something new. What is kept of them are documents of the store ([`baton_store::DocumentStore`]).

use baton_alerts::{Delivery, HookStanding, Rule, Standing, Webhook};
use baton_model::GroupName;
use baton_store::{Document, DocumentChanges, Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, watch};

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
}

impl Notices {
    /// Those of the settings.
    pub fn new(rules: Vec<Rule>, webhooks: Vec<Webhook>) -> Self {
        Self {
            rules,
            webhooks,
            changed: watch::Sender::new(0),
            due: watch::Sender::new(0),
            turn: Mutex::default(),
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
