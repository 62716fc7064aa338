//! One webhook: what it is to be told is read, kept, sent, and what came of it is kept.

use std::time::Duration;

use baton_alerts::{Delivery, HookStanding, Outcome, Webhook};
use baton_http::App;
use baton_http::notices::tasks::message_of;
use baton_http::notices::{self, KEPT, WAITING};
use baton_model::{Happened, Timestamp};
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
    /// What tells it from another one of its name that is set meanwhile, as it was when the turn began.
    born: Option<String>,
    /// Up to where it has read; none before the first look.
    position: Option<u64>,
    /// The position that is kept.
    kept: u64,
    /// How many messages that are over were added since the last tidying.
    over: usize,
    /// How many messages are tried before what came of them is kept.
    part: usize,
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
        Self { app, webhook, sender, born: None, position: None, kept: 0, over: KEPT, part: PART }
    }

    /// One for a round, which knows nothing of those before it: it tidies as soon as a message is over, and has what came of messages be
    /// kept before more of them are tried than are under way at once.
    pub(crate) fn of_round(app: App, webhook: Webhook, sender: Sender) -> Self {
        Self { over: 2 * KEPT, part: AT_ONCE, ..Self::new(app, webhook, sender) }
    }

    /// Sends what is due, as long as there is time for what is begun to end: what is cut off would be sent twice. Says whether there may
    /// be more.
    pub(crate) async fn within(mut self, may_go_on: impl Fn() -> bool) -> Result<bool, StoreError> {
        while may_go_on() {
            if let Next::Idle { .. } = self.turn().await? {
                return Ok(false);
            }
        }
        Ok(true)
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
        self.born.clone_from(&standing.born);
        if standing.disabled_at.is_some() {
            // What happens meanwhile it is not told later either.
            self.position = None;
            return Ok(Next::Idle { at: None, hears: false });
        }
        let waiting = notices::messages(&**store, &notices::waiting(&self.webhook.name), WAITING).await?;
        // A store without an order of all events tells of them by a stream, or nobody.
        let tells = store.capabilities().feed;
        let hears = tells && self.webhook.hears_of_tasks() && waiting.len() < WAITING as usize;
        let has_read = hears && self.read(&standing).await?;
        if !(tells && self.webhook.hears_of_tasks()) && standing.cursor.is_some() {
            // If it hears of tasks again, then from then on.
            self.keep(None, Vec::new()).await?;
        }
        // How many a stream's function has kept, if all that wait were read.
        let queued = (!tells && waiting.len() < WAITING as usize)
            .then(|| waiting.iter().filter(|message| message.event.is_of_task()).count() as u64);
        let now = self.app.now();
        let is_due = |message: &Delivery| message.next_at.is_none_or(|at| at <= now);
        let (due, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_due);
        if due.is_empty() && !has_read {
            let at = later.iter().filter_map(|message| message.next_at).min();
            return Ok(Next::Idle { at, hears });
        }
        if !due.is_empty() {
            self.try_some(due.into_iter().take(self.part).collect(), queued).await?;
        }
        Ok(Next::More)
    }

    /// Reads some of what happened behind its position, and keeps what it is to be told with the new position. Says whether there may
    /// be more.
    async fn read(&mut self, standing: &HookStanding) -> Result<bool, StoreError> {
        let store = std::sync::Arc::clone(&self.app.store);
        let position = match self.position {
            Some(position) => position,
            None => {
                let head = store.feed_head().await?;
                // One beyond the head is of a store from which it came here by way of one without an order of events.
                let kept = standing.cursor.filter(|cursor| *cursor <= head);
                if kept.is_none() {
                    // It hears of what happens from now on.
                    self.keep(Some(head), Vec::new()).await?;
                }
                kept.unwrap_or(head)
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
        let mut messages = Vec::new();
        for (position, entry) in part.items {
            messages.extend(message_of(&self.webhook, Some(position), entry, self.app.now())?);
        }
        if !messages.is_empty() || part.up_to - self.kept >= PASSED {
            self.keep(Some(part.up_to), messages).await?;
        }
        self.position = Some(part.up_to);
        Ok(true)
    }

    async fn keep(&mut self, position: Option<u64>, messages: Vec<Delivery>) -> Result<(), StoreError> {
        let name = &self.webhook.name;
        let stood = self.app.notices.stand(&self.app, name, |standing| {
            standing.cursor = position;
            let mut changes = DocumentChanges::default();
            for message in &messages {
                notices::put_message(&mut changes, name, message)?;
            }
            Ok(changes)
        });
        if stood.await?.is_some() {
            self.kept = position.unwrap_or_default();
        }
        Ok(())
    }

    /// Tries messages, and keeps what came of them. `queued`: how many messages of tasks wait, if that is to be set right.
    async fn try_some(&mut self, messages: Vec<Delivery>, queued: Option<u64>) -> Result<(), StoreError> {
        let (app, sender, webhook) = (&self.app, &self.sender, &self.webhook);
        let tried: Vec<(Delivery, Outcome)> = stream::iter(messages)
            .map(|message| async move {
                let outcome = sender.send(webhook, &message, app.now()).await;
                (message, outcome)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let (name, now) = (&webhook.name, app.now());
        let (mut over, mut given_up) = (0, None);
        let born = &self.born;
        let stood = app.notices.stand(app, name, |standing| {
            (over, given_up) = (0, None);
            if born.is_some() && standing.born != *born {
                // The one that was tried is gone, with its messages.
                return Ok(DocumentChanges::default());
            }
            let was_disabled = standing.disabled_at.is_some();
            standing.queued = queued.unwrap_or(standing.queued);
            let mut changes = DocumentChanges::default();
            for (message, outcome) in &tried {
                let mut message = message.clone();
                message.tried(outcome, now);
                standing.tried(&message, outcome, now);
                if message.next_at.is_none() {
                    let was_queued = u64::from(message.event.is_of_task());
                    standing.queued = standing.queued.saturating_sub(was_queued);
                    changes.remove(&notices::waiting(name), &message.id);
                    over += 1;
                }
                notices::put_message(&mut changes, name, &message)?;
            }
            if let Some(why) = standing.disabled_why.clone().filter(|_| !was_disabled) {
                let happened = Happened::WebhookDisabled { webhook: name.clone(), message: why.clone() };
                changes.happened.push((now, happened));
                given_up = Some(why);
            }
            Ok(changes)
        });
        if stood.await?.is_none() {
            return Ok(());
        }
        if let Some(why) = given_up {
            tracing::error!(webhook = %name, why, "a webhook was given up");
        }
        self.over += over;
        self.tidy().await
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
