//! Webhooks, as they are set, and how they stand, as it is told.

use baton_alerts::{Delivery, EventName, HookStanding, SecretText, Webhook, WebhookUrl};
use baton_model::{GroupName, ProjectId, QueueName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::fields::{Fields, ReadFields, list, parsed, text};

/// The most events that one names.
const EVENTS: usize = 20;

/// Sets a webhook. It states the whole webhook; only a secret that is left out stays as it was, or is made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetWebhook {
    /// Where messages are sent.
    pub url: WebhookUrl,
    /// What messages are signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// What it hears of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventName>,
    /// The queues whose tasks it hears of; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueName>,
    /// The project whose tasks it hears of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
}

impl SetWebhook {
    /// The webhook of this name.
    pub fn webhook(self, name: GroupName, secret: SecretText) -> Webhook {
        let Self { url, events, queues, project, secret: _ } = self;
        Webhook { name, url, secret, events, queues, project }
    }
}

impl ReadFields for SetWebhook {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let url = f.required("url", parsed);
        let secret = f.optional("secret", parsed);
        let events = f.optional("events", list(0..=EVENTS, parsed));
        let queues = f.optional("queues", list(0..=Webhook::QUEUES, parsed));
        let project = f.optional("project", parsed);
        Some(Self {
            url: url?,
            secret: secret?,
            events: events?.unwrap_or_default(),
            queues: queues?.unwrap_or_default(),
            project: project?,
        })
    }
}

/// Sends a message anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedeliverRequest {
    /// The message's id.
    pub id: String,
}

impl ReadFields for RedeliverRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let id = f.required("id", text(1..=200));
        Some(Self { id: id? })
    }
}

/// All webhooks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WebhooksView {
    /// The webhooks by name.
    pub items: Vec<WebhookView>,
}

/// A webhook, and how it stands. Its secret is told once, to whoever had it made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookView {
    /// Its name.
    pub name: GroupName,
    /// Where messages are sent, without the path, which may hold a secret.
    pub url: String,
    /// What it hears of.
    pub events: Vec<EventName>,
    /// The queues whose tasks it hears of; all if empty.
    pub queues: Vec<QueueName>,
    /// The project whose tasks it hears of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// `settings` or `api`: where it is set.
    pub from: String,
    /// `ok`, `failing` (its last message was not taken) or `disabled` (it was given up).
    pub status: String,
    /// Since when it takes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// When it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_why: Option<String>,
    /// How many messages wait for their next try.
    pub waiting: u64,
    /// How many messages it has taken.
    pub delivered: u64,
    /// How many were given up after their day.
    pub given_up: u64,
    /// How many were not kept for it, as it was given up or too many waited.
    pub dropped: u64,
    /// The secret, where it was made just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl WebhookView {
    /// What is told of a webhook for which so many messages wait.
    pub fn of(webhook: &Webhook, from: &str, standing: &HookStanding, waiting: u64) -> Self {
        let status = match standing {
            HookStanding { disabled_at: Some(_), .. } => "disabled",
            HookStanding { failing_since: Some(_), .. } => "failing",
            _ => "ok",
        };
        Self {
            name: webhook.name.clone(),
            url: webhook.url.place(),
            events: webhook.events.clone(),
            queues: webhook.queues.clone(),
            project: webhook.project.clone(),
            from: from.to_owned(),
            status: status.to_owned(),
            failing_since: standing.failing_since,
            disabled_at: standing.disabled_at,
            disabled_why: standing.disabled_why.clone(),
            waiting,
            delivered: standing.delivered,
            given_up: standing.given_up,
            dropped: standing.dropped,
            secret: None,
        }
    }
}

/// A webhook with its messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookDetailView {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: WebhookView,
    /// Messages that wait for their next try, up to 100, the oldest first.
    pub waiting_messages: Vec<MessageView>,
    /// Messages that came or were given up, up to 100, the newest first.
    pub messages: Vec<MessageView>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageView {
    /// Its id, the same with each try.
    pub id: String,
    /// What it tells of.
    pub event: EventName,
    /// `waiting`, `delivered` or `given_up`.
    pub status: String,
    /// When what it tells of happened, or when it was asked for anew.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// When it was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Timestamp>,
    /// What came of the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

impl From<Delivery> for MessageView {
    fn from(delivery: Delivery) -> Self {
        let status = match &delivery {
            Delivery { delivered_at: Some(_), .. } => "delivered",
            Delivery { next_at: Some(_), .. } => "waiting",
            _ => "given_up",
        };
        Self {
            status: status.to_owned(),
            id: delivery.id,
            event: delivery.event,
            created_at: delivery.created_at,
            tries: delivery.tries,
            next_at: delivery.next_at,
            tried_at: delivery.tried_at,
            last: delivery.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_not_repeated() {
        let told =
            SetWebhook::from_json(r#"{"url": "ftp://hunter2", "secret": "hunter2"}"#, &()).unwrap_err();
        assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
        let set = r#"{"url": "https://a.example/b", "events": ["task.failed"], "project": "film"}"#;
        let set = SetWebhook::from_json(set, &()).unwrap();
        let hook = set.webhook("chat".parse().unwrap(), SecretText::of(&[1; 24]));
        let view = WebhookView::of(&hook, "api", &HookStanding::default(), 2);
        assert_eq!((view.status.as_str(), view.url.as_str()), ("ok", "https://a.example/…"));
        let text = serde_json::to_string(&view).unwrap();
        assert!(!text.contains("whsec_") && !text.contains("/b"), "{text}");
    }
}
