//! A task's history: one short entry an event, kept with the task while small.
//!
//! An entry that is large by itself (a failure may carry 16 KB) is kept apart, and so are all entries up to now when
//! they outgrow what a change of status should pay for. Events are never changed, so that what is kept apart is named
//! by its content or by its numbers, and may be written twice.

use baton_model::transition::Change;
use baton_model::{Event, EventDetail, EventKind, State, TaskId, Timestamp};
use baton_store::StoreError;

use crate::attr::{Fields, json, key, s};
use crate::codes::Code;
use crate::db::{Db, Query, Range};
use crate::error::{WriteError, corrupt, damaged};
use crate::expression::Expression;
use crate::keys::apart;
use crate::text::Text;

/// The most bytes of history that stay with the task.
pub(crate) const INLINE_HISTORY: u32 = 1_024;

/// The most bytes of one entry that stays with the task.
const INLINE_ENTRY: usize = 512;

/// What an entry holds: time, kind, state after, attempt after, particulars.
type Entry = (i64, u8, u8, u32, Option<EventDetail>);

/// Writes an entry.
pub(crate) fn encode(
    at: Timestamp,
    kind: EventKind,
    to: State,
    attempt: u32,
    detail: &EventDetail,
) -> Result<String, StoreError> {
    let detail = (*detail != EventDetail::default()).then_some(detail);
    if let Some(detail) = detail {
        json("an event", &(at.as_millis(), kind.code(), to.code(), attempt, detail))
    } else {
        json("an event", &(at.as_millis(), kind.code(), to.code(), attempt))
    }
}

fn decode(seq: u32, from: Option<State>, text: &str) -> Result<Event, StoreError> {
    let entry: Entry = match serde_json::from_str(text) {
        Ok(entry) => entry,
        Err(_) => {
            let (at, kind, to, attempt): (i64, u8, u8, u32) = serde_json::from_str(text)
                .map_err(|error| corrupt(format!("event {seq} of a task"), error))?;
            (at, kind, to, attempt, None)
        }
    };
    let (at, kind, to, attempt, detail) = entry;
    Ok(Event {
        seq,
        at: Timestamp::from_millis(at),
        kind: EventKind::of(kind)?,
        from,
        to: State::of(to)?,
        attempt,
        detail: detail.unwrap_or_default(),
    })
}

/// An event as it goes into its task's item, with what of it is to be kept apart.
pub(crate) struct Written {
    pub(crate) entry: String,
    /// The whole entry and where it is to be kept, if it is too large to stay.
    pub(crate) apart: Option<(Text, String)>,
}

/// The entry of a change.
pub(crate) fn entry_of(change: &Change, now: Timestamp) -> Result<Written, StoreError> {
    let head = &change.head;
    let whole = encode(now, change.kind, head.state.state(), head.attempt, &change.detail)?;
    Ok(kept(head.events, whole))
}

/// The entry of an event that has happened.
pub(crate) fn entry_of_event(event: &Event) -> Result<Written, StoreError> {
    Ok(kept(event.seq, encode(event.at, event.kind, event.to, event.attempt, &event.detail)?))
}

fn kept(seq: u32, whole: String) -> Written {
    if whole.len() <= INLINE_ENTRY {
        Written { entry: whole, apart: None }
    } else {
        let text = Text::apart(&format!("E{seq:05}"), &whole);
        Written { entry: format!("@{}", text.reference()), apart: Some((text, whole)) }
    }
}

impl Db {
    /// Keeps the entries `first`, `first + 1`, … apart from their task.
    pub(crate) async fn archive(
        &self,
        task: TaskId,
        first: u32,
        entries: &[String],
    ) -> Result<(), StoreError> {
        // Named by its last event too: a late writer of fewer must not take the place of more.
        let last = first as usize + entries.len() - 1;
        let mut item = key(&apart(&task), &format!("A{first:05}#{last:05}"));
        item.insert("l".to_owned(), crate::db::list(entries.iter().map(s)));
        match self.put(item, Expression::new()).await {
            Ok(()) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
            Err(WriteError::Condition(_)) => Err(damaged("a write without condition was refused")),
        }
    }

