//! A task's history: one short entry an event, kept with the task while small.
//!
//! An entry that is large by itself (a failure may carry 16 KB) is kept apart, and so are all entries up to now when
//! they outgrow what a change of status should pay for. Events are never changed, so that what is kept apart is named
//! by its content or by its numbers, and may be written twice.

use baton_model::transition::Change;
use baton_model::{Event, EventDetail, EventKind, State, TaskId, Timestamp};
use baton_store::{StoreError, TaskDetail};

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

/// One life of a task: an id that was chosen may be created again when its task is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) task: TaskId,
    pub(crate) created_at: Timestamp,
    pub(crate) ended: bool,
}

impl Life {
    /// The error of what is missing of it: of a task that has ended, DynamoDB removes the parts in no order.
    fn lacks(&self, what: &str) -> StoreError {
        let Self { task, ended, .. } = self;
        if *ended { StoreError::TaskNotFound(*task) } else { damaged(format!("task {task} lacks {what}")) }
    }

    /// Whether an archive is of this life. Those that a former version wrote do not say.
    fn owns(&self, archive: &str) -> bool {
        let life = archive.split('#').nth(2);
        life.is_none_or(|life| life.parse() == Ok(self.created_at.as_millis()))
    }
}

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

/// Where a task's history is: the first `spilled` entries apart, the others with the task.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a> {
    pub(crate) life: Life,
    pub(crate) spilled: u32,
    pub(crate) inline: &'a [String],
}

impl Kept<'_> {
    /// How many events it has.
    fn all(&self) -> u32 {
        self.spilled + u32::try_from(self.inline.len()).unwrap_or(u32::MAX)
    }
}

impl Db {
    /// Keeps the entries `first`, `first + 1`, … apart from their task.
    pub(crate) async fn archive(
        &self,
        (task, created_at): (TaskId, Timestamp),
        first: u32,
        entries: &[String],
    ) -> Result<(), StoreError> {
        // Named by its last event too: a late writer of fewer must not take the place of more. And by the task's life.
        let last = first as usize + entries.len() - 1;
        let name = format!("A{first:05}#{last:05}#{}", created_at.as_millis());
        let mut item = key(&apart(&task), &name);
        item.insert("l".to_owned(), crate::db::list(entries.iter().map(s)));
        match self.put(item, Expression::new()).await {
            Ok(()) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
            Err(WriteError::Condition(_)) => Err(damaged("a write without condition was refused")),
        }
    }

    /// The entries `first` to `last` of those that are kept apart, read from where they lie and not from the first of all:
    /// a task may have 65,535.
    async fn archived(&self, life: Life, first: u32, last: u32) -> Result<Vec<String>, StoreError> {
        let task = life.task;
        let mut entries: Vec<String> = Vec::new();
        let lacks =
            |got: usize| life.lacks(&format!("all but {got} of the archived events {first} to {last}"));
        // The archive that has the first of them is the last one that begins with it or before it.
        let range = Range::Within("A".to_owned(), format!("A{first:05}~"));
        let mut query = Query { range, forward: false, limit: Some(1), ..Query::table(apart(&task)) };
        let mut next = first;
        while next <= last {
            let found = self.query(&query).await?;
            for item in &found.items {
                let name = Fields(item).text("sk")?;
                if !life.owns(name) {
                    continue;
                }
                let begins = name.get(1..6).and_then(|digits| digits.parse::<u32>().ok());
                let begins =
                    begins.ok_or_else(|| damaged(format!("task {task} has an archive without number")))?;
                if begins > next {
                    return Err(lacks(entries.len()));
                }
                // An archive that a refused change left behind overlaps with the next one.
                let more = Fields(item).texts("l")?.into_iter().skip((next - begins) as usize);
                let more: Vec<_> = more.take((last + 1 - next) as usize).collect();
                next += u32::try_from(more.len()).unwrap_or(u32::MAX);
                entries.extend(more);
                if next > last {
                    break;
                }
            }
            match found.next {
                // Of another life of the task, or not yet all.
                Some(start) if query.forward || entries.is_empty() => query.start = Some(start),
                _ if !query.forward && !entries.is_empty() => {
                    let range = Range::Within(format!("A{next:05}"), "A~".to_owned());
                    let limit = i32::try_from(last.saturating_sub(next) / 8 + 2).ok();
                    query = Query { range, limit, ..Query::table(apart(&task)) };
                }
                _ if next <= last => return Err(lacks(entries.len())),
                _ => {}
            }
        }
        Ok(entries)
    }

