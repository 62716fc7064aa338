//! The time line of a store, and the order in which tasks have changed.

use std::collections::VecDeque;

use async_trait::async_trait;
use baton_model::{Asked, Happened, TimelineCursor, TimelineEntry, TimelineFilter, Timestamp};

use crate::error::StoreError;
use crate::query::{Cursor, Page, PageRequest};
use crate::token::AuditEntry;

/// Tells what has happened.
#[async_trait]
pub trait TimelineStore: Send + Sync {
    /// Entries by filter, the newest first: of each source in its own order, which is that of time but where clocks were set
    /// back; of two sources the one whose next entry is later. At a cost that does not depend on how much is stored: a page
    /// may be shorter than asked, even empty, while it names a next one.
    ///
    /// By a task, its history, the log lines about it and the requests of operators about it are told. A store without
    /// [`crate::Capabilities::feed`] tells by a task the first two, and by a worker the lines that it wrote.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`]; [`StoreError::NotTold`] if the store keeps no order by which it could tell this.
    async fn timeline(
        &self,
        filter: TimelineFilter,
        page: PageRequest,
    ) -> Result<Page<TimelineEntry>, StoreError>;

    /// Notes what the time line alone tells. A store without [`crate::Capabilities::feed`] does not keep it.
    ///
    /// # Errors
    /// The store's own failures.
    async fn note_happened(&self, at: Timestamp, happened: Happened) -> Result<(), StoreError>;

    /// What happened to tasks behind a position, in the order of commits. Positions rise by one from event to event and are
    /// never used again; events whose task is gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::NotTold`] without [`crate::Capabilities::feed`].
    async fn feed(&self, after: u64, limit: u32) -> Result<FeedPage, StoreError>;

    /// The position of the last event; 0 if there was none.
    ///
    /// # Errors
    /// [`StoreError::NotTold`] without [`crate::Capabilities::feed`].
    async fn feed_head(&self) -> Result<u64, StoreError>;

    /// Waits until the last event stands behind a position, and gives its own.
    ///
    /// # Errors
    /// [`StoreError::NotTold`] without [`crate::Capabilities::feed`]; [`StoreError::Busy`] if the store closes.
    async fn feed_beyond(&self, position: u64) -> Result<u64, StoreError>;
}

/// A part of the order of all events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedPage {
    /// The events with their positions, the first one first.
    pub items: Vec<(u64, TimelineEntry)>,
    /// The position up to which was looked: the next part begins behind it.
    pub up_to: u64,
}

/// What a store that keeps no order of all events says.
pub fn without_feed() -> StoreError {
    StoreError::NotTold {
        what: "this store keeps no order of all that happens".to_owned(),
        instead: "the queue task-events has each event as it happens (docs/lambda.md)".to_owned(),
    }
}

/// What was fetched of a source.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Entries that fit, each with the place behind it.
    pub entries: Vec<(TimelineEntry, String)>,
    /// The place behind all that was looked at; none at the source's end.
    pub end: Option<String>,
    /// How many rows were looked at.
    pub looks: usize,
}

/// A source on the way down.
#[derive(Debug)]
struct Lane {
    letter: char,
    fetched: VecDeque<(TimelineEntry, String)>,
    /// The place behind what was told.
    told: String,
    /// The place to fetch from; none at the end.
    ahead: Option<String>,
}

/// A page of the time line while it is merged of its sources: whoever merges fetches what [`Merge::wants`], until it wants
/// no more.
#[derive(Debug)]
pub struct Merge {
    lanes: Vec<Lane>,
    items: Vec<TimelineEntry>,
    limit: usize,
    bytes: usize,
    most_bytes: usize,
    looks: usize,
}

impl Merge {
    /// The most rows that one page looks at, in all sources.
    const LOOKS: usize = 5_000;

    /// The most bytes of messages and particulars that one page holds.
    const PAGE_BYTES: usize = 4 * 1024 * 1024;

