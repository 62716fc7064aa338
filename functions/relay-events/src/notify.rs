//! What webhooks hear of tasks, by the records of the table's stream: it is kept for `manage-alerts`, or a server, which send it.

use std::time::Duration;

use async_trait::async_trait;
use baton_alerts::Webhook;
use baton_http::App;
use baton_http::notices::tasks::{keep_of_tasks, message_of};
use baton_lambda::Notify;
use baton_model::timeline::schedule_of;
use baton_model::{EventKind, OfTask, TimelineEntry, Timestamp};
use baton_store::StoreError;
use baton_store_dynamodb::TaskEvent;
use tokio::sync::Mutex;

/// For how long it is known which webhooks hear of tasks.
const KNOWN: Duration = Duration::from_secs(20);

/// Tells webhooks of tasks: what they hear of is kept for whoever sends to them.
#[derive(Debug, Default)]
pub struct Notifier {
    /// Those that hear of tasks, as of when.
    known: Mutex<Option<(Timestamp, Vec<Webhook>)>>,
}

#[async_trait]
impl Notify for Notifier {
    async fn is_heard(&self, app: &App) -> Result<bool, StoreError> {
        Ok(!self.webhooks(app).await?.is_empty())
    }

    /// What was kept before it failed is kept once more when the events come again, under the same ids.
    async fn notify(&self, app: &App, events: Vec<TaskEvent>) -> Result<(), StoreError> {
        let now = app.now();
        for webhook in self.webhooks(app).await? {
            let mut messages = Vec::new();
            for told in &events {
                messages.extend(message_of(&webhook, None, entry(told.clone()), now)?);
            }
            if !messages.is_empty() {
                keep_of_tasks(app, &webhook.name, &messages).await?;
            }
        }
        Ok(())
    }
}

impl Notifier {
    async fn webhooks(&self, app: &App) -> Result<Vec<Webhook>, StoreError> {
        let now = app.now();
        let mut known = self.known.lock().await;
        if let Some((as_of, webhooks)) = &*known
            && now >= *as_of
            && now.since(*as_of) < KNOWN
        {
            return Ok(webhooks.clone());
        }
        let all = app.notices.webhooks(&*app.store).await?.into_iter();
        let hearing: Vec<Webhook> = all.map(|(webhook, _)| webhook).filter(Webhook::hears_of_tasks).collect();
        *known = Some((now, hearing.clone()));
        Ok(hearing)
    }
}

/// An event as the time line tells it. Which schedule has created a task is told by the first of its events.
fn entry(told: TaskEvent) -> TimelineEntry {
    let TaskEvent { task, project, queue, event, .. } = told;
    let schedule = schedule_of(event.detail.by.as_ref()).filter(|_| event.kind == EventKind::Created);
    TimelineEntry::of_event(&OfTask { task, queue, project, schedule }, event)
}
