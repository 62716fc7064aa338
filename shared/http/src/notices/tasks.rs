//! What webhooks are told of tasks: by a server, which reads the order of all events, or, where a store has a stream of its own in its place,
//! by the function that follows it.

use baton_alerts::{Delivery, Event, EventName, Webhook, message_id};
use baton_api::timeline::TimelineView;
use baton_model::{GroupName, Particulars, TimelineEntry, Timestamp};
use baton_store::{DocumentChanges, StoreError};

use super::{put_message, write};
use crate::App;
use crate::live::LiveEvent;

/// How many messages of tasks may wait for a webhook that a stream's function tells: it cannot wait until there is room. More are not kept.
pub const WAITING_TASKS: u64 = 10_000;

/// How many messages one commit keeps.
const PART: usize = 64;

/// The message of what happened to a task, if a webhook is to hear of it. `position`: where it stands in the order of all events, if the
/// store has one.
///
/// # Errors
/// If it does not serialise: a fault of the program.
pub fn message_of(
    webhook: &Webhook,
    position: Option<u64>,
    entry: TimelineEntry,
    now: Timestamp,
) -> Result<Option<Delivery>, StoreError> {
    let Particulars::Event(event) = &entry.particulars else { return Ok(None) };
    let (Some(name), Some(queue), Some(project), Some(task)) =
        (EventName::of_task(event), &entry.queue, &entry.project, entry.task)
    else {
        return Ok(None);
    };
    if !webhook.hears_of_task(name, queue, project) {
        return Ok(None);
    }
    let at = entry.at;
    // Of one task, the number of the event tells it from the others.
    let place = position.unwrap_or_else(|| event.seq.into()).to_string();
    let id = message_id(at, &[webhook.name.as_str(), name.as_str(), &task.to_string(), &place]);
    let body = match position {
        Some(position) => {
            let data = LiveEvent::new((position, entry)).view();
            write("a message", &Event { name, timestamp: at, data })?
        }
        None => write("a message", &Event { name, timestamp: at, data: TimelineView::from(entry) })?,
    };
    // Its day begins when it is read: who stood still has not tried it.
    Ok(Some(Delivery::new(id, name, body, now)))
}

/// Keeps messages of tasks for a webhook, which are sent by whoever sends; those that there is no room for are counted. One that was given
/// up is told nothing.
///
/// # Errors
/// The store's own failures; what was kept by then is kept again by the next try, under the same ids.
pub async fn keep_of_tasks(app: &App, webhook: &GroupName, messages: &[Delivery]) -> Result<(), StoreError> {
    for part in messages.chunks(PART) {
        let stood = app.notices.stand(app, webhook, |standing| {
            if standing.disabled_at.is_some() {
                return Ok(DocumentChanges::default());
            }
            let room = usize::try_from(WAITING_TASKS.saturating_sub(standing.queued)).unwrap_or(usize::MAX);
            let kept = part.len().min(room);
            standing.queued += kept as u64;
            standing.dropped += (part.len() - kept) as u64;
            let mut changes = DocumentChanges::default();
            for message in &part[..kept] {
                put_message(&mut changes, webhook, message)?;
            }
            Ok(changes)
        });
        if stood.await?.is_none() {
            // It was taken away.
            return Ok(());
        }
    }
    app.notices.due();
    Ok(())
}