    /// A page of these sources, of which each has a letter.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    pub fn new(letters: &[char], page: &PageRequest) -> Result<Self, StoreError> {
        let after: Option<TimelineCursor> = match &page.after {
            Some(Cursor(text)) => Some(text.parse().map_err(|_| StoreError::BadCursor)?),
            None => None,
        };
        let mut lanes = Vec::new();
        for letter in letters {
            let told = match &after {
                None => "",
                Some(cursor) => match cursor.place(*letter) {
                    Some(place) => place,
                    None => continue,
                },
            };
            lanes.push(Lane {
                letter: *letter,
                fetched: VecDeque::new(),
                told: told.to_owned(),
                ahead: Some(told.to_owned()),
            });
        }
        if after.is_some() && lanes.is_empty() {
            // Of another kind of query.
            return Err(StoreError::BadCursor);
        }
        let most_bytes = if page.in_parts { PageRequest::PART_BYTES } else { Self::PAGE_BYTES };
        Ok(Self { lanes, items: Vec::new(), limit: page.limit as usize, bytes: 0, most_bytes, looks: 0 })
    }

    /// The source that must be fetched from next, and behind which place (none at its beginning); none once the page is done.
    pub fn wants(&mut self) -> Option<(char, Option<String>)> {
        loop {
            if self.items.len() >= self.limit || self.bytes > self.most_bytes {
                return None;
            }
            if let Some(lane) = self.lanes.iter().find(|lane| lane.fetched.is_empty() && lane.ahead.is_some())
            {
                // What it would give may be newer than all that is fetched: without it, nothing more can be told.
                let goes_on = self.looks < Self::LOOKS;
                let place = lane.ahead.clone().filter(|place| !place.is_empty());
                return goes_on.then_some((lane.letter, place));
            }
            let newest = self
                .lanes
                .iter_mut()
                .filter(|lane| !lane.fetched.is_empty())
                .max_by_key(|lane| lane.fetched.front().map(|(entry, _)| (entry.at, entry.source)))?;
            let (entry, place) = newest.fetched.pop_front()?;
            newest.told = place;
            self.bytes += size_of(&entry);
            self.items.push(entry);
        }
    }

    /// How many entries are still missing.
    pub fn missing(&self) -> usize {
        self.limit - self.items.len()
    }

    /// Gives what was fetched of the source that was wanted.
    pub fn give(&mut self, letter: char, fetched: Fetched) {
        self.looks += fetched.looks.max(1);
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.letter == letter) else { return };
        lane.ahead = fetched.end;
        lane.fetched.extend(fetched.entries);
        if lane.fetched.is_empty()
            && let Some(ahead) = &lane.ahead
        {
            lane.told.clone_from(ahead);
        }
    }

    /// The page.
    pub fn finish(self) -> Page<TimelineEntry> {
        let mut cursor = TimelineCursor::default();
        for lane in self.lanes {
            // A source of which all was told goes on where it was looked up to.
            let place = if lane.fetched.is_empty() { lane.ahead } else { Some(lane.told) };
            if let Some(place) = place {
                cursor.push(lane.letter, place);
            }
        }
        let next = (!cursor.is_empty()).then(|| Cursor(cursor.to_string()));
        Page { items: self.items, next }
    }
}

fn size_of(entry: &TimelineEntry) -> usize {
    use baton_model::Particulars;
    let apart = match &entry.particulars {
        Particulars::Event(event) => {
            let error = event.detail.error.as_ref();
            let details = error.and_then(|error| error.details.as_ref());
            error.map_or(0, |error| error.message.len()) + details.map_or(0, |details| details.as_str().len())
        }
        Particulars::Line(line) => line.bytes() as usize,
        Particulars::Asked(_) | Particulars::Happened(_) => 0,
    };
    entry.message.len() + apart
}

impl From<AuditEntry> for TimelineEntry {
    fn from(entry: AuditEntry) -> Self {
        let asked = Asked {
            action: entry.action,
            target: entry.target,
            token_name: entry.token_name,
            request_id: entry.request_id,
            by: entry.by,
            reason: entry.reason,
            outcome: entry.outcome,
        };
        Self::of_request(entry.at, asked)
    }
}
