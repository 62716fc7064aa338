//! The time line, merged of its sources from the newest down, and the order of all events.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use async_trait::async_trait;
use baton_model::timeline::schedule_of;
use baton_model::{
    Event, EventDetail, Happened, OfTask, ProjectId, QueueName, TaskId, TimelineEntry, TimelineFilter,
    Timestamp,
};
use baton_store::transfer::{HappenedRecord, Holding, TIMELINE, Verdict, happened_onto};
use baton_store::{FeedPage, Fetched, Merge, Page, PageRequest, StoreError, TimelineStore};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use crate::SqliteStore;
use crate::audit;
use crate::error::Failure;
use crate::events;
use crate::feed;
use crate::list::{DISORDER, before_key};
use crate::rows::{self, EVENT_BITS, first_key, free_key, from_json, sixteen, text, to_json};
use crate::transaction::Transaction;
use crate::transfer::Taken;

/// The sources by the letters of their places in cursors.
const EVENTS: char = 'e';
const LINES: char = 'l';
const REQUESTS: char = 'a';
const HAPPENED: char = 'h';

/// The most rows that one fetch looks at.
const FETCH: usize = 1_000;

/// How many things that happened are removed with each purge at most.
const REMOVED: u32 = 256;

const WHAT: &str = "what happened";

#[async_trait]
impl TimelineStore for SqliteStore {
    async fn timeline(
        &self,
        filter: TimelineFilter,
        page: PageRequest,
    ) -> Result<Page<TimelineEntry>, StoreError> {
        self.readers.run(move |db| timeline(db, &filter, &page)).await
    }

    async fn note_happened(&self, at: Timestamp, happened: Happened) -> Result<(), StoreError> {
        self.writer.run((at, happened), |transaction, (at, happened)| note(transaction, *at, happened)).await
    }

    async fn feed(&self, after: u64, limit: u32) -> Result<FeedPage, StoreError> {
        let page = self.readers.run(move |db| part(db, after, limit as usize)).await?;
        if page.up_to > after {
            // A commit is seen in the file a moment before its head is told: whoever goes on from there must find it told.
            let mut fed = self.fed.clone();
            fed.wait_for(|head| *head >= page.up_to).await.map_err(|_| StoreError::Busy)?;
        }
        Ok(page)
    }

    async fn feed_head(&self) -> Result<u64, StoreError> {
        Ok(*self.fed.borrow())
    }

    async fn feed_beyond(&self, position: u64) -> Result<u64, StoreError> {
        let mut fed = self.fed.clone();
        let head = fed.wait_for(|head| *head > position).await;
        head.map(|head| *head).map_err(|_| StoreError::Busy)
    }
}

/// Notes what happened.
pub(crate) fn note(transaction: &Transaction<'_>, at: Timestamp, happened: &Happened) -> Result<(), Failure> {
    let k = free_key(transaction.db, "happened", at)?;
    transaction
        .db
        .prepare_cached("INSERT INTO happened (k, what) VALUES (?1, ?2)")?
        .execute(params![k, to_json(WHAT, happened)?])?;
    Ok(())
}

