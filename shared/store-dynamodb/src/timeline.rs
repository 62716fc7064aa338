//! The time line of a table: what a task's item and the log lines tell. A table has no order of all events, as each write of one
//! would cost a second write to one place; whoever wants them all reads the queue `task-events`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use async_trait::async_trait;
use baton_model::timeline::schedule_of;
use baton_model::{Happened, LogLine, OfTask, TaskId, TimelineEntry, TimelineFilter, Timestamp};
use baton_store::{
    Cursor, FeedPage, Fetched, Merge, Page, PageRequest, StoreError, TimelineStore, without_feed,
};

use crate::DynamoStore;
use crate::keys::{self, DAY_MS};
use crate::list::{DISORDER, LOGS, log_line};
use crate::row::Stored;
use crate::store::Inner;

const EVENTS: char = 'e';
const LINES: char = 'l';

/// How many events one fetch reads at most: each may be of 16 KB.
const EVENTS_FETCHED: usize = 100;

/// The most lines that one fetch looks at.
const LOOKS: usize = 2_000;

/// How long after its end lines about a task may still come: a worker that could not reach the server ships them later.
const LATE: std::time::Duration = std::time::Duration::from_secs(86_400);

#[async_trait]
impl TimelineStore for DynamoStore {
    async fn timeline(
        &self,
        filter: TimelineFilter,
        page: PageRequest,
    ) -> Result<Page<TimelineEntry>, StoreError> {
        self.inner.timeline(&filter, &page).await
    }

    async fn note_happened(&self, _: Timestamp, _: Happened) -> Result<(), StoreError> {
        Ok(())
    }

    async fn feed(&self, _: u64, _: u32) -> Result<FeedPage, StoreError> {
        Err(without_feed())
    }

    async fn feed_head(&self) -> Result<u64, StoreError> {
        Err(without_feed())
    }

    async fn feed_beyond(&self, _: u64) -> Result<u64, StoreError> {
        Err(without_feed())
    }
}

/// What a page has met of tasks: none of those that are gone.
type Tasks = HashMap<TaskId, Option<OfTask>>;

impl Inner {
    async fn timeline(
        &self,
        filter: &TimelineFilter,
        request: &PageRequest,
    ) -> Result<Page<TimelineEntry>, StoreError> {
        let mut letters = Vec::new();
        let stored = match filter.task {
            Some(task) => {
                letters.push(EVENTS);
                self.find(task).await?
            }
            None => None,
        };
        if !filter.events_only && (filter.task.is_some() || filter.worker.is_some()) {
            letters.push(LINES);
        }
        if letters.is_empty() {
            return Err(StoreError::NotTold {
                what: "a table keeps no order of all that happens".to_owned(),
                instead: if filter.events_only {
                    "filter by a task, or read the queue task-events (docs/timeline.md)".to_owned()
                } else {
                    "filter by a task or by a worker, or read the queue task-events (docs/timeline.md)"
                        .to_owned()
                },
            });
        }
        let mut merge = Merge::new(&letters, request)?;
        let mut tasks = Tasks::new();
        if let (Some(task), Some(stored)) = (filter.task, &stored) {
            tasks.insert(task, Some(self.of_task(stored).await?));
        }
        while let Some((letter, place)) = merge.wants() {
            let wanted = merge.missing();
            let fetched = match (letter, &stored) {
                (EVENTS, None) => Fetched::default(),
                (EVENTS, Some(stored)) => self.told_history(filter, stored, &tasks, place, wanted).await?,
                _ => self.told_lines(filter, stored.as_ref(), &mut tasks, place, wanted).await?,
            };
            merge.give(letter, fetched);
        }
        Ok(merge.finish())
    }

    async fn of_task(&self, stored: &Stored) -> Result<OfTask, StoreError> {
        let first = self.db.event_detail(&stored.kept()?, 1).await?;
        Ok(OfTask {
            task: stored.head.id,
            queue: stored.queue.clone(),
            project: stored.project.clone(),
            schedule: schedule_of(first.by.as_ref()),
        })
    }