    /// The entries kept apart, of the first `spilled` events.
    async fn archived(&self, task: TaskId, spilled: u32) -> Result<Vec<String>, StoreError> {
        let mut entries = Vec::new();
        if spilled > 0 {
            let range = Range::Within("A".to_owned(), "A~".to_owned());
            let found = self.query_whole(Query { range, ..Query::table(apart(&task)) }).await?;
            for item in &found.items {
                // An archive that a refused change left behind overlaps with the next one.
                let first = Fields(item).text("sk")?.get(1..6).and_then(|digits| digits.parse().ok());
                let first: usize =
                    first.ok_or_else(|| damaged(format!("task {task} has an archive without number")))?;
                let skip = (entries.len() + 1).saturating_sub(first);
                entries.extend(Fields(item).texts("l")?.into_iter().skip(skip));
            }
            entries.truncate(spilled as usize);
            if entries.len() < spilled as usize {
                return Err(damaged(format!(
                    "task {task}: expected {spilled} archived events, got {}",
                    entries.len()
                )));
            }
        }
        Ok(entries)
    }

    async fn whole_entry(&self, task: TaskId, entry: &str) -> Result<String, StoreError> {
        let Some(reference) = entry.strip_prefix('@') else { return Ok(entry.to_owned()) };
        let whole = self.read_text(&apart(&task), &Text::referred(reference)?).await?;
        whole.ok_or_else(|| damaged(format!("task {task} lacks an event")))
    }

    /// The whole history: `spilled` archived events, and those with the task.
    pub(crate) async fn history(
        &self,
        task: TaskId,
        spilled: u32,
        inline: &[String],
    ) -> Result<Vec<Event>, StoreError> {
        let mut entries = self.archived(task, spilled).await?;
        entries.extend_from_slice(inline);
        let mut events: Vec<Event> = Vec::with_capacity(entries.len());
        for (place, entry) in entries.iter().enumerate() {
            let seq = u32::try_from(place + 1).unwrap_or(u32::MAX);
            let from = events.last().map(|event| event.to);
            events.push(decode(seq, from, &self.whole_entry(task, entry).await?)?);
        }
        Ok(events)
    }

    /// The events after the first `known`, of which the first does not know the state before it.
    pub(crate) async fn latest_events(
        &self,
        task: TaskId,
        spilled: u32,
        inline: &[String],
        known: u32,
    ) -> Result<Vec<Event>, StoreError> {
        // As a rule only the last one is news, and with the task.
        let mut entries = if known < spilled { self.archived(task, spilled).await? } else { Vec::new() };
        let first = if known < spilled { 0 } else { spilled };
        entries.extend_from_slice(inline);
        let mut events: Vec<Event> = Vec::new();
        for (place, entry) in (first + 1..).zip(&entries).skip((known - first) as usize) {
            let from = events.last().map(|event| event.to);
            events.push(decode(place, from, &self.whole_entry(task, entry).await?)?);
        }
        Ok(events)
    }

    /// The particulars of one event.
    pub(crate) async fn event_detail(
        &self,
        task: TaskId,
        spilled: u32,
        inline: &[String],
        seq: u32,
    ) -> Result<EventDetail, StoreError> {
        let entry = match seq.checked_sub(spilled + 1) {
            Some(place) => inline.get(place as usize).cloned(),
            None => self.archived(task, spilled).await?.into_iter().nth(seq as usize - 1),
        };
        let entry = entry.ok_or_else(|| damaged(format!("task {task} lacks event {seq}")))?;
        Ok(decode(seq, None, &self.whole_entry(task, &entry).await?)?.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back() {
        let detail = EventDetail { reason: Some("why".to_owned()), ..EventDetail::default() };
        for detail in [detail, EventDetail::default()] {
            let at = Timestamp::from_millis(7);
            let text = encode(at, EventKind::Released, State::Queued, 3, &detail).unwrap();
            let event = decode(4, Some(State::Running), &text).unwrap();
            assert_eq!(
                (event.seq, event.at, event.kind, event.to),
                (4, at, EventKind::Released, State::Queued)
            );
            assert_eq!((event.attempt, event.detail), (3, detail));
        }
    }
}
