//! One webhook: what it is to be told is read, kept, sent, and what came of it is kept.

use std::time::Duration;

use baton_alerts::{Delivery, Event, EventName, HookStanding, Outcome, Webhook, message_id};
use baton_http::App;
use baton_http::live::LiveEvent;
use baton_http::notices::{self, HOOK, KEPT, WAITING, WEBHOOK};
use baton_model::{Happened, Particulars, TimelineEntry, Timestamp};
use baton_store::{DocumentChanges, StoreError};
use futures::StreamExt as _;
use futures::stream;
use tokio::sync::watch;

use crate::http::Sender;

/// How many messages are under way to one receiver at once.
const AT_ONCE: usize = 8;
/// How many are tried before what came of them is kept.
const PART: usize = 64;
/// How many events are read at once.
const READ: u32 = 100;
/// So many events without one for it are passed before its position is kept.
const PASSED: u64 = 1_000;
/// How long it waits after the store has failed.
const AGAIN: Duration = Duration::from_secs(5);
/// How long it waits at most, besides being told: the clock may be set.
const LONGEST: Duration = Duration::from_secs(60);
/// How long commits come together before they are read.
const TOGETHER: Duration = Duration::from_millis(50);

/// One webhook.
pub(crate) struct Hook {
    app: App,
    webhook: Webhook,
    sender: Sender,
    /// Up to where it has read; none before the first look.
    position: Option<u64>,
    /// The position that is kept.
    kept: u64,
    /// How many messages that are over were added since the last tidying.
    over: usize,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// There is more to do.
    More,
    /// Nothing until then, or until something is told; `hears`: or until something happens to a task.
    Idle { at: Option<Timestamp>, hears: bool },
}

impl Hook {
    pub(crate) fn new(app: App, webhook: Webhook, sender: Sender) -> Self {
        Self { app, webhook, sender, position: None, kept: 0, over: KEPT }
    }