/// What happened by its key, behind one.
pub(crate) fn happened_behind(
    db: &Connection,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, Happened)>, Failure> {
    let mut statement = db.prepare_cached("SELECT k, what FROM happened WHERE k > ?1 ORDER BY k LIMIT ?2")?;
    let mut rows = statement.query(params![after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((row.get(0)?, from_json(WHAT, text(row, 1)?)?));
    }
    Ok(found)
}

/// Takes in what happened in another store.
pub(crate) fn import(transaction: &mut Transaction<'_>, record: &HappenedRecord) -> Result<Taken, Failure> {
    let db = transaction.db;
    let k = first_key(record.at) + i64::from(record.place);
    let standing: Option<String> = db
        .prepare_cached("SELECT what FROM happened WHERE k = ?1")?
        .query_row([k], |row| row.get(0))
        .optional()?;
    let standing = standing.map(|json| from_json(WHAT, &json)).transpose()?;
    let standing = standing.map(|what| HappenedRecord { what, ..record.clone() });
    let verdict = happened_onto(record, standing.as_ref());
    if verdict == Ok(Verdict::New) {
        db.prepare_cached("INSERT INTO happened (k, what) VALUES (?1, ?2)")?
            .execute(params![k, to_json(WHAT, &record.what)?])?;
    }
    Ok(verdict)
}

/// What there is of the time line, for who cannot take it.
pub(crate) fn holdings(db: &Connection) -> Result<[Holding; 2], Failure> {
    let count = |sql: &str| Ok::<_, Failure>(db.query_row(sql, [], |row| row.get::<_, u64>(0))?);
    let holding = |what: String, records| Holding { group: TIMELINE, what, records, names: Vec::new() };
    let order = format!("parts of the one order of events, up to position {},", feed::head(db)?);
    let happened = "entries that the time line alone tells".to_owned();
    Ok([
        holding(order, count("SELECT count(*) FROM feed")?),
        holding(happened, count("SELECT count(*) FROM happened")?),
    ])
}

/// Removes some of what happened before a time.
pub(crate) fn purge(db: &Connection, before: Timestamp) -> Result<(), Failure> {
    db.prepare_cached(
        "DELETE FROM happened WHERE k IN (SELECT k FROM happened WHERE k < ?1 ORDER BY k LIMIT ?2)",
    )?
    .execute(params![first_key(before), REMOVED])?;
    Ok(())
}

/// A page of the time line.
fn timeline(
    db: &Connection,
    filter: &TimelineFilter,
    request: &PageRequest,
) -> Result<Page<TimelineEntry>, Failure> {
    // All of a page is read as of one moment.
    let moment = db.unchecked_transaction()?;
    let mut reader = Reader { db: &moment, filter, tasks: HashMap::new(), n: None };
    let mut letters = vec![EVENTS];
    if let Some(task) = filter.task {
        reader.n = n_of(&moment, task)?;
    }
    if !filter.events_only {
        letters.extend([LINES, REQUESTS]);
        // Nothing else that happened is about a task.
        if filter.task.is_none() {
            letters.push(HAPPENED);
        }
    }
    let mut merge = Merge::new(&letters, request)?;
    while let Some((letter, place)) = merge.wants() {
        let below = match place {
            Some(place) => place.parse().map_err(|_| StoreError::BadCursor)?,
            None => i64::MAX,
        };
        let wanted = merge.missing().min(FETCH);
        merge.give(letter, reader.fetch(letter, below, wanted)?);
    }
    Ok(merge.finish())
}

fn n_of(db: &Connection, task: TaskId) -> Result<Option<i64>, Failure> {
    let mut statement = db.prepare_cached("SELECT n FROM task WHERE id = ?1")?;
    Ok(statement.query_row([task.as_bytes()], |row| row.get(0)).optional()?)
}

/// What is known of a task, and the schedule that its first event names; none if it is gone.
fn of_task(db: &Connection, n: i64) -> Result<Option<OfTask>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT t.id, t.queue, t.project, e.detail FROM task t LEFT JOIN event e ON e.k = (?1 << 16 | 1) WHERE t.n = ?1",
    )?;
    let mut rows = statement.query([n])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let detail: Option<EventDetail> = match row.get_ref(3)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        Some(json) if json.contains("\"schedule ") => Some(from_json("an event's detail", json)?),
        _ => None,
    };
    Ok(Some(OfTask {
        task: TaskId::from_bytes(sixteen(row, 0)?),
        queue: QueueName::from_stored(text(row, 1)?),
        project: ProjectId::from_stored(text(row, 2)?),
        schedule: detail.and_then(|detail| schedule_of(detail.by.as_ref())),
    }))
}

/// An event of a key; none if it is gone, or is later than `latest`: of another task that has the number since.
fn event_of(db: &Connection, key: i64, latest: i64) -> Result<Option<Event>, Failure> {
    let (n, seq) = (key >> EVENT_BITS, (key & ((1 << EVENT_BITS) - 1)) as u32);
    let event = events::event_of(db, n, seq)?;
    Ok(event.filter(|event| event.at.as_millis() <= latest))
}

/// Reads the sources of one page.
struct Reader<'a> {
    db: &'a Connection,
    filter: &'a TimelineFilter,
    /// The tasks that the page has met; none of those that are gone.
    tasks: HashMap<i64, Option<OfTask>>,
    /// The number of the task that is asked for.
    n: Option<i64>,
}