    /// The entries `first` to `last`, wherever they are.
    async fn entries(&self, kept: &Kept<'_>, first: u32, last: u32) -> Result<Vec<String>, StoreError> {
        let Kept { life, spilled, inline } = *kept;
        let mut entries = Vec::new();
        if first <= spilled {
            // Few have any, and all others need not make room for it.
            entries = Box::pin(self.archived(life, first, last.min(spilled))).await?;
        }
        let skip = first.max(spilled + 1) - spilled - 1;
        let take = last.saturating_sub(spilled + skip);
        entries.extend(inline.iter().skip(skip as usize).take(take as usize).cloned());
        if entries.len() != (last + 1 - first) as usize {
            let got = entries.len();
            return Err(life.lacks(&format!("all but {got} of the events {first} to {last}")));
        }
        Ok(entries)
    }

    async fn whole_entry(&self, life: Life, entry: &str) -> Result<String, StoreError> {
        let Some(reference) = entry.strip_prefix('@') else { return Ok(entry.to_owned()) };
        let whole = self.read_text(&apart(&life.task), &Text::referred(reference)?).await?;
        whole.ok_or_else(|| life.lacks("an event"))
    }

    /// The events `first` to `last`, up to about so many bytes, but one at least.
    pub(crate) async fn events_between(
        &self,
        kept: &Kept<'_>,
        first: u32,
        last: u32,
        most: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let mut events: Vec<Event> = Vec::new();
        if first > last {
            return Ok(events);
        }
        // The state before the first is the one after the event before it.
        let entries = self.entries(kept, first.max(2) - 1, last).await?;
        let (mut from, mut bytes) = (None, 0);
        for (seq, entry) in (first.max(2) - 1..).zip(&entries) {
            let entry = self.whole_entry(kept.life, entry).await?;
            let event = decode(seq, from, &entry)?;
            from = Some(event.to);
            if seq >= first {
                events.push(event);
                bytes += entry.len();
                if bytes >= most {
                    break;
                }
            }
        }
        Ok(events)
    }

    /// The latest events of a history that has `all`, in their order, as many as are shown with a task.
    pub(crate) async fn events_shown(&self, kept: &Kept<'_>, all: u32) -> Result<Vec<Event>, StoreError> {
        let first = all.saturating_sub(TaskDetail::EVENTS) + 1;
        let begin = first.max(2) - 1;
        let entries = self.entries(kept, begin, all).await?;
        let (mut events, mut bytes) = (Vec::<Event>::new(), 0);
        for (entry, seq) in entries.iter().rev().zip((begin..=all).rev()) {
            let entry = self.whole_entry(kept.life, entry).await?;
            let event = decode(seq, None, &entry)?;
            if let Some(later) = events.last_mut() {
                later.from = Some(event.to);
            }
            if seq < first || bytes >= TaskDetail::EVENT_BYTES {
                break;
            }
            bytes += entry.len();
            events.push(event);
        }
        events.reverse();
        Ok(events)
    }

    /// The whole history.
    pub(crate) async fn history(&self, kept: &Kept<'_>) -> Result<Vec<Event>, StoreError> {
        self.events_between(kept, 1, kept.all(), usize::MAX).await
    }

    /// The events after the first `known`.
    pub(crate) async fn latest_events(&self, kept: &Kept<'_>, known: u32) -> Result<Vec<Event>, StoreError> {
        let (all, mut events) = (kept.all(), Vec::<Event>::new());
        if known < all {
            // As a rule only the last one is news, and with the task; the state before it need not be read for it.
            for (seq, entry) in (known + 1..).zip(self.entries(kept, known + 1, all).await?) {
                let from = events.last().map(|event| event.to);
                events.push(decode(seq, from, &self.whole_entry(kept.life, &entry).await?)?);
            }
        }
        Ok(events)
    }

    /// The particulars of one event.
    pub(crate) async fn event_detail(&self, kept: &Kept<'_>, seq: u32) -> Result<EventDetail, StoreError> {
        let entry = self.entries(kept, seq, seq).await?.pop();
        let entry = entry.ok_or_else(|| damaged(format!("task {} lacks event {seq}", kept.life.task)))?;
        Ok(decode(seq, None, &self.whole_entry(kept.life, &entry).await?)?.detail)
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