    /// Sends for ever: ends by being aborted.
    pub(crate) async fn run(mut self) {
        let mut due = self.app.notices.hear_due();
        loop {
            due.mark_unchanged();
            match self.turn().await {
                Ok(Next::More) => {}
                Ok(Next::Idle { at, hears }) => self.wait(at, hears, &mut due).await,
                Err(error) => {
                    let (webhook, error) = (&self.webhook.name, error.report());
                    tracing::warn!(%webhook, error, "a webhook's messages cannot be read or kept");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn wait(&self, at: Option<Timestamp>, hears: bool, due: &mut watch::Receiver<u64>) {
        let now = self.app.now();
        let pause = at.map_or(LONGEST, |at| at.since(now).min(LONGEST));
        let beyond = async {
            match self.position.filter(|_| hears) {
                Some(position) if self.app.store.feed_beyond(position).await.is_ok() => {
                    tokio::time::sleep(TOGETHER).await;
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = due.changed() => {}
            () = tokio::time::sleep(pause) => {}
            () = beyond => {}
        }
    }

    /// Reads some of what happened, and tries some of what is due.
    async fn turn(&mut self) -> Result<Next, StoreError> {
        let store = &self.app.store;
        let standing = notices::hook_standing(&**store, &self.webhook.name).await?;
        if standing.disabled_at.is_some() {
            // What happens meanwhile it is not told later either.
            self.position = None;
            return Ok(Next::Idle { at: None, hears: false });
        }
        let waiting = notices::messages(&**store, &notices::waiting(&self.webhook.name), WAITING).await?;
        let hears = self.webhook.hears_of_tasks() && waiting.len() < WAITING as usize;
        let has_read = hears && self.read(&standing).await?;
        if !self.webhook.hears_of_tasks() && standing.cursor.is_some() {
            // If it hears of tasks again, then from then on.
            self.keep(None, Vec::new()).await?;
        }
        let now = self.app.now();
        let is_due = |message: &Delivery| message.next_at.is_none_or(|at| at <= now);
        let (due, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_due);
        if due.is_empty() && !has_read {
            let at = later.iter().filter_map(|message| message.next_at).min();
            return Ok(Next::Idle { at, hears });
        }
        if !due.is_empty() {
            self.try_some(due.into_iter().take(PART).collect()).await?;
        }
        Ok(Next::More)
    }

    /// Reads some of what happened behind its position, and keeps what it is to be told with the new position. Says whether there may
    /// be more.
    async fn read(&mut self, standing: &HookStanding) -> Result<bool, StoreError> {
        let store = std::sync::Arc::clone(&self.app.store);
        let position = match self.position.or(standing.cursor) {
            Some(position) => position,
            None => {
                // It hears of what happens from now on.
                let head = store.feed_head().await?;
                self.keep(Some(head), Vec::new()).await?;
                head
            }
        };
        if self.position.is_none() {
            self.position = Some(position);
            self.kept = position;
        }
        let part = store.feed(position, READ).await?;
        if part.up_to == position {
            return Ok(false);
        }
        let messages: Vec<Delivery> =
            part.items.into_iter().filter_map(|(position, entry)| self.message(position, entry)).collect();
        if !messages.is_empty() || part.up_to - self.kept >= PASSED {
            self.keep(Some(part.up_to), messages).await?;
        }
        self.position = Some(part.up_to);
        Ok(true)
    }

    async fn keep(&mut self, position: Option<u64>, messages: Vec<Delivery>) -> Result<(), StoreError> {
        let name = &self.webhook.name;
        let _turn = self.app.notices.turn().await;
        if !self.stands().await? {
            return Ok(());
        }
        let standing = notices::hook_standing(&*self.app.store, name).await?;
        let standing = HookStanding { cursor: position, ..standing };
        let mut changes = DocumentChanges::default();
        for message in &messages {
            notices::put_message(&mut changes, name, message)?;
        }
        changes.put(HOOK, name.as_str(), notices::write("how a webhook stands", &standing)?);
        self.app.store.change_documents(changes).await?;
        self.kept = position.unwrap_or_default();
        Ok(())
    }

    /// The message of what happened to a task, if it is to hear of it.
    fn message(&self, position: u64, entry: TimelineEntry) -> Option<Delivery> {
        let Particulars::Event(event) = &entry.particulars else { return None };
        let name = EventName::of_task(event)?;
        let (queue, project) = (entry.queue.as_ref()?, entry.project.as_ref()?);
        if !self.webhook.hears_of_task(name, queue, project) {
            return None;
        }
        let at = entry.at;
        let task = entry.task.map(|task| task.to_string()).unwrap_or_default();
        let id = message_id(at, &[self.webhook.name.as_str(), name.as_str(), &task, &position.to_string()]);
        let data = LiveEvent::new((position, entry)).view();
        let body = serde_json::to_string(&Event { name, timestamp: at, data }).ok()?;
        // Its day begins when it is read: a server that stood still has not tried it.
        Some(Delivery::new(id, name, body, self.app.now()))
    }

    /// Tries messages, and keeps what came of them.
    async fn try_some(&mut self, messages: Vec<Delivery>) -> Result<(), StoreError> {
        let (app, sender, webhook) = (&self.app, &self.sender, &self.webhook);
        let tried: Vec<(Delivery, Outcome)> = stream::iter(messages)
            .map(|message| async move {
                let outcome = sender.send(webhook, &message, app.now()).await;
                (message, outcome)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let name = webhook.name.clone();
        {
            let _turn = self.app.notices.turn().await;
            if !self.stands().await? {
                return Ok(());
            }
            let now = self.app.now();
            let mut standing = notices::hook_standing(&*self.app.store, &name).await?;
            let was_disabled = standing.disabled_at.is_some();
            let mut changes = DocumentChanges::default();
            for (mut message, outcome) in tried {
                message.tried(&outcome, now);
                standing.tried(&message, &outcome, now);
                if message.next_at.is_none() {
                    changes.remove(&notices::waiting(&name), &message.id);
                    self.over += 1;
                }
                notices::put_message(&mut changes, &name, &message)?;
            }
            if let Some(why) = standing.disabled_why.clone().filter(|_| !was_disabled) {
                tracing::error!(webhook = %name, why, "a webhook was given up");
                let happened = Happened::WebhookDisabled { webhook: name.clone(), message: why };
                changes.happened.push((now, happened));
            }
            changes.put(HOOK, name.as_str(), notices::write("how a webhook stands", &standing)?);
            self.app.store.change_documents(changes).await?;
        }
        self.tidy().await
    }

    /// Whether there still is such a webhook: of one that is gone, nothing is kept.
    async fn stands(&self) -> Result<bool, StoreError> {
        let name = &self.webhook.name;
        let is_of_settings = self.app.notices.webhook_of_settings(name).is_some();
        Ok(is_of_settings || self.app.store.document(WEBHOOK, name.as_str()).await?.is_some())
    }

    /// Removes the oldest messages that are over, beyond those that are kept.
    async fn tidy(&mut self) -> Result<(), StoreError> {
        if self.over < 2 * KEPT {
            return Ok(());
        }
        let kind = notices::over(&self.webhook.name);
        let all = self.app.store.documents(&kind, None, WAITING).await?;
        let mut changes = DocumentChanges::default();
        let beyond = all.len().saturating_sub(KEPT);
        all.iter().take(beyond).for_each(|document| changes.remove(&kind, &document.name));
        if !changes.is_empty() {
            self.app.store.change_documents(changes).await?;
        }
        self.over = all.len().min(KEPT);
        Ok(())
    }
}