impl Reader<'_> {
    fn of_task(&mut self, n: i64) -> Result<Option<&OfTask>, Failure> {
        let of = match self.tasks.entry(n) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(of_task(self.db, n)?),
        };
        Ok(of.as_ref())
    }

    fn fetch(&mut self, letter: char, below: i64, wanted: usize) -> Result<Fetched, Failure> {
        match letter {
            EVENTS if self.filter.task.is_some() => self.history(below, wanted),
            EVENTS => self.events(below, wanted),
            LINES => self.lines(below, wanted),
            REQUESTS => {
                let filter = self.filter;
                // By a task, those whose path names it or goes on behind its id: 0 comes next to the slash.
                let (of_task, paths) = match filter.task.map(|task| format!("/v1/tasks/{task}")) {
                    Some(path) => (
                        "INDEXED BY audit_by_target WHERE target >= ?4 AND target < ?5 AND",
                        vec![Value::Text(path.clone()), Value::Text(format!("{path}0"))],
                    ),
                    None => ("WHERE", Vec::new()),
                };
                let sql = format!("{} {of_task} k < ?1 AND k >= ?2 ORDER BY k DESC LIMIT ?3", audit::SELECT);
                self.keyed(&sql, paths, below, wanted, |_, row| {
                    let (key, entry) = audit::entry(row)?;
                    let entry = TimelineEntry::from(entry);
                    Ok((key, filter.fits(&entry).then_some(entry)))
                })
            }
            _ => {
                let filter = self.filter;
                let sql = "SELECT k, what FROM happened WHERE k < ?1 AND k >= ?2 ORDER BY k DESC LIMIT ?3";
                self.keyed(sql, Vec::new(), below, wanted, |_, row| {
                    let key: i64 = row.get(0)?;
                    let happened = from_json(WHAT, text(row, 1)?)?;
                    let at = Timestamp::from_millis(key >> rows::MOMENT_BITS);
                    let entry = TimelineEntry::of_happening(at, happened);
                    Ok((key, filter.fits(&entry).then_some(entry)))
                })
            }
        }
    }

    /// The history of one task, the last event first.
    fn history(&mut self, below: i64, wanted: usize) -> Result<Fetched, Failure> {
        let Some(n) = self.n else { return Ok(Fetched::default()) };
        let Some(of) = self.of_task(n)?.cloned() else { return Ok(Fetched::default()) };
        let events = events::events_below(self.db, n, below, wanted)?;
        let mut fetched = Fetched { looks: events.len(), ..Fetched::default() };
        fetched.end = events.last().filter(|last| last.seq > 1).map(|last| last.seq.to_string());
        for event in events {
            let place = event.seq.to_string();
            if self.filter.from.is_some_and(|from| event.at < from) {
                // Within a task, times do not fall.
                fetched.end = None;
                break;
            }
            let entry = TimelineEntry::of_event(&of, event);
            if self.filter.fits(&entry) {
                fetched.entries.push((entry, place));
            }
        }
        Ok(fetched)
    }

    /// The events of all tasks, the last one first.
    fn events(&mut self, below: i64, wanted: usize) -> Result<Fetched, Failure> {
        let mut below = match self.filter.before {
            Some(before) => below.min(feed::first_at(self.db, before.plus(DISORDER).as_millis())?),
            None => below,
        };
        let oldest = self.filter.from.map(|from| from.minus(DISORDER).as_millis());
        let mut fetched = Fetched::default();
        loop {
            let Some(row) = feed::below(self.db, below)? else { break };
            if oldest.is_some_and(|oldest| row.at < oldest) {
                break;
            }
            for (place, key) in row.keys.iter().enumerate().rev() {
                let position = row.seq + place as i64;
                if position >= below {
                    continue;
                }
                if fetched.looks >= FETCH || fetched.entries.len() >= wanted {
                    fetched.end = Some((position + 1).to_string());
                    return Ok(fetched);
                }
                fetched.looks += 1;
                let Some(event) = event_of(self.db, *key, row.at)? else { continue };
                let filter = self.filter;
                let Some(of) = self.of_task(key >> EVENT_BITS)? else { continue };
                let entry = TimelineEntry::of_event(of, event);
                if filter.fits(&entry) {
                    fetched.entries.push((entry, position.to_string()));
                }
            }
            below = row.seq;
        }
        Ok(fetched)
    }

    /// Log lines, the latest received first.
    fn lines(&mut self, below: i64, wanted: usize) -> Result<Fetched, Failure> {
        let (index, condition, value) = match self.filter {
            TimelineFilter { task: Some(task), .. } => {
                ("INDEXED BY log_by_task", "task = ?4", Some(Value::Blob(task.as_bytes().to_vec())))
            }
            TimelineFilter { worker: Some(worker), .. } => {
                ("INDEXED BY log_by_worker", "worker = ?4", Some(Value::Text(worker.as_str().to_owned())))
            }
            _ => ("NOT INDEXED", "1", None),
        };
        let sql = format!(
            "SELECT k, at, worker, task, level, source, message, metadata, taken_at FROM log {index} \
             WHERE {condition} AND k < ?1 AND k >= ?2 ORDER BY k DESC LIMIT ?3"
        );
        self.keyed(&sql, value.into_iter().collect(), below, wanted, |reader, row| {
            let (key, line) = rows::log_line(row)?;
            let filter = reader.filter;
            if filter.level.is_some_and(|least| line.level < least) {
                return Ok((key, None));
            }
            let n = match line.task {
                Some(task) if Some(task) == filter.task => reader.n,
                Some(task) => n_of(reader.db, task)?,
                None => None,
            };
            let of = match n {
                Some(n) => reader.of_task(n)?,
                None => None,
            };
            let entry = TimelineEntry::of_line(of, line);
            Ok((key, filter.fits(&entry).then_some(entry)))
        })
    }

    /// The rows of a table whose keys are times, from the latest down. `value`: a parameter of the statement besides.
    fn keyed(
        &mut self,
        sql: &str,
        value: Vec<Value>,
        below: i64,
        wanted: usize,
        read: impl Fn(&mut Self, &rusqlite::Row<'_>) -> Result<(i64, Option<TimelineEntry>), Failure>,
    ) -> Result<Fetched, Failure> {
        let below = self.filter.before.map_or(below, |before| below.min(before_key(before)));
        let low = self.filter.from.map_or(0, first_key);
        let mut values: Vec<Value> = vec![below.into(), low.into(), (wanted as i64).into()];
        values.extend(value);
        let db = self.db;
        let mut statement = db.prepare_cached(sql)?;
        let mut found = statement.query(params_from_iter(values))?;
        let (mut fetched, mut last) = (Fetched::default(), None);
        while let Some(row) = found.next()? {
            let (key, entry) = read(self, row)?;
            fetched.looks += 1;
            last = Some(key);
            fetched.entries.extend(entry.map(|entry| (entry, key.to_string())));
        }
        fetched.end = last.filter(|_| fetched.looks == wanted).map(|key| key.to_string());
        Ok(fetched)
    }
}