    /// A task's events, the last one first.
    async fn told_history(
        &self,
        filter: &TimelineFilter,
        stored: &Stored,
        tasks: &Tasks,
        place: Option<String>,
        wanted: usize,
    ) -> Result<Fetched, StoreError> {
        let all = stored.head.events;
        let last = match place {
            // The place is that of the event that was told last.
            Some(place) => {
                place.parse::<u32>().map_err(|_| StoreError::BadCursor)?.saturating_sub(1).min(all)
            }
            None => all,
        };
        let Some(Some(of)) = tasks.get(&stored.head.id) else { return Ok(Fetched::default()) };
        let first = (last + 1).saturating_sub(wanted.min(EVENTS_FETCHED) as u32).max(1);
        let mut events = Box::pin(self.db.events_between(&stored.kept()?, first, last, usize::MAX)).await?;
        events.reverse();
        let mut fetched = Fetched { looks: events.len(), ..Fetched::default() };
        fetched.end = (first > 1 && last > 0).then(|| first.to_string());
        for event in events {
            if filter.from.is_some_and(|from| event.at < from) {
                fetched.end = None;
                break;
            }
            let place = event.seq.to_string();
            let entry = TimelineEntry::of_event(of, event);
            if filter.fits(&entry) {
                fetched.entries.push((entry, place));
            }
        }
        Ok(fetched)
    }

    /// Log lines of a worker, or about a task: those that were received while it lived, and for a while after it.
    async fn told_lines(
        &self,
        filter: &TimelineFilter,
        stored: Option<&Stored>,
        tasks: &mut Tasks,
        place: Option<String>,
        wanted: usize,
    ) -> Result<Fetched, StoreError> {
        let from = filter.from.max(stored.map(|stored| stored.created_at.minus(DISORDER)));
        let over = match stored {
            Some(stored) if stored.head.state.state().is_final() => {
                let rest = stored.rest.as_ref();
                rest.map(|rest| rest.updated_at.plus(LATE))
            }
            _ => None,
        };
        let before = match (filter.before, over) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let bound = before.map(|before| (before.as_millis() / DAY_MS, keys::sortable(before)));
        let chunk = u32::try_from(wanted).unwrap_or(u32::MAX);
        let page = PageRequest { after: place.map(Cursor), ..PageRequest::first(chunk) };
        let mut descent = self.descent(LOGS, &page, bound).await?;
        let mut fetched = Fetched::default();
        let mut last = None;
        while fetched.looks < LOOKS && fetched.entries.len() < wanted {
            let Some(item) = descent.next().await? else { return Ok(fetched) };
            fetched.looks += 1;
            let Cursor(place) = LOGS.cursor_behind(&item)?;
            last = Some(place.clone());
            let Some(line) = self.db.read_one(&item, log_line) else { continue };
            if from.is_some_and(|from| line.received_at < from) {
                return Ok(fetched);
            }
            let fits = filter.task.is_none_or(|task| line.task == Some(task))
                && filter.worker.as_ref().is_none_or(|worker| line.worker == *worker)
                && filter.level.is_none_or(|level| line.level >= level);
            if !fits {
                continue;
            }
            let entry = self.entry_of_line(tasks, line).await?;
            if filter.fits(&entry) {
                fetched.entries.push((entry, place));
            }
        }
        fetched.end = if descent.next().await?.is_some() { last } else { None };
        Ok(fetched)
    }

    async fn entry_of_line(&self, tasks: &mut Tasks, line: LogLine) -> Result<TimelineEntry, StoreError> {
        let Some(task) = line.task else { return Ok(TimelineEntry::of_line(None, line)) };
        let of = match tasks.entry(task) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let stored = self.find_lately(task).await?;
                new.insert(match &stored {
                    Some(stored) => Some(self.of_task(stored).await?),
                    None => None,
                })
            }
        };
        Ok(TimelineEntry::of_line(of.as_ref(), line))
    }
}
