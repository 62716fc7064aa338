//! `GET /api/tasks/history/{id}`: what has become of a task, the first of it first.

use axum::extract::Request;
use baton_model::{Event, Label, TaskId, limits};
use baton_store::PageRequest;
use serde::Serialize;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::kept::Kept;
use crate::no::{No, Told, told};
use crate::read;
use crate::stamp::stamp;
use crate::word::Word;

/// How many entries one answer has at most.
const ENTRIES: usize = 10_000;

/// One entry.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    id: u32,
    state_from: Option<&'static str>,
    state_to: &'static str,
    timestamp: String,
    provider: Option<String>,
    model: Option<String>,
    error_message: Option<String>,
    details: Value,
    user_id: Option<String>,
}

/// The entries of events in their order, which begin with the first of all or go on from `before`.
pub(crate) fn entries(events: &[Event], kept: &Kept) -> Vec<Entry> {
    let first = events.first().and_then(|event| event.from);
    let mut before = first.map(|state| Word::of(state, None));
    let mut entries = Vec::with_capacity(events.len());
    for event in events {
        let entry = entry(event, before, kept);
        before = Some(word(event));
        entries.push(entry);
    }
    entries
}

/// The state that a task came to by an event.
fn word(event: &Event) -> Word {
    let code = event.detail.error.as_ref().and_then(|error| error.code.as_deref());
    let loss = event.detail.loss.map(baton_model::LossReason::as_str);
    Word::of(event.to, code.or(loss).or(Some(event.kind.as_str())))
}

fn entry(event: &Event, before: Option<Word>, kept: &Kept) -> Entry {
    let detail = &event.detail;
    let error = detail.error.as_ref().map(|error| error.message.clone());
    let lost = || detail.loss.map(|loss| loss.explain().to_owned());
    Entry {
        id: event.seq,
        state_from: before.map(Word::as_str),
        state_to: word(event).as_str(),
        timestamp: stamp(event.at),
        provider: kept.provider.clone(),
        model: kept.model.clone(),
        error_message: error.or_else(lost),
        details: json!({
            "event": event.kind,
            "attempt": event.attempt,
            "worker": detail.worker,
            "reason": detail.reason,
        }),
        user_id: detail.by.as_ref().map(Label::to_string),
    }
}

/// All events of a task.
pub(crate) async fn events(ask: &Ask<'_>, id: TaskId) -> Result<Vec<Event>, No> {
    let mut page = PageRequest::first(limits::PAGE);
    let mut events = Vec::new();
    loop {
        let found = ask.app.store.history(id, page).await?;
        events.extend(found.items);
        match found.next.filter(|_| events.len() < ENTRIES) {
            None => return Ok(events),
            Some(next) => page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) },
        }
    }
}

/// `GET /api/tasks/history/{id}`.
pub(crate) async fn show(ask: &Ask<'_>, _: Request) -> Told {
    let detail = read::found(ask).await?;
    let kept = Kept::of(&detail.task);
    let entries = entries(&events(ask, detail.task.head.id).await?, &kept);
    told(&json!({
        "task_id": kept.id,
        "history": entries,
        "total_entries": detail.task.head.events,
    }))
}