/// The events behind a position, in the order of commits.
fn part(db: &Connection, after: u64, limit: usize) -> Result<FeedPage, Failure> {
    let moment = db.unchecked_transaction()?;
    let after = i64::try_from(after).unwrap_or(i64::MAX - 1);
    let mut page = FeedPage { items: Vec::new(), up_to: after as u64 };
    let mut tasks = HashMap::new();
    let mut next = match feed::below(&moment, after + 1)? {
        Some(row) if row.end() > after + 1 => Some(row),
        _ => feed::from(&moment, after + 1)?,
    };
    let mut looks = 0;
    while let Some(row) = next {
        for (place, key) in row.keys.iter().enumerate() {
            let position = row.seq + place as i64;
            if position <= after {
                continue;
            }
            if page.items.len() >= limit || looks >= FETCH.max(limit) {
                return Ok(page);
            }
            looks += 1;
            page.up_to = position as u64;
            let Some(event) = event_of(&moment, *key, row.at)? else { continue };
            let n = key >> EVENT_BITS;
            let of = match tasks.entry(n) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(of_task(&moment, n)?),
            };
            if let Some(of) = of {
                page.items.push((position as u64, TimelineEntry::of_event(of, event)));
            }
        }
        next = feed::from(&moment, row.end())?;
    }
    Ok(page)
}
